"""In which checkpoint each message first appeared.

The chain of checkpoints is walked from the newest one back. As long as the list only grew, one look
at where it lies says how long it was, and no list is read. A list that was changed in another way
costs one read of it as it was before. The walk ends as soon as every message is placed.

So 1,000 messages in 1,000 checkpoints take 10 scans of records and no list besides the last one. At
most `MAX_READ_BYTES` of earlier lists are read; what is not placed by then has no origin, and
neither has a message that was there before the oldest checkpoint that is left, or in all of a ring
of checkpoints that continue each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from wren_sessions.checkpoints import Checkpoints
from wren_sessions.checkpoints.codec import CheckpointRecord
from wren_sessions.checkpoints.snapshots import body_of, read_record
from wren_sessions.delta.base import ArenaView
from wren_sessions.delta.encoder import Serializer
from wren_sessions.errors import WrenSessionsError
from wren_sessions.records import Start, Stored
from wren_sessions.serializers.limits import Budget, limits_of
from wren_sessions.transcripts._lists import (
    Elements,
    Identity,
    begins,
    compare,
    inline_of,
    places_of,
    split_list,
)
from wren_sessions.transcripts._messages import message_of

PAGE: Final = 100
MAX_READ_BYTES: Final = 64 * 1_048_576


class Dated(NamedTuple):
    """Which messages to place.

    Attributes:
        first: the index of the first one, from the end where it is negative.
        most: how many checkpoints to walk back over at the most; None for all.
    """

    first: int = 0
    most: int | None = None


ALL: Final = Dated()


@dataclass(slots=True)
class Head:
    """The checkpoint that a transcript is made from, with its list of messages as it is stored."""

    id: str
    body: CheckpointRecord
    kind: str
    data: bytes
    count: int


class Origins:
    """A walk from one checkpoint back.

    Attributes:
        heads: type tag and bytes of what each visited checkpoint says besides its values.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        serde: Serializer,
        session: str,
        channel: str,
        head: Head,
        *,
        wanted: Dated = ALL,
    ) -> None:
        self._wanted = wanted
        self._checkpoints = checkpoints
        self._serde = serde
        self._session = session
        self._channel = channel
        self._head = head
        self._page: dict[str, CheckpointRecord] = {}
        self._below: str | None = head.id
        self._read_bytes = 0
        self.heads = {head.id: head.body.meta}

    async def find(self) -> dict[int, str]:
        """For indexes of the list, the id of the checkpoint in which the message first appeared."""
        found: dict[int, str] = {}
        elements = self._elements(self._head.kind, self._head.data, self._head.body)
        if elements is None or len(elements.parts) != self._head.count:
            return found
        first, most = self._wanted
        total = len(elements.parts)
        start = max(0, total + first) if first < 0 else first
        where = {index: index for index in range(start, total)}  # in `elements`
        newer, parent = self._head.id, self._head.body.parent_id
        while where and parent is not None:
            body = None if parent in self.heads else (await self._body(parent))
            if body is None or (most is not None and len(self.heads) > most):
                return found  # pruned, a ring, or far enough: what is left was there before
            self.heads[parent] = body.meta
            count = self._growth(body, elements)
            if count is not None:
                new = {index for index, at in where.items() if at >= count}
            else:
                older = await self._older(parent, body)
                if older is None:
                    return found
                change = compare(older, elements, sorted(where.values()))
                new = {index for index, at in where.items() if at in change.new}
                where = {i: at for i, at in where.items() if i in new or at in change.kept}
                where = {i: change.kept.get(at, at) for i, at in where.items()}
                elements = older
            found |= dict.fromkeys(new, newer)
            where = {index: at for index, at in where.items() if index not in new}
            newer, parent = parent, body.parent_id
        return found | dict.fromkeys(where, newer)

    # --- the chain ---

    async def _body(self, checkpoint_id: str) -> CheckpointRecord | None:
        """The record of a checkpoint: from the page at hand, the next ones, or by itself."""
        if checkpoint_id not in self._page and self._below is not None:
            start = Start("", self._below)
            page = await self._checkpoints.store.scan(self._session, [start], PAGE)
            for stored in page.records:
                self._page[stored.name[1]] = body_of(self._session, stored)
            self._below = page.rest[0].before if page.rest else None
        if checkpoint_id in self._page:
            return self._page.pop(checkpoint_id)
        found = await self._checkpoints.reading.load(self._session, "", checkpoint_id)
        return None if found is None else self._record(*found)[1]

    def _record(
        self, stored: Stored, arena: ArenaView
    ) -> tuple[dict[str, tuple[str, bytes]], CheckpointRecord]:
        protection = self._checkpoints.protection
        return read_record(self._session, stored, arena, protection, self._serde)

    def _growth(self, body: CheckpointRecord, newer: Elements) -> int | None:
        """The length of the list, if it has only grown since; None if this cannot be seen."""
        value = body.values.get(self._channel)
        if value is None:
            return 0
        found = places_of(value)
        if found is None:
            return None
        count, places = found
        if count == 0:
            return 0
        if count > len(newer.parts) or not begins(places, newer.places):
            return None
        newer.shorten(count, places)
        return count

    # --- lists ---

    async def _older(self, checkpoint_id: str, body: CheckpointRecord) -> Elements | None:
        """The elements of an earlier list, as long as not too much was read."""
        value = body.values[self._channel]
        inline = inline_of(value)
        if inline is not None:
            return self._elements(value.kind, inline, body)
        found = await self._checkpoints.reading.load(self._session, "", checkpoint_id)
        if found is None:
            return None
        kind, data = self._record(*found)[0].get(self._channel, ("null", b""))
        self._read_bytes += len(data)
        if self._read_bytes > MAX_READ_BYTES:
            return None
        return self._elements(kind, data, body)

    def _elements(self, kind: str, data: bytes, body: CheckpointRecord) -> Elements | None:
        """The elements of a list; None where the value is no list, or cannot be read."""
        parts = split_list(kind, data)
        if parts is not None:
            value = body.values.get(self._channel)
            places = places_of(value) if value is not None else None
            return Elements(
                parts, lambda part: self._identity(kind, part), places[1] if places else ()
            )
        try:
            values = self._loaded(kind, data)
        except Exception:  # noqa: BLE001 -- a list that cannot be read has no origins, no more
            return None
        if values is None:
            return _decoded([])
        return _decoded(values) if isinstance(values, list | tuple) else None

    def _identity(self, kind: str, part: bytes) -> Identity:
        try:
            message = message_of(self._loaded(kind, part))
        except (WrenSessionsError, ValueError, TypeError, LookupError):
            return None
        return None if message.id is None else (message.role, message.id)

    def _loaded(self, kind: str, data: bytes) -> Any:
        what = f"{self._channel!r} of session {self._session!r}"
        with Budget(len(data), limits_of(self._serde).max_memory_bytes, what=what):
            return self._serde.loads_typed((kind, data))


def _decoded(values: Sequence[object]) -> Elements:
    """The elements of a list that cannot be taken apart as bytes."""
    messages = list(map(message_of, values))
    parts = [repr(message).encode("utf-8", "backslashreplace") for message in messages]
    by_part = dict(zip(parts, messages, strict=True))

    def identify(part: bytes) -> Identity:
        message = by_part[part]
        return None if message.id is None else (message.role, message.id)

    return Elements(parts, identify)
