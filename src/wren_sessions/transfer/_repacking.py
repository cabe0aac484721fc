"""Converts records from one protection to another: pure.

If one of the stores is encrypted, bytes of the arena cannot be copied unchanged. So each value is
decrypted, and packed again for the target, compared with the records that were written there
before. So data that records share is stored only once there, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeAlias

from wren_sessions._blocking import LRU
from wren_sessions.checkpoints.codec import CheckpointRecord, WriteBody, encode_record
from wren_sessions.checkpoints.snapshots import opened, read_record, reading
from wren_sessions.delta.base import ArenaView
from wren_sessions.delta.encoder import DeltaEncoder, Serializer
from wren_sessions.delta.extents import Extent
from wren_sessions.delta.protection import Protection
from wren_sessions.records import ArenaParts, Name, Notes, Record, Span, Stored, merge_spans

Typed: TypeAlias = tuple[str, bytes]

MAX_KNOWN: Final = 16


class Conversion(Protocol):
    """Changes records while they are copied."""

    def read(
        self, name: Name, body: CheckpointRecord, data: dict[str, Typed]
    ) -> tuple[CheckpointRecord, dict[str, Typed]]:
        """A record that was read, with type tag and bytes of each value."""

    def to_write(self, name: Name, body: CheckpointRecord) -> CheckpointRecord:
        """A record whose values are packed."""

    def write(self, name: Name, write: WriteBody, typed: Typed) -> Typed:
        """A pending write, which may be changed; type tag and bytes of its value."""


@dataclass(frozen=True, slots=True)
class Repacked:
    """A record for the target, and what to remember of it once it is written."""

    record: Record
    body: CheckpointRecord
    packer: DeltaEncoder


def notes_in(protection: Protection, notes: Notes) -> Notes:
    """Notes as a store with this protection gives them back: it may hide the owner."""
    if protection.encryption is None or notes.owner is None:
        return notes
    return notes._replace(owner=protection.encryption.hidden_owner(notes.owner))


class Repacking:
    """Repacks the records of one session while they are copied.

    Args:
        source: what the values are protected by.
        target: what they are to be protected by.
        conversion: changes records on the way; None to leave them as they are.
        serde: the serializer that converts: its limits hold.

    Attributes:
        target: see there.
    """

    def __init__(
        self,
        source: Protection,
        target: Protection,
        conversion: Conversion | None = None,
        serde: Serializer | None = None,
    ) -> None:
        self._source = source
        self._serde = serde
        self._conversion = conversion
        self.target: Protection = target
        self._known: LRU[Name, CheckpointRecord] = LRU(MAX_KNOWN)

    def record(
        self, session: str, stored: Stored, parent_id: str | None, arena: ArenaParts
    ) -> Repacked:
        """A record, for the target."""
        with reading(session, stored, serde=self._serde):
            data, body = read_record(session, stored, ArenaView(arena), self._source)
            if self._conversion is not None:
                body, data = self._conversion.read(stored.name, body, data)
        parent = self._known.get((stored.name[0], parent_id or ""))
        packer = DeltaEncoder(parent, self._newest_first(), protection=self.target)
        values = {channel: packer.packed(channel, *typed) for channel, typed in data.items()}
        body = whole = replace(body, values=values)
        if self._conversion is not None:
            whole = self._conversion.to_write(stored.name, body)
        record = Record(
            name=stored.name,
            parent_id=parent_id,
            body=encode_record(whole, stored.name),
            append=bytes(packer.appended),
            spans=packer.spans(values.values()),
        )
        return Repacked(record, body, packer)

    def resolve(self, repacked: Repacked, base: int) -> None:
        """Remember where a record's bytes are now."""
        for large in repacked.packer.large:
            large.resolve(base)
        self._known.keep(repacked.record.name, repacked.body)

    def writes(
        self, session: str, stored: Stored, writes: list[WriteBody], arena: ArenaParts
    ) -> tuple[Span, ...]:
        """Change a record's pending writes for the target; where they refer to its arena."""
        packer = DeltaEncoder(None, self._newest_first(), appends=False, protection=self.target)
        what = f"a pending write of checkpoint {stored.name[1]!r}"
        with reading(session, stored, serde=self._serde):
            for write in writes:
                typed, *_ = opened(session, write.value, arena, self._source, what)
                if self._conversion is not None:
                    typed = self._conversion.write(stored.name, write, typed)
                write.value = packer.packed(write.channel, *typed)
        return packer.spans(write.value for write in writes)

    def _newest_first(self) -> list[tuple[Name, CheckpointRecord]]:
        return list(reversed(self._known.items()))


def spans_in(body: CheckpointRecord, writes: list[WriteBody]) -> tuple[Span, ...]:
    """All parts of the arena that a resolved record and its pending writes refer to."""
    values = [*body.values.values(), *(write.value for write in writes)]
    return merge_spans(
        Span(piece.offset, piece.length)
        for value in values
        for piece in value.pieces
        if isinstance(piece, Extent)
    )
