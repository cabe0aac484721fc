"""Objects that LangGraph's `JsonPlusSerializer` stored, from their data and by our rules.

It stored a constructor's arguments; here they become fields. `Reviver` restores what
it forgot inside a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import chain
from typing import Any, Final
from weakref import ref as weakref

from wren_sessions.errors import SerializationError
from wren_sessions.serializers._allowed import Allowlist
from wren_sessions.serializers._classes import attribute, mro, space
from wren_sessions.serializers._main_module import module_at
from wren_sessions.serializers._models import Model1Profile, ModelProfile
from wren_sessions.serializers._profiles import (
    EnumProfile,
    NamedTupleProfile,
    Profile,
    StateProfile,
)
from wren_sessions.serializers._resolve import find, find_ref, generic_of, ref_of
from wren_sessions.serializers._revive import AGAIN, Reviver, with_fields
from wren_sessions.serializers._wire import MESSAGES

_BY_NAME: Final = {name.partition(":")[2]: name for name in MESSAGES.values()}
_INTERRUPT: Final = "langgraph.types:Interrupt"
_ITEMS: Final = frozenset({"langgraph.store.base:Item", "langgraph.store.base:SearchItem"})
_OLD_INTERRUPT: Final = frozenset({"ns", "resumable", "when"})
_NAME: Final = type.__dict__["__name__"].__get__
# Of each module: which namespace was looked at, how large it was, and the classes in it.
_indexes: dict[str, tuple[int, int, dict[str, list[weakref[type]]]]] = {}


class LegacyObjects:
    """Builds objects of the classes on a list."""

    def __init__(self, allowed: Allowlist) -> None:
        self._allowed = allowed
        self._reviver = Reviver(allowed)

    def called(self, name: str, form: str, arguments: Any) -> Any:
        """An object, from the class's name and a constructor's arguments; see `_legacy.Objects`."""
        ref = stored_ref(name)
        kind = find_ref(ref)
        if kind is not None and BaseException in mro(kind):
            return None  # as LangGraph has it; later on it stored the repr of errors
        profile = self._allowed.to_build(ref)
        if isinstance(profile, EnumProfile) and form in {"value", "items"}:
            return profile.by_value(arguments if form == "value" else arguments[0])
        if isinstance(profile, ModelProfile | Model1Profile) and form == "model":
            return self._reviver.model(profile, arguments)
        if isinstance(profile, StateProfile | NamedTupleProfile):
            fields = _named(profile, form, arguments)
            checked = attribute(profile.kind, "__pydantic_core_schema__") is not None
            if checked and isinstance(profile, StateProfile):
                return self._reviver.data(profile, fields)
            return with_fields(profile, fields)
        return profile.refuse(f"was stored in a way that its class does not allow; {AGAIN}")


def official_name(name: str) -> str:
    """The name of langchain's class: early versions stored the place people import it from."""
    if name.startswith(("langchain.", "langchain_core.")):
        return _BY_NAME.get(name.rpartition(":")[2], name)
    return name


def stored_ref(name: str) -> Any:
    """How a class is named here that LangGraph's serializer named.

    It left out what a class is nested in, and named a parametrized model as pydantic does.
    """
    name = official_name(name)
    if find(name) is not None:
        return name
    module, _, short = name.partition(":")
    origin, bracket, _ = short.partition("[")
    kinds = _classes(module, origin)
    if bracket:
        made: list[type] = list(chain(*map(type.__subclasses__, kinds)))
        kinds = [kind for kind in made if generic_of(kind) is not None and _NAME(kind) == short]
    return ref_of(kinds[0]) if len(kinds) == 1 else name


def _classes(module_name: str, name: str) -> list[type]:
    """The classes of a module with a name, also those in other classes."""
    module = module_at(module_name)
    if module is None:
        return []
    names: Mapping[str, Any] = object.__getattribute__(module, "__dict__")
    known = _indexes.get(module_name)
    if known is None or known[:2] != (id(names), len(names)):
        known = _indexes[module_name] = (id(names), len(names), _index(module_name, names))
    found = [made() for made in known[2].get(name, ())]
    return [kind for kind in found if kind is not None]


def _index(module_name: str, names: Mapping[str, Any]) -> dict[str, list[weakref[type]]]:
    """All classes that a module defines, by name, without what they are nested in."""
    found: dict[str, list[weakref[type]]] = {}
    seen: set[int] = set()
    rest = [names]
    while rest:
        for value in list(rest.pop().values()):
            own = issubclass(type(value), type) and space(value).get("__module__") == module_name
            if own and id(value) not in seen:
                seen.add(id(value))
                found.setdefault(_NAME(value), []).append(weakref(value))
                rest.append(space(value))
    return found


def _named(profile: Profile, form: str, arguments: Any) -> Mapping[str, Any]:
    """A constructor's arguments by name."""
    if form == "items" and isinstance(profile, StateProfile | NamedTupleProfile):
        return dict(zip(profile.defaults, arguments, strict=False))
    if form == "value" and len(profile.defaults) == 1:
        return dict.fromkeys(profile.defaults, arguments)
    if type(arguments) is not dict:
        raise SerializationError("the stored value is damaged: an object has no fields")
    if profile.name == _INTERRUPT:
        return {name: item for name, item in arguments.items() if name not in _OLD_INTERRUPT}
    return _item(arguments) if profile.name in _ITEMS else arguments


def _item(fields: dict[str, Any]) -> dict[str, Any]:
    """A store's item: it was stored as it is shown, and its constructor read that."""
    times = {
        name: datetime.fromisoformat(fields[name])
        for name in ("created_at", "updated_at")
        if type(fields.get(name)) is str
    }
    return fields | times | {"namespace": tuple(fields.get("namespace", ()))}
