"""Graphs whose channels change between releases: names, values, and channels that are gone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import add, attrgetter
from typing import Annotated, Any, Final, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from saver.backends import TellingSaver, place
from wren_sessions import (
    MemoryStore,
    Migrations,
    Sessions,
    SessionSaver,
    UnreadableValue,
    open_store,
)
from wren_sessions.errors import ConfigurationError, SerializationError

CONFIG: Final[Any] = {"configurable": {"thread_id": "ann"}}
TURNS: Final = 200
BACKENDS: Final = ("memory", "file", "redis")


class Old(TypedDict, total=False):
    """The state of the release before."""

    profile: dict[str, int]
    log: Annotated[list[str], add]
    n: int
    scratch: str


class New(TypedDict, total=False):
    """The state of this release."""

    customer: dict[str, int]
    log: Annotated[list[str], add]
    n: int


RENAMED: Final = Migrations().channel_renamed("profile", "customer")


def graph(
    store: Any,
    state: Any,
    *steps: Any,
    migrations: Migrations | None = None,
    saver: SessionSaver | None = None,
    **compiled: Any,
) -> Any:
    """A release: nodes that run at the same time."""
    builder = StateGraph(state)
    for at, step in enumerate(steps):
        builder.add_node(f"step{at}", step)
        builder.add_edge(START, f"step{at}")
    saver = saver or SessionSaver(store, migrations=migrations)
    return builder.compile(checkpointer=saver, **compiled)


def old_step(state: Any) -> Any:
    """One visit more, as the release before counts them."""
    return {"profile": {"visits": state["profile"]["visits"] + 1}, "log": ["old"]}


def new_step(state: Any) -> Any:
    """The same, as this one does."""
    return {"customer": {"visits": state["customer"]["visits"] + 1}, "log": ["new"]}


@pytest.mark.parametrize("backend", BACKENDS)
def test_old_and_new_workers_in_turns(backend: str, request: pytest.FixtureRequest) -> None:
    """A channel with two names loses no update, in all turns, and is stored once."""
    with open_store(place(backend, request), dotenv=False) as store:
        workers = [
            graph(store, Old, old_step),
            graph(store, New, new_step, migrations=RENAMED),
        ]
        workers[0].invoke({"profile": {"visits": 0}}, CONFIG)
        for turn in range(1, TURNS):
            workers[turn % 2].invoke({}, CONFIG)
        found = workers[1].get_state(CONFIG).values
        before = workers[0].get_state(CONFIG).values
    assert found["customer"] == before["profile"] == {"visits": TURNS}
    assert found["log"] == ["old", "new"] * (TURNS // 2)
    assert "profile" not in found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("waits", [False, True])
def test_a_deploy_and_a_rollback(
    backend: str, request: pytest.FixtureRequest, *, waits: bool
) -> None:
    """Whether the run waits for an answer or not, all is there under each release's names."""

    def asks(name: str) -> Callable[[Any], Any]:
        def step(state: Any) -> Any:
            return {"n": interrupt(state[name]) if waits else state[name]["visits"]}

        return step

    with open_store(place(backend, request), dotenv=False) as store:
        old = graph(store, Old, asks("profile"))
        new = graph(store, New, asks("customer"), migrations=RENAMED)
        answer: Any = Command(resume=7) if waits else {}
        old.invoke({"profile": {"visits": 5}, "scratch": "x"}, CONFIG)
        state = new.get_state(CONFIG)
        assert [each.value for each in state.interrupts] == ([{"visits": 5}] if waits else [])
        assert state.values["customer"] == {"visits": 5}
        done = new.invoke(answer, CONFIG)
        assert (done["customer"], done["n"]) == ({"visits": 5}, 7 if waits else 5)
        assert old.get_state(CONFIG).values == {
            "profile": {"visits": 5},
            "scratch": "x",
            "log": [],
            "n": done["n"],
        }
        new.invoke({"customer": {"visits": 6}}, CONFIG)
        answered = old.invoke(answer, CONFIG)
        assert (answered["profile"], answered["scratch"]) == ({"visits": 6}, "x")


def test_a_channel_that_is_removed() -> None:
    """Without a line it stays for the release before; with one it is dropped."""
    store = MemoryStore()
    old = graph(store, Old, lambda _: {"n": 1})
    old.invoke({"scratch": "x", "n": 0}, CONFIG)
    for _ in range(3):
        assert "scratch" not in graph(store, New, lambda _: {"n": 2}).invoke({}, CONFIG)
    assert old.get_state(CONFIG).values["scratch"] == "x"
    removed = Migrations().channel_removed("scratch")
    graph(store, New, lambda _: {"n": 3}, migrations=removed).invoke({}, CONFIG)
    assert "scratch" not in old.get_state(CONFIG).values
    assert old.invoke({"scratch": "y"}, CONFIG)["scratch"] == "y"


def cents() -> Migrations:
    """What was dollars is cents."""
    migrations = Migrations().channel_renamed("total", "cents")
    migrations.channel("cents", since=1)(lambda value: value * 100)
    return migrations


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_function_runs_once(backend: str, request: pytest.FixtureRequest) -> None:
    """It is recorded with the value; old code does not take cents for dollars."""

    class Dollars(TypedDict, total=False):
        total: int
        n: int

    class Cents(TypedDict, total=False):
        cents: int
        n: int

    with open_store(place(backend, request), dotenv=False) as store:
        old = graph(store, Dollars, lambda state: {"n": state.get("n", 0) + 1})
        new = graph(store, Cents, lambda state: {"n": state.get("n", 0) + 1}, migrations=cents())
        old.invoke({"total": 3}, CONFIG)
        for turn in (2, 3, 4):
            assert new.invoke({}, CONFIG) == {"cents": 300, "n": turn}
        found = old.invoke({}, CONFIG)
        assert type(found["total"]) is UnreadableValue
        with pytest.raises(SerializationError, match="channel 'cents' was migrated to version 1"):
            int(found["total"])
        assert new.invoke({}, CONFIG) == {"cents": 300, "n": 6}
        old.invoke({"total": 4}, CONFIG)  # without looking
        assert new.invoke({}, CONFIG) == {"cents": 400, "n": 8}


def test_a_function_that_fails_is_named() -> None:
    """With session, channel and function, where the value is used; what is stored stays."""
    store = MemoryStore()
    graph(store, Old, lambda _: {"n": 1}).invoke({"profile": {"visits": 654321}}, CONFIG)
    migrations = Migrations()
    migrations.channel("profile", since=2)(lambda value: value["gone"])
    failing = graph(store, Old, lambda _: {"n": 2}, migrations=migrations)
    found = failing.invoke({}, CONFIG)
    match = "channel 'profile' of .*'ann'.*since=2 of channel 'profile' .*failed with KeyError"
    with pytest.raises(SerializationError, match=match) as caught:
        found["profile"]["visits"]
    assert "654321" not in str(caught.value)
    values = graph(store, Old, lambda _: {}).get_state(CONFIG).values
    assert values["profile"] == {"visits": 654321}
    migrations = Migrations()
    migrations.channel("profile", since=2)(lambda _: object())
    state = Sessions(store, migrations=migrations).load("ann").state
    with pytest.raises(SerializationError, match="returned what cannot be stored"):
        len(state["profile"])


def with_itself(value: Any, key: Any = "it") -> Any:
    """A value that refers to itself."""
    value[key] = value
    return value


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (partial(with_itself, key=[]), r"functools\.partial\) failed with TypeError"),
        (attrgetter("gone"), r"operator\.attrgetter\) failed with AttributeError"),
        (with_itself, "returned what cannot be stored: it is nested too deep, or refers to itself"),
    ],
)
def test_a_function_of_any_sort_that_fails(function: Callable[[Any], Any], match: str) -> None:
    """Its channel alone cannot be read: partials have no name, and what is made may go round."""
    store = MemoryStore()
    graph(store, Old, lambda _: {"n": 1}).invoke({"profile": {"visits": 1}}, CONFIG)
    migrations = Migrations()
    migrations.channel("profile", since=1)(function)
    values = graph(store, Old, lambda _: {}, migrations=migrations).get_state(CONFIG).values
    assert values["n"] == 1
    with pytest.raises(SerializationError, match=match):
        len(values["profile"])


@pytest.mark.parametrize("new_first", [False, True])
def test_what_a_failed_step_wrote_is_read_by_the_other_release(*, new_first: bool) -> None:
    """Pending writes are found under each release's name, once."""
    store = MemoryStore()

    class OldLog(TypedDict, total=False):
        log: Annotated[list[str], add]
        n: int

    class NewLog(TypedDict, total=False):
        lines: Annotated[list[str], add]
        n: int

    migrations = Migrations().channel_renamed("log", "lines")

    def release(*, new: bool, breaks: bool) -> Any:
        name = "lines" if new else "log"
        saver = TellingSaver(store, name, migrations=migrations if new else None)

        def fails(_: Any) -> Any:
            if breaks:
                assert saver.wrote.wait(60)  # the other task is done
                raise RuntimeError
            return {"n": 1}

        return graph(
            store,
            NewLog if new else OldLog,
            lambda _: {name: ["written"]},
            fails,
            saver=saver,
        )

    with pytest.raises(RuntimeError):
        release(new=new_first, breaks=True).invoke({"n": 0}, CONFIG)
    found = release(new=not new_first, breaks=False).invoke(None, CONFIG)
    assert found == {"log" if new_first else "lines": ["written"], "n": 1}
    again = release(new=new_first, breaks=False).get_state(CONFIG).values
    assert again == {"lines" if new_first else "log": ["written"], "n": 1}


@pytest.mark.parametrize("new_first", [False, True])
def test_an_input_that_was_not_taken_yet(*, new_first: bool) -> None:
    """What a user said before the deploy is not lost."""
    store = MemoryStore()
    releases = {
        False: graph(store, Old, lambda state: {"n": state["profile"]["visits"]}),
        True: graph(
            store, New, lambda state: {"n": state["customer"]["visits"]}, migrations=RENAMED
        ),
    }
    names = {False: "profile", True: "customer"}
    given = {names[new_first]: {"visits": 5}}
    for _ in releases[new_first].stream(given, CONFIG, stream_mode="checkpoints"):
        break  # the input is stored, and nothing ran
    found = releases[not new_first].invoke(None, CONFIG)
    assert (found[names[not new_first]], found["n"]) == ({"visits": 5}, 5)


def test_a_step_that_waits_before_a_node() -> None:
    """Nothing looks as if it had changed since: LangGraph goes on where it stood."""
    store = MemoryStore()
    ran: list[str] = []
    old = graph(store, Old, lambda _: ran.append("old"), interrupt_before=["step0"])
    old.invoke({"profile": {"visits": 1}}, CONFIG)
    new = graph(
        store,
        New,
        lambda _: ran.append("new"),
        migrations=RENAMED,
        interrupt_before=["step0"],
    )
    assert new.get_state(CONFIG).next == ("step0",)
    new.invoke(None, CONFIG)
    assert ran == ["new"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_channel_that_lives_in_its_history(backend: str, request: pytest.FixtureRequest) -> None:
    """LangGraph's DeltaChannel: writes of both releases, in turns, with a function besides."""
    channels = pytest.importorskip("langgraph.channels.delta")

    def join(left: Any, right: Any) -> Any:
        return [*left, *(each for some in right for each in some)]

    typed: Any = TypedDict
    log = Annotated[list[Any], channels.DeltaChannel(join)]
    states = {name: typed("Long", {name: log, "n": int}, total=False) for name in ("log", "lines")}
    migrations = Migrations().channel_renamed("log", "lines")
    with open_store(place(backend, request), dotenv=False) as store:

        def release(name: str, migrations: Migrations | None) -> Any:
            step = lambda state: {"n": len(state[name])}  # noqa: E731 -- two of them
            return graph(store, states[name], step, migrations=migrations)

        names = ["log", "lines"]
        workers = [release("log", None), release("lines", migrations)]
        for turn in range(12):
            found = workers[turn % 2].invoke({names[turn % 2]: [turn]}, CONFIG)
            assert found[names[turn % 2]] == list(range(turn + 1))
        assert Sessions(store, migrations=migrations).load("ann").state["lines"] == [*range(12)]
        doubled = Migrations().channel_renamed("log", "lines")
        doubled.channel("lines", since=1)(lambda value: [each * 2 for each in value])
        newest = release("lines", doubled)
        found = newest.invoke({"lines": [100]}, CONFIG)
        assert found["lines"] == [*range(0, 24, 2), 100]
        SessionSaver(store, migrations=doubled).prune(["ann"], strategy="keep_latest")
        assert newest.get_state(CONFIG).values["lines"] == [*range(0, 24, 2), 100]


def test_a_subgraph_of_its_own() -> None:
    """A line for one graph leaves a channel of the same name in another one alone."""
    store = MemoryStore()

    def release(outer_name: str, inner_name: str, migrations: Migrations | None) -> Any:
        typed: Any = TypedDict
        inner_state = typed("Inner", {inner_name: int, "n": int}, total=False)
        outer_state = typed("Outer", {outer_name: int, "n": int}, total=False)
        inner = StateGraph(inner_state)

        def asks(state: Any) -> Any:
            return {"n": state.get(inner_name, 0) + interrupt("go on?")}

        inner.add_node("ask", lambda _: {inner_name: 5})
        inner.add_node("answer", asks)
        inner.add_edge(START, "ask")
        inner.add_edge("ask", "answer")
        outer = StateGraph(outer_state)
        outer.add_node("orders", inner.compile())
        outer.add_edge(START, "orders")
        return outer.compile(checkpointer=SessionSaver(store, migrations=migrations))

    release("total", "total", None).invoke({"total": 1}, CONFIG)
    migrations = Migrations().channel_renamed("total", "sum", subgraph="orders")
    newer = release("total", "sum", migrations)
    assert newer.invoke(Command(resume=2), CONFIG) == {"total": 1, "n": 7}
    root = Migrations().channel_renamed("total", "sum", subgraph="")
    assert release("sum", "sum", root).get_state(CONFIG).values == {"sum": 1, "n": 7}


def test_a_list_of_messages_grows_under_two_names() -> None:
    """Its bytes are in the arena once, and each step adds what is new."""
    store = MemoryStore()

    class Chat(TypedDict, total=False):
        messages: Annotated[list[Any], add]

    class Talk(TypedDict, total=False):
        turns: Annotated[list[Any], add]

    migrations = Migrations().channel_renamed("messages", "turns")
    old = graph(store, Chat, lambda _: {})
    new = graph(store, Talk, lambda _: {}, migrations=migrations)
    old.invoke({"messages": [HumanMessage("x" * 2_000, id="0")]}, CONFIG)
    for turn in range(1, 10):
        given = [HumanMessage(f"{turn}" * 2_000, id=f"{turn}")]
        before = size_of(store)
        new.invoke({"turns": given}, CONFIG) if turn % 2 else old.invoke(
            {"messages": given}, CONFIG
        )
        assert size_of(store) - before < 3 * 2_500
    assert len(new.get_state(CONFIG).values["turns"]) == 10


def size_of(store: MemoryStore) -> int:
    """How many bytes the session takes."""
    info = store.info("ann")
    assert info is not None
    assert info.size_bytes is not None
    return info.size_bytes


def test_without_langgraph() -> None:
    """The keys of a state are channels."""
    sessions = Sessions(MemoryStore())
    sessions.save("ann", {"total": 3, "n": 1, "scratch": "x"})
    migrations = cents().channel_removed("scratch")
    newer = Sessions(sessions.store, migrations=migrations)
    loaded = newer.load("ann")
    assert loaded.state == {"cents": 300, "n": 1}
    newer.save("ann", {**loaded.state, "n": 2}, expect=loaded)
    assert newer.load("ann").state == {"cents": 300, "n": 2}
    assert type(sessions.load("ann").state["total"]) is UnreadableValue
    assert sessions.load("ann").state["n"] == 2
    assert newer.load("ann", at=loaded.checkpoint_id).state == {"cents": 300, "n": 1}


@pytest.mark.parametrize("value", [None, b"x", [1], {"a": {1}}, HumanMessage("hi")])
def test_values_of_all_kinds(value: Any) -> None:
    """What a function gets and returns is stored with its version, whatever it is."""
    sessions = Sessions(MemoryStore())
    sessions.save("ann", {"it": value})
    migrations = Migrations()
    migrations.channel("it", since=3)(lambda value: (value, "seen"))
    newer = Sessions(sessions.store, migrations=migrations)
    for _ in range(2):
        state = newer.load("ann").state
        assert state == {"it": (value, "seen")}
        newer.save("ann", state)
    migrations = Migrations()
    migrations.channel("it", since=3)(lambda value: value)
    migrations.channel("it", since=4)(lambda pair: pair[0])
    assert Sessions(sessions.store, migrations=migrations).load("ann").state == {"it": value}


def registered_twice() -> None:
    """Two functions for one version."""
    migrations = Migrations()
    for _ in range(2):
        migrations.channel("a", since=1)(lambda value: value)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Migrations().channel_renamed("a", "b").channel_renamed("a", "c"),
        lambda: Migrations().channel_renamed("a", "b").channel_renamed("b", "a"),
        lambda: Migrations().channel_renamed("a", "a"),
        lambda: Migrations().channel_renamed("", "a"),
        lambda: Migrations().channel_removed("a").channel_renamed("a", "b"),
        lambda: Migrations().channel_renamed("a", "b").channel_removed("a"),
        lambda: Migrations().channel("a", since=0),
        lambda: Migrations().channel(New, since=1),  # type: ignore[arg-type]
        registered_twice,
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: Callable[[], Any]) -> None:
    """When it is registered, with what is wrong."""
    with pytest.raises(ConfigurationError):
        wrong()


@pytest.mark.parametrize("node", ["input", "update"])
@pytest.mark.parametrize(
    "migrations", [RENAMED, Migrations().channel_removed("profile")], ids=["renamed", "removed"]
)
def test_a_name_that_is_gone_is_not_used_again(migrations: Migrations, node: str) -> None:
    """What is written under it would be lost, so that is an error before anything is."""
    builder = StateGraph(Old)
    builder.add_node("n", lambda _: {"profile": {"age": 1}} if node == "update" else {"n": 2})
    builder.add_edge(START, "n")
    saver = SessionSaver(MemoryStore(), migrations=migrations)
    app = builder.compile(checkpointer=saver)
    given: Any = {"profile": {"age": 0}} if node == "input" else {"n": 1}
    with pytest.raises(ConfigurationError, match="channel 'profile' of session 'ann' cannot be"):
        app.invoke(given, CONFIG)
    assert "profile" not in app.get_state(CONFIG).values


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_langgraphs_serializer_stored(backend: str, request: pytest.FixtureRequest) -> None:
    """Channels of such sessions are renamed, removed and migrated, in what is pending as well."""

    class Before(TypedDict, total=False):
        total: int
        scratch: str
        log: Annotated[list[Any], add]

    class After(TypedDict, total=False):
        cents: int
        lines: Annotated[list[Any], add]

    def step(state: Any) -> Any:
        return {"lines" if "cents" in state else "log": [HumanMessage(interrupt("?"))]}

    def writes(_: Any) -> Any:
        return {"total": 4}

    migrations = cents().channel_renamed("log", "lines").channel_removed("scratch")
    with open_store(place(backend, request), dotenv=False) as store:
        serde = JsonPlusSerializer()
        old = graph(store, Before, step, writes, saver=SessionSaver(store, serde=serde))
        first = HumanMessage("hi", id="1")
        old.invoke({"total": 3, "scratch": "x", "log": [first]}, CONFIG)
        new = graph(store, After, step, lambda _: {}, migrations=migrations)
        assert new.get_state(CONFIG).values == {"cents": 400, "lines": [first]}
        done = new.invoke(Command(resume="yes"), CONFIG)
        assert (done["cents"], done["lines"][0]) == (400, first)
        assert [each.content for each in done["lines"]] == ["hi", "yes"]
        assert new.get_state(CONFIG).values == done
        rolled_back = graph(store, Before, step, writes).get_state(CONFIG).values
        assert type(rolled_back["total"]) is UnreadableValue
        assert rolled_back["log"] == done["lines"]
        assert "scratch" not in rolled_back
