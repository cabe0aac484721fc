"""Savers that LangGraph's background work overtakes: a slow put, slow pending writes."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata

from wren_sessions import SessionSaver

PATIENCE_S: Final = 0.02  # for what never comes: a run's last checkpoint has no writes


class Signal:
    """Something that happened, to wait for in a thread or on an event loop."""

    def __init__(self) -> None:
        self._thread = threading.Event()
        self._loop = asyncio.Event()

    def happen(self) -> None:
        """Let those that wait go on."""
        self._thread.set()
        self._loop.set()

    def wait(self) -> None:
        """Wait in this thread, but not for ever."""
        self._thread.wait(PATIENCE_S)

    async def await_it(self) -> None:
        """Wait on this event loop, but not for ever."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._loop.wait(), PATIENCE_S)


class _Delayed(SessionSaver):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.written: defaultdict[Any, Signal] = defaultdict(Signal)
        self.continued: defaultdict[Any, Signal] = defaultdict(Signal)


def _id(config: RunnableConfig) -> Any:
    return config["configurable"].get("checkpoint_id")


class SlowPut(_Delayed):
    """A checkpoint is written after the pending writes that belong to it."""

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Wait for the writes, then write."""
        self.written[checkpoint["id"]].wait()
        return super().put(config, checkpoint, metadata, new_versions)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Wait for the writes, then write."""
        await self.written[checkpoint["id"]].await_it()
        return await super().aput(config, checkpoint, metadata, new_versions)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Write, then let the checkpoint come."""
        super().put_writes(config, writes, task_id, task_path)
        self.written[_id(config)].happen()

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Write, then let the checkpoint come."""
        await super().aput_writes(config, writes, task_id, task_path)
        self.written[_id(config)].happen()


class SlowWrites(_Delayed):
    """Pending writes are written after the checkpoint that has taken them in."""

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Write, then let the parent's writes come."""
        done = super().put(config, checkpoint, metadata, new_versions)
        self.continued[_id(config)].happen()
        return done

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Write, then let the parent's writes come."""
        done = await super().aput(config, checkpoint, metadata, new_versions)
        self.continued[_id(config)].happen()
        return done

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Wait for the next checkpoint, then write."""
        self.continued[_id(config)].wait()
        super().put_writes(config, writes, task_id, task_path)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Wait for the next checkpoint, then write."""
        await self.continued[_id(config)].await_it()
        await super().aput_writes(config, writes, task_id, task_path)


DELAYED: Final[dict[str, type[SessionSaver]]] = {"put": SlowPut, "put_writes": SlowWrites}
