"""`Sessions.update` loses nobody's change; `Sessions.prune` drops earlier checkpoints."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from saver.backends import Backend
from saver.calls import Calls
from saver.test_sessions import graph_on
from wren_sessions import ConflictError, SerializationError, Sessions, SessionSaver
from wren_sessions.protocols import SessionStore
from wren_sessions.stores.memory import MemoryStore


def add(state: dict[str, Any], value: Any = "x") -> int:
    """Add to a list, and say how long it is."""
    state.setdefault("list", []).append(value)
    return len(state["list"])


async def test_an_update_changes_the_state_and_says_what_the_change_returned(calls: Calls) -> None:
    """The session is made if it is not there, and what the change leaves alone stays."""
    assert await calls.update("one", add) == 1
    await calls.save("one", {"list": ["x"], "other": 7})
    assert await calls.update("one", add) == 2
    assert (await calls.load("one")).state == {"list": ["x", "x"], "other": 7}


async def test_a_change_that_fails_changes_nothing(calls: Calls) -> None:
    """Neither a session that is there, nor one that is not: it is not made."""

    def fail(state: dict[str, Any]) -> None:
        state["list"] = []
        raise KeyError("list")

    with pytest.raises(KeyError):
        await calls.update("none", fail)
    assert not await calls.exists("none")
    before = await calls.save("one", {"a": 1})
    with pytest.raises(KeyError):
        await calls.update("one", fail)
    for bad in ({1: 2}, {"__start__": 1}):
        with pytest.raises(SerializationError, match="nothing was written"):
            await calls.update("one", lambda state, bad=bad: state.update(bad))
    assert (await calls.load("one")).revision == before.revision


async def test_updates_of_many_all_count(backend: Backend, face: str) -> None:
    """Writers that get into each other's way wait for their turn: none is refused, none is lost."""
    writers = [Calls(Sessions(backend.store()), face) for _ in range(4)]

    async def write(number: int) -> None:
        for count in range(5):
            await writers[number % 4].update("one", partial(add, value=f"{number}/{count}"))

    if face == "sync":
        await asyncio.gather(*(asyncio.to_thread(asyncio.run, write(n)) for n in range(8)))
    else:
        await asyncio.gather(*(write(n) for n in range(8)))
    found = (await writers[0].load("one")).state["list"]
    assert sorted(found) == sorted(f"{n}/{count}" for n in range(8) for count in range(5))
    for n in range(8):
        assert [each for each in found if each.startswith(f"{n}/")] == [
            f"{n}/{c}" for c in range(5)
        ]


async def test_a_change_is_made_to_what_somebody_else_wrote(calls: Calls) -> None:
    """Whoever was quicker is not written over, whether they wrote, made or deleted the session."""
    for others in (
        lambda: calls.sessions.save("one", {"list": ["theirs"]}),
        lambda: calls.sessions.delete("one"),
        lambda: calls.sessions.create("one", state={"list": ["new"]}),
    ):
        seen: list[Any] = []

        def change(state: dict[str, Any], others: Any = others, seen: list[Any] = seen) -> None:
            if not seen:
                others()
            seen.append(list(state.get("list", [])))
            state["list"] = [*seen[-1], "mine"]

        await calls.update("one", change)
        assert len(seen) == 2
        assert (await calls.load("one")).state == {"list": [*seen[-1], "mine"]}
        if len(seen[-1]) == 0:
            await calls.delete("one")


async def test_an_update_respects_turns(calls: Calls, backend: Backend) -> None:
    """In one's own turn it is part of it; somebody else's turn is waited for, for so long."""
    other = Sessions(backend.store())
    async with calls.sessions.aio.turn("one"):
        await calls.update("one", add)
        assert (await calls.load("one")).state == {"list": ["x"]}

    def refused() -> ConflictError:
        with pytest.raises(ConflictError) as caught:
            asyncio.run(Calls(Sessions(backend.store()), "sync").update("one", add, wait=0))
        return caught.value

    with other.turn("one", holder="worker-7"):
        error = await asyncio.get_running_loop().run_in_executor(None, refused)
    assert error.holder == "worker-7"
    assert await calls.update("one", add, wait=0) == 2


async def test_a_session_that_waits_is_not_updated(calls: Calls, backend: Backend) -> None:
    """An interrupt that waits for an answer is written over only if that is asked for."""
    config = Sessions.thread("one")
    await graph_on(SessionSaver(backend.store())).ainvoke({"turn_count": 0, "answers": []}, config)
    with pytest.raises(ConflictError, match="waits for an answer"):
        await calls.update("one", add)
    await calls.update("one", add, replace=True)
    assert (await calls.load("one")).state["list"] == ["x"]


class WithoutTurns:
    """A store that has what a store must have, and no more."""

    def __init__(self) -> None:
        self._store = MemoryStore()

    def __getattr__(self, name: str) -> Any:
        if name == "turn":
            raise AttributeError(name)
        return getattr(self._store, name)


async def test_a_store_without_turns_is_tried_more_often(face: str) -> None:
    """Where nobody can wait for a turn, an update goes on trying."""
    store: SessionStore = WithoutTurns()
    calls, tries_left = Calls(Sessions(store), face), iter(range(20))

    def change(state: dict[str, Any]) -> int:
        if next(tries_left, None) is not None:
            calls.sessions.save("one", {"list": []})
        return add(state)

    assert await calls.update("one", change) == 1


async def test_pruning_drops_what_only_earlier_checkpoints_hold(calls: Calls) -> None:
    """The state stays, earlier ones go; a session that is not there has nothing to drop."""
    for number in range(5):
        await calls.update("one", partial(add, value=number))
    first = await calls.load("one")
    await calls.update("one", lambda state: state.update(list=["last"]))
    assert await calls.prune("one", keep_last=2) == 4
    assert (await calls.load("one", at=first.checkpoint_id)).state == {"list": [0, 1, 2, 3, 4]}
    assert await calls.prune("one") == 1
    assert await calls.get("one", at=first.checkpoint_id) is None
    assert (await calls.load("one")).state == {"list": ["last"]}
    assert await calls.prune("one") == await calls.prune("none") == 0
