"""Cells of a session file become records here, and are checked. Nothing else reads them.

SQLite keeps any value in any column of a plain table. And somebody who can write to the file can
store what a strict table would refuse: other types, numbers of any size, text that is not UTF-8,
incomplete spans. So the type, range and shape of every cell are checked. A wrong one is a
`DamagedError` that names the table, the row and the column, never the value. `errors` turns it into
a `CorruptSessionError`, with the session and the file.

Times are not checked: every integer is a time. Code that shows one must know that the calendar may
not reach that far (`ttl.time_of`). Times that are computed from one stay within SQLite's 64 bits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import product
from struct import Struct
from types import NoneType
from typing import Any, Final, NamedTuple, NoReturn
from zlib import crc32

from wren_sessions.records import Life, Span, StoredWrite
from wren_sessions.stores.file.schema import ARENA_BYTES, SESSIONS_PER_FILE
from wren_sessions.ttl import MAX_MS, Override, TTLPolicy

_MOST_REVISIONS: Final = 1 << 62
_LAST_MS: Final = (1 << 63) - 1
_PAIR: Final = Struct(">QQ")
_OPTIONAL: Final = (int, NoneType)


class DamagedError(sqlite3.DatabaseError):
    """A row that holds what this package never wrote there."""


class DamagedSchemaError(DamagedError):
    """A file whose tables are not those that this package makes."""


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
    tokens: str
    namespaces: int | None
    log: int | None

    def alive(self, now_ms: int) -> bool:
        """Whether its deadline is still to come."""
        deadline_ms = self.deadline_ms
        return deadline_ms is None or deadline_ms > now_ms

    def deadline(self, policy: TTLPolicy, now_ms: int) -> int | None:
        """When it would expire if it were used now."""
        return deadline_ms(
            policy,
            now_ms,
            self.created_ms,
            override=self.own_idle,
            pinned=bool(self.pinned),
        )

    def written(
        self,
        now_ms: int,
        deadline_ms: int | None,
        arena: tuple[int, int],
        tokens: str,
        counts: tuple[int | None, int | None],
    ) -> Row:
        """It after a commit: with its new deadline, the arena's end and last row, and so on."""
        same = (self.sid, self.incarnation, self.created_ms)
        rules = (self.sweep_ms, self.own_idle, self.pinned)
        return Row(*same, now_ms, deadline_ms, *rules, self.revision + 1, *arena, tokens, *counts)

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


def deadline_ms(
    policy: TTLPolicy,
    now_ms: int,
    created_ms: int,
    *,
    override: Override = None,
    pinned: bool = False,
) -> int | None:
    """When a session expires that is used now, as far as a column can hold it."""
    found = policy.deadline_ms(
        used_ms=now_ms, created_ms=created_ms, override=override, pinned=pinned
    )
    return None if found is None else max(-_LAST_MS, min(found, _LAST_MS))


# --- sessions -------------------------------------------------------------------------------------

_ROW_KINDS: Final = (
    (int,),
    (str,),
    (int,),
    (int,),
    _OPTIONAL,
    _OPTIONAL,
    (int, str, NoneType),
    (int,),
    (int,),
    (int,),
    (int,),
    (str,),
    _OPTIONAL,
    _OPTIONAL,
)
_ROWS: Final = frozenset(product(*_ROW_KINDS))
_row: Callable[[Sequence[Any]], Row] = partial(tuple.__new__, Row)


def row_of(cells: Sequence[Any]) -> Row:
    """A session's row."""
    sid, _, _, _, _, _, own_idle, pinned, revision, end, tail, _, namespaces, log = cells
    if tuple(map(type, cells)) not in _ROWS:
        _blame("sessions", sid, Row._fields, cells, _ROW_KINDS)
    if not (
        0 < sid < SESSIONS_PER_FILE
        and 0 <= tail <= end <= ARENA_BYTES
        and 0 <= revision < _MOST_REVISIONS
        and 0 <= pinned <= 1
        and 0 <= (namespaces or 0) < _MOST_REVISIONS
        and 0 <= (log or 0) < _MOST_REVISIONS
        and (own_idle in {None, "none"} or (type(own_idle) is int and 1 <= own_idle <= MAX_MS))
    ):
        damaged("sessions", sid, "a number in it is out of range")
    return _row(cells)


def header_of(state: object, row: Row) -> bytes:
    """A session's header."""
    if type(state) is not bytes:
        _blame("sessions", row.sid, ("state",), (state,), ((bytes,),))
    return state


# --- records and pending writes -------------------------------------------------------------------

_RECORD: Final = ("id", "base", "spans", "body")
_RECORD_KINDS: Final = ((str,), (int,), (bytes,), (bytes,))
_WRITE: Final = ("key", "spans", "body")
_WRITE_KINDS: Final = ((str,), (bytes,), (bytes,))
_TEXT: Final = {str}
_BLOB: Final = {bytes}
_stored_write: Callable[[tuple[str, bytes]], StoredWrite] = partial(tuple.__new__, StoredWrite)


def record_of(cells: Sequence[Any]) -> tuple[str, int, list[Span], bytes]:
    """A record, given by its id, base, packed spans and body.

    Returns:
        The same with the spans, which are ascending and do not overlap.
    """
    name, base, packed, body = cells
    if not (type(name) is str and type(base) is int and type(packed) is type(body) is bytes):
        _blame("records", name, _RECORD, cells, _RECORD_KINDS)
    if not 0 <= base <= ARENA_BYTES:
        damaged("records", name, "base is out of range")
    return name, base, unpack_spans(packed, "records", name), body


def number(connection: sqlite3.Connection, statement: str, *args: int | str) -> int:
    """What a statement counts, or a setting that is a number."""
    (found,) = connection.execute(statement, args).fetchone()
    return int(found)


def name_of(found: object, row: object, table: str = "records", column: str = "id") -> str:
    """A text that names something."""
    if type(found) is not str:
        _blame(table, row, (column,), (found,), ((str,),))
    return found


def writes_of(
    owner: object, rows: Sequence[Sequence[Any]]
) -> tuple[tuple[StoredWrite, ...], list[Span], int]:
    """Pending writes of a checkpoint, each given by something else, its key, packed spans and body.

    There may be hundreds of them, so all are looked at by a few calls that run in C.

    Returns:
        The writes, what all of them link to, and their sum.
    """
    if not rows:
        return (), [], 0
    _, keys, packed, bodies = zip(*rows, strict=True)
    if {*map(type, keys)} != _TEXT or {*map(type, packed), *map(type, bodies)} != _BLOB:
        for _, *cells in rows:
            if tuple(map(type, cells)) != (str, bytes, bytes):
                _blame("writes", owner, _WRITE, cells, _WRITE_KINDS)
    spans: list[Span] = []
    for some in filter(None, packed):
        spans += unpack_spans(some, "writes", owner, ordered=False)
    writes = tuple(map(_stored_write, zip(keys, bodies, strict=True)))
    return writes, spans, sum([crc32(key.encode()) for key in keys]) & MASK


pack_span: Final = _PAIR.pack
"""One span as it stands in a row: its offset and its length."""


def pack_spans(spans: Iterable[Span]) -> bytes:
    """Spans as they stand in a row, one behind the other."""
    return b"".join([pack_span(*span) for span in spans])


def unpack_spans(packed: bytes, table: str, row: object, *, ordered: bool = True) -> list[Span]:
    """What `pack_spans` packed; if it is ordered, so many spans hold no byte twice."""
    if len(packed) % _PAIR.size:
        damaged(table, row, "spans end in the middle")
    spans = list(map(Span._make, _PAIR.iter_unpack(packed)))
    last = 0
    for offset, length in spans:
        if offset < last and ordered:
            damaged(table, row, "spans are out of order")
        last = offset + length
        if last > ARENA_BYTES:
            damaged(table, row, "spans are out of range")
    return spans


# --- what there is to be: see `counts` ------------------------------------------------------------

SUM_BITS: Final = 32
MASK: Final = (1 << SUM_BITS) - 1
_MARKS: Final = 32_767  # with a sum, 47 bits: six bytes of a row


def count_of(found: object, row: object, table: str, column: str) -> int | None:
    """A number of those that `counts` explains; None where it is not known."""
    if type(found) not in _OPTIONAL:
        _blame(table, row, (column,), (found,), (_OPTIONAL,))
    if found is not None and not 0 <= found < _MOST_REVISIONS:  # type: ignore[operator]
        damaged(table, row, f"{column} is out of range")
    return found  # type: ignore[return-value]


def weight(key: str) -> int:
    """What a pending write adds to the sum of its checkpoint."""
    return crc32(key.encode())


def link(checkpoint_id: str | None, log: int | None) -> int | None:
    """What a record says of the next lower one, whose writes have the sum `log`."""
    if checkpoint_id is None or log is None:
        return 0 if checkpoint_id is None else None
    return crc32(checkpoint_id.encode()) % _MARKS + 1 << SUM_BITS | log


def leads_to(lower: int | None, checkpoint_id: str | None) -> bool:
    """Whether that is the next lower record which a record speaks of; yes where it is not known."""
    return lower is None or (lower & ~MASK) == link(checkpoint_id, 0)


def sum_below(lower: int | None) -> int | None:
    """The sum of the writes of the next lower checkpoint, as a record says it."""
    return None if lower is None else lower & MASK


# --- the arena ------------------------------------------------------------------------------------


def data_of(data: object, pos: int) -> bytes:
    """A row of the arena."""
    if type(data) is not bytes:
        _blame("arena", pos, ("data",), (data,), ((bytes,),))
    return data


def length_of(length: object, pos: int) -> int:
    """The length of a row of the arena."""
    if type(length) is not int:
        damaged("arena", pos, "data has no length")
    return length


# --- what is wrong --------------------------------------------------------------------------------


def damaged(table: str, row: object, why: str) -> NoReturn:
    """Raise the error for a row; `row` is what it is found by."""
    raise DamagedError(f"row {row!r:.200} of table {table}: {why}")


def _blame(
    table: str,
    row: object,
    columns: Sequence[str],
    cells: Sequence[Any],
    kinds: Sequence[tuple[type, ...]],
) -> NoReturn:
    """Raise the error for the first cell whose type is not one of its column's."""
    for column, cell, allowed in zip(columns, cells, kinds, strict=True):
        if type(cell) not in allowed:
            damaged(table, row, f"{column} is {_SQLITE[type(cell)]}")
    raise AssertionError(columns)


_SQLITE: Final = {
    int: "an integer",
    float: "a real number",
    str: "text",
    bytes: "a blob",
    NoneType: "NULL",
}
