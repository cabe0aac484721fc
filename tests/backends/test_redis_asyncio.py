"""Event loops, tasks, threads and processes: each has connections of its own, and none leaks."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any, Final

import pytest
import pytest_asyncio
import redis

from backends.faces import face_of, opened
from backends.processes import run_code
from backends.proxy import Proxy, proxy_to
from servers import ServerAddress
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing.build import SESSION, done, info, loaded, put, scan_ids

MANY: Final = 200
CONNECTIONS: Final = 50  # the default of a store

LOOPS: Final = """
import asyncio, gc, sys
from backends.chats import Chat
from wren_sessions import SessionSaver
from wren_sessions.stores.redis import RedisStore

url, ending = sys.argv[1:]
store = RedisStore.from_url(url)

async def turn(number):
    chats = [Chat(SessionSaver(store), f"chat {number} {at}") for at in range(5)]
    await asyncio.gather(*(chat.grow(2) for chat in chats))
    await chats[0].latest()
    if ending == "closed each time":
        await store.aio.close()
        await store.aio.close()

for number in range(3):
    asyncio.run(turn(number))
    gc.collect()
if ending == "closed at last":
    store.close()
    store.close()
print(len(store.list_sessions().sessions))
del store
gc.collect()
"""

FORK: Final = """
import asyncio, os, sys
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing.build import put

url = sys.argv[1]
store = RedisStore.from_url(url)

def connection():
    return store._pipelines.client.client_id()

async def write(number):
    assert store.commit(put(number)).outcome == "done"
    assert (await store.aio.commit(put(number, ns="awaited"))).outcome == "done"

asyncio.run(write("1"))
before = connection()
child = os.fork()
asyncio.run(write("2" if child else "3"))
if child == 0:
    assert connection() != before
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0
assert connection() == before
asyncio.run(write("4"))
print(store.info("cli_20251108_145739").life.revision)
"""


@pytest_asyncio.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    """A store with connections of its own."""
    async with opened(redis_url) as store:
        yield store


def connections(client: redis.Redis) -> set[str]:
    """The connections that the server has, those that earlier tests are just closing included."""
    return {each["id"] for each in client.client_list()}


# --- loops ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["never closed", "closed at last", "closed each time"])
def test_one_store_serves_one_loop_after_the_other(redis_url: str, ending: str) -> None:
    """Three times `asyncio.run` on one store, closed or not: no warning, and nothing is lost."""
    assert run_code(LOOPS, redis_url, ending) == "15\n"


def test_connections_end_with_their_loop(redis_url: str, client: redis.Redis) -> None:
    """When a loop has ended, the server has its connections no more."""
    before = connections(client)
    store = RedisStore.from_url(redis_url)

    async def ping() -> set[str]:
        await asyncio.gather(*(store.aio.ping() for _ in range(10)))
        return connections(client) - before

    for _ in range(3):
        assert asyncio.run(ping())
        while connections(client) - before:  # the server notices soon
            pass
    store.close()


def test_loops_in_several_threads_share_a_store(redis_url: str) -> None:
    """Each thread may have a loop of its own, at the same time as the others."""
    store = RedisStore.from_url(redis_url)

    async def write(number: int) -> None:
        for at in range(10):
            await done(store.aio, put(f"{number:02}{at:02}"))
        await store.aio.close()

    threads = [
        threading.Thread(target=lambda number=number: asyncio.run(write(number)))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.info(SESSION)
    assert found is not None
    assert found.life.revision == 80
    store.close()


async def test_a_closed_store_opens_again(store: RedisStore, face: str) -> None:
    """Closing gives connections back; a later call makes new ones, on either face."""
    there = face_of(store, face)
    await done(there, put("1"))
    for _ in range(2):
        await there.close()
    await done(there, put("2"))
    assert await scan_ids(there) == ["2", "1"]


# --- many at once ---------------------------------------------------------------------------------


async def test_many_tasks_wait_for_each_other(store: RedisStore, client: redis.Redis) -> None:
    """Two hundred tasks share fifty connections, on one session and on many: all are served."""
    before = connections(client)
    tasks = [done(store.aio, put(f"{number:03}", append=b"some")) for number in range(MANY)]
    tasks += [done(store.aio, put("1", session=f"session {number}")) for number in range(MANY)]
    answers = await asyncio.gather(*tasks)
    assert len(connections(client) - before) <= CONNECTIONS
    assert sorted(answer.base for answer in answers[:MANY]) == list(range(0, 4 * MANY, 4))
    assert (await info(store.aio)).life.revision == MANY
    assert len(await scan_ids(store.aio)) == MANY


def test_many_threads_wait_for_each_other(redis_url: str, client: redis.Redis) -> None:
    """Two hundred threads do the same with the blocking methods."""
    before = connections(client)
    store = RedisStore.from_url(redis_url)
    bases: list[int] = []
    start = threading.Barrier(MANY)

    def write(number: int) -> None:
        start.wait()
        bases.append(store.commit(put(f"{number:03}", append=b"some")).base)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(MANY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(connections(client) - before) <= CONNECTIONS
    assert sorted(bases) == list(range(0, 4 * MANY, 4))
    store.close()


async def test_fewer_connections_serve_as_many(redis_url: str, face: str) -> None:
    """`max_connections` is a bound on connections, not on calls."""
    async with opened(redis_url, max_connections=2) as store:
        there = face_of(store, face)
        await asyncio.gather(*(done(there, put(f"{number:03}")) for number in range(MANY)))
        assert (await info(there)).life.revision == MANY


async def test_a_small_pool_of_the_application_serves_as_many(redis_url: str) -> None:
    """So it is with an asyncio client of the application, however few connections that has."""
    client = redis.asyncio.Redis.from_url(redis_url, max_connections=2)
    there = RedisStore.from_client(client).aio
    await asyncio.gather(*(done(there, put(f"{number:03}")) for number in range(MANY)))
    assert (await info(there)).life.revision == MANY
    await client.connection_pool.disconnect()


# --- cancellation ---------------------------------------------------------------------------------


async def written(face: AsyncSessionStore, number: int) -> None:
    """Write a session whose content tells its number, and read it."""
    session, body = f"session {number}", f"body {number}".encode()
    await done(face, put("1", session=session, body=body))
    assert (await loaded(face, session=session)).stored.body == body


async def test_cancelled_calls_leave_the_connections_usable(store: RedisStore) -> None:
    """Whenever a call is cancelled, the calls behind it get their own answers."""
    await written(store.aio, 0)
    for number in range(1, MANY):
        task = asyncio.create_task(written(store.aio, number))
        for _ in range(number % 40):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await written(store.aio, -number)
    tasks = [asyncio.create_task(written(store.aio, number)) for number in range(MANY)]
    for at, task in enumerate(tasks):
        await asyncio.sleep(0)
        if at % 2:
            task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    kinds = {type(result) for result in results[::2]}
    assert kinds == {type(None)}
    await asyncio.gather(*(written(store.aio, number) for number in range(MANY)))


@pytest.fixture
def proxy(redis_url: str, redis_server: ServerAddress) -> Iterator[Proxy]:
    """A proxy to the server."""
    with proxy_to(redis_server.host, redis_server.port) as proxy:
        yield proxy


async def test_an_answer_that_nobody_waits_for_is_not_given_to_others(proxy: Proxy) -> None:
    """A call that is cancelled while its reply is on the way takes its connection with it."""
    async with opened(proxy.url, max_connections=1) as store:
        await done(store.aio, put("1", session="one", body=b"one"))
        await done(store.aio, put("1", session="two", body=b"two"))
        proxy.hold()
        task = asyncio.create_task(store.aio.load("one"))
        await asyncio.to_thread(proxy.wait_for, b"one:latest")
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proxy.release()
        assert (await loaded(store.aio, session="two")).stored.body == b"two"


async def test_a_cancellation_that_the_driver_loses_ends_the_call(store: RedisStore) -> None:
    """On Python 3.11 the driver may swallow a cancellation: the call ends with it all the same."""
    await store.aio.touch(SESSION)  # the server learns the script
    reading = asyncio.Event()

    class Deaf(redis.asyncio.Redis):
        async def parse_response(self, *args: Any, **options: Any) -> Any:
            with suppress(asyncio.CancelledError):
                reading.set()
                await asyncio.Event().wait()
            return await super().parse_response(*args, **options)

    client = Deaf.from_url(store.location)
    task = asyncio.create_task(RedisStore.from_client(client).aio.touch(SESSION))
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await client.connection_pool.disconnect()


async def test_a_time_limit_of_the_caller_ends_a_call(proxy: Proxy) -> None:
    """`asyncio.timeout` around a call works, and the store goes on."""
    async with opened(proxy.url) as store:
        await store.aio.ping()
        proxy.hold()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await store.aio.ping()
        proxy.release()
        await store.aio.ping()


# --- processes ------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_has_connections_of_its_own(redis_url: str) -> None:
    """A child process uses none of its parent's connections, and takes none from it."""
    assert run_code(FORK, redis_url) == "8\n"
