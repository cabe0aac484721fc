"""Graphs on every store do what they do on LangGraph's own memory."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from saver import graphs
from saver.apps import App
from saver.backends import BACKENDS, FACES, Backend, place
from saver.delayed import DELAYED
from saver.generated import Action, Layer, act, actions, layers
from saver.scenarios import DURABILITIES, SCENARIOS
from wren_sessions import MemoryStore, SessionSaver
from wren_sessions.archives import export_session, import_session
from wren_sessions.transfer import import_checkpoints

_EXPECTED: dict[tuple[str, str], list[Any]] = {}
DEEP: Final[RunnableConfig] = {"configurable": {"thread_id": "deep"}}
OVERTAKEN: Final = (
    "a_conversation",
    "several_interrupts",
    "parallel_interrupts",
    "subgraph_asks_1",
    "time_travel",
    "durability_async",
    *(name for name in SCENARIOS if name == "delta_3"),
)


async def expected(name: str, face: str) -> list[Any]:
    """What a scenario sees on LangGraph's own memory."""
    if (name, face) not in _EXPECTED:
        app = App(InMemorySaver(), face)
        await SCENARIOS[name](app)
        _EXPECTED[name, face] = app.notes
    return _EXPECTED[name, face]


def assert_equal(ours: list[Any], theirs: list[Any]) -> None:
    """Compare note by note: the first difference tells the most."""
    for number, (our, their) in enumerate(zip(ours, theirs, strict=False)):
        assert our == their, f"note {number}"
    assert len(ours) == len(theirs)


@pytest.mark.parametrize("name", sorted(SCENARIOS))
async def test_a_graph_does_what_it_does_in_memory(backend: Backend, face: str, name: str) -> None:
    """Results, states, histories, errors and all stored checkpoints are the same."""
    app = App(SessionSaver(backend.store()), face)
    await SCENARIOS[name](app)
    for _ in range(
        5
    ):  # on a busy machine, LangGraph's own threads now and then overtake each other
        if app.notes == await expected(name, face):
            return
        _EXPECTED.pop((name, face))
    assert_equal(app.notes, await expected(name, face))


@pytest.mark.parametrize("backend", ["cluster"], indirect=True)
@pytest.mark.parametrize("name", sorted(SCENARIOS))
async def test_a_graph_does_so_in_a_cluster(backend: Backend, name: str) -> None:
    """Sessions on several nodes change nothing; the asynchronous face is enough to see that."""
    app = App(SessionSaver(backend.store()), "async")
    await SCENARIOS[name](app)
    assert_equal(app.notes, await expected(name, "async"))


@pytest.mark.parametrize("name", ["customer_support_escalation", "研究助理负责收集资料" * 8])
async def test_graphs_within_graphs(backend: Backend, face: str, name: str) -> None:
    """Twelve levels ask and are answered, and move to another store: namespaces grow with each."""

    def graph(saver: BaseCheckpointSaver[Any]) -> Any:
        return graphs.nested(12, name, saver)

    app = App(SessionSaver(backend.store()), face)
    app.use(graph)
    await app.invoke({"log": ["begin"]}, DEEP)
    there = SessionSaver(MemoryStore())
    import_session(there.store, export_session(backend.store(), "deep"))
    await app.invoke(Command(resume="yes"), DEEP)
    assert app.notes[-1]["log"][-1] == "yes"
    import_checkpoints(SessionSaver(backend.store()), SessionSaver(MemoryStore()))
    moved = App(there, face)
    moved.use(graph)
    await moved.invoke(Command(resume="moved"), DEEP)
    assert moved.notes[-1]["log"][-1] == "moved"
    spaces = [found.config["configurable"]["checkpoint_ns"] for found in there.list(DEEP)]
    assert max(len(space.encode()) for space in spaces) > 750


@pytest.mark.parametrize("cache_bytes", [0, 20_000])
@pytest.mark.parametrize("name", ["durability_sync", "time_travel", "trimming_front"])
async def test_a_saver_that_forgets_does_the_same(
    backend: Backend, face: str, name: str, cache_bytes: int
) -> None:
    """What is remembered saves trips, and changes nothing else."""
    app = App(SessionSaver(backend.store(), cache_bytes=cache_bytes), face)
    await SCENARIOS[name](app)
    assert_equal(app.notes, await expected(name, face))


@pytest.mark.parametrize("slow", sorted(DELAYED))
@pytest.mark.parametrize("name", OVERTAKEN)
async def test_calls_that_overtake_each_other_change_nothing(
    backend: Backend, face: str, name: str, slow: str
) -> None:
    """A late put hides no writes, and late writes harm no checkpoint."""
    app = App(DELAYED[slow](backend.store()), face)
    await SCENARIOS[name](app)
    assert_equal(app.notes, await expected(name, face))


@pytest.mark.parametrize("name", BACKENDS)
def test_generated_graphs_do_what_they_do_in_memory(
    request: pytest.FixtureRequest, name: str
) -> None:
    """Whatever a graph is made of, and whatever is done with it, the two agree."""
    backend = Backend(name, place(name, request))
    numbers = count()

    @settings(
        max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
    )
    @given(layers, actions, st.sampled_from(FACES), st.sampled_from(DURABILITIES))
    def compare(graph: list[Layer], todo: list[Action], face: str, durability: str) -> None:
        async def run() -> None:
            store = backend.store()
            ours, theirs = App(SessionSaver(store), face), App(InMemorySaver(), face)
            thread = f"thread-{next(numbers)}"
            for app in (ours, theirs):
                await act(app, graph, todo, durability, thread)
            await store.aio.close()
            assert_equal(ours.notes, theirs.notes)

        asyncio.run(run())

    try:
        compare()
    finally:
        asyncio.run(backend.close())
