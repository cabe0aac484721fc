"""What a process remembers of the sessions it works on, and which life of a session a write is for.

- The *lineage* of a session: its lives, and which checkpoints were seen in which.
- The *records* written or read last, with the bytes of their large values. So the next step can be
  written without reading its parent, and an unchanged record is not decoded again.
- The checkpoints that are *arriving*: being written, or with pending writes that came before them.

The first two are a cache. They have limits, and the least recently used is removed first. They are
never trusted alone: every read and write asks the store, and what is not remembered costs one more
read. All records belong to the session's present life. When another life is seen, they are removed.

The third is no cache: see `arriving`. A session is not forgotten while its checkpoints may come.

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
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from wren_sessions._blocking import LRU, Lock, Signal, renew_in_child
from wren_sessions.checkpoints.arriving import MAX_BYTES, Arriving, Putting
from wren_sessions.checkpoints.codec import CheckpointRecord
from wren_sessions.errors import StoreUnavailableError
from wren_sessions.records import Life, Name

MAX_LIVES: Final = 10_000
MAX_PAST: Final = 4  # lives of one session
MAX_ORIGINS: Final = 64  # checkpoints of one session
MAX_RECORDS: Final = 64  # in one session
DEFAULT_BYTES: Final = 64 * 1_048_576
_RECORD_BYTES: Final = 4_096  # what a record costs besides its large values, about


# --- the lives of a session -----------------------------------------------------------------------


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
            if seen is None and name in begun:
                seen = self.seen.get(begun[name][-1].incarnation or "")
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


# --- all that is remembered -----------------------------------------------------------------------


class Known(NamedTuple):
    """What is known of a session when a checkpoint is to be written.

    Attributes:
        parent: the record of the checkpoint that it continues.
        life: the life that it belongs to.
        records: all records of the session, the last used first.
        persistent_subgraphs: whether a subgraph has a memory of its own in that life.
        early: the pending writes that came before it.
    """

    parent: CheckpointRecord | None
    life: Life | None
    records: Sequence[tuple[Name, CheckpointRecord]]
    persistent_subgraphs: bool
    early: Sequence[Any] = ()


class KnownForWrites(NamedTuple):
    """What is known of a checkpoint when pending writes of it are to be written.

    Attributes:
        life: the life that it belongs to, if it is there.
        records: all records of its session, the last used first.
        begun: whether it is being written.
        expected: the life that it will belong to, as far as its put, or the last one, said so.
        waits: whether some of its writes are remembered and not stored. Later ones must not
            overtake them: of some the first counts, of some the last.
        unsure: whether its put failed, and it may be there all the same.
        early: what waits for it then.
    """

    life: Life | None
    records: Sequence[tuple[Name, CheckpointRecord]]
    begun: bool
    expected: Life | None = None
    waits: bool = False
    unsure: bool = False
    early: Sequence[Any] = ()


class _Session:
    __slots__ = ("records", "size_bytes")

    def __init__(self) -> None:
        self.records: LRU[Name, CheckpointRecord] = LRU(MAX_RECORDS)
        self.size_bytes = 0


class Cache:
    """Lineages and records of sessions. Thread-safe.

    Args:
        max_bytes: how much the records may take in all; 0 remembers none.

    Attributes:
        size_bytes: how much they take, about.
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock(self._mend)
        self._lineages: OrderedDict[str, Lineage] = OrderedDict()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._steps: LRU[str, int] = LRU(MAX_LIVES)
        self.size_bytes: int = 0
        renew_in_child(self)

    def renew(self) -> None:
        """Wait for no put of a parent in its forked child; nobody knows whether it is stored."""
        for lineage in self._lineages.values():
            arriving = lineage.arriving
            for name, puts in arriving.begun.items():
                arriving.fail(name, puts[-1].incarnation)
            arriving.begun.clear()
            arriving.awaited.clear()

    def _mend(self) -> None:
        """Forget all records: some may be of a life that is over, or not be counted."""
        self._sessions.clear()
        self.size_bytes = 0

    # --- for a put --------------------------------------------------------------------------------

    def known(
        self,
        session: str,
        name: Name,
        parent: Name | None,
        within: Sequence[Name],
        putting: Putting,
    ) -> Known:
        """What is known when a checkpoint is to be written; if its life is, it is begun by this.

        `within` are the checkpoints of the graphs that its graph runs in.
        """
        with self._lock:
            lineage = self._lineages.get(session)
            if lineage is None:
                return Known(None, None, (), persistent_subgraphs=False)
            life = lineage.expected(within if parent is None else (parent, *within))
            remembered = self._sessions.get(session)
            found: CheckpointRecord | None = None
            records: list[tuple[Name, CheckpointRecord]] = []
            if remembered is not None:
                self._sessions.move_to_end(session)
                if parent is not None:
                    found = remembered.records.get(parent)
                records = list(remembered.records.items())
                records.reverse()
            if life is None:
                return Known(found, None, records, persistent_subgraphs=False)
            putting.incarnation, begun = life.incarnation, lineage.arriving.begun
            if name in begun:
                lineage.arriving.begin(name, putting)
            else:
                begun[name] = [putting]
            persistent_subgraphs = lineage.seen[life.incarnation].persistent_subgraphs
            waiting = lineage.arriving.early.get(name)
            early = tuple(waiting.batches) if waiting else ()
            return Known(found, life, records, persistent_subgraphs, early)

    def written(
        self,
        session: str,
        life: Life,
        name: Name,
        body: CheckpointRecord,
        parent: Name | None,
        *,
        putting: Putting | None = None,
    ) -> None:
        """A checkpoint was written, with the pending writes that came before it.

        `parent` is the one that it continues, whose record is forgotten.
        """
        with self._lock:
            lineage = self._live(session, life, name)
            self._remember(session, name, body, parent)
            arriving = lineage.arriving
            puts = arriving.begun.pop(name, None)
            if puts and len(puts) > 1:
                arriving.begun[name] = [each for each in puts if each is not putting]
            if arriving.awaited:
                arriving.let_go(name)
            if arriving.unsure:
                arriving.unsure.pop(name, None)
            if arriving.early:
                arriving.early.pop(name, None)
                if parent is not None:
                    arriving.release(parent, life)

    # --- lives ------------------------------------------------------------------------------------

    def life(self, session: str) -> Life | None:
        """The session's present life as this process knows it, also when it is over by now."""
        with self._lock:
            lineage = self._lineages.get(session)
            return lineage.life(lineage.present) if lineage else None

    def life_of(self, session: str, names: Iterable[Name]) -> Life | None:
        """The life that the first of these checkpoints that is known belongs to, or will."""
        with self._lock:
            lineage = self._lineages.get(session)
            return lineage.expected(names) if lineage else None

    def life_looked_at(self, session: str) -> Life | None:
        """The life in which the session was found by the last look in this context."""
        found = looked.get()
        if found is None or found[:2] != (self, session):
            return None
        with self._lock:
            lineage = self._lineages.get(session)
            return lineage.life(found[2]) if lineage else None

    def look(self, session: str, life: Life | None) -> None:
        """A graph, perhaps, looked for a session and found it in this life, or did not."""
        looked.set((self, session, life.incarnation if life else None))

    def live(self, session: str, life: Life, name: Name | None = None) -> None:
        """Remember a life and a checkpoint in it; records of another life are forgotten."""
        with self._lock:
            self._live(session, life, name)

    def _live(self, session: str, life: Life, name: Name | None) -> Lineage:
        lineage = self._lineages.get(session)
        if lineage is None:
            lineage = self._new_lineage(session)
        else:
            self._lineages.move_to_end(session)
        if lineage.add(life, name):
            self._drop(session)
        return lineage

    def _new_lineage(self, session: str) -> Lineage:
        lineage = self._lineages[session] = Lineage()
        for _ in range(len(self._lineages) - MAX_LIVES):
            oldest = next(iter(self._lineages))
            if self._lineages[oldest].arriving.is_busy():
                self._lineages.move_to_end(oldest)
            else:
                del self._lineages[oldest]
                self._drop(oldest)
        return lineage

    def absent(self, session: str, *, deleted: bool = False) -> None:
        """The session was looked for and is not there, or was deleted by this process."""
        with self._lock:
            lineage = self._lineages.get(session) or (
                self._new_lineage(session) if deleted else None
            )
            if lineage is not None:
                lineage.present, lineage.deleted = None, deleted
                if deleted:  # what waits for its checkpoints was deleted with it
                    lineage.arriving.early.clear()
            self._drop(session)

    def is_deleted(self, session: str) -> bool:
        """Whether this process deleted the session, and has not looked for it since."""
        with self._lock:
            lineage = self._lineages.get(session)
            return lineage is not None and lineage.deleted

    def knows(self, session: str) -> bool:
        """Whether this process has seen the session, or deleted it."""
        with self._lock:
            lineage = self._lineages.get(session)
            return lineage is not None and (lineage.deleted or bool(lineage.seen))

    def begin(self, session: str, name: Name, life: Life | None, putting: Putting) -> Sequence[Any]:
        """A checkpoint is being written, in this life or as the first of one.

        Returns:
            The pending writes that came before. If it is the first of a life, later ones wait.
        """
        with self._lock:
            lineage = self._lineages.get(session) or self._new_lineage(session)
            arriving = lineage.arriving
            putting.incarnation = life.incarnation if life else None
            arriving.begin(name, putting)
            waiting = arriving.early.get(name)
            return tuple(waiting.batches) if waiting else ()

    def end(self, session: str, name: Name, putting: Putting, *, unsure: bool) -> None:
        """Its put failed; its pending writes stay, for it may be tried again.

        If `unsure`, it may be there all the same.
        """
        with self._lock:
            lineage = self._lineages.get(session)
            if lineage is not None:
                lineage.arriving.end(name, putting, unsure=unsure)

    def found(self, session: str, name: Name) -> Sequence[Any]:
        """A checkpoint is there, though no put of it has ended well; gives what waited for it.

        If its put is on its way, what waited is part of that, and nothing is given.
        """
        with self._lock:
            lineage = self._lineages.get(session)
            if lineage is None or name in lineage.arriving.begun:
                return ()
            lineage.arriving.unsure.pop(name, None)
            early = lineage.arriving.early.pop(name, None)
            return early.batches if early else ()

    def await_put(self, session: str, name: Name, signal: Signal) -> bool:
        """Have a signal sent when a checkpoint is written or not; False if it is not on its way."""
        with self._lock:
            lineage = self._lineages.get(session)
            if lineage is None:
                return False
            lineage.arriving.end_closed(name)
            if name not in lineage.arriving.begun:
                return False
            signals = lineage.arriving.awaited.setdefault(name, [])
            if signal not in signals:
                signals.append(signal)
            return True

    def for_writes(self, session: str, name: Name) -> KnownForWrites:
        """What is known when pending writes of a checkpoint are to be written."""
        with self._lock:
            lineage = self._lineages.get(session)
            if lineage is None:
                return KnownForWrites(None, (), begun=False)
            remembered = self._sessions.get(session)
            records = list(remembered.records.items()) if remembered else []
            records.reverse()
            life, arriving = lineage.of(name), lineage.arriving
            begun, unsure = name in arriving.begun, arriving.unsure.get(name)
            expected = lineage.life(arriving.begun[name][-1].incarnation) if begun else None
            if unsure and not begun:
                expected = lineage.life(unsure.incarnation)
            waiting = arriving.early.get(name)
            waits = waiting is not None and waiting.unstored
            early = tuple(waiting.batches) if unsure and waiting else ()
            return KnownForWrites(life, records, begun, expected, waits, bool(unsure), early)

    def hold(self, session: str, name: Name, writes: Any, known: KnownForWrites) -> bool:
        """Remember pending writes for the commit of their checkpoint, unless that has moved on.

        `known` is what was known when they came.

        Returns:
            Whether nothing more need be done. It must if the checkpoint is there by now, is on its
            way or may be there, in a life that does not have them; or if it came since `known`: a
            prune may have dropped them before.
        """
        with self._lock:
            lineage = self._lineages.get(session) or self._new_lineage(session)
            incarnation, arriving = writes.incarnation, lineage.arriving
            if life := lineage.of(name):
                return known.begun and bool(life.incarnation == incarnation)
            put_in = [putting.incarnation for putting in arriving.begun.get(name, ())]
            if name in arriving.unsure:
                put_in.append(arriving.unsure[name].incarnation)
            if any(incarnation is None or each != incarnation for each in put_in):
                return False
            if not arriving.hold(name, writes):
                raise StoreUnavailableError(
                    f"the pending writes of a task in session {session!r} were not stored: with "
                    f"them, more than {MAX_BYTES:,} bytes would wait for the checkpoint "
                    f"{name[1]!r}; put the checkpoint first"
                )
            return True

    def has_persistent_subgraphs(self, session: str, life: Life | None) -> bool:
        """Whether a subgraph is known to have a memory of its own in a life of the session."""
        with self._lock:
            lineage = self._lineages.get(session)
            seen = lineage.seen.get(life.incarnation) if lineage and life else None
            return seen is not None and seen.persistent_subgraphs

    def count(self, session: str, *, begin: bool = False) -> int:
        """Count one more step of a session, or begin anew; how many there were since."""
        with self._lock:
            steps = 0 if begin else self._steps.get(session, 0) + 1
            self._steps.keep(session, steps)
            return steps

    # --- records ----------------------------------------------------------------------------------

    def forget(self, session: str) -> None:
        """Forget a session's records, but not its life."""
        with self._lock:
            self._drop(session)

    def record(self, session: str, name: Name) -> CheckpointRecord | None:
        """A record as it was written or read."""
        with self._lock:
            remembered = self._sessions.get(session)
            if remembered is None or name not in remembered.records:
                return None
            self._sessions.move_to_end(session)
            return remembered.records.used(name)

    def known_of(
        self, session: str, namespace: str
    ) -> tuple[Life | None, tuple[Name, CheckpointRecord] | None]:
        """A session's present life, and the record of a namespace used last."""
        with self._lock:
            lineage = self._lineages.get(session)
            present = lineage.seen.get(lineage.present or "") if lineage else None
            life = present.life if present else None
            remembered = self._sessions.get(session)
            for name in reversed(remembered.records) if remembered else ():
                if name[0] == namespace and remembered is not None:
                    return life, (name, remembered.records[name])
            return life, None

    def records(self, session: str) -> list[tuple[Name, CheckpointRecord]]:
        """All records remembered of a session, the last used first."""
        with self._lock:
            remembered = self._sessions.get(session)
            return list(reversed(remembered.records.items())) if remembered else []

    def remember(
        self,
        session: str,
        name: Name,
        body: CheckpointRecord,
        *,
        instead_of: Name | None,
        life: Life | None = None,
    ) -> None:
        """Remember a record, and the life that it was read in; forget the one that it continues."""
        with self._lock:
            if life is not None:
                self._live(session, life, name)
            self._remember(session, name, body, instead_of)

    def _remember(
        self, session: str, name: Name, body: CheckpointRecord, instead_of: Name | None
    ) -> None:
        if body.persistent_subgraphs or (name[0] and is_persistent(name[0])):
            lineage = self._lineages.get(session)
            seen = lineage.seen.get(lineage.origins.get(name, "")) if lineage else None
            if seen:
                seen.persistent_subgraphs = True
        if not self._max_bytes:
            return
        remembered = self._sessions.get(session)
        if remembered is None:
            remembered = self._sessions[session] = _Session()
        self._sessions.move_to_end(session)
        if instead_of is not None:
            remembered.records.pop(instead_of, None)
        remembered.records.keep(name, body)
        self._measure(remembered)
        while self.size_bytes > self._max_bytes and self._sessions:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        """Forget the oldest record of the session used least recently.

        Not all of them: without the newest ones, a new subgraph writes its parent's list again.
        """
        session, remembered = next(iter(self._sessions.items()))
        if remembered.records:
            remembered.records.popitem(last=False)
            self._measure(remembered)
        if not remembered.records:
            self._drop(session)

    def _measure(self, remembered: _Session) -> None:
        size = _RECORD_BYTES * len(remembered.records)
        counted: set[int] = set()
        for body in remembered.records.values():
            size += len(body.encoded or b"")
            for value in body.values.values():
                known = value.known
                if known is not None and id(known) not in counted:
                    counted.add(id(known))
                    size += known.kept_bytes
        self.size_bytes += size - remembered.size_bytes
        remembered.size_bytes = size

    def _drop(self, session: str) -> None:
        remembered = self._sessions.pop(session, None)
        if remembered is not None:
            self.size_bytes -= remembered.size_bytes
