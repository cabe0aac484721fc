"""What stored data may cost: how large one value may be, and how much memory one call may take.

Stored data may be damaged or hostile, so it is measured before anything is built. `Limits` are
about one value, when it is written and when it is read. Its bytes are walked once. So data that
only claims a great length uses no memory for it. The size of what is built depends on the bytes
that exist.

A few stored bytes can need a lot of memory: data that compresses well, the same bytes of an arena
over and over, millions of empty dicts. So reading counts first. The bytes that are really stored
are always allowed. For everything beyond them, all values of one call share one budget, which
`Limits.max_memory_bytes` sets::

    with Budget(stored_bytes, limits.max_memory_bytes, what="session 'a'"):
        …                         # everything that is read in here counts together

Outside of such a call, each value has a budget of its own.

Counting takes time. So a value first counts as the most that its bytes can become, `most_objects`.
It is counted exactly only if that is more than what is left. When a checkpoint is written, all its
values are counted together, so that it can be read again.

While much is built, the garbage collector waits: see `unhurried`.
"""

from __future__ import annotations

import gc
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from functools import cache
from math import inf
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar

import msgpack

from wren_sessions.errors import ConfigurationError, SerializationError

P = ParamSpec("P")
T = TypeVar("T")

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

FREE_BYTES: Final = 524_288  # so little is not looked at: it takes 100 times as much at the worst
MEMORY_BYTES: Final = 150_000_000  # what objects may take besides `OBJECTS_FACTOR`
OBJECTS_FACTOR: Final = 24  # times what is stored
UNPACKED_SHARE: Final = 2  # what may come out of compression: half of that, besides …
UNPACKED_FACTOR: Final = 16  # times what went in
_LARGE_BYTES: Final = 65_536  # from there on, the collector would come again and again


# --- one value ------------------------------------------------------------------------------------


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


# --- one call -------------------------------------------------------------------------------------


class OverBudgetError(SerializationError):
    """Stored data asks for much more memory than it takes in the store."""

    @property
    def why(self) -> str:
        """What is wrong, without what to do: no serializer reads files and dumps."""
        return self.message.removesuffix(_REMEDY)


_MORE: Final = "SafeSerializer(limits=Limits(max_memory_bytes=…))"
_REMEDY: Final = (
    f"; if you trust what is stored, read it with a serializer that allows more: {_MORE}"
)
MOVE_REMEDY: Final = (  # for copies, exports and the like, which take no serializer
    "; if you trust what is stored, move it with import_checkpoints, between savers whose "
    f"serializer allows more: {_MORE}"
)


class Budget:
    """What is left of the memory of one call.

    All that is read within it counts. Within another one it counts nothing: that is part of a call
    which has a budget already. No store is waited for in here: others may read what came for them
    in the same context.

    Args:
        stored_bytes: what is really stored of all that the call reads.
        memory_bytes: how much more than its due it may take.
        what: what is read, for errors.
        remedy: what the error says can be done.
    """

    __slots__ = (
        "_before",
        "_memory_bytes",
        "_objects",
        "_read",
        "_remedy",
        "_token",
        "_unpacked",
        "_unsure",
        "_what",
    )

    def __init__(
        self,
        stored_bytes: int,
        memory_bytes: int = MEMORY_BYTES,
        *,
        what: str = "the stored value",
        remedy: str = _REMEDY,
    ) -> None:
        self._memory_bytes = memory_bytes
        self._what = what
        self._remedy = remedy
        self._token: Token[Budget | None] | None = None
        self._objects = self._unsure = memory_bytes + OBJECTS_FACTOR * stored_bytes
        self._unpacked = memory_bytes // UNPACKED_SHARE
        self._read = 0
        self._before = self._read, self._unsure, self._objects

    def __enter__(self) -> None:
        if current_budget.get() is None:
            self._token = current_budget.set(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._token is not None:
            current_budget.reset(self._token)
            if isinstance(error, OverBudgetError):
                text = f"{self._what} cannot be read: {error.why}{self._remedy}"
                raise OverBudgetError(text) from None

    def unpack(self, packed_bytes: int, unpacked_bytes: int) -> None:
        """Count what will come out of compression.

        Raises:
            OverBudgetError: it is too much, of all that the call reads.
        """
        self._unpacked -= surplus(packed_bytes, unpacked_bytes)
        if self._unpacked < 0:
            most = self._memory_bytes // UNPACKED_SHARE
            raise OverBudgetError(
                f"compressed data would take {unpacked_bytes:,} bytes, and the limit is "
                f"{UNPACKED_FACTOR} times what is stored and {most:,} bytes in one call{_REMEDY}"
            )

    def build(self, data: bytes | memoryview) -> None:
        """Count what will be built of msgpack data, which were checked to be whole.

        Raises:
            OverBudgetError: it is too much, of all that the call reads.
        """
        self._before = self._read, self._unsure, self._objects
        self._read += len(data)
        if self._read <= FREE_BYTES:
            return
        most = most_objects(data)
        if most <= self._unsure:
            self._unsure -= most
        else:
            self._take(objects_bytes(data, self._objects))

    def undo(self) -> None:
        """What was counted last was not built, or is gone: it does not count."""
        self._read, self._unsure, self._objects = self._before

    def build_json(self, text: bytes) -> None:
        """Count what will be built of JSON.

        Raises:
            OverBudgetError: it is too much, of all that the call reads.
        """
        self._read += len(text)
        if self._read > FREE_BYTES:
            self._take(sum(each * text.count(sign) for sign, each in _JSON.items()))

    def _take(self, objects: int) -> None:
        self._objects -= objects
        if self._objects < 0:
            raise OverBudgetError(
                f"its lists, dicts and numbers would take more than {OBJECTS_FACTOR} times what is "
                f"stored and {self._memory_bytes:,} bytes, the limit for all that one call reads"
                f"{_REMEDY}"
            )


current_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)


def budget_for(stored_bytes: int, memory_bytes: int = MEMORY_BYTES) -> Budget:
    """The budget of the call that this is part of; else one for so many stored bytes."""
    return current_budget.get() or Budget(stored_bytes, memory_bytes)


def unhurried(size_bytes: int, build: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `build` gives for these arguments; without garbage collection if it is a lot of bytes.

    To build thousands of objects sets it off again and again, and each time it finds nothing: what
    is being built is in use. So it waits for some milliseconds.
    """
    if size_bytes <= _LARGE_BYTES or not gc.isenabled():
        return build(*args, **kwargs)
    try:
        gc.disable()
        return build(*args, **kwargs)
    finally:
        gc.enable()


# --- counting -------------------------------------------------------------------------------------

# What msgpack's tokens become, in bytes: runs of one sort, by the name of their group.
# (Groups repeat no more than 512 times at once: each time takes memory.)
_TOKENS: Final = re.compile(
    rb"(?P<light>[\x00-\x7f\xc0\xc2\xc3\xe0-\xff]{16,})"
    rb"|(?P<small>(?:[\x00-\x7f\xc0\xc2\xc3\xe0-\xff]|[\xcc\xd0].|[\xcd\xd1]..){1,512})"
    rb"|(?P<lists>[\x90-\x9f]+)"
    rb"|(?P<empty>\x80+)"
    rb"|(?P<dicts>[\x81-\x8f]+)"
    rb"|(?P<texts>(?:\xa0|\xa1.|\xa2..|\xa3...){1,512})"
    rb"|(?P<words>(?:\xa4.{4}|\xa5.{5}|\xa6.{6}|\xa7.{7}){1,512})"
    rb"|(?P<float>(?:\xcb.{8}){1,512})"
    rb"|(?P<number>(?:[\xce\xd2\xca].{4}|[\xcf\xd3].{8}){1,512})"
    rb"|(?P<array>\xdc..|\xdd.{4})"
    rb"|(?P<map>\xde..|\xdf.{4})"
    rb"|(?P<deque>\xd4\xf0q)"
    rb"|(?P<set>\xd4\xf0[sfCEO])"
    rb"|(?P<object>\xd4\xf0[opvnU]|\xd6\xf0...|\xd5\xf0..)"
    rb"|(?P<ext>\xd4..|\xd5...|\xd6.{5}|\xd7.{9}|\xd8.{17})",
    re.DOTALL,
)
_EACH: Final = {  # what a run of tokens becomes, for each of its bytes
    "light": 9,
    "small": 14,
    "lists": 80,
    "empty": 80,
    "dicts": 300,
    "texts": 20,
    "words": 13,
    "float": 4,
    "number": 9,
}
_ONE: Final = {"array": 72, "map": 72, "deque": 720, "set": 300, "object": 1_300, "ext": 120}
_ENTRY: Final = 100  # of a large dict
_TEXT: Final = 60
_LENGTHS: Final = {0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC4: 1, 0xC5: 2, 0xC6: 4}
_EXT_LENGTHS: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_FIXED_TEXT: Final = 0xA0, 0xBF
_JSON: Final = {b"{": 300, b"[": 72, b'"': 30, b",": 40}
_CHEAP_EACH, WORST_EACH = 9, 809  # what a byte of `_CHEAP`, and any other, takes at the most
_CHEAP: Final = bytes({*range(0x80), 0xC0, 0xC2, 0xC3, *range(0xE0, 0x100)})


def objects_limit(stored_bytes: int, memory_bytes: int) -> int:
    """How much the objects of one call may take."""
    return memory_bytes + OBJECTS_FACTOR * stored_bytes


def surplus(packed_bytes: int, unpacked_bytes: int) -> int:
    """How much more comes out of compression than is due to what went in."""
    return max(0, unpacked_bytes - UNPACKED_FACTOR * packed_bytes)


def most_objects(data: bytes | memoryview) -> int:
    """What the objects in msgpack data take at the most. Quick, and far too much."""
    costly = len(bytes(data).translate(None, _CHEAP))
    return _CHEAP_EACH * len(data) + (WORST_EACH - _CHEAP_EACH) * costly


def objects_bytes(data: bytes | memoryview, most: float = inf) -> int:
    """What the objects in msgpack data take, about; perhaps less if it is more than `most`."""
    at, end, total = 0, len(data), 0
    match = _TOKENS.match
    while at < end and total <= most:
        found = match(data, at)
        if found is None:
            at, cost = _text(data, at)
            total += cost
            continue
        sort = str(found.lastgroup)
        behind = found.end()
        if sort in _EACH:
            total += (behind - at) * _EACH[sort]
        else:
            total += _ONE[sort]
            if sort == "map":
                total += _ENTRY * int.from_bytes(data[at + 1 : behind])
        at = behind
    return total


def _text(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Where a text, bytes or a long extension value ends, and what it takes besides its bytes."""
    head = data[at]
    if _FIXED_TEXT[0] <= head <= _FIXED_TEXT[1]:
        return at + 1 + head - _FIXED_TEXT[0], _TEXT
    size = _LENGTHS.get(head) or _EXT_LENGTHS.get(head)
    if size is None:
        return at + 1, _TEXT
    behind = at + 1 + size
    length = int.from_bytes(data[at + 1 : behind])
    return behind + length + (head in _EXT_LENGTHS), _TEXT if head in _LENGTHS else 500
