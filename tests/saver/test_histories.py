"""Histories of channels that live in their writes: as LangGraph's own walk, in few trips."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph

from saver.backends import Backend
from wren_sessions import SessionSaver
from wren_sessions.records import Start

delta = pytest.importorskip("langgraph.channels.delta", reason="this LangGraph has no DeltaChannel")

THREAD: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


def graph_on(saver: SessionSaver, snapshot_frequency: int) -> Any:
    """A graph whose items live in their writes, with a snapshot now and then."""
    channel = delta.DeltaChannel(fold, snapshot_frequency=snapshot_frequency)
    fields: Any = {
        "items": Annotated[list[str], channel],
        "count": Annotated[int, operator.add],
    }
    builder = StateGraph(TypedDict("State", fields, total=False))  # type: ignore[operator]
    builder.add_node("speak", speak)
    builder.add_edge(START, "speak")
    return builder.compile(checkpointer=saver)


def fold(items: list[str], writes: Sequence[Any]) -> list[str]:
    """All items, in the order of their writes."""
    return [*items, *(item for write in writes for item in write)]


def speak(state: Any) -> Any:
    """Add an item of some length."""
    return {"items": [f"{len(state.get('items', []))} " + "x" * 600], "count": 1}


def at(found: Any) -> Any:
    """The config of a checkpoint of a history."""
    return {"configurable": {**THREAD["configurable"], "checkpoint_id": found}}


async def test_a_history_is_that_of_langgraphs_own_walk(backend: Backend, face: str) -> None:
    """For every checkpoint of a thread with a fork, both faces, with and without snapshots."""
    saver = SessionSaver(backend.store())
    graph = graph_on(saver, snapshot_frequency=4)
    for _ in range(7):
        graph.invoke({"items": ["in"]}, THREAD)
    history = list(graph.get_state_history(THREAD))
    graph.update_state(history[5].config, {"items": ["fork"]}, as_node="speak")
    for item in saver.list(THREAD):
        config = at(item.checkpoint["id"])
        expected = BaseCheckpointSaver.get_delta_channel_history(
            saver, config=config, channels=["items", "count"]
        )
        channels = ["items", "count"]
        if face == "sync":
            found = saver.get_delta_channel_history(config=config, channels=channels)
        else:
            found = await saver.aget_delta_channel_history(config=config, channels=channels)
        assert found == expected


def test_a_history_takes_three_calls(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred ancestors are read in at most three calls of the store, also in a new process."""
    store = backend.store()
    graph = graph_on(SessionSaver(store), snapshot_frequency=1_000)
    for _ in range(34):
        graph.invoke({"items": ["in"]}, THREAD)
    calls: list[str] = []
    for name in ("load", "scan", "read", "heads", "info"):
        original = getattr(store, name)

        def counted(*args: Any, _name: str = name, _original: Any = original) -> Any:
            calls.append(_name)
            return _original(*args)

        monkeypatch.setattr(store, name, counted)
    found = SessionSaver(store).get_delta_channel_history(config=THREAD, channels=["items"])
    assert len(found["items"]["writes"]) >= 68
    assert len(calls) <= 3
    assert len(store.scan("t", [Start("")], 1_000).records) > 100


def test_a_miss_and_no_channels_are_empty(backend: Backend) -> None:
    """A thread that is not there has empty histories; no channels, none."""
    saver = SessionSaver(backend.store())
    assert saver.get_delta_channel_history(config=THREAD, channels=[]) == {}
    found = saver.get_delta_channel_history(config=THREAD, channels=["items"])
    assert found == {"items": {"writes": []}}


def test_a_prune_keeps_what_a_history_needs(backend: Backend) -> None:
    """After keep_latest the channel is rebuilt as before, and the graph goes on."""
    saver = SessionSaver(backend.store())
    graph = graph_on(saver, snapshot_frequency=5)
    for _ in range(8):
        graph.invoke({"items": ["in"]}, THREAD)
    before = graph.get_state(THREAD).values
    full = len(list(saver.list(THREAD)))
    saver.prune(["t"])
    assert len(list(saver.list(THREAD))) < full
    assert graph.get_state(THREAD).values == before
    graph.invoke({"items": ["in"]}, THREAD)
    assert graph.get_state(THREAD).values["items"][:-2] == before["items"]
