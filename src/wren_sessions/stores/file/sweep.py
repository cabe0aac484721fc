"""Sweeping: removing expired sessions and giving free pages back, a little with each commit.

An expired session is a miss from its deadline on; sweeping is only about space. Writers do it, in
the transaction of a commit, at most once a second by the store's clock unless there is more to do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

from wren_sessions.stores.file import sessions
from wren_sessions.stores.file.cells import number

_PAUSE_MS: Final = 1_000
_ROWS: Final = 1_000  # a sweep ends when it has removed so many, and goes on with the next commit
_SESSIONS: Final = 64
_PAGES: Final = 256
_KEPT_PAGES: Final = 256  # free pages that are left to be used again, …
_KEPT_PART: Final = 8  # … or this part of the file, if that is more

_PUT_OFF: Final = """
    UPDATE sessions SET sweep_ms = deadline_ms
    WHERE sweep_ms <= ? AND (deadline_ms IS NULL OR deadline_ms > ?)"""
_DUE: Final = "SELECT sid FROM sessions WHERE sweep_ms <= ? ORDER BY sweep_ms LIMIT ?"


class Sweeper:
    """Knows when to sweep."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._swept_ms: int | None = None

    def due(self) -> Callable[[sqlite3.Connection], None] | None:
        """The sweep, if it is time for it."""
        swept_ms = self._swept_ms
        if swept_ms is not None and abs(self._clock() - swept_ms) < _PAUSE_MS:
            return None
        return self.sweep

    def sweep(self, connection: sqlite3.Connection) -> None:
        """Remove some expired sessions and give back some free pages."""
        now_ms = self._clock()
        self._swept_ms = now_ms if remove_expired(connection, now_ms) else None
        self.shrink(connection)

    def shrink(self, connection: sqlite3.Connection) -> None:
        """Give back some free pages; if there are more, the next commit goes on with it."""
        free = number(connection, "PRAGMA freelist_count")
        kept = max(_KEPT_PAGES, number(connection, "PRAGMA page_count") // _KEPT_PART)
        for _ in range(min(free - kept, _PAGES)):
            connection.execute("PRAGMA incremental_vacuum(1)")  # the driver takes only one step
        if free > kept + _PAGES:
            self._swept_ms = None


def remove_expired(connection: sqlite3.Connection, now_ms: int) -> bool:
    """Remove expired sessions, oldest first; whether that was all."""
    connection.execute(_PUT_OFF, (now_ms, now_ms))
    due = connection.execute(_DUE, (now_ms, _SESSIONS)).fetchall()
    enough = connection.total_changes + _ROWS
    for at, (sid,) in enumerate(due, start=1):
        sessions.forget(connection, sid)
        if connection.total_changes >= enough:
            return at == len(due) < _SESSIONS
    return len(due) < _SESSIONS
