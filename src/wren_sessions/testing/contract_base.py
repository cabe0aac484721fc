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


PassTime: TypeAlias = Callable[[Duration], None]
"""Lets time pass, for the clock of the stores made."""


class OpenFace(Protocol):
    """Makes a store and gives one face of it."""

    def __call__(self, ttl: TTLPolicy | None = None) -> AsyncSessionStore:
        """Make a store; ttl None is the store's own default."""


class ContractBase:
    """The fixtures of the contract; a subclass overrides `make_store` and `pass_time`.

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

    @pytest_asyncio.fixture(params=["sync", "async"])
    async def open_face(
        self, request: pytest.FixtureRequest, make_store: MakeStore
    ) -> AsyncIterator[OpenFace]:
        """Makes stores and gives a face of them: each test runs on the blocking one as well.

        The blocking methods are awaited through threads, so that calls that are awaited together
        really run at once.
        """
        opened: list[AsyncSessionStore] = []

        def open_face(ttl: TTLPolicy | None = None) -> AsyncSessionStore:
            store = make_store(ttl=ttl)
            blocking: AsyncSessionStore = ThreadedStore(store, threads=THREADS)
            opened.append(store.aio if request.param == "async" else blocking)
            return opened[-1]

        yield open_face
        for face in opened:
            await face.close()

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
