"""The order in which the checkpoints of a namespace are listed, the latest first.

This is the only definition of the order. Listings, histories, the command line and pruning use it.

The latest checkpoint is the namespace's head, which the store keeps (see `records.Record`).
``get_tuple`` reads it. Ids are times. If the clocks of all machines agree, each checkpoint has a
higher id than the one it continues. Then the head has the highest id, and the order is by
descending id, as in LangGraph's own savers.

If a machine's clock is slow, a checkpoint that it writes may have a lower id than its parent. Ids
then no longer tell which checkpoint came first. Such a checkpoint is marked as skewed
(`CheckpointRecord.skewed`). So the order is

1. the head;
2. if the head is skewed, the checkpoint that it continues, and so on as long as they are skewed;
3. all others, by descending id.

What follows a checkpoint in this order depends only on what is stored. So a listing can continue
from any checkpoint (LangGraph's ``before``). If it continues from an id that does not exist, it
lists the ids below that one in the same order. A page costs as much as what is on it. Only
continuing from a checkpoint of a skewed history takes a walk from the head to that checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from wren_sessions.checkpoints.codec import CheckpointRecord, damage, record_of
from wren_sessions.keys import MAX_ID_BYTES, encode
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Life, Name, Scanned, Start, Stored

_LOOKS: Final = 4  # for a head that moves
_SURROGATES: Final = range(0xD800, 0xE000)  # which no text has
_MORE: Final = 100  # records that are read at once while others are left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a listing of one namespace goes on.

    Attributes:
        namespace: the namespace.
        before: the checkpoint, or any id, behind which it starts; None for the latest one. Once it
            has begun, the others (3) are listed below this id.
        begun: whether the next four say how far it has come.
        line: the next one of the head and those before it (1, 2), if it is known.
        after: the one of these that was listed last, if the next one is not known yet.
        listed: those of them that are not to be listed again.
        below: ids that are not lower are left out.
    """

    namespace: str
    before: str | None = None
    begun: bool = False
    line: str | None = None
    after: str | None = None
    listed: frozenset[str] = frozenset()
    below: str | None = None

    @property
    def start(self) -> Start:
        """Where its scan starts: before it has begun, with the checkpoint itself."""
        if self.begun or self.before is None:
            return Start(self.namespace, self.before)
        return from_id(self.namespace, self.before)


@dataclass(frozen=True, slots=True)
class Page:
    """Some records in order, where to go on, and the session's life; None if it is not there."""

    records: tuple[Stored, ...]
    rest: tuple[Place, ...]
    life: Life | None


def in_order(head: str | None, bodies: Mapping[str, CheckpointRecord]) -> Iterator[str]:
    """The ids of a namespace's checkpoints in order, from its head and what each of them says."""
    line: dict[str, None] = {}
    at = head
    while at is not None and at in bodies and at not in line:
        line[at] = None
        parent_id = bodies[at].parent_id if bodies[at].skewed else None
        parent = None if parent_id is None else bodies.get(parent_id)
        at = parent_id if parent is not None and parent.skewed else None
    yield from line
    yield from (id_ for id_ in sorted(bodies, reverse=True) if id_ not in line)


def from_id(namespace: str, checkpoint_id: str) -> Start:
    """Where a scan starts that brings this checkpoint first, if it is there: at the next higher id.

    Raises:
        InvalidSessionIdError: it is no id.
    """
    encode(checkpoint_id)
    above = f"{checkpoint_id}\0"
    if len(above.encode()) > MAX_ID_BYTES:
        return Start(namespace, _above_longest(checkpoint_id))
    return Start(namespace, above)


def _above_longest(checkpoint_id: str) -> str | None:
    """The next higher id than one that cannot be longer; None if there is none."""
    for at in range(len(checkpoint_id) - 1, -1, -1):
        code = ord(checkpoint_id[at]) + 1
        if code == _SURROGATES.start:
            code = _SURROGATES.stop
        if code <= sys.maxunicode:
            above = checkpoint_id[:at] + chr(code)
            if len(above.encode()) <= MAX_ID_BYTES:
                return above
    return None


def just(namespace: str, checkpoint_id: str) -> Place:
    """Where a listing starts whose first checkpoint is this one; only that one counts."""
    return Place(namespace=namespace, before=from_id(namespace, checkpoint_id).before, begun=True)


async def one(
    store: AsyncSessionStore, session: str, namespace: str, checkpoint_id: str | None
) -> Page:
    """The record of a checkpoint, or of the latest one (None); none if it is not there.

    Unlike `SessionStore.load` it does not count as use.
    """
    if checkpoint_id is not None:
        scanned = await store.scan(session, [from_id(namespace, checkpoint_id)], 1)
        found = tuple(s for s in scanned.records if s.name[1] == checkpoint_id)
        return Page(found, (), scanned.life)
    start = Start(namespace)
    for _ in range(_LOOKS):  # the head may be another one by the second look
        scanned = await store.scan(session, [start], 1)
        head = scanned.heads.get(namespace)
        if head in {None, *(s.name[1] for s in scanned.records)}:
            return Page(scanned.records, (), scanned.life)
        start = from_id(namespace, scanned.heads[namespace])
    raise damage(session, f"the latest checkpoint of namespace {namespace!r}")


class Ordered:
    """Records of one session in order, for a page of at most `limit`, which is 1 or more."""

    def __init__(self, store: AsyncSessionStore, session: str, limit: int) -> None:
        self._store = store
        self._session = session
        self._limit = limit
        self._heads: dict[str, str] = {}
        self._known: dict[Name, Stored] = {}
        self._bodies: dict[Name, CheckpointRecord] = {}
        self._life: Life | None = None

    async def page(self, places: Sequence[Place]) -> Page:
        """The next records of these namespaces, perhaps fewer than asked for."""
        first = places[0]
        if first.line or first.after or first.listed:
            return await self._line(first, places[1:])
        more = first.before is not None and not first.begun
        scanned = await self._scan([place.start for place in places], self._limit + more)
        found: list[Stored] = []
        covered = len(places) - len(scanned.rest)
        for at, place in enumerate(places[: covered + 1]):
            records = [s for s in scanned.records if s.name[0] == place.namespace]
            shown = await self._shown(place, records)
            if shown is None:
                if found:
                    return self._page(found, places[at:])
                place = await self._begin(place)  # noqa: PLW2901
                return await self._line(place, places[at + 1 :])
            too_many = max(0, len(found) + len(shown) - self._limit)
            found += shown[: len(shown) - too_many]
            if at == covered or too_many:
                rest = self._going_on(place, records[: len(records) - too_many])
                return self._page(found, [rest, *places[at + 1 :]])
        return self._page(found, [])

    def _page(self, found: Sequence[Stored], rest: Sequence[Place]) -> Page:
        return Page(tuple(found), tuple(rest), self._life)

    # --- by descending id -------------------------------------------------------------------------

    async def _shown(self, place: Place, records: Sequence[Stored]) -> Sequence[Stored] | None:
        """What is to be listed of records by descending id; None if that is not their order."""
        if place.begun or not records:
            return records
        head, first = self._heads.get(place.namespace), records[0].name[1]
        if first == place.before:  # by descending id, unless one of them is listed ahead of that
            ahead = any(s.name[1] == head or self._body(s).skewed for s in records)
            return None if ahead else records[1:]
        if first == head:
            return None if self._body(records[0]).skewed else records
        if head is None or place.before is None or head < place.before:
            return None if head is not None else records
        stored = await self._record(place.namespace, head, limit=1)
        return None if stored is None or self._body(stored).skewed else records

    def _going_on(self, place: Place, records: Sequence[Stored]) -> Place:
        if not records:
            return place
        last = records[-1].name[1]
        if place.begun or records[0].name[1] == self._heads.get(place.namespace):
            return Place(namespace=place.namespace, before=last, begun=True)
        return Place(namespace=place.namespace, before=last)

    # --- the head and those before it -------------------------------------------------------------

    async def _begin(self, place: Place) -> Place:
        """How far a listing has come that begins behind a checkpoint."""
        namespace, before = place.namespace, place.before
        head = self._heads.get(namespace)
        if before is None or (namespace, before) not in self._known:
            return replace(place, begun=True, line=head, below=before)
        listed: list[str] = []
        at = head
        while at is not None and at != before:
            listed.append(at)
            at = await self._before(namespace, at, listed)
        if at is None:
            return replace(place, begun=True, listed=frozenset(listed))
        line = frozenset([*listed, at])
        return Place(namespace=namespace, begun=True, after=at, listed=line)

    async def _line(self, place: Place, others: Sequence[Place]) -> Page:
        """A page that begins with the head, or one of those before it."""
        namespace, found, listed = place.namespace, list[Stored](), set(place.listed)
        at, after = place.line, place.after
        while len(found) < self._limit:
            if at is None and after is not None:
                at = await self._before(namespace, after, listed)
            if at is None:
                place = replace(place, listed=frozenset(listed))
                return await self._others(place, found, others)
            listed.add(at)
            stored = await self._record(namespace, at)
            if stored is not None and (place.below is None or at < place.below):
                found.append(stored)
            at, after = None, at
        place = replace(place, line=None, after=after, listed=frozenset(listed))
        return self._page(found, [place, *others])

    async def _before(
        self, namespace: str, checkpoint_id: str, listed: Collection[str]
    ) -> str | None:
        """The skewed checkpoint that a skewed one continues, if it was not listed yet."""
        stored = await self._record(namespace, checkpoint_id)
        if stored is None:
            return None
        body = self._body(stored)
        if not body.skewed or body.parent_id is None or body.parent_id in listed:
            return None
        parent = await self._record(namespace, body.parent_id)
        return body.parent_id if parent is not None and self._body(parent).skewed else None

    async def _others(self, place: Place, found: list[Stored], others: Sequence[Place]) -> Page:
        """Fill a page with those that are not before the head in a skewed history."""
        before = place.before
        while len(found) < self._limit:
            listed = {id_ for id_ in place.listed if before is None or id_ < before}
            wanted = self._limit - len(found) + min(len(listed), _MORE)
            scanned = await self._scan([Start(place.namespace, before)], wanted)
            for stored in scanned.records:
                if len(found) == self._limit:
                    break
                before = stored.name[1]
                if before not in listed:
                    found.append(stored)
            else:
                if not scanned.rest:
                    return self._page(found, others)
        listed = {id_ for id_ in place.listed if before is None or id_ < before}
        rest = Place(namespace=place.namespace, before=before, begun=True, listed=frozenset(listed))
        return self._page(found, [rest, *others])

    # --- records ----------------------------------------------------------------------------------

    async def _record(
        self, namespace: str, checkpoint_id: str, limit: int | None = None
    ) -> Stored | None:
        name = (namespace, checkpoint_id)
        if name not in self._known:
            await self._scan([from_id(*name)], limit or self._limit)
        return self._known.get(name)

    async def _scan(self, starts: Sequence[Start], limit: int) -> Scanned:
        scanned = await self._store.scan(self._session, starts, limit)
        self._heads |= scanned.heads
        self._known |= {stored.name: stored for stored in scanned.records}
        self._life = scanned.life
        return scanned

    def _body(self, stored: Stored) -> CheckpointRecord:
        body = self._bodies.get(stored.name)
        if body is None:
            body = self._bodies[stored.name] = record_of(self._session, stored)
        return body
