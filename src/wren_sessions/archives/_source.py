"""An export as a store, from which a session is copied."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cache

from wren_sessions.archives._format import Checkpoint, Value
from wren_sessions.archives._parsing import Export
from wren_sessions.checkpoints.codec import (
    CheckpointRecord,
    StoredValue,
    WriteBody,
    encode_record,
    encode_write,
)
from wren_sessions.delta.extents import Extent
from wren_sessions.delta.range_sums import RangeSums
from wren_sessions.records import (
    ArenaParts,
    Name,
    Scanned,
    SessionInfo,
    Span,
    Start,
    Stored,
    StoredWrite,
    merge_spans,
)


class ExportSource:
    """The calls of a store that copying a session needs, answered from an export. Never suspends.

    It has one session, whose arena is the stream of the export.
    """

    def __init__(self, export: Export) -> None:
        self._export = export
        self._sum = cache(RangeSums(export.stream).of)
        self._ids: dict[str, list[str]] = {}
        for namespace, id_ in sorted(export.checkpoints):
            self._ids.setdefault(namespace, []).append(id_)

    async def info(self, session: str) -> SessionInfo:
        """See `SessionStore.info`."""
        opening = self._export.opening
        return SessionInfo(
            session=session,
            life=opening.life,
            state=opening.state,
            idle=opening.idle,
            notes=opening.notes,
        )

    async def heads(self, session: str) -> tuple[Name, ...]:
        """See `SessionStore.heads`."""
        del session
        return self._export.opening.heads

    async def scan(self, session: str, starts: Sequence[Start], limit: int) -> Scanned:
        """See `SessionStore.scan`."""
        found: list[Stored] = []
        rest = list(starts)
        while rest and len(found) < limit:
            namespace, before = rest.pop(0)
            ids = self._ids.get(namespace, [])
            at = len(ids) if before is None else bisect_left(ids, before)
            first = max(0, at - (limit - len(found)))
            found += [self._stored((namespace, id_)) for id_ in reversed(ids[first:at])]
            if first:
                rest.insert(0, Start(namespace, ids[first]))
        del session
        life = self._export.opening.life
        heads = dict(self._export.opening.heads)
        return Scanned(records=tuple(found), rest=tuple(rest), life=life, heads=heads)

    async def read(self, session: str, spans: Sequence[Span]) -> ArenaParts:
        """See `SessionStore.read`."""
        del session
        stream = self._export.stream
        return ArenaParts((span.offset, stream[span.offset : span.end]) for span in spans)

    def _stored(self, name: Name) -> Stored:
        found = self._export.checkpoints[name]
        values = {channel: self._value(value) for channel, value in found.values.items()}
        body = CheckpointRecord(
            parent_id=found.parent_id,
            meta=found.head,
            versions=found.versions,
            seen=found.seen,
            values=values,
            persistent_subgraphs=found.persistent_subgraphs,
            skewed=found.skewed,
        )
        writes = self._writes(found)
        kept = [*values.values(), *(write.value for _, write in writes)]
        pieces = (piece for value in kept for piece in value.pieces)
        return Stored(
            name=name,
            body=encode_record(body, name),
            base=found.order,  # no piece counts from it: it only tells the order
            spans=merge_spans(Span(p.offset, p.length) for p in pieces if isinstance(p, Extent)),
            writes=tuple(StoredWrite(key, encode_write(write, name)) for key, write in writes),
        )

    def _writes(self, found: Checkpoint) -> list[tuple[str, WriteBody]]:
        return [
            (
                write.key,
                WriteBody(
                    task_id=write.task_id,
                    index=write.index,
                    path=write.path,
                    channel=write.channel,
                    value=self._value(write.value),
                ),
            )
            for write in found.writes
        ]

    def _value(self, value: Value) -> StoredValue:
        pieces = [
            piece if isinstance(piece, bytes) else Extent(*piece, self._sum(*piece))
            for piece in value.pieces
        ]
        return StoredValue(value.kind, pieces)
