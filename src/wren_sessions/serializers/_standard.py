"""Values of the standard library: how each is written as an envelope, and built from one.

The value's state is written, not a call: as text if it has an exact text, otherwise as numbers.
Building runs only code of the standard library. `WRITERS` are chosen by exact type: a subclass is a
class of the application, and is either one of its data types or refused.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from importlib.util import find_spec
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, Final
from uuid import UUID, SafeUUID
from zoneinfo import TZPATH, ZoneInfo

from wren_sessions.errors import SerializationError
from wren_sessions.serializers._wire import CHANNEL, Build, marker

Write = Callable[[Any], list[Any]]  # gives the items of an envelope

FACTORIES: Final[Mapping[str, type]] = {
    kind.__name__: kind
    for kind in (list, dict, set, frozenset, tuple, int, float, complex, bool, str, bytes, deque)
} | {"Counter": Counter, "OrderedDict": OrderedDict}
_FACTORY_NAMES: Final = {factory: name for name, factory in FACTORIES.items()}
PATHS: Final = {
    kind.__name__: kind for kind in (PosixPath, PurePosixPath, PureWindowsPath, WindowsPath)
}
_NETWORKS: Final = {
    kind.__name__: kind
    for kind in (
        IPv4Address,
        IPv4Interface,
        IPv4Network,
        IPv6Address,
        IPv6Interface,
        IPv6Network,
    )
}
_FLAGS: Final = (
    re.ASCII | re.IGNORECASE | re.LOCALE | re.MULTILINE | re.DOTALL | re.UNICODE | re.VERBOSE
)
_ZONE_NAME: Final = re.compile(r"[A-Za-z0-9_+-]{1,64}(/[A-Za-z0-9_+-]{1,64}){0,3}")
_PATTERN_LENGTH: Final = 65_536
_FRACTION_BITS: Final = 65_536  # the greatest common divisor of larger ones takes too long


def write_int(value: int) -> list[Any]:
    """An integer that is too large for msgpack."""
    size = value.bit_length() // 8 + 1
    return [_INT, value.to_bytes(size, "big", signed=True)]


def write_zone(zone: tzinfo | None, what: str) -> Any:
    """A time zone, or None."""
    if zone is None:
        return None
    kind = type(zone)
    write = _ZONES.get(kind)
    if kind.__module__.startswith("pydantic_core.") and kind.__name__ == "TzInfo":
        offset = zone.utcoffset(None) or timedelta()
        return [_PYDANTIC_ZONE, offset // timedelta(seconds=1)]
    if write is None:
        raise SerializationError(
            f"{what} has a time zone of type {kind.__module__}.{kind.__qualname__}, which cannot "
            "be stored; use zoneinfo.ZoneInfo or datetime.timezone"
        )
    return write(zone)


def _write_timezone(zone: timezone) -> list[Any]:
    offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined] # what pickle asks
    return [_TIMEZONE, offset // timedelta(microseconds=1), *name]


@lru_cache(1_024)
def _zone_exists(name: str) -> bool:
    """Whether there is a zone of a name here, in installed zone files."""
    # `ZoneInfo` itself would import parts of tzdata by the name, whatever it is.
    if not _ZONE_NAME.fullmatch(name):
        return False
    folders = [Path(path) for path in TZPATH]
    data = find_spec("tzdata")
    if data is not None and data.origin is not None:
        folders.append(Path(data.origin).parent / "zoneinfo")
    return any((folder / name).is_file() for folder in folders)


def _write_zoneinfo(zone: ZoneInfo) -> list[Any]:
    if zone.key is None:
        raise SerializationError("a ZoneInfo without a key cannot be stored; make it by its name")
    if not _zone_exists(zone.key):
        raise SerializationError(
            "a ZoneInfo whose key is not the name of a time zone cannot be stored; make it by its "
            "name"
        )
    return [_ZONEINFO, zone.key]


def _write_datetime(value: datetime) -> list[Any]:
    text = value.replace(tzinfo=None).isoformat()
    return [_DATETIME, text, value.fold, write_zone(value.tzinfo, "a datetime")]


def _write_time(value: time) -> list[Any]:
    text = value.replace(tzinfo=None).isoformat()
    return [_TIME, text, value.fold, write_zone(value.tzinfo, "a time")]


def _write_defaultdict(value: defaultdict[Any, Any]) -> list[Any]:
    factory = value.default_factory
    name = None if factory is None else _FACTORY_NAMES.get(factory)  # type: ignore[call-overload]
    if factory is not None and name is None:
        raise SerializationError(
            "a defaultdict whose factory is not a builtin type cannot be stored; use list, dict, "
            "set "
            "or int as its factory, or a plain dict"
        )
    return [_DEFAULTDICT, name, dict(value)]


def _write_fraction(value: Fraction) -> list[Any]:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _FRACTION_BITS:
        raise SerializationError(f"a Fraction of more than {_FRACTION_BITS:,} bits is not stored")
    return [_FRACTION, value.numerator, value.denominator]


def _write_uuid(value: UUID) -> list[Any]:
    safety = [] if value.is_safe is SafeUUID.unknown else [value.is_safe.name]
    return [_UUID, value.bytes, *safety]


def _write_pattern(value: re.Pattern[Any]) -> list[Any]:
    if value.flags & ~_FLAGS or len(value.pattern) > _PATTERN_LENGTH:
        raise SerializationError(
            "a regular expression is too long, or has flags that cannot be stored"
        )
    return [_PATTERN, value.pattern, int(value.flags)]


def _write_path(value: PurePath) -> list[Any]:
    return [_PATH, type(value).__name__, str(value)]


def _write_network(value: Any) -> list[Any]:
    return [_NETWORK, type(value).__name__, str(value)]


_TUPLE, _DEQUE, _ODD, _INT, _COMPLEX, _FRACTION, _RANGE, _SLICE, _DECIMAL, _BYTEARRAY = map(
    marker, (b"t", b"q", b"k", b"i", b"c", b"F", b"r", b"S", b"D", b"B")
)
_ORDERED, _COUNTER, _DEFAULTDICT, _DATETIME, _TIME, _DATE, _TIMEDELTA, _TIMEZONE = map(
    marker, (b"O", b"C", b"E", b"d", b"h", b"a", b"l", b"z")
)
_ZONEINFO, _PYDANTIC_ZONE, _UUID, _PATH, _NETWORK, _PATTERN = map(
    marker, (b"Z", b"y", b"u", b"P", b"I", b"R")
)

_ZONES: Final[dict[type, Write]] = {timezone: _write_timezone, ZoneInfo: _write_zoneinfo}


def write_odd_dict(value: dict[Any, Any]) -> list[Any]:
    """A dict that is no msgpack map, since its keys are not all text or bytes."""
    return [_ODD, *(part for pair in value.items() for part in pair)]


# Those whose items may need writing themselves.
CONTAINERS: Final[dict[type, Write]] = {
    tuple: lambda value: [_TUPLE, *value],
    deque: lambda value: [_DEQUE, value.maxlen, *value],
    slice: lambda value: [_SLICE, value.start, value.stop, value.step],
    OrderedDict: lambda value: [_ORDERED, dict(value)],
    Counter: lambda value: [_COUNTER, dict(value)],
    defaultdict: _write_defaultdict,
}
WRITERS: Final[dict[type, Write]] = {
    complex: lambda value: [_COMPLEX, value.real, value.imag],
    Fraction: _write_fraction,
    range: lambda value: [_RANGE, value.start, value.stop, value.step],
    Decimal: lambda value: [_DECIMAL, str(value)],
    bytearray: lambda value: [_BYTEARRAY, bytes(value)],
    datetime: _write_datetime,
    time: _write_time,
    date: lambda value: [_DATE, value.isoformat()],
    timedelta: lambda value: [_TIMEDELTA, value.days, value.seconds, value.microseconds],
    UUID: _write_uuid,
    re.Pattern: _write_pattern,
    **_ZONES,
    **dict.fromkeys(PATHS.values(), _write_path),
    **dict.fromkeys(_NETWORKS.values(), _write_network),
}


# --- building -------------------------------------------------------------------------------------


def _filled(kind: type[dict[Any, Any]], items: list[Any]) -> Any:
    _, content = items
    return kind(_dict_of(content))


def _dict_of(content: Any) -> dict[Any, Any]:
    if type(content) is not dict:
        raise TypeError("a dict was expected")
    return content


def _build_defaultdict(items: list[Any]) -> defaultdict[Any, Any]:
    _, name, content = items
    return defaultdict(None if name is None else FACTORIES[name], _dict_of(content))


def _build_fraction(items: list[Any]) -> Fraction:
    _, numerator, denominator = items
    if max(numerator.bit_length(), denominator.bit_length()) > _FRACTION_BITS:
        raise SerializationError("a stored Fraction is too large")
    return Fraction(numerator, denominator)


def _build_datetime(items: list[Any]) -> datetime:
    _, text, fold, zone = items
    return datetime.fromisoformat(text).replace(fold=fold, tzinfo=zone)


def _build_time(items: list[Any]) -> time:
    _, text, fold, zone = items
    return time.fromisoformat(text).replace(fold=fold, tzinfo=zone)


def _build_timezone(items: list[Any]) -> timezone:
    _, offset, *name = items
    return UTC if not offset and not name else timezone(timedelta(microseconds=offset), *name)


def _build_zoneinfo(items: list[Any]) -> ZoneInfo:
    if not _zone_exists(items[1]):
        raise SerializationError(
            "a stored time zone is not known on this system; install the package tzdata"
        )
    return ZoneInfo(items[1])


def _build_uuid(items: list[Any]) -> UUID:
    _, data, *safety = items
    return UUID(bytes=data, is_safe=SafeUUID[safety[0]] if safety else SafeUUID.unknown)


def build_pattern(pattern: Any, flags: int) -> re.Pattern[Any]:
    """Compile a stored regular expression, if nothing about it is odd."""
    if flags & ~_FLAGS or len(pattern) > _PATTERN_LENGTH or type(pattern) not in {str, bytes}:
        raise SerializationError("a stored regular expression is too long or has odd flags")
    return re.compile(pattern, flags)


def _build_path(items: list[Any]) -> PurePath:
    _, name, text = items
    try:
        return PATHS[name](text)
    except NotImplementedError:
        raise SerializationError(f"a stored {name} cannot be made on this system") from None


def _build_odd_dict(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[1::2], items[2::2], strict=True))


BUILDERS: Final[dict[bytes, Build]] = {
    b"t": lambda items: tuple(items[1:]),
    b"q": lambda items: deque(items[2:], items[1]),
    b"i": lambda items: int.from_bytes(items[1], "big", signed=True),
    b"c": lambda items: complex(items[1], items[2]),
    b"F": _build_fraction,
    b"r": lambda items: range(*items[1:]),
    b"S": lambda items: slice(*items[1:]),
    b"D": lambda items: Decimal(items[1]),
    b"B": lambda items: bytearray(memoryview(items[1])),
    b"O": lambda items: _filled(OrderedDict, items),
    b"C": lambda items: _filled(Counter, items),
    b"E": _build_defaultdict,
    b"d": _build_datetime,
    b"h": _build_time,
    b"a": lambda items: date.fromisoformat(items[1]),
    b"l": lambda items: timedelta(*items[1:]),
    b"z": _build_timezone,
    b"Z": _build_zoneinfo,
    b"u": _build_uuid,
    b"P": _build_path,
    b"I": lambda items: _NETWORKS[items[1]](items[2]),
    b"R": lambda items: build_pattern(items[1], items[2]),
    CHANNEL: lambda items: items[3],
    # Those whose elements must be hashed, see `keyed`.
    b"s": lambda items: set(items[1:]),
    b"f": lambda items: frozenset(items[1:]),
    b"k": _build_odd_dict,
}


def keyed(check: Callable[[list[Any]], None]) -> dict[bytes, Build]:
    """Builders of sets and dicts that ask first whether their elements and keys may be hashed."""

    def build_set(items: list[Any]) -> set[Any]:
        del items[0]
        check(items)
        return set(items)

    def build_odd_dict(items: list[Any]) -> dict[Any, Any]:
        check(items[1::2])
        return _build_odd_dict(items)

    return {
        b"s": build_set,
        b"f": lambda items: frozenset(build_set(items)),
        b"k": build_odd_dict,
    }
