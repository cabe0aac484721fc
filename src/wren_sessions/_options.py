"""Options of stores, as text in a URL or as keyword arguments: their names, types and checks.

Every backend declares its options in a table of `Kind`s. What a table does not hold is refused, and
so is what is given twice. An error names the option and says what it must be, but never quotes the
value: what stands in the wrong place may be a password.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Final, get_args
from urllib.parse import unquote_plus

from wren_sessions.errors import ConfigurationError
from wren_sessions.keys import DEFAULT_PREFIX, KeySpace
from wren_sessions.ttl import MAX_MS, Refresh, TTLPolicy, to_ms

NONE: Final = "none"
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_SIZE = re.compile(r"([0-9]{1,15})([kmg]?)")
_UNIT_BYTES: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of option.

    Attributes:
        meaning: what a value must be, for people.
        read: turns text from a URL, or an argument, into the value; raises `ValueError` or
            `ConfigurationError` if it cannot.
    """

    meaning: str
    read: Callable[[object], object]

    def convert(self, name: str, value: object) -> object:
        """The value of the option `name`.

        Raises:
            ConfigurationError: it is not of this kind. The value is neither in the message nor in
                the chain.
        """
        try:
            return self.read(value)
        except (ValueError, ConfigurationError):
            pass
        raise ConfigurationError(f"{name} must be {self.meaning}")


def _read_text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _read_flag(value: object) -> bool:
    word = str(value).lower()
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def _read_size(value: object) -> int:
    """A positive whole number, with k, M or G for powers of 1,024."""
    found = _SIZE.fullmatch(str(value).lower())
    size = int(found[1]) * _UNIT_BYTES[found[2]] if found else 0
    if size < 1:
        raise ValueError
    return size


def _read_idle_ms(value: object) -> int | None:
    return None if value is None or value == NONE else _read_ms(value)


def _read_ms(value: object) -> int:
    if not isinstance(value, str | int | float | timedelta):
        raise ValueError  # noqa: TRY004 -- Kind.convert makes it a ConfigurationError
    return to_ms(value)


def _read_timeout(value: object) -> float | None:
    ms = _read_idle_ms(value)
    return None if ms is None else ms / 1_000


def _read_interval(value: object) -> float:
    return 0.0 if value in (0, "0", NONE) else _read_ms(value) / 1_000


def _read_span(value: object) -> timedelta:
    return timedelta(milliseconds=_read_ms(value))


def _read_prefix(value: object) -> str:
    return KeySpace(_read_text(value)).prefix


def whole_number(least: int, most: int | None = None) -> Kind:
    """Whole numbers from `least` on, up to `most`."""

    def read(value: object) -> int:
        text = str(value)
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1  # noqa: PLR2004 -- far more than any bound
        if number < least or (most is not None and number > most):
            raise ValueError
        return number

    return Kind(f"a whole number from {least}" + (f" to {most}" if most else " on"), read)


def one_of(*words: str) -> Kind:
    """One of a few words."""

    def read(value: object) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return Kind(f"one of {', '.join(words)}", read)


_DURATION: Final = "a duration such as 24h, 1h30m, 250ms or a number of seconds"
TEXT: Final = Kind("text, not empty", _read_text)
FLAG: Final = Kind("1, true, yes or on, or 0, false, no or off", _read_flag)
SIZE: Final = Kind("a positive whole number, with k, M or G for powers of 1,024", _read_size)
LIFETIME: Final = Kind(f"{_DURATION} (at most 100 years), or none", _read_idle_ms)
TIMEOUT: Final = Kind(f"{_DURATION}, or none", _read_timeout)
INTERVAL: Final = Kind(f"{_DURATION}, or 0 for never", _read_interval)
SPAN: Final = Kind(_DURATION, _read_span)
PREFIX: Final = Kind(
    f"plain text such as {DEFAULT_PREFIX}, without globs, braces, percent signs, spaces, empty "
    "parts, or a colon at either end",
    _read_prefix,
)

COMMON: Final[Mapping[str, Kind]] = {
    "ttl": LIFETIME,
    "max_age": LIFETIME,
    "refresh": one_of(*get_args(Refresh)),
    "prefix": PREFIX,
}
"""What every URL may say, whatever its scheme."""


def near(name: str, names: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for a name much like one of `names`, else nothing."""
    found = get_close_matches(name, sorted(names), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def split_query(query: str, known: Iterable[str] | None = None) -> tuple[dict[str, str], str]:
    """The parameters of a URL, decoded.

    Args:
        query: what follows the question mark.
        known: which ones to take out; None for all.

    Returns:
        Their values by name, and the rest of the query as it was.

    Raises:
        ConfigurationError: one is given twice, or has no value.
    """
    taken: dict[str, str] = {}
    rest = []
    for part in filter(None, query.split("&")):
        name, _, value = (unquote_plus(text) for text in part.partition("="))
        if known is not None and name not in known:
            rest.append(part)
        elif name in taken:
            raise ConfigurationError(f"the URL gives the option {name!r} twice")
        elif not value:
            raise ConfigurationError(f"the URL gives the option {name!r} no value")
        else:
            taken[name] = value
    return taken, "&".join(rest)


def convert_all(values: Mapping[str, object], kinds: Mapping[str, Kind]) -> dict[str, object]:
    """The values of options whose names have been checked."""
    return {name: kinds[name].convert(f"the option {name!r}", values[name]) for name in values}


def merge(url: Mapping[str, object], arguments: Mapping[str, object]) -> dict[str, object]:
    """Options from the URL and from arguments together.

    Raises:
        ConfigurationError: they give one option different values.
    """
    for name in url.keys() & arguments.keys():
        if url[name] != arguments[name]:
            raise ConfigurationError(differs(name, "as an argument"))
    return {**url, **arguments}


def differs(name: str, elsewhere: str) -> str:
    """What to say of an option whose two values differ."""
    return f"the option {name!r} has one value in the URL and another {elsewhere}: give it once"


def policy_from(values: Mapping[str, object], default: TTLPolicy) -> TTLPolicy:
    """The lifetime that ``ttl``, ``max_age`` and ``refresh`` describe.

    Args:
        values: converted options; those that are no part of a lifetime do not matter.
        default: what holds for the parts that are not there.
    """
    parts = {**_parts_of(default), **values}
    idle_ms, max_age_ms, refresh = parts["ttl"], parts["max_age"], parts["refresh"]
    return TTLPolicy(_span(idle_ms), _span(max_age_ms), refresh)  # type: ignore[arg-type]


def _span(ms: object) -> timedelta | None:
    return timedelta(milliseconds=ms) if isinstance(ms, int) else None


def _parts_of(policy: TTLPolicy) -> dict[str, object]:
    return {"ttl": policy.idle_ms, "max_age": policy.max_age_ms, "refresh": policy.refresh}


def check_policy(values: Mapping[str, object], policy: TTLPolicy) -> None:
    """Make sure that the URL's lifetime is the one given outside of it.

    Raises:
        ConfigurationError: a part that the URL gives is another one in the policy.
    """
    for name, ms in _parts_of(policy).items():
        if name in values and values[name] != ms:
            variable = {"ttl": " or WREN_SESSIONS_TTL", "max_age": " or WREN_SESSIONS_MAX_AGE"}
            raise ConfigurationError(differs(name, f"in the argument ttl{variable.get(name, '')}"))
