"""One session of a file as a session file of its own, with its rows unchanged, even damaged ones.

Every cell is copied by its type and bytes. So text that is not UTF-8, and types that a strict table
refuses, are copied as they are. The tables of the copy are plain ones.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any, Final

from wren_sessions.records import Name
from wren_sessions.stores.file.schema import APPLICATION_ID, ARENA_BITS, INDEX, TABLES, VERSION
from wren_sessions.stores.file.sessions import Key, find_sid

_CASTS: Final = {
    "null": "?",
    "blob": "?",
    "text": "CAST(? AS TEXT)",
    "integer": "CAST(CAST(? AS TEXT) AS INTEGER)",
    "real": "CAST(CAST(? AS TEXT) AS REAL)",
}
_NOT_COUNTED: Final = """
    SELECT 1 FROM sessions WHERE sid = ? AND (namespaces IS NULL OR log IS NULL)
    UNION ALL SELECT 1 FROM heads WHERE sid = ? AND (records IS NULL OR log IS NULL)
    UNION ALL SELECT 1 FROM records WHERE sid = ? AND lower IS NULL LIMIT 1"""
_PARTS: Final = ("records", "heads", "writes", "notes")


def dump(connection: sqlite3.Connection, key: Key, now_ms: int) -> bytes | None:
    """The bytes of a session file with one session; None if it is not there."""
    sid = find_sid(connection, key, now_ms)
    if sid is None:
        return None
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        copy.execute("PRAGMA ignore_check_constraints = ON")
        _schema(copy)
        _rows(connection, copy, "prefixes", "prefix = ?", key.prefix)
        _rows(connection, copy, "sessions", "sid = ?", sid)
        for table in _PARTS:
            _rows(connection, copy, table, "sid = ?", sid)
        first = sid << ARENA_BITS
        _rows(
            connection, copy, "arena", "pos BETWEEN ? AND ?", first, first + (1 << ARENA_BITS) - 1
        )
        return copy.serialize()


def names(connection: sqlite3.Connection, key: Key, now_ms: int) -> tuple[Name, ...]:
    """The names of a session's records; none of those that are no text."""
    sid = find_sid(connection, key, now_ms)
    statement = "SELECT namespace, id FROM records WHERE sid = ? ORDER BY namespace, id"
    found = connection.execute(statement, (sid,)).fetchall()
    return tuple((ns, id_) for ns, id_ in found if type(ns) is type(id_) is str)


def counted(connection: sqlite3.Connection, key: Key, now_ms: int) -> bool:
    """Whether no row of a session lacks a number that `counts` explains."""
    sid = find_sid(connection, key, now_ms)
    return connection.execute(_NOT_COUNTED, (sid, sid, sid)).fetchone() is None


def _schema(copy: sqlite3.Connection) -> None:
    """Make the tables as plain ones: they take what a strict one refuses."""
    for forms in TABLES[VERSION].values():
        copy.execute(next(form for form in forms if not form.endswith("STRICT")))
    copy.execute(INDEX)
    copy.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    copy.execute(f"PRAGMA user_version = {VERSION}")


def _rows(
    connection: sqlite3.Connection, copy: sqlite3.Connection, table: str, where: str, *args: Any
) -> None:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    wanted = ", ".join(f"typeof({column}), CAST({column} AS BLOB)" for column in columns)
    statement = f"SELECT {wanted} FROM {table} WHERE {where}"  # noqa: S608 -- our own names
    for cells in connection.execute(statement, args):
        casts = ", ".join(_CASTS[kind] for kind in cells[::2])
        names = ", ".join(columns)
        copy.execute(f"INSERT INTO {table} ({names}) VALUES ({casts})", cells[1::2])  # noqa: S608
