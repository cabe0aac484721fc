"""A LangGraph thread without a graph: the calls that a graph makes, with values of one's choice."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.base.id import uuid6


class Thread:
    """One thread, or one subgraph namespace of it, on any saver.

    Args:
        saver: LangGraph's checkpointer.
        thread_id: the thread.
        namespace: the checkpoint namespace; the root's is empty.
    """

    def __init__(
        self, saver: BaseCheckpointSaver[Any], thread_id: str, namespace: str = ""
    ) -> None:
        self.saver = saver
        self.versions: ChannelVersions = {}
        self._seen: dict[str, ChannelVersions] = {"__input__": {}}
        self._step = -2
        self._latest: RunnableConfig = {
            "configurable": {"thread_id": thread_id, "checkpoint_ns": namespace}
        }
        self.config: RunnableConfig = {"configurable": {**self._latest["configurable"]}}

    @property
    def latest(self) -> RunnableConfig:
        """The config that asks for the latest checkpoint."""
        return self._latest

    def get(self) -> CheckpointTuple | None:
        """Read the latest checkpoint, and continue from it, as the start of a run does."""
        found = self.saver.get_tuple(self._latest)
        self.continue_from(found)
        return found

    def continue_from(self, found: CheckpointTuple | None) -> None:
        """Continue from a checkpoint that was read; None is a thread that is not there yet."""
        if found is not None:
            self.config = found.config
            self.versions = dict(found.checkpoint["channel_versions"])
            self._step = int(found.metadata["step"])

    def put(self, values: Mapping[str, Any], changed: Collection[str], source: str) -> None:
        """Write the next checkpoint; see `next_put`."""
        self.config = self.saver.put(*self.next_put(values, changed, source))

    def next_put(
        self,
        values: Mapping[str, Any],
        changed: Collection[str],
        source: str,
        node: str = "chat",
        trigger: str = "branch:to:chat",
    ) -> tuple[RunnableConfig, Checkpoint, CheckpointMetadata, ChannelVersions]:
        """What to call `put` with to write the next checkpoint.

        Args:
            values: all channels.
            changed: those that a task, or the input, wrote; they get one new version.
            source: ``"input"`` or ``"loop"``.
            node: the node that ran, if it is a ``"loop"``.
            trigger: the channel that made it run.
        """
        self._step += 1
        if source == "loop" and trigger in self.versions:
            self._seen[node] = {trigger: self.versions[trigger]}
        latest: Any = max(self.versions.values(), default=None)
        new: ChannelVersions = dict.fromkeys(changed, self.saver.get_next_version(latest, None))
        self.versions |= new
        checkpoint = {
            "v": 4,
            "ts": datetime.now(UTC).isoformat(),
            "id": str(uuid6(clock_seq=self._step)),
            "channel_values": dict(values),
            "channel_versions": dict(self.versions),
            "versions_seen": {node: dict(seen) for node, seen in self._seen.items()},
            "updated_channels": sorted(changed),
        }
        metadata = {"source": source, "step": self._step, "parents": {}}
        return (
            self.config,
            cast("Checkpoint", checkpoint),
            cast("CheckpointMetadata", metadata),
            new,
        )

    def put_writes(self, writes: Sequence[tuple[str, Any]], task_id: str) -> None:
        """Write what a task of the latest checkpoint gave."""
        self.saver.put_writes(self.config, writes, task_id, "~__pregel_pull, chat")


class Speech:
    """Text that looks like talk and does not repeat; the same seed gives the same text."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)

    def text(self, size: int = 600) -> str:
        """Words, `size` characters in all."""
        words: list[str] = []
        length = 0
        while length < size:
            word = "".join(
                self._random.choices("abcdefghijklmnopqrstuvwxyz", k=self._random.randint(2, 9))
            )
            words.append(word)
            length += len(word) + 1
        return " ".join(words)[:size]

    def number(self, below: int) -> int:
        """A whole number."""
        return self._random.randrange(below)

    def task_id(self) -> str:
        """A task's id, as long as LangGraph's."""
        digits = f"{self._random.getrandbits(128):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
