"""What could not be read back is refused when it is written, with the type and what to do."""

from __future__ import annotations

import io
import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import BaseModel

from values import kinds
from wren_sessions import MemoryStore, SafeSerializer, Sessions, SessionSaver
from wren_sessions.errors import ConfigurationError, SerializationError


class _OwnZone(tzinfo):
    def utcoffset(self, moment: datetime | None, /) -> timedelta:
        return timedelta()

    def dst(self, moment: datetime | None, /) -> timedelta:
        return timedelta()

    def tzname(self, moment: datetime | None, /) -> str:
        return "own"


def _local() -> Any:
    class Local(BaseModel):
        a: int = 1

    return Local()


def _named_like_another() -> Any:
    kind = type("Note", (BaseModel,), {"__module__": "values.kinds"})
    return kind()


def _cyclic() -> Any:
    found: list[Any] = []
    found.append({"again": (found,)})
    return found


def _cyclic_model() -> Any:
    found = kinds.Anything()
    found.it = [found]
    return found


def _incomplete() -> Any:
    return kinds.Anything.__new__(kinds.Anything)


def _without_a_field() -> Any:
    return kinds.Profile.model_construct()


REFUSED: Final[dict[str, tuple[Callable[[], Any], str]]] = {
    "function": (lambda: kinds.a_function, "builtins:function"),
    "lambda": (lambda: lambda: 1, "builtins:function"),
    "class": (lambda: kinds.Note, "builtins:type"),
    "module": (lambda: io, "builtins:module"),
    "object": (object, "builtins:object"),
    "own class": (kinds.Plain, "kinds:Plain"),
    "generator": (lambda: (n for n in range(3)), "generator"),
    "lock": (threading.Lock, "lock"),
    "file": (lambda: Path("/dev/null").open(), "TextIOWrapper"),  # noqa: SIM115 -- closed below
    "ellipsis": (lambda: ..., "ellipsis"),
    "memoryview": (lambda: memoryview(b"x"), "memoryview"),
    "own list": (lambda: kinds.Texts(["a"]), r"kinds:Texts.*list\("),
    "own text": (lambda: kinds.Text("a"), r"kinds:Text.*str\("),
    "own dict": (type("Own", (dict,), {}), r"Own.*dict\("),
    "local class": (_local, "Local.*top level"),
    "name of another": (_named_like_another, "kinds:Note.*does not lead back"),
    "exception": (lambda: [ValueError("secret")], "ValueError"),
    "exception as dataclass": (lambda: [kinds.Problem()], "kinds:Problem"),
    "class with __del__": (kinds.Deleted, "kinds:Deleted"),
    "array of objects": (lambda: np.array([{}, None]), "objects"),
    "array of own kind": (lambda: np.ma.masked_array([1], [True]), "MaskedArray"),
    "defaultdict": (lambda: defaultdict(lambda: 1), "factory"),
    "own time zone": (lambda: datetime.now(_OwnZone()), "_OwnZone.*zoneinfo"),
    "cyclic": (_cyclic, "refers to itself"),
    "cyclic model": (_cyclic_model, "refers to itself"),
    "too deep": (lambda: _nested(600), "max_depth"),
    "incomplete model": (_incomplete, "not complete"),
    "model without a field": (_without_a_field, "'name'"),
    "own hash in a set": (lambda: {kinds.Hashed(name="x")}, r"kinds:Hashed.*allow="),
    "own hash as a key": (lambda: {kinds.Hashed(name="x"): 1}, r"kinds:Hashed.*allow="),
    "own hash in a key": (lambda: {(1, kinds.Hashed(name="x")): 1}, r"kinds:Hashed.*allow="),
    "flags of their own": (lambda: kinds.Missing.A | kinds.Missing.B, "kinds:Missing"),
}


def _nested(depth: int) -> Any:
    found: Any = None
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_it_is_refused_when_written(name: str) -> None:
    """Alone, deep inside other values, and inside a message on the fast path."""
    make, says = REFUSED[name]
    value = make()
    places = [
        [{"a": (value,)}],
        HumanMessage("x", additional_kwargs={"it": value}),
        [HumanMessage("x"), AIMessage("x", response_metadata={"deep": [{"it": value}]})],
        [HumanMessage("x"), kinds.Loud(content="x", additional_kwargs={"it": value})],
        kinds.Slotted(value),
        *([value] if name != "memoryview" else []),
    ]
    serde = SafeSerializer(strict=True)
    serde.dumps_typed([HumanMessage("x"), AIMessage("x")])  # the fast path knows its classes
    for place in places:
        with pytest.raises(SerializationError, match=says):
            serde.dumps_typed(place)
    if hasattr(value, "close"):
        value.close()


def test_no_content_is_in_an_error() -> None:
    """Errors end up in logs: they name types, never values."""
    for value in ({"password": [object()]}, kinds.Slotted({"password", kinds.Plain})):
        with pytest.raises(SerializationError) as caught:
            SafeSerializer().dumps_typed(value)
        assert "password" not in str(caught.value)


def test_a_memoryview_is_refused() -> None:
    """It would come back as bytes."""
    with pytest.raises(SerializationError, match=r"memoryview"):
        SafeSerializer().dumps_typed(memoryview(b"x"))


def test_the_saver_names_the_channel() -> None:
    """The error says which channel, and nothing is written."""
    sessions = Sessions(MemoryStore())
    with pytest.raises(SerializationError, match=r"'bad'.*kinds:Plain.*pydantic models"):
        sessions.save("s", {"good": 1, "bad": [kinds.Plain()]})
    assert sessions.get("s") is None


def test_a_refused_write_names_the_channel_too() -> None:
    """Pending writes as well."""
    saver = SessionSaver(MemoryStore())
    config: Any = {"configurable": {"thread_id": "s", "checkpoint_ns": "", "checkpoint_id": "c1"}}
    with pytest.raises(SerializationError, match=r"'bad'.*kinds:Plain"):
        saver.put_writes(config, [("bad", kinds.Plain())], "task")


@pytest.mark.parametrize("entry", ["app.state.Answer", "", 5, ("a", 1)])
def test_a_wrong_entry_of_the_list_is_an_error(entry: Any) -> None:
    """It would allow nothing, and nobody would notice."""
    with pytest.raises(ConfigurationError, match=r"app\.state:Answer"):
        SafeSerializer(allow=[entry])
