"""Pruning on the tables: records, their writes, and rows of the arena that nobody needs then.

Everything here runs inside a transaction and reads no clock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from wren_sessions.records import Committed, Name, Prune, overlaps
from wren_sessions.stores.file import sessions
from wren_sessions.stores.file.cells import Row, length_of
from wren_sessions.stores.file.sessions import Key

_DROP: Final = (
    "DELETE FROM records WHERE sid = ? AND namespace = ? AND id = ?",
    "DELETE FROM writes WHERE sid = ? AND namespace = ? AND id = ?",
)
_DROP_HEADS: Final = """
    DELETE FROM heads WHERE sid = ? AND NOT EXISTS
        (SELECT 1 FROM records r WHERE r.sid = heads.sid AND r.namespace = heads.namespace)"""
_MOVE_HEADS: Final = """
    UPDATE heads SET head = (SELECT max(id) FROM records r
        WHERE r.sid = heads.sid AND r.namespace = heads.namespace)
    WHERE sid = ? AND NOT EXISTS (SELECT 1 FROM records r
        WHERE r.sid = heads.sid AND r.namespace = heads.namespace AND r.id = heads.head)"""
_NAME_HEAD: Final = """
    UPDATE heads SET head = ? WHERE sid = ? AND namespace = ? AND EXISTS (SELECT 1 FROM records r
        WHERE r.sid = heads.sid AND r.namespace = heads.namespace AND r.id = ?)"""
_ANY_HEAD: Final = "SELECT 1 FROM heads WHERE sid = ? LIMIT 1"
_TOUCHED: Final = """
    SELECT pos, length(data) FROM arena
    WHERE pos >= coalesce((SELECT max(pos) FROM arena WHERE pos BETWEEN ? AND ?), ?) AND pos < ?"""
_DROP_ROW: Final = "DELETE FROM arena WHERE pos = ?"
_UPDATE: Final = (
    "UPDATE sessions SET updated_ms = ?, revision = ?, state = coalesce(?, state) WHERE sid = ?"
)


def prune(connection: sqlite3.Connection, prefix: str, prune: Prune, now_ms: int) -> Committed:
    """Drop what is to be dropped, if the session is as it was."""
    row = sessions.find(connection, Key(prefix, prune.session), now_ms)
    if row is None or row.incarnation != prune.incarnation:
        return Committed(outcome="gone", now_ms=now_ms, life=row.life(now_ms) if row else None)
    if row.revision != prune.revision:
        return Committed(outcome="conflict", now_ms=now_ms, life=row.life(now_ms))
    if _drop(connection, row.sid, prune.drop, prune.heads):
        sessions.forget(connection, row.sid)
        return Committed(outcome="done", now_ms=now_ms)
    _free(connection, row, prune)
    row = row._replace(updated_ms=now_ms, revision=row.revision + 1)
    connection.execute(_UPDATE, (row.updated_ms, row.revision, prune.state, row.sid))
    return Committed(outcome="done", now_ms=now_ms, life=row.life(now_ms))


def _drop(
    connection: sqlite3.Connection, sid: int, names: Sequence[Name], heads: Sequence[Name]
) -> bool:
    """Drop records and their writes, and see to the heads; whether the last record went."""
    for statement in _DROP:
        connection.executemany(statement, [(sid, *name) for name in names])
    emptied = connection.execute(_DROP_HEADS, (sid,)).rowcount
    named = [(head, sid, namespace, head) for namespace, head in heads]
    connection.executemany(_NAME_HEAD, named)
    connection.execute(_MOVE_HEADS, (sid,))
    return emptied > 0 and connection.execute(_ANY_HEAD, (sid,)).fetchone() is None


def _free(connection: sqlite3.Connection, row: Row, prune: Prune) -> None:
    start, behind = sessions.arena_bounds(row.sid)
    unused: set[int] = set()
    for span in prune.free:
        first, end = start + span.offset, min(start + span.end, behind)
        for pos, length in connection.execute(_TOUCHED, (start, first, first, end)).fetchall():
            offset = pos - start
            # The last row stays: the next commit may fill it up.
            end_of_row = offset + length_of(length, pos)
            if offset != row.arena_tail and not overlaps(prune.keep, offset, end_of_row):
                unused.add(pos)
    connection.executemany(_DROP_ROW, [(pos,) for pos in sorted(unused)])
