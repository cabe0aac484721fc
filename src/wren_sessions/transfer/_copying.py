"""Copies sessions from one store to another, except those that are there already.

A session that exists in the target is compared in everything that a copy takes along: first in what
is known of it without reading it, such as its notes, then in the contents of its records, without
their offsets. If all is equal, it was copied before. If the source is written during the copy of a
session, that copy starts again.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from wren_sessions._walks import RecordWalk, aall_sessions
from wren_sessions.errors import (
    ConflictError,
    CorruptSessionError,
    DecryptionError,
    SessionExistsError,
    SessionExpiredError,
    SessionNotFoundError,
)
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Name, SessionInfo, Start
from wren_sessions.transfer._api import StoreApi
from wren_sessions.transfer._rebasing import shape_of
from wren_sessions.transfer._repacking import Repacking, notes_in
from wren_sessions.transfer._reports import CopiedSession, CopyReport, OnProgress
from wren_sessions.transfer._staging import PAGE, ChangedError, Staging

ATTEMPTS: Final = 3
DIFFERENT: Final = "different contents"


@dataclass(slots=True)
class Copying:
    """What to copy, how, and what was done.

    Attributes:
        source: where they are.
        target: where they go.
        sessions: which sessions; None for all.
        replace: whether to replace sessions of the target.
        on_progress: called after every checkpoint.
    """

    source: StoreApi
    target: StoreApi
    sessions: Iterable[str] | None
    replace: bool
    on_progress: OnProgress | None
    _copied: list[CopiedSession] = field(default_factory=list)
    _skipped: list[str] = field(default_factory=list)
    _expired: list[str] = field(default_factory=list)

    async def run(self) -> CopyReport:
        """Copy them."""
        if self.sessions is not None:
            for session in self.sessions:
                if not await self._session(session):
                    raise SessionNotFoundError(
                        f"session {session!r} was not found in the source, or has expired",
                        session=session,
                    )
        else:
            async for info in aall_sessions(self.source.store):
                await self._session(info.session)
        return CopyReport(
            copied=tuple(self._copied),
            skipped=tuple(self._skipped),
            expired=tuple(self._expired),
        )

    async def _session(self, session: str) -> bool:
        """Copy one; False if it is not there (any more)."""
        for _ in range(ATTEMPTS):
            info = await self.source.store.info(session)
            if info is None:
                return False
            try:
                await self._attempt(info)
            except ChangedError:
                continue
            return True
        raise ConflictError(
            f"session {session!r} was not copied, because others kept writing it: try again when "
            "it is less busy",
            session=session,
        )

    async def _attempt(self, info: SessionInfo) -> None:
        source, target, session = self.source, self.target, info.session
        there = await target.store.info(session)
        if there is not None:
            what = self._setting(info, there) or await self._contents(info)
            if what is None:
                self._skipped.append(session)
                return
            if not self.replace:
                raise SessionExistsError(
                    f"session {session!r} is in the target already, with {what}: leave it out, "
                    "delete it there, or pass replace=True",
                    session=session,
                )
        try:
            encrypted = source.protection.encryption or target.protection.encryption
            repacking = Repacking(source.protection, target.protection) if encrypted else None
            staging = Staging(source.store, target.store, info, self.on_progress, repacking)
            checkpoints = await staging.copy(replace=self.replace)
        except SessionExpiredError:
            self._expired.append(session)
            return
        copy = await target.store.info(session)
        size_bytes = None if copy is None else copy.size_bytes
        self._copied.append(
            CopiedSession(session=session, checkpoints=checkpoints, size_bytes=size_bytes)
        )

    def _setting(self, info: SessionInfo, there: SessionInfo) -> str | None:
        """What differs between a session and its copy, besides records; None if nothing does."""
        if notes_in(self.target.protection, info.notes) != there.notes:
            return "another owner or other notes"
        if (info.life.pinned, info.idle) != (there.life.pinned, there.idle):
            return "another pin or idle timeout"
        if info.life.created_ms != there.life.created_ms and not self._lost_its_age(info, there):
            return "another time of creation"
        return None if info.state == there.state else DIFFERENT

    def _lost_its_age(self, info: SessionInfo, there: SessionInfo) -> bool:
        """Whether a copy counts as created when it was made: it is pinned, and too old."""
        max_age_ms = self.target.place.ttl.max_age_ms
        age_ms = there.life.now_ms - info.life.created_ms
        return info.life.pinned and max_age_ms is not None and age_ms >= max_age_ms

    async def _contents(self, info: SessionInfo) -> str | None:
        """The same for the records; damaged data in the target always differ."""
        session, source, target = info.session, self.source.store, self.target.store
        heads = dict(await source.heads(session))
        ours = await _shapes(source, session, heads)
        with suppress(CorruptSessionError, DecryptionError):
            same = heads == dict(await target.heads(session))
            if same and ours == await _shapes(target, session, heads):
                return None
        return DIFFERENT


async def _shapes(
    store: AsyncSessionStore, session: str, namespaces: Iterable[str]
) -> dict[Name, bytes]:
    """A digest of each record and its pending writes, whatever the offsets."""
    found: dict[Name, bytes] = {}
    walk = RecordWalk(partial(store.scan, session), map(Start, namespaces), PAGE)
    while (page := await walk.next_page()) is not None:
        found |= {stored.name: shape_of(session, stored) for stored in page.records}
    return found
