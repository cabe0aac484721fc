"""Hostile data runs nothing, imports nothing, and takes neither time nor memory.

Each group of payloads is read in a process of its own, by the default serializer, by one that
allows official types alone, by one that gives plain data for classes that are not there, by one
with migrations, and as plain data, while an audit hook notes what the interpreter does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]


def told(*arguments: str) -> Any:
    """What the other process tells."""
    run = subprocess.run(
        [sys.executable, "-m", "values.hostile_run", *arguments],
        capture_output=True,
        check=False,
        cwd=TESTS,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr.decode()[-2_000:]
    return json.loads(run.stdout)


@pytest.mark.parametrize(
    ("which", "at_least"), [("by hand", 20_000), ("bombs", 300), ("mutated", 30_000)]
)
def test_hostile_payloads_do_no_harm(which: str, at_least: int) -> None:
    """Only errors of our own, or plain data."""
    found = told(which, "10000", "1")
    assert set(found["outcomes"]) <= {"value", "SerializationError", "UnsafeTypeError"}
    assert sum(found["outcomes"].values()) >= at_least
    assert found["outcomes"]["SerializationError"] > at_least / 20
    assert found["events"] == {}
    assert found["modules"] == []
    assert found["ran"] == []
    assert found["grown_bytes"] < 300_000_000
