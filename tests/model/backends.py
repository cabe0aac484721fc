"""Where the stores of the state machine are: in memory, in a file, on fakeredis, on a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, Final, cast

import pytest
import redis
from fakeredis import FakeRedis, FakeServer
from fakeredis.commands_mixins.generic_mixin import GenericCommandsMixin

from backends.fake_time import fake_time
from dictionary import Dictionary
from kv_store import KeyValueStore
from wren_sessions.protocols import SessionStore
from wren_sessions.stores.file import FileStore
from wren_sessions.stores.memory import MemoryStore
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing import FakeClock
from wren_sessions.ttl import TTLPolicy

EXPIRY_S: Final = 1


class Backend:
    """Stores in memory; the other places override what differs.

    Attributes:
        clock: the stores' clock; None if it cannot be set.
        slack_ms: how much a listing may be wrong about deadlines, where the clock does not stand
            still.
        exact: whether a session has expired in the very millisecond of its deadline.
        steady: whether a listing is complete although sessions come and go meanwhile.
    """

    slack_ms: int = 0
    exact: bool = True
    steady: bool = True

    def __init__(self) -> None:
        self.clock: FakeClock | None = FakeClock()

    def open(self, ttl: TTLPolicy) -> SessionStore:
        """A store that holds nothing."""
        return MemoryStore(ttl=ttl, clock=self.clock)

    def expire(self, session: str) -> None:
        """Let a session expire now; for places whose clock cannot be set."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back everything, and forget all sessions."""


class InExample(Backend):
    """Example stores on a dictionary each."""

    def open(self, ttl: TTLPolicy) -> SessionStore:
        """A store on a new dictionary."""
        return KeyValueStore(Dictionary(), ttl=ttl, clock=self.clock)


class InFile(Backend):
    """Stores in a file each."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def open(self, ttl: TTLPolicy) -> SessionStore:
        """A store with a new file."""
        self._store = FileStore(self._path, ttl=ttl, clock=self.clock, synchronous="off")
        return self._store

    def close(self) -> None:
        """Close it, and remove the file."""
        self._store.close()
        for path in self._path.parent.glob(f"{self._path.name}*"):
            path.unlink()


class OnFakeRedis(Backend):
    """Stores on a fake server each.

    Args:
        clock: what the fake servers show, see `fake_servers`.
    """

    exact = False  # Redis keeps a key for the whole of its last millisecond
    steady = False  # a cursor of fakeredis (2.40) counts the keys before it

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        clock.now_ms = FakeClock().now_ms
        self.clock = clock
        self._client = FakeRedis(server=FakeServer())

    def open(self, ttl: TTLPolicy) -> SessionStore:
        """A store on a new server."""
        return RedisStore.from_client(self._client, ttl=ttl)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class OnServer(Backend):
    """Stores on a real server; each finds it empty.

    Args:
        url: where it is.
        awaited: whether to use the store's other face.
    """

    slack_ms = 100
    exact = False

    def __init__(self, url: str, *, awaited: bool) -> None:
        super().__init__()
        self.clock = None
        self._client = redis.Redis.from_url(url)
        self._url = url
        self._awaited = awaited

    def open(self, ttl: TTLPolicy) -> SessionStore:
        """A store with connections of its own."""
        store = RedisStore.from_url(self._url, ttl=ttl)
        self._keys = store.keys
        self._face = Awaited(store) if self._awaited else store
        return cast("SessionStore", self._face)

    def expire(self, session: str) -> None:
        """Set the deadline of its key, and wait."""
        key = self._keys.session_key(session)
        self._client.pexpire(key, 1)
        give_up = time.monotonic() + EXPIRY_S
        while self._client.exists(key):
            assert time.monotonic() < give_up

    def close(self) -> None:
        """Close the store, and empty the server."""
        self._face.close()
        self._client.flushdb()
        self._client.close()


class Awaited:
    """The awaitable face of a store as a blocking one, on an event loop of its own."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._runner = asyncio.Runner()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store.aio, name)
        return lambda *args, **kwargs: self._runner.run(method(*args, **kwargs))

    def close(self) -> None:
        """Close the store and the loop."""
        self._runner.run(self._store.aio.close())
        self._store.close()
        self._runner.close()


@contextmanager
def fake_servers() -> Iterator[FakeClock]:
    """Let fake servers show the time of a clock, and make COPY copy.

    fakeredis (2.40) gives both keys of a COPY the same value, so that writing one writes the other.
    """
    copy = GenericCommandsMixin.copy

    def really_copy(self: Any, key: Any, newkey: Any, *args: bytes) -> Any:
        copied = copy(self, key, newkey, *args)
        if copied:
            del newkey.db[newkey.key]
            newkey.value = deepcopy(key.value)
            newkey.expireat = key.expireat
        return copied

    with fake_time() as clock, pytest.MonkeyPatch.context() as patch:
        patch.setattr(GenericCommandsMixin, "copy", really_copy)
        yield clock
