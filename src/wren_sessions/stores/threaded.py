"""The async API of a store that only blocks.

A blocking store runs in its own threads to be awaited. LangGraph fills asyncio's default executor
with its own work. A store that used that executor would wait for the graph, for 0.5 to 3 seconds in
measurements. A store whose calls never wait (a dict) is called directly: ``threads=0``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from wren_sessions._blocking import Lock
from wren_sessions.protocols import SessionStore, knowing_owners, taking_turns
from wren_sessions.records import (
    ArenaParts,
    Commit,
    Committed,
    Held,
    Life,
    Loaded,
    Name,
    Notes,
    Prune,
    Scanned,
    SessionInfo,
    SessionPage,
    Span,
    Start,
    TurnState,
    TurnStep,
)
from wren_sessions.stores._batching import Batcher, CommitAll, settle
from wren_sessions.stores._checks import check_commit
from wren_sessions.ttl import Duration

T = TypeVar("T")


class ThreadedStore:
    """An `AsyncSessionStore` over a blocking store.

    Args:
        store: the blocking store.
        threads: how many calls may run at once; 0 calls the store directly, for stores that never
            wait. With `commit_all`, one more thread does all commits.
        commit_all: makes the commits of several tasks together, for stores that can share the wait.
            It returns the result or exception of each commit. None makes each commit separately.
    """

    def __init__(
        self, store: SessionStore, threads: int, commit_all: CommitAll | None = None
    ) -> None:
        self._store = store
        self._threads = threads
        self._commit_all = commit_all
        self._batcher: Batcher | None = None
        self._lock = Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._pid = os.getpid()

    async def _run(self, call: Callable[[], T]) -> T:
        if not self._threads:
            return call()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        # `run_in_executor` would have this future follow another one, for 10 µs more.
        self._pool().submit(_call, call, future)
        return await future

    def _pool(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pid != os.getpid():  # threads do not survive a fork
                self._pid = os.getpid()
                self._executor = self._batcher = None
            if self._executor is None:
                workers = self._threads + (self._commit_all is not None)
                self._executor = ThreadPoolExecutor(workers, "wren-sessions")
            return self._executor

    async def commit(self, commit: Commit) -> Committed:
        """See `SessionStore.commit`."""
        if self._commit_all is None:
            return await self._run(partial(self._store.commit, commit))
        check_commit(commit)
        return await self._batches(self._commit_all).commit(commit)

    def _batches(self, commit_all: CommitAll) -> Batcher:
        self._pool()
        with self._lock:
            if self._batcher is None:
                self._batcher = Batcher(commit_all, lambda work: self._pool().submit(work))
            return self._batcher

    async def prune(self, prune: Prune) -> Committed:
        """See `SessionStore.prune`."""
        return await self._run(partial(self._store.prune, prune))

    async def load(
        self,
        session: str,
        namespace: str = "",
        checkpoint_id: str | None = None,
        held: Held | None = None,
    ) -> Loaded | None:
        """See `SessionStore.load`."""
        return await self._run(partial(self._store.load, session, namespace, checkpoint_id, held))

    async def scan(self, session: str, starts: Sequence[Start], limit: int) -> Scanned:
        """See `SessionStore.scan`."""
        return await self._run(partial(self._store.scan, session, starts, limit))

    async def read(self, session: str, spans: Sequence[Span]) -> ArenaParts | None:
        """See `SessionStore.read`."""
        return await self._run(partial(self._store.read, session, spans))

    async def heads(self, session: str) -> tuple[Name, ...]:
        """See `SessionStore.heads`."""
        return await self._run(partial(self._store.heads, session))

    async def info(self, session: str) -> SessionInfo | None:
        """See `SessionStore.info`."""
        return await self._run(partial(self._store.info, session))

    async def list_sessions(self, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `SessionStore.list_sessions`."""
        return await self._run(partial(self._store.list_sessions, cursor, limit))

    async def touch(self, session: str) -> Life | None:
        """See `SessionStore.touch`."""
        return await self._run(partial(self._store.touch, session))

    async def set_ttl(self, session: str, idle: Duration | None) -> Life | None:
        """See `SessionStore.set_ttl`."""
        return await self._run(partial(self._store.set_ttl, session, idle))

    async def pin(self, session: str, *, pinned: bool = True) -> Life | None:
        """See `SessionStore.pin`."""
        return await self._run(partial(self._store.pin, session, pinned=pinned))

    async def delete(self, session: str) -> bool:
        """See `SessionStore.delete`."""
        return await self._run(partial(self._store.delete, session))

    async def copy(
        self,
        source: str,
        target: str,
        *,
        replace: bool | Life = False,
        state: bytes | None = None,
        expect: Life | None = None,
    ) -> Life | None:
        """See `SessionStore.copy`."""
        copy = partial(
            self._store.copy, source, target, replace=replace, state=state, expect=expect
        )
        return await self._run(copy)

    async def annotate(self, session: str, notes: Notes, expect: Notes) -> Life | None:
        """See `OwnerStore.annotate`."""
        store = knowing_owners(self._store)
        return await self._run(partial(store.annotate, session, notes, expect))

    async def list_owned(
        self, owner: str, cursor: str | None = None, limit: int = 100
    ) -> SessionPage:
        """See `OwnerStore.list_owned`."""
        store = knowing_owners(self._store)
        return await self._run(partial(store.list_owned, owner, cursor, limit))

    async def delete_owned(self, session: str, owner: str) -> bool:
        """See `OwnerStore.delete_owned`."""
        store = knowing_owners(self._store)
        return await self._run(partial(store.delete_owned, session, owner))

    async def turn(self, step: TurnStep) -> TurnState:
        """See `TurnStore.turn`."""
        return await self._run(partial(taking_turns(self._store).turn, step))

    async def ping(self) -> None:
        """See `SessionStore.ping`."""
        await self._run(self._store.ping)

    async def close(self) -> None:
        """See `SessionStore.close`."""
        await self._run(self._store.close)
        self.shutdown()

    def shutdown(self) -> None:
        """End the threads when the blocking store is closed. A later call starts new ones."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)


def _call(call: Callable[[], T], future: asyncio.Future[T]) -> None:
    """Call, in a thread, and tell the future; a task that was cancelled meanwhile wants nothing."""
    if future.cancelled():
        return
    try:
        answer = call()
    except BaseException as error:  # noqa: BLE001 -- it is the task's answer
        _tell(future, error)
    else:
        _tell(future, answer)


def _tell(future: asyncio.Future[T], outcome: T | BaseException) -> None:
    with suppress(RuntimeError):  # the loop was closed: nobody waits there any more
        future.get_loop().call_soon_threadsafe(settle, future, outcome)
