"""Import one export into a store: all of it, or nothing.

An export is read as if it were a store, from which its session is copied.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from wren_sessions.archives._format import Checkpoint, Value
from wren_sessions.archives._parsing import Export
from wren_sessions.checkpoints.codec import CheckpointRecord, WriteBody, encode_record, encode_write
from wren_sessions.delta.base import StoredValue
from wren_sessions.delta.extents import Extent
from wren_sessions.delta.protection import PLAIN, Protection
from wren_sessions.delta.range_sums import RangeSums
from wren_sessions.errors import SessionExistsError
from wren_sessions.keys import check_session
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import (
    ArenaParts,
    Committed,
    Name,
    Scanned,
    SessionInfo,
    Span,
    Start,
    Stored,
    StoredWrite,
    merge_spans,
)
from wren_sessions.transfer._api import StoreApi
from wren_sessions.transfer._repacking import Repacking
from wren_sessions.transfer._reports import OnProgress
from wren_sessions.transfer._staging import Source, Staging


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


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """How to import a session: the arguments of `import_session`."""

    session: str | None = None
    replace: bool = False
    renew: bool = False
    on_progress: OnProgress | None = None

    def name(self, export: Export) -> str:
        """The id that the session will have.

        Raises:
            InvalidSessionIdError: the session id is not valid.
        """
        found = export.opening.session if self.session is None else self.session
        check_session(found)
        return found


class _Landing(Staging):
    """A session from a file; its age starts over if it is to count as created now."""

    def __init__(
        self,
        source: Source,
        target: AsyncSessionStore,
        info: SessionInfo,
        plan: ImportPlan,
        protection: Protection,
    ) -> None:
        packs = protection.encryption is not None or protection.compression is not None
        repacking = Repacking(PLAIN, protection) if packs else None
        super().__init__(source, target, info, plan.on_progress, repacking)
        self._renew = plan.renew

    async def _make(self, created_ms: int | None) -> Committed:
        return await super()._make(None if self._renew else created_ms)


async def landed(export: Export, api: StoreApi, plan: ImportPlan) -> str:
    """Import a session and return its id.

    Raises:
        SessionExistsError: there is a session with this id, and it must not be replaced.
        SessionExpiredError: it is older than the store's maximum age.
    """
    target, session = api.store, plan.name(export)
    there = await target.info(session)
    if there is not None and not plan.replace:
        raise SessionExistsError(
            f"session {session!r} is there already: give another id (session=…), delete it, or "
            "pass replace=True",
            session=session,
        )
    source = ExportSource(export)
    info = await source.info(session)
    await _Landing(source, target, info, plan, api.protection).copy(replace=plan.replace)
    return session
