"""Graphs and what is done with them, drawn by Hypothesis."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias, TypedDict

from hypothesis import strategies as st
from langchain_core.messages import AnyMessage, HumanMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, interrupt

from saver.apps import App, thread

MOST_STATES: Final = 40


class State(TypedDict, total=False):
    """Channels of several kinds."""

    messages: Annotated[list[AnyMessage], add_messages]
    log: Annotated[list[Any], operator.add]
    last: Any


@dataclass(frozen=True)
class Node:
    """What one node does each time it runs.

    Attributes:
        log: what it adds to the log.
        says: how many messages it adds.
        forgets: how many messages it removes, from the front.
        last: what it leaves as the last word; a layer has one such node at the most.
        asks: how often it interrupts.
    """

    log: Any
    says: int
    forgets: int
    last: Any
    asks: int


Layer: TypeAlias = tuple[Node, ...]
Action: TypeAlias = tuple[str, int, Any]

words = st.text("abc \n", max_size=4) | st.integers(0, 9) | st.none()
values = words | st.builds(lambda word, times: [word] * times, words, st.integers(0, 400))
nodes = st.builds(
    Node,
    log=values,
    says=st.integers(0, 2),
    forgets=st.integers(0, 2),
    last=values,
    asks=st.sampled_from([0, 0, 0, 1, 2]),
)
layers = st.lists(st.lists(nodes, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3)
actions = st.lists(
    st.tuples(
        st.sampled_from(["run", "run", "resume", "resume all", "replay", "fork", "update", "copy"]),
        st.integers(0, 20),
        values,
    ),
    min_size=1,
    max_size=6,
)


def built(graph: list[Layer]) -> StateGraph[Any, Any, Any, Any]:
    """The graph: its layers run one behind the other, a layer's nodes side by side."""
    builder = StateGraph(State)
    before = [START]
    for depth, layer in enumerate(graph):
        names = [f"n{depth}{at}" for at in range(len(layer))]
        for at, (name, node) in enumerate(zip(names, layer, strict=True)):
            builder.add_node(name, _function(name, node, leads=at == 0))
            builder.add_edge(before if len(before) > 1 else before[0], name)
        before = names
    return builder


def _function(name: str, node: Node, *, leads: bool) -> Any:
    def run(state: State) -> State:
        answers = [interrupt([name, number]) for number in range(node.asks)]
        messages = state.get("messages", [])
        turn = len(state.get("log", []))
        new: State = {"log": [node.log, *answers]}
        new["messages"] = [
            HumanMessage(f"{name} " * 100, id=f"{name}-{turn}-{number}")
            for number in range(node.says)
        ]
        if leads:  # two nodes that remove the same message would be an error
            gone: list[Any] = [RemoveMessage(id=str(m.id)) for m in messages[: node.forgets]]
            new["messages"] += gone
            new["last"] = node.last
        return new

    return run


async def act(app: App, graph: list[Layer], todo: list[Action], durability: str, name: str) -> None:
    """Run the graph, do what is to be done, and look at everything."""
    app.use(built(graph))
    config = thread(name)
    await app.invoke({"log": ["begin"]}, config, durability=durability)
    for what, number, value in todo:
        with _noted(app):
            await _one(app, config, (what, number, value), durability)
    with _noted(app):
        await app.history(config)
    await app.everything(name)


@contextmanager
def _noted(app: App) -> Iterator[None]:
    """An error is a result like any other: some graphs contradict themselves."""
    try:
        yield
    except Exception as error:  # noqa: BLE001
        app.note(error)


async def _one(app: App, config: RunnableConfig, action: Action, durability: str) -> None:
    what, number, value = action
    state = await app.state(config)
    if what == "run":
        await app.invoke({"log": [value], "last": value}, config, durability=durability)
    elif what.startswith("resume"):
        asked = sorted(state.interrupts, key=lambda found: str(found.value))
        answers = {found.id: value for found in (asked if what == "resume all" else asked[:1])}
        if answers:
            await app.invoke(Command(resume=answers), config, durability=durability)
    elif what == "update":
        await app.update(config, {"log": [value]}, as_node="n00")
    else:
        history = (await app.history(config))[:MOST_STATES]
        old = history[number % len(history)].config
        if what == "replay":
            await app.invoke(None, old, durability=durability)
        elif what == "copy":
            await app.update(old, None, as_node="__copy__")
        else:
            forked = await app.update(old, {"log": [value]}, as_node="n00")
            await app.invoke(None, forked, durability=durability)
