"""Values as pieces of records: where the serializer meets the arena. Pure, no I/O.

The way back, from stored checkpoints to values, is `checkpoints.snapshots`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from zlib import crc32

from wren_sessions.delta.base import MAX_OTHERS, DeltaBase, Plain, StoredValue
from wren_sessions.delta.cover import MAX_PIECES, pack
from wren_sessions.delta.extents import Extent, NewExtent, Piece, digest
from wren_sessions.delta.protection import PLAIN, Protection, Wrapped, is_sealed
from wren_sessions.errors import SerializationError
from wren_sessions.records import Name, Span, merge_spans
from wren_sessions.serializers._told import TOLD
from wren_sessions.serializers.limits import MEMORY_BYTES, UNPACKED_SHARE
from wren_sessions.serializers.packing import PackedList
from wren_sessions.serializers.safe import SafeSerializer
from wren_sessions.serializers.unreadable import UnreadableValue

if TYPE_CHECKING:
    from wren_sessions.checkpoints.codec import CheckpointRecord

_KNOWN: Final = attrgetter("known")
_WHAT: Final = "channel %r of session %r"
INLINE_BYTES: Final = 1_024  # a smaller value stands in the record itself
SPARE_BYTES: Final = MEMORY_BYTES // UNPACKED_SHARE // 2  # the `surplus` of what is new in a commit


class Serializer(Protocol):
    """What turns values into bytes: LangGraph's `SerializerProtocol`."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """A value as (type tag, bytes)."""

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value again."""


class Large(NamedTuple):
    """A value that goes to the arena, and what will be known of it once it is there."""

    value: StoredValue
    data: bytes
    like: DeltaBase | None
    plain: Plain | None

    def resolve(self, base: int) -> None:
        """Remember where its bytes are."""
        self.value.pieces = resolved(self.value.pieces, base)
        self.value.known = DeltaBase(self.data, self.value.pieces, self.like, self.plain)


class Grown(NamedTuple):
    """A list that goes on where a known one ends.

    Attributes:
        value: the list.
        like: the known one.
        fresh: the bytes behind it.
        behind: where those are.
    """

    value: StoredValue
    like: DeltaBase
    fresh: bytes
    behind: list[Piece]

    def resolve(self, base: int) -> None:
        """Remember where its bytes are."""
        value, like = self.value, self.like
        behind = resolved(self.behind, base)
        value.pieces = [value.pieces[0], *like.pieces, *behind]
        if bytes in map(type, behind):
            behind = [piece for piece in behind if type(piece) is Extent]
        value.known = like.grown(self.fresh, behind)  # type: ignore[arg-type] # extents


class DeltaEncoder:
    """Turns values into pieces, and collects what they append and what they build on.

    Args:
        parent: the record that the new one continues, if it is known.
        records: all records known of the session, the last used first.
        protection: what happens to values before.
        appends: whether what is new goes to the arena; else it stays inline.

    Attributes:
        appended: what is new.
        large: the values that are not inline.
        clear_bytes: how long the values are when they are read.
        surplus_bytes: how much more of it comes out of compression than is due, see `limits`.
    """

    def __init__(
        self,
        parent: CheckpointRecord | None,
        records: Sequence[tuple[Name, CheckpointRecord]],
        protection: Protection = PLAIN,
        *,
        appends: bool = True,
    ) -> None:
        self.appended: bytearray = bytearray()
        self.large: list[Large | Grown] = []
        self.clear_bytes: int = 0
        self.surplus_bytes: int = 0
        self._protection = protection
        self._wraps = protection.wraps
        self._parent = parent
        self._records = records
        self._append = self._add if appends else None
        self._used: set[int] = set()
        self._others: list[DeltaBase] | None = None

    def value(self, channel: str, value: Any, serde: Serializer, session: str) -> StoredValue:
        """Store a channel's value; the session is for errors."""
        if type(value) is list and self._append and isinstance(serde, SafeSerializer):
            same = self._likeliest(channel)
            earlier, size = same.unpacked if same else (None, 0)
            look = partial(self._wrapped if self._wraps else self._listed, channel, same)
            try:
                found = serde.dump_list(value, partial(look, size), earlier)
                if found is None and earlier is not None:
                    found = serde.dump_list(value, partial(look, 0))
            except SerializationError as error:
                raise _unstorable(value, _WHAT % (channel, session), error) from error
            if found is not None:
                return found
        TOLD.anew = False
        kind, data = dump(serde, value, _WHAT, channel, session)
        if TOLD.anew and self._parent is not None and channel in self._parent.values:
            before = whole(self._parent.values[channel])
            if before is not None and hasattr(serde, "carried"):
                data = serde.carried(before, data)
        return self.packed(channel, kind, data)

    def _listed(
        self, channel: str, same: DeltaBase | None, unpacked_bytes: int, found: PackedList
    ) -> StoredValue | None:
        """Store a list that is packed; None to have all of it, if its beginning was left out."""
        kind, head, elements, unchanged = found
        start = unpacked_bytes if unchanged else 0
        grows = (
            same is not None
            and start + len(elements) >= INLINE_BYTES
            and len(same.pieces) <= MAX_PIECES - 3
            and same.begins(elements, 0, start)
        )
        others: list[DeltaBase] = []
        for other in self._known() if grows else ():
            if other is not same:
                others.append(other)
                if same is None or other.size > same.size:  # it may agree with more of it
                    grows = False
        if same is None or not grows:
            return None if unchanged else self.packed(channel, kind, head + elements)
        fresh = bytes(elements[same.size - start :])
        behind: list[Piece] = []
        if fresh and others:
            behind = self._behind(fresh, others, MAX_PIECES - 1 - len(same.pieces))
        elif fresh:
            behind = [self._add(fresh)]
        self._used.add(id(same))
        stored = StoredValue(kind, [head, *same.pieces, *behind])
        self.large.append(Grown(stored, same, fresh, behind))
        self.clear_bytes += same.size + len(fresh)
        return stored

    def _wrapped(
        self, channel: str, same: DeltaBase | None, unpacked_bytes: int, found: PackedList
    ) -> StoredValue:
        """Store a list that is packed, and is to be sealed or compressed."""
        before = same.clear[:unpacked_bytes] if same and found.unchanged else b""
        return self.packed(channel, found.kind, b"".join((found.head, before, found.elements)))

    def packed(self, channel: str, kind: str, data: bytes) -> StoredValue:
        """Store a channel's value that is bytes already."""
        self.clear_bytes += len(data)
        if len(data) < INLINE_BYTES:
            return StoredValue(kind, [data])
        same, others = self._likeliest(channel), self._known()
        wrapped = self._wrap(kind, data, [same, *others] if same else others)
        inline = plain = None
        if wrapped is not None:
            kind, data, *_, plain = wrapped
            inline = (wrapped.head, wrapped.tail)
            self.surplus_bytes += wrapped.plain.surplus_bytes
        pieces, used = pack(data, same, others, self._append, inline)
        self._used.update(map(id, used))
        stored = StoredValue(kind, pieces)
        self.large.append(Large(stored, data, same, plain))
        return stored

    def _wrap(self, kind: str, data: bytes, known: list[DeltaBase]) -> Wrapped | None:
        """A value sealed and compressed, as far as all of them can be read together."""
        looser = self._protection.uncompressed
        for protection, likes in ((self._protection, known), (looser, known)):
            wrapped = protection.wrap(kind, data, likes)
            if not wrapped or self.surplus_bytes + wrapped.plain.surplus_bytes <= SPARE_BYTES:
                return wrapped
        return looser.wrap(kind, data, [])

    def _behind(self, fresh: bytes, others: Sequence[DeltaBase], most: int) -> list[Piece]:
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
        if found is None or (self._protection.encryption and self._must_be_sealed(found)):
            return None
        if found.known is not None and found.known.plain is not None:
            self.clear_bytes += len(found.known.plain.body)
            self.surplus_bytes += found.known.plain.surplus_bytes
        for piece in found.pieces:
            self.clear_bytes += len(piece) if isinstance(piece, bytes) else piece.length
        return found

    def _must_be_sealed(self, value: StoredValue) -> bool:
        """Whether it is plain data in the arena, from before encryption was on."""
        if is_sealed(value.kind):
            return False
        return any(isinstance(piece, Extent) for piece in value.pieces)

    def _add(self, data: bytes) -> NewExtent:
        total = digest(data) if self._protection.encryption else crc32(data)
        fresh = NewExtent(len(self.appended), len(data), total)
        self.appended += data
        return fresh

    def _likeliest(self, channel: str) -> DeltaBase | None:
        """What is known of a channel's latest value."""
        if self._parent is not None:
            value = self._parent.values.get(channel)
            if value is not None and value.known is not None:
                return value.known
        for _, body in self._records:
            value = body.values.get(channel)
            if value is not None and value.known is not None:
                return value.known
        return None

    def _known(self) -> list[DeltaBase]:
        """The known values to compare with, the likeliest first."""
        if self._others is None:
            found: list[DeltaBase] = []
            for _, body in self._records:
                for value in body.values.values():
                    if value.known is not None and value.known not in found:
                        found.append(value.known)
                if len(found) >= MAX_OTHERS:
                    break
            self._others = found[:MAX_OTHERS]
        return self._others

    def spans(self, values: Iterable[StoredValue]) -> tuple[Span, ...]:
        """The parts of the arena that were there before and that values refer to."""
        spans: list[tuple[int, int]] = []
        for value in values:
            for piece in value.pieces:
                if type(piece) is Extent:
                    spans.append(piece[:2])  # noqa: PERF401 -- one frame
        return merge_spans(spans) if len(spans) > 1 else tuple(map(Span._make, spans))

    def witnesses(self, own: Sequence[Name]) -> tuple[Name, ...]:
        """The records that the values refer into, besides the record's `own` parent."""
        names, used = list(own), self._used
        if self._parent is not None and used:
            used = used.difference(map(id, map(_KNOWN, self._parent.values.values())))
        for name, body in self._records if used else ():
            theirs = used & set(map(id, body.delta_bases()))
            if theirs:
                names.append(name)
                used -= theirs
        return tuple(names)


def whole(value: StoredValue) -> tuple[str, bytes] | None:
    """A resolved value's type tag and bytes as the serializer gave them, if they are known."""
    pieces, known = value.pieces, value.known
    ranged = sum(piece.length for piece in pieces if not isinstance(piece, bytes))
    if not ranged:
        return value.kind, b"".join(pieces)  # type: ignore[arg-type] # all of them are inline
    if known is None or known.size != ranged:
        return None
    head = pieces[0] if isinstance(pieces[0], bytes) else b""
    tail = pieces[-1] if isinstance(pieces[-1], bytes) else b""
    if known.plain is None:
        return value.kind, head + known.body + tail
    return value.kind.partition("+")[0], head.removeprefix(known.plain.before) + known.clear + tail


def dump(serde: Serializer, value: Any, what: str, *names: str) -> tuple[str, bytes]:
    """A value as type tag and bytes; what it is, with these names in it, is for the error."""
    if type(value) is UnreadableValue:
        return value.wren_stored
    try:
        kind, data = serde.dumps_typed(value)
    except Exception as error:
        raise _unstorable(value, what % names if names else what, error) from error
    return kind, bytes(data)


def _unstorable(value: Any, what: str, error: Exception) -> SerializationError:
    kind = type(value)
    return SerializationError(
        f"{what} holds a {kind.__module__}.{kind.__qualname__} that cannot be stored: {error}"
    )


def resolved(pieces: Iterable[Piece], base: int) -> list[bytes | Extent]:
    """A value's pieces, once it is known where its record's own bytes are."""
    found: list[bytes | Extent] = []
    for piece in pieces:
        if isinstance(piece, NewExtent):
            found.append(Extent(base + piece[0], piece[1], piece[2]))
        else:
            found.append(piece)
    return found
