"""Graphs that the tests have the Agent Server run."""

from __future__ import annotations

import asyncio
import operator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    """What happened, and what is to happen."""

    steps: Annotated[list[str], operator.add]
    gate: str  # a file that `wait` waits for
    question: str


def joined(have: list[Any], writes: list[list[Any]]) -> list[Any]:
    """A list with what was written to it."""
    return [*have, *chain.from_iterable(writes)]


class Chat(TypedDict, total=False):
    """Messages that live in the history of their channel."""

    messages: Annotated[list[AnyMessage], DeltaChannel(joined)]


def begin(state: State) -> dict[str, Any]:
    """Take the first step."""
    return {"steps": ["begin"]}


async def wait(state: State) -> dict[str, Any]:
    """Wait until the gate is there, if one is named."""
    gate = Path(state.get("gate") or "/")
    while not await asyncio.to_thread(gate.exists):  # noqa: ASYNC110 -- another process makes it
        await asyncio.sleep(0.01)
    return {"steps": ["waited"]}


def ask(state: State) -> dict[str, Any]:
    """Put the question, if there is one."""
    if not state.get("question"):
        return {"steps": ["end"]}
    return {"steps": [f"{state['question']} {interrupt(state['question'])}"]}


def answer(state: Chat) -> dict[str, Any]:
    """Say how many messages there are."""
    return {"messages": [AIMessage(f"there are {len(state['messages'])} messages")]}


def in_a_row(schema: Any, **nodes: Any) -> Any:
    """A graph whose nodes follow each other."""
    builder = StateGraph(schema)
    before = START
    for name, node in nodes.items():
        builder.add_node(name, node)
        builder.add_edge(before, name)
        before = name
    return builder.compile()


steps = in_a_row(State, begin=begin, wait=wait, ask=ask)
nested = in_a_row(State, begin=begin, inner=in_a_row(State, ask=ask))
chat = in_a_row(Chat, answer=answer)
