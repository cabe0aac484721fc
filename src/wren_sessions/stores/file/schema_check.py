"""Refuses a session file whose schema is not the one that this package creates.

SQLite executes what a file's schema says. A view in the place of a table may never end, a trigger
writes where it wants, a generated column or an index computes anything. So each connection compares
the schema with the statements of `schema` before it reads a table. Plain tables of other software
(such as a replication tool) are allowed: nothing here uses them.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from wren_sessions.stores.file.cells import DamagedSchemaError
from wren_sessions.stores.file.schema import INDEX, INDEX_NAME, TABLES

_MOST: Final = 1_000
_LOOK: Final = """
    SELECT CAST(type AS BLOB), CAST(name AS BLOB), CAST(tbl_name AS BLOB), CAST(sql AS BLOB)
    FROM sqlite_master LIMIT ?"""  # as bytes: it may be no UTF-8
_OF_SQLITE: Final = b"sqlite_"
_VIRTUAL: Final = b"CREATE VIRTUAL TABLE"


def check_schema(connection: sqlite3.Connection, version: int) -> None:
    """Refuse a schema that is not ours; to be called in a transaction.

    Args:
        connection: to the file; it trusts no schema.
        version: what the file says of itself.

    Raises:
        DamagedSchemaError: it is another one.
    """
    tables = TABLES.get(version)
    if tables is None:
        raise DamagedSchemaError(f"it says that its schema has version {version}, which never was")
    found = connection.execute(_LOOK, (_MOST + 1,)).fetchall()
    if len(found) > _MOST:
        raise DamagedSchemaError(f"its schema has more than {_MOST} entries")
    ours = {name.encode(): {sql.encode() for sql in made} for name, made in tables.items()}
    for kind, name, table, sql in found:
        if (kind, name, table) == (b"table", name, name) and name in ours:
            if sql not in ours.pop(name):
                _refuse(kind, name, "is not as this package makes it")
        elif (kind, name, table, sql) == (b"index", _SWEPT, b"sessions", INDEX.encode()):
            continue
        elif not _is_harmless(kind, name, table, sql, tables):
            _refuse(kind, name, "does not belong there")
    for name in ours:
        _refuse(b"table", name, "is missing")


_SWEPT: Final = INDEX_NAME.encode()


def _is_harmless(
    kind: bytes, name: bytes, table: bytes, sql: bytes | None, tables: dict[str, frozenset[str]]
) -> bool:
    """Whether an entry is SQLite's own, or about a plain table that is not ours."""
    if kind not in {b"table", b"index"} or (sql or b"").startswith(_VIRTUAL):
        return False
    if table.decode(errors="replace") not in tables:
        return True
    return kind == b"index" and sql is None and name.startswith(_OF_SQLITE)


def _refuse(kind: bytes, name: bytes, why: str) -> None:
    shown = name.decode(errors="replace")
    raise DamagedSchemaError(f"{kind.decode(errors='replace')} {shown!r:.200} in its schema {why}")
