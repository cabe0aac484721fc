"""Values from stored checkpoints. Pure, no I/O.

The pieces of a value are put together, its bytes are opened if they were sealed or compressed, and
the serializer makes the value of them. What does not fit the application's classes any more becomes
an `UnreadableValue`, so that the rest can be read.

If this process has read or written the beginning of a list before, that part is not decoded again.
Only the bytes behind it are checked and unpacked. The messages of the known part are built from
what was kept of them. This helps from one step of a thread to the next, with earlier checkpoints,
whose lists are the beginning of the known one, and with a page of checkpoints, which is read oldest
first.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from wren_sessions.checkpoints.codec import (
    CheckpointRecord,
    WriteBody,
    damage,
    record_of,
    writes_of,
)
from wren_sessions.checkpoints.renaming import about_today, to_today, values_today, writes_today
from wren_sessions.checkpoints.versions import Version
from wren_sessions.delta.base import ArenaView, DeltaBase, Plain, StoredValue
from wren_sessions.delta.encoder import INLINE_BYTES, Serializer, resolved, whole
from wren_sessions.delta.extents import Extent, unpack
from wren_sessions.delta.protection import Protection
from wren_sessions.errors import DecryptionError, SerializationError, WrenSessionsError
from wren_sessions.records import ArenaParts, Name, Stored
from wren_sessions.serializers import KIND, reads_own
from wren_sessions.serializers._channels import ChannelFunctions, GraphChannels, channels_of
from wren_sessions.serializers._told import TOLD
from wren_sessions.serializers._tree import parsed
from wren_sessions.serializers.limits import MOVE_REMEDY, Budget, limits_of
from wren_sessions.serializers.packing import pack
from wren_sessions.serializers.safe import SafeSerializer
from wren_sessions.serializers.unreadable import UnreadableValue

_SEALED: Final = f"{KIND}+"
_EXTENTS: Final = {Extent}
_ORDER: Final = attrgetter("path", "task_id", "index")


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Snapshot:
    """A checkpoint as it was read.

    Attributes:
        writes: (task id, channel, value), in LangGraph's order.
        below: see `Stored`.
    """

    name: Name
    parent_id: str | None
    values: dict[str, Any]
    versions: dict[str, Version]
    seen: dict[str, dict[str, Version]]
    rest: dict[str, Any]
    metadata: dict[str, Any]
    writes: list[tuple[str, str, Any]]
    below: str | None = ""


def read_snapshot(
    session: str,
    stored: Stored,
    arena: ArenaView,
    serde: Serializer,
    protection: Protection,
    *,
    known: CheckpointRecord | None = None,
) -> tuple[Snapshot, CheckpointRecord]:
    """A stored checkpoint with its values, and its record's body.

    `known` is the record as this process wrote or read it last, if it did.
    """
    with reading(session, stored, serde=serde):
        return _snapshot(session, stored, arena, serde, protection, known=known)


def reading(
    session: str, *records: Stored, serde: Serializer | None = None
) -> AbstractContextManager[None]:
    """Within it, all that is read of these records counts together: see `limits`.

    Args:
        session: their session.
        records: at least one.
        serde: the serializer whose limits hold; None for the usual ones, where values are moved as
            they are.
    """
    what = f"checkpoint {records[0].name[1]!r} of session {session!r}"
    size = size_of(*records)
    if serde is None:
        return Budget(size, what=what, remedy=MOVE_REMEDY)
    return Budget(size, limits_of(serde).max_memory_bytes, what=what)


def size_of(*records: Stored) -> int:
    """What is really stored of checkpoints and their pending writes."""
    size = 0
    for stored in records:
        size += len(stored.body)
        for span in stored.spans:
            size += span.length
        for write in stored.writes:
            size += len(write.body)
    return size


def _snapshot(
    session: str,
    stored: Stored,
    arena: ArenaView,
    serde: Serializer,
    protection: Protection,
    *,
    known: CheckpointRecord | None,
) -> tuple[Snapshot, CheckpointRecord]:
    what = f"checkpoint {stored.name[1]!r}"
    channels = channels_of(serde, stored.name[0]) if getattr(serde, "channels", None) else None
    body = known.again(stored) if known and channels is None else None
    if body is None:
        body = body_of(session, stored)
    try:
        rest, metadata = serde.loads_typed(body.meta)
    except Exception:  # noqa: BLE001 -- whatever a serializer raises
        rest, metadata = load_about(serde, body.meta, f"{what} of session {session!r}")
    if channels is not None:
        to_today(body, channels)
        about_today(rest, metadata, channels)
    values: dict[str, Any] = {}
    functions = None
    for channel, value in body.values.items():
        about = f"channel {channel!r} of {what}"
        if channels is not None:
            functions = channels.functions.get(channel)
        small = _small(value)
        if small is not None:
            TOLD.migrated = False
            values[channel] = value_of(serde, small, f"{about} of session {session!r}", functions)
            value.migrated = TOLD.migrated
            continue
        values[channel] = _value(
            session, value, arena, serde, functions, protection=protection, what=about
        )
    if channels is not None:
        values_today(values, channels)
    found = Snapshot(
        name=stored.name,
        parent_id=body.parent_id,
        values=values,
        # Copies: a graph writes into what it was given, and the body is remembered.
        versions=dict(body.versions),
        seen=dict(zip(body.seen, map(dict, body.seen.values()), strict=True)),
        rest=rest,
        metadata=metadata,
        writes=_read_writes(
            session, stored, body, arena, serde, channels=channels, protection=protection
        ),
        below=stored.below,
    )
    return found, body


def _small(value: StoredValue) -> tuple[str, bytes] | None:
    """Type tag and bytes of a value that stands in its record, as its serializer gave it."""
    pieces = value.pieces
    if len(pieces) != 1 or "+" in value.kind:
        return None
    data = pieces[0]
    return (value.kind, data) if isinstance(data, bytes) and len(data) < INLINE_BYTES else None


def read_record(
    session: str,
    stored: Stored,
    arena: ArenaView,
    protection: Protection,
    serde: Serializer | None = None,
    *,
    known: CheckpointRecord | None = None,
) -> tuple[dict[str, tuple[str, bytes]], CheckpointRecord]:
    """Type tag and bytes of each value of a record, and its body with its pieces resolved.

    `serde` is the serializer that is to read the values, if that is known: its limits hold, and
    channels have the names that it knows. `known` is as for `read_snapshot`.
    """
    with reading(session, stored, serde=serde):
        channels = channels_of(serde, stored.name[0])
        body = known.again(stored) if known and channels is None else None
        if body is None:
            body = body_of(session, stored)
        if channels is not None:
            to_today(body, channels)
        data: dict[str, tuple[str, bytes]] = {}
        for channel, value in body.values.items():
            value.known = _held(value, arena)
            about = f"channel {channel!r} of checkpoint {stored.name[1]!r}"
            known_here = whole(value) if value.known else None
            data[channel] = known_here or _read(session, value, arena, protection, about)
        return data, body


def _value(
    session: str,
    value: StoredValue,
    arena: ArenaView,
    serde: Serializer,
    functions: ChannelFunctions | None,
    *,
    protection: Protection,
    what: str,
) -> Any:
    value.known = _held(value, arena)
    messages = None if functions else _unpacked(value, serde)
    if messages is not None:
        return messages
    typed = _read(session, value, arena, protection, what)
    return read_value(value, serde, typed, f"{what} of session {session!r}", functions)


def read_value(
    value: StoredValue,
    serde: Serializer,
    typed: tuple[str, bytes],
    what: str,
    functions: ChannelFunctions | None = None,
) -> Any:
    """A value as a record names it, from its type tag and bytes; `what` is for errors."""
    messages = None if functions else _unpacked(value, serde, typed)
    if messages is not None:
        return messages
    TOLD.migrated = False
    found = value_of(serde, typed, what, functions)
    value.migrated = TOLD.migrated
    return found


def _read(
    session: str, value: StoredValue, arena: ArenaParts, protection: Protection, what: str
) -> tuple[str, bytes]:
    """A value's type tag and bytes; from now on they are known."""
    typed, data, plain = opened(session, value, arena, protection, what)
    if len(data) >= INLINE_BYTES or plain is not None:
        value.known = DeltaBase(data, value.pieces, plain=plain)
    return typed


# --- lists ----------------------------------------------------------------------------------------


def _held(value: StoredValue, arena: ArenaView) -> DeltaBase | None:
    """What is known of a list that goes on with a known one, or that one begins with."""
    pieces = value.pieces[1:]  # of a forged value there may be none
    sealed = value.kind.startswith(_SEALED)
    if not (sealed or value.kind == KIND) or not pieces or set(map(type, pieces)) != _EXTENTS:
        return None
    if value.known is not None:  # its record stands as it was written or read here
        return value.known
    for known in arena.known:
        if sealed == (known.plain is not None):
            found = known.continued(pieces, arena)  # type: ignore[arg-type] # extents
            if found is not None:
                return found
    for known in arena.known:
        if sealed == (known.plain is not None):
            found = known.begun(pieces)  # type: ignore[arg-type] # extents
            if found is not None:
                return found
    return None


def _unpacked(
    value: StoredValue, serde: Serializer, typed: tuple[str, bytes] | None = None
) -> list[Any] | None:
    """A known list of messages; None if it is something else. `typed` is given if at hand."""
    known = value.known
    if known is None or not isinstance(serde, SafeSerializer):
        return None
    head = value.pieces[0]
    if not isinstance(head, bytes):
        return None
    earlier, size = known.unpacked
    kind, data = typed or (KIND, b"")
    if typed is None or earlier is not None:
        if known.plain is not None:
            head = head.removeprefix(known.plain.before)
        data = head + known.after(size)
    found = serde.load_list(kind, data, earlier)
    if found is None:
        return None
    messages, unpacked = found
    known.unpacked = unpacked, known.size if known.plain is None else len(known.plain.body)
    return messages


def in_order(writes: list[WriteBody]) -> list[WriteBody]:
    """Pending writes in LangGraph's order."""
    writes.sort(key=_ORDER)
    return writes


def _read_writes(
    session: str,
    stored: Stored,
    body: CheckpointRecord,
    arena: ArenaParts,
    serde: Serializer,
    *,
    channels: GraphChannels | None,
    protection: Protection,
) -> list[tuple[str, str, Any]]:
    """The pending writes of a checkpoint, in LangGraph's order."""
    if not stored.writes:
        return []
    what = f"a pending write of checkpoint {stored.name[1]!r}"
    about = f"{what} of session {session!r}"
    writes = writes_of(session, stored, body)
    if len(writes) > 1:
        in_order(writes)
    if channels is not None:
        writes = writes_today(writes, channels)
    typed: list[tuple[str, bytes]] = []
    for write in writes:
        small = _small(write.value)
        typed.append(small or opened(session, write.value, arena, protection, what)[0])
    together: dict[int, Any] = {}
    if channels is None and len(typed) > 1 and isinstance(serde, SafeSerializer):
        together = serde.loads_together(typed)
    found = []
    functions = None
    for at, (write, each) in enumerate(zip(writes, typed, strict=True)):
        if at in together:
            value = together[at]
        else:
            if channels is not None:
                functions = channels.functions.get(write.channel)
            value = value_of(serde, each, about, functions)
        found.append((write.task_id, write.channel, value))
    return found


def body_of(session: str, stored: Stored) -> CheckpointRecord:
    """What a stored record says, its pieces resolved; errors as `decode_record`."""
    body = record_of(session, stored)
    for value in body.values.values():
        value.pieces = resolved(value.pieces, stored.base)
    body.encoded, body.base = stored.body, stored.base
    return body


def ranged(session: str, stored: Stored) -> list[Extent]:
    """Where the values of a stored checkpoint lie."""
    values = body_of(session, stored).values.values()
    return [piece for value in values for piece in value.pieces if isinstance(piece, Extent)]


def read_metadata(session: str, stored: Stored, serde: Serializer) -> Mapping[str, Any]:
    """The metadata of a stored checkpoint."""
    what = f"checkpoint {stored.name[1]!r}"
    with reading(session, stored, serde=serde):
        body = record_of(session, stored)
        return load_about(serde, body.meta, f"{what} of session {session!r}")[1]


# --- bytes and values -----------------------------------------------------------------------------


def unwrap(
    protection: Protection, stored: tuple[str, bytes], what: str
) -> tuple[str, bytes, Plain | None]:
    """A value's type tag and bytes as the serializer gave them; `what` names it in errors."""
    try:
        return protection.unwrap(*stored)
    except (SerializationError, DecryptionError) as error:
        raise type(error)(f"{what} cannot be read: {error.message}") from error


def opened(
    session: str, value: StoredValue, arena: ArenaParts, protection: Protection, what: str
) -> tuple[tuple[str, bytes], bytes, Plain | None]:
    """A resolved value's type tag and bytes, its bytes as they are stored, and what those hide.

    Raises:
        CorruptSessionError: the arena lacks some of them, or has others than were written.
    """
    stored = unpack(value.pieces, arena)  # type: ignore[arg-type] # resolved: none is fresh
    if stored is None:
        raise damage(session, what)
    about = f"{what} of session {session!r}"
    kind, data, plain = unwrap(protection, (value.kind, stored), about)
    return (kind, data), stored, plain


def loads(
    serde: Serializer,
    typed: tuple[str, bytes],
    what: str,
    functions: ChannelFunctions | None = None,
) -> Any:
    """A value from its type tag and bytes; `what` is for errors.

    `functions` change the value of its channel; `serde` has told of them.
    """
    try:
        if functions is not None and not functions.have_run(typed):
            return serde.load_channel(typed, functions)  # type: ignore[attr-defined]
        return serde.loads_typed(typed)
    except Exception as error:  # noqa: BLE001 -- whatever a serializer raises
        return _loads_otherwise(serde, typed, what, error)


def _loads_otherwise(
    serde: Serializer, typed: tuple[str, bytes], what: str, error: Exception
) -> Any:
    """A value that another serializer wrote; raises if it cannot be read so either."""
    if isinstance(error, WrenSessionsError):
        raise error
    if typed[0] == KIND and isinstance(error, NotImplementedError):
        # LangGraph's serializers know their own tags: this was written before one was set.
        return reads_own(serde).loads_typed(typed)
    raise SerializationError(
        f"{what} cannot be read back by {type(serde).__name__} (type {typed[0]!r}): {error}"
    ) from error


def load_about(
    serde: Serializer, typed: tuple[str, bytes], what: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a checkpoint says besides its channels, and its metadata.

    Where a part of it does not fit the application's classes any more, that part alone is an
    `UnreadableValue`.
    """
    try:
        rest, metadata = loads(serde, typed, what)
    except SerializationError as error:
        if not error.deferrable or typed[0] != KIND:
            raise
        rest, metadata = (
            {
                name: value_of(serde, (KIND, pack(item)), f"{name!r} in {what}")
                for name, item in part.items()
            }
            for part in parsed(typed[1])
        )
    return rest, metadata


def value_of(
    serde: Serializer,
    typed: tuple[str, bytes],
    what: str,
    functions: ChannelFunctions | None = None,
) -> Any:
    """The same; an `UnreadableValue` where the application's classes do not fit any more."""
    try:
        try:
            if functions is not None and not functions.have_run(typed):
                return serde.load_channel(typed, functions)  # type: ignore[attr-defined]
            return serde.loads_typed(typed)
        except Exception as error:  # noqa: BLE001 -- whatever a serializer raises
            return _loads_otherwise(serde, typed, what, error)
    except SerializationError as error:
        if not error.deferrable:
            raise
        message = f"{what} cannot be read: {error.message}"
        why = type(error)(message, deferrable=True, line=error.line)
        return UnreadableValue(typed, why)
