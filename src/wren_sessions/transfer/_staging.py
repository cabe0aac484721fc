"""Copies one session from one store to another, as it is stored.

The names of its records are collected first, in the order in which they were written, which follows
from the offsets of their bytes. Then each is read, gets the offsets of the new arena, and is
written, to a session with a temporary name. That session is compared with the source. Then the
target copies it to its final name in one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace as replace_in
from datetime import timedelta
from functools import partial
from hashlib import sha256
from itertools import pairwise
from typing import Final, NoReturn, Protocol

from wren_sessions._walks import RecordWalk
from wren_sessions.checkpoints.codec import (
    WriteBody,
    encode_record,
    encode_write,
    plain_frame,
    writes_of,
)
from wren_sessions.checkpoints.snapshots import body_of
from wren_sessions.errors import (
    ConflictError,
    CorruptSessionError,
    SessionExpiredError,
    WrenSessionsError,
)
from wren_sessions.keys import StagingId, new_token
from wren_sessions.protocols import AsyncOwnerStore, AsyncSessionStore, knowing_owners
from wren_sessions.records import (
    NOTHING_NOTED,
    ArenaParts,
    Commit,
    Committed,
    Life,
    Name,
    Prune,
    Record,
    Scanned,
    Seen,
    SessionInfo,
    Span,
    Start,
    Stored,
    StoredWrite,
    Write,
    Writes,
)
from wren_sessions.transfer._rebasing import Places, Rebase, ranged, spans_of
from wren_sessions.transfer._repacking import Repacking, notes_in, spans_in
from wren_sessions.transfer._reports import Entry, OnProgress, Progress, parents_first

PAGE: Final = 100
CHUNK_BYTES: Final = 1_048_576


class ChangedError(Exception):
    """The source was written, or something was noted or set, while it was being copied."""


class Source(Protocol):
    """What copying a session asks of the store that it is in; see `AsyncSessionStore`."""

    async def info(self, session: str) -> SessionInfo | None:
        """See `SessionStore.info`."""

    async def heads(self, session: str) -> tuple[Name, ...]:
        """See `SessionStore.heads`."""

    async def scan(self, session: str, starts: Sequence[Start], limit: int) -> Scanned:
        """See `SessionStore.scan`."""

    async def read(self, session: str, spans: Sequence[Span]) -> ArenaParts | None:
        """See `SessionStore.read`."""


class Staging:
    """The copy of one session.

    Args:
        source: where the session is.
        target: where it goes.
        info: of the session.
        on_progress: called after every checkpoint.
        repacking: opens and packs values where the stores protect them differently; None where
            they go as they are.
    """

    def __init__(
        self,
        source: Source,
        target: AsyncSessionStore,
        info: SessionInfo,
        on_progress: OnProgress | None,
        repacking: Repacking | None = None,
    ) -> None:
        self._source = source
        self._target = target
        self._info = info
        self._seen = Seen.of(info.life, info.idle, info.notes)
        notes = info.notes if repacking is None else notes_in(repacking.target, info.notes)
        self._copied = Seen.of(info.life, info.idle, notes)
        self._repacking = repacking
        self._on_progress = on_progress
        self._staging = StagingId(info.session)
        self._incarnation = ""
        self._places = Places()
        self._written: dict[Name, bytes] = {}

    async def copy(self, *, replace: bool | Life) -> int:
        """Copy it; how many records it has. See `SessionStore.copy` for `replace`.

        A life to be replaced is that of the source: nobody may have annotated or pinned it since,
        or set its timeout. This would be lost, for none of it is a new revision.
        """
        if isinstance(replace, Life):
            replace = Seen.of(replace, self._info.idle, self._info.notes)
        await self._target.delete(self._staging)  # of a copy that was interrupted
        try:
            await self._begin()
            count = await self._records()
            await self._lead()
            life = await self._verify()
            target = self._info.session
            if not await self._target.copy(self._staging, target, replace=replace, expect=life):
                self._taken()
        except Exception:
            await self._drop()
            raise
        await self._drop()
        return count

    async def _drop(self) -> None:
        """Delete what was written; if it cannot be, it goes at its deadline."""
        with suppress(WrenSessionsError):
            await self._target.delete(self._staging)

    # --- writing ---

    async def _begin(self) -> None:
        """Create the session that is written to, with the age and pin of the source."""
        life = self._info.life
        done = await self._make(life.created_ms)
        if done.outcome == "expired" and life.pinned:
            done = await self._make(None)  # too old for this store, but kept: its age is lost
        if done.outcome == "expired":
            raise SessionExpiredError(
                f"session {self._info.session!r} is older than the target's maximum age",
                session=self._info.session,
            )
        self._incarnation = self._life(done).incarnation
        if self._info.idle is not None:
            idle = None if self._info.idle == "none" else timedelta(milliseconds=self._info.idle)
            await self._target.set_ttl(self._staging, idle)
        if life.pinned:
            await self._target.pin(self._staging)
        if self._info.notes != NOTHING_NOTED:
            knowing_owners(self._target)
            target: AsyncOwnerStore = self._target  # type: ignore[assignment] # it does
            await target.annotate(self._staging, self._info.notes, NOTHING_NOTED)

    async def _make(self, created_ms: int | None) -> Committed:
        commit = Commit(
            session=self._staging,
            token=new_token(),
            new=True,
            created_ms=created_ms,
            state=self._info.state,
        )
        return await self._target.commit(commit)

    async def _commit(self, record: Record | None, writes: Writes | None) -> int:
        commit = Commit(
            session=self._staging,
            token=new_token(),
            incarnation=self._incarnation,
            record=record,
            writes=writes,
            state=self._info.state if record is not None and record.name[0] == "" else None,
        )
        done = await self._target.commit(commit)
        self._life(done)
        return done.base

    def _life(self, done: Committed) -> Life:
        if done.outcome != "done" or done.life is None:
            self._taken()
        return done.life

    def _taken(self) -> NoReturn:
        raise ConflictError(
            f"somebody else wrote or deleted what session {self._info.session!r} was being "
            "copied to: is it being copied twice? Nothing of it is there: try again",
            session=self._info.session,
        )

    async def _records(self) -> int:
        entries = await self._entries()
        above = _above(entries)
        for number, entry in enumerate(entries, 1):
            stored = await self._read(entry, above[entry.name])
            if self._repacking is None:
                await self._record(entry, stored)
            else:
                await self._repacked(self._repacking, entry, stored)
            if self._on_progress is not None:
                self._on_progress(Progress(self._info.session, number, len(entries)))
        return len(entries)

    async def _entries(self) -> list[Entry]:
        """The names of all records, in the order in which they were written."""
        found: list[tuple[int, str, Entry]] = []
        heads = await self._source.heads(self._info.session)
        walk = RecordWalk(self._scan, (Start(namespace) for namespace, _ in heads), PAGE)
        while (page := await walk.next_page()) is not None:
            for stored in page.records:
                parent_id = body_of(self._info.session, stored).parent_id
                found.append((stored.base, stored.name[1], Entry(*stored.name, parent_id)))
        return parents_first(entry for _, _, entry in sorted(found))

    async def _scan(self, starts: Iterable[Start], limit: int) -> Scanned:
        page = await self._source.scan(self._info.session, tuple(starts), limit)
        life, before = page.life, self._info.life
        if life is None or (life.incarnation, life.revision) != (
            before.incarnation,
            before.revision,
        ):
            raise ChangedError
        return page

    async def _read(self, entry: Entry, above: str | None) -> Stored:
        page = await self._scan([Start(entry.namespace, above)], 1)
        if not page.records or page.records[0].name != entry.name:
            raise ChangedError
        return page.records[0]

    async def _record(self, entry: Entry, stored: Stored) -> None:
        body = body_of(self._info.session, stored)
        writes = writes_of(self._info.session, stored)
        rebase = Rebase(self._places, [*body.values.values(), *(write.value for write in writes)])
        append = await self._bytes(entry, rebase)
        moved = rebase.body(body)
        record = Record(
            name=entry.name,
            parent_id=entry.parent_id,
            body=encode_record(moved, entry.name),
            append=append,
            spans=spans_of(moved.values.values()),
        )
        if any(any(ranged(write.value)) for write in writes):
            # By themselves: they may refer to what the record appends.
            rebase.appended(await self._commit(record, None))
            pending = await self._pending(entry, stored, writes)
            await self._commit(None, pending)
        else:
            pending = _pending(entry.name, stored, writes)
            rebase.appended(await self._commit(record, pending))
        sent = [StoredWrite(write.key, write.body) for write in pending.entries] if pending else []
        self._written[entry.name] = _digest(record.body, sent)

    async def _repacked(self, repacking: Repacking, entry: Entry, stored: Stored) -> None:
        """Write a record whose values are protected otherwise in the target."""
        session = self._info.session
        writes = writes_of(session, stored)
        arena = ArenaParts(())
        if spans := spans_in(body_of(session, stored), writes):
            found = await self._source.read(session, spans)
            if found is None:
                await self._scan([Start(entry.namespace)], 1)  # damaged, or pruned meanwhile?
                self._damaged(f"the arena of checkpoint {entry.id!r} is not there")
            arena = found
        repacked = repacking.record(session, stored, entry.parent_id, arena)
        repacking.resolve(repacked, await self._commit(repacked.record, None))
        pending = None
        if writes:
            linked = repacking.writes(session, stored, writes, arena)
            pending = _pending(entry.name, stored, writes)
            assert pending is not None  # noqa: S101 -- there are some
            pending = replace_in(pending, spans=linked)
            await self._commit(None, pending)
        sent = [StoredWrite(write.key, write.body) for write in pending.entries] if pending else []
        self._written[entry.name] = _digest(repacked.record.body, sent)

    async def _pending(
        self, entry: Entry, stored: Stored, writes: list[WriteBody]
    ) -> Writes | None:
        """Pending writes whose bytes are in the new arena by now."""
        rebase = Rebase(self._places, [write.value for write in writes])
        await self._bytes(entry, rebase)
        for write in writes:
            write.value = rebase.value(write.value)
        return _pending(entry.name, stored, writes)

    async def _bytes(self, entry: Entry, rebase: Rebase) -> bytes:
        """What a record appends."""
        if not rebase.needed:
            return b""
        arena = await self._source.read(self._info.session, rebase.needed)
        append = None if arena is None else rebase.read(arena)
        if append is None:
            await self._scan([Start(entry.namespace)], 1)  # damaged, or pruned meanwhile?
            self._damaged(f"the arena of checkpoint {entry.id!r} is not there")
        return append

    async def _lead(self) -> None:
        """Make the source's latest checkpoints the latest, if the order of writing did not.

        A checkpoint that was written again later may be the latest although it was written first.
        """
        ours = await self._source.heads(self._info.session)
        theirs = await self._target.heads(self._staging)
        other = tuple(name for name in ours if name not in theirs)
        info: SessionInfo | None = None if not other else (await self._target.info(self._staging))
        if info is not None:
            prune = Prune(
                session=self._staging,
                incarnation=self._incarnation,
                revision=info.life.revision,
                drop=(),
                heads=other,
            )
            await self._target.prune(prune)

    # --- verification ---

    async def _verify(self) -> Life:
        """Make sure that the target has what the source has; the life of what is there."""
        ours = await self._source.heads(self._info.session)
        theirs = await self._target.heads(self._staging)
        if dict(ours) != dict(theirs):
            await self._differs("its latest checkpoints differ when read back")
        await self._check_records(theirs)
        for place in self._places:
            for span, offset in _chunks(place.span, place.offset):
                await self._check_bytes(span, Span(offset, span.length))
        info = await self._target.info(self._staging)
        if info is None or info.life.incarnation != self._incarnation:
            self._taken()
        if info.state != self._info.state:
            await self._differs("its header differs when read back")
        if not self._copied.is_as(Seen.of(info.life, info.idle, info.notes)):
            await self._differs("its pin, idle timeout or notes differ when read back")
        await self._check_source()
        return info.life

    async def _check_source(self) -> None:
        """Make sure that the source is still what was copied, with its pin, timeout and notes."""
        known, now = self._info, await self._source.info(self._info.session)
        if now is None or (now.life.incarnation, now.life.revision) != (
            known.life.incarnation,
            known.life.revision,
        ):
            raise ChangedError
        if not self._seen.is_as(Seen.of(now.life, now.idle, now.notes)):
            raise ChangedError

    async def _check_records(self, heads: Sequence[Name]) -> None:
        scan = partial(self._target.scan, self._staging)
        walk = RecordWalk(scan, (Start(namespace) for namespace, _ in heads), PAGE)
        missing = dict(self._written)
        while (page := await walk.next_page()) is not None:
            for stored in page.records:
                if missing.pop(stored.name, b"") != _digest(stored.body, stored.writes):
                    await self._differs(f"checkpoint {stored.name[1]!r} differs when read back")
        if missing:
            await self._differs(
                f"checkpoint {next(iter(missing))[1]!r} is not there when read back"
            )

    async def _check_bytes(self, source: Span, target: Span) -> None:
        ours = await self._source.read(self._info.session, (source,))
        theirs = await self._target.read(self._staging, (target,))
        if ours is None or theirs is None or ours.get(source) != theirs.get(target):
            await self._differs("its arena differs when read back")

    async def _differs(self, what: str) -> NoReturn:
        info = await self._target.info(self._staging)
        if info is None or info.life.incarnation != self._incarnation:
            self._taken()  # it is another copy of the session, not yet complete
        await self._check_source()
        self._damaged(what)

    def _damaged(self, what: str) -> NoReturn:
        raise CorruptSessionError(
            f"session {self._info.session!r} was not copied: {what}; nothing of it was kept",
            session=self._info.session,
        )


def _above(entries: Iterable[Entry]) -> dict[Name, str | None]:
    """For each record the next higher id of its namespace: a scan begins below it."""
    names = sorted(entry.name for entry in entries)
    above: dict[Name, str | None] = dict.fromkeys(names)
    return above | {low: high[1] for low, high in pairwise(names) if low[0] == high[0]}


def _pending(name: Name, stored: Stored, writes: Sequence[WriteBody]) -> Writes | None:
    """Pending writes as they go to the target, under the keys that they have."""
    if not writes:
        return None
    return Writes(
        name=name,
        entries=tuple(
            Write(key=old.key, body=encode_write(write, name), replace=write.index < 0)
            for old, write in zip(stored.writes, writes, strict=True)
        ),
        spans=spans_of(write.value for write in writes),
    )


def _digest(body: bytes, writes: Iterable[StoredWrite]) -> bytes:
    """Identifies the contents of a record and its pending writes."""
    plain = sorted((write.key, plain_frame(write.body)) for write in writes)
    return sha256(repr((plain_frame(body), plain)).encode()).digest()


def _chunks(span: Span, offset: int) -> Iterator[tuple[Span, int]]:
    for start in range(0, span.length, CHUNK_BYTES):
        length = min(CHUNK_BYTES, span.length - start)
        yield Span(span.offset + start, length), offset + start
