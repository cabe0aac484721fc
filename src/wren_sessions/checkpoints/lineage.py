"""Which life of a session a checkpoint belongs to, and what happens to later writes.

A session can expire, be deleted, evicted or lost. Then another one may start with the same id. Each
is a *life*, and its incarnation distinguishes it from the others (see `records.Life`). If a run
continues after its session has ended, it must not bring back a fragment of the session, and must
not write to its successor. So every write belongs to the life of the checkpoint that it continues,
and its commit says so.

**What happens to a put:**

==============================================  ===================================================
what it continues                               what happens
==============================================  ===================================================
nothing                                         it belongs to the present life, or starts one
a checkpoint that exists                        it belongs to the same life
a checkpoint of a graph that it runs in         the same
nothing, in a subgraph                          the life that was there when its run looked for it
a checkpoint that was never stored              it starts a session, as with other checkpointers
the same, and a session exists                  `SessionGoneError`
the same, and this process saw or deleted one   `SessionGoneError`
a channel whose history is gone                 `SessionGoneError`
==============================================  ===================================================

**What happens to a write, if the store says that its life is over:**

==================================  ===========================================================
before its deadline                 somebody deleted or evicted it: `SessionGoneError`
after it, a put with everything     a new session of the same age, with the whole checkpoint
the same, and the id was taken      `SessionGoneError`: that session is somebody else's
the same, past the maximum age      `SessionExpiredError`
after it, another put               `SessionExpiredError`: it would bring back a fragment
after it, pending writes            left out, with a warning: the next put has their effect
after it, an interrupt or an error  `SessionExpiredError`: the next put does not have it
==================================  ===========================================================

A put has everything of a session if it is in the root namespace, no subgraph has its own memory,
and no channel depends on its history (LangGraph's ``DeltaChannel``).

**A write that comes before its checkpoint** belongs to the life in which its run began, or that of
the checkpoint which is on its way. If that is over or not known, or the write shares bytes with
other checkpoints, it is stored with the checkpoint, or behind it: see `pending`.

`Lineage` is what a process knows of one session. It has no lock and does no I/O.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from wren_sessions._blocking import Signal
from wren_sessions._lru import LRU
from wren_sessions.checkpoints.outcomes import gone
from wren_sessions.records import Life, Name

MAX_PAST: Final = 4  # lives of one session
MAX_ORIGINS: Final = 64  # checkpoints of one session
RECENT_S: Final = 900.0  # how long a checkpoint may take to come behind its writes or a failed put
MAX_OLD: Final = 64  # checkpoints of one session that are remembered for longer than that


class Seen:
    """A life as the store last told it, and whether a subgraph had a memory of its own in it."""

    __slots__ = ("life", "persistent_subgraphs")

    def __init__(self, life: Life) -> None:
        self.life: Life = life
        self.persistent_subgraphs: bool = False


class Early:
    """Pending writes that came before their checkpoint.

    Attributes:
        batches: the writes, as they came; each knows the incarnation that it is stored in, if any.
        unstored: whether some are not stored.
        since_s: when the first came, by this process's own clock.
    """

    __slots__ = ("batches", "since_s", "unstored")

    def __init__(self, since_s: float) -> None:
        self.batches: list[Any] = []
        self.unstored: bool = False
        self.since_s: float = since_s


class Unsure(NamedTuple):
    """A put that failed without a clear answer.

    Attributes:
        incarnation: the life that it was for, as far as that is known.
        since_s: when it failed, by this process's own clock.
    """

    incarnation: str | None
    since_s: float


class Lineage:
    """The lives of one session, and which checkpoint belongs to which of them.

    Attributes:
        present: the incarnation of the present one, if it is there.
        deleted: this process deleted the session, and has not looked for it since.
        seen: the lives, by incarnation.
        origins: the incarnations of checkpoints.
        begun: the same for checkpoints that are being written, as far as it is known: the session
            may expire, and the checkpoint begin another life.
        awaited: what to send when one of those is stored, or has failed.
        unsure: checkpoints whose put failed, and which may be there all the same: an answer was
            lost, or a driver still repeats the call.
        early: pending writes of checkpoints that are not there yet.
    """

    __slots__ = ("awaited", "begun", "deleted", "early", "origins", "present", "seen", "unsure")

    def __init__(self) -> None:
        self.present: str | None = None
        self.deleted: bool = False
        self.seen: LRU[str, Seen] = LRU(MAX_PAST)
        self.origins: LRU[Name, str] = LRU(MAX_ORIGINS)
        self.begun: dict[Name, str | None] = {}
        self.awaited: dict[Name, list[Signal]] = {}
        self.unsure: dict[Name, Unsure] = {}
        self.early: dict[Name, Early] = {}

    def life(self, incarnation: str | None) -> Life | None:
        """A life, by its incarnation."""
        seen = self.seen.get(incarnation or "")
        return seen.life if seen else None

    def of(self, name: Name) -> Life | None:
        """The life that a checkpoint belongs to, if it is there."""
        seen = self.seen.get(self.origins.get(name, ""))
        return seen.life if seen else None

    def expected(self, names: Iterable[Name]) -> Life | None:
        """The life of the first of these checkpoints that is known, there or being written."""
        for name in names:
            origin = self.origins.get(name)
            seen = self.seen.get(origin) if origin else None
            if seen is None:
                seen = self.seen.get(self.begun.get(name) or "")
            if seen is not None:
                return seen.life
        return None

    def add(self, life: Life, name: Name | None = None) -> bool:
        """Note a life as it was last told, and a checkpoint in it.

        Returns:
            Whether it is another life than the present one was.
        """
        incarnation = life.incarnation
        there = self.seen.get(incarnation)
        if there is None:
            present = self.seen.get(self.present or "")
            self.seen.keep(incarnation, Seen(life))
        else:
            if life.now_ms >= there.life.now_ms:
                there.life = life
            self.seen.move_to_end(incarnation)
            present = there if self.present == incarnation else self.seen.get(self.present or "")
        if name is not None:
            self.origins.keep(name, incarnation)
        if self.present == incarnation or (present and life.now_ms < present.life.now_ms):
            return False  # or a late answer about a past one
        self.deleted, self.present = False, incarnation
        return True

    def let_go(self, name: Name) -> None:
        """Tell those who wait for a checkpoint that it is not being written any more."""
        for signal in self.awaited.pop(name, ()):
            signal.send()

    def hold(self, name: Name, writes: Any) -> None:
        """Remember pending writes until their checkpoint is stored."""
        early = self.early.get(name)
        if early is None:
            early = self.early[name] = Early(time.monotonic())
            _give_up_old(self.early)
        early.unstored = early.unstored or writes.incarnation is None
        early.batches.append(writes)

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


looked: ContextVar[tuple[object, str, str | None] | None] = ContextVar("looked", default=None)
"""Where a session was last looked for in this context, which, and in which life it was found.

LangGraph looks for a thread before it runs a graph on it, and runs nodes and saves in copies of
that context: so a subgraph's first checkpoint, which continues nothing, is known to belong to the
life that its run began in.
"""


def is_persistent(namespace: str) -> bool:
    """Whether a subgraph's namespace outlives its task: LangGraph then puts no task id in it."""
    return namespace != "" and ":" not in namespace


def check_expired(session: str, life: Life | None, now_ms: int) -> Life:
    """Make sure that a life which is over ended at its deadline; gives it.

    Raises:
        SessionGoneError: it ended before.
    """
    if life is None or life.deadline_ms is None or now_ms < life.deadline_ms:
        gone(session)
    return life
