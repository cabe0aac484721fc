"""What a field gets that is new since the value was stored: its default, without any code."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pydantic
import pydantic.v1
import pytest
from pydantic import Field

from values import kinds
from values.changing import KINDS, App, model_kind, old_model_kind, read, written
from values.comparing import same
from wren_sessions.errors import SerializationError

SHARED: dict[str, Any] = {
    "tuple": ("a", (1, frozenset({2}))),
    "frozenset": frozenset({(1, "a"), kinds.Mood.CALM, kinds.Frozen("x")}),
    "path": Path("a"),
    "zone": ZoneInfo("UTC"),
    "fraction": Fraction(1, 2),
    "pattern": re.compile("a"),
    "address": ipaddress.ip_address("::1"),
    "range": range(3),
    "class": kinds.Note,
    "function": kinds.a_function,
    "enum": kinds.Access.READ | kinds.Access.RUN,
    "url": pydantic.HttpUrl("https://example.org/a"),
    "numpy scalar": np.float32(1.5),
    "time": datetime(2025, 11, 8, tzinfo=UTC),
}
COPIED: dict[str, Any] = {
    "nested": [[1], {"a": {"b": [kinds.Mood.CALM]}}],
    "tuple": ([1], 2),
    "set": {1, "a", kinds.Frozen("x")},
    "deque": deque([[1]], 3),
    "ordered": OrderedDict(a=[1]),
    "counter": Counter("aab"),
    "defaultdict": defaultdict(list, a=[1]),
    "bytearray": bytearray(b"x"),
    "odd keys": {1: [1], (1, 2): {}, kinds.Mood.CALM: "x"},
    "secret": pydantic.SecretStr("x"),
    "dataclass": kinds.Note("x", ["a"]),
    "slots": kinds.Slotted([1], {"a": 1}),
    "named tuple": kinds.Pair([1], 2),
    "model": kinds.Profile(name="x", answers=[kinds.Answer(answerText="a")]),
    "open model": kinds.Open.model_validate({"b": [1]}),
    "root model": kinds.Names(["a"]),
    "old model": kinds.Old(name="x", inner=[1]),
    "array": np.arange(6).reshape(2, 3),
    "of one's own making": object.__new__(kinds.LoadedData),
}
REFUSED: dict[str, Any] = {
    "no data type": [kinds.Plain()],
    "a list of one's own": kinds.Texts(["a"]),
    "with __del__": [kinds.Deleted()],
    "hashes itself": {kinds.Hashed(name="x")},
    "a key that hashes itself": {(1, kinds.Hashed(name="x")): 1},
    "an array of objects": np.array([{}, None]),
}


@pytest.mark.parametrize("default", SHARED.values(), ids=SHARED.keys())
@pytest.mark.parametrize("kind", KINDS)
def test_a_default_that_never_changes_is_given(app: App, kind: Any, default: Any) -> None:
    """Whatever it is: every instance has the very same one."""
    stored = written(app.releases(kind())(kept=5))
    app.releases(kind(new=default))
    assert read(stored).new is default


@pytest.mark.parametrize("default", COPIED.values(), ids=COPIED.keys())
@pytest.mark.parametrize("kind", [model_kind, old_model_kind])
def test_a_default_that_may_change_is_copied(app: App, kind: Any, default: Any) -> None:
    """Each instance has its own, as pydantic gives it, and no code runs for it."""
    stored = written(app.releases(kind())(kept=5))
    app.releases(kind(new=default))
    kinds.RAN.clear()
    one, two = read(stored).new, read(stored).new
    assert kinds.RAN == []
    assert same(one, default)
    assert one is not default
    assert one is not two


def test_a_copy_is_as_deep_as_the_default(app: App) -> None:
    """And what is in it twice is one thing in the copy, too; a default may hold itself."""
    twice: list[Any] = [1]
    default: dict[str, Any] = {"a": twice, "b": (twice,), "note": kinds.Note("x", ["t"])}
    default["itself"] = default
    stored = written(app.releases(model_kind())(kept=5))
    app.releases(model_kind(new=default))
    found = read(stored).new
    found["a"].append(2)
    found["note"].tags.append("u")
    assert found["b"][0] is found["a"]
    assert found["itself"] is found
    assert (default["a"], default["note"].tags) == ([1], ["t"])


@pytest.mark.parametrize("default", REFUSED.values(), ids=REFUSED.keys())
def test_a_default_that_only_code_can_copy_is_none(app: App, default: Any) -> None:
    """The error names the field."""
    stored = written(app.releases(model_kind())(kept=5))
    app.releases(model_kind(new=default))
    kinds.RAN.clear()
    with pytest.raises(SerializationError, match=r"'new'.*no plain default"):
        read(stored)
    assert kinds.RAN == []


def test_a_field_of_pydantics_dataclasses_has_its_default(app: App) -> None:
    """It stands in what `Field` gave."""

    def made(**fields: Any) -> Any:
        kind = type(
            "Changing",
            (),
            {"__annotations__": {"kept": int, **dict.fromkeys(fields, Any)}} | fields,
        )
        return app.releases(pydantic.dataclasses.dataclass(kind))

    stored = written(made()(kept=5))
    made(new=Field(default=(1,)), items=Field(default=[1]), more=Field(default_factory=dict))
    found = read(stored)
    assert (found.new, found.items, found.more) == ((1,), [1], {})
    found.items.append(2)
    assert read(stored).items == [1]


def test_new_private_attributes_of_old_models_get_their_defaults(app: App) -> None:
    """As those of new ones; one without a default stays unset."""
    stored = written(app.releases(old_model_kind())(kept=5))

    class Changing(pydantic.v1.BaseModel):
        kept: int
        _private: Any = pydantic.v1.PrivateAttr(default=([4],))
        _made: Any = pydantic.v1.PrivateAttr(default_factory=dict)
        _unset: int = pydantic.v1.PrivateAttr()

    app.releases(Changing)
    found = read(stored)
    assert (found._private, found._made) == (([4],), {})
    assert not hasattr(found, "_unset")
    found._private[0].append(5)
    assert read(stored)._private == ([4],)
