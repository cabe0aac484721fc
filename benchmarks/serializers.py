"""Encoding and decoding lists of messages, beside LangGraph's `JsonPlusSerializer`.

Run it: ``python benchmarks/serializers.py``. Both serializers take turns in one process, each round
one call, encoding first and then decoding. Shown are medians of processor time per message, bytes
stored per message, and the ratios. Other programs on the machine disturb both alike. ``--json``
prints the figures for other programs.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from wren_sessions import SafeSerializer

SIZES: Final = (200, 1_000)
WORDS: Final = ("interview", "answer", "profile", "travel", "museum", "river", "coffee", "quiet")


def conversation(count: int) -> list[BaseMessage]:
    """Mixed messages as an agent makes them: questions, tool calls, their results, answers."""
    rng = random.Random(1)

    def text(words: int) -> str:
        return " ".join(rng.choices(WORDS, k=words))

    def message(at: int) -> BaseMessage:
        match at % 4:
            case 0:
                return HumanMessage(text(40), id=f"h{at}")
            case 1:
                call = {"name": "search", "args": {"query": text(5), "limit": 5}, "id": f"c{at}"}
                return AIMessage(
                    text(10),
                    id=f"a{at}",
                    tool_calls=[call],
                    response_metadata={"model_name": "some-model", "finish_reason": "tool_calls"},
                    usage_metadata={"input_tokens": 90, "output_tokens": 9, "total_tokens": 99},
                )
            case 2:
                return ToolMessage(text(60), tool_call_id=f"c{at - 1}", name="search", id=f"t{at}")
            case _:
                metadata = {"model_name": "some-model", "finish_reason": "stop"}
                return AIMessage(text(60), id=f"a{at}", response_metadata=metadata)

    return [message(at) for at in range(count)]


def interleaved(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median processor time of each call, in seconds, one of each in every round."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.process_time_ns()
            call()
            taken[name].append((time.process_time_ns() - started) / 1e9)
    return {name: statistics.median(times) for name, times in taken.items()}


def measure(count: int, rounds: int) -> dict[str, float]:
    """Microseconds and bytes per message, and the ratios, for a list of so many messages."""
    messages = conversation(count)
    theirs, ours = JsonPlusSerializer(), SafeSerializer()
    stored = theirs.dumps_typed(messages), ours.dumps_typed(messages)
    if ours.loads_typed(stored[1]) != messages:
        sys.exit("the messages came back changed: there is nothing to measure")
    encoding = {
        "their encoding": lambda: theirs.dumps_typed(messages),
        "our encoding": lambda: ours.dumps_typed(messages),
    }
    decoding = {
        "their decoding": lambda: theirs.loads_typed(stored[0]),
        "our decoding": lambda: ours.loads_typed(stored[1]),
    }
    median = interleaved(encoding, rounds) | interleaved(decoding, rounds)
    found = {f"{name}, µs": seconds / count * 1e6 for name, seconds in median.items()}
    return {
        "messages": count,
        **found,
        "encoding, times faster": median["their encoding"] / median["our encoding"],
        "decoding, times faster": median["their decoding"] / median["our decoding"],
        "their bytes": len(stored[0][1]) / count,
        "our bytes": len(stored[1][1]) / count,
    }


def table(rows: list[dict[str, float]]) -> str:
    """The figures as a Markdown table."""
    names = list(rows[0])
    figures = [
        [f"{row[name]:,.0f}" if row[name] >= 100 else f"{row[name]:.1f}" for name in names]
        for row in rows
    ]
    lines = [names, ["---:"] * len(names), *figures]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60, help="how often (default: 60)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args()
    rows = [measure(count, given.rounds) for count in SIZES]
    print(json.dumps(rows) if given.json else table(rows))


if __name__ == "__main__":
    main()
