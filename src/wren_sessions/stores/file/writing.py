"""A commit on the tables: its conditions, then what it writes.

All conditions are answered by one statement; a second witness takes another one. Everything here
runs inside a transaction and reads no clock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

from wren_sessions.records import (
    Commit,
    Committed,
    Name,
    Outcome,
    Record,
    Span,
    Writes,
    merge_spans,
)
from wren_sessions.stores.file import sessions
from wren_sessions.stores.file.cells import (
    Row,
    damaged,
    deadline_ms,
    name_of,
    pack_spans,
    past,
    row_of,
)
from wren_sessions.stores.file.schema import ARENA_BITS
from wren_sessions.stores.file.sessions import Key
from wren_sessions.ttl import TTLPolicy

_PAGE_BYTES: Final = 4_000  # with SQLite's own bytes, one row of the arena fills one page
_RECENT: Final = 16  # tokens kept: more than are on their way at once, for one session
_PIECE_BYTES: Final = 65_536  # reading one byte of a row means reading the row

_LOOK: Final = sessions.select(f"""r.token, r.base, h.head, w.sid
    FROM sessions s
    LEFT JOIN records r ON r.sid = s.sid AND r.namespace = ? AND r.id = ?
    LEFT JOIN heads h ON h.sid = s.sid AND h.namespace = ?
    LEFT JOIN records w ON w.sid = s.sid AND w.namespace = ? AND w.id = ?
    WHERE {sessions.OF_KEY}""")
_WITNESS: Final = "SELECT 1 FROM records WHERE sid = ? AND namespace = ? AND id = ?"
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
        arena_tail = ?, recent = ?, state = coalesce(?, state)
    WHERE sid = ?"""

_NO_NAME: Final = (None, None)


class _Seen(NamedTuple):
    """What the tables hold of what a commit asks for.

    Attributes:
        row: the session; None if it is not there, or has expired.
        rest_sid: of the rows of an expired session; None if there are none.
        token: of the record that has the name of the commit's.
        base: of the same record.
        head: of the record's namespace.
        witness: the session's sid if the first witness is there.
    """

    row: Row | None = None
    rest_sid: int | None = None
    token: str | None = None
    base: int | None = None
    head: str | None = None
    witness: int | None = None


def commit(
    connection: sqlite3.Connection, prefix: str, commit: Commit, policy: TTLPolicy, now_ms: int
) -> Committed:
    """Write a commit, if its conditions hold."""
    key = Key(prefix, commit.session)
    seen = _look(connection, key, commit, now_ms)
    base = _applied(commit, seen)
    if base is not None:
        return _answer("done", seen.row, now_ms, base)
    refusal = _refusal(connection, commit, seen)
    if refusal:
        return _answer(refusal, seen.row, now_ms)
    if seen.row is None:
        ends_ms = deadline_ms(policy, now_ms, _created(commit, now_ms))
    elif policy.refresh == "never":
        ends_ms = seen.row.deadline_ms
    else:
        ends_ms = seen.row.deadline(policy, now_ms)
    if past(ends_ms, now_ms):
        return _answer("expired", seen.row, now_ms)
    row = seen.row
    if row is None:  # made in the place of one that has expired, if there is one
        if seen.rest_sid is not None:
            sessions.forget(connection, seen.rest_sid)
        row = sessions.make(connection, key, commit.token, _created(commit, now_ms))
    after = _write(connection, commit, row, seen.head, (now_ms, ends_ms))
    return _answer("done", after, now_ms, row.arena_end if commit.record else 0)


def _answer(outcome: Outcome, row: Row | None, now_ms: int, base: int = 0) -> Committed:
    life = row.life(now_ms) if row else None
    return Committed(outcome=outcome, now_ms=now_ms, life=life, base=base)


# --- conditions -----------------------------------------------------------------------------------


def _look(connection: sqlite3.Connection, key: Key, commit: Commit, now_ms: int) -> _Seen:
    name = commit.record.name if commit.record else _NO_NAME
    witness = commit.witnesses[0] if commit.witnesses else _NO_NAME
    values = (*name, name[0], *witness, *key)
    found = connection.execute(_LOOK, values).fetchone()
    if found is None:
        return _Seen()
    row = row_of(found[:-4])
    if found[-2] is not None:
        name_of(found[-2], row.sid, "heads", "head")
    return _Seen(row, None, *found[-4:]) if row.alive(now_ms) else _Seen(rest_sid=row.sid)


def _applied(commit: Commit, seen: _Seen) -> int | None:
    """The base that a commit got when it was applied before; None if it was not."""
    if seen.row is None:
        return None
    if seen.token == commit.token:
        if type(seen.base) is not int:
            damaged("records", seen.row.sid, "base is no integer")
        return seen.base
    made_it = seen.row.incarnation == commit.token
    return 0 if made_it or commit.token in seen.row.recent.split() else None


def _refusal(connection: sqlite3.Connection, commit: Commit, seen: _Seen) -> Outcome | None:
    row = seen.row
    if row is None:
        builds_on = (commit.incarnation, commit.revision) != (None, None) or commit.witnesses
        return "gone" if builds_on else None
    if commit.new:
        return "exists"
    if commit.incarnation not in {None, row.incarnation}:
        return "gone"
    if commit.revision not in {None, row.revision}:
        return "conflict"
    return None if _all_there(connection, commit.witnesses, seen, row.sid) else "stale"


def _all_there(
    connection: sqlite3.Connection, witnesses: Sequence[Name], seen: _Seen, sid: int
) -> bool:
    if witnesses and seen.witness is None:
        return False
    return all(
        connection.execute(_WITNESS, (sid, *witness)).fetchone() for witness in witnesses[1:]
    )


def _created(commit: Commit, now_ms: int) -> int:
    return now_ms if commit.created_ms is None else commit.created_ms


# --- writing --------------------------------------------------------------------------------------


def _write(
    connection: sqlite3.Connection,
    commit: Commit,
    row: Row,
    head: str | None,
    times: tuple[int, int | None],
) -> Row:
    """Write the parts of a commit and its session's row, which is returned."""
    leads, arena, recent = True, (row.arena_end, row.arena_tail), row.recent
    if commit.record:
        leads = _put_record(connection, row, commit.record, commit.token, head)
        if commit.record.append:
            arena = _append(connection, row, commit.record.append)
    else:
        recent = " ".join([commit.token, *recent.split()[: _RECENT - 1]])
    if commit.writes:
        _add_writes(connection, row.sid, commit.writes)
    after = row.written(*times, arena, recent)
    _update(connection, after, commit.state if leads else None)
    return after


def _update(connection: sqlite3.Connection, row: Row, state: bytes | None) -> None:
    life = (row.updated_ms, row.deadline_ms, row.revision)
    arena = (row.arena_end, row.arena_tail)
    connection.execute(_UPDATE, (*life, *arena, row.recent, state, row.sid))
    if row.deadline_ms is not None:
        sessions.sweep_in_time(connection, row)


def _append(connection: sqlite3.Connection, row: Row, data: bytes) -> tuple[int, int]:
    """Append to an arena; its new end, and where its last row starts."""
    start, end, tail = row.sid << ARENA_BITS, row.arena_end, row.arena_tail
    if tail < end and end - tail + len(data) <= _PAGE_BYTES:
        connection.execute(_APPEND, (data, start | tail))
        return end + len(data), tail
    if len(data) <= _PIECE_BYTES:
        connection.execute(_NEW_ROW, (start + end, data))
        return end + len(data), end
    view = memoryview(data)
    offsets = range(0, len(data), _PIECE_BYTES)
    pieces = ((start + end + at, view[at : at + _PIECE_BYTES]) for at in offsets)
    connection.executemany(_NEW_ROW, pieces)
    return end + len(data), end + offsets[-1]


def _put_record(
    connection: sqlite3.Connection, row: Row, record: Record, token: str, head: str | None
) -> bool:
    """Write a record; return whether it is its namespace's head now."""
    namespace, checkpoint_id = record.name
    packed = _pack_with_own(record, row.arena_end)
    values = (row.sid, namespace, checkpoint_id, token, row.arena_end, packed, record.body)
    connection.execute(_PUT_RECORD, values)
    if head is None:
        connection.execute(_FIRST_HEAD, (checkpoint_id, row.sid, namespace, row.revision + 1))
        return True
    leads = checkpoint_id >= head or record.parent_id == head
    if leads and checkpoint_id != head:
        connection.execute(_NEXT_HEAD, (checkpoint_id, row.sid, namespace))
    return leads


def _pack_with_own(record: Record, end: int) -> bytes:
    """All spans of a record, packed; `end` is where its own bytes start."""
    size = len(record.append)
    if not record.spans:
        return pack_spans([Span(end, size)]) if size else b""
    if len(record.spans) == 1:
        ((offset, length),) = record.spans
        if length and offset + length == end:  # a list that grew
            return pack_spans([Span(offset, length + size)])
    return pack_spans(merge_spans((*record.spans, Span(end, size))))


def _add_writes(connection: sqlite3.Connection, sid: int, writes: Writes) -> None:
    owner = (sid, *writes.name)
    spans = pack_spans(writes.spans) if writes.spans else b""
    for entry in writes.entries:
        statement = _LAST_WINS if entry.replace else _FIRST_WINS
        connection.execute(statement, (*owner, entry.key, spans, entry.body))
