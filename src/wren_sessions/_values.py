"""Values to pieces and records, and back: where a serializer meets the arena. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol
from zlib import crc32

from wren_sessions._arena import (
    MAX_PIECES,
    Fresh,
    Known,
    Piece,
    Plain,
    Ranged,
    digest,
    pack,
    unpack,
)
from wren_sessions._elements import header_length
from wren_sessions._encoding import Body, StoredValue, Version, damaged, decode_body, decode_write
from wren_sessions._protection import PLAIN, Protection, is_sealed
from wren_sessions.errors import DecryptionError, SerializationError, WrenSessionsError
from wren_sessions.records import ArenaParts, Name, Span, Stored, merge_spans
from wren_sessions.serializers import KIND, reads_own

INLINE_BYTES: Final = 1_024  # a smaller value stands in the record itself
MAX_OTHERS: Final = 8  # known values that a new one is compared with


class Serializer(Protocol):
    """What turns values into bytes: LangGraph's `SerializerProtocol`."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """A value as (type tag, bytes)."""

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value again."""


@dataclass(frozen=True, slots=True)
class Large:
    """A value that goes to the arena, and what will be known of it once it is there."""

    value: StoredValue
    data: bytes
    like: Known | None
    plain: Plain | None

    def settle(self, base: int) -> None:
        """Remember where its bytes are."""
        self.value.pieces = settled(self.value, base)
        self.value.known = Known(self.data, self.value.pieces, self.like, self.plain)


@dataclass(frozen=True, slots=True)
class Grown:
    """A list that goes on where a known one ends.

    Attributes:
        value: the list.
        like: the known one.
        fresh: the bytes behind it.
    """

    value: StoredValue
    like: Known
    fresh: bytes

    def settle(self, base: int) -> None:
        """Remember where its bytes are."""
        self.value.pieces = pieces = settled(self.value, base)
        behind = [piece for piece in pieces[1 + len(self.like.pieces) :] if type(piece) is Ranged]
        self.value.known = self.like.grown(self.fresh, behind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A checkpoint as it was read. `writes` are (task id, channel, value), in LangGraph's order."""

    name: Name
    parent_id: str | None
    values: dict[str, Any]
    versions: dict[str, Version]
    seen: dict[str, dict[str, Version]]
    rest: dict[str, Any]
    metadata: dict[str, Any]
    writes: list[tuple[str, str, Any]]


class Packer:
    """Turns values into pieces, and collects what they append and what they build on.

    Args:
        parent: the record that the new one continues, if it is known.
        records: all records known of the session, the last used first.
        appends: whether what is new goes to the arena; else it stays inline.
        protection: what happens to values before.
    """

    def __init__(
        self,
        parent: Body | None,
        records: Sequence[tuple[Name, Body]],
        *,
        appends: bool = True,
        protection: Protection = PLAIN,
    ) -> None:
        self.appended = bytearray()
        self.large: list[Large | Grown] = []
        self._protection = protection
        self._wraps = protection.wraps
        self._parent = parent
        self._records = records
        self._append = self._add if appends else None
        self._used: set[int] = set()

    def value(self, channel: str, value: Any, serde: Serializer, what: str) -> StoredValue:
        """Store a channel's value; `what` names it in errors."""
        # A serializer of ours lets lists be looked at where it packs them.
        dump_list = getattr(serde, "dump_list", None)
        if dump_list is not None and type(value) is list and self._append and not self._wraps:
            try:
                found: StoredValue | None = dump_list(value, partial(self._listed, channel))
            except SerializationError as error:
                raise _unstorable(value, what, error) from error
            if found is not None:
                return found
        return self.packed(channel, *dump(serde, value, what))

    def _listed(self, channel: str, kind: str, data: memoryview) -> StoredValue:
        """Store a list that is packed."""
        head = header_length(data)
        same = self._likeliest(channel)
        if (
            len(data) < INLINE_BYTES
            or same is None
            or len(same.pieces) > MAX_PIECES - 3
            or not same.begins(data, head)
        ):
            return self.packed(channel, kind, bytes(data))
        others = [other for other in self._others() if other is not same]
        if any(other.size > same.size for other in others):
            return self.packed(channel, kind, bytes(data))  # one of them may agree with more of it
        fresh = bytes(data[head + same.size :])
        behind = self._behind(fresh, others, MAX_PIECES - 1 - len(same.pieces)) if fresh else []
        self._used.add(id(same))
        stored = StoredValue(kind, [bytes(data[:head]), *same.pieces, *behind])
        self.large.append(Grown(stored, same, fresh))
        return stored

    def packed(self, channel: str, kind: str, data: bytes) -> StoredValue:
        """Store a channel's value that is bytes already."""
        if len(data) < INLINE_BYTES:
            return StoredValue(kind, [data])
        same, others = self._likeliest(channel), self._others()
        wrapped = self._protection.wrap(kind, data, [same, *others] if same else others)
        inline = plain = None
        if wrapped is not None:
            kind, data, *_, plain = wrapped
            inline = (wrapped.head, wrapped.tail)
        pieces, used = pack(data, same, others, self._append, inline)
        self._used.update(map(id, used))
        stored = StoredValue(kind, pieces)
        self.large.append(Large(stored, data, same, plain))
        return stored

    def _behind(self, fresh: bytes, others: Sequence[Known], most: int) -> list[Piece]:
        """What stands behind a known list, in as many pieces at the most."""
        before = len(self.appended)
        pieces, used = pack(fresh, None, others, self._append, (0, 0))
        if len(pieces) > most:
            del self.appended[before:]
            return [self._add(fresh)]
        self._used.update(map(id, used))
        return pieces

    def inherited(self, channel: str) -> StoredValue | None:
        """The parent's value of a channel; None if it may not be taken over."""
        found = self._parent.values.get(channel) if self._parent else None
        if found is None or not self._protection.encryption or is_sealed(found.kind):
            return found
        # Plain data in the arena, from before encryption was on.
        return None if any(isinstance(piece, Ranged) for piece in found.pieces) else found

    def _add(self, data: bytes) -> Fresh:
        total = digest(data) if self._protection.encryption else crc32(data)
        fresh = Fresh(len(self.appended), len(data), total)
        self.appended += data
        return fresh

    def _likeliest(self, channel: str) -> Known | None:
        for body in (self._parent, *(body for _, body in self._records)):
            if body is not None and channel in body.values:
                known = body.values[channel].known
                if known is not None:
                    return known
        return None

    def _others(self) -> list[Known]:
        found = {
            id(value.known): value.known
            for _, body in self._records
            for value in body.values.values()
            if value.known is not None
        }
        return list(found.values())[:MAX_OTHERS]

    def spans(self, values: Iterable[StoredValue]) -> tuple[Span, ...]:
        """The parts of the arena that were there before and that values refer to."""
        return merge_spans(
            Span(piece.offset, piece.length)
            for value in values
            for piece in value.pieces
            if isinstance(piece, Ranged)
        )

    def witnesses(self, own: Sequence[Name]) -> tuple[Name, ...]:
        """The records that the values refer into, besides the record's `own` parent."""
        names = list(own)
        used = set(self._used)
        if self._parent is not None:
            used -= set(map(id, _knowns(self._parent)))
        for name, body in self._records:
            theirs = used & set(map(id, _knowns(body)))
            if theirs:
                names.append(name)
                used -= theirs
        return tuple(names)


def _knowns(body: Body) -> Iterator[Known]:
    return (value.known for value in body.values.values() if value.known is not None)


def dump(serde: Serializer, value: Any, what: str) -> tuple[str, bytes]:
    """A value as type tag and bytes; `what` names it in the error."""
    try:
        kind, data = serde.dumps_typed(value)
    except Exception as error:
        raise _unstorable(value, what, error) from error
    return kind, bytes(data)


def _unstorable(value: Any, what: str, error: Exception) -> SerializationError:
    kind = type(value)
    return SerializationError(
        f"{what} holds a {kind.__module__}.{kind.__qualname__} that cannot be stored: {error}"
    )


# --- pieces to values -----------------------------------------------------------------------------


def read_record(
    session: str, stored: Stored, arena: ArenaParts, protection: Protection
) -> tuple[Body, dict[str, tuple[str, bytes]]]:
    """A record's body with its pieces settled, and each value's type tag and bytes."""
    what = f"checkpoint {stored.name[1]!r}"
    body = decode_body(stored.body, session, what)
    data: dict[str, tuple[str, bytes]] = {}
    for channel, value in body.values.items():
        value.pieces = settled(value, stored.base)
        found = unpack(value.pieces, arena)
        if found is None:
            damaged(session, f"channel {channel!r} of {what}")
        about = f"channel {channel!r} of {what} of session {session!r}"
        kind, unwrapped, plain = unwrap(protection, (value.kind, found), about)
        data[channel] = (kind, unwrapped)
        if len(found) >= INLINE_BYTES:
            value.known = Known(found, value.pieces, plain=plain)
    return body, data


def unwrap(
    protection: Protection, stored: tuple[str, bytes], what: str
) -> tuple[str, bytes, Plain | None]:
    """A value's type tag and bytes as the serializer gave them; `what` names it in errors."""
    try:
        return protection.unwrap(*stored)
    except (SerializationError, DecryptionError) as error:
        raise type(error)(f"{what} cannot be read: {error.message}") from error


def settled(value: StoredValue, base: int) -> list[bytes | Ranged]:
    """A value's pieces, once it is known where its record's own bytes are."""
    return [piece.settled(base) if isinstance(piece, Fresh) else piece for piece in value.pieces]


def read_snapshot(
    session: str, stored: Stored, arena: ArenaParts, serde: Serializer, protection: Protection
) -> Snapshot:
    """A stored checkpoint with its values."""
    read = read_record(session, stored, arena, protection)
    return snapshot(session, stored, arena, serde, read=read, protection=protection)


def snapshot(
    session: str,
    stored: Stored,
    arena: ArenaParts,
    serde: Serializer,
    *,
    read: tuple[Body, Mapping[str, tuple[str, bytes]]],
    protection: Protection,
) -> Snapshot:
    """A checkpoint with its values, from what `read_record` gave."""
    body, data = read
    checkpoint = f"checkpoint {stored.name[1]!r} of session {session!r}"
    rest, metadata = loads(serde, body.head, checkpoint)
    return Snapshot(
        name=stored.name,
        parent_id=body.parent_id,
        values={
            channel: loads(serde, typed, f"channel {channel!r} of {checkpoint}")
            for channel, typed in data.items()
        },
        # Copies: a graph writes into what it was given, and the body is remembered.
        versions=dict(body.versions),
        seen={node: dict(seen) for node, seen in body.seen.items()},
        rest=rest,
        metadata=metadata,
        writes=_pending(session, stored, arena, serde, protection),
    )


def _pending(
    session: str, stored: Stored, arena: ArenaParts, serde: Serializer, protection: Protection
) -> list[tuple[str, str, Any]]:
    what = f"a pending write of checkpoint {stored.name[1]!r}"
    writes = [decode_write(write.body, session, what) for write in stored.writes]
    writes.sort(key=lambda write: (write.path, write.task_id, write.index))
    found = []
    for write in writes:
        data = unpack(write.value.pieces, arena)  # type: ignore[arg-type] # never fresh
        if data is None:
            damaged(session, what)
        about = f"{what} of session {session!r}"
        kind, data, _ = unwrap(protection, (write.value.kind, data), about)
        value = loads(serde, (kind, data), about)
        found.append((write.task_id, write.channel, value))
    return found


def read_metadata(session: str, stored: Stored, serde: Serializer) -> Mapping[str, Any]:
    """The metadata of a stored checkpoint."""
    what = f"checkpoint {stored.name[1]!r}"
    body = decode_body(stored.body, session, what)
    metadata: Mapping[str, Any] = loads(serde, body.head, f"{what} of session {session!r}")[1]
    return metadata


def matches(metadata: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether metadata has all the values asked for."""
    return all(metadata.get(key) == value for key, value in where.items())


def loads(serde: Serializer, typed: tuple[str, bytes], what: str) -> Any:
    """A value from its type tag and bytes; `what` names it in the error."""
    try:
        return serde.loads_typed(typed)
    except WrenSessionsError:
        raise
    except Exception as error:
        if typed[0] == KIND and isinstance(error, NotImplementedError):
            # LangGraph's serializers know their own tags: this was written before one was set.
            return reads_own(serde).loads_typed(typed)
        raise SerializationError(
            f"{what} cannot be read back by {type(serde).__name__} (type {typed[0]!r}): {error}"
        ) from error
