"""Reading the tables: checkpoints, arenas, listings. Inside a transaction; reads no clock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from wren_sessions.errors import CorruptSessionError
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
    StoredWrite,
    merge_spans,
    missing,
)
from wren_sessions.stores._checks import make_cursor
from wren_sessions.stores.file import sessions
from wren_sessions.stores.file.schema import ARENA_BITS
from wren_sessions.stores.file.sessions import Key, Row
from wren_sessions.stores.file.writing import unpack_spans

_LOWER: Final = """(SELECT max(l.id) FROM records l
    WHERE l.sid = r.sid AND l.namespace = r.namespace AND l.id < r.id)"""
_RECORD: Final = sessions.select(f"""s.state, r.id, r.base, r.spans, r.body, {_LOWER}
    FROM sessions s JOIN records r ON r.sid = s.sid AND r.namespace = ? AND r.id = ?
    WHERE {sessions.OF_KEY}""")
_HEAD: Final = sessions.select(f"""s.state, r.id, r.base, r.spans, r.body, {_LOWER}
    FROM sessions s JOIN heads h ON h.sid = s.sid AND h.namespace = ?
    JOIN records r ON r.sid = s.sid AND r.namespace = h.namespace AND r.id = h.head
    WHERE {sessions.OF_KEY}""")
_BELOW: Final = """
    SELECT id, base, spans, body FROM records WHERE sid = ? AND namespace = ? AND id < ?
    ORDER BY id DESC LIMIT ?"""
_WRITES_OF: Final = """
    SELECT rowid, key, spans, body FROM writes WHERE sid = ? AND namespace = ? AND id = ?"""
_WRITES: Final = """
    SELECT id, key, spans, body FROM writes WHERE sid = ? AND namespace = ? AND id BETWEEN ? AND ?
    ORDER BY rowid"""
_ARENA: Final = """
    SELECT pos, data FROM arena
    WHERE pos >= (SELECT max(pos) FROM arena WHERE pos <= ?) AND pos < ? ORDER BY pos"""
_HEAD_OF: Final = "SELECT namespace, head FROM heads WHERE sid = ? AND namespace = ?"
_HEADS: Final = "SELECT namespace, head FROM heads WHERE sid = ? ORDER BY made"
_INFO: Final = sessions.select(f"""s.state,
        length(CAST(s.name AS BLOB)) + length(s.state)
        + (SELECT total(length(data)) FROM arena
            WHERE pos >= s.sid << 32 AND pos < s.sid + 1 << 32)
        + (SELECT total(length(body) + length(spans) + length(token)
                  + length(CAST(namespace || id AS BLOB))) FROM records WHERE sid = s.sid)
        + (SELECT total(length(body) + length(spans)
                  + length(CAST(namespace || id || key AS BLOB))) FROM writes WHERE sid = s.sid)
        + (SELECT total(length(CAST(namespace || head AS BLOB))) FROM heads WHERE sid = s.sid)
    FROM sessions s WHERE {sessions.OF_KEY}""")  # noqa: S608 -- nothing comes from outside
_PAGE: Final = sessions.select(f"""s.name, s.state FROM sessions s
    WHERE {sessions.OF_PREFIX} AND s.name > ? AND length(s.name) <= {MAX_ID_BYTES}
        AND (s.deadline_ms IS NULL OR s.deadline_ms > ?) ORDER BY s.name LIMIT ?""")

BRIEF_BYTES: Final = 2_097_152
"""So much is read in about a millisecond, the time that a writer may have to wait for it."""

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
        found = connection.execute(_RECORD, (namespace, checkpoint_id, *key)).fetchone()
    row = Row._make(found[:-6]) if found else None
    if row is None or not row.alive(now_ms):
        return None
    stored = _whole(connection, row.sid, namespace, found[-5:])
    spans = missing(stored.spans, held, row.incarnation)
    if brief and not is_brief(spans):
        raise TooLongError
    arena = read(connection, row.sid, spans)
    if arena is None:
        raise CorruptSessionError(
            f"checkpoint {stored.name!r} of session {key.session!r} refers to bytes that are not "
            "there. Restore the session from a backup, or delete it",
            session=key.session,
        )
    return row, Loaded(life=row.life(now_ms), stored=stored, arena=arena, state=found[-6])


def is_brief(spans: Iterable[Span]) -> bool:
    """Whether so much of an arena is read in no time."""
    return sum([length for _, length in spans]) <= BRIEF_BYTES


def _whole(
    connection: sqlite3.Connection,
    sid: int,
    namespace: str,
    record: tuple[str, int, bytes, bytes, str | None],
) -> Stored:
    """A record with its writes."""
    name, base, packed, body, below = record
    spans = unpack_spans(packed)
    found = connection.execute(_WRITES_OF, (sid, namespace, name)).fetchall()
    if len(found) > 1:
        found.sort()
    for _, _, linked, _ in found:
        if linked:
            spans += unpack_spans(linked)
    return Stored(
        name=(namespace, name),
        body=body,
        base=base,
        spans=merge_spans(spans),  # as they are written but for those of the writes; not if planted
        writes=tuple([StoredWrite(key, body) for _, key, _, body in found]),
        below=below,
    )


def scan(
    connection: sqlite3.Connection, row: Row, starts: Sequence[Start], limit: int, now_ms: int
) -> Scanned:
    """Records with their writes, and where to go on; one record more is looked at to know."""
    found: list[Stored] = []
    heads: dict[str, str] = {}
    for at, start in enumerate(starts):
        heads.update(connection.execute(_HEAD_OF, (row.sid, start.namespace)).fetchall())
        wanted = limit - len(found)
        before = _TOP if start.before is None else start.before
        values = (row.sid, start.namespace, before, wanted + 1)
        rows = connection.execute(_BELOW, values).fetchall()
        found += _stored(connection, row.sid, start.namespace, rows, wanted)
        if len(rows) > wanted:
            last = rows[wanted - 1][0] if wanted else start.before
            rest = (Start(start.namespace, last), *starts[at + 1 :])
            return Scanned(records=tuple(found), rest=rest, life=row.life(now_ms), heads=heads)
    return Scanned(records=tuple(found), life=row.life(now_ms), heads=heads)


def _stored(
    connection: sqlite3.Connection, sid: int, namespace: str, some: Sequence[Any], wanted: int
) -> list[Stored]:
    """The first of some records, given by descending id, with their writes."""
    rows = some[:wanted]
    if not rows:
        return []
    below = [*(row[0] for row in some[1:]), None]
    writes: dict[str, list[StoredWrite]] = {row[0]: [] for row in rows}
    spans = {row[0]: unpack_spans(row[2]) for row in rows}
    bounds = (rows[-1][0], rows[0][0])
    for owner, key, linked, body in connection.execute(_WRITES, (sid, namespace, *bounds)):
        if owner in writes:
            writes[owner].append(StoredWrite(key, body))
            spans[owner] += unpack_spans(linked)
    return [
        Stored(
            name=(namespace, name),
            body=body,
            base=base,
            spans=merge_spans(spans[name]),
            writes=tuple(writes[name]),
            below=lower,
        )
        for (name, base, _, body), lower in zip(rows, below, strict=False)
    ]


def read(connection: sqlite3.Connection, sid: int, spans: Iterable[Span]) -> ArenaParts | None:
    """Parts of an arena, or None if one of them is not there."""
    parts = []
    for span in spans:
        inside = 0 <= span.offset <= span.end <= 1 << ARENA_BITS  # and not in another's arena
        part = _part(connection, sid, span) if inside else None
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
        at += len(data)
    if first > start or at < end:
        return None
    pieces = [data for _, data in rows]
    if at > end:
        pieces[-1] = pieces[-1][: end - at]
    if first < start:
        pieces[0] = pieces[0][start - first :]
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def heads(connection: sqlite3.Connection, sid: int) -> tuple[Name, ...]:
    """The latest checkpoint of each namespace, the oldest namespace first."""
    return tuple(connection.execute(_HEADS, (sid,)).fetchall())


def info(connection: sqlite3.Connection, key: Key, now_ms: int) -> SessionInfo | None:
    """A session's life, header and size."""
    found = connection.execute(_INFO, key).fetchone()
    row = Row._make(found[:-2]) if found else None
    if row is None or not row.alive(now_ms):
        return None
    state, size_bytes = found[-2:]
    return SessionInfo(
        session=key.session,
        life=row.life(now_ms),
        state=state,
        size_bytes=int(size_bytes),
        idle=row.own_idle,
    )


def page(
    connection: sqlite3.Connection, prefix: str, after: str, limit: int, now_ms: int
) -> SessionPage:
    """The sessions of a prefix behind an id, sorted by id."""
    found = connection.execute(_PAGE, (prefix, after, now_ms, limit + 1)).fetchall()
    listed = tuple(
        SessionInfo(session=session, life=Row._make(columns).life(now_ms), state=state)
        for *columns, session, state in found[:limit]
    )
    more = len(found) > limit
    return SessionPage(sessions=listed, cursor=make_cursor(listed[-1].session) if more else None)
