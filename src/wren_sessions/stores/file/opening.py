"""Opening a session file: creating it, refusing other files, and setting up connections."""

from __future__ import annotations

import errno
import logging
import os
import random
import sqlite3
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from wren_sessions._blocking import Lock
from wren_sessions.errors import ConfigurationError, StoreUnavailableError
from wren_sessions.stores.file.cells import number
from wren_sessions.stores.file.errors import code_of
from wren_sessions.stores.file.schema import (
    APPLICATION_ID,
    SCHEMA,
    UPGRADED,
    UPGRADES,
    VERSION,
)
from wren_sessions.stores.file.schema_check import check_schema

Synchronous: TypeAlias = Literal["full", "normal", "off"]

_MODE: Final = 0o600
_JOURNAL_BYTES: Final = 8_388_608
_PAUSE_S: Final = (0.000_5, 0.004)
_UPGRADED: Final = (
    "the session file %s was upgraded to schema version %d: all sessions in it (%d) have the "
    "prefix %r from now on. Copy those of another prefix there (wren-sessions copy --to-prefix)"
)

logger: Final = logging.getLogger("wren_sessions")

# Closing a file drops all POSIX locks that this process has on it, also SQLite's. So nothing but
# SQLite ever opens an existing session file here, and the one that makes it does so alone.
_making = Lock()


class _Connection(sqlite3.Connection):
    """One that closes where it is lost: a call may be interrupted before it has it in its hands."""

    def __del__(self) -> None:
        with suppress(sqlite3.Error):  # it was never opened
            self.close()


class Place(NamedTuple):
    """Where a session file is, and how to open it.

    Attributes:
        path: absolute.
        synchronous: SQLite's setting: whether a commit waits for the disk.
        busy_ms: how long to wait for another process's lock.
        prefix: the prefix of the store; sessions of a file that knew no prefixes yet get it.
    """

    path: str
    synchronous: Synchronous
    busy_ms: int
    prefix: str


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
            factory=_Connection,
        )
    try:
        version = _check(connection, place)
        _use_log(connection, place)
        if version < VERSION:
            _upgrade(connection, place)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_file(path: Path) -> None:
    try:
        made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _MODE)
    except FileExistsError:
        if path.is_dir():
            raise ConfigurationError(
                f"{path} is a folder; name the session file in it, such as {path / 'sessions.db'}"
            ) from None
        return
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigurationError(
            f"the session file {path} cannot be made: {path.parent} is not a directory. Make it "
            "first, or choose another path"
        ) from error
    except OSError as error:
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            raise StoreUnavailableError(
                f"the session file {path} cannot be opened ({error.strerror}). Close some files, "
                "or allow this process more of them (ulimit -n)"
            ) from error
        raise StoreUnavailableError(
            f"the session file {path} cannot be made ({error.strerror}). This user needs write "
            f"access to {path.parent}"
        ) from error
    try:
        if hasattr(os, "fchmod"):  # a umask can have taken bits away; -wal and -shm follow suit
            os.fchmod(made, _MODE)
    finally:
        os.close(made)


def _restrain(connection: sqlite3.Connection, place: Place) -> None:
    """Set what concerns this connection alone.

    What the schema of a file names is not run: functions in views, generated columns and indexes.
    """
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")  # a damaged page is told, not walked into
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE)
    connection.execute(f"PRAGMA synchronous = {place.synchronous}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA secure_delete = ON")  # what was deleted is overwritten


def _check(connection: sqlite3.Connection, place: Place) -> int:
    """Make the tables in a new file; refuse a file that is not ours, untouched.

    Returns:
        The version of the schema; nothing older than `VERSION` was changed.
    """
    try:
        _restrain(connection, place)
        connection.execute("BEGIN")
        version = _version(connection, place)
        connection.execute("COMMIT")
        return version or _make_tables(connection, place)
    except sqlite3.DatabaseError as error:
        if code_of(error) == sqlite3.SQLITE_NOTADB:
            raise ConfigurationError(
                f"{place.path} is not a SQLite database, or its first page is damaged. It was left "
                "as it is; choose another path, or put a backup in its place"
            ) from error
        raise


def _version(connection: sqlite3.Connection, place: Place) -> int:
    """The version of the schema, 0 if there are no tables yet; to be called in a transaction.

    Raises:
        ConfigurationError: it has those of somebody else, or of a newer version.
        DamagedSchemaError: its tables are not those that this package makes.
    """
    owner = number(connection, "PRAGMA application_id")
    version = number(connection, "PRAGMA user_version")
    if owner == APPLICATION_ID:
        if version > VERSION:
            raise ConfigurationError(
                f"the session file {place.path} has schema version {version}; this version of "
                f"wren-sessions knows {VERSION} and older. Upgrade wren-sessions; the file was "
                "left as it is"
            )
        check_schema(connection, version)
        return version
    if owner or version or number(connection, "SELECT count(*) FROM sqlite_master"):
        raise ConfigurationError(
            f"{place.path} is the SQLite database of another application. It was left as it is; "
            "choose another path"
        )
    return 0


def _make_tables(connection: sqlite3.Connection, place: Place) -> int:
    """Make the tables, unless somebody else was faster; return the version of the schema."""
    # This counts only before the first page is written, and takes a lock.
    execute_patiently(connection, "PRAGMA auto_vacuum = INCREMENTAL", place)
    execute_patiently(connection, "BEGIN IMMEDIATE", place)
    version = _version(connection, place)
    if not version:
        for statement in SCHEMA:
            connection.execute(statement)
    connection.execute("COMMIT")
    return version or VERSION


def _upgrade(connection: sqlite3.Connection, place: Place) -> None:
    """Give a file of an earlier version the tables of this one; if it knew none, a prefix as well.

    It is one transaction: whoever else has the file open sees the old tables or the new ones. What
    is damaged in a row stays as it is, and is told when it is read.
    """
    connection.execute("PRAGMA ignore_check_constraints = ON")
    execute_patiently(connection, "BEGIN IMMEDIATE", place)
    version = _version(connection, place)
    for before in range(version, VERSION):  # none where somebody was faster
        for statement in UPGRADES[before]:
            connection.execute(statement)
    if version == 1:
        connection.execute("INSERT INTO prefixes VALUES (?, ?)", (UPGRADED, place.prefix))
    count = number(connection, "SELECT count(*) FROM sessions")
    connection.execute("COMMIT")
    connection.execute("PRAGMA ignore_check_constraints = OFF")
    if version == 1 and count:
        logger.warning(_UPGRADED, place.path, VERSION, count, place.prefix)


def _use_log(connection: sqlite3.Connection, place: Place) -> None:
    # SQLite does not always wait for this one by itself when others do the same.
    (mode,) = execute_patiently(connection, "PRAGMA journal_mode = WAL", place).fetchone()
    if mode != "wal":
        raise ConfigurationError(
            f"the session file {place.path} is on a file system without shared memory (SQLite's "
            f"journal mode stayed {mode!r}). Choose a path on a local disk"
        )
    connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")


def execute_patiently(
    connection: sqlite3.Connection, statement: str, place: Place
) -> sqlite3.Cursor:
    """Execute a statement that needs a lock; wait while another process has it.

    SQLite's own waiting grows to 100 ms at a time, and who has waited long is passed by others
    all the time: of 8 processes that wrote without a pause one waited for 1.5 to 6 seconds, and of
    24 some gave up after 10. With these pauses 8 waited for 0.8 seconds at most, and of 24 nobody
    gave up.

    Raises:
        sqlite3.Error: the lock was not to be had, or something else failed.
    """
    give_up = None
    while True:
        try:
            return connection.execute(statement)
        except sqlite3.OperationalError as error:
            now = time.monotonic()
            give_up = now + place.busy_ms / 1_000 if give_up is None else give_up
            if code_of(error) != sqlite3.SQLITE_BUSY or now > give_up:
                raise
        time.sleep(random.uniform(*_PAUSE_S))  # noqa: S311 -- no cryptography
