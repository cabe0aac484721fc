"""What is stored of an application's data types, and how their instances are built again.

A `Profile` knows one class. It writes the state of an instance: slots and ``__dict__``, sorted into
fields and other attributes. It builds an instance by setting that state. No constructor, validator,
``__post_init__``, ``__setattr__`` or descriptor of the application runs. A field that the data does
not have gets its declared default. A field that the class does not have is an error here, so that
nothing is lost without notice: `_changed` then reads the value again, and keeps the field aside.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Final, NoReturn

from wren_sessions.errors import SerializationError
from wren_sessions.serializers._annotations import same_scalar
from wren_sessions.serializers._classes import (
    State,
    attribute,
    dict_of,
    listed,
    loaded,
    mro,
    name_of,
    slots_of,
    solid_base,
    space,
)
from wren_sessions.serializers._defaults import Default, Defaults, default_of, giving
from wren_sessions.serializers._resolve import is_official, ref_of
from wren_sessions.serializers._shapes import UNKNOWN, Shape, named
from wren_sessions.serializers._told import TOLD
from wren_sessions.serializers._wire import marker

_DATACLASS, _ENUM = map(marker, (b"o", b"e"))
_PLAIN_VALUES: Final = frozenset({int, str, bytes, float, bool, type(None)})
NO_MEMBER: Final = "was stored that is none of its members"
_SECRET: Final = ("_secret_value",)
_FIXED_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "langgraph.types:Send": ("node", "arg", "timeout"),
    "langgraph.store.base:Item": ("value", "key", "namespace", "created_at", "updated_at"),
    "langgraph.store.base:SearchItem": (
        "value",
        "key",
        "namespace",
        "created_at",
        "updated_at",
        "score",
    ),
    **{
        f"pydantic{version}.{name}": fields
        for version in ("", ".v1")
        for name, fields in {
            "networks:NameEmail": ("name", "email"),
            "color:Color": ("_original", "_rgba"),
            "color:RGBA": ("r", "g", "b", "alpha", "_tuple"),
        }.items()
    },
}


class Profile:
    """How instances of one class are written and built."""

    tag: ClassVar[bytes]
    defaults: Defaults = MappingProxyType({})
    keeps = False  # whether fields of an instance were ever kept aside

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.ref: Any = ref_of(kind)
        self.name: str = name_of(kind)

    @cached_property
    def shape(self) -> Shape | None:
        """The types of its fields; None for a library's class."""
        return None if is_official(self.ref) else Shape(self.kind, self.defaults)

    @cached_property
    def head(self) -> Any:
        """The marker of an object with all its fields."""
        return marker(self.tag + (b"" if self.shape is None else self.shape.whole))

    def fit(self, kind: bytes, fields: dict[str, Any]) -> None:
        """Make stored fields fit the types that they have in the class.

        Args:
            kind: the data of the object's marker.
            fields: what was stored; what lax mode changes is put there.

        Raises:
            SerializationError: one does not fit.
        """
        own = {} if self.shape is None else self.shape.by_name
        for name, stored in named(kind, fields).items():
            if self.shape is None or name not in own or stored in {UNKNOWN, own[name]}:
                continue
            value, default = fields[name], self.defaults.get(name)
            if default is not None and same_scalar(value, default()):
                continue
            try:
                fields[name] = self.shape.fitted(name, value)
            except ValueError:
                self.changed(
                    f"was stored with {name!r} as {type(value).__name__}, which its annotation "
                    "does not take any more; give the field that type again, or another name",
                    "migration since=…",
                )
            if fields[name] is not value:
                TOLD.migrates(self.name)

    def write(self, value: Any) -> list[Any]:
        """The items of the value's envelope; their elements may need writing themselves."""
        raise NotImplementedError

    def build(self, items: list[Any]) -> Any:
        """The value of an envelope's items."""
        raise NotImplementedError

    def parts(self, value: Any) -> Iterable[Any]:
        """What hashing and comparing a value looks at."""
        del value
        return ()

    def refuse(self, why: str) -> NoReturn:
        """Say why a value of the class cannot be stored or built."""
        raise SerializationError(f"a {self.name} {why}")

    def changed(self, why: str, line: str = "") -> NoReturn:
        """Say why a stored value does not fit the class: it has changed since.

        Args:
            why: why.
            line: the method of `Migrations` that mends it, and its further arguments.
        """
        method, _, rest = line.partition(" ")
        line = f'.{method}("{self.name}", {rest})' if line else ""
        raise SerializationError(f"a {self.name} {why}", deferrable=True, line=line)

    def completed(self, fields: Mapping[str, Any], defaults: Defaults) -> dict[str, Any]:
        """The fields in the data, in the class's order, and the defaults of those it lacks."""
        if not fields.keys() <= defaults.keys():
            unknown = fields.keys() - defaults.keys()
            self.changed(
                f"was stored with {listed(unknown)}, which the class does not have; give it that "
                "again (with a default), or read the value with PlainSerializer and write it anew",
                f"field_removed {listed(unknown)}",
            )
        return {
            name: fields[name] if name in fields else self._default(name, default)
            for name, default in defaults.items()
        }

    def _lacking(self, present: Mapping[str, Any]) -> list[str]:
        return [name for name in self.defaults if name not in present]

    def _default(self, name: str, default: Default | None) -> Any:
        if default is None:
            self.changed(
                f"was stored without {name!r}, which has no plain default; give it one, since a "
                "default_factory of the application is not run by stored data",
                "migration since=…",
            )
        return default()


class StateProfile(Profile):
    """A dataclass, or one of the few other classes whose fields are known."""

    tag = b"o"

    def __init__(self, kind: type, defaults: Defaults) -> None:
        super().__init__(kind)
        self.defaults = defaults
        self._state = State(kind)

    def write(self, value: Any) -> list[Any]:
        state = self._state.of(value)
        fields = {name: state.pop(name) for name in self.defaults if name in state}
        for name in self._lacking(fields):
            if self.defaults[name] is None or name in self._state.slots:
                self.refuse(f"has no value in its field {name!r}; set it before it is stored")
        head = self.head if len(fields) == len(self.defaults) else _DATACLASS
        return [head, self.ref, fields, *([state] if state else [])]

    def parts(self, value: Any) -> Iterable[Any]:
        return self._state.of(value).values()

    def build(self, items: list[Any]) -> Any:
        _, _, fields, *rest = items
        state = self.completed(fields, self.defaults)
        for others in rest:
            state |= others
        return self._state.put(object.__new__(self.kind), state)


class NamedTupleProfile(Profile):
    """A named tuple, by the names of its fields."""

    tag = b"n"

    def __init__(self, kind: type, fields: tuple[str, ...]) -> None:
        super().__init__(kind)
        own = attribute(kind, "_field_defaults") or {}
        self.defaults: Defaults = {
            name: giving(own[name]) if name in own else None for name in fields
        }
        self._dict = dict_of(kind)

    def write(self, value: Any) -> list[Any]:
        items = list(tuple.__iter__(value))
        if len(items) != len(self.defaults):
            self.refuse("does not have as many elements as fields")
        if self._dict is not None and self._dict.__get__(value):
            self.refuse("has attributes that are not fields; store those separately")
        return [self.head, self.ref, dict(zip(self.defaults, items, strict=True))]

    def parts(self, value: Any) -> Iterable[Any]:
        return tuple.__iter__(value)

    def build(self, items: list[Any]) -> Any:
        _, _, fields = items
        return tuple.__new__(self.kind, self.completed(fields, self.defaults).values())


class EnumProfile(Profile):
    """An enum: its members by name, combinations of flags by number."""

    tag = b"e"

    def write(self, value: Any) -> list[Any]:
        name, content = value._name_, value._value_
        if self._members().get(name) is not value:
            name = content
            if self._combined(content) is not value:
                self.refuse("that is none of its members cannot be stored")
        shown = content if type(content) in _PLAIN_VALUES else name
        return [_ENUM, self.ref, name, shown]

    def build(self, items: list[Any]) -> Any:
        _, _, name, _ = items
        found = self._combined(name) if type(name) is int else self._members().get(name)
        return self.changed(NO_MEMBER, f"member_renamed {name}=…") if found is None else found

    def by_value(self, value: Any) -> Any:
        """The member of a value: all that LangGraph's serializer keeps of one."""
        kind = type(value)  # compared with its like alone: other values may have an own `__eq__`
        plain = (m for m in self._members().values() if type(m._value_) is kind in _PLAIN_VALUES)
        found = next((member for member in plain if member._value_ == value), None)
        if found is None and type(value) is int:
            found = self._combined(value)
        return self.changed(NO_MEMBER, "member_renamed …") if found is None else found

    def _members(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = space(self.kind)["_member_map_"]
        return found

    def _combined(self, value: Any) -> Any:
        """A combination of flags, by enum's own method unless the application has another."""
        if type(value) is not int or enum.Flag not in mro(self.kind):
            return None
        ours = space(enum.Flag)["_missing_"]
        if attribute(self.kind, "_missing_") is not ours:
            return None
        known = space(self.kind)["_value2member_map_"].get(value)
        if known is not None:
            return known
        try:
            return ours.__func__(self.kind, value)
        except ValueError:
            return None


def profile_of(kind: type) -> Profile | None:
    """The profile of a data type, other than pydantic's models; None for any other class."""
    if attribute(kind, "__del__") is not None:
        return None
    bases = mro(kind)
    if enum.Enum in bases:
        return EnumProfile(kind) if "_member_map_" in space(kind) else None
    fields = attribute(kind, "_fields")
    if solid_base(kind) is tuple and type(fields) is tuple:
        return NamedTupleProfile(kind, fields)
    if solid_base(kind) is not object:
        return None
    fixed = _SECRET if _is_secret(kind) else _FIXED_FIELDS.get(name_of(kind))
    if fixed is not None:
        present = {*slots_of(kind)} | ({*fixed} if dict_of(kind) is not None else set())
        # An older release lacks the newer fields, and the other way round.
        optional = {"timeout", "score"}
        return StateProfile(
            kind,
            {name: giving(None) if name in optional else None for name in fixed if name in present},
        )
    declared = attribute(kind, "__dataclass_fields__")
    return None if declared is None else StateProfile(kind, _defaults(kind, declared))


def _is_secret(kind: type) -> bool:
    """Whether a class is one of pydantic's for secrets, or derives from one."""
    bases = (
        loaded("pydantic.types", "_SecretBase"),
        loaded("pydantic.types", "SecretStr"),  # what older releases have
        loaded("pydantic.types", "SecretBytes"),
        loaded("pydantic.v1.types", "SecretField"),
    )
    return any(base is not None and base in mro(kind) for base in bases)


def _defaults(kind: type, declared: Mapping[str, dataclasses.Field[Any]]) -> Defaults:
    slots = slots_of(kind)
    return {
        name: _default_of(field)
        for name, field in declared.items()
        if field._field_type is dataclasses._FIELD  # type: ignore[attr-defined] # noqa: SLF001 -- no class or init variable
        and (name in slots or not hasattr(type(attribute(kind, name)), "__set__"))
    }


def _default_of(field: dataclasses.Field[Any]) -> Default | None:
    info: Any = field.default
    of_pydantic = type(info) is loaded("pydantic.fields", "FieldInfo")
    if of_pydantic:
        missing = loaded("pydantic_core", "PydanticUndefined")
        return default_of(info.default, info.default_factory, missing, shared=False)
    return default_of(info, field.default_factory, dataclasses.MISSING, shared=True)
