"""Values of every kind and size, through forks, new versions and other serializers."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Send

from saver.backends import SAVERS, Backend
from saver.chains import Chain, config, get, ids, pending, values
from wren_sessions import SafeSerializer, SessionSaver
from wren_sessions.checkpoints.codec import decode_record
from wren_sessions.delta.cover import MAX_PIECES
from wren_sessions.records import INLINE_BYTES

LONG = [f"message {number} " * 20 for number in range(40)]
_RANDOM = random.Random(1)

VALUES: Final[dict[str, Callable[[], Any]]] = {
    "None": lambda: None,
    "empty list": list,
    "empty dict": dict,
    "empty text": str,
    "empty bytes": bytes,
    "bytes": lambda: bytes(range(256)),
    "bytes like a list": lambda: b"\x93" + bytes(5_000),
    "bytearray": lambda: bytearray(b"\xdc\x00\x01" * 500),
    "text above 1 MiB": lambda: "é" * 600_000,
    "bytes above 1 MiB": lambda: _RANDOM.randbytes(1_500_000),
    "list of 5 MB": lambda: [f"{number} " + "x" * 500 for number in range(10_000)],
    "many small things": lambda: list(range(20_000)),
    "deep": lambda: _nested(40),
    "messages": lambda: [HumanMessage("hello " * 100, id=str(n)) for n in range(30)],
    "sends": lambda: [Send("node", {"messages": LONG}), Send("node", {"messages": LONG[5:]})],
    "mixed": lambda: {"a": [1, 1.5, None, True, "x"], "b": {"c": [1, 2]}, "d": {1, 2}},
}


def _nested(depth: int) -> Any:
    return [depth, _nested(depth - 1)] if depth else "x" * 2_000


@pytest.mark.parametrize("name", sorted(VALUES))
async def test_a_value_comes_back_as_it_was(backend: Backend, face: str, name: str) -> None:
    """From a checkpoint, from the next one, from pending writes, and for another saver."""
    saver = SAVERS[face](backend.store())
    value = VALUES[name]()
    chain = Chain(saver)
    first = await chain.put("c1", {"it": value, "other": 1})
    await saver.aput_writes(first, [("it", value), ("small", 1)], "task")
    second = await chain.put("c2", {"other": 2})
    for reader in (saver, SAVERS[face](backend.store())):
        for at in (first, second):
            found = await values(reader, at)
            assert found["it"] == value
            assert type(found["it"]) is type(value)
        assert await pending(reader, first) == [("task", "it", value), ("task", "small", 1)]
        assert await ids(reader, config()) == ["c2", "c1"]


async def test_a_large_value_is_read_apart_from_its_record(backend: Backend, face: str) -> None:
    """A checkpoint of several megabytes, of which a part is new, is whole for everybody."""
    saver = SAVERS[face](backend.store())
    chain, messages = Chain(saver), VALUES["list of 5 MB"]()
    assert sum(map(len, messages)) > 3 * INLINE_BYTES
    for number in range(3):
        messages = [*messages[1_000 * number :], f"new {number} " * 50]
        at = await chain.put(f"c{number}", {"messages": messages})
        assert (await values(saver, at))["messages"] == messages
        assert (await values(SAVERS[face](backend.store())))["messages"] == messages
    assert len([item async for item in SAVERS[face](backend.store()).alist(config())]) == 3


# --- versions, forks, channels that go ------------------------------------------------------------


async def test_forks_keep_their_own_values(saver: SessionSaver) -> None:
    """Two branches from one checkpoint have different values in the same channel."""
    root = await Chain(saver).put("c1", {"messages": LONG, "kept": LONG[:5]})
    base = await get(saver, root)
    for name in ("left", "right"):
        branch = Chain.continuing(saver, base)
        await branch.put(f"c2 {name}", {"messages": [*LONG[:20], name]})
        await branch.put(f"c3 {name}", {"messages": [*LONG[:20], name, "more"]})
    for name in ("left", "right"):
        found = await values(saver, config(checkpoint_id=f"c3 {name}"))
        assert found == {"messages": [*LONG[:20], name, "more"], "kept": LONG[:5]}
    assert (await values(saver, root))["messages"] == LONG


async def test_equal_versions_on_two_branches_are_two_values(saver: SessionSaver) -> None:
    """A version is looked up at the parent, never in the whole thread."""
    root = await Chain(saver).put("c1", {"x": 0}, versions={"x": 1})
    base = await get(saver, root)
    for name, value in (("left", LONG), ("right", LONG[::-1])):
        branch = Chain.continuing(saver, base)
        await branch.put(f"c2 {name}", {"x": value}, versions={"x": 2})
        await branch.put(f"c3 {name}", {"other": 1})
        assert (await values(saver, branch.at))["x"] == value
    assert (await values(saver, config(checkpoint_id="c3 left")))["x"] == LONG


async def test_a_copy_that_names_no_new_versions_has_its_own_values(saver: SessionSaver) -> None:
    """``__copy__`` continues the grandparent and says that nothing changed: the values count."""
    chain = Chain(saver)
    first = await chain.put("c1", {"messages": LONG, "kept": 1})
    await chain.put("c2", {"messages": [*LONG, "second"]})
    found = await get(saver, chain.at)
    checkpoint: Any = {**found.checkpoint, "id": "c3"}
    at = await saver.aput(first, checkpoint, {"source": "fork", "step": 3, "parents": {}}, {})
    assert await values(saver, at) == {"messages": [*LONG, "second"], "kept": 1}


async def test_what_a_graph_does_to_what_it_was_given_does_not_count_as_read(
    saver: SessionSaver,
) -> None:
    """LangGraph writes new versions into the checkpoint it read: the parent keeps its own."""
    chain = Chain(saver)
    first = await chain.put("c1", {"messages": LONG})
    found = await get(saver, first)
    found.checkpoint["channel_versions"]["messages"] = "0000000009.abcdefgh"
    checkpoint: Any = {
        **found.checkpoint,
        "id": "c2",
        "channel_values": {"messages": ["another list"]},
    }
    at = await saver.aput(first, checkpoint, {"source": "fork", "step": 2, "parents": {}}, {})
    assert await values(saver, at) == {"messages": ["another list"]}


async def test_a_channel_may_lose_its_value(saver: SessionSaver) -> None:
    """A new version without a value is no value, also where the parent has one."""
    found = []
    savers: tuple[Any, ...] = (saver, InMemorySaver())
    for one in savers:
        first = await Chain(one).put(
            "c1", {"gone": LONG, "stays": 1}, versions={"gone": 1, "stays": 1}
        )
        checkpoint: Any = {**(await get(one, first)).checkpoint, "id": "c2"}
        checkpoint["channel_values"] = {"stays": 1}
        checkpoint["channel_versions"] = {"gone": 2, "stays": 1}
        metadata: Any = {"source": "loop", "step": 2, "parents": {}}
        at = await one.aput(first, checkpoint, metadata, {"gone": 2})
        found.append((await get(one, at)).checkpoint)
    assert found[0] == found[1]
    assert found[0]["channel_values"] == {"stays": 1}


async def test_a_channel_keeps_its_value_while_its_version_stays(saver: SessionSaver) -> None:
    """A value that is not handed over again is the parent's: its version says so."""
    first = await Chain(saver).put("c1", {"x": LONG, "y": 1}, versions={"x": 1, "y": 1})
    checkpoint: Any = {**(await get(saver, first)).checkpoint, "id": "c2"}
    checkpoint["channel_values"] = {"y": 2}
    checkpoint["channel_versions"] = {"x": 1, "y": 2}
    metadata: Any = {"source": "loop", "step": 2, "parents": {}}
    at = await saver.aput(first, checkpoint, metadata, {"y": 2})
    assert await values(saver, at) == {"x": LONG, "y": 2}


async def test_versions_of_several_kinds_become_text(saver: SessionSaver) -> None:
    """LangGraph cannot compare text with numbers: they become text, in the same order."""
    chain = Chain(saver)
    versions: dict[str, Any] = {
        "int": 1,
        "text": "00000000000000000000000000000007.0.5",
        "float": 1.5,
    }
    await chain.put("c1", dict.fromkeys(versions, 0), versions=versions)
    at = await chain.put("c2", {"int": 5}, versions={"int": 8})
    found = (await get(SAVERS["async"](saver.store), at)).checkpoint["channel_versions"]
    assert found == {"int": f"{8:032}", "text": versions["text"], "float": f"{1:032}.5"}
    assert await values(saver, at) == {"int": 5, "text": 0, "float": 0}


async def test_an_equal_version_of_another_type_is_another_version(saver: SessionSaver) -> None:
    """1 and 1.0 and "1" are equal to some, and yet three versions."""
    chain = Chain(saver)
    for number, version in enumerate((1, 1.0, "1", True)):
        at = await chain.put(f"c{number}", {"x": [number, *LONG]}, versions={"x": version})
        assert (await values(saver, at))["x"][0] == number


async def test_the_same_id_put_twice_is_the_last_one(saver: SessionSaver) -> None:
    """A checkpoint that is written again replaces itself, and keeps its pending writes."""
    chain = Chain(saver)
    first = await chain.put("c1", {"messages": LONG})
    await saver.aput_writes(first, [("x", 1)], "task")
    await chain.put("c2", {"messages": LONG[1:]})
    again = await Chain(saver).put("c1", {"messages": LONG[::-1]})
    assert await values(saver, again) == {"messages": LONG[::-1]}
    assert await pending(saver, again) == [("task", "x", 1)]
    assert await ids(saver, config()) == ["c2", "c1"]
    assert (await values(saver)) == {"messages": LONG[1:]}
    itself = await Chain(saver).put("c1", {"messages": LONG[:3]}, after=first)
    assert await values(saver, itself) == {"messages": LONG[:3]}


# --- serializers ----------------------------------------------------------------------------------


class _Cipher:
    """Not a cipher that anybody should use: it only shows that one is asked."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        """Turn the bytes round."""
        return "turned", plaintext[::-1]

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        """Turn them back."""
        assert ciphername == "turned"
        return ciphertext[::-1]


async def test_langgraphs_encrypted_serializer_works(backend: Backend, face: str) -> None:
    """Values, writes and metadata go through it, and nothing of them is stored in the clear."""
    store = backend.store()
    saver = SAVERS[face](store, serde=EncryptedSerializer(_Cipher()))
    chain = Chain(saver)
    for number in range(3):
        await chain.put(f"c{number}", {"messages": LONG[: 20 + number], "x": number})
    await saver.aput_writes(chain.at, [("messages", LONG)], "task")
    reader = SAVERS[face](store, serde=EncryptedSerializer(_Cipher()))
    assert await values(reader) == {"messages": LONG[:22], "x": 2}
    assert await pending(reader, chain.at) == [("task", "messages", LONG)]
    assert await ids(reader, config(), filter={"source": "loop"}) == ["c2", "c1", "c0"]
    loaded = await store.aio.load(str(config()["configurable"]["thread_id"]))
    assert loaded
    spans = await store.aio.read(str(config()["configurable"]["thread_id"]), loaded.stored.spans)
    assert spans
    stored = b"".join(filter(None, map(spans.get, loaded.stored.spans))) + loaded.stored.body
    assert b"message 1 " not in stored
    assert (b" 1 egassem" in stored) is (backend.name != "sealed")  # sealed once more


async def test_a_thread_may_change_its_serializer(backend: Backend, face: str) -> None:
    """What was stored in the clear can still be read, and built on, once encryption is on."""
    chain = Chain(SAVERS[face](backend.store()))
    await chain.put("c1", {"old": LONG, "messages": LONG[:10]})
    chain.saver = SAVERS[face](backend.store(), serde=EncryptedSerializer(_Cipher()))
    await chain.put("c2", {"messages": LONG[:11]})
    assert await values(chain.saver) == {"old": LONG, "messages": LONG[:11]}
    assert await ids(chain.saver, config()) == ["c2", "c1"]


async def test_a_serializer_set_later_is_used_from_then_on(saver: SessionSaver) -> None:
    """``saver.serde = …`` counts for the next call, as with LangGraph's own savers."""
    chain = Chain(saver)
    await chain.put("c1", {"x": LONG})
    used: list[str] = []

    class Noting(JsonPlusSerializer):
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            used.append("dumps")
            return super().dumps_typed(obj)

        def loads_typed(self, data: tuple[str, bytes]) -> Any:
            used.append("loads")
            return super().loads_typed(data)

    saver.serde = Noting()
    await chain.put("c2", {"x": LONG[1:]})
    assert used
    assert set(used) == {"dumps"}
    assert await values(saver) == {"x": LONG[1:]}
    assert "loads" in used


class Noting(SafeSerializer):
    """A serializer of the application's own, over ours."""

    seen = 0

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Note lists of messages."""
        self.seen += type(obj) is list and isinstance(obj[0], HumanMessage)
        return super().dumps_typed(obj)


async def test_a_subclass_sees_every_list(backend: Backend, face: str) -> None:
    """Lists that go on are compared where they are packed, but not behind its back."""
    serde = Noting()
    chain = Chain(SAVERS[face](backend.store(), serde=serde))
    said = [HumanMessage(f"{number} " + "words " * 99, id=str(number)) for number in range(9)]
    for length in (7, 8, 9):
        seen = serde.seen
        await chain.put(f"c{length}", {"messages": said[:length]})
        assert serde.seen == seen + 1
    assert await values(chain.saver) == {"messages": said}


async def test_a_list_is_in_few_pieces_however_it_grows(backend: Backend, face: str) -> None:
    """Also where what is added to it stands, bit by bit, in other channels."""
    chain = Chain(SAVERS[face](backend.store()))
    source = random.Random(1)

    def said(number: int) -> HumanMessage:
        return HumanMessage(source.randbytes(300).hex(), id=str(number))

    others = {f"c{channel}": [said(at) for at in range(6)] for channel in range(8)}
    messages = [said(at) for at in range(10)]
    await chain.put("c1", {"messages": messages, **others})
    for step in range(2, 5):
        added = [other[at] for at in range(6) for other in others.values()]
        messages = [*messages, *(each for one in added for each in (one, said(step)))]
        await chain.put(f"c{step}", {"messages": messages, **others})
        loaded = await backend.store().aio.load(str(config()["configurable"]["thread_id"]))
        assert loaded
        body = decode_record(loaded.stored.body, "", "", loaded.stored.name)
        assert len(body.values["messages"].pieces) <= MAX_PIECES
    assert (await values(SAVERS[face](backend.store())))["messages"] == messages
