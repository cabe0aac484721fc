"""A saver that only keeps references: what LangGraph itself takes, and no saver can save.

It encodes nothing, copies no value and calls nobody, so what any other saver adds to a graph's turn
is measured above it. No application can use it: whoever changes a message in place changes what is
stored.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    copy_checkpoint,
)

Writes = dict[tuple[str, int], PendingWrite]


class ReferenceSaver(BaseCheckpointSaver[Any]):
    """Keeps the checkpoints of root namespaces as they are given."""

    def __init__(self) -> None:
        super().__init__()
        self._threads: dict[str, dict[str, tuple[CheckpointTuple, Writes]]] = {}

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `BaseCheckpointSaver.get_tuple`."""
        asked = config["configurable"]
        thread = self._threads.get(asked["thread_id"])
        if not thread:
            return None
        id_ = asked.get("checkpoint_id") or next(reversed(thread))
        return self._found(*thread[id_]) if id_ in thread else None

    @staticmethod
    def _found(kept: CheckpointTuple, writes: Writes) -> CheckpointTuple:
        checkpoint = copy_checkpoint(kept.checkpoint)
        return kept._replace(checkpoint=checkpoint, pending_writes=list(writes.values()))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 -- LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """See `BaseCheckpointSaver.list`; all of one thread, newest first.

        Raises:
            NotImplementedError: no thread is named, or only some are asked for.
        """
        if config is None or filter or before:
            raise NotImplementedError("it lists all checkpoints of one thread")
        thread = self._threads.get(config["configurable"]["thread_id"], {})
        for kept in [*reversed(thread.values())][:limit]:
            yield self._found(*kept)

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002 -- LangGraph's
    ) -> RunnableConfig:
        """See `BaseCheckpointSaver.put`."""
        asked = config["configurable"]
        id_ = checkpoint["id"]
        at: RunnableConfig = {"configurable": {**asked, "checkpoint_id": id_}}
        parent = config if asked.get("checkpoint_id") else None
        thread = self._threads.setdefault(asked["thread_id"], {})
        thread[id_] = CheckpointTuple(at, checkpoint, metadata, parent), {}
        return at

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",  # noqa: ARG002 -- LangGraph's
    ) -> None:
        """See `BaseCheckpointSaver.put_writes`."""
        asked = config["configurable"]
        _, kept = self._threads[asked["thread_id"]][asked["checkpoint_id"]]
        for at, (channel, value) in enumerate(writes):
            kept[task_id, WRITES_IDX_MAP.get(channel, at)] = task_id, channel, value

    def delete_thread(self, thread_id: str) -> None:
        """See `BaseCheckpointSaver.delete_thread`."""
        self._threads.pop(thread_id, None)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `get_tuple`."""
        return self.get_tuple(config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 -- LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """See `list`."""
        for found in self.list(config, filter=filter, before=before, limit=limit):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """See `put`."""
        return self.put(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """See `put_writes`."""
        self.put_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """See `delete_thread`."""
        self.delete_thread(thread_id)
