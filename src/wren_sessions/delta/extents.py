"""Pieces of a stored value: bytes that stand in the record, and ranges of the arena. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple, TypeAlias
from zlib import crc32

from wren_sessions.records import ArenaParts, Span

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

    def resolved(self, base: int) -> Extent:
        """The same piece once the store has said where the commit's bytes are."""
        return Extent(base + self.offset, self.length, self.sum)


Piece: TypeAlias = bytes | Extent | NewExtent


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
