"""The arena of a session in memory: the pieces that commits appended, by offset."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wren_sessions.records import Span, overlaps


@dataclass(slots=True)
class Arena:
    """Bytes that are only ever appended; a piece that nobody needs any more can go.

    Attributes:
        end: the offset that the next piece gets.
        size_bytes: of the pieces that are there.
    """

    end: int = 0
    size_bytes: int = 0
    _starts: list[int] = field(default_factory=list)
    _pieces: list[bytes] = field(default_factory=list)

    @classmethod
    def of(cls, end: int, pieces: Iterable[tuple[int, bytes]]) -> Arena:
        """The arena that has these pieces, in the order of their offsets."""
        arena = cls(end)
        for start, piece in pieces:
            arena._starts.append(start)
            arena._pieces.append(piece)
            arena.size_bytes += len(piece)
        return arena

    def pieces(self) -> list[tuple[int, bytes]]:
        """The pieces with their offsets, in order."""
        return list(zip(self._starts, self._pieces, strict=True))

    def append(self, data: bytes) -> None:
        """Add a piece at the end."""
        if data:
            self._starts.append(self.end)
            self._pieces.append(data)
            self.end += len(data)
            self.size_bytes += len(data)

    def cut(self, end: int) -> None:
        """Take away all from an offset on: what an interrupted `append` has left."""
        at = bisect_left(self._starts, end)
        del self._starts[at:]
        del self._pieces[at:]
        self.end = end
        self.size_bytes = sum(map(len, self._pieces))

    def read(self, span: Span) -> bytes | None:
        """The bytes of a span, or None where they are not there, or not any more."""
        if span.offset < 0 or span.end > self.end:
            return None
        first = bisect_right(self._starts, span.offset) - 1
        found, at, expected = [], first, span.offset
        while expected < span.end:
            if at < 0 or at >= len(self._starts) or self._starts[at] > expected:
                return None
            piece = self._pieces[at]
            start = expected - self._starts[at]
            if start >= len(piece):
                return None
            found.append(piece[start : span.end - self._starts[at]])
            expected = self._starts[at] + len(piece)
            at += 1
        return b"".join(found)

    def free(self, free: Sequence[Span], keep: Sequence[Span]) -> int:
        """Drop the pieces that touch `free` and not `keep`; how many bytes that were."""
        before = self.size_bytes
        left = [
            (start, piece)
            for start, piece in self.pieces()
            if overlaps(keep, start, start + len(piece))
            or not overlaps(free, start, start + len(piece))
        ]
        self._starts = [start for start, _ in left]
        self._pieces = [piece for _, piece in left]
        self.size_bytes = sum(map(len, self._pieces))
        return before - self.size_bytes

    def copy(self) -> Arena:
        """An independent copy; the pieces never change, so they are shared."""
        return Arena(self.end, self.size_bytes, self._starts.copy(), self._pieces.copy())
