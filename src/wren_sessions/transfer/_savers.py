"""LangGraph's checkpointers under one set of methods: see `wren_sessions._blocking`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple


@dataclass(slots=True)
class Listed:
    """What is kept of a listing.

    Attributes:
        kept: what is kept of each checkpoint, in the order listed, each value once.
        count: how many checkpoints were listed.
    """

    kept: dict[Any, None] = field(default_factory=dict)
    count: int = 0

    def add(self, value: Hashable) -> None:
        """Keep a value of one more checkpoint."""
        self.kept[value] = None
        self.count += 1


Keep: TypeAlias = "Callable[[CheckpointTuple], Hashable]"


class Saver(Protocol):
    """A checkpointer, to await."""

    saver: BaseCheckpointSaver[Any]

    async def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """One checkpoint; None if it is not there."""

    async def put(
        self, config: RunnableConfig, checkpoint: Any, metadata: Any, new_versions: Any
    ) -> None:
        """Write a checkpoint."""

    async def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, path: str
    ) -> None:
        """Write a task's pending writes."""

    async def list(self, config: RunnableConfig | None, keep: Keep, **options: Any) -> Listed:
        """What is kept of each checkpoint; the rest is dropped as it comes."""


class BlockingSaver:
    """A saver's blocking methods; none of them suspends.

    Args:
        saver: the saver.
    """

    def __init__(self, saver: BaseCheckpointSaver[Any]) -> None:
        self.saver = saver

    async def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `Saver`."""
        return self.saver.get_tuple(config)

    async def put(
        self, config: RunnableConfig, checkpoint: Any, metadata: Any, new_versions: Any
    ) -> None:
        """See `Saver`."""
        self.saver.put(config, checkpoint, metadata, new_versions)

    async def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, path: str
    ) -> None:
        """See `Saver`."""
        self.saver.put_writes(config, writes, task_id, path)

    async def list(self, config: RunnableConfig | None, keep: Keep, **options: Any) -> Listed:
        """See `Saver`."""
        listed = Listed()
        for found in self.saver.list(config, **options):
            listed.add(keep(found))
        return listed


class AwaitedSaver:
    """A saver's asynchronous methods.

    Args:
        saver: the saver.
    """

    def __init__(self, saver: BaseCheckpointSaver[Any]) -> None:
        self.saver = saver

    async def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `Saver`."""
        return await self.saver.aget_tuple(config)

    async def put(
        self, config: RunnableConfig, checkpoint: Any, metadata: Any, new_versions: Any
    ) -> None:
        """See `Saver`."""
        await self.saver.aput(config, checkpoint, metadata, new_versions)

    async def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, path: str
    ) -> None:
        """See `Saver`."""
        await self.saver.aput_writes(config, writes, task_id, path)

    async def list(self, config: RunnableConfig | None, keep: Keep, **options: Any) -> Listed:
        """See `Saver`."""
        listed = Listed()
        async for found in self.saver.alist(config, **options):
            listed.add(keep(found))
        return listed
