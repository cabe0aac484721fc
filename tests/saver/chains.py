"""Checkpoints made by hand, one behind the other, and short ways to read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from wren_sessions.protocols import SessionStore

THREAD: Final = "cli_20251108_145739"


def config(
    thread_id: Any = THREAD, checkpoint_ns: str | None = "", checkpoint_id: str | None = None
) -> RunnableConfig:
    """The config of a thread, or of one checkpoint of it; without a namespace if that is None."""
    parts = {"checkpoint_ns": checkpoint_ns, "checkpoint_id": checkpoint_id}
    given = {name: part for name, part in parts.items() if part is not None}
    return {"configurable": {"thread_id": thread_id, **given}}


class Chain:
    """The checkpoints of one namespace, of which each continues the one before.

    Args:
        saver: where to write them.
        thread_id: their thread.
        namespace: their namespace.
    """

    def __init__(
        self, saver: BaseCheckpointSaver[Any], thread_id: Any = THREAD, namespace: str = ""
    ) -> None:
        self.saver = saver
        self.at = config(thread_id, namespace)
        self._values: dict[str, Any] = {}
        self._versions: dict[str, Any] = {}

    @classmethod
    def continuing(cls, saver: BaseCheckpointSaver[Any], found: CheckpointTuple) -> Self:
        """The chain that goes on from a checkpoint that was read."""
        chain = cls(saver)
        chain.at = found.config
        chain._values = dict(found.checkpoint["channel_values"])
        chain._versions = dict(found.checkpoint["channel_versions"])
        return chain

    async def put(
        self,
        checkpoint_id: str,
        values: Mapping[str, Any] | None = None,
        *,
        after: RunnableConfig | None = None,
        metadata: Mapping[str, Any] | None = None,
        versions: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> RunnableConfig:
        """Write a checkpoint; `values` are the channels that changed, all others stay.

        Args:
            checkpoint_id: its id.
            values: the channels that changed.
            after: the checkpoint that it continues; None for the one written last.
            metadata: its metadata.
            versions: the versions of the channels that changed; None for the next ones.
            settings: further parts of the config.
        """
        new = dict(versions or {})
        for channel in values or {}:
            if channel not in new:
                new[channel] = self.saver.get_next_version(self._versions.get(channel), None)
        self._values |= values or {}
        self._versions |= new
        given: Any = {**(after or self.at), **settings}
        checkpoint: Any = {
            "v": 1,
            "id": checkpoint_id,
            "ts": "2025-11-08T14:57:39+00:00",
            "channel_values": dict(self._values),
            "channel_versions": dict(self._versions),
            "versions_seen": {"node": dict(self._versions)},
            "updated_channels": sorted(new),
        }
        about: Any = {"source": "loop", "step": 1, "parents": {}, **(metadata or {})}
        self.at = await self.saver.aput(given, checkpoint, about, new)
        return self.at


async def get(saver: BaseCheckpointSaver[Any], at: RunnableConfig) -> CheckpointTuple:
    """A checkpoint that is there."""
    found = await saver.aget_tuple(at)
    assert found is not None
    return found


async def values(saver: BaseCheckpointSaver[Any], at: RunnableConfig | None = None) -> Any:
    """A checkpoint's values."""
    return (await get(saver, at or config())).checkpoint["channel_values"]


async def pending(saver: BaseCheckpointSaver[Any], at: RunnableConfig) -> list[tuple[Any, ...]]:
    """A checkpoint's pending writes."""
    return (await get(saver, at)).pending_writes or []


async def ids(
    saver: BaseCheckpointSaver[Any], at: RunnableConfig | None, **options: Any
) -> list[str]:
    """The ids of what a listing finds, in order."""
    return [found.checkpoint["id"] async for found in saver.alist(at, **options)]


async def revision(store: SessionStore, session: str = THREAD) -> int | None:
    """How many commits a session has seen; None if it is not there."""
    info = await store.aio.info(session)
    return None if info is None else info.life.revision
