"""What a session waits for, and whether it failed: the same wherever the command tells it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt

from cli.running import Cli
from wren_sessions import Sessions, SessionSaver, open_store

MANY: Final = 230


class State(TypedDict, total=False):
    """What a graph finds out."""

    age: str
    is_complete: bool


def asks_again(_: State) -> State:
    """Ask until the answer is a number."""
    while not (age := interrupt("Your age?")).isdigit():
        pass
    return {"age": age}


def raises_then(_: State) -> State:
    """Raise once it was answered."""
    raise ValueError(interrupt("Your age?"))


def graph_of(saver: SessionSaver, node: Any) -> Any:
    """A graph of one node."""
    builder = StateGraph(State)
    builder.add_node("ask", node)
    return builder.add_edge(START, "ask").compile(saver)


def thread(name: str) -> Any:
    """A thread's config."""
    return {"configurable": {"thread_id": name}}


@pytest.fixture(params=["file", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store."""
    if request.param == "redis":
        found: str = request.getfixturevalue("redis_url")
        return found
    return f"file:{tmp_path}/sessions.db"


def statuses(cli: Cli, url: str, *options: str) -> dict[str, str | None]:
    """The status of each session listed."""
    return {row["id"]: row["status"] for row in cli("list", "--json", *options, url=url).json}


@pytest.mark.parametrize("answers", [0, 1, 3])
def test_a_question_that_is_asked_again_waits(cli: Cli, place: str, answers: int) -> None:
    """In list, show, history and conversation; and delete does not take it for another."""
    with SessionSaver.from_url(place) as saver:
        graph = graph_of(saver, asks_again)
        graph.invoke({}, thread("t"))
        for _ in range(answers):
            graph.invoke(Command(resume="old"), thread("t"))
        asked = [found.value for found in graph.get_state(thread("t")).interrupts]
        assert Sessions(saver.store).load("t").waiting
    assert asked == ["Your age?"]
    assert statuses(cli, place) == {"t": "waiting"}
    assert statuses(cli, place, "--status", "waiting") == {"t": "waiting"}
    assert statuses(cli, place, "--status", "done") == {}
    (shown,) = cli("show", "t", "--json", url=place).json
    assert (shown["status"], shown["interrupts"]) == ("waiting", asked)
    assert cli("history", "t", "--json", url=place).json[0]["waits_for"] != []
    assert cli("conversation", "t", "--json", url=place).json[-1]["pending"]
    assert cli("delete", "--status", "done", "--dry-run", "--json", url=place).out == ""
    (chosen,) = cli("delete", "--status", "waiting", "--dry-run", "--json", url=place).json
    assert chosen["id"] == "t"


def test_an_answer_that_is_taken_ends_the_waiting(cli: Cli, place: str) -> None:
    """A graph that went on waits for nothing."""
    with SessionSaver.from_url(place) as saver:
        graph = graph_of(saver, asks_again)
        graph.invoke({}, thread("t"))
        for answer in ("old", "44"):
            graph.invoke(Command(resume=answer), thread("t"))
        assert not Sessions(saver.store).load("t").waiting
    assert statuses(cli, place) == {"t": "done"}
    (shown,) = cli("show", "t", "--json", url=place).json
    assert (shown["interrupts"], shown["errors"]) == ([], [])


def test_one_of_several_tasks_that_waits_is_enough(cli: Cli, place: str) -> None:
    """Where one task is answered, finished or failed, the others still wait."""

    def ask(state: Any) -> State:
        return {"age": interrupt(state["question"])}

    builder = StateGraph(State).add_node("ask", ask)
    builder.add_conditional_edges(
        START, lambda _: [Send("ask", {"question": name}) for name in ("one", "two")], ["ask"]
    )
    with SessionSaver.from_url(place) as saver:
        graph = builder.compile(saver)
        graph.invoke({}, thread("t"))
        first, second = graph.get_state(thread("t")).interrupts
        graph.invoke(Command(resume={first.id: "x"}), thread("t"))
    (shown,) = cli("show", "t", "--json", url=place).json
    assert (shown["status"], shown["interrupts"]) == ("waiting", [second.value])


def test_a_node_that_raises_once_it_was_answered_has_failed(cli: Cli, place: str) -> None:
    """It need not be asked again, so it does not count as waiting."""
    with SessionSaver.from_url(place) as saver:
        graph = graph_of(saver, raises_then)
        graph.invoke({}, thread("t"))
        with pytest.raises(ValueError, match="44"):
            graph.invoke(Command(resume="44"), thread("t"))
    assert statuses(cli, place) == {"t": "failed"}
    assert statuses(cli, place, "--status", "failed") == {"t": "failed"}


def test_who_waits_is_not_complete(cli: Cli, place: str) -> None:
    """What the app called complete and then went on with is not deleted as complete."""
    with SessionSaver.from_url(place) as saver:
        graph = graph_of(saver, asks_again)
        graph.invoke({"is_complete": True}, thread("t"))
        Sessions(saver.store).save("done", {"is_complete": True})
    assert statuses(cli, place) == {"t": "waiting", "done": "complete"}
    assert statuses(cli, place, "--status", "complete") == {"done": "complete"}
    (chosen,) = cli("delete", "--status", "complete", "--dry-run", "--json", url=place).json
    assert chosen["id"] == "done"


@pytest.mark.parametrize("options", [[], ["--sort", "id"]])
def test_all_of_many_sessions_are_listed_with_their_status(
    cli: Cli, place: str, options: list[str]
) -> None:
    """``--limit 0`` tells who waits and who failed, and how large they are."""
    with open_store(place, dotenv=False) as store:
        sessions = Sessions(store)
        for number in range(MANY):
            sessions.save(f"s{number}", {"n": number})
        saver = SessionSaver(store)
        graph_of(saver, asks_again).invoke({}, thread("waits"))
        failing = graph_of(saver, raises_then)
        failing.invoke({}, thread("fails"))
        with pytest.raises(ValueError, match="44"):
            failing.invoke(Command(resume="44"), thread("fails"))
    rows = cli("list", "--limit", "0", "--json", *options, url=place).json
    found = {row["id"]: row["status"] for row in rows}
    assert (found.pop("waits"), found.pop("fails")) == ("waiting", "failed")
    assert found == {f"s{number}": "done" for number in range(MANY)}
    assert all(row["size_bytes"] for row in rows)
    text = cli("list", "-n", "0", *options, url=place)
    assert sum(line.endswith("waiting") for line in text.lines) == 1


def test_a_status_that_was_not_asked_for_is_left_out(
    cli: Cli, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is called open that may be waiting: of more sessions than that, or on request."""
    monkeypatch.setattr("wren_sessions.cli.listing.DETAILED", 3)
    with open_store(place, dotenv=False) as store:
        sessions = Sessions(store)
        for number in range(4):
            sessions.save(f"s{number}", {"n": number})
        sessions.create("new")
    found = cli("list", "--limit", "0", url=place)
    assert "Sizes and status are not shown: add --details" in found.err
    for options in (["--limit", "0"], ["--limit", "2", "--no-details"], ["--sort", "id"]):
        listed = statuses(cli, place, *options)
        assert {status for id_, status in listed.items() if id_ != "new"} == {None}
    assert statuses(cli, place, "--limit", "0")["new"] == "empty"
    assert set(statuses(cli, place, "--limit", "0", "--details").values()) == {"done", "empty"}
    assert None not in statuses(cli, place, "--limit", "1").values()


def sending(_: State) -> list[Send]:
    """Two tasks of one node."""
    return [Send("last", {}), Send("last", {})]


@pytest.mark.parametrize("kind", ["edge", "join", "send"])
def test_whether_a_graph_has_more_to_do_is_told_of_any_graph(
    cli: Cli, place: str, kind: str
) -> None:
    """Running while a node is to run next, and done after it, as LangGraph's own state says."""
    builder = StateGraph(State)
    for name in ("one", "two", "last"):
        builder.add_node(name, lambda _: {})
    builder.add_edge(START, "one").add_edge(START, "two")
    if kind == "edge":
        builder.add_edge("one", "last")
    elif kind == "join":
        builder.add_edge(["one", "two"], "last")
    else:
        builder.add_conditional_edges("one", sending, ["last"])
    with SessionSaver.from_url(place) as saver:
        graph = builder.compile(saver, interrupt_before=["last"])
        graph.invoke({"age": "44"}, thread("t"))
        (shown,) = cli("show", "t", "--json", url=place).json
        assert shown["next"] == [*graph.get_state(thread("t")).next]
        assert statuses(cli, place, "--status", "running") == {"t": "running"}
        graph.invoke(None, thread("t"))
        assert graph.get_state(thread("t")).next == ()
    assert statuses(cli, place) == {"t": "done"}
    assert cli("show", "t", "--json", url=place).json[0]["next"] == []
