"""Durations and lifetimes."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wren_sessions.errors import ConfigurationError
from wren_sessions.ttl import DAY, FOREVER, MAX_MS, TTLPolicy, describe_ms, to_ms, utc_time

DAY_MS = 86_400_000
MOMENTS = st.integers(0, 2**45)
LENGTHS = st.integers(1, MAX_MS)
OPTIONAL_LENGTHS = st.none() | LENGTHS


def policy(idle_ms: int | None, age_ms: int | None) -> TTLPolicy:
    """A policy from milliseconds."""
    return TTLPolicy(
        idle=None if idle_ms is None else timedelta(milliseconds=idle_ms),
        max_age=None if age_ms is None else timedelta(milliseconds=age_ms),
    )


# --- durations ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duration", "ms"),
    [
        ("24h", DAY_MS),
        ("1h30m", 5_400_000),
        ("250ms", 250),
        ("1s250ms", 1_250),
        ("1.5h", 5_400_000),
        ("30d", 30 * DAY_MS),
        ("2w", 14 * DAY_MS),
        ("5m", 300_000),
        (" 24H ", DAY_MS),
        ("3600", 3_600_000),
        ("0.5", 500),
        (3_600, 3_600_000),
        (0.001, 1),
        (1.5, 1_500),
        (timedelta(days=14), 14 * DAY_MS),
        (timedelta(days=1, microseconds=1_000), DAY_MS + 1),
        ("100w", 700 * DAY_MS),
    ],
)
def test_durations(duration: Any, ms: int) -> None:
    """Text with units, numbers of seconds and timedeltas become milliseconds."""
    assert to_ms(duration) == ms
    assert type(to_ms(duration)) is int


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        " ",
        "soon",
        "24 h",
        "h",
        "1y",
        "1e3",
        "inf",
        "nan",
        "-1h",
        "+1h",
        "1h-30m",
        "1,5h",
        "1h 30m",
        None,
        True,
        [],
        b"24h",
        float("nan"),
    ],
)
def test_what_is_no_duration(wrong: Any) -> None:
    """Anything else is refused, with examples of what to write."""
    with pytest.raises(ConfigurationError, match="not a duration: write '24h'"):
        to_ms(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        0,
        -1,
        "0s",
        "0.4ms",
        0.0004,
        timedelta(0),
        timedelta(days=-1),
        float("inf"),
        1e300,
        "101000d",
        timedelta(days=40_000),
    ],
)
def test_durations_out_of_range(wrong: Any) -> None:
    """A duration is at least a millisecond and at most a hundred years."""
    with pytest.raises(ConfigurationError, match="at least 1 ms and at most 100 years"):
        to_ms(wrong)


def test_a_number_too_large_for_a_float() -> None:
    """An absurd integer is refused like any other."""
    with pytest.raises(ConfigurationError):
        to_ms(10**400)


@given(LENGTHS)
def test_every_way_to_say_it_is_exact(ms: int) -> None:
    """The same length as timedelta, as text and as seconds is the same."""
    assert to_ms(timedelta(milliseconds=ms)) == ms
    assert to_ms(f"{ms}ms") == ms
    assert to_ms(ms / 1_000) == ms
    assert to_ms(str(ms // 1_000) if ms >= 1_000 else "1") == max(ms // 1_000, 1) * 1_000


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, "never"),
        (0, "0ms"),
        (250, "250ms"),
        (999, "999ms"),
        (1_000, "1s"),
        (61_000, "1m 1s"),
        (DAY_MS, "1d"),
        (DAY_MS + 1, "1d"),
        (DAY_MS + 3_661_000, "1d 1h"),
        (5_400_000, "1h 30m"),
    ],
)
def test_durations_for_people(ms: int | None, text: str) -> None:
    """A duration is shown in its two largest units."""
    assert describe_ms(ms) == text


@given(st.integers(1_000, MAX_MS))
def test_what_is_shown_can_be_read(ms: int) -> None:
    """What is shown of a duration is a duration, cut off after two units."""
    shown = to_ms(describe_ms(ms).replace(" ", ""))
    assert shown <= ms < shown * 2


# --- policies -------------------------------------------------------------------------------------


def test_the_default_policy() -> None:
    """Twenty-four hours after the last write, without a maximum age."""
    default = TTLPolicy()
    assert (default.idle_ms, default.max_age_ms, default.refresh) == (DAY_MS, None, "write")
    assert default == DAY
    assert (FOREVER.idle_ms, FOREVER.max_age_ms) == (None, None)


@pytest.mark.parametrize(
    "options",
    [{"idle": "soon"}, {"max_age": 0}, {"refresh": "always"}, {"refresh": None}, {"refresh": []}],
)
def test_policies_that_make_no_sense(options: dict[str, Any]) -> None:
    """A policy is checked when it is made."""
    with pytest.raises(ConfigurationError):
        TTLPolicy(**options)


def test_policies_are_values() -> None:
    """Policies that say the same are equal, however they say it, and cannot be changed."""
    one = TTLPolicy("24h", "30d", "read")
    other = TTLPolicy(timedelta(days=1), 30 * 86_400, "read")
    assert one == other
    assert hash(one) == hash(other)
    assert one != TTLPolicy("24h", "30d")
    with pytest.raises(AttributeError):
        one.idle_ms = 1  # type: ignore[misc]


def test_policies_are_copied_and_pickled() -> None:
    """A policy goes to another process as it is."""
    one = TTLPolicy("90m", "30d", "never")
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 -- our own
    assert copy.deepcopy(one) == one


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (DAY, "idle 1d, refreshed on write"),
        (FOREVER, "no idle limit, refreshed on write"),
        (
            TTLPolicy("90m", "30d", "read"),
            "idle 1h 30m, at most 30d old, refreshed on read",
        ),
    ],
)
def test_policies_for_people(one: TTLPolicy, text: str) -> None:
    """A policy says what it does."""
    assert str(one) == text


@given(used=MOMENTS, created=MOMENTS, idle=OPTIONAL_LENGTHS, age=OPTIONAL_LENGTHS)
def test_the_deadline_is_the_earlier_end(
    used: int, created: int, idle: int | None, age: int | None
) -> None:
    """A session ends idle or old, whichever comes first, or never."""
    deadline = policy(idle, age).deadline_ms(used_ms=used, created_ms=created)
    ends = [used + idle] if idle is not None else []
    ends += [created + age] if age is not None else []
    assert deadline == (min(ends) if ends else None)


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_time_can_be_shown_anywhere_or_is_unknown(ms: int) -> None:
    """Any stored number is a time in UTC that every zone can show, or none at all."""
    time = utc_time(ms)
    if time is None:
        assert not -(6 * 10**13) < ms < 25 * 10**13
        return
    assert round(time.timestamp() * 1_000) == ms
    for hours in (-23, 23):
        assert time.astimezone(timezone(timedelta(hours=hours))) == time


@given(used=MOMENTS, idle=OPTIONAL_LENGTHS, override=LENGTHS, age=OPTIONAL_LENGTHS)
def test_an_override_replaces_the_idle_time(
    used: int, idle: int | None, override: int, age: int | None
) -> None:
    """A session's own idle timeout counts in the place of the policy's, not of the age."""
    own = policy(idle, age).deadline_ms(used_ms=used, created_ms=used, override=override)
    assert own == policy(override, age).deadline_ms(used_ms=used, created_ms=used)
    none = policy(idle, age).deadline_ms(used_ms=used, created_ms=used, override="none")
    assert none == policy(None, age).deadline_ms(used_ms=used, created_ms=used)
