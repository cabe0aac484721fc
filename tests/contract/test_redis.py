"""The contract of stores, on Redis: a real server, a fake one, and clients of the application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TypeAlias

import pytest
import pytest_asyncio
import redis.asyncio
from fakeredis import FakeAsyncRedis, FakeRedis, FakeServer

from backends.fake_time import fake_time
from contract.real_time import RealTime
from wren_sessions.protocols import AsyncSessionStore, SessionStore
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing import FakeClock, MakeStore, MakeTenant, PassTime, StoreContract
from wren_sessions.testing.contract_arena import ArenaContract
from wren_sessions.testing.contract_base import ContractBase, FaceOf, OpenFace
from wren_sessions.testing.contract_commits import CommitContract, ConditionContract
from wren_sessions.testing.contract_copies import CopyContract
from wren_sessions.testing.contract_prefixes import PrefixContract
from wren_sessions.testing.contract_prunes import PruneContract
from wren_sessions.testing.contract_records import RecordContract, ScanContract
from wren_sessions.testing.contract_sessions import SessionContract
from wren_sessions.testing.contract_writes import WriteContract
from wren_sessions.ttl import TTLPolicy

Client: TypeAlias = redis.Redis | redis.asyncio.Redis


def stores_on(client: Client) -> MakeStore:
    """Stores on a client of the application."""

    def make(*, ttl: TTLPolicy | None = None) -> SessionStore:
        return RedisStore.from_client(client, ttl=ttl)

    return make


def tenants_on(client: Client) -> MakeTenant:
    """Stores with a prefix each on a client of the application."""

    def make(prefix: str, *, ttl: TTLPolicy | None = None) -> SessionStore:
        return RedisStore.from_client(client, ttl=ttl, prefix=prefix)

    return make


class FakeServers(StoreContract):
    """The server is a fake whose clock is moved by hand."""

    @pytest.fixture
    def clock(self) -> Iterator[FakeClock]:
        """The clock of the test's server."""
        with fake_time() as clock:
            yield clock

    @pytest.fixture
    def pass_time(self, clock: FakeClock) -> PassTime:
        """Time passes when the test says so."""
        return clock.advance


class AwaitedOnly(ContractBase):
    """Stores on an asyncio client have one face."""

    @pytest_asyncio.fixture
    async def face_of(self) -> AsyncIterator[FaceOf]:  # type: ignore[override]
        """Gives the face that can be awaited."""
        opened: list[AsyncSessionStore] = []

        def face_of(store: SessionStore) -> AsyncSessionStore:
            opened.append(store.aio)
            return opened[-1]

        yield face_of
        for face in opened:
            await face.close()


class TransportContract(
    RecordContract,
    ScanContract,
    ArenaContract,
    WriteContract,
    CommitContract,
    ConditionContract,
    PruneContract,
    SessionContract,
    CopyContract,
    PrefixContract,
):
    """The contract but for lifetimes and names, in which no client has a part."""


class TestRedisStore(RealTime, StoreContract):
    """A store with connections of its own, on a real server."""

    @pytest.fixture
    def make_store(self, redis_url: str) -> MakeStore:
        """Stores that connect by URL."""

        def make(*, ttl: TTLPolicy | None = None) -> SessionStore:
            return RedisStore.from_url(redis_url, ttl=ttl)

        return make

    @pytest.fixture
    def make_tenant(self, redis_url: str) -> MakeTenant:
        """Stores with a prefix each on one server."""

        def make(prefix: str, *, ttl: TTLPolicy | None = None) -> SessionStore:
            return RedisStore.from_url(redis_url, ttl=ttl, prefix=prefix)

        return make

    @pytest.mark.leaves_keys("without limits, nothing expires")
    async def test_without_limits_there_is_no_deadline(self, open_face: OpenFace) -> None:
        """A store without idle timeout and maximum age keeps its sessions."""
        await super().test_without_limits_there_is_no_deadline(open_face)

    @pytest.mark.leaves_keys("without limits, nothing expires")
    async def test_a_session_may_have_no_idle_limit(self, open_face: OpenFace) -> None:
        """`set_ttl` with None takes the idle limit away, but not the maximum age."""
        await super().test_a_session_may_have_no_idle_limit(open_face)


class TestBlockingClient(RealTime, TransportContract):
    """A store on a blocking client of the application, on a real server."""

    @pytest.fixture(params=[False, True], ids=["bytes", "decoded"])
    def client(self, redis_url: str, request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
        """A client, which may decode what it reads; the store gets bytes anyway."""
        with redis.Redis.from_url(redis_url, decode_responses=request.param) as client:
            yield client

    @pytest.fixture
    def make_store(self, client: redis.Redis) -> MakeStore:
        """Stores on one client."""
        return stores_on(client)

    @pytest.fixture
    def make_tenant(self, client: redis.Redis) -> MakeTenant:
        """Stores with a prefix each on one client."""
        return tenants_on(client)


class TestAsyncioClient(AwaitedOnly, RealTime, TransportContract):
    """A store on an asyncio client of the application, on a real server."""

    @pytest_asyncio.fixture(params=[False, True], ids=["bytes", "decoded"])
    async def client(
        self, redis_url: str, request: pytest.FixtureRequest
    ) -> AsyncIterator[redis.asyncio.Redis]:
        """A client of the test's event loop."""
        client = redis.asyncio.Redis.from_url(redis_url, decode_responses=request.param)
        yield client
        await client.connection_pool.disconnect()

    @pytest.fixture
    def make_store(self, client: redis.asyncio.Redis) -> MakeStore:
        """Stores on one client."""
        return stores_on(client)

    @pytest.fixture
    def make_tenant(self, client: redis.asyncio.Redis) -> MakeTenant:
        """Stores with a prefix each on one client."""
        return tenants_on(client)


class TestFakeRedis(FakeServers):
    """A store on a blocking client of fakeredis."""

    @pytest.fixture
    def client(self, clock: FakeClock) -> Iterator[FakeRedis]:
        """A client of a fake server."""
        with FakeRedis(server=FakeServer()) as client:
            yield client

    @pytest.fixture
    def make_store(self, client: FakeRedis) -> MakeStore:
        """Stores on one fake server."""
        return stores_on(client)

    @pytest.fixture
    def make_tenant(self, client: FakeRedis) -> MakeTenant:
        """Stores with a prefix each on one fake server."""
        return tenants_on(client)


class TestFakeAsyncRedis(AwaitedOnly, FakeServers):
    """A store on an asyncio client of fakeredis."""

    @pytest_asyncio.fixture
    async def client(self, clock: FakeClock) -> AsyncIterator[FakeAsyncRedis]:
        """A client of a fake server."""
        client = FakeAsyncRedis(server=FakeServer())
        yield client
        await client.connection_pool.disconnect()

    @pytest.fixture
    def make_store(self, client: FakeAsyncRedis) -> MakeStore:
        """Stores on one fake server."""
        return stores_on(client)

    @pytest.fixture
    def make_tenant(self, client: FakeAsyncRedis) -> MakeTenant:
        """Stores with a prefix each on one fake server."""
        return tenants_on(client)
