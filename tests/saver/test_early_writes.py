"""Pending writes whose checkpoint is not stored yet: killed processes, threads, lost answers."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final, cast

import pytest
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.serde.types import INTERRUPT

from remedies.proposals import tries
from saver.backends import Awaited
from saver.chains import config, pending
from wren_sessions import (
    ConflictError,
    FileStore,
    MemoryStore,
    SessionSaver,
    StoreUnavailableError,
)
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Commit, Committed

CHECKPOINT: Final[Checkpoint] = {**empty_checkpoint(), "id": "c1"}


@pytest.mark.parametrize("commit", [1, 2, 5, 9])
def test_a_killed_first_turn_has_all_writes_of_the_checkpoints_that_are_there(
    tmp_path: Path, commit: int
) -> None:
    """What `put_writes` has taken is in the store with its checkpoint, whenever that is."""
    path = tmp_path / "sessions.db"
    child = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("killed.py")), str(path), str(commit)],
        stdout=subprocess.PIPE,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    with FileStore(path) as store:
        there = {
            found.checkpoint["id"]: {task for task, _, _ in found.pending_writes or ()}
            for found in SessionSaver(store).list(config("first"))
        }
    assert there
    for line in child.stdout.decode().splitlines():
        checkpoint_id, task = line.split()
        assert checkpoint_id not in there or task in there[checkpoint_id]


class _HeldStore:
    """A blocking store that writes no checkpoint before it is told to."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self.writing = threading.Event()
        self.go_on = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, commit: Commit) -> Committed:
        """Write pending writes at once, and checkpoints later."""
        if commit.record is not None:
            self.writing.set()
            assert self.go_on.wait(30)
        return self._store.commit(commit)


def test_threads_wait_for_a_first_put_too() -> None:
    """A blocking `put_writes` returns behind the put that another thread makes."""
    held = _HeldStore(MemoryStore())
    saver = SessionSaver(cast("SessionStore", held))
    at = config(checkpoint_id="c1")
    with ThreadPoolExecutor() as threads:
        putting = threads.submit(saver.put, config(), CHECKPOINT, {}, {})
        assert held.writing.wait(30)
        writing = [threads.submit(saver.put_writes, at, [("a", n)], f"task {n}") for n in range(3)]
        assert not wait(writing, 0.05).done
        held.go_on.set()
        putting.result(30)
        for each in writing:
            each.result(30)
    found = saver.get_tuple(at)
    assert found is not None
    assert len(found.pending_writes or ()) == 3


def test_writes_are_not_taken_if_their_checkpoint_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`put_writes` does not wait for ever, and says what it waited for."""
    monkeypatch.setattr("wren_sessions.checkpoints.pending._LOOK_S", 0.01)
    monkeypatch.setattr("wren_sessions.checkpoints.pending._LOOKS", 3)
    held = _HeldStore(MemoryStore())
    saver = SessionSaver(cast("SessionStore", held))
    with ThreadPoolExecutor() as threads:
        putting = threads.submit(saver.put, config(), CHECKPOINT, {}, {})
        assert held.writing.wait(30)
        with pytest.raises(StoreUnavailableError, match="waited 0 s for the checkpoint 'c1'"):
            saver.put_writes(config(checkpoint_id="c1"), [("a", 1)], "task")
        held.go_on.set()
        putting.result(30)
    assert saver.get_tuple(config(checkpoint_id="c1")) is not None


class _LateStore(Awaited):
    """A store that answers late: commits of pending writes when it is told to.

    Attributes:
        go_on: lets it answer.
        lost: how many answers to checkpoints' commits are lost before one comes.
    """

    def __init__(self, store: SessionStore) -> None:
        super().__init__(store)
        self.go_on = asyncio.Event()
        self.lost = 0

    async def commit(self, commit: Commit) -> Committed:
        """Commit at once, and answer late or not at all."""
        done = await super().commit(commit)
        if commit.record is not None and self.lost:
            self.lost -= 1
            raise StoreUnavailableError("the answer was lost")
        await self.go_on.wait()
        return done


async def test_a_call_that_stops_the_loop_of_its_put_does_not_stop_it_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A blocking `put_writes` on the thread of an event loop keeps that loop from the put."""
    monkeypatch.setattr("wren_sessions.checkpoints.pending._LOOK_S", 0.01)
    slow = _LateStore(MemoryStore())
    saver = SessionSaver(cast("SessionStore", slow))
    putting = asyncio.create_task(saver.aput(config(), CHECKPOINT, {}, {}))
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailableError, match="waited 0 s"):
        saver.put_writes(config(checkpoint_id="c1"), [("a", 1)], "task")
    slow.go_on.set()
    await putting
    assert (await pending(saver, config(checkpoint_id="c1"))) == []


@tries("would wait for the checkpoint")
def test_what_waits_for_a_checkpoint_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused was not stored; behind the checkpoint it is stored by itself."""
    monkeypatch.setattr("wren_sessions.checkpoints.arriving.MAX_BYTES", 1_000)
    saver, at = SessionSaver(MemoryStore()), config(checkpoint_id="c1")
    saver.put_writes(at, [("a", b"1" * 600), ("b", b"2" * 600)], "large")  # alone, it may
    with pytest.raises(StoreUnavailableError, match="put the checkpoint first"):
        saver.put_writes(at, [("a", b"3")], "small")
    saver.put(config(), CHECKPOINT, {}, {})
    saver.put_writes(at, [("a", b"3")], "small")
    found = saver.get_tuple(at)
    assert found is not None
    assert [(task, channel) for task, channel, _ in found.pending_writes or ()] == [
        ("large", "a"),
        ("large", "b"),
        ("small", "a"),
    ]


class _GatedStore(Awaited):
    """A store that answers each commit of a checkpoint when it is told to.

    Attributes:
        gates: one for each, in their order; its result None lets the commit be made.
    """

    def __init__(self, store: SessionStore) -> None:
        super().__init__(store)
        self.gates: list[asyncio.Future[None]] = []

    async def commit(self, commit: Commit) -> Committed:
        """Wait, and commit."""
        if commit.record is not None:
            self.gates.append(asyncio.get_running_loop().create_future())
            await self.gates[-1]
        return await super().commit(commit)


@pytest.mark.parametrize("refused", [0, 1])
async def test_what_comes_between_two_puts_is_with_the_one_that_is_stored(refused: int) -> None:
    """One of two puts of a checkpoint at once is refused, and the other does not lose it."""
    store = MemoryStore()
    gated = _GatedStore(store)
    saver, at = SessionSaver(cast("SessionStore", gated)), config(checkpoint_id="c1")
    puts = [asyncio.create_task(saver.aput(config(), CHECKPOINT, {}, {})) for _ in range(2)]
    for _ in range(9):
        await asyncio.sleep(0)
    gated.gates[refused].set_exception(ConflictError("refused", session="t"))
    await asyncio.wait([puts[refused]])
    writing = asyncio.create_task(saver.aput_writes(at, [("a", 1)], "task"))
    for _ in range(9):
        await asyncio.sleep(0)
    gated.gates[1 - refused].set_result(None)
    await asyncio.wait([writing, *puts])
    assert isinstance(puts[refused].exception(), ConflictError)
    await writing
    assert await pending(SessionSaver(store), at) == [("task", "a", 1)]


@pytest.mark.parametrize("kind", [_LateStore, _GatedStore])
def test_a_put_whose_loop_was_closed_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, kind: type[_LateStore | _GatedStore]
) -> None:
    """Its task is kept, and never goes on: writes are stored if the checkpoint is there."""
    store = MemoryStore()
    late = kind(store)
    saver, at = SessionSaver(cast("SessionStore", late)), config(checkpoint_id="c1")
    loop = asyncio.new_event_loop()
    putting = loop.create_task(saver.aput(config(), CHECKPOINT, {}, {}))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    monkeypatch.setattr("wren_sessions.checkpoints.pending._LOOK_S", 0)
    monkeypatch.setattr("wren_sessions.checkpoints.pending._LOOKS", 1)
    if isinstance(late, _LateStore):
        late.go_on = asyncio.Event()
        late.go_on.set()
        asyncio.run(saver.aput_writes(at, [("a", 1)], "task"))
        found = SessionSaver(store).get_tuple(at)
        assert found is not None
        assert found.pending_writes == [("task", "a", 1)]
    else:
        with pytest.raises(StoreUnavailableError, match="could not be stored, or its answer was"):
            asyncio.run(saver.aput_writes(at, [("a", 1)], "task"))
    end(putting)


def end(task: asyncio.Task[Any]) -> None:
    """Let a task go that can never go on."""
    task._log_destroy_pending = False  # type: ignore[attr-defined] # that it is pending is no news
    cast("Coroutine[Any, Any, Any]", task.get_coro()).close()


async def test_writes_that_a_failed_put_overtakes_are_with_its_checkpoint() -> None:
    """They found no checkpoint; when they hear so, it is there, and its put has failed."""
    store = MemoryStore()
    slow = _LateStore(store)
    slow.lost = 1
    saver, at = SessionSaver(cast("SessionStore", slow)), config(checkpoint_id="c1")
    writing = asyncio.create_task(saver.aput_writes(at, [(INTERRUPT, "?")], "task"))
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailableError):
        await saver.aput(config(), CHECKPOINT, {}, {})
    slow.go_on.set()
    await writing
    assert await pending(SessionSaver(store), at) == [("task", INTERRUPT, "?")]


async def test_a_put_that_is_tried_again_does_not_bring_back_an_older_question() -> None:
    """What came before it is part of its commit, and a newer one was stored behind it."""
    slow = _LateStore(MemoryStore())
    slow.lost = 1
    slow.go_on.set()
    saver, at = SessionSaver(cast("SessionStore", slow)), config(checkpoint_id="c1")
    await saver.aput_writes(at, [(INTERRUPT, "old")], "task")
    with pytest.raises(StoreUnavailableError):
        await saver.aput(config(), CHECKPOINT, {}, {})
    await saver.aput_writes(at, [(INTERRUPT, "new")], "task")
    await saver.aput(config(), CHECKPOINT, {}, {})
    assert await pending(saver, at) == [("task", INTERRUPT, "new")]


async def test_writes_of_a_checkpoint_that_could_not_be_stored_are_refused() -> None:
    """Its put may go on behind the error; so writes without it would be lost if it came."""
    slow = _LateStore(MemoryStore())
    saver, there = SessionSaver(cast("SessionStore", slow)), config("other", checkpoint_id="c1")
    putting = asyncio.create_task(saver.aput(config("other"), CHECKPOINT, {}, {}))
    await asyncio.sleep(0)
    putting.cancel()
    await asyncio.wait([putting])
    slow.go_on.set()
    slow.delete("other")  # as if the commit had not come yet
    with pytest.raises(StoreUnavailableError, match="checkpoint 'c1' of session 'other'"):
        await saver.aput_writes(there, [("a", 1)], "task")
    await saver.aput(config("other"), CHECKPOINT, {}, {})
    await saver.aput_writes(there, [("a", 1)], "task")
    assert await pending(saver, there) == [("task", "a", 1)]
