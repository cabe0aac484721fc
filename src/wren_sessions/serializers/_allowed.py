"""Which classes may be stored and built: the official types, and the application's data types."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import Any, Final, TypeAlias

from wren_sessions.errors import ConfigurationError, SerializationError, UnsafeTypeError
from wren_sessions.serializers._models import model_profile
from wren_sessions.serializers._profiles import Profile, profile_of
from wren_sessions.serializers._resolve import (
    attribute,
    find_ref,
    hashes_itself,
    is_official,
    load_official,
    name_of,
    ref_of,
)
from wren_sessions.serializers._wire import check_hashes, type_name

Allowed: TypeAlias = type | str | tuple[str, ...]

_profiles: dict[type, Profile | None] = {}
_DATA_TYPES: Final = "pydantic models, dataclasses, enums and named tuples"
_TRUE: Final = frozenset({"1", "true", "yes"})
_HASHED: Final = frozenset({str, int, float, bool, bytes, type(None)})


class Allowlist:
    """The classes that one serializer stores and builds.

    Args:
        allow: classes, names ``"module:QualName"``, or LangGraph's pairs (module, name); None for
            every data type of the modules that are loaded.

    Raises:
        ConfigurationError: an entry is none of these.
    """

    def __init__(self, allow: Iterable[Allowed] | None) -> None:
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
        found = Allowlist(())
        found.names = names
        return found

    def has(self, ref: Any) -> bool:
        """Whether a class of a stored name is on the list."""
        return self.names is None or is_official(ref) or self.names_it(ref)

    def names_it(self, ref: Any) -> bool:
        """Whether the application itself put the class on the list."""
        name = type_name(ref)
        module, _, path = name.partition(":")
        last = (module, path.rpartition(".")[2])
        found = self.names is not None and (name in self.names or last in self.names)
        # Of a parametrized model, its origin is enough.
        return found or (type(ref) is list and self.names_it(ref[0]))

    # --- writing ---

    def to_write(self, kind: type) -> Profile:
        """What writes objects of a class.

        Raises:
            SerializationError: they could not be read back; why, and what to do.
        """
        profile = _profile(kind)
        name = name_of(kind)
        if profile is None:
            raise SerializationError(f"a {name} cannot be stored: {_why_not(kind)}")
        if find_ref(profile.ref) is not kind:
            raise SerializationError(
                f"a {name} cannot be stored, since that name does not lead back to its class: "
                "define the class at the top level of an importable module, under its own name"
            )
        if not self.has(profile.ref):
            raise SerializationError(f"a {name} cannot be stored: {_add(name)}")
        return profile

    # --- reading ---

    def to_build(self, ref: Any) -> Profile:
        """What builds objects of a class that stored data names.

        Raises:
            UnsafeTypeError: it may not be built; why, and what to do.
        """
        name = type_name(ref)
        if is_official(ref):
            load_official()
        kind = find_ref(ref)
        if not self.has(ref) and (kind is None or not self.has(ref_of(kind))):
            raise UnsafeTypeError(f"stored data holds a {name}, which is not allowed: {_add(name)}")
        if kind is None:
            raise UnsafeTypeError(
                f"stored data holds a {name}, and this process has imported no such class; stored "
                f"data imports nothing: import {name.partition(':')[0]} in the application before "
                "the value is read (or PlainSerializer reads it as plain data)"
            )
        profile = _profile(kind)
        if profile is None:
            raise UnsafeTypeError(
                f"stored data holds a {name}, which is none of {_DATA_TYPES}: it is never built "
                "(PlainSerializer reads it as plain data)"
            )
        return profile

    # --- hashing ---

    def check_keys(self, keys: Collection[Any]) -> None:
        """Refuse keys, and elements of sets, whose hash is the application's code.

        Those of classes that the application has allowed by name are hashed.
        """
        for key in keys:
            kind = type(key)
            if kind not in _HASHED:
                self._check_key(key, kind)
        check_hashes(keys)

    def _check_key(self, key: Any, kind: type) -> None:
        if kind in {tuple, frozenset}:
            for part in key:
                if type(part) not in _HASHED:
                    self._check_key(part, type(part))
        elif (profile := _profile(kind)) is not None:
            if hashes_itself(kind) and not self.names_it(ref_of(kind)):
                raise UnsafeTypeError(
                    f"a {profile.name} stands in a set or is a key, and has its own __hash__ or "
                    "__eq__, which stored data does not run: name the class in "
                    f"SafeSerializer(allow=[{profile.name!r}, …]), or use a list"
                )
            for part in profile.parts(key):
                if type(part) not in _HASHED:
                    self._check_key(part, type(part))


def _profile(kind: type) -> Profile | None:
    if kind in _profiles:
        return _profiles[kind]
    found = model_profile(kind) or profile_of(kind)
    if attribute(kind, "__pydantic_complete__") is not False:  # else it waits for other classes
        _profiles[kind] = found
    return found


def _entry(entry: Allowed) -> Any:
    if isinstance(entry, type):
        return type_name(ref_of(entry))
    if isinstance(entry, str) and entry.count(":") == 1:
        return entry
    if isinstance(entry, tuple) and all(isinstance(part, str) for part in entry):
        return entry
    raise ConfigurationError(
        f"allow= takes classes and names such as 'app.state:Answer', not {entry!r}"
    )


def _add(name: str) -> str:
    return f"add it to the list, SafeSerializer(allow=[{name!r}, …])"


def _why_not(kind: type) -> str:
    bases = [base for base in kind.__mro__[1:-1] if base.__module__ == "builtins"]
    if bases:
        return (
            f"it is a {bases[0].__name__} of the application's own, and would come back as a plain "
            f"one; convert it with {bases[0].__name__}(…), or make it a dataclass"
        )
    return (
        f"it is none of {_DATA_TYPES}, nor a standard-library value; store its data instead, or "
        "keep it outside the state"
    )
