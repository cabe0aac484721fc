"""Exit codes: what a script learns from a command. ``docs/reference/cli.md`` lists them."""

from __future__ import annotations

from typing import Final

from wren_sessions.errors import (
    ConfigurationError,
    ConflictError,
    CorruptSessionError,
    DecryptionError,
    FormatVersionError,
    InvalidSessionIdError,
    SerializationError,
    SessionExistsError,
    SessionExpiredError,
    SessionGoneError,
    SessionNotFoundError,
    StoreUnavailableError,
    WrenSessionsError,
)

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
UNAVAILABLE: Final = 4
UNREADABLE: Final = 5
CONFLICT: Final = 6
WARNED: Final = 7
INTERRUPTED: Final = 130

_CODES: Final[tuple[tuple[type[WrenSessionsError], int], ...]] = (
    (ConfigurationError, USAGE),
    (InvalidSessionIdError, USAGE),
    (StoreUnavailableError, UNAVAILABLE),
    (SessionNotFoundError, NOT_FOUND),
    (SessionExpiredError, NOT_FOUND),
    (SessionGoneError, NOT_FOUND),
    (SessionExistsError, CONFLICT),
    (ConflictError, CONFLICT),
    (CorruptSessionError, UNREADABLE),
    (FormatVersionError, UNREADABLE),
    (SerializationError, UNREADABLE),
    (DecryptionError, UNREADABLE),
)


def code_of(error: WrenSessionsError) -> int:
    """The exit code for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)
