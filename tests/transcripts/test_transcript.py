"""Transcripts of real sessions, on every backend and by both faces."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Interrupt, interrupt

from saver.apps import App, thread
from saver.backends import Backend
from saver.graphs import (
    HAS_DELTA,
    Chat,
    chat,
    delta,
    interrupting,
    interrupting_in_parallel,
    said,
    trimming,
)
from wren_sessions import (
    FileStore,
    MemoryStore,
    SessionNotFoundError,
    Sessions,
    SessionSaver,
    Transcript,
)
from wren_sessions.transcripts._questions import interrupts_in, question_text
from wren_sessions.transcripts._values import compact


async def read(backend: Backend, face: str, **options: Any) -> Transcript:
    """The transcript of the session ``t``, by one face."""
    sessions = Sessions(backend.store())
    if face == "sync":
        return sessions.transcript("t", **options)
    return await sessions.aio.transcript("t", **options)


async def test_what_is_noted_is_in_the_transcript(backend: Backend, face: str) -> None:
    """Owner, title and tags, also where nothing was said."""
    sessions = Sessions(backend.store())
    sessions.create("t")
    assert (await read(backend, face)).owner is None
    for state in ({}, {"messages": [{"role": "human", "content": "hi"}]}):
        sessions.save("t", state, replace=True)
        sessions.annotate("t", owner="ann", title="One", tags=["x", "y"])
        found = await read(backend, face)
        assert (found.owner, found.title, found.tags) == ("ann", "One", ("x", "y"))


async def test_a_graphs_conversation(backend: Backend, face: str) -> None:
    """Each message has its role, text and id, and the first checkpoint that has it."""
    app = App(SessionSaver(backend.store()), face)
    app.use(chat())
    for turn in range(3):
        await app.invoke({"messages": [said(turn, "human")]}, thread())
    found = await read(backend, face)
    assert [(m.role, m.id) for m in found.messages] == [
        pair for turn in range(3) for pair in (("human", f"human-{turn}"), ("ai", f"ai-{turn + 1}"))
    ]
    assert found.messages[0].text == said(0, "human").content
    for message in found.messages:
        assert await _first_with(app, message.id) == (message.checkpoint_id, message.time)


async def _first_with(app: App, message_id: str | None) -> tuple[str, datetime]:
    """The oldest checkpoint that has a message, by looking at all of them."""
    history = await app.history(thread())
    has = [s for s in history if any(m.id == message_id for m in s.values.get("messages", ()))]
    first = has[-1]
    return first.config["configurable"]["checkpoint_id"], datetime.fromisoformat(first.created_at)


@pytest.mark.parametrize("how", ["one", "front", "all", "edit"])
async def test_a_graph_that_takes_messages_out(backend: Backend, face: str, how: str) -> None:
    """Removed, trimmed, summarised and edited lists: what is left has its own first checkpoint."""
    app = App(SessionSaver(backend.store()), face)
    app.use(trimming(how))
    for turn in range(4):
        await app.invoke({"messages": [said(turn, "human")]}, thread())
    found = await read(backend, face)
    assert found.messages
    for message in found.messages:
        assert await _first_with(app, message.id) == (message.checkpoint_id, message.time)


async def test_a_fork_has_the_messages_of_its_own_line(backend: Backend, face: str) -> None:
    """What came after the checkpoint that a fork begins at is not in its transcript."""
    app = App(SessionSaver(backend.store()), face)
    app.use(chat())
    for turn in range(2):
        await app.invoke({"messages": [said(turn, "human")]}, thread())
    past = (await app.history(thread()))[4].config
    await app.update(past, {"messages": [said(7, "human")]}, as_node="answer")
    found = await read(backend, face)
    assert [m.id for m in found.messages] == ["human-0", "ai-1", "human-7"]
    assert all(m.checkpoint_id for m in found.messages)


async def test_questions_that_wait_come_last(backend: Backend, face: str) -> None:
    """A session at an interrupt ends with its question, also after an answer to an earlier one."""
    app = App(SessionSaver(backend.store()), face)
    app.use(interrupting(2))
    await app.invoke({"log": ["begun"]}, thread())
    for expected in (0, 1):
        found = await read(backend, face, messages="log")
        *said_before, question = found.messages
        assert [m.text for m in said_before] == ["begun"]
        assert (question.role, question.pending, found.waiting) == ("interrupt", True, True)
        assert question.text == f'{{"question": {expected}}}'
        assert question.checkpoint_id == found.checkpoint_id
        await app.invoke(Command(resume="yes"), thread())
    found = await read(backend, face, messages="log")
    assert not found.waiting
    assert [m.text for m in found.messages] == ["begun", "yes", "yes"]


async def test_questions_side_by_side(backend: Backend, face: str) -> None:
    """Several tasks that wait give several questions."""
    app = App(SessionSaver(backend.store()), face)
    app.use(interrupting_in_parallel())
    await app.invoke({"log": []}, thread())
    found = await read(backend, face)
    assert sorted(m.text for m in found.messages) == ["from left", "from right"]


async def test_a_session_of_sessions_alone(backend: Backend, face: str) -> None:
    """Plain dicts, saved without LangGraph, are a conversation too."""
    sessions = Sessions(backend.store(), now=lambda: datetime(2026, 1, 2, tzinfo=UTC))
    sessions.save("t", {"messages": [{"role": "user", "content": "hi"}], "n": 1})
    found = await read(backend, face)
    assert [(m.role, m.text) for m in found.messages] == [("human", "hi")]
    assert found.messages[0].time == found.updated == datetime(2026, 1, 2, tzinfo=UTC)


async def test_a_session_without_messages(backend: Backend, face: str) -> None:
    """An empty session, and one that keeps no such list, have an empty transcript."""
    sessions = Sessions(backend.store())
    sessions.create("t")
    assert (await read(backend, face)).messages == ()
    sessions.save("t", {"other": 1})
    assert (await read(backend, face)).messages == ()


async def test_what_is_not_there(backend: Backend, face: str) -> None:
    """A missing session and a missing checkpoint are errors, as they are for `load`."""
    with pytest.raises(SessionNotFoundError):
        await read(backend, face)
    Sessions(backend.store()).save("t", {"messages": []})
    with pytest.raises(SessionNotFoundError):
        await read(backend, face, checkpoint_id="nope")


def test_an_expired_session_is_not_there() -> None:
    """After its deadline a session has no transcript."""
    from wren_sessions.testing import FakeClock

    clock = FakeClock()
    sessions = Sessions(MemoryStore(clock=clock))
    sessions.save("t", {"messages": ["hi"]})
    clock.advance(timedelta(hours=25))
    with pytest.raises(SessionNotFoundError):
        sessions.transcript("t")


def test_nothing_of_the_app_is_needed(tmp_path: Any) -> None:
    """A process without LangChain, LangGraph and pydantic reads what a graph wrote."""
    path = tmp_path / "s.db"
    with FileStore(path) as store:
        graph = chat().compile(checkpointer=SessionSaver(store))
        config: Any = thread()
        graph.invoke({"messages": [HumanMessage("hello there", id="1")]}, config)
    code = (
        "import sys\n"
        "from wren_sessions import FileStore, Sessions\n"
        f"found = Sessions(FileStore({str(path)!r})).transcript('t')\n"
        "print(found.messages[0].text, found.messages[0].time is not None)\n"
        "found.to_html(), found.to_markdown(), found.to_json()\n"
        "names = {name.split('.')[0] for name in sys.modules}\n"
        "print(sorted(names & {'langchain_core', 'langgraph', 'pydantic', 'numpy'}))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["hello there True", "[]"]


def test_a_serializer_of_the_apps_own_is_used() -> None:
    """Where sessions were written by another serializer, it reads them too."""

    class Reversed:
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            return "msgpack", repr(obj).encode()[::-1]

        def loads_typed(self, data: tuple[str, bytes]) -> Any:
            from ast import literal_eval

            return literal_eval(data[1][::-1].decode())

    sessions = Sessions(MemoryStore(), serde=Reversed())
    sessions.save("t", {"messages": [("user", "hi"), ("ai", "lo" * 600)]})
    sessions.save("t", {"messages": [("user", "hi"), ("ai", "lo" * 600), ("user", "new")]})
    found = sessions.transcript("t")
    assert [m.text for m in found.messages] == ["hi", "lo" * 600, "new"]
    assert found.messages[0].checkpoint_id != found.messages[2].checkpoint_id is not None


@pytest.mark.skipif(not HAS_DELTA, reason="this LangGraph has no DeltaChannel")
def test_a_list_that_lives_in_its_writes() -> None:
    """Messages of a `DeltaChannel` are put together, wherever it was last stored."""
    store = MemoryStore()
    graph = delta(3).compile(checkpointer=SessionSaver(store))
    config: Any = thread()
    for turn in range(4):
        graph.invoke({"log": [f"in {turn}"]}, config)
    for state in graph.get_state_history(config):
        id_ = state.config["configurable"]["checkpoint_id"]
        found = Sessions(store).transcript("t", checkpoint_id=id_, messages="log")
        assert [m.text for m in found.messages] == state.values.get("log", [])


def test_a_question_asked_as_text_is_text() -> None:
    """The question itself is shown; what else the interrupt has stands below it."""

    def ask(state: Chat) -> Chat:
        return {"summary": interrupt({"question": "Shall I?", "options": ["yes", "no"]})}

    builder = StateGraph(Chat)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    store = MemoryStore()
    builder.compile(checkpointer=SessionSaver(store)).invoke({}, thread())
    found = Sessions(store).transcript("t")
    assert found.messages[0].text == 'Shall I?\n{"options": ["yes", "no"]}'
    assert found.messages[0].id is not None


@pytest.mark.parametrize("how", ["front", "edit"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_sessions_of_langgraphs_own_serializers(how: str, *, encrypted: bool) -> None:
    """What LangGraph's serializers wrote is read too, and has its times."""
    serde: Any = JsonPlusSerializer()
    if encrypted:
        serde = EncryptedSerializer(Swapped(), serde)
    store = MemoryStore()
    graph = trimming(how).compile(checkpointer=SessionSaver(store, serde=serde))
    config: Any = thread()
    for turn in range(4):
        graph.invoke({"messages": [said(turn, "human")]}, config)
    history = list(graph.get_state_history(config))
    found = Sessions(store, serde=serde).transcript("t")
    assert [m.id for m in found.messages] == [m.id for m in history[0].values["messages"]]
    for message in found.messages:
        ids = [[m.id for m in state.values.get("messages", ())] for state in history]
        first = [state for state, has in zip(history, ids, strict=True) if message.id in has][-1]
        assert message.checkpoint_id == first.config["configurable"]["checkpoint_id"]


class Swapped:
    """A cipher for tests: every byte is turned over, and nothing can be taken apart."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        """The name of the cipher, and the bytes."""
        return "swapped", bytes(255 - byte for byte in plaintext)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        """What was encrypted."""
        assert ciphername == "swapped"
        return bytes(255 - byte for byte in ciphertext)


APPROVALS = {
    "LangChain's middleware": {
        "action_requests": [
            {"name": "send_mail", "args": {"to": "ann", "cc": ["bob"]}, "description": "…"},
            {"name": "wait", "args": {}},
        ],
        "review_configs": [
            {"action_name": "send_mail", "allowed_decisions": ["approve", "edit", "reject"]},
        ],
    },
    "the agent inbox": [
        {
            "action_request": {"action": "send_mail", "args": {"to": "ann", "cc": ["bob"]}},
            "config": {"allow_approve": True, "allow_edit": True, "allow_reject": True, "x": False},
        },
        {"action_request": {"action": "wait", "args": None}},
    ],
}


@pytest.mark.parametrize("kind", APPROVALS)
def test_calls_that_wait_for_approval_are_told_as_people_read_them(kind: str) -> None:
    """Who asks a person to decide names the call and the choices, in text and on the page."""

    def node(state: Chat) -> Chat:
        return {"summary": interrupt(APPROVALS[kind])}

    builder = StateGraph(Chat)
    builder.add_node("approve", node)
    graph = builder.add_edge(START, "approve").compile(SessionSaver(store := MemoryStore()))
    graph.invoke({"messages": []}, thread())
    found = Sessions(store).transcript("t")
    call = 'wants to call send_mail(to="ann", cc=["bob"]): approve, edit, reject'
    assert found.messages[-1].text == f"{call}\nwants to call wait()"
    assert call.replace('"', "&quot;") in found.to_html()


def test_an_interrupt_is_found_in_each_form() -> None:
    """LangGraph's object, its fields, and a bare value; one by itself, or several."""
    bare = {"question": "sure?"}
    written = [Interrupt("a", id="1"), {"value": "b", "id": "2"}, bare]
    assert interrupts_in(written) == [("a", "1"), ("b", "2"), (bare, None)]
    assert interrupts_in(Interrupt("a", id="1")) == [("a", "1")]


def test_other_questions_with_such_names_stay_as_they_are() -> None:
    """What only looks like a call is shown as it was asked."""
    for value in ({"action_requests": "none"}, {"action_request": 7}, [{"a": 1}]):
        assert question_text(value) == compact(value)
