"""Encrypts and compresses long values before they go to the arena, chunk by chunk. Pure.

A long value is cut at the beginnings of its elements. Each chunk is compressed and sealed by
itself. Equal chunks of a session are equal bytes, so a list that grows still costs only what is
new, and `cover` works on sealed values in the same way::

    [key id, salt]  head  chunk chunk chunk …  tail        kind: "msgpack+sealed.26.0"

Head and tail are not cut (an array's header, and what is around the long elements). They stay in
the record, which is sealed as a whole. The kind says what was done to the value, and how long head
and tail are. So plain, compressed and sealed values can be read side by side. The checksums in the
record ensure that each chunk is in its place.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

import msgpack

from wren_sessions.delta.base import DeltaBase, Plain
from wren_sessions.delta.cover import first_inline, last_inline
from wren_sessions.delta.elements import boundaries, cuts
from wren_sessions.delta.extents import Piece
from wren_sessions.errors import DecryptionError, SerializationError
from wren_sessions.protocols import SessionStore
from wren_sessions.serializers.compression import Compression, decompress
from wren_sessions.serializers.encryption import Encryption
from wren_sessions.serializers.keyring import UID_BYTES, Keyring
from wren_sessions.serializers.limits import check_sequence, surplus
from wren_sessions.serializers.packing import header_length

_WRAPPED: Final = re.compile(r"(.*)\+(sealed|zstd)\.(\d{1,9})\.(\d{1,9})", re.DOTALL)
_RAW, _ZSTD = b"\x00", b"\x01"


def clear_head(kind: str, head: bytes) -> bytes:
    """A value's head in the record, without whose key and which salt it begins with."""
    found = _WRAPPED.fullmatch(kind) if "+" in kind else None
    if found is None or found[2] != "sealed":
        return head
    return head[1 + head[0] + UID_BYTES :]


class Wrapped(NamedTuple):
    """A value ready for the arena.

    Attributes:
        kind: type tag, with what was done.
        data: its bytes.
        head: how many of them stay in the record, at the beginning.
        tail: the same at the end.
        plain: what lies in between, as it was.
    """

    kind: str
    data: bytes
    head: int
    tail: int
    plain: Plain


class Protection:
    """What happens to long values.

    Args:
        keyring: the keys; None to store what can be read.
        compression: how to compress; None for not at all.

    Attributes:
        encryption: the app's keys of the keyring; None if there is none.
        wraps: whether anything is done to values.
    """

    def __init__(
        self, keyring: Keyring | None = None, compression: Compression | None = None
    ) -> None:
        self.keyring = keyring
        self.encryption: Encryption | None = None if keyring is None else keyring.encryption
        self.compression = compression
        self._mode = "sealed" if keyring else "zstd" if compression else None
        self.wraps: bool = self._mode is not None

    @cached_property
    def uncompressed(self) -> Protection:
        """The same, but nothing is compressed any more; chunks that are can still be shared."""
        found = Protection(self.keyring)
        found._mode = self._mode
        return found

    def wrap(self, kind: str, data: bytes, known: Iterable[DeltaBase]) -> Wrapped | None:
        """A value for the arena; None if it goes there as it is.

        `known` are values that it may share chunks with, the likeliest first.
        """
        if self._mode is None:
            return None
        likes = [(v.plain, v) for v in known if v.plain and v.size and self._usable(v.plain)]
        head = header_length(data) or first_inline(data)
        start, chunks, over = head, b"", 0
        before = likes[0][0].before if likes else self._before()
        for plain, like in likes:
            if data.startswith(plain.body, head):
                # Chunks are opened with what stands in front of them: both come from one value.
                start, chunks, before = head + len(plain.body), like.body, plain.before
                over = plain.surplus_bytes
                break
        end = len(data) if header_length(data) else last_inline(data, start)
        fresh = list(self._chunks(before, data, start, end))
        chunks += b"".join(chunk for chunk, _ in fresh)
        over += sum(more for _, more in fresh)
        whole = b"".join((before, data[:head], chunks, data[end:]))
        bounds = (len(before) + head, len(data) - end)
        wrapped_kind = f"{kind}+{self._mode}.{bounds[0]}.{bounds[1]}"
        return Wrapped(wrapped_kind, whole, *bounds, Plain(before, data[head:end], over))

    def _before(self) -> bytes:
        """What a value begins with: whose key, and which salt."""
        if self.keyring is None:
            return b""
        key_id = self.keyring.chunk_key.encode()
        return b"%c%b%b" % (len(key_id), key_id, secrets.token_bytes(UID_BYTES))

    def _usable(self, plain: Plain) -> bool:
        """Whether chunks made like these may be shared: of the newest key, or of none."""
        if self.keyring is None:
            return not plain.before
        return _key_of(plain.before)[0] == self.keyring.chunk_key

    def _chunks(
        self, before: bytes, data: bytes, start: int, end: int
    ) -> Iterator[tuple[bytes, int]]:
        """The chunks of a part of the data, and the `surplus` of each."""
        salt = before[-UID_BYTES:]
        for first, last in cuts(boundaries(data[:end], start), end):
            chunk, more = _RAW + data[first:last], 0
            if self.compression and (packed := self.compression.compress(data[first:last])):
                chunk, more = _ZSTD + packed, surplus(len(packed), last - first)
            if self.keyring:
                chunk = self.keyring.seal_chunk(salt, chunk)
            yield msgpack.packb(chunk), more

    def unwrap(self, kind: str, data: bytes) -> tuple[str, bytes, Plain | None]:
        """Type tag and bytes as the serializer gave them.

        Raises:
            DecryptionError: there is no key for it, or it was changed.
            SerializationError: it is damaged, or too large.
        """
        found = _WRAPPED.fullmatch(kind) if "+" in kind else None
        if found is None:
            return kind, data, None
        inner, mode, head, end = found[1], found[2], int(found[3]), len(data) - int(found[4])
        if head > end:
            raise SerializationError("it is shorter than it says")
        before = b""
        if mode == "sealed":
            before = data[: 1 + data[0] + UID_BYTES]
            if len(before) > head:
                raise SerializationError("it is shorter than it says")
        opened = list(self._opened(before, data[head:end]))
        body = b"".join(chunk for chunk, _ in opened)
        plain = Plain(before, body, sum(more for _, more in opened))
        return inner, data[len(before) : head] + body + data[end:], plain

    def _opened(self, before: bytes, stream: bytes) -> Iterator[tuple[bytes, int]]:
        """What is in each chunk, and its `surplus`."""
        opened = self._opener(before) if before else bytes
        for sealed in _split(stream):
            chunk, more = opened(sealed), 0
            if chunk[:1] == _ZSTD:
                found = decompress(chunk[1:])
                more = surplus(len(chunk) - 1, len(found))
            elif chunk[:1] == _RAW:
                found = chunk[1:]
            else:
                raise SerializationError("it was packed in a way that is not known here")
            yield found, more

    def _opener(self, before: bytes) -> Any:
        key_id, salt = _key_of(before)
        if self.keyring is None:
            raise DecryptionError(
                f"it is encrypted with the key {key_id!r}: open the store with its key "
                "(encryption=, WREN_SESSIONS_ENCRYPTION_KEYS)"
            )
        return self.keyring.chunk_opener(key_id, salt)


PLAIN: Final = Protection()
"""Nothing is done; what was compressed is read."""


def protection_of(store: object) -> Protection:
    """What a store wants done with the values that are kept in it."""
    found = getattr(store, "protection", PLAIN)
    return found if isinstance(found, Protection) else PLAIN


def unprotected(store: SessionStore) -> SessionStore:
    """The store below encryption and compression; the store itself if it has neither."""
    below: SessionStore = getattr(store, "unprotected", store)
    return below


def is_sealed(kind: str) -> bool:
    """Whether a stored value of this kind is encrypted."""
    found = _WRAPPED.fullmatch(kind) if "+" in kind else None
    return found is not None and found[2] == "sealed"


def chunk_key_id(kind: str, pieces: Sequence[Piece]) -> str | None:
    """The id of the key that a value's chunks are sealed with; None if they are not."""
    first = pieces[0] if pieces else b""
    if not is_sealed(kind) or not isinstance(first, bytes) or not first:
        return None
    return _key_of(first[: 1 + first[0] + UID_BYTES])[0]


def _key_of(before: bytes) -> tuple[str, bytes]:
    return before[1:-UID_BYTES].decode("ascii", "replace"), before[-UID_BYTES:]


def _split(stream: bytes) -> list[bytes]:
    """The chunks of a stream."""
    if stream:
        check_sequence(stream)
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(stream), 1))
    unpacker.feed(stream)
    try:
        found = list(unpacker)
    except (ValueError, msgpack.UnpackException) as error:
        raise SerializationError(f"its chunks are damaged: {error}") from error
    if unpacker.tell() != len(stream) or not all(type(chunk) is bytes for chunk in found):
        raise SerializationError("its chunks are damaged")
    return found
