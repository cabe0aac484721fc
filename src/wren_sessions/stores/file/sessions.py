"""The rows of sessions: finding one, its life, making, copying and removing it.

Everything here runs inside a transaction and reads no clock.
"""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

from wren_sessions.stores.file.cells import Row, row_of
from wren_sessions.stores.file.schema import ARENA_BITS, SESSIONS_PER_FILE
from wren_sessions.ttl import past


def select(rest: str) -> str:
    """A statement whose rows begin with the columns of `Row`; `rest` names more, and ``FROM``."""
    return (
        "SELECT s.sid, s.incarnation, s.created_ms, s.updated_ms, s.deadline_ms, s.sweep_ms, "
        f"s.own_idle, s.pinned, s.revision, s.arena_end, s.arena_tail, s.tokens, "
        f"s.namespaces, s.log, {rest}"
    )


OF_PREFIX: Final = "s.prefix = (SELECT number FROM prefixes WHERE prefix = ?)"
"""The condition that sessions `s` are those of a prefix."""

OF_KEY: Final = f"{OF_PREFIX} AND s.name = ?"
"""The condition that a session `s` is the one of a `Key`."""

_FIND: Final = select(f"s.name FROM sessions s WHERE {OF_KEY}")
_FIND_SID: Final = f"SELECT s.sid, s.deadline_ms FROM sessions s WHERE {OF_KEY}"  # noqa: S608
_MAKE: Final = """
    INSERT INTO sessions (prefix, name, incarnation, created_ms, updated_ms, pinned, revision,
        arena_end, arena_tail, tokens, state, namespaces, log)
    SELECT number, ?, ?, ?, 0, 0, 0, 0, 0, '', x'', 0, 0 FROM prefixes WHERE prefix = ?"""
_MAKE_PREFIX: Final = "INSERT INTO prefixes (prefix) VALUES (?)"
_RENEW: Final = "UPDATE sessions SET deadline_ms = ?, own_idle = ?, pinned = ? WHERE sid = ?"
_SWEEP_AT: Final = "UPDATE sessions SET sweep_ms = ? WHERE sid = ?"
_COPY: Final = """
    INSERT INTO sessions (prefix, name, incarnation, created_ms, updated_ms, deadline_ms, sweep_ms,
        own_idle, pinned, revision, arena_end, arena_tail, tokens, state, namespaces, log)
    SELECT prefix, ?, ?, created_ms, ?, ?, ?, own_idle, pinned, revision, arena_end, arena_tail,
        tokens, coalesce(?, state), namespaces, log
    FROM sessions WHERE sid = ?"""
_COPY_NOTES: Final = """
    INSERT INTO notes (sid, prefix, owner, updated_ms, name, about)
    SELECT ?, prefix, owner, ?, ?, about FROM notes WHERE sid = ?"""
_STAMP: Final = "UPDATE sessions SET updated_ms = ? WHERE sid = ?"
_COPY_ARENA: Final = "INSERT INTO arena SELECT pos + ?, data FROM arena WHERE pos >= ? AND pos < ?"
_COPY_PARTS: Final = (
    """INSERT INTO records (sid, namespace, id, token, base, spans, body, lower)
       SELECT ?, namespace, id, token, base, spans, body, lower FROM records WHERE sid = ?""",
    """INSERT INTO heads (sid, namespace, head, made, records, log)
       SELECT ?, namespace, head, made, records, log FROM heads WHERE sid = ?""",
    """INSERT INTO writes (sid, namespace, id, key, spans, body)
       SELECT ?, namespace, id, key, spans, body FROM writes WHERE sid = ? ORDER BY rowid""",
)
_FORGET_ARENA: Final = "DELETE FROM arena WHERE pos >= ? AND pos < ?"
_FORGET_PARTS: Final = (
    "DELETE FROM records WHERE sid = ?",
    "DELETE FROM heads WHERE sid = ?",
    "DELETE FROM writes WHERE sid = ?",
    "DELETE FROM turns WHERE sid = ?",
    "DELETE FROM notes WHERE sid = ?",
    "DELETE FROM sessions WHERE sid = ?",
)


class Key(NamedTuple):
    """What a session is found by: its prefix, and its id."""

    prefix: str
    session: str


def check_writable(connection: sqlite3.Connection) -> None:
    """Raise what SQLite raises if the file cannot be written; ``BEGIN IMMEDIATE`` may not."""
    connection.execute("DELETE FROM sessions WHERE sid < 0")


def find(connection: sqlite3.Connection, key: Key, now_ms: int) -> Row | None:
    """A session's row, or None if it is not there or has expired."""
    row = find_any(connection, key)
    return row if row and row.alive(now_ms) else None


def find_any(connection: sqlite3.Connection, key: Key) -> Row | None:
    """A session's row, also of one that has expired and not been swept yet."""
    found = connection.execute(_FIND, key).fetchone()
    return row_of(found[:-1]) if found else None


def find_sid(connection: sqlite3.Connection, key: Key, now_ms: int) -> int | None:
    """A session's number, also where its row is damaged, so that it can be deleted."""
    found = connection.execute(_FIND_SID, key).fetchone()
    if found is None:
        return None
    sid, deadline_ms = found
    return None if isinstance(deadline_ms, int) and past(deadline_ms, now_ms) else sid


def make(connection: sqlite3.Connection, key: Key, incarnation: str, created_ms: int) -> Row:
    """Make a session that holds nothing and has no deadline yet."""
    values = (key.session, incarnation, created_ms, key.prefix)
    made = connection.execute(_MAKE, values)
    if made.rowcount == 0:  # it is the first one of its prefix
        connection.execute(_MAKE_PREFIX, (key.prefix,))
        made = connection.execute(_MAKE, values)
    return Row(
        sid=made.lastrowid or 0,
        incarnation=incarnation,
        created_ms=created_ms,
        updated_ms=0,
        deadline_ms=None,
        sweep_ms=None,
        own_idle=None,
        pinned=0,
        revision=0,
        arena_end=0,
        arena_tail=0,
        tokens="",
        namespaces=0,
        log=0,
    )


def renew(connection: sqlite3.Connection, row: Row) -> None:
    """Write a row's deadline, own idle timeout and pin."""
    connection.execute(_RENEW, (row.deadline_ms, row.own_idle, row.pinned, row.sid))
    sweep_in_time(connection, row)


def sweep_in_time(connection: sqlite3.Connection, row: Row) -> Row:
    """Have a session looked at no later than its deadline; its row is returned as it is then."""
    deadline_ms, sweep_ms = row.deadline_ms, row.sweep_ms
    if deadline_ms is None or (sweep_ms is not None and sweep_ms <= deadline_ms):
        return row
    connection.execute(_SWEEP_AT, (deadline_ms, row.sid))
    return row._replace(sweep_ms=deadline_ms)


def copy(connection: sqlite3.Connection, row: Row, target: str, state: bytes | None) -> None:
    """Copy a session, whole, to an id of the same prefix that is not there.

    The row is the source's, with the incarnation, time of writing and deadline of the copy.
    """
    life = (row.incarnation, row.updated_ms, row.deadline_ms, row.deadline_ms)
    sid = connection.execute(_COPY, (target, *life, state, row.sid)).lastrowid or 0
    shift = sid - row.sid << ARENA_BITS
    connection.execute(_COPY_ARENA, (shift, *arena_bounds(row.sid)))
    for statement in _COPY_PARTS:
        connection.execute(statement, (sid, row.sid))
    connection.execute(_COPY_NOTES, (sid, row.updated_ms, target, row.sid))


def stamp(connection: sqlite3.Connection, sid: int, now_ms: int) -> None:
    """Note that a session was written, where no commit does."""
    connection.execute(_STAMP, (now_ms, sid))


def forget(connection: sqlite3.Connection, sid: int) -> None:
    """Remove a session, whole."""
    if 0 < sid < SESSIONS_PER_FILE:  # no other has an arena
        connection.execute(_FORGET_ARENA, arena_bounds(sid))
    for statement in _FORGET_PARTS:
        connection.execute(statement, (sid,))


def arena_bounds(sid: int) -> tuple[int, int]:
    """Where a session's arena starts in the table, and where the next one's does."""
    return sid << ARENA_BITS, sid + 1 << ARENA_BITS
