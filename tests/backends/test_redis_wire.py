"""What is written and read in one piece is what the driver would have written and read."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio
from redis import exceptions as driver
from redis.connection import Connection

from wren_sessions.stores.redis import tasks
from wren_sessions.stores.redis.plans import packed
from wren_sessions.stores.redis.tasks import aexchange
from wren_sessions.stores.redis.threads import exchange, is_quiet

PING = packed(("PING",))
LONG = b"$70000\r\n" + b"x" * 70_000 + b"\r\n"
SEGMENT = b"$2032\r\n" + b"y" * 2_032 + b"\r\n"
REPLIES = [
    b"$5\r\nhello\r\n",
    b"$0\r\n\r\n",
    b"$4\r\n\r\n\r\n\r\n",
    b"+OK\r\n",
    b":12\r\n",
    b"*0\r\n",
    b"*3\r\n$1\r\na\r\n$0\r\n\r\n$2\r\nbc\r\n",
    b"*2\r\n$1\r\na\r\n*2\r\n$1\r\nb\r\n:3\r\n",
    LONG,
    b"*2\r\n$1\r\na\r\n" + LONG,
    b"*40\r\n" + 40 * SEGMENT,
    b"*41\r\n" + 40 * SEGMENT + b":5\r\n",
    b"*3\r\n" + LONG + b":-1\r\n" + SEGMENT,
]
PAIRS = [b"*2\r\n$5\r\nhello\r\n$0\r\n\r\n", b"*2\r\n$1\r\na\r\n*1\r\n:12\r\n"]


class Ends:
    """A connection of the driver's to nobody, and the other end of it."""

    def __init__(self) -> None:
        ours, self.server = socket.socketpair()
        ours.settimeout(5)
        self.connection: Any = Connection()
        self.connection.__dict__["_sock"] = ours
        self.connection._parser.on_connect(self.connection)


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends of a connection."""
    made = Ends()
    yield made
    made.server.close()
    made.connection.disconnect()


@pytest.mark.parametrize("raw", REPLIES, ids=lambda raw: repr(raw[:24]))
def test_a_reply_is_what_the_driver_reads(ends: Ends, raw: bytes) -> None:
    """Whatever its form, and none of it is left over or asked for in vain."""
    ends.server.sendall(raw)
    theirs = ends.connection.read_response(disable_decoding=True)
    ends.server.sendall(raw)
    assert exchange(ends.connection, PING) == theirs
    assert not ends.connection.can_read()
    assert is_quiet(ends.connection)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What sockets are asked to send and to receive, call by call."""
    made: list[str] = []

    def counted(name: str) -> Callable[..., Any]:
        def call(self: socket.socket, *args: Any) -> Any:
            made.append(name)
            return getattr(super(socket.socket, self), name)(*args)

        return call

    for name in ("send", "sendall", "recv", "recv_into"):
        monkeypatch.setattr(socket.socket, name, counted(name), raising=False)
    return made


@pytest.mark.parametrize(("raw", "times"), [(REPLIES[0], 1), (REPLIES[6], 1), (LONG, 2)])
def test_a_reply_is_received_once(ends: Ends, calls: list[str], raw: bytes, times: int) -> None:
    """It is not looked at before; the driver receives the rest of a long one."""
    ends.server.sendall(raw)
    calls.clear()
    exchange(ends.connection, PING)
    assert calls[:2] == ["sendall", "recv"]
    assert len(calls) == 1 + times


@pytest.mark.parametrize("raw", PAIRS)
@pytest.mark.parametrize("at", [1, 3, 5, 9, 12, 15])
def test_a_reply_that_comes_in_two_pieces_is_read_whole(ends: Ends, raw: bytes, at: int) -> None:
    """The first piece alone is no reply, wherever it ends, and whoever reads the second one."""

    def send_the_rest() -> None:
        for _ in range(100_000):  # it cannot tell everywhere
            if is_quiet(ends.connection):
                break
        ends.server.sendall(raw[at:])

    ends.server.sendall(raw)
    theirs = ends.connection.read_response(disable_decoding=True)
    ends.server.sendall(raw[:at])
    sending = threading.Thread(target=send_the_rest)
    sending.start()
    assert exchange(ends.connection, PING) == theirs
    sending.join()
    assert not ends.connection.can_read()


def test_what_stands_behind_a_reply_is_left_there(ends: Ends) -> None:
    """Two replies at once are two replies, and a connection with the second one is not quiet."""
    ends.server.sendall(b"$1\r\na\r\n$1\r\nb\r\n")
    assert not is_quiet(ends.connection)
    assert exchange(ends.connection, PING) == b"a"
    assert ends.connection.can_read()


def test_an_error_is_raised(ends: Ends) -> None:
    """As the driver raises it."""
    ends.server.sendall(b"-NOSCRIPT No matching script\r\n")
    with pytest.raises(driver.NoScriptError):
        exchange(ends.connection, PING)


def test_no_answer_in_time_is_a_timeout(ends: Ends) -> None:
    """It was waited for once, and the connection is closed."""
    ends.connection._sock.settimeout(0.01)
    with pytest.raises(driver.TimeoutError):
        exchange(ends.connection, PING)
    assert ends.connection._sock is None


def test_a_reply_that_does_not_end_is_a_timeout(ends: Ends) -> None:
    """However far it came, the connection is closed, and not used in the middle of it."""
    ends.connection._sock.settimeout(0.01)
    ends.server.sendall(LONG[:-1])
    with pytest.raises(driver.TimeoutError):
        exchange(ends.connection, PING)
    assert ends.connection._sock is None


def test_a_command_that_nobody_takes_is_a_timeout(ends: Ends) -> None:
    """A part of it was sent, and the connection is closed."""
    ends.connection._sock.settimeout(0.01)
    with pytest.raises(driver.TimeoutError):
        exchange(ends.connection, packed(("ECHO", b"x" * 4_000_000)))
    assert ends.connection._sock is None


@pytest.mark.parametrize("came", [b"", b"*2\r\n$1\r\na\r\n", LONG[:-1]])
def test_a_closed_connection_is_lost(ends: Ends, came: bytes) -> None:
    """It is not quiet, and there is no reply, whatever came of it."""
    ends.server.sendall(came)
    ends.server.shutdown(socket.SHUT_WR)
    assert not is_quiet(ends.connection)
    with pytest.raises(driver.ConnectionError):
        exchange(ends.connection, PING)
    assert ends.connection._sock is None


def test_a_command_to_a_closed_connection_is_lost(ends: Ends) -> None:
    """It cannot be sent."""
    ends.server.close()
    with pytest.raises(driver.ConnectionError):
        exchange(ends.connection, PING)
    assert ends.connection._sock is None


def test_a_command_is_packed_as_the_driver_packs_it() -> None:
    """Texts and bytes, empty and long ones."""
    command = ("EVALSHA", b"sha", b"1", "kéy", b"", b"\r\n\x00\xff", b"x" * 100_000)
    theirs: Any = Connection().pack_command(*command)
    assert packed(command) == b"".join(theirs)


# --- asyncio --------------------------------------------------------------------------------------


class AsyncEnds:
    """The same with a connection of asyncio's driver."""

    def __init__(self) -> None:
        self.connection: Any = redis.asyncio.Connection()

    async def open(self) -> None:
        """Connect both ends."""
        ours, self.server = socket.socketpair()
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self.connection._reader, self.connection._writer = reader, self._writer
        self.connection.socket_timeout = 5
        self.connection._parser.on_connect(self.connection)

    async def can_read(self) -> bool:
        """Whether there is something to read."""
        theirs = getattr(self.connection, "can_read", None)
        return bool(await (theirs or self.connection.can_read_destructive)())  # before 8.0

    async def close(self) -> None:
        """Close both, as far as the test has not."""
        self.server.close()
        await self.connection.disconnect(nowait=True)
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


@pytest_asyncio.fixture
async def async_ends() -> AsyncIterator[AsyncEnds]:
    """Both ends of a connection."""
    made = AsyncEnds()
    await made.open()
    yield made
    await made.close()


@pytest.mark.parametrize("raw", REPLIES, ids=lambda raw: repr(raw[:24]))
async def test_an_awaited_reply_is_what_the_driver_reads(async_ends: AsyncEnds, raw: bytes) -> None:
    """Whatever its form, and none of it is left over or asked for in vain."""
    async_ends.server.sendall(raw)
    theirs = await async_ends.connection.read_response(disable_decoding=True)
    async_ends.server.sendall(raw)
    assert await aexchange(async_ends.connection, PING) == theirs
    assert not await async_ends.can_read()


@pytest.mark.parametrize("raw", PAIRS)
@pytest.mark.parametrize("at", [1, 3, 5, 9, 12, 15])
async def test_an_awaited_reply_that_comes_in_two_pieces_is_read_whole(
    async_ends: AsyncEnds, raw: bytes, at: int
) -> None:
    """The first piece alone is no reply, wherever it ends, and whoever reads the second one."""
    async_ends.server.sendall(raw)
    theirs = await async_ends.connection.read_response(disable_decoding=True)
    async_ends.server.sendall(raw[:at])
    reading = asyncio.create_task(aexchange(async_ends.connection, PING))
    for _ in range(10):
        await asyncio.sleep(0)
    async_ends.server.sendall(raw[at:])
    assert await reading == theirs
    assert not await async_ends.can_read()


async def test_an_awaited_reply_in_two_pieces_is_copied_once(
    async_ends: AsyncEnds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text is made when all of it came, and not a second time."""
    value: Any = vars(tasks._Pieces)["value"].fget
    made: list[Any] = []

    def counted(pieces: Any) -> Any:
        made.append(value(pieces))
        return made[-1]

    monkeypatch.setattr(tasks._Pieces, "value", property(counted))
    async_ends.server.sendall(LONG[:-1])
    reading = asyncio.create_task(aexchange(async_ends.connection, PING))
    for _ in range(10):
        await asyncio.sleep(0)
    async_ends.server.sendall(LONG[-1:])
    assert made == [await reading]


async def test_an_awaited_reply_is_received_once(async_ends: AsyncEnds, calls: list[str]) -> None:
    """The command is sent at once, and not by another turn of the event loop."""
    answering = asyncio.create_task(aexchange(async_ends.connection, PING))
    await asyncio.sleep(0)
    assert calls == ["send"]
    async_ends.server.send(REPLIES[0])
    await answering
    assert calls == ["send", "send", "recv"]


async def test_two_replies_at_once_are_read_one_by_one(async_ends: AsyncEnds) -> None:
    """The second one is given back with the first, which the driver then reads."""
    async_ends.server.sendall(b"$1\r\na\r\n$1\r\nb\r\n")
    assert await aexchange(async_ends.connection, PING) == b"a"
    assert await aexchange(async_ends.connection, PING) == b"b"


async def test_an_error_is_raised_by_who_awaits(async_ends: AsyncEnds) -> None:
    """As the driver raises it."""
    async_ends.server.sendall(b"-NOSCRIPT No matching script\r\n")
    with pytest.raises(driver.NoScriptError):
        await aexchange(async_ends.connection, PING)


async def test_no_awaited_answer_in_time_is_a_timeout(async_ends: AsyncEnds) -> None:
    """It was waited for once, and the connection is closed."""
    async_ends.connection.socket_timeout = 0.01
    with pytest.raises(driver.TimeoutError):
        await aexchange(async_ends.connection, PING)
    assert not async_ends.connection.is_connected


async def test_a_reply_that_comes_with_the_time_limit_is_late(async_ends: AsyncEnds) -> None:
    """A reader that was told of the limit says so to whoever reads next: it is not used again."""
    connection = async_ends.connection
    reading = asyncio.create_task(aexchange(connection, PING))
    await asyncio.sleep(0)
    connection._reader.feed_data(b"$1\r\na\r\n")
    connection._reader.set_exception(TimeoutError())
    with pytest.raises(driver.TimeoutError):
        await reading
    assert not connection.is_connected


@pytest.mark.parametrize("before", [b"", b"$5\r\nhel"])
async def test_a_closed_asyncio_connection_is_lost(async_ends: AsyncEnds, before: bytes) -> None:
    """Whatever came before, there is no reply."""
    async_ends.server.sendall(before)
    async_ends.server.close()
    with pytest.raises(driver.ConnectionError):
        await aexchange(async_ends.connection, PING)


async def test_a_long_command_is_written_whole(async_ends: AsyncEnds) -> None:
    """So is a short one, which does not go through the driver."""
    for command in (packed(("ECHO", b"a")), packed(("ECHO", b"x" * 100_000))):
        writing, there = asyncio.create_task(aexchange(async_ends.connection, command)), b""
        while len(there) < len(command):
            there += await asyncio.to_thread(async_ends.server.recv, 65_536)
        async_ends.server.sendall(b"$1\r\na\r\n")
        assert (await writing, there) == (b"a", command)
