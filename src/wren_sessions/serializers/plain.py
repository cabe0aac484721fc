"""`PlainSerializer`: stored values as plain data, for viewers without the app's classes.

It reads what `SafeSerializer` and LangGraph's `JsonPlusSerializer` wrote. Values of builtin and
standard-library types come back unchanged (paths as pure paths). All others become `PlainObject`s,
with the name of the type and its fields. Nothing is imported, and no other class is looked up::

    PlainSerializer().loads_typed(("safe", data))
    [PlainObject("langchain_core.messages.human:HumanMessage", {"content": "hi", "id": "1", …})]
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta, timezone
from itertools import chain
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Final, NoReturn

from wren_sessions.errors import SerializationError
from wren_sessions.serializers._legacy import Objects, read_legacy
from wren_sessions.serializers._standard import BUILDERS, keyed
from wren_sessions.serializers._wire import FIELDS, KIND, MESSAGES, Build, type_name
from wren_sessions.serializers.limits import DEEPEST_READ, Limits
from wren_sessions.serializers.unpacking import Builder, Table, check_hashes, read

HIDDEN: Final = "**********"
_MAPPINGS: Final = frozenset({dict, OrderedDict, Counter, defaultdict})
_COLLECTIONS: Final = frozenset({list, tuple, set, frozenset, deque})
_SECRETS: Final = frozenset({"SecretStr", "SecretBytes", "Secret"})


@dataclass(frozen=True, slots=True)
class PlainObject:
    """A stored object as plain data.

    Args:
        type_name: its class, as ``"module:QualName"``.
        value: its content. For models, dataclasses and messages, a dict of fields and other
            attributes. For named tuples, and for objects that LangGraph stored by position, a list.
            For enums, the member's value. For numpy, ``dtype``, ``shape``, ``order`` and ``data``.
            Secrets are hidden.
    """

    type_name: str
    value: Any

    def __hash__(self) -> int:
        return hash((self.type_name, _frozen(self.value)))


class PlainSerializer:
    """Reads stored values as plain data; LangGraph's ``SerializerProtocol``, without writing.

    Args:
        limits: the limits of size; None for the defaults of `Limits`.
    """

    def __init__(self, *, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()

    def dumps_typed(self, obj: Any) -> NoReturn:
        """Not possible: plain data is only for reading.

        Raises:
            SerializationError: always.
        """
        raise SerializationError(
            f"PlainSerializer only reads, and was asked to store a {type(obj).__qualname__}: use "
            "SafeSerializer to write"
        )

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value, as plain data.

        Args:
            data: type tag and bytes, as a serializer gave them.

        Raises:
            UnsafeTypeError: the value is pickled.
            SerializationError: the data is damaged, too large, or of an unknown kind.
        """
        kind, stored = data
        if kind == KIND:
            self._limits.check_stored(stored)
            self._limits.check_depth(stored, DEEPEST_READ)
            return read(stored, _TABLE)
        self._limits.check_size(len(stored))
        simple = read_simple(kind, stored)
        if simple is not None or kind == "null":
            return simple
        return read_legacy(kind, stored, _OBJECTS, self._limits)


def read_simple(kind: str, data: bytes) -> bytes | bytearray | None:
    """What is stored as it is: bytes, and nothing for None or any other kind."""
    if kind == "bytes":
        return bytes(data)
    return bytearray(data) if kind == "bytearray" else None


def _fields(ref: Any, *parts: Any) -> PlainObject:
    """An object whose content is several dicts: fields, extras, private and other attributes."""
    name = type_name(ref)
    content = {key: value for part in parts if part is not None for key, value in part.items()}
    return PlainObject(name, _shown(name, content))


def _shown(name: str, value: Any) -> Any:
    module, _, short = name.partition(":")
    if module.partition(".")[0] == "pydantic" and short.partition("[")[0] in _SECRETS:
        return HIDDEN
    if type(value) is dict and "_secret_value" in value:  # of a class that derives from those
        return value | {"_secret_value": HIDDEN}
    return value


def _message(name: str) -> Build:
    def build(items: list[Any]) -> PlainObject:
        _, fields, _, *rest = items
        return _fields(name, fields, *rest)

    return build


def _usual(kind: bytes, mask: int) -> Builder:
    del mask
    name, names = MESSAGES[b"m" + kind[1:]], FIELDS[kind]
    return Builder(lambda items: PlainObject(name, dict(zip(names, items[1:], strict=True))))


def _dataclass(items: list[Any]) -> PlainObject:
    _, ref, *parts = items
    return _fields(ref, *parts)


def _model(items: list[Any]) -> PlainObject:
    _, ref, fields, _, *rest = items
    return _fields(ref, fields, *rest)


def _named_tuple(items: list[Any]) -> PlainObject:
    _, ref, fields = items
    return PlainObject(type_name(ref), list(fields.values()))


def _value(items: list[Any]) -> PlainObject:
    _, ref, content, *_ = items
    return PlainObject(type_name(ref), content)


def _enum(items: list[Any]) -> PlainObject:
    _, ref, _, value = items
    return PlainObject(type_name(ref), value)


def _array(dtype: Any, shape: Any, order: Any, data: Any) -> PlainObject:
    content = {"dtype": dtype, "shape": tuple(shape), "order": order, "data": data}
    return PlainObject("numpy:ndarray", content)


def _scalar(items: list[Any]) -> PlainObject:
    _, dtype, data = items
    return PlainObject("numpy:generic", {"dtype": dtype, "shape": (), "order": "C", "data": data})


def _path(items: list[Any]) -> PurePath:
    _, name, text = items
    return _pure(name, [text])


def _pure(name: str, parts: list[str]) -> PurePath:
    return (PureWindowsPath if "Windows" in name else PurePosixPath)(*parts)


def plain_called(name: str, form: str, arguments: Any) -> PlainObject:
    """An object that LangGraph's serializer stored; see `_legacy.Objects`."""
    if form == "items" and name == "langgraph.types:Send":
        arguments = dict(zip(("node", "arg", "timeout"), arguments, strict=False))
    # It stored the content of a secret, of any class, as it stored the value of an enum.
    hidden = form == "value" and "secret" in name.rpartition(":")[2].lower()
    return PlainObject(name, HIDDEN if hidden else _shown(name, arguments))


def parts_of(value: Any) -> Iterator[Any]:
    """What hashing a `PlainObject` looks at, but for the containers that it holds."""
    kind = type(value)  # `isinstance` would ask the object itself, which may be an application's
    if kind is PlainObject:
        yield from parts_of(value.value)
    elif kind in _MAPPINGS:
        yield from chain(value, *map(parts_of, value.values()))
    elif kind in _COLLECTIONS:
        yield from chain(*map(parts_of, value))
    else:
        yield value


def _frozen(value: Any) -> Any:
    """Something hashable that is equal for equal values."""
    kind = type(value)
    if kind in _MAPPINGS:
        return frozenset((key, _frozen(item)) for key, item in value.items())
    if kind is set:
        return frozenset(value)
    if kind is bytearray:
        return bytes(value)
    return tuple(map(_frozen, value)) if kind in {list, tuple, deque} else value


# The kinds of envelopes that name a class of the application.
PLAIN_OBJECTS: Final[dict[bytes, Build]] = {
    b"o": _dataclass,
    b"p": _model,
    b"v": _model,
    b"n": _named_tuple,
    b"e": _enum,
    b"U": _value,
    b"w": _value,
}
_TABLE: Final = Table(
    BUILDERS
    | keyed(check_hashes)
    | {kind: _message(name) for kind, name in MESSAGES.items()}
    | PLAIN_OBJECTS
    | {
        b"A": lambda items: _array(*items[1:]),
        b"N": _scalar,
        b"P": _path,
        b"g": lambda items: PlainObject(type_name(items[1]), None),
        b"x": lambda items: items[2],
        b"y": lambda items: timezone(timedelta(seconds=items[1])),
    },
    _usual,
)
_OBJECTS: Final = Objects(called=plain_called, array=_array, check=check_hashes, path=_pure)
