"""Data types are restored by their fields: nothing of the application runs, nothing gets lost."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

import pydantic
import pydantic.v1
import pytest
from langchain_core.messages import HumanMessage
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from values import kinds
from values.changing import (
    KINDS,
    App,
    dataclass_kind,
    model_kind,
    named_tuple_kind,
    read,
    written,
)
from values.comparing import same
from wren_sessions import PlainObject, PlainSerializer, SafeSerializer
from wren_sessions.errors import SerializationError, UnsafeTypeError


@pytest.fixture(autouse=True)
def _nothing_ran() -> Iterator[None]:
    kinds.RAN.clear()
    yield
    kinds.RAN.clear()


def again(value: Any) -> Any:
    """A value, written and read."""
    serde = SafeSerializer()
    return serde.loads_typed(serde.dumps_typed(value))


def test_no_code_of_a_class_runs() -> None:
    """Neither constructor, nor validator, nor ``__post_init__``, nor ``__setattr__``."""
    loaded = object.__new__(kinds.LoadedData)
    object.__getattribute__(loaded, "__dict__")["a"] = [1]
    values = [kinds.Note("x"), kinds.Answer(answerText="x"), kinds.Old(name="x"), loaded]
    stored = SafeSerializer().dumps_typed(values)
    kinds.RAN.clear()
    found = SafeSerializer().loads_typed(stored)
    assert kinds.RAN == []
    assert same(found[:3], values[:3])
    assert object.__getattribute__(found[3], "__dict__") == {"a": [1]}


def test_what_a_model_keeps_besides_its_fields_survives() -> None:
    """Private attributes, extras, the set of given fields, and other attributes."""
    answer = kinds.Answer(answerText="x")
    answer._seen = 7
    found = again(answer)
    assert found._seen == 7
    assert found.model_fields_set == {"text"}
    assert found.__pydantic_private__ == {"_seen": 7}
    found.score = 2.0
    assert found.model_fields_set == {"text", "score"}
    opened = again(kinds.Open.model_validate({"b": [1]}))
    assert opened.model_extra == {"b": [1]}
    assert again(kinds.Old(name="x", inner=1)).__fields_set__ == {"name", "inner"}


def test_what_can_be_made_again_is_not_stored() -> None:
    """A cached property is computed again; it may hold what cannot be stored."""
    for value in (kinds.Note("x"), kinds.Answer(answerText="x")):
        assert value.upper == "X"
        found = again(value)
        assert "upper" not in vars(found)
        assert found.upper == "X"


def test_attributes_besides_the_fields_of_a_dataclass_survive() -> None:
    """What ``__post_init__`` set is there, though it did not run again."""
    assert again(kinds.Note("x")).seen is True


def test_a_restored_message_takes_new_attributes() -> None:
    """As a new one does, and they are extras."""
    found = again([HumanMessage("x")])[0]
    found.rating = 5
    assert found.model_extra == {"rating": 5}
    assert again([found])[0].rating == 5


def test_a_frozen_instance_stays_frozen() -> None:
    """It was put together without its constructor, and is none the weaker for it."""
    with pytest.raises(AttributeError):
        again(kinds.Frozen("x")).name = "y"
    with pytest.raises(pydantic.ValidationError):
        again(kinds.Steady(name="x")).name = "y"
    assert len({again(kinds.Frozen("x")), kinds.Frozen("x")}) == 1


# --- a class that changed -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_field_gets_its_default(app: App, kind: Any) -> None:
    """It is the declared one, and each instance has its own."""
    stored = written(app.releases(kind())(kept=5))
    after = app.releases(kind(new="default", items=[]))
    found = read(stored)
    assert type(found) is after
    assert (found.kept, found.new, found.items) == (5, "default", [])
    if kind is not named_tuple_kind:  # the one default is all that a named tuple has
        found.items.append(1)
        assert read(stored).items == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_that_is_gone_is_named(app: App, kind: Any) -> None:
    """A strict serializer drops no data without a word; how others keep it: test_changed.py."""
    stored = written(app.releases(kind(gone=1))(kept=5))
    app.releases(kind())
    with pytest.raises(SerializationError, match=r"changing_app:Changing .*'gone'"):
        SafeSerializer(strict=True).loads_typed(stored)


@pytest.mark.parametrize("kind", KINDS)
def test_fields_may_change_places(app: App, kind: Any) -> None:
    """They are stored by name, those of a named tuple too."""
    stored = written(app.releases(kind(a=1, b=2))(kept=5, a=6, b=7))
    app.releases(kind(b=2, a=1))
    found = read(stored)
    assert (found.kept, found.a, found.b) == (5, 6, 7)


def test_an_open_model_takes_what_it_does_not_know(app: App) -> None:
    """A field that is gone becomes an extra, where extras are allowed."""
    stored = written(app.releases(model_kind(gone=1))(kept=5))
    app.releases(
        pydantic.create_model("Changing", kept=(int, ...), __config__=ConfigDict(extra="allow"))
    )
    found = read(stored)
    assert found.model_extra == {"gone": 1}
    assert found.kept == 5


def test_extras_are_an_error_once_they_are_not_allowed(app: App) -> None:
    """They would be lost."""
    opened = pydantic.create_model(
        "Changing", kept=(int, ...), __config__=ConfigDict(extra="allow")
    )
    stored = written(app.releases(opened)(kept=5, more=6))
    app.releases(model_kind())
    with pytest.raises(SerializationError, match="'more'"):
        SafeSerializer(strict=True).loads_typed(stored)


def test_a_field_without_a_plain_default_is_an_error(app: App) -> None:
    """A factory is the application's code, and a required field has no default at all."""
    stored = written(app.releases(model_kind())(kept=5))
    factory = Field(default_factory=lambda: kinds.RAN.append("factory"))
    for field_ in (factory, Field(), [kinds.Plain()]):
        app.releases(pydantic.create_model("Changing", kept=(int, ...), new=(Any, field_)))
        with pytest.raises(SerializationError, match=r"'new'.*default"):
            read(stored)
    assert kinds.RAN == []


def test_new_private_attributes_get_their_defaults(app: App) -> None:
    """Those without a default stay unset, as in a new instance."""
    stored = written(app.releases(model_kind())(kept=5))

    class Changing(BaseModel):
        kept: int
        _private: list[int] = PrivateAttr(default=[4])
        _made: dict[str, int] = PrivateAttr(default_factory=dict)
        _unset: int

    app.releases(Changing)
    found = read(stored)
    assert found.__pydantic_private__ == {"_private": [4], "_made": {}}


def test_a_member_that_is_gone_is_an_error(app: App) -> None:
    """Members are stored by name: their values may change."""
    stored = written(app.releases(enum.Enum("Changing", {"A": 1}))["A"])
    assert read(written([app.releases(enum.Enum("Changing", {"A": 2}))["A"]]))[0].value == 2
    assert read(stored).value == 2
    app.releases(enum.Enum("Changing", {"B": 1}))
    with pytest.raises(SerializationError, match="changing_app:Changing"):
        read(stored)


def test_a_class_of_another_kind_is_an_error(app: App) -> None:
    """A dataclass that became a model is not guessed at."""
    stored = written(app.releases(dataclass_kind())(kept=5))
    app.releases(model_kind())
    with pytest.raises(SerializationError, match="another kind"):
        read(stored)


def test_a_class_that_was_made_again_is_the_one_that_counts(app: App) -> None:
    """After a reload, what its name stands for is the new class; old instances stay what they are.

    Unless the serializer is strict.
    """
    first = app.releases(dataclass_kind())
    stored = written(first(kept=5))
    second = app.releases(dataclass_kind())
    assert type(read(stored)) is second
    assert type(read(written(first(kept=5)))) is first
    with pytest.raises(SerializationError, match="does not lead back"):
        SafeSerializer(strict=True).dumps_typed(first(kept=5))


# --- generics -------------------------------------------------------------------------------------


def test_a_parametrized_model_must_be_there() -> None:
    """Making one runs the application's code, so data does not make one."""
    stored = written(kinds.IntBox(content=1))
    assert type(read(stored)) is kinds.IntBox
    unknown = (stored[0], stored[1].replace(b"builtins:int", b"builtins:map"))
    with pytest.raises(UnsafeTypeError, match=r"kinds:Box\[map\]"):
        read(unknown)
    assert PlainSerializer().loads_typed(unknown) == PlainObject(
        "values.kinds:Box[map]", {"content": 1}
    )
