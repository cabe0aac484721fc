"""Fields whose types change: what is stored is checked, and nothing is silently wrong."""

from __future__ import annotations

import enum
import logging
from dataclasses import make_dataclass
from datetime import date
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional

import pydantic
import pytest
from typing_extensions import TypedDict

from remedies.proposals import tries
from values.changes import SORTS, Sort, typed
from values.changing import App, dataclass_kind, model_kind, written
from wren_sessions import MemoryStore, Migrations, PlainSerializer, SafeSerializer, Sessions
from wren_sessions.errors import SerializationError

UserId = NewType("UserId", str)


class Key(TypedDict):
    """A typed dict in a field."""

    a: int


class Mood(enum.Enum):
    """An enum in a field."""

    GOOD = 1


class Inner(NamedTuple):
    """An object in a field."""

    n: int


def read(stored: tuple[str, bytes]) -> Any:
    """What is stored, as a value."""
    return SafeSerializer().loads_typed(stored)


@pytest.mark.parametrize("sort", SORTS, ids=lambda sort: sort.name)
@pytest.mark.parametrize(
    ("after", "value", "found"),
    [
        (int, "3", 3),
        (bool, 1, True),
        (int, 3.0, 3),
        (date, "2025-11-08", date(2025, 11, 8)),
        (tuple[int, ...], [1, 2], (1, 2)),
        (dict[str, int], {"a": "1"}, {"a": 1}),
        (Annotated[int, pydantic.Field(gt=5)], "3", 3),
        (UserId, "u", "u"),
        (Mood, Mood.GOOD, Mood.GOOD),
        (Mood | int, 3, 3),
        (Inner | None, Inner(1), Inner(1)),
        (Key, {"a": "x"}, {"a": "x"}),
        (list[Inner], [Inner(1)], [Inner(1)]),
        (Literal[1, "a"], "a", "a"),
        (Any, "x", "x"),
    ],
)
def test_what_is_taken(app: App, sort: Sort, after: Any, value: Any, found: Any) -> None:
    """As it is, or as lax mode makes it; limits and validators are not asked."""
    stored = written(made(app, sort, value))
    kind = app.releases(typed(sort, after))
    got = read(stored)
    assert (type(got), got.it, type(got.it)) == (kind, found, type(found))
    assert read(written(got)) == got


def made(app: App, sort: Sort, value: Any) -> Any:
    """An object of the release before, whose class says nothing that fits."""
    kind = app.releases(typed(sort, Any))
    make = getattr(kind, "model_construct", None) or getattr(kind, "construct", kind)
    return make(kept=5, it=value)


@pytest.mark.parametrize("sort", SORTS, ids=lambda sort: sort.name)
@pytest.mark.parametrize(
    ("after", "value"),
    [
        (int, "x"),
        (int, None),
        (str, 5),
        (bool, 7),
        (Mood, 1),
        (Inner, {"n": 1}),
        (Inner, Mood.GOOD),
        (list[Inner], [Inner(1), 5]),
        (Literal["a"], "b"),
        (dict[str, int], [1]),
    ],
)
def test_what_is_not_taken_is_an_error(app: App, sort: Sort, after: Any, value: Any) -> None:
    """That names class and field, and not the value; objects are not made of plain data."""
    stored = written(made(app, sort, value))
    app.releases(typed(sort, after))
    match = "changing_app:Changing was stored with 'it' as .*which its annotation does not take"
    with pytest.raises(SerializationError, match=match) as caught:
        read(stored)
    assert caught.value.deferrable
    assert caught.value.line == '.migration("changing_app:Changing", since=…)'


@pytest.mark.parametrize("sort", SORTS, ids=lambda sort: sort.name)
def test_what_never_fitted_is_left_alone(app: App, sort: Sort) -> None:
    """Where the field's annotation is the same, whatever else of the class has changed."""
    older = typed(sort, int)
    app.releases(older)
    make = getattr(older, "model_construct", None) or getattr(older, "construct", older)
    stored = written(make(kept="no int", it="no int either"))
    app.releases(typed(sort, Any))
    found = read(stored)
    assert (found.kept, found.it) == ("no int", "no int either")


@tries("give the field that type again, or another name")
def test_the_type_again_or_another_name(app: App) -> None:
    """Both read the value."""
    older: Any = {"kept": (int, ...), "it": (str, ...)}
    stored = written(app.releases(pydantic.create_model("Changing", **older))(kept=5, it="x"))
    app.releases(pydantic.create_model("Changing", **older | {"it": (int, ...)}))
    with pytest.raises(SerializationError, match="give the field that type again, or another"):
        read(stored)
    app.releases(pydantic.create_model("Changing", kept=(int, ...), number=(int, 0)))
    assert read(stored).model_dump() == {"kept": 5, "number": 0}
    app.releases(pydantic.create_model("Changing", **older))
    assert read(stored).model_dump() == {"kept": 5, "it": "x"}


def test_a_default_fits_whatever_it_is(app: App) -> None:
    """``x: int = None`` is widely written."""
    stored = written(app.releases(dataclass_kind(x=None))(kept=5))
    kind: Any = app.releases(make_dataclass("Changing", [("kept", int), ("x", int, None)]))
    assert read(stored) == kind(5, None)


def test_words_that_mean_the_same(app: App) -> None:
    """Nothing is checked: the shapes are the same."""
    pairs: list[tuple[Any, Any, Any]] = [
        (Optional[int], int | None, 7),  # noqa: UP045 -- the old words
        (Annotated[int, "x"], int, 7),
        (UserId, str, "7"),
    ]
    for old, new, value in pairs:
        before, after = (
            written(app.releases(typed(SORTS[0], each))(kept=1, it=value)) for each in (old, new)
        )
        assert before == after


def test_nested_objects_and_renamed_fields(app: App) -> None:
    """Each object says its types; a renamed field takes its type with it."""
    older = app.releases(pydantic.create_model("Changing", kept=(int, ...), n=(str, ...)))
    stored = written([{"a": older(kept=1, n="x")}])
    newer = app.releases(pydantic.create_model("Changing", kept=(int, ...), number=(int, ...)))
    migrations = Migrations().field_renamed(newer, n="number")
    migrating = SafeSerializer(migrations=migrations)
    with pytest.raises(SerializationError, match="stored with 'number' as str"):
        migrating.loads_typed(stored)
    fitting = written([{"a": app.releases(older)(kept=1, n="7")}])
    app.releases(newer)
    found = migrating.loads_typed(fitting)
    assert found == [{"a": newer(kept=1, number=7)}]
    assert migrating.loads_typed(migrating.dumps_typed(found)) == found


def test_what_functions_return_is_checked(app: App) -> None:
    """Of the fields that they changed; nested objects that they pass on keep their types."""
    inner = app.also("Inner", pydantic.create_model("Inner", n=(str, ...)))
    older = pydantic.create_model("Changing", it=(int, ...), inner=(Any, ...))
    stored = written(app.releases(older)(it=3, inner=inner(n="x")))
    newer = app.releases(pydantic.create_model("Changing", it=(str, ...), inner=(Any, ...)))

    def migrating(function: Any) -> SafeSerializer:
        migrations = Migrations()
        migrations.migration(newer, since=1)(function)
        return SafeSerializer(migrations=migrations)

    right = migrating(lambda fields: {**fields, "it": str(fields["it"])})
    assert right.loads_typed(stored) == newer(it="3", inner=inner(n="x"))
    wrong = migrating(lambda fields: {**fields, "it": fields["it"] + 1})
    with pytest.raises(SerializationError, match="stored with 'it' as int"):
        wrong.loads_typed(stored)
    app.also("Inner", pydantic.create_model("Inner", n=(int, ...)))
    with pytest.raises(SerializationError, match="Inner was stored with 'n' as str"):
        right.loads_typed(stored)


def test_what_is_kept_aside_does_not_shift_types(app: App) -> None:
    """A field that is gone, in front of one whose type changed."""
    fields: Any = {"gone": (str, ...), "kept": (int, ...), "it": (str, ...)}
    stored = written(
        app.releases(pydantic.create_model("Changing", **fields))(gone="x", kept=5, it="7")
    )
    newer = app.releases(pydantic.create_model("Changing", kept=(int, ...), it=(int, ...)))
    found = read(stored)
    assert found == newer(kept=5, it=7)
    again = written(found)
    app.releases(pydantic.create_model("Changing", **fields | {"it": (int, ...)}))
    assert read(again).model_dump() == {"gone": "x", "kept": 5, "it": 7}


def test_the_rest_of_a_session_goes_on(app: App, caplog: pytest.LogCaptureFixture) -> None:
    """The value is an error where it is used; what lax mode takes is written by the next put."""
    caplog.set_level(logging.WARNING)
    store = MemoryStore()
    older = app.releases(pydantic.create_model("Changing", it=(str, ...)))
    Sessions(store).save("ann", {"a": older(it="x"), "b": older(it="7"), "n": 1})
    newer = app.releases(pydantic.create_model("Changing", it=(int, ...)))
    state = Sessions(store).load("ann").state
    assert (state["b"], state["n"]) == (newer(it=7), 1)
    with pytest.raises(SerializationError, match=r"'a' of session 'ann'.*stored with 'it' as str"):
        _ = state["a"].it
    Sessions(store).save("ann", {**state, "n": 2})
    app.releases(older)
    assert Sessions(store).load("ann").state["a"] == older(it="x")


def test_viewers_do_not_look_at_types(app: App) -> None:
    """They read what is there."""
    stored = written(app.releases(model_kind())(kept=5))
    assert PlainSerializer().loads_typed(stored).value == {"kept": 5}
