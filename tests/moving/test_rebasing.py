"""Offsets of one arena become those of another: for any pieces, the bytes stay the same."""

from __future__ import annotations

from itertools import pairwise
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from wren_sessions.delta.base import StoredValue
from wren_sessions.delta.encoder import resolved
from wren_sessions.delta.extents import Extent, NewExtent, unpack
from wren_sessions.records import ArenaParts, Span
from wren_sessions.transfer._rebasing import Places, Rebase
from wren_sessions.transfer._reports import Entry, parents_first

ARENA = bytes(range(200))

pieces = st.builds(
    lambda start, length: Extent(start, length, crc32(ARENA[start : start + length])),
    st.integers(0, 150),
    st.integers(1, 50),
)
values = st.builds(
    StoredValue, st.just("x"), st.lists(st.one_of(pieces, st.binary(max_size=3)), max_size=6)
)


def read(value: StoredValue, arena: bytes) -> bytes:
    """A value's bytes."""
    resolved = [piece for piece in value.pieces if not isinstance(piece, NewExtent)]
    data = unpack(resolved, ArenaParts([(0, arena)]))
    assert data is not None
    return data


@given(st.lists(st.lists(values, max_size=3), max_size=6))
def test_values_read_the_same(records: list[list[StoredValue]]) -> None:
    """Whatever a record refers to, in any order, it reads the same; nothing is appended twice."""
    target, places = b"", Places()
    for record in records:
        rebase = Rebase(places, record)
        parts = [(span.offset, ARENA[span.offset : span.end]) for span in rebase.needed]
        append = rebase.read(ArenaParts(parts))
        assert append is not None
        moved = [rebase.value(value) for value in record]
        target, base = target + append, len(target)
        rebase.appended(base)
        for before, after in zip(record, moved, strict=True):
            after.pieces = resolved(after.pieces, base)
            assert read(after, target) == read(before, ARENA)
    used = {
        byte
        for record in records
        for value in record
        for piece in value.pieces
        if isinstance(piece, Extent)
        for byte in range(piece.offset, piece.offset + piece.length)
    }
    assert len(target) == len(used)
    assert sum(place.span.length for place in places) == len(used)


@given(st.lists(pieces, max_size=12))
def test_places_are_joined(found: list[Extent]) -> None:
    """Parts that lie side by side in both arenas become one place."""
    places, end = Places(), 0
    for piece in sorted(found):
        rebase = Rebase(places, [StoredValue("x", [piece])])
        rebase.appended(end)
        end += sum(span.length for span in rebase.missing)
    listed = list(places)
    assert listed == sorted(listed)
    for left, right in pairwise(listed):
        assert left.span.end < right.span.offset


def test_bytes_that_are_not_there() -> None:
    """Bytes that the source does not give are told of, not left out."""
    rebase = Rebase(Places(), [StoredValue("x", [Extent(0, 4, 0)])])
    assert rebase.needed == (Span(0, 4),)
    assert rebase.read(ArenaParts([(0, b"abc")])) is None


@given(st.permutations([Entry("", "1", None), Entry("", "2", "1"), Entry("", "3", "2")]))
def test_parents_come_first(entries: list[Entry]) -> None:
    """No checkpoint comes before the one that it continues, even in a circle."""
    assert [entry.id for entry in parents_first(entries)] == ["1", "2", "3"]
    circle = [Entry("", "1", "2"), Entry("", "2", "1"), Entry("other", "1", "0")]
    assert sorted(parents_first(circle)) == sorted(circle)
