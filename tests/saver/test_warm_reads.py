"""What a process has read or written before is not sent and not unpacked again, nor trusted."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from redis import Redis

from backends.chats import Chat
from saver.backends import SAVERS, Backend
from values.comparing import same
from wren_sessions import SafeSerializer, SessionSaver
from wren_sessions.stores.memory import MemoryStore

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


async def test_a_session_made_again_is_read_anew(backend: Backend, saver: SessionSaver) -> None:
    """What was held of the one before does not show in the one of the same id."""
    chat = await said(saver)
    other = type(saver)(backend.store())
    await other.adelete_thread(chat.thread["configurable"]["thread_id"])
    again = Chat(other)
    again.messages = [HumanMessage("another talk, " * 100), AIMessage("yes, " * 300)]
    await again.put()
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
            idle = -sent(client) + sent(client)
            before = sent(client)
            await latest(reader, chat)
            return sent(client) - before - idle

        chat = await Chat(saver).grow(20)
        await received(saver)
        counts = {len(chat.messages): await received(saver)}
        await chat.grow(180)
        counts[len(chat.messages)] = await received(saver)
        assert counts[200] <= counts[20] + 100
        assert await received(other) > 200 * 400
        await chat.put()
        assert 400 < await received(other) < 4_000  # with the segment that the message begins in


def sent(client: Redis) -> int:
    """How many bytes a server has sent so far."""
    count: int = client.info("stats")["total_net_output_bytes"]
    return count
