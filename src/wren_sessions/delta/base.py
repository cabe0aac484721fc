"""Values whose bytes this process knows, to compare new values with and to read old ones from.

A `DeltaBase` has the bytes of a value, and the extents of the arena where they lie. A list grows at
each step, and to copy it each time would cost more than to write what is new. So its bytes are in a
few parts, each more than twice as long as the next, and `grown` adds one. They are joined, and
their elements indexed, only when somebody looks for a place in the middle.

An `ArenaView` is what a read refers to: the bytes that the store sent, and what is known here, as
if all of it had been sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol
from zlib import crc32

from wren_sessions.delta.elements import elements
from wren_sessions.delta.extents import Extent, Piece, Sum, checksum, digest, unpack
from wren_sessions.records import ArenaParts, Span
from wren_sessions.serializers.limits import most_objects, objects_bytes

MAX_OTHERS: Final = 8  # known values that one is compared with


class Plain(NamedTuple):
    """What a value was before it was sealed or compressed.

    Attributes:
        before: what stands in front of the sealed value.
        body: the bytes that were cut into chunks.
        surplus_bytes: how much more of them comes out of compression than is due, see `limits`.
    """

    before: bytes
    body: bytes
    surplus_bytes: int = 0


class _Bytes(NamedTuple):
    """A part of some bytes."""

    data: bytes
    start: int
    end: int


class DeltaBase:
    """A value whose bytes are known here and lie in the arena.

    Its body is what lies there. It is made one only when it is asked for: to copy the bytes of a
    long list costs more than to compare them.

    Args:
        data: the value's bytes.
        pieces: where they lie, resolved. The first and the last may be inline.
        like: a known value that this one may continue; what was indexed of it is taken over.
        plain: what it was before it was sealed or compressed, if it was.

    Attributes:
        unpacked: what a serializer keeps of the beginning of a list, perhaps of more than this one,
            and how much of this one that is.
    """

    def __init__(
        self,
        data: bytes,
        pieces: Sequence[Piece],
        like: DeltaBase | None = None,
        plain: Plain | None = None,
    ) -> None:
        head = len(pieces[0]) if pieces and isinstance(pieces[0], bytes) else 0
        tail = len(pieces[-1]) if len(pieces) > 1 and isinstance(pieces[-1], bytes) else 0
        ranged = [piece for piece in pieces if isinstance(piece, Extent)]
        size = sum(piece.length for piece in ranged)
        if head + size + tail != len(data):
            data, head, size, ranged, plain = b"", 0, 0, [], None
        # Nothing may refer to what is kept inline.
        parts = [_Bytes(data, head, head + size)] if size else []
        body = memoryview(data)[head : head + size]
        continues = like if like is not None and like.size and like.begins(data, head) else None
        self._set(parts, size, _joined(body, ranged), plain, continues)
        self._written = tuple(ranged)

    def _set(
        self,
        parts: list[_Bytes],
        size: int,
        pieces: tuple[Extent, ...],
        plain: Plain | None,
        like: DeltaBase | None,
    ) -> None:
        self.size = size
        self.pieces = pieces
        self.plain = plain
        self.unpacked: tuple[Any, int] = (None, 0) if like is None else like.unpacked
        self._parts = parts
        self._body: bytes | None = None
        self._weight: int | None = None
        self._places: dict[int, int] = {} if like is None else like._places  # noqa: SLF001 -- its own class
        self._indexed: int = 0 if like is None else like._indexed  # noqa: SLF001

    @property
    def kept_bytes(self) -> int:
        """How much memory it takes, about."""
        unpacked, plain = self.unpacked[0], self.plain
        kept = self.size + (len(plain.body) if plain else 0)
        return kept + (unpacked.kept_bytes if unpacked else 0)

    @property
    def clear(self) -> bytes:
        """The body as it was before it was sealed or compressed, if it was."""
        return self.plain.body if self.plain else self.body

    def continued(self, pieces: Sequence[Extent], arena: ArenaParts) -> DeltaBase | None:
        """What lies in a list's pieces, if they go on where this value ends, or are the same.

        `arena` has what is not known of them.
        """
        if tuple(pieces) == self._written:
            return self
        if self.plain is not None:
            return None
        count = len(self.pieces)
        if not 0 < count <= len(pieces) or tuple(pieces[: count - 1]) != self.pieces[:-1]:
            return None
        last, longer = self.pieces[-1], pieces[count - 1]
        more = Span(last.end, longer.length - last.length)
        if longer.offset != last.offset or more.length < 0 or not isinstance(last.sum, int):
            return None
        fresh = arena.get(more) if more.length else b""
        if fresh is None or crc32(fresh, last.sum) != longer.sum:
            return None
        added = [Extent(*more, crc32(fresh)), *pieces[count:]] if fresh else pieces[count:]
        rest = unpack(pieces[count:], arena)
        return None if rest is None else self.grown(fresh + rest, added)

    def begun(self, pieces: Sequence[Extent]) -> DeltaBase | None:
        """What lies in a list's pieces, if this value begins with it."""
        if self.plain is not None:
            return None
        size = 0
        for piece in pieces:
            if self._place(piece.offset)[0] != size or not self.holds(piece):
                return None
            size += piece.length
        found = object.__new__(DeltaBase)
        joined = _joined(memoryview(self.body)[:size], pieces)
        found._set([_Bytes(self.body, 0, size)], size, joined, None, None)
        found._written = tuple(pieces)
        unpacked, unpacked_size = self.unpacked
        found.unpacked = unpacked, min(unpacked_size, size)
        return found

    def grown(self, fresh: bytes, pieces: Sequence[Extent]) -> DeltaBase:
        """This value with more bytes behind it, which lie in these pieces."""
        found = object.__new__(DeltaBase)
        joined = self.pieces
        at = 0
        for piece in pieces:
            part = fresh if len(pieces) == 1 else fresh[at : at + piece.length]
            joined = _followed(joined, piece, part)
            at += piece.length
        parts = self._parts
        if fresh:
            # Each part is more than twice as long as the next: few parts, and little copying.
            parts = parts.copy()
            last = fresh
            while parts and parts[-1].end - parts[-1].start <= 2 * len(last):
                data, begin, end = parts.pop()
                last = data[begin:end] + last
            parts.append(_Bytes(last, 0, len(last)))
        found._set(parts, self.size + len(fresh), joined, None, self)
        found._written = (*self.pieces, *pieces)
        if self._weight is not None:
            found._weight = self._weight + most_objects(fresh)
        return found

    @property
    def weight(self) -> int:
        """What its objects take in memory, at the most; see `limits`."""
        if self._weight is None:
            self._weight = most_objects(self.clear)
        return self._weight

    def weigh(self) -> int:
        """The same, counted."""
        self._weight = objects_bytes(self.clear)
        return self._weight

    @property
    def body(self) -> bytes:
        """What lies in the arena, one behind the other."""
        if self._body is None:
            self._body = b"".join(memoryview(data)[start:end] for data, start, end in self._parts)
            self._parts = [_Bytes(self._body, 0, self.size)]
        return self._body

    def begins(self, data: bytes | memoryview, start: int, skipped: int = 0) -> bool:
        """Whether other data go on with the body from `start` on. Copies nothing.

        `skipped` bytes of the body are left out in them.
        """
        if len(data) - start < self.size - skipped:
            return False
        if skipped == self.size:
            return True
        view = memoryview(data)
        for part, begin, end in self._parts:
            first = min(begin + skipped, end)
            skipped -= first - begin
            behind = start + end - first
            if not part.startswith(view[start:behind], first):
                return False
            start = behind
        return True

    def behind(self, offset: int) -> memoryview:
        """The bytes from an offset of the arena on, as far as they lie together; empty if none."""
        start, end = self._place(offset)
        return memoryview(self.body)[start:end] if end else memoryview(b"")

    def holds(self, piece: Extent) -> bool:
        """Whether the bytes of a piece are here, and are those that were written."""
        data = self.behind(piece.offset)[: piece.length]
        return len(data) == piece.length and checksum(data, piece.sum) == piece.sum

    def _place(self, offset: int) -> tuple[int, int]:
        """Where an offset of the arena is in the body, and how far it goes on; (-1, 0) if not."""
        start = 0
        for piece in self.pieces:
            if piece.offset <= offset < piece.end:
                return start + offset - piece.offset, start + piece.length
            start += piece.length
        return -1, 0

    def after(self, size: int) -> bytes:
        """What its clear body has behind so many bytes."""
        if self.plain is not None:
            return self.plain.body[size:]
        if size == 0 and len(self._parts) == 1:
            return self.body
        found: list[memoryview] = []
        at = self.size
        for data, start, end in reversed(self._parts):
            if at <= size:
                break
            at -= end - start
            found.append(memoryview(data)[max(start, start + size - at) : end])
        return b"".join(reversed(found))

    def resolve(self, start: int, length: int) -> Iterator[Extent]:
        """Where a part of the body lies."""
        begin, end = 0, start + length
        for piece in self.pieces:
            behind = begin + piece.length
            first, stop = max(begin, start), min(behind, end)
            if first < stop == behind and first == begin:
                yield piece
            elif first < stop:
                total = checksum(memoryview(self.body)[first:stop], piece.sum)
                yield Extent(piece.offset + first - begin, stop - first, total)
            begin = behind

    @property
    def unsearched_bytes(self) -> int:
        """How much has to be indexed before something can be found here."""
        return self.size - self._indexed

    def find(self, data: bytes, start: int, end: int) -> int | None:
        """Where an element of other data stands in the body, if it does."""
        if self._indexed < self.size:
            self._index()
        place = self._places.get(hash(data[start:end]))
        if place is None or not self.body.startswith(data[start:end], place):
            return None
        return place

    def _index(self) -> None:
        for start, end in elements(self.body, self._indexed):
            self._places.setdefault(hash(self.body[start:end]), start)
        self._indexed = len(self.body)


def _joined(body: memoryview, pieces: Sequence[Extent]) -> tuple[Extent, ...]:
    """The same pieces, with those joined that follow each other in the arena too."""
    joined: tuple[Extent, ...] = ()
    at = 0
    for piece in pieces:
        at += piece.length
        joined = _followed(joined, piece, body[:at])
    return joined


def _followed(
    pieces: tuple[Extent, ...], piece: Extent, body: bytes | memoryview
) -> tuple[Extent, ...]:
    """Pieces with one more, joined if it follows the last one; the body ends with its bytes."""
    if not pieces:
        return (piece,)
    start, before, total = pieces[-1]
    offset, added, more = piece
    if start + before != offset or type(total) is not type(more):
        return (*pieces, piece)
    length, size = before + added, len(body)
    if isinstance(total, int):
        both: Sum = crc32(body if size == added else body[size - added :], total)
    elif size < length:
        return (*pieces, piece)  # a digest of both takes all the bytes of both
    else:
        both = digest(body[size - length :])
    return (*pieces[:-1], Extent(start, length, both))


class Valued(Protocol):
    """A value of which something may be known."""

    known: DeltaBase | None


class ArenaView(ArenaParts):
    """What was read of an arena, and what is known of it here.

    Args:
        parts: what was read.
        known: values whose bytes lie in the same arena, and were not read.

    Attributes:
        known: these and what was learned, the likeliest first.
    """

    __slots__ = ("_parts", "_unread", "known")

    def __init__(self, parts: ArenaParts, known: Iterable[DeltaBase] = ()) -> None:
        self._starts, self._data = [], []
        self._parts = parts
        self._unread = list(known)
        self.known: list[DeltaBase] = self._unread

    def learn(self, values: Iterable[Valued]) -> None:
        """Know what is known of these values too."""
        latest: list[DeltaBase] = []
        for value in values:
            if value.known is not None and value.known not in latest:
                latest.append(value.known)
        for known in self.known:
            if known not in latest:
                latest.append(known)
        latest = latest[:MAX_OTHERS]
        for known in self._unread:
            if known not in latest:
                latest.append(known)
        self.known = latest

    def get(self, span: Span) -> bytes | None:
        """The bytes of a span, put together from both if need be."""
        found = self._parts.get(span)
        if found is not None:
            return found
        together: list[memoryview] = []
        sources: list[ArenaParts | DeltaBase] = [self._parts, *self.known]
        at = span.offset
        while at < span.end:
            part = next((part for source in sources if (part := source.behind(at))), None)
            if part is None:
                return None
            together.append(part[: span.end - at])
            at += len(together[-1])
        return b"".join(together)


@dataclass(slots=True)
class StoredValue:
    """A value as a record names it.

    Attributes:
        kind: the serializer's type tag.
        pieces: where its bytes are.
        known: its bytes, where they are worth remembering.
        migrated: whether it was read in another form than it is stored in.
    """

    kind: str
    pieces: Sequence[Piece]
    known: DeltaBase | None = None
    migrated: bool = False
