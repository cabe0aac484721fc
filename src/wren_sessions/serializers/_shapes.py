"""The types of a class's fields, and whether stored values fit them after a change.

An object is written with the *shape* of its class, in its marker: two bytes for each field, made of
the field's annotation. If a field's annotation is the same when the object is read, its value is
used as it was, whether it fits or not: that is up to the application. If the annotation has
changed, pydantic checks the value:

- A value that fits stays the same object.
- A value that pydantic's lax mode accepts (``"3"`` for an int, 3.0 for an int) is converted. A
  value that is the field's default stays.
- If it does not fit, reading the value that contains the object is an error.

A class whose fields have no annotations has no shape.

Of the application, only annotations are evaluated: those that are text, once for each class. They
are reduced to the types: validators and limits are left out, and a class of the application stands
for its instances. Anything other than builtin types, data types and collections of these is not
checked. Also not checked are objects without a shape, which earlier versions and LangGraph's
serializer wrote, and everything if pydantic is not installed.
"""

from __future__ import annotations

import types
import typing
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from hashlib import sha256
from typing import Annotated, Any, Final, Literal, Optional, Union, get_args, get_origin
from uuid import UUID
from weakref import WeakKeyDictionary

from wren_sessions.serializers._annotations import annotation_name
from wren_sessions.serializers._classes import attribute, mro, name_of, solid_base
from wren_sessions.serializers._wire import marker

_BYTES: Final = 2  # for each field
UNKNOWN: Final = b"\0\0"
"""Of a field that is not checked."""
ALWAYS: Final = b"\xff\xff"
"""Of a field that is checked in any case."""
_ANY: Final = b"\0\1"  # of a field that may be anything
_SHAPES: Final = range(2, 0xFFFF)  # all others
_PLAIN: Final = frozenset(
    {bool, int, float, complex, Decimal, Fraction, str, bytes, bytearray, type(None)}
    | {date, datetime, time, timedelta, UUID}
)
_COLLECTIONS: Final = frozenset(
    {list, tuple, set, frozenset, dict, deque, defaultdict, OrderedDict, Counter, Sequence, Mapping}
)
_DICTS: Final = frozenset({dict, OrderedDict, defaultdict, Counter})
_WRAPPERS: Final = frozenset({Annotated, typing.Required, typing.NotRequired, typing.Final})

_hints: WeakKeyDictionary[type, Mapping[str, Any]] = WeakKeyDictionary()


# --- what a class says ----------------------------------------------------------------------------


def infos_of(kind: type) -> Mapping[str, Any]:
    """The fields of one of pydantic's classes; of any other class there are none."""
    if attribute(kind, "__fields_set__") is not None and attribute(kind, "__config__") is not None:
        return attribute(kind, "__fields__") or {}  # version 1
    fields = attribute(kind, "__pydantic_fields__")
    fields = attribute(kind, "model_fields") if fields is None else fields
    return fields if type(fields) is dict else {}


def hints_of(kind: type) -> Mapping[str, Any]:
    """The annotations of a class of no library's, as far as they can be read."""
    if kind not in _hints:
        try:
            _hints[kind] = typing.get_type_hints(kind, include_extras=True)
        except Exception:  # noqa: BLE001 -- names that are there for type checkers alone
            _hints[kind] = {}
    return _hints[kind]


def declared(kind: type, names: Iterable[str], unread: Any) -> dict[str, Any]:
    """The annotations of a class's fields; `unread` for one that cannot be read."""
    infos = infos_of(kind)
    if not infos:
        hints = hints_of(kind)
        return {name: hints.get(name, unread) for name in names}
    found = {}
    for name in names:
        info = infos[name]
        kept = getattr(info, "outer_type_", None)  # version 1
        kept = info.annotation if kept is None else Optional[kept] if info.allow_none else kept  # noqa: UP045 -- of any annotation
        found[name] = kept
    return found


class Shape:
    """The types of a class's fields.

    Attributes:
        by_name: two bytes of each field.
        whole: all of them; empty where no field says anything.
    """

    def __init__(self, kind: type, names: Collection[str]) -> None:
        annotations = declared(kind, names, Any)
        self._annotations = {name: _reduced(each) for name, each in annotations.items()}
        self.by_name = {name: _digest(each) for name, each in self._annotations.items()}
        says = any(each != _ANY for each in self.by_name.values())
        self.whole = b"".join(self.by_name.values()) if says else b""
        self._adapters: dict[str, Any] = {}

    def fitted(self, name: str, value: Any) -> Any:
        """A field's value, if it fits, or what lax mode makes of it.

        Raises:
            ValueError: it does not fit.
        """
        if name not in self._adapters:
            self._adapters[name] = _adapter(self._annotations[name])
        adapter = self._adapters[name]
        if adapter is None:
            return value
        hidden = _mapped(value, _hidden)
        with suppress(ValueError):
            adapter.validate_python(hidden, strict=True)
            return value
        return _mapped(adapter.validate_python(hidden, strict=False), _shown)


def _digest(annotation: Any) -> bytes:
    if annotation is Any:
        return _ANY
    try:
        name = annotation_name(annotation, name_of)
    except Exception:  # noqa: BLE001 -- an annotation may be anything
        return _ANY
    number = int.from_bytes(sha256(ascii(name).encode()).digest()[:4])
    return _SHAPES[number % len(_SHAPES)].to_bytes(_BYTES)


# --- what is stored -------------------------------------------------------------------------------


def named(data: bytes, names: Iterable[str]) -> dict[str, bytes]:
    """The stored shape of each field, from the data of a marker."""
    shape = data[1:]
    parts = [shape[at : at + _BYTES] for at in range(0, len(shape), _BYTES)]
    return dict(zip(names, parts, strict=False))


def shaped(data: bytes, shapes: Mapping[str, bytes], names: Iterable[str]) -> Any:
    """The marker of an object with these fields.

    Args:
        data: of its marker so far.
        shapes: the shape of each field, as far as it is known.
        names: the fields, in order.
    """
    return marker(data[:1] + b"".join(shapes.get(name, UNKNOWN) for name in names if shapes))


# --- checking -------------------------------------------------------------------------------------


def _adapter(annotation: Any) -> Any:
    """What checks values of an annotation; None if nothing can be said of them."""
    try:
        from pydantic import TypeAdapter
    except ImportError:
        return None
    if annotation is Any:
        return None
    try:
        return TypeAdapter(annotation, config={"arbitrary_types_allowed": True})
    except Exception:  # noqa: BLE001 -- an annotation may be anything: then it is not checked
        return None


def _reduced(annotation: Any) -> Any:
    """An annotation as far as it names types."""
    if type(annotation).__name__ == "TypeAliasType":
        annotation = annotation.__value__
    annotation = getattr(annotation, "__supertype__", annotation)  # a NewType
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in _WRAPPERS:
        return _reduced(arguments[0])
    if origin is Literal:
        return annotation
    parts = tuple(each if each is Ellipsis else _reduced(each) for each in arguments)
    if origin in {Union, types.UnionType}:
        return Any if Any in parts else Union[parts]  # noqa: UP007 -- of any number
    kind = annotation if origin is None else origin
    if not issubclass(type(kind), type):
        return Any  # a type variable, a protocol's method, text that leads nowhere
    if kind in _COLLECTIONS:
        return kind[parts] if parts else kind
    return kind if kind in _PLAIN else _instance(kind)


def _instance(kind: type) -> Any:
    """What a class of the application is reduced to."""
    if attribute(kind, "__required_keys__") is not None:
        return dict  # a TypedDict
    fields = attribute(kind, "__dataclass_fields__") or infos_of(kind)
    named_tuple = solid_base(kind) is tuple and attribute(kind, "_fields") is not None
    is_data = bool(fields) or named_tuple or Enum in mro(kind)
    return Annotated[Any, _InstanceOf(kind)] if is_data else Any


class _InstanceOf:
    """Has pydantic look at the class of a value alone."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self._checked)

    def _checked(self, value: Any) -> Any:
        if type(value) is not _Hidden or self._kind not in mro(type(value.value)):
            raise ValueError
        return value


class _Hidden:
    """Stands for an object of the application, so that pydantic asks it nothing."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _hidden(value: Any) -> Any:
    return value if type(value) in _PLAIN else _Hidden(value)


def _shown(value: Any) -> Any:
    return value.value if type(value) is _Hidden else value


def _mapped(value: Any, each: Callable[[Any], Any]) -> Any:
    """A value with something done to all that stands in its collections."""
    kind = type(value)
    if kind in _DICTS:
        found = {_mapped(key, each): _mapped(item, each) for key, item in value.items()}
        return defaultdict(value.default_factory, found) if kind is defaultdict else kind(found)
    if kind in _COLLECTIONS:
        return kind(_mapped(item, each) for item in value)
    return each(value)
