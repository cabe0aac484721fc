"""The stream of bytes with the values of one file. Equal beginnings are stored once."""

from __future__ import annotations

from typing import Final
from zlib import crc32

from wren_sessions._blocking import LRU
from wren_sessions.archives._format import Piece, Value
from wren_sessions.delta.base import DeltaBase, Plain
from wren_sessions.delta.cover import pack
from wren_sessions.delta.encoder import INLINE_BYTES
from wren_sessions.delta.extents import Extent, NewExtent
from wren_sessions.delta.protection import Protection
from wren_sessions.records import Name, Span

MAX_OPENED: Final = 8
MAX_RECENT: Final = 16  # checkpoints whose values are compared with new ones


class Remembering(Protection):
    """Protection that remembers the last values it opened: most do not change for some steps."""

    def __init__(self, protection: Protection) -> None:
        super().__init__(protection.keyring, protection.compression)
        self._last: LRU[tuple[str, bytes], tuple[str, bytes, Plain | None]] = LRU(MAX_OPENED)

    def unwrap(self, kind: str, data: bytes) -> tuple[str, bytes, Plain | None]:
        """See `Protection.unwrap`."""
        if "+" not in kind:
            return super().unwrap(kind, data)
        found = self._last.get((kind, data))
        if found is None:
            found = super().unwrap(kind, data)
            self._last.keep((kind, data), found)
        return found


class Stream:
    """The bytes of one file's values. A beginning that two values share is added once."""

    def __init__(self) -> None:
        self._size = 0
        self._fresh = bytearray()
        self._recent: LRU[Name, dict[str, DeltaBase]] = LRU(MAX_RECENT)

    def value(self, likely: tuple[Name, Name], channel: str, kind: str, data: bytes) -> Value:
        """A value of a checkpoint.

        Args:
            likely: the checkpoint's name, and that of the one whose value it may begin with.
            channel: the value's channel.
            kind: type tag.
            data: bytes.
        """
        if len(data) < INLINE_BYTES:
            return Value(kind, [data])
        name, parent = likely
        same = self._recent.get(parent, {}).get(channel)
        others = [v for known in reversed(self._recent.values()) for v in known.values()]
        pieces, _ = pack(data, same, others[:MAX_RECENT], self._append)
        resolved = [
            piece.resolved(self._size) if isinstance(piece, NewExtent) else piece
            for piece in pieces
        ]
        known = DeltaBase(data, resolved, same)
        if name not in self._recent:
            self._recent.keep(name, {})
        self._recent[name][channel] = known
        return Value(kind, list(map(_piece, resolved)))

    def _append(self, data: bytes) -> NewExtent:
        fresh = NewExtent(len(self._fresh), len(data), crc32(data))
        self._fresh += data
        return fresh

    def appended(self) -> bytes:
        """The bytes added since the last call."""
        data = bytes(self._fresh)
        self._size += len(data)
        self._fresh.clear()
        return data


def _piece(piece: bytes | Extent) -> Piece:
    return piece if isinstance(piece, bytes) else Span(piece.offset, piece.length)
