"""One engine for blocking and asynchronous callers.

What takes several store calls is an ordinary coroutine on `AsyncSessionStore`. Asynchronous callers
await it on ``store.aio``. Blocking callers run the same coroutine over `Unsuspended(store)`, whose
methods call the blocking store and never suspend: so `run` starts the coroutine once, and it has
ended when that returns. There is no event loop, no thread and no second copy of the code::

    engine = Engine(Unsuspended(store))
    answer = run(engine.rename("old", "new"))

A coroutine that waits for anything else (a lock, a timer, a task) cannot be run so, and `run` says
that it is a mistake of ours. To wait for another call, it uses a `Signal`, which any thread and any
event loop may send: that of a blocking caller stops its thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from wren_sessions.protocols import AsyncSessionStore, SessionStore, knowing_owners
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
)
from wren_sessions.ttl import Duration

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, and give what it returns.

    Raises:
        RuntimeError: it suspended, which only a mistake in this package makes it do.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} suspended, and cannot be run without an event loop")


async def at_once(work: Callable[[], T]) -> T:
    """Call what blocks. Asynchronous callers have `asyncio.to_thread` in its place."""
    return work()


class Signal(Protocol):
    """What one call waits for, and others send."""

    def send(self) -> None:
        """Let the other call go on. Does not wait."""

    async def wait(self, seconds: float) -> bool:
        """Wait for it; whether it was sent in time."""


class ThreadSignal:
    """A signal for a blocking caller. Waiting stops the thread, and does not suspend."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def send(self) -> None:
        """See `Signal.send`."""
        with suppress(RuntimeError):  # it was sent
            self._lock.release()

    async def wait(self, seconds: float) -> bool:
        """See `Signal.wait`."""
        return self._lock.acquire(timeout=seconds)


class LoopSignal:
    """A signal for a caller on the event loop that runs now."""

    def __init__(self) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._sent = asyncio.Event()

    def send(self) -> None:
        """See `Signal.send`."""
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(self._sent.set)

    async def wait(self, seconds: float) -> bool:
        """See `Signal.wait`."""
        import asyncio

        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # `wait_for` of Python 3.11 can lose a cancel
                await self._sent.wait()
        return self._sent.is_set()


def signal_for(store: AsyncSessionStore) -> Signal:
    """A signal for those who call this store."""
    return ThreadSignal() if isinstance(store, Unsuspended) else LoopSignal()


def stops_a_loop(store: AsyncSessionStore) -> bool:
    """Whether a call that waits stops an event loop, which others may need to go on."""
    if not isinstance(store, Unsuspended):
        return False
    import asyncio

    with suppress(RuntimeError):
        return asyncio.get_running_loop() is not None
    return False


class Unsuspended:
    """A blocking store behind asynchronous methods that never suspend.

    Args:
        store: the store; its own methods are called.
    """

    __slots__ = ("_store",)

    def __init__(self, store: SessionStore) -> None:
        self._store = store

    async def commit(self, commit: Commit) -> Committed:
        """See `SessionStore.commit`."""
        return self._store.commit(commit)

    async def prune(self, prune: Prune) -> Committed:
        """See `SessionStore.prune`."""
        return self._store.prune(prune)

    async def load(
        self,
        session: str,
        namespace: str = "",
        checkpoint_id: str | None = None,
        held: Held | None = None,
    ) -> Loaded | None:
        """See `SessionStore.load`."""
        return self._store.load(session, namespace, checkpoint_id, held)

    async def scan(self, session: str, starts: Sequence[Start], limit: int) -> Scanned:
        """See `SessionStore.scan`."""
        return self._store.scan(session, starts, limit)

    async def read(self, session: str, spans: Sequence[Span]) -> ArenaParts | None:
        """See `SessionStore.read`."""
        return self._store.read(session, spans)

    async def heads(self, session: str) -> tuple[Name, ...]:
        """See `SessionStore.heads`."""
        return self._store.heads(session)

    async def info(self, session: str) -> SessionInfo | None:
        """See `SessionStore.info`."""
        return self._store.info(session)

    async def list_sessions(self, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `SessionStore.list_sessions`."""
        return self._store.list_sessions(cursor, limit)

    async def touch(self, session: str) -> Life | None:
        """See `SessionStore.touch`."""
        return self._store.touch(session)

    async def set_ttl(self, session: str, idle: Duration | None) -> Life | None:
        """See `SessionStore.set_ttl`."""
        return self._store.set_ttl(session, idle)

    async def pin(self, session: str, *, pinned: bool = True) -> Life | None:
        """See `SessionStore.pin`."""
        return self._store.pin(session, pinned=pinned)

    async def delete(self, session: str) -> bool:
        """See `SessionStore.delete`."""
        return self._store.delete(session)

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
        return self._store.copy(source, target, replace=replace, state=state, expect=expect)

    async def annotate(self, session: str, notes: Notes, expect: Notes) -> Life | None:
        """See `OwnerStore.annotate`."""
        return knowing_owners(self._store).annotate(session, notes, expect)

    async def list_owned(
        self, owner: str, cursor: str | None = None, limit: int = 100
    ) -> SessionPage:
        """See `OwnerStore.list_owned`."""
        return knowing_owners(self._store).list_owned(owner, cursor, limit)

    async def delete_owned(self, session: str, owner: str) -> bool:
        """See `OwnerStore.delete_owned`."""
        return knowing_owners(self._store).delete_owned(session, owner)

    async def ping(self) -> None:
        """See `SessionStore.ping`."""
        self._store.ping()

    async def close(self) -> None:
        """See `SessionStore.close`. Closes the sync and the async API."""
        self._store.close()
