"""How a session file and its folder are: facts, found out without changing anything.

Facts: ``path``, ``bytes``, ``wal_bytes``, ``mode`` (permissions, octal), ``shared`` (whether others
may read it), ``writable``, ``free_bytes`` on its disk, ``sqlite`` (version), ``schema``,
``sessions`` and ``expired_sessions`` that still take room, both of one prefix, and
``unused_bytes`` inside the file.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from wren_sessions.stores._diagnosis import Diagnosis, Fact
from wren_sessions.stores.file.cells import number
from wren_sessions.stores.file.sessions import OF_PREFIX

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_COUNT: Final = "SELECT count(*) FROM sessions s WHERE "
_LIVING: Final = f"{_COUNT} {OF_PREFIX} AND (deadline_ms IS NULL OR deadline_ms > ?)"
_EXPIRED: Final = f"{_COUNT} {OF_PREFIX} AND deadline_ms <= ?"

Asked: TypeAlias = dict[str, Fact]
Reader: TypeAlias = Callable[[Callable[[sqlite3.Connection], Asked]], Asked]


def diagnose(path: str, prefix: str, read: Reader, now_ms: int) -> Diagnosis:
    """Look at a session file.

    Args:
        path: absolute.
        prefix: the one whose sessions are counted.
        read: runs a function on a connection to it; raises errors of this package.
        now_ms: the store's clock.
    """
    file = Path(path)
    inside = read(lambda connection: _inside(connection, prefix, now_ms))
    return Diagnosis("file", facts=_around(file) | inside)


def _around(file: Path) -> Asked:
    found = file.stat()  # nothing but SQLite may open the file
    wal = file.with_name(f"{file.name}-wal")
    return {
        "path": str(file),
        "bytes": found.st_size,
        "wal_bytes": wal.stat().st_size if wal.exists() else 0,
        "mode": f"{stat.S_IMODE(found.st_mode):o}",
        "shared": bool(found.st_mode & _OTHERS) if os.name == "posix" else None,
        "writable": os.access(file, os.W_OK) and os.access(file.parent, os.W_OK),
        "free_bytes": shutil.disk_usage(file.parent).free,
        "sqlite": sqlite3.sqlite_version,
    }


def _inside(connection: sqlite3.Connection, prefix: str, now_ms: int) -> Asked:
    free = number(connection, "PRAGMA freelist_count")
    return {
        "schema": number(connection, "PRAGMA user_version"),
        "sessions": number(connection, _LIVING, prefix, now_ms),
        "expired_sessions": number(connection, _EXPIRED, prefix, now_ms),
        "unused_bytes": free * number(connection, "PRAGMA page_size"),
    }
