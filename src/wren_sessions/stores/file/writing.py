"""A commit on the tables: its conditions, then what it writes.

One statement answers all conditions, unless this process wrote the session last and remembers what
it wrote (`known`); a second witness takes one more. The numbers of `counts` go
into rows that are written anyway, if the checkpoint becomes the latest of its namespace, and if a
pending write belongs to the latest checkpoint of the root namespace. Otherwise they take a
statement of their own. Everything here runs inside a transaction and reads no clock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, Final, NamedTuple, TypeAlias

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
from wren_sessions.stores.file import noting, sessions
from wren_sessions.stores.file.cells import (
    MASK,
    Row,
    count_of,
    damaged,
    deadline_ms,
    link,
    name_of,
    pack_span,
    pack_spans,
    row_of,
    weight,
)
from wren_sessions.stores.file.counts import count_namespaces, summed
from wren_sessions.stores.file.known import Known, Remembered
from wren_sessions.stores.file.schema import ARENA_BITS
from wren_sessions.stores.file.sessions import Key
from wren_sessions.ttl import TTLPolicy, past

_RECENT: Final = 16  # tokens kept: more than are on their way at once, for one session

_RECORD: Final = (
    """r.token, r.base, h.head, h.log,
        (SELECT max(t.id) FROM records t WHERE t.sid = s.sid AND t.namespace = ?),
        (SELECT max(e.id) FROM writes e
            WHERE e.sid = s.sid AND e.namespace = ? AND e.id >= ? AND e.id < x'')""",
    """LEFT JOIN records r ON r.sid = s.sid AND r.namespace = ? AND r.id = ?
    LEFT JOIN heads h ON h.sid = s.sid AND h.namespace = ?""",
)
_NO_RECORD: Final = ("NULL, NULL, NULL, NULL, NULL, NULL", "")
_WITNESSED: Final = (
    "w.sid",
    "LEFT JOIN records w ON w.sid = s.sid AND w.namespace = ? AND w.id = ?",
)
_OWNER: Final = ("g.head", "LEFT JOIN heads g ON g.sid = s.sid AND g.namespace = ?")
_REPLACED: Final = (
    "x.key IS NOT NULL",
    "LEFT JOIN writes x ON x.sid = s.sid AND x.namespace = ? AND x.id = ? AND x.key = ?",
)
_RARE: Final = """(SELECT line FROM turns WHERE sid = s.sid),
        (SELECT owner FROM notes WHERE sid = s.sid)"""
_IS_THERE: Final = "SELECT 1 FROM records WHERE sid = ? AND namespace = ? AND id = ?"
_UPDATE: Final = """
    UPDATE sessions SET updated_ms = ?, deadline_ms = ?, revision = ?, arena_end = ?,
        arena_tail = ?, tokens = ?, namespaces = ?, log = ?, state = coalesce(?, state)
    WHERE sid = ?"""

_PAGE_BYTES: Final = 4_000  # with SQLite's own bytes, one row of the arena fills one page
_PIECE_BYTES: Final = 65_536  # reading one byte of a row means reading the row

_PUT_RECORD: Final = """
    INSERT INTO records (sid, namespace, id, token, base, spans, body, lower)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (sid, namespace, id) DO UPDATE
    SET token = excluded.token, base = excluded.base, spans = excluded.spans, body = excluded.body
    """
_FIRST_HEAD: Final = """
    INSERT INTO heads (head, sid, namespace, made, records, log) VALUES (?, ?, ?, ?, 1, ?)"""
_NEXT_HEAD: Final = """
    UPDATE heads SET head = ?, records = records + ?, log = ? WHERE sid = ? AND namespace = ?"""
_ONE_MORE: Final = "UPDATE heads SET records = records + 1 WHERE sid = ? AND namespace = ?"
_NEIGHBOURS: Final = """
    SELECT a.id, a.lower, (SELECT max(b.id) FROM records b
        WHERE b.sid = a.sid AND b.namespace = a.namespace AND b.id < ?)
    FROM records a WHERE a.sid = ? AND a.namespace = ? AND a.id > ? ORDER BY a.id LIMIT 1"""
_LINK: Final = "UPDATE records SET lower = ? WHERE sid = ? AND namespace = ? AND id = ?"
_ABOVE: Final = """sid = ? AND namespace = ?
    AND id = (SELECT min(a.id) FROM records a WHERE a.sid = ? AND a.namespace = ? AND a.id > ?)"""
_LINK_ABOVE: Final = f"UPDATE records SET lower = ? WHERE {_ABOVE}"  # noqa: S608 -- our own names
_ADD_ABOVE: Final = f"""
    UPDATE records SET lower = (lower & ~{MASK}) | ((lower + ?) & {MASK})
    WHERE {_ABOVE}"""  # noqa: S608 -- our own names
_ADD_TO_HEAD: Final = f"""
    UPDATE heads SET log = (log + ?) & {MASK}
    WHERE sid = ? AND namespace = ?"""  # noqa: S608 -- our own names
_APPEND: Final = """
    UPDATE arena SET data = CAST(data || ? AS BLOB) WHERE pos = ? AND length(data) = ?"""
_NEW_ROW: Final = "INSERT INTO arena (pos, data) VALUES (?, ?)"
_ADD_WRITE: Final = """
    INSERT INTO writes (sid, namespace, id, key, spans, body) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (sid, namespace, id, key) DO """
_FIRST_WINS: Final = f"{_ADD_WRITE} NOTHING"
_LAST_WINS: Final = f"{_ADD_WRITE} UPDATE SET spans = excluded.spans, body = excluded.body"
_WRITE: Final = """
    SELECT 1 FROM writes WHERE sid = ? AND namespace = ? AND id = ? AND key = ?"""

_Counts: TypeAlias = tuple[int | None, int | None]
"""How many namespaces a session has, and the sum of the writes of its latest checkpoint."""

_BEHIND: Final = 11  # columns behind those of the session


class _Found(NamedTuple):
    """What the tables hold of what a commit asks for.

    Attributes:
        row: the session; None if it is not there, or has expired.
        rest_sid: of the rows of an expired session; None if there are none.
        token: of the record that has the name of the commit's; None if there is none.
        base: of the same record.
        namespace: of the record; None without one.
        head: of the record's namespace.
        log: the sum of the writes of that head; None where it is not known.
        top: the highest id of the record's namespace.
        early: the highest id of which there are writes before its record comes, if that is not
            below the commit's record; None if there are none.
        witness: the session's sid if the first witness is there.
        leads: the head of the namespace of the commit's writes.
        replaced: whether the first of the commit's writes that replace others is there.
        turn: whose turn it is to write the session; None for nobody's.
        owner: whose it is; None for nobody's.
    """

    row: Row | None = None
    rest_sid: int | None = None
    token: str | None = None
    base: int | None = None
    namespace: str | None = None
    head: str | None = None
    log: int | None = None
    top: str | None = None
    early: str | None = None
    witness: int | None = None
    leads: str | None = None
    replaced: int = 0
    turn: str | None = None
    owner: str | None = None


_found: Callable[[tuple[Any, ...]], _Found] = partial(tuple.__new__, _Found)


def commit(
    connection: sqlite3.Connection,
    key: Key,
    commit: Commit,
    policy: TTLPolicy,
    now_ms: int,
    *,
    known: Known,
) -> Committed:
    """Write a commit, if its conditions hold."""
    remembered = _remembered(known, key, commit, now_ms)
    seen = remembered or _look(connection, key, commit, now_ms)
    base = _applied(commit, seen)
    if base is not None:
        return _answer("done", seen.row, now_ms, base)
    refusal = _refusal(connection, commit, seen)
    if refusal:
        return _answer(refusal, seen.row, now_ms)
    mind = seen.row is not None and (seen.turn is not None or commit.turn is not None)
    turn = noting.whose_turn(seen.turn, commit, now_ms) if mind else None
    if turn:
        return replace(_answer("held", seen.row, now_ms), turn=turn)
    if seen.row is None:
        ends_ms = deadline_ms(policy, now_ms, _created(commit, now_ms))
    elif policy.refresh == "never" and seen.row.revision:
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
    if (owner := seen.owner or commit.owner) is not None:
        noting.written(connection, after, seen.owner, commit.owner)
    complete = commit.record is not None or remembered is not None
    known.keep(key, _latest(commit, seen, after, owner) if complete else None)
    return _answer("done", after, now_ms, row.arena_end if commit.record else 0, owner)


def _answer(
    outcome: Outcome, row: Row | None, now_ms: int, base: int = 0, owner: str | None = None
) -> Committed:
    life = row.life(now_ms) if row else None
    return Committed(outcome=outcome, now_ms=now_ms, life=life, base=base, owner=owner)


# --- conditions -----------------------------------------------------------------------------------


@cache
def _looking(what: tuple[bool, bool, bool, bool]) -> str:
    """The statement that answers all conditions; it asks for what a commit has.

    That may be a record, a witness, writes, and one that replaces another.
    """
    record, witness, writes, replaced = what
    parts = (
        _RECORD if record else _NO_RECORD,
        _WITNESSED if witness else ("NULL", ""),
        _OWNER if writes else ("NULL", ""),
        _REPLACED if replaced else ("0", ""),
    )
    columns, joins = zip(*parts, strict=True)
    source = f"{', '.join(columns)}, {_RARE} FROM sessions s {' '.join(joins)}"
    return sessions.select(f"{source} WHERE {sessions.OF_KEY}")


def _look(connection: sqlite3.Connection, key: Key, commit: Commit, now_ms: int) -> _Found:
    asked: tuple[str, ...] = ()
    namespace = replaced = None
    if commit.record:
        namespace, id_ = commit.record.name
        asked = (namespace, namespace, id_, namespace, id_, namespace)
    if commit.witnesses:
        asked += commit.witnesses[0]
    if commit.writes:
        asked += (commit.writes.name[0],)
        for entry in commit.writes.entries:
            if entry.replace:
                replaced = entry.key
                asked += (*commit.writes.name, replaced)
                break
    record, witness, writes = bool(commit.record), bool(commit.witnesses), bool(commit.writes)
    statement = _looking((record, witness, writes, replaced is not None))
    found = connection.execute(statement, asked + key).fetchone()
    if found is None:
        return _Found()
    row = row_of(found[:-_BEHIND])
    if not row.alive(now_ms):
        return _Found(rest_sid=row.sid)
    token, base, head, log, *rest = found[-_BEHIND:]
    if head is not None:
        if type(head) is not str:
            name_of(head, row.sid, "heads", "head")
        log = row.log if namespace == "" else count_of(log, row.sid, "heads", "log")
    return _found((row, None, token, base, namespace, head, log, *rest))


def _remembered(known: Known, key: Key, commit: Commit, now_ms: int) -> _Found | None:
    """The same from memory; None if it does not hold any more, or the commit asks for more."""
    latest = known.of(key)
    if latest is None:
        return None
    row, head, early, turn, owner = latest
    record, writes, name = commit.record, commit.writes, ("", head)
    if not row.alive(now_ms) or (commit.witnesses and commit.witnesses != (name,)):
        return None
    if record and (record.name[0] or record.name[1] <= head):
        return None
    if writes and (writes.name[0] or any(entry.replace for entry in writes.entries)):
        return None
    if not known.holds():
        return None
    about = ("" if record else None, head, row.log, head, early)
    return _found((row, None, None, None, *about, row.sid, head, 0, turn, owner))


def _latest(commit: Commit, seen: _Found, after: Row, owner: str | None) -> Remembered | None:
    """What is known of the session after a commit; None if that is not all of it."""
    record, writes, head, early = commit.record, commit.writes, seen.leads, seen.early
    if record:
        namespace, head = record.name
        if namespace or (seen.top is not None and head <= seen.top):
            return None
    if head is None:
        return None
    if writes and not writes.name[0]:
        early = max(early or "", writes.name[1])
    return Remembered(after, head, early if early and early > head else None, seen.turn, owner)


def _applied(commit: Commit, seen: _Found) -> int | None:
    """The base that a commit got when it was applied before; None if it was not."""
    if seen.row is None:
        return None
    if seen.token == commit.token:
        if type(seen.base) is not int:
            damaged("records", seen.row.sid, "base is no integer")
        return seen.base
    made_it = seen.row.incarnation == commit.token
    return 0 if made_it or commit.token in seen.row.tokens.split() else None


def _refusal(connection: sqlite3.Connection, commit: Commit, seen: _Found) -> Outcome | None:
    row = seen.row
    if row is None:
        builds_on = (commit.incarnation, commit.revision, commit.turn) != (None, None, None)
        return "gone" if builds_on or commit.witnesses else None
    if commit.new and row.revision:
        return "exists"
    if commit.incarnation not in {None, row.incarnation}:
        return "gone"
    if commit.revision not in {None, row.revision}:
        return "conflict"
    if commit.witnesses and not _all_there(connection, commit.witnesses, seen, row.sid):
        return "stale"
    latest = not (commit.latest and commit.record) or seen.head == commit.record.parent_id
    return None if latest else "conflict"


def _all_there(
    connection: sqlite3.Connection, witnesses: Sequence[Name], seen: _Found, sid: int
) -> bool:
    if seen.witness is None:
        if seen.head == witnesses[0][1] and seen.namespace == witnesses[0][0]:
            damaged("heads", sid, f"the record that is the head, {seen.head!r:.200}, is lost")
        return False
    return len(witnesses) == 1 or all(
        connection.execute(_IS_THERE, (sid, *witness)).fetchone() for witness in witnesses[1:]
    )


def _created(commit: Commit, now_ms: int) -> int:
    return now_ms if commit.created_ms is None else commit.created_ms


# --- writing --------------------------------------------------------------------------------------


def _write(
    connection: sqlite3.Connection,
    commit: Commit,
    row: Row,
    seen: _Found,
    times: tuple[int, int | None],
) -> Row:
    """Write the parts of a commit and its session's row, which is returned."""
    leads, arena, tokens = True, (row.arena_end, row.arena_tail), row.tokens
    head, counts = seen.leads, (row.namespaces, row.log)
    if commit.record:
        latest, counts = _put_record(connection, row, commit.record, commit.token, seen)
        leads = latest == commit.record.name[1]
        if commit.writes and commit.writes.name[0] == commit.record.name[0]:
            head = latest
        if commit.record.append:
            arena = _append(connection, row, commit.record.append)
    else:
        tokens = " ".join([commit.token, *tokens.split()[: _RECENT - 1]])
    if commit.writes:
        added = _add_writes(connection, row.sid, commit.writes, seen.replaced)
        namespace, id_ = commit.writes.name
        if namespace == "" and id_ == head:
            counts = (counts[0], None if counts[1] is None else counts[1] + added & MASK)
        elif added:
            _count_writes(connection, row.sid, commit.writes.name, added, leads=id_ == head)
    after = row.written(*times, arena, tokens, counts)
    return _update(connection, after, commit.state if leads else None)


def _update(connection: sqlite3.Connection, row: Row, state: bytes | None) -> Row:
    life = (row.updated_ms, row.deadline_ms, row.revision)
    arena = (row.arena_end, row.arena_tail)
    rest = (row.tokens, row.namespaces, row.log)
    connection.execute(_UPDATE, (*life, *arena, *rest, state, row.sid))
    return row if row.deadline_ms is None else sessions.sweep_in_time(connection, row)


# --- a checkpoint ---------------------------------------------------------------------------------


def _put_record(
    connection: sqlite3.Connection, row: Row, record: Record, token: str, seen: _Found
) -> tuple[str, _Counts]:
    """Write a record; its namespace's head is returned, with what the session's row is to say."""
    sid, (namespace, id_) = row.sid, record.name
    early = seen.early is not None and seen.early >= id_ and not seen.token
    own = summed(connection, sid, record.name) if early else 0
    lower = _lower(connection, row, record.name, seen, own)
    packed = _pack_with_own(record, row.arena_end)
    values = (sid, namespace, id_, token, row.arena_end, packed, record.body, lower)
    connection.execute(_PUT_RECORD, values)
    log, head = row.log, seen.head
    if head is None:
        connection.execute(_FIRST_HEAD, (id_, sid, namespace, row.revision + 1, own))
        more = None if row.namespaces is None else row.namespaces + 1
        return id_, (more, own if namespace == "" else log)
    if id_ != head and (id_ > head or record.parent_id == head):
        if head != seen.top:  # the one above it, which was there before, knows an earlier sum
            place = (sid, namespace, sid, namespace, head)
            connection.execute(_LINK_ABOVE, (link(head, seen.log), *place))
        if seen.token:
            own = summed(connection, sid, record.name)
        connection.execute(_NEXT_HEAD, (id_, not seen.token, own, sid, namespace))
        return id_, (row.namespaces, own if namespace == "" else log)
    if not seen.token:
        connection.execute(_ONE_MORE, (sid, namespace))
    return head, (row.namespaces, log)


def _lower(
    connection: sqlite3.Connection, row: Row, name: Name, seen: _Found, own: int
) -> int | None:
    """What a record is to say of the next lower one; the one above it is told of it."""
    namespace, id_ = name
    if seen.head is None:
        if seen.top is not None:
            damaged("heads", row.sid, f"there is no head of namespace {namespace!r:.200}")
        if row.revision:  # it was not made just now
            count_namespaces(connection, row)
        return 0
    if seen.token:
        return None  # what stands there stays
    if type(seen.top) is not str:
        damaged("records", row.sid, f"those of namespace {namespace!r:.200} are lost")
    if id_ > seen.top:
        if seen.head == seen.top:
            return link(seen.top, seen.log)
        return link(seen.top, summed(connection, row.sid, (namespace, seen.top)))
    asked = (id_, row.sid, namespace, id_)
    above, lower, below = connection.execute(_NEIGHBOURS, asked).fetchone()
    connection.execute(_LINK, (link(id_, own), row.sid, namespace, above))
    return link(below, seen.log) if below == seen.head else lower


def _pack_with_own(record: Record, end: int) -> bytes:
    """All spans of a record, packed; `end` is where its own bytes start."""
    size = len(record.append)
    if not record.spans:
        return pack_span(end, size) if size else b""
    if len(record.spans) == 1:
        ((offset, length),) = record.spans
        if length and offset + length == end:  # a list that grew
            return pack_span(offset, length + size)
    return pack_spans(merge_spans((*record.spans, Span(end, size))))


def _append(connection: sqlite3.Connection, row: Row, data: bytes) -> tuple[int, int]:
    """Append to an arena; its new end, and where its last row starts."""
    start, end, tail = row.sid << ARENA_BITS, row.arena_end, row.arena_tail
    if tail < end and end - tail + len(data) <= _PAGE_BYTES:
        if not connection.execute(_APPEND, (data, start | tail, end - tail)).rowcount:
            damaged("arena", start | tail, "it is not as long as it was, or is lost")
        return end + len(data), tail
    if len(data) <= _PIECE_BYTES:
        connection.execute(_NEW_ROW, (start + end, data))
        return end + len(data), end
    view = memoryview(data)
    offsets = range(0, len(data), _PIECE_BYTES)
    pieces = ((start + end + at, view[at : at + _PIECE_BYTES]) for at in offsets)
    connection.executemany(_NEW_ROW, pieces)
    return end + len(data), end + offsets[-1]


# --- pending writes -------------------------------------------------------------------------------


def _count_writes(
    connection: sqlite3.Connection, sid: int, name: Name, added: int, *, leads: bool
) -> None:
    """Add to the sum of a checkpoint's writes, which is not the session's latest one."""
    namespace, id_ = name
    if leads:
        connection.execute(_ADD_TO_HEAD, (added, sid, namespace))
    elif connection.execute(_IS_THERE, (sid, namespace, id_)).fetchone():
        connection.execute(_ADD_ABOVE, (added, sid, namespace, sid, namespace, id_))


def _add_writes(connection: sqlite3.Connection, sid: int, writes: Writes, replaced: int) -> int:
    """Write pending writes; how much the sum of their checkpoint is more than before.

    `replaced` says whether the first of them that replaces another one does so.
    """
    place = (sid, *writes.name)
    spans = pack_spans(writes.spans) if writes.spans else b""
    there: object = replaced
    first, fresh = True, set()
    for entry in writes.entries:
        key, row = entry.key, (*place, entry.key, spans, entry.body)
        if not entry.replace:
            if connection.execute(_FIRST_WINS, row).rowcount:
                fresh.add(key)
            continue
        if not first:
            there = connection.execute(_WRITE, (*place, key)).fetchone()
        first = False
        if not there:
            fresh.add(key)
        connection.execute(_LAST_WINS, row)
    return sum(map(weight, fresh)) & MASK
