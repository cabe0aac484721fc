"""How callers of all kinds work and wait: one engine, signals, locks, and what is kept under them.

**One engine for blocking and asynchronous callers.** What takes several store calls is an ordinary
coroutine on `AsyncSessionStore`. Asynchronous callers await it on ``store.aio``. Blocking callers
run the same coroutine over `Unsuspended(store)`, whose methods call the blocking store and never
suspend: so `run` starts the coroutine once, and it has ended when that returns. There is no event
loop, no thread and no second copy of the code::

    engine = Engine(Unsuspended(store))
    answer = run(engine.rename("old", "new"))

A coroutine that waits for anything else (a lock, a timer, a task) cannot be run so, and `run` says
that it is a mistake of ours. To wait for another call, it uses a `Signal`, which any thread and any
event loop may send: that of a blocking caller stops its thread.

**Locks that survive an exception anywhere and a fork at any time**, unlike Python's. An exception
can come between any two steps of a program: Ctrl-C, or the time limit of a job runner. If it comes
just after a lock was taken, or just before it is released, the lock stays taken forever. And a
child of `os.fork` has its parent's locks as they were, but not the threads that would release them.

A `Lock` remembers its holder. A thread that waits for long checks whether the holder's call still
runs, and otherwise takes over the lock. The guarded data may be half changed, so `repair` is called
before anybody else sees it. In a forked child, all locks are free. Other objects that must be
renewed there register with `renew_in_child`.

`LRU` is the dict of bounded size in which everything is kept that threads share under such a lock.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from threading import get_ident
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from weakref import WeakSet

from wren_sessions.errors import StoreUnavailableError, WrenSessionsError
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

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

_PATIENCE_S: Final = 0.05
_NAMELESS_S: Final = 1.0  # a holder takes two steps from taking a lock to leaving its name


# --- one engine -----------------------------------------------------------------------------------


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


# --- signals --------------------------------------------------------------------------------------


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


def running_loop() -> AbstractEventLoop:
    """The event loop that runs now."""
    import asyncio

    return asyncio.get_running_loop()


class LoopSignal:
    """A signal for a caller on the event loop that runs now."""

    def __init__(self) -> None:
        import asyncio

        self._loop = running_loop()
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


# --- locks ----------------------------------------------------------------------------------------


class Lock:
    """A lock, for ``with`` in plain functions; the sections it guards do not wait for each other.

    Args:
        repair: repairs what an interrupted holder left; called with the lock held. If it is
            interrupted, it is called again.
    """

    __slots__ = (
        "__weakref__",
        "_frame",
        "_lock",
        "_nameless",
        "_odd",
        "_repair",
        "_thread",
        "_turns",
    )

    def __init__(self, repair: Callable[[], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._thread = 0
        self._frame: FrameType | None = None
        self._turns = 0
        self._nameless = (0, 0.0)  # after which turn it was first seen without a name, and when
        self._odd = False
        self._repair = repair
        renew_in_child(self)

    def __enter__(self) -> None:
        if not self._lock.acquire(False):  # to name the argument takes as long as the call
            self._wait()
        self._turns += 1
        self._thread = get_ident()
        self._frame = sys._getframe(1)  # noqa: SLF001 -- who holds it
        if self._odd:
            self._mend()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and not issubclass(kind, WrenSessionsError):
            self._odd = True
        self._frame = None
        self._lock.release()

    def _mend(self) -> None:
        try:
            if self._repair is not None:
                self._repair()
        except BaseException:
            self._frame = None
            self._lock.release()
            raise
        self._odd = False

    def locked(self) -> bool:
        """Whether somebody holds it."""
        if not self._lock.locked():
            return False
        if self._thread == get_ident() and self._frame is not None:
            return thread_in(self._frame) is not None
        return True

    def release_if_left(self) -> bool:
        """Release it if its holder was interrupted and cannot; whether that was so."""
        frame = self._frame
        if frame is None:
            return self._release_nameless()
        thread = thread_in(frame)
        if thread is None:
            self._take_from(frame)
        elif thread == get_ident():
            raise StoreUnavailableError(
                "this thread was stopped inside a call by a signal handler, or something like it, "
                "that calls the same store: it would wait for itself. Let the handler set a flag, "
                "and make the call behind it"
            )
        return thread is None

    def _release_nameless(self) -> bool:
        """The same, where the holder did not come to leave its name, or has just removed it."""
        now, (turns, since) = time.monotonic(), self._nameless
        if turns != self._turns or not since:
            self._nameless = (self._turns, now)
            return False
        if now - since < _NAMELESS_S:
            return False
        self._take_from(None)
        return True

    def _take_from(self, frame: FrameType | None) -> None:
        with _taking:
            if self._frame is frame:
                self._odd = True
                self._frame = None
                self._nameless = (0, 0.0)
                with suppress(RuntimeError):
                    self._lock.release()

    def _wait(self) -> None:
        patience_s = 0.0 if self._thread == get_ident() else _PATIENCE_S
        while not self._lock.acquire(timeout=patience_s):
            self.release_if_left()
            patience_s = _PATIENCE_S

    def renew(self) -> None:
        """Be free in a forked child, unless what forked holds it.

        A lock that looks free may have been given to a thread that did not come to know it.
        """
        frame = self._frame
        if frame is None or thread_in(frame) is None:
            self._odd = self._odd or self._lock.locked()
            self._frame = None
            self._lock = threading.Lock()


def thread_in(frame: FrameType) -> int | None:
    """The thread that runs a function's frame, or what that called; None if it has ended."""
    for thread, top in sys._current_frames().items():  # noqa: SLF001 -- theirs
        at: FrameType | None = top
        while at is not None:
            if at is frame:
                return thread
            at = at.f_back
    return None


# --- forks ----------------------------------------------------------------------------------------


class Renewed(Protocol):
    """What has to be new in a forked child."""

    def renew(self) -> None:
        """Forget what threads of the parent held or wait for."""


def renew_in_child(thing: Renewed) -> None:
    """Have something renewed in every forked child, in no order; it is not kept alive by this."""
    _renewed.add(thing)


def _renew_all() -> None:
    global _taking  # noqa: PLW0603 -- it may be held by a thread of the parent
    _taking = threading.Lock()
    for thing in list(_renewed):
        thing.renew()


_taking = threading.Lock()
_renewed: WeakSet[Renewed] = WeakSet()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)


# --- what is kept under them ----------------------------------------------------------------------


class LRU(OrderedDict[K, V]):
    """A dict of a bounded size: the entry used least recently goes first. For use under a lock.

    Args:
        most: how many entries it holds.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def used(self, key: K) -> V | None:
        """An entry, which is the one used last from now on; None if there is none."""
        found = self.get(key)
        if found is not None:
            self.move_to_end(key)
        return found

    def keep(self, key: K, value: V) -> tuple[K, V] | None:
        """Have an entry, used last; gives the one that had to go, if one had to."""
        self[key] = value
        self.move_to_end(key)
        return self.popitem(last=False) if len(self) > self._most else None
