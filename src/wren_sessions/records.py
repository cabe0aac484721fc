"""What goes into a store and what comes out of it: plain values, nothing else.

A session holds

- **records**: one per checkpoint, named by (namespace, checkpoint id). The body is opaque bytes;
- an **arena**: bytes that are only ever appended. A record's body refers to spans of it, so a list
  that grows by one element per step is stored once, not once per step;
- **pending writes**: opaque bytes by key, per checkpoint, which may come before their checkpoint;
- one **header**: ``state``, JSON for people;
- one **life**: when it was made, when it ends. The session ends whole.

Nobody changes one of these once it is made. They are not frozen, because freezing takes a call per
field, and every step of a session makes five of them.

A `Commit` is everything one atomic write does; `Committed` is its answer. Offsets of the arena are
given out by the store: a record's own bytes (`Record.append`) start at `Stored.base`, which is why
two writers need no lock and a commit needs no second trip.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from wren_sessions.ttl import Override

Name: TypeAlias = tuple[str, str]
"""(namespace, checkpoint id): the name of a record within its session."""


class Span(NamedTuple):
    """A range of the arena, in bytes."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The offset just behind it."""
        return self.offset + self.length


def merge_spans(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same bytes in the fewest spans, in ascending order."""
    merged: list[Span] = []
    end = -1
    for span in sorted(spans):
        offset, length = span
        if merged and offset <= end:
            if offset + length > end:
                start, end = merged[-1].offset, offset + length
                merged[-1] = Span(start, end - start)
        elif length:
            merged.append(span)
            end = offset + length
    return tuple(merged)


def overlaps(spans: Sequence[Span], offset: int, end: int) -> bool:
    """Whether merged spans have any of the bytes from `offset` up to `end`."""
    at = bisect_right(spans, offset, key=lambda span: span.offset)
    inside = at > 0 and spans[at - 1].end > offset
    return inside or (at < len(spans) and spans[at].offset < end)


class Held(NamedTuple):
    """Parts of a session's arena that a caller has, and need not be sent.

    The bytes of an arena never change, as long as the session is of the same incarnation.

    Attributes:
        incarnation: the `Life.incarnation` of the session that they are from.
        spans: the parts, ascending, and not overlapping.
    """

    incarnation: str
    spans: tuple[Span, ...]


def missing(spans: Sequence[Span], held: Held | None, incarnation: str) -> tuple[Span, ...]:
    """The parts of an arena that somebody who holds some of them has not got.

    Args:
        spans: the parts needed, ascending, and not overlapping.
        held: the parts that are there; None for none.
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
        """The bytes of a span, or None where they were not read."""
        at = bisect_right(self._starts, span.offset) - 1
        if at < 0:
            return None
        start = span.offset - self._starts[at]
        data = self._data[at][start : start + span.length]
        return data if len(data) == span.length else None

    def behind(self, offset: int) -> memoryview:
        """The bytes from an offset on, as far as they follow each other in one part."""
        at = bisect_right(self._starts, offset) - 1
        return memoryview(self._data[at])[offset - self._starts[at] :] if at >= 0 else _NOTHING


_NOTHING: Final = memoryview(b"")


# --- what goes in ---------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Record:
    """A checkpoint to write. One that is there already under this name is replaced.

    Attributes:
        name: its namespace and id.
        parent_id: the checkpoint of the same namespace that it continues, if any. The namespace's
            head moves to this record if its id is higher than the head's (compared as bytes of
            UTF-8), or if the head is its parent.
        body: opaque.
        append: bytes to add to the arena. The store decides where; `Stored.base` tells.
        spans: the parts of the arena besides `append` that the body refers to. `load` brings them.
    """

    name: Name
    parent_id: str | None
    body: bytes
    append: bytes = b""
    spans: tuple[Span, ...] = ()


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Write:
    """One pending write.

    Attributes:
        key: what makes it one, within its checkpoint: ``<task>/<index>``, see `keys.write_key`.
        body: opaque.
        replace: what a second write with this key does: replace the first (True), or nothing.
    """

    key: str
    body: bytes
    replace: bool = False


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Writes:
    """Pending writes of one checkpoint, which need not be there yet.

    Attributes:
        name: the checkpoint's namespace and id.
        entries: the writes, in the order they were made.
        spans: the parts of the arena that their bodies refer to. `load` brings them.
    """

    name: Name
    entries: tuple[Write, ...]
    spans: tuple[Span, ...] = ()


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Commit:
    """Everything that one atomic write does.

    The conditions are checked before anything is written; where one fails, nothing is.

    Attributes:
        session: the session's id. It is made if it is not there and no condition forbids it.
        token: random text that no other commit has. A commit with a token that was applied already
            (a client library repeats a command whose reply it lost) answers as the first one did.
        incarnation: the `Life.incarnation` the caller builds on; None for no condition.
        revision: the `Life.revision` the caller builds on; None for no condition.
        witnesses: the records that the caller builds on, which must all be there.
        new: the session must not be there. One that a turn alone made (its revision is 0) does not
            count.
        latest: the record's parent must be its namespace's head; without a parent, there must be
            no head.
        turn: the token of the turn that this is written in, which must last still; None for none:
            then nobody may have the session's turn.
        owner: whose session it is, if it is nobody's yet; None for nobody.
        created_ms: the creation time to give a session that this commit makes; None means now.
        record: a checkpoint to write.
        writes: pending writes to add.
        state: the new header, written where the record is its namespace's head afterwards, and
            where there is no record; None leaves it.
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
    """Records to drop, with their pending writes, and the parts of the arena nobody needs then.

    It is not a use of the session, and leaves its deadline. A session that loses its last record is
    deleted.

    Attributes:
        session: the session's id.
        incarnation: the `Life.incarnation` that this was worked out from.
        revision: the `Life.revision` that this was worked out from; a commit since then makes it
            a ``"conflict"``.
        drop: the records to drop; one that is not there is no error.
        keep: all parts of the arena that what stays refers to.
        free: the parts that only what is dropped refers to. Storage that lies in them, and not in
            `keep`, is given back; offsets never move.
        heads: records that are to be the heads of their namespaces, at most one of each. Where one
            is not there afterwards it does not count; and where a namespace loses its head and no
            other is named, the highest id that is left becomes the head.
        state: the new header; None leaves it.
    """

    session: str
    incarnation: str
    revision: int
    drop: tuple[Name, ...]
    keep: tuple[Span, ...] = ()
    free: tuple[Span, ...] = ()
    heads: tuple[Name, ...] = ()
    state: bytes | None = None


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class TurnStep:
    """A step of a turn: the right to be the only one who writes a session, for a while.

    Attributes:
        session: the session's id.
        token: random text that no other turn has; its commits carry it (`Commit.turn`).
        what: ``"take"`` the turn, which is done when nobody has it and nobody waits for longer;
            ``"keep"`` it, from now on; or ``"leave"`` it, or the queue for it.
        ttl_ms: how long it lasts from now on unless it is kept.
        patience_ms: where it cannot be taken yet, how long to keep a place in the queue for this
            token; 0 for no place.
        holder: who takes it, for people.
    """

    session: str
    token: str
    what: Literal["take", "keep", "leave"]
    ttl_ms: int
    patience_ms: int = 0
    holder: str = "-"


# --- what comes out -------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Life:
    """The life of a session, by the store's own clock. Times are milliseconds since 1970.

    Attributes:
        incarnation: random text given to a session when it is made; a session made again under
            the same id, after it expired or was deleted, has another one.
        created_ms: when it was made.
        updated_ms: when it was last written.
        now_ms: the store's clock when it answered.
        deadline_ms: when it expires; None for never.
        pinned: it has no deadline because somebody pinned it.
        revision: how many commits it has seen.
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
        """Milliseconds left when the store answered; None for never."""
        return None if self.deadline_ms is None else max(0, self.deadline_ms - self.now_ms)


class Notes(NamedTuple):
    """Whose a session is, and what is noted about it.

    Attributes:
        owner: whose it is; None for nobody's.
        about: JSON with ``title``, ``tags`` and ``attributes``, as far as there are any; empty for
            nothing. Opaque to a store.
    """

    owner: str | None = None
    about: bytes = b""


NOTHING_NOTED: Final = Notes()


class TurnState(NamedTuple):
    """Who has a session's turn. Times are the store's, in milliseconds since 1970.

    Attributes:
        mine: whether whoever asked has it; of a ``"leave"``, whether they had it.
        now_ms: the store's clock.
        holder: who has it, for people; empty where nobody has.
        since_ms: since when; 0 where nobody has.
        ahead: how many wait for longer than whoever asked.
    """

    mine: bool
    now_ms: int
    holder: str = ""
    since_ms: int = 0
    ahead: int = 0


Outcome: TypeAlias = Literal["done", "gone", "conflict", "stale", "exists", "expired", "held"]


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Committed:
    """The answer to a `Commit` or a `Prune`.

    Attributes:
        outcome: ``"done"``, or why nothing was written: ``"gone"``, the session is not there or is
            another incarnation; ``"conflict"``, it was written since, or the record does not
            continue the latest checkpoint (`Commit.latest`); ``"stale"``, a witness is not there;
            ``"exists"``, the session is there and was to be new; ``"expired"``, its maximum age has
            passed; ``"held"``, somebody else has its turn, or the commit's own is over.
        now_ms: the store's clock.
        life: of the session as it is now; None if it is not there.
        base: where the record's own bytes start in the arena; 0 without a record.
        turn: who has the session's turn, where that is why; else None.
        owner: whose the session is, where the store says it; None for nobody's, or where not.
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
        spans: all parts of the arena that it and its writes refer to, its own bytes included.
        writes: its pending writes, one per key.
        below: the next lower id of its namespace that is there; None for the lowest, empty where
            the store does not say. It tells whether the checkpoint's parent is there still.
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
        arena: the bytes of `stored.spans`, but for what the caller holds; None where they are so
            many (`INLINE_BYTES`) that they are better fetched with `read`.
        state: the session's header; empty if it has none yet.
    """

    life: Life
    stored: Stored
    arena: ArenaParts | None
    state: bytes = b""


INLINE_BYTES = 1_048_576
"""A store may leave the arena out of `Loaded` above this size."""


class Start(NamedTuple):
    """Where a scan of one namespace starts: below `before`, or at its highest id if None."""

    namespace: str
    before: str | None = None


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Scanned:
    """The answer to `scan`.

    Attributes:
        life: the session's life; None if it is not there.
        records: in the order asked for, within a namespace by descending id.
        rest: what to pass to `scan` to go on; empty when there is no more.
        heads: the latest checkpoint of each namespace that was reached, and is there.
    """

    records: tuple[Stored, ...]
    rest: tuple[Start, ...] = ()
    life: Life | None = None
    heads: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class SessionInfo:
    """What is known of a session without reading it.

    Attributes:
        session: its id.
        life: its life.
        state: its header, JSON; empty if it has none yet.
        size_bytes: what it takes in the store; None in listings, where counting costs too much,
            and where the server does not say.
        idle: the session's own idle timeout: milliseconds, or ``"none"`` for none; None where it
            follows the store's policy, and in listings.
        notes: whose it is, and what is noted about it.
    """

    session: str
    life: Life
    state: bytes
    size_bytes: int | None = None
    idle: Override = None
    notes: Notes = NOTHING_NOTED

    @property
    def owner(self) -> str | None:
        """Whose it is; None for nobody's."""
        return self.notes.owner

    @property
    def title(self) -> str:
        """Its title, as `Sessions.annotate` was given it; empty for none."""
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
        sessions: of an owner, the last written first; else in no particular order. A session that
            is there during the whole listing is listed; where it is not an owner's listing, Redis
            may list it twice.
        cursor: what to pass to go on; None at the end. A page may be empty before the end.
        foreign: how many entries under the store's prefix are not sessions of this package, such
            as sessions that an app pickled before; they are left out.
        total: about how many sessions the owner has: one that has gone may be counted until a
            listing meets it. None where it is not an owner's listing.
    """

    sessions: tuple[SessionInfo, ...] = field(default=())
    cursor: str | None = None
    foreign: int = 0
    total: int | None = None
