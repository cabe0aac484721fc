"""Pieces of a stored value: bytes that stand in the record, and ranges of the arena. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple, TypeAlias
from zlib import crc32

from wren_sessions.records import ArenaParts, Span, merge_spans

Sum: TypeAlias = int | bytes
"""What tells bytes from others: a CRC-32, or a digest where nobody may be able to forge one."""


def checksum(data: bytes | memoryview, like: Sum) -> Sum:
    """The sum of bytes, of the same sort as another one."""
    return crc32(data) if isinstance(like, int) else digest(data)


def digest(data: bytes | memoryview) -> bytes:
    """A sum that cannot be forged."""
    return blake2b(data, digest_size=16).digest()


class Extent(NamedTuple):
    """A piece that is in the arena: absolute offset, length, checksum."""

    offset: int
    length: int
    sum: Sum

    @property
    def end(self) -> int:
        """The offset just behind it."""
        return self.offset + self.length


class NewExtent(NamedTuple):
    """A piece that the same commit appends: its offset counts from the commit's base."""

    offset: int
    length: int
    sum: Sum


Piece: TypeAlias = bytes | Extent | NewExtent

MAX_RANGES: Final = 96  # of one value; 0.1.0 wrote up to 64, later releases write up to 32
SHARED_BYTES: Final = 128 * 1_048_576  # what the values of a record may hold besides …
SHARED_FACTOR: Final = 8  # times the bytes of the arena that they refer to


def shared_too_often(values: Iterable[Sequence[Piece]]) -> str | None:
    """What is wrong with values that name the same bytes again and again; None if nothing is.

    Each record and pending write that is written or read is looked at, so the usual one, whose
    values are short, passes in one loop.
    """
    total, seen = 0, []
    for pieces in values:
        seen.append(pieces)
        count = 0
        for piece in pieces:
            if not isinstance(piece, bytes):
                count += 1
                total += piece.length
        if count > MAX_RANGES:
            return f"a value in it has {count:,} ranges, and the limit is {MAX_RANGES}"
    if total <= SHARED_BYTES:
        return None
    ranges = [piece for pieces in seen for piece in pieces if not isinstance(piece, bytes)]
    spans = (
        merge_spans(Span(piece.offset, piece.length) for piece in ranges if type(piece) is kind)
        for kind in (Extent, NewExtent)
    )
    once = sum(span.length for some in spans for span in some)
    if total - SHARED_FACTOR * once <= SHARED_BYTES:
        return None
    return (
        f"its values have {total:,} bytes, which are the same {once:,} bytes again and again; the "
        f"limit is {SHARED_FACTOR} times as many and {SHARED_BYTES:,} bytes"
    )


def unpack(pieces: Sequence[bytes | Extent], arena: ArenaParts) -> bytes | None:
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
