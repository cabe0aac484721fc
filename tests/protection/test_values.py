"""Long values between serializer and arena: what comes back, what is shared, what is refused."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from wren_sessions import MemoryStore, Sessions
from wren_sessions.delta.protection import PLAIN, Protection
from wren_sessions.errors import (
    ConfigurationError,
    DecryptionError,
    SerializationError,
    WrenSessionsError,
)
from wren_sessions.records import Commit, Committed
from wren_sessions.serializers.compression import Compression, decompress
from wren_sessions.serializers.encryption import Encryption
from wren_sessions.serializers.keyring import Keyring
from wren_sessions.stores.protected import ProtectedStore

KEYS = Encryption([Encryption.generate_key()])
KINDS = {
    "sealed": Protection(Keyring(KEYS)),
    "zstd": Protection(None, Compression(threshold_bytes=64)),
    "both": Protection(Keyring(KEYS), Compression(threshold_bytes=64)),
}
long_text = st.text(min_size=40, max_size=300)
states = st.recursive(
    st.one_of(long_text, st.integers(-9, 9), st.binary(max_size=200)),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=30,
)


@pytest.mark.parametrize("kind", KINDS)
@given(state=states)
@settings(max_examples=60, deadline=None)
def test_what_goes_in_comes_out(kind: str, state: Any) -> None:
    """Whatever its shape is, also where it is no msgpack."""
    packed: bytes = msgpack.packb(state)
    for data in (packed, packed[1:], packed + packed):
        wrapped = KINDS[kind].wrap("msgpack", data, [])
        assert wrapped is not None
        assert KINDS[kind].unwrap(wrapped.kind, wrapped.data)[:2] == ("msgpack", data)


@pytest.mark.parametrize("kind", KINDS)
def test_histories_of_edits(kind: str) -> None:
    """Every checkpoint of a random history reads, warm and cold, and shares what it can."""
    source = random.Random(7)
    below = MemoryStore()
    protection = KINDS[kind]
    store = ProtectedStore(
        below, encryption=protection.encryption, compression=protection.compression
    )
    sessions = Sessions(store)
    messages: list[str] = []
    seen: dict[str, list[str]] = {}
    for step in range(60):
        if step % 15 == 0:
            sessions = Sessions(store)  # a process that remembers nothing
        action = source.randrange(6)
        if action == 0 and len(messages) > 3:
            del messages[source.randrange(len(messages))]
        elif action == 1 and len(messages) > 10:
            messages = messages[-8:]
        else:
            messages.append(f"{step} {source.randbytes(300).hex()}")
        at = sessions.save("s", {"messages": messages, "nested": {"messages": messages}})
        assert at.checkpoint_id
        seen[at.checkpoint_id] = list(messages)
    for reader in (sessions, Sessions(store)):
        for name, expected in seen.items():
            state = reader.load("s", at=name).state
            assert state == {"messages": expected, "nested": {"messages": expected}}
    info = below.info("s")
    assert info is not None
    assert info.size_bytes is not None
    assert info.size_bytes < 6 * 60 * 620  # each text a few times, not with every checkpoint


def test_a_value_that_goes_on_from_another_channel() -> None:
    """Two channels of one commit have salts of their own, and one may take over what is known."""
    store = ProtectedStore(MemoryStore(), encryption=KEYS)
    sessions = Sessions(store)
    source = random.Random(2)
    one, other = ([source.randbytes(100).hex() for _ in range(20)] for _ in range(2))
    sessions.save("s", {"one": one, "other": other})
    moved = [*other, source.randbytes(100).hex()]
    sessions.save("s", {"one": moved, "other": other})
    assert Sessions(store).load("s").state == {"one": moved, "other": other}


class Measured(MemoryStore):
    """A store that knows how many bytes each commit brought."""

    def commit(self, commit: Commit) -> Committed:
        """Count them."""
        record = commit.record
        assert record is not None
        self.sizes = [*getattr(self, "sizes", []), len(record.body) + len(record.append)]
        return super().commit(commit)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["list", "in a dict"])
def test_a_step_costs_what_is_new(kind: str, shape: str) -> None:
    """However long the list is, and in no more pieces."""
    below = Measured()
    found = KINDS[kind]
    store = ProtectedStore(below, encryption=found.encryption, compression=found.compression)
    sessions = Sessions(store)
    source = random.Random(1)
    messages: list[str] = []
    for step in range(150):
        messages.append(f"{step} {source.randbytes(250).hex()}")
        state = messages if shape == "list" else {"messages": messages, "turn_count": step}
        sessions.save("s", {"state": state})
    early, late = sum(below.sizes[20:40]), sum(below.sizes[-20:])
    assert late < early * 1.1
    assert early / 20 < 1_400
    loaded = below.load("s")
    assert loaded is not None
    assert len(loaded.stored.spans) == 1


def test_old_and_new_data_read_side_by_side() -> None:
    """Compression can be turned on, changed and off again on a session that goes on."""
    below = MemoryStore()
    messages: list[str] = []
    names = []
    for compression in (None, Compression(), None, Compression(level=9), None):
        sessions = Sessions(ProtectedStore(below, compression=compression))
        messages.append("the same words " * 200)
        names.append(sessions.save("s", {"messages": messages}).checkpoint_id)
    for length, name in enumerate(names, 1):
        assert len(Sessions(below).load("s", at=name).state["messages"]) == length


def test_compression_saves_room() -> None:
    """Of text a good part; what is short or cannot be compressed is stored as it is."""
    sizes = []
    for compression in (None, Compression()):
        below = MemoryStore()
        sessions = Sessions(ProtectedStore(below, compression=compression))
        sessions.save("s", {"messages": [f"{n} " + "some words of a chat " * 99 for n in range(9)]})
        info = below.info("s")
        assert info is not None
        assert info.size_bytes
        sizes.append(info.size_bytes)
    assert sizes[1] < sizes[0] / 4
    assert Compression().compress(b"short") is None
    assert Compression().compress(random.Random(1).randbytes(5_000)) is None


@pytest.mark.parametrize("wrong", [{"threshold_bytes": 0}, {"level": 0}, {"level": 99}])
def test_compression_that_cannot_be(wrong: dict[str, Any]) -> None:
    """A number out of its range is refused."""
    with pytest.raises(ConfigurationError):
        Compression(**wrong)


def test_bombs() -> None:
    """A few bytes that would become many are refused before they do."""
    bomb = zstandard.ZstdCompressor().compress(bytes(300 * 1_048_576))
    assert len(bomb) < 100_000
    with pytest.raises(SerializationError, match="the limit is"):
        decompress(bomb)
    unknown = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(9))
    for damaged in (unknown, bomb[:-9], b"", b"no zstd", bomb + b"x"):
        with pytest.raises(SerializationError):
            decompress(damaged)
    half = zstandard.ZstdCompressor().compress(bytes(200 * 1_048_576))
    twice = msgpack.packb(b"\x01" + half) * 2
    with pytest.raises(SerializationError, match="the limit is"):
        PLAIN.unwrap("msgpack+zstd.0.0", twice)


def test_damaged_values() -> None:
    """Any change of a sealed value is an error of ours, and so is a kind that does not fit."""
    wrapped = KINDS["both"].wrap("msgpack", msgpack.packb(["x" * 500] * 3), [])
    assert wrapped is not None
    for at in range(0, len(wrapped.data), 3):
        changed = bytearray(wrapped.data)
        changed[at] ^= 0x41
        try:
            found = KINDS["both"].unwrap(wrapped.kind, bytes(changed))
        except WrenSessionsError:
            continue
        # The array's header is kept in the record, which is sealed as a whole.
        assert at == wrapped.head - 1, found
    for kind in ("msgpack+sealed.9999.0", "msgpack+sealed.0.9999", "msgpack+sealed.3.0"):
        with pytest.raises(WrenSessionsError):
            KINDS["both"].unwrap(kind, wrapped.data)
    with pytest.raises(DecryptionError, match="open the store with its key"):
        PLAIN.unwrap(wrapped.kind, wrapped.data)
    for kind in ("msgpack", "msgpack+aes", "x+sealed.1", "x+zstd.a.b"):
        assert PLAIN.unwrap(kind, b"data") == (kind, b"data", None)
