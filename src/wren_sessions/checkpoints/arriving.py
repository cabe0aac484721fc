"""Checkpoints of one session that are not stored yet, and pending writes that came before them.

This is not a cache. Writes that were accepted must be stored with their checkpoint, whatever
becomes of its put (see `pending`). So nothing is forgotten that may still be stored: a put that is
on its way, or failed a short time ago without a clear answer, and writes that came a short time
ago. Of what is older, a few are kept.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from wren_sessions._blocking import Signal
from wren_sessions.records import Life, Name

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

RECENT_S: Final = 900.0  # how long a checkpoint may take to come behind its writes or a failed put
MAX_BYTES: Final = 256 * 1_048_576  # what may wait for one checkpoint, whose commit contains it
MAX_OLD: Final = 64  # checkpoints of one session that are remembered for longer than that


class Putting:
    """A put on its way.

    Attributes:
        incarnation: the life that its checkpoint will belong to, as far as it is known: the session
            may expire, and the checkpoint begin another life.
        loop: the event loop that it is awaited on; None if it blocks its thread.
    """

    incarnation: str | None = None
    loop: AbstractEventLoop | None = None


class Early:
    """Pending writes that came before their checkpoint.

    Attributes:
        batches: the writes, as they came; each knows the incarnation that it is stored in, if any.
        unstored: whether some are not stored.
        size_bytes: how much those take.
        since_s: when the first came, by this process's own clock.
    """

    __slots__ = ("batches", "since_s", "size_bytes", "unstored")

    def __init__(self, since_s: float) -> None:
        self.batches: list[Any] = []
        self.unstored: bool = False
        self.size_bytes: int = 0
        self.since_s: float = since_s


class Unsure(NamedTuple):
    """A put that failed without a clear answer.

    Attributes:
        incarnation: the life that it was for, as far as that is known.
        since_s: when it failed, by this process's own clock.
    """

    incarnation: str | None
    since_s: float


class Arriving:
    """What this process knows of checkpoints that are not there yet. Has no lock, does no I/O.

    Attributes:
        begun: the puts that are on their way. A checkpoint may have several: of two at once, one
            may be refused, and the other must not lose what came between.
        awaited: what to send when one of them is stored, or has failed.
        unsure: those whose put failed, and which may be there all the same: an answer was lost, or
            a driver still repeats the call.
        early: the pending writes that came before.
    """

    __slots__ = ("awaited", "begun", "early", "unsure")

    def __init__(self) -> None:
        self.begun: dict[Name, list[Putting]] = {}
        self.awaited: dict[Name, list[Signal]] = {}
        self.unsure: dict[Name, Unsure] = {}
        self.early: dict[Name, Early] = {}

    def begin(self, name: Name, putting: Putting) -> None:
        """Remember a put, once."""
        puts = self.begun.setdefault(name, [])
        if putting not in puts:
            puts.append(putting)

    def end(self, name: Name, putting: Putting, *, unsure: bool) -> None:
        """Forget a put that failed; who waits for it goes on with the last one."""
        puts = self.begun.get(name, [])
        if putting in puts:
            puts.remove(putting)
            if unsure:
                self.fail(name, putting.incarnation)
        if not puts:
            self.begun.pop(name, None)
            self.let_go(name)

    def end_closed(self, name: Name) -> None:
        """Forget the puts that never go on, because their event loop was closed."""
        for putting in [*self.begun.get(name, ())]:
            if putting.loop is not None and putting.loop.is_closed():
                self.end(name, putting, unsure=True)

    def let_go(self, name: Name) -> None:
        """Tell those who wait for a checkpoint that it is not being written any more."""
        for signal in self.awaited.pop(name, ()):
            signal.send()

    def hold(self, name: Name, writes: Any) -> bool:
        """Remember pending writes until their checkpoint is stored; False if they are too many."""
        early = self.early.get(name)
        size_bytes = writes.size_bytes if writes.incarnation is None else 0
        if early is not None and early.size_bytes and early.size_bytes + size_bytes > MAX_BYTES:
            return False
        if early is None:
            early = self.early[name] = Early(time.monotonic())
            _give_up_old(self.early)
        early.unstored = early.unstored or writes.incarnation is None
        early.size_bytes += size_bytes
        early.batches.append(writes)
        return True

    def fail(self, name: Name, incarnation: str | None) -> None:
        """Remember that a put failed without a clear answer."""
        self.unsure[name] = Unsure(incarnation, time.monotonic())
        _give_up_old(self.unsure)

    def is_busy(self) -> bool:
        """Whether checkpoints are on their way, or may still come."""
        waiting: list[Early | Unsure] = [*self.early.values(), *self.unsure.values()]
        return bool(self.begun) or any(map(_is_recent, waiting))

    def release(self, name: Name, life: Life) -> None:
        """Let go of what a life has of a checkpoint that is there, for another one continues it.

        So nothing waits for ever if it was written too long ago to be remembered here.
        """
        early = self.early.get(name)
        if early is not None:
            early.batches = [each for each in early.batches if each.incarnation != life.incarnation]
            if not early.batches:
                del self.early[name]


def _is_recent(each: Early | Unsure) -> bool:
    return time.monotonic() - each.since_s < RECENT_S


def _give_up_old(waiting: dict[Name, Early] | dict[Name, Unsure]) -> None:
    """Forget the oldest, but none that may still come, as those of a step with many subgraphs."""
    while len(waiting) > MAX_OLD:
        oldest = next(iter(waiting))
        if _is_recent(waiting[oldest]):
            break
        del waiting[oldest]
