"""Reading the tables: checkpoints, arenas, listings. Inside a transaction; reads no clock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, NoReturn

from wren_sessions._damage import damage_error
from wren_sessions.keys import MAX_ID_BYTES
from wren_sessions.records import (
    ArenaParts,
    Held,
    Loaded,
    Name,
    Scanned,
    SessionInfo,
    SessionPage,
    Span,
    Start,
    Stored,
    merge_spans,
    missing,
)
from wren_sessions.stores._checks import make_cursor
from wren_sessions.stores.file import sessions
from wren_sessions.stores.file.cells import (
    MASK,
    DamagedError,
    Row,
    count_of,
    damaged,
    data_of,
    header_of,
    leads_to,
    link,
    name_of,
    record_of,
    row_of,
    sum_below,
    writes_of,
)
from wren_sessions.stores.file.counts import all_records, count_namespaces
from wren_sessions.stores.file.noting import notes_of
from wren_sessions.stores.file.schema import ARENA_BITS, ARENA_BYTES
from wren_sessions.stores.file.sessions import Key

_LOWER: Final = """(SELECT max(l.id) FROM records l
    WHERE l.sid = r.sid AND l.namespace = r.namespace AND l.id < r.id)"""
_ABOVE: Final = """(SELECT a.lower FROM records a
    WHERE a.sid = r.sid AND a.namespace = r.namespace AND a.id > r.id ORDER BY a.id LIMIT 1)"""
_ANY_WRITES: Final = """EXISTS (SELECT 1 FROM writes w
    WHERE w.sid = r.sid AND w.namespace = r.namespace AND w.id = r.id)"""
_RECORD: Final = sessions.select(f"""s.state, h.head, h.records, h.log, {_ABOVE},
        r.id, r.base, r.spans, r.body, r.lower, {_LOWER}, {_ANY_WRITES}
    FROM sessions s LEFT JOIN heads h ON h.sid = s.sid AND h.namespace = ?
    LEFT JOIN records r ON r.sid = s.sid AND r.namespace = ? AND r.id = ?
    WHERE {sessions.OF_KEY}""")
_HEAD: Final = sessions.select(f"""s.state, h.head, h.records, h.log, NULL,
        r.id, r.base, r.spans, r.body, r.lower, {_LOWER}, {_ANY_WRITES}
    FROM sessions s LEFT JOIN heads h ON h.sid = s.sid AND h.namespace = ?
    LEFT JOIN records r ON r.sid = s.sid AND r.namespace = h.namespace AND r.id = h.head
    WHERE {sessions.OF_KEY}""")
_AROUND: Final = """
    SELECT a.lower, (SELECT max(b.id) FROM records b
        WHERE b.sid = a.sid AND b.namespace = a.namespace AND b.id < a.id)
    FROM records a WHERE a.sid = ? AND a.namespace = ? AND a.id > ? ORDER BY a.id LIMIT 2"""
_ANY_RECORD: Final = "SELECT 1 FROM records WHERE sid = ? AND namespace = ? LIMIT 1"
_BELOW: Final = """
    SELECT id, base, spans, body, lower FROM records WHERE sid = ? AND namespace = ? AND id < ?
    ORDER BY id DESC LIMIT ?"""
_WRITES_OF: Final = """
    SELECT rowid, key, spans, body FROM writes WHERE sid = ? AND namespace = ? AND id = ?"""
_WRITES: Final = """
    SELECT id, key, spans, body FROM writes WHERE sid = ? AND namespace = ? AND id BETWEEN ? AND ?
    ORDER BY rowid"""
_ARENA: Final = """
    SELECT pos, data FROM arena
    WHERE pos >= (SELECT max(pos) FROM arena WHERE pos <= ?) AND pos < ? ORDER BY pos"""
_HEADS: Final = """
    SELECT h.namespace, h.head, r.id FROM heads h
    LEFT JOIN records r ON r.sid = h.sid AND r.namespace = h.namespace AND r.id = h.head
    WHERE h.sid = ? ORDER BY h.made"""
_HEAD_OF: Final = """
    SELECT h.namespace, h.head, r.id, h.log,
        (SELECT a.lower FROM records a
            WHERE a.sid = h.sid AND a.namespace = h.namespace AND a.id >= ? ORDER BY a.id LIMIT 1)
    FROM heads h
    LEFT JOIN records r ON r.sid = h.sid AND r.namespace = h.namespace AND r.id = h.head
    WHERE h.sid = ? AND h.namespace = ?"""
_INFO: Final = sessions.select(f"""
        (SELECT owner FROM notes WHERE sid = s.sid), (SELECT about FROM notes WHERE sid = s.sid),
        s.state,
        length(CAST(s.name AS BLOB)) + length(s.state)
        + (SELECT total(length(data)) FROM arena
            WHERE pos >= s.sid << 32 AND pos < s.sid + 1 << 32)
        + (SELECT total(length(body) + length(spans) + length(token)
                  + length(CAST(namespace || id AS BLOB))) FROM records WHERE sid = s.sid)
        + (SELECT total(length(body) + length(spans)
                  + length(CAST(namespace || id || key AS BLOB))) FROM writes WHERE sid = s.sid)
        + (SELECT total(length(CAST(namespace || head AS BLOB))) FROM heads WHERE sid = s.sid)
    FROM sessions s WHERE {sessions.OF_KEY}""")  # noqa: S608 -- nothing comes from outside
_PAGE: Final = sessions.select(f"""n.owner, n.about, s.name, s.state
    FROM sessions s LEFT JOIN notes n ON n.sid = s.sid
    WHERE {sessions.OF_PREFIX} AND s.name > ? AND s.name < x'' AND length(s.name) <= {MAX_ID_BYTES}
        AND (s.deadline_ms IS NULL OR s.deadline_ms > ?) ORDER BY s.name LIMIT ?""")

BRIEF_BYTES: Final = 2_097_152
"""So much is read in about a millisecond, the time that a writer may have to wait for it."""

_BEHIND: Final = 12  # columns behind those of the session
_TOP: Final = b""  # SQLite sorts every blob behind every text


class TooLongError(Exception):
    """There is more to be read than `BRIEF_BYTES`."""


def load(
    connection: sqlite3.Connection,
    key: Key,
    namespace: str,
    checkpoint_id: str | None,
    now_ms: int,
    *,
    held: Held | None,
    brief: bool,
) -> tuple[Row, Loaded] | None:
    """One checkpoint with all it refers to, but for what is held, and its session's row.

    Raises:
        TooLongError: it is to be brief, and refers to more than that of the arena.
        CorruptSessionError: it refers to what is not there.
    """
    if checkpoint_id is None:
        found = connection.execute(_HEAD, (namespace, *key)).fetchone()
    else:
        asked = (namespace, namespace, checkpoint_id, *key)
        found = connection.execute(_RECORD, asked).fetchone()
    row = row_of(found[:-_BEHIND]) if found else None
    if row is None or not row.alive(now_ms):
        return None
    state, head, count, log, above, *record = found[-_BEHIND:]
    if record[0] is None:
        asked_for = head if checkpoint_id in {None, head} else None
        _missed(connection, row, namespace, asked_for, count)
        around = connection.execute(_AROUND, (row.sid, namespace, checkpoint_id)).fetchall()
        for lower, below in around:  # the first may be the one that is looked for, renamed
            _follows(lower, below)
        return None
    stored, total = _whole(connection, row.sid, namespace, record)
    leads = head == stored.name[1]
    if not leads:
        said: object = sum_below(count_of(above, row.sid, "records", "lower"))
    else:
        said = row.log if namespace == "" else log
    # The one above it is the next one, and speaks of it, only if none of them is lost.
    if said not in {None, total} and (leads or all_records(connection, row.sid, namespace, count)):
        _lost_writes(stored.name[1])
    spans = missing(stored.spans, held, row.incarnation)
    if brief and not is_brief(spans):
        raise TooLongError
    arena = read(connection, row.sid, spans)
    if arena is None:
        what = f"checkpoint {stored.name!r} of session {key.session!r}"
        raise damage_error(key.session, f"{what} refers to bytes that are not there")
    return row, Loaded(
        life=row.life(now_ms),
        stored=stored,
        arena=arena,
        state=state if type(state) is bytes else header_of(state, row),
    )


def is_brief(spans: Iterable[Span]) -> bool:
    """Whether so much of an arena is read in no time."""
    return sum([length for _, length in spans]) <= BRIEF_BYTES


def _no_record(sid: int, namespace: str) -> NoReturn:
    damaged("heads", sid, f"the head of namespace {namespace!r:.200} is a record that is lost")


def _missed(
    connection: sqlite3.Connection, row: Row, namespace: str, head: object, count: int | None
) -> None:
    """Make sure that a checkpoint which is not there never was.

    `head` is the namespace's latest checkpoint, if that is the one; `count` says how many records
    the namespace has, and is None if it has no head or that is not known.
    """
    if head is not None:
        _no_record(row.sid, namespace)
    if not all_records(connection, row.sid, namespace, count):
        damaged("records", row.sid, f"namespace {namespace!r:.200} had {count} of them")
    any_record = connection.execute(_ANY_RECORD, (row.sid, namespace)).fetchone()
    any_head = connection.execute(_HEAD_OF, ("", row.sid, namespace)).fetchone()
    if any_record and not any_head:
        damaged("heads", row.sid, f"there is no head of namespace {namespace!r:.200}")
    if not any_head:
        count_namespaces(connection, row)


def _lost_writes(checkpoint_id: str) -> NoReturn:
    damaged("writes", checkpoint_id, "they are not those that were written")


def _whole(
    connection: sqlite3.Connection, sid: int, namespace: str, cells: Sequence[Any]
) -> tuple[Stored, int]:
    """A record with its writes, and their sum.

    The cells are those of the record, the next lower id, and whether there are writes.
    """
    *own, lower, below, any_writes = cells
    name, base, spans, body = record_of(own)
    found = []
    if any_writes:
        found = connection.execute(_WRITES_OF, (sid, namespace, name)).fetchall()
        found.sort()  # by their numbers, which are all different
    writes, linked, total = writes_of(name, found)
    if below is not None and type(below) is not str:
        name_of(below, name)
    follows = lower is None or (type(lower) is int and lower == link(below, lower & MASK))
    stored = Stored(
        name=(namespace, name),
        body=body,
        base=base,
        spans=merge_spans([*spans, *linked]) if linked else tuple(spans),
        writes=writes,
        below=below if follows else "",
    )
    return stored, total


def scan(
    connection: sqlite3.Connection, row: Row, starts: Sequence[Start], limit: int, now_ms: int
) -> Scanned:
    """Records with their writes, and where to go on; one record more is looked at to know."""
    found: list[Stored] = []
    heads: dict[str, str] = {}
    for at, start in enumerate(starts):
        wanted = limit - len(found)
        page = _page_of(connection, row, start, wanted)
        heads.update(page.heads)
        found += page.records
        if page.more:
            last = page.records[-1].name[1] if wanted else start.before
            rest = (Start(start.namespace, last), *starts[at + 1 :])
            return Scanned(records=tuple(found), rest=rest, life=row.life(now_ms), heads=heads)
    return Scanned(records=tuple(found), life=row.life(now_ms), heads=heads)


class _Page(NamedTuple):
    """Records of one namespace, its head, and whether there are more of them."""

    records: list[Stored]
    heads: list[Name]
    more: bool


def _page_of(connection: sqlite3.Connection, row: Row, start: Start, wanted: int) -> _Page:
    """The records of a namespace below one, each as the one above it says."""
    sid, namespace = row.sid, start.namespace
    before = _TOP if start.before is None else start.before
    leads = connection.execute(_HEAD_OF, (before, sid, namespace)).fetchall()
    heads = _checked_heads(sid, [cells[:3] for cells in leads])
    some = connection.execute(_BELOW, (sid, namespace, before, wanted + 1)).fetchall()
    if not leads:
        _missed(connection, row, namespace, None, None)
        return _Page([], [], more=False)
    *_, log, said = leads[0]
    if namespace == "":
        log = row.log
    below = [*(name_of(cells[0], sid) for cells in some[1:]), None]
    rows = [(*cells, lower) for cells, lower in zip(some[:wanted], below, strict=False)]
    records = []
    for stored, total, lower in _stored(connection, sid, namespace, rows):
        id_ = stored.name[1]
        if said != link(id_, total) or id_ == heads[0][1]:
            _follows(said, id_)
            if (log if id_ == heads[0][1] else sum_below(said)) not in {None, total}:
                _lost_writes(id_)
        records.append(stored)
        said = lower
    more = len(some) > wanted
    if wanted:
        _follows(said, below[len(rows) - 1] if rows else None)
    return _Page(records, heads, more)


def _follows(said: object, checkpoint_id: str | None) -> None:
    """Make sure that a record is the next lower one of the record above it."""
    if not leads_to(count_of(said, checkpoint_id, "records", "lower"), checkpoint_id):
        where = "below all that are left" if checkpoint_id is None else f"above {checkpoint_id!r}"
        damaged("records", checkpoint_id, f"one {where} is lost")


def _stored(
    connection: sqlite3.Connection, sid: int, namespace: str, rows: Sequence[Any]
) -> list[tuple[Stored, int, object]]:
    """Records, given by descending id: with their writes, the sum of these, and what is below."""
    if not rows:
        return []
    records = [record_of(row[:-2]) for row in rows]
    found: dict[str, list[Sequence[Any]]] = {name: [] for name, *_ in records}
    bounds = (records[-1][0], records[0][0])
    for cells in connection.execute(_WRITES, (sid, namespace, *bounds)):
        if cells[0] in found:
            found[cells[0]].append(cells)
    stored = []
    for (name, base, spans, body), (*_, lower, below) in zip(records, rows, strict=True):
        writes, linked, total = writes_of(name, found[name])
        own = Stored(
            name=(namespace, name),
            body=body,
            base=base,
            spans=merge_spans([*spans, *linked]),
            writes=writes,
            below=below,
        )
        stored.append((own, total, lower))
    return stored


def read(connection: sqlite3.Connection, sid: int, spans: Iterable[Span]) -> ArenaParts | None:
    """Parts of an arena, or None if one of them is not there."""
    parts = []
    for span in spans:
        possible = span.offset >= 0 and span.length >= 0 and span.end <= ARENA_BYTES
        part = _part(connection, sid, span) if possible else None
        if part is None:
            return None
        parts.append((span.offset, part))
    return ArenaParts(parts)


def _part(connection: sqlite3.Connection, sid: int, span: Span) -> bytes | None:
    if not span.length:
        return b""
    start, end = (sid << ARENA_BITS) + span.offset, (sid << ARENA_BITS) + span.end
    rows = connection.execute(_ARENA, (start, end)).fetchall()
    first = at = rows[0][0] if rows else end
    for pos, data in rows:
        if pos != at:  # a prune left a gap here
            return None
        at += len(data_of(data, pos))
    if first > start or at < end:
        return None
    pieces = [data for _, data in rows]
    if at > end:
        pieces[-1] = pieces[-1][: end - at]
    if first < start:
        pieces[0] = pieces[0][start - first :]
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def heads(connection: sqlite3.Connection, row: Row) -> tuple[Name, ...]:
    """The latest checkpoint of each namespace, the oldest namespace first."""
    found = _checked_heads(row.sid, connection.execute(_HEADS, (row.sid,)).fetchall())
    if row.namespaces not in {None, len(found)}:
        count_namespaces(connection, row)
    return tuple(found)


def _checked_heads(sid: int, rows: Sequence[Any]) -> list[Name]:
    found = []
    for namespace, head, there in rows:
        name = name_of(namespace, sid, "heads", "namespace")
        if there is None:
            _no_record(sid, name)
        found.append((name, name_of(head, sid, "heads", "head")))
    return found


def info(connection: sqlite3.Connection, key: Key, now_ms: int) -> SessionInfo | None:
    """A session's life, header and size."""
    found = connection.execute(_INFO, key).fetchone()
    row = row_of(found[:-4]) if found else None
    if row is None or not row.alive(now_ms):
        return None
    state, size_bytes = header_of(found[-2], row), found[-1]
    return SessionInfo(
        session=key.session,
        life=row.life(now_ms),
        state=state,
        size_bytes=int(size_bytes),
        idle=row.own_idle,
        notes=notes_of(found[-4], found[-3], row.sid),
    )


def page(
    connection: sqlite3.Connection, prefix: str, after: str, limit: int, now_ms: int
) -> SessionPage:
    """The sessions of a prefix behind an id, sorted by id; those that are damaged are counted."""
    found = _page(connection, (prefix, after, now_ms, limit + 1))
    listed = []
    for *cells, owner, about, session, state in found[:limit]:
        with suppress(DamagedError):
            row = row_of(cells)
            info = SessionInfo(
                session=session,
                life=row.life(now_ms),
                state=header_of(state, row),
                idle=row.own_idle,
                notes=notes_of(owner, about, row.sid),
            )
            listed.append(info)
    cursor = make_cursor(found[limit - 1][-2]) if len(found) > limit else None
    foreign = min(len(found), limit) - len(listed)
    return SessionPage(sessions=tuple(listed), cursor=cursor, foreign=foreign)


def _page(connection: sqlite3.Connection, values: tuple[str, str, int, int]) -> list[Any]:
    """The rows of a page whose names can be read; what else is no UTF-8 is None."""
    try:
        return connection.execute(_PAGE, values).fetchall()
    except sqlite3.OperationalError:
        connection.text_factory = _text_or_none
        try:
            found = connection.execute(_PAGE, values).fetchall()
        finally:
            connection.text_factory = str
    if any(name is None for *_, name, _ in found):
        damaged("sessions", values[1], "the name of a session behind it is no UTF-8")
    return found


def _text_or_none(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
