"""A server that goes away and comes back: an error meanwhile, never a miss, and then it goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

import pytest
import pytest_asyncio
import redis

from backends.chats import THREAD, Chat
from backends.faces import face_of, opened, saver_on
from servers import RedisServer, start_server
from wren_sessions.errors import SessionGoneError, StoreUnavailableError
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Span, Start
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing.build import SESSION, done, put

pytestmark = pytest.mark.redis_server

DURABLE: Final = ("--appendonly", "yes", "--appendfsync", "always")

STORE_CALLS: Final[dict[str, Callable[[AsyncSessionStore], Awaitable[object]]]] = {
    "commit": lambda face: face.commit(put("2")),
    "load": lambda face: face.load(SESSION),
    "scan": lambda face: face.scan(SESSION, [Start("")], 10),
    "read": lambda face: face.read(SESSION, [Span(0, 4)]),
    "heads": lambda face: face.heads(SESSION),
    "info": lambda face: face.info(SESSION),
    "touch": lambda face: face.touch(SESSION),
    "set_ttl": lambda face: face.set_ttl(SESSION, "1h"),
    "pin": lambda face: face.pin(SESSION),
    "delete": lambda face: face.delete(SESSION),
    "copy": lambda face: face.copy(SESSION, "copy"),
    "list_sessions": lambda face: face.list_sessions(),
    "ping": lambda face: face.ping(),
}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server of the test's own, which keeps what it acknowledged."""
    with start_server(*DURABLE) as server:
        yield server


@pytest_asyncio.fixture
async def store(server: RedisServer) -> AsyncIterator[RedisStore]:
    """A store on the server."""
    async with opened(server.url) as store:
        yield store


async def test_every_call_of_a_saver_tells_an_outage(
    server: RedisServer, store: RedisStore, face: str
) -> None:
    """A server that dies between calls: get, put, put_writes and list say so, and lose nothing."""
    chat = await Chat(saver_on(store, face)).grow(3)
    written = list(chat.messages)
    server.kill()
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "get": chat.get,
        "get by id": lambda: chat.saver.aget_tuple(chat.config),
        "put": chat.put,
        "put_writes": chat.write,
        "list": chat.history,
        "delete": lambda: chat.saver.adelete_thread(THREAD),
    }
    for name, call in calls.items():
        with pytest.raises(StoreUnavailableError) as caught:
            await call()
        for part in (THREAD, store.location, "check host and port"):
            assert part in str(caught.value), name
    server.start()
    chat.messages = written
    await chat.latest()
    await chat.put()
    await chat.write()
    assert len(await chat.history()) == 4


async def test_every_call_of_a_store_tells_an_outage(
    server: RedisServer, store: RedisStore, face: str
) -> None:
    """Each method raises while the server is down, and works when it is back."""
    there = face_of(store, face)
    await done(there, put("1", append=b"some"))
    server.kill()
    for name, call in STORE_CALLS.items():
        with pytest.raises(StoreUnavailableError) as caught:
            await call(there)
        assert store.location in str(caught.value), name
    server.start()
    for call in STORE_CALLS.values():
        await call(there)


async def test_a_server_that_restarts_is_not_noticed(
    server: RedisServer, store: RedisStore, face: str
) -> None:
    """Connections that a restart closed are made anew, and scripts are sent again."""
    chat = await Chat(saver_on(store, face)).grow(2)
    server.restart()
    await chat.latest()
    server.restart()
    await chat.put()
    server.restart()
    await chat.write()
    assert len((await chat.latest()).pending_writes or []) == 1


async def test_scripts_that_the_server_forgot_are_sent_again(
    server: RedisServer, store: RedisStore, face: str
) -> None:
    """SCRIPT FLUSH between any two calls changes nothing."""
    chat = Chat(saver_on(store, face))
    with redis.Redis.from_url(server.url) as admin:
        for call in (chat.put, chat.write, chat.latest, chat.history, chat.put):
            admin.script_flush()
            await call()
    assert len(await chat.history()) == 2


async def test_a_session_that_was_lost_is_not_written_in_part(
    server: RedisServer, store: RedisStore, face: str
) -> None:
    """A server that comes back without its data: the next put is an error, not a fragment."""
    chat = await Chat(saver_on(store, face)).grow(3)
    with redis.Redis.from_url(server.url) as admin:
        admin.flushall()  # as if it had come back from an older copy
    for call in (chat.write, chat.put):
        with pytest.raises(SessionGoneError, match=THREAD):
            await call()
    assert await chat.get() is None


async def test_a_server_that_is_not_there_yet(face: str) -> None:
    """A store can be made before its server runs."""
    with start_server() as server:
        server.stop()
        async with opened(server.url) as store:
            there = face_of(store, face)
            with pytest.raises(StoreUnavailableError):
                await there.ping()
            server.start()
            await there.ping()
