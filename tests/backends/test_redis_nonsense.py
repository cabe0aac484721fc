"""Whatever answers at a port: the error is this package's, and no answer is another's."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
import redis

from backends.faces import FACES
from wren_sessions.errors import StoreUnavailableError, WrenSessionsError
from wren_sessions.keys import KeySpace
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Span
from wren_sessions.stores.redis import RedisStore
from wren_sessions.stores.redis.commands import Commands
from wren_sessions.stores.redis.listing import ListingCommands
from wren_sessions.stores.redis.plans import AnotherAnswerError, Plan
from wren_sessions.testing.build import SESSION, put
from wren_sessions.ttl import TTLPolicy

ANSWERS: Final = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
    "SMTP": b"220 mail.example.com ESMTP\r\n",
    "PostgreSQL": b"E\x00\x00\x00\x09SFATAL\x00",
    "bytes": b"\xff" * 64 + b"\r\n",
    "no text": b"$5\r\n\xff\xfe\xfd\xfc\xfb\r\n",
    "nothing": b"",
    "an empty line": b"\r\n",
    "a negative length": b"$-7\r\n",
    "a negative count": b"*-7\r\n",
    "a list with a negative length": b"*3\r\n$-7\r\n",
    "a length that is no number": b"$many\r\n",
    "a count that is no number": b"*many\r\n",
    "no number": b":notanumber\r\n",
    "a huge number": b":" + b"9" * 5_000 + b"\r\n",
    "a huge length": b"$99999999999999\r\nab",
    "a huge count": b"*2147483647\r\n:1\r\n",
    "lists in lists": b"*1\r\n" * 100_000,
    "cut short": b"$5\r\nab",
    "a list cut short": b"*2\r\n$1\r\na\r\n",
    "nil": b"$-1\r\n",
    "no list": b"*-1\r\n",
    "an empty list": b"*0\r\n",
    "a list of numbers": b"*2\r\n:1\r\n:2\r\n",
    "a number": b":1\r\n",
    "OK": b"+OK\r\n",
    "an empty error": b"-\r\n",
    "an unknown error": b"-WHAT is this\r\n",
    "a push": b">2\r\n$7\r\nmessage\r\n$1\r\na\r\n",
    "a map": b"%1\r\n$1\r\na\r\n:1\r\n",
    "a map with a list as key": b"%1\r\n*1\r\n:1\r\n:1\r\n",
    "a null": b"_\r\n",
    "no double": b",nonsense\r\n",
    "another's answer": b"$10\r\nabcdef hit\r\n",
    "a miss of another": b"$11\r\nabcdef miss\r\n",
    "no nonce": b"$4\r\nmiss\r\n",
    "two answers": b"$4\r\nmiss\r\n$4\r\nmiss\r\n",
}
URL: Final = "redis://127.0.0.1:{}/0?protocol={}"


@contextmanager
def answering(answer: Callable[[], bytes]) -> Iterator[int]:
    """The port of a server that gives an answer to whatever it is sent."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(peer: socket.socket) -> None:
        try:
            while peer.recv(65_536):
                peer.sendall(answer())
        except OSError:
            return
        finally:
            peer.close()

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


async def call(store: RedisStore, face: str, name: str, *args: Any) -> Any:
    """Make a call on one face, and close it."""
    if face == "sync":
        try:
            return getattr(store, name)(*args)
        finally:
            store.close()
    async with store:
        return await getattr(store.aio, name)(*args)


CALLS: Final[tuple[tuple[Any, ...], ...]] = (
    ("load", SESSION),
    ("commit", put("1")),
    ("list_sessions",),
    ("delete", SESSION),
    ("ping",),
)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("answer", ANSWERS)
def test_nonsense_is_an_error_of_this_package(answer: str, face: str, protocol: int) -> None:
    """It says where, soon."""
    with answering(lambda: ANSWERS[answer]) as port:
        url = URL.format(port, protocol)
        options: dict[str, Any] = {"socket_timeout": 0.1, "socket_connect_timeout": 0.3}
        for name, *args in CALLS:
            store = RedisStore.from_url(url, **options)
            began = time.monotonic()
            with pytest.raises(WrenSessionsError, match=str(port)):
                asyncio.run(call(store, face, name, *args))
            assert time.monotonic() - began < 60  # waits seconds on a busy machine, but ends


@pytest.mark.parametrize("face", FACES)
async def test_another_calls_answer_is_an_error(redis_url: str, face: str) -> None:
    """Where something mixes up answers, no call takes one that is not its own."""
    with redis.Redis.from_url(redis_url) as client:
        there = RedisStore.from_client(client)
        there.commit(put("1"))

        class Mixing(redis.Redis):
            def parse_response(self, *args: Any, **options: Any) -> Any:
                reply = super().parse_response(*args, **options)  # type: ignore[no-untyped-call]
                mixed.append(reply)
                return mixed[0]

        class AsyncMixing(redis.asyncio.Redis):
            async def parse_response(self, *args: Any, **options: Any) -> Any:
                reply = await super().parse_response(*args, **options)
                mixed.append(reply)
                return mixed[0]

        mixed: list[Any] = []
        mixing: Any = Mixing if face == "sync" else AsyncMixing
        store = RedisStore.from_client(mixing.from_url(redis_url))
        assert (await call(store, face, "load", SESSION)) is not None
        for name, *args in CALLS[:2]:
            with pytest.raises(StoreUnavailableError, match="no answer to what was asked"):
                await call(store, face, name, *args)
        mixed.clear()
        assert (await call(store, face, "load", SESSION)) is not None


def test_every_call_knows_its_answer() -> None:
    """What a script or plain commands reply ends or begins with what only this call was given."""
    commands, listing = Commands(KeySpace(), TTLPolicy()), ListingCommands(KeySpace())
    plans: list[Plan[Any]] = [
        commands.load(SESSION),
        commands.commit(put("1")),
        commands.read(SESSION, [Span(0, 1)]),
        commands.delete(SESSION),
        listing.find_keys(None, 10),
        listing.list_sessions([b"key"], None),
        commands.ping(),
    ]
    assert len({plan.nonce for plan in plans}) == len(plans)
    for plan, other in itertools.permutations(plans, 2):
        own = [b"0"] * (len(plan.commands) - 1)
        text = b"" if plan.script is None else b" miss"
        assert plan.answered([*own, plan.nonce + text]) in ([*own], b"miss")
        with pytest.raises(AnotherAnswerError):
            plan.answered([*own, other.nonce + text])


def test_a_connection_with_an_unread_answer_is_not_used_again(redis_url: str) -> None:
    """Nor is one that was left before its answer came."""
    with RedisStore.from_url(redis_url, max_connections=1) as store:
        store.commit(put("1"))
        (lane,) = store._pipelines._lanes  # type: ignore[union-attr]
        connection = lane._line.connection  # type: ignore[union-attr]
        kept = connection._kept
        kept.send_command("ECHO", "late")
        connection.unfinished = True
        assert store.load(SESSION) is not None
        assert connection._kept is not kept


async def test_a_client_of_one_loop_serves_another(redis_url: str) -> None:
    """An asyncio client of the application says how to connect, whatever loop it belongs to."""
    client = redis.asyncio.Redis.from_url(redis_url)
    store: SessionStore = RedisStore.from_client(client)
    await store.aio.commit(put("1"))
    found: list[Any] = []
    other = threading.Thread(target=lambda: found.append(asyncio.run(_load(store))))
    other.start()
    while other.is_alive():
        assert await store.aio.load(SESSION) is not None
    assert [loaded is not None for loaded in found] == [True]
    await store.aio.close()


async def _load(store: SessionStore) -> Any:
    return await store.aio.load(SESSION)
