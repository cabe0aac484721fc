"""What ways to treat a conversation cost: ``python benchmarks/patterns.py [--turns 1000] …``.

Each pattern is a thousand turns of something that applications do to their list of messages. Bytes
must grow as the turns do, for all of them; a design that writes every list whole is quadratic.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, TypedDict

sys.path.append(str(Path(__file__).parent.parent))

import msgpack
from benchmarks import report
from benchmarks.meters import MeteredStore
from benchmarks.threads import Speech, Thread
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, interrupt

from wren_sessions import SessionSaver, open_store
from wren_sessions.protocols import SessionStore

SESSION: Final = "benchmark-pattern"


class QuickSerializer(JsonPlusSerializer):
    """LangGraph's serializer, and how much it was made to write.

    A message that it has serialized before it knows: the same bytes, in less time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written_bytes = 0
        self._messages: dict[int, tuple[BaseMessage, bytes]] = {}

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """See `SerializerProtocol`."""
        if isinstance(obj, list) and all(isinstance(item, BaseMessage) for item in obj):
            header: bytes = msgpack.Packer().pack_array_header(len(obj))
            kind, data = "msgpack", header + b"".join(map(self._message, obj))
        else:
            kind, data = super().dumps_typed(obj)
        self.written_bytes += len(data)
        return kind, data

    def _message(self, message: BaseMessage) -> bytes:
        if id(message) not in self._messages:
            self._messages[id(message)] = message, super().dumps_typed(message)[1]
        return self._messages[id(message)][1]


class Bench:
    """What a pattern works on.

    Args:
        store: where its session is kept.
    """

    def __init__(self, store: SessionStore) -> None:
        self.store = MeteredStore(store)
        self.serializer = QuickSerializer()
        self.speech = Speech()

    def saver(self) -> SessionSaver:
        """A saver with a cache of its own, as another process has one."""
        return SessionSaver(self.store.face, serde=self.serializer)

    def thread(self, saver: SessionSaver | None = None, namespace: str = "") -> Thread:
        """The thread, or a namespace of it."""
        return Thread(saver or self.saver(), SESSION, namespace)

    def human(self) -> HumanMessage:
        """A person's message."""
        return HumanMessage(self.speech.text(), id=self.speech.task_id())

    def answer(self) -> AIMessage:
        """An answer."""
        return AIMessage(self.speech.text(), id=self.speech.task_id())


Pattern: TypeAlias = Callable[[Bench, int], Iterator[None]]
Messages: TypeAlias = list[AnyMessage]


@dataclass(frozen=True, kw_only=True)
class PatternCost:
    """What a pattern cost, after half of its turns and after all.

    Attributes:
        name: of the pattern.
        turns: how many turns there were.
        serialized_bytes: what the serializer wrote: the cost if every value were sent whole.
        carried_bytes: what the commits carried, after half of the turns and after all.
        stored_bytes: what the session takes, after half of the turns and after all.
    """

    name: str
    turns: int
    serialized_bytes: int
    carried_bytes: tuple[int, int]
    stored_bytes: tuple[int, int]

    @property
    def carried_exponent(self) -> float:
        """How the carried bytes grow: 1 for linear, 2 for quadratic."""
        return log2(self.carried_bytes[1] / self.carried_bytes[0])

    @property
    def stored_exponent(self) -> float:
        """How the stored bytes grow."""
        return log2(self.stored_bytes[1] / self.stored_bytes[0])


def measure(store: SessionStore, pattern: Pattern, turns: int) -> PatternCost:
    """Run a pattern, and say what it cost. The session is deleted first, and left behind."""
    store.delete(SESSION)
    bench = Bench(store)
    seen: list[tuple[int, int]] = []
    for turn, _ in enumerate(pattern(bench, turns), 1):
        if turn in {turns // 2, turns}:
            info = store.info(SESSION)
            seen.append((bench.store.carried_bytes, (info.size_bytes or 0) if info else 0))
    (carried_half, stored_half), (carried, stored) = seen
    return PatternCost(
        name=pattern.__name__,
        turns=turns,
        serialized_bytes=bench.serializer.written_bytes,
        carried_bytes=(carried_half, carried),
        stored_bytes=(stored_half, stored),
    )


# --- lists ----------------------------------------------------------------------------------------


def _lists(bench: Bench, turns: int, change: Callable[[Messages], Messages]) -> Iterator[None]:
    """A turn adds two messages, and changes the list."""
    thread = bench.thread()
    messages: Messages = []
    for turn in range(turns):
        messages = [*messages, bench.human()]
        thread.put({"messages": messages, "turn_count": turn}, {"messages"}, "input")
        messages = change([*messages, bench.answer()])
        thread.put({"messages": messages, "turn_count": turn}, {"messages", "turn_count"}, "loop")
        yield


def whole_history(bench: Bench, turns: int) -> Iterator[None]:
    """Nothing is changed: what the others are to be compared with."""
    return _lists(bench, turns, lambda messages: messages)


def keep_last_40(bench: Bench, turns: int) -> Iterator[None]:
    """Only the last 40 messages are kept."""
    return _lists(bench, turns, lambda messages: messages[-40:])


def summary_every_turn(bench: Bench, turns: int) -> Iterator[None]:
    """A summary, new each turn, stands for all messages but the last four."""

    def summarize(messages: Messages) -> Messages:
        return [SystemMessage(bench.speech.text(), id="summary"), *messages[-4:]]

    return _lists(bench, turns, summarize)


def edit_previous(bench: Bench, turns: int) -> Iterator[None]:
    """The message before the last is written anew."""

    def edit(messages: Messages) -> Messages:
        edited = HumanMessage(bench.speech.text(), id=messages[-2].id)
        return [*messages[:-2], edited, messages[-1]]

    return _lists(bench, turns, edit)


def edit_random(bench: Bench, turns: int) -> Iterator[None]:
    """Some message, anywhere, is written anew."""

    def edit(messages: Messages) -> Messages:
        at = bench.speech.number(len(messages))
        edited = AIMessage(bench.speech.text(), id=messages[at].id)
        return [*messages[:at], edited, *messages[at + 1 :]]

    return _lists(bench, turns, edit)


def remove_middle(bench: Bench, turns: int) -> Iterator[None]:
    """The message in the middle is removed."""

    def remove(messages: Messages) -> Messages:
        middle = len(messages) // 2
        return [*messages[:middle], *messages[middle + 1 :]]

    return _lists(bench, turns, remove)


def remove_random(bench: Bench, turns: int) -> Iterator[None]:
    """Some message, anywhere, is removed."""

    def remove(messages: Messages) -> Messages:
        at = bench.speech.number(len(messages))
        return [*messages[:at], *messages[at + 1 :]]

    return _lists(bench, turns, remove)


# --- namespaces and writers -----------------------------------------------------------------------


def subgraph_namespaces(bench: Bench, turns: int) -> Iterator[None]:
    """Each turn, a new namespace starts with the parent's list and adds a message."""
    saver = bench.saver()
    parent = bench.thread(saver)
    messages: Messages = []
    for turn in range(turns):
        messages = [*messages, bench.human()]
        parent.put({"messages": messages, "turn_count": turn}, {"messages"}, "input")
        child = bench.thread(saver, f"helper:{bench.speech.task_id()}")
        child.put({"messages": messages}, {"messages"}, "input")
        messages = [*messages, bench.answer()]
        child.put({"messages": messages}, {"messages"}, "loop")
        parent.put({"messages": messages, "turn_count": turn}, {"messages"}, "loop")
        yield


def two_writers(bench: Bench, turns: int) -> Iterator[None]:
    """Two processes take turns; each reads the latest checkpoint first."""
    threads = [bench.thread(), bench.thread()]
    for turn in range(turns):
        thread = threads[turn % 2]
        found = thread.get()
        messages: Messages = found.checkpoint["channel_values"]["messages"] if found else []
        messages = [*messages, bench.human()]
        thread.put({"messages": messages, "turn_count": turn}, {"messages"}, "input")
        messages = [*messages, bench.answer()]
        thread.put({"messages": messages, "turn_count": turn}, {"messages"}, "loop")
        yield


class Talk(TypedDict, total=False):
    """The state of the real graphs."""

    messages: Annotated[list[AnyMessage], add_messages]


def subgraph_node(bench: Bench, turns: int) -> Iterator[None]:
    """A real graph whose node is a compiled subgraph with the same state."""
    return _subgraph_node(bench, turns, "sync")


def subgraph_node_async(bench: Bench, turns: int) -> Iterator[None]:
    """The same as LangGraph runs it by default: parent and subgraph write at the same time.

    What one has on its way the other does not know, and appends again.
    """
    return _subgraph_node(bench, turns, "async")


def _subgraph_node(bench: Bench, turns: int, durability: str) -> Iterator[None]:
    inner = StateGraph(Talk)
    inner.add_node("answer", lambda _: {"messages": [bench.answer()]})
    inner.add_edge(START, "answer")
    outer = StateGraph(Talk)
    outer.add_node("helper", inner.compile())
    outer.add_edge(START, "helper")
    graph: Any = outer.compile(checkpointer=bench.saver())
    config = {"configurable": {"thread_id": SESSION}}
    for _ in range(turns):
        graph.invoke({"messages": [bench.human()]}, config, durability=durability)
        yield


# --- pending writes -------------------------------------------------------------------------------


def interrupts(bench: Bench, turns: int) -> Iterator[None]:
    """A real graph with one node that asks again and again, answered by 600 characters."""

    def ask() -> Talk:
        answers = [interrupt(f"question {number}") for number in range(turns)]
        return {"messages": [HumanMessage(answers[-1], id="last")]}

    builder = StateGraph(Talk)
    builder.add_node("ask", lambda _: ask())
    builder.add_edge(START, "ask")
    builder.add_edge("ask", END)
    graph = builder.compile(checkpointer=bench.saver())
    config: Any = {"configurable": {"thread_id": SESSION}}
    graph.invoke({"messages": [bench.human()]}, config)
    for _ in range(turns):
        graph.invoke(Command(resume=bench.speech.text()), config)
        yield


def fan_out(bench: Bench, turns: int) -> Iterator[None]:
    """One checkpoint; so many parallel tasks write a message each."""
    thread = bench.thread()
    thread.put({"messages": [bench.human()]}, {"messages"}, "input")
    for _ in range(turns):
        thread.put_writes([("messages", [bench.answer()])], bench.speech.task_id())
        yield


PATTERNS: Final[tuple[tuple[Pattern, int | None], ...]] = (
    (whole_history, None),
    (keep_last_40, None),
    (summary_every_turn, None),
    (edit_previous, None),
    (edit_random, None),
    (remove_middle, None),
    (remove_random, None),
    (subgraph_namespaces, None),
    (two_writers, None),
    (subgraph_node, None),
    (subgraph_node_async, None),
    (interrupts, 100),
    (fan_out, 200),
)
"""The patterns, and how many turns they have where that is not for the caller to say."""


def rows(costs: list[PatternCost]) -> list[report.Row]:
    """The figures for people."""
    return [
        ("pattern", "turns", "if sent whole", "carried", "exponent", "stored", "exponent"),
        *(
            (
                cost.name,
                f"{cost.turns:,}",
                f"{cost.serialized_bytes:,}",
                f"{cost.carried_bytes[1]:,}",
                f"{cost.carried_exponent:.2f}",
                f"{cost.stored_bytes[1]:,}",
                f"{cost.stored_exponent:.2f}",
            )
            for cost in costs
        ),
    ]


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description="Measure what ways to treat a list cost.")
    parser.add_argument("--url", default="memory://", help="where to keep the session")
    parser.add_argument("--turns", type=int, default=1_000, help="default 1,000")
    parser.add_argument("--only", help="the name of one pattern")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    costs = []
    with ExitStack() as stack:
        store = stack.enter_context(open_store(options.url))
        for pattern, turns in PATTERNS:
            if options.only in {None, pattern.__name__}:
                costs.append(measure(store, pattern, turns or options.turns))
    report.show(rows(costs))
    report.save(options.json, costs)


if __name__ == "__main__":
    main()
