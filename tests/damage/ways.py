"""What damage does to one value: bits turned, ends cut off, other types, numbers of any size.

Everything is drawn with a seeded generator, so that a trial can be run again by its number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgpack
from zstandard import ZstdCompressor, ZstdDecompressor, ZstdError

NUMBERS: Final = (
    b"0",
    b"-1",
    b"65",
    b"999999999999999",
    b"9223372036854775808",
    b"9" * 400,
    b"1e308",
    b"nan",
    b"0x7fffffff",
    b"1.5",
    b"-",
)
"""Among them, what Lua's `tonumber` and Python's `int` each take for a number."""

JUNK: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    -1,
    1 << 31,
    (1 << 63) - 1,
    -(1 << 63),
    0.5,
    float("inf"),
    "",
    "x",
    "\0",
    "é" * 300,
    [],
    [[]],
    {},
    {"x": None},
)
"""What stands in the place of a node of a tree."""

_DIGITS: Final = re.compile(rb"\d+")
_FRAME: Final = re.compile(rb"\x01([\x00\x02\x04\x06])", re.DOTALL)
_MOST_BYTES: Final = 1_000_000
_CRC_BYTES: Final = 4


class Changed(NamedTuple):
    """A value after it was damaged.

    Attributes:
        what: what was done to it.
        value: what it is now.
        forged: whether its checksum was made anew, so that only a key could tell.
    """

    what: str
    value: bytes
    forged: bool = False


def changed(old: bytes, draw: Random) -> Changed:
    """Some bytes with damage of some kind."""
    return draw.choice(WAYS)(old, draw)


def flipped(old: bytes, draw: Random) -> Changed:
    """One bit is another."""
    if not old:
        return junk(old, draw)
    found = bytearray(old)
    found[draw.randrange(len(old))] ^= 1 << draw.randrange(8)
    return Changed("flipped", bytes(found))


def cut(old: bytes, draw: Random) -> Changed:
    """The end is gone."""
    return Changed("cut", old[: draw.randrange(len(old))]) if old else junk(old, draw)


def grown(old: bytes, draw: Random) -> Changed:
    """More stands behind it."""
    return Changed("grown", old + draw.randbytes(draw.choice((1, 16, 4_000))))


def junk(_: bytes, draw: Random) -> Changed:
    """Something else, or nothing, stands there."""
    return Changed("junk", draw.randbytes(draw.choice((0, 1, 6, 24, 4_000))))


def renumbered(old: bytes, draw: Random) -> Changed:
    """A number in its first line is another."""
    line = old.split(b"\n", 1)[0][:200]
    found = list(_DIGITS.finditer(line))
    if not found:
        return flipped(old, draw)
    at = draw.choice(found)
    return Changed("renumbered", old[: at.start()] + draw.choice(NUMBERS) + old[at.end() :])


def forged(old: bytes, draw: Random) -> Changed:
    """What a frame says is something else, and its checksum fits, as a hostile writer would do it.

    The checksum may be bound to a name too: it differs by that from the sum of the bytes.
    """
    for found in _FRAME.finditer(old):
        start, packs = found.end(), _CODECS[found[1]]
        packed = old[start + _CRC_BYTES :]
        bound = crc32(packed) ^ int.from_bytes(old[start : start + _CRC_BYTES])
        try:
            tree = msgpack.unpackb(packs.open(packed), strict_map_key=False)
        except (ValueError, msgpack.UnpackException, ZstdError):
            continue  # it is no frame, or another one follows
        if type(tree) is list and (packs.named or not bound):
            packed = packs.close(repacked(mutated(tree, draw)))
            sums = (crc32(packed) ^ bound).to_bytes(_CRC_BYTES)
            return Changed("forged", old[:start] + sums + packed, forged=True)
    return flipped(old, draw)


class _Codec(NamedTuple):
    """How the bytes of a frame become the array that is in it, and back."""

    open: Callable[[bytes], bytes]
    close: Callable[[bytes], bytes]
    named: bool


_PLAIN: Final = (bytes, bytes)
_ZSTD: Final = (
    lambda packed: ZstdDecompressor().decompress(packed, max_output_size=_MOST_BYTES),
    lambda packed: ZstdCompressor().compress(packed),
)
_CODECS: Final = {
    b"\0": _Codec(*_PLAIN, named=False),
    b"\2": _Codec(*_ZSTD, named=False),
    b"\4": _Codec(*_PLAIN, named=True),
    b"\6": _Codec(*_ZSTD, named=True),
}
"""By their numbers: those of version 0.1.0, and those that are bound to a name."""


def summed(packed: bytes) -> bytes:
    """Bytes behind their checksum."""
    return crc32(packed).to_bytes(_CRC_BYTES) + packed


def repacked(tree: Any) -> bytes:
    """A tree as msgpack; lists that were keys of maps are tuples."""
    packed: bytes = msgpack.packb(tree)
    return packed


WAYS: Final[tuple[Callable[[bytes, Random], Changed], ...]] = (
    flipped,
    flipped,
    cut,
    grown,
    junk,
    renumbered,
    renumbered,
    forged,
    forged,
)


# --- trees ----------------------------------------------------------------------------------------


def mutated(tree: Any, draw: Random) -> Any:
    """A tree of lists and maps with one node changed, taken away, doubled or exchanged."""
    places = list(_places(tree))
    if not places:
        return draw.choice(JUNK)
    node, key = draw.choice(places)
    match draw.randrange(5):
        case 0:
            del node[key]
        case 1 if isinstance(node, list):
            node.insert(key, node[key])
        case 2:
            other, there = draw.choice(places)
            node[key], other[there] = other[there], node[key]
        case 3 if isinstance(node[key], bytes):
            node[key] = changed(node[key], draw).value
        case _:
            node[key] = draw.choice(JUNK)
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every node below the root: what it is in, and where."""
    if isinstance(tree, dict):
        keys: Any = list(tree)
    elif isinstance(tree, list):
        keys = range(len(tree))
    else:
        return
    for key in keys:
        yield tree, key
        yield from _places(tree[key])
