"""Operations that wait to be committed, and their answers. See `_sqlite_commit`."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_PATIENCE_S: Final = 1.0


class Batch:
    """Operations that share a transaction; `settled` once it is known what became of them."""

    __slots__ = ("settled",)

    def __init__(self) -> None:
        self.settled = False


_NONE: Final = Batch()


class Job(Generic[T]):
    """An operation, and later its answer."""

    __slots__ = ("_asleep", "_batch", "_error", "_operation", "_value")

    def __init__(self, operation: Callable[[sqlite3.Connection], T]) -> None:
        self._operation = operation
        self._value: T
        self._error: BaseException | None = None
        self._batch = _NONE
        self._asleep: threading.Lock | None = None

    @property
    def settled(self) -> bool:
        """Whether the answer is final."""
        return self._batch.settled

    def join(self, batch: Batch) -> None:
        """Become part of a transaction, perhaps after another one came to nothing."""
        self._batch = batch
        self._error = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Run the operation."""
        self._value = self._operation(connection)

    def fail(self, error: BaseException) -> None:
        """Make an error the answer."""
        self._error = error

    def wait(self, lead: threading.Lock) -> None:
        """Wait while somebody else leads, until woken; but not for long."""
        if self._asleep is None:
            self._asleep = threading.Lock()  # from now on a leader that ends wakes this one
            self._asleep.acquire()
        if lead.locked() and not self.settled:
            self._asleep.acquire(timeout=_PATIENCE_S)

    def wake(self) -> None:
        """Wake whoever waits, to look whether the job is settled, or to lead."""
        if self._asleep is not None:
            with suppress(RuntimeError):  # it is awake, or was woken by somebody else just now
                self._asleep.release()

    def answer(self) -> T:
        """What the operation returned.

        Raises:
            Exception: whatever it raised, or the transaction.
        """
        if self._error is not None:
            raise self._error
        return self._value
