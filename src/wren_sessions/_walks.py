"""Walks over a store, page by page: all its sessions, or all records of a session.

A page is one call of the store. So blocking and async callers use a walk in the same way::

    walk = SessionWalk(store)
    while (page := await walk.next_page()) is not None:
        ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final

from wren_sessions._blocking import Unsuspended, run
from wren_sessions.protocols import AsyncOwnerStore, AsyncSessionStore, SessionStore
from wren_sessions.records import Scanned, SessionInfo, SessionPage, Start

_PAGE: Final = 100


class SessionWalk:
    """All sessions of a store, each once.

    A session that is there during the whole walk is met. Redis may list one twice, so the ids that
    were met are remembered. An owner's session that is written meanwhile moves to the front, where
    the walk has been. So after several pages it looks there again, and until it finds nothing new;
    not if it began at a cursor.

    Args:
        store: the store.
        limit: how many sessions a page has, about.
        cursor: where to begin; None for the beginning.
        owner: whose sessions, the last written first; None for all.

    Attributes:
        cursor: where the next page begins; None before the first page and after the last one.
        foreign: how many entries were left out so far; see `SessionPage.foreign`.
    """

    def __init__(
        self,
        store: AsyncSessionStore,
        limit: int = _PAGE,
        *,
        cursor: str | None = None,
        owner: str | None = None,
    ) -> None:
        self._store = store
        self._limit = limit
        self._owner = owner
        self._rounds = owner is not None and cursor is None
        self.cursor = cursor
        self.foreign = 0
        self._begun = False
        self._met: set[str] = set()
        self._new = False  # whether this round over an owner's sessions has met any
        self._floor_ms = -1  # behind what was written then, this round has nothing to meet
        self._next_floor_ms = -1

    @property
    def ended(self) -> bool:
        """Whether the last page was given."""
        return self._begun and self.cursor is None

    async def next_page(self, limit: int | None = None) -> list[SessionInfo] | None:
        """The next sessions, perhaps none; None at the end.

        Args:
            limit: how many this page has, about; None for as many as the others.
        """
        if self.ended:
            return None
        if self._owner is None:
            page = await self._store.list_sessions(self.cursor, limit or self._limit)
        else:
            owned: AsyncOwnerStore = self._store  # type: ignore[assignment] # or it raises
            page = await owned.list_owned(self._owner, self.cursor, limit or self._limit)
        first, self._begun, self.cursor = not self._begun, True, page.cursor
        self.foreign += page.foreign
        new = [info for info in page.sessions if info.session not in self._met]
        found = {info.session: info for info in new}
        self._met |= found.keys()
        if self._rounds:
            self._go_round(page, first=first, new=bool(found))
        return list(found.values())

    def _go_round(self, page: SessionPage, *, first: bool, new: bool) -> None:
        """Begin again at the front, where a round is over that took several pages."""
        times = [info.life.updated_ms for info in page.sessions]
        if first:
            self._new = False
            self._floor_ms, self._next_floor_ms = self._next_floor_ms, min(times, default=0)
        self._new |= new
        if page.cursor is None or any(time_ms < self._floor_ms for time_ms in times):
            self.cursor = None
            self._begun = first or not self._new


def all_sessions(
    store: SessionStore, limit: int = _PAGE, owner: str | None = None
) -> Iterator[SessionInfo]:
    """The same for blocking callers, session by session."""
    walk = SessionWalk(Unsuspended(store), limit, owner=owner)
    while (page := run(walk.next_page())) is not None:
        yield from page


async def aall_sessions(
    store: AsyncSessionStore, owner: str | None = None
) -> AsyncIterator[SessionInfo]:
    """The same for asynchronous callers, and for what is written once for both."""
    walk = SessionWalk(store, owner=owner)
    while (page := await walk.next_page()) is not None:
        for info in page:
            yield info


class RecordWalk:
    """The records of some namespaces of a session, each namespace by descending id.

    Args:
        scan: reads a page: `SessionStore.scan` of one session.
        starts: where to begin.
        limit: how many records a page has at the most.
    """

    def __init__(
        self,
        scan: Callable[[Sequence[Start], int], Awaitable[Scanned]],
        starts: Iterable[Start],
        limit: int,
    ) -> None:
        self._scan = scan
        self._rest = tuple(starts)
        self._limit = limit

    async def next_page(self, limit: int | None = None) -> Scanned | None:
        """The next records; None at the end.

        Args:
            limit: how many this page has at the most; None for as many as the others.
        """
        if not self._rest:
            return None
        page = await self._scan(self._rest, limit or self._limit)
        self._rest = page.rest
        return page
