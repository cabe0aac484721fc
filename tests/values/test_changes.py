"""Every change of a class, on every backend: nothing is lost, and nothing silently wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from saver.backends import place
from values.changes import CHANGES, GONE, UNREADABLE, Change, table
from values.changing import App
from wren_sessions import Migrations, Sessions, UnreadableValue, open_store

PAGE: Final = Path(__file__).parents[2] / "docs/reference/changes.md"
IDS: Final = [f"{change.of}-{change.what}-{change.line}" for change in CHANGES]


@pytest.mark.parametrize("backend", ["memory", "file", "redis"])
@pytest.mark.parametrize("change", CHANGES, ids=IDS)
def test_a_change(app: App, change: Change, backend: str, request: pytest.FixtureRequest) -> None:
    """The new release reads it or says why not; then the old one; and the new one again."""
    with open_store(place(backend, request), dotenv=False) as store:

        def release(migrations: Migrations | None = None) -> Sessions:
            """Another process has a cache of its own."""
            return Sessions(store, migrations=migrations)

        moved = "module_moved" in change.line
        value = change.old(app)
        if moved:
            app.move("changing_app.before")
        release().save("ann", {"it": value, "n": 1})
        if moved:
            app.move("changing_app")
        expected = change.new(app)
        migrations = change.migrations() if change.migrations else None
        state = release(migrations).load("ann").state
        check(state.get(change.channel, GONE), expected)
        release(migrations).save("ann", {**state, "n": state["n"] + 1})
        app.drop("Profile")
        before = change.old(app)
        if moved:
            app.move("changing_app.before")
        back = change.back(app) if callable(change.back) else change.back
        state = release().load("ann").state
        assert state["n"] == 2
        check(state.get("it", GONE), before if back is None else back)
        release().save("ann", {**state, "n": state["n"] + 1})
        if moved:
            app.move("changing_app")
        expected = change.new(app)
        state = release(migrations).load("ann").state
        assert state["n"] == 3
        check(state.get(change.channel, GONE), expected)


def check(found: Any, expected: Any) -> None:
    """Make sure that a value is as it should be."""
    if expected is UNREADABLE:
        assert type(found) is UnreadableValue
    else:
        assert found == expected
        assert type(found) is type(expected)


def test_there_are_enough() -> None:
    """Of all sorts of classes."""
    assert len(CHANGES) >= 50
    assert len(set(IDS)) == len(IDS)


def test_the_table_of_the_documentation() -> None:
    """It is made of these changes: print(values.changes.table()) gives it."""
    assert table() in PAGE.read_text()
