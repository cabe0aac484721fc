"""Objects that LangGraph's `JsonPlusSerializer` stored, from their data and by our rules.

It stored a constructor's arguments; here they become fields. It also forgot things: inside a model,
nested models and dataclasses became dicts, and tuples lists. The model's annotations say what they
were; where they leave it open the value is refused, and never comes back as something else.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Union, get_args, get_origin

from wren_sessions.errors import SerializationError
from wren_sessions.serializers._allowed import Allowlist
from wren_sessions.serializers._models import Model1Profile, ModelProfile
from wren_sessions.serializers._profiles import (
    EnumProfile,
    NamedTupleProfile,
    Profile,
    StateProfile,
)
from wren_sessions.serializers._resolve import attribute, ref_of
from wren_sessions.serializers._wire import MESSAGES

_BY_NAME: Final = {name.partition(":")[2]: name for name in MESSAGES.values()}
_SEND: Final = "langgraph.types:Send"
_INTERRUPT: Final = "langgraph.types:Interrupt"
_ITEMS: Final = frozenset({"langgraph.store.base:Item", "langgraph.store.base:SearchItem"})
_OLD_INTERRUPT: Final = frozenset({"ns", "resumable", "when"})
_COLLECTIONS: Final = (list, set, frozenset, tuple)
_AGAIN: Final = "read it once with JsonPlusSerializer, and write it again with SafeSerializer"


class LegacyObjects:
    """Builds objects of the classes on a list."""

    def __init__(self, allowed: Allowlist) -> None:
        self._allowed = allowed

    def called(self, name: str, form: str, arguments: Any) -> Any:
        """An object, from the class's name and a constructor's arguments; see `_legacy.Objects`."""
        profile = self._allowed.to_build(official_name(name))
        if isinstance(profile, EnumProfile) and form == "value":
            return profile.by_value(arguments)
        if isinstance(profile, ModelProfile | Model1Profile) and form == "model":
            return self._model(profile, arguments)
        if isinstance(profile, StateProfile | NamedTupleProfile):
            return _with_fields(profile, _named(profile, form, arguments))
        return profile.refuse(f"was stored in a way that its class does not allow; {_AGAIN}")

    def _model(self, profile: ModelProfile | Model1Profile, arguments: dict[str, Any]) -> Any:
        _refuse_serializers(profile)
        annotations = _annotations(profile)
        fields = {
            name: self._revived(annotations.get(name), value, profile)
            for name, value in arguments.items()
        }
        names = set(fields)
        if isinstance(profile, Model1Profile):
            return profile.put(fields, names)
        return profile.put(fields, names, {} if profile.open else None, None, {})

    def _revived(self, annotation: Any, value: Any, owner: Profile) -> Any:
        """A value as its annotation says it was."""
        if type(value) not in {dict, list}:
            return value
        annotation = _bare(annotation)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin in {Union, types.UnionType}:
            return self._one_of(arguments, value, owner)
        if type(value) is list:
            return self._collection(origin or annotation, arguments, value, owner)
        if origin is dict:
            return {key: self._revived(arguments[1], item, owner) for key, item in value.items()}
        return self._object(annotation, value) if issubclass(type(annotation), type) else value

    def _object(self, annotation: type, value: dict[str, Any]) -> Any:
        if attribute(annotation, "__fields__") is None and not _is_data_type(annotation):
            return value  # dict, TypedDict, Any
        profile = self._allowed.to_build(ref_of(annotation))
        if isinstance(profile, ModelProfile | Model1Profile):
            return self._model(profile, value)
        return _with_fields(profile, value)

    def _collection(
        self, kind: Any, arguments: tuple[Any, ...], value: list[Any], owner: Profile
    ) -> Any:
        if kind is not tuple:
            inner = arguments[0] if arguments and kind in _COLLECTIONS else None
            return [self._revived(inner, item, owner) for item in value]
        if len(arguments) == 2 and arguments[1] is Ellipsis:  # noqa: PLR2004 -- tuple[X, ...]
            arguments = (arguments[0],) * len(value)
        each = arguments if len(arguments) == len(value) else (None,) * len(value)
        return tuple(
            self._revived(inner, item, owner) for inner, item in zip(each, value, strict=True)
        )

    def _one_of(self, choices: tuple[Any, ...], value: Any, owner: Profile) -> Any:
        fitting = [choice for choice in choices if _fits(choice, value)]
        if len(fitting) > 1:
            owner.refuse(f"was stored with a field that may be of several types; {_AGAIN}")
        return self._revived(fitting[0], value, owner) if fitting else value


def official_name(name: str) -> str:
    """The name of langchain's class: early versions stored the place people import it from."""
    if name.startswith(("langchain.", "langchain_core.")):
        return _BY_NAME.get(name.rpartition(":")[2], name)
    return name


def _bare(annotation: Any) -> Any:
    """An annotation without what is said about it, and without a name of its own."""
    while True:
        if type(annotation).__name__ == "TypeAliasType":  # ``type X = …``, from Python 3.12
            annotation = annotation.__value__
        elif get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        else:
            return annotation


def _fits(choice: Any, value: Any) -> bool:
    """Whether a dict or list may have been an instance of one type of a union."""
    origin = get_origin(choice) or choice
    if type(value) is list:
        return origin in _COLLECTIONS
    return origin is dict or (issubclass(type(origin), type) and _is_data_type(origin))


def _is_data_type(kind: type) -> bool:
    names = ("__pydantic_core_schema__", "__fields_set__", "__dataclass_fields__")
    return any(attribute(kind, name) is not None for name in names)


def _annotations(profile: ModelProfile | Model1Profile) -> Mapping[str, Any]:
    if isinstance(profile, Model1Profile):
        fields = attribute(profile.kind, "__fields__")
        return {name: field.outer_type_ for name, field in fields.items()}
    fields = attribute(profile.kind, "__pydantic_fields__")
    fields = attribute(profile.kind, "model_fields") if fields is None else fields
    return {name: field.annotation for name, field in fields.items()}


def _refuse_serializers(profile: Profile) -> None:
    """What a serializer of the model's own has changed, only its validators change back."""
    found = attribute(profile.kind, "__pydantic_decorators__")
    own = found is not None and (found.field_serializers or found.model_serializers)
    if own and not profile.name.startswith("langchain_core."):
        profile.refuse(f"was stored by its own serializer, and needs its validators; {_AGAIN}")


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


def _with_fields(profile: Profile, fields: Mapping[str, Any]) -> Any:
    return profile.build([None, profile.ref, fields])
