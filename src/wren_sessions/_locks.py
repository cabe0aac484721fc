"""Locks that survive an exception anywhere and a fork at any time, unlike Python's.

An exception can come between any two steps of a program: Ctrl-C, or the time limit of a job runner.
If it comes just after a lock was taken, or just before it is released, the lock stays taken
forever. And a child of `os.fork` has its parent's locks as they were, but not the threads that
would release them.

A `Lock` remembers its holder. A thread that waits for long checks whether the holder's call still
runs, and otherwise takes over the lock. The guarded data may be half changed, so `repair` is called
before anybody else sees it. In a forked child, all locks are free. Other objects that must be
renewed there register with `renew_in_child`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from threading import get_ident
from types import FrameType, TracebackType
from typing import Final, Protocol
from weakref import WeakSet

from wren_sessions.errors import StoreUnavailableError, WrenSessionsError

_PATIENCE_S: Final = 0.05
_NAMELESS_S: Final = 1.0  # a holder takes two steps from taking a lock to leaving its name


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
