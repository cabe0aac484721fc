"""Both faces of a saver under the same names, so that each workload is written once.

A workload is a coroutine. On the asynchronous face it runs in an event loop; on the blocking one
nothing in it ever waits, and `benchmarks.measuring.run_now` runs it without a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

Saver = BaseCheckpointSaver[Any]


def config_of(thread_id: str) -> RunnableConfig:
    """The root namespace of a thread."""
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}


class Face:
    """A saver's blocking methods, or its asynchronous ones, to await.

    Args:
        saver: LangGraph's checkpointer.
        name: ``"sync"`` or ``"async"``.
    """

    def __init__(self, saver: Saver, name: str) -> None:
        self.saver = saver
        self.awaits = name == "async"

    async def get(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `BaseCheckpointSaver.get_tuple`."""
        if self.awaits:
            return await self.saver.aget_tuple(config)
        return self.saver.get_tuple(config)

    async def put(self, arguments: tuple[Any, ...]) -> RunnableConfig:
        """See `BaseCheckpointSaver.put`."""
        if self.awaits:
            return await self.saver.aput(*arguments)
        return self.saver.put(*arguments)

    async def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str
    ) -> None:
        """See `BaseCheckpointSaver.put_writes`."""
        if self.awaits:
            await self.saver.aput_writes(config, writes, task_id, "~__pregel_pull, chat")
        else:
            self.saver.put_writes(config, writes, task_id, "~__pregel_pull, chat")

    async def list(self, config: RunnableConfig, limit: int | None = None) -> int:
        """Go through `BaseCheckpointSaver.list`; says how many checkpoints there were."""
        if self.awaits:
            return sum([1 async for _ in self.saver.alist(config, limit=limit)])
        return sum(1 for _ in self.saver.list(config, limit=limit))

    async def delete(self, thread_id: str) -> None:
        """See `BaseCheckpointSaver.delete_thread`."""
        if self.awaits:
            await self.saver.adelete_thread(thread_id)
        else:
            self.saver.delete_thread(thread_id)
