"""`migrate`: rewrites sessions whose values are stored in an old form.

A session is copied completely, with its history, age, lifetime and pin. The copy replaces it in one
step, if nobody has written it meanwhile. So `migrate` can be interrupted and run again: sessions
that were rewritten are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from wren_sessions._blocking import Unsuspended, run
from wren_sessions._walks import all_sessions
from wren_sessions.checkpoints.codec import CheckpointRecord, WriteBody
from wren_sessions.checkpoints.renaming import MIRRORS, about_both, about_today, to_both, to_today
from wren_sessions.checkpoints.snapshots import loads
from wren_sessions.delta.encoder import Serializer
from wren_sessions.delta.protection import protection_of
from wren_sessions.errors import ConflictError, SerializationError
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Name, SessionInfo
from wren_sessions.serializers._channels import GraphChannels, channels_of
from wren_sessions.serializers._told import TOLD
from wren_sessions.transfer._repacking import Repacking, Typed
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
    """Rewrite a session; False if somebody changed it meanwhile."""
    whole = store.info(info.session)  # an earlier store's listing may not tell the idle timeout
    if whole is None:
        return False
    face, protection = Unsuspended(store), protection_of(store)
    repacking = Repacking(protection, protection, _Today(serde), serde)
    staging = Staging(face, face, whole, None, repacking)
    try:
        run(staging.copy(replace=info.life))
    except (ChangedError, ConflictError):
        return False
    return True


class _Today:
    """Brings records to the form that a serializer's migrations give them."""

    def __init__(self, serde: Serializer) -> None:
        self._serde = serde

    def read(
        self, name: Name, body: CheckpointRecord, data: dict[str, Typed]
    ) -> tuple[CheckpointRecord, dict[str, Typed]]:
        """A record in today's names, with its values."""
        channels = channels_of(self._serde, name[0])
        typed = {id(value): data[channel] for channel, value in body.values.items()}
        if channels is not None:
            to_today(body, channels)
        values = {
            channel: self._value(typed[id(value)], channel, channels)
            for channel, value in body.values.items()
        }
        return replace(body, meta=self._about(body.meta, channels)), values

    def to_write(self, name: Name, body: CheckpointRecord) -> CheckpointRecord:
        """A record under both names."""
        channels = channels_of(self._serde, name[0])
        return body if channels is None else to_both(body, channels)

    def write(self, name: Name, write: WriteBody, typed: Typed) -> Typed:
        """A pending write under today's name."""
        channels = channels_of(self._serde, name[0])
        if channels is not None and write.index < MIRRORS:
            write.channel = channels.names.get(write.channel, write.channel)
        return self._value(typed, write.channel, channels)

    def _about(self, typed: Typed, channels: GraphChannels | None) -> Typed:
        TOLD.migrated = False
        rest, metadata = self._serde.loads_typed(typed)
        if channels is None:
            return self._serde.dumps_typed([rest, metadata]) if TOLD.migrated else typed
        about_today(rest, metadata, channels)
        return self._serde.dumps_typed(about_both(rest, metadata, channels))

    def _value(self, typed: Typed, channel: str, channels: GraphChannels | None) -> Typed:
        """A value in the form of today; as it is where it cannot be read."""
        TOLD.migrated = False
        functions = channels.functions.get(channel) if channels else None
        try:
            value = loads(self._serde, typed, channel, functions)
        except SerializationError:
            return typed
        if not TOLD.migrated:
            return typed
        return self._serde.dumps_typed(channels.versioned(channel, value) if channels else value)
