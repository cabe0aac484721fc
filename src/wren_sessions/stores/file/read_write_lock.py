"""A lock that many threads share, and that one thread takes alone now and then.

Nobody is woken. A thread that waits checks again from time to time, since waiting is rare. So
nothing is lost if a thread is interrupted here. Which threads are inside, and which one has shut
the others out, follows from the calls that are still running.
"""

from __future__ import annotations

import sys
import time
from threading import get_ident
from types import FrameType
from typing import Final

from wren_sessions._blocking import Lock, thread_in

_PAUSE_S: Final = 0.001
_LOOKS: Final = 50  # pauses, before somebody looks whether those who are waited for still run


class ReadWriteLock:
    """Lets threads in, until one shuts it and waits for those inside to leave.

    Who comes says so first and looks whether the gate is shut then; who shuts it says so first and
    looks who is inside then. So one of them sees the other, and coming and going takes no lock.
    """

    def __init__(self) -> None:
        self._inside: dict[int, FrameType] = {}  # the calls that came in, by their thread
        self._shut_by: int | None = None
        self._shutter: FrameType | None = None  # the call that shut it; None for a fork
        self._shutting = Lock()

    def __enter__(self) -> None:
        thread = get_ident()
        self._inside[thread] = sys._getframe(1)  # noqa: SLF001 -- who is inside
        looks = 0
        while self._shut_by is not None:
            self._inside.pop(thread, None)
            looks = self._look_again(looks)
            self._inside[thread] = sys._getframe(1)  # noqa: SLF001

    def __exit__(self, *_: object) -> None:
        self._inside.pop(get_ident(), None)

    def shut(self, *, forking: bool = False) -> None:
        """Let nobody in, and wait until nobody else is inside. Follow it by `open` at any rate.

        Args:
            forking: the call that opens it is another one.
        """
        thread, looks = get_ident(), 0
        caller = None if forking else sys._getframe(1)  # noqa: SLF001 -- who shut it
        while not self._claim(thread, caller):
            looks = self._look_again(looks)
        while self._inside.keys() - {thread}:
            looks = self._look_again(looks)

    def open(self) -> None:
        """Let threads in again, if it was this one that shut the gate."""
        if self._shut_by == get_ident():
            self._shutter = None
            self._shut_by = None

    def _claim(self, thread: int, caller: FrameType | None) -> bool:
        with self._shutting:
            if self._shut_by not in {None, thread}:
                return False
            self._shutter = caller
            self._shut_by = thread
            return True

    def _look_again(self, looks: int) -> int:
        """Wait for a moment; now and then, look for those who left without saying so."""
        time.sleep(_PAUSE_S)
        if (looks + 1) % _LOOKS == 0:
            for thread, call in list(self._inside.items()):
                if thread_in(call) is None and self._inside.get(thread) is call:
                    self._inside.pop(thread, None)
            shutter = self._shutter
            if shutter is not None and thread_in(shutter) is None:
                self._reopen(shutter)
        return looks + 1

    def _reopen(self, shutter: FrameType) -> None:
        with self._shutting:
            if self._shutter is shutter:
                self._shutter = None
                self._shut_by = None
