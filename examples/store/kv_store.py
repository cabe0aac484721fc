"""A session store on any key-value service that can compare and set: one value per session.

`MemoryStore` knows what a session is, and what each operation does. So an operation reads the
session's value, restores it into an empty memory store, and runs there. Then it writes the dump of
the result back, if nobody has changed the value meanwhile. Otherwise it starts again. So it happens
completely or not at all, without a lock. If it was refused, or only read, the value stays the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace as with_changes
from typing import Any, Protocol, Self, TypeVar

from dictionary import dictionary_at
from wren_sessions import ConfigurationError, KeySpace, MemoryStore, TTLPolicy, records
from wren_sessions.keys import DEFAULT_PREFIX
from wren_sessions.stores.threaded import ThreadedStore
from wren_sessions.ttl import DAY, Duration

T = TypeVar("T")


class KeyValue(Protocol):
    """The operations that a service needs: three, each of them atomic.

    Turn the driver's exceptions into errors of `wren_sessions.errors`. An outage is a
    `StoreUnavailableError`, never None. The location is shown to people: no password in it.
    """

    location: str
    persistent: bool

    def get(self, key: str) -> bytes | None:
        """The value of a key, or None."""
        ...

    def swap(self, key: str, old: bytes | None, new: bytes | None) -> bool:
        """Replace `old` with `new`; None means no value. False if the value is not `old`."""
        ...

    def keys(self, prefix: str, after: str, limit: int) -> Sequence[str]:
        """Keys with this prefix that come after `after`: the first `limit` of them, in order."""
        ...


class KeyValueStore:
    """A `SessionStore` on a key-value service.

    Args:
        service: where the values are.
        ttl: how long sessions live; None for 24 hours after the last write.
        prefix: the beginning of all keys.
        clock: gives milliseconds since 1970, the same on all machines that share the service; None
            for the system's clock.
    """

    def __init__(
        self,
        service: KeyValue,
        *,
        ttl: TTLPolicy | None = None,
        prefix: str = DEFAULT_PREFIX,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.ttl = DAY if ttl is None else ttl
        self.keys = KeySpace(prefix)
        self.location = service.location
        self.persistent = service.persistent
        self.aio = ThreadedStore(self, threads=16)
        self._service = service
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)

    @classmethod
    def from_url(cls, url: str, *, ttl: TTLPolicy | None, prefix: str) -> Self:
        """What `open_store` calls. Here the service is a dictionary; connect to yours instead."""
        return cls(dictionary_at(url), ttl=ttl, prefix=prefix)

    def _run(self, session: str, operation: Callable[[MemoryStore], T], *others: str) -> T:
        """Run an operation that changes one session, and may read others."""
        key = self.keys.session_key(session)
        while True:
            value = self._service.get(key)
            memory = MemoryStore(ttl=self.ttl, clock=self._clock)
            if value is not None:
                memory.restore(session, value)
            for other in others:
                self._restore(memory, other)
            answer = operation(memory)
            after = memory.dump(session)
            if after == value or self._service.swap(key, value, after):
                return answer

    def _restore(self, memory: MemoryStore, session: str) -> None:
        value = self._service.get(self.keys.session_key(session))
        if value is not None:
            memory.restore(session, value)

    # --- operations on one session; see `SessionStore` for what they do ---------------------------

    def commit(self, commit: records.Commit) -> records.Committed:
        """Write one checkpoint, pending writes and header."""
        return self._run(commit.session, lambda memory: memory.commit(commit))

    def prune(self, prune: records.Prune) -> records.Committed:
        """Delete records and what only they need."""
        return self._run(prune.session, lambda memory: memory.prune(prune))

    def load(
        self,
        session: str,
        namespace: str = "",
        checkpoint_id: str | None = None,
        held: records.Held | None = None,
    ) -> records.Loaded | None:
        """Read one checkpoint, which may count as use."""
        return self._run(
            session, lambda memory: memory.load(session, namespace, checkpoint_id, held)
        )

    def scan(self, session: str, starts: Sequence[records.Start], limit: int) -> records.Scanned:
        """Read records, newest first."""
        return self._run(session, lambda memory: memory.scan(session, starts, limit))

    def read(self, session: str, spans: Sequence[records.Span]) -> records.ArenaParts | None:
        """Read parts of the arena."""
        return self._run(session, lambda memory: memory.read(session, spans))

    def heads(self, session: str) -> tuple[records.Name, ...]:
        """Name the latest checkpoint of each namespace."""
        return self._run(session, lambda memory: memory.heads(session))

    def info(self, session: str) -> records.SessionInfo | None:
        """Describe a session without reading it."""
        return self._run(session, lambda memory: memory.info(session))

    def touch(self, session: str) -> records.Life | None:
        """Restart the idle timeout."""
        return self._run(session, lambda memory: memory.touch(session))

    def set_ttl(self, session: str, idle: Duration | None) -> records.Life | None:
        """Give a session an idle timeout of its own."""
        return self._run(session, lambda memory: memory.set_ttl(session, idle))

    def pin(self, session: str, *, pinned: bool = True) -> records.Life | None:
        """Never let a session expire, or let it expire again."""
        return self._run(session, lambda memory: memory.pin(session, pinned=pinned))

    def delete(self, session: str) -> bool:
        """Delete a session."""
        return self._run(session, lambda memory: memory.delete(session))

    def copy(
        self,
        source: str,
        target: str,
        *,
        replace: bool | records.Life = False,
        state: bytes | None = None,
        expect: records.Life | None = None,
    ) -> records.Life | None:
        """Copy a session."""
        how: dict[str, Any] = {"replace": replace, "state": state, "expect": expect}
        return self._run(target, lambda memory: memory.copy(source, target, **how), source)

    # --- all sessions, and the store itself -------------------------------------------------------

    def list_sessions(self, cursor: str | None = None, limit: int = 100) -> records.SessionPage:
        """One page of all sessions; a cursor is the last key of the page before."""
        prefix = f"{self.keys.prefix}:"
        if cursor is not None and not cursor.startswith(prefix):
            raise ConfigurationError(f"{cursor!r} is no cursor of this store")
        if type(limit) is not int or limit < 1:
            raise ConfigurationError(f"limit must be a whole number of at least 1, not {limit!r}")
        found = self._service.keys(prefix, cursor or "", limit)
        sessions = [name for name in map(self.keys.parse_session_key, found) if name is not None]
        memory = MemoryStore(ttl=self.ttl, clock=self._clock)
        for session in sessions:
            self._restore(memory, session)
        page = memory.list_sessions(None, limit)
        for expired in set(sessions) - {info.session for info in page.sessions}:
            self.info(expired)  # finds nothing to put back
        last = found[-1] if len(found) == limit else None
        # What has a colon more belongs to a longer prefix: its sessions are none of ours to count.
        of_ours = [name for name in found if name.count(":") <= self.keys.pattern.count(":")]
        return with_changes(page, cursor=last, foreign=len(of_ours) - len(sessions))

    def ping(self) -> None:
        """Make sure that the service answers."""
        self._service.get(self.keys.session_key("ping"))

    def close(self) -> None:
        """End the threads; the service belongs to the caller."""
        self.aio.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aio.close()
