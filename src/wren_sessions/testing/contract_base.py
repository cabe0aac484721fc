"""What every part of the contract stands on: how stores are made, and how time passes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import ClassVar, Protocol, TypeAlias

import pytest
import pytest_asyncio

from wren_sessions.protocols import AsyncSessionStore, SessionStore
from wren_sessions.stores.threaded import ThreadedStore
from wren_sessions.ttl import Duration, TTLPolicy, to_ms

THREADS = 8


class MakeStore(Protocol):
    """Makes a store."""

    def __call__(self, *, ttl: TTLPolicy | None = None) -> SessionStore:
        """Make a store that holds nothing; ttl None is the store's own default."""


class MakeTenant(Protocol):
    """Makes a store on a storage that it shares."""

    def __call__(self, prefix: str, *, ttl: TTLPolicy | None = None) -> SessionStore:
        """Make a store with a prefix, on the storage that all stores of a test made so share."""


PassTime: TypeAlias = Callable[[Duration], None]
"""Lets time pass, for the clock of the stores made."""


class OpenFace(Protocol):
    """Makes a store and gives one face of it."""

    def __call__(self, ttl: TTLPolicy | None = None) -> AsyncSessionStore:
        """Make a store; ttl None is the store's own default."""


FaceOf: TypeAlias = Callable[[SessionStore], AsyncSessionStore]
"""Gives one face of a store, which is closed when the test ends."""


class OpenTenant(Protocol):
    """Makes a store with a prefix, and gives one face of it."""

    def __call__(self, prefix: str, ttl: TTLPolicy | None = None) -> AsyncSessionStore:
        """Make a store; see `MakeTenant`."""


class ContractBase:
    """The fixtures of the contract; a subclass overrides `make_store` and `pass_time`.

    It overrides `make_tenant` too where stores can share a storage.

    Attributes:
        tick: the unit of time of the tests. Sessions live four ticks or more in them, and a test
            lets at most ten pass. One tick is also how much a test tolerates: where
            `pass_time` sleeps, choose it longer than the calls of a busy machine take, 100 ms say.
    """

    pytestmark: ClassVar = pytest.mark.asyncio
    tick: ClassVar[Duration] = "1h"

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Override: how to make a store that holds nothing, with a keyword argument ``ttl``."""
        raise NotImplementedError("override the fixture make_store: see StoreContract")

    @pytest.fixture
    def pass_time(self) -> PassTime:
        """Override: how to let time pass, by a duration."""
        raise NotImplementedError("override the fixture pass_time: see StoreContract")

    @pytest.fixture
    def make_tenant(self) -> MakeTenant:
        """Override: how to make a store with a prefix, with ``ttl=``, on a storage they share."""
        pytest.skip("override the fixture make_tenant to test that prefixes separate sessions")

    @pytest_asyncio.fixture(params=["sync", "async"])
    async def face_of(self, request: pytest.FixtureRequest) -> AsyncIterator[FaceOf]:
        """Gives a face of stores: each test runs on the blocking one as well.

        The blocking methods are awaited through threads, so that calls that are awaited together
        really run at once.
        """
        opened: list[AsyncSessionStore] = []

        def face_of(store: SessionStore) -> AsyncSessionStore:
            blocking: AsyncSessionStore = ThreadedStore(store, threads=THREADS)
            opened.append(store.aio if request.param == "async" else blocking)
            return opened[-1]

        yield face_of
        for face in opened:
            await face.close()

    @pytest.fixture
    def open_face(self, face_of: FaceOf, make_store: MakeStore) -> OpenFace:
        """Makes stores that hold nothing and gives a face of them."""

        def open_face(ttl: TTLPolicy | None = None) -> AsyncSessionStore:
            return face_of(make_store(ttl=ttl))

        return open_face

    @pytest.fixture
    def open_tenant(self, face_of: FaceOf, make_tenant: MakeTenant) -> OpenTenant:
        """Makes stores with prefixes, on one storage, and gives a face of them."""

        def open_tenant(prefix: str, ttl: TTLPolicy | None = None) -> AsyncSessionStore:
            return face_of(make_tenant(prefix, ttl=ttl))

        return open_tenant

    @pytest.fixture
    def face(self, open_face: OpenFace) -> AsyncSessionStore:
        """One face of a store with its default lifetime."""
        return open_face()

    def ticks(self, count: float) -> timedelta:
        """A length of time, in ticks."""
        return timedelta(milliseconds=round(to_ms(self.tick) * count))

    def idle(self, count: float = 4) -> TTLPolicy:
        """A policy of some ticks of idle time."""
        return TTLPolicy(idle=self.ticks(count))
