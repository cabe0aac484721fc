"""A protected store keeps the contract of stores, on any store below."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wren_sessions.protocols import SessionStore
from wren_sessions.serializers.compression import Compression
from wren_sessions.serializers.encryption import Encryption
from wren_sessions.stores.file import FileStore
from wren_sessions.stores.memory import MemoryStore
from wren_sessions.stores.protected import ProtectedStore
from wren_sessions.testing import FakeClock, MakeStore, MakeTenant, PassTime, StoreContract
from wren_sessions.ttl import DAY, TTLPolicy

KEYS = Encryption([Encryption.generate_key("k2"), Encryption.generate_key("k1")])


class Protected(StoreContract):
    """Encrypted and compressed, as far as what the contract writes can be compressed."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        """The clock of the test's stores."""
        return FakeClock()

    @pytest.fixture
    def pass_time(self, clock: FakeClock) -> PassTime:
        """Time passes when the test says so."""
        return clock.advance


class TestProtectedMemory(Protected):
    """In the memory of the process."""

    @pytest.fixture
    def make_store(self, clock: FakeClock) -> MakeStore:
        """Stores that hold nothing."""

        def make(*, ttl: TTLPolicy | None = None) -> SessionStore:
            store = MemoryStore(ttl=ttl or DAY, clock=clock)
            return ProtectedStore(store, encryption=KEYS, compression=Compression())

        return make

    @pytest.fixture
    def make_tenant(self, clock: FakeClock) -> MakeTenant:
        """Stores with a prefix each, which share their keys alone."""

        def make(prefix: str, *, ttl: TTLPolicy | None = None) -> SessionStore:
            store = MemoryStore(ttl=ttl or DAY, prefix=prefix, clock=clock)
            return ProtectedStore(store, encryption=KEYS, compression=Compression())

        return make


class TestProtectedFile(Protected):
    """In a file, compressed alone; encrypted too where stores share a file."""

    @pytest.fixture
    def make_store(self, clock: FakeClock, tmp_path: Path) -> Iterator[MakeStore]:
        """Stores that hold nothing."""
        made: list[FileStore] = []

        def make(*, ttl: TTLPolicy | None = None) -> SessionStore:
            path = tmp_path / f"{len(made)}.db"
            made.append(FileStore(path, ttl=ttl or DAY, clock=clock, synchronous="normal"))
            return ProtectedStore(made[-1], compression=Compression(threshold_bytes=64))

        yield make
        for store in made:
            store.close()

    @pytest.fixture
    def make_tenant(self, clock: FakeClock, tmp_path: Path) -> MakeTenant:
        """Stores with a prefix each in one file."""

        def make(prefix: str, *, ttl: TTLPolicy | None = None) -> SessionStore:
            file = tmp_path / "shared.db"
            store = FileStore(file, ttl=ttl or DAY, prefix=prefix, clock=clock, synchronous="off")
            return ProtectedStore(store, encryption=KEYS)

        return make
