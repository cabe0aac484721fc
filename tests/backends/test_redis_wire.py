"""What is written and read in one piece is what the driver would have written and read."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from redis import exceptions as driver
from redis.connection import Connection

from wren_sessions.stores.redis.wire import is_quiet, packed, reply_of

LONG = b"$70000\r\n" + b"x" * 70_000 + b"\r\n"
REPLIES = [
    b"$5\r\nhello\r\n",
    b"$0\r\n\r\n",
    b"$4\r\n\r\n\r\n\r\n",
    b"_\r\n",
    b"+OK\r\n",
    b":12\r\n",
    b"*0\r\n",
    b"*3\r\n$1\r\na\r\n$0\r\n\r\n$2\r\nbc\r\n",
    b"*2\r\n$1\r\na\r\n_\r\n",
    b"*2\r\n$1\r\na\r\n*2\r\n$1\r\nb\r\n:3\r\n",
    b"%1\r\n$1\r\na\r\n:3\r\n",
    LONG,
    b"*2\r\n$1\r\na\r\n" + LONG,
]


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
    assert reply_of(ends.connection) == theirs
    assert not ends.connection.can_read()
    assert is_quiet(ends.connection)


@pytest.mark.parametrize("at", [1, 3, 5, 9, 12])
def test_a_reply_that_comes_in_two_pieces_is_read_whole(ends: Ends, at: int) -> None:
    """The first piece alone is no reply, wherever it ends."""
    raw = b"*2\r\n$5\r\nhello\r\n$0\r\n\r\n"
    ends.server.sendall(raw[:at])
    read_response = ends.connection.read_response

    def driver_reads(**kwargs: Any) -> Any:
        ends.server.sendall(raw[at:])
        return read_response(**kwargs)

    ends.connection.read_response = driver_reads
    assert reply_of(ends.connection) == [b"hello", b""]


def test_what_stands_behind_a_reply_is_left_there(ends: Ends) -> None:
    """Two replies at once are two replies, and a connection with the second one is not quiet."""
    ends.server.sendall(b"$1\r\na\r\n$1\r\nb\r\n")
    assert not is_quiet(ends.connection)
    assert reply_of(ends.connection) == b"a"
    assert ends.connection.can_read()


def test_an_error_is_raised(ends: Ends) -> None:
    """As the driver raises it."""
    ends.server.sendall(b"-NOSCRIPT No matching script\r\n")
    with pytest.raises(driver.NoScriptError):
        reply_of(ends.connection)


def test_no_answer_in_time_is_a_timeout(ends: Ends) -> None:
    """It was waited for once, and the connection is closed."""
    ends.connection._sock.settimeout(0.01)
    with pytest.raises(driver.TimeoutError):
        reply_of(ends.connection)
    assert ends.connection._sock is None


def test_a_closed_connection_is_lost(ends: Ends) -> None:
    """It is not quiet, and there is no reply."""
    ends.server.close()
    assert not is_quiet(ends.connection)
    with pytest.raises(driver.ConnectionError):
        reply_of(ends.connection)


def test_a_command_is_packed_as_the_driver_packs_it() -> None:
    """Texts and bytes, empty and long ones."""
    command = ("EVALSHA", b"sha", b"1", "kéy", b"", b"\r\n\x00\xff", b"x" * 100_000)
    theirs: Any = Connection().pack_command(*command)
    assert packed(command) == b"".join(theirs)
