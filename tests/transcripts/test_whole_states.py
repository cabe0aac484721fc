"""Conversations and profiles of states that are no dict, and of entrypoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph, add_messages

from wren_sessions import MemoryStore, SessionArchiver, Sessions, SessionSaver

THREAD: Any = {"configurable": {"thread_id": "t"}}


def a_list(saver: SessionSaver) -> None:
    """A graph whose state is a list of messages."""
    schema: Any = Annotated[list[Any], add_messages]
    builder: Any = StateGraph(schema)
    builder.add_node("a", lambda _: [AIMessage("hello")]).add_edge(START, "a")
    builder.compile(checkpointer=saver).invoke([("human", "hi")], THREAD)


def a_dict(saver: SessionSaver) -> None:
    """A graph whose state is a dict of any keys."""
    builder: Any = StateGraph(dict)
    builder.add_node("a", lambda state: state | {"messages": [("human", "hi"), ("ai", "hello")]})
    graph = builder.add_edge(START, "a").compile(checkpointer=saver)
    graph.invoke({"is_complete": True, "profile": {"mood": "calm"}}, THREAD)


def keeps_a_list(saver: SessionSaver) -> None:
    """An entrypoint that keeps messages, and gives only the last one."""

    @entrypoint(checkpointer=saver)
    def chat(said: list[Any], *, previous: list[Any] | None = None) -> Any:
        found = [*(previous or []), *said, AIMessage("hello")]
        return entrypoint.final(value=found[-1], save=found)

    chat.invoke([("human", "hi")], THREAD)


def keeps_a_dict(saver: SessionSaver) -> None:
    """An entrypoint that keeps a dict."""

    @entrypoint(checkpointer=saver)
    def chat(said: list[Any]) -> Any:
        messages = [*said, AIMessage("hello")]
        return {"messages": messages, "is_complete": True, "profile": {"mood": "calm"}}

    chat.invoke([("human", "hi")], THREAD)


@pytest.mark.parametrize("app", [a_list, a_dict, keeps_a_list, keeps_a_dict])
def test_their_conversation_is_there(app: Any) -> None:
    """The messages are found wherever the state is."""
    store = MemoryStore()
    app(SessionSaver(store))
    said = Sessions(store).transcript("t").messages
    assert [(message.role, message.text) for message in said] == [("human", "hi"), ("ai", "hello")]


@pytest.mark.parametrize("app", [a_dict, keeps_a_dict])
def test_their_profile_and_their_end_are_found(app: Any, tmp_path: Path) -> None:
    """A dict that is the whole state has the values that others have in channels."""
    store = MemoryStore()
    app(SessionSaver(store))
    archive = SessionArchiver(store, tmp_path).archive_if_complete("t")
    assert archive is not None
    values = json.loads(archive.profile.read_text("utf-8"))["values"]
    assert values == {"is_complete": True, "profile": {"mood": "calm"}}


@pytest.mark.parametrize("value", [7, [1, 2], "text"])
def test_a_state_without_messages_has_no_conversation(value: Any) -> None:
    """Numbers are no messages, and neither is any other value that has no name."""
    store = MemoryStore()
    builder: Any = StateGraph(type(value))
    builder.add_node("a", lambda state: state).add_edge(START, "a")
    builder.compile(checkpointer=SessionSaver(store)).invoke(value, THREAD)
    assert Sessions(store).transcript("t").messages == ()
