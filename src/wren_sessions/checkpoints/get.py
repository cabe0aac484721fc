"""Reading checkpoints.

Every read asks the store: only the store knows which checkpoint is the latest. It is told which
parts of the arena this process has (`Held`), and sends the others. A record that this process has
just written or read is not decoded again, if what is stored is the same.

What is cached is never trusted alone. If a checksum does not fit the cached bytes, perhaps the
server lost what this process knows. Then the session is forgotten here, and everything is read
again. Only if it does not fit then either, it is damaged.

A page of checkpoints is one read of records and one of the arena. Their values are read a few at a
time, the oldest first: newer lists begin with the same messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from heapq import nlargest
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from wren_sessions.checkpoints.codec import CheckpointRecord, damage, matches
from wren_sessions.checkpoints.order import Ordered, Place, one
from wren_sessions.checkpoints.record_cache import Cache
from wren_sessions.checkpoints.snapshots import (
    Snapshot,
    ranged,
    read_metadata,
    read_record,
    read_snapshot,
    reading,
)
from wren_sessions.delta.base import ArenaView, DeltaBase
from wren_sessions.delta.encoder import Serializer
from wren_sessions.delta.protection import Protection
from wren_sessions.errors import CorruptSessionError, WrenSessionsError
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import (
    ArenaParts,
    Held,
    Life,
    Name,
    Span,
    Stored,
    merge_spans,
    missing,
)
from wren_sessions.serializers.limits import OverBudgetError, unhurried

T = TypeVar("T")
_Found: TypeAlias = tuple[Life, Stored, ArenaView]  # of a record, with the session's life

PAGE: Final = 100
_AT_ONCE: Final = 16  # checkpoints whose values are read together
MAX_HELD: Final = 64  # parts of the arena that a store is told of


class Head(NamedTuple):
    """A checkpoint as it stands in the store.

    Attributes:
        life: the session's life when it was read.
        stored: the record.
        body: what it says.
        data: type tag and bytes of each value.
    """

    life: Life
    stored: Stored
    body: CheckpointRecord
    data: dict[str, tuple[str, bytes]]


class Reading:
    """Reading from the sessions of one store; the cache learns from what is read."""

    def __init__(self, store: AsyncSessionStore, cache: Cache, protection: Protection) -> None:
        self.store = store
        self._cache = cache
        self._protection = protection

    async def get(
        self, session: str, namespace: str, checkpoint_id: str | None, serde: Serializer
    ) -> Snapshot | None:
        """Read a checkpoint, the namespace's latest if no id is given; None if it is not there.

        Raises:
            CorruptSessionError: what is stored is damaged.
            FormatVersionError: a newer version of this package wrote it.
            SerializationError: a value cannot be read back.
        """
        read = partial(read_snapshot, session, serde=serde, protection=self._protection)
        found = await self._read(session, namespace, checkpoint_id, read)
        return None if found is None else found[3]

    async def with_parent(self, session: str, found: Snapshot) -> Snapshot:
        """A checkpoint, without its parent if that is not there any more.

        The checkpoint next below it nearly always is the parent. The store is asked again where it
        is another: at the first checkpoint of a fork, and where the parent seems to be gone.
        """
        parent = found.parent_id
        if parent is None or found.below in {"", parent}:
            return found
        there = await one(self.store, session, found.name[0], parent)
        return found if there.records else replace(found, parent_id=None)

    async def record(
        self, session: str, namespace: str, checkpoint_id: str | None, serde: Serializer
    ) -> Head | None:
        """The same, with its values as they are stored. Errors are those of `get`."""
        read = partial(read_record, session, serde=serde, protection=self._protection)
        found = await self._read(session, namespace, checkpoint_id, read)
        return None if found is None else Head(*found)

    async def body(
        self, session: str, name: Name, serde: Serializer | None = None
    ) -> CheckpointRecord | None:
        """What a record says, from what is remembered or from the store; None if it is not there.

        Raises:
            CorruptSessionError: what is stored is damaged.
            FormatVersionError: a newer version of this package wrote it.
            SerializationError: it asks for more memory than the serializer's limits allow.
        """
        body = self._cache.record(session, name)
        if body is None:
            loaded = await self.load(session, *name)
            if loaded is not None:
                _, body = read_record(session, *loaded, self._protection, serde)
                self._cache.remember(session, name, body, instead_of=None)
        return body

    async def _read(
        self,
        session: str,
        namespace: str,
        checkpoint_id: str | None,
        read: Callable[..., tuple[T, CheckpointRecord]],
    ) -> tuple[Life, Stored, CheckpointRecord, T] | None:
        """A checkpoint: the session's life, the record, what it says, and what `read` gives."""
        life, last = self._cache.known_of(session, namespace)
        name, record = last or (None, None)
        known, held = _held(life, record)
        found = await self._load(session, namespace, checkpoint_id, known, held)
        if found is None:
            return None
        now, stored, arena = found
        if life is None or life.incarnation != now.incarnation or name != stored.name:
            record = None
        try:
            result, body = read(stored, arena, known=record)
        except CorruptSessionError:
            if not known:
                raise
            # Perhaps the server lost what we know, and others wrote something else in its place.
            self._cache.forget(session)
            return await self._read(session, namespace, checkpoint_id, read)
        self._cache.remember(session, stored.name, body, instead_of=None, life=now)
        return now, stored, body, result

    async def load(
        self, session: str, namespace: str, checkpoint_id: str | None
    ) -> tuple[Stored, ArenaView] | None:
        """A checkpoint as it is stored (None: the latest), with what it refers to of the arena."""
        found = await self._load(session, namespace, checkpoint_id)
        if found is None:
            return None
        life, stored, arena = found
        self._cache.live(session, life, stored.name)
        return stored, arena

    async def _load(
        self,
        session: str,
        namespace: str,
        checkpoint_id: str | None,
        known: Sequence[DeltaBase] = (),
        held: Held | None = None,
    ) -> _Found | None:
        """The same, with the session's life at that moment; what is held need not be sent."""
        for _ in range(3):
            loaded = await self.store.load(session, namespace, checkpoint_id, held)
            if namespace == "":
                self._cache.look(session, None if loaded is None else loaded.life)
            if loaded is None:
                if namespace == "" and checkpoint_id is None:
                    self._cache.absent(session)
                return None
            arena = loaded.arena
            same = held is not None and held.incarnation == loaded.life.incarnation
            if arena is None:
                spans = missing(loaded.stored.spans, held, loaded.life.incarnation)
                arena = await self.store.read(session, spans)
            if arena is not None:
                return loaded.life, loaded.stored, ArenaView(arena, known if same else ())
            # It was deleted or replaced between the two calls: look again.
        raise damage(session, "its arena")

    async def namespaces(self, session: str) -> tuple[str, ...]:
        """The session's namespaces, in the order in which they were made."""
        found = await self.store.heads(session)
        return tuple(namespace for namespace, _ in found)

    async def page(
        self,
        session: str,
        places: Sequence[Place],
        limit: int,
        serde: Serializer,
        where: Mapping[str, Any] | None = None,
    ) -> tuple[Iterator[Snapshot], tuple[Place, ...]]:
        """Some checkpoints, the latest first (see `order`), and where to go on; errors as `get`.

        Their values are read as the checkpoints are asked for, a few at a time: so there are never
        a hundred copies of a long list at once.

        Of `limit` checkpoints that are looked at, those with the metadata `where` are given.
        """
        for _ in range(3):
            page = await Ordered(self.store, session, limit).page(places)
            chosen = [
                stored
                for stored in page.records
                if not where or matches(read_metadata(session, stored, serde), where)
            ]
            spans = merge_spans(span for stored in chosen for span in stored.spans)
            arena: ArenaParts | None = ArenaParts(())
            known: Sequence[DeltaBase] = ()
            if chosen and page.life is not None:
                known, held = self._held_of_page(session, chosen[0], page.life)
                spans = missing(spans, held, page.life.incarnation)
            if spans:
                arena = await self.store.read(session, spans)
            if arena is not None:
                found = self._snapshots(session, chosen, ArenaView(arena, known), serde)
                return found, page.rest
            # It was deleted or pruned between the two calls: look again.
        raise damage(session, "its arena")

    def _held_of_page(
        self, session: str, newest: Stored, life: Life
    ) -> tuple[Sequence[DeltaBase], Held]:
        """What is known of the newest checkpoint of a page, and of the older ones with it.

        Ranges of an arena never change: where the sums of the newest one are right, what is known
        is what the server has.
        """
        now, last = self._cache.known_of(session, newest.name[0])
        known = last[1].delta_bases() if last else []
        if not known or now is None or now.incarnation != life.incarnation:
            return (), Held(life.incarnation, ())
        try:
            pieces = ranged(session, newest)
        except WrenSessionsError:  # whoever asks for its values will be told
            pieces = []
        sure = [piece for piece in pieces if any(value.holds(piece) for value in known)]
        spans = merge_spans(Span(piece.offset, piece.length) for piece in sure)
        return (known if sure else ()), Held(life.incarnation, spans)

    def _snapshots(
        self, session: str, records: Sequence[Stored], arena: ArenaView, serde: Serializer
    ) -> Iterator[Snapshot]:
        """Of some, the oldest is read first: what it holds, the newer ones go on with."""
        for start in range(0, len(records), _AT_ONCE):
            some = records[start : start + _AT_ONCE]
            size = sum(span.length for stored in some for span in stored.spans)
            try:
                found = unhurried(size, partial(self._read_all, session, some, arena, serde))
            except OverBudgetError:  # together they are too much: then one after the other
                if len(some) == 1:
                    raise
                for stored in some:
                    yield self._read_next(session, stored, arena, serde)
                continue
            while found:
                yield found.pop()

    def _read_all(
        self, session: str, records: Sequence[Stored], arena: ArenaView, serde: Serializer
    ) -> list[Snapshot]:
        with reading(session, *records, serde=serde):
            return [self._read_next(session, one, arena, serde) for one in reversed(records)]

    def _read_next(
        self, session: str, stored: Stored, arena: ArenaView, serde: Serializer
    ) -> Snapshot:
        """A checkpoint of several; what it holds is known for those after it."""
        found, body = read_snapshot(session, stored, arena, serde, self._protection)
        arena.learn(body.values.values())
        return found


def _held(
    life: Life | None, record: CheckpointRecord | None
) -> tuple[list[DeltaBase], Held | None]:
    """What is known of a record's values, and of that the longest parts, which need not be sent."""
    known: list[DeltaBase] = []
    spans: list[Span] = []
    for value in record.values.values() if record else ():
        if value.known is not None:
            known.append(value.known)
            spans += [Span(piece.offset, piece.length) for piece in value.known.pieces]
    if life is None or not known:
        return known, None
    if len(spans) > MAX_HELD:
        spans = nlargest(MAX_HELD, spans, key=lambda span: span.length)
    return known, Held(life.incarnation, merge_spans(spans))
