"""Names: every id is one, no two meet, and each is parsed back."""

from __future__ import annotations

import copy
import fnmatch
import pickle
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wren_sessions import keys
from wren_sessions.errors import ConfigurationError, InvalidSessionIdError
from wren_sessions.keys import Address, KeySpace, decode, encode, encode_namespace

NASTY = st.text(
    alphabet=":/%*?[]{}\\^, \t\n\x00\x7f\xa0\u2028\u2029éß日🐦aAlLtT6C0-_.~", max_size=12
)
WORDS = st.sampled_from(["latest", "state", "Latest", "%6Catest", "%73tate", "a", "a:b", "a/b", ""])
IDS = st.one_of(NASTY, WORDS, st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
SESSIONS = IDS.filter(bool)
PREFIXES = st.sampled_from(
    ["langgraph:checkpoint", "a", "a:b", "langgraph", "x-1_y", "日本", "a/b"]
)
SAFE = re.compile(r"[^\x00-\x20\x7f-\xa0:{}/*?\[\]\\^,]*")


# --- ids ------------------------------------------------------------------------------------------


@given(IDS)
@example("latest")
@example("state")
@example("%6Catest")
def test_an_encoded_id_is_decoded(value: str) -> None:
    """Any text becomes one part of a name, and that text again."""
    assert decode(encode(value)) == value
    assert SAFE.fullmatch(encode(value))
    assert encode(value) not in ("latest", "state")


@given(IDS, IDS)
def test_two_ids_are_two_names(one: str, other: str) -> None:
    """Different ids have different encoded forms."""
    assert (encode(one) == encode(other)) == (one == other)


@pytest.mark.parametrize("plain", ["cli_20251108_145739", "1ef-6d2b", "a.b~c", "é", "日本語"])
def test_plain_ids_stay_as_they_are(plain: str) -> None:
    """An id without special characters is its own name."""
    assert encode(plain) == plain


@pytest.mark.parametrize(
    "wrong", [None, 5, b"a", ["a"], "\ud800", "a\udfff", "x" * 1_025, "é" * 513]
)
def test_what_is_no_id(wrong: Any) -> None:
    """What is no text, no Unicode or too long is refused, and named in the error."""
    with pytest.raises(InvalidSessionIdError) as caught:
        encode(wrong)
    assert caught.value.value == (repr(wrong) if isinstance(wrong, list) else wrong)
    assert len(str(caught.value)) < 250


def test_the_longest_id() -> None:
    """An id may take 1,024 bytes of UTF-8."""
    assert decode(encode(":" * 1_024)) == ":" * 1_024
    assert encode("é" * 512) == "é" * 512


@given(IDS, st.integers(1, 200))
def test_a_long_namespace_comes_back(part: str, times: int) -> None:
    """A namespace may be as long as LangGraph makes it; short ones are named as all ids."""
    space = "|".join([part] * times)
    assert keys.parse_record_field(keys.record_field(space, "1")) == (space, "1")
    if len(space.encode()) <= 1_024:
        assert encode_namespace(space) == encode(space)


def test_a_namespace_has_a_limit_too() -> None:
    """A namespace may take 1 MiB of UTF-8; the error says that it is one."""
    assert decode(encode_namespace(":" * 2**20)) == ":" * 2**20
    with pytest.raises(InvalidSessionIdError, match="a namespace must be at most 1048576 bytes"):
        encode_namespace("é" * 2**19 + "x")


# --- addresses ------------------------------------------------------------------------------------


@given(PREFIXES, SESSIONS, st.none() | IDS)
@example("a", "b", "latest")
@example("a", "latest", None)
@example("a", "state", "state")
def test_an_address_is_parsed_back(prefix: str, session: str, checkpoint_id: str | None) -> None:
    """The name of a session or checkpoint says what it was made from."""
    space = KeySpace(prefix)
    name = space.address(session, checkpoint_id)
    if checkpoint_id == "":
        assert space.parse_address(name) is None  # an empty id names no checkpoint
    else:
        assert space.parse_address(name) == Address(session, checkpoint_id)


@given(
    st.tuples(PREFIXES, SESSIONS, st.none() | SESSIONS),
    st.tuples(PREFIXES, SESSIONS, st.none() | SESSIONS),
)
@example(("a", "b:c", None), ("a:b", "c", None))
@example(("a", "b", "latest"), ("a", "b", None))
def test_two_addresses_are_two_names(
    one: tuple[str, str, str | None], other: tuple[str, str, str | None]
) -> None:
    """No two prefixes, sessions and checkpoints share a name, and each parses its own only."""
    names = [KeySpace(prefix).address(*rest) for prefix, *rest in (one, other)]  # type: ignore[arg-type]
    assert (names[0] == names[1]) == (one == other)
    if one[0] != other[0]:
        assert KeySpace(one[0]).parse_address(names[1]) is None


@given(PREFIXES, SESSIONS)
def test_a_session_has_one_key(prefix: str, session: str) -> None:
    """The key of a session is the address of its latest state, and matches the pattern."""
    space = KeySpace(prefix)
    key = space.session_key(session)
    assert key == space.address(session) == f"{prefix}:{encode(session)}:latest"
    assert space.parse_session_key(key) == session
    assert space.parse_session_key(space.address(session, "1")) is None
    assert fnmatch.fnmatchcase(key, space.pattern)


@given(st.text())
@example("langgraph:checkpoint:a:%6catest")
@example("langgraph:checkpoint:%61:latest")
@example("langgraph:checkpoint:%FF:latest")
@example("langgraph:checkpoint:%ED%A0%80:latest")
@example("langgraph:checkpoint:a/b:latest")
@example("langgraph:checkpoint::latest")
@example("langgraph:checkpoint:a:")
@example("langgraph:checkpoint:a:b:latest")
@example("langgraph:checkpoint:" + "x" * 1_025 + ":latest")
def test_what_is_no_address(name: str) -> None:
    """A name that `address` does not make is none: there is one spelling of each."""
    assert KeySpace().parse_address(name) is None
    assert KeySpace().parse_session_key(name) is None


@pytest.mark.parametrize("wrong", ["", None, 5, "\ud800", "x" * 1_025])
def test_what_is_no_session(wrong: Any) -> None:
    """A session id is text, and not empty."""
    for name in (KeySpace().address, KeySpace().session_key, keys.check_session):
        with pytest.raises(InvalidSessionIdError):
            name(wrong)


# --- prefixes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        ":",
        "a:",
        ":a",
        "a::b",
        "a*",
        "a?",
        "[a]",
        "{a}",
        "a%3A",
        "a b",
        "a\n",
        "a\\b",
        "^a",
        "\x00",
    ],
)
def test_prefixes_that_cannot_be_used(wrong: str) -> None:
    """A prefix is plain text: it is used in patterns, and in slots of a cluster."""
    with pytest.raises(ConfigurationError) as caught:
        KeySpace(wrong)
    assert repr(wrong) in str(caught.value)


@given(PREFIXES)
def test_a_pattern_is_made_from_the_prefix_alone(prefix: str) -> None:
    """The one pattern there is holds no text of an id, and its one glob."""
    assert KeySpace(prefix).pattern == f"{prefix}:*:latest"


def test_key_spaces_are_values() -> None:
    """Equal prefixes are equal key spaces, also in another process."""
    space = KeySpace("a:b")
    assert space == KeySpace("a:b") != KeySpace()
    assert pickle.loads(pickle.dumps(space)) == space  # noqa: S301 -- our own
    assert copy.deepcopy(space) == space


# --- fields ---------------------------------------------------------------------------------------


@given(IDS, SESSIONS)
@example("", "state")
@example("", "latest")
@example("state", "state")
@example("", ":meta")
@example("a/b", "c")
def test_a_field_is_parsed_back(namespace: str, checkpoint_id: str) -> None:
    """The field of a record says which namespace and checkpoint it is."""
    field = keys.record_field(namespace, checkpoint_id)
    assert keys.parse_record_field(field) == (namespace, checkpoint_id)


@given(st.tuples(IDS, SESSIONS), st.tuples(IDS, SESSIONS))
@example(("a", "b"), ("", "a/b"))
@example(("a/b", "c"), ("a", "b/c"))
def test_two_records_are_two_fields(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Different checkpoints have different fields, of every kind."""
    for field in (keys.record_field, keys.writes_field, keys.special_prefix):
        assert (field(*one) == field(*other)) == (one == other)


@given(IDS, SESSIONS, IDS, st.integers(-10, 10_000), st.integers(0, 10**9))
def test_fields_of_different_kinds_do_not_meet(
    namespace: str, checkpoint_id: str, task: str, index: int, number: int
) -> None:
    """Each kind of field is told from all others, whatever the ids are."""
    writes = keys.writes_field(namespace, checkpoint_id)
    fields = [
        keys.STATE,
        keys.META,
        keys.record_field(namespace, checkpoint_id),
        keys.head_field(namespace),
        keys.segment_field(number),
        writes,
        f"{writes}/{number}",
        keys.special_prefix(namespace, checkpoint_id) + keys.write_key(task, index),
    ]
    assert len(set(fields)) == len(fields)
    assert [keys.parse_record_field(field) is not None for field in fields] == [
        field == keys.record_field(namespace, checkpoint_id) for field in fields
    ]


@given(IDS, IDS, st.integers(-9, 99), st.integers(-9, 99))
def test_two_writes_are_two_keys(one: str, other: str, index: int, other_index: int) -> None:
    """A pending write is told from all others of its checkpoint."""
    same = keys.write_key(one, index) == keys.write_key(other, other_index)
    assert same == ((one, index) == (other, other_index))


def test_a_record_has_an_id() -> None:
    """The namespace may be empty, the checkpoint id not."""
    assert keys.record_field("", "1") == "1"
    with pytest.raises(InvalidSessionIdError):
        keys.record_field("a", "")
