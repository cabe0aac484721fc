"""Copies sessions from one store to another, except those that are there already.

A session that exists in the target is compared by the contents of its records, without their
offsets. If the contents are equal, it was copied before. If the source is written during the copy
of a session, that copy starts again.
"""

from __future__ import annotations

from collections.abc import Iterable
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
from wren_sessions.transfer._repacking import Repacking
from wren_sessions.transfer._reports import CopiedSession, CopyReport, OnProgress
from wren_sessions.transfer._staging import PAGE, ChangedError, Staging

ATTEMPTS: Final = 3


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
        if there is not None and (await self._same(info, there)):
            self._skipped.append(session)
            return
        if there is not None and not self.replace:
            raise SessionExistsError(
                f"session {session!r} is in the target already, with different contents: leave it "
                "out, delete it there, or pass replace=True",
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

    async def _same(self, info: SessionInfo, there: SessionInfo) -> bool:
        """Whether both stores have the same of a session; damaged data in the target never is."""
        if info.state != there.state:
            return False
        heads = dict(await self.source.store.heads(info.session))
        ours = await _shapes(self.source.store, info.session, heads)
        try:
            if heads != dict(await self.target.store.heads(info.session)):
                return False
            return ours == await _shapes(self.target.store, info.session, heads)
        except (CorruptSessionError, DecryptionError):
            return False


async def _shapes(
    store: AsyncSessionStore, session: str, namespaces: Iterable[str]
) -> dict[Name, bytes]:
    """A digest of each record and its pending writes, whatever the offsets."""
    found: dict[Name, bytes] = {}
    walk = RecordWalk(partial(store.scan, session), map(Start, namespaces), PAGE)
    while (page := await walk.next_page()) is not None:
        found |= {stored.name: shape_of(session, stored) for stored in page.records}
    return found
