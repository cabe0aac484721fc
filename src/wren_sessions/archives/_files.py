"""Write files atomically: each is there whole or not at all, even after a crash.

A file is written under another name in its own folder, synced to disk, and renamed. Only the user
who wrote them can read the files (0600, folders 0700). If a process was killed, the next process
that writes the same file removes what is left, once it is an hour old. Symbolic links below the
root are not followed: somebody could use one to send files to another place.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from wren_sessions.errors import StoreUnavailableError

STALE_S: Final = 3_600
_FILE_MODE, _FOLDER_MODE = 0o600, 0o700


def write_files(root: Path, contents: Mapping[Path, str | bytes]) -> None:
    """Write files. All of them are written before the first one is renamed.

    Args:
        root: the folder above them.
        contents: the text or bytes of each file.

    Raises:
        StoreUnavailableError: they cannot be written. Existing files are unchanged, unless a rename
            failed after other files were renamed.
    """
    staged: dict[Path, Path] = {}
    try:
        for path, text in contents.items():
            refuse_links(root, path.parent)
            _make_folder(path.parent)
            _remove_stale(path)
            staged[path] = temporary_for(path)
            write_synced(staged[path], [text if isinstance(text, bytes) else text.encode()])
        for path, temporary in staged.items():
            temporary.replace(path)
        for folder in {path.parent for path in contents}:
            _sync_folder(folder)
    except OSError as error:
        common = os.path.commonpath([path.parent for path in contents])
        raise StoreUnavailableError(
            f"the files below {common!r} cannot be written: {error.strerror}; "
            "check the folder's permissions and the space that is left"
        ) from error
    finally:
        for temporary in staged.values():
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def refuse_links(root: Path, folder: Path) -> None:
    """Raise if a folder below the root, or one above it, is a symbolic link.

    Raises:
        StoreUnavailableError: one is, or a folder cannot be checked.
    """
    while folder not in {root, folder.parent}:
        try:
            link = folder.is_symlink()
        except OSError as error:
            raise StoreUnavailableError(
                f"the files below {str(folder)!r} cannot be used: {error.strerror}; "
                "check the permissions of the folders above"
            ) from error
        if link:
            raise StoreUnavailableError(
                f"{str(folder)!r} is a symbolic link, and archives follow none below their folder: "
                "put a real folder in its place"
            )
        folder = folder.parent


def temporary_for(path: Path) -> Path:
    """The name under which a file is written."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")


def write_synced(path: Path, parts: Iterable[bytes]) -> None:
    """Write a new file that only this user can read, and wait until it is on the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    with os.fdopen(handle, "wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents, private to this user."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(_FOLDER_MODE)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Sync a folder to disk, where folders can be opened (not on Windows)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove_stale(path: Path) -> None:
    """Remove temporary files that earlier writers of this file left; keep all others."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{12}}\.tmp")
    for found in path.parent.iterdir():
        if ours.fullmatch(found.name):
            with suppress(OSError):
                if time.time() - found.lstat().st_mtime > STALE_S:
                    found.unlink()
