"""Files that are there whole or not at all, whatever happens while they are written.

A file is written under another name in its own folder, brought to the disk, and renamed. Files are
their owner's alone (0600, folders 0700). What a process that was killed left behind is removed by
the next one that writes there, once it is an hour old.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from wren_sessions.errors import StoreUnavailableError

STALE_S: Final = 3_600
_FILE_MODE, _FOLDER_MODE = 0o600, 0o700


def write_files(contents: Mapping[Path, str]) -> None:
    """Write files, all of them before the first one takes its place.

    Raises:
        StoreUnavailableError: they cannot be written; the files that were there are as they were,
            unless a rename failed after others.
    """
    staged: dict[Path, Path] = {}
    try:
        for path, text in contents.items():
            _make_folder(path.parent)
            _remove_stale(path.parent)
            staged[path] = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
            _write(staged[path], text.encode())
        for path, temporary in staged.items():
            temporary.replace(path)
        for folder in {path.parent for path in contents}:
            _sync_folder(folder)
    except OSError as error:
        raise StoreUnavailableError(
            f"the files below {str(_common(contents))!r} cannot be written: {error.strerror}; "
            "check the folder's permissions and the space that is left"
        ) from error
    finally:
        for temporary in staged.values():
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each its owner's alone."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(_FOLDER_MODE)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where folders can be opened (not on Windows)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove_stale(folder: Path) -> None:
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_S:
                path.unlink()


def _common(contents: Mapping[Path, str]) -> Path:
    return Path(os.path.commonpath([path.parent for path in contents]))
