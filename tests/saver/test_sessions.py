"""`Sessions`: states by id, on every backend and both faces, beside graphs on the same sessions."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from saver.backends import Backend
from saver.calls import Calls
from wren_sessions import (
    ConflictError,
    SerializationError,
    SessionExistsError,
    SessionNotFoundError,
    Sessions,
    SessionSaver,
    TTLPolicy,
)


class Talk(TypedDict, total=False):
    """The state of a graph that asks."""

    turn_count: int
    answers: list[str]


def ask(state: Talk) -> Talk:
    """Ask, and add the answer."""
    answer = interrupt("And then?")
    return {"turn_count": state["turn_count"] + 1, "answers": [*state["answers"], answer]}


def graph_on(saver: SessionSaver) -> Any:
    """A graph that waits for one answer."""
    builder = StateGraph(Talk)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    return builder.compile(checkpointer=saver)


async def test_a_state_is_saved_and_loaded(calls: Calls) -> None:
    """What was saved is loaded, equal and not the same object."""
    state = {"turn_count": 1, "answers": ["x" * 3_000], "profile": {"mood": None}}
    saved = await calls.save("one", state)
    loaded = await calls.load("one")
    assert saved.state == loaded.state == state
    loaded.state["answers"].append("changed")
    assert (await calls.load("one")).state == state
    assert loaded.metadata["step"] == 0
    assert not loaded.waiting


async def test_a_saved_state_is_all_of_it(calls: Calls) -> None:
    """A key that is left out is gone, and earlier checkpoints still have it."""
    first = await calls.save("one", {"a": 1, "b": 2})
    second = await calls.save("one", {"b": 3, "c": 4})
    assert second.state == {"b": 3, "c": 4}
    assert (await calls.load("one", at=first.checkpoint_id)).state == {"a": 1, "b": 2}
    assert second.revision > first.revision


async def test_a_session_that_is_not_there_is_a_miss(calls: Calls) -> None:
    """`get` gives None, `load` and whatever changes a session raise, `delete` says False."""
    assert await calls.get("none") is None
    assert await calls.get("none", at="1f0") is None
    assert not await calls.exists("none")
    assert not await calls.delete("none")
    for call in (
        calls.load("none"),
        calls.touch("none"),
        calls.set_ttl("none", "1h"),
        calls.pin("none"),
        calls.fork("none", "copy"),
        calls.save("none", {"a": 1}, expect=1),
    ):
        with pytest.raises(SessionNotFoundError, match="not found or has expired") as caught:
            await call
        assert caught.value.session == "none"
    assert not await calls.exists("none")
    await calls.save("there", {"a": 1})
    with pytest.raises(SessionNotFoundError, match="checkpoint '1f0'"):
        await calls.load("there", at="1f0")


async def test_an_id_is_taken_once(backend: Backend, face: str) -> None:
    """Each of ten that are created at once gets a random id of its own, behind the prefix."""
    calls = Calls(Sessions(backend.store()), face)
    made = await asyncio.gather(*(calls.create(prefix="cli") for _ in range(10)))
    ids = {session.id for session in made}
    assert len(ids) == 10
    assert all(re.fullmatch("cli_[0-9a-f]{20}", name) for name in ids)
    assert all([await calls.exists(name) for name in ids])


async def test_a_session_is_created_empty_or_with_a_state(calls: Calls) -> None:
    """A new session can be loaded; an id that is taken is refused, and keeps what it has."""
    empty = await calls.create("empty")
    assert empty.state == {}
    assert empty.checkpoint_id is None
    assert (await calls.save("empty", {"a": 1}, expect=empty.revision)).state == {"a": 1}
    full = await calls.create("full", state={"a": 2})
    assert full.state == {"a": 2}
    for state in (None, {"a": 3}):
        with pytest.raises(SessionExistsError, match="'full' is there already"):
            await calls.create("full", state=state)
    assert (await calls.load("full")).state == {"a": 2}


async def test_the_second_of_two_writers_is_told(calls: Calls) -> None:
    """A save that expects a revision which is gone writes nothing."""
    mine = await calls.save("one", {"a": 1})
    await calls.save("one", {"a": 2})
    with pytest.raises(ConflictError, match="somebody else wrote"):
        await calls.save("one", {"a": 3}, expect=mine.revision)
    assert (await calls.load("one")).state == {"a": 2}


async def test_an_edit_saves_what_the_block_changed(calls: Calls) -> None:
    """Load, change, save; nothing is saved where the block fails or somebody else wrote."""
    await calls.save("one", {"a": 1})
    await calls.edit("one", lambda state: state.update(a=2))
    assert (await calls.load("one")).state == {"a": 2}
    with pytest.raises(ZeroDivisionError):
        await calls.edit("one", lambda state: state.update(a=1 // 0))

    def interfere(state: dict[str, Any]) -> None:
        calls.sessions.save("one", state | {"a": 9})

    with pytest.raises(ConflictError):
        await calls.edit("one", interfere)
    assert (await calls.load("one")).state == {"a": 9}


async def test_edits_of_many_on_one_object_all_count(calls: Calls) -> None:
    """Threads and tasks that share a `Sessions` lose no change: each is saved, or is told."""
    await calls.save("one", {"n": 0})

    async def add() -> None:
        left = 10
        while left:
            with suppress(ConflictError):
                await calls.edit("one", lambda state: state.update(n=state["n"] + 1))
                left -= 1

    if calls.face == "sync":
        await asyncio.gather(*(asyncio.to_thread(asyncio.run, add()) for _ in range(4)))
    else:
        await asyncio.gather(*(add() for _ in range(4)))
    assert (await calls.load("one")).state == {"n": 40}


async def test_a_loaded_session_is_expected_in_its_own_life(calls: Calls) -> None:
    """A session that was deleted and made again is another one, though its revision is the same."""
    mine = await calls.save("one", {"a": 1})
    await calls.delete("one")
    other = await calls.save("one", {"a": 2})
    assert mine.revision == other.revision
    with pytest.raises(ConflictError, match="somebody else wrote"):
        await calls.save("one", {"a": 3}, expect=mine)
    assert (await calls.save("one", {"a": 4}, expect=other)).state == {"a": 4}


async def test_a_graph_goes_on_from_a_saved_state(calls: Calls, backend: Backend) -> None:
    """What is saved here is the graph's state, and what the graph wrote is loaded here."""
    graph = graph_on(SessionSaver(backend.store()))
    thread = calls.sessions.thread("talk")
    await calls.save("talk", {"turn_count": 4, "answers": ["a"]})
    assert graph.get_state(thread).values == {"turn_count": 4, "answers": ["a"]}
    graph.invoke({"turn_count": 5}, thread)
    waiting = await calls.load("talk")
    assert waiting.waiting
    assert waiting.state == {"turn_count": 5, "answers": ["a"]}
    graph.invoke(Command(resume="b"), thread)
    after = await calls.load("talk")
    assert not after.waiting
    assert after.state == {"turn_count": 6, "answers": ["a", "b"]}


async def test_a_pending_interrupt_is_not_written_over(calls: Calls, backend: Backend) -> None:
    """A session that waits for an answer is saved only with ``replace=True``."""
    graph = graph_on(SessionSaver(backend.store()))
    thread = calls.sessions.thread("talk")
    graph.invoke({"turn_count": 1, "answers": []}, thread)
    with pytest.raises(ConflictError, match="waits for an answer"):
        await calls.save("talk", {"turn_count": 9, "answers": []})
    assert graph.get_state(thread).interrupts
    saved = await calls.save("talk", {"turn_count": 9, "answers": []}, replace=True)
    assert not saved.waiting
    assert graph.get_state(thread).values["turn_count"] == 9


async def test_a_node_that_asks_twice_waits_twice(calls: Calls, backend: Backend) -> None:
    """The answer to its first question does not end the waiting."""

    def ask_twice(state: Talk) -> Talk:
        return {"answers": [interrupt("One?"), interrupt("Two?")]}

    builder = StateGraph(Talk).add_node("ask", ask_twice).add_edge(START, "ask")
    graph: Any = builder.compile(checkpointer=SessionSaver(backend.store()))
    thread = calls.sessions.thread("talk")
    graph.invoke({"turn_count": 1}, thread)
    graph.invoke(Command(resume="1"), thread)
    assert (await calls.load("talk")).waiting
    with pytest.raises(ConflictError, match="waits for an answer"):
        await calls.save("talk", {"turn_count": 9})
    graph.invoke(Command(resume="2"), thread)
    assert not (await calls.load("talk")).waiting


async def test_a_fork_is_a_session_of_its_own(calls: Calls) -> None:
    """A copy, whole or as it was at a checkpoint; neither changes the other."""
    first = await calls.save("one", {"a": 1})
    await calls.save("one", {"a": 2})
    assert (await calls.fork("one", "all")).state == {"a": 2}
    past = await calls.fork("one", "past", at=first.checkpoint_id)
    assert past.state == {"a": 1}
    await calls.save("past", {"a": 7})
    assert (await calls.load("one")).state == {"a": 2}
    with pytest.raises(SessionExistsError):
        await calls.fork("one", "all")
    with pytest.raises(SessionNotFoundError):
        await calls.fork("one", "never", at="1f0")
    assert not await calls.exists("never")


async def test_a_value_that_cannot_be_stored_is_refused(calls: Calls) -> None:
    """The error names key and session, and the session is as it was."""
    before = await calls.save("one", {"a": 1})
    with pytest.raises(SerializationError, match="'b' of session 'one'"):
        await calls.save("one", {"a": 2, "b": object()})
    assert (await calls.load("one")).revision == before.revision


async def test_lifetimes_are_the_stores(calls: Calls) -> None:
    """Pinning, an own timeout and touching work by id; listings show all sessions."""
    await calls.save("one", {"a": 1})
    assert (await calls.pin("one")).pinned
    assert (await calls.pin("one", pinned=False)).deadline_ms is not None
    assert (await calls.set_ttl("one", "2h")).ttl_ms == pytest.approx(7_200_000, abs=1_000)
    assert (await calls.touch("one")).ttl_ms == pytest.approx(7_200_000, abs=1_000)
    page = await calls.list()
    assert [info.session for info in page.sessions] == ["one"]
    assert await calls.delete("one")
    assert not await calls.exists("one")


async def test_an_expired_session_is_a_miss(backend: Backend, face: str) -> None:
    """After its deadline a session is not found, and a new one can take its id."""
    calls = Calls(Sessions(backend.store(TTLPolicy(idle="50ms"))), face)
    old = await calls.save("one", {"a": 1})
    backend.clock.advance("51ms")
    await asyncio.sleep(0.06)
    assert await calls.get("one") is None
    with pytest.raises(SessionNotFoundError):
        await calls.load("one")
    new = await calls.create("one", state={"b": 2})
    assert new.state == {"b": 2}
    assert new.life.incarnation != old.life.incarnation
