"""The rows of sessions: finding one, its life, making, copying and removing it.

Everything here runs inside a transaction and reads no clock.
"""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

from wren_sessions.records import Life
from wren_sessions.stores.file.schema import ARENA_BITS
from wren_sessions.ttl import Override, TTLPolicy


def select(rest: str) -> str:
    """A statement whose rows begin with the columns of `Row`; `rest` names more, and ``FROM``."""
    return (
        "SELECT s.sid, s.incarnation, s.created_ms, s.updated_ms, s.deadline_ms, s.sweep_ms, "
        f"s.own_idle, s.pinned, s.revision, s.arena_end, s.arena_tail, s.recent, {rest}"
    )


OF_PREFIX: Final = "s.prefix = (SELECT number FROM prefixes WHERE prefix = ?)"
"""The condition that sessions `s` are those of a prefix."""

OF_KEY: Final = f"{OF_PREFIX} AND s.name = ?"
"""The condition that a session `s` is the one of a `Key`."""

_FIND: Final = select(f"s.name FROM sessions s WHERE {OF_KEY}")
_MAKE: Final = """
    INSERT INTO sessions (prefix, name, incarnation, created_ms, updated_ms, pinned, revision,
        arena_end, arena_tail, recent, state)
    SELECT number, ?, ?, ?, 0, 0, 0, 0, 0, '', x'' FROM prefixes WHERE prefix = ?"""
_MAKE_PREFIX: Final = "INSERT INTO prefixes (prefix) VALUES (?)"
_RENEW: Final = "UPDATE sessions SET deadline_ms = ?, own_idle = ?, pinned = ? WHERE sid = ?"
_SWEEP_AT: Final = "UPDATE sessions SET sweep_ms = ? WHERE sid = ?"
_COPY: Final = """
    INSERT INTO sessions (prefix, name, incarnation, created_ms, updated_ms, deadline_ms, sweep_ms,
        own_idle, pinned, revision, arena_end, arena_tail, recent, state)
    SELECT prefix, ?, ?, created_ms, ?, ?, ?, own_idle, pinned, revision, arena_end, arena_tail,
        recent, coalesce(?, state)
    FROM sessions WHERE sid = ?"""
_COPY_ARENA: Final = "INSERT INTO arena SELECT pos + ?, data FROM arena WHERE pos >= ? AND pos < ?"
_COPY_PARTS: Final = (
    """INSERT INTO records (sid, namespace, id, token, base, spans, body)
       SELECT ?, namespace, id, token, base, spans, body FROM records WHERE sid = ?""",
    "INSERT INTO heads SELECT ?, namespace, head, made FROM heads WHERE sid = ?",
    """INSERT INTO writes (sid, namespace, id, key, spans, body)
       SELECT ?, namespace, id, key, spans, body FROM writes WHERE sid = ? ORDER BY rowid""",
)
_FORGET_ARENA: Final = "DELETE FROM arena WHERE pos >= ? AND pos < ?"
_FORGET_PARTS: Final = (
    "DELETE FROM records WHERE sid = ?",
    "DELETE FROM heads WHERE sid = ?",
    "DELETE FROM writes WHERE sid = ?",
    "DELETE FROM sessions WHERE sid = ?",
)


class Key(NamedTuple):
    """What a session is found by: its prefix, and its id."""

    prefix: str
    session: str


class Row(NamedTuple):
    """A session's row, without its name and header. See the columns in `schema`."""

    sid: int
    incarnation: str
    created_ms: int
    updated_ms: int
    deadline_ms: int | None
    sweep_ms: int | None
    own_idle: Override
    pinned: int
    revision: int
    arena_end: int
    arena_tail: int
    recent: str

    def alive(self, now_ms: int) -> bool:
        """Whether its deadline is still to come."""
        return not past(self.deadline_ms, now_ms)

    def deadline(self, policy: TTLPolicy, now_ms: int) -> int | None:
        """When it would expire if it were used now."""
        return policy.deadline_ms(
            used_ms=now_ms,
            created_ms=self.created_ms,
            override=self.own_idle,
            pinned=bool(self.pinned),
        )

    def written(
        self, now_ms: int, deadline_ms: int | None, arena: tuple[int, int], recent: str
    ) -> Row:
        """It after a commit: its new deadline, end and last row of the arena, and tokens."""
        same = (self.sid, self.incarnation, self.created_ms)
        rules = (self.sweep_ms, self.own_idle, self.pinned)
        return Row(*same, now_ms, deadline_ms, *rules, self.revision + 1, *arena, recent)

    def life(self, now_ms: int) -> Life:
        """Its life, for the caller."""
        return Life(
            incarnation=self.incarnation,
            created_ms=self.created_ms,
            updated_ms=self.updated_ms,
            now_ms=now_ms,
            deadline_ms=self.deadline_ms,
            pinned=bool(self.pinned),
            revision=self.revision,
        )


def check_writable(connection: sqlite3.Connection) -> None:
    """Raise what SQLite raises if the file cannot be written; ``BEGIN IMMEDIATE`` may not."""
    connection.execute("DELETE FROM sessions WHERE sid < 0")


def past(deadline_ms: int | None, now_ms: int) -> bool:
    """Whether a deadline has come."""
    return deadline_ms is not None and deadline_ms <= now_ms


def find(connection: sqlite3.Connection, key: Key, now_ms: int) -> Row | None:
    """A session's row, or None if it is not there or has expired."""
    row = find_any(connection, key)
    return row if row and row.alive(now_ms) else None


def find_any(connection: sqlite3.Connection, key: Key) -> Row | None:
    """A session's row, also of one that has expired and not been swept yet."""
    found = connection.execute(_FIND, key).fetchone()
    return Row._make(found[:-1]) if found else None


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
        recent="",
    )


def renew(connection: sqlite3.Connection, row: Row) -> None:
    """Write a row's deadline, own idle timeout and pin."""
    connection.execute(_RENEW, (row.deadline_ms, row.own_idle, row.pinned, row.sid))
    sweep_in_time(connection, row)


def sweep_in_time(connection: sqlite3.Connection, row: Row) -> None:
    """Have a session looked at no later than its deadline."""
    deadline_ms, sweep_ms = row.deadline_ms, row.sweep_ms
    if deadline_ms is not None and (sweep_ms is None or deadline_ms < sweep_ms):
        connection.execute(_SWEEP_AT, (deadline_ms, row.sid))


def copy(connection: sqlite3.Connection, row: Row, target: str, state: bytes | None) -> None:
    """Copy a session, whole, to an id of the same prefix that is not there.

    Args:
        connection: in a write transaction.
        row: the source's, with the incarnation, time of writing and deadline of the copy.
        target: the copy's id.
        state: the copy's header; None for the source's.
    """
    life = (row.incarnation, row.updated_ms, row.deadline_ms, row.deadline_ms)
    sid = connection.execute(_COPY, (target, *life, state, row.sid)).lastrowid or 0
    shift = sid - row.sid << ARENA_BITS
    connection.execute(_COPY_ARENA, (shift, *arena_bounds(row.sid)))
    for statement in _COPY_PARTS:
        connection.execute(statement, (sid, row.sid))


def forget(connection: sqlite3.Connection, sid: int) -> None:
    """Remove a session, whole."""
    connection.execute(_FORGET_ARENA, arena_bounds(sid))
    for statement in _FORGET_PARTS:
        connection.execute(statement, (sid,))


def arena_bounds(sid: int) -> tuple[int, int]:
    """Where a session's arena starts in the table, and where the next one's does."""
    return sid << ARENA_BITS, sid + 1 << ARENA_BITS
