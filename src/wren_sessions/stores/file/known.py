"""What this process wrote last to each session, so that its next commit need not ask for it.

Asking takes one statement, and about 20 µs of a commit's 300 to 400. But the commit before has just
written the answer. So the writer's connection remembers it. It counts as long as nobody has changed
the file in between:

- Another connection, of this process or of another one: SQLite's ``data_version`` is different
  then. It is read inside the transaction, when nobody else can write any more.
- This connection, by anything but a commit (a prune, a turn, a sweep, …): ``total_changes``, the
  number of rows that it has changed, is not what it was after the last commit.
- A transaction that was rolled back, or came to an unknown end: nobody called `committed`.

In each of these cases everything is forgotten, and the next commit asks.
"""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

from wren_sessions.stores.file.cells import Row
from wren_sessions.stores.file.sessions import Key

_MOST: Final = 1_024


class Remembered(NamedTuple):
    """A session as it is in the file.

    Attributes:
        row: its row.
        head: the latest checkpoint of its root namespace, which has the highest id of them.
        early: the highest id of those above, of which there are pending writes already; None if
            there are none.
        turn: whose turn it is to write the session; None for nobody's.
        owner: whose it is; None for nobody's.
    """

    row: Row
    head: str
    early: str | None
    turn: str | None
    owner: str | None


class Known:
    """What the writer's connection knows of sessions; used inside a write transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._sessions: dict[Key, Remembered] = {}
        self._version = self._data_version()
        self._changes = 0
        self._open = False

    def begun(self) -> None:
        """A transaction has begun."""
        if self._open:  # what the last one wrote may not be in the file
            self._sessions.clear()
        self._open = True

    def committed(self) -> None:
        """The transaction is in the file."""
        self._open = False

    def of(self, key: Key) -> Remembered | None:
        """A session as this connection wrote it; None if something else has written since."""
        if self._connection.total_changes != self._changes:
            self._sessions.clear()
        return self._sessions.get(key)

    def holds(self) -> bool:
        """Whether no other connection has written since; this takes a statement."""
        version, before = self._data_version(), self._version
        if version != before:
            self._version = version
            self._sessions.clear()
        return version == before

    def keep(self, key: Key, latest: Remembered | None) -> None:
        """Remember how a commit left a session; None for what the next one has to ask for."""
        if latest is None:
            self._sessions.pop(key, None)
        else:
            if len(self._sessions) >= _MOST:
                self._sessions.clear()
            self._sessions[key] = latest
        self._changes = self._connection.total_changes

    def _data_version(self) -> int:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)
