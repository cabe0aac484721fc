"""The history of channels that live in their writes (LangGraph's `DeltaChannel`).

Such a channel's value is stored at some checkpoints only. Elsewhere it is rebuilt from the nearest
ancestor that stores it, the seed, and the pending writes of the ancestors from there on. Ancestors
are read by pages, following the chain of parents; the arena is read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from wren_sessions.checkpoints.codec import (
    CheckpointRecord,
    WriteBody,
    damage,
    record_of,
    ring,
    writes_of,
)
from wren_sessions.checkpoints.record_cache import Cache
from wren_sessions.checkpoints.renaming import to_today, writes_today
from wren_sessions.checkpoints.snapshots import in_order, opened, size_of, value_of
from wren_sessions.delta.base import StoredValue
from wren_sessions.delta.encoder import Serializer, resolved
from wren_sessions.delta.protection import Protection
from wren_sessions.errors import SessionGoneError
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import (
    ArenaParts,
    Span,
    Start,
    Stored,
    merge_spans,
)
from wren_sessions.serializers._channels import GraphChannels, channels_of
from wren_sessions.serializers.limits import Budget, limits_of

PAGE: Final = 128


@dataclass(slots=True)
class History:
    """What one channel's ancestors contributed.

    Attributes:
        writes: (task id, channel, value), the oldest first.
        seed: the stored value at the ancestor where the walk ended, in a list of one; empty if it
            reached the first checkpoint without finding any.
    """

    writes: list[tuple[str, str, Any]] = field(default_factory=list)
    seed: list[Any] = field(default_factory=list)


class Histories:
    """Histories of channels in the sessions of one store."""

    def __init__(self, store: AsyncSessionStore, cache: Cache, protection: Protection) -> None:
        self._store = store
        self._cache = cache
        self._protection = protection

    async def read(
        self,
        session: str,
        namespace: str,
        checkpoint_id: str | None,
        channels: Sequence[str],
        serde: Serializer,
    ) -> dict[str, History]:
        """The histories of channels up to a checkpoint, whose own writes do not count.

        Raises:
            SessionGoneError: the checkpoint, or an ancestor that is needed, is not there.
            CorruptSessionError: the ancestors are a ring, and none of them stores the value.
        """
        changes = channels_of(serde, namespace)
        for _ in range(3):
            walk = _Walk(
                self._store, session, namespace, channels, self._protection, changes=changes
            )
            target = await self._target(session, namespace, checkpoint_id)
            if target is not None:
                await walk.run(*target)
            spans = merge_spans(walk.spans())
            arena: ArenaParts | None = ArenaParts(())
            if spans:
                arena = await self._store.read(session, spans)
            if arena is not None:
                return walk.histories(arena, serde)
            # It was deleted or pruned between the calls: look again.
        raise damage(session, "its arena")

    async def _target(
        self, session: str, namespace: str, checkpoint_id: str | None
    ) -> tuple[str, str | None] | None:
        """The checkpoint's id and its parent's."""
        if checkpoint_id is not None:
            body = self._cache.record(session, (namespace, checkpoint_id))
            if body is not None:
                return checkpoint_id, body.parent_id
        loaded = await self._store.load(session, namespace, checkpoint_id)
        if loaded is None:
            if checkpoint_id is not None:
                _incomplete(session, checkpoint_id)
            return None
        body = record_of(session, loaded.stored)
        return loaded.stored.name[1], body.parent_id


class _Walk:
    """One walk up the chain of parents."""

    def __init__(
        self,
        store: AsyncSessionStore,
        session: str,
        namespace: str,
        channels: Sequence[str],
        protection: Protection,
        *,
        changes: GraphChannels | None,
    ) -> None:
        self._changes = changes
        self._store = store
        self.session = session
        self._protection = protection
        self.namespace = namespace
        self.channels = tuple(channels)
        self.missing = set(channels)
        self.writes: list[list[WriteBody]] = []
        self.seeds: dict[str, CheckpointRecord] = {}
        self.page: dict[str, Stored] = {}
        self.stored_bytes = 0  # of the records that it passed

    async def run(self, target: str, parent: str | None) -> None:
        below = target
        line = {target: None}  # in order
        while parent is not None and self.missing:
            if parent in line:
                ids = list(line)
                ring(self.session, self.namespace, ids[ids.index(parent) :])
            line[parent] = None
            if parent not in self.page:
                stored = await self._fetch(parent, below)
                if stored is None:
                    _incomplete(self.session, parent)
            self._visit(self.page[parent])
            below, parent = parent, self._body.parent_id

    async def _fetch(self, parent: str, below: str) -> Stored | None:
        """A page that begins below a checkpoint; the parent alone if its id is not lower."""
        if parent < below:
            scanned = await self._store.scan(self.session, [Start(self.namespace, below)], PAGE)
            self.page = {stored.name[1]: stored for stored in scanned.records}
        if parent not in self.page:
            loaded = await self._store.load(self.session, self.namespace, parent)
            if loaded is not None:
                self.page[parent] = loaded.stored
        return self.page.get(parent)

    def _visit(self, stored: Stored) -> None:
        self.stored_bytes += size_of(stored)
        self._body = body = record_of(self.session, stored)
        found = writes_of(self.session, stored, body)
        if self._changes is not None:
            to_today(body, self._changes)
            found = writes_today(found, self._changes)
        self.writes.append(in_order([each for each in found if each.channel in self.missing]))
        for channel in self.missing & body.values.keys():
            value = body.values[channel]
            value.pieces = resolved(value.pieces, stored.base)
            self.seeds[channel] = body
        self.missing -= body.values.keys()

    def spans(self) -> list[Span]:
        """The parts of the arena that the values need."""
        values = [write.value for writes in self.writes for write in writes]
        values += [body.values[channel] for channel, body in self.seeds.items()]
        return [
            Span(piece.offset, piece.length)
            for value in values
            for piece in value.pieces
            if not isinstance(piece, bytes)
        ]

    def histories(self, arena: ArenaParts, serde: Serializer) -> dict[str, History]:
        """What was found, decoded."""
        found = {channel: History() for channel in self.channels}
        what = f"the history of a channel of session {self.session!r}"
        with Budget(self.stored_bytes, limits_of(serde).max_memory_bytes, what=what):
            for writes in reversed(self.writes):
                for write in writes:
                    value = self._value(write.channel, write.value, arena, serde)
                    found[write.channel].writes.append((write.task_id, write.channel, value))
            for channel, body in self.seeds.items():
                found[channel].seed = [self._value(channel, body.values[channel], arena, serde)]
        return found

    def _value(self, channel: str, value: StoredValue, arena: ArenaParts, serde: Serializer) -> Any:
        functions = self._changes.functions.get(channel) if self._changes else None
        what = "the history of a channel"
        typed, *_ = opened(self.session, value, arena, self._protection, what)
        return value_of(serde, typed, f"{what} of session {self.session!r}", functions)


def _incomplete(session: str, checkpoint_id: str) -> NoReturn:
    raise SessionGoneError(
        f"a channel of session {session!r} depends on the writes since an earlier checkpoint, and "
        f"checkpoint {checkpoint_id!r} no longer exists: the session expired, or was deleted, "
        "evicted or pruned. Start it again, or restore it from a copy",
        session=session,
    )
