"""Stored values whose classes have changed: fields that are kept aside, values that do not fit."""

from __future__ import annotations

import copy
import dataclasses
import enum
import gc
import logging
import pickle
from typing import Any

import pydantic
import pytest
from pydantic import ConfigDict

from values.changing import (
    App,
    dataclass_kind,
    model_kind,
    named_tuple_kind,
    old_model_kind,
    read,
    written,
)
from wren_sessions import MemoryStore, SafeSerializer, Sessions, SessionSaver, UnreadableValue
from wren_sessions.errors import SerializationError, UnsafeTypeError
from wren_sessions.serializers import _kept

KEEPING = (dataclass_kind, model_kind, old_model_kind)


@pytest.mark.parametrize("kind", KEEPING)
def test_rollback_finds_a_field_again(app: App, kind: Any) -> None:
    """Newer code without the field changes and writes the object; older code has it again."""
    older = kind(gone=[1, {"a": (1, 2)}], other=0)
    stored = written(app.releases(older)(kept=5, gone=["mine"]))
    app.releases(kind(other=0))
    found = read(stored)
    found.kept += 1
    stored = written(found)
    app.releases(older)
    assert read(stored) == older(kept=6, gone=["mine"])


@pytest.mark.parametrize("kind", KEEPING)
def test_what_is_kept_is_not_seen(app: App, kind: Any) -> None:
    """Equality, repr and dumps are those of an object that never had the field."""
    stored = written(app.releases(kind(gone=1))(kept=5, gone=2))
    newer = app.releases(kind())
    found, made = read(stored), newer(kept=5)
    assert found == made
    assert repr(found) == repr(made)
    assert vars(found) == vars(made)
    if kind is dataclass_kind:
        assert dataclasses.asdict(found) == {"kept": 5}
    elif kind is model_kind:
        assert found.model_dump() == found.model_dump(exclude_unset=True) == {"kept": 5}
        assert found.model_fields_set == {"kept"}
        assert repr(found.model_fields_set) == "{'kept'}"
    else:
        assert found.dict() == found.dict(exclude_unset=True) == {"kept": 5}


def test_which_copies_of_models_keep_it(app: App) -> None:
    """Copies of the model itself do; one that is made anew does not, nor a pickled one."""
    older = model_kind(gone=1)
    stored = written(app.releases(older)(kept=5, gone=2))
    newer = app.releases(model_kind())
    found = read(stored)
    copies = (
        found.model_copy(),
        found.model_copy(update={"kept": 6}),
        found.model_copy(deep=True),
        copy.copy(found),
        copy.deepcopy([found])[0],
    )
    anew = (newer(**found.model_dump()), pickle.loads(pickle.dumps(found)))  # noqa: S301 -- our own
    again, without = list(map(written, copies)), list(map(written, anew))
    app.releases(older)
    assert [read(each).gone for each in again] == [2] * 5
    assert [read(each).gone for each in without] == [1] * 2


def test_which_copies_of_old_models_keep_it(app: App) -> None:
    """The ways in which pydantic 1 copies."""
    older = old_model_kind(gone=1)
    stored = written(app.releases(older)(kept=5, gone=2))
    app.releases(old_model_kind())
    found = read(stored)
    again = [written(each) for each in (found.copy(update={"kept": 6}), copy.copy(found))]
    app.releases(older)
    assert [read(each).gone for each in again] == [2, 2]


@pytest.mark.parametrize("frozen", [False, True])
def test_which_copies_of_dataclasses_keep_it(app: App, *, frozen: bool) -> None:
    """Copies do; pickles are those of any object, which no package is needed for."""
    older = dataclasses.make_dataclass("Changing", ["kept", "gone"], frozen=frozen)
    stored = written(app.releases(older)(5, 2))
    app.releases(dataclasses.make_dataclass("Changing", ["kept"], frozen=frozen))
    found = read(stored)
    copies = [copy.copy(found), copy.deepcopy([found])[0], copy.copy(copy.copy(found))]
    pickled = pickle.dumps(found)
    assert b"wren_sessions" not in pickled
    again = list(map(written, copies))
    anew = written(pickle.loads(pickled))  # noqa: S301 -- our own
    app.releases(dataclasses.make_dataclass("Changing", ["kept", ("gone", int, 1)], frozen=frozen))
    assert [read(each).gone for each in again] == [2, 2, 2]
    assert (read(anew).kept, read(anew).gone) == (5, 1)


@pytest.mark.parametrize("kind", KEEPING)
@pytest.mark.parametrize("size", [1, 2_000])
@pytest.mark.parametrize("cache_bytes", [0, 1_000_000])
def test_what_is_made_anew_takes_it_over(app: App, kind: Any, size: int, cache_bytes: int) -> None:
    """At the same place of a channel: in an object, a dict; not in a list, and not elsewhere."""
    store = MemoryStore()
    older = app.releases(kind(gone=0, more=None))

    def state(make: Any, **fields: Any) -> dict[str, Any]:
        return {
            "it": make(kept=1, more={"a": make(kept=2, **fields), "x": "y" * size}, **fields),
            "log": [make(kept=3, **fields)],
        }

    Sessions(store).save("ann", state(older, gone=7) | {"n": 1})
    newer = app.releases(kind(more=None))
    for kept in (10, 11):
        sessions = Sessions(store, cache_bytes=cache_bytes)
        found = sessions.load("ann").state
        assert found["it"].more["a"].kept == (2 if kept == 10 else 10)
        again = state(newer) | {"n": kept, "other": newer(kept=4)}
        again["it"].kept = again["it"].more["a"].kept = kept
        again["it"].more["b"] = newer(kept=5)
        sessions.save("ann", again)
    app.releases(older)
    found = Sessions(store).load("ann").state
    it = found["it"]
    assert (it.kept, it.gone) == (11, 7)
    assert (it.more["a"].kept, it.more["a"].gone, it.more["b"].gone) == (11, 7, 0)
    assert [each.gone for each in found["log"]] == [0]
    assert (found["other"].gone, found["n"]) == (0, 11)


def test_metadata_that_does_not_fit(app: App) -> None:
    """Is an error where it is used; the session goes on, and its history is listed."""
    older = app.releases(model_kind())
    saver = SessionSaver(MemoryStore())
    config: Any = {"configurable": {"thread_id": "ann", "checkpoint_ns": ""}}
    checkpoint: Any = {
        "v": 4,
        "id": "1" * 8,
        "ts": "2025-11-08T00:00:00+00:00",
        "channel_values": {"n": 1},
        "channel_versions": {"n": 1},
        "versions_seen": {},
    }
    metadata: Any = {"source": "loop", "step": 3, "who": older(kept=5), "in": [older(kept=6)]}
    saver.put(config, checkpoint, metadata, {"n": 1})
    app.releases(pydantic.create_model("Changing", kept=(int, ...), city=(str, ...)))
    fresh = SessionSaver(saver.store)
    found: Any = fresh.get_tuple(config)
    assert (found.checkpoint["channel_values"], found.metadata["step"]) == ({"n": 1}, 3)
    assert type(found.metadata["who"]) is type(found.metadata["in"]) is UnreadableValue
    with pytest.raises(SerializationError, match=r"'who' in .*of session 'ann'.*'city'"):
        _ = found.metadata["who"].kept
    assert [each.metadata["step"] for each in fresh.list(config, filter={"step": 3})] == [3]
    assert Sessions(saver.store).load("ann").state == {"n": 1}
    fresh.prune(["ann"])
    app.releases(older)
    again: Any = SessionSaver(saver.store).get_tuple(config)
    assert (again.metadata["who"], again.metadata["in"]) == (older(kept=5), [older(kept=6)])


def test_dataclasses_keep_it_in_the_object_alone(app: App) -> None:
    """A replaced one is a new object, by itself; and what is kept goes with the object."""
    older = dataclass_kind(gone=1)
    stored = written(app.releases(older)(kept=5, gone=2))
    app.releases(dataclass_kind())
    before = len(_kept._table)
    found = read(stored)
    replaced = written(dataclasses.replace(found, kept=6))
    again = written(found)
    assert len(_kept._table) == before + 1
    del found
    gc.collect()
    assert len(_kept._table) == before
    app.releases(older)
    assert (read(again).gone, read(replaced).gone) == (2, 1)


def test_what_has_no_place_for_it_is_an_error(app: App) -> None:
    """A named tuple, and a dataclass with slots."""
    stored = written(app.releases(named_tuple_kind(gone=1))(5, 2))
    app.releases(named_tuple_kind())
    with pytest.raises(SerializationError, match="'gone'"):
        read(stored)
    slotted = dataclasses.make_dataclass("Changing", ["kept", "gone"], slots=True)
    stored = written(app.releases(slotted)(5, 2))
    app.releases(dataclasses.make_dataclass("Changing", ["kept"], slots=True))
    with pytest.raises(SerializationError, match="'gone'"):
        read(stored)


def test_a_field_goes_together_with_its_class(app: App) -> None:
    """Nothing of what is kept is built."""

    def inner() -> Any:
        return app.also("Inner", pydantic.create_model("Inner", n=(int, 0)))

    kept = inner()
    older = model_kind(gone=None)
    stored = written([app.releases(older)(kept=5, gone=[kept(n=7)])])
    app.without("Inner")
    app.releases(model_kind())
    found = read(stored)
    assert found[0].kept == 5
    stored = written(found)
    kept = inner()
    app.releases(older)
    assert read(stored)[0].gone == [kept(n=7)]


def test_extras_and_private_attributes_are_kept(app: App) -> None:
    """Of a model that was open, or had other private attributes."""
    older = pydantic.create_model("Changing", kept=(int, ...), __config__=ConfigDict(extra="allow"))
    older.__private_attributes__["_own"] = pydantic.PrivateAttr(default=1)  # type: ignore[assignment]
    made = app.releases(older)(kept=5, more=(6,))
    object.__setattr__(made, "__pydantic_private__", {"_own": 3})
    stored = written(made)
    app.releases(model_kind())
    found = read(stored)
    assert found.model_dump() == {"kept": 5}
    stored = written(found)
    app.releases(older)
    again = read(stored)
    assert (again.more, again.__pydantic_private__) == ((6,), {"_own": 3})


def test_one_warning_for_each_class_and_field(app: App, caplog: pytest.LogCaptureFixture) -> None:
    """However many objects there are."""
    _kept._warned.clear()
    older = app.releases(model_kind(gone=1, too=2))
    stored = written([older(kept=n) for n in range(20)])
    app.releases(model_kind())
    with caplog.at_level(logging.WARNING, "wren_sessions"):
        read(stored)
        read(stored)
    (only,) = caplog.messages
    assert "changing_app:Changing was stored with 'gone', 'too'" in only


def test_deep_values_keep_it_too(app: App) -> None:
    """Where the stack has no room for a call for each level."""
    older = pydantic.create_model("Changing", kept=(Any, ...), gone=(Any, None))
    value: Any = app.releases(older)(kept=0, gone=(1,))
    for level in range(450):
        value = older(kept=value, gone="x") if level % 50 == 0 else [value]
    stored = written(value)
    app.releases(pydantic.create_model("Changing", kept=(Any, ...)))
    stored = written(read(stored))
    app.releases(older)
    assert read(stored) == value


# --- values that do not fit -----------------------------------------------------------------------


class Gone(enum.Enum):
    """An enum whose members change."""

    A = 1


def sessions_with(app: App, value: Any) -> Sessions:
    """Sessions with one that has a value besides others."""
    del app
    sessions = Sessions(MemoryStore())
    sessions.save("ann", {"it": value, "n": 1})
    return sessions


def unfit(app: App, how: str) -> Sessions:
    """A session of which one value does not fit the application's class any more."""
    if how == "member":
        sessions = sessions_with(app, app.releases(enum.Enum("Changing", "A B")).A)
        app.releases(enum.Enum("Changing", "B"))
    elif how == "class":
        sessions = sessions_with(app, app.releases(model_kind())(kept=1))
        app.without("Changing")
    elif how == "kind":
        sessions = sessions_with(app, app.releases(model_kind())(kept=1))
        app.releases(dataclass_kind())
    else:
        sessions = sessions_with(app, {"a": [app.releases(model_kind())(kept=1)]})
        app.releases(pydantic.create_model("Changing", kept=(int, ...), city=(str, ...)))
    return sessions


UNFIT = ("field", "member", "class", "kind")


@pytest.mark.parametrize("how", UNFIT)
def test_the_rest_of_a_session_is_read(app: App, how: str) -> None:
    """What does not fit raises where it is used, and says where it is and why."""
    found = unfit(app, how).load("ann").state
    assert found["n"] == 1
    value: Any = found["it"]
    assert type(found["it"]) is UnreadableValue
    uses = (
        lambda: value.name,
        lambda: value["a"],
        lambda: f"{value}",
        lambda: bool(value),
        lambda: list(value),
        lambda: value == {"a": 1},
        lambda: [1] + value,  # noqa: RUF005 -- adding is what is tried
        lambda: hash(value),
        lambda: setattr(value, "name", 1),
    )
    for use in uses:
        with pytest.raises(SerializationError, match=r"'it' of session 'ann'.*changing_app:Chang"):
            use()
    assert repr(value).startswith("<unreadable: 'it' of session 'ann'")
    assert copy.deepcopy(found)["it"] is value


@pytest.mark.parametrize("how", UNFIT)
def test_what_does_not_fit_is_saved_as_it_was(app: App, how: str) -> None:
    """The bytes stay the same, in its channel and in another one; inside a value it is refused."""
    sessions = unfit(app, how)
    state = sessions.load("ann").state
    stored = state["it"].wren_stored
    sessions.save("ann", {"it": state["it"], "n": 2, "too": state["it"]})
    again = sessions.load("ann").state
    assert again["n"] == 2
    assert again["it"].wren_stored == again["too"].wren_stored == stored
    assert pickle.loads(pickle.dumps(again["it"])) == state["it"]  # noqa: S301 -- our own
    with pytest.raises(SerializationError, match="session 'ann'"):
        sessions.save("ann", {"it": [state["it"]]})


@pytest.mark.parametrize("how", UNFIT)
def test_a_strict_serializer_refuses_it_at_once(app: App, how: str) -> None:
    """And a serializer itself always does: only channels are read one by one."""
    sessions = unfit(app, how)
    stored = sessions.load("ann").state["it"].wren_stored
    with pytest.raises(SerializationError, match="changing_app:Chang"):
        Sessions(sessions.store, serde=SafeSerializer(strict=True)).load("ann")
    with pytest.raises(SerializationError, match="changing_app:Chang"):
        read(stored)


def test_what_may_not_be_built_is_an_error_at_once(app: App) -> None:
    """It is no matter of releases."""
    sessions = sessions_with(app, app.releases(model_kind())(kept=1))
    with pytest.raises(UnsafeTypeError, match="not allowed"):
        Sessions(sessions.store, serde=SafeSerializer(allow=[])).load("ann")


def test_kept_fields_cannot_be_planted(app: App) -> None:
    """The envelope in which they stand while a value is read is none that may be stored."""
    stored = written(app.releases(model_kind(gone=1))(kept=5))
    app.releases(model_kind())
    planted = (stored[0], b"\x94\xd4\xf0K" + stored[1] + b"\xa1x\x94\x90\x80\x80\x80")
    with pytest.raises(SerializationError, match="damaged"):
        read(planted)


def test_two_named_tuples_of_one_session(app: App) -> None:
    """A value that does not fit leaves another one of the same class alone."""
    sessions = Sessions(MemoryStore())
    sessions.save("ann", {"old": app.releases(named_tuple_kind(gone=1))(1, 2)})
    new = app.releases(named_tuple_kind())
    state = sessions.load("ann").state
    sessions.save("ann", {**state, "new": new(3)})
    again = sessions.load("ann").state
    assert again["new"] == new(3)
    assert type(again["old"]) is UnreadableValue
