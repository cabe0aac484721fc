"""Restore sessions from their archives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from wren_sessions._blocking import run
from wren_sessions.archives._importing import ImportPlan, landed
from wren_sessions.archives._parsing import Export
from wren_sessions.archives._sealed import unsealed
from wren_sessions.archives._transfer import only_export
from wren_sessions.errors import (
    SessionExpiredError,
    SessionNotFoundError,
    StoreUnavailableError,
)
from wren_sessions.protocols import SessionStore
from wren_sessions.stores.protected.owner_keys import owner_keys_of
from wren_sessions.transfer._api import StoreApi

SESSION_FILE: Final = "session.jsonl"


async def restored(
    api: StoreApi, archive: str | Path | HasExport, *, session: str | None, replace: bool
) -> str:
    """Restore a session from its file, and return its id."""
    export = await api.off(partial(read_archive, api.place, archive))
    try:
        return await landed(export, api, ImportPlan(session, replace=replace))
    except SessionExpiredError:  # it may not be as old as it is
        return await landed(export, api, ImportPlan(session, replace=replace, renew=True))


class HasExport(Protocol):
    """An `Archive`, which has the file of the whole session."""

    @property
    def export(self) -> Path:
        """The file."""


def read_archive(store: SessionStore, archive: str | Path | HasExport) -> Export:
    """The session in a file or in a session's folder; decrypted with the store's owner keys."""
    path = archive_file(archive if isinstance(archive, str | Path) else archive.export)
    with opened(path) as file:
        return only_export(run(unsealed(file, owner_keys_of(store))))


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading.

    Raises:
        SessionNotFoundError: there is no such file.
        StoreUnavailableError: it cannot be read: its permissions forbid it, or this process has no
            file descriptor left.
    """
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise SessionNotFoundError(
            f"there is no file {str(path)!r}", session=path.parent.name
        ) from None
    except OSError as error:
        raise StoreUnavailableError(
            f"{str(path)!r} cannot be read: {error.strerror}; check its permissions, and how many "
            "files this process has open"
        ) from error


def archive_file(path: str | Path) -> Path:
    """The file to restore a session from: itself, or the one in a session's folder.

    Raises:
        SessionNotFoundError: there is none.
    """
    found = Path(path)
    if found.is_dir():
        found /= SESSION_FILE
    if not found.is_file():
        raise SessionNotFoundError(
            f"there is no archive at {str(path)!r}: name a session's folder, or the "
            f"{SESSION_FILE} in it",
            session=found.parent.name,
        )
    return found
