"""A call that is interrupted, wherever that happens, leaves the store and the saver whole."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis
import redis.asyncio
from langchain_core.runnables import RunnableConfig

from backends.interrupts import DRIVER, TRACED, Cancelled, Talk, aheld, held, interrupted
from wren_sessions import Sessions, SessionSaver, open_store
from wren_sessions.protocols import SessionStore
from wren_sessions.stores.redis import RedisStore

pytestmark = [  # a coroutine that was interrupted before it began
    pytest.mark.filterwarnings("ignore:.*was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MOST: Final = 25  # checkpoints of a thread, so that each takes about as long
MOST_AWAITS: Final = 60


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    """A store of each kind, on Redis with connections of its own and like those of a client."""
    if request.param == "client":
        url = request.getfixturevalue("redis_url")
        with redis.Redis.from_url(url) as client, RedisStore.from_client(client) as there:
            yield there
        return
    if request.param == "asyncio client":
        awaited = redis.asyncio.Redis.from_url(request.getfixturevalue("redis_url"))
        with RedisStore.from_client(awaited) as there:
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
    [*itertools.product(("memory", "file", "redis"), CALLS), ("client", "put"), ("client", "get")],
    indirect=["store"],
)
def test_a_call_may_be_interrupted_at_every_line(
    request: pytest.FixtureRequest, store: SessionStore, name: str
) -> None:
    """Afterwards everything works, and what was acknowledged is there, whole."""
    saver = SessionSaver(store)
    talks, others = ([Talk(saver, f"{kind} 0")] for kind in ("talk", "other"))
    talks[0].put()
    kept: list[tuple[RunnableConfig, Any]] = []
    traced = DRIVER if "client-" in request.node.callspec.id else TRACED
    number = 0
    for where in interrupted(lambda: CALLS[name](talks[-1]), traced):
        number += 1
        for config, messages in (others[-1].put(), talks[-1].put()):
            assert held(saver, config) == messages, where
            kept.append((config, messages))
        for some in (talks, others):
            if len(some[-1].messages) > MOST:
                some.append(Talk(saver, f"{some[0].thread} {number}"))
                some[-1].put()
    assert number > 100
    fresh = SessionSaver(store, cache_bytes=0)
    for config, messages in kept:
        assert held(fresh, config) == messages


def edit(sessions: Sessions, _: dict[str, Any]) -> None:
    """Change a state."""
    with sessions.edit("s") as session:
        session.state["tried"] += 1


def save(sessions: Sessions, state: dict[str, Any]) -> None:
    """Write a state anew."""
    sessions.save("s", state | {"tried": state["tried"] + 1})


@pytest.mark.parametrize(
    ("store", "change"),
    [*itertools.product(("memory", "file", "redis"), (edit, save)), ("client", edit)],
    indirect=["store"],
)
def test_a_state_may_be_changed_whatever_interrupts(
    request: pytest.FixtureRequest,
    store: SessionStore,
    change: Callable[[Sessions, dict[str, Any]], None],
) -> None:
    """What was interrupted is written or not, what comes next is, and nothing is lost."""
    sessions, fresh = Sessions(store), Sessions(store, cache_bytes=0)
    state: dict[str, Any] = {"tried": 0, "done": 0, "text": "a text " * 300}
    sessions.save("s", state)
    traced = DRIVER if "client-" in request.node.callspec.id else TRACED
    number = 0
    for where in interrupted(lambda: change(sessions, state), traced):
        number += 1
        with sessions.edit("s") as session:
            assert session.state["tried"] in (state["tried"], state["tried"] + 1), where
            assert session.state == state | {"tried": session.state["tried"]}, where
            session.state["done"] = number
            state.update(session.state)
        assert fresh.load("s").state == state, where
    assert number > 100


async def aedit(talk: Talk) -> None:
    """Change the state of a session."""
    async with Sessions(talk.saver.store).aio.edit("edited") as session:
        session.state["n"] += 1


AWAITED: Final[dict[str, Callable[[Talk], Coroutine[Any, Any, object]]]] = {
    "put": lambda talk: talk.aput(),
    "get": lambda talk: talk.saver.aget_tuple(talk.config),
    "writes": lambda talk: talk.saver.aput_writes(
        talk.config, [("messages", "a write")], f"task {next(_numbers)}"
    ),
    "edit": aedit,
}


@pytest.mark.parametrize(
    ("store", "name"),
    [*itertools.product(("memory", "file", "redis", "asyncio client"), AWAITED)],
    indirect=["store"],
)
@pytest.mark.parametrize("answered", [False, True])
async def test_a_task_may_be_cancelled_at_every_await(
    store: SessionStore, name: str, *, answered: bool
) -> None:
    """As it begins to wait, and as the answer is there, alone and with calls beside it."""
    saver, fresh = SessionSaver(store), SessionSaver(store, cache_bytes=0)
    await Sessions(store).aio.save("edited", {"n": 0})
    talk, other = Talk(saver, "talk"), Talk(saver, "other")
    kept = [await talk.aput(), await other.aput()]
    reached = 0
    for at, beside in itertools.product(range(1, MOST_AWAITS), (0, 3)):
        call = Cancelled(AWAITED[name](talk), at, answered=answered)
        around = [aheld(fresh, config) for config, _ in kept[:beside]]
        found = await asyncio.wait_for(
            asyncio.gather(_run(call), *around, return_exceptions=True), timeout=60
        )
        assert found[1:] == [messages for _, messages in kept[:beside]]
        assert isinstance(found[0], asyncio.CancelledError) or not call.was_reached or answered
        reached += call.was_reached
        kept += [await other.aput(), await talk.aput()]
        assert await aheld(saver, kept[-1][0]) == kept[-1][1]
        if not call.was_reached and beside:
            break
    assert (await Sessions(store).aio.load("edited")).state["n"] <= at * 2
    assert reached >= (0 if store.location.startswith("memory") else 2)
    assert at < MOST_AWAITS - 1
    for config, messages in kept:
        assert await aheld(fresh, config) == messages


async def _run(call: Cancelled) -> object:
    return await asyncio.create_task(_awaited(call))


async def _awaited(call: Cancelled) -> object:
    return await call
