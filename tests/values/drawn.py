"""Values of every kind that round-trips, nested in each other, for Hypothesis."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, timedelta, timezone
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langgraph.types import Command, Interrupt, Send

from values import kinds

# Any character, half surrogate pairs too.
texts = st.text(max_size=12) | st.text(st.characters(), max_size=5)
zones = st.sampled_from(
    [
        None,
        UTC,
        timezone(timedelta(hours=5, minutes=45)),
        timezone(timedelta(seconds=-1), "odd"),
        ZoneInfo("Europe/Berlin"),
        ZoneInfo("UTC"),
    ]
)

keys = (
    texts
    | st.integers()
    | st.binary(max_size=4)
    | st.booleans()
    | st.none()
    | st.uuids()
    | st.dates()
    | st.decimals(allow_nan=False)
    | st.sampled_from(
        [*kinds.Mood, *kinds.Level, *kinds.Word, kinds.Access.READ | kinds.Access.RUN]
    )
    | st.builds(kinds.Frozen, texts, st.integers())
    | st.builds(kinds.FrozenSlotted, inner=texts)
    | st.builds(lambda name: kinds.Steady(name=name), texts)
    | st.tuples(texts, st.integers())
    | st.frozensets(st.integers() | texts, max_size=3)
)

scalars = (
    keys
    | st.floats()
    | st.complex_numbers()
    | st.decimals()
    | st.integers(min_value=2**63, max_value=2**300)
    | st.datetimes(timezones=zones)
    | st.times(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=-3))]))
    | st.timedeltas()
    | st.binary(max_size=8).map(bytearray)
    | st.fractions().filter(lambda value: isinstance(value, Fraction))
    | st.builds(range, st.integers(), st.integers(), st.integers(1, 5))
    | st.sampled_from(
        [
            Path("/a/b"),
            Path(),
            PurePosixPath("x/../y"),
            PureWindowsPath("c:\\x"),
            ipaddress.ip_address("10.0.0.1"),
            ipaddress.ip_address("fe80::1%eth0"),
            ipaddress.ip_network("10.0.0.0/8"),
            ipaddress.ip_interface("::1/64"),
            re.compile("a+(?i:b)", re.IGNORECASE | re.DOTALL),
            re.compile(rb"\d"),
            kinds.Bits(7),
            kinds.Point(1),
            np.float32(1.5),
            np.int64(3),
            np.bool_(True),
            np.str_("ab"),
            np.datetime64("2025-01-01"),
            np.arange(6, dtype="<u2").reshape(2, 3),
            np.asfortranarray(np.ones((2, 3))),
            np.zeros((0, 3)),
            np.array(5),
            np.array([("a", 1.0)], dtype=[("name", "<U3"), ("size", ">f8")]),
        ]
    )
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, max_size=4)
    maps = st.dictionaries(texts, inner, max_size=4)
    return (
        lists
        | maps
        | st.dictionaries(keys, inner, max_size=4)
        | lists.map(tuple)
        | st.sets(keys, max_size=4)
        | st.frozensets(keys, max_size=4)
        | st.builds(deque, lists, st.none() | st.integers(4, 9))
        | maps.map(OrderedDict)
        | st.dictionaries(keys, st.integers(), max_size=3).map(Counter)
        | maps.map(lambda content: defaultdict(list, content))
        | st.builds(slice, inner, inner)
        | _objects(inner)
    )


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.builds(kinds.Pair, inner, inner)
        | st.builds(kinds.Slotted, inner, inner)
        | st.builds(kinds.Child, inner, inner, inner)
        | st.builds(kinds.Note, texts, st.lists(texts, max_size=2))
        | st.builds(kinds.Box1, inner)
        | st.builds(lambda it: kinds.Anything(it=it), inner)
        | st.builds(lambda it: kinds.Anything.model_construct(it=it), inner)
        | st.builds(lambda it, more: kinds.Open(a=1, **more), inner, st.just({"b": 2, "c": [3]}))
        | st.builds(lambda text: kinds.Answer(answerText=text), texts)
        | st.builds(lambda it: kinds.Old(name="x", inner=it), inner)
        | st.builds(lambda it: kinds.OldOpen.parse_obj({"b": it}), inner)
        | st.sampled_from([kinds.IntBox(content=1), kinds.Names(["a"]), kinds.Outer.Inner(a=2)])
        | st.builds(Send, texts, inner)
        | st.builds(lambda it: Command(update={"a": it}, goto=["x"]), inner)
        | st.builds(Interrupt, inner, id=texts)
        | messages(inner)
    )


def _blocks() -> st.SearchStrategy[Any]:
    return st.lists(
        texts
        | st.builds(lambda text: {"type": "text", "text": text}, texts)
        | st.just({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}),
        max_size=3,
    )


def messages(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Messages of all classes, with all that they may carry."""
    kwargs = st.dictionaries(texts, inner, max_size=2)
    shared: dict[str, Any] = {
        "content": texts | _blocks(),
        "additional_kwargs": kwargs,
        "response_metadata": kwargs,
        "name": st.none() | texts,
        "id": st.none() | texts,
    }
    calls = st.lists(
        st.builds(lambda a, i: {"name": "f", "args": a, "id": i}, kwargs, st.none() | texts),
        max_size=2,
    )
    invalid: st.SearchStrategy[Any] = st.just(
        [{"name": "f", "args": "{", "id": "1", "error": "no"}]
    ) | st.just([])
    usage = st.none() | st.just(
        {
            "input_tokens": 1,
            "output_tokens": 2,
            "total_tokens": 3,
            "input_token_details": {"audio": 1},
        }
    )
    made = _made(shared)
    human = made(HumanMessage)
    found: st.SearchStrategy[Any] = (
        human
        | made(AIMessage, tool_calls=calls, invalid_tool_calls=invalid, usage_metadata=usage)
        | made(SystemMessage)
        | made(HumanMessageChunk)
        | made(AIMessageChunk, usage_metadata=usage)
        | made(ChatMessage, role=texts)
        | made(FunctionMessage, name=texts)
        | made(
            ToolMessage,
            tool_call_id=texts,
            artifact=inner,
            status=st.sampled_from(["success", "error"]),
        )
        | made(kinds.Loud)
        | texts.map(lambda own_id: RemoveMessage(id=own_id))
        | st.builds(lambda text, data: Document(text, metadata=data), texts, kwargs)
        | st.builds(_extended, human, inner)
    )
    return found


def _made(shared: dict[str, Any]) -> Any:
    """Messages of a class, with fields that all have and fields of their own."""

    def made(kind: Any, **own: Any) -> st.SearchStrategy[Any]:
        return st.fixed_dictionaries(shared | own).map(lambda fields: kind(**fields))

    return made


def _extended(message: Any, it: Any) -> Any:
    """A message with an attribute of the application's, as pydantic lets it have."""
    message.my_own = it
    return message


values = st.recursive(scalars, _containers, max_leaves=12)
