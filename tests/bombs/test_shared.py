"""Values that name the same bytes again and again: what a record may share is bounded."""

from __future__ import annotations

import pytest

from remedies.proposals import tries
from wren_sessions import MemoryStore, SerializationError, Sessions
from wren_sessions.delta.extents import SHARED_BYTES, SHARED_FACTOR


@tries("keep what is large in one channel")
def test_what_is_shared_too_often_is_refused_when_it_is_written() -> None:
    """Nobody could read it again; the same content under one key is stored."""
    sessions = Sessions(MemoryStore())
    text = "x" * 4_000_000
    keys = SHARED_BYTES // len(text) + SHARED_FACTOR + 2
    sessions.save("s", {"key0": text})  # from now on the others can refer to it
    with pytest.raises(SerializationError, match="keep what is large in one channel"):
        sessions.save("s", {f"key{number}": text for number in range(keys)})
    assert sessions.load("s").state == {"key0": text}
    sessions.save("s", {"text": text, "uses": keys})
    assert sessions.load("s").state == {"text": text, "uses": keys}
