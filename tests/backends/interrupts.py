"""Exceptions that come up at every line of a call, and a thread that is written meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import FrameType
from typing import Any, Final

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint
from langgraph.checkpoint.base.id import uuid6

from wren_sessions import SessionSaver

TRACED: Final = (
    "wren_sessions/_locks",
    "wren_sessions/_blocking",
    "wren_sessions/checkpoints",
    "wren_sessions/langgraph",
    "wren_sessions/stores",
    "site-packages/redis",
)


class Interrupt(BaseException):
    """Comes up out of nowhere, as Ctrl-C does."""


class _Tracer:
    """Raises at the first line of a call that was not interrupted before."""

    def __init__(self, seen: set[tuple[str, int]]) -> None:
        self._seen = seen
        self.where: tuple[str, int] | None = None

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":
            # What comes up in a finalizer is nobody's exception.
            of_ours = any(part in frame.f_code.co_filename for part in TRACED)
            return self if of_ours and frame.f_code.co_name != "__del__" else None
        place = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and self.where is None and place not in self._seen:
            self._seen.add(place)
            self.where = place
            raise Interrupt
        return self


def interrupted(call: Callable[[], object]) -> Iterator[tuple[str, int]]:
    """Make a call again and again, each time interrupted at another line, until it goes through.

    Yields:
        Where it was interrupted, behind each of them.
    """
    seen: set[tuple[str, int]] = set()
    while True:
        tracer = _Tracer(seen)
        before = sys.gettrace()
        sys.settrace(tracer)
        try:
            call()
        except Interrupt:
            pass
        finally:
            sys.settrace(before)
        if tracer.where is None:
            return
        yield tracer.where


class Talk:
    """A thread that grows by one message per checkpoint, through a saver's blocking methods."""

    def __init__(self, saver: SessionSaver, thread: str) -> None:
        self.saver = saver
        self.thread = thread
        self.config: RunnableConfig = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
        self.messages: list[HumanMessage] = []
        self.version: Any = None

    def put(self) -> tuple[RunnableConfig, list[HumanMessage]]:
        """Write the next checkpoint; its config, and what it holds. Nothing changes if it fails."""
        number = len(self.messages)
        messages = [*self.messages, HumanMessage(f"{number} {self.thread} " * 30, id=str(number))]
        version = self.saver.get_next_version(self.version)
        checkpoint = Checkpoint(
            v=4,
            id=str(uuid6(clock_seq=number)),
            ts=datetime.now(UTC).isoformat(),
            channel_values={"messages": messages},
            channel_versions={"messages": version},
            versions_seen={},
            updated_channels=["messages"],
        )
        metadata: Any = {"source": "loop", "step": number, "parents": {}}
        config = self.saver.put(self.config, checkpoint, metadata, {"messages": version})
        self.config, self.messages, self.version = config, messages, version
        return config, messages


def held(saver: SessionSaver, config: RunnableConfig) -> Any:
    """The messages of a checkpoint; None if it is not there."""
    found = saver.get_tuple(config)
    return None if found is None else found.checkpoint["channel_values"]["messages"]
