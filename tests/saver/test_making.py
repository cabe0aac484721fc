"""Making savers, closing them, extending them, and the versions they give."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from saver import graphs
from saver.apps import thread
from saver.backends import Backend
from saver.chains import THREAD, Chain, config, get, ids, values
from wren_sessions import (
    ConfigurationError,
    FileStore,
    MemoryStore,
    SessionSaver,
    TTLPolicy,
)

LONG = [f"message {number} " * 20 for number in range(40)]


async def closed(client: redis.asyncio.Redis) -> None:
    """Close a client, also of redis-py 5.0.0, where the method had another name."""
    await getattr(client, "aclose", client.close)()


# --- versions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "counter"),
    [
        (None, 1),
        ("0000000041.aBcDeFgH", 42),
        ("00000000000000000000000000000041.0.4711", 42),
        ("00000000000000000000000000000041.0.1.2", 42),
        ("41", 42),
    ],
)
def test_the_next_version_counts_on(current: Any, counter: int) -> None:
    """From nothing, and from other savers' text, with as many digits as LangGraph's savers."""
    version = SessionSaver(MemoryStore()).get_next_version(current, None)
    assert version.startswith(f"{counter:032}.")
    assert len(version) == 41
    assert len(version.split(".")[0]) == len(
        InMemorySaver().get_next_version(None, None).split(".")[0]
    )


@pytest.mark.parametrize(
    ("current", "following"), [(0, 1), (41, 42), (True, 2), (41.0, 42.0), (41.7, 42.0)]
)
def test_after_a_number_comes_a_number(current: float, following: float) -> None:
    """LangGraph cannot compare text with numbers: a thread goes on in its own kind."""
    version = SessionSaver(MemoryStore()).get_next_version(current, None)
    assert (version, type(version)) == (following, type(following))


@pytest.mark.parametrize("current", ["", "x.1", "²"])
def test_what_does_not_count_is_told_apart(current: str) -> None:
    """A version without a counter cannot be counted on from: the error names it."""
    with pytest.raises(ConfigurationError, match="does not begin with a number"):
        SessionSaver(MemoryStore()).get_next_version(current)


@given(st.integers(0, 10**31))
def test_versions_increase_as_text(counter: int) -> None:
    """LangGraph compares versions as they are, also with those of the saver before."""
    saver = SessionSaver(MemoryStore())
    version = saver.get_next_version(f"{counter}.x", None)
    assert saver.get_next_version(version, None) > version
    other = InMemorySaver().get_next_version(f"{counter}.0", None)
    assert saver.get_next_version(other, None) > other


def test_versions_of_forks_differ() -> None:
    """Two branches that count on from one version never give the same."""
    saver = SessionSaver(MemoryStore())
    assert len({saver.get_next_version("0000000001.abcdefgh", None) for _ in range(1_000)}) == 1_000


# --- clones and subclasses ------------------------------------------------------------------------


def test_a_clone_with_an_allowlist_shares_store_and_memory() -> None:
    """What one wrote the other knows, without reading it."""
    loads = []

    class Counting(MemoryStore):
        def load(self, session: str, *args: Any, **options: Any) -> Any:
            loads.append(session)
            return super().load(session, *args, **options)

    saver = SessionSaver(Counting())
    clone = saver.with_allowlist([("my_module", "MyType")])
    assert type(clone) is SessionSaver
    assert clone.store is saver.store
    first = asyncio.run(Chain(saver).put("c1", {"messages": LONG}))
    asyncio.run(Chain(clone).put("c2", {"messages": LONG[1:]}, after=first))
    assert not loads
    assert asyncio.run(ids(saver, config())) == ["c2", "c1"]


@pytest.mark.parametrize("face", ["sync", "async"])
async def test_a_subclass_that_overrides_one_method_is_asked(face: str) -> None:
    """Graphs call the override, and the others go on working."""
    seen: list[str] = []

    class Noting(SessionSaver):
        def put(self, config: RunnableConfig, *rest: Any) -> RunnableConfig:
            seen.append("sync")
            return super().put(config, *rest)

        async def aput(self, config: RunnableConfig, *rest: Any) -> RunnableConfig:
            seen.append("async")
            return await super().aput(config, *rest)

    graph = graphs.chat().compile(checkpointer=Noting(MemoryStore()))
    given_messages = {"messages": [graphs.said(1, "human")]}
    if face == "sync":
        graph.invoke(given_messages, thread())
    else:
        await graph.ainvoke(given_messages, thread())
    assert set(seen) == {face}
    assert len(seen) == 4
    assert graph.get_state(thread()).values["turn_count"] == 1


def test_a_graph_may_bring_its_own_types() -> None:
    """LangGraph narrows a saver to the types of the graph's state, on a clone of it."""
    saver = SessionSaver(MemoryStore())
    graph = graphs.interrupting(1).compile(checkpointer=saver)
    graph.invoke({"log": ["x"]}, thread())
    assert graph.get_state(thread()).next == ("ask",)
    assert saver.get_tuple(thread()) is not None


# --- from URLs, the environment, clients ----------------------------------------------------------


async def test_a_saver_from_a_url_owns_its_store(backend: Backend) -> None:
    """With and without ``with``, blocking and asynchronous."""
    url = backend.url
    for make in (SessionSaver.from_url, SessionSaver.from_conn_string):
        plain = make(url, ttl=TTLPolicy("1h"))
        plain.setup()
        await plain.asetup()
        await Chain(plain, make.__name__).put("c1", {"x": 1})
        assert await values(plain, config(make.__name__)) == {"x": 1}
        await plain.aclose()
        plain.close()
        plain.close()
    with SessionSaver.from_conn_string(url, ttl=TTLPolicy("1h")) as blocking:
        graph = graphs.chat().compile(checkpointer=blocking)
        graph.invoke({"messages": [graphs.said(1, "human")]}, thread())
        assert graph.get_state(thread()).values["turn_count"] == 1
    async with SessionSaver.from_conn_string(url, ttl=TTLPolicy("1h")) as waiting:
        graph = graphs.chat().compile(checkpointer=waiting)
        await graph.ainvoke({"messages": [graphs.said(2, "human")]}, thread())
        turns = 1 if backend.name in {"memory", "sealed"} else 2  # two memories are two places
        assert (await graph.aget_state(thread())).values["turn_count"] == turns


async def test_options_go_where_they_belong(tmp_path: Path) -> None:
    """Some are the saver's, all others the store's; one that nobody knows is an error."""
    serde = graphs.chat().compile(checkpointer=SessionSaver(MemoryStore())).checkpointer.serde  # type: ignore[union-attr]
    async with SessionSaver.from_url(
        f"file://{tmp_path / 'x.db'}",
        ttl=TTLPolicy("7d"),
        prefix="mine",
        serde=serde,
        cache_bytes=0,
        header=["stage"],
    ) as saver:
        assert isinstance(saver.store, FileStore)
        assert saver.store.ttl == TTLPolicy("7d")
        assert saver.store.keys.prefix == "mine"
        assert saver.serde is serde
        await Chain(saver).put("c1", {"stage": "closing", "answer": "secret"})
        info = await saver.store.aio.info(THREAD)
        assert info
        assert b'"stage":"closing"' in info.state
        assert b"secret" not in info.state
    with pytest.raises(ConfigurationError, match="no_such_option"):
        SessionSaver.from_url("memory://", no_such_option=1)


async def test_a_saver_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The variables decide; without any it is memory, and a warning."""
    monkeypatch.chdir(tmp_path)
    for name in ("WREN_SESSIONS_URL", "REDIS_URL", "REDIS_HOST", "REDIS_PORT"):
        monkeypatch.delenv(name, raising=False)
    with caplog.at_level(logging.WARNING):
        memory = SessionSaver.from_env()
    assert isinstance(memory.store, MemoryStore)
    assert "memory" in caplog.text
    monkeypatch.setenv("WREN_SESSIONS_URL", "file:here.db")
    async with SessionSaver.from_env() as saver:
        assert isinstance(saver.store, FileStore)
        await Chain(saver).put("c1", {"x": 1})
        assert await values(saver) == {"x": 1}
    assert (tmp_path / "here.db").exists()


async def test_a_store_that_was_passed_in_is_not_closed(tmp_path: Path) -> None:
    """Leaving the saver's block leaves the application's store as it was."""
    closed = []

    class Noting(MemoryStore):
        def close(self) -> None:
            closed.append(True)

    with SessionSaver(Noting()) as saver:
        saver.close()
    async with SessionSaver(Noting()) as saver:
        await saver.aclose()
    assert not closed


async def test_a_blocking_client_serves_both_faces(redis_url: str) -> None:
    """Asynchronous graphs go through threads; the client stays open, and its prefix is kept."""
    with redis.Redis.from_url(redis_url) as client:
        with SessionSaver.from_client(client, ttl=TTLPolicy("1h"), prefix="mine") as saver:
            graph = graphs.chat().compile(checkpointer=saver)
            graph.invoke({"messages": [graphs.said(1, "human")]}, thread())
            await graph.ainvoke({"messages": [graphs.said(2, "human")]}, thread())
            assert (await graph.aget_state(thread())).values["turn_count"] == 2
            await saver.store.aio.close()
        assert client.ping()
        assert client.keys("mine:*") == [b"mine:t:latest"]


async def test_an_asyncio_client_serves_its_own_face_alone(redis_url: str) -> None:
    """A blocking call on it is a mistake that the error explains; it is never closed here."""
    client = redis.asyncio.Redis.from_url(redis_url)
    async with SessionSaver.from_client(client, header=["stage"]) as saver:
        graph = graphs.chat().compile(checkpointer=saver)
        await graph.ainvoke({"messages": [graphs.said(1, "human")]}, thread())
        assert (await graph.aget_state(thread())).values["turn_count"] == 1
        for call in (
            lambda: saver.get_tuple(thread()),
            lambda: list(saver.list(thread())),
            lambda: saver.delete_thread("t"),
            lambda: saver.put_writes(config(checkpoint_id="c"), [("a", 1)], "task"),
            lambda: graph.invoke({"messages": []}, thread()),
        ):
            with pytest.raises(ConfigurationError, match="asyncio client"):
                call()
    assert await client.ping()
    await closed(client)


@pytest.mark.parametrize("decode", [True, False])
async def test_a_client_that_decodes_replies_works_too(redis_url: str, *, decode: bool) -> None:
    """Applications often ask redis-py for text; sessions are bytes all the same."""
    with redis.Redis.from_url(redis_url, decode_responses=decode) as client:
        saver = SessionSaver.from_client(client)
        at = await Chain(saver).put("c1", {"messages": LONG, "raw": bytes(range(256)) * 10})
        assert (await get(saver, at)).checkpoint["channel_values"]["messages"] == LONG
        assert saver.get_tuple(at) == await saver.aget_tuple(at)
        assert client.get("nothing") is None
        await saver.store.aio.close()
    waiting = redis.asyncio.Redis.from_url(redis_url, decode_responses=decode)
    assert (await values(SessionSaver.from_client(waiting)))["messages"] == LONG
    await closed(waiting)


def test_something_else_is_no_client() -> None:
    """What is neither of redis-py's clients is refused by name."""
    wrong: Any = "redis://localhost"
    with pytest.raises(ConfigurationError, match="not str"):
        SessionSaver.from_client(wrong)


async def test_one_saver_serves_several_event_loops_and_threads(backend: Backend) -> None:
    """Each loop has connections of its own, and all of them see the same sessions."""
    saver = SessionSaver(backend.store())

    async def turn(number: int) -> None:
        graph = graphs.chat().compile(checkpointer=saver)
        await graph.ainvoke({"messages": [graphs.said(number, "human")]}, thread(f"t{number}"))
        if backend.name == "redis":  # whose connections belong to this loop
            await saver.store.aio.close()

    await asyncio.gather(*(asyncio.to_thread(asyncio.run, turn(number)) for number in range(4)))
    threads = [item.config["configurable"]["thread_id"] async for item in saver.alist(None)]
    assert {*threads} == {"t0", "t1", "t2", "t3"}
    assert len(threads) == 16
