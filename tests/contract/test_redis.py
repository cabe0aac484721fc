"""The contract of stores, on Redis: a real server, a fake one, and clients of the application."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from redis import Redis

from wren_sessions.protocols import SessionStore
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing import MakeStore, PassTime, StoreContract
from wren_sessions.ttl import Duration, TTLPolicy, to_ms


class OnServer(StoreContract):
    """Time passes on the server, so the tests wait for it."""

    tick = "100ms"

    @pytest.fixture
    def pass_time(self) -> PassTime:
        """Wait."""

        def wait(duration: Duration) -> None:
            time.sleep(to_ms(duration) / 1_000)

        return wait


class TestRedisStore(OnServer):
    """A store with connections of its own."""

    @pytest.fixture
    def make_store(self, redis_url: str) -> MakeStore:
        def make(*, ttl: TTLPolicy | None = None) -> SessionStore:
            return RedisStore.from_url(redis_url, ttl=ttl)

        return make
