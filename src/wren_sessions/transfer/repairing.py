"""Repairing a damaged session: its intact parts are copied, and replace it.

The parts that `checking` found intact are copied in the same way as any copy: under a temporary
name, and compared when read back. Then the copy replaces the session in one step, if nobody has
written it since the check. Damaged checkpoints and pending writes are left out. The newest intact
checkpoint becomes the latest of its namespace.

So that nothing is lost, the caller saves the original first (`dump` of each store).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from wren_sessions._blocking import run
from wren_sessions.checkpoints.order import from_id
from wren_sessions.checkpoints.put import header
from wren_sessions.checkpoints.snapshots import read_snapshot
from wren_sessions.delta.base import ArenaView
from wren_sessions.delta.protection import Protection
from wren_sessions.errors import ConfigurationError, ConflictError, CorruptSessionError
from wren_sessions.protocols import AsyncSessionStore, SessionStore
from wren_sessions.records import ArenaParts, Name, Scanned, SessionInfo, Span, Start, Stored
from wren_sessions.serializers.limits import MOVE_REMEDY
from wren_sessions.serializers.plain import PlainSerializer
from wren_sessions.transfer._api import StoreApi
from wren_sessions.transfer._repacking import Repacking
from wren_sessions.transfer._reports import OnProgress
from wren_sessions.transfer._staging import ChangedError, Staging
from wren_sessions.transfer.checking import DAMAGE, SessionCheck


def repair_session(
    store: SessionStore, check: SessionCheck, *, on_progress: OnProgress | None = None
) -> int:
    """Replace a damaged session with its intact parts.

    It is then another incarnation. A graph that is running on it gets a `SessionGoneError`.

    Args:
        store: where it is.
        check: what `check_session` found.
        on_progress: called with a `Progress` after every checkpoint.

    Returns:
        The number of its checkpoints now.

    Raises:
        CorruptSessionError: no part of it can be saved.
        ConfigurationError: a part of it is too large to verify, and may be intact.
        ConflictError: it was written since the check; nothing was changed.
    """
    return run(_repair(StoreApi.blocking(store, "repair_session"), check, on_progress))


async def arepair_session(
    store: SessionStore, check: SessionCheck, *, on_progress: OnProgress | None = None
) -> int:
    """See `repair_session`; uses the store's async API."""
    return await _repair(StoreApi.awaitable(store, "arepair_session"), check, on_progress)


async def _repair(api: StoreApi, check: SessionCheck, on_progress: OnProgress | None) -> int:
    if check.info is None or check.latest is None:
        raise CorruptSessionError(
            f"session {check.session!r} cannot be repaired: no checkpoint of its main namespace "
            "is intact, or its own entry is damaged; restore the session from a copy",
            session=check.session,
        )
    if check.too_large:
        raise ConfigurationError(
            f"session {check.session!r} was not repaired: a part of it is too large to be "
            f"verified, and would be left out although it may be intact{MOVE_REMEDY}"
        )
    store, protection = api.store, api.protection
    whole = Whole(store, check)
    repacking = Repacking(protection, protection) if protection.wraps else None
    try:
        info = replace(check.info, state=await whole.header(protection) or b"")
        staging = Staging(whole, store, info, on_progress, repacking)
        return await staging.copy(replace=info.life)
    except ChangedError:
        raise ConflictError(
            f"session {check.session!r} was written since it was verified, and was not repaired: "
            "nothing was changed",
            session=check.session,
        ) from None


@dataclass(slots=True)
class Whole:
    """What is whole of a session, as a source that it is copied from.

    Args:
        store: where it is.
        check: what is whole.
    """

    store: AsyncSessionStore
    check: SessionCheck

    async def info(self, session: str) -> SessionInfo | None:
        """See `SessionStore.info`."""
        return await self.store.info(session)

    async def heads(self, session: str) -> tuple[Name, ...]:
        """The latest whole checkpoint of each namespace."""
        del session
        newest = dict(self.check.whole)  # they ascend: the last id of each namespace stays
        return tuple((newest | {"": self.check.latest or ""}).items())

    async def scan(self, session: str, starts: Sequence[Start], limit: int) -> Scanned:
        """See `SessionStore.scan`; one record at a time, and of each namespace the whole ones."""
        del limit
        rest = list(starts)
        while rest:
            namespace, before = rest.pop(0)
            ids = [id_ for ns, id_ in self.check.whole if ns == namespace]
            at = len(ids) if before is None else bisect_left(ids, before)
            if at == 0:
                continue
            stored = await self._record(session, (namespace, ids[at - 1]))
            if at > 1:
                rest.insert(0, Start(namespace, ids[at - 1]))
            now = await self.store.info(session)
            return Scanned(
                records=(stored,), rest=tuple(rest), life=None if now is None else now.life
            )
        now = await self.store.info(session)
        return Scanned(records=(), life=None if now is None else now.life)

    async def read(self, session: str, spans: Sequence[Span]) -> ArenaParts | None:
        """See `SessionStore.read`."""
        return await self.store.read(session, spans)

    async def header(self, protection: Protection) -> bytes | None:
        """The header of a session whose latest checkpoint is the newest whole one."""
        session = self.check.session
        stored = await self._record(session, ("", self.check.latest or ""))
        arena = await self.store.read(session, stored.spans) if stored.spans else ArenaParts(())
        if arena is None:
            raise ChangedError
        found, _ = read_snapshot(session, stored, ArenaView(arena), PlainSerializer(), protection)
        return header(found, found.values)

    async def _record(self, session: str, name: Name) -> Stored:
        """A whole record, without the pending writes that are damaged."""
        found = await self._found(session, name)
        if found is None:
            raise ChangedError
        lost = {
            part.write
            for part in self.check.damaged
            if (part.namespace, part.checkpoint_id) == name
        }
        return replace(found, writes=tuple(w for w in found.writes if w.key not in lost))

    async def _found(self, session: str, name: Name) -> Stored | None:
        with suppress(*DAMAGE):  # of one above it: by its name it can be read
            scanned = await self.store.scan(session, [from_id(*name)], 1)
            for stored in scanned.records:
                if stored.name == name:
                    return stored
        loaded = await self.store.load(session, *name)
        return None if loaded is None else loaded.stored
