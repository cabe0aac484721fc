"""A commit on the tables: its conditions, then what it writes.

All conditions are answered by one statement. Everything here runs inside a transaction and reads no
clock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple

from wren_sessions.records import (
    Commit,
    Committed,
    Outcome,
    Record,
    Span,
    Writes,
    merge_spans,
)
from wren_sessions.stores import _sqlite_sessions as sessions
from wren_sessions.stores._sqlite_schema import ARENA_BITS
from wren_sessions.stores._sqlite_sessions import Row
from wren_sessions.ttl import TTLPolicy

_PAGE_BYTES: Final = 4_000  # with SQLite's own bytes, one row of the arena fills one page
_PIECE_BYTES: Final = 65_536  # reading one byte of a row means reading the row

_LOOK: Final = f"""
    SELECT {sessions.COLUMNS}, r.token, r.base, w.sid, h.head
    FROM sessions s
    LEFT JOIN records r ON r.sid = s.sid AND r.namespace = ?2 AND r.id = ?3
    LEFT JOIN records w ON w.sid = s.sid AND w.namespace = ?4 AND w.id = ?5
    LEFT JOIN heads h ON h.sid = s.sid AND h.namespace = ?2
    WHERE s.id = ?1"""
_PUT_RECORD: Final = """
    INSERT INTO records (sid, namespace, id, token, base, spans, body) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (sid, namespace, id) DO UPDATE
    SET token = excluded.token, base = excluded.base, spans = excluded.spans, body = excluded.body
    """
_FIRST_HEAD: Final = "INSERT INTO heads (head, sid, namespace, made) VALUES (?, ?, ?, ?)"
_NEXT_HEAD: Final = "UPDATE heads SET head = ? WHERE sid = ? AND namespace = ?"
_APPEND: Final = "UPDATE arena SET data = CAST(data || ? AS BLOB) WHERE pos = ?"
_NEW_ROW: Final = "INSERT INTO arena (pos, data) VALUES (?, ?)"
_ADD_WRITE: Final = """
    INSERT INTO writes (sid, namespace, id, key, spans, body) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (sid, namespace, id, key) DO """
_FIRST_WINS: Final = f"{_ADD_WRITE} NOTHING"
_LAST_WINS: Final = f"{_ADD_WRITE} UPDATE SET spans = excluded.spans, body = excluded.body"
_UPDATE: Final = """
    UPDATE sessions SET updated_ms = ?, deadline_ms = ?, revision = ?, arena_end = ?,
        arena_tail = ?, state = coalesce(?, state)
    WHERE sid = ?"""

_PAIR: Final = Struct(">QQ")


def pack_spans(spans: Iterable[Span]) -> bytes:
    """Spans as they stand in a row: pairs of offset and length."""
    return b"".join(_PAIR.pack(*span) for span in spans)


def unpack_spans(packed: bytes) -> list[Span]:
    """What `pack_spans` packed."""
    return [Span._make(pair) for pair in _PAIR.iter_unpack(packed)]


class _Seen(NamedTuple):
    """What the tables hold of what a commit asks for.

    Attributes:
        row: the session; None if it is not there, or has expired.
        rest_sid: of the rows of an expired session; None if there are none.
        token: of the record that has the name of the commit's.
        base: of the same record.
        witness: not None if the witness is there.
        head: of the record's namespace.
    """

    row: Row | None = None
    rest_sid: int | None = None
    token: str | None = None
    base: int | None = None
    witness: int | None = None
    head: str | None = None


def commit(
    connection: sqlite3.Connection, commit: Commit, policy: TTLPolicy, now_ms: int
) -> Committed:
    """Write a commit, if its conditions hold."""
    seen = _look(connection, commit, now_ms)
    base = _applied(commit, seen)
    if base is not None:
        return _answer("done", seen.row, now_ms, base)
    refusal = _refusal(commit, seen)
    if refusal:
        return _answer(refusal, seen.row, now_ms)
    deadline_ms = _deadline(commit, seen.row, policy, now_ms)
    if sessions.past(deadline_ms, now_ms):
        return _answer("expired", seen.row, now_ms)
    row = seen.row or _make(connection, commit, seen.rest_sid, now_ms, deadline_ms)
    base = row.arena_end
    row = _write(connection, commit, row, seen.head, now_ms, deadline_ms)
    return _answer("done", row, now_ms, base if commit.record else 0)


def _answer(outcome: Outcome, row: Row | None, now_ms: int, base: int = 0) -> Committed:
    life = row.life(now_ms) if row else None
    return Committed(outcome=outcome, now_ms=now_ms, life=life, base=base)


# --- conditions -----------------------------------------------------------------------------------


def _look(connection: sqlite3.Connection, commit: Commit, now_ms: int) -> _Seen:
    name = commit.record.name if commit.record else (None, None)
    values = (commit.session, *name, *(commit.witness or (None, None)))
    found = connection.execute(_LOOK, values).fetchone()
    if found is None:
        return _Seen()
    row = Row._make(found[:-4])
    return _Seen(row, None, *found[-4:]) if row.alive(now_ms) else _Seen(rest_sid=row.sid)


def _applied(commit: Commit, seen: _Seen) -> int | None:
    """The base that a commit got when it was applied before; None if it was not."""
    if seen.row is None:
        return None
    if seen.token == commit.token or seen.row.incarnation == commit.token:
        return seen.base or 0
    return None


def _refusal(commit: Commit, seen: _Seen) -> Outcome | None:
    if seen.row is None:
        return "gone" if commit.incarnation is not None or commit.witness else None
    if commit.new:
        return "exists"
    if commit.incarnation not in (None, seen.row.incarnation):
        return "gone"
    return "stale" if commit.witness and seen.witness is None else None


def _deadline(commit: Commit, row: Row | None, policy: TTLPolicy, now_ms: int) -> int | None:
    if row is None:
        return policy.deadline_ms(used_ms=now_ms, created_ms=_created(commit, now_ms))
    return row.deadline_ms if policy.refresh == "never" else row.deadline(policy, now_ms)


def _created(commit: Commit, now_ms: int) -> int:
    return now_ms if commit.created_ms is None else commit.created_ms


# --- writing --------------------------------------------------------------------------------------


def _make(
    connection: sqlite3.Connection,
    commit: Commit,
    rest_sid: int | None,
    now_ms: int,
    deadline_ms: int | None,
) -> Row:
    if rest_sid is not None:
        sessions.forget(connection, rest_sid)
    return sessions.make(
        connection,
        commit.session,
        commit.token,
        created_ms=_created(commit, now_ms),
        now_ms=now_ms,
        deadline_ms=deadline_ms,
    )


def _write(
    connection: sqlite3.Connection,
    commit: Commit,
    row: Row,
    head: str | None,
    now_ms: int,
    deadline_ms: int | None,
) -> Row:
    """Write the parts of a commit and its session's row, which is returned."""
    tail, leads, appended = row.arena_tail, True, b""
    if commit.record:
        appended = commit.record.append
        tail = _append(connection, row, appended)
        leads = _put_record(connection, row, commit.record, commit.token, head)
    if commit.writes:
        _add_writes(connection, row.sid, commit.writes)
    after = row._replace(
        updated_ms=now_ms,
        deadline_ms=deadline_ms,
        revision=row.revision + 1,
        arena_end=row.arena_end + len(appended),
        arena_tail=tail,
    )
    _update(connection, after, commit.state if leads else None)
    return after


def _update(connection: sqlite3.Connection, row: Row, state: bytes | None) -> None:
    life = (row.updated_ms, row.deadline_ms, row.revision)
    connection.execute(_UPDATE, (*life, row.arena_end, row.arena_tail, state, row.sid))
    sessions.sweep_in_time(connection, row.sid, row.sweep_ms, row.deadline_ms)


def _append(connection: sqlite3.Connection, row: Row, data: bytes) -> int:
    """Append to an arena; return where its last row starts now."""
    end, tail = row.arena_end, row.arena_tail
    if not data:
        return tail
    start = row.sid << ARENA_BITS
    if tail < end and end - tail + len(data) <= _PAGE_BYTES:
        connection.execute(_APPEND, (data, start | tail))
        return tail
    view = memoryview(data)
    offsets = range(0, len(data), _PIECE_BYTES)
    rows = ((start + end + at, view[at : at + _PIECE_BYTES]) for at in offsets)
    connection.executemany(_NEW_ROW, rows)
    return end + offsets[-1]


def _put_record(
    connection: sqlite3.Connection, row: Row, record: Record, token: str, head: str | None
) -> bool:
    """Write a record; return whether it is its namespace's head now."""
    namespace, checkpoint_id = record.name
    spans = merge_spans((*record.spans, Span(row.arena_end, len(record.append))))
    values = (token, row.arena_end, pack_spans(spans), record.body)
    connection.execute(_PUT_RECORD, (row.sid, namespace, checkpoint_id, *values))
    if head is None:
        connection.execute(_FIRST_HEAD, (checkpoint_id, row.sid, namespace, row.revision))
        return True
    leads = checkpoint_id >= head or record.parent_id == head
    if leads and checkpoint_id != head:
        connection.execute(_NEXT_HEAD, (checkpoint_id, row.sid, namespace))
    return leads


def _add_writes(connection: sqlite3.Connection, sid: int, writes: Writes) -> None:
    owner = (sid, *writes.name)
    spans = pack_spans(writes.spans)
    for entry in writes.entries:
        statement = _LAST_WINS if entry.replace else _FIRST_WINS
        connection.execute(statement, (*owner, entry.key, spans, entry.body))
