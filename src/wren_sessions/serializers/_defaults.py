"""Declared defaults: the value of a field that stored data does not have.

Pydantic copies a default for each instance. Here it is copied without running any code of the
application: containers are rebuilt, the state of data types is copied, and immutable values are
shared. A default that cannot be copied in this way is not used.
"""

from __future__ import annotations

import enum
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from wren_sessions.serializers import _numpy
from wren_sessions.serializers._classes import (
    State,
    attribute,
    hashes_itself,
    loaded,
    mro,
    solid_base,
)
from wren_sessions.serializers._standard import FACTORIES, WRITERS

Default = Callable[[], Any]
Defaults = Mapping[str, Default | None]  # of each field; None where it has none

_FACTORY_TYPES: Final = frozenset(FACTORIES.values())
_DATA_TYPES: Final = (  # one of these is an attribute of every class whose instances are data
    "__dataclass_fields__",
    "__pydantic_fields__",
    "__fields_set__",
    "get_secret_value",
)
_SHARED: Final = (
    frozenset({int, str, bytes, float, bool, type(None), complex, slice, type(...)})
    | frozenset({type(NotImplemented), types.FunctionType, types.BuiltinFunctionType})
    | WRITERS.keys() - {bytearray}
)


def default_of(value: Any, factory: Any, missing: object, *, shared: bool) -> Default | None:
    """What gives a declared default; None where there is none, or it would run other code.

    Args:
        value: the default.
        factory: the default factory.
        missing: the value that stands for no default.
        shared: whether instances share the default itself; else each has a copy.
    """
    if factory is not missing and factory is not None:
        return factory if type(factory) is type and factory in _FACTORY_TYPES else None
    if value is missing:
        return None
    if shared:
        return giving(value)
    try:
        copy = _Copy().of(value)
    except (RecursionError, TypeError):
        return None
    return giving(value) if copy is value else lambda: _Copy().of(value)


def giving(value: Any) -> Default:
    """What gives a value itself."""
    return lambda: value


class _Copy:
    """One copy of a value; what it holds twice, the copy holds twice.

    Raises:
        TypeError: an object in it is of no data type, or copying it would run its code.
    """

    def __init__(self) -> None:
        self._known: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        """The copy of a value; the value itself if it never changes."""
        kind = type(value)
        if kind in _SHARED or issubclass(kind, (type, enum.Enum)) or _is_fixed(kind):
            return value
        if id(value) not in self._known:
            self._known[id(value)] = self._copied(value, kind)
        return self._known[id(value)]

    def _copied(self, value: Any, kind: type) -> Any:
        if kind in _CONTAINERS:
            return _CONTAINERS[kind](self, value)
        if solid_base(kind) is tuple and (kind is tuple or attribute(kind, "_fields")):
            items = list(map(self.of, tuple.__iter__(value)))
            same = all(map(_is, items, tuple.__iter__(value)))
            return value if same else tuple.__new__(kind, items)
        return value.copy("K") if _numpy.is_plain_array(value) else self._object(value, kind)

    def of_list(self, value: list[Any]) -> list[Any]:
        """A list."""
        copy: list[Any] = []
        self._known[id(value)] = copy
        copy += map(self.of, value)
        return copy

    def of_dict(self, value: dict[Any, Any]) -> dict[Any, Any]:
        """A dict, or one of the standard library's kinds of dict."""
        self._hashed(value)
        copy = self._known[id(value)] = value.copy()
        for key, item in value.items():
            copy[key] = self.of(item)
        return copy

    def of_deque(self, value: deque[Any]) -> deque[Any]:
        """A deque."""
        return deque(map(self.of, value), value.maxlen)

    def of_set(self, value: Any) -> Any:
        """A set or frozenset."""
        self._hashed(value)
        return value.copy()

    def _hashed(self, keys: Iterable[Any]) -> None:
        """Look at keys or elements, which stay what they are: copying hashes them again."""
        for key in keys:
            if type(key) in {tuple, frozenset}:
                self._hashed(key)
            elif self.of(key) is not key and hashes_itself(type(key)):
                raise TypeError

    def _object(self, value: Any, kind: type) -> Any:
        if solid_base(kind) is not object or attribute(kind, "__del__") is not None:
            raise TypeError
        if all(attribute(kind, name) is None for name in _DATA_TYPES):
            raise TypeError
        state = State(kind)
        copy: Any = object.__new__(kind)
        self._known[id(value)] = copy
        return state.put(copy, {name: self.of(item) for name, item in state.of(value).items()})


_CONTAINERS: Final[Mapping[type, Callable[[_Copy, Any], Any]]] = {
    list: _Copy.of_list,
    deque: _Copy.of_deque,
    bytearray: lambda _, value: bytearray(value),
    **dict.fromkeys((dict, OrderedDict, Counter, defaultdict), _Copy.of_dict),
    **dict.fromkeys((set, frozenset), _Copy.of_set),
}


def _is(left: Any, right: Any) -> bool:
    return left is right


def _is_fixed(kind: type) -> bool:
    """Whether values of a library's class never change."""
    urls = (loaded("pydantic.networks", name) for name in ("_BaseUrl", "_BaseMultiHostUrl"))
    return (
        any(url is not None and url in mro(kind) for url in urls)
        or kind.__module__.startswith("pydantic_core.")
        or _numpy.is_scalar(kind)
    )
