"""The contract of stores, on the store in memory."""

from __future__ import annotations

import pytest

from wren_sessions.protocols import SessionStore
from wren_sessions.stores.memory import MemoryStore
from wren_sessions.testing import FakeClock, MakeStore, MakeTenant, PassTime, StoreContract
from wren_sessions.ttl import TTLPolicy


class TestMemoryStore(StoreContract):
    """Everything the protocol says, by a clock moved by hand."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        """One clock for all stores of a test."""
        return FakeClock()

    @pytest.fixture
    def make_store(self, clock: FakeClock) -> MakeStore:
        """Stores without bounds."""

        def make(*, ttl: TTLPolicy | None = None) -> SessionStore:
            return MemoryStore(ttl=ttl, clock=clock)

        return make

    @pytest.fixture
    def make_tenant(self, clock: FakeClock) -> MakeTenant:
        """Stores with a prefix each; what they share is this process, no sessions."""

        def make(prefix: str, *, ttl: TTLPolicy | None = None) -> SessionStore:
            return MemoryStore(ttl=ttl, prefix=prefix, clock=clock)

        return make

    @pytest.fixture
    def pass_time(self, clock: FakeClock) -> PassTime:
        """Time passes when the test says so."""
        return clock.advance
