"""Runs that something happens to: a graph, what it did before, and what it does meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langgraph.types import Command

from saver import graphs


@dataclass(frozen=True)
class Plan:
    """A graph and what it is given.

    Attributes:
        graph: makes it.
        before: what it was given before, undisturbed.
        meanwhile: what it is given while something happens.
        options: how it is compiled.
    """

    graph: Callable[[], Any]
    before: Sequence[Any]
    meanwhile: Sequence[Any]
    options: Any = None


def _say(number: int) -> Any:
    return {"messages": [graphs.said(number, "human")]}


_PLANS: Final[dict[str, Plan]] = {
    "chat": Plan(graphs.chat, [_say(1), _say(2)], [_say(3)]),
    "first turn": Plan(graphs.chat, [], [_say(1)]),
    "subgraph": Plan(graphs.outer, [{"log": ["1"]}], [{"log": ["2"]}]),
    "memory": Plan(lambda: graphs.outer(own=True), [{"log": ["1"]}], [{"log": ["2"]}]),
    "interrupt": Plan(
        lambda: graphs.interrupting(2),
        [{"log": ["begin"]}],
        [Command(resume="a"), Command(resume="b"), {"log": ["again"]}],
    ),
    "asking subgraph": Plan(
        lambda: graphs.outer(asks=True), [], [{"log": ["begin"]}, Command(resume="a")]
    ),
    "breakpoint": Plan(
        lambda: graphs.line("a", "b", "c"),
        [{"log": ["begin"]}],
        [None, {"log": ["more"]}],
        {"interrupt_before": ["b"]},
    ),
}
_DELTA: Final = {
    "delta": Plan(lambda: graphs.delta(50), [{"log": ["1"]}], [{"log": ["2"]}]),
    "delta snapshots": Plan(lambda: graphs.delta(2), [{"log": ["1"]}], [{"log": ["2"]}]),
}
PLANS: Final = _PLANS | (_DELTA if graphs.HAS_DELTA else {})
