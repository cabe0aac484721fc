"""Pydantic's models, of version 2 and of version 1: their state, written and put back.

An instance of version 2 is four slots: ``__dict__`` with the fields, ``__pydantic_fields_set__``,
``__pydantic_extra__`` and ``__pydantic_private__``; one of version 1 has ``__dict__`` with fields
and extras, ``__fields_set__``, and a slot for each private attribute.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import Any, Final

from wren_sessions.errors import SerializationError
from wren_sessions.serializers._classes import State, attribute, loaded, mro, slots_of, space
from wren_sessions.serializers._defaults import Default, Defaults, default_of
from wren_sessions.serializers._profiles import Profile

FOUR: Final = (
    "__dict__",
    "__pydantic_fields_set__",
    "__pydantic_extra__",
    "__pydantic_private__",
)


def names_to_mask(names: Collection[str], order: Collection[str]) -> Any:
    """Which fields are set: bits over the order of the stored map, or a list of names."""
    places = {name: at for at, name in enumerate(order)}
    if all(name in places for name in names):
        return sum(1 << places[name] for name in names)
    return sorted(names)


def mask_to_names(mask: Any, order: Collection[str]) -> set[str]:
    """The names again."""
    if type(mask) is int:
        if mask < 0 or mask.bit_length() > len(order):
            raise SerializationError("the stored value is damaged: it sets fields it does not have")
        return {name for at, name in enumerate(order) if mask >> at & 1}
    names = set(mask)
    if not all(type(name) is str for name in names):
        raise SerializationError("the stored value is damaged: a field has no name")
    return names


class ModelProfile(Profile):
    """A model of pydantic 2."""

    tag = b"p"

    def __init__(self, kind: type, base: type) -> None:
        super().__init__(kind)
        self.slots: list[Any] = [space(base)[name] for name in FOUR]
        own = space(kind)
        fields = own.get("__pydantic_fields__") or own.get("model_fields") or {}
        self.defaults: Defaults = _declared(fields)
        private = own.get("__private_attributes__") or {}
        self._private = _declared(private)
        missing = loaded("pydantic_core", "PydanticUndefined")
        self._optional = {
            name
            for name, item in private.items()
            if item.default is missing and item.default_factory is None
        }
        self.private_names: Collection[str] = private.keys()
        self.open: bool = (attribute(kind, "model_config") or {}).get("extra") == "allow"

    @cached_property
    def _others(self) -> State:
        """What instances have besides fields: usual messages are read without it."""
        return State(self.kind, FOUR)

    def write(self, value: Any) -> list[Any]:
        try:
            names = self.slots[1].__get__(value)
        except AttributeError:
            self.refuse("was made without its constructor, and is not complete")
        extra, private = (_of_slot(slot, value) for slot in self.slots[2:])
        state = self._others.of(value)
        fields = {name: state.pop(name) for name in self.defaults if name in state}
        for name in self._lacking(fields):
            self.refuse(f"has no value in its field {name!r}; set it before it is stored")
        parts = [extra, private, state or None]
        while parts and parts[-1] is None:
            parts.pop()
        return [self.head, self.ref, fields, names_to_mask(names, fields), *parts]

    def parts(self, value: Any) -> Iterable[Any]:
        return self._others.of(value).values()

    def build(self, items: list[Any]) -> Any:
        _, _, fields, mask, *rest = items
        return self.made(fields, mask, *rest)

    def made(
        self,
        fields: dict[str, Any],
        mask: Any,
        extra: dict[str, Any] | None = None,
        private: dict[str, Any] | None = None,
        others: Mapping[str, Any] | None = None,
    ) -> Any:
        """A model from its parts."""
        names = mask_to_names(mask, fields)
        return self.put(fields, names, extra, private, others or {})

    def put(
        self,
        fields: Mapping[str, Any],
        names: set[str],
        extra: dict[str, Any] | None,
        private: dict[str, Any] | None,
        others: Mapping[str, Any],
    ) -> Any:
        """A model from its parts, the set fields by name."""
        if self.open:
            unknown = {name: fields[name] for name in fields if name not in self.defaults}
            extra = extra if extra is None and not unknown else {**unknown, **(extra or {})}
            fields = {name: item for name, item in fields.items() if name in self.defaults}
        elif extra:
            self.completed(extra, {})
        if type(extra) not in {dict, type(None)}:
            self.refuse("was stored with damaged extras")
        value: Any = object.__new__(self.kind)
        self._others.put(value, {**self.completed(fields, self.defaults), **others})
        _, of_names, of_extra, of_private = self.slots
        of_names.__set__(value, names)
        of_extra.__set__(value, extra)
        of_private.__set__(value, self._privates(private))
        return value

    def _privates(self, stored: dict[str, Any] | None) -> dict[str, Any] | None:
        if stored is None and not self._private:
            return None
        stored = stored or {}
        # What was never set, and has no default, stays so.
        unset = {name for name in self._optional if name not in stored}
        known = {name: item for name, item in self._private.items() if name not in unset}
        return self.completed(stored, known)


def _of_slot(slot: Any, value: Any) -> Any:
    try:
        return slot.__get__(value)
    except AttributeError:
        return None  # a root model has no such parts, and leaves the slots empty


def _declared(fields: Mapping[str, Any]) -> Defaults:
    missing = loaded("pydantic_core", "PydanticUndefined")
    return {name: _default_of(field, missing) for name, field in fields.items()}


def _default_of(field: Any, missing: object) -> Default | None:
    return default_of(field.default, field.default_factory, missing, shared=False)


class Model1Profile(Profile):
    """A model of pydantic 1, or of ``pydantic.v1``."""

    tag = b"v"

    def __init__(self, kind: type, base: type) -> None:
        super().__init__(kind)
        self.names = space(base)["__fields_set__"]
        self._others = State(kind, {"__fields_set__"})
        self.private_names = slots_of(kind).keys() - {"__fields_set__"}
        undefined = loaded("pydantic.v1.fields", "Undefined")
        own: Mapping[str, Any] = attribute(kind, "__private_attributes__") or {}
        self._private_defaults: Defaults = {
            name: _default_of(item, undefined)
            for name, item in own.items()
            if item.default is not undefined or item.default_factory is not None
        }
        self.defaults: Defaults = {
            name: None if field.required else _default_of(field, Ellipsis)
            for name, field in space(kind)["__fields__"].items()
        }
        self.open = str(getattr(attribute(kind, "__config__"), "extra", "")).endswith("allow")

    def write(self, value: Any) -> list[Any]:
        state = self._others.of(value)
        private = {name: state.pop(name) for name in self.private_names if name in state}
        for name in self._lacking(state):
            self.refuse(f"has no value in its field {name!r}; set it before it is stored")
        state = {name: state[name] for name in self.defaults} | state
        mask = names_to_mask(self.names.__get__(value), state)
        return [self.head, self.ref, state, mask, *([private] if private else [])]

    def parts(self, value: Any) -> Iterable[Any]:
        return self._others.of(value).values()

    def build(self, items: list[Any]) -> Any:
        _, _, fields, mask, *rest = items
        return self.put(fields, mask_to_names(mask, fields), *rest)

    def put(
        self, fields: Mapping[str, Any], names: set[str], private: Mapping[str, Any] | None = None
    ) -> Any:
        """A model from its parts, the set fields by name."""
        known = {name: item for name, item in fields.items() if name in self.defaults}
        extra = {name: item for name, item in fields.items() if name not in self.defaults}
        if extra and not self.open:
            self.completed(extra, {})
        value: Any = object.__new__(self.kind)
        private = dict(private or {})
        missing = {
            name: item for name, item in self._private_defaults.items() if name not in private
        }
        own = self.completed({}, missing)
        state = self.completed(known, self.defaults) | extra | own | private
        self._others.put(value, state)
        self.names.__set__(value, names)
        return value


def model_profile(kind: type) -> Profile | None:
    """The profile of a pydantic model; None for any other class."""
    bases = mro(kind)
    base = loaded("pydantic.main", "BaseModel")
    if base is not None and base in bases and kind is not base:
        return None if attribute(kind, "__del__") is not None else ModelProfile(kind, base)
    base = loaded("pydantic.v1.main", "BaseModel")
    if base is not None and base in bases and kind is not base:
        return None if attribute(kind, "__del__") is not None else Model1Profile(kind, base)
    return None
