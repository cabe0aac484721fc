"""Two runs on one thread at once: what the documentation says of them."""

from __future__ import annotations

import asyncio
import operator
import threading
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.graph import START, StateGraph

from saver.backends import Backend
from wren_sessions import SessionSaver

THREAD: Any = {"configurable": {"thread_id": "t"}}


class Talk(TypedDict, total=False):
    """A conversation."""

    said: Annotated[list[str], operator.add]


def check(graph: Any, answers: list[Any], before: list[str]) -> None:
    """Both succeeded; the latest holds one input, and the other one is in the history."""
    branches = [[*before, text, "answer"] for text in ("one", "two")]
    assert sorted(answer["said"] for answer in answers) == branches
    latest = graph.get_state(THREAD).values["said"]
    assert latest in branches
    history = [found.values.get("said", []) for found in graph.get_state_history(THREAD)]
    assert history[0] == latest
    assert all(branch in history for branch in branches)
    assert graph.invoke({"said": ["three"]}, THREAD)["said"] == [*latest, "three", "answer"]


class AtOnce(SessionSaver):
    """A saver that lets two runs begin at the same checkpoint, whatever the scheduler does."""

    both: Any = None

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The latest checkpoint, once both have read it."""
        found = super().get_tuple(config)
        if self.both is not None:
            self.both.wait()
        return found

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The latest checkpoint, once both have read it."""
        found = await super().aget_tuple(config)
        if self.both is not None:
            await self.both.wait()
        return found


def graph_on(saver: SessionSaver) -> Any:
    """A graph that answers."""
    builder = StateGraph(Talk)
    builder.add_node("answer", lambda _: {"said": ["answer"]})
    return builder.add_edge(START, "answer").compile(checkpointer=saver)


@pytest.mark.parametrize("before", [[], ["zero", "answer"]])
def test_two_threads_at_once(backend: Backend, before: list[str]) -> None:
    """Two blocking calls, on a new thread and on one that was there."""
    saver = AtOnce(backend.store())
    graph = graph_on(saver)
    if before:
        graph.invoke({"said": ["zero"]}, THREAD)
    answers: list[Any] = []

    def say(text: str) -> None:
        answers.append(graph.invoke({"said": [text]}, THREAD))

    saver.both = threading.Barrier(2, timeout=30)
    runs = [threading.Thread(target=say, args=[text]) for text in ("one", "two")]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    saver.both = None
    check(graph, answers, before)


@pytest.mark.parametrize("before", [[], ["zero", "answer"]])
async def test_two_tasks_at_once(backend: Backend, before: list[str]) -> None:
    """Two awaited calls, on a new thread and on one that was there."""
    saver = AtOnce(backend.store())
    graph = graph_on(saver)
    if before:
        await graph.ainvoke({"said": ["zero"]}, THREAD)
    saver.both = asyncio.Barrier(2)
    said = [graph.ainvoke({"said": [text]}, THREAD) for text in ("one", "two")]
    answers = await asyncio.gather(*said)
    saver.both = None
    check(graph, answers, before)
