"""Which classes may be stored and built: the official types, and the application's data types."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final, TypeAlias

from wren_sessions.errors import ConfigurationError, SerializationError, UnsafeTypeError
from wren_sessions.serializers._annotations import LITERAL
from wren_sessions.serializers._classes import attribute, hashes_itself, mro, name_of
from wren_sessions.serializers._local_classes import notes_on, notes_so_far
from wren_sessions.serializers._main_module import import_name, is_main, module_at
from wren_sessions.serializers._models import model_profile
from wren_sessions.serializers._profiles import Profile, profile_of
from wren_sessions.serializers._resolve import (
    find_ref,
    has_name,
    is_official,
    number_generic,
    official,
    ref_of,
)
from wren_sessions.serializers._value_types import value_profile
from wren_sessions.serializers._wire import split_version, type_name
from wren_sessions.serializers.plain import PlainObject, parts_of
from wren_sessions.serializers.unpacking import check_hashes

Allowed: TypeAlias = type | str | tuple[str, ...]

logger = logging.getLogger("wren_sessions")

_profiles: dict[type, Profile | None] = {}  # of classes that a name leads to
_by_name: dict[str, type] = {}  # which of them a name leads to
_DATA_TYPES: Final = "pydantic models, dataclasses, enums and named tuples"
_AS_PLAIN_DATA: Final = (
    "SafeSerializer(missing='plain') reads such values as plain data, and so does PlainSerializer"
)
_TRUE: Final = frozenset({"1", "true", "yes"})
_CONVERTIBLE: Final = frozenset(
    {bytearray, bytes, complex, dict, float, frozenset, int, list, set, str, tuple}
)
_HASHED: Final = frozenset({str, int, float, bool, bytes, type(None)})


class Allowlist:
    """The classes that one serializer stores and builds.

    Args:
        allow: classes, names ``"module:QualName"``, or LangGraph's pairs (module, name); None for
            every data type of the modules that are loaded.
        strict: whether classes that no name leads to are refused.

    Raises:
        ConfigurationError: an entry is none of these.
    """

    def __init__(self, allow: Iterable[Allowed] | None, *, strict: bool = False) -> None:
        self._strict = strict
        if allow is None and os.environ.get("LANGGRAPH_STRICT_MSGPACK", "").lower() in _TRUE:
            allow = ()  # LangGraph then adds what the graph's schemas name
        self.names = None if allow is None else frozenset(map(_entry, allow))

    def widened(self, extra: Iterable[Allowed]) -> Allowlist:
        """With further classes; itself if it has them all."""
        if self.names is None:
            return self
        names = self.names | set(map(_entry, extra))
        if names == self.names:
            return self
        found = Allowlist((), strict=self._strict)
        found.names = names
        return found

    def has(self, ref: Any) -> bool:
        """Whether a class of a stored name is on the list."""
        return self.names is None or is_official(ref) or self.names_it(ref)

    def names_it(self, ref: Any) -> bool:
        """Whether the application itself put the class on the list."""
        name = _imported(type_name(ref))
        if self.names is None:
            return False
        for each in (name, name.partition("[")[0]):  # of a parametrized model, its origin is enough
            module, _, path = each.partition(":")
            if each in self.names or (module, path.rpartition(".")[2]) in self.names:
                return True
        return type(ref) is list and self.names_it(ref[0])

    # --- writing ---

    def to_write(self, kind: type) -> Profile:
        """What writes objects of a class.

        Raises:
            SerializationError: they could not be read back; why, and what to do.
        """
        profile = _profile(kind)
        if profile is None:
            raise SerializationError(f"a {name_of(kind)} cannot be stored: {_why_not(kind)}")
        if not has_name(profile.ref) or find_ref(profile.ref) is not kind:
            profile = self._without_name(kind, profile)
        if not self.has(profile.ref):
            raise SerializationError(f"a {name_of(kind)} cannot be stored: {_add(profile.ref)}")
        return profile

    def _without_name(self, kind: type, profile: Profile) -> Profile:
        """The profile of a class to which its name in the profile does not lead, or not by itself.

        The name may lead to it by now; or to another class, since its module was loaded again.
        """
        if ref_of(kind) != profile.ref:
            profile = _anew(kind) or profile
        if find_ref(profile.ref) is not kind and number_generic(kind):
            profile = _anew(kind) or profile
        named, name = has_name(profile.ref), name_of(kind)
        if find_ref(profile.ref) is not kind or (self._strict and not named):
            raise SerializationError(
                f"a {name} cannot be stored, since that name does not lead back to its class: "
                "define the class at the top level of an importable module, under its own name"
            )
        if not named and self.has(profile.ref):
            _warn_once(kind, name)
        return profile

    # --- reading ---

    def to_build(self, ref: Any) -> Profile:
        """What builds objects of a class that stored data names.

        Raises:
            UnsafeTypeError: it may not be built; why, and what to do.
        """
        name = type_name(ref)
        kind = self._find(ref)
        if not self._allows(ref, kind):
            raise UnsafeTypeError(f"stored data holds a {name}, which is not allowed: {_add(ref)}")
        if kind is None:
            bare, version = split_version(ref)
            raise UnsafeTypeError(
                f"stored data holds a {name}, {_why_missing(bare)}. {_AS_PLAIN_DATA}",
                deferrable=version > 0 or _is_of_loaded_package(bare),
                line=f'.renamed("{_entry_for(bare)}", "…")',
            )
        profile = _profile(kind)
        if profile is None:
            raise UnsafeTypeError(
                f"stored data holds a {name}, which is not one of {_DATA_TYPES}: it is never built "
                "(PlainSerializer reads it as plain data)"
            )
        return profile

    def lacks(self, ref: Any) -> bool:
        """Whether a class of stored data is allowed, and this process has not got it."""
        bare, _ = split_version(ref)
        return self._find(bare) is None and self._allows(bare, None)

    def _find(self, ref: Any) -> type | None:
        return official(ref) if is_official(ref) else find_ref(ref)

    def _allows(self, ref: Any, kind: type | None) -> bool:
        return self.has(ref) or (kind is not None and self.has(ref_of(kind)))

    # --- hashing ---

    def check_keys(self, keys: Collection[Any]) -> None:
        """Refuse keys, and elements of sets, whose hash is the application's code.

        Those of classes that the application has allowed by name are hashed.
        """
        for key in keys:
            if type(key) not in _HASHED:
                self._check_key(key)
        check_hashes(keys)

    def _check_key(self, key: Any) -> None:
        rest = [key]  # no call for each level: keys may be nested as deep as values
        while rest:
            part = rest.pop()
            kind = type(part)
            if kind not in _HASHED:
                rest += self._hashed_with(part, kind)

    def _hashed_with(self, key: Any, kind: type) -> Iterable[Any]:
        """What is hashed with a key; raises if its hash is the application's code."""
        if kind is tuple or kind is frozenset:
            return key  # type: ignore[no-any-return]
        if kind is PlainObject:
            return parts_of(key)
        profile = _profile(kind)
        if profile is None:
            return ()
        if hashes_itself(kind) and not self.names_it(ref_of(kind)):
            raise UnsafeTypeError(
                f"a {profile.name} stands in a set or is a key, and has its own __hash__ or "
                "__eq__, which stored data does not run: name the class in "
                f"SafeSerializer(allow=[{profile.name!r}, …]), or use a list"
            )
        return profile.parts(key)


def _profile(kind: type) -> Profile | None:
    if kind in _profiles:
        return _profiles[kind]
    notes = notes_so_far(kind)
    if notes is not None and notes.profile is not None:
        known: Profile = notes.profile
        return known
    found = model_profile(kind) or profile_of(kind) or value_profile(kind)
    if attribute(kind, "__pydantic_complete__") is not False:  # else it waits for other classes
        _keep(kind, found)
    return found


def _keep(kind: type, profile: Profile | None) -> None:
    """Keep a profile: in the table as long as the process runs, or with the class."""
    ref = name_of(kind) if profile is None else profile.ref
    if has_name(ref) and find_ref(ref) is kind:
        name = str(ref)
        older = _by_name.get(name)
        if older is not None and older is not kind:
            _profiles.pop(older, None)
        _by_name[name] = kind
        _profiles[kind] = profile
    elif profile is not None and (notes := notes_on(kind)) is not None:
        notes.profile = profile


def _anew(kind: type) -> Profile | None:
    """A class's profile under another name."""
    _profiles.pop(kind, None)
    notes = notes_so_far(kind)
    if notes is not None:
        notes.profile = None
    return _profile(kind)


def _warn_once(kind: type, name: str) -> None:
    notes = notes_on(kind)
    if notes is not None and notes.is_first_warning():
        logger.warning(
            "a %s is stored, and no name leads to its class: this process reads it again as long "
            "as it keeps the class, and others only as plain data. Define the class at the top "
            "level of an importable module. SafeSerializer(strict=True) refuses such classes",
            name,
        )


def _entry(entry: Allowed) -> Any:
    if isinstance(entry, type):
        return type_name(ref_of(entry))
    if isinstance(entry, str) and entry.count(":") == 1:
        return _imported(entry)
    if isinstance(entry, tuple) and all(isinstance(part, str) for part in entry):
        return (import_name(entry[0]), *entry[1:]) if entry else entry
    raise ConfigurationError(
        f"allow= takes classes and names such as 'app.state:Answer', not {entry!r}"
    )


def _imported(name: str) -> str:
    """The name of a class with that of its module, where it says ``__main__``."""
    module, _, path = name.partition(":")
    return f"{import_name(module)}:{path}"


def _add(ref: Any) -> str:
    return f"add it to the list, SafeSerializer(allow=[{_entry_for(ref)!r}, …])"


def _entry_for(ref: Any) -> str:
    """What to write into ``allow=``: of a parametrized model, its origin."""
    while type(ref) is list and ref:
        ref = ref[0]
    return type_name(ref).partition("[")[0]


def _why_not(kind: type) -> str:
    bases = mro(kind)
    if BaseException in bases:
        return "it is an exception; store what it says, with repr(error), or its data"
    plain = next((base for base in bases[1:] if base in _CONVERTIBLE), None)
    if plain is not None:
        name = plain.__name__
        return (
            f"it is a {name} of the application's own, and would come back as a plain one; convert "
            f"it with {name}(…), or make it a dataclass that has a {name} in a field"
        )
    if attribute(kind, "__del__") is not None:
        return (
            "it has a __del__, which would run for each copy that is read; take that out, and use "
            "a context manager for what has to be closed"
        )
    return (
        f"it is neither one of {_DATA_TYPES} nor a standard-library value; store its data "
        "instead, or keep it outside the state"
    )


def _is_of_loaded_package(ref: Any) -> bool:
    """Whether a missing class is of a package that is loaded: then it went in a later release.

    Else the application itself is not loaded, which concerns more than the one value.
    """
    module = _entry_for(ref).partition(":")[0]
    return has_name(ref) and module.partition(".")[0] in sys.modules and not is_main(module)


def _why_missing(ref: Any) -> str:
    """Why this process has not got a class that stored data names, and what helps."""
    if type(ref) is list:
        return _why_not_parametrized(ref)
    name = type_name(ref)
    module, _, path = name.partition(":")
    if not has_name(ref):
        return (
            "a class that no name leads to: it was made in a function or while the program ran, or "
            "its module was reloaded, and only the process that wrote the value can build it, "
            f"as long as it keeps the class. Define {path.rpartition('.')[2]} at the top level of "
            f"the module {module}, for what is stored from then on"
        )
    if is_official(ref):
        return f"and {module.partition('.')[0]} is not installed here, or has no such class"
    if is_main(module):
        return (
            "a class of a notebook, or of a program whose file cannot be imported: read the value "
            "there, once the class is defined"
        )
    if module_at(module) is None:
        return (
            "and this process has imported no such class; stored data imports nothing: import "
            f"{module} in the application before the value is read"
        )
    return f"and the module {module} has no such class any more: define {path} in it again"


def _why_not_parametrized(ref: list[Any]) -> str:
    for name in _names_in(ref):
        module = name.partition(":")[0]
        if find_ref(name) is None and (not has_name(name) or module_at(module) is None):
            return f"whose {type_name(name)} is missing: {_why_missing(name)}"
    return (
        f"which this process has not made yet: use {type_name(ref).partition(':')[2]} in the "
        "application, as an annotation or in a line of its own, before the value is read"
    )


def _names_in(ref: Any) -> Iterator[str]:
    """The names of classes in the name of a parametrized one; values of ``Literal`` are none."""
    if type(ref) is list and ref and ref[0] != LITERAL:
        for part in ref:
            yield from _names_in(part)
    elif type(ref) is str and ":" in ref and ref[0] not in "'\"":
        yield ref
