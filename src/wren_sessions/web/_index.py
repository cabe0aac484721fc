"""The sessions of a store, newest first, with what a list shows of each.

One walk over the headers serves all visitors. It is repeated when it is old: after two seconds, or
later if it takes long, so that it never takes more than a twentieth of the time. What takes a call
per session (status, size, first and last words) is asked for once, and again only if the session
was written since. So an open page costs only what has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Final, NamedTuple

from wren_sessions.protocols import SessionStore
from wren_sessions.viewing.overview import Overview, detailed, headers, with_last_messages

NEWEST: Final = 10_000  # sessions that are looked at, unless somebody asks for all
PAGE: Final = 50
LOOKS: Final = 500  # sessions whose status one request asks for
_FRESH_S: Final = 2.0
_SHARE: Final = 20  # a walk of a second is made every 20 seconds


class Query(NamedTuple):
    """Which sessions to show.

    Attributes:
        text: what must stand in the id, the title, the owner or a tag, whatever its case.
        status: what the status must be; empty for any.
        after: the sort key behind which the page begins; None for the first page.
        owner: whose sessions; empty for any.
        tag: a tag that they must have; empty for none.
        whole: whether to look at all sessions, and not at the first `NEWEST` that the store gives.
    """

    text: str = ""
    status: str = ""
    after: tuple[int, str] | None = None
    owner: str = ""
    tag: str = ""
    whole: bool = False

    def fits(self, row: Overview) -> bool:
        """Whether a session fits, but for its status."""
        texts = (row.session, row.title, row.owner or "", *row.tags)
        wanted = self.text.casefold()
        return (
            (not wanted or any(wanted in text.casefold() for text in texts))
            and self.owner in {"", row.owner}
            and (not self.tag or self.tag in row.tags)
        )


class Found(NamedTuple):
    """A page of sessions.

    Attributes:
        rows: the sessions.
        total: how many fit in all, as far as that is known.
        looked: how many sessions were looked at.
        unseen: whether there are sessions that were not looked at.
        unasked: how many may fit, and were not asked for their status yet.
        following: the sort key to go on behind; None at the end.
        foreign: how many entries were no sessions.
    """

    rows: list[Overview]
    total: int
    looked: int
    unseen: bool
    unasked: int
    following: tuple[int, str] | None
    foreign: int


def key_of(row: Overview) -> tuple[int, str]:
    """By what sessions are sorted: the last written first."""
    return -row.life.updated_ms, row.session


class Index:
    """What is known of the sessions of a store."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._walks = {False: _Walk(NEWEST), True: _Walk(None)}
        self._known: dict[str, tuple[tuple[str, int], Overview]] = {}
        self._lock = Lock()

    def find(self, store: SessionStore, query: Query) -> Found:
        """The sessions that a query asks for; runs in a thread."""
        walk = self._walks[query.whole]
        walked = walk.refresh(store, self._clock)
        with self._lock:
            if walked:
                kept = {row.session for each in self._walks.values() for row in each.rows}
                self._known = {id_: known for id_, known in self._known.items() if id_ in kept}
            rows, unasked = self._fitting(store, walk.rows, query)
            page = rows if query.after is None else [r for r in rows if key_of(r) > query.after]
            shown = self._asked(store, page[:PAGE])
            silent = [row for row in shown if not row.last and row.status != "empty"]
            for row in with_last_messages(store, silent):
                self._known[row.session] = (_version(row), row._replace(last=row.last or " "))
            shown = [self._recall(row) or row for row in shown]
        return Found(
            rows=shown,
            total=len(rows),
            looked=len(walk.rows),
            unseen=walk.unseen,
            unasked=unasked,
            following=key_of(page[PAGE - 1]) if len(page) > PAGE else None,
            foreign=walk.foreign,
        )

    def spoil(self) -> None:
        """Look again when somebody next asks: something was changed here."""
        for walk in self._walks.values():
            walk.spoil()

    def _fitting(
        self, store: SessionStore, rows: Sequence[Overview], query: Query
    ) -> tuple[list[Overview], int]:
        fitting = [row for row in rows if query.fits(row)]
        if not query.status:
            return fitting, 0
        fitting = [row for row in fitting if row.status in {None, query.status}]
        unknown = [row for row in fitting if self._recall(row) is None]
        self._asked(store, unknown[:LOOKS])
        told = [known for row in fitting if (known := self._recall(row)) is not None]
        return [row for row in told if row.status == query.status], max(0, len(unknown) - LOOKS)

    def _recall(self, row: Overview) -> Overview | None:
        """What was asked for before, if the session was not written since; with its notes now."""
        version, known = self._known.get(row.session, (None, row))
        if version != _version(row):
            return None
        return known._replace(life=row.life, title=row.title, owner=row.owner, tags=row.tags)

    def _asked(self, store: SessionStore, rows: Iterable[Overview]) -> list[Overview]:
        """The same with status and size; without those that have gone."""
        rows = list(rows)
        unknown = [row for row in rows if self._recall(row) is None]
        for row in detailed(store, unknown):
            self._known[row.session] = (_version(row), row)
        return [known for row in rows if (known := self._recall(row)) is not None]


def _version(row: Overview) -> tuple[str, int]:
    return row.life.incarnation, row.life.revision


class _Walk:
    """The headers of sessions, of all or of about so many."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._old_at: float | None = None
        self._lock = Lock()
        self.rows: list[Overview] = []
        self.unseen = False
        self.foreign = 0

    def spoil(self) -> None:
        self._old_at = None

    def refresh(self, store: SessionStore, clock: Callable[[], float]) -> bool:
        """Walk if the last walk is old; meanwhile, other callers get what is known, if anything."""
        if self._old_at is not None and clock() < self._old_at:
            return False
        if not self._lock.acquire(blocking=not self.rows):
            return False
        try:
            if self._old_at is None or clock() >= self._old_at:
                self._go(store, clock)
        finally:
            self._lock.release()
        return True

    def _go(self, store: SessionStore, clock: Callable[[], float]) -> None:
        begun = clock()
        rows, walk = headers(store, self._most)
        rows.sort(key=key_of)
        self.rows, self.unseen, self.foreign = rows, not walk.ended, walk.foreign
        self._old_at = clock() + max(_FRESH_S, _SHARE * (clock() - begun))
