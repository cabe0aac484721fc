"""The contract of stores, on the store in a file."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from wren_sessions.protocols import SessionStore
from wren_sessions.stores.file import FileStore
from wren_sessions.testing import FakeClock, MakeStore, MakeTenant, PassTime, StoreContract
from wren_sessions.ttl import TTLPolicy


class TestFileStore(StoreContract):
    """Everything the protocol says, by a clock moved by hand."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        """One clock for all stores of a test."""
        return FakeClock()

    @pytest.fixture
    def make_store(self, clock: FakeClock, tmp_path: Path) -> MakeStore:
        """Stores with a file each; nobody cuts the power."""
        names = count()

        def make(*, ttl: TTLPolicy | None = None) -> SessionStore:
            file = tmp_path / f"{next(names)}.db"
            return FileStore(file, ttl=ttl, clock=clock, synchronous="off")

        return make

    @pytest.fixture
    def make_tenant(self, clock: FakeClock, tmp_path: Path) -> MakeTenant:
        """Stores with a prefix each in one file."""

        def make(prefix: str, *, ttl: TTLPolicy | None = None) -> SessionStore:
            file = tmp_path / "shared.db"
            return FileStore(file, ttl=ttl, prefix=prefix, clock=clock, synchronous="off")

        return make

    @pytest.fixture
    def pass_time(self, clock: FakeClock) -> PassTime:
        """Time passes when the test says so."""
        return clock.advance
