"""Another process, which has read nothing yet."""

from __future__ import annotations

import subprocess
import sys


def in_another_process(code: str, *arguments: str) -> str:
    """What a program prints that is run with these arguments."""
    return subprocess.check_output(
        [sys.executable, "-c", code, *arguments], text=True, encoding="utf-8"
    ).strip()
