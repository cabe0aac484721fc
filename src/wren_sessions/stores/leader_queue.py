"""One thread does the work of many threads together.

If there is only one caller, it does its work at once, in its own thread, without the queue. If
another thread is the leader already, a caller puts its work into the queue. This leader may still
take it along (`queued`). Otherwise the next leader takes the lock and does all work in the queue
together. Then it wakes the threads whose work was done, and the first one that came later. So many
threads share one wait for a disk or a server.

Rules:

- Work leaves the queue only when it is settled, and settling a batch is one assignment. So if a
  leader is interrupted, wherever that happens, nothing is lost: the next leader does the work.
- Waiting threads check from time to time by themselves, and never depend on being woken.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from itertools import islice
from typing import Any, ClassVar, Final, Generic, TypeVar

from wren_sessions._blocking import Lock, renew_in_child

T = TypeVar("T")
W = TypeVar("W")

_PATIENCE_S: Final = 1.0


class Batch:
    """Jobs that are done together; `settled` once it is known what became of them."""

    __slots__ = ("settled",)

    def __init__(self) -> None:
        self.settled: bool = False


_NONE: Final = Batch()


class Ticket(Generic[W]):
    """Some work, and later its answer.

    Attributes:
        work: what is to be done.
        since: when it began to wait, by `time.monotonic`.
    """

    __slots__ = ("_asleep", "_batch", "_error", "_value", "since", "work")

    def __init__(self, work: W) -> None:
        self.work: W = work
        self.since: float = time.monotonic()
        self._value: Any = None
        self._error: BaseException | None = None
        self._batch = _NONE
        self._asleep: threading.Lock | None = None

    @property
    def settled(self) -> bool:
        """Whether the answer is final."""
        return self._batch.settled

    def join(self, batch: Batch) -> None:
        """Become part of a batch, perhaps after another one came to nothing."""
        self._batch = batch
        self._error = None

    def give(self, value: object) -> None:
        """Make a value the answer."""
        self._value = value

    def fail(self, error: BaseException) -> None:
        """Make an error the answer."""
        self._error = error

    def wait(self, lead: Lock) -> None:
        """Wait while somebody else leads, until woken; but not for long."""
        if self._asleep is None:
            self._asleep = threading.Lock()  # from now on a leader that ends wakes this one
            self._asleep.acquire()
        if lead.locked() and not self.settled and not self._asleep.acquire(timeout=_PATIENCE_S):
            lead.release_if_left()

    def wake(self) -> None:
        """Wake whoever waits, to look whether the ticket is settled, or to lead."""
        if self._asleep is not None:
            with suppress(RuntimeError):  # it is awake, or was woken by somebody else just now
                self._asleep.release()

    def answer(self) -> Any:
        """What the work gave.

        Raises:
            Exception: whatever it raised, or the batch.
        """
        if self._error is not None:
            raise self._error
        return self._value


class LeaderQueue(ABC, Generic[W]):
    """One leader at a time, and a queue.

    Attributes:
        most: how much may be done together.
    """

    most: ClassVar[int | None] = None

    def __init__(self) -> None:
        self._lead = Lock()
        self._queue: deque[Ticket[W]] = deque()
        renew_in_child(self)

    def renew(self) -> None:
        """In a forked child: those who waited are not in it."""
        self._queue.clear()

    @abstractmethod
    def alone(self, work: W) -> Any:
        """Do one caller's work. It may settle what is `queued` meanwhile."""

    @abstractmethod
    def together(self, tickets: Sequence[Ticket[W]]) -> None:
        """Settle tickets. What it leaves unsettled, because it was interrupted, is done again."""

    def queued(self) -> list[Ticket[W]]:
        """What is to be done, the first one first; for the leader."""
        first = islice(self._queue.copy(), self.most)
        return [ticket for ticket in first if not ticket.settled]

    @property
    def waiting(self) -> int:
        """How many wait or are at work."""
        return len(self._queue) + self._lead.locked()

    def run(self, work: W) -> Any:
        """Have some work done, and return when it is.

        Args:
            work: may be done again where it came to nothing, and in another thread.

        Returns:
            What it gave.

        Raises:
            Exception: what it raised.
        """
        if self._queue or self._lead.locked():
            return self._run_queued([work])[0].answer()
        try:
            with self._lead:
                if not self._queue:
                    return self.alone(work)
        finally:
            if self._queue:
                self._dismiss()
        return self._run_queued([work])[0].answer()  # somebody was faster by a hair

    def run_all(self, works: Sequence[W]) -> list[Any]:
        """Run works as `run` does, together with each other.

        Returns:
            What each gave, or what `run` would have raised.
        """
        if len(works) == 1:
            return [_outcome(lambda: self.run(works[0]))]
        return [_outcome(ticket.answer) for ticket in self._run_queued(works)]

    def _run_queued(self, works: Sequence[W]) -> list[Ticket[W]]:
        """Queue works up, and return when they are settled."""
        tickets = [Ticket(work) for work in works]
        self._queue.extend(tickets)
        try:
            for ticket in tickets:
                while not ticket.settled:
                    self._lead_or_wait(ticket)
        except BaseException:
            for ticket in tickets:
                self._forget(ticket)
            self._wake_next()
            raise
        return tickets

    def _lead_or_wait(self, ticket: Ticket[W]) -> None:
        if self._lead.locked():
            ticket.wait(self._lead)
            return
        try:
            with self._lead:
                if not ticket.settled:
                    self.together(self.queued())
        finally:
            if self._queue:
                self._dismiss()

    def _dismiss(self) -> None:
        """Wake those whose work is settled, and whoever is next."""
        for ticket in self._queue.copy():
            if ticket.settled:
                self._forget(ticket)
                ticket.wake()
        self._wake_next()

    def _wake_next(self) -> None:
        with suppress(IndexError):  # somebody else leads, and has emptied the queue
            self._queue[0].wake()

    def _forget(self, ticket: Ticket[W]) -> None:
        try:
            self._queue.remove(ticket)
        except ValueError:  # whoever waited for it was interrupted, and has removed it
            return


def fail_all(tickets: Sequence[Ticket[W]], error: Exception, batch: Batch) -> None:
    """Settle a batch with an error, of which each gets one of its own."""
    for ticket in tickets:
        ticket.fail(twin(error))
    batch.settled = True


def twin(error: Exception) -> Exception:
    """The same error for somebody else, who will add a traceback."""
    found = copy(error)
    found.__cause__ = error.__cause__
    return found


def _outcome(call: Callable[[], T]) -> T | Exception:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 -- it is the answer
        return error
