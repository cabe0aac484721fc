"""Values of libraries' own classes: pydantic's URLs, sizes and card numbers; langchain's texts.

A URL is written as text, and built from it by pydantic's own parser, which is in Rust. An
application's class may add constraints, but these were checked when the URL was created. Numbers
and texts of such a class are written as plain ones, with their attributes. So are the subclasses of
str and dict that langchain returns (such as ``message.text``), and that applications store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wren_sessions.errors import SerializationError, UnsafeTypeError
from wren_sessions.serializers._classes import State, attribute, loaded, mro, name_of, solid_base
from wren_sessions.serializers._profiles import Profile
from wren_sessions.serializers._resolve import find, official
from wren_sessions.serializers._standard import Write, write_zone
from wren_sessions.serializers._wire import SENTINELS, SUBCLASSES, marker
from wren_sessions.serializers.packing import Lower

_URL, _VALUE, _SENTINEL, _SUBCLASS = map(marker, (b"U", b"w", b"g", b"x"))
# Where the classes of time zones and sentinels are, in all releases and Pythons.
_CORE_MODULES: Final = frozenset(
    {"pydantic_core", "pydantic_core._pydantic_core", "typing_extensions", "typing", "builtins"}
)
_CORE: Final = {"Url": "_BaseUrl", "MultiHostUrl": "_BaseMultiHostUrl"}
_BASES: Final[Mapping[str, type]] = {
    "pydantic.types:ByteSize": int,
    "pydantic.types:PaymentCardNumber": str,
    "pydantic.v1.types:ByteSize": int,
    "pydantic.v1.types:PaymentCardNumber": str,
    "pydantic.v1.networks:AnyUrl": str,
}


class UrlProfile(Profile):
    """A URL of pydantic 2, or one of the core's own; the core's class parses it."""

    tag = b"U"

    def __init__(self, kind: type, core: type) -> None:
        super().__init__(kind)
        self._core = core
        self._state = None if kind is core else State(kind)
        if kind is core:
            self.ref = self.name = f"pydantic_core:{kind.__name__}"

    def write(self, value: Any) -> list[Any]:
        others: dict[str, Any] = {}
        if self._state is not None:
            others = self._state.of(value)
            value = others.pop("_url", None)
        if type(value) is not self._core:
            self.refuse("was made without its constructor, and is not complete")
        text = str(value)
        keeps_path = self._parsed(text) != value
        if keeps_path and self._parsed(text, keeps_path=True) != value:
            self.refuse("would be another one when it is read from its text")
        return [_URL, self.ref, text, *([keeps_path, others] if keeps_path or others else [])]

    def build(self, items: list[Any]) -> Any:
        _, _, text, *rest = items
        keeps_path, others = rest or (False, {})
        if type(text) is not str or type(keeps_path) is not bool or type(others) is not dict:
            self.refuse("was stored in a damaged way")
        url = self._parsed(text, keeps_path=keeps_path)
        if self._state is None:
            return url
        return self._state.put(object.__new__(self.kind), {"_url": url} | others)

    def _parsed(self, text: str, *, keeps_path: bool = False) -> Any:
        try:
            # Older releases of pydantic know of no URL without a path.
            return self._core(text, preserve_empty_path=True) if keeps_path else self._core(text)
        except (TypeError, ValueError):
            return self.refuse("is not a URL for the installed pydantic")


class ValueProfile(Profile):
    """A number or text of a class of pydantic's, with attributes: the class derives from `base`."""

    tag = b"w"

    def __init__(self, kind: type, base: type) -> None:
        super().__init__(kind)
        self._base = base
        self._state = State(kind)

    def write(self, value: Any) -> list[Any]:
        state = self._state.of(value)
        plain = int.__int__(value) if self._base is int else str.__str__(value)
        return [_VALUE, self.ref, plain, *([state] if state else [])]

    def build(self, items: list[Any]) -> Any:
        _, _, plain, *rest = items
        if type(plain) is not self._base or any(type(state) is not dict for state in rest):
            self.refuse("was stored in a damaged way")
        return self.of(plain, *rest)

    def of(self, plain: Any, state: Mapping[str, Any] | None = None) -> Any:
        """A value of a plain one."""
        return self._state.put(self._base.__new__(self.kind, plain), state or {})


def value_profile(kind: type) -> Profile | None:
    """The profile of one of pydantic's value types; None for any other class."""
    if attribute(kind, "__del__") is not None:
        return None
    for core_name, name in _CORE.items():
        core, base = loaded("pydantic_core", core_name), loaded("pydantic.networks", name)
        if core is not None and (kind is core or (base is not None and base in mro(kind))):
            return UrlProfile(kind, core)
    if solid_base(kind) in {int, str}:
        for ancestor in mro(kind):
            base = _BASES.get(name_of(ancestor))
            if base is not None:
                return ValueProfile(kind, base)
    return None


# --- values of pydantic's core --------------------------------------------------------------------


def core_writer(kind: type) -> Write | None:
    """What writes a time zone of pydantic's, or a sentinel; None for any other class."""
    if kind.__module__ not in _CORE_MODULES:
        return None
    if kind is loaded("pydantic_core", "TzInfo"):
        return lambda value: write_zone(value, "a value")
    if not any(type(_sentinel(name)) is kind for name in SENTINELS):
        return None

    def write(value: Any) -> list[Any]:
        for name in SENTINELS:
            if _sentinel(name) is value:
                return [_SENTINEL, name]
        raise SerializationError(
            "a sentinel of the application's own cannot be stored: use None, or an enum"
        )

    return write


def build_sentinel(items: list[Any]) -> Any:
    """The sentinel of an envelope."""
    _, name = items
    found = _sentinel(name) if name in SENTINELS else None
    if found is None:
        raise UnsafeTypeError(
            "the value holds a sentinel that the installed pydantic does not have"
        )
    return found


def _sentinel(name: str) -> Any:
    return loaded(*name.split(":"))


# --- subclasses of str and dict that langchain returns --------------------------------------------


def subclass_writer(kind: type, lower: Lower) -> Write | None:
    """What writes values of such a class; None for any other class."""
    name = name_of(kind)
    if name not in SUBCLASSES or find(name) is not kind:
        return None
    if SUBCLASSES[name] is dict:
        return lambda value: [_SUBCLASS, name, lower(dict(value))]
    return lambda value: [_SUBCLASS, name, str.__str__(value)]


def build_subclass(items: list[Any]) -> Any:
    """A value of an envelope's items."""
    _, name, content = items
    base = SUBCLASSES.get(name)
    if base is None or type(content) is not base:
        raise SerializationError("the stored value is damaged: a text or dict of an unknown class")
    kind = official(name)
    if kind is None or not issubclass(kind, base):
        raise UnsafeTypeError(
            f"the value holds a {name}, which the installed langchain-core does not have"
        )
    if base is str:
        return str.__new__(kind, content)
    found: Any = dict.__new__(kind)
    found.update(content)
    return found
