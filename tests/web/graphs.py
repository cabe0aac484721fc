"""Graphs that a browser or a test answers."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt

FAILS = "fail"


class State(MessagesState, total=False):
    """A conversation with a number."""

    turn_count: int
    answers: list[Any]


def ask(state: State) -> dict[str, Any]:
    """Ask, and take note of the answer, or raise where it is ``fail``."""
    answer = interrupt({"question": "What now?"})
    if answer == FAILS:
        raise RuntimeError("the model is down")
    return {
        "messages": [AIMessage(f"You said {answer}.")],
        "answers": [*state.get("answers", []), answer],
    }


def approve(state: State) -> dict[str, Any]:
    """Ask whether two calls may be made."""
    calls = [
        {"name": "send_mail", "args": {"to": "ann"}},
        {"name": "drop_table", "args": {"name": "users"}},
    ]
    reviews = [
        {"action_name": call["name"], "allowed_decisions": ["approve", "edit", "reject"]}
        for call in calls
    ]
    decided = interrupt({"action_requests": calls, "review_configs": reviews})
    return {"answers": [*state.get("answers", []), decided]}


def of_node(node: Any) -> StateGraph[State]:
    """A graph of one node."""
    builder = StateGraph(State)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    return builder


asking = of_node(ask)
approving = of_node(approve)
