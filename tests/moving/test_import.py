"""Threads go from any checkpointer into any other, and the graph goes on as if nothing had been."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.base import WRITES_IDX_MAP, BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from moving.apps import (
    TEXT,
    THREAD,
    aheld,
    chat,
    family,
    grow_up,
    held,
    latest,
    next_step,
    sqlite_saver,
    talk,
)
from saver.backends import Backend
from wren_sessions import (
    ConfigurationError,
    ImportReport,
    MemoryStore,
    Progress,
    SessionSaver,
    aimport_checkpoints,
    import_checkpoints,
)
from wren_sessions.transfer._comparing import SPECIAL


async def moved(
    face: str, saver: BaseCheckpointSaver[Any], target: BaseCheckpointSaver[Any], **options: Any
) -> ImportReport:
    """Import by the function of a face."""
    if face == "sync":
        return import_checkpoints(saver, target, **options)
    return await aimport_checkpoints(saver, target, **options)


@pytest.fixture(scope="module")
def thousand() -> BaseCheckpointSaver[str]:
    """A thread of 1,000 checkpoints in LangGraph's SQLite saver, which waits for two answers."""
    saver = sqlite_saver()
    talk(saver, 250)
    return saver


def test_a_thread_of_1000_checkpoints_there_and_back(
    thousand: BaseCheckpointSaver[str], backend: Backend
) -> None:
    """From SQLite's saver and back: history, state, pending writes and next step are equal."""
    store = backend.store()
    here, back = SessionSaver(store), sqlite_saver()
    report = import_checkpoints(thousand, here)
    assert (report.written, report.skipped) == (1_000, 0)
    import_checkpoints(SessionSaver(store), back)
    source = list(thousand.list(THREAD))
    assert list(here.list(THREAD)) == source
    assert list(back.list(THREAD)) == source
    assert chat(here).get_state(THREAD) == chat(thousand).get_state(THREAD)
    again = sqlite_saver()  # the fixture's thread stays as it is for the other backends
    import_checkpoints(thousand, again)
    assert next_step(again) == next_step(here) == next_step(back)
    size_bytes = report.threads[0].size_bytes
    if size_bytes is not None:
        assert size_bytes < 2_000_000  # SQLite's saver has 31 MB of checkpoints


async def test_namespaces_forks_and_interrupts(backend: Backend, face: str) -> None:
    """Everything of a thread goes, and goes on, from LangGraph's memory saver and back."""
    source, store = InMemorySaver(), backend.store()
    grow_up(source)
    await moved(face, source, SessionSaver(store))
    here, back = SessionSaver(store), InMemorySaver()
    await moved(face, SessionSaver(store), back)
    expected = held(source)
    assert len({namespace for namespace, _ in expected}) > 3
    assert held(here) == expected
    assert await aheld(here) == expected
    assert held(back) == expected
    namespaces = {namespace for namespace, _ in expected}
    assert latest(here, namespaces) == latest(back, namespaces) == latest(source, namespaces)
    states = []
    for saver in (source, here, back):
        graph = family(saver)
        graph.invoke(None, THREAD)
        states.append(graph.get_state(THREAD).values)
    assert states[0] == states[1] == states[2]


async def test_an_import_takes_what_a_chat_takes(backend: Backend, face: str) -> None:
    """What checkpoints share is stored once, as if the graph had run here."""
    source, store = InMemorySaver(), backend.store()
    talk(source, 40)
    await moved(face, source, SessionSaver(store))
    imported = store.info("t")
    store.delete("t")
    talk(SessionSaver(store), 40)
    native = store.info("t")
    assert imported is not None
    assert native is not None
    if imported.size_bytes is not None and native.size_bytes is not None:
        assert imported.size_bytes <= 1.3 * native.size_bytes


async def test_a_report_tells_of_each_thread(backend: Backend, face: str) -> None:
    """All threads go unless some are named, and progress is told after every checkpoint."""
    source, store = InMemorySaver(), backend.store()
    for name in ("one", "two", "three"):
        talk(source, 2, thread={"configurable": {"thread_id": name}})
    seen: list[Progress] = []
    target = SessionSaver(store)
    some = await moved(face, source, target, threads=["two", "none"], on_progress=seen.append)
    assert [(found.thread, found.written) for found in some.threads] == [("two", 8), ("none", 0)]
    assert seen == [Progress("two", done, 8) for done in range(1, 9)]
    size_bytes = getattr(store.info("two"), "size_bytes", 0)
    # Redis counts the hash's old table for as long as it moves fields to the next one.
    assert some.threads[0].size_bytes == pytest.approx(size_bytes, rel=0.05)
    every = await moved(face, source, target)
    assert {found.thread: found.written for found in every.threads} == {
        "one": 8,
        "two": 0,
        "three": 8,
    }
    assert (every.written, every.skipped) == (16, 8)
    further = await moved(face, target, SessionSaver(MemoryStore()))
    assert sorted(found.thread for found in further.threads) == ["one", "three", "two"]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_graph_goes_on_in_the_other_saver(kind: str) -> None:
    """Versions made here are below none that the other saver makes, and the other way round."""
    other = InMemorySaver() if kind == "memory" else sqlite_saver()
    here = SessionSaver(MemoryStore())
    talk(here, 3)
    import_checkpoints(here, other)
    expected = next_step(here)
    assert next_step(other) == expected
    import_checkpoints(other, further := SessionSaver(MemoryStore()))
    graph = chat(further)
    graph.invoke({"notes": ["further"]}, THREAD)
    assert len(graph.get_state(THREAD).values["notes"]) == len(expected[1]["notes"]) + 2


class NumberSaver(InMemorySaver):
    """A saver that counts in whole numbers, as LangGraph's base class does."""

    def get_next_version(self, current: Any, channel: None) -> Any:
        """The next number."""
        return 1 if current is None else current + 1


def test_versions_that_are_numbers() -> None:
    """A thread of a saver that counts in numbers goes on here, and there again."""
    source, here, back = NumberSaver(), SessionSaver(MemoryStore()), NumberSaver()
    talk(source, 3)
    import_checkpoints(source, here)
    import_checkpoints(here, back)
    assert held(back) == held(source)
    assert next_step(here) == next_step(back) == next_step(source)


def test_special_writes_are_langgraphs() -> None:
    """The table of writes that may be replaced is the one of LangGraph."""
    assert SPECIAL == WRITES_IDX_MAP


async def test_savers_that_only_await(backend: Backend, tmp_path: Any) -> None:
    """The asynchronous function moves from and to a saver that is only awaited."""
    aio = pytest.importorskip("langgraph.checkpoint.sqlite.aio")
    source, store = InMemorySaver(), backend.store()
    talk(source, 4)
    async with aio.AsyncSqliteSaver.from_conn_string(str(tmp_path / "aio.db")) as awaited:
        await aimport_checkpoints(source, awaited)
        await aimport_checkpoints(awaited, here := SessionSaver(store))
    assert held(here) == held(source)


async def test_the_wrong_function_for_a_saver() -> None:
    """A saver without the methods of the face is told apart from a failure, and what to do."""
    with pytest.raises(ConfigurationError, match="use import_checkpoints"):
        await aimport_checkpoints(sqlite_saver(), SessionSaver(MemoryStore()))
    with pytest.raises(ConfigurationError, match="use aimport_checkpoints"):
        import_checkpoints(BaseCheckpointSaver(), SessionSaver(MemoryStore()))
    with pytest.raises(ConfigurationError, match="several ids"):
        import_checkpoints(InMemorySaver(), SessionSaver(MemoryStore()), threads="t")


def test_a_channel_that_lives_in_its_history(backend: Backend) -> None:
    """A DeltaChannel is rebuilt from the checkpoints and pending writes that came along."""
    delta = pytest.importorskip("langgraph.channels.delta", reason="LangGraph 1.0 has none")

    def graph(saver: BaseCheckpointSaver[Any]) -> Any:
        channel = delta.DeltaChannel(
            lambda items, writes: [*items, *(item for write in writes for item in write)],
            snapshot_frequency=4,
        )
        fields: Any = {"items": Annotated[list[str], channel]}
        builder = StateGraph(TypedDict("State", fields))  # type: ignore[operator]
        builder.add_node("speak", lambda state: {"items": [f"{len(state['items'])}: {TEXT}"]})
        builder.add_edge(START, "speak")
        return builder.compile(checkpointer=saver)

    source, here = InMemorySaver(), SessionSaver(backend.store())
    for _ in range(7):
        graph(source).invoke({"items": ["in"]}, THREAD)
    import_checkpoints(source, here)
    import_checkpoints(here, back := InMemorySaver())
    expected = graph(source).invoke({"items": ["next"]}, THREAD)
    assert len(expected["items"]) == 16
    assert graph(here).invoke({"items": ["next"]}, THREAD) == expected
    assert graph(back).invoke({"items": ["next"]}, THREAD) == expected
