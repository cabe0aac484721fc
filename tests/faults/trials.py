"""A graph talks while its connections fail: it ends as without faults, or errors of ours say so.

A trial is a conversation of a few turns, each of which fans out to two nodes and a subgraph. A call
that raises is looked at over a connection without faults: the state then has to be one that a
conversation without faults goes through, and LangGraph goes on from there, as an app would.
"""

from __future__ import annotations

import asyncio
import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages

from faults.lossy import SOCKET_TIMEOUT, LossyProxy, lossy_proxy
from servers import ServerAddress
from wren_sessions import SessionSaver, open_store
from wren_sessions.errors import WrenSessionsError

TURNS: Final = 3
TRIES: Final = 12  # of a turn, before its last ones are let through
FACES: Final = ("sync", "async")


class State(TypedDict):
    """What the graph keeps."""

    messages: Annotated[list[AnyMessage], add_messages]
    notes: Annotated[list[str], operator.add]


def _note(name: str) -> Any:
    def note(state: State) -> dict[str, Any]:
        return {"notes": [f"{name} {len(state['messages'])}"]}

    return note


def _answer(state: State) -> dict[str, Any]:
    last = state["messages"][-1]
    return {"messages": [AIMessage(f"answer to {last.content}", id=f"{last.id} answer")]}


def _graph(saver: Any) -> Any:
    inner = StateGraph(State)
    inner.add_node("deep", _note("deep"))
    inner.add_edge(START, "deep")
    outer = StateGraph(State)
    for name, node in (("left", _note("left")), ("right", inner.compile()), ("answer", _answer)):
        outer.add_node(name, node)
    for name in ("left", "right"):
        outer.add_edge(START, name)
    outer.add_edge(["left", "right"], "answer")
    outer.add_edge("answer", END)
    return outer.compile(checkpointer=saver)


def _facts(values: Mapping[str, Any]) -> tuple[Any, ...]:
    messages = [(one.id, one.content) for one in values.get("messages", [])]
    return messages, values.get("notes", [])


def _input(turn: int) -> dict[str, Any]:
    return {"messages": [HumanMessage(f"question {turn}", id=f"turn {turn}")]}


def _without_faults() -> tuple[list[tuple[Any, ...]], tuple[Any, ...]]:
    """All states that a conversation goes through, and the last."""
    graph = _graph(InMemorySaver())
    config: RunnableConfig = {"configurable": {"thread_id": "1"}}
    for turn in range(TURNS):
        graph.invoke(_input(turn), config)
    states = [_facts(state.values) for state in graph.get_state_history(config)]
    return states, states[0]


STATES, END_STATE = _without_faults()


@dataclass
class Report:
    """What came of trials.

    Attributes:
        faults: how many of which there were.
        errors: how many calls raised which error of ours.
        wrong: what should not have been.
        calls: how often the graph was called.
    """

    faults: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    calls: int = 0


class _Trial:
    """One conversation."""

    def __init__(self, seed: int, face: str, proxy: LossyProxy, graph: Any, clean: Any) -> None:
        self._seed = seed
        self._face = face
        self._proxy = proxy
        self._graph = graph
        self._clean = clean
        self._config: RunnableConfig = {"configurable": {"thread_id": f"{face} {seed}"}}

    async def run(self, report: Report) -> None:
        """Talk, turn by turn."""
        for turn in range(TURNS):
            for attempt in range(TRIES + 2):
                self._proxy.on = attempt < TRIES
                if await self._turn(turn, report):
                    break
        self._proxy.on = False
        found = _facts(self._clean.get_state(self._config).values)
        if found != END_STATE:
            report.wrong.append(f"{self._face} {self._seed}: ended as {found}")
        for state in self._clean.get_state_history(self._config):
            if _facts(state.values) not in STATES:
                report.wrong.append(f"{self._face} {self._seed}: was {_facts(state.values)}")

    async def _turn(self, turn: int, report: Report) -> bool:
        """Begin a turn, or go on with it; whether it is done."""
        state = next(self._clean.get_state_history(self._config, limit=1), None)
        facts = _facts(state.values) if state else ([], [])
        if state and facts not in STATES:
            report.wrong.append(f"{self._face} {self._seed}: came to {facts}")
        begun = bool(state and state.next) or (f"turn {turn}", f"question {turn}") in facts[0]
        if state and begun and not state.next:
            return True
        report.calls += 1
        given = None if begun else _input(turn)
        try:
            if self._face == "async":
                result = await self._graph.ainvoke(given, self._config)
            else:
                result = await asyncio.to_thread(self._graph.invoke, given, self._config)
        except WrenSessionsError as error:
            report.errors[type(error).__name__] += 1
            return False
        except Exception as error:  # noqa: BLE001 -- it is what must not come
            report.wrong.append(f"{self._face} {self._seed}: raised {error!r}")
            return False
        if _facts(result)[0][-1][0] != f"turn {turn} answer":
            report.wrong.append(f"{self._face} {self._seed}: turn {turn} gave {_facts(result)}")
        return True


async def trial(seed: int, face: str, server: ServerAddress, report: Report) -> None:
    """Run one trial, and add what came of it."""
    often, retries = (4, 12, 30)[seed % 3], (0, 1, 3)[seed // 3 % 3]
    with (
        lossy_proxy(server.host, server.port, seed, often) as proxy,
        open_store(server.url) as calm,
    ):
        url = f"{proxy.url}?socket_timeout={SOCKET_TIMEOUT}&retries={retries}"
        with open_store(url) as store:
            graph, clean = _graph(SessionSaver(store)), _graph(SessionSaver(calm))
            await _Trial(seed, face, proxy, graph, clean).run(report)
            calm.delete(f"{face} {seed}")
            await store.aio.close()
        report.faults += proxy.faults
