"""What goes in comes out: equal in value and type, whatever stands in whatever."""

from __future__ import annotations

import decimal
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, Final
from uuid import UUID, SafeUUID, uuid1

import msgpack
import numpy as np
import pydantic
import pydantic_core
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import AddableDict
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.store.base import GetOp, Item, SearchItem

from values import drawn, kinds
from values.comparing import same
from wren_sessions import PlainSerializer, SafeSerializer, SerializationError, UnsafeTypeError
from wren_sessions.serializers import packing
from wren_sessions.serializers._wire import marker
from wren_sessions.serializers.limits import Limits

SAFE: Final = SafeSerializer()
# Drawing nested values is what takes the time.
MODERATE: Final = settings(
    max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
NOW: Final = datetime(2025, 11, 8, 15, 3, tzinfo=timezone(timedelta(hours=1)))


def again(value: Any, serde: SafeSerializer = SAFE) -> Any:
    """A value, written and read."""
    return serde.loads_typed(serde.dumps_typed(value))


@MODERATE
@given(drawn.values)
def test_every_value_comes_back_the_same(value: Any) -> None:
    """Standard values, data types, messages and LangGraph's types, nested in each other."""
    assert same(again(value), value)


@MODERATE
@given(drawn.values)
def test_every_value_can_be_read_as_plain_data(value: Any) -> None:
    """The reader for viewers knows all that is ever written."""
    PlainSerializer().loads_typed(SAFE.dumps_typed(value))


@MODERATE
@given(drawn.values)
def test_a_value_has_the_same_bytes_whether_or_not_it_is_looked_at_level_by_level(
    value: Any,
) -> None:
    """What is packed in one call is what the general way gives, where orjson is not installed."""
    for whole in ([value], {"a": value, "b": [1, {"c": [value]}]}):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(packing, "orjson", None)
            general = SafeSerializer().dumps_typed(whole)
        assert SafeSerializer().dumps_typed(whole) == general


@pytest.mark.parametrize("length", [0, 1, 3])
def test_what_another_thread_changes_meanwhile_is_not_packed_by_halves(length: int) -> None:
    """A list is as long as its head says, although it changes while an object is lowered."""
    items: list[Any] = []

    def lower(_: Any) -> list[Any]:
        items[:] = [0] * length  # as another thread may
        return [marker(b"t"), 1]

    whole = [items, {"a": items}]
    items += [kinds.Frozen("x"), "y"]
    assert packing.Packing(lower).pack(whole) is None
    items[:] = [kinds.Frozen("x"), "y"]
    at_once = packing.Packing(lower)
    limits = Limits()
    data = packing.written(whole, at_once, SAFE._lower, lambda: SAFE._lower, limits)
    assert same(SAFE.loads_typed(("safe", data)), [[0] * length, {"a": [0] * length}])


def _meddled(
    write: Callable[[], Any], box: dict[str, Any], begin: int, end: int
) -> tuple[Any, int]:
    """What is written, and in how many steps.

    Meanwhile another thread puts a bytearray into a dict, and takes it out again. Other threads run
    where Python code does: each such step is counted.
    """
    steps = 0

    def step(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps in {begin, end}:
            box["odd"] = bytearray(b"x") if steps == begin else None

    box["odd"] = None if begin else bytearray(b"x")
    sys.setprofile(step)
    try:
        stored = write()
    finally:
        sys.setprofile(None)
    return stored, steps


@pytest.mark.parametrize("beside", ["plain", "bytes", "object", "tuple", "messages", "list"])
def test_a_bytearray_never_becomes_bytes_whatever_other_threads_do(beside: str) -> None:
    """Put in and taken out between any steps: it comes back as it was, or not at all."""
    box: dict[str, Any] = {"odd": None}
    serde = SafeSerializer()
    messages = [HumanMessage("hi", additional_kwargs=box), HumanMessage("there")]
    box = messages[0].additional_kwargs if beside in {"messages", "list"} else box
    others: dict[str, Any] = {"bytes": b"y", "object": kinds.Frozen("x"), "tuple": (1,)}
    box["beside"] = others.get(beside)

    def write() -> Any:
        if beside == "list":
            found = serde.dump_list(messages, lambda packed: packed.head + bytes(packed.elements))
            return ("safe", found) if found is not None else serde.dumps_typed(messages)
        return serde.dumps_typed(messages if beside == "messages" else box)

    write()
    _, steps = _meddled(write, box, 0, 0)
    found = set()
    for begin in range(steps):
        end = begin + 1
        while end <= steps:
            stored, _ = _meddled(write, box, begin, end)
            value = serde.loads_typed(stored)
            value = value[0].additional_kwargs if type(value) is list else value
            found.add(type(value["odd"]))
            end += end - begin if begin else 1
    assert found == {bytearray, type(None)}


def test_bytes_of_an_object_are_packed_with_it() -> None:
    """A UUID has some. Those that stand beside it may be a bytearray's by now."""
    at_once = packing.Packing(SAFE._lower)
    whole = {"a": [UUID(int=1), {"b": UUID(int=2)}, [1, [UUID(int=3)]]], "c": "\u0105"}
    assert at_once.pack(whole) == SAFE.dumps_typed(whole)[1]
    assert at_once.pack({**whole, "d": b"x"}) is None
    assert same(again({**whole, "d": b"x"}), {**whole, "d": b"x"})


@pytest.mark.parametrize("length", [0, 1, 127, 128, 191, 196, 255, 256, 32_768, 65_536])
def test_bytes_are_told_from_letters_and_lengths_that_look_like_them(length: int) -> None:
    """In UTF-8, a letter from U+0100 to U+01BF begins as bytes do; so does the length 196."""
    letters = "".join(map(chr, range(0x100, 0x1C0)))
    texts = [letters, {letters: [217, "x" * 196, "\u0105" * 98, [None] * 197]}]
    assert not packing.holds_bytes(msgpack.packb(texts))
    for odd in ([*texts, bytes(length)], [217, bytes(length), texts], {"a": [bytes(length)]}):
        assert packing.holds_bytes(msgpack.packb(odd))
    assert packing.Packing(SAFE._lower).pack(texts) == SAFE.dumps_typed(texts)[1]


@pytest.mark.parametrize(
    "odd", [bytearray(b"x"), memoryview(b"x"), msgpack.ExtType(5, b"x"), msgpack.Timestamp(1)]
)
def test_what_msgpack_would_change_without_a_word_is_not_packed_so(odd: Any) -> None:
    """Beside an object, and inside of one: it comes back as it is, or is refused."""
    serde = SafeSerializer()
    for whole in ([kinds.Frozen("x"), odd], {"a": (1, [odd])}, [{"b": {1: odd}}]):
        if type(odd) in {bytearray, msgpack.ExtType}:
            assert same(serde.loads_typed(serde.dumps_typed(whole)), whole)
        else:
            with pytest.raises(SerializationError, match=type(odd).__name__):
                serde.dumps_typed(whole)


@given(st.lists(drawn.messages(drawn.scalars | st.lists(drawn.scalars, max_size=2)), max_size=6))
def test_lists_of_messages_come_back_the_same(messages: list[Any]) -> None:
    """The fast path, and all that leaves it in the middle of a list."""
    assert same(again(messages), messages)


@MODERATE
@given(st.lists(drawn.scalars, max_size=4), drawn.scalars)
def test_an_element_has_the_same_bytes_in_every_list(items: list[Any], last: Any) -> None:
    """A list is a header and its elements: what a step adds is appended to the bytes."""
    shorter, longer = (SAFE.dumps_typed([*part])[1] for part in (items, [*items, last]))
    assert longer[1:].startswith(shorter[1:])


EDGES: Final[list[Any]] = [
    math.nan,
    math.inf,
    -math.inf,
    -0.0,
    2**64,
    -(2**63),
    -(2**63) - 1,
    2**2_000,
    decimal.Decimal("sNaN123"),
    decimal.Decimal("-Infinity"),
    decimal.Decimal("1E+999999"),
    decimal.Decimal("-0.00"),
    {1, "1", 1.5, None, (1,), b"1"},
    {True: "a", 0: "b", None: "c", 1.5: "d", (1, "x"): "e", frozenset({1}): "f"},
    {b"bytes": 1, "text": 2},
    {math.inf: 1, -5: 2},
    "\ud800 half",
    {"\udfff": "\ud800"},
    defaultdict(None, {"a": 1}),
    defaultdict(dict, {"a": {}}),
    Counter({"a": -2, "b": 0}),
    UUID(int=5, is_safe=SafeUUID.safe),
    uuid1(),
    NOW,
    datetime(2025, 10, 26, 2, 30, fold=1),  # noqa: DTZ001 -- a naive one
    datetime.min,  # noqa: DTZ901 -- a naive one
    pydantic.TypeAdapter(datetime).validate_python("2025-11-08T15:03:00+02:00"),
    kinds.Mood.PAIR,
    kinds.Mood.QUIET,
    kinds.Access.READ | kinds.Access.RUN,
    kinds.Access(0),
    kinds.Bits(8),
    kinds.Point(1),
    kinds.Checked(number=1),
    kinds.IntBox(content=1),
    kinds.Names(["a"]),
    kinds.Names.model_construct(["a"]),
    kinds.ListBox(content=[1]),
    kinds.NoteBox(content=kinds.Answer(answerText="x")),
    pydantic.SecretStr("hush"),
    pydantic.SecretBytes(b"hush"),
    pydantic.Secret[list[int]]([1]),
    pydantic.HttpUrl("https://ann:pw@example.org:81/a?b=c#d"),
    pydantic.PostgresDsn("postgresql://a@one:1,two:2/db"),
    pydantic_core.Url("https://example.org"),
    pydantic.ByteSize(2**70),
    Item(value={"a": 1}, key="k", namespace=("n",), created_at=NOW, updated_at=NOW),
    SearchItem(("n",), "k", {"a": 1}, NOW, NOW, score=0.5),
    GetOp(("n",), "k"),
    _DeltaSnapshot([1, 2]),
    np.longlong(1),
    np.str_("ends with nul\0"),
    np.void(b"abc"),
    np.array([], dtype="<f4"),
    np.array([1, 2, 3, 4])[::2],
    np.array(["2025", "NaT"], dtype="M8[s]"),
    np.array([([1, 2],)], dtype=[("two", "<i4", (2,))]),
    msgpack.ExtType(5, b"x"),
    HumanMessage("x").text,
    AddableDict({"a": (1, 2)}),
    [msgpack.ExtType(112, b"t"), 1],
    [[[[[[[[[[[]]]]]]]]]]],
    [{}],
    [()],
    {},
]


@pytest.mark.parametrize("value", EDGES, ids=lambda value: f"{type(value).__name__}")
def test_edges_come_back_the_same(value: Any) -> None:
    """Values that are often forgotten, alone and inside others."""
    assert same(again(value), value)
    assert same(again([value, (value,)]), [value, (value,)])
    assert same(
        again(HumanMessage("x", additional_kwargs={"it": value})).additional_kwargs["it"], value
    )


@pytest.mark.parametrize("kind", ["int", "dict", "list"])
def test_arrays_can_be_written_to(kind: str) -> None:
    """An array that was read is one's own, as one that was made."""
    array = again({"int": np.arange(3), "dict": {"a": np.arange(3)}, "list": [np.arange(3)]}[kind])
    array = array["a"] if kind == "dict" else array[0] if kind == "list" else array
    array[0] = 7
    assert array.tolist() == [7, 1, 2]


LOOKALIKES: Final[list[Any]] = [
    {"lc": 2, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "true"}},
    {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "HumanMessage"], "kwargs": {}},
    {"__type__": "app:Profile", "py/object": "os.system", "$type": "x"},
    ["t", 1, 2],
    [b"\xd4\xf0t", 1, 2],
    [b"t", 1],
    [None, "values.kinds:Mood", "CALM", "calm"],
    {"": ["\xd4\xf0t"]},
    {b"\xd4\xf0t": 1},
    {1: "t", "t": 1},
    [-16, "t", 1],
    ["mh", {"content": "hi"}, 1],
]


@pytest.mark.parametrize("value", LOOKALIKES, ids=repr)
def test_what_looks_like_an_envelope_is_plain_data(value: Any) -> None:
    """Dicts and lists of an application come back as they are, whatever is in them."""
    assert same(again(value), value)
    assert same(again([value] * 3), [value] * 3)
    message = AIMessage("", tool_calls=[{"name": "f", "args": {"a": value}, "id": "1"}])
    assert same(again([message]), [message])


def test_top_level_bytes_and_none_are_stored_as_they_are() -> None:
    """They keep LangGraph's own tags, and cost nothing."""
    assert SAFE.dumps_typed(None) == ("null", b"")
    assert SAFE.dumps_typed(b"ab") == ("bytes", b"ab")
    assert SAFE.dumps_typed(bytearray(b"ab")) == ("bytearray", b"ab")
    assert same(again(bytearray(b"ab")), bytearray(b"ab"))


def test_what_is_read_shares_nothing_with_what_was_written() -> None:
    """Changing a value that was read changes no other one."""
    message = HumanMessage("x", additional_kwargs={"a": [1]})
    one, two = again([message]), again([message])
    one[0].additional_kwargs["a"].append(2)
    one[0].id = "changed"
    assert same(two, [message])
    assert message.additional_kwargs == {"a": [1]}


def test_an_exception_is_stored_as_langgraph_does() -> None:
    """The error of a task is its repr; inside a value, an exception is refused."""
    assert again(ValueError("no")) == "ValueError('no')"
    with pytest.raises(Exception, match="ValueError"):
        SAFE.dumps_typed({"error": ValueError("no")})


@MODERATE
@given(st.lists(drawn.values, min_size=2, max_size=5))
def test_values_read_together_are_what_each_is_alone(values: list[Any]) -> None:
    """Whatever they are."""
    stored = [SAFE.dumps_typed(value) for value in values]
    together = SAFE.loads_together(stored)
    assert all(same(found, values[at]) for at, found in together.items())
    alone = len(stored) - len(together)  # one list of messages, one other, and what is not packed
    assert alone <= 2 + sum(kind != "safe" for kind, _ in stored)


def test_one_value_that_may_not_be_built_is_found_among_many() -> None:
    """None of those that are read together is given out, and each alone says what is wrong."""
    stored = [SAFE.dumps_typed(value) for value in ("a", kinds.Answer(answerText="b"), "c")]
    strict = SafeSerializer(allow=[], strict=True)
    assert strict.loads_together(stored) == {}
    assert strict.loads_typed(stored[0]) == "a"
    with pytest.raises(UnsafeTypeError):
        strict.loads_typed(stored[1])


@pytest.mark.parametrize("kind", list(b"tsqkBDnopv"))
def test_the_beginning_of_an_envelope_takes_none_of_what_is_read_with_it(kind: int) -> None:
    """A marker that stands alone is damage, wherever it stands among other values."""
    alone = ("safe", bytes([0xD4, 0xF0, kind]))
    others = [SAFE.dumps_typed(value) for value in ("a", (1,))]
    with pytest.raises(SerializationError):
        SAFE.loads_typed(alone)
    for at in range(3):
        assert SAFE.loads_together([*others[:at], alone, *others[at:]]) == {}


def test_values_read_together_end_where_each_does() -> None:
    """What one damaged value lacks and the next has too much of is not read as two sound ones."""
    serde = SafeSerializer()
    kind = serde.dumps_typed(1)[0]
    one, two, three = (serde.dumps_typed([AIMessage(text)])[1] for text in ("one", "two", "three"))
    both = serde.dumps_typed([AIMessage("one"), AIMessage("two")])[1]
    sound = [(kind, data) for data in (one, two, both, three)]
    assert serde.loads_together(sound) == dict(enumerate(map(serde.loads_typed, sound)))
    others = [(kind, serde.dumps_typed(value)[1]) for value in (1, [2, 3], {"a": 4}, "b", (5,))]
    assert serde.loads_together(others) == {0: 1, 1: [2, 3], 2: {"a": 4}, 3: "b", 4: (5,)}
    tuples = [serde.dumps_typed(value)[1] for value in ((1,), (1, 2))]
    for bad in (
        [(kind, b"\x93" + tuples[0][1:]), (kind, b"\x92" + tuples[1][1:])],
        [
            (kind, b"\x92\x01"),
            (kind, b"\x02\x03"),
        ],  # of two elements, and has one; of one, and has two
        [(kind, b"\x92" + one[1:]), (kind, b"\x91" + both[1:])],
        [(kind, b"\x91" + both[1:]), (kind, b"\x92" + one[1:])],
    ):
        assert serde.loads_together(bad) == {}
        for each in bad:
            with pytest.raises(SerializationError):
                serde.loads_typed(each)
