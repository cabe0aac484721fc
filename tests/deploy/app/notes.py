"""A graph whose state holds a value of the application's own class.

The server pickles what it knows of threads, and reads it before it has loaded any graph: the class
is to be in a module that can be imported.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


@dataclass
class Note:
    """A value of the application's own class."""

    text: str


class State(TypedDict, total=False):
    """A note, and what happened."""

    steps: Annotated[list[str], operator.add]
    question: str
    note: Note


def take(state: State) -> dict[str, Any]:
    """Keep the question as a note."""
    return {"note": Note(state["question"])}


def ask(state: State) -> dict[str, Any]:
    """Put the question, and say of which class the note is."""
    reply = interrupt(state["question"])
    note = state["note"]
    return {"steps": [f"{type(note).__name__} {note.text} {reply}"]}


builder = StateGraph(State)
builder.add_node("take", take)
builder.add_node("ask", ask)
builder.add_edge(START, "take")
builder.add_edge("take", "ask")
graph = builder.compile()
