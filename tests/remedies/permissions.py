"""A folder that a process of another user can go through."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make one, and take it away again; another run of pytest closes those of pytest to others."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        inner = folder / "inner"
        inner.mkdir(mode=0o755)
        yield inner
    finally:
        shutil.rmtree(folder)
