"""Graphs whose state's classes change between releases: nobody is stuck, and nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final, TypedDict

import pydantic
import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from saver.backends import TellingSaver, place
from values.changing import App, dataclass_kind, model_kind
from wren_sessions import (
    Compression,
    Encryption,
    MemoryStore,
    Migrations,
    ProtectedStore,
    SessionSaver,
    UnreadableValue,
    open_store,
)
from wren_sessions.errors import SerializationError

CONFIG: Final[Any] = {"configurable": {"thread_id": "ann"}}
TURNS: Final = 200


@pytest.fixture(name="app")
def _app() -> App:
    return App()


class State(TypedDict, total=False):
    """A state of which one key holds the application's object."""

    it: Any
    n: int
    log: Annotated[list[Any], lambda left, right: left + right]


def graph(
    store: Any, step: Any, migrations: Migrations | None = None, *, nested: bool = False
) -> Any:
    """A release: one node, in a subgraph or not."""
    builder = StateGraph(State)
    builder.add_node("step", step)
    builder.add_edge(START, "step")
    builder.add_edge("step", END)
    saver = SessionSaver(store, migrations=migrations)
    if not nested:
        return builder.compile(checkpointer=saver)
    outer = StateGraph(State)
    outer.add_node("inner", builder.compile())
    outer.add_edge(START, "inner")
    return outer.compile(checkpointer=saver)


def count(state: State) -> State:
    """A node that does not look at the object."""
    return {"n": state.get("n", 0) + 1}


def asks(state: State) -> State:
    """A node that waits for an answer."""
    return {"n": interrupt(state["it"])}


@pytest.mark.parametrize("backend", ["memory", "file", "redis"])
@pytest.mark.parametrize("kind", [model_kind, dataclass_kind])
def test_old_and_new_workers_in_turns(
    app: App, kind: Any, backend: str, request: pytest.FixtureRequest
) -> None:
    """No update is lost, and fields that one of them does not know survive it."""
    older, newer = kind(name="", turns=0), kind(full_name="", turns=0, city="")
    migrations = Migrations().field_renamed("changing_app:Changing", name="full_name")

    def old(state: State) -> State:
        it = state["it"]
        it.turns += 1
        if it.turns % 10 == 0:
            it.name = f"{it.name}+"
        return {"it": it, "n": state["n"] + 1}

    def new(state: State) -> State:
        it = state["it"]
        it.turns += 1
        it.city = it.city or "Bonn"
        return {"it": it, "n": state["n"] + 1}

    with open_store(place(backend, request), dotenv=False) as store:
        workers = [graph(store, old), graph(store, new, migrations)]
        first: Any = {"it": app.releases(older)(kept=1, name="Ann"), "n": 0}
        workers[0].invoke(first, CONFIG)
        for turn in range(1, TURNS):
            app.releases(newer if turn % 2 else older)
            workers[turn % 2].invoke({}, CONFIG)
        app.releases(newer)
        found = workers[1].get_state(CONFIG).values
    assert found["n"] == TURNS
    assert (found["it"].turns, found["it"].city) == (TURNS, "Bonn")
    marks = sum(turn % 10 == 0 for turn in range(1, TURNS + 1) if turn % 2)
    assert found["it"].full_name == "Ann" + "+" * marks


def test_nodes_that_make_new_objects_in_turns(app: App) -> None:
    """``dataclasses.replace`` loses no field that one of the releases does not know."""
    older, newer = dataclass_kind(turns=0), dataclass_kind(turns=0, city="")

    def old(state: State) -> State:
        return {"it": replace(state["it"], turns=state["it"].turns + 1)}

    def new(state: State) -> State:
        city = state["it"].city or "Bonn"
        return {"it": replace(state["it"], turns=state["it"].turns + 1, city=city)}

    store = MemoryStore()
    first: Any = {"it": app.releases(older)(kept=1)}
    found = graph(store, old).invoke(first, CONFIG)["it"]
    for turn in range(1, 20):
        app.releases(newer if turn % 2 else older)
        found = graph(store, new if turn % 2 else old).invoke({}, CONFIG)["it"]
    assert found == newer(kept=1, turns=20, city="Bonn")


@pytest.mark.parametrize(
    "protection",
    [{}, {"compression": Compression()}, {"encryption": Encryption([("key", bytes(32))])}],
    ids=["plain", "compressed", "encrypted"],
)
@pytest.mark.parametrize("place", ["before", "behind", "around"])
def test_new_objects_beside_a_long_text(app: App, place: str, protection: Any) -> None:
    """No field is lost either where the long part of a value is compressed or encrypted."""
    older, newer = dataclass_kind(turns=0), dataclass_kind(turns=0, city="")
    places = {"before": ("it", "text"), "behind": ("text", "it"), "around": ("it", "text", "too")}

    def step(state: State) -> State:
        every = state["it"].items()
        return {"it": {k: v if k == "text" else replace(v, turns=v.turns + 1) for k, v in every}}

    store = ProtectedStore(MemoryStore(), **protection) if protection else MemoryStore()
    found = app.releases(newer)(kept=1, city="Bonn")
    text = "a long text, " * 300
    first: Any = {"it": {key: text if key == "text" else found for key in places[place]}}
    graph(store, step).invoke(first, CONFIG)
    app.releases(older)
    graph(store, step).invoke({}, CONFIG)
    app.releases(newer)
    objects = dict(graph(store, step).get_state(CONFIG).values["it"])
    assert objects.pop("text") == text
    assert [*objects.values()] == [newer(kept=1, turns=2, city="Bonn")] * len(objects)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("how", ["removed", "renamed", "required"])
def test_a_run_that_waits_goes_on_with_new_code(app: App, how: str, *, nested: bool) -> None:
    """In a subgraph too: the state, the question and the pending writes are read."""
    store = MemoryStore()
    older = app.releases(model_kind(name=""))
    graph(store, asks, nested=nested).invoke({"it": older(kept=1, name="Ann")}, CONFIG)
    migrations = Migrations()
    if how == "removed":
        newer: Any = app.releases(model_kind())
        expected = newer(kept=1)
    elif how == "renamed":
        newer = app.releases(model_kind(full_name=""))
        migrations.field_renamed(newer, name="full_name")
        expected = newer(kept=1, full_name="Ann")
    else:
        fields: dict[str, Any] = {"kept": (int, ...), "name": (str, ""), "city": (str, ...)}
        newer = app.releases(pydantic.create_model("Changing", **fields))
        migrations.migration(newer, since=1)(lambda fields: {**fields, "city": "?"})
        expected = newer(kept=1, name="Ann", city="?")
    release = graph(store, asks, migrations, nested=nested)
    (asked,) = release.get_state(CONFIG).interrupts
    assert asked.value == expected
    done = release.invoke(Command(resume=7), CONFIG)
    assert (done["it"], done["n"]) == (expected, 7)


def test_a_value_that_does_not_fit_stops_who_uses_it_alone(app: App) -> None:
    """A node that does not look at it goes on, from turn to turn; old code has it again."""
    store = MemoryStore()
    older = app.releases(model_kind())
    graph(store, count).invoke({"it": older(kept=1)}, CONFIG)
    app.releases(pydantic.create_model("Changing", kept=(int, ...), city=(str, ...)))
    for turn in (2, 3):
        found = graph(store, count).invoke({}, CONFIG)
        assert found["n"] == turn
        assert type(found["it"]) is UnreadableValue

    def uses(state: State) -> State:
        return {"n": state["it"].kept}

    with pytest.raises(SerializationError, match=r"channel 'it' of .*'ann' .*'city'"):
        graph(store, uses).invoke({}, CONFIG)
    app.releases(older)
    assert graph(store, uses).invoke({}, CONFIG)["it"] == older(kept=1)


def test_an_object_in_a_list_that_grows(app: App) -> None:
    """A reducer goes on with what was read."""
    store = MemoryStore()
    older = app.releases(model_kind(gone=0))

    def logs(state: State) -> State:
        kind = app.kind("Changing")
        return {"log": [kind(kept=len(state.get("log", ())))]}

    graph(store, logs).invoke({"log": [older(kept=9, gone=1)]}, CONFIG)
    app.releases(model_kind())
    graph(store, logs).invoke({}, CONFIG)
    app.releases(older)
    log = graph(store, logs).get_state(CONFIG).values["log"]
    assert [(each.kept, each.gone) for each in log] == [(9, 1), (1, 0), (2, 0)]


def test_what_a_failed_step_wrote_is_read_by_new_code(app: App) -> None:
    """Pending writes of one task are kept while another one is run again."""
    store = MemoryStore()
    older = app.releases(model_kind(name=""))

    def release(migrations: Migrations | None, *, fails: bool) -> Any:
        builder: Any = StateGraph(State)

        def writes(_: State) -> State:
            return {"it": older(kept=1, name="Ann")}

        def breaks(_: State) -> State:
            if fails:
                assert saver.wrote.wait(60)  # the other task is done
                raise RuntimeError
            return {"n": 1}

        builder.add_node("writes", writes)
        builder.add_node("breaks", breaks)
        builder.add_edge(START, "writes")
        builder.add_edge(START, "breaks")
        saver = TellingSaver(store, "it", migrations=migrations)
        return builder.compile(checkpointer=saver)

    with pytest.raises(RuntimeError):
        release(None, fails=True).invoke({"n": 0}, CONFIG)
    newer = app.releases(model_kind(full_name=""))
    migrations = Migrations().field_renamed(newer, name="full_name")
    found = release(migrations, fails=False).invoke(None, CONFIG)
    assert found["it"] == newer(kept=1, full_name="Ann")


def test_a_channel_that_lives_in_its_history(app: App) -> None:
    """LangGraph's DeltaChannel: its ancestors' writes are migrated one by one."""
    channels = pytest.importorskip("langgraph.channels.delta")
    store = MemoryStore()
    older = app.releases(model_kind(name=""))

    def join(left: Any, right: Any) -> Any:
        return [*left, *(each for some in right for each in some)]

    typed: Any = TypedDict
    log = Annotated[list[Any], channels.DeltaChannel(join)]
    long = typed("Long", {"log": log, "n": int}, total=False)

    def release(migrations: Migrations | None) -> Any:
        builder = StateGraph(long)
        builder.add_node("step", lambda state: {"n": len(state["log"])})
        builder.add_edge(START, "step")
        return builder.compile(checkpointer=SessionSaver(store, migrations=migrations))

    for name in ("Ann", "Bob"):
        release(None).invoke({"log": [older(kept=1, name=name)]}, CONFIG)
    newer = app.releases(model_kind(full_name=""))
    migrations = Migrations().field_renamed(newer, name="full_name")
    release(migrations).invoke({"log": [newer(kept=1, full_name="Cid")]}, CONFIG)
    found = release(migrations).get_state(CONFIG).values["log"]
    assert [each.full_name for each in found] == ["Ann", "Bob", "Cid"]
    app.releases(older)
    assert [each.name for each in release(None).get_state(CONFIG).values["log"]] == [
        "Ann",
        "Bob",
        "Cid",
    ]
