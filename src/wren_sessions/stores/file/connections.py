"""The connections of one process to one session file.

Many threads read, each with its own connection from a small pool. Only one thread writes at a time
(see `group_commit`). While nobody writes, short reads use the writer's connection: after a write by
one connection, SQLite makes all others drop their cached pages, so those of the pool would read
every page again. Before each use, a connection is checked against the file's identity. So a file
that was deleted, or replaced by a backup, is noticed.

**Forks.** SQLite keeps a process's file locks in tables of its own. A forked child inherits the
tables, but not the locks. Its connections to the same file rely on locks that do not exist. (Seen:
the parent closes the file, SQLite removes the WAL that the child continues to write to, and the
child's commits are lost. And a fork during a transaction locks the child out for good.) So all
connections are closed before a fork, and both processes open new ones when they need them. If
something forks without Python's knowledge (a C extension such as uWSGI's) while the file is open,
the child refuses to work.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, TypeVar
from weakref import WeakSet, WeakValueDictionary

from wren_sessions._blocking import Lock
from wren_sessions.errors import StoreUnavailableError, WrenSessionsError
from wren_sessions.stores.file import log
from wren_sessions.stores.file.errors import SQLITE_ERRORS, SQLiteError, is_passing, translated
from wren_sessions.stores.file.group_commit import GroupCommit, Operation, roll_back
from wren_sessions.stores.file.known import Known
from wren_sessions.stores.file.opening import (
    Identity,
    Place,
    execute_patiently,
    identity,
    open_file,
)
from wren_sessions.stores.file.read_write_lock import ReadWriteLock

T = TypeVar("T")

_IDLE: Final = 16


class _Kept(NamedTuple):
    """An open connection, and the file it is to."""

    connection: sqlite3.Connection
    file: Identity


class Database:
    """A session file. Connections are opened when first used, and again after `close`.

    Args:
        place: the file.
        chore: gives an operation to run along with a commit, if there is one to be done.

    Attributes:
        known: what the writer's connection wrote last; for operations of `write`.
    """

    known: Known

    def __init__(self, place: Place, chore: Callable[[], Operation | None]) -> None:
        self._place = place
        self._chore = chore
        self._start()
        _databases.add(self)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._gate = ReadWriteLock()
        self._open: WeakSet[sqlite3.Connection] = WeakSet()
        self._idle: deque[_Kept] = deque()
        self._writer: _Kept | None = None
        self._doubted = False
        self._reading = ReadWriteLock()
        self._batches = 0
        self._log_grows = False
        with _naming:  # one turn for all stores of this process on one file
            self._turn = _turns.setdefault(self._place.path, Lock())
        self._commits = GroupCommit(self._begin, self._commit, self._chore, self._turn)

    # --- using it ---------------------------------------------------------------------------------

    def read(
        self,
        operation: Callable[[sqlite3.Connection], T],
        session: str = "",
        *,
        brief: bool = False,
    ) -> T:
        """Run an operation in a read transaction.

        Args:
            operation: must have read all it wants when it returns. It may be run again.
            session: the session it is about, for errors.
            brief: it may use the writer's connection: a writer may come to wait for it.

        Raises:
            WrenSessionsError: the file cannot be read.
        """
        self._check_process()
        try:
            with self._gate:
                if brief and self._writer is not None and not self._turn.locked():
                    try:
                        with self._turn:
                            kept = self._current_writer()
                            if kept is not None:
                                return _transact(kept.connection, operation)
                    except SQLITE_ERRORS:  # it may be the connection's
                        pass
                with self._reading:
                    return self._read(operation)
        except SQLITE_ERRORS as error:
            raise translated(error, self._place.path, session) from error

    def write(self, operation: Callable[[sqlite3.Connection], T], session: str = "") -> T:
        """Run an operation in a write transaction; see `LeaderQueue.run`.

        Args:
            operation: may be run more than once.
            session: the session it is about, for errors.

        Raises:
            WrenSessionsError: the file cannot be written; nothing was.
        """
        self._check_process()
        try:
            with self._gate:
                answer: T = self._commits.run(operation)
                return answer
        except SQLITE_ERRORS as error:
            raise self._told(error, session) from error

    def write_all(
        self, operations: Sequence[tuple[Callable[[sqlite3.Connection], T], str]]
    ) -> list[T | Exception]:
        """Run operations as `write` does, together.

        Args:
            operations: each with the session it is about.

        Returns:
            What each returned, or what `write` would have raised.
        """
        self._check_process()
        with self._gate:
            outcomes = self._commits.run_all([operation for operation, _ in operations])
        return [
            self._told(outcome, session) if isinstance(outcome, SQLITE_ERRORS) else outcome
            for outcome, (_, session) in zip(outcomes, operations, strict=True)
        ]

    def _told(self, error: SQLiteError, session: str) -> WrenSessionsError:
        """The error of this package for one that a write ended with."""
        self._doubted = self._doubted or not is_passing(error)
        told = translated(error, self._place.path, session)
        told.__cause__ = error
        return told

    def rewrite(self) -> None:
        """Write the whole file anew, and empty its log.

        Raises:
            StoreUnavailableError: there is no space, or somebody reads from the log, or writes to
                it, all the time.
        """
        self._check_process()
        try:
            with self._gate, self._turn:
                busy = self._rewrite()
        except SQLITE_ERRORS as error:
            raise translated(error, self._place.path, "") from error
        if busy:
            raise StoreUnavailableError(
                f"the log of {self._place.path} cannot be emptied while another process reads it: "
                "try again"
            )

    def _rewrite(self) -> bool:
        """Do that, with the turn; whether somebody was in the way of the log for too long."""
        kept = self._connect()  # with the patience that the writer's connection has not
        try:
            kept.connection.execute("VACUUM")
            self._reading.shut()
            (busy, *_) = kept.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._reading.open()
            self._close(kept.connection)
        return bool(busy)

    def close(self) -> None:
        """Wait for what is under way and close all connections; a later use opens new ones."""
        if self._is_inherited():
            return
        try:
            self._gate.shut()
            self._close_all()
        finally:
            self._gate.open()

    # --- connections ------------------------------------------------------------------------------

    def _read(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        kept = self._reader()
        try:
            answer = _transact(kept.connection, operation)
        except BaseException:
            self._close(kept.connection)
            raise
        if len(self._idle) < _IDLE:
            self._idle.append(kept)
        else:
            self._close(kept.connection)
        return answer

    def _reader(self) -> _Kept:
        file = identity(self._place.path)
        with suppress(IndexError):
            while True:
                kept = self._idle.pop()
                if kept.file == file:
                    return kept
                self._close(kept.connection)
        kept = self._connect()
        kept.connection.execute("PRAGMA query_only = ON")
        return kept

    def _begin(self) -> sqlite3.Connection:
        """Begin a write transaction."""
        kept = self._current_writer()
        if kept is None:
            self._writer = kept = self._connect()
            self._doubted = False
            self.known = Known(kept.connection)
            kept.connection.execute("PRAGMA busy_timeout = 0")
            self._batches = 0
            self._log_grows = self._place.synchronous == "full"
        self._batches += 1
        if self._batches % log.LOOK_EVERY == 0 and log.is_long(self._place.path):
            self._restart_log(kept.connection)
        execute_patiently(kept.connection, "BEGIN IMMEDIATE", self._place)
        self.known.begun()
        if self._log_grows and self._batches % log.LENGTHEN_EVERY == log.LENGTHEN_EVERY // 2:
            self._log_grows = log.lengthen(self._place.path)
        return kept.connection

    def _commit(self, connection: sqlite3.Connection) -> None:
        """End a write transaction."""
        connection.execute("COMMIT")
        self.known.committed()

    def _current_writer(self) -> _Kept | None:
        """The writer's connection, if it is good; called by whoever has the turn."""
        kept = self._writer
        if kept is None:
            return None
        if self._doubted or kept.file != identity(self._place.path):
            self._writer = None
            self._close(kept.connection)
            return None
        if kept.connection.in_transaction:  # somebody was interrupted just behind the BEGIN
            kept.connection.execute("ROLLBACK")
        return kept

    def _restart_log(self, connection: sqlite3.Connection) -> None:
        """Have SQLite begin its log anew where reads that overlap have kept it from doing so.

        Seen with eight threads that read without a pause: 103 MB after twelve seconds.
        """
        try:
            self._reading.shut()
            connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        finally:
            self._reading.open()

    def _connect(self) -> _Kept:
        file = identity(self._place.path)
        connection = open_file(self._place)
        self._open.add(connection)
        return _Kept(connection, file or identity(self._place.path))

    def _close(self, connection: sqlite3.Connection) -> None:
        self._open.discard(connection)
        with suppress(sqlite3.Error):
            connection.close()

    def _close_all(self) -> None:
        self._idle.clear()
        self._writer = None
        for connection in list(self._open):
            self._close(connection)

    # --- forks ------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Close everything and let nobody in, so that a child inherits nothing."""
        if not self._is_inherited():
            self._gate.shut(forking=True)
            self._close_all()

    def after_fork_in_parent(self) -> None:
        """Let everybody in again."""
        if not self._is_inherited():
            self._gate.open()

    def after_fork_in_child(self) -> None:
        """Start anew, for the other threads, and whatever they held, are gone."""
        if self._open:  # only this hook was called
            _kept_open.add(self)
        else:
            self._start()

    def _is_inherited(self) -> bool:
        return self._pid != os.getpid()

    def _check_process(self) -> None:
        if self._pid == os.getpid():
            return
        with _starting:
            if self._is_inherited() and not self._open:
                self._start()
        if self._is_inherited():
            _kept_open.add(self)
            raise StoreUnavailableError(
                f"the session file {self._place.path} was open when this process was forked, and "
                "not by os.fork(): SQLite could lose what is written here. Make the store after "
                "the fork (uWSGI: lazy-apps = true), or close() it before"
            )


def _transact(connection: sqlite3.Connection, operation: Callable[[sqlite3.Connection], T]) -> T:
    """Run an operation in a read transaction."""
    try:
        connection.execute("BEGIN")
        answer = operation(connection)
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise
    return answer


_turns: WeakValueDictionary[str, Lock] = WeakValueDictionary()
_databases: WeakSet[Database] = WeakSet()
_kept_open: set[Database] = set()  # inherited, so neither used nor closed
_naming = Lock()
_starting = Lock()
_forking = threading.Lock()


def _before_fork() -> None:
    _forking.acquire()  # released on both sides of the fork
    for database in list(_databases):
        database.before_fork()


def _after_fork_in_parent() -> None:
    for database in list(_databases):
        database.after_fork_in_parent()
    _forking.release()


def _after_fork_in_child() -> None:
    for database in list(_databases):
        database.after_fork_in_child()
    if _forking.locked():  # not so if only this hook was called, as uWSGI does
        _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
