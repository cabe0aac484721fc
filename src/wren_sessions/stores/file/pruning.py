"""Pruning on the tables: deletes records, their writes, and rows of the arena that are not needed.

Everything here runs inside a transaction and reads no clock.
"""

from __future__ import annotations

import secrets
import sqlite3
from itertools import pairwise
from typing import Final

from wren_sessions.records import Committed, Prune, overlaps
from wren_sessions.stores.file import sessions
from wren_sessions.stores.file.cells import Row, count_of, length_of, link, name_of
from wren_sessions.stores.file.counts import summed
from wren_sessions.stores.file.sessions import Key

_RECORDS: Final = "SELECT id, lower FROM records WHERE sid = ? AND namespace = ? ORDER BY id"
_HEAD: Final = "SELECT head, log FROM heads WHERE sid = ? AND namespace = ?"
_DROP: Final = (
    "DELETE FROM records WHERE sid = ? AND namespace = ? AND id = ?",
    "DELETE FROM writes WHERE sid = ? AND namespace = ? AND id = ?",
)
_DROP_WAITING: Final = "DELETE FROM writes WHERE sid = ? AND namespace = ? AND id < ?"
_LINK: Final = "UPDATE records SET lower = ? WHERE sid = ? AND namespace = ? AND id = ?"
_DROP_HEAD: Final = "DELETE FROM heads WHERE sid = ? AND namespace = ?"
_SET_HEAD: Final = """
    UPDATE heads SET head = ?, log = ?, records = records - ? WHERE sid = ? AND namespace = ?"""
_ANY_HEAD: Final = "SELECT 1 FROM heads WHERE sid = ? LIMIT 1"
_TOUCHED: Final = """
    SELECT pos, length(data) FROM arena
    WHERE pos >= coalesce((SELECT max(pos) FROM arena WHERE pos BETWEEN ? AND ?), ?) AND pos < ?"""
_DROP_ROW: Final = "DELETE FROM arena WHERE pos = ?"
_UPDATE: Final = (
    "UPDATE sessions SET incarnation = ?, updated_ms = ?, revision = ?, namespaces = ?, log = ?, "
    "state = coalesce(?, state) WHERE sid = ?"
)


def prune(connection: sqlite3.Connection, prefix: str, prune: Prune, now_ms: int) -> Committed:
    """Drop what is to be dropped, if the session is as it was."""
    row = sessions.find(connection, Key(prefix, prune.session), now_ms)
    if row is None or row.incarnation != prune.incarnation:
        return Committed(outcome="gone", now_ms=now_ms, life=row.life(now_ms) if row else None)
    if row.revision != prune.revision:
        return Committed(outcome="conflict", now_ms=now_ms, life=row.life(now_ms))
    drops: dict[str, set[str]] = {namespace: set() for namespace, _ in prune.heads}
    for namespace, checkpoint_id in prune.drop:
        drops.setdefault(namespace, set()).add(checkpoint_id)
    emptied, log = 0, row.log
    for namespace, ids in drops.items():
        gone, own = _drop(connection, row, namespace, ids, dict(prune.heads).get(namespace))
        emptied, log = emptied + gone, own if namespace == "" else log
    if emptied and connection.execute(_ANY_HEAD, (row.sid,)).fetchone() is None:
        sessions.forget(connection, row.sid)
        return Committed(outcome="done", now_ms=now_ms)
    _free(connection, row, prune)
    left = None if row.namespaces is None else row.namespaces - emptied
    row = row._replace(updated_ms=now_ms, revision=row.revision + 1, namespaces=left, log=log)
    if prune.renew:
        row = row._replace(incarnation=secrets.token_hex(8))
    values = (row.incarnation, now_ms, row.revision, left, log, prune.state, row.sid)
    connection.execute(_UPDATE, values)
    return Committed(outcome="done", now_ms=now_ms, life=row.life(now_ms))


def _drop(
    connection: sqlite3.Connection, row: Row, namespace: str, ids: set[str], named: str | None
) -> tuple[bool, int | None]:
    """Drop records of a namespace, and see to its head and to what its records say of each other.

    Returns:
        Whether its last record went, and the sum of the writes of its head.
    """
    place = (row.sid, namespace)
    found = connection.execute(_RECORDS, place).fetchall()
    kept = [at for at, (id_, _) in enumerate(found) if name_of(id_, row.sid) not in ids]
    leads = connection.execute(_HEAD, place).fetchone()
    for statement in _DROP:
        connection.executemany(statement, [(*place, id_) for id_ in ids])
    if not found or leads is None:
        return False, row.log
    if ids:  # of records that never came, and would lie below all that are left
        connection.execute(_DROP_WAITING, (*place, found[kept[0] if kept else -1][0]))
    if not kept:
        connection.execute(_DROP_HEAD, place)
        return True, 0
    for before, at in pairwise((-1, *kept)):
        if at != before + 1:  # it says of the next lower one what the one above that has said
            lower = 0 if before < 0 else found[before + 1][1]
            connection.execute(_LINK, (lower, *place, found[at][0]))
    head, log = leads
    left: list[str] = [found[at][0] for at in kept]
    after = next((id_ for id_ in (named or head, head) if id_ in left), left[-1])
    log = row.log if namespace == "" else count_of(log, row.sid, "heads", "log")
    if after != head:
        if head in left[:-1]:
            above = left[left.index(head) + 1]
            connection.execute(_LINK, (link(head, log), *place, above))
        log = summed(connection, row.sid, (namespace, after))
    connection.execute(_SET_HEAD, (after, log, len(found) - len(kept), *place))
    return False, log


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
