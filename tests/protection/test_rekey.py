"""Changing keys, and turning encryption on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saver import graphs
from wren_sessions import MemoryStore, Sessions, SessionSaver, erase_owner
from wren_sessions.errors import (
    ConfigurationError,
    DecryptionError,
    SessionGoneError,
    SessionNotFoundError,
)
from wren_sessions.keys import StagingId
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Commit
from wren_sessions.serializers.encryption import Encryption
from wren_sessions.stores.protected import ProtectedStore
from wren_sessions.testing import FakeClock
from wren_sessions.transfer.rekey import RekeyReport, arekey, rekey
from wren_sessions.ttl import FOREVER, to_ms

OLD, NEW = Encryption.generate_key("old"), Encryption.generate_key("new")
CONFIG: Any = {"configurable": {"thread_id": "t"}}


def store_with(store: SessionStore, *keys: str, migrate: bool = False) -> ProtectedStore:
    """The store as an application with these keys has it."""
    return ProtectedStore(store, encryption=Encryption(keys, migrate=migrate))


def chat(store: SessionStore, turns: int = 5) -> Any:
    """A graph that has talked for some turns."""
    graph = graphs.chat().compile(checkpointer=SessionSaver(store))
    for turn in range(turns):
        graph.invoke({"messages": [graphs.said(turn, "human")]}, CONFIG)
    return graph


def history(store: SessionStore) -> list[Any]:
    """Everything that a saver tells of the thread."""
    return list(SessionSaver(store).list(CONFIG))


async def rewritten(face: str, store: SessionStore, **options: Any) -> RekeyReport:
    """Rekey by the function of a face."""
    return rekey(store, **options) if face == "sync" else await arekey(store, **options)


@pytest.mark.parametrize("face", ["sync", "async"])
async def test_the_old_key_can_be_taken_away(face: str) -> None:
    """History, pending writes, age, timeout and pin are as they were."""
    clock = FakeClock()
    below = MemoryStore(clock=clock)
    graph = chat(store_with(below, OLD))
    at = graph.get_state(CONFIG).config
    SessionSaver(store_with(below, OLD)).put_writes(at, [("messages", ["x" * 2_000])], "task")
    below.set_ttl("t", "3h")
    before = history(store_with(below, OLD)), below.info("t")
    clock.advance("10m")
    both = store_with(below, NEW, OLD)
    assert await rewritten(face, both) == RekeyReport(rewritten=("t",))
    assert history(store_with(below, NEW)) == before[0]
    info = below.info("t")
    assert info is not None
    assert before[1] is not None
    assert (info.life.created_ms, info.idle) == (before[1].life.created_ms, to_ms("3h"))
    assert [found.session for found in below.list_sessions().sessions] == ["t"]
    assert await rewritten(face, both) == RekeyReport(rewritten=(), current=("t",))
    chat(store_with(below, NEW), 1)
    with pytest.raises(DecryptionError):
        history(store_with(below, OLD))


def test_what_is_in_use_is_left_for_later() -> None:
    """And one that goes on is told that its session is another one."""
    clock = FakeClock()
    below = MemoryStore(clock=clock)
    store = store_with(below, OLD)
    saver = SessionSaver(store)
    graph = graphs.chat().compile(checkpointer=saver)
    graph.invoke({"messages": [graphs.said(1, "human")]}, CONFIG)
    held = saver.get_tuple(CONFIG)
    assert held is not None
    both = store_with(below, NEW, OLD)
    assert rekey(both) == RekeyReport(rewritten=(), busy=("t",))
    assert rekey(both, unused_for=None, sessions=["t"]).rewritten == ("t",)
    with pytest.raises(SessionGoneError):
        saver.put(held.config, held.checkpoint | {"id": "~"}, {}, {})


def test_from_plain_to_encrypted() -> None:
    """With `migrate`, what is there is read; what is written, and all after a rekey, is sealed."""
    clock = FakeClock()
    below = MemoryStore(clock=clock)
    chat(below)
    Sessions(below).create("empty")
    before = history(below)
    migrating = store_with(below, NEW, migrate=True)
    assert history(migrating) == before
    chat(migrating, 1)
    assert len(history(migrating)) > len(before)
    clock.advance("2m")
    report = rekey(migrating)
    assert sorted(report.rewritten) == ["empty", "t"]
    strict = store_with(below, NEW)
    assert history(strict)[-len(before) :] == before
    assert Sessions(strict).load("empty").state == {}
    assert b"lorem" not in (below.dump("t") or b"")
    with pytest.raises(DecryptionError, match="is encrypted"):
        history(below)


def test_a_session_that_is_migrated_by_its_next_turn() -> None:
    """The latest state lies encrypted as a whole: nothing of it refers to plain bytes."""
    below = MemoryStore()
    graph = chat(below)
    graph = chat(store_with(below, NEW, migrate=True), 1)
    latest = graph.get_state(CONFIG)
    loaded = store_with(below, NEW).load("t")
    assert loaded is not None
    assert loaded.arena is not None
    parts = [loaded.arena.get(span) or b"" for span in loaded.stored.spans]
    assert sum(map(len, parts)) > 1_000
    assert b"lorem" not in b"".join(parts)
    found = SessionSaver(store_with(below, NEW)).get_tuple(CONFIG)
    assert found is not None
    assert found.config == latest.config


def test_what_cannot_be_rekeyed() -> None:
    """A store without encryption, a session that is not there, one text for several ids."""
    store = store_with(MemoryStore(), NEW)
    with pytest.raises(ConfigurationError, match="no encryption"):
        rekey(MemoryStore())
    with pytest.raises(SessionNotFoundError, match="'x'"):
        rekey(store, sessions=["x"])
    with pytest.raises(ConfigurationError, match="not one text"):
        rekey(store, sessions="x")


@pytest.mark.parametrize("face", ["sync", "async"])
async def test_what_nobody_can_read_stops_nothing(face: str, tmp_path: Path) -> None:
    """A destroyed key of an owner, a missing key, damage: the others are rewritten."""
    clock = FakeClock()
    below, keys = MemoryStore(clock=clock, ttl=FOREVER), MemoryStore(ttl=FOREVER)

    def opened(*ring: str) -> ProtectedStore:
        return ProtectedStore(below, encryption=Encryption(ring), owner_keys=keys)

    old = opened(OLD)
    for session in ("a-erased", "b-body", "c-damaged", "z-fine"):
        Sessions(old).save(session, {"text": session})
    for session in ("a-erased", "b-body"):
        Sessions(old).annotate(session, owner="ann")
    Sessions(old).save("b-body", {"text": "newer"})
    for path in ("a-erased", "b-body"):  # as a backup has them
        (tmp_path / path).write_bytes(below.dump(path) or b"")
    erase_owner(old, "ann", settle=None)
    for path in ("a-erased", "b-body"):
        below.restore(path, (tmp_path / path).read_bytes())
    Sessions(opened(Encryption.generate_key("other"))).save("d-other", {"text": "x"})
    damaged = below.info("c-damaged")
    assert damaged is not None
    below.commit(Commit(session="c-damaged", token="t", state=damaged.state[:-9] + b'AAAAAAA"}}'))
    clock.advance("10m")
    both = opened(NEW, OLD)
    report = await rewritten(face, both)
    assert report.rewritten == ("z-fine",)
    assert set(report.unreadable) == {"a-erased", "b-body", "c-damaged", "d-other"}
    assert "owner who was erased" in report.unreadable["a-erased"]
    assert "the key 'other'" in report.unreadable["d-other"]
    assert Sessions(opened(NEW)).load("z-fine").state == {"text": "z-fine"}


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("late", ["info", "copy"])
@pytest.mark.parametrize("face", ["sync", "async"])
async def test_two_who_rewrite_a_session_at_once(face: str, late: str, *, again: bool) -> None:
    """What the other has begun under the temporary name never takes the place of the session."""
    below = MemoryStore()
    chat(store_with(below, OLD))
    before = history(store_with(below, OLD))
    Sessions(store_with(below, OLD)).annotate("t", owner="ann")
    other = store_with(below, NEW, OLD)
    staging = StagingId("t")
    real: Any = getattr(below, late)
    last = len(spied(below, late, lambda: rekey(store_with(below, NEW, OLD), unused_for=None)))
    chat(store_with(below, OLD, NEW), 1)
    calls: list[Any] = []

    def meddled(*args: Any, **options: Any) -> Any:
        if type(args[0]) is StagingId:
            calls.append(args)
            if len(calls) == last:
                other.delete(staging)
                if again:
                    other.commit(Commit(session=staging, token="other", new=True, state=b"{}"))
        return real(*args, **options)

    setattr(below, late, meddled)
    report = await rewritten(face, store_with(below, NEW, OLD), unused_for=None)
    assert len(calls) >= last > 0
    assert report == RekeyReport(rewritten=(), busy=("t",))
    assert history(store_with(below, NEW, OLD))[-len(before) :] == before
    info = below.info("t")
    assert info is not None
    assert info.owner == "ann"


def spied(store: MemoryStore, name: str, work: Callable[[], object]) -> list[Any]:
    """The calls of a method for a session that is still being made, while something is done."""
    calls: list[Any] = []
    real: Any = getattr(store, name)

    def spying(*args: Any, **options: Any) -> Any:
        if type(args[0]) is StagingId:
            calls.append(args)
        return real(*args, **options)

    setattr(store, name, spying)
    try:
        work()
    finally:
        setattr(store, name, real)
    return calls
