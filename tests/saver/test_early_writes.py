"""Pending writes whose checkpoint is not stored yet: killed processes, and threads."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final, cast

import pytest
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint

from saver.chains import config
from wren_sessions import FileStore, MemoryStore, SessionSaver, StoreUnavailableError
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
        with pytest.raises(StoreUnavailableError, match="waited 0 s for their checkpoint"):
            saver.put_writes(config(checkpoint_id="c1"), [("a", 1)], "task")
        held.go_on.set()
        putting.result(30)
    assert saver.get_tuple(config(checkpoint_id="c1")) is not None
