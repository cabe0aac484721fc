"""Whose threads are: taken from configs, noted by the application, and listed by owner."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict
from uuid import UUID

import pytest
from langgraph.graph import START, StateGraph

from saver.backends import Backend
from saver.calls import Calls
from wren_sessions import (
    Encryption,
    MemoryStore,
    Session,
    Sessions,
    SessionSaver,
    copy_sessions,
    export_session,
    import_session,
    rekey,
)
from wren_sessions._blocking import Unsuspended, run
from wren_sessions._walks import SessionWalk
from wren_sessions.errors import (
    ConfigurationError,
    ConflictError,
    DecryptionError,
    InvalidSessionIdError,
    SessionExistsError,
    SessionNotFoundError,
)
from wren_sessions.protocols import SessionStore
from wren_sessions.stores.file import FileStore
from wren_sessions.stores.protected import ProtectedStore
from wren_sessions.testing import FakeClock

SECRET = b"0123456789abcdef"


class State(TypedDict, total=False):
    """A conversation."""

    said: str


def graph_on(saver: SessionSaver) -> Any:
    """A graph of one node."""
    builder: Any = StateGraph(State)
    builder.add_node("say", lambda _: {"said": "so"})
    return builder.add_edge(START, "say").compile(checkpointer=saver)


def config(thread: str, **more: Any) -> Any:
    """The config of a thread."""
    return {"configurable": {"thread_id": thread, **more}}


def ids(sessions: Sessions, owner: str) -> list[str]:
    """An owner's sessions, in order."""
    return [info.session for info in sessions.owned(owner)]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_what_is_written_during_a_walk_is_met(backend: Backend, limit: int) -> None:
    """It goes to the front of the list, where the walk has been, and is met there, once."""
    sessions = Sessions(backend.store())
    names = [f"s{at}" for at in range(7)]
    for name in names:
        sessions.save(name, {"n": 1})
        sessions.annotate(name, owner="ann")
        backend.clock.advance("10ms")
    walk, met = SessionWalk(Unsuspended(sessions.store), limit, owner="ann"), list[str]()
    while (page := run(walk.next_page())) is not None:
        met += [info.session for info in page]
        if len(met) < len(names):
            sessions.save(min(set(names) - set(met)), {"n": 2})
            backend.clock.advance("10ms")
    assert sorted(met) == names


@pytest.mark.parametrize("state", [None, {"said": "hello"}])
@pytest.mark.parametrize("face", ["sync", "async"])
async def test_a_session_is_its_owners_from_its_first_write_on(
    face: str, state: dict[str, Any] | None, backend: Backend
) -> None:
    """As if the owner were noted afterwards, in no more commits than without one."""
    sessions = Sessions(backend.store())

    async def create(session: str, **options: Any) -> Session:
        if face == "sync":
            return sessions.create(session, state=state, **options)
        return await sessions.aio.create(session, state=state, **options)

    made = await create("owned", owner="ann")
    plain = await create("plain")
    assert (made.state, made.revision) == (plain.state, plain.revision) == (state or {}, 1)
    sessions.annotate("plain", owner="ann")
    owned, noted = (sessions.store.info(session) for session in ("owned", "plain"))
    assert owned is not None
    assert noted is not None
    assert owned.notes == noted.notes
    assert sorted(ids(sessions, "ann")) == ["owned", "plain"]
    with pytest.raises(SessionExistsError):
        await create("owned", owner="bob")
    with pytest.raises(InvalidSessionIdError, match="an owner must not be empty"):
        await create("other", owner="")
    assert not sessions.exists("other")
    assert ids(sessions, "bob") == []


def test_sealed_notes_are_nothing_without_the_key() -> None:
    """The session is listed, without a title; its notes are not changed unseen."""
    memory = MemoryStore()
    sealed = Sessions(ProtectedStore(memory, encryption=Encryption([Encryption.generate_key()])))
    sealed.save("s", {"n": 1})
    sealed.annotate("s", owner="ann", title="one", tags=["a"])
    bare = Sessions(memory)
    found = [(i.title, i.tags, i.attributes) for i in bare.list(owner="ann").sessions]
    assert found == [("", (), {})]
    with pytest.raises(DecryptionError, match="was not changed"):
        bare.annotate("s", title="two")
    assert [info.title for info in sealed.owned("ann")] == ["one"]


# --- from the config ------------------------------------------------------------------------------


async def test_a_thread_belongs_to_whom_its_config_names(backend: Backend) -> None:
    """By the key that the saver was given, whatever LangGraph writes for it."""
    store = backend.store()
    graph, sessions = graph_on(SessionSaver(store, owner_key="user_id")), Sessions(store)
    graph.invoke({"said": ""}, config("a", user_id="ann"))
    await graph.ainvoke({"said": ""}, config("b", user_id="ann"))
    graph.invoke({"said": ""}, config("c", user_id="bob"))
    graph.invoke({"said": ""}, config("d"))
    assert set(ids(sessions, "ann")) == {"a", "b"}
    assert ids(sessions, "bob") == ["c"]
    found = [info.session async for info in sessions.aio.owned("ann")]
    assert sorted(found) == ["a", "b"]
    assert {info.session for info in sessions.list().sessions} == {"a", "b", "c", "d"}


def test_a_thread_keeps_its_owner(backend: Backend) -> None:
    """Whoever else goes on with it, and whatever their saver knows of owners."""
    store = backend.store()
    graph, sessions = graph_on(SessionSaver(store, owner_key="user_id")), Sessions(store)
    graph.invoke({"said": ""}, config("a", user_id="ann"))
    graph.invoke({"said": ""}, config("b", user_id="ann"))
    graph.invoke({"said": ""}, config("a", user_id="bob"))
    assert (set(ids(sessions, "ann")), ids(sessions, "bob")) == ({"a", "b"}, [])
    graph_on(SessionSaver(store)).invoke({"said": ""}, config("a"))
    assert set(ids(sessions, "ann")) == {"a", "b"}


@pytest.mark.parametrize(("given", "owner"), [(7, "7"), (UUID(int=7), str(UUID(int=7)))])
def test_owners_are_text_integers_and_uuids(given: Any, owner: str) -> None:
    """As thread ids are."""
    store = MemoryStore()
    graph = graph_on(SessionSaver(store, owner_key="user_id"))
    graph.invoke({"said": ""}, config("a", user_id=given))
    assert ids(Sessions(store), owner) == ["a"]
    with pytest.raises(ConfigurationError, match="'user_id' in the config, must be a string"):
        graph.invoke({"said": ""}, config("b", user_id=["ann"]))


# --- noted ----------------------------------------------------------------------------------------


async def test_sessions_are_annotated(calls: Calls) -> None:
    """What is given is noted, what is not stays, and what is empty goes."""
    await calls.save("s", {"n": 1})
    await calls.annotate("s", owner="ann", title="Holidays", tags=["work", "old", "work"])
    info = await calls.annotate("s", attributes={"lang": "de", "n": [1, None]})
    assert (info.owner, info.title, info.tags) == ("ann", "Holidays", ("work", "old"))
    assert info.attributes == {"lang": "de", "n": [1, None]}
    info = await calls.annotate("s", tags=[], title="")
    assert (info.owner, info.title, info.tags) == ("ann", "", ())
    page = await calls.list(owner="ann")
    assert [(found.session, found.attributes) for found in page.sessions] == [
        ("s", {"lang": "de", "n": [1, None]})
    ]
    info = await calls.annotate("s", owner="", attributes={})
    assert (info.owner, info.attributes) == (None, {})
    assert (await calls.list(owner="ann")).sessions == ()
    with pytest.raises(SessionNotFoundError):
        await calls.annotate("nowhere", title="x")


async def test_what_was_handed_over_is_not_deleted(calls: Calls) -> None:
    """A deletion for an owner is for the owner's sessions: others stay, with all that they have."""
    for id_ in ("one", "two"):
        await calls.create(id_, owner="ann", state={"n": 1})
    listed = await calls.list(owner="ann")
    await calls.annotate("two", owner="bob")
    gone = []
    for info in listed.sessions:
        with suppress(ConflictError):
            gone.append(await calls.delete(info.session, owner="ann"))
    assert gone == [True]
    assert await calls.get("one") is None
    assert (await calls.load("two")).state == {"n": 1}


async def test_listings_can_be_narrowed(calls: Calls) -> None:
    """By tag; by owner the order is that of the last writes."""
    for name in ("a", "b", "c"):
        await calls.save(name, {})
        await calls.annotate(name, owner="ann", tags=["x"] if name != "b" else [])
    found = await calls.list(owner="ann", tag="x", order="updated")
    assert {info.session for info in found.sessions} == {"a", "c"}
    assert {info.session for info in (await calls.list(tag="x")).sessions} == {"a", "c"}
    with pytest.raises(ConfigurationError, match="pass owner="):
        await calls.list(order="updated")
    with pytest.raises(ConfigurationError, match="order must be"):
        await calls.list(owner="ann", order="title")


@pytest.mark.parametrize("tag", ["", " ", 7, ["work"], True])
async def test_a_tag_that_is_none_is_refused(calls: Calls, tag: Any) -> None:
    """A list of what has no such tag would be empty, and look right."""
    with pytest.raises(ConfigurationError, match="a tag must be text"):
        await calls.list(tag=tag)


@pytest.mark.parametrize("backend_kind", ["memory", "file"])
def test_a_cursor_is_of_one_store(backend_kind: str, tmp_path: Path) -> None:
    """One of another kind of store, or of another prefix, is refused."""
    stores: dict[str, tuple[SessionStore, SessionStore]] = {
        "memory": (MemoryStore(), MemoryStore(prefix="other:app")),
        "file": (FileStore(tmp_path / "a.db"), FileStore(tmp_path / "a.db", prefix="other:app")),
    }
    cursors: list[str] = []
    for pair in stores.values():
        for store in pair:
            for name in ("a", "b"):
                Sessions(store).save(name, {})
                Sessions(store).annotate(name, owner="ann")
            found = Sessions(store).list(owner="ann", limit=1).cursor
            assert found is not None
            cursors.append(found)
    own = list(stores).index(backend_kind) * 2
    sessions = Sessions(stores[backend_kind][0])
    for at, cursor in enumerate(cursors):
        if at == own:
            assert len(sessions.list(cursor, owner="ann").sessions) == 1
        else:
            with pytest.raises(ConfigurationError, match="of this owner's sessions in this store"):
                sessions.list(cursor, owner="ann")


@pytest.mark.parametrize(
    "noted",
    [
        {"title": 7},
        {"tags": "work"},
        {"tags": [7]},
        {"tags": 7},
        {"tags": [""]},
        {"tags": ["work", " "]},
        {"attributes": {1: "one"}},
        {"attributes": {"x": [{None: 1}]}},
        {"title": "half \ud800"},
        {"attributes": [1]},
        {"attributes": {"x": object()}},
        {"attributes": {"x": float("nan")}},
        {"title": "x" * 5_000},
    ],
)
def test_what_cannot_be_noted_is_refused(noted: Any) -> None:
    """And nothing is changed."""
    sessions = Sessions(MemoryStore())
    sessions.save("s", {})
    sessions.annotate("s", title="one")
    with pytest.raises(ConfigurationError):
        sessions.annotate("s", **noted)
    assert sessions.list().sessions[0].title == "one"


def test_a_fork_is_its_owners(backend: Backend) -> None:
    """Of all of a session, and of it as it was."""
    sessions = Sessions(backend.store())
    first = sessions.save("s", {"n": 1})
    sessions.save("s", {"n": 2})
    sessions.annotate("s", owner="ann", title="one")
    sessions.fork("s", "whole")
    sessions.fork("s", "then", at=first.checkpoint_id)
    assert set(ids(sessions, "ann")) == {"s", "whole", "then"}
    assert {info.title for info in sessions.owned("ann")} == {"one"}


def test_copies_and_exports_keep_the_notes(backend: Backend, tmp_path: Path) -> None:
    """From store to store, and through a file."""
    sessions = Sessions(backend.store())
    sessions.save("s", {"n": 1})
    sessions.annotate("s", owner="ann", title="one", tags=["x"])
    for store in (MemoryStore(), FileStore(tmp_path / "other.db")):
        with store:
            copy_sessions(sessions.store, store, sessions=["s"])
            assert [(i.session, i.title, i.tags) for i in Sessions(store).owned("ann")] == [
                ("s", "one", ("x",))
            ]
    lines = list(export_session(sessions.store, "s"))
    assert json.loads(lines[0])["owner"] == "ann"
    import_session(sessions.store, lines, session="t")
    assert set(ids(sessions, "ann")) == {"s", "t"}


# --- encrypted ------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "file"])
def below(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    """A store to encrypt."""
    clock = FakeClock()
    with (
        MemoryStore(clock=clock)
        if request.param == "memory"
        else FileStore(tmp_path / "sessions.db", clock=clock) as store
    ):
        yield store


def test_what_is_noted_is_sealed(below: SessionStore) -> None:
    """The store below knows owners, hidden if asked for, and nothing else."""
    keys = [Encryption.generate_key("old")]
    plain = Sessions(ProtectedStore(below, encryption=Encryption(keys)))
    plain.save("s", {"n": 1})
    plain.annotate("s", owner="ann", title="secret title")
    info = below.info("s")
    assert info is not None
    assert info.owner == "ann"
    assert b"secret" not in info.notes.about
    hidden = Encryption(keys, owner_secret=SECRET)
    sessions = Sessions(ProtectedStore(below, encryption=hidden))
    sessions.save("t", {"n": 1})
    sessions.annotate("t", owner="bob", title="another")
    sessions.annotate("t", title="secret")
    info = below.info("t")
    assert info is not None
    assert info.owner is not None
    assert info.owner.startswith("hmac-")
    assert [(i.session, i.owner, i.title) for i in sessions.owned("bob")] == [
        ("t", "bob", "secret")
    ]
    graph = graph_on(SessionSaver(sessions.store, owner_key="user_id"))
    graph.invoke({"said": ""}, config("u", user_id="bob"))
    assert set(ids(sessions, "bob")) == {"t", "u"}
    assert ids(sessions, info.owner) == []


def test_another_key_reads_the_notes(below: SessionStore) -> None:
    """A change of keys keeps whose sessions are, hidden or not."""
    old, new = (Encryption.generate_key(name) for name in ("old", "new"))
    sessions = Sessions(ProtectedStore(below, encryption=Encryption([old], owner_secret=SECRET)))
    sessions.save("s", {"n": 1})
    sessions.annotate("s", owner="ann", title="one")
    both = ProtectedStore(below, encryption=Encryption([new, old], owner_secret=SECRET))
    rekey(both, unused_for=None)
    sessions = Sessions(ProtectedStore(below, encryption=Encryption([new], owner_secret=SECRET)))
    assert [(info.session, info.title) for info in sessions.owned("ann")] == [("s", "one")]


def test_notes_of_another_session_are_none(below: SessionStore) -> None:
    """Nobody moves what is noted about one session to another."""
    sessions = Sessions(ProtectedStore(below, encryption=Encryption([Encryption.generate_key()])))
    for name in ("s", "t"):
        sessions.save(name, {"n": 1})
        sessions.annotate(name, title=f"of {name}")
    notes = {name: below.info(name).notes for name in ("s", "t")}  # type: ignore[union-attr]
    below.annotate("s", notes["t"], notes["s"])  # type: ignore[attr-defined] # it knows owners
    assert {info.session: info.title for info in sessions.list().sessions} == {"s": "", "t": "of t"}
