"""How a value becomes pieces of an arena that has most of its bytes already: pure, no I/O.

A stored value is a sequence of pieces: bytes kept inline, or spans of the session's arena. To store
a new value, its bytes are covered with runs of values that are known to be in the arena, and the
rest is appended. Runs are compared as bytes, never by object identity (nodes change messages in
place) and never by digest.

1. The value at the parent is nearly always the beginning of the new one: one ``startswith``. If
   another value, such as a subgraph's, has a longer beginning in common, that one is used.
2. Otherwise the common beginning is kept, and the rest of the value is looked at element by
   element. An index from an element's hash to its place in a known value finds elements that were
   trimmed, moved or left behind an edit. From there a run continues as long as the bytes agree.
3. Bytes that no run covers are appended. If a value is not a list, a short beginning and end stay
   inline. In the arena they would separate the elements of a list that are appended before and
   after them.

Elements are found by walking the msgpack structure. A value without one (encrypted, compressed,
another serializer) is one element. A value has at most `MAX_PIECES` pieces. Above that,
neighbouring pieces are appended again as one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, combinations, pairwise
from typing import Final, NamedTuple

from wren_sessions.delta.base import DeltaBase
from wren_sessions.delta.elements import (
    MIN_ELEMENT_BYTES,
    boundaries,
    elements,
)
from wren_sessions.delta.extents import Extent, NewExtent, Piece
from wren_sessions.serializers.packing import header_length

MAX_PIECES: Final = 32
FEWER_PIECES: Final = 24  # how many are left where there would be more; measured: 16 to 24 are best
MIN_RUN_BYTES: Final = 64  # a shorter run costs more to name than to append
_RUN_BYTES_BEHIND: Final = 256  # the same, of another value and behind the known beginning
_INLINE_BYTES: Final = 256  # what stands around the long elements of a value may be inline
_SEARCHED_BYTES: Final = 16_384  # how far the end of a value is looked at for that


# --- covering a value with runs -------------------------------------------------------------------


class Run(NamedTuple):
    """A part of a value: of a known one, or (None) of its own bytes from `start` on."""

    known: DeltaBase | None
    start: int
    length: int


def cover(
    data: bytes, start: int, same: DeltaBase | None, others: Sequence[DeltaBase]
) -> list[Run]:
    """Cover ``data[start:]`` with runs of known values and literal rests, in order.

    Before `start` is a container's header, which is not covered. `same` is the value at the parent,
    the likeliest beginning.
    """
    if same is not None and same.size and same.begins(data, start):
        first = _beginning(data, start, others, Run(same, 0, same.size))
        behind = start + first.length
        rest = len(data) - behind
        near = [v for v in others if v is not first.known and v.unsearched_bytes <= 4 * rest]
        runs = _cover_elements(data, behind, behind, near, _RUN_BYTES_BEHIND)
        return [first, *runs] if first.length else runs
    known = ([same] if same is not None else []) + [other for other in others if other is not same]
    first = _beginning(data, start, known, Run(None, 0, 0))
    runs = [first] if first.length else []
    return [*runs, *_cover_elements(data, start + first.length, start, known, MIN_RUN_BYTES)]


def _beginning(data: bytes, start: int, known: Sequence[DeltaBase], longest: Run) -> Run:
    """The longest run of a known value's beginning that the data begin with.

    That is not always the parent's value: a subgraph, or a fork, may have appended to it before.
    """
    for value in known:
        least = max(longest.length + 1, MIN_RUN_BYTES)
        if least <= min(value.size, len(data) - start):
            length = _agreeing(data, start, value.body, 0)
            if length >= least:
                longest = Run(value, 0, length)
    return longest


def _cover_elements(
    data: bytes, at: int, start: int, known: Sequence[DeltaBase], least: int
) -> list[Run]:
    if not known:
        return [Run(None, at, len(data) - at)] if at < len(data) else []
    runs: list[Run] = []
    literal = at
    for begin, end in elements(data, start):
        if begin < at:
            continue
        found = _find(data, begin, end, known)
        if found is None or found.length < least:
            continue
        if literal < begin:
            runs.append(Run(None, literal, begin - literal))
        runs.append(found)
        at = literal = begin + found.length
    if literal < len(data):
        runs.append(Run(None, literal, len(data) - literal))
    return runs


def _find(data: bytes, begin: int, end: int, known: Sequence[DeltaBase]) -> Run | None:
    for value in known:
        place = value.find(data, begin, end)
        if place is not None:
            return Run(value, place, _agreeing(data, begin, value.body, place))
    return None


def _agreeing(a: bytes, i: int, b: bytes, j: int) -> int:
    """How many bytes of `a` from `i` on agree with `b` from `j` on."""
    room = min(len(a) - i, len(b) - j)
    length, step = 0, 256
    while length < room:
        step = min(step, room - length)
        if a[i + length : i + length + step] == b[j + length : j + length + step]:
            length += step
            step *= 2
        elif step == 1:
            break
        else:
            step //= 2
            room = min(room, length + 2 * step + 1)
    return length


# --- pieces ---------------------------------------------------------------------------------------


class Part(NamedTuple):
    """A part of a value's bytes, and where it lies; None if it must be appended."""

    start: int
    length: int
    place: Extent | None


def pack(
    data: bytes,
    same: DeltaBase | None,
    others: Sequence[DeltaBase],
    append: Callable[[bytes], NewExtent] | None,
    inline: tuple[int, int] | None = None,
) -> tuple[list[Piece], list[DeltaBase]]:
    """A value as pieces.

    Args:
        data: the value's bytes.
        same: the value at the parent, if it is known.
        others: further known values.
        append: adds bytes to the arena; None keeps what is new inline.
        inline: how many bytes at the beginning and at the end stay inline; None to find out.

    Returns:
        The pieces, and the known values that they refer to.
    """
    head = inline[0] if inline else header_length(data) or first_inline(data)
    whole = data[: len(data) - inline[1]] if inline else data
    runs = cover(whole, head, same, others)
    parts = _bounded(_parts(runs, head))
    end = len(whole) if inline or header_length(data) else _end_inline(data, parts)
    pieces: list[Piece] = [data[:head]] if head else []
    for start, length, place in parts:
        literal = data[start : min(start + length, end)] if place is None else b""
        if place or literal:
            pieces.append(place or (append(literal) if append else literal))
    if end < len(data):
        pieces.append(data[end:])
    return pieces, [run.known for run in runs if run.known is not None]


def first_inline(data: bytes) -> int:
    """How many bytes stand before the first long element of a value that is no array."""
    bounds = boundaries(data[: 2 * _INLINE_BYTES], depth=2)
    long = (a for a, b in pairwise([*bounds, len(data)]) if b - a >= MIN_ELEMENT_BYTES)
    first = next(long, 0)
    return first if first <= _INLINE_BYTES else 0


def _end_inline(data: bytes, parts: Sequence[Part]) -> int:
    """Where what stands behind the last long element of a value begins.

    In the arena, it would part what is appended before from what is appended next.
    """
    if not parts or parts[-1].place is not None:
        return len(data)
    return last_inline(data, parts[-1].start)


def last_inline(data: bytes, start: int) -> int:
    """The same, of what begins at `start`."""
    size = len(data)
    if size - start > _SEARCHED_BYTES:
        return size
    bounds = [*boundaries(data, start, depth=0), size]
    long = (b for a, b in pairwise(bounds) if b - a >= MIN_ELEMENT_BYTES)
    end = max(long, default=start)
    return end if size - end <= _INLINE_BYTES else size


def _parts(runs: Sequence[Run], start: int) -> list[Part]:
    parts: list[Part] = []
    for run in runs:
        if run.known is None:
            parts.append(Part(start, run.length, None))
            start += run.length
            continue
        for place in run.known.resolve(run.start, run.length):
            parts.append(Part(start, place.length, place))
            start += place.length
    return parts


def _bounded(parts: list[Part]) -> list[Part]:
    """At most `MAX_PIECES` parts: where there are more, neighbours are appended again as one.

    Those that cost the fewest bytes per part saved, until there are `FEWER_PIECES`. (To join just
    the cheapest two soon leaves parts of one length, and every further one costs as much as they.)
    """
    if len(parts) <= MAX_PIECES:
        return parts
    if len(parts) > 2 * MAX_PIECES:
        parts = _largest(parts, MAX_PIECES)
    while len(parts) > FEWER_PIECES:
        start, end = _cheapest(parts)
        length = sum(part.length for part in parts[start:end])
        parts[start:end] = [Part(parts[start].start, length, None)]
    return parts


def _cheapest(parts: Sequence[Part]) -> tuple[int, int]:
    """The neighbours that cost the fewest bytes per part saved."""
    costs = list(accumulate(map(_again, parts), initial=0))

    def price(window: tuple[int, int]) -> float:
        start, end = window
        return (costs[end] - costs[start]) / (end - start - 1)

    bounds = range(len(parts) + 1)
    return min(((a, b) for a, b in combinations(bounds, 2) if b - a > 1), key=price)


def _again(part: Part) -> int:
    return 0 if part.place is None else part.length


def _largest(parts: Sequence[Part], count: int) -> list[Part]:
    """Keep the longest places, and append the rest, neighbours as one."""
    kept = set(sorted(parts, key=_again, reverse=True)[:count])
    fewer: list[Part] = []
    for part in parts:
        if part in kept and part.place is not None:
            fewer.append(part)
        elif fewer and fewer[-1].place is None:
            fewer[-1] = Part(fewer[-1].start, fewer[-1].length + part.length, None)
        else:
            fewer.append(Part(part.start, part.length, None))
    return fewer
