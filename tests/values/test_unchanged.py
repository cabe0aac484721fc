"""Messages that did not change need not be encoded again; whatever changed in them is seen."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    HumanMessageChunk,
    ToolMessage,
)

from values.comparing import same
from wren_sessions import SafeSerializer
from wren_sessions.serializers.packing import PackedList
from wren_sessions.serializers.unpacking import Unpacked


class Text(str):
    """A text that is none."""

    __slots__ = ()


class Colour(enum.StrEnum):
    """A text by another name."""

    RED = "red"


def talk() -> list[BaseMessage]:
    """Messages with something of every sort in them."""
    return [
        HumanMessage("red", id="1", additional_kwargs={"n": 1, "zero": 0.0, "on": True}),
        AIMessage(
            [{"type": "text", "text": "so", "marks": [1, 2]}],
            id="2",
            tool_calls=[{"name": "look", "args": {"page": 1, "deep": {"n": 2}}, "id": "c"}],
            usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
            response_metadata={"a": 1, "b": [1.5, math.inf, None]},
        ),
        ToolMessage("red", tool_call_id="c", artifact=0.0, id="3"),
        AIMessage("fine", name="wren"),
    ]


def read() -> tuple[list[Any], Unpacked]:
    """The messages as they were read, and what was kept of them."""
    serde = SafeSerializer()
    found = serde.load_list(*serde.dumps_typed(talk()))
    assert found is not None
    return found


def inside(message: int, field: str, *path: Any, to: Any) -> Callable[[list[Any]], None]:
    """A change deep in a message."""

    def change(messages: list[Any]) -> None:
        found = getattr(messages[message], field)
        for step in path[:-1]:
            found = found[step]
        found[path[-1]] = to

    return change


def field(message: int, name: str, to: Any) -> Callable[[list[Any]], None]:
    """A change of a field."""
    return lambda messages: messages[message].__dict__.__setitem__(name, to)


CHANGES: dict[str, Callable[[list[Any]], object]] = {
    "a text": field(0, "content", "blue"),
    "a text of a subclass": field(0, "content", Text("red")),
    "an enum that is equal": field(0, "content", Colour.RED),
    "1 to 1.0": inside(0, "additional_kwargs", "n", to=1.0),
    "1 to True": inside(0, "additional_kwargs", "n", to=True),
    "True to 1": inside(0, "additional_kwargs", "on", to=1),
    "0.0 to -0.0": inside(0, "additional_kwargs", "zero", to=-0.0),
    "a field's 0.0 to -0.0": field(2, "artifact", -0.0),
    "a field's 0.0 to 0": field(2, "artifact", 0),
    "inf to -inf": inside(1, "response_metadata", "b", 1, to=-math.inf),
    "a list to a tuple": inside(1, "response_metadata", "b", to=(1.5, math.inf, None)),
    "a key more": inside(1, "response_metadata", "c", to=None),
    "deep in arguments": inside(1, "tool_calls", 0, "args", "deep", "n", to=3),
    "deep in content": inside(1, "content", 0, "marks", 0, to=1.0),
    "a number of tokens": inside(1, "usage_metadata", "input_tokens", to=1.0),
    "keys in another order": lambda messages: messages[1].response_metadata.update(
        a=messages[1].response_metadata.pop("a")
    ),
    "an empty dict of a subclass": field(3, "additional_kwargs", OrderedDict()),
    "an empty dict with a factory": field(3, "response_metadata", defaultdict(list)),
    "an empty list to None": field(3, "tool_calls", None),
    "no name": field(3, "name", None),
    "False for an empty dict": field(3, "additional_kwargs", False),
    "a field that is set": lambda messages: messages[0].__pydantic_fields_set__.add("name"),
    "a field that is not": lambda messages: messages[0].__pydantic_fields_set__.discard("id"),
    "something extra": lambda messages: setattr(messages[0], "extra", 1),
    "another class": lambda messages: messages.__setitem__(
        0, HumanMessageChunk(content="red", id="1")
    ),
    "another order": lambda messages: messages.reverse(),
    "one less": lambda messages: messages.pop(),
    "one in front": lambda messages: messages.insert(0, HumanMessage("hi")),
    "no message": lambda messages: messages.__setitem__(1, "text"),
    "no fields at all": lambda messages: messages.__setitem__(0, object.__new__(HumanMessage)),
    "what refers to itself": lambda messages: messages[0].additional_kwargs.update(
        n=messages[0].additional_kwargs
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_change_is_seen(change: Callable[[list[Any]], object]) -> None:
    """In place or not, however deep, also between values that are equal."""
    messages, kept = read()
    change(messages)
    assert not kept.begins(messages)


def test_the_same_messages_are_the_same() -> None:
    """Those that were read, copies of them, and others that happen to be so; with more behind."""
    messages, kept = read()
    copies = [message.model_copy(deep=True) for message in messages]
    for value in (messages, kept.build(), copies, [*messages, HumanMessage("more")], talk()):
        assert kept.begins(value)
        assert same(value[:4], talk())


@pytest.mark.parametrize(
    ("was", "becomes"),
    [(b"x", bytearray(b"x")), (b"x", memoryview(b"x")), (math.nan, -math.nan), ([b"x"], [b"x"])],
)
@pytest.mark.parametrize("name", ["artifact", "additional_kwargs"])
def test_what_is_hard_to_compare_is_encoded(name: str, was: Any, becomes: Any) -> None:
    """Bytes equal a bytearray, and a NaN nothing: messages that hold them are never unchanged."""
    serde = SafeSerializer()
    message = ToolMessage("t", tool_call_id="1")
    setattr(message, name, {"in": was} if name == "additional_kwargs" else was)
    found = serde.load_list(*serde.dumps_typed([message]))
    if found is not None:
        setattr(message, name, {"in": becomes} if name == "additional_kwargs" else becomes)
        assert not found[1].begins([message])


def test_what_is_left_out_is_what_was_there() -> None:
    """The bytes of a list are those of its beginning and of what is looked at."""
    serde = SafeSerializer()
    messages, kept = read()
    whole = serde.dumps_typed([*messages, *messages])[1]
    seen: list[tuple[bytes, bool]] = []

    def look(packed: PackedList) -> bool:
        seen.append((packed.head + packed.elements, packed.unchanged))
        return True

    for earlier in (kept, None):
        assert serde.dump_list([*messages, *messages], look, earlier)
    assert serde.dump_list(messages, look, kept)
    (rest, left_out), (all_of_it, nothing_left_out), nothing = seen
    assert (left_out, nothing_left_out, nothing) == (True, False, (b"\x94", True))
    assert all_of_it == whole
    assert whole == rest[:1] + serde.dumps_typed(messages)[1][1:] + rest[1:]
