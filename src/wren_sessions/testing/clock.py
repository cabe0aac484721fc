"""A clock for stores that tests can set."""

from __future__ import annotations

from wren_sessions.ttl import Duration, to_ms


class FakeClock:
    """A clock that stands still until you call `advance`.

    Args:
        now_ms: its initial time, in milliseconds since 1970; by default in November 2023.

    Attributes:
        now_ms: the time it shows.
    """

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms: int = now_ms

    def __call__(self) -> int:
        """The time it shows."""
        return self.now_ms

    def advance(self, duration: Duration) -> None:
        """Move the clock forward.

        Args:
            duration: by how much: ``"24h"``, seconds, or a `timedelta`.

        Raises:
            ConfigurationError: the duration is not valid.
        """
        self.now_ms += to_ms(duration, "duration")
