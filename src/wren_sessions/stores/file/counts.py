"""Counts of what a session should contain, so that a missing row is noticed.

Without them, a row that was lost would look as if it had never been there. A commit writes these
numbers into rows that it writes anyway. NULL means not known, as in rows of earlier versions:

=====================  ============================================================================
column                 what
=====================  ============================================================================
sessions.namespaces    how many rows of `heads` it has
heads.records          how many checkpoints the namespace has
heads.log              the sum of the pending writes of the namespace's latest checkpoint
sessions.log           the same for the root namespace, whose `heads.log` is ignored
records.lower          the next lower checkpoint of the namespace: a mark of its id, and the present
                       sum of its pending writes; 0 if there is none
=====================  ============================================================================

The **sum** of pending writes adds up a CRC-32 of each key. (Bodies have checksums of their own.) So
a commit that adds a write updates the sum without reading the other writes. Writes that came before
their checkpoint are summed up when it comes. The writes of a graph nearly always belong to the
latest checkpoint of its root namespace, so they change no row besides the session's own.

The sum is not known for a checkpoint that is the highest of its namespace but not the latest, which
happens if two clocks differ.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from wren_sessions.records import Name
from wren_sessions.stores.file.cells import MASK, Row, damaged, name_of, number, weight

_WRITES: Final = """
    SELECT key FROM writes WHERE sid = ? AND namespace = ? AND id = ?"""
_RECORDS: Final = "SELECT count(*) FROM records WHERE sid = ? AND namespace = ?"
_NAMESPACES: Final = "SELECT count(*) FROM heads WHERE sid = ?"


def summed(connection: sqlite3.Connection, sid: int, name: Name) -> int:
    """The sum of a checkpoint's writes as they are."""
    keys = connection.execute(_WRITES, (sid, *name)).fetchall()
    return sum([weight(name_of(key, name[1], "writes", "key")) for (key,) in keys]) & MASK


def count_namespaces(connection: sqlite3.Connection, row: Row) -> None:
    """Make sure that a namespace which is not there never was."""
    if row.namespaces is not None:
        found = number(connection, _NAMESPACES, row.sid)
        if found != row.namespaces:
            damaged("heads", row.sid, f"there are {found} namespaces, and were {row.namespaces}")


def all_records(
    connection: sqlite3.Connection, sid: int, namespace: str, count: int | None
) -> bool:
    """Whether no record of a namespace is gone; yes where `count`, of its head, is not known."""
    return count is None or number(connection, _RECORDS, sid, namespace) == count
