"""SQLite's errors, translated into this package's errors."""

from __future__ import annotations

import re
import sqlite3
from typing import Final, TypeAlias, get_args

from wren_sessions._damage import damage_error
from wren_sessions.errors import (
    CorruptSessionError,
    SerializationError,
    StoreTimeoutError,
    StoreUnavailableError,
    WrenSessionsError,
)
from wren_sessions.stores.file.cells import DamagedError, DamagedSchemaError
from wren_sessions.stores.file.schema import STRICT_SINCE

SQLiteError: TypeAlias = sqlite3.Error | UnicodeDecodeError
"""What Python's driver raises; the second one where SQLite's own text quotes damaged names."""

SQLITE_ERRORS: Final = get_args(SQLiteError)

_PRIMARY: Final = 0xFF  # extended result codes keep the primary one in their lowest byte

_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LIMITS: Final = ("sid <", "arena_end <=")  # what the constraints on them begin with
_NO_UTF_8: Final = re.compile(r"Could not decode to UTF-8 column '(\w+)'")
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

_TABLES: Final = dict.fromkeys(("incarnation", "own_idle", "tokens", "name"), "sessions") | {
    "key": "writes",
    "head": "heads",
    "namespace": "heads",
}

_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "the disk, or the user's quota, is full. Free some space; what was "
    "stored before is intact and can be read",
    sqlite3.SQLITE_READONLY: "it cannot be written. Give this user write access to the file and "
    "to its folder, where SQLite keeps the -wal and -shm files",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened. This user needs read and write access to the "
    "file and to its folder, where SQLite keeps the -wal and -shm files; and this process must be "
    "allowed to open more files (ulimit -n)",
    sqlite3.SQLITE_PERM: "access was denied. This user needs read and write access to the file "
    "and to its folder",
    sqlite3.SQLITE_IOERR: "reading or writing failed. Check the disk and the system's log; "
    "network file systems cannot hold this file",
    sqlite3.SQLITE_PROTOCOL: "its locks do not work. Network file systems cannot hold this file",
    sqlite3.SQLITE_CONSTRAINT: "a limit was reached: 4 GiB of arena per session, 2,147,483,647 "
    "sessions per file. Start a new session, or a new file",
}


def _too_new() -> str:
    """What else may be the reason where SQLite is too old for strict tables."""
    if sqlite3.sqlite_version_info >= STRICT_SINCE:
        return ""
    return (
        f", or it was made with SQLite 3.37 or newer, which SQLite {sqlite3.sqlite_version} in "
        "this Python cannot read"
    )


def _damage(error: sqlite3.Error, code: int) -> str:
    """What is wrong with a row; empty if that is not what the error says."""
    if isinstance(error, DamagedError):
        return str(error)
    found = _NO_UTF_8.match(str(error))
    if found:
        return f"column {found[1]} of table {_TABLES.get(found[1], 'records')} is no UTF-8"
    if code == sqlite3.SQLITE_CONSTRAINT and not any(limit in str(error) for limit in _LIMITS):
        return f"its rows contradict each other ({error})"
    return ""


def code_of(error: Exception) -> int:
    """The primary result code; 0 for an error that did not come from SQLite itself."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY


def is_passing(error: Exception) -> bool:
    """Whether the connection is still good: somebody was faster, there is no space, or damage."""
    if isinstance(error, DamagedError):
        return True
    return code_of(error) in {*_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_TOOBIG}


def translated(error: SQLiteError, path: str, session: str = "") -> WrenSessionsError:
    """The error of this package that tells what SQLite told.

    Args:
        error: SQLite's.
        path: the database file.
        session: the session that was asked for; empty if it was none in particular.

    Returns:
        A new error, to raise from `error`.
    """
    code = code_of(error)
    if isinstance(error, DamagedSchemaError | UnicodeDecodeError):
        why = error if isinstance(error, DamagedSchemaError) else "its schema is no UTF-8"
        return CorruptSessionError(
            f"the session file {path} was damaged or changed: {why}. Put a backup in its place; "
            "nothing of it was used",
            session=session,
        )
    damage = _damage(error, code)
    if damage:
        which = f"session {session!r}" if session else "a session"
        return damage_error(session, f"{which} in the session file {path} is damaged: {damage}")
    if code in _BUSY:
        return StoreTimeoutError(
            f"the session file {path} stayed locked by another process for the whole busy "
            f"timeout ({error}). Nothing was written. Look for a process that holds a "
            "transaction open, or raise busy_timeout"
        )
    if code in _DAMAGED:
        return CorruptSessionError(
            f"the session file {path} is damaged ({error}){_too_new()}. Stop every process that "
            "uses it, put a backup in its place (without the old -wal and -shm files), or copy "
            "what can still be read to another file, each session by its id: wren-sessions copy ID "
            "--to file:OTHER.db",
            session=session,
        )
    if code == sqlite3.SQLITE_TOOBIG:
        return SerializationError(
            f"a value is too large for the session file {path} ({error}): SQLite keeps at most "
            "1 GB in one. Nothing was written"
        )
    remedy = _REMEDIES.get(code, "check the file and its folder")
    return StoreUnavailableError(f"the session file {path} cannot be used ({error}): {remedy}")
