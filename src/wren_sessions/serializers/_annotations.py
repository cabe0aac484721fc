"""How annotations are named in stored data: the arguments of a parametrized model.

A name is text, or a list of a name and its arguments. It is made of what an annotation says, not
of how Python prints it: no address of a function is in it, and every process and every Python
gives the same one. `_meanings` compares names that do not agree to the letter.

Nothing of an application runs here: neither ``__repr__`` nor ``__eq__``, nor attribute access.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from functools import partial
from typing import Any, Final

from wren_sessions.serializers._classes import attribute, mro, space
from wren_sessions.serializers._main_module import import_name
from wren_sessions.serializers._standard import WRITERS
from wren_sessions.serializers._wire import MAIN_MARK, split_mark

Name = Callable[[type], Any]

NONE, ANY_NUMBER = "None", "..."
LITERAL, ANNOTATED, UNION, PIPE = (
    "typing:Literal",
    "typing:Annotated",
    "typing:Union",
    "types:UnionType",
)
ALIASES: Final = (
    types.GenericAlias,
    types.UnionType,
    type(typing.List[int]),  # noqa: UP006 -- the classes that typing makes of them
    type(typing.Optional[int]),  # noqa: UP045
)
SCALARS: Final = frozenset({str, bytes, int, float, complex, bool})
COLLECTIONS: Final = {kind: f"builtins:{kind.__name__}" for kind in (list, tuple, set, frozenset)}
_BUILTIN_FUNCTIONS: Final = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
)
_TYPING: Final = frozenset({"typing", "typing_extensions", "_typing"})
_FIELD_INFO: Final = "pydantic.fields:FieldInfo"
# What a field's description does to values; its title and its examples do nothing.
_FIELD_PARTS: Final[tuple[str, ...]] = (
    "default",
    "default_factory",
    "alias",
    "validation_alias",
    "serialization_alias",
    "exclude",
    "exclude_if",
    "discriminator",
    "frozen",
    "validate_default",
    "init",
    "init_var",
    "kw_only",
)
_MOST_ATTRIBUTES: Final = 32
_MOVED: Final = {"pathlib._local": "pathlib"}  # Python 3.13 alone has it there


def annotation_name(annotation: Any, name_of: Name) -> Any:
    """The name of an annotation, such as an argument of a parametrized model."""
    return _Namer(name_of).of(annotation)


class _Namer:
    def __init__(self, name_of: Name) -> None:
        self._name_of = name_of

    def of(self, value: Any) -> Any:
        """The name of an annotation, or of a value in one."""
        kind = type(value)
        if value is None or value is types.NoneType:
            return NONE
        if issubclass(kind, ALIASES):
            return self._alias(value)
        if issubclass(kind, type):
            return self._class(value)
        if kind.__module__ in _TYPING:
            return _special(value)
        return self._value(value, kind)

    def _class(self, kind: type) -> Any:
        name = self._name_of(kind)
        return moved(name) if type(name) is str else name

    def _alias(self, alias: Any) -> Any:
        origin, arguments = typing.get_origin(alias), typing.get_args(alias)
        if origin is typing.Union:
            head: Any = UNION
        elif issubclass(type(origin), type):
            # Of typing's own names for builtin classes, which are other classes to pydantic.
            own = getattr(alias, "_name", None) if type(alias).__module__ == "typing" else None
            head = f"typing:{own}" if own else self._class(origin)
        else:
            head = _special(origin)
        return [head, *map(self.of, arguments)]

    def _value(self, value: Any, kind: type) -> Any:
        """The name of what may stand in ``Literal`` and ``Annotated``."""
        if kind in SCALARS:
            return ascii(value)
        if kind in COLLECTIONS:
            parts = list(map(self.of, value))
            return [
                COLLECTIONS[kind],
                *(parts if kind in {list, tuple} else sorted(parts, key=str)),
            ]
        if kind is dict:
            return ["builtins:dict", *([self.of(key), self.of(it)] for key, it in value.items())]
        if issubclass(kind, enum.Enum):
            member = object.__getattribute__(value, "_name_")
            name, mark = split_mark(self._class(kind))
            return f"{name}.{member}{'' if mark == MAIN_MARK else mark}"
        if kind in WRITERS:
            return [self._class(kind), repr(value)]
        return self._code(value, kind) or self._object(value, kind)

    def _code(self, value: Any, kind: type) -> Any:
        """The name of a function; None for anything else."""
        if value is Ellipsis:
            return ANY_NUMBER
        if kind is types.FunctionType:
            name = f"{import_name(str(value.__module__))}:{value.__qualname__}"
            return [name, _place(value.__code__)] if "<" in name else name
        if issubclass(kind, _BUILTIN_FUNCTIONS):
            return f"{getattr(value, '__module__', None) or 'builtins'}:{value.__qualname__}"
        if kind is types.MethodType:
            return [self.of(value.__func__), self.of(value.__self__)]
        if kind is partial:
            keywords = ([name, self.of(item)] for name, item in value.keywords.items())
            return ["functools:partial", self.of(value.func), *map(self.of, value.args), *keywords]
        return None

    def _object(self, value: Any, kind: type) -> Any:
        """The name of any other object: its class, and what is plain about it."""
        name = self._class(kind)
        state = state_of(value, kind)
        defaults = _defaults(kind)
        if name == _FIELD_INFO:
            metadata = state.get("metadata")
            found = {part: state[part] for part in _FIELD_PARTS if part in state}
            rest = list(map(self.of, metadata)) if type(metadata) is list else []
        else:
            found, rest = state, []
        parts = [
            [part, self.of(item)]
            for part, item in sorted(found.items())[:_MOST_ATTRIBUTES]
            if item is not None
            and _is_plain(item)
            and not same_scalar(item, defaults.get(part, MISSING))
        ]
        return [name, *parts, *rest]


def _place(code: types.CodeType) -> str:
    """Where a function stands in its file: all that tells one lambda of a module from another."""
    begins = [
        (line, column)
        for line, _, column, end in code.co_positions()
        if line is not None and column is not None and column != end
    ]
    line, column = min(begins, default=(code.co_firstlineno, 0))
    return f"{line}.{column}"


def _special(value: Any) -> str:
    """The name of what typing has made: a special form, a type variable, a new type, an alias."""
    if type(value).__name__ == "TypeVar":
        return f"~{value.__name__}"
    for own_name in ("__qualname__", "__name__", "_name", "__forward_arg__"):
        name = getattr(value, own_name, None)
        if type(name) is str:
            module = getattr(value, "__module__", None)
            own = type(module) is str and module not in _TYPING
            return f"{module}:{name}" if own else f"typing:{name}"
    return f"typing:{type(value).__qualname__}"


def moved(name: str) -> str:
    """The name of a class, wherever this Python has it."""
    module, colon, path = name.partition(":")
    return f"{_MOVED.get(module, module)}{colon}{path}"


def state_of(value: Any, kind: type) -> dict[str, Any]:
    """An object's attributes, without asking the object."""
    found: dict[str, Any] = {}
    for base in mro(kind):
        for name, member in space(base).items():
            if type(member) is types.MemberDescriptorType:
                try:
                    found.setdefault(name, member.__get__(value))
                except AttributeError:
                    continue  # not set
            elif name == "__dict__" and type(member) is types.GetSetDescriptorType:
                found.update(member.__get__(value))
    return {name: item for name, item in found.items() if type(name) is str}


def _defaults(kind: type) -> Mapping[str, Any]:
    """The defaults of a dataclass: a field that a new release adds does not change old names."""
    fields = attribute(kind, "__dataclass_fields__")
    return {name: each.default for name, each in fields.items()} if type(fields) is dict else {}


def _is_plain(value: Any) -> bool:
    """Whether an attribute says the same in every process."""
    kind = type(value)
    return (
        kind in SCALARS
        or kind in COLLECTIONS
        or kind in WRITERS
        or kind in {dict, partial, types.FunctionType, types.MethodType}
        or issubclass(kind, (type, enum.Enum, *ALIASES, *_BUILTIN_FUNCTIONS))
    )


def same_scalar(value: Any, other: Any) -> bool:
    """Whether two values are one object, or equal texts or numbers of the same type."""
    return value is other or (type(value) is type(other) in SCALARS and value == other)
