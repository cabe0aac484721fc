"""Turns and notes on the tables: who may write a session, whose it is, and what is noted about it.

Both have rows only for sessions that have one. A row of `notes` holds the prefix and name of its
session and when it was written, so that an owner's page is read from one index. Everything here
runs inside a transaction and reads no clock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from wren_sessions.keys import MAX_ID_BYTES
from wren_sessions.records import (
    NOTHING_NOTED,
    Commit,
    Life,
    Notes,
    SessionInfo,
    SessionPage,
    TurnState,
    TurnStep,
)
from wren_sessions.stores._checks import make_owned_cursor, noted_meanwhile
from wren_sessions.stores._turns import held, stepped
from wren_sessions.stores.file import sessions
from wren_sessions.stores.file.cells import Row, damaged, header_of, number, row_of
from wren_sessions.stores.file.sessions import Key
from wren_sessions.ttl import TTLPolicy, past

T = TypeVar("T")

_TURN: Final = "SELECT line FROM turns WHERE sid = ?"
_PUT_TURN: Final = "INSERT OR REPLACE INTO turns (sid, line) VALUES (?, ?)"
_DROP_TURN: Final = "DELETE FROM turns WHERE sid = ?"
_NOTES: Final = "SELECT owner, about FROM notes WHERE sid = ?"
_PUT_NOTES: Final = """
    INSERT OR REPLACE INTO notes (sid, prefix, owner, updated_ms, name, about)
    SELECT sid, prefix, ?, updated_ms, name, ? FROM sessions WHERE sid = ?"""
_DROP_NOTES: Final = "DELETE FROM notes WHERE sid = ?"
_GIVE: Final = """
    INSERT INTO notes (sid, prefix, owner, updated_ms, name, about)
    SELECT sid, prefix, ?, updated_ms, name, x'' FROM sessions WHERE sid = ?
    ON CONFLICT (sid) DO UPDATE SET owner = excluded.owner, updated_ms = excluded.updated_ms"""
_WRITTEN: Final = "UPDATE notes SET updated_ms = ? WHERE sid = ?"
_OF_OWNER: Final = (
    "n.prefix = (SELECT number FROM prefixes WHERE prefix = ?) AND n.owner = ? "  # noqa: S608 -- ours
    f"AND length(n.name) <= {MAX_ID_BYTES}"  # the others are being made
)
_OWNED: Final = sessions.select(f"""s.name, s.state, n.owner, n.about, n.updated_ms
    FROM notes n JOIN sessions s ON s.sid = n.sid
    WHERE {_OF_OWNER} AND (n.updated_ms, n.name) < (?, ?)
        AND (s.deadline_ms IS NULL OR s.deadline_ms > ?)
    ORDER BY n.updated_ms DESC, n.name DESC LIMIT ?""")
_COUNT: Final = f"SELECT count(*) FROM notes n WHERE {_OF_OWNER}"  # noqa: S608 -- our own names
_BEHIND: Final = 5  # columns behind those of the session
_LAST: Final = (1 << 62, "")


# --- turns ----------------------------------------------------------------------------------------


def whose_turn(line: object, commit: Commit, now_ms: int) -> TurnState | None:
    """Whose turn keeps a commit from being written, if its session has this line."""
    return _read(line, commit.session, lambda text: held(text, commit, now_ms))


def turn(
    connection: sqlite3.Connection, key: Key, step: TurnStep, policy: TTLPolicy, now_ms: int
) -> TurnState:
    """A step of a turn; see `TurnStore.turn`."""
    there = sessions.find_any(connection, key)
    row = there if there and there.alive(now_ms) else None
    before = connection.execute(_TURN, (row.sid,)).fetchone() if row else None
    line = before[0] if before else ""
    sid = row.sid if row else 0
    text, state = _read(line, sid, lambda found: stepped(found, step, now_ms))
    if row is None:
        if step.what != "take":
            return state
        if there:
            sessions.forget(connection, there.sid)
        row = sessions.make(connection, key, step.token, now_ms)
        sessions.stamp(connection, row.sid, now_ms)
    if not text and not row.revision:
        sessions.forget(connection, row.sid)
        return state
    if text != line:
        connection.execute(*(_PUT_TURN, (row.sid, text)) if text else (_DROP_TURN, (row.sid,)))
    if state.mine and step.what != "leave" and (not row.revision or policy.refresh != "never"):
        # What a turn made ends with it, unless something is written.
        ends_ms = row.deadline(policy, now_ms) if row.revision else now_ms + step.ttl_ms
        if not past(ends_ms, now_ms):
            sessions.renew(connection, row._replace(deadline_ms=ends_ms))
    return state


def _read(line: Any, sid: object, read: Callable[[str], T]) -> T:
    try:
        return read(line or "")
    except (AttributeError, TypeError, ValueError):
        damaged("turns", sid, "line is none")


# --- notes ----------------------------------------------------------------------------------------


def written(connection: sqlite3.Connection, row: Row, there: object, given: str | None) -> None:
    """Keep an owner's listing up with a commit; give what is nobody's to `given`."""
    if there is not None:
        connection.execute(_WRITTEN, (row.updated_ms, row.sid))
    elif given is not None:
        connection.execute(_GIVE, (given, row.sid))


def notes_of(owner: object, about: object, sid: int) -> Notes:
    """What a row says, where there is one."""
    if about is None and owner is None:
        return NOTHING_NOTED
    if type(about) is not bytes or not isinstance(owner, str | None):
        damaged("notes", sid, "owner is no text, or about no blob")
    return Notes(owner, about)


def find(connection: sqlite3.Connection, sid: int) -> Notes:
    """What is noted about a session."""
    owner, about = connection.execute(_NOTES, (sid,)).fetchone() or (None, None)
    return notes_of(owner, about, sid)


def annotate(
    connection: sqlite3.Connection, key: Key, notes: Notes, expect: Notes, now_ms: int
) -> Life | None:
    """Note something; see `OwnerStore.annotate`."""
    row = sessions.find(connection, key, now_ms)
    if row is None:
        return None
    if find(connection, row.sid) != expect:
        raise noted_meanwhile(key.session)
    if notes == NOTHING_NOTED:
        connection.execute(_DROP_NOTES, (row.sid,))
    elif notes != expect:
        connection.execute(_PUT_NOTES, (*notes, row.sid))
    return row.life(now_ms)


def owned(
    connection: sqlite3.Connection,
    of: tuple[str, str, str],
    before: tuple[int, str] | None,
    limit: int,
    now_ms: int,
) -> SessionPage:
    """One page of an owner's sessions; `of` is the cursor's place, the prefix and the owner."""
    place, *whose = of
    values = (*whose, *(before or _LAST), now_ms, limit + 1)
    found = connection.execute(_OWNED, values).fetchall()
    total = number(connection, _COUNT, *whose)
    infos = tuple(_info(cells, now_ms) for cells in found[:limit])
    more = len(found) > limit
    cursor = make_owned_cursor(place, found[limit - 1][-1], infos[-1].session) if more else None
    return SessionPage(sessions=infos, cursor=cursor, total=total)


def _info(cells: Sequence[Any], now_ms: int) -> SessionInfo:
    row = row_of(cells[:-_BEHIND])
    session, state, owner, about, _ = cells[-_BEHIND:]
    return SessionInfo(
        session=session,
        life=row.life(now_ms),
        state=header_of(state, row),
        idle=row.own_idle,
        notes=notes_of(owner, about, row.sid),
    )
