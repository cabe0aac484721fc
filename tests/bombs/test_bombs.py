"""Stored data and files that ask for much more than they are do no harm.

Each bomb is set off in a process that measures its peak: it may take 300 MB, and is an error of
our own, or is read. It takes less than five seconds of an idle processor; what goes off takes
minutes, so a busy machine is given thirty. ``python -m bombs.running values`` shows the figures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bombs.making import GROUPS

TESTS = Path(__file__).parents[1]
MOST_BYTES = 300_000_000
MOST_SECONDS = 30


@pytest.mark.skipif(sys.platform != "linux", reason="measures with /proc")
@pytest.mark.parametrize("group", GROUPS)
def test_no_bomb_goes_off(group: str) -> None:
    """What is too large is refused before it is built."""
    traced = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")  # would be measured as well
    run = subprocess.run(
        [sys.executable, "-m", "bombs.running", group],
        capture_output=True,
        check=False,
        cwd=TESTS,
        env={name: value for name, value in os.environ.items() if name not in traced},
        timeout=900,
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
