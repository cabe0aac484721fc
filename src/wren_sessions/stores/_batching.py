"""Commits of many tasks, handed to a blocking store together by one thread.

A task puts its commit on a list and waits. If no thread is working, one is started. It takes
everything on the list, commits it, tells the tasks, and repeats this until the list is empty. So
fifty tasks cost one switch of threads instead of fifty, and commits that arrive while the thread
waits for the disk share the next wait.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeAlias, TypeVar

from wren_sessions._blocking import Lock
from wren_sessions.records import Commit, Committed

T = TypeVar("T")

Outcome: TypeAlias = Committed | BaseException

CommitAll: TypeAlias = Callable[[Sequence[Commit]], Sequence[Outcome]]


class _Waiting(NamedTuple):
    """A commit, and the future of the task that waits for its answer."""

    commit: Commit
    future: asyncio.Future[Committed]


class Batcher:
    """Hands commits on.

    Args:
        commit_all: commits; says of each what it gave, or raised. Called by one thread at a time.
        start: runs something in a thread.
    """

    def __init__(
        self, commit_all: CommitAll, start: Callable[[Callable[[], None]], object]
    ) -> None:
        self._commit_all = commit_all
        self._start = start
        self._lock = Lock()
        self._waiting: list[_Waiting] = []
        self._working = False

    async def commit(self, commit: Commit) -> Committed:
        """Have a commit made, and wait for its answer.

        A task that is cancelled before a thread has taken its commit takes it back.
        """
        waiting = _Waiting(commit, asyncio.get_running_loop().create_future())
        with self._lock:
            self._waiting.append(waiting)
            idle, self._working = not self._working, True
        if idle:
            try:
                self._start(self._work)
            except BaseException as error:
                waiting.future.cancel()  # this task is told by what it raises
                self._give_up(error)
                raise
        return await waiting.future

    def _work(self) -> None:
        while batch := self._take():
            self._make(batch)

    def _make(self, batch: Sequence[_Waiting]) -> None:
        try:
            outcomes = self._commit_all([waiting.commit for waiting in batch])
        except BaseException as error:  # noqa: BLE001 -- it is everybody's answer
            _tell(batch, [error] * len(batch))
        else:
            _tell(batch, outcomes)

    def _take(self) -> list[_Waiting]:
        """What is to be done; where that is nothing, the next commit asks for a thread again."""
        with self._lock:
            taken, self._waiting = self._waiting, []
            batch = [waiting for waiting in taken if not waiting.future.cancelled()]
            self._working = bool(batch)
        return batch

    def _give_up(self, error: BaseException) -> None:
        with self._lock:
            taken, self._waiting = self._waiting, []
            self._working = False
        _tell(taken, [error] * len(taken))


def _tell(batch: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
    """Answer all tasks, with one call for each of their event loops."""
    by_loop = defaultdict(list)
    for waiting, outcome in zip(batch, outcomes, strict=True):
        by_loop[waiting.future.get_loop()].append((waiting.future, outcome))
    for loop, answers in by_loop.items():
        with suppress(RuntimeError):  # it was closed: nobody waits there any more
            loop.call_soon_threadsafe(_answer, answers)


def _answer(answers: Sequence[tuple[asyncio.Future[Committed], Outcome]]) -> None:
    for future, outcome in answers:
        settle(future, outcome)


def settle(future: asyncio.Future[T], outcome: T | BaseException) -> None:
    """Answer a future, in its event loop's thread, unless it was cancelled."""
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
