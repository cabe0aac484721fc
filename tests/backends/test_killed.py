"""A process that dies in the middle of an operation leaves all of what it made, or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from backends.processes import run_code
from wren_sessions.ttl import STAGING_MS

BEFORE: Final = {"s": [3, 4]}  # its state, and its checkpoints
AFTER: Final[dict[str, dict[str, Any]]] = {
    "fork": BEFORE | {"made": [1, 2]},
    "copy": BEFORE | {"made": [2, 3]},
    "imported": BEFORE | {"made": [2, 3]},
    "restore": {"s": [2, 3]},
    "rekey": BEFORE,
}


@pytest.mark.parametrize("kind", ["file", "redis"])
@pytest.mark.parametrize("name", AFTER)
def test_a_process_that_is_killed_leaves_all_or_nothing(
    name: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Behind any step; what is left is not listed and ends by itself, and a second run succeeds."""
    url = f"file:{tmp_path}/s.db" if kind == "file" else request.getfixturevalue("redis_url")
    code = "import sys; from backends.killed import main; main(*sys.argv[1:])"
    told = [json.loads(line) for line in run_code(code, url, name, str(tmp_path)).splitlines()]
    assert len(told) >= 4
    for death in told:
        assert death["there"] in (BEFORE, AFTER[name])
        assert death["after"] == AFTER[name]
        assert all(0 < ttl_ms <= STAGING_MS for ttl_ms in death["left"])
    assert told[0]["there"] == BEFORE
    assert told[-1]["there"] == AFTER[name]
    assert told[-1]["left"] == []
    assert any(death["left"] for death in told)
