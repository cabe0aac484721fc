"""Stored values as plain data that can be changed and stored again: what migrations work on.

Values of builtin and standard-library types are what they are. Objects of classes are not built:
each is a `StoredObject`, with its fields as they were stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from wren_sessions.errors import SerializationError, WrenSessionsError
from wren_sessions.serializers._models import mask_to_names, names_to_mask
from wren_sessions.serializers._shapes import named, shaped
from wren_sessions.serializers._standard import BUILDERS, Write, keyed
from wren_sessions.serializers._tree import OBJECTS
from wren_sessions.serializers._wire import MESSAGES, Build, marker, type_name, usual_kind
from wren_sessions.serializers.packing import Lower, pack
from wren_sessions.serializers.unpacking import Builder, Table, check_hashes, read

_OF_LIBRARIES: Final = (b"A", b"N", b"U", b"g", b"w", b"x", b"y")
_SETS: Final = frozenset({b"p", b"v"})  # have a set of the fields that were set


class StoredObject:
    """An object in a stored value, as a migration finds it in the fields of another one.

    Attributes:
        type_name: its class, as ``"module:QualName"``; empty for a message or other library's type.
        fields: its fields by name, which may be changed; of an enum ``name`` and ``value``. Empty
            for a library's type, which can only be passed on or left out.
    """

    __slots__ = ("_data", "_items", "_kind", "_names", "fields", "type_name")

    def __init__(self, kind: bytes, items: list[Any]) -> None:
        self._data = kind
        kind = kind[:1] if kind[:1] in OBJECTS else kind
        self._kind = kind
        self._items = items
        self._names: set[str] = set()
        self.fields: dict[str, Any] = {}
        self.type_name = type_name(items[1]) if kind in OBJECTS else ""
        if kind == b"e":
            self.fields = {"name": items[2], "value": items[3]}
        elif kind in OBJECTS:
            self.fields = dict(items[2])
        if kind in _SETS:
            self._names = mask_to_names(items[3], items[2])

    def __repr__(self) -> str:
        return f"StoredObject({self.type_name!r})"

    def envelope(self) -> list[Any]:
        """The items of its envelope."""
        items = [marker(self._data), *self._items[1:]]
        if self._kind == b"e":
            items[2:] = [self.fields["name"], self.fields["value"]]
        elif self._kind in OBJECTS:
            items[0] = shaped(self._data, named(self._data, self._items[2]), self.fields)
            items[2] = self.fields
        if self._kind in _SETS:
            names = (self._names | (self.fields.keys() - self._items[2].keys())) & set(self.fields)
            items[3] = names_to_mask(names, self.fields)
        return items


def _opaque(kind: bytes) -> Build:
    return lambda items: StoredObject(kind, items)


_TABLE: Final = Table(
    BUILDERS
    | keyed(check_hashes)
    | {kind: _opaque(kind) for kind in (*OBJECTS, *MESSAGES, *_OF_LIBRARIES)},
    lambda kind, mask: Builder(_opaque(usual_kind(kind, mask))),
    _opaque,
)


def plain(tree: Any) -> Any:
    """What a tree holds, as plain data."""
    return read(pack(tree), _TABLE)


def called(function: Callable[[Any], Any], name: str, tree: Any, lower: Lower) -> Any:
    """What a function of a migration makes of a tree, as a tree. Errors call it `name`.

    Raises:
        SerializationError: it failed, or what it returned cannot be stored.
    """
    try:
        found = function(plain(tree))
    except WrenSessionsError:
        raise
    except Exception as error:
        # A partial, or an object that can be called, has no name of its own.
        of = function if hasattr(function, "__qualname__") else type(function)
        raise SerializationError(
            f"{name} ({of.__module__}.{of.__qualname__}) failed with "
            f"{type(error).__name__}: mend it, and read the value again; what is stored is as it "
            "was",
            deferrable=True,
        ) from error
    try:
        return lower(found)
    except SerializationError as error:
        why = error.message
    except RecursionError:
        why = "it is nested too deep, or refers to itself"
    raise SerializationError(f"{name} returned what cannot be stored: {why}", deferrable=True)


def finding(find: Callable[[type, Lower], Write]) -> Callable[[type, Lower], Write]:
    """What writes such data again, where something else writes all other objects."""

    def found(kind: type, lower: Lower) -> Write:
        if kind is not StoredObject:
            return find(kind, lower)

        def written(value: StoredObject) -> list[Any]:
            mark, *items = value.envelope()
            return [mark, *map(lower, items)]

        return written

    return found
