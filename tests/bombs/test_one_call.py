"""Whatever reads stored data does so within a call that has a budget: nothing counts by itself."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.types import Interrupt

import wren_sessions
from wren_sessions import (
    Compression,
    Encryption,
    MemoryStore,
    Migrations,
    ProtectedStore,
    SafeSerializer,
    SessionArchiver,
    Sessions,
    SessionSaver,
    copy_sessions,
    export_session,
    import_checkpoints,
    import_session,
    rekey,
)
from wren_sessions.serializers import _legacy, compression, limits, safe
from wren_sessions.serializers.limits import Budget
from wren_sessions.upgrading._application import Application
from wren_sessions.upgrading._rewriting import migrate
from wren_sessions.upgrading._verifying import verify

OURS: Final = f"{Path(wren_sessions.__file__).parent}/"
CONFIG: Final[Any] = {"configurable": {"thread_id": "s", "checkpoint_ns": ""}}
TEXT: Final = "a text that can be compressed " * 100
KEYS: Final = [("old", bytes(32))]

MIGRATIONS: Final = Migrations()


@dataclass
class Order:
    """What a later release reads in another form."""

    note: str


@MIGRATIONS.migration(Order, since=1)
def _order(fields: dict[str, Any]) -> dict[str, Any]:
    return fields


LATER: Final = Application(SafeSerializer().with_migrations(MIGRATIONS), {})

Readers = dict[str, Callable[[Any], object]]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where something was read outside of a call: the frames of this package."""
    found: list[str] = []

    def watched(stored_bytes: int, memory_bytes: int = limits.MEMORY_BYTES) -> Budget:
        call = limits.current_budget.get()
        if call is None:
            frames = [f for f in traceback.extract_stack()[:-1] if f.filename.startswith(OURS)]
            found.append(" ".join(f"{f.filename.removeprefix(OURS)}:{f.lineno}" for f in frames))
        return call or Budget(stored_bytes, memory_bytes)

    for module in (_legacy, compression, limits, safe):
        monkeypatch.setattr(module, "budget_for", watched)
    return found


def store_of(kind: str) -> Any:
    """A store with a session of all sorts of values: long, inline, lists, histories, writes."""
    inner = MemoryStore()
    store: Any = inner
    if kind == "compressed":
        store = ProtectedStore(inner, compression=Compression())
    elif kind == "encrypted":
        store = ProtectedStore(inner, encryption=Encryption(KEYS), compression=Compression())
    saver = SessionSaver(store)
    config: Any = CONFIG
    versions: dict[str, Any] = {}
    messages: list[Any] = []
    for number in range(4):
        messages += [HumanMessage(TEXT, id=f"h{number}"), AIMessage(TEXT, id=f"a{number}")]
        values = {
            "messages": list(messages),
            "set": {TEXT, f"{number}"},
            "short": number,
            "order": Order(TEXT),
            **{f"channel {at}": f"value {at}" for at in range(400)},
        }
        before = versions.get("messages")
        versions = dict.fromkeys([*values, "delta"], saver.get_next_version(before, None))
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = values
        checkpoint["channel_versions"] = versions
        about: Any = {
            "source": "loop",
            "step": number,
            "parents": {},
            "counters_since_delta_snapshot": {"delta": (number + 1, number + 1)},
        }
        config = saver.put(config, checkpoint, about, versions)
        saver.put_writes(config, [("delta", [TEXT * 2]), ("short", number + 1)], f"task {number}")
    saver.put_writes(config, [("__interrupt__", [Interrupt(TEXT, id="i")])], "asking")
    return store


def latest(store: Any) -> Any:
    """Where the session's latest checkpoint is."""
    return next(SessionSaver(store).list(CONFIG, limit=1)).config


READERS: Final[Readers] = {
    "get_tuple": lambda store: SessionSaver(store).get_tuple(CONFIG),
    "list": lambda store: list(SessionSaver(store).list(CONFIG, filter={"step": 2})),
    "delta history": lambda store: SessionSaver(store).get_delta_channel_history(
        config=latest(store), channels=["delta"]
    ),
    "prune": lambda store: SessionSaver(store).prune(["s"], strategy="keep_latest"),
    "copy_thread": lambda store: SessionSaver(store).copy_thread("s", "t"),
    "load": lambda store: Sessions(store, cache_bytes=0).load("s"),
    "save": lambda store: Sessions(store, cache_bytes=0).save("s", {"a": TEXT}, replace=True),
    "fork": lambda store: Sessions(store).fork(
        "s", "t", at=latest(store)["configurable"]["checkpoint_id"]
    ),
    "list sessions": lambda store: Sessions(store).list(),
    "transcript": lambda store: Sessions(store).transcript("s"),
    "export and import": lambda store: import_session(
        MemoryStore(), list(export_session(store, "s"))
    ),
    "import into a protected store": lambda store: import_session(
        ProtectedStore(MemoryStore(), encryption=Encryption(KEYS)), export_session(store, "s")
    ),
    "copy": lambda store: copy_sessions(store, MemoryStore()),
    "copy to an encrypted store": lambda store: copy_sessions(
        store, ProtectedStore(MemoryStore(), encryption=Encryption(KEYS))
    ),
    "verify": lambda store: verify(store, LATER, history=True),
    "migrate": lambda store: migrate(store, LATER, write=True, unused_ms=0),
    "import_checkpoints": lambda store: import_checkpoints(
        SessionSaver(store), SessionSaver(MemoryStore())
    ),
}


@pytest.mark.parametrize("kind", ["plain", "compressed", "encrypted"])
@pytest.mark.parametrize("name", READERS)
def test_whatever_reads_has_a_budget(name: str, kind: str, alone: list[str]) -> None:
    """No value, record, pending write or compressed chunk is read without one."""
    store = store_of(kind)
    alone.clear()
    READERS[name](store)
    assert not alone


@pytest.mark.parametrize("kind", ["plain", "compressed", "encrypted"])
def test_all_of_it_is_migrated(kind: str) -> None:
    """What is watched here is a rewrite that takes place."""
    store = store_of(kind)
    assert migrate(store, LATER, write=True, unused_ms=0).migrated == ["s"]
    assert not verify(store, LATER, history=True).causes


def test_rekeying_and_archiving_have_one(alone: list[str], tmp_path: Path) -> None:
    """Likewise where all sessions are gone through."""
    store = store_of("encrypted")
    SessionArchiver(store, tmp_path, complete="short").archive("s")
    SessionArchiver(store, tmp_path, complete="short").archive_if_complete("s")
    newer = Encryption([("new", b"1" * 32), *KEYS])
    rekey(ProtectedStore(store.unprotected, encryption=newer), unused_for=None)
    assert not alone
