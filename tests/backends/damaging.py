"""Damage for session files: any value in any cell, rows that are gone, another schema.

Draws are made with a seeded generator, so that a trial is repeated by its number.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

COLUMNS: Final = {
    "prefixes": ("number", "prefix"),
    "sessions": (
        "sid",
        "prefix",
        "name",
        "incarnation",
        "created_ms",
        "updated_ms",
        "deadline_ms",
        "sweep_ms",
        "own_idle",
        "pinned",
        "revision",
        "arena_end",
        "arena_tail",
        "tokens",
        "state",
        "namespaces",
        "log",
    ),
    "records": ("sid", "namespace", "id", "token", "base", "spans", "body", "lower"),
    "heads": ("sid", "namespace", "head", "made", "records", "log"),
    "writes": ("sid", "namespace", "id", "key", "spans", "body"),
    "arena": ("pos", "data"),
}
NUMBERS: Final = (0, 1, -1, 7, 1 << 31, 1 << 32, (1 << 62) + 1, (1 << 63) - 1, -(1 << 63))
TEXTS: Final = ("", "none", "x", "\0", "é" * 300, "%41:/", "-1")
NO_UTF_8: Final = b"\xff\xfe\x80 no text"


class Damage(NamedTuple):
    """What was done to a file: which cell, and what to it."""

    table: str
    column: str
    what: str


def damage(path: Path, draw: random.Random) -> Damage | None:
    """Change one cell of a file; None if it lets nobody do that."""
    table = draw.choice(list(COLUMNS))
    column = draw.choice(COLUMNS[table])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        keys = "sid, namespace" if table == "heads" else "rowid"
        rows = connection.execute(f"SELECT {keys}, {column} FROM {table}").fetchall()  # noqa: S608
        if not rows:
            return None
        *key, old = draw.choice(rows)
        what, expression, value = draw.choice(WAYS)(old, draw)
        where = " AND ".join(f"{name} = ?" for name in keys.split(", "))
        statement = f"UPDATE {table} SET {column} = {expression} WHERE {where}"  # noqa: S608
        try:
            connection.execute(statement, (value, *key))
        except sqlite3.Error:  # a strict table, a key that is there already
            return None
    return Damage(table, column, what)


Way = Callable[[Any, random.Random], tuple[str, str, Any]]


def _number(_: Any, draw: random.Random) -> tuple[str, str, Any]:
    return "number", "?", draw.choice(NUMBERS)


def _real(_: Any, draw: random.Random) -> tuple[str, str, Any]:
    return "real", "?", draw.choice((0.5, -1e300, float("inf")))


def _text(_: Any, draw: random.Random) -> tuple[str, str, Any]:
    return "text", "?", draw.choice(TEXTS)


def _no_text(_: Any, __: random.Random) -> tuple[str, str, Any]:
    return "no UTF-8", "CAST(? AS TEXT)", NO_UTF_8


def _blob(_: Any, draw: random.Random) -> tuple[str, str, Any]:
    return "blob", "?", draw.randbytes(draw.choice((0, 1, 16, 24, 4_000)))


def _null(_: Any, __: random.Random) -> tuple[str, str, Any]:
    return "NULL", "?", None


def _retyped(old: Any, _: random.Random) -> tuple[str, str, Any]:
    kind = "TEXT" if isinstance(old, bytes) else "BLOB"
    return "retyped", f"CAST(? AS {kind})", old


def _cut(old: Any, draw: random.Random) -> tuple[str, str, Any]:
    if not isinstance(old, str | bytes) or not old:
        return _number(old, draw)
    return "cut", "?", old[: draw.randrange(len(old))]


def _flipped(old: Any, draw: random.Random) -> tuple[str, str, Any]:
    if isinstance(old, int):
        return "flipped", "?", _signed(old ^ 1 << draw.randrange(64))
    if isinstance(old, str) and old:
        at = draw.randrange(len(old))
        return "flipped", "?", old[:at] + chr(ord(old[at]) ^ 1) + old[at + 1 :]
    if isinstance(old, bytes) and old:
        changed = bytearray(old)
        changed[draw.randrange(len(old))] ^= 1 << draw.randrange(8)
        return "flipped", "?", bytes(changed)
    return _number(old, draw)


def _signed(number: int) -> int:
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


WAYS: Final[tuple[Way, ...]] = (
    _number,
    _real,
    _text,
    _no_text,
    _blob,
    _null,
    _retyped,
    _cut,
    _flipped,
    _flipped,
)
