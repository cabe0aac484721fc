"""Where the elements of a serialized value begin: a walk over its msgpack structure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

import msgpack

MIN_ELEMENT_BYTES: Final = 64
_DESCEND_EXT_BYTES: Final = 4_096
_LONG_ARRAY: Final = 8
_DEPTH: Final = 6
_ARRAYS: Final = {**dict.fromkeys(range(0x90, 0xA0), 1), 0xDC: 3, 0xDD: 5}  # header's length
_MAPS: Final = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})
_LARGE_EXTS: Final = {0xC8: 4, 0xC9: 6}  # header's length


def header_length(data: bytes | memoryview) -> int:
    """How many bytes an array's header has, 0 for any other value."""
    return _ARRAYS.get(data[0], 0) if data else 0


def elements(bounds: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """From each boundary to the first one at least `MIN_ELEMENT_BYTES` behind it."""
    ends = [*bounds, size]
    for start in bounds:
        at = bisect_left(ends, start + MIN_ELEMENT_BYTES)
        if at < len(ends):
            yield start, ends[at]


def cuts(bounds: Sequence[int], end: int) -> Iterator[tuple[int, int]]:
    """From the first boundary to the end, in parts of at least `MIN_ELEMENT_BYTES` but the last."""
    start = bounds[0]
    for bound in bounds:
        if bound - start >= MIN_ELEMENT_BYTES:
            yield start, bound
            start = bound
    if start < end:
        yield start, end


def boundaries(data: bytes, start: int = 0, depth: int = _DEPTH) -> list[int]:
    """Where the elements of msgpack values that stand one behind the other begin, ascending."""
    return _walked(data, start, len(data), depth) or [start]


def _walked(data: bytes, start: int, end: int, depth: int) -> list[int]:
    """The beginnings of elements, as far as the data can be understood."""
    unpacker = msgpack.Unpacker(max_buffer_size=max(end - start, 1))
    unpacker.feed(memoryview(data)[start:end])
    found: list[int] = []
    walk = _Walk(data, start, unpacker, found)
    with suppress(Exception):  # no msgpack, or too deep: then these are all we know
        while start + unpacker.tell() < end:
            walk.element(depth)
    return [at for at in found if at < end]


class _Walk:
    """One pass over msgpack data that notes where elements begin."""

    def __init__(
        self, data: bytes, offset: int, unpacker: msgpack.Unpacker, found: list[int]
    ) -> None:
        self.data = data
        self.offset = offset
        self.unpacker = unpacker
        self.found = found

    def element(self, depth: int) -> None:
        at = self.offset + self.unpacker.tell()
        self.found.append(at)
        kind = self.data[at]
        if depth and kind in _ARRAYS:
            size = self.unpacker.read_array_header()
            below = depth - 1 if size <= _LONG_ARRAY else 0
            for _ in range(size):
                self.element(below)
        elif depth and kind in _MAPS:
            for _ in range(self.unpacker.read_map_header()):
                self.unpacker.skip()
                self.element(depth - 1)
        else:
            self.unpacker.skip()
            if depth and kind in _LARGE_EXTS:  # such as a Send: what it holds is msgpack again
                start, end = at + _LARGE_EXTS[kind], self.offset + self.unpacker.tell()
                if end - start > _DESCEND_EXT_BYTES:
                    self.found += _walked(self.data, start, end, depth - 1)
