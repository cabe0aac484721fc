"""A value may be as deep as the limit says, wherever it is stored and read."""

from __future__ import annotations

import sys
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage

from values import drawn, kinds
from values.comparing import same
from values.test_round_trips import MODERATE
from wren_sessions import Limits, PlainSerializer, SafeSerializer
from wren_sessions.errors import SerializationError
from wren_sessions.serializers._deep import Part, lowered_deep
from wren_sessions.serializers.packing import pack

SAFE: Final = SafeSerializer()
ONCE: Final[dict[str, Callable[[Any], Any]]] = {
    "list": lambda inner: [inner],
    "dict": lambda inner: {"a": inner},
    "tuple": lambda inner: (inner, 1),
    "frozenset": lambda inner: frozenset([inner, "a", 3]),
    "odd dict": lambda inner: {1: inner},
    "deque": lambda inner: deque([inner]),
}
TWICE: Final[dict[str, Callable[[Any], Any]]] = {
    "ordered": lambda inner: OrderedDict(a=inner),
    "model": lambda inner: kinds.Anything(it=inner),
    "dataclass": lambda inner: kinds.Slotted(inner, 1),
    "named tuple": kinds.Pair,
    "message": lambda inner: HumanMessage("x", additional_kwargs={"a": inner}),
}


def nested(depth: int, around: Callable[[Any], Any], inner: Any = 1) -> Any:
    """A value in so many others."""
    for _ in range(depth):
        inner = around(inner)
    return inner


def at_depth(calls: int, do: Callable[[], Any]) -> Any:
    """What a function gives when so many calls are open."""
    return do() if not calls else at_depth(calls - 1, do)


def nearly_out_of_stack(do: Callable[[], Any], room: int = 60) -> Any:
    """What a function gives where the stack has room for a few calls."""
    used = sum(1 for _ in traceback.walk_stack(None))
    return at_depth(sys.getrecursionlimit() - used - room, do)


@pytest.fixture
def high_recursion_limit() -> Iterator[None]:
    """A program that lets itself go deeper, as notebooks do."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(5_000)
    yield
    sys.setrecursionlimit(before)


def check(around: Callable[[Any], Any], deepest: int) -> None:
    """Make sure that this deep is stored, and deeper refused."""
    value = nested(deepest, around)
    stored = SAFE.dumps_typed(value)
    found = SAFE.loads_typed(stored)
    assert SAFE.dumps_typed(found) == stored
    PlainSerializer().loads_typed(stored)
    for more in (1, 2, 20, 300):
        with pytest.raises(SerializationError, match=r"deeper.*max_depth is 500"):
            SAFE.dumps_typed(nested(more, around, value))


@pytest.mark.parametrize("around", ONCE.values(), ids=ONCE.keys())
def test_a_container_counts_once(around: Callable[[Any], Any]) -> None:
    """500 of them are stored, 501 refused."""
    check(around, 500)


@pytest.mark.parametrize("around", TWICE.values(), ids=TWICE.keys())
def test_an_object_counts_twice(around: Callable[[Any], Any]) -> None:
    """250 of them are stored, 251 refused."""
    check(around, 250)


@pytest.mark.usefixtures("high_recursion_limit")
@pytest.mark.parametrize("around", [ONCE["list"], ONCE["dict"], ONCE["tuple"]])
def test_the_limit_is_the_same_in_every_program(around: Callable[[Any], Any]) -> None:
    """Whatever its recursion limit."""
    check(around, 500)


@pytest.mark.parametrize("name", [*ONCE, *TWICE])
def test_it_does_not_matter_how_deep_the_caller_is(name: str) -> None:
    """A value stored deep in a recursion has the same bytes, and is read there as well."""
    value = nested(200, (ONCE | TWICE)[name])
    stored = SAFE.dumps_typed(value)
    assert nearly_out_of_stack(lambda: SAFE.dumps_typed(value)) == stored
    again = nearly_out_of_stack(lambda: SAFE.loads_typed(stored))
    assert SAFE.dumps_typed(again) == stored
    nearly_out_of_stack(lambda: PlainSerializer().loads_typed(stored))


@MODERATE
@given(drawn.values)
def test_both_ways_of_lowering_give_the_same(value: Any) -> None:
    """Level by level, or with a call for each: the bytes are equal."""
    try:
        usual = pack(SAFE._lower(value))
    except SerializationError:
        return
    assert pack(SAFE._deep()(value)) == usual


@MODERATE
@given(st.integers(1, 520), st.sampled_from([*ONCE]), st.sampled_from([*TWICE]), st.integers(0, 3))
def test_whatever_depth_is_stored_is_read(depth: int, one: str, two: str, every: int) -> None:
    """Of mixed values too; and it is refused above the limit alone."""
    value: Any = 1
    levels = 0
    for at in range(depth):
        twice = bool(every) and at % 4 < every and one != "frozenset"
        value = (TWICE[two] if twice else ONCE[one])(value)
        levels += 2 if twice else 1
    try:
        stored = SAFE.dumps_typed(value)
    except SerializationError:
        assert levels > 500
        return
    assert levels <= 500
    assert SAFE.dumps_typed(SAFE.loads_typed(stored)) == stored


def test_a_value_that_holds_itself_is_refused_at_any_depth() -> None:
    """It is found out level by level too."""
    value: list[Any] = []
    value.append([value])
    with pytest.raises(SerializationError, match="refers to itself"):
        nearly_out_of_stack(lambda: SAFE.dumps_typed(value))
    with pytest.raises(RecursionError):
        lowered_deep(
            value, lambda level: [*map(Part, level)] if type(level) is list else level, pack
        )


def test_what_is_refused_deep_inside_is_refused_there_too() -> None:
    """With the same reason."""
    with pytest.raises(SerializationError, match="kinds:Plain"):
        SAFE.dumps_typed(nested(400, ONCE["list"], kinds.Plain()))
    with pytest.raises(SerializationError, match="kinds:Hashed"):
        SAFE.dumps_typed(nested(400, ONCE["frozenset"], kinds.Hashed(name="x")))


@pytest.mark.parametrize("depth", [20, 100, 250, 480])
def test_deep_values_in_messages_are_read(depth: int) -> None:
    """The fast path leaves them to the general one, wherever the caller is."""
    stored = SAFE.dumps_typed(
        [HumanMessage("x", additional_kwargs={"a": nested(depth, ONCE["list"])})]
    )
    found = nearly_out_of_stack(lambda: SAFE.loads_typed(stored), room=150)
    assert SAFE.dumps_typed(found) == stored


@pytest.mark.parametrize("reader", [SAFE, PlainSerializer()])
def test_stored_data_may_not_be_deeper_either(reader: Any) -> None:
    """But for what version 0.1.0 stored where the recursion limit was raised."""
    packed = msgpack.packb(1)
    assert reader.loads_typed(("safe", b"\x91" * 510 + packed)) is not None
    with pytest.raises(SerializationError, match="max_depth"):
        reader.loads_typed(("safe", b"\x91" * 600 + packed))


@pytest.mark.parametrize("depth", [500, 600])
def test_messages_may_not_hold_what_is_deeper(depth: int) -> None:
    """A list of messages has the same limit as other data, read alone or with others."""
    kind, sound = SAFE.dumps_typed([HumanMessage("x", additional_kwargs={"a": "deep"})])
    forged = sound.replace(msgpack.packb("deep"), b"\x91" * depth + msgpack.packb(1))
    if depth < 512:
        again = SAFE.loads_typed((kind, forged))
        assert SAFE.loads_together([(kind, forged)] * 2) == {0: again, 1: again}
        return
    with pytest.raises(SerializationError, match="max_depth"):
        SAFE.loads_typed((kind, forged))
    with pytest.raises(SerializationError, match="max_depth"):
        SAFE.loads_together([(kind, forged)] * 2)


def test_a_lower_limit_counts_the_same() -> None:
    """Containers once and objects twice, when writing and when reading."""
    serde = SafeSerializer(limits=Limits(max_depth=10))
    for around, deepest in ((ONCE["tuple"], 10), (TWICE["model"], 5)):
        serde.loads_typed(serde.dumps_typed(nested(deepest, around)))
        with pytest.raises(SerializationError, match="max_depth is 10"):
            serde.dumps_typed(nested(deepest + 1, around))


def test_no_room_at_all_is_told() -> None:
    """It is no damage: the value can be read elsewhere."""
    stored = SAFE.dumps_typed(kinds.Profile(name="x", answers=[kinds.Answer(answerText="a")]))
    for room in range(4, 30):
        try:
            found = nearly_out_of_stack(lambda: SAFE.loads_typed(stored), room=room)
        except RecursionError:
            continue
        except SerializationError as error:
            assert "stack" in str(error)  # noqa: PT017 -- one of three outcomes
        else:
            assert same(found, SAFE.loads_typed(stored))


@pytest.mark.parametrize("place", ["value", "message"])
def test_tuples_without_end_are_refused(place: str) -> None:
    """Tuples that are deeper than the stack, in plain data or in a message, end no process."""
    deep = nested(200_000, lambda inner: (inner,))
    value: Any = {"a": [deep]}
    if place == "message":
        value = [HumanMessage("x", response_metadata=value)]
    with pytest.raises(SerializationError, match="max_depth"):
        SAFE.dumps_typed(value)
