"""A chat that is written through a saver as LangGraph's loop writes one, call by call."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, CheckpointTuple
from langgraph.checkpoint.base.id import uuid6

from wren_sessions import SessionSaver

THREAD: Final = "cli_20251108_145739"
TEXT: Final = "Something that somebody said, at some length, in the middle of the day. " * 5


def message(number: int) -> BaseMessage:
    """A message of about 400 bytes."""
    kind = HumanMessage if number % 2 == 0 else AIMessage
    return kind(f"{number}. {TEXT}", id=f"message-{number}")


class Chat:
    """A thread that grows by a message per checkpoint.

    Args:
        saver: its awaitable methods are called, see `saver.backends.SAVERS`.
        thread: the thread's id.

    Attributes:
        config: the config of the checkpoint written last.
    """

    def __init__(self, saver: SessionSaver, thread: str = THREAD) -> None:
        self.saver = saver
        self.config: RunnableConfig = {
            "configurable": {"thread_id": thread, "checkpoint_ns": ""},
        }
        self.thread: RunnableConfig = self.config
        self.messages: list[BaseMessage] = []
        self._versions: dict[str, Any] = {}

    def on(self, saver: SessionSaver) -> Chat:
        """The same chat, gone on with by another saver."""
        other = Chat(saver, self.thread["configurable"]["thread_id"])
        other.config = self.config
        other.messages = list(self.messages)
        other._versions = dict(self._versions)
        return other

    async def put(self, **values: Any) -> RunnableConfig:
        """Write the next checkpoint, with one more message; `values` are further channels."""
        self.messages = [*self.messages, message(len(self.messages))]
        values |= {"messages": self.messages, "turn_count": len(self.messages)}
        for channel in values:
            self._versions[channel] = self.saver.get_next_version(self._versions.get(channel))
        checkpoint = Checkpoint(
            v=4,
            id=str(uuid6(clock_seq=len(self.messages))),
            ts=datetime.now(UTC).isoformat(),
            channel_values=values,
            channel_versions=dict(self._versions),
            versions_seen={},
            updated_channels=sorted(values),
        )
        self.config = await self.saver.aput(
            self.config,
            checkpoint,
            {"source": "loop", "step": len(self.messages), "parents": {}},
            dict(self._versions),
        )
        return self.config

    async def grow(self, count: int) -> Chat:
        """Write several checkpoints."""
        for _ in range(count):
            await self.put()
        return self

    async def write(self, task: str = "task", value: Any = "said", channel: str = "note") -> None:
        """Write a pending write of the checkpoint written last."""
        await self.saver.aput_writes(self.config, [(channel, value)], task)

    async def interrupt(self, value: Any = "what?", task: str = "asking") -> None:
        """Write a pending write that replaces the one before."""
        await self.write(task, [value], "__interrupt__")

    async def get(self) -> CheckpointTuple | None:
        """The latest checkpoint."""
        return await self.saver.aget_tuple(self.thread)

    async def latest(self) -> CheckpointTuple:
        """The latest checkpoint, which is there and is the one written last."""
        found = await self.get()
        assert found is not None
        assert found.checkpoint["channel_values"]["messages"] == self.messages
        assert found.config == self.config
        return found

    async def history(self, limit: int | None = None) -> list[CheckpointTuple]:
        """Its checkpoints, newest first."""
        return [found async for found in self.saver.alist(self.thread, limit=limit)]
