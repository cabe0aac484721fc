"""A listing of checkpoints: what it looks for, and where it is. Knows nothing of LangGraph."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from wren_sessions._walks import SessionWalk
from wren_sessions.checkpoints.codec import matches, metadata_of
from wren_sessions.checkpoints.get import PAGE, Reading
from wren_sessions.checkpoints.order import Place
from wren_sessions.checkpoints.snapshots import Snapshot
from wren_sessions.delta.encoder import Serializer
from wren_sessions.keys import encode

Found: TypeAlias = Iterable[tuple[str, Snapshot]]
"""Checkpoints with the session of each, to be looked at before more are asked for."""


class Listing:
    """Checkpoints of one session or of all, page by page.

    Args:
        reading: reads them.
        serde: the serializer.
        session: the session; None for all sessions of the store.
        namespace: the namespace; None for all of a session, in the order they were made.
        checkpoint_id: this checkpoint alone.
        before: only checkpoints that come after this one in the order of `order`; if it is not
            there, only those with a lower id.
        where: metadata that they must have.
        limit: how many at the most; None for all.

    Raises:
        InvalidSessionIdError: `before` is no id.
    """

    def __init__(
        self,
        reading: Reading,
        serde: Serializer,
        *,
        session: str | None,
        namespace: str | None,
        checkpoint_id: str | None,
        before: str | None,
        where: Mapping[str, Any],
        limit: int | None,
    ) -> None:
        if before is not None:
            encode(before)
        self._reading = reading
        self._store = reading.store
        self._serde = serde
        self._namespace = namespace
        self._checkpoint_id = checkpoint_id
        self._before = before
        self._where = metadata_of(where)
        self._left = limit
        self._sessions = deque([] if session is None else [session])
        self._walk = SessionWalk(reading.store)
        self._more_sessions = session is None
        self._session = ""
        self._rest: tuple[Place, ...] = ()

    async def more(self) -> Found | None:
        """The next checkpoints, perhaps none; None at the end."""
        if self._left is not None and self._left <= 0:
            return None
        if self._rest:
            found = await self._page()
            return self._take(found)
        if self._sessions:
            await self._begin(self._sessions.popleft())
            return []
        if self._more_sessions:
            page = await self._walk.next_page()
            self._more_sessions = page is not None
            self._sessions.extend(info.session for info in page or ())
            return []
        return None

    async def _begin(self, session: str) -> None:
        self._session = session
        if self._namespace is not None:
            namespaces: tuple[str, ...] = (self._namespace,)
        else:
            namespaces = await self._reading.namespaces(session)
        self._rest = tuple(
            Place(namespace=namespace, before=self._before) for namespace in namespaces
        )

    async def _page(self) -> Iterable[Snapshot]:
        if self._checkpoint_id is not None:
            return await self._one(self._checkpoint_id)
        size = PAGE if self._where or self._left is None else min(self._left, PAGE)
        found, self._rest = await self._reading.page(
            self._session, self._rest, size, self._serde, self._where
        )
        return found

    async def _one(self, checkpoint_id: str) -> list[Snapshot]:
        start, self._rest = self._rest[0], self._rest[1:]
        if self._before is not None and checkpoint_id >= self._before:
            return []
        found = await self._reading.get(self._session, start.namespace, checkpoint_id, self._serde)
        return [found] if found is not None and matches(found.metadata, self._where) else []

    def _take(self, found: Iterable[Snapshot]) -> Found:
        for item in found:
            if self._left is not None:
                if self._left <= 0:
                    return
                self._left -= 1
            yield self._session, item
