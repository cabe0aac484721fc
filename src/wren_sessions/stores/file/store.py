"""Sessions in one SQLite file, for apps on one machine. Several processes may use it.

It only needs the standard library's sqlite3. A commit is a transaction, so after a crash it is
complete or absent. Writers in a process share transactions (`group_commit`), and readers have their
own connections (`connections`). `schema` describes the file. Copy the file with ``sqlite3
sessions.db ".backup …"``, or while no process uses it.
"""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar, get_args

from wren_sessions._arguments import check_callable, check_whole_number
from wren_sessions.errors import ConfigurationError
from wren_sessions.keys import DEFAULT_PREFIX, KeySpace, check_session
from wren_sessions.records import (
    ArenaParts,
    Commit,
    Committed,
    Held,
    Life,
    Loaded,
    Name,
    Notes,
    Prune,
    Scanned,
    SessionInfo,
    SessionPage,
    Span,
    Start,
    TurnState,
    TurnStep,
)
from wren_sessions.stores._checks import (
    check_commit,
    check_limit,
    check_names,
    check_notes,
    check_prune,
    check_scan,
    not_theirs,
    parse_cursor,
    parse_owned_cursor,
)
from wren_sessions.stores._closing import Closing
from wren_sessions.stores._copies import Copy
from wren_sessions.stores._diagnosis import Diagnosis
from wren_sessions.stores.file import copying, noting, pruning, reading, sessions, writing
from wren_sessions.stores.file.cells import Row
from wren_sessions.stores.file.connections import Database
from wren_sessions.stores.file.diagnosis import diagnose
from wren_sessions.stores.file.dump import counted, dump, names
from wren_sessions.stores.file.opening import Place, Synchronous
from wren_sessions.stores.file.sessions import Key
from wren_sessions.stores.file.sweep import Sweeper, remove_expired
from wren_sessions.stores.threaded import ThreadedStore
from wren_sessions.ttl import (
    FOREVER,
    Duration,
    Lifetime,
    Override,
    TTLPolicy,
    limit_ms,
    past,
    policy_of,
    system_ms,
    to_ms,
)

T = TypeVar("T")

_THREADS: Final = 16
_BRIEF_SCAN: Final = 128  # records


class FileStore(Closing):
    """A `SessionStore` in one SQLite file, for several threads and processes.

    The file is created when the store is first used, and only its owner can read it. The folder
    must exist. A closed store opens the file again when it is next used.

    Args:
        path: the file. A relative path is relative to the present working directory.
        ttl: how long sessions live: a policy, or the idle timeout (``"1h"``); None for
            `ttl.FOREVER`, until they are deleted. With ``refresh="read"``, a load that moves the
            deadline is also a commit.
        prefix: what session addresses begin with. Stores with different prefixes can share the
            file. None sees, counts or changes the sessions of another.
        synchronous: whether a commit waits for the disk. With ``"full"`` (default), it survives a
            power cut. With ``"normal"``, it survives a crash of this process, but a power cut may
            lose the last commits. With ``"off"``, a power cut may damage the file.
        busy_timeout: how long to wait for another process that is writing. Default: 10 seconds.
        clock: returns milliseconds since 1970; None for the system's clock. See
            `wren_sessions.testing.FakeClock`.
        threads: how many calls of `aio` may run at once. Its commits run together in one more
            thread. Default: 16.

    Raises:
        ConfigurationError: the path, the prefix or an option is not valid.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        ttl: Lifetime | None = None,
        prefix: str = DEFAULT_PREFIX,
        synchronous: Synchronous = "full",
        busy_timeout: Duration = "10s",
        clock: Callable[[], int] | None = None,
        threads: int = _THREADS,
    ) -> None:
        if synchronous not in get_args(Synchronous):
            raise ConfigurationError(
                f"synchronous must be 'full', 'normal' or 'off', not {synchronous!r}"
            )
        check_callable(clock, "clock", "milliseconds since 1970")
        check_whole_number(threads, "threads", 1)
        self._ttl = FOREVER if ttl is None else policy_of(ttl)
        self._keys = KeySpace(prefix)
        self._clock = clock or system_ms
        self._place = Place(
            _absolute(path), synchronous, to_ms(busy_timeout, "busy_timeout"), prefix
        )
        self._sweeper = Sweeper(self._clock)
        self._database = Database(self._place, self._sweeper.due)
        self._aio = ThreadedStore(self, threads, self._commit_all)

    def __repr__(self) -> str:
        return f"FileStore({self._place.path!r}, {self._ttl})"

    @property
    def ttl(self) -> TTLPolicy:
        """How long its sessions live."""
        return self._ttl

    @property
    def keys(self) -> KeySpace:
        """How its sessions are named."""
        return self._keys

    @property
    def location(self) -> str:
        """``file:`` and the absolute path."""
        return f"file:{self._place.path}"

    @property
    def persistent(self) -> bool:
        """Always True."""
        return True

    @property
    def aio(self) -> ThreadedStore:
        """The same store, to await."""
        return self._aio

    # --- writing ----------------------------------------------------------------------------------

    def commit(self, commit: Commit) -> Committed:
        """See `SessionStore.commit`. It is on the disk when this returns (`synchronous`)."""
        check_commit(commit)
        return self._database.write(self._committing(commit), commit.session)

    def _committing(self, commit: Commit) -> Callable[[sqlite3.Connection], Committed]:
        return lambda connection: writing.commit(
            connection,
            self._key(commit.session),
            commit,
            self._ttl.of(commit.session),
            self._clock(),
            known=self._database.known,
        )

    def _commit_all(self, commits: Sequence[Commit]) -> list[Committed | Exception]:
        """Make commits that were checked; if it is one, as a lone caller does."""
        return self._database.write_all(
            [(self._committing(commit), commit.session) for commit in commits]
        )

    def prune(self, prune: Prune) -> Committed:
        """See `SessionStore.prune`. Rows of the arena that nobody needs are overwritten."""
        check_prune(prune)

        def drop(connection: sqlite3.Connection) -> Committed:
            answer = pruning.prune(connection, self._keys.prefix, prune, self._clock())
            self._sweeper.shrink(connection)
            return answer

        return self._database.write(drop, prune.session)

    def delete(self, session: str) -> bool:
        """See `SessionStore.delete`. Its bytes in the file are overwritten."""
        check_session(session)
        return self._database.write(partial(self._delete, session, None), session)

    def delete_owned(self, session: str, owner: str) -> bool:
        """See `OwnerStore.delete_owned`."""
        check_notes(session, Notes(owner))
        return self._database.write(partial(self._delete, session, owner), session)

    def _delete(self, session: str, owner: str | None, connection: sqlite3.Connection) -> bool:
        """Delete a session; if an owner is given, only if it is theirs."""
        sid = sessions.find_sid(connection, self._key(session), self._clock())
        if sid is None:
            return False
        if owner is not None and noting.find(connection, sid).owner != owner:
            raise not_theirs(session)
        sessions.forget(connection, sid)
        self._sweeper.shrink(connection)
        return True

    def copy(
        self,
        source: str,
        target: str,
        *,
        replace: bool | Life = False,
        state: bytes | None = None,
        expect: Life | None = None,
    ) -> Life | None:
        """See `SessionStore.copy`."""
        copy = Copy(source, target, replace=replace, state=state, expect=expect)
        return self._database.write(
            lambda connection: copying.copy(
                connection, self._keys.prefix, copy, self._ttl.of(target), self._clock()
            ),
            source,
        )

    def scrub(self) -> None:
        """Write the file anew, without anything that was deleted or has expired; empty its log.

        SQLite overwrites what is deleted. But a page may still hold a copy of what was once moved
        from it, and the log (``-wal``) holds pages as they were. This takes as long as it takes to
        write the file twice, and as much space again; meanwhile nobody else can write.

        Raises:
            StoreUnavailableError: the disk is full, or others read or write all the time; call it
                again.
        """
        while not self._database.write(lambda found: remove_expired(found, self._clock())):
            pass
        self._database.rewrite()

    # --- reading ----------------------------------------------------------------------------------

    def load(
        self,
        session: str,
        namespace: str = "",
        checkpoint_id: str | None = None,
        held: Held | None = None,
    ) -> Loaded | None:
        """See `SessionStore.load`. The arena is always brought along."""
        check_names(session, namespace, checkpoint_id)
        asked = (session, namespace, checkpoint_id, held)
        try:
            found = self._load(*asked, brief=True)
        except reading.TooLongError:
            found = self._load(*asked, brief=False)
        if found is None:
            return None
        row, loaded = found
        ttl = self._ttl.of(session)
        if ttl.refresh != "read":
            return loaded
        deadline_ms = row.deadline(ttl, loaded.life.now_ms)
        if deadline_ms == row.deadline_ms:
            return loaded
        if past(deadline_ms, loaded.life.now_ms):
            return None
        life = self._renew(session, lambda now: now if now.sid == row.sid else None)
        if life is None:  # deleted or replaced just now
            return self.load(session, namespace, checkpoint_id, held)
        used = dataclasses.replace(loaded.life, now_ms=life.now_ms, deadline_ms=life.deadline_ms)
        return dataclasses.replace(loaded, life=used)

    def _load(
        self,
        session: str,
        namespace: str,
        checkpoint_id: str | None,
        held: Held | None,
        *,
        brief: bool,
    ) -> tuple[Row, Loaded] | None:
        key, clock = self._key(session), self._clock
        return self._database.read(
            lambda connection: reading.load(
                connection, key, namespace, checkpoint_id, clock(), held=held, brief=brief
            ),
            session,
            brief=brief,
        )

    def scan(self, session: str, starts: Sequence[Start], limit: int) -> Scanned:
        """See `SessionStore.scan`."""
        check_scan(session, starts, limit)

        def scan(connection: sqlite3.Connection) -> Scanned:
            now_ms = self._clock()
            row = sessions.find(connection, self._key(session), now_ms)
            if row is None:
                return Scanned(records=())
            return reading.scan(connection, row, starts, limit, now_ms)

        return self._database.read(scan, session, brief=limit <= _BRIEF_SCAN)

    def read(self, session: str, spans: Sequence[Span]) -> ArenaParts | None:
        """See `SessionStore.read`."""
        check_session(session)

        def read(connection: sqlite3.Connection) -> ArenaParts | None:
            row = sessions.find(connection, self._key(session), self._clock())
            return row and reading.read(connection, row.sid, spans)

        return self._database.read(read, session, brief=reading.is_brief(spans))

    def heads(self, session: str) -> tuple[Name, ...]:
        """See `SessionStore.heads`."""
        check_session(session)

        def heads(connection: sqlite3.Connection) -> tuple[Name, ...]:
            row = sessions.find(connection, self._key(session), self._clock())
            return reading.heads(connection, row) if row else ()

        return self._database.read(heads, session, brief=True)

    def info(self, session: str) -> SessionInfo | None:
        """See `SessionStore.info`. The size is that of its rows, without SQLite's own bytes."""
        return self._ask(session, reading.info)

    def _ask(self, session: str, question: Callable[[sqlite3.Connection, Key, int], T]) -> T:
        """The answer to a question about one session."""
        check_session(session)
        key = self._key(session)
        return self._database.read(lambda found: question(found, key, self._clock()), session)

    def list_sessions(self, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `SessionStore.list_sessions`. Sorted by id."""
        limit = check_limit(limit)
        after = parse_cursor(cursor)
        return self._database.read(
            lambda connection: reading.page(
                connection, self._keys.prefix, after, limit, self._clock()
            )
        )

    # --- lifetimes --------------------------------------------------------------------------------

    def touch(self, session: str) -> Life | None:
        """See `SessionStore.touch`."""
        check_session(session)
        return self._renew(session, lambda row: row)

    def set_ttl(self, session: str, idle: Duration | None) -> Life | None:
        """See `SessionStore.set_ttl`."""
        check_session(session)
        own_idle: Override = limit_ms(idle, "idle") or "none"
        return self._renew(session, lambda row: row._replace(own_idle=own_idle))

    def pin(self, session: str, *, pinned: bool = True) -> Life | None:
        """See `SessionStore.pin`."""
        check_session(session)
        return self._renew(session, lambda row: row._replace(pinned=int(pinned)))

    def _renew(self, session: str, change: Callable[[Row], Row | None]) -> Life | None:
        """Change a session's row and set its deadline anew; None if that is not to be."""

        def renew(connection: sqlite3.Connection) -> Life | None:
            now_ms = self._clock()
            before = sessions.find(connection, self._key(session), now_ms)
            row = before and change(before)
            if row is None:
                return None
            row = row._replace(deadline_ms=row.deadline(self._ttl.of(session), now_ms))
            if not row.alive(now_ms):
                return None
            if row != before:
                sessions.renew(connection, row)
            return row.life(now_ms)

        return self._database.write(renew, session)

    # --- turns and owners -------------------------------------------------------------------------

    def turn(self, step: TurnStep) -> TurnState:
        """See `TurnStore.turn`."""
        check_session(step.session)
        key, policy = self._key(step.session), self._ttl.of(step.session)
        return self._database.write(
            lambda connection: noting.turn(connection, key, step, policy, self._clock()),
            step.session,
        )

    def annotate(self, session: str, notes: Notes, expect: Notes) -> Life | None:
        """See `OwnerStore.annotate`."""
        check_notes(session, notes)
        key = self._key(session)
        return self._database.write(
            lambda connection: noting.annotate(connection, key, notes, expect, self._clock()),
            session,
        )

    def list_owned(self, owner: str, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `OwnerStore.list_owned`."""
        limit = check_limit(limit)
        place = f"file {self._keys.owner_key(owner)}"
        before, of = parse_owned_cursor(place, cursor), (place, self._keys.prefix, owner)
        return self._database.read(
            lambda connection: noting.owned(connection, of, before, limit, self._clock())
        )

    # --- the rest ---------------------------------------------------------------------------------

    def _key(self, session: str) -> Key:
        return Key(self._keys.prefix, session)

    def ping(self) -> None:
        """See `SessionStore.ping`. Makes sure that the file can be written, and writes nothing."""
        self._database.write(sessions.check_writable)

    def names(self, session: str) -> tuple[Name, ...]:
        """The names of all records, even of those that no head leads to."""
        return self._ask(session, names)

    def counted(self, session: str) -> bool:
        """Whether the rows record how many parts there are; not if version 0.1.0 wrote them."""
        return self._ask(session, counted)

    def dump(self, session: str) -> bytes | None:
        """A session file with only this session, as bytes; None if it does not exist.

        Its rows are copied as they are, even if they are damaged.
        """
        return self._ask(session, dump)

    def diagnose(self) -> Diagnosis:
        """The state of the file and its folder. Changes nothing."""
        return diagnose(self._place.path, self._keys.prefix, self._database.read, self._clock())

    def close(self) -> None:
        """See `SessionStore.close`. Waits for calls under way; a later call reopens the file."""
        self._aio.shutdown()
        self._database.close()


def _absolute(path: object) -> str:
    name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    if name.startswith("file:"):
        raise ConfigurationError(
            f"FileStore takes a path, not a URL: FileStore({name[5:]!r}), or open_store({name!r})"
        )
    if not name or "\0" in name or name == ":memory:":
        raise ConfigurationError(
            f"a file store needs the path of a file, not {path!r}; sessions in memory are a "
            "MemoryStore"
        )
    return os.path.abspath(name)  # noqa: PTH100 -- Path.resolve() would look at the disk
