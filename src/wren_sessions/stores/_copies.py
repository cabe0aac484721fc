"""A copy to make: its conditions and errors, which are the same in all stores."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from wren_sessions.errors import (
    ConfigurationError,
    ConflictError,
    SessionExistsError,
    SessionExpiredError,
)
from wren_sessions.keys import check_session
from wren_sessions.records import Life, Seen
from wren_sessions.ttl import TTLPolicy


@dataclass(frozen=True, slots=True)
class Copy:
    """The arguments of `SessionStore.copy`, which says what they are.

    Raises:
        InvalidSessionIdError: an id cannot be a name.
        ConfigurationError: source and target are the same session.
    """

    source: str
    target: str
    _: KW_ONLY
    replace: bool | Life = False
    state: bytes | None = None
    expect: Life | None = None

    def __post_init__(self) -> None:
        if check_session(self.source) == check_session(self.target):
            raise ConfigurationError(f"cannot copy session {self.source!r} onto itself")

    def check(self, source: Life, target: Life | None) -> None:
        """Refuse it where its conditions do not hold.

        Args:
            source: the life of the source.
            target: that of the session that has the target's id, a `Seen` where `replace` is one;
                None if there is none.

        Raises:
            ConflictError: one of them is not as `expect` or `replace` says.
            SessionExistsError: the target may not be replaced.
        """
        for known, there in ((self.expect, source), (self.replace, target)):
            if isinstance(known, Life) and (
                there is None
                or (known.incarnation, known.revision) != (there.incarnation, there.revision)
            ):
                raise self.conflict()
        if isinstance(self.replace, Seen) and not (
            isinstance(target, Seen) and self.replace.is_as(target)
        ):
            raise self.conflict()
        if target is not None and not self.replace:
            raise self.exists()

    def exists(self) -> SessionExistsError:
        """The error for a target that is there and may not be replaced."""
        return SessionExistsError(
            f"cannot copy session {self.source!r}: {self.target!r} is there already; delete it "
            "first, or pass replace=True",
            session=self.target,
        )

    def conflict(self) -> ConflictError:
        """The error for sessions that are not as they were looked at."""
        return ConflictError(
            f"session {self.source!r} was not copied to {self.target!r}: one of them was changed "
            "meanwhile; try again",
            session=self.source,
        )

    def too_old(self, policy: TTLPolicy) -> SessionExpiredError:
        """The error for a source that is past the maximum age of its store's policy."""
        return SessionExpiredError(
            f"cannot copy session {self.source!r}: it is older than the maximum age of this store "
            f"({policy}). Pin it to keep it, or raise the maximum age",
            session=self.source,
        )
