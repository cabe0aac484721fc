"""Graphs whose threads are moved, and what two savers must agree on."""

from __future__ import annotations

import operator
import sqlite3
from importlib.util import find_spec
from typing import Annotated, Any, Final, TypedDict

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from servers import unavailable

THREAD: Final[Any] = {"configurable": {"thread_id": "t"}}
TEXT: Final = "lorem ipsum dolor sit amet " * 4


class Chat(TypedDict, total=False):
    """A conversation, with an answer to each of two questions at its end."""

    notes: Annotated[list[str], operator.add]
    turn: int
    profile: dict[str, Any]
    answers: Annotated[list[str], operator.add]


def chat(saver: BaseCheckpointSaver[Any]) -> Any:
    """Two steps per turn; a turn that ends in ``?`` asks two questions side by side."""

    def answer(state: Chat) -> Chat:
        turn = state.get("turn", 0) + 1
        return {"notes": [f"answer {turn}: {TEXT}"], "turn": turn}

    def analyse(state: Chat) -> Chat:
        return {"profile": {"words": len(state["notes"]), "tags": {"a", "b"}, "last": None}}

    def route(state: Chat) -> list[str]:
        asked = state["notes"][-2].endswith("?")
        return ["ask_name", "ask_age"] if asked else []

    def ask(question: str) -> Any:
        return lambda _: {"answers": [f"{question}: {interrupt(question)}"]}

    builder = StateGraph(Chat)
    builder.add_node("answer", answer)
    builder.add_node("analyse", analyse)
    builder.add_node("ask_name", ask("name"))
    builder.add_node("ask_age", ask("age"))
    builder.add_edge(START, "answer")
    builder.add_edge("answer", "analyse")
    builder.add_conditional_edges("analyse", route, ["ask_name", "ask_age"])
    return builder.compile(checkpointer=saver)


def talk(saver: BaseCheckpointSaver[Any], turns: int, *, thread: Any = THREAD) -> None:
    """A conversation of four checkpoints per turn; the last turn asks."""
    graph = chat(saver)
    for turn in range(turns - 1):
        graph.invoke({"notes": [f"question {turn}: {TEXT}"]}, thread)
    graph.invoke({"notes": ["and you?"]}, thread)


def next_step(saver: BaseCheckpointSaver[Any]) -> Any:
    """Answer both questions of a thread, take one more turn, and say what came of it."""
    graph = chat(saver)
    asked = graph.get_state(THREAD).interrupts
    graph.invoke(Command(resume={found.id: f"my {found.value}" for found in asked}), THREAD)
    graph.invoke({"notes": ["one more"]}, THREAD)
    return sorted(found.value for found in asked), graph.get_state(THREAD).values


def family(saver: BaseCheckpointSaver[Any]) -> Any:
    """A graph with a subgraph that remembers, and one that belongs to its task."""

    def child(*, memory: bool | None) -> Any:
        builder = StateGraph(Chat)
        builder.add_node("note", lambda s: {"notes": [f"{len(s['notes'])}: {TEXT}"]})
        builder.add_node("ask", lambda _: {"answers": [interrupt("sure?")]})
        builder.add_edge(START, "note")
        builder.add_edge("note", "ask")
        return builder.compile(checkpointer=memory)

    builder = StateGraph(Chat)
    builder.add_node("remembers", child(memory=True))
    builder.add_node("task", child(memory=None))
    builder.add_edge(START, "remembers")
    builder.add_edge("remembers", "task")
    return builder.compile(checkpointer=saver)


def grow_up(saver: BaseCheckpointSaver[Any]) -> None:
    """Namespaces, interrupts that were answered and one that waits, and a fork."""
    graph = family(saver)
    for turn in range(2):
        graph.invoke({"notes": [f"in {turn}"]}, THREAD)
        graph.invoke(Command(resume="yes"), THREAD)
        graph.invoke(Command(resume="very"), THREAD)
    graph.invoke({"notes": ["last"]}, THREAD)
    past = list(graph.get_state_history(THREAD))[4].config
    graph.update_state(past, {"notes": ["fork"]}, as_node="remembers")


def held(saver: BaseCheckpointSaver[Any]) -> dict[tuple[str, str], CheckpointTuple]:
    """All that a saver holds of the thread, by namespace and id."""
    return {
        (found.config["configurable"]["checkpoint_ns"], found.checkpoint["id"]): found
        for found in saver.list(THREAD)
    }


async def aheld(saver: BaseCheckpointSaver[Any]) -> dict[tuple[str, str], CheckpointTuple]:
    """The same, awaited."""
    return {
        (found.config["configurable"]["checkpoint_ns"], found.checkpoint["id"]): found
        async for found in saver.alist(THREAD)
    }


def latest(saver: BaseCheckpointSaver[Any], namespaces: set[str]) -> dict[str, Any]:
    """The latest checkpoint of each namespace."""
    found = {}
    for namespace in namespaces:
        config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": namespace}}
        head = saver.get_tuple(config)
        found[namespace] = head and head.checkpoint["id"]
    return found


def sqlite_saver(path: Any = ":memory:") -> BaseCheckpointSaver[str]:
    """LangGraph's saver on an SQLite database."""
    if not find_spec("langgraph.checkpoint.sqlite"):
        unavailable("there is no langgraph-checkpoint-sqlite to move from and to")
    sqlite = pytest.importorskip("langgraph.checkpoint.sqlite")
    saver: BaseCheckpointSaver[str] = sqlite.SqliteSaver(
        sqlite3.connect(path, check_same_thread=False)
    )
    return saver
