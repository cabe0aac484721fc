"""What the errors about sessions and threads propose, done to the letter."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, Final

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from remedies.proposals import tries
from remedies.restless import Restless
from saver.graphs import HAS_DELTA, delta
from wren_sessions import (
    Encryption,
    MemoryStore,
    SafeSerializer,
    Sessions,
    SessionSaver,
    TTLPolicy,
    export_session,
    import_session,
    open_store,
)
from wren_sessions.errors import (
    ConfigurationError,
    ConflictError,
    CorruptSessionError,
    DecryptionError,
    SerializationError,
    SessionExistsError,
    SessionExpiredError,
    SessionGoneError,
    SessionNotFoundError,
)
from wren_sessions.testing import FakeClock

CONFIG: Final[Any] = {"configurable": {"thread_id": "s"}}


def adding(happen: Callable[[], object] = lambda: None) -> StateGraph[Any, Any, Any, Any]:
    """A graph of two nodes, between which something happens."""
    make: Any = TypedDict
    schema = make("State", {"log": Annotated[list[str], lambda old, new: [*(old or []), *new]]})
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(schema)

    def one(state: Any) -> Any:
        happen()
        return {"log": [f"one {len(state['log'])}"]}

    builder.add_node("one", one)
    builder.add_node("two", lambda state: {"log": [f"two {len(state['log'])}"]})
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    return builder


def asking() -> StateGraph[Any, Any, Any, Any]:
    """A graph that asks."""
    make: Any = TypedDict
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(make("State", {"answer": str}))
    builder.add_node("ask", lambda state: {"answer": interrupt("what?")})
    builder.add_edge(START, "ask")
    return builder


# --- what went away -------------------------------------------------------------------------------


@tries("run it again; else start it again, or restore it from a copy")
@pytest.mark.parametrize("way", ["start it again", "restore it"])
def test_a_session_that_went_away(way: str) -> None:
    """By the same saver, and as it was."""
    store = MemoryStore()
    saver = SessionSaver(store)
    adding().compile(checkpointer=saver).invoke({"log": ["hello"]}, CONFIG)
    copy = list(export_session(store, "s"))
    graph = adding(lambda: store.delete("s")).compile(checkpointer=saver)
    with pytest.raises(SessionGoneError, match="start it again, or restore it from a copy"):
        graph.invoke({"log": ["again"]}, CONFIG, durability="sync")
    before = 0
    if way == "restore it":
        import_session(store, copy)
        before = 3
    found = adding().compile(checkpointer=saver).invoke({"log": ["anew"]}, CONFIG)
    assert len(found["log"]) == before + 3


@tries("Start a new one, or give sessions a longer idle timeout or maximum age")
@pytest.mark.parametrize("way", ["a new one", "longer"])
def test_a_session_that_expired(way: str) -> None:
    """Past its maximum age it cannot go on; with a longer one it would have."""
    clock = FakeClock()
    age = "1h" if way == "a new one" else "30d"
    store = MemoryStore(ttl=TTLPolicy(idle=None, max_age=age), clock=clock)
    saver = SessionSaver(store)
    graph = adding(lambda: clock.advance(timedelta(hours=2))).compile(checkpointer=saver)
    if way == "longer":
        assert graph.invoke({"log": ["hello"]}, CONFIG, durability="sync")["log"]
        return
    with pytest.raises(SessionExpiredError, match="Start a new one, or give sessions a longer"):
        graph.invoke({"log": ["hello"]}, CONFIG, durability="sync")
    other: Any = {"configurable": {"thread_id": "new"}}
    assert len(adding().compile(checkpointer=saver).invoke({"log": ["hello"]}, other)["log"]) == 3


@tries("evicted or pruned. Start it again, or restore it from a copy")
@pytest.mark.skipif(not HAS_DELTA, reason="LangGraph 1.0 has no DeltaChannel")
@pytest.mark.parametrize("way", ["start it again", "restore it"])
def test_a_delta_channel_whose_history_went(way: str) -> None:
    """The thread begins anew, or is as it was in the copy."""
    store = MemoryStore()
    saver = SessionSaver(store)
    graph = delta(100).compile(checkpointer=saver)
    graph.invoke({"log": ["hello"]}, CONFIG)
    copy = list(export_session(store, "s"))
    at: Any = saver.get_tuple(CONFIG)
    store.delete("s")
    with pytest.raises(SessionGoneError, match="Start it again, or restore it from a copy"):
        saver.get_delta_channel_history(config=at.config, channels=["log"])
    if way == "restore it":
        import_session(store, copy)
        assert saver.get_delta_channel_history(config=at.config, channels=["log"])["log"]
    found = graph.invoke({"log": ["anew"]}, CONFIG)
    assert len(found["log"]) == (6 if way == "restore it" else 3)


# --- what somebody else did -----------------------------------------------------------------------


@tries("load it again, and change the new state")
def test_a_conflict() -> None:
    """The change is made on what the other one wrote."""
    sessions = Sessions(MemoryStore())
    sessions.save("s", {"n": 1})
    mine = sessions.load("s")
    with sessions.edit("s") as theirs:
        theirs.state["n"] += 10
    with pytest.raises(ConflictError, match="load it again, and change the new state"):
        sessions.save("s", {"n": mine.state["n"] + 1}, expect=mine)
    mine = sessions.load("s")
    assert sessions.save("s", {"n": mine.state["n"] + 1}, expect=mine).state == {"n": 12}


@tries(
    "others wrote session {} all the time; nothing was written: try again",
    "nothing was deleted: try again when it is less busy",
    "each time while it was being looked at: try again when it is less busy",
)
@pytest.mark.parametrize(
    ("says", "call"),
    [
        ("all the time", lambda store: Sessions(store).save("s", {"n": 0})),
        ("less busy", lambda store: SessionSaver(store).prune(["s"])),
        ("less busy", lambda store: list(export_session(store, "s"))),
    ],
    ids=["save", "prune", "export"],
)
def test_a_session_that_others_write_all_the_time(says: str, call: Callable[[Any], Any]) -> None:
    """When they rest, it works."""
    store = MemoryStore()
    others, count = Sessions(store), itertools.count()
    others.save("s", {"n": 1})
    busy: Any = Restless(store, lambda: others.save("s", {"n": next(count)}))
    with pytest.raises(ConflictError, match=says):
        call(busy)
    busy.rests = True
    call(busy)


@tries("nothing of it is left: try again, or give the store more room")
def test_a_fork_that_was_evicted() -> None:
    """Where nobody takes its room any more, it is made."""

    class Full(MemoryStore):
        """A store that evicts what a fork is made from."""

        full = True

        def copy(self, source: str, target: str, **options: Any) -> Any:
            """Copy, if there is room."""
            if self.full and target == "f":
                self.delete(source)
            return super().copy(source, target, **options)

    store = Full()
    sessions = Sessions(store)
    first = sessions.save("s", {"n": 1})
    sessions.save("s", {"n": 2})
    with pytest.raises(ConflictError, match="try again, or give the store more room"):
        sessions.fork("s", "f", at=first.checkpoint_id)
    store.full = False
    assert sessions.fork("s", "f", at=first.checkpoint_id).state == {"n": 1}


# --- names and arguments --------------------------------------------------------------------------


@tries("pass {'configurable': {'thread_id': '…'}}", "pass a list of {}, not one text")
def test_what_to_pass() -> None:
    """As it stands there."""
    saver = SessionSaver(MemoryStore())
    with pytest.raises(ConfigurationError, match=r"pass {'configurable': {'thread_id': '…'}}"):
        saver.get_tuple({"configurable": {}})
    given: Any = {"configurable": {"thread_id": "…"}}
    assert saver.get_tuple(given) is None
    with pytest.raises(TypeError, match=r"not one text: \['abc'\]"):
        saver.prune("abc")
    saver.prune(["abc"])


@tries("check its id and the store's URL, prefix and lifetime")
def test_a_session_that_is_not_found(tmp_path: Any) -> None:
    """The right id, file, prefix, and a lifetime that is not over."""
    clock = FakeClock()
    url = f"file:{tmp_path / 's.db'}?prefix=a"
    with open_store(url, dotenv=False) as store:
        Sessions(store).save("s", {"n": 1})
    for wrong, name in (
        (f"file:{tmp_path / 'other.db'}?prefix=a", "s"),
        (f"file:{tmp_path / 's.db'}?prefix=b", "s"),
        (url, "t"),
    ):
        with (
            open_store(wrong, dotenv=False) as store,
            pytest.raises(SessionNotFoundError, match="check its id and the store's URL, prefix"),
        ):
            Sessions(store).load(name)
    with open_store(url, dotenv=False) as store:
        assert Sessions(store).load("s").state == {"n": 1}
    for idle, found in (("1h", False), ("3h", True)):
        sessions = Sessions(MemoryStore(ttl=TTLPolicy(idle=idle), clock=clock))
        sessions.save("s", {"n": 1})
        clock.advance(timedelta(hours=2))
        assert (sessions.get("s") is not None) is found


@tries(
    "is there already; choose another id, or load it",
    "cannot fork session {}: {} is there already; choose another id, or delete it first",
    "cannot copy session {}: {} is there already; choose another id, or delete it first",
    "is there already: give another id (session=…), delete it, or pass replace=True",
)
def test_a_session_that_is_there_already() -> None:
    """Each of the ways out."""
    store = MemoryStore()
    sessions = Sessions(store)
    sessions.create("s", state={"n": 1})
    with pytest.raises(SessionExistsError, match="choose another id, or load it"):
        sessions.create("s")
    assert sessions.load("s").state == {"n": 1}
    sessions.create("t")
    for copy in (sessions.fork, SessionSaver(store).copy_thread):
        with pytest.raises(SessionExistsError, match="choose another id, or delete it first"):
            copy("s", "t")
    assert sessions.fork("s", "u").state == {"n": 1}
    sessions.delete("t")
    assert sessions.fork("s", "t").state == {"n": 1}
    at = sessions.load("s").checkpoint_id
    with pytest.raises(SessionExistsError, match="choose another id, or delete it first"):
        sessions.fork("s", "t", at=at)
    sessions.delete("t")
    assert sessions.fork("s", "t", at=at).state == {"n": 1}
    lines = list(export_session(store, "s"))
    with pytest.raises(SessionExistsError, match=r"give another id \(session=…\), delete it, or"):
        import_session(store, lines)
    import_session(store, lines, session="v")
    import_session(store, lines, replace=True)
    sessions.delete("s")
    import_session(store, lines)


@tries("resume it, or pass replace=True to write over it")
def test_a_session_that_waits() -> None:
    """It is resumed, or written over, by each method that refuses."""
    store = MemoryStore()
    sessions, graph = Sessions(store), asking().compile(checkpointer=SessionSaver(store))
    for resume in (True, False):
        graph.invoke({"answer": ""}, CONFIG)
        with pytest.raises(ConflictError, match="resume it, or pass replace=True"):
            sessions.save("s", {"answer": "mine"})
        with (
            pytest.raises(ConflictError, match="resume it, or pass replace=True"),
            sessions.edit("s") as session,
        ):
            session.state["answer"] = "mine"
        with pytest.raises(ConflictError, match="resume it, or pass replace=True"):
            sessions.update("s", lambda state: state.update(answer="mine"))
        if resume:
            assert graph.invoke(Command(resume="yes"), CONFIG)["answer"] == "yes"
            sessions.save("s", {"answer": "mine"})
    with sessions.edit("s", replace=True) as session:
        session.state["answer"] = "edited"
    graph.invoke({"answer": ""}, CONFIG)
    sessions.update("s", lambda state: state.update(answer="changed"), replace=True)
    graph.invoke({"answer": ""}, CONFIG)
    assert sessions.save("s", {"answer": "saved"}, replace=True).state["answer"] == "saved"


@tries("use 'keep_latest', 'keep_last' or 'delete'")
def test_ways_to_prune() -> None:
    """Each of those that are named."""
    saver = SessionSaver(MemoryStore())
    with pytest.raises(ConfigurationError, match="use 'keep_latest', 'keep_last' or 'delete'"):
        saver.prune(["s"], strategy="all")
    saver.prune(["s"], strategy="keep_latest")
    saver.prune(["s"], strategy="keep_last", keep_last=2)
    saver.prune(["s"], strategy="delete")


@tries("go on with the saver class that created it")
def test_versions_of_another_saver() -> None:
    """The class that counts so goes on."""

    class Lettered(SessionSaver):
        """A saver that counts in letters."""

        def get_next_version(self, current: Any, channel: None = None) -> Any:
            """One letter more."""
            del channel
            return f"v{'a' if current is None else current[1:] + 'a'}"

    store = MemoryStore()
    theirs = adding().compile(checkpointer=Lettered(store))
    theirs.invoke({"log": ["hello"]}, CONFIG)
    ours = adding().compile(checkpointer=SessionSaver(store))
    with pytest.raises(ConfigurationError, match="go on with the saver class that created it"):
        ours.invoke({"log": ["again"]}, CONFIG)
    assert len(theirs.invoke({"log": ["again"]}, CONFIG)["log"]) == 6


# --- keys of a state ------------------------------------------------------------------------------


class Word(str, enum.Enum):  # noqa: UP042 -- applications have these too
    """Members are text."""

    NAME = "name"


class Text(str):  # noqa: SLOT000 -- as applications do it
    """Text of an application's own."""


class Forgetful(SafeSerializer):
    """A serializer that gives back what members stand for."""

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Without the members."""
        found = super().loads_typed(data)
        return (
            {k: getattr(v, "value", v) for k, v in found.items()} if type(found) is dict else found
        )


@tries(
    "and keys are text: use str(key)",
    "and would come back as str: use str(key)",
    "is a name that LangGraph keeps for itself: use another key",
    "holds half of a surrogate pair, which cannot be stored: use another key",
    "must be a dict, not {}; nothing was written: save it under a key",
    "nothing was written: use its value as key",
)
@pytest.mark.parametrize(
    ("key", "says", "instead"),
    [
        (7, r"use str\(key\)", str),
        (Text("a"), r"use str\(key\)", str),
        ("__interrupt__", "use another key", lambda key: f"my{key}"),
        ("\ud800", "use another key", lambda key: key.encode("unicode-escape").decode()),
    ],
)
def test_keys(key: Any, says: str, instead: Callable[[Any], Any]) -> None:
    """Each as it is to be written."""
    sessions = Sessions(MemoryStore())
    with pytest.raises(SerializationError, match=says):
        sessions.save("s", {key: 1})
    assert sessions.save("s", {instead(key): 1}).state == {instead(key): 1}
    whole: Any = [1, 2]
    with pytest.raises(SerializationError, match="save it under a key"):
        sessions.save("s", whole)
    sessions.save("s", {"all": whole})
    forgetful = Sessions(MemoryStore(), serde=Forgetful())
    with pytest.raises(SerializationError, match="use its value as key"):
        forgetful.save("s", {Word.NAME: 1})
    forgetful.save("s", {Word.NAME.value: 1})


@tries("save the session without it, and drop the checkpoints before (SessionSaver.prune)")
def test_a_key_of_the_first_version_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the key, and without the checkpoints that had it, the session is exported."""
    store = MemoryStore()
    sessions = Sessions(store)
    with monkeypatch.context() as context:
        context.setattr("wren_sessions.sessions.operations.check_state", lambda *_: None)
        context.setattr("wren_sessions.sessions.states.named", lambda state: (dict(state), {}))
        odd: Any = {7: 1}
        sessions.save("s", odd)
    with pytest.raises(SerializationError, match=r"drop the checkpoints before \(SessionSaver\.pr"):
        list(export_session(store, "s"))
    sessions.save("s", {"seven": 1})
    SessionSaver(store).prune(["s"])
    assert import_session(store, list(export_session(store, "s")), session="copy")
    assert sessions.load("copy").state == {"seven": 1}


# --- graphs ---------------------------------------------------------------------------------------


@tries(
    "and this reducer is not known here: read it with graph.get_state",
    "let the graph go on, or change the state with graph.update_state",
)
@pytest.mark.skipif(not HAS_DELTA, reason="LangGraph 1.0 has no DeltaChannel")
@pytest.mark.parametrize("way", ["go on", "update_state"])
def test_channels_that_only_their_graph_knows(way: str) -> None:
    """The graph reads them, goes on, and changes the state."""
    from langgraph.channels.delta import DeltaChannel

    make: Any = TypedDict
    total = DeltaChannel(lambda state, writes: state + sum(writes), int)
    log = DeltaChannel(lambda state, writes: state + [i for w in writes for i in w], list)
    schema = make("State", {"log": Annotated[list[str], log], "mood": str})
    builder: Any = StateGraph(schema)
    builder.add_node("a", lambda state: {"log": ["a"]})
    builder.add_node("ask", lambda state: {"log": [interrupt("?")]})
    builder.add_edge(START, "a").add_edge(START, "ask")
    store = MemoryStore()
    sessions, graph = Sessions(store), builder.compile(checkpointer=SessionSaver(store))
    graph.invoke({"log": ["q"], "mood": "calm"}, CONFIG)

    def edit() -> None:
        with sessions.edit("s", replace=True) as session:
            session.state["mood"] = "glad"

    with pytest.raises(ConflictError, match=r"or change the state with graph\.update_state"):
        edit()
    if way == "go on":
        assert sorted(graph.invoke(Command(resume="yes"), CONFIG)["log"]) == ["a", "q", "yes"]
        edit()
        assert sessions.load("s").state["mood"] == "glad"
    else:
        graph.update_state(CONFIG, {"mood": "glad"}, as_node="ask")
        assert graph.get_state(CONFIG).values["mood"] == "glad"

    builder = StateGraph(make("State", {"total": Annotated[int, total]}))
    builder.add_node("a", lambda state: {"total": 2})
    builder.add_edge(START, "a")
    graph = builder.compile(checkpointer=SessionSaver(store))
    other: Any = {"configurable": {"thread_id": "sum"}}
    graph.invoke({"total": 1}, other)
    with pytest.raises(SerializationError, match=r"read it with graph\.get_state"):
        sessions.load("sum")
    assert graph.get_state(other).values["total"] == 3


@tries("Go on from a checkpoint outside of this circle, or delete the session")
@pytest.mark.parametrize("way", ["go on", "delete"])
def test_checkpoints_that_continue_each_other(way: str) -> None:
    """The first checkpoint is outside; from there the thread goes on."""
    store = MemoryStore()
    saver = SessionSaver(store)
    start: Any = {"configurable": {"thread_id": "s", "checkpoint_ns": ""}}
    first = saver.put(start, empty_checkpoint(), {}, {})
    ring = saver.put(first, empty_checkpoint(), {}, {})
    found = saver.get_tuple(ring)
    assert found
    saver.put(found.config, found.checkpoint, found.metadata, {})
    with pytest.raises(CorruptSessionError, match="Go on from a checkpoint outside of this circle"):
        saver.get_delta_channel_history(config=ring, channels=["x"])
    if way == "delete":
        saver.delete_thread("s")
        first = start
    last = saver.put(first, empty_checkpoint(), {}, {})
    assert saver.get_delta_channel_history(config=last, channels=["x"])


# --- encryption -----------------------------------------------------------------------------------


@tries(
    "{} of session {} is encrypted: open the store with its key (encryption=",
    "it is encrypted with the key {}: open the store with its key (encryption=",
)
def test_an_encrypted_session(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key, as an argument and in the environment; small values and long lists."""
    key = Encryption.generate_key()
    url = f"file:{tmp_path / 's.db'}"
    state = {"small": 1, "messages": ["x" * 500 + str(n) for n in range(50)]}
    with open_store(url, encryption=Encryption([key]), dotenv=False) as store:
        Sessions(store).save("s", state)
    with (
        open_store(url, dotenv=False) as store,
        pytest.raises(DecryptionError, match="open the store with its key"),
    ):
        Sessions(store).load("s")
    with open_store(url, encryption=Encryption([key]), dotenv=False) as store:
        assert Sessions(store).load("s").state == state
    monkeypatch.setenv("WREN_SESSIONS_ENCRYPTION_KEYS", key)
    with open_store(url, dotenv=False) as store:
        assert Sessions(store).load("s").state == state
