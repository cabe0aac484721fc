"""Values as pieces of an arena: they come back, they are few, and nothing is stored twice."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final, TypeAlias
from zlib import crc32

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wren_sessions.delta.base import DeltaBase
from wren_sessions.delta.cover import MAX_PIECES, pack
from wren_sessions.delta.elements import (
    MIN_ELEMENT_BYTES,
    boundaries,
    elements,
)
from wren_sessions.delta.encoder import resolved
from wren_sessions.delta.extents import Extent, NewExtent, Piece, unpack
from wren_sessions.records import ArenaParts, Span, merge_spans
from wren_sessions.serializers.packing import header_length

Edit: TypeAlias = Callable[[list[Any], random.Random], list[Any]]
Wrap: TypeAlias = Callable[[list[Any]], bytes]

KEPT: Final = 4  # values that the next one is compared with


class Shelf:
    """An arena, and the values last stored in it: what a store and a cache do together."""

    def __init__(self) -> None:
        self.arena = bytearray()
        self.known: list[DeltaBase] = []
        self.appended_bytes = 0

    def put(self, data: bytes) -> list[bytes | Extent]:
        """Store a value after the one before it."""
        own = bytearray()

        def append(part: bytes) -> NewExtent:
            fresh = NewExtent(len(own), len(part), crc32(part))
            own.extend(part)
            return fresh

        same = self.known[0] if self.known else None
        pieces, used = pack(data, same, self.known[1:], append)
        assert all(known in self.known for known in used)
        there = resolved(pieces, len(self.arena))
        self.appended_bytes = len(own)
        self.arena += own
        self.known = [DeltaBase(data, there, like=same), *self.known][:KEPT]
        return there

    def get(self, pieces: Sequence[bytes | Extent]) -> bytes | None:
        """Read a value from the parts of the arena that it names, as a store answers them."""
        return unpack(pieces, self.parts(pieces))

    def parts(self, pieces: Sequence[Piece]) -> ArenaParts:
        """The bytes that pieces name."""
        spans = merge_spans(Span(p.offset, p.length) for p in pieces if isinstance(p, Extent))
        return ArenaParts((s.offset, bytes(self.arena[s.offset : s.end])) for s in spans)


# --- values that change as those of a graph do ----------------------------------------------------


def _packed(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _element(rng: random.Random) -> Any:
    text = "".join(rng.choices("abcdefgh ", k=rng.choice([0, 3, 30, 70, 200, 900])))
    return rng.choice(
        [
            text,
            {"role": "user", "content": text},
            msgpack.ExtType(5, _packed([text, rng.random()])),
            [text, None, rng.getrandbits(60)],
            rng.getrandbits(30),
            rng.randbytes(rng.randint(0, 300)),
        ]
    )


def _without(value: list[Any], rng: random.Random) -> list[Any]:
    at = rng.randrange(len(value) or 1)
    return value[:at] + value[at + 1 :]


def _with(value: list[Any], rng: random.Random) -> list[Any]:
    at = rng.randrange(len(value) + 1)
    return [*value[:at], _element(rng), *value[at:]]


EDITS: Final[dict[str, Edit]] = {
    "append": lambda value, rng: [*value, *(_element(rng) for _ in range(rng.randint(1, 3)))],
    "trim": lambda value, rng: value[rng.randint(0, 3) :],
    "delete": _without,
    "replace": lambda value, rng: [_element(rng) if rng.random() < 0.2 else v for v in value],
    "insert": _with,
    "shuffle": lambda value, rng: rng.sample(value, len(value)),
    "double": lambda value, rng: [*value, *value][:200],
    "again": lambda value, rng: list(value),
    "clear": lambda value, rng: [],
}
WRAPS: Final[dict[str, Wrap]] = {
    "list": _packed,
    "dict": lambda value: _packed({"turn": len(value), "messages": value, "done": False}),
    "nested": lambda value: _packed([{"a": {"b": value}}, value[:1]]),
    "send": lambda value: _packed([msgpack.ExtType(3, _packed(["node", {"messages": value}]))]),
    "no msgpack": lambda value: random.Random(len(value)).randbytes(40 * len(value)),
}

histories = st.tuples(
    st.integers(0, 2**32),
    st.sampled_from(sorted(WRAPS)),
    st.lists(st.sampled_from(sorted(EDITS)), min_size=1, max_size=25),
)


def history(seed: int, wrap: str, edits: Sequence[str]) -> list[bytes]:
    """The values that a channel takes, as bytes."""
    rng = random.Random(seed)
    value = [_element(rng) for _ in range(rng.choice([0, 5, 40]))]
    values = [value]
    for edit in edits:
        value = EDITS[edit](value, rng)
        values.append(value)
    return [WRAPS[wrap](value) for value in values]


@settings(max_examples=150, deadline=None)
@given(histories)
def test_every_value_comes_back_in_few_pieces(case: tuple[int, str, list[str]]) -> None:
    """Whatever is done to a value, it is read back as it was, and no byte is appended twice."""
    shelf = Shelf()
    stored = []
    for data in history(*case):
        stored.append((data, shelf.put(data)))
        assert shelf.appended_bytes <= len(data)
    for data, pieces in stored:
        assert shelf.get(pieces) == data
        assert sum(isinstance(piece, Extent) for piece in pieces) <= MAX_PIECES
        inline = [(at, p) for at, p in enumerate(pieces) if isinstance(p, bytes)]
        if header_length(data):
            assert inline == [(0, data[: header_length(data)])]
        assert all(at in {0, len(pieces) - 1} and len(p) <= 256 for at, p in inline)


@settings(max_examples=100, deadline=None)
@given(histories, st.data())
def test_what_is_known_of_a_value_is_where_it_lies(
    case: tuple[int, str, list[str]], data: st.DataObject
) -> None:
    """Any part of a known value lies in the arena where it says, with the checksum it says."""
    shelf = Shelf()
    for value in history(*case):
        shelf.put(value)
    for known in shelf.known:
        start = data.draw(st.integers(0, len(known.body)))
        length = data.draw(st.integers(0, len(known.body) - start))
        places = list(known.resolve(start, length))
        found = b"".join(bytes(shelf.arena[p.offset : p.offset + p.length]) for p in places)
        assert found == known.body[start : start + length]
        assert all(
            crc32(bytes(shelf.arena[p.offset : p.offset + p.length])) == p.sum for p in places
        )


def test_a_value_with_parts_outside_the_arena_is_not_built_on() -> None:
    """Bytes that are kept inline lie nowhere in the arena, so no run may refer to them."""
    inline, rest = os.urandom(500), os.urandom(500)
    data = b"head" + inline + rest
    pieces, used = pack(
        data, DeltaBase(data, [b"head", inline, Extent(0, 500, crc32(rest))]), [], None
    )
    assert b"".join(piece for piece in pieces if isinstance(piece, bytes)) == data
    assert not used


def test_what_stands_around_a_list_does_not_part_what_is_appended() -> None:
    """A list inside a value that grows costs what is new, as a list does by itself."""
    messages, shelf = _messages(100, random.Random(7)), Shelf()
    for size in range(1, len(messages) + 1):
        stored = shelf.put(_packed({"turn": size, "messages": messages[:size], "done": False}))
        assert len([piece for piece in stored if isinstance(piece, Extent)]) <= 2
    assert len(shelf.arena) <= len(_packed(messages))


def test_what_another_value_brought_is_not_appended_again() -> None:
    """A message that came as input is not written again where it enters the list of messages."""
    messages, shelf = _messages(3, random.Random(8)), Shelf()
    shelf.put(_packed(messages[:2]))
    before = shelf.known[0]
    shelf.put(_packed({"messages": messages[2:]}))
    shelf.known = [before, *shelf.known]
    stored = shelf.put(_packed(messages))
    assert shelf.appended_bytes == 0
    assert shelf.get(stored) == _packed(messages)


def test_the_value_that_agrees_most_is_the_beginning() -> None:
    """What a subgraph appended to a list is taken over when its parent appends the same."""
    messages, shelf = _messages(5, random.Random(9)), Shelf()
    shelf.put(_packed(messages[:4]))
    parent = shelf.known[0]
    shelf.put(_packed(messages))
    shelf.known = [parent, *shelf.known]
    shelf.put(_packed(messages))
    assert shelf.appended_bytes == 0


# --- cost -----------------------------------------------------------------------------------------


def _messages(count: int, rng: random.Random) -> list[Any]:
    return [{"id": str(n), "content": rng.randbytes(300).hex()} for n in range(count)]


def _grown(wrap: str, count: int) -> float:
    """What a list that grows by one message per step takes, in multiples of the final value."""
    messages, shelf = _messages(count, random.Random(1)), Shelf()
    for size in range(1, count + 1):
        shelf.put(WRAPS[wrap](messages[:size]))
    if wrap == "list":
        assert not any(known._indexed for known in shelf.known)  # nothing was searched for
    return len(shelf.arena) / len(WRAPS[wrap](messages))


def test_appending_to_a_list_appends_only_what_is_new() -> None:
    """A list that grows by one message per step costs one message per step, and no search."""
    assert _grown("list", 400) <= 1


@pytest.mark.parametrize("wrap", ["dict", "send"])
def test_appending_to_a_list_inside_a_value_costs_a_logarithm(wrap: str) -> None:
    """Its pieces cannot be joined, and yet a message is not written again at every step."""
    assert _grown(wrap, 200) <= 3
    assert _grown(wrap, 800) <= 1.7 * _grown(wrap, 200)


def test_lists_that_grow_side_by_side_cost_a_logarithm() -> None:
    """What another channel appends in between keeps the pieces of a list apart."""

    def grown(count: int) -> float:
        messages, shelf = _messages(count, random.Random(1)), Shelf()
        for size in range(1, count + 1):
            shelf.put(_packed(messages[:size]))
            shelf.arena += b"of another channel"
        return len(shelf.arena) / len(_packed(messages))

    assert grown(200) <= 3
    assert grown(800) <= 1.7 * grown(200)


def test_a_window_that_moves_appends_only_what_is_new() -> None:
    """A list that keeps its last 40 messages costs what is new, and no more."""
    messages, shelf = _messages(400, random.Random(2)), Shelf()
    for end in range(1, len(messages) + 1):
        shelf.put(_packed(messages[max(0, end - 40) : end]))
    assert len(shelf.arena) <= len(_packed(messages))


def test_editing_all_over_a_value_does_not_store_it_anew_each_time() -> None:
    """A value in as many pieces as it may have costs a fraction of itself per edit."""
    rng, shelf = random.Random(3), Shelf()
    messages = _messages(300, rng)
    shelf.put(_packed(messages))
    size, edits = len(shelf.arena), 300
    for _ in range(edits):
        messages[rng.randrange(len(messages))] = {"id": "x", "content": rng.randbytes(300).hex()}
        shelf.put(_packed(messages))
    assert len(shelf.arena) - size <= edits * len(_packed(messages)) / 24


def test_bytes_that_are_no_msgpack_do_not_hide_what_follows() -> None:
    """One large element whose inside cannot be understood leaves the others to be found again."""
    rng, shelf = random.Random(4), Shelf()
    strange = msgpack.ExtType(7, b"\xc1" + rng.randbytes(6_000))
    messages = _messages(100, rng)
    shelf.put(_packed([strange, *messages]))
    shelf.put(_packed([rng.randbytes(100), strange, *messages[1:]]))
    assert shelf.appended_bytes < 200


def test_with_no_arena_to_append_to_what_is_new_stays_inline() -> None:
    """A pending write refers to what is there, and brings the rest itself."""
    rng, shelf = random.Random(5), Shelf()
    old, new = _packed(_messages(10, rng)), _packed(_messages(11, rng))
    shelf.put(old)
    pieces, used = pack(
        _packed([msgpack.unpackb(new)[-1], *msgpack.unpackb(old)]), shelf.known[0], [], None
    )
    assert used == [shelf.known[0]]
    assert not any(isinstance(piece, NewExtent) for piece in pieces)
    assert sum(len(piece) for piece in pieces if isinstance(piece, bytes)) < len(new)


# --- reading --------------------------------------------------------------------------------------


def test_bytes_that_are_not_there_or_not_the_same_are_no_value() -> None:
    """Neither a missing part nor a changed one gives a value."""
    shelf = Shelf()
    pieces = shelf.put(_packed(_messages(3, random.Random(6))))
    assert unpack(pieces, ArenaParts([])) is None
    shelf.arena[5] ^= 1
    assert shelf.get(pieces) is None


# --- elements -------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.binary(max_size=400), st.integers(0, 400))
def test_any_bytes_have_boundaries(data: bytes, start: int) -> None:
    """Looking for elements never fails, and what it finds ascends within the data."""
    start = min(start, len(data))
    found = boundaries(data, start)
    assert found[0] == start
    assert all(a < b for a, b in pairwise(found))
    assert not data[start:] or found[-1] < len(data)


@given(histories)
@settings(max_examples=50, deadline=None)
def test_elements_begin_at_boundaries_and_are_long_enough(
    case: tuple[int, str, list[str]],
) -> None:
    """Each element is at least as long as is worth naming, and ends at a boundary."""
    data = history(*case)[-1]
    found = boundaries(data, header_length(data))
    ends = {*found, len(data)}
    for start, end in elements(data, header_length(data)):
        assert end - start >= MIN_ELEMENT_BYTES
        assert start in ends
        assert end in ends


NUMBERS: Final = [random.Random(at).randrange(-2_000, 70_000) for at in range(20_000)]


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(msgpack.packb(NUMBERS), id="numbers"),
        pytest.param(bytes(at % 127 for at in NUMBERS), id="bytes like numbers"),
    ],
)
def test_tiny_elements_are_not_looked_at_one_by_one(whole: bytes) -> None:
    """What moved is still found; few calls of our own, and a small index."""
    shelf = Shelf()
    shelf.put(whole)
    bounds = boundaries(whole, header_length(whole))
    moved = whole[bounds[0] : bounds[3]] + whole[bounds[-9_000] :]  # as if some were dropped
    calls = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        shelf.put(moved)
    finally:
        sys.setprofile(None)
    assert shelf.appended_bytes < 1_000
    assert calls < len(bounds) / 2
    assert len(shelf.known[-1]._places) < len(bounds) / 8


@pytest.mark.parametrize(
    ("data", "length"),
    [(b"", 0), (b"\x93123", 1), (b"\xdc\x00\x01\xc0", 3), (b"\xdd\0\0\0\1\xc0", 5), (b"\x81", 0)],
)
def test_only_an_array_has_a_header_of_its_own(data: bytes, length: int) -> None:
    """What changes when a list grows is kept apart from its elements."""
    assert header_length(data) == length
