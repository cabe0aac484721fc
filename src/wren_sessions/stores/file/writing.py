"""A commit on the tables: its conditions, then what it writes.

All conditions are answered by one statement; a second witness takes another one. Everything here
runs inside a transaction and reads no clock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

from wren_sessions.records import Commit, Committed, Name, Outcome
from wren_sessions.stores.file import sessions
from wren_sessions.stores.file.cells import Row, damaged, deadline_ms, past, row_of
from wren_sessions.stores.file.putting import (
    Counts,
    Line,
    Owner,
    add_writes,
    append,
    first_replaced,
    line_of,
    put_record,
)
from wren_sessions.stores.file.sessions import Key
from wren_sessions.ttl import TTLPolicy

_RECENT: Final = 16  # tokens kept: more than are on their way at once, for one session

_RECORD: Final = (
    """r.token, r.base, h.head, h.log,
        (SELECT max(t.id) FROM records t WHERE t.sid = s.sid AND t.namespace = ?),
        EXISTS (SELECT 1 FROM writes e WHERE e.sid = s.sid AND e.namespace = ? AND e.id = ?)""",
    """LEFT JOIN records r ON r.sid = s.sid AND r.namespace = ? AND r.id = ?
    LEFT JOIN heads h ON h.sid = s.sid AND h.namespace = ?""",
)
_NO_RECORD: Final = ("NULL, NULL, NULL, NULL, NULL, 0", "")
_WITNESSED: Final = (
    "w.sid",
    "LEFT JOIN records w ON w.sid = s.sid AND w.namespace = ? AND w.id = ?",
)
_OWNER: Final = ("g.head", "LEFT JOIN heads g ON g.sid = s.sid AND g.namespace = ?")
_REPLACED: Final = (
    "x.spans, x.body",
    "LEFT JOIN writes x ON x.sid = s.sid AND x.namespace = ? AND x.id = ? AND x.key = ?",
)
_WITNESS: Final = "SELECT 1 FROM records WHERE sid = ? AND namespace = ? AND id = ?"
_UPDATE: Final = """
    UPDATE sessions SET updated_ms = ?, deadline_ms = ?, revision = ?, arena_end = ?,
        arena_tail = ?, tokens = ?, namespaces = ?, log = ?, state = coalesce(?, state)
    WHERE sid = ?"""

_NO_NAME: Final = (None, None)
_BEHIND: Final = 10  # columns behind those of the session


class _Seen(NamedTuple):
    """What the tables hold of what a commit asks for.

    Attributes:
        row: the session; None if it is not there, or has expired.
        rest_sid: of the rows of an expired session; None if there are none.
        token: of the record that has the name of the commit's.
        base: of the same record.
        witness: the session's sid if the first witness is there.
        line: the namespace of the record.
        owner: the checkpoint of the writes.
    """

    row: Row | None = None
    rest_sid: int | None = None
    token: str | None = None
    base: int | None = None
    witness: int | None = None
    line: Line = Line()
    owner: Owner = Owner()


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
    after = _write(connection, commit, row, seen, (now_ms, ends_ms))
    return _answer("done", after, now_ms, row.arena_end if commit.record else 0)


def _answer(outcome: Outcome, row: Row | None, now_ms: int, base: int = 0) -> Committed:
    life = row.life(now_ms) if row else None
    return Committed(outcome=outcome, now_ms=now_ms, life=life, base=base)


# --- conditions -----------------------------------------------------------------------------------


@cache
def _looking(*, record: bool, witness: bool, writes: bool, replaced: bool) -> str:
    """The statement that answers all conditions; it asks for what a commit has."""
    parts = (
        _RECORD if record else _NO_RECORD,
        _WITNESSED if witness else ("NULL", ""),
        _OWNER if writes else ("NULL", ""),
        _REPLACED if replaced else ("NULL, NULL", ""),
    )
    columns, joins = zip(*parts, strict=True)
    source = f"{', '.join(columns)} FROM sessions s {' '.join(joins)}"
    return sessions.select(f"{source} WHERE {sessions.OF_KEY}")


def _look(connection: sqlite3.Connection, key: Key, commit: Commit, now_ms: int) -> _Seen:
    columns: list[str] = []
    joins: list[str] = []
    namespace, replaced = None, first_replaced(commit.writes)
    if commit.record:
        namespace, id_ = commit.record.name
        columns, joins = [namespace, namespace, id_], [namespace, id_, namespace]
    if commit.witnesses:
        joins += commit.witnesses[0]
    if commit.writes:
        joins.append(commit.writes.name[0])
        if replaced is not None:
            joins += (*commit.writes.name, replaced)
    statement = _looking(
        record=commit.record is not None,
        witness=bool(commit.witnesses),
        writes=commit.writes is not None,
        replaced=replaced is not None,
    )
    found = connection.execute(statement, (*columns, *joins, *key)).fetchone()
    if found is None:
        return _Seen()
    row = row_of(found[:-_BEHIND])
    if not row.alive(now_ms):
        return _Seen(rest_sid=row.sid)
    token, base, *cells, there, head, spans, body = found[-_BEHIND:]
    line = line_of(cells, namespace, row, there=token is not None)
    return _Seen(row, None, token, base, there, line, Owner(head, (spans, body)))


def _applied(commit: Commit, seen: _Seen) -> int | None:
    """The base that a commit got when it was applied before; None if it was not."""
    if seen.row is None:
        return None
    if seen.token == commit.token:
        if type(seen.base) is not int:
            damaged("records", seen.row.sid, "base is no integer")
        return seen.base
    made_it = seen.row.incarnation == commit.token
    return 0 if made_it or commit.token in seen.row.tokens.split() else None


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
    seen: _Seen,
    times: tuple[int, int | None],
) -> Row:
    """Write the parts of a commit and its session's row, which is returned."""
    leads, arena, tokens = True, (row.arena_end, row.arena_tail), row.tokens
    owner, counts, head = seen.owner, Counts(row.namespaces, row.log), seen.owner.head
    if commit.record:
        head, counts = put_record(connection, row, commit.record, commit.token, seen.line)
        leads = head == commit.record.name[1]
        if commit.record.append:
            arena = append(connection, row, commit.record.append)
    else:
        tokens = " ".join([commit.token, *tokens.split()[: _RECENT - 1]])
    if commit.writes:
        if commit.record and commit.record.name[0] == commit.writes.name[0]:
            owner = owner._replace(head=head)
        counts = add_writes(connection, row.sid, commit.writes, owner, counts)
    after = row.written(*times, arena, tokens, counts)
    _update(connection, after, commit.state if leads else None)
    return after


def _update(connection: sqlite3.Connection, row: Row, state: bytes | None) -> None:
    life = (row.updated_ms, row.deadline_ms, row.revision)
    arena = (row.arena_end, row.arena_tail)
    rest = (row.tokens, row.namespaces, row.log)
    connection.execute(_UPDATE, (*life, *arena, *rest, state, row.sid))
    if row.deadline_ms is not None:
        sessions.sweep_in_time(connection, row)
