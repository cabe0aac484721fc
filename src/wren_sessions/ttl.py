"""How long sessions live: the one place that turns durations into milliseconds.

A session has two limits. *Idle* counts from its last use, and *maximum age* from its creation. The
deadline is ``min(last use + idle, created + max_age)``. `refresh` says what counts as use. The
whole session expires at its deadline, by the store's own clock (on Redis, the server's).
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias, get_args

from wren_sessions.errors import ConfigurationError
from wren_sessions.keys import StagingId

Duration: TypeAlias = "str | int | float | timedelta"
"""A length of time: ``"24h"``, ``"1h30m"``, ``"250ms"``; seconds as a number; or a `timedelta`."""

Refresh: TypeAlias = Literal["write", "read", "never"]

Override: TypeAlias = int | Literal["none"] | None
"""A session's own idle timeout: milliseconds, ``"none"``, or None for the store's policy."""

_UNIT_MS: Final = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MAX_MS: Final = 100 * 366 * _UNIT_MS["d"]
MAX_TIME_MS: Final = 250_000_000_000_000
"""No time is further from 1970 than this, in milliseconds: the calendar ends in the year 9999."""


def to_ms(duration: Duration, name: str = "", *, least_ms: int = 1, hint: str = "") -> int:
    """A duration in whole milliseconds.

    Args:
        duration: text of numbers with units (ms, s, m, h, d, w; ``"1h30m"``), bare digits as text
            or a number of seconds, or a `timedelta`.
        name: the argument that it was given as, for the error.
        least_ms: 1, or 0 if no time at all is allowed.
        hint: what else may be passed, for the error.

    Raises:
        ConfigurationError: it is not a duration, too short, or longer than 100 years.
    """
    shown = f"{name}={duration!r}" if name else repr(duration)
    try:
        ms = _raw_ms(duration)
    except (ValueError, OverflowError):
        ms = math.nan
    if math.isnan(ms):
        raise ConfigurationError(
            f"{shown} is not a duration: write '24h', '1h30m', '250ms' (units: ms, s, m, h, "
            "d, w), or a number of seconds"
        )
    if not least_ms <= ms <= MAX_MS:
        raise ConfigurationError(
            f"the duration {shown} must be at least {least_ms} ms and at most 100 years{hint}"
        )
    return round(ms)


def limit_ms(limit: Duration | None, name: str = "") -> int | None:
    """The same for a limit, where None means that there is none."""
    return None if limit is None else to_ms(limit, name, hint="; pass None for no limit")


def _raw_ms(duration: Duration) -> float:
    if isinstance(duration, timedelta):
        return duration / timedelta(milliseconds=1)
    if isinstance(duration, str):
        return _parse_ms(duration.strip().lower())
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        return math.nan
    return duration * 1_000.0


def _parse_ms(text: str) -> float:
    if not _WHOLE.fullmatch(text):
        return float(text) * 1_000 if re.fullmatch(r"\d+(\.\d+)?", text) else math.nan
    return sum(float(number) * _UNIT_MS[unit] for number, unit in _PART.findall(text))


def describe_ms(ms: int | None) -> str:
    """A duration for people: ``"24h"``, ``"1h 30m"``, ``"250ms"``; None is ``"never"``."""
    if ms is None:
        return "never"
    if ms < _UNIT_MS["s"]:
        return f"{ms}ms"
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, ms = divmod(ms, _UNIT_MS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def past(deadline_ms: int | None, now_ms: int) -> bool:
    """Whether a deadline has come."""
    return deadline_ms is not None and deadline_ms <= now_ms


def system_ms() -> int:
    """The system's clock: milliseconds since 1970."""
    return int(time.time() * 1_000)


def is_shown(time: datetime) -> bool:
    """Whether a time is far enough from the ends of the calendar to be shown in any time zone."""
    return MINYEAR < time.year < MAXYEAR


def utc_time(ms: int) -> datetime | None:
    """A time in milliseconds since 1970, in UTC; None where it cannot be shown.

    Stored times may be any number: one that makes no sense is unknown, and ends no listing.
    """
    try:
        time = _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return None
    return time if is_shown(time) else None


@dataclass(frozen=True, slots=True, init=False)
class TTLPolicy:
    """How long the sessions of a store live.

    Args:
        idle: how long a session lives after its last use; None for no idle timeout. Default: 24
            hours.
        max_age: how long it lives after its creation, no matter how much it is used. Default: no
            limit.
        refresh: what counts as use: ``"write"`` (default), ``"read"`` (reads and writes), or
            ``"never"`` (the idle timeout counts from the creation).

    Attributes:
        idle_ms: the idle timeout in milliseconds, or None.
        max_age_ms: the maximum age in milliseconds, or None.
        refresh: as given.

    Raises:
        ConfigurationError: a duration or `refresh` is not valid.
    """

    idle_ms: int | None
    max_age_ms: int | None
    refresh: Refresh

    def __init__(
        self,
        idle: Duration | None = "24h",
        max_age: Duration | None = None,
        refresh: Refresh = "write",
    ) -> None:
        if refresh not in get_args(Refresh):
            raise ConfigurationError(
                f"refresh must be one of 'write', 'read' or 'never', not {refresh!r}"
            )
        set_field = object.__setattr__  # the dataclass is frozen
        set_field(self, "idle_ms", limit_ms(idle, "idle"))
        set_field(self, "max_age_ms", limit_ms(max_age, "max_age"))
        set_field(self, "refresh", refresh)

    def of(self, session: str) -> TTLPolicy:
        """The policy for one session: this one, unless it is still being made (`StagingId`).

        Such a one ends an hour after its last use, also where it is pinned or has an idle timeout
        of its own: those are for the copy of it that stays.
        """
        return _Staging(self.max_age_ms) if type(session) is StagingId else self

    def deadline_ms(
        self, *, used_ms: int, created_ms: int, override: Override = None, pinned: bool = False
    ) -> int | None:
        """When a session expires, in milliseconds since 1970; None for never.

        Args:
            used_ms: its last use.
            created_ms: its creation.
            override: the session's own idle timeout: milliseconds, ``"none"`` for no idle timeout,
                or None to follow this policy.
            pinned: whether it never expires.
        """
        if pinned:
            return None
        idle_ms = self.idle_ms if override is None else override
        over_ms = None if self.max_age_ms is None else created_ms + self.max_age_ms
        if idle_ms is None or idle_ms == "none":
            return over_ms
        idle_over_ms = used_ms + idle_ms
        return idle_over_ms if over_ms is None else min(idle_over_ms, over_ms)

    def __str__(self) -> str:
        age = f", at most {describe_ms(self.max_age_ms)} old" if self.max_age_ms else ""
        idle = "no idle limit" if self.idle_ms is None else f"idle {describe_ms(self.idle_ms)}"
        return f"{idle}{age}, refreshed on {self.refresh}"


STAGING_MS: Final = _UNIT_MS["h"]


class _Staging(TTLPolicy):
    """See `TTLPolicy.of`. The maximum age is that of the store."""

    def __init__(self, max_age_ms: int | None) -> None:
        super().__init__(idle=timedelta(milliseconds=STAGING_MS))
        object.__setattr__(self, "max_age_ms", max_age_ms)

    def deadline_ms(
        self, *, used_ms: int, created_ms: int, override: Override = None, pinned: bool = False
    ) -> int | None:
        """See `TTLPolicy.deadline_ms`."""
        del override
        if pinned:
            return used_ms + STAGING_MS
        return super().deadline_ms(used_ms=used_ms, created_ms=created_ms)


Lifetime: TypeAlias = "TTLPolicy | Duration"
"""How long sessions live: a policy, or a duration, which is the idle timeout of one."""


def policy_of(lifetime: Lifetime) -> TTLPolicy:
    """The policy that a lifetime means.

    Raises:
        ConfigurationError: it is neither a policy nor a duration.
    """
    if isinstance(lifetime, TTLPolicy):
        return lifetime
    idle_ms = to_ms(lifetime, "ttl", hint="; pass TTLPolicy(idle=None) for no limit")
    return TTLPolicy(idle=timedelta(milliseconds=idle_ms))


DAY: Final = TTLPolicy(idle="24h")
"""The default on Redis and in memory."""

FOREVER: Final = TTLPolicy(idle=None)
"""The default on file: sessions stay until they are deleted."""
