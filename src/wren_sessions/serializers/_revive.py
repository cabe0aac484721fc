"""What LangGraph's serializer lost inside a model, restored from the model's annotations.

It stored a model as ``model_dump()`` shows it. Models, dataclasses and typed dicts inside became
dicts, named tuples and tuples became lists, and a root model became its value. Computed fields are
among the fields, and names may be aliases. The annotations say what each value was. If they leave
this open, or if a serializer of the model itself changed the values, that is an error. It never
becomes a different value from the one that was stored.
"""

from __future__ import annotations

import types
import typing
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, TypeAlias, Union, get_args, get_origin

from wren_sessions.serializers._allowed import Allowlist
from wren_sessions.serializers._annotations import same_scalar
from wren_sessions.serializers._classes import attribute, mro
from wren_sessions.serializers._models import Model1Profile, ModelProfile
from wren_sessions.serializers._profiles import NamedTupleProfile, Profile, StateProfile
from wren_sessions.serializers._resolve import ref_of
from wren_sessions.serializers._shapes import declared, hints_of, infos_of
from wren_sessions.serializers._standard import FACTORIES
from wren_sessions.serializers._value_types import ValueProfile

AnyModel: TypeAlias = ModelProfile | Model1Profile

AGAIN: Final = "read it once with JsonPlusSerializer, and write it again with SafeSerializer"
_UNKNOWN: Final = object()  # the annotation of what has none that can be read
_MAPPINGS: Final = frozenset({"dict", "Mapping", "MutableMapping", "OrderedDict", "defaultdict"})
_LISTS: Final = frozenset(
    {"list", "Sequence", "MutableSequence", "Iterable", "Collection", "deque"}
)
_STORED_AS: Final[Mapping[type, frozenset[str]]] = {
    dict: _MAPPINGS | {"Counter"},
    list: _LISTS - {"deque"} | {"tuple"},
    deque: frozenset({"deque"}),
}


class Reviver:
    """Restores the values of models whose classes are on a list."""

    def __init__(self, allowed: Allowlist) -> None:
        self._allowed = allowed

    # --- objects ---

    def model(self, profile: AnyModel, stored: Any) -> Any:
        """A model, from what its class's ``model_dump()`` or ``dict()`` gave."""
        if isinstance(profile, ModelProfile):
            stored = {"root": stored} if _is_root(profile.kind) else stored
        elif "__root__" in profile.defaults:
            has_root = type(stored) is dict and stored.keys() == {"__root__"}
            stored = stored if has_root else {"__root__": stored}
        fields = self._fields(profile, stored)
        if isinstance(profile, Model1Profile):
            return profile.put(fields, set(fields))
        return profile.put(fields, set(fields), {} if profile.open else None, None, {})

    def data(self, profile: StateProfile, stored: Mapping[str, Any]) -> Any:
        """A dataclass, from a dict of its fields."""
        return with_fields(profile, self._fields(profile, stored))

    def _fields(self, profile: Profile, stored: Any) -> dict[str, Any]:
        if type(stored) is not dict:
            profile.refuse("was stored in a damaged way: it has no fields")
        _refuse_serializers(profile, stored)
        annotations = _annotations(profile)
        return {
            name: self.value(annotations.get(name), value, profile)
            for name, value in _by_name(profile, stored).items()
        }

    # --- values ---

    def value(self, annotation: Any, stored: Any, owner: Profile) -> Any:
        """A value as its annotation says it was.

        Args:
            annotation: of a field, or of what stands in it.
            stored: what was stored.
            owner: whose field it is.
        """
        annotation = _bare(annotation, owner)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin in {Union, types.UnionType}:
            return self._one_of(arguments, stored, owner)
        if annotation is _UNKNOWN and type(stored) in {dict, list}:
            owner.refuse(f"was stored with a field whose annotation cannot be read; {AGAIN}")
        kind = annotation if origin is None else origin
        if not issubclass(type(kind), type):
            return stored  # Any, a type variable, a literal
        if type(stored) in {dict, list, deque}:
            found = self._collection(kind, arguments, stored, owner)
            if found is not None:
                return found
        return self._object(kind, stored, owner)

    def _object(self, kind: type, stored: Any, owner: Profile) -> Any:
        if kind is bytearray and type(stored) is bytes:
            return bytearray(stored)
        if _is_typed_dict(kind) and type(stored) is dict:
            hints = hints_of(kind)
            return {
                name: self.value(hints.get(name, _UNKNOWN), value, owner)
                for name, value in stored.items()
            }
        return self._built(ref_of(kind), stored) if _may_be(kind, stored) else stored

    def _built(self, ref: Any, stored: Any) -> Any:
        profile = self._allowed.to_build(ref)
        if isinstance(profile, ModelProfile | Model1Profile):
            return self.model(profile, stored)
        if isinstance(profile, NamedTupleProfile):
            return self._named_tuple(profile, stored)
        if isinstance(profile, StateProfile):
            return self.data(profile, stored)
        if isinstance(profile, ValueProfile) and type(stored) is int:
            return profile.of(stored)
        return profile.refuse(f"was stored as plain text; {AGAIN}")

    def _named_tuple(self, profile: NamedTupleProfile, stored: list[Any]) -> Any:
        hints = hints_of(profile.kind)
        if len(stored) > len(profile.defaults):
            profile.changed(
                f"was stored with {len(stored)} elements and no names of fields, and its class has "
                f"{len(profile.defaults)} fields now"
            )
        fields = zip(profile.defaults, stored, strict=False)
        return with_fields(
            profile,
            {name: self.value(hints.get(name), item, profile) for name, item in fields},
        )

    def _collection(
        self, kind: type, arguments: tuple[Any, ...], stored: Any, owner: Profile
    ) -> Any:
        """A collection of a builtin or abstract class; None for any other class."""
        name = kind.__name__ if kind.__module__ in _STANDARD else ""
        if type(stored) is dict:
            if name == "Counter":
                return Counter(stored)
            inner = arguments[1] if len(arguments) == 2 else None  # noqa: PLR2004 -- key, value
            return self._mapping(name, inner, stored, owner) if name in _MAPPINGS else None
        if name == "tuple" and type(stored) is list:
            return self._tuple(arguments, stored, owner)
        if name not in _LISTS:
            return None
        inner = arguments[0] if arguments else None
        items = [self.value(inner, item, owner) for item in stored]
        return deque(items) if kind is deque or type(stored) is deque else items

    def _mapping(
        self, name: str, annotation: Any, stored: dict[Any, Any], owner: Profile
    ) -> dict[Any, Any]:
        found = {key: self.value(annotation, item, owner) for key, item in stored.items()}
        if name == "defaultdict":
            kind = get_origin(annotation) or annotation
            return defaultdict(kind if kind in FACTORIES.values() else None, found)
        return OrderedDict(found) if name == "OrderedDict" else found

    def _tuple(self, arguments: tuple[Any, ...], stored: list[Any], owner: Profile) -> Any:
        if len(arguments) == 2 and arguments[1] is Ellipsis:  # noqa: PLR2004 -- tuple[X, ...]
            arguments = (arguments[0],) * len(stored)
        each = arguments if len(arguments) == len(stored) else (None,) * len(stored)
        return tuple(
            self.value(inner, item, owner) for inner, item in zip(each, stored, strict=True)
        )

    # --- unions ---

    def _one_of(self, choices: tuple[Any, ...], stored: Any, owner: Profile) -> Any:
        fitting = [choice for choice in choices if self._fits(choice, stored, owner)]
        if len(fitting) > 1 and type(stored) not in {dict, list, deque}:
            return stored  # a plain value is what it is, before it is the root of a model
        if len(fitting) > 1:
            said = [choice for choice in fitting if _says(_bare(choice, owner), stored)]
            fitting = said if len(said) == 1 else fitting
        if len(fitting) > 1:
            owner.refuse(f"was stored with a field that may be of several types; {AGAIN}")
        return self.value(fitting[0], stored, owner) if fitting else stored

    def _fits(self, choice: Any, stored: Any, owner: Profile) -> bool:
        """Whether a value may have been of one type of a union."""
        choice = _bare(choice, owner)
        kind = get_origin(choice) or choice
        if kind in {Union, types.UnionType}:
            return any(self._fits(inner, stored, owner) for inner in get_args(choice))
        if not issubclass(type(kind), type):
            return False
        name = kind.__name__ if kind.__module__ in _STANDARD else ""
        if name in _STORED_AS.get(type(stored), frozenset()) or kind is type(stored):
            return True
        return _may_be(kind, stored)


def with_fields(profile: Profile, fields: Mapping[str, Any]) -> Any:
    """An object of a class, from its fields."""
    return profile.build([None, profile.ref, fields])


# --- what a class says ----------------------------------------------------------------------------

_STANDARD: Final = frozenset({"builtins", "collections", "collections.abc", "typing"})
_DATA: Final = ("__pydantic_core_schema__", "__fields_set__", "__dataclass_fields__")
_VALUES: Final = frozenset({"pydantic.types:ByteSize", "pydantic.types:PaymentCardNumber"}) | {
    f"pydantic.v1.{name}"
    for name in ("types:ByteSize", "types:PaymentCardNumber", "networks:AnyUrl")
}


def _is_object(kind: type) -> bool:
    return any(attribute(kind, name) is not None for name in _DATA)


def _may_be(kind: type, stored: Any) -> bool:
    """Whether a value may be what was stored of an object of a class."""
    if _is_typed_dict(kind):
        return type(stored) is dict
    if _is_object(kind):
        rooted = _is_root(kind) or "__root__" in infos_of(kind)
        return type(stored) is dict or (rooted and not issubclass(type(stored), kind))
    if type(stored) is list:
        return tuple in mro(kind) and type(attribute(kind, "_fields")) is tuple
    values = {f"{base.__module__}:{base.__qualname__}" for base in mro(kind)} & _VALUES
    return bool(values) and type(stored) in {int, str} and type(stored) in mro(kind)


def _is_typed_dict(kind: type) -> bool:
    return attribute(kind, "__required_keys__") is not None


def _is_root(kind: type) -> bool:
    return attribute(kind, "__pydantic_root_model__") is True


def _annotations(profile: Profile) -> Mapping[str, Any]:
    infos = infos_of(profile.kind)
    found = declared(profile.kind, infos or profile.defaults, _UNKNOWN)
    for name, info in infos.items():  # pydantic takes the metadata off an annotation
        for extra in getattr(info, "metadata", ()):
            found[name] = Annotated[found[name], extra]
    return found


def _bare(annotation: Any, owner: Profile) -> Any:
    """An annotation without what is said about it, and without a name of its own."""
    while True:
        if type(annotation).__name__ == "TypeAliasType":  # ``type X = …``, from Python 3.12
            annotation = annotation.__value__
        elif get_origin(annotation) in _WRAPPERS:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) is Annotated:
            annotation, *rest = get_args(annotation)
            if any(map(_serializes, rest)):
                owner.refuse(f"was stored by its own serializer, and needs its validators; {AGAIN}")
        else:
            return annotation


_WRAPPERS: Final = frozenset({typing.Required, typing.NotRequired, typing.Final})


def _serializes(extra: Any) -> bool:
    """Whether what stands in ``Annotated`` changes what is stored."""
    kind = type(extra)
    names = {"PlainSerializer", "WrapSerializer"}
    own = kind.__module__ == "pydantic.functional_serializers" and kind.__name__ in names
    return own and _is_used(extra.when_used)


def _is_used(when: str) -> bool:
    return not when.startswith("json")


# --- names ----------------------------------------------------------------------------------------


def _by_name(profile: Profile, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by name, where they may stand under their aliases, without what is computed."""
    infos = infos_of(profile.kind)
    computed = _computed(profile.kind) - infos.keys()
    aliases = _aliases(infos)
    config = attribute(profile.kind, "model_config") or attribute(
        profile.kind, "__pydantic_config__"
    )
    first = type(config) is dict and config.get("serialize_by_alias")
    found: dict[str, Any] = {}
    for key, value in stored.items():
        known = key in infos
        name = aliases.get(key, key) if first or not known else key
        if known or name in infos or key not in computed:
            found[name] = value
    return found


def _aliases(infos: Mapping[str, Any]) -> dict[str, str]:
    aliases = {getattr(info, "serialization_alias", None): name for name, info in infos.items()}
    return {alias: name for alias, name in aliases.items() if type(alias) is str}


def _computed(kind: type) -> set[str]:
    found = attribute(kind, "__pydantic_decorators__")
    fields: Mapping[str, Any] = {} if found is None else found.computed_fields
    return {*fields, *(item.info.alias for item in fields.values() if item.info.alias)}


def _says(kind: Any, stored: Any) -> bool:
    """Whether the fields of a class may have been stored so; of others that is unknown."""
    if type(stored) is not dict or not issubclass(type(kind), type) or not _is_object(kind):
        return True
    return _has_keys_of(kind, stored) and _has_literals_of(kind, stored)


def _has_keys_of(kind: type, stored: Mapping[str, Any]) -> bool:
    """Whether a class has all fields that were stored. It may have more: those are newer."""
    infos = infos_of(kind)
    names = infos.keys() if infos else (attribute(kind, "__dataclass_fields__") or {}).keys()
    config = attribute(kind, "model_config")
    is_open = type(config) is dict and config.get("extra") == "allow"
    return is_open or not stored.keys() - names - _aliases(infos).keys() - _computed(kind)


def _has_literals_of(kind: type, stored: Mapping[str, Any]) -> bool:
    """Whether the fields of a class that are literals have values of theirs."""
    for name, info in infos_of(kind).items():
        annotation = getattr(info, "annotation", None) or getattr(info, "outer_type_", None)
        alias = getattr(info, "serialization_alias", None)
        value = stored.get(name, stored.get(alias) if type(alias) is str else None)
        literals = get_args(annotation) if get_origin(annotation) is typing.Literal else (value,)
        if value is not None and not any(same_scalar(value, literal) for literal in literals):
            return False
    return True


def _refuse_serializers(profile: Profile, stored: Mapping[str, Any]) -> None:
    """What a serializer of the model's own has changed, only its validators change back."""
    if profile.name.startswith("langchain_core."):
        return
    found = attribute(profile.kind, "__pydantic_decorators__")
    if found is None:
        return
    own = [*found.field_serializers.values(), *found.model_serializers.values()]
    for decorator in own:
        fields: Iterable[str] = getattr(decorator.info, "fields", stored)
        if _is_used(decorator.info.when_used) and ("*" in fields or set(fields) & stored.keys()):
            profile.refuse(f"was stored by its own serializer, and needs its validators; {AGAIN}")
