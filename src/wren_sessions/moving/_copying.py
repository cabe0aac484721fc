"""Which sessions go from one store to another, and which are there already: steps.

A session that is in the target is compared by what its records say, without their offsets; the same
content is a copy that was made before. The source must stay as it is while a session is copied: a
copy that sees it written begins again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from wren_sessions._protection import PLAIN, Protection
from wren_sessions._steps import Call, Steps
from wren_sessions.errors import (
    ConflictError,
    SessionExistsError,
    SessionExpiredError,
    SessionNotFoundError,
)
from wren_sessions.moving._rebasing import shape_of
from wren_sessions.moving._repacking import Repacking
from wren_sessions.moving._reports import CopiedSession, CopyReport, OnProgress
from wren_sessions.moving._staging import PAGE, ChangedError, Staging
from wren_sessions.records import Name, Scanned, SessionInfo, SessionPage, Start

ATTEMPTS: Final = 3


@dataclass(slots=True)
class Copying:
    """What to copy, how, and what was done.

    Attributes:
        sessions: which sessions; None for all.
        replace: whether to replace sessions of the target.
        on_progress: called after every checkpoint.
        protections: what values are protected by in the source, and are to be in the target.
    """

    sessions: Iterable[str] | None
    replace: bool
    on_progress: OnProgress | None
    protections: tuple[Protection, Protection] = (PLAIN, PLAIN)
    _copied: list[CopiedSession] = field(default_factory=list)
    _skipped: list[str] = field(default_factory=list)
    _expired: list[str] = field(default_factory=list)

    def run(self) -> Steps[CopyReport]:
        """Copy them."""
        if self.sessions is not None:
            for session in self.sessions:
                if not (yield from self._session(session)):
                    raise SessionNotFoundError(
                        f"session {session!r} was not found in the source, or has expired",
                        session=session,
                    )
        else:
            yield from self._all()
        return CopyReport(
            copied=tuple(self._copied),
            skipped=tuple(self._skipped),
            expired=tuple(self._expired),
        )

    def _all(self) -> Steps[None]:
        cursor, seen = None, set[str]()  # Redis may list a session twice
        while True:
            page: SessionPage = yield Call("source.list_sessions", cursor)
            for info in page.sessions:
                if info.session not in seen:
                    seen.add(info.session)
                    yield from self._session(info.session)
            cursor = page.cursor
            if cursor is None:
                return

    def _session(self, session: str) -> Steps[bool]:
        """Copy one; False if it is not there (any more)."""
        for _ in range(ATTEMPTS):
            info: SessionInfo | None = yield Call("source.info", session)
            if info is None:
                return False
            try:
                yield from self._attempt(info)
            except ChangedError:
                continue
            return True
        raise ConflictError(
            f"session {session!r} was written each time while it was being copied; nothing of it "
            "was copied: try again when it is less busy",
            session=session,
        )

    def _attempt(self, info: SessionInfo) -> Steps[None]:
        session = info.session
        there: SessionInfo | None = yield Call("target.info", session)
        if there is not None and (yield from _same(info, there)):
            self._skipped.append(session)
            return
        if there is not None and not self.replace:
            raise SessionExistsError(
                f"session {session!r} is in the target already, and is not the same: leave it out, "
                "delete it there, or pass replace=True",
                session=session,
            )
        try:
            staging = Staging(info, self.on_progress, self._repacking())
            checkpoints = yield from staging.copy(replace=self.replace)
        except SessionExpiredError:
            self._expired.append(session)
            return
        copy: SessionInfo | None = yield Call("target.info", session)
        size_bytes = None if copy is None else copy.size_bytes
        self._copied.append(
            CopiedSession(session=session, checkpoints=checkpoints, size_bytes=size_bytes)
        )

    def _repacking(self) -> Repacking | None:
        """How values get from one protection to the other, unless nothing is encrypted."""
        encrypted = any(protection.encryption for protection in self.protections)
        return Repacking(*self.protections) if encrypted else None


def _same(info: SessionInfo, there: SessionInfo) -> Steps[bool]:
    """Whether both stores hold the same of a session."""
    if info.state != there.state:
        return False
    heads = []
    for side in ("source", "target"):
        found: tuple[Name, ...] = yield Call(f"{side}.heads", info.session)
        heads.append(dict(found))
    if heads[0] != heads[1]:
        return False
    ours = yield from _shapes("source", info.session, heads[0])
    theirs = yield from _shapes("target", info.session, heads[0])
    return ours == theirs


def _shapes(side: str, session: str, namespaces: Iterable[str]) -> Steps[dict[Name, bytes]]:
    """A digest of each record and its pending writes, whatever the offsets."""
    found: dict[Name, bytes] = {}
    rest = tuple(map(Start, namespaces))
    while rest:
        page: Scanned = yield Call(f"{side}.scan", session, rest, PAGE)
        found |= {stored.name: shape_of(session, stored) for stored in page.records}
        rest = page.rest
    return found
