"""Every error this package raises.

::

    WrenSessionsError
    ├── ConfigurationError          a URL, option or setting that cannot work (also a ValueError)
    ├── StoreUnavailableError       the server or file cannot be used right now
    │   └── StoreTimeoutError       it did not answer in time; the call may have happened
    ├── SessionError                something about one session (has .session)
    │   ├── SessionNotFoundError    it never existed, expired, or was deleted (also a LookupError)
    │   ├── SessionExpiredError     it is past its idle timeout or maximum age
    │   ├── SessionGoneError        it went away under a running graph before its deadline
    │   ├── SessionExistsError      it exists, and the caller asked for a new one
    │   ├── ConflictError           somebody else wrote it first
    │   ├── CorruptSessionError     what is stored is damaged, or is not a session
    │   └── FormatVersionError      it was written by a newer version of this package
    ├── InvalidSessionIdError       a session, namespace or checkpoint id that cannot be a name
    ├── SerializationError          a value that cannot be stored, or read back
    │   └── UnsafeTypeError         stored data names a type that may not be built
    └── DecryptionError             wrong key, or the data was changed

An error says what happened, and what to do next. It never contains a password. The facts are
attributes, too, and errors can be pickled. "Not found" is not an error for calls that look
something up: they return ``None``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class WrenSessionsError(Exception):
    """Base of every error of this package."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.message, self.__dict__.copy())


def _restore(
    kind: type[WrenSessionsError], message: str, facts: dict[str, Any]
) -> WrenSessionsError:
    error = kind.__new__(kind, message)
    Exception.__init__(error, message)
    error.__dict__.update(facts)
    return error


class ConfigurationError(WrenSessionsError, ValueError):
    """A URL, option, environment variable or argument that cannot work as given.

    It is also a `ValueError`, because other checkpointers raise that.
    """


class StoreUnavailableError(WrenSessionsError):
    """The server or file cannot be used right now: refused, down, full, no permission."""


class StoreTimeoutError(StoreUnavailableError):
    """The store did not answer in time. The call may or may not have happened."""


class SessionError(WrenSessionsError):
    """Something about one session.

    Attributes:
        session: its id, as the caller gave it.
    """

    def __init__(self, message: str, *, session: str) -> None:
        super().__init__(message)
        self.session = session


class SessionNotFoundError(SessionError, LookupError):
    """There is no such session: it never existed, it has expired, or it was deleted.

    It is also a `LookupError`, as for a missing key.
    """


class SessionExpiredError(SessionError):
    """The session is past its idle timeout or its maximum age."""


class SessionGoneError(SessionError):
    """The session went away under a running graph, before its deadline.

    Somebody deleted it, the server evicted it, or a failover lost it. Nothing was written. A
    deleted session is not brought back, and half a session is never written.
    """


class SessionExistsError(SessionError):
    """The session exists already, and the caller asked for a new one."""


class ConflictError(SessionError):
    """Somebody else wrote the session since the caller read it, or has its turn.

    Attributes:
        holder: who has the turn; None if nobody has it now, empty if the conflict is not about
            turns.
        held_s: for how many seconds the holder has had it.
    """

    def __init__(
        self, message: str, *, session: str, holder: str | None = "", held_s: float = 0.0
    ) -> None:
        super().__init__(message, session=session)
        self.holder = holder
        self.held_s = held_s


class CorruptSessionError(SessionError):
    """The stored data is damaged, or is not a session of this package."""


class FormatVersionError(SessionError):
    """The session was written by a newer version of this package.

    Attributes:
        found: the format version of the data.
        supported: the newest format version that this package reads.
    """

    def __init__(self, message: str, *, session: str, found: int, supported: int) -> None:
        super().__init__(message, session=session)
        self.found = found
        self.supported = supported


class InvalidSessionIdError(WrenSessionsError):
    """A session, namespace or checkpoint id that cannot be a name.

    Attributes:
        value: the given value; its repr if it is not a plain value, so that the error can be
            pickled.
    """

    def __init__(self, message: str, *, value: object) -> None:
        super().__init__(message)
        self.value: str | bytes | int | float | None = (
            value if isinstance(value, str | bytes | int | float | None) else repr(value)
        )


class SerializationError(WrenSessionsError):
    """A value cannot be stored, or cannot be read back.

    Attributes:
        deferrable: whether the cause is that the application's classes have changed since the value
            was stored. Then the rest of the session is read, and this error is raised when the
            value is used: see `wren_sessions.UnreadableValue`.
        line: the line of `wren_sessions.Migrations` that could help then; otherwise empty.
    """

    def __init__(self, message: str, *, deferrable: bool = False, line: str = "") -> None:
        super().__init__(message)
        self.deferrable = deferrable
        self.line = line


class UnsafeTypeError(SerializationError):
    """Stored data names a type that may not be built here."""


class DecryptionError(WrenSessionsError):
    """The data cannot be decrypted: the key is wrong, or the data was changed.

    Attributes:
        session: its id, if it is known.
    """

    def __init__(self, message: str, *, session: str | None = None) -> None:
        super().__init__(message)
        self.session = session


def hides_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """Let errors of ours leave a function without the frames that its arguments stand in.

    Tools that show the variables of a traceback would show the password of a URL among them. What
    the error says is enough to know which argument is at fault.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except WrenSessionsError as error:
            failed = error
        del args, kwargs
        forget_frames(failed)
        raise failed

    return call


def forget_frames(error: BaseException) -> None:
    """Take the frames from an error, and from those that led to it; what they say stays."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            found.__traceback__ = None
            waiting += (found.__cause__, found.__context__)
