"""Find and remove the archives of one owner below a folder."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from wren_sessions.archives._files import refuse_links
from wren_sessions.archives._paths import folder_name
from wren_sessions.archives._restoring import SESSION_FILE, opened
from wren_sessions.archives._sealed import about_of
from wren_sessions.errors import (
    ConfigurationError,
    CorruptSessionError,
    FormatVersionError,
    SessionNotFoundError,
    StoreUnavailableError,
)


def archives_of(root: Path, owners: Collection[str], sessions: Collection[str]) -> Iterator[Path]:
    """The folders below a root that hold an archive of an owner's session.

    Args:
        root: the folder of a `SessionArchiver`.
        owners: all names that archives may have for the owner.
        sessions: ids of the owner's sessions. An archive may be from before its session had this
            owner.

    Raises:
        ConfigurationError: there is no such folder.
        StoreUnavailableError: it cannot be read, or contains a symbolic link.
    """
    if not root.is_dir():
        raise ConfigurationError(f"there is no folder of archives {str(root)!r}: check its name")
    theirs = {folder_name(session) for session in sessions}
    for folder in sorted(root.iterdir()):
        if folder.name in theirs or _owner_of(root, folder) in owners:
            refuse_links(root, folder)
            yield folder


def _owner_of(root: Path, folder: Path) -> str | None:
    """The owner of the archive in a folder; None if there is none, or it is unknown."""
    if not folder.is_dir():
        return None
    refuse_links(root, folder)
    try:
        with opened(folder / SESSION_FILE) as file:
            return about_of(file.readline()).owner
    except (SessionNotFoundError, CorruptSessionError, FormatVersionError):
        return None


def remove(folder: Path) -> None:
    """Remove the folder of an archive, with everything in it.

    Raises:
        StoreUnavailableError: it cannot be removed.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StoreUnavailableError(
            f"the archive {str(folder)!r} cannot be removed: {error.strerror}; check the "
            "permissions of the folder, and erase once more"
        ) from error
