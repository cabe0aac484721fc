"""Checkpoints: how they are listed, kept apart, shared by processes, and never half written."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import date
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from saver.backends import SAVERS, Backend
from saver.chains import THREAD, Chain, config, get, ids, pending, revision, values
from wren_sessions import (
    ConfigurationError,
    InvalidSessionIdError,
    MemoryStore,
    SerializationError,
    SessionGoneError,
    SessionSaver,
)
from wren_sessions.testing.build import prune
from wren_sessions.ttl import DAY, FOREVER

LONG = [f"message {number} " * 20 for number in range(40)]
TODAY = date(2025, 11, 8)


class Kind(StrEnum):
    """A text that is more than that."""

    A = "a"


# --- metadata -------------------------------------------------------------------------------------


async def test_the_configs_metadata_is_merged_as_langgraph_does(saver: SessionSaver) -> None:
    """What the config says besides the thread is found with the checkpoint, and nothing more."""
    settings: Any = {
        "metadata": {
            "user": "ada",
            "tries": 3,
            "share": 0.5,
            "ok": True,
            "list": ["no"],
            "nul": "a\0b",
        },
        "configurable": {
            "thread_id": THREAD,
            "checkpoint_ns": "",
            "model": "small",
            "__internal": "no",
            "user": "configurable comes last",
            "object": object(),
        },
    }
    found = []
    for one in (saver, InMemorySaver()):
        at = await Chain(one).put("c1", metadata={"own": "x\0y", "step": 4}, after=settings)
        found.append((await get(one, at)).metadata)
    assert found[0] == found[1]
    assert found[0]["user"] == "ada"  # type: ignore[typeddict-item]


# --- listing --------------------------------------------------------------------------------------


async def three_namespaces(saver: SessionSaver) -> None:
    """A root of five checkpoints, and two subgraphs of three."""
    root = Chain(saver)
    for number in range(1, 6):
        await root.put(f"c{number}", {"messages": LONG[:number]}, metadata={"step": number})
    for namespace in ("a:1", "b"):
        chain = Chain(saver, namespace=namespace)
        for number in range(1, 4):
            await chain.put(f"c{number}", {"x": number}, metadata={"step": number, "in": namespace})


async def test_a_listing_is_newest_first_within_a_namespace(saver: SessionSaver) -> None:
    """The root alone, a subgraph alone, or all of them in the order they were made."""
    await three_namespaces(saver)
    assert await ids(saver, config()) == ["c5", "c4", "c3", "c2", "c1"]
    assert await ids(saver, config(checkpoint_ns="b")) == ["c3", "c2", "c1"]
    everything = config(checkpoint_ns=None)
    assert await ids(saver, everything) == [
        *("c5", "c4", "c3", "c2", "c1"),
        *("c3", "c2", "c1"),
        *("c3", "c2", "c1"),
    ]
    spaces = [
        found.config["configurable"]["checkpoint_ns"] async for found in saver.alist(everything)
    ]
    assert spaces == [""] * 5 + ["a:1"] * 3 + ["b"] * 3


@pytest.mark.parametrize(
    ("namespace", "before", "expected"),
    [
        ("", "c4", ["c3", "c2", "c1"]),
        ("", "c3x", ["c3", "c2", "c1"]),
        ("", "c1", []),
        ("", "a", []),
        ("", "z", ["c5", "c4", "c3", "c2", "c1"]),
        ("b", "c2x", ["c2", "c1"]),
        ("b", "c5", ["c3", "c2", "c1"]),
        ("nowhere", "c5", []),
        (None, "c2", ["c1", "c1", "c1"]),
    ],
)
async def test_before_need_not_exist(
    saver: SessionSaver, namespace: str | None, before: str, expected: list[str]
) -> None:
    """A replay passes the root's id within a subgraph, where there is none of that name."""
    await three_namespaces(saver)
    at = config(checkpoint_ns=namespace)
    assert await ids(saver, at, before=config(checkpoint_id=before)) == expected


async def test_a_before_without_an_id_means_nothing(saver: SessionSaver) -> None:
    """LangGraph's own memory takes it so."""
    await three_namespaces(saver)
    assert len(await ids(saver, config(), before=config())) == 5


@pytest.mark.parametrize(
    ("limit", "count"), [(0, 0), (-1, 0), (1, 1), (4, 4), (5, 5), (99, 5), (None, 5)]
)
async def test_a_limit_counts_what_is_found(
    saver: SessionSaver, limit: int | None, count: int
) -> None:
    """Zero is none, None is all; across namespaces the count goes on."""
    await three_namespaces(saver)
    assert len(await ids(saver, config(), limit=limit)) == count
    everything = config(checkpoint_ns=None)
    assert len(await ids(saver, everything, limit=7)) == 7


async def test_a_filter_looks_at_any_metadata(saver: SessionSaver) -> None:
    """Every key counts, together; what is found is counted after the filter."""
    await three_namespaces(saver)
    everything = config(checkpoint_ns=None)
    assert await ids(saver, everything, filter={"step": 2}) == ["c2", "c2", "c2"]
    assert await ids(saver, everything, filter={"step": 2, "in": "b"}) == ["c2"]
    assert await ids(saver, everything, filter={"source": "loop", "step": 9}) == []
    assert await ids(saver, everything, filter={"none": None}, limit=2) == ["c5", "c4"]
    assert await ids(saver, everything, filter={"step": 1}, limit=2) == ["c1", "c1"]
    assert await ids(saver, config(), filter={"step": 1}, before=config(checkpoint_id="c1")) == []
    assert len(await ids(saver, everything, filter={})) == 11


async def test_a_config_with_a_checkpoint_lists_that_one(saver: SessionSaver) -> None:
    """In its namespace, or in each that has it; other conditions still hold."""
    await three_namespaces(saver)
    assert await ids(saver, config(checkpoint_id="c2")) == ["c2"]
    assert await ids(saver, config(checkpoint_ns=None, checkpoint_id="c2")) == ["c2"] * 3
    assert await ids(saver, config(checkpoint_ns=None, checkpoint_id="c2"), limit=2) == ["c2"] * 2
    assert await ids(saver, config(checkpoint_ns=None, checkpoint_id="c4")) == ["c4"]
    assert await ids(saver, config(checkpoint_id="c9")) == []
    assert await ids(saver, config(checkpoint_id="c2"), filter={"step": 3}) == []
    assert await ids(saver, config(checkpoint_id="c2"), before=config(checkpoint_id="c2")) == []


async def test_no_config_lists_every_thread(saver: SessionSaver) -> None:
    """All namespaces of all threads, with their own thread ids; a limit ends it."""
    for number in range(7):
        chain = Chain(saver, f"thread {number}")
        await chain.put("c1", {"x": number})
        await chain.put("c2", {"x": -number}, metadata={"odd": number % 2})
    await Chain(saver, "thread 0", "sub").put("s1")
    found = [item async for item in saver.alist(None)]
    assert len(found) == 15
    assert {item.config["configurable"]["thread_id"] for item in found} == {
        f"thread {number}" for number in range(7)
    }
    assert len(await ids(saver, None, filter={"odd": 1})) == 3
    assert len(await ids(saver, None, limit=4)) == 4
    assert await ids(saver, None, limit=0) == []


async def test_what_is_not_there_is_no_error(saver: SessionSaver) -> None:
    """A thread, a namespace or a checkpoint that is missing is None, or an empty list."""
    assert await saver.aget_tuple(config("nobody")) is None
    assert await ids(saver, config("nobody", None)) == []
    await saver.adelete_thread("nobody")
    await three_namespaces(saver)
    assert await saver.aget_tuple(config(checkpoint_id="c9")) is None
    assert await saver.aget_tuple(config(checkpoint_ns="nowhere")) is None


async def test_a_long_listing_can_be_left_at_any_point(saver: SessionSaver) -> None:
    """Pages are read as they are asked for, and none is lost between two of them."""
    chain = Chain(saver)
    for number in range(230):
        await chain.put(f"c{number:03}", {"x": number})
    expected = [f"c{number:03}" for number in reversed(range(230))]
    assert await ids(saver, config()) == expected
    assert await ids(saver, config(), limit=150) == expected[:150]
    async for item in saver.alist(config()):
        assert item.checkpoint["id"] == "c229"
        break


# --- what belongs to whom -------------------------------------------------------------------------


async def test_nothing_mutable_is_shared_with_the_caller(saver: SessionSaver) -> None:
    """Whoever changes what was put, or what was read, changes no checkpoint."""
    mine: Any = {"messages": list(LONG), "profile": {"a": [1]}}
    metadata: Any = {"tags": ["x"]}
    chain = Chain(saver)
    at = await chain.put("c1", mine, metadata=metadata)
    write: Any = {"big": list(LONG), "small": [1]}
    await saver.aput_writes(at, [("w", write)], "task")
    for spoiled in (mine["messages"], mine["profile"]["a"], metadata["tags"], write["big"]):
        spoiled.append("spoiled")
    for _ in range(2):
        found = await get(saver, at)
        assert [item async for item in saver.alist(config())] == [found]
        assert found.checkpoint["channel_values"] == {"messages": LONG, "profile": {"a": [1]}}
        assert found.metadata["tags"] == ["x"]  # type: ignore[typeddict-item]
        assert found.pending_writes == [("task", "w", {"big": LONG, "small": [1]})]
        shared: list[Any] = [
            found.checkpoint["channel_values"]["messages"],
            found.checkpoint["channel_values"]["profile"]["a"],
            found.checkpoint["channel_versions"],
            found.checkpoint["versions_seen"],
            found.metadata,
            found.config["configurable"],
            found.pending_writes[0][2]["big"],
        ]
        for spoiled in shared:
            spoiled.clear()
    continued = await chain.put("c2", {"other": 1}, versions={})
    assert (await values(saver, continued))["profile"] == {"a": [1]}


async def test_a_message_changed_in_place_is_stored_as_it_is_now(saver: SessionSaver) -> None:
    """A new version is compared by its bytes, not by which object it is."""
    chain, messages = Chain(saver), [{"text": text} for text in LONG]
    first = await chain.put("c1", {"messages": messages})
    messages[3]["text"] = "changed in place"
    second = await chain.put("c2", {"messages": messages})
    assert (await values(saver, first))["messages"][3] == {"text": LONG[3]}
    assert (await values(saver, second))["messages"][3] == {"text": "changed in place"}


# --- processes ------------------------------------------------------------------------------------

_OTHER = """
import asyncio, json, sys
from saver.backends import SAVERS
from saver.chains import Chain, config, get
from wren_sessions import open_store

async def main(url, face):
    async with open_store(url) as store:
        saver = SAVERS[face](store)
        found = await get(saver, config())
        print(json.dumps([found.checkpoint["channel_values"], found.pending_writes]))
        chain = Chain.continuing(saver, found)
        messages = found.checkpoint["channel_values"]["messages"]
        await chain.put("c2", {"messages": [*messages, "from the other"]})
        await saver.aput_writes(chain.at, [("x", "written by the other")], "task")

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("backend", ["file", "redis"], indirect=True)
async def test_a_second_process_sees_and_continues_everything(backend: Backend, face: str) -> None:
    """What one process wrote another one reads and goes on from, and the first sees that."""
    saver = SAVERS[face](backend.store(FOREVER if backend.name == "file" else DAY))
    at = await Chain(saver).put("c1", {"messages": LONG, "count": 1})
    await saver.aput_writes(at, [("x", LONG)], "task")
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _OTHER, backend.url, face],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == [{"messages": LONG, "count": 1}, [["task", "x", LONG]]]
    found = await get(saver, config())
    assert found.checkpoint["channel_values"] == {
        "messages": [*LONG, "from the other"],
        "count": 1,
    }
    assert found.pending_writes == [("task", "x", "written by the other")]
    await Chain.continuing(saver, found).put("c3", {"count": 2})
    assert await ids(saver, config()) == ["c3", "c2", "c1"]
    assert (await values(saver))["messages"][-1] == "from the other"


async def test_another_saver_finds_everything_again(backend: Backend, face: str) -> None:
    """Nothing that matters is in the saver itself."""
    await three_namespaces(SAVERS[face](backend.store()))
    if backend.name != "memory":
        await backend.store().aio.close()
    reopened = SAVERS[face](backend.store())
    assert len(await ids(reopened, config(checkpoint_ns=None))) == 11
    assert (await values(reopened))["messages"] == LONG[:5]
    await Chain(reopened).put("c6", {"messages": ["new"]}, after=config(checkpoint_id="c5"))
    assert await values(reopened) == {"messages": ["new"]}


# --- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("thread_id", [UUID(int=7), 0, 42, "plain", "a:b/c%d {e}*", "日本"])
async def test_a_thread_may_be_named_in_many_ways(saver: SessionSaver, thread_id: Any) -> None:
    """A UUID or an integer is a name too, and comes back as it was given."""
    chain = Chain(saver, thread_id)
    at = await chain.put("c1", {"x": 1})
    await saver.aput_writes(at, [("y", 2)], "task")
    assert at["configurable"]["thread_id"] == thread_id
    found = await get(saver, config(thread_id))
    assert found.config["configurable"]["thread_id"] == thread_id
    assert found.pending_writes == [("task", "y", 2)]
    listed = [item async for item in saver.alist(config(thread_id))]
    assert [item.config for item in listed] == [found.config]
    assert await ids(saver, config(str(thread_id))) == ["c1"]
    await saver.adelete_thread(thread_id)
    assert await saver.aget_tuple(config(thread_id)) is None


@pytest.mark.parametrize("thread_id", [None, 1.5, True, b"x", ["t"]])
async def test_a_thread_may_not_be_named_by_anything(saver: SessionSaver, thread_id: Any) -> None:
    """What is no name is refused, before two things meet under one."""
    with pytest.raises(InvalidSessionIdError, match="thread_id"):
        await saver.aget_tuple(config(thread_id))
    with pytest.raises(InvalidSessionIdError, match="thread_id"):
        await Chain(saver, thread_id).put("c1")


async def test_a_config_without_a_thread_is_a_mistake(saver: SessionSaver) -> None:
    """Every method says what is missing."""
    empty: Any = {"configurable": {"checkpoint_id": "c1"}}
    calls = [
        saver.aget_tuple(empty),
        saver.aput_writes(empty, [("a", 1)], "task"),
        Chain(saver).put("c1", after=empty),
        ids(saver, empty),
    ]
    for call in calls:
        with pytest.raises(ConfigurationError, match="thread_id"):
            await call


async def test_a_checkpoint_continues_only_what_is_there(saver: SessionSaver) -> None:
    """In a session, a parent that is not there is half the past missing: an error."""
    chain = Chain(saver)
    await chain.put("c1", {"x": 1})
    for by in (saver, SAVERS["async"](saver.store)):
        with pytest.raises(SessionGoneError):
            await Chain(by).put("c3", {"x": 2}, after=config(checkpoint_id="c2"))
    with pytest.raises(SessionGoneError):
        await chain.put("c3", {"x": 2}, after=config(checkpoint_id="c2"))
    assert await revision(saver.store) == 1


async def test_a_parent_that_nobody_stored_begins_a_session(saver: SessionSaver) -> None:
    """As with every other checkpointer, where there is no session; and the thread goes on."""
    chain = Chain(saver)
    at = await chain.put("c2", {"x": 1}, after=config(checkpoint_id="c1"))
    await saver.aput_writes(at, [("x", 2)], "task")
    await chain.put("c3", {"y": 2})
    assert await values(saver) == {"x": 1, "y": 2}
    found = await get(saver, at)
    assert found.pending_writes == [("task", "x", 2)]
    assert found.parent_config is None
    inner = Chain(saver, namespace="child")
    assert await inner.put("n2", {"z": 1})


async def test_what_this_process_deleted_does_not_come_back(saver: SessionSaver) -> None:
    """Neither what it wrote itself, nor what another one had written."""
    other = SAVERS["async"](saver.store)
    for by in (saver, other):
        chain = Chain(by)
        at = await chain.put("c1", {"x": 1})
        await saver.adelete_thread(THREAD)
        with pytest.raises(SessionGoneError):
            await Chain(saver).put("c2", {"x": 2}, after=at)
        assert await revision(saver.store) is None


async def test_a_parent_that_was_dropped_is_none(saver: SessionSaver) -> None:
    """What a prune leaves continues nothing that is not there: get and list say so, forks too."""
    chain = Chain(saver)
    at = {name: await chain.put(name, {"x": LONG, "n": name}) for name in ("c1", "c2", "c3")}
    fork = await Chain(saver).put("c4", {"n": "fork"}, after=at["c2"])
    await Chain(saver).put("c5", {"n": "late"}, after=at["c1"])
    await Chain(saver).put("b9", {"n": "lower"}, after=fork)

    async def parents() -> dict[str, Any]:
        found = {item.checkpoint["id"]: item async for item in saver.alist(config())}
        for name, item in found.items():
            one = await get(SAVERS["async"](saver.store), config(checkpoint_id=name))
            assert one.parent_config == item.parent_config
        return {name: _parent(item) for name, item in found.items()}

    before = {"c1": None, "c2": "c1", "c3": "c2", "c4": "c2", "c5": "c1", "b9": "c4"}
    assert await parents() == before
    life = await saver.store.aio.info(THREAD)
    assert life is not None
    drop = (("", "c1"), ("", "c4"))
    await saver.store.aio.prune(prune(life.life, *drop))
    after = before | {"c2": None, "c5": None, "b9": None}
    assert await parents() == {name: after[name] for name in ("c2", "c3", "c5", "b9")}


def _parent(found: Any) -> Any:
    return found.parent_config and found.parent_config["configurable"]["checkpoint_id"]


async def test_metadata_is_json_data(saver: SessionSaver) -> None:
    """Tuples come back as lists, keys as text, and filters find them by either."""
    given = {"pair": (1, (2, "b")), "by": {1: (), None: 2.5}, "kind": Kind.A, "when": TODAY}
    at = await Chain(saver).put("c1", {"x": 1}, metadata=given)
    expected = {"pair": [1, [2, "b"]], "by": {"1": [], "null": 2.5}, "kind": "a", "when": TODAY}
    found = (await get(saver, at)).metadata
    assert {key: found[key] for key in given} == expected  # type: ignore[literal-required]
    assert type(found["kind"]) is str  # type: ignore[typeddict-item]
    for key, wanted in [*given.items(), *expected.items()]:
        listed = [item async for item in saver.alist(config(), filter={key: wanted})]
        assert [item.metadata for item in listed] == [found]
    assert not [item async for item in saver.alist(config(), filter={"pair": (1, 2)})]


async def test_what_is_unknown_survives(saver: SessionSaver) -> None:
    """Keys of the config, the metadata and the checkpoint that nobody here knows."""
    about = {"mine": {"deep": [1, None]}, "": "empty", "writes": {"a": 1}}
    at = await Chain(saver).put("c1", {"x": 1}, metadata=about)
    asked: Any = {
        "configurable": {**at["configurable"], "user": "u1", "checkpoint_map": {"": "c1"}},
        "tags": ["a"],
    }
    found = await get(saver, asked)
    assert found.config == asked
    assert about.items() <= found.metadata.items()
    assert found.checkpoint["versions_seen"].keys() == {"node"}


async def test_an_empty_config_lists_everything(saver: SessionSaver) -> None:
    """As with LangGraph's memory: no thread means every thread, and no bound means none."""
    await Chain(saver).put("c1", {"x": 1})
    none: Any = {}
    listed = [item async for item in saver.alist(none, before=none)]
    assert [item.checkpoint["id"] for item in listed] == ["c1"]
    threadless: Any = {"configurable": {}}
    with pytest.raises(ValueError, match="names no thread"):
        [item async for item in saver.alist(threadless)]


# --- what cannot be stored ------------------------------------------------------------------------


class _Unknown:
    """Nothing that a serializer knows."""


async def test_what_cannot_be_stored_is_named_and_nothing_is_written(saver: SessionSaver) -> None:
    """The error says which channel of which session, and the session is as it was."""
    chain = Chain(saver)
    at = await chain.put("c1", {"x": 1})
    await saver.aput_writes(at, [("good", 1)], "task")
    before = await revision(saver.store)
    with pytest.raises(SerializationError, match=f"channel 'bad' of session '{THREAD}'.*_Unknown"):
        await chain.put("c2", {"x": 2, "bad": _Unknown()})
    with pytest.raises(SerializationError, match=f"channel 'bad' of session '{THREAD}'.*_Unknown"):
        await saver.aput_writes(at, [("fine", 1), ("bad", _Unknown())], "task")
    with pytest.raises(SerializationError, match=f"metadata of checkpoint 'c3'.*'{THREAD}'"):
        await Chain(saver).put("c3", metadata={"bad": _Unknown()}, after=at)
    assert await revision(saver.store) == before
    assert await values(saver) == {"x": 1}
    assert await pending(saver, at) == [("task", "good", 1)]
    with pytest.raises(SerializationError):
        await Chain(saver, "new").put("c1", {"bad": _Unknown()})
    assert await revision(saver.store, "new") is None


async def test_a_value_that_cannot_be_read_back_is_named() -> None:
    """What a serializer refuses to read is an error that says where it stands, no missing value."""
    saver = SessionSaver(MemoryStore())
    await Chain(saver).put("c1", {"x": LONG})

    class Refuses:
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            raise NotImplementedError

        def loads_typed(self, data: tuple[str, bytes]) -> Any:
            raise ValueError("not for me")

    saver.serde = Refuses()
    with pytest.raises(SerializationError, match=f"'{THREAD}'.*Refuses.*not for me"):
        saver.get_tuple(config())
    with pytest.raises(SerializationError, match=f"'{THREAD}'.*Refuses.*not for me"):
        list(saver.list(config()))
