"""What the errors about turns and owners propose, done to the letter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from remedies.proposals import tries
from wren_sessions import (
    Encryption,
    MemoryStore,
    ProtectedStore,
    Sessions,
    SessionSaver,
    erase_owner,
)
from wren_sessions.errors import ConfigurationError, ConflictError
from wren_sessions.records import Life, Notes
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


@tries("call sessions.turn(…) again for each")
def test_a_turn_that_was_taken_before() -> None:
    """One object for all would let all in at once; each block has a turn of its own."""
    sessions = Sessions(MemoryStore())
    turn = sessions.turn("s")
    with turn:
        with pytest.raises(ConfigurationError, match="was taken before"), turn:
            pass
        assert not turn.over
    with pytest.raises(ConfigurationError, match="again for each"), turn:
        pass
    for _ in range(2):
        with sessions.turn("s", wait=0):
            pass


@tries("wait for longer (wait=…), or try again later")
def test_a_session_that_others_wait_for() -> None:
    """Who came first goes first; then it is free."""
    sessions = Sessions(MemoryStore(clock=(clock := FakeClock())))
    with sessions.turn("s"):
        first = sessions.turn("s", wait="1ms")
        step = first._step("take")
        sessions.store.turn(step)  # type: ignore[attr-defined] # a memory store has turns
    with pytest.raises(ConflictError, match="1 other waits for"):
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


# --- owners ---------------------------------------------------------------------------------------


OWNERS: Final = ("annotate", "list_owned", "delete_owned")


class Ownerless(Turnless):
    """A store of somebody else's, which does not know owners."""

    def __getattr__(self, name: str) -> Any:
        if name in OWNERS:
            raise AttributeError(name)
        return super().__getattr__(name)


@tries("that does (memory, file, Redis), or give it the methods of")
def test_a_store_that_knows_no_owners() -> None:
    """It is said when one is asked for."""
    store: Any = Ownerless()
    sessions = Sessions(store)
    sessions.save("s", {})
    for ask in (
        lambda: sessions.annotate("s", owner="ann"),
        lambda: sessions.create("new", owner="ann"),
        lambda: asyncio.run(sessions.aio.create("new", owner="ann")),
        lambda: sessions.list(owner="ann"),
        lambda: sessions.owned("ann"),
        lambda: SessionSaver(store, owner_key="user_id"),
        lambda: erase_owner(store, "ann"),
    ):
        with pytest.raises(ConfigurationError, match="Ownerless keeps neither owners nor notes"):
            ask()
    assert not sessions.exists("new")
    SessionSaver(MemoryStore(), owner_key="user_id")
    for name in OWNERS:
        method = getattr(MemoryStore, name)
        setattr(Ownerless, name, lambda self, *given, call=method: call(self._memory, *given))
    sessions.annotate("s", owner="ann")
    assert [info.session for info in sessions.owned("ann")] == ["s"]
    assert erase_owner(store, "ann").sessions == ("s",)


class Noting(MemoryStore):
    """A store in which others note something each time before one does."""

    others = 0

    def annotate(self, session: str, notes: Notes, expect: Notes) -> Life | None:
        """The others first."""
        if self.others:
            self.others -= 1
            there = self.info(session)
            assert there is not None
            super().annotate(session, Notes(str(self.others)), there.notes)
        return super().annotate(session, notes, expect)


@tries(
    "others noted something about session {} all the time; nothing was changed: try again",
    "somebody else noted something about session {} just now; nothing was changed: try again",
)
def test_others_note_something_as_well() -> None:
    """A few of them do not matter; with many it is tried again."""
    store = Noting()
    sessions = Sessions(store)
    sessions.save("s", {})
    store.others = 3
    assert sessions.annotate("s", title="one").title == "one"
    store.others = 12
    with pytest.raises(ConflictError, match="all the time"):
        sessions.annotate("s", title="two")
    assert sessions.annotate("s", title="two").title == "two"
    store.others = 1
    with pytest.raises(ConflictError, match="just now"):
        store.annotate("s", Notes("ann"), sessions.list().sessions[0].notes)
    store.annotate("s", Notes("ann"), sessions.list().sessions[0].notes)


@tries("these have {}. Put more into the session's state")
def test_notes_that_are_too_long() -> None:
    """The state takes them."""
    sessions = Sessions(MemoryStore())
    sessions.save("s", {})
    with pytest.raises(ConfigurationError, match="Put more into"):
        sessions.annotate("s", attributes={"text": "x" * 5_000})
    sessions.save("s", {"text": "x" * 5_000})


@tries("pass owner=…, or leave order out", "pass None to begin, then the cursor")
def test_listing_in_order() -> None:
    """Of an owner, from the beginning; or of all, as the store has them."""
    sessions = Sessions(MemoryStore())
    sessions.save("s", {})
    sessions.annotate("s", owner="ann")
    with pytest.raises(ConfigurationError, match="leave order out"):
        sessions.list(order="updated")
    with pytest.raises(ConfigurationError, match="pass None to begin"):
        sessions.list("nonsense", owner="ann")
    assert len(sessions.list(None, owner="ann", order="updated").sessions) == 1
    assert len(sessions.list().sessions) == 1


@tries("save it first, and note something then")
def test_notes_about_what_is_not_encrypted_yet() -> None:
    """Once something is saved, it is."""
    memory = MemoryStore()
    Sessions(memory).save("s", {"n": 1})
    encryption = Encryption([Encryption.generate_key()], migrate=True)
    sessions = Sessions(ProtectedStore(memory, encryption=encryption))
    with pytest.raises(ConfigurationError, match="save it first"):
        sessions.annotate("s", title="one")
    sessions.save("s", {"n": 2})
    assert sessions.annotate("s", title="one").title == "one"
