"""Every change of a class while a run waits: on every backend, with a rollback to the old code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypedDict

import pydantic
import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from saver.backends import place
from values.changes import CHANGES, GONE, UNREADABLE, Change
from values.changing import App, model_kind
from wren_sessions import Migrations, SessionSaver, UnreadableValue, open_store
from wren_sessions.errors import SerializationError
from wren_sessions.protocols import SessionStore

CONFIG: Final[Any] = {"configurable": {"thread_id": "ann"}}
IDS: Final = [f"{change.of}-{change.what}-{change.line}" for change in CHANGES]


@pytest.fixture(name="store", params=["memory", "file", "redis"])
def _store(request: pytest.FixtureRequest) -> Iterator[SessionStore]:
    with open_store(place(request.param, request), dotenv=False) as store:
        yield store


def release(
    store: SessionStore,
    channel: str,
    makes: Callable[[], Any],
    migrations: Migrations | None = None,
    *,
    shows: bool = True,
) -> Any:
    """A graph that asks two times; the first time, another task has written the object."""
    typed: Any = TypedDict
    builder: Any = StateGraph(typed("State", {channel: Any, "n": int, "m": int}, total=False))

    def asks(key: str) -> Callable[[Any], Any]:
        return lambda state: {key: interrupt(state.get(channel) if shows else "Go on?")}

    builder.add_node("makes", lambda _: {channel: makes()})
    builder.add_node("asks", asks("n"))
    builder.add_node("asks_again", asks("m"))
    builder.add_edge(START, "makes")
    builder.add_edge(START, "asks")
    builder.add_edge(["makes", "asks"], "asks_again")
    return builder.compile(checkpointer=SessionSaver(store, migrations=migrations))


def never() -> Any:
    """What is done is not done again."""
    raise AssertionError


@pytest.mark.parametrize("change", CHANGES, ids=IDS)
def test_a_change_while_a_run_waits(change: Change, store: SessionStore) -> None:
    """New code has what was written and pending, and goes on; then the old code does."""
    moved = "module_moved" in change.line
    shows = change.new(App()) is not UNREADABLE and change.back is None
    app = App()
    value = change.old(app)
    if moved:
        app.move("changing_app.before")
    old = release(store, "it", lambda: value, shows=shows)
    old.invoke({"it": value, "n": 0}, CONFIG)
    if moved:
        app.move("changing_app")
    expected = change.new(app)
    migrations = change.migrations() if change.migrations else None
    new = release(store, change.channel, never, migrations, shows=shows)
    before = new.get_state(CONFIG)
    assert len(before.interrupts) == 1
    check(before.values.get(change.channel, GONE), expected)
    new.invoke(Command(resume=7), CONFIG)
    after = new.get_state(CONFIG)
    assert (after.values["n"], after.next) == (7, ("asks_again",))
    check(after.values.get(change.channel, GONE), expected)
    app.drop("Profile")
    value = change.old(app)
    back = change.back(app) if callable(change.back) else change.back
    if moved:
        app.move("changing_app.before")
    rolled_back = release(store, "it", never, shows=shows)
    rolled_back.invoke(Command(resume=8), CONFIG)
    found = rolled_back.get_state(CONFIG)
    assert (found.values["n"], found.values["m"], found.next) == (7, 8, ())
    check(found.values.get("it", GONE), value if back is None else back)


def test_a_question_that_does_not_fit(store: SessionStore) -> None:
    """It cannot be answered by new code, which says why and stores nothing; old code goes on."""
    app = App()
    older = app.releases(model_kind())
    old = release(store, "it", lambda: older(kept=5))
    old.invoke({"it": older(kept=1), "n": 0}, CONFIG)
    app.releases(pydantic.create_model("Changing", kept=(int, ...), city=(str, ...)))
    new = release(store, "it", never)
    assert new.get_state(CONFIG).values["n"] == 0
    with pytest.raises(SerializationError, match=r"pending write .*'ann' .*'city'"):
        new.invoke(Command(resume=7), CONFIG)
    app.releases(older)
    release(store, "it", never).invoke(Command(resume=7), CONFIG)
    found = release(store, "it", never).get_state(CONFIG)
    assert (found.values["it"], found.values["n"]) == (older(kept=5), 7)
    assert found.next == ("asks_again",)


def check(found: Any, expected: Any) -> None:
    """Make sure that a value is as it should be."""
    if expected is UNREADABLE:
        assert type(found) is UnreadableValue
    else:
        assert found == expected
        assert type(found) is type(expected)
