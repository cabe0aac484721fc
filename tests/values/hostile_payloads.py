"""Payloads that somebody made who means harm: by hand, and by changing what was stored."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

import msgpack
import ormsgpack
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Command, Send

from values import kinds
from values.test_round_trips import EDGES
from wren_sessions import SafeSerializer
from wren_sessions.serializers._standard import BUILDERS
from wren_sessions.serializers._wire import FIELDS, MESSAGES, marker

Payload = tuple[str, bytes]

BUILT_KINDS: Final = [
    *BUILDERS,
    *MESSAGES,
    *(kind + b"\0\x01" for kind in FIELDS),
    *(
        b"e",
        b"n",
        b"o",
        b"p",
        b"v",
        b"A",
        b"N",
        b"U",
        b"g",
        b"w",
        b"x",
        b"y",
        b"?",
        b"",
        b"Mh",
        b"Mh\xff\xff",
        b"p\xff\xff",
        b"o\xff\xff\xff\xff",
        b"n\0",
    ),
]
SHAPED: Final = [kind + b"\xff\xff" * 8 for kind in (b"n", b"o", b"p", b"v")]
"""Of objects all of whose fields are to be checked."""

NAMES: Final = [
    "os:system",
    "posix:system",
    "subprocess:Popen",
    "builtins:eval",
    "builtins:type",
    "builtins:object",
    "builtins:dict",
    "importlib:import_module",
    "importlib._bootstrap:ModuleSpec",
    "pathlib:Path",
    "types:FunctionType",
    "types:CodeType",
    "functools:partial",
    "ctypes:CDLL",
    "antigravity:x",
    "this:s",
    "turtle:Turtle",
    "values.unheard_of:Thing",
    "values.kinds:a_function",
    "values.kinds:Loaded",
    "values.kinds:LoadedData",
    "values.kinds:Plain",
    "values.kinds:Trapped",
    "values.kinds:Trapped.x",
    "values.kinds:Deleted",
    "values.kinds:Hashed",
    "values.kinds:Missing",
    "values.kinds:Note",
    "values.kinds:Answer",
    "values.kinds:__getattr__",
    "values.kinds:unheard_of",
    "values.kinds:Note#__main__",
    "__main__:Watch#__main__",
    "values.hostile_run:Watch#__main__",
    "values.kinds:Note#0123456789abcdef",
    "os.path.posixpath:x#__main__",
    "lib.os:_Environ#__main__",
    "values.kinds:Problem",
    "values.kinds:Texts",
    "langchain_core.messages:HumanMessage",
    "langchain_core.runnables.base:RunnableLambda",
    "langgraph.types:Nothing",
    "pydantic.main:BaseModel",
    "pydantic.networks:HttpUrl",
    "pydantic.types:ByteSize",
    "pydantic.v1.networks:AnyUrl",
    "pydantic_core:Url",
    "pydantic_core:MISSING",
    "enum:Enum",
    "typing:NamedTuple",
    "..:..",
    ":",
    "",
    "a" * 100_000,
]
CONTENTS: Final[list[Any]] = [
    {},
    {"a": 1},
    {"__class__": 1, "__dict__": {"a": 1}, "__setstate__": "x"},
    {"text": "x", "score": 1.0, "tags": [], "mood": None},
    {"name": "x"},
    {1: 2},
    [],
    "true",
    -1,
    2**63,
    None,
    1.5,
    b"\x80\x04.",
]


_KIND_BYTES: Final = b"".join(BUILT_KINDS)
_MARKS: Final = frozenset({0xD4, 0xD5, 0xD6})
_CLASSES: Final = [
    f"values.kinds:{name}".encode()
    for name in (
        *("Mood", "Note", "Pair", "Open", "Word", "Bits", "Loud", "Trap", "Text", "Box1"),
        *("Point", "Child", "Plain", "Level", "Texts", "Names"),
        *("Answer", "Frozen", "Hashed", "Loaded", "Access"),
        *("Slotted", "Profile", "Deleted", "Missing", "Problem", "Trapped", "OldOpen", "Checked"),
    )
]


def by_hand() -> Iterator[Payload]:
    """Every kind of envelope with every name and every content."""
    for name in NAMES:
        for kind in (b"e", b"n", b"o", b"p", b"v", *SHAPED):
            for content in CONTENTS:
                head = [marker(kind), name, content]
                yield _safe(head)
                yield _safe([*head, content])
                yield _safe([{"a": [*head, 0, {}, {}, {"__del__": 1}]}])
        yield _safe([marker(b"p"), [name, "builtins:int", [name]], {"content": 1}, 1])
        yield _safe([marker(b"V"), "it", 1, [marker(b"p"), name, {"name": "x"}, 1]])
        yield _safe([marker(b"V"), name, name, {}])
        yield _safe([marker(b"E"), name, {}])
        yield _safe([marker(b"Z"), name])
        yield _safe([marker(b"P"), name, name])
        yield _safe([marker(b"s"), [marker(b"p"), name, {"name": "x"}, 1]])
        for code in range(10):
            yield from _calls(code, name)
    for kind in BUILT_KINDS:
        for content in CONTENTS:
            for size in range(5):
                yield _safe([marker(kind), *[content] * size])


def _calls(code: int, name: str) -> Iterator[Payload]:
    module, _, short = name.partition(":")
    for content in CONTENTS:
        if content == {1: 2}:
            continue
        call = ormsgpack.packb((module, short, content, "__call__"))
        yield "msgpack", msgpack.packb({"a": [msgpack.ExtType(code, call)]})
        yield "msgpack", ormsgpack.packb([ormsgpack.Ext(code, call)])


def bombs() -> Iterator[Payload]:
    """Deep nesting, lengths that are only claimed, hashes that are all the same."""
    for opening in (b"\x91", b"\x81\xa1a", b"\x91\xd4\xf0t", b"\x92\xd4\xf0f", b"\x92\xd4\xf0k"):
        for depth in (100, 490, 520, 1_000, 5_000, 100_000):
            yield "safe", opening * depth + b"\x01"
            yield "safe", opening * depth
            yield "msgpack", opening * depth
    nested = b"\x01"
    for _ in range(200):
        nested = ormsgpack.packb(ormsgpack.Ext(0, b"\x93\xa8builtins\xa3set\x91" + nested))
    yield "msgpack", nested
    for claim in (b"\xdd", b"\xdf", b"\xdb", b"\xc6"):
        for inner in (b"\xff\xff\xff\xff", b"\x00\x10\x00\x00", b"\x7f\xff\xff\xff"):
            yield "safe", claim + inner
            yield "safe", (claim + inner) * 1_000
            yield "msgpack", (claim + inner) * 1_000
            yield "json", (claim + inner) * 10
    same = [[marker(b"i"), (n * (2**61 - 1)).to_bytes(16, "big")] for n in range(1, 60_000)]
    yield _safe([marker(b"s"), *same])
    yield _safe([marker(b"k"), *(part for key in same for part in (key, 0))])
    yield _safe(
        [marker(b"F"), [marker(b"i"), b"\x01" * 1_000_000], [marker(b"i"), b"\x03" * 999_999]]
    )
    yield _safe([marker(b"R"), "(" * 60_000, 32])
    yield _safe([marker(b"R"), "(?:a{1,999}){1,999}" * 50, 32])
    yield _safe([marker(b"R"), "x", 128])
    yield _safe([marker(b"D"), "9" * 1_000_000])
    yield _safe([marker(b"N"), "<U2147483647", b""])
    yield _safe([marker(b"A"), "<f8", [2**40, 2**40], "C", b""])
    yield _safe([marker(b"A"), "|O", [1], "C", b"\x01" * 8])
    yield _safe([marker(b"A"), "f8,O", [1], "C", b"\x01" * 16])
    yield _safe([marker(b"A"), [["a", "|O"]], [1], "C", b"\x01" * 8])
    yield _safe([marker(b"A"), "|V0", [2**62], "C", b""])
    yield "json", b"[" * 100_000
    yield "json", b'{"lc":2,"type":"constructor","id":["os","system"],"kwargs":{}}' * 2
    yield "pickle", b"cos\nsystem\n(S'true'\ntR."


def seeds() -> list[Payload]:
    """What was stored in good faith, by both serializers."""
    serializers = SafeSerializer(), JsonPlusSerializer(allowed_msgpack_modules=True)
    call = {"name": "f", "args": {"a": [1]}, "id": "c"}
    values: list[Any] = [
        *EDGES,
        [HumanMessage("hello", id="1"), AIMessage("x", tool_calls=[call])],
        [ToolMessage("x", tool_call_id="c", artifact={1: kinds.Frozen("x")})] * 3,
        [Send("n", {"a": kinds.Answer(answerText="x")}), Command(goto=["x"])],
        {"deep": [{"er": (1, {2, 3}, [kinds.Old(name="x")])}]},
    ]
    found = []
    for value in values:
        for serde in serializers:
            try:
                found.append(serde.dumps_typed(value))
            except Exception:  # noqa: BLE001, S112 -- theirs does not take all of them
                continue
    return found


def mutated(count: int, seed: int) -> Iterator[Payload]:
    """Stored values, changed a little."""
    rng, stored = random.Random(seed), seeds()
    names = [name.encode() for name in NAMES[:-1]]
    for _ in range(count):
        kind, data = rng.choice(stored)
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 5))):
            _mutate(changed, rng, names, stored)
        yield (
            (kind if rng.random() < 0.95 else rng.choice(("safe", "msgpack", "json"))),
            bytes(changed),
        )


def _mutate(  # noqa: C901 -- one line for each kind of change
    data: bytearray, rng: random.Random, names: list[bytes], stored: list[Payload]
) -> None:
    at = rng.randrange(len(data) + 1)
    match rng.randrange(14):
        case 0 if data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        case 1 if data:
            data[at % len(data)] = rng.choice(
                b"\x00\x80\x90\x91\xc0\xc4\xc7\xd4\xd6\xdc\xdd\xdf\xff"
            )
        case 2:
            del data[at:]
        case 3:
            data[at:at] = rng.choice(stored)[1]
        case 4:
            data[at : at + rng.randrange(9)] = rng.randbytes(rng.randrange(9))
        case 5:
            data[at:at] = b"\x93\xd4\xf0" + rng.choice(BUILT_KINDS)[:1]
        case 6:
            name = rng.choice(names)
            data[at:at] = bytes([0xD9, len(name)]) + name
        case 7 | 8 | 9:  # these three keep the structure whole
            places = [at for at in range(len(data) - 2) if data[at] in _MARKS]
            if places:
                data[rng.choice(places) + 2] = rng.choice(_KIND_BYTES)
        case 10 | 11:
            old = rng.choice(_CLASSES)
            same = [name for name in _CLASSES if len(name) == len(old)]
            data[:] = data.replace(old, rng.choice(same))
        case 12:
            data[:] = data.replace(b"text", b"name").replace(b"left", b"gone")
        case _:
            start = rng.randrange(len(data) + 1)
            data[at:at] = data[start : start + rng.randrange(40)]


def _safe(value: Any) -> Payload:
    return "safe", msgpack.packb(value)
