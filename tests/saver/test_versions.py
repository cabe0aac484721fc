"""Threads that go on where another saver counts the versions of channels."""

from __future__ import annotations

import operator
from itertools import permutations
from typing import Annotated, Any, Final, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, Send, interrupt

from saver.apps import App
from saver.backends import Backend
from saver.counting import COUNTS, Alternating, Counting
from saver.scenarios import SCENARIOS
from saver.test_graphs import assert_equal, expected
from wren_sessions import MemoryStore, Sessions, SessionSaver
from wren_sessions.archives import export_session, import_session

THREAD: Final[RunnableConfig] = {"configurable": {"thread_id": "t"}}
WAYS: Final = ("ours", *COUNTS)


def saver_of(store: Any, how: str) -> SessionSaver:
    """A saver that counts in this way."""
    return SessionSaver(store) if how == "ours" else Counting(store, how)


def chat(saver: BaseCheckpointSaver[Any]) -> Any:
    """A graph that answers with the number of messages so far."""
    builder = StateGraph(MessagesState)
    builder.add_node("a", lambda state: {"messages": [("ai", f"n={len(state['messages'])}")]})
    return builder.add_edge(START, "a").compile(checkpointer=saver)


def turn(saver: BaseCheckpointSaver[Any], text: str) -> list[str]:
    """Say something; the whole conversation."""
    found = chat(saver).invoke({"messages": [("human", text)]}, THREAD)
    return [message.content for message in found["messages"]]


@pytest.mark.parametrize("ways", [*permutations(WAYS, 2)], ids=" then ".join)
def test_nothing_said_is_lost_where_two_savers_take_turns(ways: tuple[str, str]) -> None:
    """Each turn gets its answer, whoever counts, and again when the first one comes back."""
    store = MemoryStore()
    for number in range(4):
        found = turn(saver_of(store, ways[number % 2]), f"turn {number}")
        assert len(found) == 2 * number + 2
        assert found[-1] == f"n={2 * number + 1}"


def test_a_thread_of_six_runtimes(backend: Backend) -> None:
    """They take turns on one thread, three times round, each as a new process."""
    for number, way in enumerate(WAYS * 3):
        found = turn(saver_of(backend.store(), way), f"turn {number}")
        assert found[-2:] == [f"turn {number}", f"n={2 * number + 1}"]
        assert len(found) == 2 * number + 2


@pytest.mark.parametrize("name", sorted(SCENARIOS))
async def test_a_graph_does_the_same_whoever_counts(backend: Backend, face: str, name: str) -> None:
    """Subgraphs, forks, interrupts, histories: each run counts in another way than the last."""
    app = App(Alternating(backend.store()), face)
    await SCENARIOS[name](app)
    assert_equal(app.notes, await expected(name, face))


class Work(TypedDict, total=False):
    """What tasks add to."""

    log: Annotated[list[str], operator.add]


def fan_out(saver: BaseCheckpointSaver[Any]) -> Any:
    """Two tasks by `Send`, of which one asks before it answers."""

    def work(item: str) -> Work:
        return {"log": [f"{item}: {interrupt(item)}" if item == "asks" else item]}

    builder = StateGraph(Work)
    builder.add_node("plan", lambda state: {})
    builder.add_node("work", work)  # type: ignore[arg-type]
    builder.add_node("join", lambda state: {"log": [f"joined {len(state['log'])}"]})
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", lambda _: [Send("work", "asks"), Send("work", "quiet")])
    builder.add_edge("work", "join")
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("ways", [*permutations(WAYS, 2)], ids=" then ".join)
def test_sends_that_wait_are_taken_over(ways: tuple[str, str]) -> None:
    """A fan-out that was interrupted is finished by a saver that counts in another way."""
    store = MemoryStore()
    first, second = (fan_out(saver_of(store, way)) for way in ways)
    first.invoke({"log": []}, THREAD)
    assert second.get_state(THREAD).next == ("work",)
    found = second.invoke(Command(resume="yes"), THREAD)
    assert found == {"log": ["asks: yes", "quiet", "joined 2"]}
    assert first.invoke({"log": ["again"]}, THREAD).keys() >= {"log"}


@pytest.mark.parametrize("way", WAYS)
def test_a_state_saved_beside_a_graph_keeps_the_kind(way: str) -> None:
    """`Sessions` counts on from the latest version of the thread, also for a key that is new."""
    store = MemoryStore()
    turn(saver_of(store, way), "first")
    sessions = Sessions(store)
    with sessions.edit("t") as session:
        session.state["messages"] = session.state["messages"][:1]
        session.state["more"] = 1
    assert turn(saver_of(store, way), "second") == ["first", "second", "n=2"]


@pytest.mark.parametrize("way", WAYS)
def test_a_fork_counts_on_from_where_it_was_made(way: str) -> None:
    """An earlier checkpoint, read by a saver that counts in another way, is gone on from."""
    store = MemoryStore()
    for number, by in enumerate(("ours", way)):
        turn(saver_of(store, by), f"turn {number}")
    for by in ("ours", way):
        graph = chat(saver_of(store, by))
        first = [state for state in graph.get_state_history(THREAD) if not state.next][-1]
        fork = graph.update_state(first.config, {"messages": [("human", "fork")]}, as_node="a")
        found = graph.invoke({"messages": [("human", "b")]}, fork)
        assert [message.content for message in found["messages"]][2:] == ["fork", "b", "n=4"]


@pytest.mark.parametrize("ways", [*permutations(WAYS, 2)], ids=" then ".join)
def test_a_run_at_an_earlier_checkpoint_of_another_kind(ways: tuple[str, str]) -> None:
    """LangGraph reads the latest checkpoint too, which another saver wrote: they must compare."""
    store = MemoryStore()
    for number, way in enumerate(ways):
        turn(saver_of(store, way), f"turn {number}")
    for way in WAYS:
        graph = chat(saver_of(store, way))
        history = [state for state in graph.get_state_history(THREAD) if not state.next]
        for state in (history[-1], history[-2]):
            again = chat(saver_of(store, way))
            found = again.invoke({"messages": [("human", "once more")]}, state.config)
            assert len(found["messages"]) == len(state.values["messages"]) + 2


def test_versions_of_a_thread_come_back_as_one_kind() -> None:
    """Text of any width has 32 digits; numbers stay, unless there is text beside them."""

    def read(**versions: Any) -> Any:
        saver = SessionSaver(MemoryStore())
        checkpoint = _checkpoint(versions)
        at = saver.put(
            {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}, checkpoint, {}, {}
        )
        found = saver.get_tuple(at)
        assert found is not None
        assert found.checkpoint["versions_seen"] == {"a": found.checkpoint["channel_versions"]}
        return list(found.checkpoint["channel_versions"].values())

    assert read(a="0000000003.abcdefgh", b="4") == [f"{3:032}.abcdefgh", f"{4:032}"]
    assert read(a=3, b=4.5, c=True) == [3, 4.5, True]
    assert read(a=3, b=4.5, c="0000000005.x") == [f"{3:032}", f"{4:032}.5", f"{5:032}.x"]
    assert read(a="", b="x.1", c="²") == ["", "x.1", "²"]
    assert read(a=f"{7:040}.x", b=f"{10**31}.x") == [f"{7:032}.x", f"{10**31}.x"]


def _checkpoint(versions: dict[str, Any]) -> Any:
    """A checkpoint whose one node has seen all that is there."""
    return {
        "v": 4,
        "id": "c1",
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": {},
        "channel_versions": versions,
        "versions_seen": {"a": dict(versions)},
    }


def test_an_archive_holds_versions_as_before() -> None:
    """Versions are written short, and read long: so archives of every version go either way."""
    store, other = MemoryStore(), MemoryStore()
    turn(SessionSaver(store), "first")
    lines = list(export_session(store, "t"))
    assert '"0000000001.' in "".join(lines)
    import_session(other, lines)
    assert turn(Counting(other, "langgraph"), "second")[-1] == "n=3"
