"""The tables of a session file.

==========  =======================================================================================
table       what
==========  =======================================================================================
prefixes    one row per prefix that had a session: the number that sessions refer to it by
sessions    one row per session: its life, its header, where its arena ends
records     one row per checkpoint
heads       one row per namespace: its latest checkpoint
writes      one row per pending write
turns       one row per session that somebody has the turn of, or waits for; see `stores._turns`
notes       one row per session that has an owner, or about which something is noted
arena       the arenas, in rows of about a page. Bytes of session `sid` from `offset` on are in the
            row ``pos = sid << 32 | offset``, so that an arena lies in one piece of the file
==========  =======================================================================================

Measured against one row per append, with 1,000 appends of 850 bytes to each of four sessions:
reading an arena 0.45 ms (0.74), the median append 13 µs (22), the same file size; so short appends
are added to the last row until it fills a page.

`sid` is never used again, also not after a session was deleted. ``sweep_ms`` is when to look
whether a session has expired. It is no later than the deadline, and does not move when the
deadline moves away, so that a commit that renews a session leaves the index alone.

The tables of a new file are STRICT and check their columns, where SQLite is 3.37 or newer. Those of
a file that was upgraded are plain: to make them strict is to write the whole file again.

**Version 1** had no prefixes: a name was one session in the whole file. **Version 2** did not say
what is to be there (`counts`), and had no turns and no notes; what an upgrade adds is NULL in old
rows: not known. A process of an earlier version that still has the file open when it is upgraded
misses a column of `sessions` (`id` or `recent`, which is `tokens` now), and fails before it writes;
when it opens the file again it is told to upgrade.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final, NamedTuple

APPLICATION_ID: Final = int.from_bytes(b"Wren")
VERSION: Final = 3
ARENA_BITS: Final = 32
SESSIONS_PER_FILE: Final = 1 << 63 - ARENA_BITS
UPGRADED: Final = 1
"""The number of the prefix that the sessions of a file of version 1 get."""

STRICT_SINCE: Final = (3, 37)
ARENA_BYTES: Final = 1 << ARENA_BITS
_SPAN_BYTES: Final = 16


class _Table(NamedTuple):
    """A table: its columns and constraints, what a strict one checks besides, and its kind."""

    name: str
    columns: str
    checks: str = ""
    kind: str = ""
    end: str = "\n    "

    def plain(self) -> str:
        """The statement that makes it where there are no strict tables."""
        ending = f" {self.kind}" if self.kind else ""
        return f"CREATE TABLE {self.name} ({self.columns}{self.end}){ending}"

    def strict(self) -> str:
        """The statement that makes it strict."""
        kind = f"{self.kind}, STRICT" if self.kind else "STRICT"
        checks = f",{self.checks}" if self.checks else ""
        return f"CREATE TABLE {self.name} ({self.columns}{checks}{self.end}) {kind}"

    def since_3(self) -> _Table:
        """It in version 3: with its new columns where ALTER TABLE puts them, behind the last."""
        columns = self.columns.replace("recent TEXT", "tokens TEXT")
        last, added = _LAST[self.name], "".join(f", {column}" for column in _ADDED[self.name])
        return self._replace(columns=columns.replace(last, f"{last}{added}"))


_ADDED: Final = {
    "sessions": ("namespaces INTEGER CHECK (namespaces >= 0)", "log INTEGER CHECK (log >= 0)"),
    "records": ("lower INTEGER CHECK (lower >= 0)",),
    "heads": ("records INTEGER CHECK (records >= 0)", "log INTEGER CHECK (log >= 0)"),
}
"""The columns that version 3 has brought, which `counts` explains."""

_LAST: Final = {
    "sessions": "state BLOB NOT NULL",
    "records": "body BLOB NOT NULL",
    "heads": "made INTEGER NOT NULL",
}
"""The last column of each of these tables in version 2."""


_PREFIXES: Final = _Table(
    "prefixes",
    """
        number INTEGER PRIMARY KEY,
        prefix TEXT NOT NULL UNIQUE""",
)
_SESSIONS_2: Final = _Table(
    "sessions",
    f"""
        sid INTEGER PRIMARY KEY AUTOINCREMENT CHECK (sid < {SESSIONS_PER_FILE}),
        prefix INTEGER NOT NULL, -- the number of its prefix
        name TEXT NOT NULL, -- its id
        incarnation TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        deadline_ms INTEGER, -- NULL: never
        sweep_ms INTEGER,
        own_idle ANY, -- milliseconds, 'none', or NULL: as the policy says
        pinned INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        arena_end INTEGER NOT NULL CHECK (arena_end <= {ARENA_BYTES}),
        arena_tail INTEGER NOT NULL, -- where the last row of the arena starts
        recent TEXT NOT NULL, -- tokens of the last commits without a record, the last one first
        state BLOB NOT NULL,
        UNIQUE (prefix, name)""",
    """
        CHECK (sid > 0),
        CHECK (own_idle IS NULL OR own_idle = 'none' OR typeof(own_idle) = 'integer'),
        CHECK (pinned IN (0, 1)),
        CHECK (revision >= 0),
        CHECK (arena_tail BETWEEN 0 AND arena_end)""",
)
_PARTS: Final = (
    _Table(
        "arena",
        "pos INTEGER PRIMARY KEY, data BLOB NOT NULL",
        f" CHECK (pos >= {ARENA_BYTES})\n    ",
        end="",
    ),
    _Table(
        "records",
        """
        sid INTEGER NOT NULL,
        namespace TEXT NOT NULL,
        id TEXT NOT NULL,
        token TEXT NOT NULL,
        base INTEGER NOT NULL,
        spans BLOB NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (sid, namespace, id)""",
        f"""
        CHECK (base BETWEEN 0 AND {ARENA_BYTES}),
        CHECK (length(spans) % {_SPAN_BYTES} = 0)""",
    ),
    _Table(
        "heads",
        """
        sid INTEGER NOT NULL,
        namespace TEXT NOT NULL,
        head TEXT NOT NULL,
        made INTEGER NOT NULL, -- the revision that brought the namespace
        PRIMARY KEY (sid, namespace)""",
        kind="WITHOUT ROWID",
    ),
    _Table(
        "writes",
        """
        sid INTEGER NOT NULL,
        namespace TEXT NOT NULL,
        id TEXT NOT NULL,
        key TEXT NOT NULL,
        spans BLOB NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (sid, namespace, id, key)""",
        f"""
        CHECK (length(spans) % {_SPAN_BYTES} = 0)""",
    ),
)
INDEX: Final = "CREATE INDEX sessions_to_sweep ON sessions (sweep_ms) WHERE sweep_ms IS NOT NULL"


_SESSIONS_1: Final = _Table(
    "sessions",
    f"""
        sid INTEGER PRIMARY KEY AUTOINCREMENT CHECK (sid < {SESSIONS_PER_FILE}),
        id TEXT NOT NULL UNIQUE,
        incarnation TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        deadline_ms INTEGER, -- NULL: never
        sweep_ms INTEGER,
        own_idle, -- milliseconds, 'none', or NULL: as the policy says
        pinned INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        arena_end INTEGER NOT NULL CHECK (arena_end <= {ARENA_BYTES}),
        arena_tail INTEGER NOT NULL, -- where the last row of the arena starts
        recent TEXT NOT NULL, -- tokens of the last commits without a record, the last one first
        state BLOB NOT NULL""",
)

_NEW_TABLES: Final = (
    _Table(
        "turns",
        """
        sid INTEGER PRIMARY KEY,
        line TEXT NOT NULL""",
    ),
    _Table(
        "notes",
        """
        sid INTEGER PRIMARY KEY,
        prefix INTEGER NOT NULL, -- of its session, as is the name, and when it was written
        owner TEXT, -- NULL: nobody
        updated_ms INTEGER NOT NULL,
        name TEXT NOT NULL,
        about BLOB NOT NULL,
        UNIQUE (prefix, owner, updated_ms, name)""",
    ),
)
_VERSION_2: Final = (_PREFIXES, _SESSIONS_2, *_PARTS)
_TABLES: Final = (
    *(table.since_3() if table.name in _ADDED else table for table in _VERSION_2),
    *_NEW_TABLES,
)


def _forms(tables: Iterable[_Table]) -> dict[str, frozenset[str]]:
    return {table.name: frozenset({table.plain(), table.strict()}) for table in tables}


TABLES: Final[dict[int, dict[str, frozenset[str]]]] = {
    1: {table.name: frozenset({table.plain()}) for table in (_SESSIONS_1, *_PARTS)},
    2: _forms(_VERSION_2),
    VERSION: _forms(_TABLES),
}
"""By version and name, the statements that can have made a table."""

INDEX_NAME: Final = "sessions_to_sweep"


def _make(table: _Table) -> str:
    return table.strict() if sqlite3.sqlite_version_info >= STRICT_SINCE else table.plain()


SCHEMA: Final = (
    *map(_make, _TABLES),
    INDEX,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)
"""Makes the tables of a new file."""

UPGRADES: Final[dict[int, tuple[str, ...]]] = {
    1: (
        "DROP INDEX sessions_to_sweep",
        "ALTER TABLE sessions RENAME TO sessions_1",
        _PREFIXES.plain(),
        _SESSIONS_2.plain(),
        """INSERT INTO sessions (sid, prefix, name, incarnation, created_ms, updated_ms,
                deadline_ms, sweep_ms, own_idle, pinned, revision, arena_end, arena_tail, recent,
                state)
            SELECT sid, 1, id, incarnation, created_ms, updated_ms, deadline_ms,
                sweep_ms, own_idle, pinned, revision, arena_end, arena_tail, recent, state
            FROM sessions_1""",
        "DELETE FROM sqlite_sequence WHERE name = 'sessions'",
        "UPDATE sqlite_sequence SET name = 'sessions' WHERE name = 'sessions_1'",  # no sid again
        "DROP TABLE sessions_1",
        INDEX,
    ),
    2: (
        "ALTER TABLE sessions RENAME COLUMN recent TO tokens",
        *(
            f"ALTER TABLE {table} ADD COLUMN {column}"
            for table, added in _ADDED.items()
            for column in added
        ),
        *(table.plain() for table in _NEW_TABLES),
        f"PRAGMA user_version = {VERSION}",
    ),
}
"""By version, what makes a file of it one of the next; sessions of version 1 get `UPGRADED`."""
