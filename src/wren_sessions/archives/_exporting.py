"""One session as lines.

The names of the checkpoints are collected first. Then they are read page by page, with one read for
everything that the lists of a page refer to. The session may be written in the meantime: later
checkpoints are not in the file. All values go into one stream of bytes, in which equal beginnings
are stored once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from operator import itemgetter
from typing import Final, NoReturn
from zlib import crc32

from wren_sessions._blocking import LRU
from wren_sessions._damage import damage_error
from wren_sessions._walks import RecordWalk
from wren_sessions.archives._format import Checkpoint, Lines, Opening, Piece, Value, Write
from wren_sessions.checkpoints.codec import damage, record_of, writes_of
from wren_sessions.checkpoints.snapshots import opened, read_record, reading
from wren_sessions.delta.base import ArenaView, DeltaBase, Plain
from wren_sessions.delta.cover import pack
from wren_sessions.delta.encoder import INLINE_BYTES, resolved
from wren_sessions.delta.extents import Extent, NewExtent
from wren_sessions.delta.protection import PLAIN, Protection
from wren_sessions.errors import ConflictError, SerializationError
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import (
    ArenaParts,
    Name,
    SessionInfo,
    Span,
    Start,
    Stored,
    merge_spans,
)
from wren_sessions.sessions.operations import not_found
from wren_sessions.transfer._reports import Entry, OnProgress, Progress, parents_first

PAGE: Final = 100
ATTEMPTS: Final = 5
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

        `likely` is the checkpoint's name, and that of the one whose value it may begin with.
        """
        if len(data) < INLINE_BYTES:
            return Value(kind, [data])
        name, parent = likely
        same = self._recent.get(parent, {}).get(channel)
        others = [v for known in reversed(self._recent.values()) for v in known.values()]
        pieces, _ = pack(data, same, others[:MAX_RECENT], self._append)
        there = resolved(pieces, self._size)
        known = DeltaBase(data, there, same)
        if name not in self._recent:
            self._recent.keep(name, {})
        self._recent[name][channel] = known
        return Value(kind, list(map(_piece, there)))

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


class Exporting:
    """An export of one session, page by page."""

    def __init__(
        self,
        store: AsyncSessionStore,
        session: str,
        protection: Protection = PLAIN,
        on_progress: OnProgress | None = None,
    ) -> None:
        self._store = store
        self._session = session
        self._protection = Remembering(protection)
        self._now = datetime.now(UTC)
        self._on_progress = on_progress
        self._lines = Lines()
        self._stream = Stream()
        self._pages: list[list[Name]] | None = None
        self._order: dict[Name, int] = {}
        self._above: dict[Name, str | None] = {}
        self._done = 0
        self.opening: Opening | None = None

    async def more(self) -> list[str] | None:
        """The next lines; None at the end.

        Raises:
            SessionNotFoundError: there is no such session.
            ConflictError: a checkpoint was deleted before it was exported.
            CorruptSessionError: the stored data is damaged.
        """
        if self._pages is None:
            await self._begin()
            return [self._lines.opening(self.begun)]
        if self._pages:
            return await self._page(self._pages.pop(0))
        if self._done < 0:
            return None
        self._done = -1
        return [self._lines.end()]

    @property
    def begun(self) -> Opening:
        """The contents of the first line; available once that line was written."""
        assert self.opening is not None  # noqa: S101 -- the caller has the first line
        return self.opening

    # --- what there is ---

    async def _begin(self) -> None:
        for _ in range(ATTEMPTS):
            info = await self._store.info(self._session)
            if info is None:
                not_found(self._session)
            found = await self._store.heads(self._session)
            heads = sorted(found)  # the root namespace first
            entries = await self._entries(info, heads)
            if entries is not None:
                return self._plan(info, heads, entries)
        raise ConflictError(
            f"session {self._session!r} was written each time while it was being looked at: "
            "try again when it is less busy",
            session=self._session,
        )

    async def _entries(self, info: SessionInfo, heads: Sequence[Name]) -> list[Entry] | None:
        """All checkpoints in the order they were written; None if new ones came in the meantime."""
        found: list[tuple[int, str, Entry]] = []
        scan = partial(self._store.scan, self._session)
        walk = RecordWalk(scan, (Start(namespace) for namespace, _ in heads), PAGE)
        while (page := await walk.next_page()) is not None:
            for stored in page.records:
                parent_id = record_of(self._session, stored).parent_id
                found.append((stored.base, stored.name[1], Entry(*stored.name, parent_id)))
        again = await self._store.info(self._session)
        if again is None or (again.life.incarnation, again.life.revision) != (
            info.life.incarnation,
            info.life.revision,
        ):
            return None
        there = {entry.name for _, _, entry in found}
        for namespace, id_ in heads:
            if (namespace, id_) not in there:
                raise damage(self._session, f"the latest checkpoint of namespace {namespace!r}")
        return parents_first(entry for _, _, entry in sorted(found))

    def _plan(self, info: SessionInfo, heads: Sequence[Name], entries: Sequence[Entry]) -> None:
        """Pages of checkpoints of one namespace, oldest first."""
        self._order = {entry.name: order for order, entry in enumerate(entries)}
        self._pages = []
        for namespace, _ in heads:
            names = sorted(name for name in self._order if name[0] == namespace)
            ids = [id_ for _, id_ in names]
            self._above |= dict(zip(names, [*ids[1:], None], strict=True))
            self._pages += [names[at : at + PAGE] for at in range(0, len(names), PAGE)]
        self.opening = Opening(
            session=self._session,
            exported_at=self._now.isoformat(),
            checkpoints=len(entries),
            life=info.life,
            idle=info.idle,
            heads=tuple(heads),
            state=info.state,
            notes=info.notes,
        )

    # --- checkpoints ---

    async def _page(self, names: list[Name]) -> list[str]:
        for _ in range(ATTEMPTS):
            found = await self._stored(names)
            spans = merge_spans(span for stored in found for span in stored.spans)
            arena: ArenaParts | None = ArenaParts(())
            if spans:
                arena = await self._store.read(self._session, spans)
            if arena is not None:
                return [self._line(stored, arena) for stored in found]
            # It was deleted or pruned between the two calls: look again.
        raise damage_error(
            self._session, f"session {self._session!r} was not exported: its arena is damaged"
        )

    async def _stored(self, names: list[Name]) -> list[Stored]:
        """The records of a page, oldest first."""
        wanted, found = set(names), dict[Name, Stored]()
        start = Start(names[0][0], self._above[names[-1]])
        walk = RecordWalk(partial(self._store.scan, self._session), [start], len(names))
        while wanted and (page := await walk.next_page(len(wanted))) is not None:
            found |= {stored.name: stored for stored in page.records if stored.name in wanted}
            wanted -= found.keys()
        if wanted:
            self._changed()
        return [found[name] for name in names]

    def _line(self, stored: Stored, arena: ArenaParts) -> str:
        with reading(self._session, stored):
            checkpoint = self._read(stored, arena)
        line = self._lines.checkpoint(checkpoint)
        self._done += 1
        if self._on_progress is not None:
            total = self.begun.checkpoints
            self._on_progress(Progress(self._session, self._done, total))
        return line

    def _read(self, stored: Stored, arena: ArenaParts) -> Checkpoint:
        data, body = read_record(self._session, stored, ArenaView(arena), self._protection)
        self._check_keys(stored.name[1], body.versions)
        likely = (stored.name, (stored.name[0], body.parent_id or ""))
        values = {
            channel: self._stream.value(likely, channel, *typed) for channel, typed in data.items()
        }
        writes = self._writes(stored, arena)
        return Checkpoint(
            name=stored.name,
            order=self._order[stored.name],
            parent_id=body.parent_id,
            head=body.meta,
            versions=body.versions,
            seen=body.seen,
            values=values,
            persistent_subgraphs=body.persistent_subgraphs,
            skewed=body.skewed,
            append=self._stream.appended(),
            writes=writes,
        )

    def _check_keys(self, checkpoint_id: str, keys: Collection[object]) -> None:
        """Check that all keys are text. Version 0.1.0 also saved other keys."""
        for key in keys:
            if not isinstance(key, str):
                raise SerializationError(
                    f"checkpoint {checkpoint_id!r} of session {self._session!r} has the key "
                    f"{key!r}, and a file holds text alone: save the session without it, and drop "
                    "the checkpoints before (SessionSaver.prune)"
                )

    def _writes(self, stored: Stored, arena: ArenaParts) -> list[Write]:
        what = f"a pending write of checkpoint {stored.name[1]!r}"
        found = []
        writes = zip(stored.writes, writes_of(self._session, stored), strict=True)
        for kept, write in sorted(writes, key=itemgetter(0)):  # each store has its own order
            typed, *_ = opened(self._session, write.value, arena, self._protection, what)
            likely = (stored.name, stored.name)
            channel = f"write {write.channel}"
            found.append(
                Write(
                    key=kept.key,
                    task_id=write.task_id,
                    index=write.index,
                    path=write.path,
                    channel=write.channel,
                    value=self._stream.value(likely, channel, *typed),
                )
            )
        return found

    def _changed(self) -> NoReturn:
        raise ConflictError(
            f"session {self._session!r} was pruned or deleted while it was being exported: "
            "export it again",
            session=self._session,
        )
