"""Exceptions at every line of a call, cancellation at every await, and a thread that is written."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from datetime import UTC, datetime
from types import FrameType
from typing import Any, Final

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint
from langgraph.checkpoint.base.id import uuid6

from wren_sessions import SessionSaver

TRACED: Final = (
    "wren_sessions/_blocking",
    "wren_sessions/checkpoints",
    "wren_sessions/langgraph",
    "wren_sessions/sessions",
    "wren_sessions/stores",
    "site-packages/redis",
)
DRIVER: Final = ("wren_sessions/stores/redis", "site-packages/redis")


class Interrupt(BaseException):
    """Comes up out of nowhere, as Ctrl-C does."""


class _Tracer:
    """Raises at the first line of a call that was not interrupted before."""

    def __init__(self, seen: set[tuple[str, int]], traced: Sequence[str]) -> None:
        self._seen = seen
        self._traced = traced
        self.where: tuple[str, int] | None = None

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":
            # What comes up in a finalizer is nobody's exception.
            of_ours = any(part in frame.f_code.co_filename for part in self._traced)
            return self if of_ours and frame.f_code.co_name != "__del__" else None
        place = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and self.where is None and place not in self._seen:
            self._seen.add(place)
            self.where = place
            raise Interrupt
        return self


def interrupted(
    call: Callable[[], object], traced: Sequence[str] = TRACED
) -> Iterator[tuple[str, int]]:
    """Make a call again and again, each time interrupted at another line, until it goes through.

    Args:
        call: the call.
        traced: the files whose lines count.

    Yields:
        Where it was interrupted, behind each of them.
    """
    seen: set[tuple[str, int]] = set()
    while True:
        tracer = _Tracer(seen, traced)
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


class Cancelled:
    """A coroutine whose task is cancelled at one of its awaits, to be awaited.

    Args:
        coroutine: the coroutine.
        at: which await, counted from 1.
        answered: cancel when what is awaited is there, and not when the waiting begins.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, object], at: int, *, answered: bool) -> None:
        self._coroutine = coroutine
        self._left = at
        self._answered = answered
        self.was_reached = False

    def __await__(self) -> Generator[Any, Any, object]:
        task = asyncio.current_task()
        assert task is not None
        found: Any = None
        send: Callable[[Any], Any] = self._coroutine.send
        while True:
            try:
                awaited = send(found)
            except StopIteration as done:
                return done.value
            self._left -= 1
            if self._left == 0:
                self.was_reached = True
                if self._answered and awaited is not None:
                    awaited.add_done_callback(lambda _: task.cancel())
                else:
                    task.cancel()
            try:
                found, send = (yield awaited), self._coroutine.send
            except BaseException as error:  # noqa: BLE001 -- it comes up in the coroutine
                found, send = error, self._coroutine.throw


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
        messages, version, put = self._next()
        return self._written(self.saver.put(*put), messages, version)

    async def aput(self) -> tuple[RunnableConfig, list[HumanMessage]]:
        """The same, to await."""
        messages, version, put = self._next()
        return self._written(await self.saver.aput(*put), messages, version)

    def _written(
        self, config: RunnableConfig, messages: list[HumanMessage], version: Any
    ) -> tuple[RunnableConfig, list[HumanMessage]]:
        self.config, self.messages, self.version = config, messages, version
        return config, messages

    def _next(self) -> tuple[list[HumanMessage], Any, tuple[Any, ...]]:
        """The next messages, their version, and what a saver is given."""
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
        return messages, version, (self.config, checkpoint, metadata, {"messages": version})


def held(saver: SessionSaver, config: RunnableConfig) -> Any:
    """The messages of a checkpoint; None if it is not there."""
    found = saver.get_tuple(config)
    return None if found is None else found.checkpoint["channel_values"]["messages"]


async def aheld(saver: SessionSaver, config: RunnableConfig) -> Any:
    """The same, awaited."""
    found = await saver.aget_tuple(config)
    return None if found is None else found.checkpoint["channel_values"]["messages"]
