"""CRC-32 of ranges of the same bytes: right, and bytes are not hashed again for each range."""

from __future__ import annotations

import zlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bombs.making import MEGABYTE, archive, line, million_in_base64
from wren_sessions import MemoryStore
from wren_sessions.archives import import_session
from wren_sessions.delta import range_sums
from wren_sessions.delta.range_sums import RangeSums

DATA = Random(1).randbytes(50_000)


@given(st.lists(st.tuples(st.integers(0, len(DATA)), st.integers(0, len(DATA))), min_size=1))
def test_the_sum_of_a_range_is_its_crc32(bounds: list[tuple[int, int]]) -> None:
    """Short and long ones, in any order, empty ones and all of it."""
    sums = RangeSums(DATA)
    for start, end in map(sorted, [*bounds, (0, len(DATA))]):
        assert sums.of(start, end - start) == zlib.crc32(DATA[start:end])


def test_an_import_hashes_a_byte_once_for_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ranges of a line overlap: what is hashed besides is short."""
    hashed = 0

    def counted(data: bytes, start: int = 0) -> int:
        nonlocal hashed
        hashed += len(data)
        return zlib.crc32(data, start)

    monkeypatch.setattr(range_sums, "crc32", counted)
    count = 30
    lines = [
        line(
            number,
            append=million_in_base64() if not number else "",
            values={
                "a": ["bytes", *([number * 32 + n, MEGABYTE - 1_000 - n] for n in range(32))],
            },
        )
        for number in range(count)
    ]
    import_session(MemoryStore(), archive(lines))
    ranges = count * 32
    assert MEGABYTE < hashed < (count + 2) * MEGABYTE + ranges * 6 * 4_096
    assert hashed < ranges * MEGABYTE / 10
