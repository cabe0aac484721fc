"""`Limits`: how large a value may be, when it is written and when it is read.

Stored data may be damaged or hostile. Its bytes are walked once without building anything. So data
that only claims a great length uses no memory for it. The size of what is built depends on the
bytes that exist.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import msgpack

from wren_sessions.errors import ConfigurationError, SerializationError
from wren_sessions.serializers.budget import (
    FREE_BYTES,
    MEMORY_BYTES,
    budget_for,
    current_budget,
    most_objects,
    objects_bytes,
    objects_limit,
)

_MOST: Final = 10_000
DEEPEST: Final = 500  # what msgpack itself holds to when writing; it reads twice that
DEEPEST_READ: Final = 512  # what 0.1.0 stored, where the program had a higher recursion limit

UNREADABLE: Final = (
    "its lists, dicts and numbers would take too much memory to be read again, in addition to 24 "
    "times the stored size"
)
_SHORT_BYTES: Final = 65_536
_spare: Final[dict[str, Any]] = {}
"""What walks over short data, if nobody uses it now: it takes longer to make than to use.

One that found a fault is left out: it may not have come to the end.
"""
_PAIRS: Final = b"k"  # the kind of envelope that has keys and values in one list


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large one value may be: a channel's value, a pending write, or a checkpoint's metadata.

    Args:
        max_value_bytes: its stored size, before compression and encryption. Default: 256 MiB.
        max_depth: how deeply containers may be nested, as they are stored. An object counts as two.
            The depth of the caller's stack does not matter. The default, 500, costs nothing. A
            lower limit costs a walk through each value.
        max_items: how many elements one list, dict or set may have. Default: 10,000,000.
        max_memory_bytes: about how much memory all values that are read together may take, in
            addition to 24 times their stored size. Half of it may be decompressed data. A
            checkpoint that needs more is not written. A checkpoint that was written with a higher
            limit also needs it for reading. Default: 150,000,000.

    Raises:
        ConfigurationError: a limit is not a positive integer, or `max_depth` is above 500.
    """

    max_value_bytes: int = 256 * 1_024 * 1_024
    max_depth: int = DEEPEST
    max_items: int = 10_000_000
    max_memory_bytes: int = MEMORY_BYTES
    # Values of at most so many bytes are allowed, whatever is in them.
    sure_bytes: int = field(init=False, repr=False, compare=False)
    # Of at most so many, nothing is looked at when they are written.
    free_bytes: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("max_value_bytes", "max_depth", "max_items", "max_memory_bytes"):
            limit = getattr(self, name)
            if type(limit) is not int or limit < 1:
                raise ConfigurationError(f"Limits.{name} must be an integer above 0, not {limit!r}")
        if self.max_depth > DEEPEST:
            raise ConfigurationError(f"Limits.max_depth must be at most {DEEPEST}")
        most = min(self.max_value_bytes, self.max_items) if self.max_depth == DEEPEST else -1
        object.__setattr__(self, "sure_bytes", most)
        object.__setattr__(self, "free_bytes", min(most, FREE_BYTES))

    def check_size(self, size: int) -> None:
        """Refuse a value of too many bytes."""
        if size > self.max_value_bytes:
            raise over("max_value_bytes", self.max_value_bytes, f"the value has {size:,} bytes")

    def check_written(self, data: bytes | memoryview) -> None:
        """Refuse a value that was packed and is too large to be read again."""
        if len(data) > FREE_BYTES:
            most = objects_limit(len(data), self.max_memory_bytes)
            if most_objects(data) > most and objects_bytes(data, most) > most:
                raise over("max_memory_bytes", self.max_memory_bytes, UNREADABLE)
        if len(data) > self.sure_bytes:
            self.check_size(len(data))
            self._walk(data)

    def check_depth(self, data: bytes, deepest: int = DEEPEST) -> None:
        """Refuse a value that is nested deeper than any value may be.

        Args:
            data: the value, which is whole.
            deepest: how deep it may be.
        """
        if len(data) > deepest and not _is_whole_in(data, b"\x91" * (_room() - deepest)):
            raise over("max_depth", self.max_depth, "the value is nested deeper")

    def check_stored(self, data: bytes) -> None:
        """Refuse stored data that is too large, cut off, or claims more than is there."""
        if len(data) > self.max_value_bytes:
            self.check_size(len(data))
        if (fault := fault_of(data)) is not None:
            raise fault
        budget_for(len(data), self.max_memory_bytes).build(data)
        if len(data) > self.sure_bytes:
            self._walk(data)

    def _walk(self, data: bytes | memoryview) -> None:
        def inside(items: Iterable[Any]) -> _Depth:
            found = _Depth(1 + max((i for i in items if type(i) is _Depth), default=0))
            if found > self.max_depth:
                raise over("max_depth", self.max_depth, "the value is nested deeper")
            return found

        def counted(items: list[Any]) -> _Depth:
            size = len(items)
            if items and type(items[0]) is _Kind:
                size = (size - 1) // (2 if items[0] == _PAIRS else 1)
            if size > self.max_items:
                raise over("max_items", self.max_items, f"a collection has {size:,} elements")
            return inside(items)

        def paired(pairs: list[tuple[Any, Any]]) -> _Depth:
            if len(pairs) > self.max_items:
                raise over("max_items", self.max_items, f"a dict has {len(pairs):,} elements")
            return inside(value for pair in pairs for value in pair)

        with suppress(ValueError):  # not msgpack: whoever reads it will say so
            msgpack.unpackb(
                data,
                list_hook=counted,
                object_pairs_hook=paired,
                ext_hook=lambda _, kind: _Kind(kind),
                strict_map_key=False,
                unicode_errors="surrogatepass",
            )


class _Kind(bytes):
    """The first element of an envelope, which is none of the collection's."""

    __slots__ = ()


class _Depth(int):
    """How deep a container goes, among the scalars of the walk."""

    __slots__ = ()


@cache
def _room() -> int:
    """How many containers msgpack can read inside each other."""
    return bisect_left(range(_MOST), True, key=lambda n: not _is_whole_in(b"\xc0", b"\x91" * n)) - 1


def _is_whole_in(data: bytes, headers: bytes) -> bool:
    """Whether data can be skipped over inside so many lists of one element."""
    walk = msgpack.Unpacker(max_buffer_size=len(headers) + len(data))
    walk.feed(headers)
    walk.feed(data)
    try:
        walk.skip()
    except Exception:  # noqa: BLE001 -- each kind of damage has its own
        return False
    return True


def check_sequence(data: bytes) -> None:
    """Refuse msgpack values, one behind the other, that are not all there or ask for too much.

    Raises:
        SerializationError: they are, or do.
    """
    if (fault := fault_of(data, many=True)) is not None:
        raise fault
    if len(data) > FREE_BYTES or current_budget.get() is not None:
        budget_for(len(data)).build(data)


def fault_of(data: bytes, *, many: bool = False) -> SerializationError | None:
    """What is wrong with a msgpack value (or many): None if all that a length claims is there.

    The data are skipped over, which allocates nothing.
    """
    size, walk = len(data), None
    if size <= _SHORT_BYTES:
        walk = _spare.pop("walk", None)
    if walk is None:
        walk = msgpack.Unpacker(max_buffer_size=max(size, _SHORT_BYTES))
    end = walk.tell() + size
    walk.feed(data)
    try:
        walk.skip()
        while many and walk.tell() < end:
            walk.skip()
    except Exception as error:  # noqa: BLE001 -- each kind of damage has its own
        return SerializationError(
            f"the stored value is cut off or damaged ({type(error).__name__})"
        )
    if walk.tell() != end:
        return SerializationError("the stored value is damaged: something follows it")
    if size <= _SHORT_BYTES:
        _spare["walk"] = walk
    return None


def limits_of(serde: object) -> Limits:
    """The limits of a serializer; the usual ones for others than our own."""
    found = getattr(serde, "_limits", None)
    return found if isinstance(found, Limits) else _USUAL


_USUAL: Final = Limits()


def over(name: str, limit: int, what: str) -> SerializationError:
    """The error about a limit: what is too large, which limit, and what to do."""
    if name == "max_memory_bytes":
        remedy = (
            "keep large things outside the session, or raise it wherever the session is read or "
            f"written: SafeSerializer(limits=Limits({name}=…))"
        )
    elif name == "max_depth" and limit == DEEPEST:
        remedy = "nothing deeper can be stored: keep it flat, with ids instead of references"
    else:
        remedy = (
            "keep large things outside the session, or raise it: "
            f"SafeSerializer(limits=Limits({name}=…))"
        )
    return SerializationError(f"{what}, and Limits.{name} is {limit:,}; {remedy}")
