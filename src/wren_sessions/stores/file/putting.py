"""What a commit writes of its checkpoint and of its pending writes, and what these are counted as.

`counts` says what the numbers mean. They go into rows that are written anyway where a checkpoint
becomes the latest of its namespace, and a write is of the latest one of the root; else they take a
statement of their own. Inside a transaction; reads no clock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from wren_sessions.records import Name, Record, Span, Writes, merge_spans
from wren_sessions.stores.file.cells import Row, count_of, damaged, name_of, pack_spans, write_of
from wren_sessions.stores.file.counts import (
    MASK,
    count_namespaces,
    link,
    summed,
    weight,
)
from wren_sessions.stores.file.schema import ARENA_BITS

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
_IS_THERE: Final = "SELECT 1 FROM records WHERE sid = ? AND namespace = ? AND id = ?"
_WRITE: Final = """
    SELECT spans, body FROM writes WHERE sid = ? AND namespace = ? AND id = ? AND key = ?"""


class Counts(NamedTuple):
    """What a session's row says of the others."""

    namespaces: int | None
    log: int | None


class Line(NamedTuple):
    """A namespace that a checkpoint is put into.

    Attributes:
        head: its latest checkpoint; None if it has none.
        log: the sum of the writes of that; None where it is not known.
        top: its highest id.
        early: whether there are writes of the checkpoint before it comes.
        there: whether the checkpoint is there and will be replaced.
    """

    head: str | None = None
    log: int | None = None
    top: str | None = None
    early: bool = False
    there: bool = False


class Owner(NamedTuple):
    """The checkpoint that writes are added to.

    Attributes:
        head: the latest checkpoint of its namespace.
        old: spans and body of the first of the writes that are replaced, or twice None.
    """

    head: str | None = None
    old: tuple[Any, Any] = (None, None)


def line_of(cells: Sequence[Any], namespace: str | None, row: Row, *, there: bool) -> Line:
    """A namespace by its head, sum, highest id, and whether there are early writes."""
    head, log, top, early = cells
    if head is None:
        return Line(None, None, top, bool(early), there)
    log = row.log if namespace == "" else count_of(log, row.sid, "heads", "log")
    return Line(name_of(head, row.sid, "heads", "head"), log, top, bool(early), there)


# --- a checkpoint ---------------------------------------------------------------------------------


def put_record(
    connection: sqlite3.Connection, row: Row, record: Record, token: str, line: Line
) -> tuple[str, Counts]:
    """Write a record; its namespace's head is returned, with what the session's row is to say."""
    namespace, id_ = record.name
    own = summed(connection, row.sid, record.name) if line.early and not line.there else 0
    lower = _lower(connection, row, record.name, line, own)
    packed = _pack_with_own(record, row.arena_end)
    values = (row.sid, namespace, id_, token, row.arena_end, packed, record.body, lower)
    connection.execute(_PUT_RECORD, values)
    root, counts = namespace == "", Counts(row.namespaces, row.log)
    if line.head is None:
        connection.execute(_FIRST_HEAD, (id_, row.sid, namespace, row.revision + 1, own))
        more = None if row.namespaces is None else row.namespaces + 1
        return id_, Counts(more, own if root else row.log)
    if id_ != line.head and (id_ > line.head or record.parent_id == line.head):
        own = _move_head(connection, row.sid, record.name, line, own)
        return id_, counts._replace(log=own) if root else counts
    if not line.there:
        connection.execute(_ONE_MORE, (row.sid, namespace))
    return line.head, counts


def _lower(
    connection: sqlite3.Connection, row: Row, name: Name, line: Line, own: int
) -> int | None:
    """What a record is to say of the next lower one; the one above it is told of it."""
    namespace, id_ = name
    if line.head is None:
        if line.top is not None:
            damaged("heads", row.sid, f"there is no head of namespace {namespace!r:.200}")
        if row.revision:  # it was not made just now
            count_namespaces(connection, row)
        return 0
    if line.there:
        return None  # what stands there stays
    if line.top is None:
        damaged("heads", row.sid, f"all records of namespace {namespace!r:.200} are lost")
    top = name_of(line.top, row.sid)
    if id_ > top:
        latest = line.head == top
        return link(top, line.log if latest else summed(connection, row.sid, (namespace, top)))
    asked = (id_, row.sid, namespace, id_)
    above, lower, below = connection.execute(_NEIGHBOURS, asked).fetchone()
    connection.execute(_LINK, (link(id_, own), row.sid, namespace, above))
    return link(below, line.log) if below == line.head else lower


def _move_head(connection: sqlite3.Connection, sid: int, name: Name, line: Line, own: int) -> int:
    """Make a record its namespace's head; the sum of its writes is returned."""
    namespace, id_ = name
    if line.head != line.top:  # the one above it, which was there before, knows an earlier sum
        place = (sid, namespace, sid, namespace, line.head)
        connection.execute(_LINK_ABOVE, (link(line.head, line.log), *place))
    if line.there:
        own = summed(connection, sid, name)
    connection.execute(_NEXT_HEAD, (id_, not line.there, own, sid, namespace))
    return own


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


def append(connection: sqlite3.Connection, row: Row, data: bytes) -> tuple[int, int]:
    """Append to an arena; its new end, and where its last row starts.

    Raises:
        DamagedError: the last row is not as it was.
    """
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


def first_replaced(writes: Writes | None) -> str | None:
    """The key of the first of some writes that replaces an earlier one; None for none."""
    entries = writes.entries if writes else ()
    return next((entry.key for entry in entries if entry.replace), None)


def add_writes(
    connection: sqlite3.Connection, sid: int, writes: Writes, owner: Owner, counts: Counts
) -> Counts:
    """Add pending writes; what the session's row is to say is returned."""
    namespace, id_ = writes.name
    added = _add(connection, sid, writes, owner.old) & MASK
    if not added:
        return counts
    if owner.head != id_:
        place = (sid, namespace, sid, namespace, id_)
        if connection.execute(_IS_THERE, (sid, namespace, id_)).fetchone():
            connection.execute(_ADD_ABOVE, (added, *place))
        return counts
    if namespace == "":
        return counts._replace(log=None if counts.log is None else counts.log + added & MASK)
    connection.execute(_ADD_TO_HEAD, (added, sid, namespace))
    return counts


def _add(connection: sqlite3.Connection, sid: int, writes: Writes, old: tuple[Any, Any]) -> int:
    """Write pending writes; how much their sum is more than before."""
    place = (sid, *writes.name)
    spans = pack_spans(writes.spans) if writes.spans else b""
    first, added = first_replaced(writes), 0
    written: dict[str, int] = {}
    for key, body, replace in ((entry.key, entry.body, entry.replace) for entry in writes.entries):
        new = weight(key, spans, body)
        if replace:
            if key not in written:
                if key != first:
                    old = connection.execute(_WRITE, (*place, key)).fetchone() or (None, None)
                if old != (None, None):
                    write_of((writes.name[1], key, *old))
                written[key] = 0 if old == (None, None) else weight(key, *old)
            added += new - written[key]
            connection.execute(_LAST_WINS, (*place, key, spans, body))
            written[key] = new
        elif connection.execute(_FIRST_WINS, (*place, key, spans, body)).rowcount:
            added += new
            written[key] = new
    return added
