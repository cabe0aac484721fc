"""Pruning, retention, runs, copies: what goes, what stays, and that the room is given back."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt

from saver.backends import Backend
from wren_sessions import (
    ConfigurationError,
    ConflictError,
    InvalidSessionIdError,
    MemoryStore,
    Retention,
    SessionSaver,
)
from wren_sessions.checkpoints.runs import MAX_RUNS, MAX_SESSIONS, Runs
from wren_sessions.records import Commit, Committed, Prune
from wren_sessions.testing.build import add, pending, put, write

THREAD: Any = {"configurable": {"thread_id": "t"}}
WORDS = "some words that take room in the arena " * 40


class Talk(TypedDict, total=False):
    """A conversation."""

    items: Annotated[list[str], operator.add]
    turn: int


def speak(state: Talk) -> Talk:
    """Say something of some length."""
    return {"items": [f"{len(state.get('items', []))} {WORDS}"], "turn": state.get("turn", 0) + 1}


def wait(state: Talk) -> Talk:
    """Wait for an answer."""
    return {"items": [interrupt(f"after {state.get('turn')}")]}


def chat(saver: SessionSaver) -> Any:
    """A graph that speaks once."""
    builder = StateGraph(Talk)
    builder.add_node("speak", speak)
    builder.add_edge(START, "speak")
    return builder.compile(checkpointer=saver)


def nested(saver: SessionSaver) -> Any:
    """A graph whose work is done in a subgraph, in one task per turn."""
    inner = StateGraph(Talk)
    inner.add_node("speak", speak)
    inner.add_edge(START, "speak")
    builder = StateGraph(Talk)
    builder.add_node("inner", inner.compile())
    builder.add_edge(START, "inner")
    return builder.compile(checkpointer=saver)


def ids(saver: SessionSaver, **where: Any) -> list[str]:
    """The ids of a thread's checkpoints, newest first."""
    return [
        item.checkpoint["id"]
        for item in saver.list({"configurable": where or THREAD["configurable"]})
    ]


def size(saver: SessionSaver) -> int:
    """What the session takes."""
    info = saver.store.info("t")
    assert info is not None
    assert info.size_bytes is not None
    return info.size_bytes


@pytest.fixture
def plain(backend: Backend) -> SessionSaver:
    """A saver that keeps everything."""
    return SessionSaver(backend.store())


async def test_writes_whose_checkpoint_never_came_go(backend: Backend) -> None:
    """A process that ends between the writes and their checkpoint leaves nothing for good."""
    store = backend.store()
    saver = SessionSaver(store)
    chat(saver).invoke({"turn": 0}, THREAD)
    early = (write("task", 0, b"early"), write("task", -1, WORDS.encode(), replaces=True))
    never, again = str(uuid6()), str(uuid6())
    for lost in (never, again):
        store.commit(add(lost, *early[:1], session="t"))
        store.commit(add(lost, *early, session="t"))
    chat(saver).invoke({"turn": 0}, THREAD)
    to_come = str(uuid6())
    store.commit(add(to_come, *early, session="t"))
    saver.prune(["t"], strategy="keep_latest")
    for lost in (never, again):
        store.commit(put(lost, session="t"))
        assert await pending(store.aio, lost, session="t") == {}
    store.commit(put(to_come, session="t"))
    assert len(await pending(store.aio, to_come, session="t")) == len(early)


def test_the_last_checkpoints_are_kept(plain: SessionSaver) -> None:
    """keep_last keeps so many, the state is as before, and the graph goes on."""
    graph = chat(plain)
    for _ in range(6):
        graph.invoke({"turn": 0}, THREAD)
    before, newest = graph.get_state(THREAD).values, ids(plain)[:3]
    plain.prune(["t"], strategy="keep_last", keep_last=3)
    assert ids(plain) == newest
    assert graph.get_state(THREAD).values == before
    graph.invoke({"turn": 0}, THREAD)
    assert len(graph.get_state(THREAD).values["items"]) == 7


def test_room_is_given_back(plain: SessionSaver) -> None:
    """What only dropped checkpoints referred to is gone from the store."""
    graph = chat(plain)
    for turn in range(10):
        graph.update_state(THREAD, {"items": [f"{turn} {WORDS * 5}"]}, as_node="speak")
    last: Any = {"id": "ffffffff-0000-6000-8000-000000000000", "channel_values": {}}
    plain.put(
        graph.get_state(THREAD).config,
        _latest(plain) | last,
        {"source": "update", "step": 99},
        dict.fromkeys(_latest(plain)["channel_versions"], "0000009999.zzzzzzzz"),
    )
    full = size(plain)
    plain.prune(["t"])
    assert size(plain) < full / 5
    assert len(ids(plain)) == 1


def _latest(saver: SessionSaver) -> Any:
    found = saver.get_tuple(THREAD)
    assert found is not None
    return found.checkpoint


def test_a_pending_interrupt_is_never_broken(plain: SessionSaver) -> None:
    """What waits for an answer is answered after a prune."""
    builder = StateGraph(Talk)
    builder.add_node("speak", speak)
    builder.add_node("wait", wait)
    builder.add_edge(START, "speak")
    builder.add_edge("speak", "wait")
    graph = builder.compile(checkpointer=plain)
    graph.invoke({"turn": 0}, THREAD)
    plain.prune(["t"])
    assert graph.get_state(THREAD).interrupts[0].value == "after 1"
    graph.invoke(Command(resume="yes"), THREAD)
    assert graph.get_state(THREAD).values["items"][-1] == "yes"


def test_a_forks_head_is_kept(plain: SessionSaver) -> None:
    """The latest checkpoint is the head, also where a higher id is on another branch."""
    graph = chat(plain)
    for _ in range(3):
        graph.invoke({"turn": 0}, THREAD)
    old = list(graph.get_state_history(THREAD))[4]
    graph.update_state(old.config, {"turn": 77}, as_node="speak")
    plain.prune(["t"])
    assert graph.get_state(THREAD).values["turn"] == 77


def test_namespaces_of_single_tasks_go_with_their_checkpoint(plain: SessionSaver) -> None:
    """keep_last drops a task's subgraph with the step that ran it; keep_latest keeps each one."""
    graph = nested(plain)
    for _ in range(5):
        graph.invoke({"turn": 0}, THREAD)
    assert len(plain.store.heads("t")) == 6
    plain.prune(["t"])
    assert len(plain.store.heads("t")) == 6
    plain.prune(["t"], strategy="keep_last", keep_last=1)
    assert len(plain.store.heads("t")) <= 2
    graph.invoke({"turn": 0}, THREAD)
    assert graph.get_state(THREAD).values["turn"] == 1


@pytest.mark.parametrize("keep_last", [1, 2, 3])
@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_retention_keeps_a_subgraph_that_waits_for_an_answer(
    backend: Backend, durability: str, keep_last: int
) -> None:
    """Also where its checkpoint is stored before the one that ran it."""
    spoken: list[int] = []

    def note(state: Talk) -> Talk:
        spoken.append(state.get("turn", 0))
        return speak(state)

    inner = StateGraph(Talk)
    inner.add_node("speak", note)
    inner.add_node("wait", wait)
    inner.add_edge(START, "speak")
    inner.add_edge("speak", "wait")
    builder = StateGraph(Talk)
    builder.add_node("inner", inner.compile())
    builder.add_edge(START, "inner")
    retention = Retention(keep_last=keep_last)
    graph = builder.compile(checkpointer=SessionSaver(backend.store(), retention=retention))
    options: Any = {"durability": durability}
    for turn in range(4):
        graph.invoke({"turn": turn}, THREAD, **options)
        graph.invoke(Command(resume="answer"), THREAD, **options)
    assert spoken == [0, 1, 2, 3]
    heads = backend.store().heads("t")
    assert len([namespace for namespace, _ in heads if namespace]) <= keep_last + 1


def test_retention_keeps_sessions_small(backend: Backend) -> None:
    """A saver that retains ten steps never has more than twice as many, and loses no state."""
    saver = SessionSaver(backend.store(), retention=Retention(keep_last=10))
    graph = chat(saver)
    for _ in range(30):
        graph.invoke({"turn": 0}, THREAD)
        assert len(ids(saver)) <= 20
    assert len(graph.get_state(THREAD).values["items"]) == 30


async def test_retention_works_asynchronously(backend: Backend) -> None:
    """The same for a graph that is awaited, with parallel tasks."""
    saver = SessionSaver(backend.store(), retention=Retention(keep_last=2))
    builder = StateGraph(Talk)
    builder.add_node("speak", lambda state: {"items": speak(state)["items"]})
    builder.add_conditional_edges(START, lambda _: [Send("speak", {})] * 4, ["speak"])
    graph = builder.compile(checkpointer=saver)
    for _ in range(8):
        await graph.ainvoke({}, THREAD)
    assert len((await graph.aget_state(THREAD)).values["items"]) == 32
    assert len([item async for item in saver.alist(THREAD)]) <= 4


def test_steps_side_by_side_do_not_prune_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one prunes, another is stored and does not; the next one does."""
    saver = SessionSaver(MemoryStore(), retention=Retention(keep_last=1))
    graph, original, during = chat(saver), saver.store.prune, list[int]()

    def put_meanwhile(prune: Prune) -> Committed:
        during.append(len(ids(saver)))
        if len(during) == 1:
            at: Any = {"configurable": {**THREAD["configurable"], "checkpoint_ns": "other"}}
            saver.put(at, {**empty_checkpoint(), "id": "c1"}, {}, {})
            assert len(during) == 1
        return original(prune)

    graph.invoke({"turn": 0}, THREAD)
    monkeypatch.setattr(saver.store, "prune", put_meanwhile)
    graph.invoke({"turn": 0}, THREAD)
    assert len(during) > 1
    assert len(ids(saver, thread_id="t", checkpoint_ns="")) == 1


def test_checkpoints_of_runs_are_deleted(plain: SessionSaver) -> None:
    """Those of other runs stay, and a thread that loses its last one is gone."""
    graph = chat(plain)
    for run in ("a", "b"):
        graph.invoke({"turn": 0}, {**THREAD, "metadata": {"run_id": run}})
    other: Any = {"configurable": {"thread_id": "other"}, "metadata": {"run_id": "b"}}
    graph.invoke({"turn": 0}, other)
    plain.delete_for_runs(["b", "no such run"])
    runs = {item.metadata.get("run_id") for item in plain.list(THREAD)}
    assert runs == {"a"}
    assert plain.store.info("other") is None
    plain.delete_for_runs([])
    assert ids(plain)


class Counted(SessionSaver):
    """A saver that counts how often the store is walked."""

    walks = 0

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Begin to count."""
        listed = self.store.list_sessions

        def walked(*args: Any) -> Any:
            self.walks += 1
            return listed(*args)

        monkeypatch.setattr(self.store, "list_sessions", walked)


def _runs(saver: SessionSaver) -> set[tuple[str, Any]]:
    """The threads and runs of all checkpoints."""
    return {
        (item.config["configurable"]["thread_id"], item.metadata.get("run_id"))
        for item in saver.list(None)
    }


def test_runs_of_this_saver_are_found_without_a_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their sessions are known, those of copies too; runs of others are looked for everywhere."""
    store = MemoryStore()
    here, other = Counted(store), SessionSaver(store)
    here.watch(monkeypatch)
    made = ((here, "t", "a"), (here, "t", "b"), (here, "u", "a"), (other, "v", "c"))
    for saver, name, run in made:
        config: Any = {"configurable": {"thread_id": name}, "metadata": {"run_id": run}}
        chat(saver).invoke({"turn": 0}, config)
    here.copy_thread("t", "copy")
    here.delete_for_runs(["a"])
    assert here.walks == 0
    left = _runs(other)
    assert left == {("t", "b"), ("copy", "b"), ("v", "c")}
    here.walks = 0
    here.delete_for_runs(["b", "c"])
    assert here.walks > 0
    assert _runs(other) == set()


def test_what_is_remembered_of_runs_is_bounded() -> None:
    """A run that wrote to many sessions, or long ago, is unknown: it is looked for everywhere."""
    runs = Runs()
    for number in range(MAX_SESSIONS):
        runs.wrote("wide", f"s{number}")
    runs.wrote(None, "s")
    assert len(runs.sessions(["wide"]) or ()) == MAX_SESSIONS
    runs.wrote("wide", "one more")
    assert runs.sessions(["wide"]) is None
    runs.wrote("wide", "s1")
    assert runs.sessions(["wide"]) is None
    for number in range(MAX_RUNS):
        runs.wrote(f"r{number}", "s")
    assert runs.sessions(["r0", "r1"]) == {"s"}
    runs.wrote("last", "s")
    assert runs.sessions(["r0"]) is None
    assert runs.sessions([]) == set()


def test_one_text_is_not_several_ids(plain: SessionSaver) -> None:
    """A text where a list belongs is told apart, and nothing is dropped."""
    chat(plain).invoke({"turn": 0}, THREAD)
    for call in (plain.prune, plain.delete_for_runs):
        with pytest.raises(TypeError, match=r"not one text: \['t'\]"):
            call("t")
    with pytest.raises(InvalidSessionIdError):
        plain.prune(["t", 5.5], strategy="delete")  # type: ignore[list-item]
    assert ids(plain)


def test_a_thread_is_copied_whole(plain: SessionSaver) -> None:
    """History, pending writes and all; one that is not there is no error."""
    graph = chat(plain)
    graph.invoke({"turn": 0}, THREAD)
    plain.copy_thread("t", "copy")
    plain.copy_thread("none", "never")
    assert ids(plain, thread_id="copy") == ids(plain)
    assert plain.store.info("never") is None
    copy: Any = {"configurable": {"thread_id": "copy"}}
    graph.invoke({"turn": 0}, copy)
    assert len(graph.get_state(copy).values["items"]) == 2
    assert len(graph.get_state(THREAD).values["items"]) == 1


def test_a_way_to_prune_that_makes_no_sense_is_refused(plain: SessionSaver) -> None:
    """Unknown strategies and counts are named, and nothing is dropped."""
    chat(plain).invoke({"turn": 0}, THREAD)
    before = ids(plain)
    with pytest.raises(ConfigurationError, match="'everything' is not a strategy of prune"):
        plain.prune(["t"], strategy="everything")
    for count in (0, -1, True, 2.5):
        with pytest.raises(ConfigurationError, match="keep_last must be a whole number"):
            plain.prune(["t"], strategy="keep_last", keep_last=count)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="keep_last must be a whole number"):
            Retention(keep_last=count)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="does not go with"):
        plain.prune(["t"], strategy="delete", keep_last=2)
    with pytest.raises(ConfigurationError, match="does not go with"):
        plain.prune(["t"], strategy="delete_all", keep_last=2)
    assert ids(plain) == before
    plain.prune(["t", "none"], strategy="delete")
    assert plain.store.info("t") is None


def test_a_prune_gives_way_to_writers(plain: SessionSaver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that is written between each look and its prune keeps everything."""
    graph = chat(plain)
    graph.invoke({"turn": 0}, THREAD)
    before = ids(plain)
    original = plain.store.prune

    def written_meanwhile(prune: Prune) -> Committed:
        plain.store.commit(Commit(session="t", token=f"{prune.revision}", state=b"{}"))
        return original(prune)

    monkeypatch.setattr(plain.store, "prune", written_meanwhile)
    with pytest.raises(ConflictError, match="others kept writing it"):
        plain.prune(["t"])
    assert ids(plain) == before
