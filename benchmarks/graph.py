"""What a LangGraph app costs as it goes on: ``python benchmarks/graph.py [--url …] [--json FILE]``.

A real graph with a state like that of WREN, the interview agent (messages, turn_count,
current_analysis, is_complete), invoked once per turn, history kept, over 250, 500 and 1,000 turns.
Stored bytes must grow as the conversation does: with exponent 1. Without a URL it starts a
redis-server of its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypedDict

sys.path.append(str(Path(__file__).parent.parent))

from benchmarks import report
from benchmarks.measuring import growth_exponent
from benchmarks.servers import redis_server
from benchmarks.threads import Speech
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages

from wren_sessions import SessionSaver, open_store
from wren_sessions.protocols import SessionStore

TURNS: Final = (250, 500, 1_000)


class Interview(TypedDict, total=False):
    """The state of an interview."""

    messages: Annotated[list[AnyMessage], add_messages]
    turn_count: int
    current_analysis: dict[str, float]
    is_complete: bool


@dataclass(frozen=True, kw_only=True)
class GraphCost:
    """What a conversation cost.

    Attributes:
        turns: how many it had.
        final_bytes: its last list of messages as LangGraph's `JsonPlusSerializer` stores it.
        stored_bytes: what the session takes in the store.
    """

    turns: int
    final_bytes: int
    stored_bytes: int

    @property
    def stored_ratio(self) -> float:
        """Stored bytes over those of the final list."""
        return self.stored_bytes / self.final_bytes


def interview_graph(
    saver: BaseCheckpointSaver[Any] | None, speech: Speech, message_bytes: int
) -> Any:
    """An interviewer who says something, then an analysis of the answer."""

    def interviewer(state: Interview) -> Interview:
        return {
            "messages": [AIMessage(speech.text(message_bytes), id=speech.task_id())],
            "turn_count": state.get("turn_count", 0) + 1,
        }

    def analysis(state: Interview) -> Interview:
        words = str(state["messages"][-2].content).split()
        richness = len(set(words)) / len(words)
        return {
            "current_analysis": {
                "vocabulary_richness": richness,
                "response_brevity": 1 / len(words),
                "engagement_index": richness * len(words),
            },
            "is_complete": False,
        }

    builder = StateGraph(Interview)
    builder.add_node("interviewer", interviewer)
    builder.add_node("analysis", analysis)
    builder.add_edge(START, "interviewer")
    builder.add_edge("interviewer", "analysis")
    builder.add_edge("analysis", END)
    return builder.compile(checkpointer=saver)


def run(
    store: SessionStore, turns: Sequence[int] = TURNS, message_bytes: int = 600
) -> list[GraphCost]:
    """Hold one conversation, and say what it cost after so many turns. It is left behind.

    Args:
        store: where to keep it.
        turns: when to measure, ascending.
        message_bytes: how long each message's text is.
    """
    session = "benchmark-graph"
    store.delete(session)
    speech = Speech()
    graph = interview_graph(SessionSaver(store), speech, message_bytes)
    config = {"configurable": {"thread_id": session}}
    costs: list[GraphCost] = []
    for turn in range(1, turns[-1] + 1):
        said = HumanMessage(speech.text(message_bytes), id=speech.task_id())
        state = graph.invoke({"messages": [said]}, config)
        if turn in turns:
            costs.append(_cost(store, session, turn, state["messages"]))
    return costs


def _cost(store: SessionStore, session: str, turn: int, messages: list[AnyMessage]) -> GraphCost:
    info = store.info(session)
    return GraphCost(
        turns=turn,
        final_bytes=len(JsonPlusSerializer().dumps_typed(messages)[1]),
        stored_bytes=(info.size_bytes or 0) if info else 0,
    )


def exponent(costs: Sequence[GraphCost]) -> float:
    """The growth exponent of the stored bytes."""
    return growth_exponent([(cost.turns, cost.stored_bytes) for cost in costs])


def rows(costs: Sequence[GraphCost]) -> list[report.Row]:
    """The figures for people."""
    return [
        ("turns", "final list, bytes", "stored, bytes", "ratio"),
        *(
            (
                f"{cost.turns:,}",
                f"{cost.final_bytes:,}",
                f"{cost.stored_bytes:,}",
                f"{cost.stored_ratio:.2f}",
            )
            for cost in costs
        ),
    ]


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description="Measure how a session grows.")
    parser.add_argument("--url", help="redis://…, file:…, memory://; default: a Redis of its own")
    parser.add_argument("--message-bytes", type=int, default=600, help="default 600")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = options.url or stack.enter_context(redis_server())
        store = stack.enter_context(open_store(url))
        costs = run(store, message_bytes=options.message_bytes)
    report.show(rows(costs))
    print(f"growth exponent {exponent(costs):.3f}")
    report.save(options.json, costs)


if __name__ == "__main__":
    main()
