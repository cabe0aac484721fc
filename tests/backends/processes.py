"""Python code in another process, which sees the tests' modules and where a warning is an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[1]


def run_code(code: str, *args: str) -> str:
    """Run code with arguments, and return what it printed.

    Raises:
        AssertionError: it failed, or Python complained of what it left behind.
    """
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *args],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    for complaint in ("ResourceWarning", "Exception ignored", "never retrieved", "Traceback"):
        assert complaint not in run.stderr, run.stderr
    return run.stdout
