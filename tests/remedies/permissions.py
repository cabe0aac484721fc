"""Folders that a process of another user can go through."""

from __future__ import annotations

import tempfile
from itertools import takewhile
from pathlib import Path


def open_to_others(folder: Path) -> None:
    """Open a folder of pytest's, and those that pytest made above it, to all users."""
    outermost = Path(tempfile.gettempdir())
    for found in takewhile(lambda parent: parent != outermost, (folder, *folder.parents[:3])):
        found.chmod(0o755)
