"""A call that is interrupted, wherever that happens, leaves the store and the saver whole."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from langchain_core.runnables import RunnableConfig

from backends.interrupts import Talk, held, interrupted
from wren_sessions import SessionSaver, open_store
from wren_sessions.protocols import SessionStore
from wren_sessions.stores.redis import RedisStore

pytestmark = [  # a coroutine that was interrupted before it began
    pytest.mark.filterwarnings("ignore:.*was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MOST: Final = 25  # checkpoints of a thread, so that each takes about as long


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    """A store of each kind, on Redis with connections of its own and like those of a client."""
    if request.param == "client":
        url = request.getfixturevalue("redis_url")
        with redis.Redis.from_url(url) as client, RedisStore.from_client(client) as there:
            yield there
        return
    urls = {"memory": "memory://", "file": f"file:{tmp_path}/s.db"}
    url = urls.get(request.param) or request.getfixturevalue("redis_url")
    with open_store(url) as there:
        yield there


def writes(talk: Talk) -> None:
    """Add pending writes to the latest checkpoint."""
    talk.saver.put_writes(talk.config, [("messages", "a write")], f"task {next(_numbers)}")


def put_and_delete(talk: Talk) -> None:
    """Begin a thread, and delete it."""
    Talk(talk.saver, "deleted").put()
    talk.saver.delete_thread("deleted")


_numbers: Final = itertools.count()

CALLS: Final[dict[str, Callable[[Talk], object]]] = {
    "put": lambda talk: talk.put(),
    "get": lambda talk: talk.saver.get_tuple(talk.config),
    "writes": writes,
    "list": lambda talk: list(talk.saver.list(talk.config, limit=2)),
    "first put and delete": put_and_delete,
}


@pytest.mark.parametrize(
    ("store", "name"),
    [*itertools.product(("memory", "file", "redis"), CALLS), ("client", "put")],
    indirect=["store"],
)
def test_a_call_may_be_interrupted_at_every_line(store: SessionStore, name: str) -> None:
    """Afterwards everything works, and what was acknowledged is there, whole."""
    saver = SessionSaver(store)
    talks = [Talk(saver, "talk 0")]
    talks[0].put()
    kept: list[tuple[RunnableConfig, Any]] = []
    number = 0
    for where in interrupted(lambda: CALLS[name](talks[-1])):
        number += 1
        other = Talk(saver, f"other {number}")
        for config, messages in (other.put(), other.put(), talks[-1].put()):
            assert held(saver, config) == messages, where
            kept.append((config, messages))
        if len(talks[-1].messages) > MOST:
            talks.append(Talk(saver, f"talk {number}"))
            talks[-1].put()
    assert number > 100
    fresh = SessionSaver(store, cache_bytes=0)
    for config, messages in kept:
        assert held(fresh, config) == messages
