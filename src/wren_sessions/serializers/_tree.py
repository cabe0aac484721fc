"""Stored values as trees: the msgpack data, with envelopes as lists. Nothing is built from it.

A value whose classes have changed is adapted here, before it is built. Trees are walked without a
call for each level, because values may be nested more deeply than the interpreter allows calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgpack

from wren_sessions.errors import SerializationError
from wren_sessions.serializers._wire import MARKER, marker
from wren_sessions.serializers.packing import pack
from wren_sessions.serializers.unpacking import damaged

OBJECTS: Final = frozenset({b"o", b"p", b"v", b"n", b"e"})
"""The kinds of envelopes that name a class of the application."""


class Raw:
    """A stored value that stays as it is: its bytes."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    @classmethod
    def of(cls, tree: Any) -> Raw:
        """The value of a tree."""
        return cls(pack(tree))

    def tree(self) -> Any:
        """The tree again."""
        return parsed(self.data)


def parsed(data: bytes) -> Any:
    """The tree of a value.

    Raises:
        SerializationError: the data is damaged.
    """

    def extension(code: int, kind: bytes) -> Any:
        if code != MARKER:
            raise SerializationError(f"the stored value has an unknown extension, {code}")
        return marker(kind)

    try:
        return msgpack.unpackb(data, ext_hook=extension, unicode_errors="surrogatepass")
    except (ValueError, msgpack.UnpackException) as error:
        raise damaged(error) from None


def kind_of(node: Any) -> bytes | None:
    """The kind of an envelope; None for anything else."""
    if type(node) is not list or not node or type(node[0]) is not msgpack.ExtType:
        return None
    kind: bytes = node[0].data
    return kind[:1] if kind[:1] in OBJECTS else kind


def objects_in(tree: Any) -> Iterator[list[Any]]:
    """The envelopes of objects in a tree, from the outermost inwards.

    What an envelope holds is looked at once it has been given: it may be changed before that.
    """
    rest = [tree]
    while rest:
        node = rest.pop()
        if type(node) is dict:
            rest += node.values()
        elif type(node) is list:
            if kind_of(node) in OBJECTS:
                yield node
            rest += node
