"""Equal values give equal bytes in every process, and mean the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

TESTS: Final = Path(__file__).parents[1]

WRITE: Final = """
import sys
from values.spread import value
from wren_sessions import SafeSerializer
kind, data = SafeSerializer().dumps_typed(value())
sys.stdout.buffer.write(data)
"""
READ: Final = """
import sys
from values.spread import value
from values.comparing import same
from wren_sessions import SafeSerializer
found = SafeSerializer().loads_typed(("safe", sys.stdin.buffer.read()))
print(same(found, value()))
"""
LIGHT: Final = """
import sys
import wren_sessions
from wren_sessions.serializers.safe import SafeSerializer
serde = SafeSerializer()
assert serde.loads_typed(serde.dumps_typed({"a": [1, (2, {3})]})) == {"a": [1, (2, {3})]}
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
VIEW: Final = """
import sys
from wren_sessions.serializers.plain import PlainSerializer
print(PlainSerializer().loads_typed(("safe", sys.stdin.buffer.read())))
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
HEAVY: Final = {"langgraph", "langchain_core", "pydantic", "numpy", "values"}


def run(code: str, seed: str, data: bytes = b"") -> bytes:
    """What a process with a hash seed of its own prints."""
    env: dict[str, Any] = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=data,
        capture_output=True,
        check=False,
        cwd=TESTS,
        env=env | {"PYTHONHASHSEED": seed},
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_the_bytes_are_the_same_in_every_process() -> None:
    """Sets, dicts, enums and messages: no hash seed shows in them."""
    written = {run(WRITE, seed) for seed in ("0", "1", "12345", "random")}
    assert len(written) == 1
    assert run(READ, "7", written.pop()).strip() == b"True"


def test_plain_values_load_no_library() -> None:
    """The serializer alone imports neither LangGraph nor pydantic."""
    assert not HEAVY & set(run(LIGHT, "0").decode().split())


def test_a_viewer_needs_none_of_the_classes() -> None:
    """Plain reading of everything loads nothing of the application or of LangGraph."""
    plain, loaded = run(VIEW, "0", run(WRITE, "0")).decode().splitlines()
    assert "HumanMessage" in plain
    assert not HEAVY & set(loaded.split())
