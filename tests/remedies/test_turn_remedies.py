"""What the errors about turns propose, done to the letter."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from remedies.proposals import tries
from wren_sessions import MemoryStore, Sessions, SessionSaver
from wren_sessions.errors import ConfigurationError, ConflictError
from wren_sessions.stores.threaded import ThreadedStore
from wren_sessions.testing import FakeClock


def elsewhere(call: Callable[[], Any]) -> Any:
    """What a call gives in a context of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


@tries("wait for it (Sessions.turn, or concurrency='wait'), or try again later")
def test_a_session_that_somebody_writes() -> None:
    """It is waited for, and written after that."""
    sessions = Sessions(MemoryStore())

    def waiting() -> None:
        with sessions.turn("s"):
            sessions.save("s", {"n": 2})

    with ThreadPoolExecutor(1) as pool:
        with sessions.turn("s"):
            sessions.save("s", {"n": 1})
            with pytest.raises(ConflictError, match="wait for it"):
                pool.submit(sessions.save, "s", {"n": 0}).result()
            later = pool.submit(waiting)
        later.result()
    sessions.save("s", {"n": sessions.load("s").state["n"] + 1})  # later
    assert sessions.load("s").state == {"n": 3}


@tries("wait for longer (wait=…), or try again later")
def test_a_session_that_others_wait_for() -> None:
    """Who came first goes first; then it is free."""
    sessions = Sessions(MemoryStore(clock=(clock := FakeClock())))
    with sessions.turn("s"):
        first = sessions.turn("s", wait="1ms")
        step = first._step("take")
        sessions.store.turn(step)  # type: ignore[attr-defined] # a memory store has turns
    with pytest.raises(ConflictError, match="1 others wait for"):
        elsewhere(sessions.turn("s", wait=0).__enter__)
    clock.advance("3s")
    with sessions.turn("s", wait="1m"):
        pass


@tries("run it again, in a new turn")
def test_a_turn_that_was_lost() -> None:
    """The same once more."""
    clock = FakeClock()
    sessions = Sessions(MemoryStore(clock=clock))
    sessions.save("s", {"n": 1})
    with sessions.turn("s", ttl="1h"):
        clock.advance("2h")
        with pytest.raises(ConflictError, match="in a new turn"):
            sessions.save("s", {"n": 2})
    with sessions.turn("s"):
        sessions.save("s", {"n": 2})
    assert sessions.load("s").state == {"n": 2}


class Turnless:
    """A store of somebody else's, which has no turns."""

    def __init__(self) -> None:
        self._memory = MemoryStore()
        self.aio = ThreadedStore(self._memory, threads=1)

    def __getattr__(self, name: str) -> Any:
        if name == "turn":
            raise AttributeError(name)
        return getattr(self._memory, name)


@tries("use a store that has (memory, file, Redis), or give it the method `turn`")
def test_a_store_without_turns() -> None:
    """It is said when a turn is asked for; everything else works."""
    store: Any = Turnless()
    sessions = Sessions(store)
    sessions.save("s", {"n": 1})
    for ask in (lambda: sessions.turn("s"), lambda: SessionSaver(store, concurrency="wait")):
        with pytest.raises(ConfigurationError, match="Turnless has no turns"):
            ask()
    with Sessions(MemoryStore()).turn("s"):
        pass
    SessionSaver(MemoryStore(), concurrency="wait")
    Turnless.turn = lambda self, step: self._memory.turn(step)  # type: ignore[attr-defined]
    with sessions.turn("s"):
        sessions.save("s", {"n": 2})
