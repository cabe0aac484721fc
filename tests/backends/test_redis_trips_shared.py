"""Calls that come while all lanes are busy go together, and each gets its own answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeAlias

import pytest
import redis

from backends.faces import opened
from backends.processes import run_code
from backends.proxy import Proxy, proxy_to
from backends.trips import counted_trips
from servers import ServerAddress
from wren_sessions.errors import CorruptSessionError, StoreTimeoutError
from wren_sessions.records import Committed, Loaded, SessionPage
from wren_sessions.stores.redis import RedisStore
from wren_sessions.stores.redis.scripts import script
from wren_sessions.stores.redis.trips import LANES, MOST
from wren_sessions.testing.build import SESSION, add, done, info, pending, put, write

Call: TypeAlias = tuple[Any, ...]

COMMIT: Final = b"EVALSHA\r\n$40\r\n" + script("commit").sha.encode()

FORK: Final = """
import os, sys, threading
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing.build import put

store = RedisStore.from_url(sys.argv[1])
store.commit(put("1"))

def lead(lane):
    with lane._lead:
        ready.release()
        threading.Event().wait()

ready = threading.Semaphore(0)
for lane in store._pipelines._lanes:
    threading.Thread(target=lead, args=(lane,), daemon=True).start()
    ready.acquire()
child = os.fork()
if child == 0:
    assert store.commit(put("2")).outcome == "done"
    os._exit(0)
_, status = os.waitpid(child, 0)
print(status)
"""


@pytest.fixture
def proxy(redis_url: str, redis_server: ServerAddress) -> Iterator[Proxy]:
    """A proxy to the server, which can keep replies back."""
    with proxy_to(redis_server.host, redis_server.port) as proxy:
        yield proxy


async def until(holds: Callable[[], bool]) -> None:
    """Let others go on until something holds."""
    while not holds():  # noqa: ASYNC110 -- nobody sets an event
        await asyncio.sleep(0)


class Crowd:
    """Calls that come while all lanes of a store are busy.

    Args:
        store: the store, behind the proxy.
        face: which of its methods are called.
        proxy: keeps the replies back meanwhile.
    """

    def __init__(self, store: RedisStore, face: str, proxy: Proxy) -> None:
        self._store = store
        self._face = face
        self._proxy = proxy
        self._threads = ThreadPoolExecutor(100)

    async def gather(self, *calls: Call) -> list[Any]:
        """What the calls returned or raised, once the replies may come."""
        waiting = await self.wait(*calls)
        self._proxy.release()
        return await asyncio.gather(*waiting, return_exceptions=True)

    async def wait(self, *calls: Call) -> Sequence[asyncio.Future[Any]]:
        """Make all lanes busy, and start the calls behind that."""
        await self._start("ping")
        self._proxy.hold()
        lanes, before = min(LANES, self._connections()), len(self._proxy.requests)
        busy = [self._start("ping") for _ in range(lanes)]
        await until(lambda: self._under_way() == lanes)
        await until(lambda: len(self._proxy.requests) >= before + lanes)
        waiting = []
        for number, call in enumerate(calls, 1):
            waiting.append(self._start(*call))
            await until(lambda expected=number: self._queued() == expected)  # type: ignore[misc]
        for call_of_lane in busy:
            call_of_lane.add_done_callback(lambda call: call.cancelled() or call.exception())
        self._threads.shutdown(wait=False)
        return waiting

    def _connections(self) -> int:
        found: int = self._store._options.get("max_connections", LANES)
        return found

    def _start(self, name: str, *args: object) -> asyncio.Future[Any]:
        if self._face == "async":
            task: asyncio.Future[Any] = asyncio.ensure_future(getattr(self._store.aio, name)(*args))
            return task
        call: Callable[[], object] = partial(getattr(self._store, name), *args)
        return asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _pipelines(self) -> Any:
        if self._face == "async":
            return self._store._loops._clients[asyncio.get_running_loop()].trips
        return self._store._pipelines

    def _under_way(self) -> int:
        trips = self._pipelines()
        if self._face == "async":
            return sum(not lane.free for lane in trips._lanes)
        return sum(lane._lead.locked() for lane in trips._lanes)

    def _queued(self) -> int:
        trips = self._pipelines()
        if self._face == "async":
            return len(trips._queue)
        return sum(len(lane._queue) for lane in trips._lanes)


def puts(count: int) -> list[Call]:
    """Commits of so many records, each with four bytes of its own."""
    return [("commit", put(f"{number:03}", append=b"some")) for number in range(count)]


async def known(store: RedisStore) -> None:
    """Have the server know the scripts."""
    await done(store.aio, put("1", session="elsewhere"))
    await store.aio.load("elsewhere")


@pytest.mark.parametrize(("count", "trips"), [(1, 1), (10, 1), (MOST, 1), (MOST + 1, 2)])
async def test_calls_that_wait_share_a_trip(
    proxy: Proxy, face: str, count: int, trips: int
) -> None:
    """Behind one busy connection they go together, up to so many."""
    async with opened(proxy.url, max_connections=1) as store:
        await known(store)
        await done(store.aio, put("before"))
        crowd = Crowd(store, face, proxy)
        waiting = await crowd.wait(*puts(count))
        with counted_trips() as counted:
            proxy.release()
            answers: list[Committed] = await asyncio.gather(*waiting)
        # Of the ping that kept them waiting only the reply is counted.
        assert counted.count == trips
        assert sorted(answer.base for answer in answers) == list(range(0, 4 * count, 4))
        assert (await info(store.aio)).life.revision == count + 1


async def test_no_more_connections_than_lanes(proxy: Proxy, face: str, client: redis.Redis) -> None:
    """However many calls wait, a face has four connections."""
    others = {each["id"] for each in client.client_list()}  # of tests before, some on their way out
    async with opened(proxy.url) as store:
        answers = await Crowd(store, face, proxy).gather(*puts(90))
        assert {answer.outcome for answer in answers} == {"done"}
        assert len({each["id"] for each in client.client_list()} - others) == LANES


async def test_each_gets_its_own_answer(proxy: Proxy, face: str) -> None:
    """Reads and writes of many sessions, and listings, do not mix."""
    async with opened(proxy.url, max_connections=1) as store:
        for number in range(5):
            body = f"body {number}".encode()
            await done(store.aio, put("1", session=f"session {number}", body=body))
        calls: list[Call] = [("load", f"session {number}") for number in range(5)]
        calls[2:2] = [("list_sessions",), ("delete", "nobody")]
        answers = await Crowd(store, face, proxy).gather(*calls)
        listed, deleted = answers.pop(2), answers.pop(2)
        assert isinstance(listed, SessionPage)
        assert deleted is False
        for number, found in enumerate(answers):
            assert isinstance(found, Loaded)
            assert found.stored.body == f"body {number}".encode()


async def test_an_error_is_its_callers_alone(proxy: Proxy, face: str, client: redis.Redis) -> None:
    """One that meets a key of another type is told so; the others are done."""
    client.set("langgraph:checkpoint:foreign:latest", "a pickle", ex=60)
    async with opened(proxy.url, max_connections=1) as store:
        await known(store)
        calls = puts(4)
        calls[2:2] = [("load", "foreign")]
        answers = await Crowd(store, face, proxy).gather(*calls)
        assert isinstance(answers.pop(2), CorruptSessionError)
        assert [answer.outcome for answer in answers] == ["done"] * 4
        assert (await info(store.aio)).life.revision == 4


async def test_scripts_that_the_server_forgot_are_sent(
    proxy: Proxy, face: str, client: redis.Redis
) -> None:
    """Each call whose script is not known is made once, in full; the others are not repeated."""
    async with opened(proxy.url, max_connections=1) as store:
        await known(store)
        crowd = Crowd(store, face, proxy)
        waiting = await crowd.wait(*puts(3), ("delete", "elsewhere"), ("load", "elsewhere"))
        client.script_flush()
        proxy.release()
        answers = await asyncio.gather(*waiting)
        assert [answer.base for answer in answers[:3]] == [0, 4, 8]
        assert answers[3:] == [True, None]
        assert (await info(store.aio)).life.revision == 3


async def test_a_lost_reply_repeats_all_of_them(proxy: Proxy, face: str) -> None:
    """The driver sends the trip again, and each commit of it is applied once."""
    async with opened(proxy.url, max_connections=1) as store:
        await known(store)
        await done(store.aio, put("1"))
        interrupts: list[Call] = [
            ("commit", add("1", write(f"task {at}", -3, b"%d" % at, replaces=True)))
            for at in range(MOST)
        ]
        crowd = Crowd(store, face, proxy)
        waiting = await crowd.wait(*interrupts)
        proxy.cut(COMMIT)
        proxy.release()
        answers = await asyncio.gather(*waiting)
        assert proxy.lost == 1
        assert {answer.outcome for answer in answers} == {"done"}
        assert (await info(store.aio)).life.revision == MOST + 1
        assert len(await pending(store.aio, "1")) == MOST


async def test_no_answer_is_everybodys_timeout(proxy: Proxy, face: str) -> None:
    """Each caller gets an error of its own, about its own session."""
    async with opened(proxy.url, max_connections=1, socket_timeout=0.3) as store:
        crowd = Crowd(store, face, proxy)
        waiting = await crowd.wait(*(("touch", f"session {number}") for number in range(5)))
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        proxy.release()
        for number, error in enumerate(answers):
            assert isinstance(error, StoreTimeoutError)
            assert f"'session {number}'" in str(error)
        causes = [error.__cause__ for error in answers if isinstance(error, BaseException)]
        assert len(set(map(id, causes))) == len(answers)
        await store.aio.ping()


# --- cancellation ---------------------------------------------------------------------------------


async def test_what_is_cancelled_while_it_waits_is_not_sent(proxy: Proxy) -> None:
    """A task that gives up before there is room takes its call back."""
    async with opened(proxy.url, max_connections=1) as store:
        await known(store)
        crowd = Crowd(store, "async", proxy)
        waiting = await crowd.wait(*puts(3))
        waiting[1].cancel()
        proxy.release()
        assert [(await waiting[at]).base for at in (0, 2)] == [0, 4]
        assert waiting[1].cancelled()
        assert (await info(store.aio)).life.revision == 2


async def test_one_that_is_cancelled_on_its_way_leaves_the_others(proxy: Proxy) -> None:
    """Whoever shares its trip gets an answer all the same."""
    async with opened(proxy.url, max_connections=1) as store:
        await known(store)
        crowd = Crowd(store, "async", proxy)
        waiting = await crowd.wait(*puts(3))
        proxy.release()
        trips = crowd._pipelines()
        await until(lambda: not trips._queue)
        waiting[0].cancel()
        assert [(await call).base for call in waiting[1:]] == [4, 8]
        assert waiting[0].cancelled()


def test_a_loop_may_end_while_calls_wait(proxy: Proxy) -> None:
    """What waits is cancelled with its loop, and the store serves the next one."""
    store = RedisStore.from_url(proxy.url, max_connections=1)

    async def leave() -> None:
        await known(store)
        await Crowd(store, "async", proxy).wait(*puts(20))

    async def come() -> int:
        await done(store.aio, put("later"))
        return (await info(store.aio)).life.revision

    asyncio.run(leave())
    proxy.release()
    assert asyncio.run(come()) == 1
    store.close()


# --- processes ------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_does_not_wait_for_its_parents_threads(redis_url: str) -> None:
    """Whoever led in the parent does not lead in the child."""
    assert run_code(FORK, redis_url) == "0\n"


def test_a_session_remembers_as_many_commits_as_share_a_trip(redis_url: str) -> None:
    """Else a trip that is repeated could apply one of them twice."""
    with RedisStore.from_url(redis_url) as store, redis.Redis.from_url(redis_url) as client:
        store.commit(put("1"))
        for number in range(2 * MOST):
            store.commit(add("1", write(f"task {number}", -3, b"", replaces=True)))
        done_tokens = client.hget(f"langgraph:checkpoint:{SESSION}:latest", ":done")
        assert isinstance(done_tokens, bytes)
        assert len(done_tokens.split()) == MOST
