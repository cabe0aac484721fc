"""What there is to be of a session, so that a row which is gone is no miss.

A commit writes these numbers into rows that it writes anyway; NULL is not known, as in what an
earlier version wrote:

=====================  ============================================================================
column                 what
=====================  ============================================================================
sessions.namespaces    how many rows of `heads` it has
heads.records          how many checkpoints the namespace has
heads.log              the sum of the pending writes of the namespace's latest checkpoint
sessions.log           the same of the root namespace, whose `heads.log` is not looked at
records.lower          what the next lower checkpoint of the namespace is: a mark of its id, and the
                       sum of its pending writes, as it is now; 0 where there is none
=====================  ============================================================================

The **sum** of pending writes adds up a CRC-32 of the key of each, whose body has a checksum of its
own. So it is kept up to date by whoever adds one, without reading the others. Those that came
before their checkpoint are summed up when it comes. A graph's writes are nearly always of its root
namespace's latest checkpoint, so that they cost no row besides the session's own.

Not known is the sum of a checkpoint that is the highest of its namespace and not the latest: two
clocks differed.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from wren_sessions.records import Name
from wren_sessions.stores.file.cells import MASK, Row, damaged, name_of, weight

_WRITES: Final = """
    SELECT key FROM writes WHERE sid = ? AND namespace = ? AND id = ?"""
_RECORDS: Final = "SELECT count(*) FROM records WHERE sid = ? AND namespace = ?"
_NAMESPACES: Final = "SELECT count(*) FROM heads WHERE sid = ?"


def summed(connection: sqlite3.Connection, sid: int, name: Name) -> int:
    """The sum of a checkpoint's writes as they are."""
    keys = connection.execute(_WRITES, (sid, *name)).fetchall()
    return sum([weight(name_of(key, name[1], "writes", "key")) for (key,) in keys]) & MASK


def count_namespaces(connection: sqlite3.Connection, row: Row) -> None:
    """Make sure that a namespace which is not there never was.

    Raises:
        DamagedError: some namespace is gone.
    """
    if row.namespaces is not None:
        (found,) = connection.execute(_NAMESPACES, (row.sid,)).fetchone()
        if found != row.namespaces:
            damaged("heads", row.sid, f"there are {found} namespaces, and were {row.namespaces}")


def all_records(
    connection: sqlite3.Connection, sid: int, namespace: str, count: int | None
) -> bool:
    """Whether no record of a namespace is gone; yes where `count`, of its head, is not known."""
    if count is None:
        return True
    (found,) = connection.execute(_RECORDS, (sid, namespace)).fetchone()
    return bool(found == count)
