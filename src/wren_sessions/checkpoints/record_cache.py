"""What a process remembers of the sessions it works on: never the truth, only a shortcut.

Two things are remembered, each bounded, the least recently used forgotten first:

- the *lives* of a session, the present one and past ones, and which checkpoints were seen in which:
  a commit names the incarnation that its parent belongs to, so that a session that went away is
  neither brought back as a fragment nor goes on in a new one of the same id. The deadline tells an
  expired session from a deleted one. Pending writes that come before their checkpoint belong to no
  life yet, and wait here for it;
- the *records* written or read last, with the bytes of their large values, so that the next step
  is written without reading its parent.

The store is asked every time. A forgotten record costs one more read, nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from wren_sessions._locks import Lock
from wren_sessions.checkpoints.codec import CheckpointRecord
from wren_sessions.records import Life, Name

MAX_LIVES: Final = 10_000
MAX_PAST: Final = 4  # lives of one session
MAX_ORIGINS: Final = 64  # checkpoints of one session
MAX_HELD: Final = 64  # checkpoints of one session that pending writes wait for
MAX_RECORDS: Final = 64  # in one session
DEFAULT_BYTES: Final = 64 * 1_048_576
_RECORD_BYTES: Final = 4_096  # what a record costs besides its large values, about


@dataclass(slots=True)
class _Session:
    records: OrderedDict[Name, CheckpointRecord] = field(default_factory=OrderedDict)
    size_bytes: int = 0


@dataclass(slots=True)
class _Seen:
    """A life, and whether a subgraph had a memory of its own in it."""

    life: Life
    persistent_subgraphs: bool = False


@dataclass(slots=True)
class _Lives:
    """The lives of one session, and which checkpoint belongs to which of them.

    Attributes:
        present: the incarnation of the present one, if it is there.
        deleted: this process deleted the session, and has not looked for it since.
        seen: the lives, by incarnation.
        origins: the incarnations of checkpoints.
        begun: the same for checkpoints that are being written, as far as it is known: the session
            may expire, and the checkpoint begin another life.
        held: pending writes of checkpoints that are not there yet.
    """

    present: str | None = None
    deleted: bool = False
    seen: OrderedDict[str, _Seen] = field(default_factory=OrderedDict)
    origins: OrderedDict[Name, str] = field(default_factory=OrderedDict)
    begun: dict[Name, str | None] = field(default_factory=dict)
    held: OrderedDict[Name, list[Any]] = field(default_factory=OrderedDict)

    def of(self, name: Name) -> Life | None:
        """The life that a checkpoint belongs to, if it is there."""
        seen = self.seen.get(self.origins.get(name, ""))
        return seen.life if seen else None

    def expected(self, name: Name) -> Life | None:
        """The same, also if it is being written."""
        seen = self.seen.get(self.begun.get(name) or "")
        return self.of(name) or (seen.life if seen else None)

    def add(self, life: Life) -> bool:
        """Note a life as it was last told; whether it is another one than before."""
        there = self.seen.get(life.incarnation)
        if there is None:
            there = self.seen[life.incarnation] = _Seen(life)
        if life.now_ms >= there.life.now_ms:
            there.life = life
        self.seen.move_to_end(life.incarnation)
        present = self.seen.get(self.present or "")
        if len(self.seen) > MAX_PAST:
            self.seen.popitem(last=False)
        if self.present == life.incarnation or (present and life.now_ms < present.life.now_ms):
            return False  # or a late answer about a past one
        self.deleted, self.present = False, life.incarnation
        return True

    def place(self, name: Name, incarnation: str) -> None:
        """Note in which life a checkpoint is."""
        self.origins[name] = incarnation
        self.origins.move_to_end(name)
        if len(self.origins) > MAX_ORIGINS:
            self.origins.popitem(last=False)


_looked: ContextVar[tuple[Cache, str, str | None] | None] = ContextVar("_looked", default=None)
"""What the root namespace was last looked for in, and in which life it was found, in this context.

LangGraph looks for a thread before it runs a graph on it, and runs nodes and saves in copies of
that context: so a subgraph's first checkpoint, which continues nothing, is known to belong to the
life that its run began in.
"""


def is_persistent(namespace: str) -> bool:
    """Whether a subgraph's namespace outlives its task: LangGraph then puts no task id in it."""
    return namespace != "" and ":" not in namespace


class Cache:
    """Lives and records of sessions. Thread-safe.

    Args:
        max_bytes: how much the records may take in all; 0 remembers none.

    Attributes:
        size_bytes: how much they take, about.
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock(self._mend)
        self._lives: OrderedDict[str, _Lives] = OrderedDict()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._steps: OrderedDict[str, int] = OrderedDict()
        self.size_bytes = 0

    def _mend(self) -> None:
        """Forget all records: some may be of a life that is over, or not be counted."""
        self._sessions.clear()
        self.size_bytes = 0

    def life(self, session: str) -> Life | None:
        """The session's present life as this process knows it, also when it is over by now."""
        with self._lock:
            lives = self._lives.get(session)
            seen = lives.seen.get(lives.present or "") if lives else None
            return seen.life if seen else None

    def life_of(self, session: str, names: Iterable[Name]) -> Life | None:
        """The life that the first of these checkpoints that is known belongs to, or will."""
        with self._lock:
            lives = self._lives.get(session)
            known = (lives.expected(name) for name in names) if lives else ()
            return next((life for life in known if life), None)

    def live(self, session: str, life: Life, name: Name | None = None) -> None:
        """Remember a life and a checkpoint in it; records of another life are forgotten."""
        with self._lock:
            lives = self._lives_of(session)
            self._lives.move_to_end(session)
            if lives.add(life):
                self._drop(session)
            if name is not None:
                lives.place(name, life.incarnation)
            if len(self._lives) > MAX_LIVES:
                self._drop(self._lives.popitem(last=False)[0])

    def _lives_of(self, session: str) -> _Lives:
        found = self._lives.get(session)
        if found is None:  # not `setdefault`: to make one takes longer than all else here
            found = self._lives[session] = _Lives()
        return found

    def absent(self, session: str, *, deleted: bool = False) -> None:
        """The session was looked for and is not there, or was deleted by this process."""
        with self._lock:
            lives = self._lives_of(session) if deleted else self._lives.get(session)
            if lives is not None:
                lives.present, lives.deleted = None, deleted
            if len(self._lives) > MAX_LIVES:
                self._drop(self._lives.popitem(last=False)[0])
            self._drop(session)

    def is_deleted(self, session: str) -> bool:
        """Whether this process deleted the session, and has not looked for it since."""
        with self._lock:
            lives = self._lives.get(session)
            return lives is not None and lives.deleted

    def knows(self, session: str) -> bool:
        """Whether this process has seen the session, or deleted it."""
        with self._lock:
            lives = self._lives.get(session)
            return lives is not None and (lives.deleted or bool(lives.seen))

    def look(self, session: str, life: Life | None) -> None:
        """A graph, perhaps, looked for a session and found it in this life, or did not."""
        _looked.set((self, session, life.incarnation if life else None))

    def life_looked_at(self, session: str) -> Life | None:
        """The life in which the session was found by the last look in this context."""
        looked = _looked.get()
        if looked is None or looked[:2] != (self, session):
            return None
        with self._lock:
            lives = self._lives.get(session)
            seen = lives.seen.get(looked[2] or "") if lives else None
            return seen.life if seen else None

    def begin(self, session: str, name: Name, life: Life | None) -> None:
        """A checkpoint is being written, in this life or as the first of one."""
        with self._lock:
            lives = self._lives_of(session)
            lives.begun[name] = life.incarnation if life else None

    def end(self, session: str, name: Name) -> list[Any]:
        """It is no longer being written; gives the pending writes that waited for it."""
        with self._lock:
            lives = self._lives.get(session)
            if lives is None:
                return []
            lives.begun.pop(name, None)
            return lives.held.pop(name, [])

    def whereabouts(self, session: str, name: Name) -> tuple[Life | None, bool]:
        """The life of a checkpoint that is there, and whether it is being written."""
        with self._lock:
            lives = self._lives.get(session)
            return (lives.of(name), name in lives.begun) if lives else (None, False)

    def hold(self, session: str, name: Name, writes: Any) -> Life | None:
        """Let pending writes wait for their checkpoint; gives its life if it is there by now."""
        with self._lock:
            lives = self._lives_of(session)
            if life := lives.of(name):
                return life
            lives.held.setdefault(name, []).append(writes)
            if len(lives.held) > MAX_HELD:
                lives.held.popitem(last=False)
            return None

    def has_persistent_subgraphs(self, session: str, life: Life | None) -> bool:
        """Whether a subgraph is known to have a memory of its own in a life of the session."""
        with self._lock:
            lives = self._lives.get(session)
            seen = lives.seen.get(life.incarnation) if lives and life else None
            return seen is not None and seen.persistent_subgraphs

    def forget(self, session: str) -> None:
        """Forget a session's records, but not its life."""
        with self._lock:
            self._drop(session)

    def count(self, session: str, *, begin: bool = False) -> int:
        """Count one more step of a session, or begin anew; how many there were since."""
        with self._lock:
            steps = 0 if begin else self._steps.pop(session, 0) + 1
            self._steps[session] = steps
            if len(self._steps) > MAX_LIVES:
                self._steps.popitem(last=False)
            return steps

    def record(self, session: str, name: Name) -> CheckpointRecord | None:
        """A record as it was written or read."""
        with self._lock:
            remembered = self._sessions.get(session)
            if remembered is None or name not in remembered.records:
                return None
            self._sessions.move_to_end(session)
            remembered.records.move_to_end(name)
            return remembered.records[name]

    def records(self, session: str) -> list[tuple[Name, CheckpointRecord]]:
        """All records remembered of a session, the last used first."""
        with self._lock:
            remembered = self._sessions.get(session)
            return list(reversed(remembered.records.items())) if remembered else []

    def remember(
        self, session: str, name: Name, body: CheckpointRecord, *, instead_of: Name | None
    ) -> None:
        """Remember a record, and forget the one that it continues."""
        with self._lock:
            if body.persistent_subgraphs or is_persistent(name[0]):
                self._note_persistent(session, name)
            if not self._max_bytes:
                return
            remembered = self._sessions.get(session)
            if remembered is None:
                remembered = self._sessions[session] = _Session()
            self._sessions.move_to_end(session)
            if instead_of is not None:
                remembered.records.pop(instead_of, None)
            remembered.records.pop(name, None)
            remembered.records[name] = body
            if len(remembered.records) > MAX_RECORDS:
                remembered.records.popitem(last=False)
            self._measure(remembered)
            while self.size_bytes > self._max_bytes and self._sessions:
                self._forget_oldest()

    def _note_persistent(self, session: str, name: Name) -> None:
        lives = self._lives.get(session)
        seen = lives.seen.get(lives.origins.get(name, "")) if lives else None
        if seen:
            seen.persistent_subgraphs = True

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
        shared = {
            id(known): known for body in remembered.records.values() for known in body.delta_bases()
        }
        size = sum(known.kept_bytes for known in shared.values())
        size += _RECORD_BYTES * len(remembered.records)
        self.size_bytes += size - remembered.size_bytes
        remembered.size_bytes = size

    def _drop(self, session: str) -> None:
        remembered = self._sessions.pop(session, None)
        if remembered is not None:
            self.size_bytes -= remembered.size_bytes
