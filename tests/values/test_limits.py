"""How large a value may be: errors name the limit and how to raise it."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from wren_sessions import Limits, PlainSerializer, SafeSerializer
from wren_sessions.errors import ConfigurationError, SerializationError


def _nested(depth: int) -> Any:
    found: Any = 1
    for at in range(depth):
        found = [found] if at % 2 else {"a": found}
    return found


CASES: list[tuple[str, int, Any, Any]] = [
    ("max_value_bytes", 100, "x" * 80, "x" * 120),
    ("max_value_bytes", 100, 2**500, 2**1_000),
    ("max_value_bytes", 100, b"x" * 100, b"x" * 101),
    ("max_value_bytes", 200, [HumanMessage("x")] * 2, [HumanMessage("x" * 200)]),
    ("max_depth", 10, _nested(10), _nested(11)),
    ("max_depth", 3, [HumanMessage("x")], [[HumanMessage("x", additional_kwargs={"a": [1]})]]),
    ("max_items", 10, list(range(10)), list(range(11))),
    ("max_items", 10, {n: n for n in range(5)}, {str(n): "long text" for n in range(11)}),
    ("max_items", 10, {1, 2}, set(range(11))),
]


@pytest.mark.parametrize(("name", "limit", "fits", "over"), CASES)
def test_a_limit_holds_when_writing_and_when_reading(
    name: str, limit: int, fits: Any, over: Any
) -> None:
    """What is over it is refused both ways, and what is not passes both ways."""
    bound = Limits(**{name: limit})
    serde, wide = SafeSerializer(limits=bound), SafeSerializer()
    assert serde.loads_typed(serde.dumps_typed(fits)) == fits
    says = rf"Limits\.{name} is {limit:,}.*Limits\({name}=…\)"
    with pytest.raises(SerializationError, match=says):
        serde.dumps_typed(over)
    for reader in (serde, PlainSerializer(limits=bound)):
        with pytest.raises(SerializationError, match=says):
            reader.loads_typed(wide.dumps_typed(over))


@pytest.mark.parametrize("depth", [100, 250])
def test_deep_values_pass(depth: int) -> None:
    """As deep as anybody goes."""
    serde = SafeSerializer()
    assert serde.loads_typed(serde.dumps_typed(_nested(depth))) == _nested(depth)


BOMBS = [
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\xf0",
    b"\xdd\x00\x10\x00\x00" * 900,
    b"\xdd\x00\x10\x00\x00\x98\xd6\xf0Mh\x00\x01",
    b"\x91\x97\xd6\xf0Mh\x00\x01\xdd\x7f\xff\xff\xff",
    b"\xdc\xff\xff\x97\xd6\xf0Mh\x00\x01\xdd\x7f\xff\xff\xff",
]


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
@pytest.mark.parametrize("reader", [SafeSerializer(), PlainSerializer()])
@pytest.mark.parametrize("kind", ["safe", "msgpack"])
def test_a_length_that_is_only_claimed_takes_no_memory(reader: Any, bomb: bytes, kind: str) -> None:
    """The bytes are walked before anything is built."""
    tracemalloc.start()
    try:
        with pytest.raises(SerializationError, match=r"cut off|damaged"):
            reader.loads_typed((kind, bomb))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "limit"), [("max_depth", 501), ("max_items", 0), ("max_depth", "9")]
)
def test_a_limit_that_makes_no_sense_is_an_error(name: str, limit: Any) -> None:
    """Nothing goes deeper than 500, since msgpack does not."""
    with pytest.raises(ConfigurationError, match=name):
        Limits(**{name: limit})
