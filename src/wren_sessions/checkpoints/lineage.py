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

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Final

from wren_sessions._blocking import LRU
from wren_sessions.checkpoints.arriving import Arriving
from wren_sessions.checkpoints.outcomes import gone
from wren_sessions.records import Life, Name

MAX_PAST: Final = 4  # lives of one session
MAX_ORIGINS: Final = 64  # checkpoints of one session


class Seen:
    """A life as the store last told it, and whether a subgraph had a memory of its own in it."""

    __slots__ = ("life", "persistent_subgraphs")

    def __init__(self, life: Life) -> None:
        self.life: Life = life
        self.persistent_subgraphs: bool = False


class Lineage:
    """The lives of one session, and which checkpoint belongs to which of them.

    Attributes:
        present: the incarnation of the present one, if it is there.
        deleted: this process deleted the session, and has not looked for it since.
        seen: the lives, by incarnation.
        origins: the incarnations of checkpoints.
        arriving: the checkpoints that are not there yet.
    """

    __slots__ = ("arriving", "deleted", "origins", "present", "seen")

    def __init__(self) -> None:
        self.present: str | None = None
        self.deleted: bool = False
        self.seen: LRU[str, Seen] = LRU(MAX_PAST)
        self.origins: LRU[Name, str] = LRU(MAX_ORIGINS)
        self.arriving: Arriving = Arriving()

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
        begun = self.arriving.begun
        for name in names:
            origin = self.origins.get(name)
            seen = self.seen.get(origin) if origin else None
            if seen is None:
                seen = self.seen.get(begun.get(name) or "")
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
