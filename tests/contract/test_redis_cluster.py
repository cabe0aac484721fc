"""The contract of stores, on a Redis cluster: by URL, and on clients of the application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import redis
import redis.asyncio

from contract.real_time import RealTime
from contract.test_redis import AwaitedOnly, TransportContract
from servers import ClusterServers
from wren_sessions.protocols import SessionStore
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing import MakeStore, MakeTenant
from wren_sessions.testing.contract_copies import CopyContract
from wren_sessions.testing.contract_sessions import SessionContract
from wren_sessions.ttl import TTLPolicy


class TestCluster(RealTime, TransportContract):
    """A store with connections of its own."""

    @pytest.fixture
    def make_store(self, cluster_url: str) -> MakeStore:
        """Stores that connect by URL."""

        def make(*, ttl: TTLPolicy | None = None) -> SessionStore:
            return RedisStore.from_url(cluster_url, ttl=ttl)

        return make

    @pytest.fixture
    def make_tenant(self, cluster_url: str) -> MakeTenant:
        """Stores with a prefix each."""

        def make(prefix: str, *, ttl: TTLPolicy | None = None) -> SessionStore:
            return RedisStore.from_url(cluster_url, ttl=ttl, prefix=prefix)

        return make


class TestBlockingClient(RealTime, SessionContract, CopyContract):
    """A store on a blocking client of the application."""

    @pytest.fixture
    def make_store(self, cluster_url: str, redis_cluster: ClusterServers) -> Iterator[MakeStore]:
        """Stores on one client, which decodes what it reads."""
        port = redis_cluster.servers[0].port
        with redis.RedisCluster("127.0.0.1", port, decode_responses=True) as client:

            def make(*, ttl: TTLPolicy | None = None) -> SessionStore:
                return RedisStore.from_client(client, ttl=ttl)

            yield make


class TestAsyncioClient(AwaitedOnly, RealTime, SessionContract, CopyContract):
    """A store on an asyncio client of the application."""

    @pytest_asyncio.fixture
    async def make_store(  # type: ignore[override]
        self, cluster_url: str, redis_cluster: ClusterServers
    ) -> AsyncIterator[MakeStore]:
        """Stores on one client, which has not connected."""
        client = redis.asyncio.RedisCluster("127.0.0.1", redis_cluster.servers[0].port)

        def make(*, ttl: TTLPolicy | None = None) -> SessionStore:
            return RedisStore.from_client(client, ttl=ttl)

        yield make
        await getattr(client, "aclose", client.close)()  # redis-py 5.0 has no aclose
