"""The header of a session: plain JSON in the guide's shape, and nothing of what was said."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from enum import Enum, IntEnum
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wren_sessions.checkpoints.put import empty_header, header
from wren_sessions.records import Name

SECRET: Final = "what was said"


def parsed(data: bytes) -> Any:
    """JSON as the strictest reader takes it."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(data.decode("utf-8"), parse_constant=refuse)


class Checkpoint(NamedTuple):
    """What a header is made of besides the values."""

    name: Name = ("", "c1")
    rest: Mapping[str, Any] = {"ts": "2025-11-08T14:57:39+00:00"}
    metadata: Mapping[str, Any] = {}


def head(values: dict[Any, Any], strings: Sequence[str] = (), **given: Any) -> Any:
    """A header, read again."""
    found = header(Checkpoint(**given), values, strings)
    assert found is not None
    return parsed(found)


def test_it_has_the_shape_of_the_guide() -> None:
    """Three parts: the numbers of the state, what is known of the checkpoint, an empty config."""
    found = head(
        {"turn_count": 8, "is_complete": False, "engagement_index": 0.5, "messages": [SECRET] * 3},
        metadata={"step": 4, "source": "loop", "user": SECRET},
    )
    assert found == {
        "checkpoint": {
            "turn_count": 8,
            "is_complete": False,
            "engagement_index": 0.5,
            "message_count": 3,
        },
        "metadata": {
            "timestamp": "2025-11-08T14:57:39+00:00",
            "version": "1.0",
            "checkpoint_id": "c1",
            "step": 4,
            "source": "loop",
        },
        "config": {},
    }


def test_a_session_without_a_checkpoint_has_the_same_shape() -> None:
    """The header made before there is anything to show reads like any other."""
    assert parsed(empty_header("2025-11-08T14:57:39+00:00")) == {
        "checkpoint": {},
        "metadata": {"timestamp": "2025-11-08T14:57:39+00:00", "version": "1.0"},
        "config": {},
    }


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=10), anything, max_size=8), anything, anything)
def test_any_state_gives_strict_json_without_its_strings(
    values: dict[str, Any], step: Any, timestamp: Any
) -> None:
    """Whatever the channels hold, numbers and booleans are all that is shown of them."""
    found = head(values, metadata={"step": step, "source": step}, rest={"ts": timestamp})
    shown = found["checkpoint"]
    messages = values.get("messages")
    if isinstance(messages, list):
        assert shown.pop("message_count") == len(messages)
    assert all(type(value) in {bool, int, float} for value in shown.values())
    assert all(values[name] == value for name, value in shown.items())


@pytest.mark.parametrize(
    "number",
    [math.nan, math.inf, -math.inf, 10**30, -(10**5000)],
    ids=["nan", "inf", "-inf", "huge", "enormous"],
)
def test_a_number_that_json_readers_cannot_take_is_left_out(number: float) -> None:
    """No NaN, no infinity, and no integer that another reader would round or refuse."""
    assert head({"number": number, "other": 1}, metadata={"step": number})["checkpoint"] == {
        "other": 1
    }


@pytest.mark.parametrize("number", [2**53, 2**63 - 1, -(2**63), 1e300, -0.0])
def test_large_numbers_that_every_reader_takes_are_shown(number: float) -> None:
    """What fits into 64 bits is shown as it is."""
    assert head({"number": number})["checkpoint"] == {"number": number}


def test_strings_are_shown_where_the_application_names_their_channel() -> None:
    """A named channel's text is shown, all others are not."""
    values = {"stage": "closing", "answer": SECRET}
    assert head(values, strings=["stage", "missing"])["checkpoint"] == {"stage": "closing"}


class _Mood(Enum):
    GOOD = "good"


class _Level(IntEnum):
    LOW = 1


@pytest.mark.parametrize(
    "value",
    [b"bytes", ["list"], {"a": "dict"}, None, object(), _Mood.GOOD, ("tuple",)],
    ids=lambda value: type(value).__name__,
)
def test_a_named_channel_that_holds_no_string_is_not_shown(value: object) -> None:
    """Naming a channel shows its strings, and does not turn other things into text."""
    assert head({"named": value}, strings=["named"])["checkpoint"] == {}


def test_numbers_of_a_class_of_their_own_are_shown_as_numbers() -> None:
    """An enum of integers is shown by its value."""
    assert head({"level": _Level.LOW})["checkpoint"] == {"level": 1}


def test_channels_of_langgraph_are_not_shown() -> None:
    """What the graph keeps for itself is no state of the application."""
    found = head({"__start__": 1, "branch:to:ask": True, "turn": 2, 7: 7})
    assert found["checkpoint"] == {"turn": 2}


@pytest.mark.parametrize("text", ["\ud800", "Zoë – 日本", 'quote " and \n line', "\x00"])
def test_any_text_is_valid_json(text: str) -> None:
    """Text that UTF-8 has no form for does not keep a checkpoint from being written."""
    found = head({"named": text}, strings=["named"], metadata={"source": text})
    expected = text.encode("utf-8", "replace").decode()
    assert found["checkpoint"]["named"] == expected
    assert found["metadata"]["source"] == expected


def test_a_subgraphs_checkpoint_changes_no_header() -> None:
    """The header is the root graph's."""
    assert header(Checkpoint(name=("sub:1", "c1")), {"n": 1}) is None
