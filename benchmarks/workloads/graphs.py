"""A real graph, 100 turns: what a checkpointer adds to a turn."""

from __future__ import annotations

import time
from statistics import mean
from typing import Any, Final

from benchmarks.faces import Face
from benchmarks.graph import interview_graph
from benchmarks.runs import IN_A_ROW, Run
from benchmarks.threads import Speech
from benchmarks.workloads.conversations import MESSAGE_BYTES
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig

NAME: Final = "graph"
NOBODY: Final = "no saver"


class _Interview:
    """A conversation with a compiled graph; without a saver the caller keeps the state."""

    def __init__(self, face: Face | None, *, awaits: bool) -> None:
        self.turn_ms: list[float] = []
        self.cpu_ms: list[float] = []
        self._awaits = awaits
        self._saved = face is not None
        self._speech = Speech()
        self._graph = interview_graph(face.saver if face else None, Speech(2), MESSAGE_BYTES)
        self._config: RunnableConfig = {"configurable": {"thread_id": "benchmark-graph"}}
        self._state: dict[str, Any] = {"messages": []}

    async def turn(self) -> None:
        said = HumanMessage(self._speech.text(MESSAGE_BYTES), id=self._speech.task_id())
        given: dict[str, Any] = {"messages": [said]}
        if not self._saved:
            messages: list[AnyMessage] = [*self._state["messages"], said]
            given = self._state | {"messages": messages}
        start, cpu = time.perf_counter(), time.process_time()
        if self._awaits:
            self._state = await self._graph.ainvoke(given, self._config)
        else:
            self._state = self._graph.invoke(given, self._config)
        self.turn_ms.append((time.perf_counter() - start) * 1_000)
        self.cpu_ms.append((time.process_time() - cpu) * 1_000)
        if len(self._state["messages"]) != 2 * len(self.turn_ms):
            raise LookupError("messages were lost between two turns")


async def run(run: Run) -> None:
    """Hold one conversation with each peer, and one with no saver, turn by turn."""
    awaits, turns = run.face == "async", run.sizes.graph_turns
    alone = _Interview(None, awaits=awaits)
    async with run.stands(NAME, lambda face, _: _Interview(face, awaits=awaits)) as stands:
        for _ in range(0, turns, IN_A_ROW):
            for _ in range(IN_A_ROW):
                await alone.turn()
            await run.each(NAME, stands, lambda stand: stand.own.turn(), times=IN_A_ROW)
        base_ms = mean(alone.turn_ms)
        run.results.add(run.key(NAME, NOBODY), turns, turn_ms=base_ms)
        for stand in stands:
            mean_ms, cpu_ms = mean(stand.own.turn_ms), mean(stand.own.cpu_ms)
            run.results.add(
                run.key(NAME, stand.peer),
                turns,
                turn_ms=mean_ms,
                added_ms=mean_ms - base_ms,
                turn_cpu_ms=cpu_ms,
            )
