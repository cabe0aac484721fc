"""Tokens of commits: unique, also where a process was copied."""

from __future__ import annotations

import os
import re

import pytest

from wren_sessions import keys


def test_tokens_differ_and_are_short() -> None:
    """Each has 11 characters that are safe in a name."""
    found = [keys.new_token() for _ in range(10_000)]
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{11}", token) for token in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_makes_others_than_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even in the same nanosecond."""
    monkeypatch.setattr(keys, "time_ns", lambda: 1)
    keys.new_token()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, keys.new_token().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 100).decode()
    os.close(reading)
    os.close(writing)
    assert theirs != keys.new_token()
    assert len(theirs) == 11


def test_a_copied_process_makes_others_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot of a machine continues with the same generator; only its clock differs."""
    state = keys._random.getstate()
    monkeypatch.setattr(keys, "time_ns", lambda: 1_000)
    first = keys.new_token()
    keys._random.setstate(state)
    monkeypatch.setattr(keys, "time_ns", lambda: 1_001)
    assert keys.new_token() != first
