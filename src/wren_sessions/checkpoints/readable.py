"""Checks that what is written can be read again within the limits of memory. Pure.

Reading counts all values of a checkpoint together (see `wren_sessions.serializers.limits`). So they
are counted together before they are written. Unchanged values, and the known beginning of a list,
are not counted again: the most memory that their objects can take was remembered with their bytes.
The objects themselves are counted only if that maximum is too much.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from wren_sessions.delta.base import DeltaBase, StoredValue
from wren_sessions.delta.encoder import DeltaEncoder, Grown, Large
from wren_sessions.delta.protection import clear_head
from wren_sessions.serializers import KIND
from wren_sessions.serializers.limits import (
    FREE_BYTES,
    OBJECTS_FACTOR,
    UNPACKED_FACTOR,
    UNPACKED_SHARE,
    most_objects,
    objects_bytes,
    objects_limit,
    over,
)

SURE_BYTES: Final = FREE_BYTES // 2  # values of so many bytes can be read, whatever is in them
_NAMED: Final = 3  # channels, the largest, that an error names


class _Value(NamedTuple):
    """What is to be weighed of a channel's value: known bytes, and others."""

    channel: str
    known: DeltaBase | None
    parts: list[bytes]

    def most(self) -> int:
        return (self.known.weight if self.known else 0) + sum(map(most_objects, self.parts))

    def exactly(self) -> int:
        return (self.known.weigh() if self.known else 0) + sum(map(objects_bytes, self.parts))


def check_readable(
    session: str,
    values: Iterable[tuple[str, StoredValue]],
    memory_bytes: int,
    packer: DeltaEncoder | None = None,
) -> None:
    """Make sure that values can be read again together, by whoever has the same limits.

    `packer` is what packed them; None for values that are inline.

    Raises:
        SerializationError: they cannot.
    """
    values = [each for each in values if each[1].kind.partition("+")[0] == KIND]
    stored_bytes, new = 0, dict[int, Large | Grown]()
    if packer is not None:
        _check_surplus(session, packer.surplus_bytes, memory_bytes)
        stored_bytes = len(packer.appended)
        stored_bytes += sum(span.length for span in packer.spans(value for _, value in values))
        new = {id(large.value): large for large in packer.large}
    found = [_value(channel, value, new.get(id(value))) for channel, value in values]
    _check_objects(session, found, stored_bytes, memory_bytes)


def _value(channel: str, value: StoredValue, new: Large | Grown | None) -> _Value:
    if isinstance(new, Grown):
        return _Value(channel, new.like, [new.fresh])
    inline = [piece for piece in value.pieces if isinstance(piece, bytes)]
    if inline:
        inline[0] = clear_head(value.kind, inline[0])  # a salt is no value
    if new is None:
        return _Value(channel, value.known, inline)
    return _Value(channel, None, [new.plain.body, *inline] if new.plain else [new.data])


def _check_surplus(session: str, surplus_bytes: int, memory_bytes: int) -> None:
    most = memory_bytes // UNPACKED_SHARE
    if surplus_bytes > most:
        what = (
            f"the values of a checkpoint of session {session!r} are compressed so much that they "
            f"could not be read again: by {surplus_bytes:,} bytes more than to one of "
            f"{UNPACKED_FACTOR}, where {most:,} may be. Nothing was written"
        )
        raise over("max_memory_bytes", memory_bytes, what)


def _check_objects(
    session: str, values: list[_Value], stored_bytes: int, memory_bytes: int
) -> None:
    most = objects_limit(stored_bytes, memory_bytes)
    if sum(value.most() for value in values) <= most:
        return
    weights = sorted(((value.exactly(), value.channel) for value in values), reverse=True)
    total = sum(weight for weight, _ in weights)
    if total <= most:
        return
    named = ", ".join(f"{channel!r} ({weight:,})" for weight, channel in weights[:_NAMED])
    what = (
        f"the lists, dicts and numbers in the values of session {session!r} would take "
        f"{total:,} bytes, more than {OBJECTS_FACTOR} times what is stored and {memory_bytes:,} "
        f"bytes, and could not be read again: the most in {named}. Nothing was written"
    )
    raise over("max_memory_bytes", memory_bytes, what)
