"""Graphs of every kind that LangGraph knows, with nodes that do the same on every run."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Annotated, Any, Final, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.types import Command, RetryPolicy, Send, interrupt

try:
    from langgraph.channels.delta import DeltaChannel
except ImportError:  # LangGraph 1.0 has none
    DeltaChannel = None  # type: ignore[assignment,misc]

HAS_DELTA: Final = DeltaChannel is not None


class Chat(TypedDict, total=False):
    """A conversation, as WREN's."""

    messages: Annotated[list[Any], add_messages]
    turn_count: int
    is_complete: bool
    profile: dict[str, Any]
    summary: str


def said(number: int, role: str = "ai") -> AnyMessage:
    """A message with an id of its own, long enough to be kept in the arena."""
    kind = AIMessage if role == "ai" else HumanMessage
    return kind(f"{role} says {number}: " + "lorem ipsum " * 30, id=f"{role}-{number}")


def chat() -> StateGraph[Any, Any, Any, Any]:
    """Two nodes per turn."""

    def answer(state: Chat) -> Chat:
        turn = state.get("turn_count", 0) + 1
        return {"messages": [said(turn)], "turn_count": turn}

    def analyse(state: Chat) -> Chat:
        words = sum(len(str(message.content)) for message in state["messages"])
        return {"profile": {"words": words}, "is_complete": state["turn_count"] > 2}

    builder = StateGraph(Chat)
    builder.add_node("answer", answer)
    builder.add_node("analyse", analyse)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", "analyse")
    return builder


def trimming(how: str) -> StateGraph[Any, Any, Any, Any]:
    """A chat that takes messages out again: ``"one"``, ``"front"``, ``"all"``, ``"edit"``."""

    def answer(state: Chat) -> Chat:
        turn = state.get("turn_count", 0) + 1
        return {"messages": [said(turn)], "turn_count": turn}

    def trim(state: Chat) -> Chat:
        messages = state["messages"]
        if how == "one" and len(messages) > 2:
            return {"messages": [RemoveMessage(id=str(messages[len(messages) // 2].id))]}
        if how == "front":
            return {"messages": [RemoveMessage(id=str(m.id)) for m in messages[:-4]]}
        if how == "all" and len(messages) > 5:
            return {
                "messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), *messages[-2:]],
                "summary": f"{state.get('summary', '')} and {len(messages)} messages",
            }
        if how == "edit" and len(messages) > 1:
            return {"messages": [HumanMessage("edited " * 40, id=messages[-2].id)]}
        return {}

    builder = StateGraph(Chat)
    builder.add_node("answer", answer)
    builder.add_node("trim", trim)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", "trim")
    return builder


class Work(TypedDict, total=False):
    """What several nodes add to."""

    log: Annotated[list[str], operator.add]
    count: int
    items: list[str]


def interrupting(times: int = 3) -> StateGraph[Any, Any, Any, Any]:
    """One node that asks several times, and one that follows it."""

    def ask(state: Work) -> Work:
        answers = [str(interrupt({"question": number})) for number in range(times)]
        return {"log": answers}

    def after(state: Work) -> Work:
        return {"count": len(state["log"])}

    builder = StateGraph(Work)
    builder.add_node("ask", ask)
    builder.add_node("after", after)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "after")
    return builder


def interrupting_in_parallel() -> StateGraph[Any, Any, Any, Any]:
    """Two nodes that ask at once, one that does not, and one behind them."""

    def asker(name: str) -> Any:
        def ask(state: Work) -> Work:
            return {"log": [f"{name}: {interrupt(f'from {name}')}"]}

        return ask

    builder = StateGraph(Work)
    builder.add_node("left", asker("left"))
    builder.add_node("right", asker("right"))
    builder.add_node("quiet", lambda state: {"log": ["quiet"]})
    builder.add_node("join", lambda state: {"count": len(state["log"])})
    for name in ("left", "right", "quiet"):
        builder.add_edge(START, name)
    builder.add_edge(["left", "right", "quiet"], "join")
    return builder


def line(*names: str) -> StateGraph[Any, Any, Any, Any]:
    """Nodes one behind the other, each of which says its name."""

    def node(name: str) -> Any:
        return lambda state: {"log": [f"{name} " * 40], "count": state.get("count", 0) + 1}

    builder = StateGraph(Work)
    for before, name in zip((START, *names), names, strict=False):
        builder.add_node(name, node(name))
        builder.add_edge(before, name)
    return builder


def fan_out(*, fails: Sequence[str] = ()) -> StateGraph[Any, Any, Any, Any]:
    """Map and reduce; items in `fails` raise an error the first time."""
    left = set(fails)

    def work(item: Any) -> Any:
        if item in left:
            left.discard(item)
            raise ValueError(f"cannot work on {item}")
        return {"log": [f"did {item} " * 30]}

    def reduce(state: Work) -> Work:
        return {"count": len(state["log"]), "log": sorted(state["log"])}

    builder: Any = StateGraph(Work)
    builder.add_node("work", work)
    builder.add_node("reduce", reduce)
    builder.add_conditional_edges(
        START, lambda state: [Send("work", item) for item in state["items"]], ["work"]
    )
    builder.add_edge("work", "reduce")
    found: StateGraph[Any, Any, Any, Any] = builder
    return found


def failing(times: int, *, retried: bool = False) -> StateGraph[Any, Any, Any, Any]:
    """A node behind another that fails some times before it does not."""
    left = [times]

    def fail(state: Work) -> Work:
        if left[0]:
            left[0] -= 1
            raise RuntimeError(f"failed, {left[0]} to go")
        return {"log": ["did not fail"]}

    policy = RetryPolicy(
        initial_interval=0.001, jitter=False, max_attempts=5, retry_on=RuntimeError
    )
    builder = StateGraph(Work)
    builder.add_node("good", lambda state: {"log": ["good"]})
    builder.add_node("fail", fail, retry_policy=policy if retried else None)
    builder.add_edge(START, "good")
    builder.add_edge("good", "fail")
    return builder


def commanding() -> StateGraph[Any, Any, Any, Any]:
    """Nodes that say where to go."""

    def choose(state: Work) -> Command[Any]:
        done = state.get("count", 0) >= 3
        return Command(
            update={"count": state.get("count", 0) + 1, "log": ["chose"]},
            goto=END if done else [Send("echo", {"log": [f"sent {state.get('count', 0)}"]})],
        )

    def echo(state: Work) -> Command[Any]:
        return Command(update={"log": state["log"]}, goto="choose")

    builder = StateGraph(Work)
    builder.add_node("choose", choose, destinations=("echo", END))
    builder.add_node("echo", echo, destinations=("choose",))
    builder.add_edge(START, "choose")
    return builder


# --- subgraphs ------------------------------------------------------------------------------------


class Inner(TypedDict, total=False):
    """What only the subgraph has, beside what it shares."""

    log: Annotated[list[str], operator.add]
    turns: Annotated[int, operator.add]


def inner(*, asks: bool) -> StateGraph[Any, Any, Any, Any]:
    """A subgraph of two nodes that counts its turns, and perhaps asks."""

    def first(state: Inner) -> Inner:
        return {"turns": 1, "log": [f"inner turn {state.get('turns', 0) + 1} " * 30]}

    def second(state: Inner) -> Inner:
        answer = interrupt(f"turn {state['turns']}") if asks else "not asked"
        return {"log": [f"answer: {answer}"]}

    builder = StateGraph(Inner)
    builder.add_node("first", first)
    builder.add_node("second", second)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    return builder


def outer(
    *, own: bool | None = None, asks: bool = False, depth: int = 1
) -> StateGraph[Any, Any, Any, Any]:
    """A graph around a subgraph.

    Args:
        own: the subgraph's checkpointer: True remembers over turns.
        asks: whether the subgraph interrupts.
        depth: how many subgraphs lie within one another.
    """
    compiled: Any = inner(asks=asks).compile(checkpointer=own)
    for _ in range(depth - 1):
        between = StateGraph(Work)
        between.add_node("sub", compiled)
        between.add_edge(START, "sub")
        compiled = between.compile(checkpointer=own)
    builder = StateGraph(Work)
    builder.add_node("before", lambda state: {"count": state.get("count", 0) + 1})
    builder.add_node("agent", compiled)
    builder.add_node("after", lambda state: {"log": [f"after {state['count']}"]})
    builder.add_edge(START, "before")
    builder.add_edge("before", "agent")
    builder.add_edge("agent", "after")
    return builder


# --- channels that live in their history ----------------------------------------------------------


def appended(state: list[str], writes: Sequence[list[str]]) -> list[str]:
    """What a `DeltaChannel` makes of its writes."""
    return [*state, *(item for write in writes for item in write)]


def delta(frequency: int) -> StateGraph[Any, Any, Any, Any]:
    """A graph with a `DeltaChannel` that is stored every so many updates."""
    channel: Any = DeltaChannel(appended, list, snapshot_frequency=frequency)
    fields: Any = {"log": Annotated[list[str], channel], "count": int}
    make: Any = TypedDict
    state = make("state", fields)

    def node(name: str) -> Any:
        return lambda state: {"log": [f"{name} {len(state['log'])} " * 30]}

    builder = StateGraph(state)
    builder.add_node("one", node("one"))
    builder.add_node("two", node("two"))
    builder.add_node("count", lambda state: {"count": len(state["log"])})
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    builder.add_edge("two", "count")
    return builder


# --- the functional API ---------------------------------------------------------------------------


def functional(saver: BaseCheckpointSaver[Any]) -> Any:
    """An entrypoint with tasks that remembers what it returned, and asks once per call."""

    @task
    def double(number: int) -> dict[str, Any]:
        return {"twice": 2 * number, "text": "double " * 50}

    @entrypoint(checkpointer=saver)
    def app(number: int, *, previous: Any = None) -> Any:
        results = [double(number).result(), double(number + 1).result()]
        answer = interrupt({"so far": [result["twice"] for result in results]})
        total = sum(result["twice"] for result in results) + int(answer)
        return entrypoint.final(
            value={"total": total, "before": previous},
            save={"total": total, "history": [*((previous or {}).get("history", [])), total]},
        )

    return app


def functional_async(saver: BaseCheckpointSaver[Any]) -> Any:
    """The same, with coroutines."""

    @task
    async def double(number: int) -> dict[str, Any]:
        return {"twice": 2 * number, "text": "double " * 50}

    @entrypoint(checkpointer=saver)
    async def app(number: int, *, previous: Any = None) -> Any:
        results = [await double(number), await double(number + 1)]
        answer = interrupt({"so far": [result["twice"] for result in results]})
        total = sum(result["twice"] for result in results) + int(answer)
        return entrypoint.final(
            value={"total": total, "before": previous},
            save={"total": total, "history": [*((previous or {}).get("history", [])), total]},
        )

    return app


def nested(depth: int, name: str, saver: BaseCheckpointSaver[Any]) -> Any:
    """Graphs within graphs: each is a node of the next one, and the innermost asks and answers."""

    def leaf(state: Work) -> Work:
        return {"log": [str(interrupt("deep down?"))]}

    graph = StateGraph(Work).add_node("leaf", leaf).add_edge(START, "leaf").compile()
    for level in range(depth):
        node = f"{name}_{level}"
        builder = StateGraph(Work).add_node(node, graph).add_edge(START, node)
        graph = builder.compile(checkpointer=saver if level == depth - 1 else None)
    return graph
