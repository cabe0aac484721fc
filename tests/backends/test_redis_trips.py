"""How many round trips each call makes: counted on the connection, which is open already."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

import pytest
import pytest_asyncio
import redis

from backends.chats import THREAD, Chat
from backends.faces import FACES, face_of, opened, saver_on
from backends.processes import run_code
from backends.trips import Trips, counted_trips
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Span, Start
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing.build import SESSION, add, commit, info, prune, put, write
from wren_sessions.ttl import TTLPolicy

POLICIES: Final = {
    "default": TTLPolicy(),
    "read": TTLPolicy(idle="1h", refresh="read"),
    "age": TTLPolicy(idle="1h", max_age="30d"),
}

FRESH: Final = """
import asyncio, sys
from backends.processes import run_code
from backends.trips import counted_trips
from wren_sessions import SessionSaver
from wren_sessions.stores.redis import RedisStore

async def main(url, thread):
    async with RedisStore.from_url(url) as store:
        await store.aio.ping()
        store.ping()
        config = {"configurable": {"thread_id": thread}}
        with counted_trips() as trips:
            assert await SessionSaver(store).aget_tuple(config) is not None
            awaited = trips.count
            assert SessionSaver(store).get_tuple(config) is not None
            print(awaited, trips.count - awaited)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def trips() -> Iterator[Trips]:
    """A count."""
    with counted_trips() as trips:
        yield trips


@pytest_asyncio.fixture(params=POLICIES)
async def store(
    redis_url: str, face: str, request: pytest.FixtureRequest
) -> AsyncIterator[RedisStore]:
    """A store with an open connection, on a server that knows the scripts."""
    async with opened(redis_url, ttl=POLICIES[request.param]) as store:
        await learn_scripts(face_of(store, face))
        yield store


async def learn_scripts(face: AsyncSessionStore) -> None:
    """Call what has a script; the server forgets none of them, and the sessions are deleted."""
    await face.ping()
    life = (await face.commit(put("1", session="warm"))).life
    await face.load("warm")
    await face.scan("warm", [Start("")], 1)
    await face.heads("warm")
    await face.info("warm")
    await face.touch("warm")
    await face.copy("warm", "copy of it", replace=True)
    await face.prune(prune(life, ("", "1"), session="warm"))
    await face.delete("copy of it")


async def test_a_saver_puts_in_one_trip(store: RedisStore, face: str, trips: Trips) -> None:
    """The first checkpoint, each that continues one this process wrote or read, and writes: 1."""
    chat = Chat(saver_on(store, face))
    for _ in range(5):
        assert await trips.of(chat.put) == 1
        assert await trips.of(chat.write) == 1
        assert await trips.of(chat.interrupt) == 1
    await chat.latest()


async def test_a_saver_that_has_read_puts_in_one_trip(
    store: RedisStore, face: str, trips: Trips
) -> None:
    """A turn in another process is one trip per call: get, put, put_writes, put."""
    chat = await Chat(saver_on(store, face)).grow(3)
    other = chat.on(saver_on(store, face))
    assert await trips.of(other.get) == 1
    assert await trips.of(other.put) == 1
    assert await trips.of(other.write) == 1
    assert await trips.of(other.put) == 1
    await other.latest()


async def test_a_saver_that_has_not_seen_the_parent_puts_in_two(
    store: RedisStore, face: str, trips: Trips
) -> None:
    """A cold saver reads the parent first, once; pending writes never need it."""
    chat = await Chat(saver_on(store, face)).grow(3)
    assert await trips.of(chat.on(saver_on(store, face)).write) == 1
    other = chat.on(saver_on(store, face))
    assert await trips.of(other.put) == 2
    assert await trips.of(other.put) == 1
    await other.latest()


async def test_a_saver_gets_in_one_trip(store: RedisStore, face: str, trips: Trips) -> None:
    """The latest checkpoint and one by its id, with values and writes, also by a new saver: 1."""
    chat = Chat(saver_on(store, face))
    assert await trips.of(chat.get) == 1
    early = (await chat.grow(3)).config
    await chat.grow(3)
    await chat.write()
    for saver in (chat.saver, saver_on(store, face), saver_on(store, face, cache_bytes=0)):
        assert await trips.of(chat.on(saver).latest) == 1
        assert await trips.of(lambda saver=saver: saver.aget_tuple(early)) == 1  # type: ignore[misc]


async def test_a_thread_is_deleted_in_one_trip(store: RedisStore, face: str, trips: Trips) -> None:
    """However much it holds, and whether it is there or not."""
    chat = await Chat(saver_on(store, face)).grow(20)
    assert await trips.of(lambda: chat.saver.adelete_thread(THREAD)) == 1
    assert await trips.of(lambda: chat.saver.adelete_thread(THREAD)) == 1
    assert await chat.get() is None


async def test_a_large_state_takes_one_trip_more(
    store: RedisStore, face: str, trips: Trips
) -> None:
    """Above a megabyte the arena is fetched with a second call."""
    chat = Chat(saver_on(store, face))
    await chat.put(document="x" * 2_000_000)
    assert await trips.of(chat.on(saver_on(store, face)).latest) == 2
    assert await trips.of(chat.put) == 1


@pytest.mark.parametrize("face", FACES)
async def test_ten_of_a_thousand_checkpoints_are_listed_in_three(
    redis_url: str, face: str, trips: Trips
) -> None:
    """Namespaces, records and arena: three trips, however long the history."""
    async with opened(redis_url) as store:
        chat = await Chat(saver_on(store, face)).grow(1_000)
        for saver in (chat.saver, saver_on(store, face)):
            before = trips.count
            found = [item async for item in saver.alist(chat.thread, limit=10)]
            assert trips.count - before <= 3
            assert len(found) == 10
            assert found[9].checkpoint["channel_values"]["messages"] == chat.messages[:-9]


async def test_a_fresh_process_gets_in_one_trip(redis_url: str) -> None:
    """The latest checkpoint takes one trip in a process that knows nothing, on both faces."""
    async with opened(redis_url) as store:
        chat = await Chat(saver_on(store, "async")).grow(3)
        await chat.latest()
    assert run_code(FRESH, redis_url, THREAD).split() == ["1", "1"]


CALLS: Final[dict[str, Callable[[AsyncSessionStore], Awaitable[object]]]] = {
    "commit": lambda face: face.commit(put("3", parent="2", append=b"three" * 1_000)),
    "commit writes": lambda face: face.commit(add("2", write("task", 0, b"value"))),
    "commit a header": lambda face: face.commit(commit(state=b"{}")),
    "commit, refused": lambda face: face.commit(put("4", new=True)),
    "load": lambda face: face.load(SESSION),
    "load by id": lambda face: face.load(SESSION, "", "1"),
    "load nothing": lambda face: face.load("another"),
    "read": lambda face: face.read(SESSION, [Span(0, 20_000)]),
    "scan": lambda face: face.scan(SESSION, [Start(""), Start("child", "9")], 100),
    "heads": lambda face: face.heads(SESSION),
    "info": lambda face: face.info(SESSION),
    "touch": lambda face: face.touch(SESSION),
    "set_ttl": lambda face: face.set_ttl(SESSION, "2h"),
    "pin": lambda face: face.pin(SESSION),
    "unpin": lambda face: face.pin(SESSION, pinned=False),
    "copy": lambda face: face.copy(SESSION, "copy"),
    "delete": lambda face: face.delete(SESSION),
    "ping": lambda face: face.ping(),
}


@pytest.mark.parametrize("call", CALLS)
async def test_every_store_call_is_one_trip(
    store: RedisStore, face: str, trips: Trips, call: str
) -> None:
    """Each method of the store is one trip, hit or miss, whatever the policy."""
    there = face_of(store, face)
    await there.commit(put("1", append=b"one" * 10_000))
    await there.commit(put("2", parent="1", append=b"two"))
    await there.commit(put("1", ns="child"))
    assert await trips.of(lambda: CALLS[call](there)) == 1


async def test_a_prune_is_one_trip(store: RedisStore, face: str, trips: Trips) -> None:
    """Dropping records with all that only they need is one trip."""
    there = face_of(store, face)
    for number in range(50):
        await there.commit(put(f"{number:02}", append=bytes(5_000)))
    life = (await info(there)).life
    names = [("", f"{number:02}") for number in range(49)]
    what = prune(life, *names, free=(Span(0, 240_000),))
    assert await trips.of(lambda: there.prune(what)) == 1


async def test_a_page_of_sessions_is_two_trips(store: RedisStore, face: str, trips: Trips) -> None:
    """Finding the keys is one trip, and their headers and lifetimes are another."""
    there = face_of(store, face)
    assert await trips.of(there.list_sessions) == 2
    for number in range(50):
        await there.commit(put("1", session=f"session {number}"))
    before = trips.count
    page = await there.list_sessions(limit=1_000)
    assert (len(page.sessions), page.cursor) == (50, None)
    assert trips.count - before == 2


async def test_a_script_is_sent_again_only_where_the_server_forgot_it(
    redis_url: str, store: RedisStore, face: str, trips: Trips
) -> None:
    """The first call after the server lost its scripts takes one trip more, the next does not."""
    there = face_of(store, face)
    with redis.Redis.from_url(redis_url) as server:
        server.script_flush()
    calls = [await trips.of(lambda: there.commit(put("1"))) for _ in range(2)]
    assert calls == [2, 1]
