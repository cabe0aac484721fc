"""What a commit could not do, as errors."""

from __future__ import annotations

from typing import NoReturn

from wren_sessions.errors import (
    ConflictError,
    SessionExistsError,
    SessionExpiredError,
    SessionGoneError,
)
from wren_sessions.records import Committed


def gone(session: str) -> NoReturn:
    """Raise the error for a session that went away before its deadline."""
    raise SessionGoneError(
        f"session {session!r} went away while it was in use: it was deleted, evicted or lost "
        "before its deadline; nothing was written. Start it again, or restore it from a copy",
        session=session,
    )


def expired(session: str) -> NoReturn:
    """Raise the error for a session that expired and cannot be written whole."""
    raise SessionExpiredError(
        f"session {session!r} expired while it was in use, and cannot go on: nothing was written. "
        "Start a new one, or give sessions a longer idle timeout or maximum age",
        session=session,
    )


def conflict(session: str) -> NoReturn:
    """Raise the error for a session that is not as it was loaded."""
    raise ConflictError(
        f"somebody else wrote session {session!r} since it was loaded; nothing was written: load "
        "it again, and make the change on what is there now",
        session=session,
    )


def check(session: str, done: Committed) -> None:
    """Raise what a commit says that it could not do."""
    match done.outcome:
        case "gone" | "stale":
            gone(session)
        case "expired":
            expired(session)
        case "exists":
            raise SessionExistsError(f"session {session!r} is there already", session=session)
        case "conflict":
            conflict(session)
