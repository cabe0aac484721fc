"""An app of somebody else: a LangGraph app with classes of its own, run as a process of its own.

``python sample_app.py URL`` leaves sessions of every kind behind. The tests look at them without
these classes.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from wren_sessions import Sessions, SessionSaver, open_store
from wren_sessions.protocols import SessionStore

HOSTILE: Final = (
    "\x1b[31mred\x1b[0m \x1b]0;owned\x07 \x9b2J \u202egnihtemos\u202c \u2066x\u2069 a\rb \x08 \x00 "
    "👩‍👩‍👧 日本語 שלום \u200bz \u2028 end"
)


class Profile(BaseModel):
    """What was found out."""

    mood: str
    score: Decimal
    seen: datetime


class State(MessagesState, total=False):
    """An interview."""

    turn_count: int
    is_complete: bool
    profile: Profile
    stage: str


def ask(state: State) -> dict[str, Any]:
    """Ask, wait for the answer, and take note of it."""
    turn = state.get("turn_count", 0) + 1
    answer = interrupt({"question": f"Question {turn}: how are you?"})
    call = {"name": "take_note", "args": {"mood": answer}, "id": f"call-{turn}"}
    return {
        "messages": [
            HumanMessage(answer),
            AIMessage("", tool_calls=[call]),
            ToolMessage(f"noted {answer}", tool_call_id=f"call-{turn}"),
            AIMessage(f"Thanks for telling me that you are {answer}."),
        ],
        "turn_count": turn,
        "is_complete": turn >= 3,
        "profile": Profile(
            mood=answer, score=Decimal("0.5"), seen=datetime(2025, 11, 8, tzinfo=UTC)
        ),
        "stage": "asking",
    }


def fail(_: State) -> dict[str, Any]:
    """Raise, as a model that is down does."""
    raise RuntimeError("the model is down")


def chain(node: Any) -> StateGraph[State]:
    """A graph of one node that runs until it is complete."""
    builder = StateGraph(State)
    builder.add_node("ask", node)
    builder.add_edge(START, "ask")
    builder.add_conditional_edges("ask", lambda state: END if state["is_complete"] else "ask")
    return builder


def talk(store: SessionStore, thread: str, answers: list[str]) -> None:
    """An interview as far as the answers go."""
    graph = chain(ask).compile(checkpointer=SessionSaver(store))
    config: Any = {"configurable": {"thread_id": thread}}
    graph.invoke({"messages": [SystemMessage("Be kind."), HumanMessage("Hello")]}, config)
    for answer in answers:
        graph.invoke(Command(resume=answer), config)


def fork(store: SessionStore, thread: str) -> None:
    """Go another way from an earlier checkpoint."""
    graph = chain(ask).compile(checkpointer=SessionSaver(store))
    config: Any = {"configurable": {"thread_id": thread}}
    earlier = list(graph.get_state_history(config))[1]
    graph.update_state(earlier.config, {"turn_count": 40})


def nested(store: SessionStore, thread: str) -> None:
    """A graph within a graph, which waits inside."""
    inner = StateGraph(State)
    inner.add_node("question", ask)
    inner.add_edge(START, "question")
    outer = StateGraph(State)
    outer.add_node("analyst", inner.compile())
    outer.add_edge(START, "analyst")
    graph = outer.compile(checkpointer=SessionSaver(store))
    graph.invoke({"messages": [HumanMessage("Hi")]}, {"configurable": {"thread_id": thread}})


def broken(store: SessionStore, thread: str) -> None:
    """A run that fails."""
    graph = chain(fail).compile(checkpointer=SessionSaver(store))
    try:
        graph.invoke({"messages": [HumanMessage("Hi")]}, {"configurable": {"thread_id": thread}})
    except RuntimeError:
        return


def main(url: str) -> None:
    """Leave the sessions."""
    with open_store(url, dotenv=False) as store:
        talk(store, "cli_20251108_145739", ["fine", "tired", "hungry"])
        talk(store, "cli_20251108_150001", ["well"])
        fork(store, "cli_20251108_150001")
        talk(store, "web_visitor", [])
        nested(store, "nested")
        broken(store, "broken")
        sessions = Sessions(store)
        sessions.create("empty")
        said = [HumanMessage(HOSTILE), AIMessage("x" * 100_000), {"role": "user", "content": "hi"}]
        sessions.save("hostile", {"messages": said, HOSTILE: HOSTILE, "note": HOSTILE})
        sessions.save(f"evil{HOSTILE}", {"n": 1})


if __name__ == "__main__":
    main(sys.argv[1])
