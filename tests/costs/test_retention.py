"""Retention: a step costs the same, and the session stays as small, however long it goes on."""

from __future__ import annotations

from typing import Any

import redis

from wren_sessions import RedisStore, Retention, SessionSaver
from wren_sessions.serializers import new_checkpoint_id

KEEP = 20
STEPS = 600


def step(saver: SessionSaver, parent: Any, number: int, messages: list[Any]) -> Any:
    """Write a checkpoint of a conversation that is trimmed at the front to its last fifty."""
    messages.append(("human", f"{number} " + "x" * 500))
    del messages[:-50]
    version = saver.get_next_version(f"{number:010}.")
    checkpoint: Any = {
        "v": 4,
        "id": new_checkpoint_id(),
        "ts": "2025-11-08T15:03:24+00:00",
        "channel_values": {"messages": messages, "turn_count": number},
        "channel_versions": {"messages": version, "turn_count": version},
        "versions_seen": {},
        "updated_channels": None,
    }
    metadata: Any = {"source": "loop", "step": number, "parents": {}}
    return saver.put(parent, checkpoint, metadata, checkpoint["channel_versions"])


def test_a_step_costs_the_same_however_long_the_session(redis_url: str) -> None:
    """Commands, bytes sent and bytes stored are flat over hundreds of steps."""
    with redis.Redis.from_url(redis_url) as client, RedisStore.from_url(redis_url) as store:
        saver = SessionSaver(store, retention=Retention(keep_last=KEEP))
        parent: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        messages: list[Any] = []
        costs = []
        for begin in range(0, STEPS, 200):
            before = client.info("stats")
            for number in range(begin, begin + 200):
                parent = step(saver, parent, number, messages)
            after = client.info("stats")
            info = store.info("t")
            assert info is not None
            assert info.size_bytes is not None
            sent = after["total_net_input_bytes"] - before["total_net_input_bytes"]
            commands = after["total_commands_processed"] - before["total_commands_processed"]
            costs.append((sent, commands, info.size_bytes))
        for first, last in zip(costs[0], costs[-1], strict=True):
            assert last <= 1.1 * first
        assert len(list(saver.list(parent | {"configurable": {"thread_id": "t"}}))) < 2 * KEEP
