"""A real graph, 100 turns: what a checkpointer adds to a turn, at its beginning and at its end.

What it adds is measured above a saver that only keeps references. Beginnings are held again and
again, each with a thread of its own, after a turn that warms everything up.
"""

from __future__ import annotations

import time
from statistics import mean, median
from typing import Any, Final

from benchmarks.faces import Face
from benchmarks.graph import interview_graph
from benchmarks.peers import REFERENCE
from benchmarks.runs import IN_A_ROW, Run
from benchmarks.threads import Speech
from benchmarks.workloads.conversations import MESSAGE_BYTES
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig

NAME: Final = "graph"
SHORT: Final = 10
"""Turns at the beginning of a conversation, and at its end, that are told apart."""


class _Interview:
    """A conversation with a compiled graph."""

    def __init__(self, face: Face) -> None:
        self.turn_ms: list[float] = []
        self.cpu_ms: list[float] = []
        self.first_ms: list[float] = []
        self._face = face
        self._speech = Speech()
        self._graph = interview_graph(face.saver, Speech(2), MESSAGE_BYTES)
        self._begun = 0
        self.begin()

    def begin(self) -> None:
        """Go on with a thread of its own."""
        self._begun += 1
        thread = f"benchmark-graph-{self._begun}"
        self._config: RunnableConfig = {"configurable": {"thread_id": thread}}
        self.turn_ms, self.cpu_ms = [], []

    async def turn(self) -> None:
        said = HumanMessage(self._speech.text(MESSAGE_BYTES), id=self._speech.task_id())
        given: dict[str, Any] = {"messages": [said]}
        start, cpu = time.perf_counter(), time.process_time()
        if self._face.awaits:
            state = await self._graph.ainvoke(given, self._config)
        else:
            state = self._graph.invoke(given, self._config)
        self.turn_ms.append((time.perf_counter() - start) * 1_000)
        self.cpu_ms.append((time.process_time() - cpu) * 1_000)
        if len(state["messages"]) != 2 * len(self.turn_ms):
            raise LookupError("messages were lost between two turns")

    async def short(self) -> None:
        """The first turns of another conversation."""
        self.begin()
        for _ in range(SHORT):
            await self.turn()
        self.first_ms += self.turn_ms


async def run(run: Run) -> None:
    """Hold short conversations with each peer, then a long one, a few turns at a time."""
    peers, turns = [REFERENCE, *run.peers], run.sizes.graph_turns
    async with run.stands(NAME, lambda face, _: _Interview(face), peers=peers) as stands:
        await run.each(NAME, stands, lambda stand: stand.own.turn())
        for _ in range(run.sizes.short_graphs):
            await run.each(NAME, stands, lambda stand: stand.own.short())
        for stand in stands:
            stand.own.begin()
        for _ in range(0, turns, IN_A_ROW):
            await run.each(NAME, stands, lambda stand: stand.own.turn(), times=IN_A_ROW)
        found = {stand.peer: _figures(stand.own) for stand in stands}
    for peer, figures in found.items():
        added = {}
        if base := found.get(REFERENCE):
            added = {name.replace("_ms", "_added_ms"): figures[name] - base[name] for name in base}
        run.results.add(run.key(NAME, peer), turns, **figures, **added)


def _figures(talk: _Interview) -> dict[str, float]:
    return {
        "turn_ms": mean(talk.turn_ms),
        "first_ms": median(talk.first_ms),
        "last_ms": median(talk.turn_ms[-SHORT:]),
        "turn_cpu_ms": mean(talk.cpu_ms),
    }
