"""What a chat of a thousand messages takes on a real Redis: memory, network and replication."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from cost_drivers import chat, graph, meters, patterns, servers, threads
from servers import leaked_keys, start_server
from wren_sessions import SessionSaver
from wren_sessions.stores.redis import RedisStore

pytestmark = pytest.mark.redis_server

KEY = f"langgraph:checkpoint:{chat.SESSION}:latest"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server with a replica: only then it counts what it replicates."""
    with (
        start_server(
            "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "3600"
        ) as one,
        start_server("--replicaof", one.host, str(one.port)),
        Redis.from_url(one.url) as client,
    ):
        servers.wait_until(lambda: servers.has_replica(client))
        yield one.url


@pytest.fixture(scope="module")
def cost(url: str) -> chat.ChatCost:
    """A chat of 1,000 messages, left on the server."""
    return chat.run_on_redis(url, 1_000, patterns.QuickSerializer())


def test_a_chat_takes_at_most_four_times_its_last_list(url: str, cost: chat.ChatCost) -> None:
    """The key of the session, history and all, is at most 4 times the last list of messages."""
    with Redis.from_url(url) as client:
        stored_bytes = client.memory_usage(KEY, samples=0)
        assert client.keys() == [KEY.encode()]
        assert not leaked_keys(client)
    assert stored_bytes == cost.stored_bytes
    assert cost.messages == 1_000
    assert cost.final_bytes > 1_000 * 700
    assert cost.stored_ratio <= 4


def test_a_put_at_the_end_sends_as_little_as_one_at_the_beginning(cost: chat.ChatCost) -> None:
    """At message 1,000 a put sends at most 1.5 times the bytes of the put at message 20."""
    assert 600 < cost.sent_early_bytes < 6_000
    assert cost.sent_ratio <= 1.5


def test_what_is_replicated_is_at_most_three_times_what_was_written(cost: chat.ChatCost) -> None:
    """A replica, and an append-only file, get at most 3 times the bytes of the commits."""
    assert cost.replicated_bytes is not None
    assert cost.replicated_ratio is not None
    assert cost.replicated_bytes > cost.final_bytes
    assert cost.replicated_ratio <= 3


def test_a_turn_is_one_command_per_call(url: str, cost: chat.ChatCost) -> None:
    """Late in a chat, each of the four calls of a turn is one script, sent in one go."""
    wire = meters.Wire()
    with wire.client(url) as client:
        thread = threads.Thread(SessionSaver(RedisStore.from_client(client)), chat.SESSION)
        found = thread.get()  # connects, and reads what a new process has to read
        assert found is not None
        messages = found.checkpoint["channel_values"]["messages"]
        values = {"messages": [*messages, "one more"], "turn_count": 501}
        for call in (
            thread.get,
            lambda: thread.put(values, {"messages"}, "input"),
            lambda: thread.put_writes([("turn_count", 501)], "task"),
            lambda: thread.put(values, {"turn_count"}, "loop"),
        ):
            wire.reset()
            call()
            assert wire.commands == ["EVALSHA"]
            assert wire.sends == 1


def test_a_real_graph_grows_as_its_conversation_does(redis_url: str) -> None:
    """The bytes of an interview graph grow linearly with its turns: exponent at most 1.05."""
    store = RedisStore.from_url(redis_url)
    try:
        costs = graph.run(store, turns=(25, 50, 100))
    finally:
        store.close()
    assert graph.exponent(costs) <= 1.05
    assert costs[-1].stored_ratio <= 8


def test_long_messages_grow_as_the_conversation_does(redis_url: str) -> None:
    """So they do where a message is too long for a record, and passes through the arena."""
    store = RedisStore.from_url(redis_url)
    try:
        costs = graph.run(store, turns=(25, 50, 100), message_bytes=2_000)
    finally:
        store.close()
    assert graph.exponent(costs) <= 1.05
    assert costs[-1].stored_ratio <= 4
