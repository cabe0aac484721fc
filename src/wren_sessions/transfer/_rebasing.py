"""Converts offsets of one arena to those of another: pure.

A record refers to its session's arena by offset, and in another store the same bytes have other
offsets. `Places` knows where the bytes that were copied before are now. Each record adds the bytes
that no record before it needed. If the bytes of a piece are not adjacent in the new arena, it
becomes several pieces.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple

from wren_sessions.checkpoints.codec import CheckpointRecord, writes_of
from wren_sessions.checkpoints.snapshots import body_of
from wren_sessions.delta.base import StoredValue
from wren_sessions.delta.extents import Extent, NewExtent, Piece, Sum, digest
from wren_sessions.delta.range_sums import RangeSums
from wren_sessions.records import ArenaParts, Span, Stored, merge_spans


class Place(NamedTuple):
    """Where a part of one arena is in the other."""

    span: Span
    offset: int


class Places:
    """Where the parts of one arena are in the other."""

    def __init__(self) -> None:
        self._places: list[Place] = []

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places)

    def add(self, place: Place) -> None:
        """Add the place of bytes that had none."""
        at = bisect_right(self._places, place)
        for side in (at, at - 1):  # the right neighbour first: its index stays
            place = self._joined(side, place)
        self._places.insert(bisect_right(self._places, place), place)

    def _joined(self, at: int, place: Place) -> Place:
        """Merge a place with a neighbour that is adjacent to it in both arenas."""
        if not 0 <= at < len(self._places):
            return place
        first, second = sorted((self._places[at], place))
        length = first.span.length
        if first.span.end != second.span.offset or first.offset + length != second.offset:
            return place
        del self._places[at]
        return Place(Span(first.span.offset, length + second.span.length), first.offset)

    def within(self, span: Span) -> Iterator[Place]:
        """The parts of a span that have a place, in ascending order."""
        at = max(0, bisect_right(self._places, Place(Span(span.offset + 1, 0), 0)) - 1)
        while at < len(self._places) and self._places[at].span.offset < span.end:
            (start, _), offset = self._places[at]
            begin, end = max(start, span.offset), min(self._places[at].span.end, span.end)
            if begin < end:
                yield Place(Span(begin, end - begin), offset + begin - start)
            at += 1

    def missing(self, spans: Iterable[Span]) -> tuple[Span, ...]:
        """The parts of spans that have no place."""
        gaps: list[Span] = []
        for span in merge_spans(spans):
            start = span.offset
            for place in self.within(span):
                gaps.append(Span(start, place.span.offset - start))
                start = place.span.end
            gaps.append(Span(start, span.end - start))
        return tuple(gap for gap in gaps if gap.length)


def span_of(piece: Extent) -> Span:
    """Where a piece is."""
    return Span(piece.offset, piece.length)


def ranged(value: StoredValue) -> Iterator[Extent]:
    """The pieces of a value that are in the arena; they must be resolved."""
    return (piece for piece in value.pieces if isinstance(piece, Extent))


class Rebase:
    """Rewrites the pieces of one record.

    Args:
        places: where bytes went that were copied before.
        values: the record's values and those of its pending writes, resolved.
    """

    def __init__(self, places: Places, values: Sequence[StoredValue]) -> None:
        pieces = {piece for value in values for piece in ranged(value)}
        self._places = places
        self.missing = places.missing(map(span_of, pieces))
        self._fresh = Places()
        offset = 0
        for span in self.missing:
            self._fresh.add(Place(span, offset))
            offset += span.length
        split = [span_of(piece) for piece in pieces if len(self._parts(piece)) > 1]
        self.needed = merge_spans([*self.missing, *split])
        self._arena = ArenaParts(())
        self._sums: list[RangeSums] = []

    def read(self, arena: ArenaParts) -> bytes | None:
        """Take the bytes of `needed`; what to append, or None if they are not there."""
        self._arena = arena
        parts = [part for span in self.needed if (part := arena.get(span)) is not None]
        if len(parts) < len(self.needed):
            return None
        self._sums = list(map(RangeSums, parts))
        return b"".join(arena.get(span) or b"" for span in self.missing)

    def appended(self, base: int) -> None:
        """Learn where the appended bytes are."""
        for place in self._fresh:
            self._places.add(Place(place.span, base + place.offset))

    def body(self, body: CheckpointRecord) -> CheckpointRecord:
        """A record's body, for the new arena."""
        return replace(
            body, values={name: self.value(value) for name, value in body.values.items()}
        )

    def value(self, value: StoredValue) -> StoredValue:
        """A value, for the new arena."""
        pieces: list[Piece] = []
        for piece in value.pieces:
            if not isinstance(piece, Extent):
                pieces.append(piece)
                continue
            parts = self._parts(piece)
            for (span, offset), kind in parts:
                total = piece.sum if len(parts) == 1 else self._sum(span, piece.sum)
                pieces.append(kind(offset, span.length, total))
        return StoredValue(value.kind, pieces)

    def _sum(self, span: Span, like: Sum) -> Sum:
        """The sum of a part of what is `needed`, of the same sort as another one."""
        if not isinstance(like, int):
            return digest(self._arena.get(span) or b"")
        at = bisect_right(self.needed, span.offset, key=lambda known: known.offset) - 1
        return self._sums[at].of(span.offset - self.needed[at].offset, span.length)

    def _parts(self, piece: Extent) -> list[tuple[Place, type[Extent | NewExtent]]]:
        span = span_of(piece)
        parts: list[tuple[Place, type[Extent | NewExtent]]] = []
        parts += ((place, Extent) for place in self._places.within(span))
        parts += ((place, NewExtent) for place in self._fresh.within(span))
        return sorted(parts, key=lambda part: part[0])


# --- records --------------------------------------------------------------------------------------


def spans_of(values: Iterable[StoredValue]) -> tuple[Span, ...]:
    """The parts of the arena that values refer to, besides what their own commit appends."""
    return merge_spans(span_of(piece) for value in values for piece in ranged(value))


def shape_of(session: str, stored: Stored) -> bytes:
    """A digest of a record and its pending writes that leaves out where their bytes are."""
    body, writes = body_of(session, stored), writes_of(session, stored)
    values = [(name, _shape(value)) for name, value in body.values.items()]
    parts = [
        replace(body, values={}),
        values,
        sorted((w.task_id, w.index, w.path, w.channel, _shape(w.value)) for w in writes),
    ]
    return sha256(repr(parts).encode()).digest()


def _shape(value: StoredValue) -> str:
    parts = [piece if isinstance(piece, bytes) else piece[1:] for piece in value.pieces]
    return repr((value.kind, parts))
