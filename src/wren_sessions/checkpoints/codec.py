"""A checkpoint as the body of a record, and back: pure, no I/O.

A body is a frame: format version, codec, checksum of what follows, then a msgpack array (codec 4),
or the same compressed (6). The checksum is the CRC-32 of what follows, xor that of the checkpoint's
namespace and id. So a body that was moved to another checkpoint is noticed. (With codecs 0 and 2,
which version 0.1.0 wrote, it is the CRC-32 alone.) An encrypted body (1) is a frame as a whole,
without a checksum. The array is::

    record  [parent id, [type, bytes] of the rest and the metadata, channels, versions,
             version of each channel, versions seen by each node, values, persistent subgraphs,
             skewed]
    write   [task id, index, task path, channel, type, pieces …]

Channel names and versions stand once in a record and are referred to by number. A value is
``[channel number, type, pieces …]``. A piece is bytes kept inline, or ``[offset, length, sum]`` in
the arena. A fourth element says that the offset counts from the record's own base. If the last two
flags, persistent subgraphs and skewed, are false, they are left out.

A version that is text has a counter of 10 digits here, and of 32 wherever else: see `versions`. The
metadata are JSON data, as with every other checkpointer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from types import NoneType
from typing import Any, Final, NoReturn
from zlib import crc32

import msgpack

from wren_sessions._damage import damage_error
from wren_sessions.checkpoints.versions import DIGITS, Version, as_text
from wren_sessions.delta.base import DeltaBase, StoredValue
from wren_sessions.delta.extents import (
    MAX_RANGES,
    SHARED_BYTES,
    Extent,
    NewExtent,
    Piece,
    shared_too_often,
)
from wren_sessions.errors import (
    CorruptSessionError,
    DecryptionError,
    FormatVersionError,
    SerializationError,
)
from wren_sessions.keys import write_key
from wren_sessions.records import Name, Stored, StoredWrite
from wren_sessions.serializers.compression import Compression, decompress
from wren_sessions.serializers.limits import Budget, OverBudgetError, check_sequence
from wren_sessions.serializers.packing import KEPT_BYTES

FORMAT: Final = 1
_PLAIN, _SEALED, _ZSTD = range(3)  # codecs, …
_NAMED: Final = 4  # … and what is added to two of them where the checksum covers the name
_HEADER_BYTES: Final = 6
_NAMED_HEAD: Final = bytes((FORMAT, _PLAIN | _NAMED))
_RING: Final = 10  # checkpoints of a ring that its error names
_CHECKED_BYTES: Final = 4_096  # what a shorter frame claims to hold is not much either way
_CODECS: Final = (_PLAIN, _SEALED, _ZSTD, _PLAIN | _NAMED, _ZSTD | _NAMED)
_PLAIN_HEADS: Final = (_NAMED_HEAD, bytes((FORMAT, _PLAIN)))
_ZSTD_HEADS: Final = (bytes((FORMAT, _ZSTD)), bytes((FORMAT, _ZSTD | _NAMED)))
_MISSHAPEN: Final = (ValueError, TypeError, LookupError, AttributeError, RecursionError)

_OWN: Final = object()  # no node is this
_OPTIONAL_TEXT: Final = frozenset({str, NoneType})
_JSON: Final = frozenset({str, int, float, bool, NoneType})
_SUMS: Final = frozenset({int, bytes})

_STORED_DIGITS: Final = 10  # of a version
_PADDED: Final = DIGITS - _STORED_DIGITS
_PADDING: Final = "0" * _PADDED
_NEXT: Final = _STORED_DIGITS + 1
_is_padded: Final = re.compile(f"{_PADDING}[0-9]{{{_STORED_DIGITS}}}(?:\\.|\\Z)").match

_PIECES: Final[Callable[[StoredValue], Sequence[Piece]]] = attrgetter("pieces")
_spare: Final[dict[str, Any]] = {}  # a packer, see `serializers.packing`


@dataclass(slots=True)
class CheckpointRecord:
    """What a record's body says.

    Attributes:
        parent_id: the checkpoint that this one continues.
        meta: type tag and bytes of the checkpoint's rest and metadata.
        versions: the version of each channel.
        seen: for each node, the version of each channel that it has seen.
        values: the value of each channel that has one.
        persistent_subgraphs: whether a subgraph keeps a memory of its own beside it.
        skewed: whether it, or one before it, has a lower id than the one that it continues: the
            clocks of the machines differ.
        encoded: its body in the store, if that is known and says just this, …
        base: … and where the record's own bytes start.
    """

    parent_id: str | None
    meta: tuple[str, bytes]
    versions: dict[str, Version]
    seen: dict[str, dict[str, Version]]
    values: dict[str, StoredValue]
    persistent_subgraphs: bool = False
    skewed: bool = False
    encoded: bytes | None = field(default=None, compare=False, repr=False)
    base: int = field(default=0, compare=False, repr=False)

    def again(self, stored: Stored) -> CheckpointRecord | None:
        """The same record, read again; None if that is not what is stored.

        What is noted of its values is noted in this one alone.
        """
        if self.encoded != stored.body or self.base != stored.base:
            return None
        values: dict[str, StoredValue] = {}
        for channel, value in self.values.items():
            values[channel] = StoredValue(value.kind, value.pieces, value.known, value.migrated)
        return CheckpointRecord(
            self.parent_id,
            self.meta,
            self.versions,
            self.seen,
            values,
            self.persistent_subgraphs,
            self.skewed,
            self.encoded,
            self.base,
        )

    def delta_bases(self) -> list[DeltaBase]:
        """What is known of the bytes of its values."""
        found: list[DeltaBase] = []
        for value in self.values.values():
            if value.known is not None:
                found.append(value.known)  # noqa: PERF401 -- one frame
        return found


@dataclass(slots=True)
class WriteBody:
    """What the body of a pending write says."""

    task_id: str
    index: int
    path: str
    channel: str
    value: StoredValue


def encode_record(body: CheckpointRecord, name: Name) -> bytes:
    """A record's body as bytes. It keeps them, if `decode_record` makes just this of them.

    Raises:
        SerializationError: a name or a version cannot be written down.
    """
    # Numbers for channels and versions, in the order of their first use.
    channels: dict[str, int] = {}
    versions: dict[Any, int] = {}
    texts: list[Version] = []
    tables: dict[Any, list[int]] = {}
    usual = True  # so far, they are as `alike` makes them
    for node, pairs in ((_OWN, body.versions), *body.seen.items()):
        table = tables[node] = []
        for channel, version in pairs.items():
            # 1, 1.0 and True are different versions
            key = version if type(version) is str else (type(version), version)
            if key not in versions:
                versions[key] = len(texts)
                text = unpadded(version) if isinstance(version, str) else version
                texts.append(text)
                usual = usual and key is version != text
            table += channels.setdefault(channel, len(channels)), versions[key]
    own = tables.pop(_OWN)
    values = _packed_values(body.values, channels)
    fields: list[Any] = [body.parent_id, body.meta, list(channels), texts, own, tables, values]
    if body.skewed:
        fields += [body.persistent_subgraphs, True]
    elif body.persistent_subgraphs:
        fields.append(True)
    encoded = _frame(fields, name)
    if usual and _OPTIONAL_TEXT.issuperset(map(type, (*channels, *tables, body.parent_id))):
        body.encoded = encoded
    return encoded


def _packed_values(values: Mapping[str, StoredValue], channels: dict[str, int]) -> list[list[Any]]:
    """Values as a record has them, the channels by their numbers."""
    found = []
    ranged, many = 0, False
    for channel, value in values.items():
        packed: list[Any] = [channels.setdefault(channel, len(channels)), value.kind]
        found.append(packed)
        for piece in value.pieces:
            if type(piece) is bytes:
                packed.append(piece)
            else:
                packed.append((*piece, 1) if type(piece) is NewExtent else piece)
                ranged += piece[1]
        many = many or len(packed) > MAX_RANGES
    if many or ranged > SHARED_BYTES:
        _refuse_shared(values.values())
    return found


def decode_record(data: bytes, session: str, what: str, name: Name) -> CheckpointRecord:
    """What `encode_record` was given, its versions made `alike`.

    `name` is the checkpoint that it stands at; `session` and `what` are for errors.

    Raises:
        CorruptSessionError: the bytes are not as they were written.
        FormatVersionError: a newer version of this package wrote them.
    """
    fields = _unframe(data, session, what, "\n".join(name).encode())
    try:
        parent_id, head, channels, versions, own, seen, values, *flags = fields
        versions = alike(versions)
        if list in map(type, channels):  # tuples, as version 0.1.0 saved them
            channels = [_as_key(name) for name in channels]
        tables: list[dict[str, Version]] = []
        for numbers in (own, *seen.values()):
            pairs: dict[str, Version] = {}
            for at in range(0, len(numbers), 2):
                pairs[channels[numbers[at]]] = versions[numbers[at + 1]]
            tables.append(pairs)
        found: dict[str, StoredValue] = {}
        for number, kind, *pieces in values:
            found[channels[number]] = StoredValue(kind, _unpacked_pieces(pieces))
            if type(kind) is not str:
                raise TypeError(kind)
        if type(parent_id) not in _OPTIONAL_TEXT:
            raise TypeError(parent_id)
        if not (type(head[0]) is str and type(head[1]) is bytes):
            raise TypeError(head)
        nodes = dict(zip(seen, tables[1:], strict=True))
        meta, persistent_subgraphs, skewed = (head[0], head[1]), any(flags[:1]), any(flags[1:])
    except _MISSHAPEN as error:
        raise damage(session, what) from error
    check_shared(found.values(), session, what)
    return CheckpointRecord(parent_id, meta, tables[0], nodes, found, persistent_subgraphs, skewed)


def encode_write(write: WriteBody, name: Name) -> bytes:
    """A pending write's body as bytes; errors as `encode_record`."""
    value = write.value
    if len(value.pieces) > 1:
        _refuse_shared([value])
    fields: list[Any] = [write.task_id, write.index, write.path, write.channel, value.kind]
    for piece in value.pieces:
        fields.append((*piece, 1) if type(piece) is NewExtent else piece)  # noqa: PERF401 -- one frame
    return _frame(fields, name)


def record_of(session: str, stored: Stored) -> CheckpointRecord:
    """What a stored record says; errors as `decode_record`."""
    return decode_record(stored.body, session, f"checkpoint {stored.name[1]!r}", stored.name)


def writes_of(
    session: str,
    stored: Stored,
    body: CheckpointRecord | None = None,
    *,
    writes: Iterable[StoredWrite] | None = None,
) -> list[WriteBody]:
    """The pending writes of a checkpoint, as they are listed. They stand under their own keys.

    Args:
        session: its session.
        stored: as it is stored.
        body: the checkpoint's record, if its values are read along with them.
        writes: some of them; None for all.

    Raises:
        CorruptSessionError: one is damaged, or they name the same bytes again and again.
        FormatVersionError: a newer version of this package wrote them.
    """
    checkpoint = f"checkpoint {stored.name[1]!r}"
    what = f"a pending write of {checkpoint}"
    bound = "\n".join(stored.name).encode()
    found: list[WriteBody] = []
    ranged: list[StoredValue] = []
    for key, data in stored.writes if writes is None else writes:
        fields = _unframe(data, session, what, bound)
        try:
            task_id, index, path, channel, kind, *pieces = fields
            if not type(task_id) is type(path) is type(channel) is type(kind) is str:
                raise TypeError(task_id)
            if type(index) is not int:
                raise TypeError(index)
            if key != f"{task_id}/{index}" and key != write_key(task_id, index):
                raise ValueError(key)
            value = StoredValue(kind, pieces)
            if len(pieces) != 1 or type(pieces[0]) is not bytes:
                value.pieces = _unpacked_pieces(pieces)
                ranged.append(value)
        except _MISSHAPEN as error:
            raise damage(session, what) from error
        if len(pieces) > 1:
            check_shared([value], session, what)
        found.append(WriteBody(task_id, index, path, channel, value))
    if ranged:
        ranged += body.values.values() if body else ()
        check_shared(ranged, session, f"{checkpoint} with its pending writes")
    return found


def damage(session: str, what: str) -> CorruptSessionError:
    """The error for bytes that are not as they were written."""
    return damage_error(session, f"session {session!r} cannot be read: {what} is damaged")


def check_shared(values: Iterable[StoredValue], session: str, what: str) -> None:
    """Refuse values that name the same bytes of the arena again and again.

    Raises:
        CorruptSessionError: no writer makes such values.
    """
    wrong = shared_too_often(map(_PIECES, values))
    if wrong is not None:
        raise damage_error(
            session,
            f"session {session!r} cannot be read: {what} was not written by this package: {wrong}",
        )


def _refuse_shared(values: Iterable[StoredValue]) -> None:
    """The same, of values that are to be written."""
    wrong = shared_too_often(map(_PIECES, values))
    if wrong is not None:
        raise SerializationError(
            f"a checkpoint cannot be stored: {wrong}; keep what is large in one channel"
        )


def _as_key(name: Any) -> Any:
    return tuple(map(_as_key, name)) if isinstance(name, list) else name


def ring(session: str, namespace: str, ids: Sequence[str]) -> NoReturn:
    """Raise the error for checkpoints that continue each other.

    Args:
        session: their session.
        namespace: their namespace.
        ids: each of them, and after it the one that it continues; the last one continues the first.
    """
    shown = [repr(id_) for id_ in ids[:_RING]] + ["…"] * (len(ids) > _RING) + [repr(ids[0])]
    raise CorruptSessionError(
        f"the history of session {session!r}, namespace {namespace!r}, goes round in a circle: "
        f"its checkpoints {' -> '.join(shown)} continue each other. Go on from a checkpoint "
        "outside of this circle, or delete the session",
        session=session,
    )


def _unpacked_pieces(packed: list[Any]) -> list[Piece]:
    pieces: list[Piece] = []
    for piece in packed:
        if type(piece) is bytes:
            pieces.append(piece)
            continue
        offset, length, total, *fresh = piece
        numbers = type(offset) is type(length) is int and offset >= 0 <= length
        if not (numbers and type(total) in _SUMS):
            raise TypeError(piece)
        kind = NewExtent if fresh else Extent
        pieces.append(kind(offset, length, total))
    return pieces


def _frame(fields: list[Any], name: Name) -> bytes:
    packer = _spare.pop("packer", None) or msgpack.Packer()
    try:
        packed: bytes = packer.pack(fields)
    except (TypeError, ValueError, OverflowError) as error:  # the values in it are bytes already
        raise SerializationError(
            "channel names and versions must be valid Unicode, and numbers of at most 64 bits: "
            f"{error}"
        ) from error
    if len(packed) < KEPT_BYTES:
        _spare["packer"] = packer
    summed = crc32(packed) ^ crc32("\n".join(name).encode())
    return _NAMED_HEAD + summed.to_bytes(4, "big") + packed


def _reframed(frame: bytes, data: bytes) -> bytes:
    """A frame with the other form of its data, bound to the same."""
    bound = int.from_bytes(frame[2:_HEADER_BYTES], "big") ^ crc32(frame[_HEADER_BYTES:])
    summed = (crc32(data) ^ bound).to_bytes(4, "big")
    return b"%c%c%b%b" % (FORMAT, frame[1] ^ _ZSTD, summed, data)


def compressed(frame: bytes, compression: Compression) -> bytes:
    """A frame with its array compressed, where that is worth it."""
    if frame[:2] not in _PLAIN_HEADS:
        return frame
    packed = compression.compress(frame[_HEADER_BYTES:])
    return frame if packed is None else _reframed(frame, packed)


def plain_frame(frame: bytes) -> bytes:
    """A frame as it was before it was compressed; any other one as it is."""
    if frame[:2] not in _ZSTD_HEADS:
        return frame
    with Budget(len(frame), what="a record"):
        return _reframed(frame, decompress(frame[_HEADER_BYTES:]))


def sealed_frame(sealed: bytes) -> bytes:
    """A frame that holds another one, encrypted."""
    return b"%c%c%b" % (FORMAT, _SEALED, sealed)


def is_sealed_body(data: bytes) -> bool:
    """Whether a frame is encrypted."""
    return data[:2] == bytes((FORMAT, _SEALED))


def opened_frame(data: bytes) -> bytes:
    """What `sealed_frame` was given."""
    return data[2:]


def _unframe(data: bytes, session: str, what: str, bound: bytes) -> Any:
    """What is in a frame, which is bound to a name."""
    if len(data) <= _HEADER_BYTES:
        raise damage(session, what)
    if data[:2] != _NAMED_HEAD:
        _check_format(data, session, what)
    packed = data[_HEADER_BYTES:]
    summed = crc32(packed) ^ (crc32(bound) if data[1] & _NAMED else 0)
    if summed.to_bytes(4, "big") != data[2:_HEADER_BYTES]:
        raise damage(session, what)
    try:
        if data[1] & _ZSTD or len(packed) > _CHECKED_BYTES:
            with Budget(len(data), what=f"{what} of session {session!r}"):
                packed = decompress(packed) if data[1] & _ZSTD else packed
                check_sequence(packed)
        return msgpack.unpackb(packed, strict_map_key=False)  # bounds every length by len(packed)
    except OverBudgetError:
        raise
    except (ValueError, msgpack.UnpackException, SerializationError) as error:
        raise damage(session, what) from error


def _check_format(data: bytes, session: str, what: str) -> None:
    """Make sure that a frame can be read here."""
    version, codec = data[0], data[1]
    if version > FORMAT or (version == FORMAT and codec not in _CODECS):
        raise FormatVersionError(
            f"{what} of session {session!r} has format version {version}.{codec}, and this "
            f"wren-sessions reads up to {FORMAT}.{max(_CODECS)}: upgrade it",
            session=session,
            found=version,
            supported=FORMAT,
        )
    if version != FORMAT:
        raise damage(session, what)
    if codec == _SEALED:
        raise DecryptionError(
            f"{what} of session {session!r} is encrypted: open the store with its key "
            "(encryption=, WREN_SESSIONS_ENCRYPTION_KEYS)",
            session=session,
        )


# --- versions -------------------------------------------------------------------------------------


@lru_cache(1_024)  # a put has most of its versions from the one before
def unpadded(version: str) -> str:
    """A version as it is stored: without the zeros that every reader puts back."""
    return version[_PADDED:] if _is_padded(version) else version


def alike(versions: Sequence[Any]) -> list[Any]:
    """Versions from one record, made comparable with each other."""
    if str not in map(type, versions):
        return list(versions)
    found = []
    for version in versions:
        # Nearly all have the width that is stored.
        usual = type(version) is str and version[_STORED_DIGITS:_NEXT] == "."
        counter = version[:_STORED_DIGITS] if usual else ""
        counts = counter.isdecimal() and counter.isascii()
        found.append(_PADDING + version if counts else as_text(version))
    return found


# --- metadata -------------------------------------------------------------------------------------


def as_json(value: Any) -> Any:
    """A value with the containers, texts and numbers that JSON would give back.

    Tuples become lists, keys become text, and subclasses of text and numbers become plain ones.
    What JSON has no form for (a date, say) stays as it is: it is stored as its type.
    """
    if type(value) in _JSON:
        return value
    if isinstance(value, dict):
        found: dict[Any, Any] = {}
        for key, inner in value.items():
            plain_key = key if type(key) is str else _json_key(key)
            found[plain_key] = inner if type(inner) in _JSON else as_json(inner)
        return found
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value) if isinstance(value, int) else float(value)
    return value


def _json_key(key: Any) -> Any:
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, int | float):
        return json.dumps(key)
    return key


def metadata_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as it is stored, given back and compared."""
    try:
        found: dict[str, Any] = as_json(metadata if type(metadata) is dict else dict(metadata))
    except RecursionError:  # the serializer says what is wrong with it
        return dict(metadata)
    return found


def matches(metadata: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether metadata has all the values asked for; `where` is as `metadata_of` gives it."""
    return all(as_json(metadata.get(key)) == value for key, value in where.items())
