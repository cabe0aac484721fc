"""conversation.json and profile.json: written, read back, and refused where they are not right."""

from __future__ import annotations

import json
from collections import deque
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wren_sessions import CorruptSessionError, FormatVersionError, MemoryStore, Sessions
from wren_sessions.serializers.plain import PlainObject
from wren_sessions.transcripts import Message, Profile, ToolCall, Transcript

texts = st.text(st.characters(exclude_categories=[]), max_size=20)
names = st.none() | texts.filter(bool)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
times = st.none() | st.datetimes(timezones=st.just(UTC))
calls = st.builds(ToolCall, id=names, name=texts, args=jsons, error=names)
messages = st.builds(
    Message,
    role=texts,
    text=texts,
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    name=names,
    id=names,
    time=times,
    checkpoint_id=names,
    status=names,
    pending=st.booleans(),
)
transcripts = st.builds(
    Transcript,
    session=texts,
    messages=st.lists(messages, max_size=4).map(tuple),
    checkpoint_id=names,
    created=times,
    updated=times,
    owner=names,
    title=texts,
    tags=st.lists(texts, max_size=3).map(tuple),
)


@settings(max_examples=200, deadline=None)
@given(transcripts)
def test_a_conversation_is_read_back_as_it_was(transcript: Transcript) -> None:
    """Any transcript survives its file, half surrogates and control characters included."""
    assert Transcript.from_json(transcript.to_json().encode()) == transcript


def test_a_result_is_written_once_and_found_again() -> None:
    """The answer of a tool stands in its own message; the call knows it after reading, too."""
    call = ToolCall(id="1", name="w", args={}, result="secret answer")
    answer = Message(role="tool", text="secret answer", tool_call_id="1")
    ai = Message(role="ai", text="", tool_calls=(call,))
    transcript = Transcript(session="s", messages=(ai, answer))
    text = transcript.to_json()
    assert text.count("secret answer") == 1
    assert Transcript.from_json(text) == transcript


def test_the_file_says_what_it_is() -> None:
    """The fields of the file are those of its documentation."""
    message = Message(role="ai", text="hi", time=datetime(2026, 1, 2, tzinfo=UTC), pending=True)
    found = json.loads(Transcript(session="s", messages=(message,)).to_json())
    assert found == {
        "schema": "wren-sessions/conversation",
        "schema_version": 1,
        "session_id": "s",
        "checkpoint_id": None,
        "created_at": None,
        "updated_at": None,
        "waiting": True,
        "messages": [
            {
                "role": "ai",
                "content": "hi",
                "timestamp": "2026-01-02T00:00:00+00:00",
                "pending": True,
            }
        ],
    }


@pytest.mark.parametrize(
    "log",
    [
        [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}],
        {"messages": [{"type": "human", "content": "hi"}, {"type": "ai", "content": "hello"}]},
        {"schema_version": 1, "session_id": "s", "started_at": "2026-01-02T00:00:00+00:00"}
        | {"messages": [["user", "hi"], ["assistant", "hello"]]},
    ],
)
def test_logs_of_other_programs_are_read(log: Any) -> None:
    """A list of messages, or an object that has one, is a conversation."""
    found = Transcript.from_json(json.dumps(log))
    assert [(m.role, m.text) for m in found.messages] == [("human", "hi"), ("ai", "hello")]


OURS = json.loads(Transcript(session="s", messages=(Message(role="ai", text="x"),)).to_json())


@pytest.mark.parametrize("kind", [Transcript, Profile])
def test_a_newer_version_is_refused(kind: Any) -> None:
    """A file of a newer version says that the package must be upgraded."""
    text = json.dumps({"schema_version": 2, "session_id": "s", "messages": [], "values": {}})
    with pytest.raises(FormatVersionError, match=r"log\.json.*version 2.*upgrade") as caught:
        kind.from_json(text, name="log.json")
    assert (caught.value.found, caught.value.supported, caught.value.session) == (2, 1, "s")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        Transcript(session="s", messages=()).to_json()[:-9],
        "[" * 100_000,
        "7",
        "{}",
        '{"messages": {}}',
        '{"messages": [], "schema_version": "1"}',
        '{"messages": [], "schema_version": true}',
        '{"messages": [], "schema": "other"}',
        b"\xff\xfe\x00",
        json.dumps(OURS | {"messages": [{"role": "ai"}]}),
        json.dumps(OURS | {"messages": ["text"]}),
        json.dumps(OURS | {"messages": [{"role": "ai", "content": "x", "id": 7}]}),
        json.dumps(OURS | {"messages": [{"role": "ai", "content": "x", "timestamp": "soon"}]}),
        json.dumps(OURS | {"messages": [{"role": "ai", "content": "x", "tool_calls": [1]}]}),
        json.dumps(OURS | {"created_at": 5}),
    ],
)
def test_a_damaged_conversation_is_named(text: str | bytes) -> None:
    """A file that is no conversation is an error with its name; nothing is guessed."""
    with pytest.raises(CorruptSessionError, match=r"log\.json cannot be read"):
        Transcript.from_json(text, name="log.json")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"session_id": "s"}', '{"session_id": "s", "values": []}']
)
def test_a_damaged_profile_is_named(text: str) -> None:
    """A file that is no profile is an error with its name."""
    with pytest.raises(CorruptSessionError, match=r"p\.json cannot be read"):
        Profile.from_json(text, name="p.json")


class Mood(Enum):
    """A value of an application."""

    GOOD = "good"


def test_a_profile_keeps_what_was_asked_for_and_numbers() -> None:
    """The channels that are named, and numbers and booleans, are in the profile; no more."""
    state = {"profile_data": {"a": 1}, "turn_count": 8, "is_complete": True, "secret": "x"}
    assert Profile.of("s", state).values == {
        "profile_data": {"a": 1},
        "turn_count": 8,
        "is_complete": True,
    }
    assert Profile.of("s", state, channels=["secret"]).values == {
        "turn_count": 8,
        "is_complete": True,
        "secret": "x",
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, 2), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (deque([1]), [1]),
        (Decimal("1.10"), "1.10"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (timedelta(seconds=1.5), 1.5),
        (b"\x00\xff", "AP8="),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("a/b"), "a/b"),
        (Mood.GOOD, "good"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ({1: "a", (2, 3): "b"}, {"1": "a", "[2, 3]": "b"}),
        ({1: "a", "1": "b"}, [["1", "a"], ["1", "b"]]),
        (PlainObject("app:Person", {"name": "Ada"}), {"name": "Ada"}),
        (PlainObject("app:Mood", "good"), "good"),
        (Message(role="ai", text="x").role, "ai"),
        (2**70, 2**70),
        (object, "<type>"),
    ],
)
def test_what_json_lacks(value: Any, expected: Any) -> None:
    """Values are written as the documentation's table says."""
    profile = Profile.of("s", {"profile": value})
    assert profile.values["profile"] == expected
    assert Profile.from_json(profile.to_json()) == profile


def test_deep_values_end_somewhere() -> None:
    """A value that is nested without end does not end the process."""
    value: Any = "x"
    for _ in range(5_000):
        value = [value]
    assert Profile.from_json(Profile.of("s", {"profile": value}).to_json()).session == "s"


def test_files_are_read_by_path(tmp_path: Path) -> None:
    """`read` reads what was written, and names the file where it is damaged."""
    sessions = Sessions(MemoryStore())
    sessions.save("s", {"messages": [("user", "hi")]})
    transcript = sessions.transcript("s")
    path = tmp_path / "conversation.json"
    path.write_text(transcript.to_json(), "utf-8")
    assert Transcript.read(path) == transcript
    path.write_text("{")
    with pytest.raises(CorruptSessionError, match=str(path)):
        Transcript.read(path)


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "10000-01-01", "soon", 7]
)
def test_a_time_out_of_range_is_named(time: object) -> None:
    """A time that no calendar has is an error that names the file, the line and the text."""
    message = {"role": "user", "content": "hi", "timestamp": time}
    fields = {"schema": "wren-sessions/conversation", "session_id": "s", "messages": [message]}
    text = json.dumps(fields, indent=2)
    line = next(n for n, found in enumerate(text.splitlines(), 1) if "timestamp" in found)
    where = f"line {line}: " if isinstance(time, str) else ""
    for form in (text, text.encode()):
        with pytest.raises(CorruptSessionError) as caught:
            Transcript.from_json(form, name="conversation.json")
        says = (
            f"conversation.json cannot be read: {where}{json.dumps(time)} is not an ISO 8601 time"
        )
        assert says in str(caught.value)
    profile = {"session_id": "s", "values": {}, "updated_at": time}
    with pytest.raises(CorruptSessionError, match=r"profile\.json cannot be read: "):
        Profile.from_json(json.dumps(profile), name="profile.json")
