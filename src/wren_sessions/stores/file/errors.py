"""What SQLite says, in this package's errors: the one place that translates."""

from __future__ import annotations

import sqlite3
from typing import Final

from wren_sessions.errors import (
    CorruptSessionError,
    SerializationError,
    StoreTimeoutError,
    StoreUnavailableError,
    WrenSessionsError,
)

_PRIMARY: Final = 0xFF  # extended result codes keep the primary one in their lowest byte

_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "the disk, or the user's quota, is full. Free some space; what was "
    "stored before is intact and can be read",
    sqlite3.SQLITE_READONLY: "it cannot be written. Give this user write access to the file and "
    "to its folder, where SQLite keeps the -wal and -shm files",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened. This user needs read and write access to the "
    "file and to its folder, where SQLite keeps the -wal and -shm files",
    sqlite3.SQLITE_PERM: "access was denied. This user needs read and write access to the file "
    "and to its folder",
    sqlite3.SQLITE_IOERR: "reading or writing failed. Check the disk and the system's log; "
    "network file systems cannot hold this file",
    sqlite3.SQLITE_PROTOCOL: "its locks do not work. Network file systems cannot hold this file",
    sqlite3.SQLITE_CONSTRAINT: "a limit was reached: 4 GiB of arena per session, 2,147,483,647 "
    "sessions per file. Start a new session, or a new file",
}


def code_of(error: sqlite3.Error) -> int:
    """The primary result code; 0 for an error that did not come from SQLite itself."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY


def is_passing(error: sqlite3.Error) -> bool:
    """Whether the connection is still good: somebody was faster, or there is no space."""
    return code_of(error) in {*_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_TOOBIG}


def translated(error: sqlite3.Error, path: str, session: str = "") -> WrenSessionsError:
    """The error of this package that tells what SQLite told.

    Args:
        error: SQLite's.
        path: the database file.
        session: the session that was asked for; empty if it was none in particular.

    Returns:
        A new error, to raise from `error`.
    """
    code = code_of(error)
    if code in _BUSY:
        return StoreTimeoutError(
            f"the session file {path} stayed locked by another process for the whole busy "
            f"timeout ({error}). Nothing was written. Look for a process that holds a "
            "transaction open, or raise busy_timeout"
        )
    if code in _DAMAGED:
        return CorruptSessionError(
            f"the session file {path} is damaged ({error}). Stop every process that uses it, "
            "put a backup in its place (without the old -wal and -shm files), or copy what can "
            "still be read to another file, each session by its id: wren-sessions copy ID --to "
            "file:OTHER.db",
            session=session,
        )
    if code == sqlite3.SQLITE_TOOBIG:
        return SerializationError(
            f"a value is too large for the session file {path} ({error}): SQLite keeps at most "
            "1 GB in one. Nothing was written"
        )
    remedy = _REMEDIES.get(code, "check the file and its folder")
    return StoreUnavailableError(f"the session file {path} cannot be used ({error}): {remedy}")
