"""Declared changes of classes: applied when read, written by the next put, never twice."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import pydantic
import pytest
from langchain_core.messages import HumanMessage

from values.changing import App, dataclass_kind, model_kind, named_tuple_kind, old_model_kind
from wren_sessions import MemoryStore, Migrations, SafeSerializer, Sessions, SessionSaver
from wren_sessions.errors import ConfigurationError, SerializationError, UnsafeTypeError

NAME = "changing_app:Changing"
PLAIN = SafeSerializer()
KEEPING = (dataclass_kind, model_kind, old_model_kind)
Item = TypeVar("Item")


def serde(migrations: Migrations) -> SafeSerializer:
    """A serializer that knows of changes."""
    return SafeSerializer(migrations=migrations)


@pytest.mark.parametrize("kind", [*KEEPING, named_tuple_kind])
def test_a_class_has_another_name(app: App, kind: Any) -> None:
    """In another module too, in nested values, and where it is an argument of a generic."""
    value = {"a": [(app.releases(kind())(kept=5), 1)]}
    stored = PLAIN.dumps_typed(value)
    app.without("Changing")
    new = app.also("Profile", kind())
    found = serde(Migrations().renamed(NAME, "changing_app:Profile")).loads_typed(stored)
    assert found == {"a": [(new(kept=5), 1)]}
    assert PLAIN.loads_typed(PLAIN.dumps_typed(found)) == found


def test_renames_go_on(app: App) -> None:
    """From release to release; classes nested in it, and modules, go with it."""
    stored = PLAIN.dumps_typed(app.releases(model_kind())(kept=5))
    app.without("Changing")
    new = app.also("Newest", model_kind())
    migrations = (
        Migrations()
        .renamed(NAME, "old.place:Middle")
        .module_moved("old", "changing_app")
        .module_moved("changing_app.place", "changing_app")
        .renamed("changing_app:Middle", new)
    )
    assert serde(migrations).loads_typed(stored) == new(kept=5)
    assert migrations.today(f"{NAME}.Inner") == "changing_app:Newest.Inner"
    assert migrations.today("older:P") == "older:P"


@pytest.mark.parametrize("kind", KEEPING)
def test_a_field_has_another_name(app: App, kind: Any) -> None:
    """Old code finds it under the old name, changes it, and new code finds the change."""
    older, newer = kind(name="", other=1), kind(full_name="", other=1)
    stored = PLAIN.dumps_typed(app.releases(older)(kept=5, name="Ann"))
    app.releases(newer)
    migrating = serde(Migrations().field_renamed(newer, name="full_name"))
    found = migrating.loads_typed(stored)
    assert found == newer(kept=5, full_name="Ann")
    found.full_name = "Bob"
    stored = migrating.dumps_typed(found)
    app.releases(older)
    found = PLAIN.loads_typed(stored)
    assert found == older(kept=5, name="Bob")
    found.name = "Cid"
    stored = PLAIN.dumps_typed(found)
    app.releases(newer)
    assert migrating.loads_typed(stored) == newer(kept=5, full_name="Cid")


def test_which_fields_were_set_stays_known(app: App) -> None:
    """Under their new names."""
    older = app.releases(model_kind(a=0, b=0, c=0))
    stored = PLAIN.dumps_typed(older(kept=5, b=2))
    newer = app.releases(model_kind(a=0, bb=0, c=0, d=0))
    migrations = Migrations().field_renamed(newer, b="bb")
    migrations.migration(newer, since=1)(lambda fields: {**fields, "d": 4})
    found = serde(migrations).loads_typed(stored)
    assert found.model_fields_set == {"kept", "bb", "d"}
    found = serde(migrations).loads_typed(serde(migrations).dumps_typed(found))
    assert found.model_fields_set == {"kept", "bb", "d"}
    assert found.model_dump() == {"kept": 5, "a": 0, "bb": 2, "c": 0, "d": 4}


def test_a_field_is_dropped_where_that_is_said(app: App) -> None:
    """Of a named tuple and a class with slots too, which could not be read else."""
    stored = PLAIN.dumps_typed(app.releases(named_tuple_kind(gone=1))(5, 2))
    new = app.releases(named_tuple_kind())
    assert serde(Migrations().field_removed(new, "gone")).loads_typed(stored) == (5,)
    stored = PLAIN.dumps_typed(app.releases(model_kind(gone=1))(kept=5, gone=2))
    new = app.releases(model_kind())
    migrating = serde(Migrations().field_removed(new, "gone"))
    again = migrating.dumps_typed(migrating.loads_typed(stored))
    assert again == PLAIN.dumps_typed(new(kept=5))


def test_members_have_other_names(app: App) -> None:
    """Or another one takes the place of one that is gone; as keys and in sets too."""
    older = app.releases(enum.Enum("Changing", "FREE PAID OLD"))
    stored = PLAIN.dumps_typed([{older.FREE, older.PAID}, {older.OLD: 1}])
    newer = app.releases(enum.Enum("Changing", "BASIC PAID"))
    migrating = serde(Migrations().member_renamed(newer, FREE="BASIC", OLD="PAID"))
    found = migrating.loads_typed(stored)
    assert found == [{newer.BASIC, newer.PAID}, {newer.PAID: 1}]
    assert migrating.loads_typed(migrating.dumps_typed(found)) == found


@pytest.mark.parametrize("kind", [*KEEPING, named_tuple_kind])
def test_functions_run_once_each_in_order(app: App, kind: Any) -> None:
    """What they made is stored with their version, and is not given to them again."""
    older = app.releases(kind(dollars=0))
    stored = PLAIN.dumps_typed([older(kept=5, dollars=3), older(kept=6, dollars=4)])
    newer = app.releases(kind(cents=0, currency=""))
    migrations = Migrations()
    ran: list[int] = []

    @migrations.migration(NAME, since=3)
    def _(fields: dict[str, Any]) -> dict[str, Any]:
        ran.append(3)
        return {**fields, "currency": "USD"}

    @migrations.migration(NAME, since=1)
    def _(fields: dict[str, Any]) -> dict[str, Any]:
        ran.append(1)
        fields["cents"] = fields.pop("dollars") * 100
        return fields

    migrating = serde(migrations)
    found = migrating.loads_typed(stored)
    assert [(each.kept, each.cents, each.currency) for each in found] == [
        (5, 300, "USD"),
        (6, 400, "USD"),
    ]
    assert {type(each) for each in found} == {newer}
    assert sorted(ran) == [1, 1, 3, 3]
    found = migrating.loads_typed(migrating.dumps_typed(found))
    found = migrating.loads_typed(migrating.dumps_typed(found))
    assert [each.cents for each in found] == [300, 400]
    assert len(ran) == 4


def test_code_that_lacks_the_function_does_not_read_what_it_made(app: App) -> None:
    """It would take cents for dollars; what it has not read, it leaves as it is."""
    new = app.releases(model_kind(price=0))
    migrations = Migrations()
    migrations.migration(new, since=2)(lambda fields: {**fields, "price": fields["price"] * 100})
    stored = serde(migrations).dumps_typed(new(kept=5, price=300))
    with pytest.raises(SerializationError, match=r"Changing was migrated to version 2 by newer"):
        PLAIN.loads_typed(stored)
    older = Migrations()
    older.migration(new, since=1)(lambda fields: fields)
    with pytest.raises(SerializationError, match=r"Changing was migrated to version 2 by newer"):
        serde(older).loads_typed(stored)
    sessions = Sessions(MemoryStore(), migrations=migrations)
    sessions.save("ann", {"it": new(kept=5, price=300), "n": 1})
    old = Sessions(sessions.store)
    old.save("ann", {**old.load("ann").state, "n": 2})
    assert sessions.load("ann").state == {"it": new(kept=5, price=300), "n": 2}


def test_functions_get_plain_data_and_stored_objects(app: App) -> None:
    """Which they may look into, change and pass on; and they may return the application's own."""
    inner = app.also("Inner", model_kind(city=""))
    older = app.releases(pydantic.create_model("Changing", home=(Any, ...), rest=(Any, None)))
    mood = app.also("Mood", enum.Enum("Mood", "GOOD BAD"))
    rest = [(1, {2}), HumanMessage("hi"), mood.GOOD, {3: inner(kept=1)}]
    stored = PLAIN.dumps_typed(older(home=inner(kept=1, city="Bonn"), rest=rest))
    newer = app.releases(
        pydantic.create_model("Changing", home=(Any, ...), city=(str, ...), rest=(Any, None))
    )
    migrations = Migrations()

    @migrations.migration(newer, since=1)
    def _(fields: dict[str, Any]) -> dict[str, Any]:
        home = fields["home"]
        assert home.type_name == "changing_app:Inner"
        assert fields["rest"][2].fields == {"name": "GOOD", "value": 1}
        fields["city"] = home.fields["city"]
        home.fields["city"] = "moved"
        fields["rest"].append(mood.BAD)
        return fields

    found = serde(migrations).loads_typed(stored)
    assert found == newer(home=inner(kept=1, city="moved"), city="Bonn", rest=[*rest, mood.BAD])
    assert found.home.model_fields_set == {"kept", "city"}


def fails(fields: dict[str, Any]) -> Any:
    """A migration that does not work."""
    raise ValueError(fields)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (fails, "fails\\) failed with ValueError"),
        (lambda _: None, "returned NoneType"),
        (lambda _: {"kept": object()}, "returned what cannot be stored"),
    ],
)
def test_a_function_that_fails_is_named(
    app: App, function: Callable[[Any], Any], says: str
) -> None:
    """With session, channel and class, where the value is used; what is stored stays."""
    new = app.releases(model_kind())
    sessions = Sessions(MemoryStore())
    sessions.save("ann", {"it": new(kept=987654), "n": 1})
    migrations = Migrations()
    migrations.migration(new, since=7)(function)
    failing = Sessions(sessions.store, migrations=migrations)
    state = failing.load("ann").state
    match = f"'it' of session 'ann'.*since=7 of {NAME}.*{says}"
    with pytest.raises(SerializationError, match=match) as caught:
        _ = state["it"].kept
    assert "987654" not in str(caught.value)
    failing.save("ann", {**state, "n": 2})
    assert sessions.load("ann").state == {"it": new(kept=987654), "n": 2}


def test_a_list_of_what_may_be_built_holds(app: App) -> None:
    """A rename makes nothing of a class that is not on it."""
    stored = PLAIN.dumps_typed(app.releases(model_kind())(kept=5))
    app.also("Profile", model_kind())
    migrations = Migrations().renamed(NAME, "changing_app:Profile")
    with pytest.raises(UnsafeTypeError, match="changing_app:Profile, which is not allowed"):
        SafeSerializer(allow=[NAME], migrations=migrations).loads_typed(stored)
    allowed = SafeSerializer(allow=["changing_app:Profile"], migrations=migrations)
    assert allowed.loads_typed(stored).kept == 5


def test_strict_serializers_migrate_too(app: App) -> None:
    """They refuse what nothing is said about."""
    older = app.releases(model_kind(a=1, b=2))
    stored = PLAIN.dumps_typed(older(kept=5))
    newer = app.releases(model_kind(aa=1))
    migrations = Migrations().field_renamed(newer, a="aa")
    with pytest.raises(SerializationError, match="'b', which the class does not have"):
        SafeSerializer(strict=True, migrations=migrations).loads_typed(stored)
    migrations.field_removed(newer, "b")
    assert SafeSerializer(strict=True, migrations=migrations).loads_typed(stored) == newer(kept=5)


def test_generic_models(app: App) -> None:
    """The origin, and classes in the arguments."""

    class Box(pydantic.BaseModel, Generic[Item]):
        item: Item

    app.also("Box", Box)
    older: Any = app.releases(model_kind())
    box: Any = Box.__class_getitem__(older)
    stored = PLAIN.dumps_typed(box(item=older(kept=5)))
    app.without("Changing")
    newer = app.also("Profile", model_kind())
    migrations = Migrations().renamed(NAME, newer)
    migrations.migration(Box, since=1)(lambda fields: {"item": fields["item"]})
    kind: Any = Box.__class_getitem__(newer)
    found = serde(migrations).loads_typed(stored)
    assert (type(found), found.item) == (kind, newer(kept=5))
    assert serde(migrations).loads_typed(serde(migrations).dumps_typed(found)) == found


def test_what_was_migrated_is_written_by_the_next_put(app: App) -> None:
    """Also in a channel that the step did not change."""
    older = app.releases(model_kind(name=""))
    saver = SessionSaver(MemoryStore())
    config: Any = {"configurable": {"thread_id": "ann", "checkpoint_ns": ""}}
    checkpoint: Any = {
        "v": 4,
        "id": "1" * 8,
        "ts": "2025-11-08T00:00:00+00:00",
        "channel_values": {"it": older(kept=5, name="Ann"), "n": 1},
        "channel_versions": {"it": 1, "n": 1},
        "versions_seen": {},
    }
    saver.put(config, checkpoint, {}, {"it": 1, "n": 1})
    newer = app.releases(model_kind(full_name=""))
    migrations = Migrations().field_renamed(newer, name="full_name")
    migrations.migration(newer, since=1)(lambda fields: fields)
    migrating = SessionSaver(saver.store, migrations=migrations)
    found: Any = migrating.get_tuple(config)
    values = {**found.checkpoint["channel_values"], "n": 2}
    after = found.checkpoint | {
        "id": "2" * 8,
        "channel_values": values,
        "channel_versions": {"it": 1, "n": 2},
    }
    migrating.put(found.config, after, {}, {"n": 2})
    record = saver.store.load("ann", "", None)
    assert record is not None
    assert b"changing_app:Changing#v1" in record.stored.body


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Migrations().renamed("app", "app:P"),
        lambda: Migrations().renamed("a:P", "a:Q").renamed("a:P", "a:R"),
        lambda: Migrations().renamed("a:P", "a:Q").renamed("a:Q", "a:P"),
        lambda: Migrations().module_moved("a", "b").module_moved("b", "a"),
        lambda: Migrations().module_moved("a:P", "b"),
        lambda: Migrations().field_renamed(dataclass_of("a", "b"), a="b"),
        lambda: Migrations().field_renamed(dataclass_of("b"), a="c"),
        lambda: Migrations().field_renamed("a:P", a="b").field_renamed("a:P", a="c"),
        lambda: Migrations().field_renamed("a:P", a="b").field_renamed("a:P", b="c"),
        lambda: Migrations().field_removed(dataclass_of("a"), "a"),
        lambda: Migrations().member_renamed("a:P", A="B").member_renamed("a:P", A="C"),
        lambda: Migrations().migration("a:P", since=0),
        lambda: twice(),  # noqa: PLW0108 -- it is defined below
        lambda: SafeSerializer(
            migrations=Migrations()
            .renamed("a:P", "a:Q")
            .field_removed("a:P", "x")
            .field_removed("a:Q", "y")
        ),
        lambda: SafeSerializer(migrations={}),  # type: ignore[arg-type]
        lambda: SessionSaver(MemoryStore(), serde=Other(), migrations=Migrations()),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: Callable[[], Any]) -> None:
    """When it is registered, with what is wrong."""
    with pytest.raises(ConfigurationError):
        wrong()


class Other:
    """A serializer of somebody else's."""

    def dumps_typed(self, obj: Any) -> Any:
        """As LangGraph's."""

    def loads_typed(self, data: Any) -> Any:
        """As LangGraph's."""


def dataclass_of(*names: str) -> type:
    """A dataclass with these fields."""
    return dataclasses.make_dataclass("Made", names)


def twice() -> None:
    """Two functions for one version."""
    migrations = Migrations()
    for _ in range(2):
        migrations.migration("a:P", since=1)(lambda fields: fields)


def test_classes_of_the_same_name_are_left_alone(app: App) -> None:
    """In another module, with the same fields."""
    kind = app.releases(dataclass_kind(name=""))
    migrations = Migrations().field_renamed("other_app:Changing", name="full_name")
    stored = PLAIN.dumps_typed([kind(kept=1, name="Ann"), "other_app:Changing"])
    assert serde(migrations).loads_typed(stored)[0] == kind(kept=1, name="Ann")


def test_what_is_stored_now_stays_readable(app: App) -> None:
    """The bytes of a renamed field and a version, which later releases read."""
    new = app.releases(model_kind(full_name=""))
    migrations = Migrations().field_renamed(new, name="full_name")
    migrations.migration(new, since=2)(lambda fields: fields)
    value = new(kept=5, full_name="Ann")
    golden = (
        b"\x94\xd4\xf0p\xb8changing_app:Changing#v2"
        b"\x83\xa4kept\x05\xa9full_name\xa3Ann\xa4name\xa3Ann\x07"
    )
    assert serde(migrations).loads_typed(("safe", golden)) == value
    shaped = golden.replace(b"\xd4\xf0p", b"\xc7\x05\xf0p\xe9\x8b\x00\x01")
    assert serde(migrations).dumps_typed(value) == ("safe", shaped)
    assert serde(migrations).loads_typed(("safe", shaped)) == value
