"""The keys of a state: kept exactly as they are, or refused before anything is written."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from saver.backends import Backend
from saver.calls import Calls
from wren_sessions import (
    SafeSerializer,
    SerializationError,
    SessionArchiver,
    Sessions,
    SessionSaver,
)
from wren_sessions.checkpoints.codec import CheckpointRecord, decode_record, encode_record
from wren_sessions.delta.base import StoredValue

KEPT = [
    "user:name",
    "http://x",
    "12:30",
    "a:b:c",
    "__version",
    "__",
    ":",
    "",
    "join:",
    "ü\n",
    "k" * 300,
]
REFUSED: list[Any] = [7, None, True, 1.5, b"x", ("a", 1), frozenset(), "\ud800", "a\udfff:b"]
OWN = ["__start__", "__pregel_tasks", "__interrupt__", "__keys__", "branch:to:x", "join:a+b:c"]


class Number(enum.IntEnum):
    """Members are numbers."""

    ONE = 1


class Word(str, enum.Enum):  # noqa: UP042 -- applications have these too
    """Members are text."""

    NAME = "name"
    AGE = "user:age"


class Text(str):  # noqa: SLOT000 -- as applications do it
    """Text of an application's own."""


@pytest.mark.parametrize("key", KEPT)
async def test_text_is_kept(calls: Calls, key: str) -> None:
    """Any text is a key, whatever LangGraph calls its channels."""
    state = {key: "Ann", "n": 1, "nested": {7: {None: [("a", 1)]}}}
    assert (await calls.save("s", state)).state == state
    assert (await calls.save("s", state | {"n": 2})).state == state | {"n": 2}
    assert (await calls.save("s", {"n": 3})).state == {"n": 3}


@pytest.mark.parametrize("key", [*REFUSED, Number.ONE, Text("x"), *OWN], ids=repr)
async def test_what_would_not_come_back_is_refused(calls: Calls, key: Any) -> None:
    """The error names the key, and the session is as it was, also where there was none."""
    for state in ({key: 1}, {"a": 1, key: 2}):
        with pytest.raises(SerializationError, match="of the state of session 's'") as caught:
            await calls.save("s", state)
        assert repr(key) in str(caught.value)
        with pytest.raises(SerializationError):
            await calls.create("s", state=state)
        assert not await calls.exists("s")
    before = await calls.save("s", {"good": [1, 2]})
    with pytest.raises(SerializationError):
        await calls.edit("s", lambda state: state.update({key: 1}))
    assert (await calls.load("s")).revision == before.revision
    assert (await calls.save("s", {"good": 3})).state == {"good": 3}


@pytest.mark.parametrize("state", [[("a", 1)], None, "text", 7, {"a"}], ids=repr)
async def test_a_state_is_a_dict(calls: Calls, state: Any) -> None:
    """Anything else is refused; another kind of mapping is saved as a dict."""
    with pytest.raises(SerializationError, match="must be a dict, not"):
        await calls.save("s", state)
    assert not await calls.exists("s")
    assert (await calls.save("s", MappingProxyType({"a": 1}))).state == {"a": 1}


async def test_members_of_enums_stay_what_they_are(calls: Calls) -> None:
    """A member that is text comes back as that member, and only as long as it is a key."""
    state = {Word.NAME: "Ann", "n": 1, Word.AGE: 30}
    saved = await calls.save("s", state)
    assert saved.state == state
    assert [type(key) for key in saved.state] == [Word, str, Word]
    await calls.edit("s", lambda state: state.update(n=2))
    loaded = await calls.load("s")
    assert [type(key) for key in loaded.state] == [Word, str, Word]
    plain = await calls.save("s", {"name": "Ann"})
    assert [type(key) for key in plain.state] == [str]


async def test_members_that_the_serializer_refuses_are_refused(backend: Backend, face: str) -> None:
    """A key whose type cannot be stored is not written."""
    calls = Calls(Sessions(backend.store(), serde=SafeSerializer(strict=True)), face)
    local = enum.Enum("local", {"A": "a"}, type=str)
    local.__qualname__ = "nowhere.<locals>.local"
    with pytest.raises(SerializationError, match="of session 's'"):
        await calls.save("s", {local.A: 1})
    assert not await calls.exists("s")


async def test_a_graphs_keys_are_seen(calls: Calls, backend: Backend, tmp_path: Path) -> None:
    """What a graph calls its channels is in the state, in the header and in the profile."""
    state: Any = TypedDict("state", {"user:age": int, "__flag": bool, "n": int})
    builder = StateGraph(state).add_node("a", lambda state: {"n": state["n"] + 1})
    graph: Any = builder.add_edge(START, "a").compile(checkpointer=SessionSaver(backend.store()))
    thread = calls.sessions.thread("t")
    graph.invoke({"user:age": 30, "__flag": True, "n": 1}, thread)
    expected = {"user:age": 30, "__flag": True, "n": 2}
    assert (await calls.load("t")).state == graph.get_state(thread).values == expected
    profile = SessionArchiver(calls.sessions, tmp_path).archive("t").profile
    assert json.loads(profile.read_text("utf-8"))["values"] == expected
    if backend.name != "sealed":
        info = calls.sessions.store.info("t")
        assert info is not None
        assert json.loads(info.state)["checkpoint"] == expected


def test_keys_of_the_first_version_are_read() -> None:
    """Keys that are no text were once written; they are read as they were saved."""
    names: list[Any] = [7, None, True, b"x", ("a", ("b", 1)), "user:name"]
    body = CheckpointRecord(
        parent_id=None,
        meta=("safe", b""),
        versions=dict.fromkeys(names, "0" * 31 + "1.x"),
        seen={},
        values={name: StoredValue("safe", [b"\x01"]) for name in names},
    )
    found = decode_record(encode_record(body, ("", "1")), "s", "a checkpoint", ("", "1"))
    assert list(found.values) == list(found.versions) == names
