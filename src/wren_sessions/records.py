"""The arguments and results of stores: plain values.

A session has

- **records**: one per checkpoint, named by (namespace, checkpoint id). The body is opaque bytes;
- an **arena**: bytes that are only appended. A record's body refers to spans of it. So a list that
  grows by one element per step is stored once, not once per step;
- **pending writes**: opaque bytes by key, for each checkpoint. They may arrive before their
  checkpoint;
- one **header**: ``state``, JSON for people;
- one **life**: when the session was created and when it ends. It ends as a whole.

None of these objects is changed after its creation. They are not frozen, because freezing takes one
call per field, and every step of a session creates five objects. Pass their fields by name. Only
where a step creates them do we pass them by position: for names, Python makes a dict each time.

A `Commit` is everything one atomic write does; `Committed` is its answer. The store assigns offsets
in the arena: a record's own bytes (`Record.append`) start at `Stored.base`. So two writers need no
lock, and a commit needs no second round trip.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple, Self, TypeAlias

from wren_sessions.ttl import Override

Name: TypeAlias = tuple[str, str]
"""(namespace, checkpoint id): the name of a record within its session."""


_BELOW: Final = -(1 << 64)  # any offset


class Span(NamedTuple):
    """A range of the arena, in bytes."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The offset after its last byte."""
        return self.offset + self.length


def merge_spans(spans: Iterable[tuple[int, int]]) -> tuple[Span, ...]:
    """The same bytes in the fewest spans, in ascending order.

    Args:
        spans: offset and length of each.
    """
    merged: list[Span] = []
    start = end = _BELOW
    for offset, length in sorted(spans):
        if offset > end:
            if start < end:
                merged.append(Span(start, end - start))
            start, end = offset, offset + length
        elif offset + length > end:
            end = offset + length
    if start < end:
        merged.append(Span(start, end - start))
    return tuple(merged)


def overlaps(spans: Sequence[Span], offset: int, end: int) -> bool:
    """Whether merged spans have any of the bytes from `offset` up to `end`."""
    at = bisect_right(spans, offset, key=lambda span: span.offset)
    inside = at > 0 and spans[at - 1].end > offset
    return inside or (at < len(spans) and spans[at].offset < end)


class Held(NamedTuple):
    """Parts of a session's arena that a caller already has, so they need not be sent.

    The bytes of an arena never change within one incarnation of a session.

    Attributes:
        incarnation: the `Life.incarnation` of the session they are from.
        spans: the parts, in ascending order, not overlapping.
    """

    incarnation: str
    spans: tuple[Span, ...]


def missing(spans: Sequence[Span], held: Held | None, incarnation: str) -> tuple[Span, ...]:
    """The parts of an arena that a caller still needs.

    Args:
        spans: the needed parts, in ascending order, not overlapping.
        held: the parts that the caller has; None for none.
        incarnation: the session's incarnation now.
    """
    if held is None or held.incarnation != incarnation:
        return tuple(spans)
    found: list[Span] = []
    for offset, length in spans:
        end = offset + length
        for start, size in held.spans:
            if start + size > offset and start < end:
                if start > offset:
                    found.append(Span(offset, start - offset))
                offset = start + size  # noqa: PLW2901 -- how far the span is covered
        if offset < end:
            found.append(Span(offset, end - offset))
    return tuple(found)


class ArenaParts:
    """Spans of an arena with their bytes, as a store read them.

    Args:
        parts: (offset, bytes) in any order, not overlapping.
    """

    __slots__ = ("_data", "_starts")

    def __init__(self, parts: Iterable[tuple[int, bytes]]) -> None:
        ordered = sorted(parts)
        self._starts = list(map(itemgetter(0), ordered))
        self._data = list(map(itemgetter(1), ordered))

    def get(self, span: Span) -> bytes | None:
        """The bytes of a span, or None if they were not read."""
        at = bisect_right(self._starts, span.offset) - 1
        if at < 0:
            return None
        start = span.offset - self._starts[at]
        data = self._data[at][start : start + span.length]
        return data if len(data) == span.length else None

    def behind(self, offset: int) -> memoryview:
        """The bytes from an offset to the end of the part that contains it."""
        at = bisect_right(self._starts, offset) - 1
        return memoryview(self._data[at])[offset - self._starts[at] :] if at >= 0 else _NOTHING


_NOTHING: Final = memoryview(b"")


# --- what goes in ---------------------------------------------------------------------------------


@dataclass(slots=True, unsafe_hash=True)
class Record:
    """A checkpoint to write. It replaces one with the same name.

    Attributes:
        name: its namespace and id.
        parent_id: the checkpoint in the same namespace that it continues, if any. This record
            becomes the namespace's head if its id is higher than the head's (compared as UTF-8
            bytes), or if the head is its parent.
        body: opaque.
        append: bytes to append to the arena. The store decides where, and returns it in
            `Stored.base`.
        spans: the other parts of the arena that the body refers to. `load` returns them.
    """

    name: Name
    parent_id: str | None
    body: bytes
    append: bytes = b""
    spans: tuple[Span, ...] = ()


@dataclass(slots=True, unsafe_hash=True)
class Write:
    """One pending write.

    Attributes:
        key: identifies the write within its checkpoint: ``<task>/<index>``, see `keys.write_key`.
        body: opaque.
        replace: whether a second write with this key replaces the first (True) or is ignored.
    """

    key: str
    body: bytes
    replace: bool = False


@dataclass(slots=True, unsafe_hash=True)
class Writes:
    """Pending writes of one checkpoint, which need not exist yet.

    Attributes:
        name: the checkpoint's namespace and id.
        entries: the writes, in the order of their creation.
        spans: the parts of the arena that their bodies refer to. `load` returns them.
    """

    name: Name
    entries: tuple[Write, ...]
    spans: tuple[Span, ...] = ()


@dataclass(slots=True, unsafe_hash=True)
class Commit:
    """Everything that one atomic write does.

    All conditions are checked before anything is written. If one fails, nothing is written.

    Attributes:
        session: the session's id. The session is created if it does not exist and no condition
            forbids it.
        token: random text that no other commit has. If a commit with this token was applied before
            (a client library repeats a command whose reply was lost), the answer is the same as the
            first time.
        incarnation: the `Life.incarnation` that the caller builds on; None for no condition.
        revision: the `Life.revision` that the caller builds on; None for no condition.
        witnesses: the records that the caller builds on. They must all exist.
        new: the session must not exist. A session that only a turn created (its revision is 0) does
            not count.
        latest: the record's parent must be its namespace's head. Without a parent, there must be no
            head.
        turn: the token of the caller's turn, which must not be over. None: nobody may have the
            session's turn.
        owner: the owner to set if the session has none; None for no owner.
        created_ms: the creation time of a session that this commit creates; None for now.
        record: a checkpoint to write.
        writes: pending writes to add.
        state: the new header. It is written if the record becomes its namespace's head, or if there
            is no record. None leaves the header unchanged.
    """

    session: str
    token: str
    incarnation: str | None = None
    revision: int | None = None
    witnesses: tuple[Name, ...] = ()
    new: bool = False
    latest: bool = False
    turn: str | None = None
    owner: str | None = None
    created_ms: int | None = None
    record: Record | None = None
    writes: Writes | None = None
    state: bytes | None = None


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Prune:
    """Records to delete, with their pending writes, and parts of the arena to free.

    Does not count as use of the session, and does not change its deadline. A session that loses its
    last record is deleted.

    Attributes:
        session: the session's id.
        incarnation: the `Life.incarnation` that this was computed from.
        revision: the `Life.revision` that this was computed from. A commit since then makes it a
            ``"conflict"``.
        drop: the records to delete. It is no error if one does not exist. In their namespaces, a
            store may also delete pending writes whose record never came, if it would be lower than
            all records that remain: whoever wrote them has ended, or is far behind.
        keep: all parts of the arena that the remaining records refer to.
        free: the parts that only deleted records refer to. The space in these parts that is not in
            `keep` is freed. Offsets never change.
        heads: records to make the heads of their namespaces, at most one for each. One that does
            not exist afterwards is ignored. If a namespace loses its head and none is named here,
            the highest remaining id becomes the head.
        state: the new header; None leaves it unchanged.
        renew: whether to give the session a new incarnation, so that nobody who knew it before
            writes it any more. Only asked of stores that know owners.
    """

    session: str
    incarnation: str
    revision: int
    drop: tuple[Name, ...]
    keep: tuple[Span, ...] = ()
    free: tuple[Span, ...] = ()
    heads: tuple[Name, ...] = ()
    state: bytes | None = None
    renew: bool = False


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class TurnStep:
    """A step of a turn: the exclusive right to write a session for some time.

    Attributes:
        session: the session's id.
        token: random text that no other turn has. Its commits contain it (`Commit.turn`).
        what: ``"take"`` the turn, which succeeds if nobody has it and nobody has waited longer;
            ``"keep"`` it, from now; or ``"leave"`` it, or the queue for it.
        ttl_ms: how long it lasts from now, unless it is kept.
        patience_ms: if it cannot be taken yet, how long to keep a place in the queue for this
            token; 0 for no place.
        holder: the name of the holder, for people.
    """

    session: str
    token: str
    what: Literal["take", "keep", "leave"]
    ttl_ms: int
    patience_ms: int = 0
    holder: str = "-"


# --- what comes out -------------------------------------------------------------------------------


@dataclass(slots=True, unsafe_hash=True)
class Life:
    """The life of a session, by the store's own clock. Times are milliseconds since 1970.

    Attributes:
        incarnation: random text from the creation of the session. If a session is created again
            with the same id, it has a different incarnation.
        created_ms: when it was created.
        updated_ms: when it was last written.
        now_ms: the store's clock when it answered.
        deadline_ms: when it expires; None for never.
        pinned: whether it is pinned, so that it has no deadline.
        revision: the number of commits.
    """

    incarnation: str
    created_ms: int
    updated_ms: int
    now_ms: int
    deadline_ms: int | None
    pinned: bool
    revision: int

    @property
    def ttl_ms(self) -> int | None:
        """Milliseconds until it expires, from the store's answer on; None for never."""
        return None if self.deadline_ms is None else max(0, self.deadline_ms - self.now_ms)


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Seen(Life):
    """A life with what can change without a new revision: a condition that nothing at all changed.

    Attributes:
        idle: see `SessionInfo`.
        notes: see `SessionInfo`.
    """

    idle: Override
    notes: Notes

    @classmethod
    def of(cls, life: Life, idle: Override, notes: Notes) -> Self:
        """A session as it was looked at."""
        parts = {each.name: getattr(life, each.name) for each in fields(Life)}
        return cls(**parts, idle=idle, notes=notes)

    def is_as(self, there: Seen) -> bool:
        """Whether the pin, the timeout and the notes are the same."""
        return (self.pinned, self.idle, self.notes) == (there.pinned, there.idle, there.notes)


class Notes(NamedTuple):
    """The owner of a session, and the notes about it.

    Attributes:
        owner: the owner; None if there is none.
        about: JSON with ``title``, ``tags`` and ``attributes``, as far as they are set; otherwise
            empty. Opaque to a store.
    """

    owner: str | None = None
    about: bytes = b""


NOTHING_NOTED: Final = Notes()
"""The notes of a session that has none."""


class TurnState(NamedTuple):
    """Who has a session's turn. Times are the store's, in milliseconds since 1970.

    Attributes:
        mine: whether the caller has it; after a ``"leave"``, whether the caller had it.
        now_ms: the store's clock.
        holder: the name of the holder, for people; empty if nobody has it.
        since_ms: since when; 0 if nobody has it.
        ahead: how many have waited longer than the caller.
    """

    mine: bool
    now_ms: int
    holder: str = ""
    since_ms: int = 0
    ahead: int = 0


Outcome: TypeAlias = Literal["done", "gone", "conflict", "stale", "exists", "expired", "held"]
"""What became of a commit; `Committed` says what each means."""


@dataclass(slots=True, unsafe_hash=True)
class Committed:
    """The answer to a `Commit` or a `Prune`.

    Attributes:
        outcome: ``"done"``, or why nothing was written. ``"gone"``: the session does not exist or
            is another incarnation. ``"conflict"``: it has been written since, or the record does
            not continue the latest checkpoint (`Commit.latest`). ``"stale"``: a witness does not
            exist. ``"exists"``: the session exists and should be new. ``"expired"``: its maximum
            age has passed. ``"held"``: somebody else has its turn, or the commit's own turn is
            over.
        now_ms: the store's clock.
        life: the session's present life; None if it does not exist.
        base: where the record's own bytes start in the arena; 0 without a record.
        turn: who has the session's turn, if that is the reason; otherwise None.
        owner: the session's owner after a commit, if the store returns it; otherwise None.
    """

    outcome: Outcome
    now_ms: int
    life: Life | None = None
    base: int = 0
    turn: TurnState | None = None
    owner: str | None = None


class StoredWrite(NamedTuple):
    """A pending write as it was stored."""

    key: str
    body: bytes


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Stored:
    """A checkpoint as it was stored.

    Attributes:
        name: its namespace and id.
        body: as it was written.
        base: where its own bytes start in the arena.
        spans: all parts of the arena that it and its writes refer to, including its own bytes.
        writes: its pending writes, one per key.
        below: the next lower existing id in its namespace. None for the lowest; empty if the store
            does not return it. It shows whether the checkpoint's parent still exists.
    """

    name: Name
    body: bytes
    base: int
    spans: tuple[Span, ...] = ()
    writes: tuple[StoredWrite, ...] = ()
    below: str | None = ""


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Loaded:
    """The answer to `load`.

    Attributes:
        life: the session's life.
        stored: the checkpoint.
        arena: the bytes of `stored.spans` that the caller does not have yet. None if they are so
            many (`INLINE_BYTES`) that the caller should fetch them with `read`.
        state: the session's header; empty if it has none yet.
    """

    life: Life
    stored: Stored
    arena: ArenaParts | None
    state: bytes = b""


INLINE_BYTES = 1_048_576
"""A store may leave the arena out of `Loaded` above this size."""


class Start(NamedTuple):
    """Where a scan of one namespace starts: below `before`, or at the highest id if None."""

    namespace: str
    before: str | None = None


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Scanned:
    """The answer to `scan`.

    Attributes:
        life: the session's life; None if it does not exist.
        records: in the requested order of namespaces, and by descending id.
        rest: what to pass to `scan` to continue; empty at the end.
        heads: the latest checkpoint of each namespace that was reached and has one.
    """

    records: tuple[Stored, ...]
    rest: tuple[Start, ...] = ()
    life: Life | None = None
    heads: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class SessionInfo:
    """What is known about a session without reading its state.

    Attributes:
        session: its id.
        life: its life.
        state: its header, JSON; empty if it has none yet.
        size_bytes: its size in the store; None in listings, where this would cost too much, and if
            the server does not report it.
        idle: the session's own idle timeout in milliseconds, or ``"none"``. None if it follows the
            store's policy.
        notes: its owner, title, tags and attributes.
    """

    session: str
    life: Life
    state: bytes
    size_bytes: int | None = None
    idle: Override = None
    notes: Notes = NOTHING_NOTED

    @property
    def owner(self) -> str | None:
        """Its owner; None if it has none."""
        return self.notes.owner

    @property
    def title(self) -> str:
        """Its title from `Sessions.annotate`; empty if it has none."""
        return str(self._noted("title", ""))

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""
        return tuple(self._noted("tags", ()))

    @property
    def attributes(self) -> dict[str, Any]:
        """Its attributes."""
        return dict(self._noted("attributes", {}))

    def _noted(self, name: str, nothing: Any) -> Any:
        try:
            about = json.loads(self.notes.about or b"{}")
        except ValueError:  # sealed, and there is no key; or damaged
            return nothing
        return about.get(name, nothing) if isinstance(about, dict) else nothing


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class SessionPage:
    """One page of a listing of sessions.

    Attributes:
        sessions: an owner's sessions, the last written first; all sessions, in no particular order.
            A session that exists during the whole listing is listed. In a listing of all sessions,
            Redis may list it twice.
        cursor: what to pass to get the next page; None at the end. A page may be empty before the
            end.
        foreign: how many entries under the store's prefix were left out because they are not
            sessions of this package, such as old pickled sessions.
        total: about how many sessions the owner has. A session that has ended may be counted until
            a listing finds that out. None if it is not an owner's listing.
    """

    sessions: tuple[SessionInfo, ...] = field(default=())
    cursor: str | None = None
    foreign: int = 0
    total: int | None = None
