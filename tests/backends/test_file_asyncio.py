"""Commits of many tasks on a session file: one thread makes them, together."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from wren_sessions.errors import InvalidSessionIdError, StoreUnavailableError
from wren_sessions.records import Commit, Committed
from wren_sessions.stores._batching import Batcher
from wren_sessions.stores.file import FileStore
from wren_sessions.testing.build import SESSION, commit, put

posix = pytest.mark.skipif(os.name != "posix", reason="there is no fork on this system")


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> Any:
    """A store with a session."""
    async with FileStore(tmp_path / "sessions.db") as store:
        store.commit(put("0"))
        yield store


def count_transactions(store: FileStore) -> list[str]:
    """A list that grows by each COMMIT of the writer from now on."""
    writer = store._database._writer
    assert writer is not None
    commits: list[str] = []
    writer.connection.set_trace_callback(
        lambda statement: commits.append(statement) if statement == "COMMIT" else None
    )
    return commits


def wait_for_the_thread(store: FileStore) -> None:
    """Return when the thread that commits has taken what was there."""
    while not store._database._commits._lead.locked():
        time.sleep(0.001)


async def test_tasks_share_transactions(store: FileStore) -> None:
    """Fifty commits at once take two at most: the first one's, and that of all others."""
    commits = count_transactions(store)
    with store._database._turn:
        tasks = [
            asyncio.ensure_future(store.aio.commit(put(f"{number:02}", append=b"some")))
            for number in range(1, 51)
        ]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*tasks)
    assert [answer.outcome for answer in answers] == ["done"] * 50
    assert sorted(answer.base for answer in answers) == [4 * at for at in range(50)]
    assert len(commits) <= 2


async def test_one_that_fails_does_not_hurt_the_others(store: FileStore) -> None:
    """A session at its limit is refused, and what was committed along with it is there."""
    full = store.commit(put("1", session="full", append=b"some"))
    assert full.outcome == "done"
    writer = store._database._writer
    assert writer is not None
    writer.connection.execute(
        "UPDATE sessions SET arena_end = (1 << 32) - 1, arena_tail = (1 << 32) - 1"
        " WHERE name = 'full'"
    )
    with store._database._turn:
        tasks = [
            asyncio.ensure_future(store.aio.commit(put("1"))),
            asyncio.ensure_future(store.aio.commit(put("2"))),
            asyncio.ensure_future(store.aio.commit(put("2", session="full", append=b"some"))),
            asyncio.ensure_future(store.aio.commit(put("3"))),
        ]
        await asyncio.sleep(0)
    first, second, refused, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(refused, StoreUnavailableError)
    assert "limit was reached" in str(refused)
    for answer in (first, second, third):
        assert isinstance(answer, Committed)
        assert answer.outcome == "done"
    for name in ("1", "2", "3"):
        assert await store.aio.load(SESSION, "", name) is not None
    assert await store.aio.load("full", "", "2") is None


async def test_an_id_that_is_none_is_refused_at_once(store: FileStore) -> None:
    """What no store takes never comes to the list that others share."""
    with pytest.raises(InvalidSessionIdError):
        await store.aio.commit(commit(session="", state=b"{}"))


async def test_a_cancelled_commit_is_taken_back(store: FileStore) -> None:
    """A task that was cancelled while its commit waited has written nothing."""
    with store._database._turn:
        first = asyncio.ensure_future(store.aio.commit(put("1")))
        await asyncio.to_thread(wait_for_the_thread, store)
        second = asyncio.ensure_future(store.aio.commit(put("2")))
        third = asyncio.ensure_future(store.aio.commit(put("3")))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
    await asyncio.gather(first, third)
    assert second.cancelled()
    assert await store.aio.load(SESSION, "", "2") is None
    assert await store.aio.load(SESSION, "", "3") is not None


async def test_one_thread_is_enough_for_reads_beside_commits(tmp_path: Path) -> None:
    """Commits that wait for the disk keep no read from its thread."""
    async with FileStore(tmp_path / "sessions.db", threads=1) as store:
        await store.aio.commit(put("1"))
        with store._database._turn:
            waiting = asyncio.ensure_future(store.aio.commit(put("2")))
            await asyncio.to_thread(wait_for_the_thread, store)
            loaded = await store.aio.load(SESSION)
            assert loaded is not None
            assert loaded.stored.name == ("", "1")
            assert not waiting.done()
        assert (await waiting).outcome == "done"


def test_tasks_of_several_loops(tmp_path: Path) -> None:
    """Each loop's tasks get their own answers."""
    store = FileStore(tmp_path / "sessions.db")

    async def turns(session: str) -> None:
        answers = await asyncio.gather(
            *(store.aio.commit(put(f"{at:02}", session=session)) for at in range(20))
        )
        revisions = {answer.life.revision for answer in answers if answer.life}
        assert revisions == set(range(1, 21))

    errors: list[BaseException] = []

    def run(session: str) -> None:
        try:
            asyncio.run(turns(session))
        except BaseException as error:  # noqa: BLE001 -- the test looks at it
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f"loop-{at}",)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    assert errors == []


async def test_a_closed_store_takes_commits_again(store: FileStore) -> None:
    """Closing ends the thread; the next commit starts another one."""
    await store.aio.commit(put("1"))
    await store.aio.close()
    assert (await store.aio.commit(put("2"))).outcome == "done"


@posix
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_child_commits_with_a_thread_of_its_own(tmp_path: Path) -> None:
    """What a parent's thread was doing at the fork is no business of the child's."""
    store = FileStore(tmp_path / "sessions.db")
    asyncio.run(store.aio.commit(put("1")))
    batcher = store.aio._batcher
    assert batcher is not None
    batcher._working = True  # the parent's thread, which the child does not have
    child = os.fork()
    if not child:
        done = asyncio.run(store.aio.commit(put("2"))).outcome == "done"
        os._exit(0 if done else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert store.load(SESSION, "", "2") is not None
    store.close()


async def test_a_thread_that_cannot_be_had_is_everybodys_error() -> None:
    """Nobody waits for a thread that did not start, and the next one tries again."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    starts: list[object] = []

    def start(work: Any) -> None:
        starts.append(work)
        if len(starts) == 1:
            raise RuntimeError("can't start new thread")
        threading.Thread(target=work).start()

    def commit_all(commits: Sequence[Commit]) -> list[Committed]:
        return [Committed(outcome="done", now_ms=len(commits)) for _ in commits]

    batcher = Batcher(commit_all, start)
    with pytest.raises(RuntimeError, match="thread"):
        await batcher.commit(put("1"))
    assert (await batcher.commit(put("2"))).now_ms == 1
    gc.collect()
    assert complaints == []  # no error was left with a future that nobody looks at


async def test_what_a_whole_batch_ends_with_is_everybodys_error() -> None:
    """Where the store raises instead of answering, each task is told, and later ones are served."""
    errors: list[Exception] = [StoreUnavailableError("gone")]

    def commit_all(commits: Sequence[Commit]) -> list[Committed]:
        if errors:
            raise errors.pop()
        return [Committed(outcome="done", now_ms=1) for _ in commits]

    works: list[Callable[[], None]] = []
    batcher = Batcher(commit_all, works.append)
    tasks = [asyncio.ensure_future(batcher.commit(put(name))) for name in "123"]
    await asyncio.sleep(0)
    await asyncio.to_thread(works.pop())
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in found] == [StoreUnavailableError] * 3
    later = asyncio.ensure_future(batcher.commit(put("4")))
    await asyncio.sleep(0)
    await asyncio.to_thread(works.pop())
    assert (await later).outcome == "done"
