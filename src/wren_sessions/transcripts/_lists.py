"""Lists of messages as they are stored, compared without decoding them: pure.

If a list has only grown, the old list is the beginning of the new one. If both are in the arena,
their places show this: the arena only grows, so the same place has the same bytes. After any other
change, the lists are compared element by element. Elements that are in both lists are the same
message, and so are elements with the same id. Of the rest, what follows the last element of the
older list is new. Without ids, anything else could be new, or an older message that was edited.
Then nothing is said about it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TypeAlias

import msgpack

from wren_sessions.delta.base import StoredValue
from wren_sessions.delta.protection import is_sealed
from wren_sessions.records import Span
from wren_sessions.serializers._wire import KIND
from wren_sessions.serializers.keyring import UID_BYTES
from wren_sessions.serializers.packing import header_length
from wren_sessions.transcripts._values import shared_start

_EXTENSIONS: Final = frozenset(bytes([code]) for code in (*range(0xC7, 0xCA), *range(0xD4, 0xD9)))
_FIX_MASK: Final = 0x0F

Identity: TypeAlias = tuple[str, str] | None
"""The role and the id of a message; None where it has no id."""


@dataclass(slots=True)
class Elements:
    """The elements of a stored list.

    Attributes:
        parts: each element's bytes, or other bytes that stand for it.
        identify: gives the identity of an element by its bytes.
        places: where the list lies in the arena; empty where it does not, or not alone.
    """

    parts: Sequence[bytes]
    identify: Callable[[bytes], Identity]
    places: tuple[Span, ...] = ()
    _counts: Counter[bytes] | None = None

    def count(self, part: bytes) -> int:
        """How many times an element is there."""
        if self._counts is None:
            self._counts = Counter(self.parts)
        return self._counts[part]

    def shorten(self, count: int, places: tuple[Span, ...]) -> None:
        """Shorten these to the list as it was before it grew."""
        if count < len(self.parts):
            self.parts, self._counts = self.parts[:count], None
        self.places = places


def split_list(kind: str, data: bytes) -> list[bytes] | None:
    """The elements of a list; None if the data cannot be split."""
    head = header_length(data)
    if not head or (kind == KIND and data[head : head + 1] in _EXTENSIONS):
        return None  # no list, or a value of another type, which begins with a mark
    unpacker = msgpack.Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    try:
        bounds = [head]
        for _ in range(unpacker.read_array_header()):
            unpacker.skip()
            bounds.append(unpacker.tell())
    except Exception:  # noqa: BLE001 -- whatever msgpack says of bytes that are none
        return None
    if bounds[-1] != len(data):
        return None
    return [data[start:end] for start, end in pairwise(bounds)]


def places_of(value: StoredValue) -> tuple[int, tuple[Span, ...]] | None:
    """How many elements a stored list has, and where they are in the arena.

    None where that cannot be told without reading it.
    """
    head, *rest = value.pieces or [b""]
    if not isinstance(head, bytes):
        return None
    if head and is_sealed(value.kind):  # what a sealed list begins with is not of the array
        head = head[1 + head[0] + UID_BYTES :]
    if not head or header_length(head) != len(head):
        return None
    spans: list[Span] = []
    for piece in rest:
        if isinstance(piece, bytes):
            return None
        if spans and spans[-1].end == piece.offset:
            spans[-1] = Span(spans[-1].offset, spans[-1].length + piece.length)
        else:
            spans.append(Span(piece.offset, piece.length))
    count = head[0] & _FIX_MASK if len(head) == 1 else int.from_bytes(head[1:], "big")
    return count, tuple(spans)


def inline_of(value: StoredValue) -> bytes | None:
    """The bytes of a value that stands in its record; None where it lies in the arena."""
    pieces = [piece for piece in value.pieces if isinstance(piece, bytes)]
    return b"".join(pieces) if len(pieces) == len(value.pieces) else None


def begins(shorter: Sequence[Span], longer: Sequence[Span]) -> bool:
    """Whether what lies at `longer` begins with what lies at `shorter`."""
    if not shorter or len(shorter) > len(longer):
        return False
    *same, last = shorter
    other = longer[len(same)]
    return (
        list(same) == list(longer[: len(same)])
        and last.offset == other.offset
        and last.length <= other.length
    )


@dataclass(slots=True)
class Change:
    """What became of an older list of messages.

    Attributes:
        kept: for indexes of the newer list, those in the older one.
        new: indexes of the newer list whose message is not in the older one.
    """

    kept: dict[int, int] = field(default_factory=dict)
    new: set[int] = field(default_factory=set)


def compare(older: Elements, newer: Elements, wanted: Sequence[int]) -> Change:
    """What is known of elements of the newer list; unclear ones are left out."""
    change = Change()
    common = shared_start(older.parts, newer.parts)
    if common == len(older.parts):
        change.kept = {index: index for index in wanted if index < common}
        change.new = {index for index in wanted if index >= common}
        return change
    at = {part: index for index, part in enumerate(older.parts)}
    gone = {older.identify(part): i for part, i in at.items() if not newer.count(part)}
    last = older.parts[-1]
    alone = older.count(last) == 1 and newer.count(last) == 1
    behind = newer.parts.index(last) if alone else None  # where the newer list goes on
    for index in wanted:
        part = newer.parts[index]
        identity = newer.identify(part) if part not in at else None
        if index < common:
            change.kept[index] = index
        elif part in at:
            if older.count(part) == newer.count(part) == 1:
                change.kept[index] = at[part]
        elif identity is None:
            if behind is not None and index > behind:
                change.new.add(index)
        elif identity in gone:
            change.kept[index] = gone[identity]
        else:
            change.new.add(index)
    return change
