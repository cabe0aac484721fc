"""Which store a command uses. Makes sure that a command that only reads creates no store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wren_sessions.config import NOTHING, Settings, open_store
from wren_sessions.delta.protection import unprotected
from wren_sessions.errors import ConfigurationError, StoreUnavailableError
from wren_sessions.protocols import SessionStore

if TYPE_CHECKING:  # `list` starts without it
    from wren_sessions.stores._diagnosis import Diagnosis


class Where(NamedTuple):
    """What the command line says about the store.

    Attributes:
        url: its URL; None for what the variables say.
        prefix: what names begin with; None for what URL or variables say.
        env_file: the file to read instead of ``.env``.
    """

    url: str | None = None
    prefix: str | None = None
    env_file: Path | None = None


def open_there(where: Where, *, may_make: bool = False) -> SessionStore:
    """Open the store that is meant.

    Raises:
        ConfigurationError: nothing is configured, or it is the memory of a process.
        StoreUnavailableError: a file is not there, and must not be made.
    """
    store = _open(where)
    try:
        _check_seen(store, may_make=may_make)
    except BaseException:
        store.close()
        raise
    return store


def _open(where: Where) -> SessionStore:
    dotenv = where.env_file or True
    if where.url is not None:
        return open_store(where.url, prefix=where.prefix, dotenv=dotenv)
    settings = Settings.from_env(dotenv=dotenv)
    if settings.source == NOTHING:
        raise ConfigurationError(
            "no store is configured, and sessions in an app's memory are lost when it ends: pass "
            "--url, or set WREN_SESSIONS_URL, REDIS_URL or REDIS_HOST in the environment or in "
            ".env in this folder"
        )
    return (settings if where.prefix is None else replace(settings, prefix=where.prefix)).open()


def _check_seen(store: SessionStore, *, may_make: bool) -> None:
    if not store.persistent:
        raise ConfigurationError(
            f"{store.location} is the memory of this command, which has no sessions: name "
            "the Redis server or the file that the app uses"
        )
    path = path_of(store)
    if path is not None and not may_make and not path.exists():
        raise StoreUnavailableError(
            f"there is no session file {path}: check the path (a relative one belongs to this "
            "folder), or run the app once, which makes it"
        )


def path_of(store: SessionStore) -> Path | None:
    """The file of a store that is one."""
    scheme, _, path = store.location.partition(":")
    return Path(path) if scheme == "file" else None


def diagnosis_of(store: SessionStore) -> Diagnosis | None:
    """What a store tells about the place it is in; None if it is of a kind that does not."""
    diagnose = getattr(unprotected(store), "diagnose", None)
    found: Diagnosis | None = None if diagnose is None else diagnose()
    return found
