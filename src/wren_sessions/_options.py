"""Options: what a value in a URL, an argument or a variable must be, and how it is parsed.

An error names the option and says what it must be. It never quotes the value, which may be a
password in the wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from datetime import timedelta
from os import PathLike, fspath
from typing import Final
from urllib.parse import unquote_plus

from wren_sessions.errors import ConfigurationError
from wren_sessions.keys import DEFAULT_PREFIX, KeySpace
from wren_sessions.ttl import to_ms

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_DIGITS = re.compile(r"[0-9]{1,15}")
_NAME = re.compile(r"[!-~]+")
_SIZE = re.compile(r"([0-9]{1,15})([kmg]?)")
_UNIT_BYTES: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of option.

    Attributes:
        meaning: what a value must be, for people.
        read: turns text, or the value of an argument, into what the store takes; raises
            `ValueError` or `ConfigurationError` if it cannot.
        none: whether None is a value, too: no limit.
    """

    meaning: str
    read: Callable[[object], object]
    none: bool = False

    def convert(self, name: str, value: object) -> object:
        """What the store takes.

        Args:
            name: what the value belongs to, for the error.
            value: text, or the value of an argument.

        Raises:
            ConfigurationError: it is not of this kind. The value is neither in the message nor in
                the chain.
        """
        try:
            return self.read(value)
        except (ValueError, ConfigurationError):
            pass
        raise ConfigurationError(f"{name} must be {self.meaning}")


def split_query(query: str, wanted: Container[str] | None = None) -> tuple[dict[str, str], str]:
    """The parameters of a URL, decoded.

    Args:
        query: what follows the question mark.
        wanted: which ones to take out; None for all.

    Returns:
        Their values by name, and the rest of the query as it was.

    Raises:
        ConfigurationError: one is given twice, or has no value.
    """
    taken: dict[str, str] = {}
    rest = []
    for part in filter(None, query.split("&")):
        name, _, value = (unquote_plus(text) for text in part.partition("="))
        if wanted is not None and name not in wanted:
            rest.append(part)
            continue
        if name in taken or not value:
            fault = "twice" if name in taken else "without a value"
            raise ConfigurationError(f"the URL gives the option {name!r} {fault}")
        taken[name] = value
    return taken, "&".join(rest)


def convert_all(values: Mapping[str, object], kinds: Mapping[str, Kind]) -> dict[str, object]:
    """The values of options whose names have been checked.

    None is as if it were left out, unless it is a value of its own: no limit.
    """
    return {
        name: kinds[name].convert(f"the option {name!r}", value)
        for name, value in values.items()
        if value is not None or kinds[name].none
    }


# --- types ----------------------------------------------------------------------------------------


def whole_number(least: int, most: int | None = None) -> Kind:
    """Whole numbers from `least` on, up to `most`."""

    def read(value: object) -> int:
        number = int(str(value)) if _DIGITS.fullmatch(str(value)) else -1
        if number < least or (most is not None and number > most):
            raise ValueError
        return number

    return Kind(f"a whole number from {least} {'on' if most is None else f'to {most}'}", read)


def one_of(*words: str) -> Kind:
    """One of a few words."""

    def read(value: object) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return Kind(f"one of {', '.join(words)}", read)


def _read_text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _read_name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError
    return value


def _read_path(value: object) -> str:
    return _read_text(fspath(value) if isinstance(value, PathLike) else value)


def _read_flag(value: object) -> bool:
    word = str(value).lower()
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def _read_size(value: object) -> int:
    found = _SIZE.fullmatch(str(value).lower())
    size = int(found[1]) * _UNIT_BYTES[found[2]] if found else 0
    if size < 1:
        raise ValueError
    return size


def _read_ms(value: object, least_ms: int = 1) -> int:
    if not isinstance(value, str | int | float | timedelta):
        raise ValueError  # noqa: TRY004 -- `Kind.convert` makes it a ConfigurationError
    return to_ms(value, least_ms=least_ms)


def _read_limit_ms(value: object) -> int | None:
    return None if value is None or str(value).lower() == "none" else _read_ms(value)


def _read_timeout_s(value: object) -> float | None:
    ms = _read_limit_ms(value)
    return None if ms is None else ms / 1_000


def _read_interval_s(value: object) -> float:
    return _read_ms(value, 0) / 1_000


def _read_span(value: object) -> timedelta:
    return timedelta(milliseconds=_read_ms(value))


def _read_prefix(value: object) -> str:
    return KeySpace(_read_text(value)).prefix


_DURATION: Final = "a duration such as 24h, 1h30m, 250ms or a number of seconds"

NAME: Final = Kind("a name of printable ASCII characters without spaces", _read_name)
PATH: Final = Kind("a path", _read_path)
FLAG: Final = Kind("1, true, yes or on, or 0, false, no or off", _read_flag)
SIZE: Final = Kind("a positive whole number, with k, M or G for powers of 1,024", _read_size)
LIMIT: Final = Kind(f"{_DURATION} (at most 100 years), or none", _read_limit_ms, none=True)
TIMEOUT: Final = Kind(f"{_DURATION}, or none", _read_timeout_s, none=True)
INTERVAL: Final = Kind(f"{_DURATION}, or 0 for never", _read_interval_s)
SPAN: Final = Kind(_DURATION, _read_span)
PREFIX: Final = Kind(
    f"plain text such as {DEFAULT_PREFIX}, without globs, braces, percent signs, spaces, empty "
    "parts, or a colon at either end",
    _read_prefix,
)
