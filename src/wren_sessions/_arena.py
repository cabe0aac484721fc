"""How a value becomes pieces of an arena that is mostly there already: pure, no I/O.

A stored value is a sequence of pieces: bytes kept inline, or spans of the session's arena. To store
a new value is to cover its bytes with runs of values that are known to be in the arena, and to
append the rest. Runs are compared as bytes, never by object identity (nodes change messages in
place) and never by digest.

1. The value at the parent is nearly always the beginning of the new one: one ``startswith``. If
   another value agrees with more of it, a subgraph's say, that one is the beginning.
2. Else the common beginning is kept, and behind it the value is looked at element by element: an
   index from the hash of an element to its place in a known value finds what was trimmed, moved or
   left behind an edit. From there a run goes on as long as the bytes agree.
3. What no run covers is appended. Of a value that is no list, a short beginning and end stay
   inline: in the arena, they would part the elements of a list that are appended before and after.

Elements are found by walking the msgpack structure; a value that has none (encrypted, compressed,
another serializer) is one element. A value has at most `MAX_PIECES` pieces: past that, neighbours
are appended again as one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate, combinations, pairwise
from typing import Any, Final, NamedTuple, TypeAlias
from zlib import crc32

from wren_sessions._elements import MIN_ELEMENT_BYTES, boundaries, elements, header_length
from wren_sessions.records import ArenaParts, Span

MAX_PIECES: Final = 32
FEWER_PIECES: Final = 24  # how many are left where there would be more; measured: 16 to 24 are best
MAX_OTHERS: Final = 8  # known values that one is compared with
MIN_RUN_BYTES: Final = 64  # a shorter run costs more to name than to append
_RUN_BYTES_BEHIND: Final = 256  # the same, of another value and behind the known beginning
_INLINE_BYTES: Final = 256  # what stands around the long elements of a value may be inline
_MOST_PARTS: Final = 64  # that a body is in, until it is made one
_SEARCHED_BYTES: Final = 16_384  # how far the end of a value is looked at for that


Sum: TypeAlias = int | bytes
"""What tells bytes from others: a CRC-32, or a digest where nobody may be able to forge one."""


def checksum(data: bytes | memoryview, like: Sum) -> Sum:
    """The sum of bytes, of the same sort as another one."""
    return crc32(data) if isinstance(like, int) else digest(data)


def digest(data: bytes | memoryview) -> bytes:
    """A sum that cannot be forged."""
    return blake2b(data, digest_size=16).digest()


class Ranged(NamedTuple):
    """A piece that is in the arena: absolute offset, length, checksum."""

    offset: int
    length: int
    sum: Sum

    @property
    def end(self) -> int:
        """The offset just behind it."""
        return self.offset + self.length


class Fresh(NamedTuple):
    """A piece that the same commit appends: its offset counts from the commit's base."""

    offset: int
    length: int
    sum: Sum

    def settled(self, base: int) -> Ranged:
        """The same piece once the store has said where the commit's bytes are."""
        return Ranged(base + self.offset, self.length, self.sum)


Piece: TypeAlias = bytes | Ranged | Fresh


class Plain(NamedTuple):
    """What a value was before it was sealed or compressed.

    Attributes:
        before: what stands in front of the sealed value.
        body: the bytes that were cut into chunks.
    """

    before: bytes
    body: bytes


class _Bytes(NamedTuple):
    """A part of some bytes."""

    data: bytes
    start: int
    end: int


class Known:
    """A value whose bytes are known here and lie in the arena.

    Its body is what lies there. It is made one only when it is asked for: to copy the bytes of a
    long list costs more than to compare them.

    Args:
        data: the value's bytes.
        pieces: where they lie, settled. The first and the last may be inline.
        like: a known value that this one may continue; what was indexed of it is taken over.
        plain: what it was before it was sealed or compressed, if it was.

    Attributes:
        unpacked: what a serializer keeps of the beginning of a list, and how long that is.
    """

    def __init__(
        self,
        data: bytes,
        pieces: Sequence[Piece],
        like: Known | None = None,
        plain: Plain | None = None,
    ) -> None:
        head = len(pieces[0]) if pieces and isinstance(pieces[0], bytes) else 0
        tail = len(pieces[-1]) if len(pieces) > 1 and isinstance(pieces[-1], bytes) else 0
        ranged = [piece for piece in pieces if isinstance(piece, Ranged)]
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
        pieces: tuple[Ranged, ...],
        plain: Plain | None,
        like: Known | None,
    ) -> None:
        self.size = size
        self.pieces = pieces
        self.plain = plain
        self.unpacked: tuple[Any, int] = (None, 0) if like is None else like.unpacked
        self._parts = parts
        self._body: bytes | None = None
        self._starts = [0, *accumulate(piece.length for piece in pieces)]
        self._places: dict[int, int] = {} if like is None else like._places  # noqa: SLF001 -- its own class
        self._indexed: int = 0 if like is None else like._indexed  # noqa: SLF001

    @property
    def kept_bytes(self) -> int:
        """How much memory it takes, about."""
        unpacked = self.unpacked[0]
        return self.size + (0 if unpacked is None else unpacked.kept_bytes)

    def continued(self, pieces: Sequence[Ranged], arena: ArenaParts) -> Known | None:
        """What lies in these pieces, if they go on where this value ends, or are the same.

        Args:
            pieces: of a list.
            arena: has what is not known of them.
        """
        if tuple(pieces) == self._written:
            return self
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
        added = [Ranged(*more, crc32(fresh)), *pieces[count:]] if fresh else pieces[count:]
        rest = unpack(pieces[count:], arena)
        return None if rest is None else self.grown(fresh + rest, added)

    def grown(self, fresh: bytes, pieces: Sequence[Ranged]) -> Known:
        """This value with more bytes behind it, which lie in these pieces."""
        found = object.__new__(Known)
        joined = self.pieces
        at = 0
        for piece in pieces:
            part = memoryview(fresh)[at : at + piece.length]
            joined = _followed(joined, piece, part)
            at += piece.length
        parts = [*self._parts, _Bytes(fresh, 0, len(fresh))] if fresh else self._parts
        if len(parts) > _MOST_PARTS:
            whole = self.body + fresh
            parts = [_Bytes(whole, 0, len(whole))]
        found._set(parts, self.size + len(fresh), joined, None, self)
        found._written = (*self.pieces, *pieces)
        return found

    @property
    def body(self) -> bytes:
        """What lies in the arena, one behind the other."""
        if self._body is None:
            self._body = b"".join(memoryview(data)[start:end] for data, start, end in self._parts)
            self._parts = [_Bytes(self._body, 0, self.size)]
        return self._body

    def begins(self, data: bytes | memoryview, start: int, skipped: int = 0) -> bool:
        """Whether other data go on with the body from `start` on. Copies nothing.

        Args:
            data: the data.
            start: where.
            skipped: how many bytes of the body are left out in them.
        """
        if len(data) - start < self.size - skipped:
            return False
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
        for start, piece in zip(self._starts, self.pieces, strict=False):
            if piece.offset <= offset < piece.end:
                return memoryview(self.body)[start + offset - piece.offset : start + piece.length]
        return memoryview(b"")

    def after(self, size: int) -> bytes:
        """What its body has behind so many bytes."""
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

    def settle(self, start: int, length: int) -> Iterator[Ranged]:
        """Where a part of the body lies."""
        at, end = bisect_right(self._starts, start) - 1, start + length
        while start < end:
            piece, begin = self.pieces[at], self._starts[at]
            stop = min(end, begin + piece.length)
            if stop - start == piece.length:
                yield piece
            else:
                part = memoryview(self.body)[start:stop]
                yield Ranged(piece.offset + start - begin, stop - start, checksum(part, piece.sum))
            start, at = stop, at + 1

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
        bounds = boundaries(self.body, self._indexed)
        for start, end in elements(bounds, len(self.body)):
            self._places.setdefault(hash(self.body[start:end]), start)
        self._indexed = len(self.body)


def _joined(body: memoryview, pieces: Sequence[Ranged]) -> tuple[Ranged, ...]:
    """The same pieces, with those joined that follow each other in the arena too."""
    joined: tuple[Ranged, ...] = ()
    at = 0
    for piece in pieces:
        at += piece.length
        joined = _followed(joined, piece, body[:at])
    return joined


def _followed(pieces: tuple[Ranged, ...], piece: Ranged, body: memoryview) -> tuple[Ranged, ...]:
    """Pieces with one more, joined if it follows the last one; the body ends with its bytes."""
    last = pieces[-1] if pieces else None
    if last is None or last.end != piece.offset or type(last.sum) is not type(piece.sum):
        return (*pieces, piece)
    length = last.length + piece.length
    if isinstance(last.sum, int):
        both: Sum = crc32(body[len(body) - piece.length :], last.sum)
    elif len(body) < length:
        return (*pieces, piece)  # a digest of both takes all the bytes of both
    else:
        both = digest(body[len(body) - length :])
    return (*pieces[:-1], Ranged(last.offset, length, both))


# --- covering a value with runs -------------------------------------------------------------------


class Run(NamedTuple):
    """A part of a value: of a known one, or (None) of its own bytes from `start` on."""

    known: Known | None
    start: int
    length: int


def cover(data: bytes, start: int, same: Known | None, others: Sequence[Known]) -> list[Run]:
    """Cover ``data[start:]`` with runs of known values and literal rests, in order.

    Args:
        data: the new value's bytes.
        start: how many of them are a container's header, which is not covered.
        same: the value at the parent, the likeliest beginning.
        others: further known values.
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


def _beginning(data: bytes, start: int, known: Sequence[Known], longest: Run) -> Run:
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
    data: bytes, at: int, start: int, known: Sequence[Known], least: int
) -> list[Run]:
    if not known:
        return [Run(None, at, len(data) - at)] if at < len(data) else []
    runs: list[Run] = []
    literal = at
    for begin, end in elements(boundaries(data, start), len(data)):
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


def _find(data: bytes, begin: int, end: int, known: Sequence[Known]) -> Run | None:
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
    place: Ranged | None


def pack(
    data: bytes,
    same: Known | None,
    others: Sequence[Known],
    append: Callable[[bytes], Fresh] | None,
    inline: tuple[int, int] | None = None,
) -> tuple[list[Piece], list[Known]]:
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
        for place in run.known.settle(run.start, run.length):
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


class Reach(ArenaParts):
    """What was read of an arena, and what is known of it here.

    Args:
        parts: what was read.
        known: values whose bytes lie in the same arena, the likeliest first.
    """

    __slots__ = ("_parts", "known")

    def __init__(self, parts: ArenaParts, known: Iterable[Known] = ()) -> None:
        super().__init__(())
        self._parts = parts
        self.known = list(known)

    def learn(self, known: Iterable[Known]) -> None:
        """Know these values too."""
        found = {id(value): value for value in (*known, *self.known)}
        self.known = list(found.values())[:MAX_OTHERS]

    def get(self, span: Span) -> bytes | None:
        """The bytes of a span, put together from both if need be."""
        found = self._parts.get(span)
        if found is not None:
            return found
        together: list[memoryview] = []
        sources: list[ArenaParts | Known] = [self._parts, *self.known]
        at = span.offset
        while at < span.end:
            part = next((part for source in sources if (part := source.behind(at))), None)
            if part is None:
                return None
            together.append(part[: span.end - at])
            at += len(together[-1])
        return b"".join(together)


def unpack(pieces: Sequence[bytes | Ranged], arena: ArenaParts) -> bytes | None:
    """A value's bytes; None where the arena lacks them, or has others than were written."""
    found: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            found.append(piece)
            continue
        data = arena.get(Span(piece.offset, piece.length))
        if data is None or checksum(data, piece.sum) != piece.sum:
            return None
        found.append(data)
    return found[0] if len(found) == 1 else b"".join(found)
