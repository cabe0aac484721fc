"""What a store costs: the bytes of commits, and the bytes and commands on a Redis connection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from redis import ConnectionPool, Redis
from redis.connection import Connection

from wren_sessions.protocols import SessionStore
from wren_sessions.records import Commit, Committed


def carried_bytes(commit: Commit) -> int:
    """What a commit carries: record, appended bytes, pending writes and header."""
    record, writes = commit.record, commit.writes
    return (
        (len(record.body) + len(record.append) if record else 0)
        + sum(len(entry.body) for entry in (writes.entries if writes else ()))
        + len(commit.state or b"")
    )


class MeteredStore:
    """A store that notes what each commit carries; all else is the store's own.

    Args:
        store: the store to meter.

    Attributes:
        carried: bytes of each commit so far, see `carried_bytes`.
    """

    def __init__(self, store: SessionStore) -> None:
        self.carried: list[int] = []
        self._store = store

    def commit(self, commit: Commit) -> Committed:
        """See `SessionStore.commit`."""
        self.carried.append(carried_bytes(commit))
        return self._store.commit(commit)

    @property
    def carried_bytes(self) -> int:
        """Of all commits so far."""
        return sum(self.carried)

    @property
    def face(self) -> SessionStore:
        """Itself, as what it stands for."""
        return cast("SessionStore", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Wire:
    """What one client sends.

    Attributes:
        sent_bytes: in all.
        sends: how often something was sent: round trips.
        commands: the names of the commands, in order.
    """

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.sends = 0
        self.commands: list[str] = []

    def reset(self) -> None:
        """Start again from nothing."""
        self.sent_bytes = self.sends = 0
        self.commands.clear()

    def client(self, url: str) -> Redis:
        """A blocking client whose connections are metered."""
        pool = ConnectionPool.from_url(url, connection_class=_MeteredConnection, wire=self)
        return Redis.from_pool(pool)


class _MeteredConnection(Connection):
    """A connection that tells its `Wire` what it sends."""

    def __init__(self, *args: Any, wire: Wire, **kwargs: Any) -> None:
        self.wire = wire
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

    def send_command(self, *args: Any, **kwargs: Any) -> Any:
        self.wire.commands.append(str(args[0]))
        return super().send_command(*args, **kwargs)  # type: ignore[no-untyped-call]

    def pack_commands(self, commands: Iterable[Any]) -> Any:
        named = list(commands)
        self.wire.commands += [str(command[0]) for command in named]
        return super().pack_commands(named)  # type: ignore[no-untyped-call]

    def send_packed_command(self, command: Any, check_health: bool = True) -> Any:  # noqa: FBT001, FBT002 -- redis-py's signature
        chunks = [command] if isinstance(command, str | bytes) else list(command)
        self.wire.sent_bytes += sum(len(chunk) for chunk in chunks)
        self.wire.sends += 1
        return super().send_packed_command(chunks, check_health)  # type: ignore[no-untyped-call]
