"""Options of a store, from its URL and from arguments: merging them, and what they say together.

One that is given twice with different values is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import Final, get_args

from wren_sessions._options import LIMIT, PREFIX, Kind, one_of
from wren_sessions.errors import ConfigurationError
from wren_sessions.ttl import Refresh, TTLPolicy

COMMON: Final[Mapping[str, Kind]] = {
    "ttl": LIMIT,
    "max_age": LIMIT,
    "refresh": one_of(*get_args(Refresh)),
    "prefix": PREFIX,
    "compression": one_of("zstd", "none"),
}
"""What every URL may say, whatever its scheme."""

LIFETIME: Final = frozenset({"ttl", "max_age", "refresh"})

_OUTSIDE: Final = {
    "ttl": "in the argument ttl or in WREN_SESSIONS_TTL",
    "max_age": "in the argument ttl or in WREN_SESSIONS_MAX_AGE",
    "refresh": "in the argument ttl",
}


def near(name: str, names: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for a name much like one of `names`, else nothing."""
    found = get_close_matches(name, sorted(names), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def merge(url: Mapping[str, object], arguments: Mapping[str, object]) -> dict[str, object]:
    """Options from the URL and from arguments together.

    Raises:
        ConfigurationError: they give one option different values.
    """
    for name, value in arguments.items():
        check_same(name, url.get(name, value), value, "as an argument")
    return {**url, **arguments}


def check_same(name: str, in_url: object, other: object, where: str) -> None:
    """Make sure that an option given in the URL and elsewhere has one value.

    Raises:
        ConfigurationError: it has two. They are not shown.
    """
    if in_url != other:
        raise ConfigurationError(
            f"the option {name!r} has one value in the URL and another {where}: give it once"
        )


def policy_from(values: Mapping[str, object], default: TTLPolicy) -> TTLPolicy:
    """The lifetime that ``ttl``, ``max_age`` and ``refresh`` describe, completed by a default."""
    parts = {**_parts_of(default), **values}
    refresh: Refresh = parts["refresh"]  # type: ignore[assignment]  # `COMMON` has checked it
    return TTLPolicy(_span(parts["ttl"]), _span(parts["max_age"]), refresh)


def _span(ms: object) -> timedelta | None:
    return timedelta(milliseconds=ms) if isinstance(ms, int) else None


def _parts_of(policy: TTLPolicy) -> dict[str, object]:
    return {"ttl": policy.idle_ms, "max_age": policy.max_age_ms, "refresh": policy.refresh}


def check_policy(values: Mapping[str, object], policy: TTLPolicy) -> None:
    """Make sure that the URL's lifetime is the one given outside of it.

    Raises:
        ConfigurationError: a part that the URL gives is another one in the policy.
    """
    for name, value in _parts_of(policy).items():
        check_same(name, values.get(name, value), value, _OUTSIDE[name])
