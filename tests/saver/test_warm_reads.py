"""What a process has read or written before is not sent and not unpacked again, nor trusted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple, empty_checkpoint
from redis import Redis

from backends.chats import Chat
from backends.trips import counted_trips
from saver.backends import SAVERS, Backend
from values.comparing import same
from wren_sessions import (
    Compression,
    Encryption,
    SafeSerializer,
    Sessions,
    SessionSaver,
    open_store,
)
from wren_sessions.stores.memory import MemoryStore
from wren_sessions.stores.protected import ProtectedStore

SAID: list[BaseMessage] = [
    HumanMessage("a question of some length, asked again and again. " * 20, id="1"),
    AIMessage(
        [{"type": "text", "text": "Let me look. " * 20}, {"type": "other", "parts": [1, 2]}],
        id="2",
        tool_calls=[{"name": "look", "args": {"at": {"page": 1}}, "id": "c1"}],
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        response_metadata={"model": "m", "scores": [0.5, 1.0, True]},
    ),
    ToolMessage("found it. " * 30, tool_call_id="c1", artifact={"rows": [{"n": 1}]}, id="3"),
    HumanMessage("thanks", additional_kwargs={"from": {"name": "Ann"}}, name="Ann"),
]


async def latest(saver: SessionSaver, chat: Chat) -> list[BaseMessage]:
    """The messages of the latest checkpoint."""
    found = await saver.aget_tuple(chat.thread)
    assert found is not None
    messages: list[BaseMessage] = found.checkpoint["channel_values"]["messages"]
    return messages


async def listed(saver: SessionSaver, chat: Chat) -> list[list[BaseMessage]]:
    """The messages of all checkpoints, the newest first."""
    return [
        found.checkpoint["channel_values"]["messages"] async for found in saver.alist(chat.thread)
    ]


async def said(saver: SessionSaver, *, turns: int = 4) -> Chat:
    """A chat with messages of all sorts."""
    chat = Chat(saver)
    for turn in range(turns):
        chat.messages += [SAID[turn % len(SAID)].model_copy(deep=True)]
        await chat.put()
    return chat


async def test_a_warm_process_reads_what_a_fresh_one_does(
    backend: Backend, saver: SessionSaver
) -> None:
    """At every step, whoever wrote it; each message the same in all its parts."""
    chat = await said(saver)
    other = type(saver)(backend.store())
    for turn in range(9):
        writer = (saver, other)[turn % 2]
        chat.saver = writer
        chat.messages += [SAID[turn % len(SAID)].model_copy(deep=True)]
        await chat.put()
        fresh = type(saver)(backend.store(), cache_bytes=0)
        for reader in (saver, other, fresh):
            assert same(await latest(reader, chat), chat.messages)
        if turn % 3 == 2:  # a summary, and the last few messages
            chat.messages = [HumanMessage("in short, " * 150), *chat.messages[-3:]]


class Text(str):
    """Text of an application's own kind."""

    __slots__ = ()


COUNTED: dict[str, dict[str, Any]] = {
    "usual": {"messages": f"{1:032}.abcdefgh", "note": f"{2:032}.hgfedcba"},
    "without chance": {"messages": f"{1:032}", "note": f"{2:032}"},
    "narrow": {"messages": f"{1:010}.abcdefgh", "note": f"{2:010}.hgfedcba"},
    "numbers": {"messages": 1, "note": 1.0},
    "both": {"messages": 1, "note": f"{2:032}.abcdefgh"},
    "text of its own kind": {"messages": Text(f"{1:032}.abcdefgh"), "note": f"{2:032}.hgfedcba"},
    "names of its own kind": {
        Text("messages"): f"{1:032}.abcdefgh",
        Text("note"): f"{2:032}.hgfedcba",
    },
}


@pytest.mark.parametrize("counted", COUNTED)
def test_a_record_that_was_just_written_is_read_as_it_is_stored(counted: str) -> None:
    """Names and versions are those that a process gets that decodes it."""
    found = []
    for cache_bytes in (0, 1_000_000):
        saver = SessionSaver(MemoryStore(), cache_bytes=cache_bytes)
        checkpoint = empty_checkpoint()
        checkpoint |= {"id": "1", "ts": "2026-01-01T00:00:00+00:00"}
        checkpoint["channel_versions"] = COUNTED[counted]
        checkpoint["versions_seen"] = {"node": dict(COUNTED[counted])}
        checkpoint["channel_values"] = {"messages": SAID, "note": ["short"]}
        at: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        saver.put(at, checkpoint, {"source": "loop", "step": 1}, COUNTED[counted])
        first, second = saver.get_tuple(at), saver.get_tuple(at)
        assert same(first, second)
        found.append(first)
    assert same(*found)


async def test_what_was_read_is_the_readers_own(saver: SessionSaver) -> None:
    """Changed in place, in every part, it changes no later read and no other checkpoint."""
    chat = await said(saver, turns=8)
    expected = [message.model_copy(deep=True) for message in chat.messages]
    for _ in range(2):
        for messages in [await latest(saver, chat), *await listed(saver, chat)]:
            assert same(messages, expected[: len(messages)])
            spoil(messages)
    assert same(await latest(saver, chat), expected)


def spoil(messages: list[BaseMessage]) -> None:
    """Change all that can be changed."""
    for message in messages:
        for value in list(message.__dict__.values()):
            spoil_inside(value)
        message.content = "spoiled"
        message.__pydantic_fields_set__.clear()
        assert message.__pydantic_extra__ is not None
        message.__pydantic_extra__["more"] = 1
    messages.clear()


def spoil_inside(value: Any) -> None:
    """Change a container, and those in it."""
    if isinstance(value, dict | list):
        for item in list(value.values() if isinstance(value, dict) else value):
            spoil_inside(item)
        value.clear()


async def test_an_earlier_checkpoint_is_read_as_it_was(saver: SessionSaver) -> None:
    """Also where the process holds a longer list, or the list as it was trimmed and edited."""
    chat = await said(saver, turns=6)
    early, then = chat.config, [message.model_copy(deep=True) for message in chat.messages]
    chat.messages = [*chat.messages[3:]]
    await chat.put()
    chat.messages[1].content = "something else, " * 80
    await chat.put()
    assert same(await latest(saver, chat), chat.messages)
    found = await saver.aget_tuple(early)
    assert found is not None
    assert same(found.checkpoint["channel_values"]["messages"], then)


async def test_a_warm_listing_tells_what_a_fresh_one_does(
    backend: Backend, saver: SessionSaver
) -> None:
    """All checkpoints and each of them alone, whatever the process holds.

    Lists grow, are trimmed and edited, some by another process; pending writes are in the arena.
    """
    chat = await said(saver)
    other = type(saver)(backend.store())
    for turn in range(40):
        chat.saver = (saver, other)[turn % 3 == 1]
        chat.messages += [SAID[turn % len(SAID)].model_copy(deep=True)]
        if turn % 9 == 8:
            chat.messages = [HumanMessage("in short, " * 150), *chat.messages[-3:]]
        if turn % 7 == 6:
            chat.messages[0] = HumanMessage(f"edited {turn}, " * 90)
        await chat.put()
        if turn % 5 == 0:
            await chat.write()
    fresh = type(saver)(backend.store(), cache_bytes=0)
    expected = [found async for found in fresh.alist(chat.thread)]
    assert len(expected) == 44
    for reader in (saver, other, saver):
        found = [found async for found in reader.alist(chat.thread)]
        assert same(told(found), told(expected))
        for at in (0, 1, 17, 30, 43):
            one = await reader.aget_tuple(expected[at].config)
            assert one is not None
            assert same(told([one]), told(expected[at : at + 1]))
            before = [found async for found in reader.alist(chat.thread, before=one.config)]
            assert same(told(before), told(expected[at + 1 :]))


@pytest.mark.parametrize("how", ["sealed", "compressed", "both"])
def test_a_warm_listing_of_what_is_sealed_or_compressed(how: str) -> None:
    """The same, where the bytes in the arena are others than those of the list."""
    store = ProtectedStore(
        MemoryStore(),
        encryption=None if how == "compressed" else Encryption([Encryption.generate_key()]),
        compression=None if how == "sealed" else Compression(),
    )
    saver, other = SessionSaver(store), SessionSaver(store)
    chat = Chat(saver)
    for turn in range(40):
        chat.saver = (saver, other)[turn % 3 == 1]
        chat.messages += [SAID[turn % len(SAID)].model_copy(deep=True)]
        if turn % 13 == 12:
            chat.messages = [HumanMessage("in short, " * 150), *chat.messages[-4:]]
        asyncio.run(chat.put())
    expected = list(SessionSaver(store, cache_bytes=0).list(chat.thread))
    for reader in (saver, other, saver):
        assert same(told(list(reader.list(chat.thread))), told(expected))
        for at in (0, 3, 20, 39):
            one = reader.get_tuple(expected[at].config)
            assert one is not None
            assert same(told([one]), told(expected[at : at + 1]))


def told(checkpoints: list[CheckpointTuple]) -> list[Any]:
    """What checkpoints hold."""
    return [[found.checkpoint, found.metadata, found.pending_writes] for found in checkpoints]


async def test_a_session_made_again_is_read_anew(backend: Backend, saver: SessionSaver) -> None:
    """What was held of the one before does not show in the one of the same id."""
    chat = await said(saver)
    other = type(saver)(backend.store())
    await other.adelete_thread(chat.thread["configurable"]["thread_id"])
    again = Chat(other)
    again.messages = [HumanMessage("another talk, " * 100), AIMessage("yes, " * 300)]
    await again.put()
    assert same(await listed(saver, again), [again.messages])
    assert same(await latest(saver, again), again.messages)


async def test_a_server_that_lost_its_last_writes_is_believed() -> None:
    """After a failover, others may have written elsewise what this process holds."""
    store = MemoryStore()
    saver, other = SessionSaver(store), SessionSaver(store)
    chat = await said(saver)
    before = store.dump("cli_20251108_145739")
    assert before is not None
    going_on = chat.on(other)
    chat.messages += [HumanMessage("lost " * 200)]
    await chat.put()
    await latest(saver, chat)
    store.restore("cli_20251108_145739", before)
    going_on.messages += [HumanMessage("kept " * 200)]
    await going_on.put()
    assert same((await listed(saver, chat))[0], going_on.messages)
    assert same(await latest(saver, chat), going_on.messages)
    assert same(await latest(saver, chat), going_on.messages)  # and it is remembered


async def test_a_listing_reads_values_as_they_are_asked_for(backend: Backend, face: str) -> None:
    """Whoever looks at the newest checkpoints does not wait for a hundred lists."""
    read = 0

    class Counting(SafeSerializer):
        def load_list(self, *args: Any, **options: Any) -> Any:
            nonlocal read
            read += 1
            return super().load_list(*args, **options)

    saver = SAVERS[face](backend.store(), serde=Counting())
    chat = await Chat(saver).grow(60)
    read = 0
    seen = 0
    async for found in saver.alist(chat.thread):
        assert len(found.checkpoint["channel_values"]["messages"]) == 60 - seen
        seen += 1
        assert read <= 2 * (seen + 16)
    assert seen == 60


def test_states_of_a_warm_process_are_those_of_a_fresh_one(backend: Backend) -> None:
    """`Sessions` too: whoever wrote, and whatever callers do with what they were given."""
    mine, theirs = Sessions(backend.store()), Sessions(backend.store())
    session = mine.create(state={"messages": []}).id
    messages: list[BaseMessage] = []
    for turn in range(20):
        messages += [SAID[turn % len(SAID)].model_copy(deep=True)]
        if turn % 7 == 6:
            messages = [HumanMessage("in short, " * 150), *messages[-2:]]
        writer = (mine, theirs)[turn % 3 == 1]
        writer.save(session, {"messages": messages, "turn_count": turn})
        fresh = Sessions(backend.store(), cache_bytes=0)
        for reader in (mine, theirs, fresh):
            found = reader.load(session).state
            assert same(found["messages"], messages)
            assert found["turn_count"] == turn
            spoil(found["messages"])
    first = mine.fork(session, "before", at=None)
    assert same(first.state["messages"], messages)


def test_states_after_a_failover_are_those_of_the_server() -> None:
    """What this process holds of writes that were lost does not show."""
    store = MemoryStore()
    mine, theirs = Sessions(store), Sessions(store)
    session = mine.create(state={"messages": [HumanMessage("hello " * 200)]}).id
    before = store.dump(session)
    assert before is not None
    theirs.load(session)
    lost = [HumanMessage("hello " * 200), AIMessage("lost " * 200)]
    kept = [HumanMessage("hello " * 200), AIMessage("kept " * 200)]
    mine.save(session, {"messages": lost})
    store.restore(session, before)
    theirs.save(session, {"messages": kept})
    assert same(mine.load(session).state["messages"], kept)


@pytest.mark.redis_server
def test_a_warm_process_loads_a_state_without_its_list(redis_url: str) -> None:
    """The reply is short, however long the list is."""
    with (
        open_store(redis_url) as store,
        open_store(redis_url) as other,
        Redis.from_url(redis_url) as client,
    ):
        mine, theirs = Sessions(store), Sessions(other)
        messages = [HumanMessage(f"{at} " * 150) for at in range(200)]
        session = mine.create(state={"messages": messages}).id
        received: list[int] = []
        for reader in (mine, theirs, theirs):
            with counted_bytes(client, received):
                assert len(reader.load(session).state["messages"]) == 200
        assert received[0] < 10_000
        assert received[1] > 200 * 400
        assert received[2] < 10_000


@pytest.mark.redis_server
async def test_a_warm_read_receives_what_is_new(redis_url: str) -> None:
    """The reply to a process that holds the list is as short at 200 messages as at 20."""
    with (
        SessionSaver.from_url(redis_url) as saver,
        SessionSaver.from_url(redis_url) as other,
        Redis.from_url(redis_url) as client,
    ):

        async def received(reader: SessionSaver) -> int:
            """How many bytes the server sends for a read."""
            with counted_bytes(client) as counts:
                await latest(reader, chat)
            return counts[0]

        chat = await Chat(saver).grow(20)
        await received(saver)
        counts = {len(chat.messages): await received(saver)}
        await chat.grow(180)
        counts[len(chat.messages)] = await received(saver)
        assert counts[200] <= counts[20] + 100
        assert await received(other) > 200 * 400
        await chat.put()
        assert 400 < await received(other) < 4_000  # with the segment that the message begins in


@pytest.mark.redis_server
async def test_a_warm_listing_receives_no_list(redis_url: str) -> None:
    """What the process holds is not sent, however long it is; the second trip falls away."""
    with (
        SessionSaver.from_url(redis_url) as saver,
        SessionSaver.from_url(redis_url) as other,
        Redis.from_url(redis_url) as client,
        counted_trips() as trips,
    ):

        async def received(reader: SessionSaver) -> tuple[int, int]:
            """How many bytes the server sends for the last three checkpoints, and how often."""
            with counted_bytes(client) as counts:
                before = trips.count
                found = list(reader.list(here, limit=3))
                made = trips.count - before
            assert [len(one.checkpoint["channel_values"]["messages"]) for one in found] == [
                len(chat.messages) - at for at in range(3)
            ]
            return counts[0], made

        chat = await Chat(saver).grow(20)
        here: RunnableConfig = {"configurable": {**chat.thread["configurable"]}}
        here["configurable"]["checkpoint_ns"] = ""
        await received(saver)  # connects, and the server learns the scripts
        short = await received(saver)
        await chat.grow(180)
        long = await received(saver)
        assert long[0] <= short[0] + 300
        assert (short[1], long[1]) == (1, 1)
        assert (await received(other))[0] > 200 * 400


@contextmanager
def counted_bytes(client: Redis, counts: list[int] | None = None) -> Iterator[list[int]]:
    """Count how many bytes a server sends meanwhile, but for the answers to this."""
    counts = [] if counts is None else counts
    idle = -sent(client) + sent(client)
    before = sent(client)
    yield counts
    counts.append(sent(client) - before - idle)


def sent(client: Redis) -> int:
    """How many bytes a server has sent so far."""
    count: int = client.info("stats")["total_net_output_bytes"]
    return count
