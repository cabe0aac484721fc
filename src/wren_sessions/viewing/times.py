"""Times, durations and sizes, for people and for programs. Times are milliseconds since 1970."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from wren_sessions.records import Life
from wren_sessions.ttl import describe_ms, utc_time

_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))
_SECOND: Final = 1_000
_STEP: Final = 1_024
_TEN: Final = 10
UNKNOWN: Final = "unknown"
"""What is shown of a time that no calendar has."""


def iso(ms: int | None) -> str | None:
    """A time in ISO 8601, UTC; None for never, and where it is unknown."""
    time = None if ms is None else utc_time(ms)
    return None if time is None else time.isoformat(timespec="milliseconds")


def local(ms: int) -> str:
    """A time as the clock on the wall shows it."""
    time = utc_time(ms)
    return UNKNOWN if time is None else f"{time.astimezone():%Y-%m-%d %H:%M:%S}"


def local_text(text: object) -> str:
    """The same for a time in ISO 8601; any other text as it is."""
    try:
        return f"{datetime.fromisoformat(str(text)).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return str(text)


def ago(ms: int, now_ms: int) -> str:
    """How long ago something was."""
    if utc_time(ms) is None:
        return UNKNOWN
    passed = max(0, now_ms - ms)
    for unit, length in _UNITS:
        if passed >= length:
            return f"{passed // length} {unit} ago"
    return "just now"


def expiry(life: Life) -> str:
    """When a session ends: ``"23h 59m"``, ``"pinned"`` or ``"never"``."""
    if life.pinned:
        return "pinned"
    left = life.ttl_ms
    return describe_ms(left - left % _SECOND if left is not None and left > _SECOND else left)


def size(count: int | None) -> str:
    """A number of bytes: ``"812 B"``, ``"9.4 kB"``, ``"120 MB"`` (powers of 1,024)."""
    if count is None:
        return "?"
    number = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if number < _STEP or unit == "GB":
            break
        number /= _STEP
    return f"{number:.1f} {unit}" if unit != "B" and number < _TEN else f"{number:.0f} {unit}"
