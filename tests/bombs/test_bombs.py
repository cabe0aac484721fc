"""Stored data and files that ask for much more than they are do no harm.

Each bomb is set off in a process that measures its peak: it may take 300 MB and five seconds, and
is an error of our own, or is read.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bombs.making import GROUPS

TESTS = Path(__file__).parents[1]
MOST_BYTES = 300_000_000
MOST_SECONDS = 5


@pytest.mark.skipif(sys.platform != "linux", reason="measures with /proc")
@pytest.mark.parametrize("group", GROUPS)
def test_no_bomb_goes_off(group: str) -> None:
    """What is too large is refused before it is built."""
    run = subprocess.run(
        [sys.executable, "-m", "bombs.running", group],
        capture_output=True,
        check=False,
        cwd=TESTS,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr.decode()[-2_000:]
    told = [json.loads(line) for line in run.stdout.splitlines()]
    went_off = [
        bomb
        for bomb in told
        if bomb[1].startswith("went off") or bomb[2] > MOST_BYTES or bomb[3] > MOST_SECONDS
    ]
    assert not went_off
    assert len(told) >= 10
