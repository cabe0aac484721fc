"""How much of this package a step of a warm saver runs: counted, and bounded.

A saver is warm once it has written and read 20 messages, as in the middle of a chat. Each bound is
a little above what was counted: lower it when a step runs less, and say why if it must run more.
On Redis, four calls of ours write and read what took thirty of the driver's.
Counts are Python 3.11's, where a comprehension is a function of its own; later ones count less.
Tokens of commits are made here (`keys.new_token`): the standard library's
way is a call into the kernel, and 5 % of a step. A write to a file asks this process what it wrote
last (`known`, one module and seven functions): the statement that it spares takes longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata, empty_checkpoint

from costs.frames import Frames, frames_of
from saver.backends import place
from wren_sessions import SessionSaver
from wren_sessions.stores.file import sweep

MESSAGES: Final = 20
BEFORE: Final[RunnableConfig] = {"configurable": {"thread_id": "frames", "checkpoint_ns": ""}}


@dataclass(frozen=True, slots=True)
class Most:
    """The most modules, functions and calls that a step may run."""

    modules: int
    functions: int
    calls: int


MOST: Final = {
    ("memory", "put"): Most(18, 85, 100),
    ("memory", "put_writes"): Most(15, 51, 55),
    ("memory", "get_tuple"): Most(18, 79, 100),
    ("file", "put"): Most(23, 108, 125),
    ("file", "put_writes"): Most(22, 75, 82),
    ("file", "get_tuple"): Most(21, 96, 117),
    ("redis", "put"): Most(16, 85, 103),
    ("redis", "put_writes"): Most(15, 57, 64),
    ("redis", "get_tuple"): Most(19, 100, 129),
}


class Chat:
    """A chat that is saved step by step, as a graph saves it."""

    def __init__(self, saver: SessionSaver) -> None:
        self._saver = saver
        self._messages: list[AnyMessage] = []
        self._versions: dict[str, Any] = {}
        self._config = BEFORE

    def step(self) -> dict[str, Frames]:
        """One more message: what its put, its put_writes and its get_tuple ran."""
        number = len(self._messages)
        kind = AIMessage if number % 2 else HumanMessage
        self._messages.append(kind(content=f"message {number} " * 10, id=f"id-{number}"))
        for channel in ("messages", "turn_count"):
            before = self._versions.get(channel)
            self._versions[channel] = self._saver.get_next_version(before, None)
        checkpoint = self._checkpoint()
        about: CheckpointMetadata = {"source": "loop", "step": number, "parents": {}}
        writes = [("messages", [self._messages[-1]])]
        return {
            "put": frames_of(lambda: self._put(checkpoint, about)),
            "put_writes": frames_of(
                lambda: self._saver.put_writes(self._config, writes, f"task-{number}")
            ),
            "get_tuple": frames_of(lambda: self._saver.get_tuple(BEFORE)),
        }

    def _checkpoint(self) -> Checkpoint:
        checkpoint = empty_checkpoint()
        values = {"messages": list(self._messages), "turn_count": len(self._messages)}
        checkpoint["channel_values"] = values
        checkpoint["channel_versions"] = dict(self._versions)
        checkpoint["versions_seen"] = {"node": dict(self._versions)}
        return checkpoint

    def _put(self, checkpoint: Checkpoint, about: CheckpointMetadata) -> None:
        self._config = self._saver.put(self._config, checkpoint, about, dict(self._versions))


@pytest.mark.parametrize("backend", ["memory", "file", "redis"])
def test_a_warm_step_runs_no_more_of_us_than_it_did(
    backend: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A put, its writes and a read pass no more modules, functions and calls than the bounds."""
    monkeypatch.setattr(sweep, "_PAUSE_MS", 10**9)  # else one step a second sweeps a file as well
    # A file is swept once a second by its clock, with a commit: here no time passes.
    clock: dict[str, Any] = {"clock": lambda: 1_700_000_000_000} if backend == "file" else {}
    with SessionSaver.from_url(place(backend, request), **clock) as saver:
        chat = Chat(saver)
        for _ in range(MESSAGES):
            chat.step()
        found = chat.step()

    for step, frames in found.items():
        ran = Most(len(frames.modules), len(frames.functions), frames.calls)
        most = MOST[backend, step]
        within = (
            ran.modules <= most.modules
            and ran.functions <= most.functions
            and ran.calls <= most.calls
        )
        assert within, f"{step} on {backend} ran {ran}, and may run {most}"


@pytest.mark.parametrize(
    ("value", "most"),
    [
        pytest.param([AIMessage("hello " * 100, id="1")], 7, id="messages"),
        pytest.param(AIMessage("hello " * 100, id="1"), 10, id="message"),
        pytest.param({"messages": [AIMessage("hello " * 100, id="1")]}, 11, id="update"),
        pytest.param("hello " * 100, 4, id="text"),
        pytest.param(None, 2, id="nothing"),
    ],
)
def test_pending_writes_are_read_together(value: object, most: int) -> None:
    """Of hundreds of them each costs its checks and its objects, and no read of its own."""
    calls: list[int] = []
    with SessionSaver.from_url("memory://") as saver:
        config = saver.put(BEFORE, empty_checkpoint(), {}, {})
        for number in range(100):
            saver.put_writes(config, [("it", value)], f"task-{number}")
            if number in {49, 99}:
                saver.get_tuple(BEFORE)
                calls.append(frames_of(lambda: saver.get_tuple(BEFORE)).calls)
    assert (calls[1] - calls[0]) / 50 <= most
