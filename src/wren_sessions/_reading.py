"""Reading checkpoints: steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from wren_sessions._cache import Cache
from wren_sessions._encoding import Body, damaged
from wren_sessions._protection import Protection
from wren_sessions._steps import Call, Steps
from wren_sessions._values import (
    Serializer,
    Snapshot,
    matches,
    read_metadata,
    read_record,
    read_snapshot,
    snapshot,
)
from wren_sessions.records import (
    ArenaParts,
    Loaded,
    Name,
    Scanned,
    Start,
    Stored,
    merge_spans,
)

PAGE: Final = 100


class Reading:
    """Reading from the sessions of one store.

    Args:
        cache: what this process remembers of them; it learns from what is read.
        protection: what happened to values before they were stored.
    """

    def __init__(self, cache: Cache, protection: Protection) -> None:
        self._cache = cache
        self._protection = protection

    def get(
        self, session: str, namespace: str, checkpoint_id: str | None, serde: Serializer
    ) -> Steps[Snapshot | None]:
        """Read a checkpoint, the namespace's latest if no id is given; None if it is not there.

        Raises:
            CorruptSessionError: what is stored is damaged.
            FormatVersionError: a newer version of this package wrote it.
            SerializationError: a value cannot be read back.
        """
        found = yield from self.load(session, namespace, checkpoint_id)
        if found is None:
            return None
        stored, arena = found
        read = self.record(session, stored, arena)
        return snapshot(session, stored, arena, serde, read=read, protection=self._protection)

    def record(
        self, session: str, stored: Stored, arena: ArenaParts
    ) -> tuple[Body, dict[str, tuple[str, bytes]]]:
        """A record's body and its values' bytes; remembered for the one that continues it."""
        body, data = read_record(session, stored, arena, self._protection)
        self._cache.remember(session, stored.name, body, instead_of=None)
        return body, data

    def load(
        self, session: str, namespace: str, checkpoint_id: str | None
    ) -> Steps[tuple[Stored, ArenaParts] | None]:
        """A checkpoint as it is stored, with the parts of the arena that it refers to."""
        for _ in range(3):
            loaded: Loaded | None = yield Call("load", session, namespace, checkpoint_id)
            if namespace == "":
                self._cache.look(session, None if loaded is None else loaded.life)
            if loaded is None:
                if namespace == "" and checkpoint_id is None:
                    self._cache.absent(session)
                return None
            self._cache.live(session, loaded.life, loaded.stored.name)
            arena = loaded.arena
            if arena is None:
                arena = yield Call("read", session, loaded.stored.spans)
            if arena is not None:
                return loaded.stored, arena
            # It was deleted or replaced between the two calls: look again.
        damaged(session, "its arena")

    def namespaces(self, session: str) -> Steps[tuple[str, ...]]:
        """The session's namespaces, in the order in which they were made."""
        found: tuple[Name, ...] = yield Call("heads", session)
        return tuple(namespace for namespace, _ in found)

    def page(
        self,
        session: str,
        starts: Sequence[Start],
        limit: int,
        serde: Serializer,
        where: Mapping[str, Any] | None = None,
    ) -> Steps[tuple[list[Snapshot], tuple[Start, ...]]]:
        """Some checkpoints, newest first, and where to go on; errors as `get`.

        Args:
            session: the session's id.
            starts: see `SessionStore.scan`.
            limit: how many to look at.
            serde: the serializer.
            where: metadata that they must have.
        """
        for _ in range(3):
            scanned: Scanned = yield Call("scan", session, starts, limit)
            chosen = [
                stored
                for stored in scanned.records
                if not where or matches(read_metadata(session, stored, serde), where)
            ]
            spans = merge_spans(span for stored in chosen for span in stored.spans)
            arena = ArenaParts(())
            if spans:
                arena = yield Call("read", session, spans)
            if arena is not None:
                return [
                    read_snapshot(session, stored, arena, serde, self._protection)
                    for stored in chosen
                ], scanned.rest
            # It was deleted or pruned between the two calls: look again.
        damaged(session, "its arena")
