"""The interview as a LangGraph graph: ask, listen, analyse, and again, until the closing words.

::

    START → ask → listen → analyse ─┬─ fewer than 8 answers → ask
                                    └─ else → close → END

``ask`` picks a question, ``listen`` waits for the person with `interrupt`, ``analyse`` looks at all
answers so far. The graph knows nothing about stores: it gets a checkpointer and is resumed by
whoever has the session's id.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeAlias, TypedDict

from analysis import Analysis, measure, words
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import interrupt
from questions import choose, topics_in

TURNS: Final = 8
CLOSING: Final = "Thank you, that was the last question. I enjoyed listening."


class Profile(TypedDict):
    """What the answers say about the person, beyond the three numbers."""

    style: str
    words: int
    words_per_answer: float
    topics: dict[str, int]


class Interview(TypedDict):
    """The state of one interview, which is what the session keeps."""

    messages: Annotated[list[AnyMessage], add_messages]
    turn_count: int
    is_complete: bool
    current_analysis: Analysis
    profile_data: Profile


class Waiting(TypedDict):
    """What the graph tells the outside while it waits for an answer."""

    number: int
    question: str


Graph: TypeAlias = CompiledStateGraph[Interview, None, Interview, Interview]


def build_graph(checkpointer: BaseCheckpointSaver[Any]) -> Graph:
    """The interview, kept by a checkpointer."""
    builder = StateGraph(Interview)
    builder.add_node("ask", ask)
    builder.add_node("listen", listen)
    builder.add_node("analyse", analyse)
    builder.add_node("close", close)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "listen")
    builder.add_edge("listen", "analyse")
    builder.add_conditional_edges("analyse", ask_or_close)
    builder.add_edge("close", END)
    return builder.compile(checkpointer=checkpointer)


def beginning() -> Interview:
    """The state of an interview in which nobody has said anything."""
    return {
        "messages": [],
        "turn_count": 0,
        "is_complete": False,
        "current_analysis": measure([]),
        "profile_data": profile_of([]),
    }


def ask(state: Interview) -> dict[str, Any]:
    """Pick the next question from what was said."""
    said = state["messages"]
    asked = [m.additional_kwargs["question"] for m in said if isinstance(m, AIMessage)]
    choice = choose(asked, answers_in(said))
    facts = {"question": choice.question.id, "at": _now()}
    return {"messages": [AIMessage(choice.text, additional_kwargs=facts)]}


def listen(state: Interview) -> dict[str, Any]:
    """Wait for the person; LangGraph runs this again from its first line when the answer comes."""
    question = state["messages"][-1].text
    answer = interrupt(Waiting(number=state["turn_count"] + 1, question=question))
    return {"messages": [HumanMessage(answer, additional_kwargs={"at": _now()})]}


def analyse(state: Interview) -> dict[str, Any]:
    """Measure all answers so far."""
    said = answers_in(state["messages"])
    return {
        "turn_count": len(said),
        "current_analysis": measure(said),
        "profile_data": profile_of(said),
    }


def close(state: Interview) -> dict[str, Any]:  # noqa: ARG001 -- what a node gets
    """Say goodbye."""
    return {
        "messages": [AIMessage(CLOSING, additional_kwargs={"at": _now()})],
        "is_complete": True,
    }


def ask_or_close(state: Interview) -> Literal["ask", "close"]:
    """Where to go after an answer."""
    return "ask" if state["turn_count"] < TURNS else "close"


def answers_in(messages: Sequence[AnyMessage]) -> list[str]:
    """What the person said, in order."""
    return [str(message.text) for message in messages if isinstance(message, HumanMessage)]


def profile_of(answers: Sequence[str]) -> Profile:
    """Style, length and topics of the answers."""
    count = sum(len(words(answer)) for answer in answers)
    average = count / len(answers) if answers else 0.0
    return {
        "style": "brief" if average < 12 else "balanced" if average < 30 else "expansive",
        "words": count,
        "words_per_answer": round(average, 1),
        "topics": topics_in(answers),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
