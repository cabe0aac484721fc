"""The tables of a session file.

==========  =======================================================================================
table       what
==========  =======================================================================================
sessions    one row per session: its life, its header, where its arena ends
records     one row per checkpoint
heads       one row per namespace: its latest checkpoint
writes      one row per pending write
arena       the arenas, in rows of about a page. Bytes of session `sid` from `offset` on are in the
            row ``pos = sid << 32 | offset``, so that an arena lies in one piece of the file
==========  =======================================================================================

Measured against one row per append, with 1,000 appends of 850 bytes to each of four sessions:
reading an arena 0.45 ms (0.74), the median append 13 µs (22), the same file size; so short appends
are added to the last row until it fills a page.

`sid` is never used again, also not after a session was deleted. ``sweep_ms`` is when to look
whether a session has expired. It is no later than the deadline, and does not move when the
deadline moves away, so that a commit that renews a session leaves the index alone.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = int.from_bytes(b"Wren")
VERSION: Final = 1
ARENA_BITS: Final = 32

SCHEMA: Final = (
    f"""CREATE TABLE sessions (
        sid INTEGER PRIMARY KEY AUTOINCREMENT CHECK (sid < {1 << 63 - ARENA_BITS}),
        id TEXT NOT NULL UNIQUE,
        incarnation TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        deadline_ms INTEGER, -- NULL: never
        sweep_ms INTEGER,
        own_idle, -- milliseconds, 'none', or NULL: as the policy says
        pinned INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        arena_end INTEGER NOT NULL CHECK (arena_end <= {1 << ARENA_BITS}),
        arena_tail INTEGER NOT NULL, -- where the last row of the arena starts
        recent TEXT NOT NULL, -- tokens of the last commits without a record, the last one first
        state BLOB NOT NULL
    )""",
    "CREATE INDEX sessions_to_sweep ON sessions (sweep_ms) WHERE sweep_ms IS NOT NULL",
    "CREATE TABLE arena (pos INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    """CREATE TABLE records (
        sid INTEGER NOT NULL,
        namespace TEXT NOT NULL,
        id TEXT NOT NULL,
        token TEXT NOT NULL,
        base INTEGER NOT NULL,
        spans BLOB NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (sid, namespace, id)
    )""",
    """CREATE TABLE heads (
        sid INTEGER NOT NULL,
        namespace TEXT NOT NULL,
        head TEXT NOT NULL,
        made INTEGER NOT NULL, -- the revision that brought the namespace
        PRIMARY KEY (sid, namespace)
    ) WITHOUT ROWID""",
    """CREATE TABLE writes (
        sid INTEGER NOT NULL,
        namespace TEXT NOT NULL,
        id TEXT NOT NULL,
        key TEXT NOT NULL,
        spans BLOB NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (sid, namespace, id, key)
    )""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)
