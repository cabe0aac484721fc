"""`migrate`: sessions whose values are read in another form than they are stored in, rewritten.

A session is copied whole, with its history, age, lifetime and pin, and takes its own place in one
step, if nobody has written it meanwhile. So it can be interrupted, and run again: what was
rewritten needs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from wren_sessions._blocking import Unsuspended, run
from wren_sessions._walks import all_sessions
from wren_sessions.delta.encoder import Serializer
from wren_sessions.delta.protection import protection_of
from wren_sessions.errors import ConflictError, SerializationError
from wren_sessions.protocols import SessionStore
from wren_sessions.records import SessionInfo
from wren_sessions.serializers._told import TOLD
from wren_sessions.transfer._repacking import Repacking
from wren_sessions.transfer._staging import ChangedError, Staging
from wren_sessions.upgrading._application import Application
from wren_sessions.upgrading._verifying import session_causes


@dataclass(slots=True)
class MigrateReport:
    """What `migrate` did.

    Attributes:
        migrated: sessions that were rewritten, or would be.
        current: how many need nothing.
        busy: sessions that are in use: to be migrated another time.
    """

    migrated: list[str] = field(default_factory=list)
    current: int = 0
    busy: list[str] = field(default_factory=list)


def migrate(
    store: SessionStore,
    app: Application,
    *,
    write: bool,
    sessions: Iterable[str] | None = None,
    unused_ms: int = 60_000,
    on_session: Callable[[MigrateReport], object] | None = None,
) -> MigrateReport:
    """Rewrite sessions in today's form.

    Values that cannot be read, and fields that are kept aside, stay as they are.

    Args:
        store: where they are.
        app: the application.
        write: whether to write; else it is only said what would be.
        sessions: which; None for all.
        unused_ms: sessions that were written since then are left out, for their runs would be cut
            off.
        on_session: called after every session.
    """
    report = MigrateReport()
    infos = all_sessions(store) if sessions is None else map(store.info, sessions)
    for info in infos:
        if info is not None:
            _one(store, app, info, report, write=write, unused_ms=unused_ms)
            if on_session is not None:
                on_session(report)
    return report


def _one(
    store: SessionStore,
    app: Application,
    info: SessionInfo,
    report: MigrateReport,
    *,
    write: bool,
    unused_ms: int,
) -> None:
    causes = session_causes(store, app, info.session, history=True)
    used = info.life.now_ms - info.life.updated_ms < unused_ms
    if not any(cause.outcome == "migrated" for cause in causes or ()):
        report.current += 1
    elif used or (write and not _rewritten(store, app.serde, info)):
        report.busy.append(info.session)
    else:
        report.migrated.append(info.session)


def _rewritten(store: SessionStore, serde: Serializer, info: SessionInfo) -> bool:
    """Rewrite a session; False if somebody wrote it meanwhile."""

    def convert(typed: tuple[str, bytes]) -> tuple[str, bytes]:
        TOLD.migrated = False
        try:
            value = serde.loads_typed(typed)
        except SerializationError:
            return typed
        return serde.dumps_typed(value) if TOLD.migrated else typed

    face, protection = Unsuspended(store), protection_of(store)
    staging = Staging(face, face, info, None, Repacking(protection, protection, convert))
    try:
        run(staging.copy(replace=info.life))
    except (ChangedError, ConflictError):
        return False
    return True
