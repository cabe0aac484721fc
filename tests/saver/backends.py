"""The three stores that the tests of the saver run on, and both faces of a saver."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

from wren_sessions import SessionSaver
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Commit, Committed, Loaded
from wren_sessions.serializers.compression import Compression
from wren_sessions.serializers.encryption import Encryption
from wren_sessions.stores.file import FileStore
from wren_sessions.stores.memory import MemoryStore
from wren_sessions.stores.protected import ProtectedStore
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing import FakeClock
from wren_sessions.ttl import DAY, TTLPolicy

BACKENDS: Final = ("memory", "file", "redis", "sealed")
FACES: Final = ("sync", "async")


class Backend:
    """One place for sessions, and the stores that a test opens on it.

    Args:
        name: ``"memory"``, ``"file"``, ``"redis"``, ``"cluster"``, or ``"sealed"``: memory,
            encrypted and compressed.
        url: where it is.
    """

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self.clock = FakeClock()
        self._opened: list[SessionStore] = []

    def store(self, ttl: TTLPolicy = DAY) -> SessionStore:
        """A store on the place; in memory, there is only the first one."""
        if self.name in {"memory", "sealed"} and self._opened:
            return self._opened[0]
        self._opened.append(self._make(ttl))
        return self._opened[-1]

    def _make(self, ttl: TTLPolicy) -> SessionStore:
        if self.name == "memory":
            return MemoryStore(ttl=ttl, clock=self.clock)
        if self.name == "sealed":
            memory = MemoryStore(ttl=ttl, clock=self.clock)
            keys = Encryption([Encryption.generate_key()])
            return ProtectedStore(
                memory, encryption=keys, compression=Compression(threshold_bytes=64)
            )
        if self.name == "file":
            path = self.url.removeprefix("file://")
            return FileStore(path, ttl=ttl, clock=self.clock, synchronous="off")
        return RedisStore.from_url(self.url, ttl=ttl)

    async def close(self) -> None:
        """Close the stores."""
        for store in self._opened:
            await store.aio.close()
            store.close()


def place(name: str, request: pytest.FixtureRequest) -> str:
    """The URL of an empty place; asks for a server only where one is needed."""
    if name in {"redis", "cluster"}:
        url: str = request.getfixturevalue(f"{name}_url")
        return url
    if name == "file":
        folder: Path = request.getfixturevalue("tmp_path")
        return f"file://{folder / 'sessions.db'}"
    return "memory://"


class BlockingSaver(SessionSaver):
    """A saver whose awaitable methods are its blocking ones: a test of the one is one of both."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The blocking method."""
        return self.get_tuple(config)

    async def alist(
        self, config: RunnableConfig | None, **options: Any
    ) -> AsyncIterator[CheckpointTuple]:
        """The blocking method."""
        for found in self.list(config, **options):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """The blocking method."""
        return self.put(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """The blocking method."""
        self.put_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """The blocking method."""
        self.delete_thread(thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """The blocking method."""
        self.delete_for_runs(run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """The blocking method."""
        self.copy_thread(source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], **options: Any) -> None:
        """The blocking method."""
        self.prune(thread_ids, **options)


class Awaited:
    """A store that is awaited in this object's name: a subclass answers as it likes.

    Args:
        store: the store.
    """

    def __init__(self, store: SessionStore) -> None:
        self.below = store

    @property
    def aio(self) -> Any:
        """The awaitable face."""
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)

    async def commit(self, commit: Commit) -> Committed:
        """As the store does."""
        return await self.below.aio.commit(commit)

    async def load(self, *args: Any) -> Loaded | None:
        """As the store does."""
        return await self.below.aio.load(*args)


class TellingSaver(SessionSaver):
    """A saver that tells when it has stored a write to a channel.

    Args:
        store: where.
        channel: the channel.
        options: of any saver.
    """

    def __init__(self, store: SessionStore, channel: str, **options: Any) -> None:
        super().__init__(store, **options)
        self.channel = channel
        self.wrote = threading.Event()

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """The same, and tell."""
        super().put_writes(config, writes, task_id, task_path)
        if any(channel == self.channel for channel, _ in writes):
            self.wrote.set()


SAVERS: Final[dict[str, type[SessionSaver]]] = {"sync": BlockingSaver, "async": SessionSaver}
