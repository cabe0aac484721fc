"""The sessions in the golden files: how they were written, and what must be read from them.

A file was made by the version of the format that it is named after and never changes; every later
version must read it. A new format gets new files, made by ``python tests/golden/make.py``.
"""

from __future__ import annotations

from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint

from wren_sessions.langgraph import SessionSaver

SESSION: Final = "golden:session/1"
NOTED: dict[str, Any] = {"owner": "ann", "title": "Golden", "tags": ["old"], "attributes": {"n": 1}}
TENANT: Final = "golden:tenant"
CHILD: Final = "child:0b5b"
ANSWER: Final = "An answer that is long enough to lie in the arena. " * 12


def messages(count: int) -> list[BaseMessage]:
    """The conversation after so many messages."""
    return [
        HumanMessage(f"Question {at}? {ANSWER}", id=f"h{at}")
        if at % 2 == 0
        else AIMessage(f"{at}. {ANSWER}", id=f"a{at}")
        for at in range(count)
    ]


def config(namespace: str = "", checkpoint_id: str | None = None) -> RunnableConfig:
    """The config of a checkpoint of the session."""
    where = {"thread_id": SESSION, "checkpoint_ns": namespace}
    return {"configurable": where | ({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}


def checkpoint(step: int, values: dict[str, Any]) -> Checkpoint:
    """A checkpoint with fixed id and time."""
    return Checkpoint(
        v=4,
        id=f"1f0bd2a4-0000-6000-8000-{step:012}",
        ts=f"2025-11-08T15:03:{step:02}+00:00",
        channel_values=values,
        channel_versions=dict.fromkeys(values, f"{step + 1:032}.golden00"),
        versions_seen={"ask": {"messages": f"{step + 1:032}.golden00"}},
        updated_channels=sorted(values),
    )


def states() -> list[dict[str, Any]]:
    """The state at each step: growing, trimmed at the front, edited in the middle."""
    edited = messages(6)
    edited[2] = HumanMessage("Another question.", id="h2")
    conversations = [messages(1), messages(3), messages(6), messages(6)[2:], edited]
    return [
        {"messages": found, "turn_count": at, "is_complete": False, "profile": {"mood": "calm"}}
        for at, found in enumerate(conversations)
    ]


def write(saver: SessionSaver) -> None:
    """Write the session."""
    parent = config()
    for step, state in enumerate(states()):
        found = checkpoint(step, state)
        metadata: Any = {"source": "loop", "step": step, "parents": {}}
        parent = saver.put(parent, found, metadata, found["channel_versions"])
    saver.put_writes(parent, [("messages", messages(6)[5:]), ("note", "done")], "task-b", "~b")
    saver.put_writes(parent, [("messages", messages(6))], "task-a", "~a")
    saver.put_writes(parent, [("__interrupt__", ["first?"])], "task-c", "~c")
    saver.put_writes(parent, [("__interrupt__", ["second?"])], "task-c", "~c")
    child = checkpoint(7, {"messages": messages(6), "depth": 1})
    metadata = {"source": "input", "step": -1, "parents": {"": checkpoint(4, {})["id"]}}
    saver.put(config(CHILD), child, metadata, child["channel_versions"])


CLOCKS: Final = (8, 9, 1, 2, 10, 3)
"""The steps of a history whose machines' clocks differ, as their ids have them, in order."""


def write_clocks(saver: SessionSaver) -> None:
    """Write a session in which ids do not tell the order."""
    parent = config()
    for number, step in enumerate(CLOCKS):
        found = checkpoint(step, {"number": number})
        metadata: Any = {"source": "loop", "step": number, "parents": {}}
        parent = saver.put(parent, found, metadata, found["channel_versions"])


def check_clocks(saver: SessionSaver) -> None:
    """Make sure that it is listed in the order in which it was written."""
    numbers = [item.checkpoint["channel_values"]["number"] for item in saver.list(config())]
    assert numbers == [5, 4, 3, 2, 1, 0]


def check(saver: SessionSaver) -> None:
    """Make sure that the session is read as it was written."""
    expected = states()
    found = list(saver.list(config()))
    assert [item.checkpoint["channel_values"] for item in found] == expected[::-1]
    for step, item in enumerate(reversed(found)):
        assert item.checkpoint == checkpoint(step, expected[step])
        assert item.metadata == {"source": "loop", "step": step, "parents": {}}
    assert found[0].pending_writes == [
        ("task-a", "messages", messages(6)),
        ("task-b", "messages", messages(6)[5:]),
        ("task-b", "note", "done"),
        ("task-c", "__interrupt__", ["second?"]),
    ]
    latest = saver.get_tuple(config())
    assert latest is not None
    assert latest.config == config("", checkpoint(4, {})["id"])
    child = saver.get_tuple(config(CHILD))
    assert child is not None
    assert child.checkpoint["channel_values"] == {"messages": messages(6), "depth": 1}
    info = saver.store.info(SESSION)
    assert info is not None
    assert b'"turn_count":4' in info.state
