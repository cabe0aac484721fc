"""CRC-32 of many ranges of the same bytes, which may overlap. Pure.

Each byte is hashed only once: sums are kept of all beginnings whose length is a multiple of
`_STRIDE`. The sum of a range follows from the sums of two beginnings: the one that ends where the
range ends, and the one that ends where the range starts. The shorter sum is moved by the length of
the range, and taken out of the longer one. To move a sum by one byte is to multiply it, as a
polynomial over GF(2), by x to the power of 8. zlib offers this as ``crc32_combine``, but Python
does not.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from zlib import crc32

_STRIDE: Final = 4_096
_ZEROS: Final = bytes(_STRIDE)
_POLYNOMIAL: Final = 0xEDB88320  # of CRC-32; the highest bit is the lowest power
_ONE: Final = 0x80000000


class RangeSums:
    """The CRC-32 of ranges of some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._beginnings = [0]

    def of(self, offset: int, length: int) -> int:
        """The sum of a range, which must be in there."""
        end = offset + length
        if length <= 2 * _STRIDE:
            return crc32(self._data[offset:end])
        return self._beginning(end) ^ _moved(self._beginning(offset), length)

    def _beginning(self, end: int) -> int:
        """The sum of all bytes up to an offset."""
        whole, rest = divmod(end, _STRIDE)
        for at in range(len(self._beginnings) - 1, whole):
            part = self._data[at * _STRIDE : (at + 1) * _STRIDE]
            self._beginnings.append(crc32(part, self._beginnings[at]))
        return crc32(self._data[end - rest : end], self._beginnings[whole])


def _moved(total: int, length: int) -> int:
    """What a sum of bytes counts in that of longer ones, which have so many more behind it."""
    strides, rest = divmod(length, _STRIDE)
    zeros = _ZEROS[:rest]
    return _product(crc32(zeros, total) ^ crc32(zeros), _power(strides))


@lru_cache(65_536)
def _power(strides: int) -> int:
    """What to multiply with for so many strides."""
    found, square = _ONE, _STRIDE_POWER
    while strides:
        if strides & 1:
            found = _product(found, square)
        square = _product(square, square)
        strides >>= 1
    return found


def _product(one: int, other: int) -> int:
    """The product of two polynomials, modulo that of CRC-32."""
    found = 0
    while one:
        if one & _ONE:
            found ^= other
        one = one << 1 & 0xFFFFFFFF
        other = other >> 1 ^ (_POLYNOMIAL if other & 1 else 0)
    return found


_STRIDE_POWER: Final = crc32(_ZEROS, _ONE) ^ crc32(_ZEROS)
