"""A gate: threads come and go, and now and then one waits until all are out."""

from __future__ import annotations

import threading


class ReadWriteLock:
    """Lets threads in, until one shuts it and waits for those inside to leave.

    Who comes says so first and looks whether the gate is shut then; who shuts it says so first and
    looks who is inside then. So one of them sees the other, and coming and going takes no lock.
    """

    def __init__(self) -> None:
        self._inside: set[int] = set()  # not a count: a thread that is interrupted here heals it
        self._shut_by: int | None = None
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        self._inside.add(threading.get_ident())
        while self._shut_by is not None:
            self.__exit__()
            with self._changed:
                self._changed.wait_for(self._is_open)
            self._inside.add(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        self._inside.discard(threading.get_ident())
        if self._shut_by is not None:
            with self._changed:
                self._changed.notify_all()

    def shut(self) -> None:
        """Let nobody in, and wait until nobody else is inside. Follow it by `open` at any rate."""
        with self._changed:
            self._changed.wait_for(self._is_open)
            self._shut_by = threading.get_ident()
            self._changed.wait_for(lambda: self._inside <= {self._shut_by})

    def open(self) -> None:
        """Let threads in again, if it was this one that shut the gate."""
        with self._changed:
            if self._shut_by == threading.get_ident():
                self._shut_by = None
                self._changed.notify_all()

    def _is_open(self) -> bool:
        return self._shut_by is None
