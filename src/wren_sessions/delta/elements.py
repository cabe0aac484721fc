"""Where the elements of a serialized value begin: a walk over its msgpack structure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final
from zlib import crc32

import msgpack

from wren_sessions.serializers.packing import ARRAYS

MIN_ELEMENT_BYTES: Final = 64
_DESCEND_EXT_BYTES: Final = 4_096
_LONG_ARRAY: Final = 8
_DEPTH: Final = 6
_SCALAR: Final = re.compile(  # nil, booleans and numbers
    rb"[\x00-\x7f\xc0\xc2\xc3\xe0-\xff]|[\xcc\xd0].|[\xcd\xd1]..|[\xca\xce\xd2].{4}|[\xcb\xcf\xd3].{8}",
    re.DOTALL,
)
_SCALARS: Final = re.compile(b"(?:%b)++" % _SCALAR.pattern, re.DOTALL)
_TINY_BYTES: Final = 16  # elements are tiny if they are shorter on average
_MANY: Final = 4_096
_THINNED: Final = 16
_MAPS: Final = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})
_LARGE_EXTS: Final = {0xC8: 4, 0xC9: 6}  # header's length


def elements(data: bytes, start: int = 0) -> Iterator[tuple[int, int]]:
    """From each boundary to the first one at least `MIN_ELEMENT_BYTES` behind it.

    Of many tiny elements, one in `_THINNED` is taken, by what stands there: so the same ones are in
    another value, wherever they are.
    """
    bounds, size = boundaries(data, start), len(data)
    starts: Iterable[int] = bounds
    if len(bounds) > max(_MANY, (size - start) // _TINY_BYTES):
        starts = (at for at in bounds if crc32(data[at : at + 8]) % _THINNED == 0)
    ends = iter([*bounds, size])
    end = next(ends)
    for begin in starts:
        while end - begin < MIN_ELEMENT_BYTES:
            if (behind := next(ends, None)) is None:
                return
            end = behind
        yield begin, end


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
        while (at := start + unpacker.tell()) < end:
            if (run := _SCALARS.match(data, at, end)) is None:
                walk.element(depth)
            else:  # many tiny ones, such as bytes that look like numbers, are not walked one by one
                found += [at + each.start() for each in _SCALAR.finditer(run[0])]
                unpacker.read_bytes(run.end() - at)
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

    def flat(self, count: int) -> None:
        """Note elements that are not looked into."""
        offset, found, unpacker = self.offset, self.found, self.unpacker
        for _ in range(count):
            found.append(offset + unpacker.tell())
            unpacker.skip()

    def element(self, depth: int) -> None:
        at = self.offset + self.unpacker.tell()
        self.found.append(at)
        kind = self.data[at]
        if depth and kind in ARRAYS:
            size = self.unpacker.read_array_header()
            below = depth - 1 if size <= _LONG_ARRAY else 0
            if below:
                for _ in range(size):
                    self.element(below)
            else:
                self.flat(size)
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
