"""Changing sessions from a page: answers, forks, pins, lifetimes, edits and deletions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from starlette.testclient import TestClient

from remedies.proposals import tries
from web.asking import client_of, send, words
from web.graphs import approving, asking
from wren_sessions import ConfigurationError, MemoryStore, Sessions, SessionSaver
from wren_sessions.langgraph.resuming import Resuming
from wren_sessions.protocols import SessionStore
from wren_sessions.web import app

CONFIG: Any = {"configurable": {"thread_id": "talk"}}


def begin(builder: Any, store: SessionStore) -> None:
    """A session that waits."""
    graph = builder.compile(checkpointer=SessionSaver(store))
    graph.invoke({"messages": [HumanMessage("Hello")]}, CONFIG)


@pytest.fixture
def memory() -> MemoryStore:
    """A store with a session that waits for an answer."""
    store = MemoryStore()
    begin(asking, store)
    return store


@pytest.fixture
def answering(memory: MemoryStore) -> Iterator[TestClient]:
    """A client of an app with that graph."""
    with client_of(memory, write=True, graph=asking) as client:
        yield client


def question_in(text: str) -> str:
    """The id of the question that a page asks."""
    return text.partition('name="question" value="')[2].partition('"')[0]


def settled(client: TestClient, session: str = "talk") -> str:
    """What the page of a session says once no run goes on."""
    deadline = time.monotonic() + 20
    while "the graph goes on" in (found := words(client.get(f"/session?id={session}"))):
        assert time.monotonic() < deadline
    return found


def answer(client: TestClient, **fields: str) -> Any:
    """Answer the question that the page asks."""
    question = question_in(client.get("/session?id=talk").text)
    return send(client, "answer", id="talk", question=question, **fields)


def test_an_answer_lets_the_graph_go_on(answering: TestClient, memory: MemoryStore) -> None:
    """The page leads back to the session, where the answer has its effect."""
    done = answer(answering, answer="fine <b>& well")
    assert (done.status_code, done.headers["location"]) == (303, "session?id=talk")
    assert "You said fine <b>& well." in settled(answering)
    assert Sessions(memory).load("talk").state["answers"] == ["fine <b>& well"]
    assert "Nobody is waited for." in words(answering.get("/inbox"))


def test_an_answer_may_be_json(answering: TestClient, memory: MemoryStore) -> None:
    """Where the form says so; what is no JSON is refused, and the question still waits."""
    refused = answer(answering, answer="{fine", json="1")
    assert refused.status_code == 400
    assert "not valid JSON" in words(refused)
    assert answer(answering, answer='{"mood": ["fine", 1]}', json="1").status_code == 303
    settled(answering)
    assert Sessions(memory).load("talk").state["answers"] == [{"mood": ["fine", 1]}]


@tries(
    "was not decided on: choose approve, edit or reject for each",
    'is not valid JSON: write text in double quotes, such as "fine"',
)
def test_each_call_is_decided_on() -> None:
    """Approved, edited or rejected with a reason: as LangChain's middleware takes it."""
    store = MemoryStore()
    begin(approving, store)
    with client_of(store, write=True, graph=approving) as client:
        undecided = answer(client, **{"decision-0": "approve"})
        assert undecided.status_code == 400
        assert "call 2 was not decided on" in words(undecided)
        bad = answer(client, **{"decision-0": "edit", "args-0": "to ann", "decision-1": "reject"})
        assert "double quotes" in words(bad)
        fields = {
            "decision-0": "edit",
            "args-0": '{"to": "bob"}',
            "decision-1": "reject",
            "message-1": "never",
        }
        assert answer(client, **fields).status_code == 303
        settled(client)
    (decided,) = Sessions(store).load("talk").state["answers"]
    assert decided == {
        "decisions": [
            {"type": "edit", "edited_action": {"name": "send_mail", "args": {"to": "bob"}}},
            {"type": "reject", "message": "never"},
        ]
    }


@tries("no longer waits for this answer: load its page again")
def test_an_answer_counts_once(answering: TestClient) -> None:
    """Whoever comes second is told, and nothing runs."""
    question = question_in(answering.get("/session?id=talk").text)
    answer(answering, answer="first")
    settled(answering)
    late = send(answering, "answer", id="talk", question=question, answer="second")
    assert late.status_code == 409
    assert "no longer waits" in words(late)
    page = answering.get("/session?id=talk")
    assert page.status_code == 200
    assert "second" not in words(page)


def test_a_run_that_fails_is_told(answering: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it raised; it can be run again, and is not asked what was answered already."""
    answer(answering, answer="fail")
    assert "The run failed: RuntimeError: the model is down" in settled(answering)
    text = answering.get("/session?id=talk").text
    assert 'action="answer"' not in text
    assert 'action="again"' in text
    monkeypatch.setattr("web.graphs.FAILS", "")
    assert send(answering, "again", id="talk").status_code == 303
    assert "You said fail." in settled(answering)


def test_one_run_of_a_session_at_a_time(memory: MemoryStore) -> None:
    """A second answer meanwhile is refused, and does not disturb the first."""
    from wren_sessions.errors import ConflictError
    from wren_sessions.web._runs import Runs

    async def both() -> None:
        runs, held = Runs(), asyncio.Event()
        for _ in range(2):
            runs.start("s", held.wait)
            with pytest.raises(ConflictError, match="runs already"):
                runs.start("s", held.wait)
            assert runs.state("s") == "running"
            held.set()
            await asyncio.gather(*runs._tasks.values())
            assert not runs.state("s")

    asyncio.run(both())


@tries("run wren-sessions web with --app module:graph")
def test_without_a_graph_the_page_says_what_to_run(memory: MemoryStore) -> None:
    """There is no form to answer with, and an answer that comes all the same is refused."""
    with client_of(memory, write=True) as client:
        text = client.get("/session?id=talk").text
        assert 'action="answer"' not in text
        assert "--app module:graph" in text
        assert send(client, "answer", id="talk", answer="x").status_code == 400
    with client_of(memory, write=True, graph=asking) as client:
        assert answer(client, answer="fine").status_code == 303
        assert "You said fine." in settled(client)


def test_a_graph_runs_on_the_store_that_is_shown(memory: MemoryStore) -> None:
    """Whatever store, or saver, it was compiled with."""
    other = MemoryStore()
    for graph in (
        asking,
        asking.compile(),
        asking.compile(checkpointer=SessionSaver(other)),
        asking.compile(checkpointer=SessionSaver(memory)),
    ):
        resuming = Resuming(graph, memory)
        begin(asking, memory)
        asyncio.run(resuming.answer("talk", "", "fine"))
        assert Sessions(memory).load("talk").state["answers"][-1] == "fine"
    assert other.list_sessions().sessions == ()


@tries("pass graph=builder.compile()")
def test_what_is_no_graph_is_refused(memory: MemoryStore) -> None:
    """When the app is made, not when somebody answers."""
    with pytest.raises(ConfigurationError, match=r"pass graph=builder\.compile"):
        app(memory, write=True, graph=object())
    assert app(memory, write=True, graph=asking.compile()) is not None


# --- without a graph ------------------------------------------------------------------------------


def test_a_session_is_forked(writer: TestClient, store: SessionStore) -> None:
    """Whole, or as it was at a checkpoint; an id that is taken is refused."""
    done = send(writer, "fork", id="cli_20251108_145739", new=" what if ")
    assert (done.status_code, done.headers["location"]) == (303, "session?id=what+if")
    assert "hungry" in words(writer.get("/session?id=what+if"))
    history = writer.get("/history?id=cli_20251108_145739").text
    first = [part.partition('"')[0] for part in history.split('id="c')[1:]][-2]
    assert send(writer, "fork", id="cli_20251108_145739", new="early", at=first).status_code == 303
    assert "hungry" not in words(writer.get("/session?id=early"))
    taken = send(writer, "fork", id="cli_20251108_145739", new="early")
    assert taken.status_code == 409
    assert "is there already" in words(taken)
    assert send(writer, "fork", id="nope", new="x").status_code == 404
    assert send(writer, "fork", id="web_visitor", new="").status_code == 400


def test_a_session_is_pinned_and_let_go(writer: TestClient, store: SessionStore) -> None:
    """By the same form, whose button says what it does."""
    send(writer, "ttl", id="web_visitor", idle="2h")
    assert "expires in 1h 59m" in words(writer.get("/session?id=web_visitor"))
    assert send(writer, "pin", id="web_visitor", pinned="1").status_code == 303
    found = store.info("web_visitor")
    assert found is not None
    assert found.life.pinned
    assert "Unpin" in words(writer.get("/session?id=web_visitor"))
    send(writer, "pin", id="web_visitor")
    found = store.info("web_visitor")
    assert found is not None
    assert not found.life.pinned
    assert send(writer, "ttl", id="web_visitor", idle="soon").status_code == 400
    assert send(writer, "pin", id="nope", pinned="1").status_code == 404


def test_a_session_is_deleted_if_its_id_was_typed(writer: TestClient, store: SessionStore) -> None:
    """Anything else deletes nothing."""
    for typed in ("", "broke", "yes"):
        answer = send(writer, "delete", id="broken", confirm=typed)
        assert answer.status_code == 400
        assert store.info("broken") is not None
    done = send(writer, "delete", id="broken", confirm="broken")
    assert (done.status_code, done.headers["location"]) == (303, "./?done=deleted")
    assert store.info("broken") is None
    assert "broken" not in words(writer.get("/?done=deleted"))
    assert "The session was deleted." in words(writer.get("/?done=deleted"))
    assert writer.get("/session?id=broken").status_code == 404


def test_a_plain_value_is_edited(writer: TestClient, store: SessionStore) -> None:
    """As a new checkpoint; the form has the value, and values of other kinds have no form."""
    Sessions(store).save("s", {"n": 1, "tags": ["a"], "messages": [HumanMessage("hi")]})
    text = writer.get("/state?id=s").text
    assert text.count('action="edit"') == 2
    done = send(writer, "edit", id="s", key="tags", value='["a", "<b>"]')
    assert (done.status_code, done.headers["location"]) == (303, "state?id=s")
    state = Sessions(store).load("s").state
    assert state["tags"] == ["a", "<b>"]
    assert state["messages"][0].content == "hi"
    assert len(writer.get("/history?id=s").text.split('class="step"')) == 3


@tries("any more: load its page again")
def test_an_edit_that_cannot_be_made_changes_nothing(
    writer: TestClient, store: SessionStore
) -> None:
    """No JSON, no such key, or a session that waits for an answer."""
    Sessions(store).save("s", {"n": 1})
    assert send(writer, "edit", id="s", key="n", value="one").status_code == 400
    for number in ("NaN", "Infinity", "-1e999"):
        assert send(writer, "edit", id="s", key="n", value=number).status_code == 400
    assert send(writer, "edit", id="s", key="other", value="1").status_code == 409
    assert Sessions(store).load("s").state == {"n": 1}
    waits = send(writer, "edit", id="web_visitor", key="messages", value="[]")
    assert waits.status_code == 409
    assert send(writer, "edit", id="s", key="n", value="2").status_code == 303


def test_an_edit_goes_through_the_graph(memory: MemoryStore) -> None:
    """As ``update_state`` does; what the graph refuses is told."""
    with client_of(memory, write=True, graph=asking) as client:
        answer(client, answer="fine")
        settled(client)
        assert send(client, "edit", id="talk", key="turn_count", value="7").status_code == 303
        assert Sessions(memory).load("talk").state["turn_count"] == 7
        refused = send(client, "edit", id="talk", key="nope", value="7")
        assert refused.status_code in {303, 422}
        assert "nope" not in Sessions(memory).load("talk").state
