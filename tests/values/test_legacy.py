"""What LangGraph's own serializer stored is read by our rules; and what it can do, ours can."""

from __future__ import annotations

import enum
import json
import logging
from collections import deque
from typing import Any, Final

import ormsgpack
import pydantic
import pytest
from hypothesis import given
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Command, Interrupt, Send

from values import drawn, kinds
from values.comparing import same
from values.test_round_trips import EDGES, MODERATE
from wren_sessions import PlainObject, PlainSerializer, SafeSerializer
from wren_sessions.errors import SerializationError, UnsafeTypeError

THEIRS: Final = JsonPlusSerializer(allowed_msgpack_modules=True)
OURS: Final = SafeSerializer()


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Their serializer logs each type that is on no list."""
    logging.getLogger("langgraph.checkpoint.serde.jsonplus").setLevel(logging.CRITICAL)


def theirs_is_exact(value: Any) -> bool:
    """Whether LangGraph's serializer gives a value back as it was."""
    try:
        return same(THEIRS.loads_typed(THEIRS.dumps_typed(value)), value)
    except Exception:  # noqa: BLE001 -- whatever it does not like
        return False


@MODERATE
@given(drawn.values)
def test_what_theirs_gives_back_ours_gives_back(value: Any) -> None:
    """No value is refused or changed that works with LangGraph's serializer."""
    if theirs_is_exact(value):
        assert same(OURS.loads_typed(OURS.dumps_typed(value)), value)


@MODERATE
@given(drawn.values)
def test_what_theirs_stored_exactly_ours_reads_the_same(value: Any) -> None:
    """A session that began with LangGraph's serializer goes on."""
    if theirs_is_exact(value):
        assert same(
            OURS.loads_typed(THEIRS.dumps_typed(value)),
            THEIRS.loads_typed(THEIRS.dumps_typed(value)),
        )


@MODERATE
@given(drawn.values)
def test_whatever_theirs_stored_is_read_or_refused(value: Any) -> None:
    """With an error of our own, and as plain data by the reader for viewers."""
    try:
        stored = THEIRS.dumps_typed(value)
    except Exception:  # noqa: BLE001 -- whatever it does not like
        return
    PlainSerializer().loads_typed(stored)
    try:
        OURS.loads_typed(stored)
    except SerializationError:
        return


EXACT: Final[list[Any]] = [
    [HumanMessage("x", id="1"), ToolMessage("y", tool_call_id="1", artifact={"a": 1})],
    AIMessage("x", tool_calls=[{"name": "f", "args": {"a": [1]}, "id": "1"}]),
    Send("n", {"messages": [HumanMessage("x")]}),
    Command(update={"a": 1}, goto=["n"], resume=5),
    [Interrupt("v", id="i")],
    kinds.Mood.CALM,
    kinds.Level.HIGH,
    kinds.Frozen("x", 3),
    kinds.Steady(name="x"),
    kinds.Old(name="x"),
    kinds.Pair(1, "a"),
    kinds.Profile(name="x", place=(1, 2)),
    deque([1, 2]),
    {(1, 2), (3, 4)},
    {"a": {1: "b", 2: {"c"}}},
    pydantic.SecretStr("hush"),
]


@pytest.mark.parametrize("value", EXACT, ids=lambda value: type(value).__name__)
def test_what_is_stored_in_many_apps_is_read(value: Any) -> None:
    """Equal to what was stored."""
    assert OURS.loads_typed(THEIRS.dumps_typed(value)) == value


@pytest.mark.parametrize("value", EDGES, ids=lambda value: type(value).__name__)
def test_edges_are_read_or_refused(value: Any) -> None:
    """What theirs gives back exactly, ours reads; nothing else than our errors is raised."""
    if theirs_is_exact(value):
        found = OURS.loads_typed(THEIRS.dumps_typed(value))
        assert same(found, THEIRS.loads_typed(THEIRS.dumps_typed(value)))


class Inner(pydantic.BaseModel):
    """A model in a model."""

    a: int
    mood: kinds.Mood = kinds.Mood.CALM


class Other(pydantic.BaseModel):
    """Another one."""

    a: int


class Nested(pydantic.BaseModel):
    """A model with others in it, in many ways."""

    one: Inner
    maybe: Inner | None = None
    many: list[Inner] = []
    named: dict[str, list[Inner]] = {}
    pair: tuple[Inner, int] | None = None
    note: kinds.Frozen | None = None
    plain: dict[str, Any] = {}
    union: Inner | Other | None = None


class Serialized(pydantic.BaseModel):
    """A model that stores something else than it holds."""

    a: int

    @pydantic.field_serializer("a")
    def _text(self, value: int) -> str:
        return str(value)


def test_models_in_models_are_restored() -> None:
    """Their serializer stored dicts; the annotations say what they were."""
    value = Nested(
        one=Inner(a=1),
        maybe=Inner(a=2, mood=kinds.Mood.TIRED),
        many=[Inner(a=3)],
        named={"x": [Inner(a=4)]},
        pair=(Inner(a=5), 6),
        note=kinds.Frozen("n"),
        plain={"a": {"a": 1}},
    )
    assert OURS.loads_typed(THEIRS.dumps_typed(value)) == value


def test_what_the_annotations_leave_open_is_refused() -> None:
    """A dict that may have been one of two models, and what a serializer of the model changed."""
    for value in (Nested(one=Inner(a=1), union=Other(a=1)), Serialized(a=1)):
        with pytest.raises(SerializationError, match="JsonPlusSerializer"):
            OURS.loads_typed(THEIRS.dumps_typed(value))


def test_our_list_holds_for_what_theirs_stored() -> None:
    """And nothing that it names is imported or called."""
    narrow = SafeSerializer(allow=[kinds.Frozen])
    assert narrow.loads_typed(THEIRS.dumps_typed(kinds.Frozen("x"))) == kinds.Frozen("x")
    with pytest.raises(UnsafeTypeError, match="kinds:Slotted"):
        narrow.loads_typed(THEIRS.dumps_typed(kinds.Slotted(1)))


CALLS: Final = [
    (0, ("os", "system", "true")),
    (1, ("subprocess", "Popen", (["true"],))),
    (2, ("subprocess", "Popen", {"args": ["true"]})),
    (3, ("builtins", "eval", "1", "__call__")),
    (0, ("importlib", "import_module", "this")),
    (0, ("values.kinds", "a_function", 1)),
    (4, ("values.kinds", "Loaded", {"a": 1})),
    (5, ("values.kinds", "Plain", {"a": 1}, "model_validate_json")),
    (3, ("datetime", "datetime", "2025", "strptime")),
    (5, ("values.unheard_of", "Model", {}, "x")),
    (0, ("values.kinds", "__getattr__", "x")),
]


@pytest.mark.parametrize(("code", "content"), CALLS, ids=lambda value: str(value)[:40])
def test_a_stored_call_is_never_made(code: int, content: Any) -> None:
    """Whatever it names, in whichever form."""
    stored = ormsgpack.packb({"a": [ormsgpack.Ext(code, ormsgpack.packb(content))]})
    kinds.RAN.clear()
    with pytest.raises((UnsafeTypeError, SerializationError)):
        OURS.loads_typed(("msgpack", stored))
    assert kinds.RAN == []


def test_pickle_is_refused() -> None:
    """On any path."""
    for reader in (OURS, PlainSerializer()):
        with pytest.raises(UnsafeTypeError, match="pickle"):
            reader.loads_typed(("pickle", b"cos\nsystem\n(S'true'\ntR."))


def test_an_unknown_tag_says_what_may_be_missing() -> None:
    """Such as the serializer that decrypts."""
    with pytest.raises(SerializationError, match=r"'msgpack\+aes'.*decrypts"):
        OURS.loads_typed(("msgpack+aes", b"x"))


def test_langchains_json_is_read() -> None:
    """Messages, under the names that early versions gave them."""
    message = AIMessage("x", id="1", tool_calls=[{"name": "f", "args": {}, "id": "2"}])
    stored = json.dumps([dumpd(message), {"plain": 1}, float("nan")]).encode()
    found = OURS.loads_typed(("json", stored))
    assert found[:2] == [message, {"plain": 1}]
    plain = PlainSerializer().loads_typed(("json", stored))
    assert isinstance(plain[0], PlainObject)
    assert plain[0].value["content"] == "x"


@pytest.mark.parametrize("name", ["os:system", "subprocess:Popen", "values.kinds:Plain"])
def test_langchains_json_calls_nothing(name: str) -> None:
    """A constructor in JSON is refused like any other."""
    module, _, name = name.partition(":")
    content = {"lc": 2, "type": "constructor", "id": [*module.split("."), name], "kwargs": {"a": 1}}
    with pytest.raises(UnsafeTypeError, match=name):
        OURS.loads_typed(("json", json.dumps(content).encode()))


def test_enums_are_found_by_their_values() -> None:
    """It is all that was stored; combinations of flags too."""
    for value in (kinds.Mood.TIRED, kinds.Access.READ | kinds.Access.RUN, kinds.Word.YES):
        assert OURS.loads_typed(THEIRS.dumps_typed([value])) == [value]
    Mood = enum.Enum(  # noqa: N806 -- a class
        "Mood", {"CALM": "loud"}, module="values.kinds"
    )
    with pytest.raises(SerializationError, match="none of its members"):
        OURS.loads_typed(THEIRS.dumps_typed(Mood["CALM"]))
