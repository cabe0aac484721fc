"""Import one export into a store: all of it, or nothing."""

from __future__ import annotations

from dataclasses import dataclass

from wren_sessions.archives._parsing import Export
from wren_sessions.archives._source import ExportSource
from wren_sessions.delta.protection import PLAIN, Protection
from wren_sessions.errors import SessionExistsError
from wren_sessions.keys import check_session
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Committed, SessionInfo
from wren_sessions.transfer._api import StoreApi
from wren_sessions.transfer._repacking import Repacking
from wren_sessions.transfer._reports import OnProgress
from wren_sessions.transfer._staging import Source, Staging


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """How to import a session.

    Attributes:
        session: the new id; None for the session's own id.
        replace: whether to replace an existing session with this id.
        renew: whether it counts as created now.
        on_progress: called after every checkpoint.
    """

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
