"""A state that is saved on a graph's thread: the graph goes on from it, and loses nothing."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph, add_messages
from langgraph.types import Command, Overwrite, Send, interrupt

from saver.backends import Backend
from saver.calls import Calls
from wren_sessions import ConflictError, SerializationError, SessionSaver

THREAD: Any = {"configurable": {"thread_id": "t"}}


def extend(current: list[Any] | None, writes: Sequence[Any]) -> list[Any]:
    """Lists and single elements behind a list."""
    return [*(current or []), *(x for w in writes for x in (w if isinstance(w, list) else [w]))]


class Log(TypedDict, total=False):
    """A state with a list that grows."""

    log: Annotated[list[str], operator.add]
    v: Any


class Delta(TypedDict, total=False):
    """A state with lists that live in what was written to them."""

    log: Annotated[list[str], DeltaChannel(extend)]
    often: Annotated[list[str], DeltaChannel(extend, snapshot_frequency=2)]
    mood: str


def says(text: str) -> Callable[[Any], Any]:
    """A node that adds a text and the value of ``v`` to the log."""
    return lambda state: {"log": [f"{text}{state.get('v', '')}"]}


def asks(text: str) -> Callable[[Any], Any]:
    """A node that adds an answer to the log."""
    return lambda _: {"log": [interrupt(text)]}


@pytest.mark.parametrize("how", [{"interrupt_before": ["b"]}, {"interrupt_after": ["a"]}])
async def test_a_graph_goes_on_behind_a_breakpoint(
    calls: Calls, backend: Backend, how: dict[str, Any]
) -> None:
    """What comes next still does, with the state that was saved, also after several edits."""
    builder: Any = StateGraph(Log)
    builder = builder.add_node("a", says("a")).add_node("b", says("b"))
    builder.add_edge(START, "a").add_edge("a", "b")
    graph: Any = builder.compile(checkpointer=SessionSaver(backend.store()), **how)
    graph.invoke({"log": [], "v": 1}, THREAD)
    await calls.edit("t", lambda state: state.update(v=5))
    await calls.edit("t", lambda state: state.update(v=6))
    assert graph.get_state(THREAD).next == ("b",)
    assert graph.invoke(None, THREAD)["log"] == ["a1", "b6"]
    assert graph.get_state(THREAD).next == ()


async def test_a_graph_that_failed_runs_the_node_again(calls: Calls, backend: Backend) -> None:
    """An edit mends what a node could not do."""

    def divide(state: Log) -> Log:
        return {"log": [str(1 // state["v"])]}

    builder: Any = StateGraph(Log)
    builder = builder.add_node("a", says("a")).add_node("b", divide)
    builder.add_edge(START, "a").add_edge("a", "b")
    graph: Any = builder.compile(checkpointer=SessionSaver(backend.store()))
    with pytest.raises(ZeroDivisionError):
        graph.invoke({"log": [], "v": 0}, THREAD)
    await calls.edit("t", lambda state: state.update(v=1))
    assert graph.invoke(None, THREAD)["log"] == ["a0", "1"]


async def test_an_answer_arrives_after_an_edit(calls: Calls, backend: Backend) -> None:
    """A question is asked again, and the human's answer is not swallowed."""
    builder: Any = StateGraph(Log)
    builder = builder.add_node("a", says("a")).add_node("q", asks("?"))
    builder.add_edge(START, "a").add_edge("a", "q")
    graph: Any = builder.compile(checkpointer=SessionSaver(backend.store()))
    graph.invoke({"log": []}, THREAD)
    await calls.edit("t", lambda state: state.update(v=5), replace=True)
    assert graph.invoke(Command(resume="yes"), THREAD)["log"] == ["a", "yes"]


async def test_several_questions_are_all_asked_again(calls: Calls, backend: Backend) -> None:
    """Nodes that run side by side all come again, also the one that had its answer."""
    builder: Any = StateGraph(Log)
    builder = builder.add_node("q", asks("q?")).add_node("r", asks("r?"))
    builder.add_edge(START, "q").add_edge(START, "r")
    graph: Any = builder.compile(checkpointer=SessionSaver(backend.store()))
    graph.invoke({"log": []}, THREAD)
    first = graph.get_state(THREAD).interrupts[0]
    graph.invoke(Command(resume={first.id: "yes"}), THREAD)
    await calls.edit("t", lambda state: state.update(v=5), replace=True)
    assert set(graph.get_state(THREAD).next) == {"q", "r"}
    graph.invoke(None, THREAD)
    asked = graph.get_state(THREAD).interrupts
    answers = {each.id: each.value for each in asked}
    assert graph.invoke(Command(resume=answers), THREAD)["log"] == ["q?", "r?"]


async def test_a_subgraph_asks_again(calls: Calls, backend: Backend) -> None:
    """A question inside a subgraph, and what was sent to a node, are still there."""
    inner: Any = StateGraph(Log)
    inner = inner.add_node("q", asks("?")).add_edge(START, "q").compile()
    builder: Any = StateGraph(Log)
    builder = builder.add_node("a", says("a")).add_node("inner", inner)
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: [Send("inner", state)], ["inner"])
    graph: Any = builder.compile(checkpointer=SessionSaver(backend.store()))
    graph.invoke({"log": []}, THREAD)
    await calls.edit("t", lambda state: state.update(v=5), replace=True)
    assert graph.get_state(THREAD).next == ("inner",)
    assert "yes" in graph.invoke(Command(resume="yes"), THREAD)["log"]


# --- values that live in what was written to them -------------------------------------------------


def delta_graph(backend: Backend, state: Any = Delta, **how: Any) -> Any:
    """A graph that adds to such lists."""
    builder: Any = StateGraph(state)
    builder.add_node("a", lambda _: {"log": ["answer"], "often": ["x"]})
    builder.add_edge(START, "a")
    return builder.compile(checkpointer=SessionSaver(backend.store()), **how)


async def test_a_delta_channel_is_seen_and_left_alone(calls: Calls, backend: Backend) -> None:
    """Its value is loaded at every checkpoint, and an edit of another key changes nothing of it."""
    graph = delta_graph(backend)
    for turn in range(5):
        graph.invoke({"log": ["question"], "often": ["y"], "mood": "calm"}, THREAD)
        for snapshot in list(graph.get_state_history(THREAD))[:3]:
            at = snapshot.config["configurable"]["checkpoint_id"]
            found = (await calls.load("t", at=at)).state
            assert {key: value for key, value in found.items() if value} == {
                key: value for key, value in snapshot.values.items() if value
            }
        before = graph.get_state(THREAD).values
        await calls.edit("t", lambda state, turn=turn: state.update(mood=f"glad {turn}"))  # type: ignore[misc]
        assert graph.get_state(THREAD).values == before | {"mood": f"glad {turn}"}
        assert (await calls.load("t")).state == before | {"mood": f"glad {turn}"}


async def test_a_delta_channel_is_changed_and_goes_on(calls: Calls, backend: Backend) -> None:
    """What is saved for it is its value, and the graph adds to that."""
    graph = delta_graph(backend)
    graph.invoke({"log": ["question"]}, THREAD)
    await calls.edit("t", lambda state: state.update(log=["new"]))
    assert graph.get_state(THREAD).values["log"] == ["new"]
    graph.invoke({"log": ["more"]}, THREAD)
    assert graph.get_state(THREAD).values["log"] == ["new", "more", "answer"]
    assert (await calls.load("t")).state["log"] == ["new", "more", "answer"]


async def test_a_delta_channel_that_is_taken_out_stays_out(calls: Calls, backend: Backend) -> None:
    """A key that is left out is gone, and what was once written to it does not come back."""
    graph = delta_graph(backend)
    graph.invoke({"log": ["question"], "often": [], "mood": "calm"}, THREAD)
    assert (await calls.save("t", {"mood": "glad"})).state == {"mood": "glad"}
    assert (await calls.save("t", {"mood": "sad"})).state == {"mood": "sad"}
    assert graph.get_state(THREAD).values["log"] == []
    graph.invoke({"log": ["more"]}, THREAD)
    assert graph.get_state(THREAD).values["log"] == ["more", "answer"]
    assert (await calls.load("t")).state["log"] == ["more", "answer"]
    saved = await calls.save("t", {"log": None})
    assert saved.state == {"log": None}


class Joined(TypedDict, total=False):
    """Values of several kinds that live in what was written to them."""

    messages: Annotated[list[Any], DeltaChannel(lambda s, w: _reduce(add_messages, s, w))]
    facts: Annotated[dict[str, int], DeltaChannel(lambda s, w: _reduce(operator.or_, s, w))]
    tags: Annotated[set[str], DeltaChannel(lambda s, w: _reduce(operator.or_, s, w))]


def _reduce(add: Any, state: Any, writes: Sequence[Any]) -> Any:
    for write in writes:
        state = add(state, write)
    return state


async def test_lists_sets_dicts_and_messages_are_joined(calls: Calls, backend: Backend) -> None:
    """They are put together as the graph does it; messages take the place of their ids."""
    builder: Any = StateGraph(Joined)
    reply: Any = {"messages": [AIMessage("hi", id="2")], "facts": {"b": 3, "c": 4}, "tags": {"y"}}
    builder.add_node("a", lambda _: reply).add_node(
        "b", lambda _: {"messages": AIMessage("hello", id="2"), "tags": Overwrite({"z"})}
    )
    builder.add_edge(START, "a").add_edge("a", "b")
    graph: Any = builder.compile(checkpointer=SessionSaver(backend.store()))
    said = HumanMessage("hey", id="1")
    graph.invoke({"messages": [said], "facts": {"a": 1, "b": 2}, "tags": {"x"}}, THREAD)
    expected = {"messages": [said, AIMessage("hello", id="2")], "tags": {"z"}}
    assert graph.get_state(THREAD).values == expected | {"facts": {"a": 1, "b": 3, "c": 4}}
    assert (await calls.load("t")).state == graph.get_state(THREAD).values


async def test_what_only_a_reducer_knows_is_refused(calls: Calls, backend: Backend) -> None:
    """A sum cannot be told from what was added; it can be left to the graph, or be replaced."""

    class Total(TypedDict, total=False):
        total: Annotated[int, DeltaChannel(lambda s, w: s + sum(w), int)]
        mood: str

    builder: Any = StateGraph(Total)
    builder = builder.add_node("a", lambda _: {"total": 2}).add_edge(START, "a")
    graph: Any = builder.compile(checkpointer=SessionSaver(backend.store()))
    graph.invoke({"total": 1}, THREAD)
    with pytest.raises(SerializationError, match=r"'total' of session 't'.*graph.get_state"):
        await calls.load("t")
    with pytest.raises(SerializationError, match="'total'"):
        await calls.fork("t", "copy")
    assert not await calls.exists("copy")
    assert graph.get_state(THREAD).values["total"] == 3
    assert (await calls.save("t", {"total": 10})).state == {"total": 10}
    assert graph.invoke({"total": 1}, THREAD)["total"] == 13


async def test_a_half_done_step_of_a_delta_channel_is_left_to_its_graph(
    calls: Calls, backend: Backend
) -> None:
    """What a task wrote to it before another one asked is not taken for part of the state."""
    builder: Any = StateGraph(Delta)
    builder = builder.add_node("a", lambda _: {"log": ["a"]}).add_node("q", asks("?"))
    builder.add_edge(START, "a").add_edge(START, "q")
    graph: Any = builder.compile(checkpointer=SessionSaver(backend.store()))
    graph.invoke({"log": ["question"], "mood": "calm"}, THREAD)
    with pytest.raises(ConflictError, match=r"'log'.*update_state"):
        await calls.edit("t", lambda state: state.update(mood="glad"), replace=True)
    assert sorted(graph.invoke(Command(resume="yes"), THREAD)["log"]) == ["a", "question", "yes"]


# --- states that are no dict ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "turns"),
    [
        (int, (1, 5, 6)),
        (Annotated[list[int], operator.add], ([1], [5], [5, 1])),
        (dict, ({"n": 1}, {"n": 5}, {"n": 6})),
    ],
)
async def test_a_state_that_is_no_dict_is_one_key(
    calls: Calls, backend: Backend, schema: Any, turns: tuple[Any, Any, Any]
) -> None:
    """It is loaded and saved as ``__root__``, and the graph goes on from it."""

    def step(state: Any) -> Any:
        if isinstance(state, dict):
            return {"n": state["n"] + 1}
        return [1] if isinstance(state, list) else state + 1

    first, second, after = turns
    builder: Any = StateGraph(schema)
    builder = builder.add_node("a", step).add_node("b", step)
    builder.add_edge(START, "a").add_edge("a", "b")
    graph = builder.compile(checkpointer=SessionSaver(backend.store()), interrupt_before=["b"])
    graph.invoke(first, THREAD)
    assert (await calls.load("t")).state == {"__root__": graph.get_state(THREAD).values}
    await calls.edit("t", lambda state: state.update(__root__=second))
    assert graph.get_state(THREAD).values == second
    assert graph.invoke(None, THREAD) == after


async def test_an_entrypoint_is_seen_and_goes_on(calls: Calls, backend: Backend) -> None:
    """What it keeps and what it gave are loaded; what is saved is given to it the next time."""

    @entrypoint(checkpointer=SessionSaver(backend.store()))
    def count(number: int, *, previous: int | None = None) -> Any:
        answer = interrupt("?") if number == 0 else number
        return entrypoint.final(value="done", save=(previous or 0) + answer)

    count.invoke(3, THREAD)
    assert (await calls.load("t")).state == {"__previous__": 3, "__end__": "done"}
    await calls.edit("t", lambda state: state.update(__previous__=10))
    count.invoke(1, THREAD)
    assert (await calls.load("t")).state["__previous__"] == 11
    count.invoke(0, THREAD)
    await calls.edit("t", lambda state: state.update(__previous__=100), replace=True)
    count.invoke(Command(resume=7), THREAD)
    assert (await calls.load("t")).state["__previous__"] == 107
