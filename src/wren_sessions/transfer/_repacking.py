"""Records from one protection to another: pure.

Where a store is encrypted, or the other one is, bytes of the arena cannot go from one to the other
as they are. So each value is opened, and packed anew for the target against the records that were
written there before: what they share is stored once there too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from wren_sessions._lru import LRU
from wren_sessions.checkpoints.codec import CheckpointRecord, WriteBody, encode_record
from wren_sessions.checkpoints.snapshots import read_record, reading
from wren_sessions.delta.base import ArenaView
from wren_sessions.delta.encoder import DeltaEncoder, opened
from wren_sessions.delta.extents import Extent
from wren_sessions.delta.protection import Protection
from wren_sessions.records import ArenaParts, Name, Record, Span, Stored, merge_spans

Typed: TypeAlias = tuple[str, bytes]
Convert: TypeAlias = Callable[[Typed], Typed]

MAX_KNOWN: Final = 16


def _as_it_is(typed: Typed) -> Typed:
    return typed


@dataclass(frozen=True, slots=True)
class Repacked:
    """A record for the target, and what is remembered of it once it is there."""

    record: Record
    body: CheckpointRecord
    packer: DeltaEncoder


class Repacking:
    """The records of one session on their way.

    Args:
        source: what the values are protected by.
        target: what they are to be protected by.
        convert: changes type tag and bytes of a value on the way; None to leave them.
    """

    def __init__(
        self, source: Protection, target: Protection, convert: Convert | None = None
    ) -> None:
        self._source = source
        self._convert = convert or _as_it_is
        self._target = target
        self._known: LRU[Name, CheckpointRecord] = LRU(MAX_KNOWN)

    def record(
        self, session: str, stored: Stored, parent_id: str | None, arena: ArenaParts
    ) -> Repacked:
        """A record, for the target."""
        with reading(session, stored):
            body, data = read_record(session, stored, ArenaView(arena), self._source)
            data = {channel: self._convert(typed) for channel, typed in data.items()}
        parent = self._known.get((stored.name[0], parent_id or ""))
        packer = DeltaEncoder(parent, self._newest_first(), protection=self._target)
        values = {channel: packer.packed(channel, *typed) for channel, typed in data.items()}
        body = replace(body, values=values)
        record = Record(
            name=stored.name,
            parent_id=parent_id,
            body=encode_record(body, stored.name),
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
        packer = DeltaEncoder(None, self._newest_first(), appends=False, protection=self._target)
        what = f"a pending write of checkpoint {stored.name[1]!r}"
        with reading(session, stored):
            for write in writes:
                typed, *_ = opened(session, write.value, arena, self._source, what)
                write.value = packer.packed(write.channel, *self._convert(typed))
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
