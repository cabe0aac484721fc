"""What is accepted can be read again: the values of a checkpoint count together."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from remedies.proposals import tries
from wren_sessions import (
    Compression,
    Encryption,
    Limits,
    MemoryStore,
    ProtectedStore,
    SafeSerializer,
    SerializationError,
    Sessions,
    SessionSaver,
    copy_sessions,
    export_session,
    import_checkpoints,
    import_session,
    open_store,
)
from wren_sessions.checkpoints import pending, put, snapshots
from wren_sessions.delta import encoder, protection
from wren_sessions.errors import ConfigurationError
from wren_sessions.serializers import limits
from wren_sessions.serializers.limits import OverBudgetError
from wren_sessions.transfer.checking import check_session
from wren_sessions.transfer.repairing import repair_session
from wren_sessions.upgrading._application import Application
from wren_sessions.upgrading._rewriting import migrate
from wren_sessions.upgrading._verifying import verify

SMALL = 400_000
TIGHT, WIDE = (SafeSerializer(limits=Limits(max_memory_bytes=n)) for n in (SMALL, 40 * SMALL))


@pytest.fixture(autouse=True)
def _counted_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is short is looked at as well, so that these tests are quick."""
    monkeypatch.setattr(limits, "FREE_BYTES", 4_096)
    for module in (pending, put):
        monkeypatch.setattr(module, "SURE_BYTES", 2_048)


def less(size: int, memory_bytes: int = SMALL, **rest: Any) -> AbstractContextManager[None]:
    """A call that has less than the usual budget."""
    return limits.Budget(size, memory_bytes, **rest)


def dense(number: int = 0) -> list[Any]:
    """1.6 KB that become 128 KB: one value is less than what is due."""
    return [[] for _ in range(1_600 + number)]


def dense_state(keys: int) -> dict[str, Any]:
    """Values that are each within the limits."""
    return {f"key{number}": dense(number) for number in range(keys)}


def fresh(store: Any, serde: SafeSerializer = TIGHT) -> Sessions:
    """Sessions that know nothing of the store's sessions."""
    return Sessions(store, serde=serde, cache_bytes=0)


@pytest.mark.parametrize("protected", [False, True])
@pytest.mark.parametrize("warm", [True, False])
def test_what_is_saved_can_be_loaded(*, protected: bool, warm: bool) -> None:
    """A state that grows key by key is refused before it is too large to be read, and not after."""
    store: Any = MemoryStore()
    if protected:
        store = open_store("memory://", compression=Compression())
    sessions = Sessions(store, serde=TIGHT)
    keys, refused = 0, ""
    while not refused:
        keys += 1
        if not warm:
            sessions = fresh(store)
        with suppress(SerializationError):
            sessions.save("s", dense_state(keys))
            assert fresh(store).load("s").state == dense_state(keys)
            continue
        with pytest.raises(SerializationError) as error:
            sessions.save("s", dense_state(keys))
        refused = str(error.value)
    assert "Limits.max_memory_bytes is 400,000" in refused
    assert f"'key{keys - 1}'" in refused
    assert 2 < keys - 1 < 10
    assert fresh(store).load("s").state == dense_state(keys - 1)


@tries("keep large things outside the session, or raise it wherever")
def test_who_needs_more_says_so_on_both_sides() -> None:
    """Nothing is written otherwise; and with the setting, it is written and read."""
    store = MemoryStore()
    with pytest.raises(SerializationError, match=r"Nothing was written.*max_memory_bytes=…"):
        fresh(store).save("s", dense_state(10))
    assert fresh(store).get("s") is None
    Sessions(store, serde=WIDE).save("s", dense_state(10))
    assert fresh(store, WIDE).load("s").state == dense_state(10)
    fresh(store).save("t", {"where": "in a file"})
    assert fresh(store).load("t").state == {"where": "in a file"}


@tries("if you trust what is stored, read it with a serializer that allows more")
@pytest.mark.parametrize("serde", [SafeSerializer(), WIDE])
def test_dense_values_of_earlier_releases_are_read_with_the_setting(serde: SafeSerializer) -> None:
    """The error of whoever has it lower tells the setting; an export and a copy keep the values."""
    store, other = MemoryStore(), MemoryStore()
    Sessions(store, serde=WIDE).save("s", dense_state(10))
    import_session(other, export_session(store, "s"), session="imported")
    copy_sessions(store, other)
    config: Any = {"configurable": {"thread_id": "s", "checkpoint_ns": ""}}
    with pytest.raises(OverBudgetError, match=r"if you trust.*max_memory_bytes=…"):
        fresh(store).load("s")
    with pytest.raises(OverBudgetError, match=r"if you trust.*max_memory_bytes=…"):
        SessionSaver(store, serde=TIGHT).get_tuple(config)
    for kept, name in ((store, "s"), (other, "s"), (other, "imported")):
        assert fresh(kept, serde).load(name).state == dense_state(10)
    found = SessionSaver(store, serde=serde).get_tuple(config)
    assert found is not None
    assert found.checkpoint["channel_values"] == dense_state(10)


def test_pending_writes_and_imports_count_together() -> None:
    """Of one call; nothing of them is written."""
    source, store = MemoryStore(), MemoryStore()
    Sessions(source, serde=WIDE).save("s", dense_state(10))
    saver = SessionSaver(store, serde=TIGHT)
    with pytest.raises(SerializationError, match="Nothing was written"):
        import_checkpoints(SessionSaver(source, serde=WIDE), saver)
    assert fresh(store).get("s") is None
    fresh(store).save("t", {})
    config = next(saver.list({"configurable": {"thread_id": "t"}})).config
    with pytest.raises(SerializationError, match="Nothing was written"):
        saver.put_writes(config, [(f"c{n}", dense(n)) for n in range(10)], "task")
    found = saver.get_tuple(config)
    assert found is not None
    assert not found.pending_writes


def test_what_is_small_when_compressed_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is compressed only as far as all of a checkpoint's values can be read together."""
    monkeypatch.setattr(encoder, "SPARE_BYTES", 300_000)
    store = ProtectedStore(MemoryStore(), compression=Compression())
    serde = SafeSerializer(limits=Limits(max_memory_bytes=800_000))
    sessions = Sessions(store, serde=serde)
    state = {f"key{number}": "\0" * (150_000 + number) for number in range(9)}
    sessions.save("s", state)
    assert fresh(store, serde).load("s").state == state
    state["key3"] = "\0" * 200_000
    sessions.save("s", state)
    assert fresh(store, serde).load("s").state == state


def test_a_limit_that_is_lowered_later_names_what_was_compressed() -> None:
    """What a process with other limits wrote is refused where it would be continued, too."""
    store = ProtectedStore(MemoryStore(), compression=Compression())
    Sessions(store).save("s", {"a": "\0" * 1_000_000})
    low = SafeSerializer(limits=Limits(max_memory_bytes=1_000_000))
    with pytest.raises(OverBudgetError, match="compressed data would take"):
        fresh(store, low).load("s")
    with pytest.raises(SerializationError, match=r"compressed so much.*Nothing was written"):
        fresh(store, low).save("t", {"a": "\0" * 1_000_000})
    assert fresh(store).get("t") is None


@tries("move it with import_checkpoints, between savers whose serializer allows more")
@pytest.mark.parametrize("kind", ["compressed", "encrypted"])
def test_what_is_too_small_to_be_copied_can_be_moved(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier release compressed without counting: the error of a copy or export says how."""
    monkeypatch.setattr(encoder, "SPARE_BYTES", 10**12)
    monkeypatch.setattr(snapshots, "Budget", less)
    encryption = Encryption([("new", b"1" * 32)])
    old = None if kind == "compressed" else Encryption([("old", bytes(32))])
    source = ProtectedStore(MemoryStore(), encryption=old, compression=Compression())
    wide = SafeSerializer(limits=Limits(max_memory_bytes=10**9))
    state = {f"key{number}": chr(97 + number) * 140_000 for number in range(6)}
    Sessions(source, serde=wide).save("s", state)
    target = ProtectedStore(MemoryStore(), encryption=encryption)
    for act in (
        lambda: copy_sessions(source, target),
        lambda: list(export_session(source, "s")),
    ):
        with pytest.raises(OverBudgetError, match="move it with import_checkpoints") as error:
            act()
        assert "read it with" not in str(error.value)
    assert fresh(target).get("s") is None
    import_checkpoints(SessionSaver(source, serde=wide), SessionSaver(target, serde=wide))
    assert fresh(target).load("s").state == state


def test_what_is_too_large_to_be_verified_is_not_repaired_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be whole: checking says so, and the session is moved as the error says."""
    monkeypatch.setattr(encoder, "SPARE_BYTES", 10**12)
    source = ProtectedStore(MemoryStore(), compression=Compression())
    wide = SafeSerializer(limits=Limits(max_memory_bytes=10**9))
    sessions = Sessions(source, serde=wide)
    sessions.save("s", {"n": 1})
    state = {f"key{number}": chr(97 + number) * 140_000 for number in range(6)}
    sessions.save("s", state)
    with monkeypatch.context() as patched:
        patched.setattr(snapshots, "Budget", less)
        found = check_session(source, "s")
        (part,) = found.damaged
        assert part.too_large
        assert part.why.startswith("too large to be verified: ")
        assert len(found.whole) == 1
        with pytest.raises(ConfigurationError, match="move it with import_checkpoints"):
            repair_session(source, found)
    target = MemoryStore()
    import_checkpoints(SessionSaver(source, serde=wide), SessionSaver(target, serde=wide))
    assert fresh(source, wide).load("s").state == fresh(target, wide).load("s").state == state


def test_verifying_and_migrating_hold_the_limits_of_the_application() -> None:
    """What the application could not read fails, as one cause; with its setting it is read."""
    store = MemoryStore()
    Sessions(store, serde=WIDE).save("s", dense_state(10))
    tight, wide = Application(TIGHT, {}), Application(WIDE, {})
    (cause,) = verify(store, tight).causes
    assert cause.outcome == "fails"
    assert "the limit for all that one call reads" in cause.text
    assert not verify(store, wide).causes
    assert migrate(store, tight, write=True, unused_ms=0).migrated == []
    assert fresh(store, WIDE).load("s").state == dense_state(10)


def test_text_counts_as_what_it_is() -> None:
    """However long; also bytes that nobody unpacks, and numbers that are told apart."""
    sessions = fresh(MemoryStore())
    state = {"a": "text " * 400_000, "b": os.urandom(2_000_000), "c": list(range(50_000))}
    sessions.save("s", state)
    assert sessions.load("s").state == state


def test_a_salt_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sealed value begins with is random, and counts as nothing that will be built."""
    salts = SimpleNamespace(token_bytes=lambda size: b"\xdf" * size)  # as a dict of 3.7e9 entries
    monkeypatch.setattr(protection, "secrets", salts)
    sessions = Sessions(
        ProtectedStore(MemoryStore(), encryption=Encryption([Encryption.generate_key()]))
    )
    state = {"text": "ä" * 1_000_000}
    for turn in range(2):
        sessions.save("s", state | {"turn": turn})
        assert sessions.load("s").state == state | {"turn": turn}
