"""What many tasks of one step cost on a real Redis: what they send, replicate and store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import pytest
from langchain_core.messages import AIMessage
from langgraph.types import Interrupt
from redis import Redis

from cost_drivers import meters, servers, threads
from servers import start_server
from wren_sessions import SessionSaver
from wren_sessions.stores.redis import RedisStore

pytestmark = pytest.mark.redis_server

SESSION: Final = "s"
KEY: Final = f"langgraph:checkpoint:{SESSION}:latest"
FEW, MANY = 50, 200


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


@dataclass(frozen=True)
class Cost:
    """Of all tasks together, in bytes."""

    sent: int
    replicated: int
    stored: int
    commands: list[str]


def replicated(client: Redis) -> int:
    """How much the server has replicated so far, in bytes."""
    info: Any = client.info("replication")
    return int(info["master_repl_offset"])


def message(at: int, speech: threads.Speech) -> tuple[str, Any]:
    """A message of 600 characters."""
    return ("messages", AIMessage(speech.text(), id=str(at)))


def question(at: int, speech: threads.Speech) -> tuple[str, Any]:
    """What a task asks."""
    return ("__interrupt__", [Interrupt(value=f"question {at}?", id=speech.task_id())])


def number(at: int, speech: threads.Speech) -> tuple[str, Any]:
    """A value of a few bytes."""
    return ("count", at)


Make = Callable[[int, threads.Speech], tuple[str, Any]]


def fan_out(url: str, tasks: int, make: Make) -> Cost:
    """Let tasks write to one checkpoint, one after the other."""
    wire, speech = meters.Wire(), threads.Speech()
    with wire.client(url) as client:
        client.flushdb()
        thread = threads.Thread(SessionSaver(RedisStore.from_client(client)), SESSION)
        thread.put({"count": 0}, {"count"}, "loop")
        for _ in range(30):  # the server knows the script, and remembers as many tokens as it will
            thread.put_writes([("count", 1)], speech.task_id())
        thread.put({"count": 1}, {"count"}, "loop")
        stored_before: Any = client.memory_usage(KEY, samples=0)
        before = replicated(client)
        wire.reset()
        for at in range(tasks):
            thread.put_writes([make(at, speech)], speech.task_id())
        sent, commands = wire.sent_bytes, list(wire.commands)
        cost = replicated(client) - before
        stored: Any = client.memory_usage(KEY, samples=0)
        found = thread.get()
        assert found is not None
        assert len(found.pending_writes or ()) == tasks
        return Cost(sent, cost, stored - stored_before, commands)


# What is replicated, as a multiple of what was sent.
MOST: Final[dict[Make, float]] = {message: 2, question: 3, number: 3}


@pytest.mark.parametrize("make", MOST)
def test_a_fan_out_costs_what_its_tasks_write(url: str, make: Make) -> None:
    """One command per task; bytes sent, replicated and stored grow as the tasks do, no faster."""
    few, many = fan_out(url, FEW, make), fan_out(url, MANY, make)
    assert many.commands == ["EVALSHA"] * MANY
    assert many.replicated <= MOST[make] * many.sent
    for one, other in (
        (few.sent, many.sent),
        (few.replicated, many.replicated),
        (few.stored, many.stored),
    ):
        assert other <= 1.05 * one * MANY / FEW


def test_two_hundred_threads_wait_for_their_turn(redis_url: str) -> None:
    """With fifty connections, 200 tasks that write at once all do, and each write is there."""
    store = RedisStore.from_url(redis_url)
    try:
        saver = SessionSaver(store)
        thread = threads.Thread(saver, SESSION)
        thread.put({"count": 0}, {"count"}, "loop")
        speech = threads.Speech()
        made = [(message(at, speech), speech.task_id()) for at in range(MANY)]
        with ThreadPoolExecutor(MANY) as pool:
            list(pool.map(lambda one: thread.put_writes([one[0]], one[1]), made))
        found = saver.get_tuple(thread.latest)
        assert found is not None
        written = {task: value for task, _, value in found.pending_writes or ()}
        assert written == {task: value for (_, value), task in made}
    finally:
        store.close()
