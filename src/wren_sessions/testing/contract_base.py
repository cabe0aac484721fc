"""The basis of all contract tests: how stores are created, and how time passes."""

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
        """Create an empty store; ttl None is the store's own default."""


class MakeTenant(Protocol):
    """Makes a store on a storage that it shares."""

    def __call__(self, prefix: str, *, ttl: TTLPolicy | None = None) -> SessionStore:
        """Create a store with a prefix, on a storage that all stores of one test share."""


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

    If stores can share a storage, it also overrides `make_tenant`.

    Attributes:
        tick: the unit of time in the tests. Sessions live for at least four ticks, and a test lets
            at most ten ticks pass. One tick is also the tolerance of a test. If `pass_time` sleeps,
            choose a tick that is longer than calls on a busy machine take, such as 100 ms.
    """

    pytestmark: ClassVar[pytest.MarkDecorator] = pytest.mark.asyncio
    tick: ClassVar[Duration] = "1h"

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Override: how to create an empty store, with a keyword argument ``ttl``."""
        raise NotImplementedError("override the fixture make_store: see StoreContract")

    @pytest.fixture
    def pass_time(self) -> PassTime:
        """Override: how to let a duration pass."""
        raise NotImplementedError("override the fixture pass_time: see StoreContract")

    @pytest.fixture
    def make_tenant(self) -> MakeTenant:
        """Override: how to create a store with a prefix and ``ttl=``, on a shared storage."""
        pytest.skip("override the fixture make_tenant to test that prefixes separate sessions")

    @pytest_asyncio.fixture(params=["sync", "async"])
    async def face_of(self, request: pytest.FixtureRequest) -> AsyncIterator[FaceOf]:
        """Returns the sync or async API of a store: each test runs with both.

        The blocking methods run in threads, so that calls that are awaited together really run at
        the same time.
        """
        opened: list[AsyncSessionStore] = []

        def face_of(store: SessionStore) -> AsyncSessionStore:
            blocking: AsyncSessionStore = ThreadedStore(store, threads=THREADS)
            opened.append(store.aio if request.param == "async" else blocking)
            return opened[-1]

        yield face_of
        for face in opened:
            await face.close()

    def _opening(
        self, face_of: FaceOf, make_store: MakeStore, method: str = "commit", lacking: str = ""
    ) -> OpenFace:
        """Makes stores that hold nothing and gives a face of them; skips if they lack a method."""

        def open_face(ttl: TTLPolicy | None = None) -> AsyncSessionStore:
            store = make_store(ttl=ttl)
            if not hasattr(store, method):
                pytest.skip(lacking)
            return face_of(store)

        return open_face

    @pytest.fixture
    def open_face(self, face_of: FaceOf, make_store: MakeStore) -> OpenFace:
        """Makes stores that hold nothing and gives a face of them."""
        return self._opening(face_of, make_store)

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
