"""Copying a session on the tables. Inside a transaction; reads no clock."""

from __future__ import annotations

import secrets
import sqlite3

from wren_sessions.records import Life, Seen
from wren_sessions.stores._copies import Copy
from wren_sessions.stores.file import noting, sessions
from wren_sessions.stores.file.sessions import Key
from wren_sessions.ttl import TTLPolicy


def copy(
    connection: sqlite3.Connection, prefix: str, copy: Copy, policy: TTLPolicy, now_ms: int
) -> Life | None:
    """Copy a session, whole; see `SessionStore.copy`."""
    row = sessions.find(connection, Key(prefix, copy.source), now_ms)
    if row is None:
        return None
    there = sessions.find_any(connection, Key(prefix, copy.target))
    target = there.life(now_ms) if there and there.alive(now_ms) else None
    if there and target and isinstance(copy.replace, Seen):
        target = Seen.of(target, there.own_idle, noting.find(connection, there.sid))
    copy.check(row.life(now_ms), target)
    row = row._replace(
        incarnation=secrets.token_hex(8),
        updated_ms=now_ms,
        deadline_ms=row.deadline(policy, now_ms),
    )
    if not row.alive(now_ms):
        raise copy.too_old(policy)
    if there:
        sessions.forget(connection, there.sid)
    sessions.copy(connection, row, copy.target, copy.state)
    return row.life(now_ms)
