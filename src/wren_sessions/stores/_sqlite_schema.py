"""The tables of a session file, and opening one.

==========  =======================================================================================
table       what
==========  =======================================================================================
sessions    one row per session: its life, its header, where its arena ends
records     one row per checkpoint
heads       one row per namespace: its latest checkpoint
writes      one row per pending write
arena       the arenas, in rows of about a page. Bytes of session `sid` from `offset` on are in the
            row ``pos = sid << 32 | offset``, so that an arena lies in one piece of the file
==========  =======================================================================================

Measured against one row per append, with 1,000 appends of 850 bytes to each of four sessions:
reading an arena 0.45 ms (0.74), the median append 13 µs (22), the same file size; so short appends
are added to the last row until it fills a page.

`sid` is never used again, also not after a session was deleted. ``sweep_ms`` is when to look
whether a session has expired. It is no later than the deadline, and does not move when the
deadline moves away, so that a commit that renews a session leaves the index alone.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from wren_sessions.errors import ConfigurationError, StoreUnavailableError
from wren_sessions.stores._sqlite_errors import code_of

Synchronous: TypeAlias = Literal["full", "normal", "off"]

APPLICATION_ID: Final = int.from_bytes(b"Wren")
VERSION: Final = 1
ARENA_BITS: Final = 32
MODE: Final = 0o600

_SCHEMA: Final = (
    f"""CREATE TABLE sessions (
        sid INTEGER PRIMARY KEY AUTOINCREMENT CHECK (sid < {1 << 63 - ARENA_BITS}),
        id TEXT NOT NULL UNIQUE,
        incarnation TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        deadline_ms INTEGER, -- NULL: never
        sweep_ms INTEGER,
        own_idle, -- milliseconds, 'none', or NULL: as the policy says
        pinned INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        arena_end INTEGER NOT NULL CHECK (arena_end <= {1 << ARENA_BITS}),
        arena_tail INTEGER NOT NULL, -- where the last row of the arena starts
        state BLOB NOT NULL
    )""",
    "CREATE INDEX sessions_to_sweep ON sessions (sweep_ms) WHERE sweep_ms IS NOT NULL",
    "CREATE TABLE arena (pos INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    """CREATE TABLE records (
        sid INTEGER NOT NULL,
        namespace TEXT NOT NULL,
        id TEXT NOT NULL,
        token TEXT NOT NULL,
        base INTEGER NOT NULL,
        spans BLOB NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (sid, namespace, id)
    )""",
    """CREATE TABLE heads (
        sid INTEGER NOT NULL,
        namespace TEXT NOT NULL,
        head TEXT NOT NULL,
        made INTEGER NOT NULL, -- the revision that brought the namespace
        PRIMARY KEY (sid, namespace)
    ) WITHOUT ROWID""",
    """CREATE TABLE writes (
        sid INTEGER NOT NULL,
        namespace TEXT NOT NULL,
        id TEXT NOT NULL,
        key TEXT NOT NULL,
        spans BLOB NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (sid, namespace, id, key)
    )""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)

_JOURNAL_BYTES: Final = 8_388_608
_PAUSE_S: Final = (0.000_5, 0.003)

# Closing a file drops all POSIX locks that this process has on it, also SQLite's. So nothing but
# SQLite ever opens an existing session file here, and the one that makes it does so alone.
_making = threading.Lock()


class Place(NamedTuple):
    """Where a session file is, and how to open it.

    Attributes:
        path: absolute.
        synchronous: SQLite's setting: whether a commit waits for the disk.
        busy_ms: how long to wait for another process's lock.
    """

    path: str
    synchronous: Synchronous
    busy_ms: int


Identity: TypeAlias = tuple[int, int] | None


def identity(path: str) -> Identity:
    """What tells a file from another one that was put in its place; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 -- before every call: a Path costs more than the stat
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_file(place: Place) -> sqlite3.Connection:
    """Open a connection to a session file; make the file if there is none.

    Raises:
        ConfigurationError: the path cannot hold a session file, or holds something else.
        StoreUnavailableError: the file cannot be opened or made.
        sqlite3.Error: SQLite could not use it.
    """
    with _making:
        _make_file(Path(place.path))
        connection = sqlite3.connect(
            f"{Path(place.path).as_uri()}?mode=rw",
            uri=True,
            timeout=place.busy_ms / 1_000,
            isolation_level=None,
            check_same_thread=False,
        )
    try:
        _check(connection, place)
        _configure(connection, place)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_file(path: Path) -> None:
    try:
        made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, MODE)
    except FileExistsError:
        if path.is_dir():
            raise ConfigurationError(
                f"{path} is a folder; name the session file in it, such as {path / 'sessions.db'}"
            ) from None
        return
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigurationError(
            f"the session file {path} cannot be made: {path.parent} is no folder. Make it first, "
            "or choose another path"
        ) from error
    except OSError as error:
        raise StoreUnavailableError(
            f"the session file {path} cannot be made ({error.strerror}). This user needs write "
            f"access to {path.parent}"
        ) from error
    try:
        if hasattr(os, "fchmod"):  # a umask can have taken bits away; -wal and -shm follow suit
            os.fchmod(made, MODE)
    finally:
        os.close(made)


def _check(connection: sqlite3.Connection, place: Place) -> None:
    """Make the tables in a new file; refuse a file that is not ours, untouched."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts only before the first page
    try:
        connection.execute("BEGIN")
        new = _is_new(connection, place)
        connection.execute("COMMIT")
        if new:
            _make_tables(connection, place)
    except sqlite3.DatabaseError as error:
        if code_of(error) == sqlite3.SQLITE_NOTADB:
            raise ConfigurationError(
                f"{place.path} is no SQLite database, or its first page is damaged. It was left "
                "as it is; choose another path, or put a backup in its place"
            ) from error
        raise


def _is_new(connection: sqlite3.Connection, place: Place) -> bool:
    """Whether the file has no tables yet; to be called in a transaction.

    Raises:
        ConfigurationError: it has those of somebody else, or of a newer version.
    """
    owner = _number(connection, "PRAGMA application_id")
    version = _number(connection, "PRAGMA user_version")
    if owner == APPLICATION_ID:
        if version > VERSION:
            raise ConfigurationError(
                f"the session file {place.path} has schema version {version}; this version of "
                f"wren-sessions knows {VERSION} and older. Upgrade wren-sessions; the file was "
                "left as it is"
            )
        return False
    if owner or version or _number(connection, "SELECT count(*) FROM sqlite_master"):
        raise ConfigurationError(
            f"{place.path} is the SQLite database of another application. It was left as it is; "
            "choose another path"
        )
    return True


def _number(connection: sqlite3.Connection, statement: str) -> int:
    (found,) = connection.execute(statement).fetchone()
    return int(found)


def _make_tables(connection: sqlite3.Connection, place: Place) -> None:
    execute_patiently(connection, "BEGIN IMMEDIATE", place)
    if _is_new(connection, place):  # nobody was faster
        for statement in _SCHEMA:
            connection.execute(statement)
    connection.execute("COMMIT")


def _configure(connection: sqlite3.Connection, place: Place) -> None:
    # SQLite does not always wait for this one by itself when others do the same.
    (mode,) = execute_patiently(connection, "PRAGMA journal_mode = WAL", place).fetchone()
    if mode != "wal":
        raise ConfigurationError(
            f"the session file {place.path} is on a file system without shared memory (SQLite's "
            f"journal mode stayed {mode!r}). Choose a path on a local disk"
        )
    connection.execute(f"PRAGMA synchronous = {place.synchronous}")
    connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA secure_delete = ON")  # what was deleted is overwritten


def execute_patiently(
    connection: sqlite3.Connection, statement: str, place: Place
) -> sqlite3.Cursor:
    """Execute a statement that needs a lock; wait while another process has it.

    SQLite's own waiting sleeps longer each time, up to 100 ms. Where processes write all the time,
    who comes later is faster: one of eight waited for 1.2 seconds, and for … with this.

    Raises:
        sqlite3.Error: the lock was not to be had, or something else failed.
    """
    give_up = time.monotonic() + place.busy_ms / 1_000
    while True:
        try:
            return connection.execute(statement)
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
        time.sleep(random.uniform(*_PAUSE_S))  # noqa: S311 -- no cryptography
