"""Names to classes and back, without importing a module or running a line of an application.

A class is looked up in the ``__dict__`` of a module that is loaded already, and then in those of
classes. Attribute access is avoided throughout: modules may have a ``__getattr__``, classes a
metaclass, and both would run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache, cached_property
from importlib import import_module
from types import (
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, Final
from weakref import WeakKeyDictionary

from wren_sessions.errors import SerializationError
from wren_sessions.serializers._annotations import annotation_name
from wren_sessions.serializers._meanings import closest
from wren_sessions.serializers._wire import MESSAGES, SUBCLASSES

_MRO: Final = type.__dict__["__mro__"].__get__
_DICT: Final = type.__dict__["__dict__"].__get__
_BASE: Final = type.__dict__["__base__"].__get__
_FLAGS: Final = type.__dict__["__flags__"].__get__
_HEAP: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement
_generic_refs: WeakKeyDictionary[type, Any] = WeakKeyDictionary()
_LIBRARIES: Final = frozenset({"enum", "langchain_core", "langgraph", "pydantic"})

# LangGraph's own list of what may be built from stored data, as far as it is not in `_standard`.
OFFICIAL: Final[Mapping[str, tuple[str, ...]]] = {
    "langgraph.types": (
        "Send",
        "TimeoutPolicy",
        "Interrupt",
        "Command",
        "StateSnapshot",
        "PregelTask",
        "Overwrite",
    ),
    "langgraph.store.base": ("Item", "SearchItem", "GetOp"),
    "langgraph.checkpoint.serde.types": ("_DeltaSnapshot",),
}
_OFFICIAL: Final = {*MESSAGES.values(), *SUBCLASSES} | {
    f"{module}:{name}" for module, names in OFFICIAL.items() for name in names
}


_SECRETS: Final = frozenset(
    f"pydantic{version}.types:Secret{kind}" for version in ("", ".v1") for kind in ("Str", "Bytes")
)


def is_official(ref: Any) -> bool:
    """Whether a type may always be built: langchain's messages, langgraph's types, secrets."""
    return type(ref) is str and (ref in _OFFICIAL or ref in _SECRETS)


@cache
def load_official() -> None:
    """Import the modules of the official types, as far as they are installed: all, whatever for."""
    for module in sorted({ref.partition(":")[0] for ref in _OFFICIAL}):
        with suppress(ImportError):
            import_module(module)


def mro(kind: type) -> tuple[type, ...]:
    """A class and its bases, past any metaclass."""
    found: tuple[type, ...] = _MRO(kind)
    return found


def space(kind: type) -> Mapping[str, Any]:
    """A class's own attributes, past any metaclass."""
    found: Mapping[str, Any] = _DICT(kind)
    return found


def attribute(kind: type, name: str) -> Any:
    """An attribute as it stands in the class or a base; None if there is none."""
    return next((space(base)[name] for base in mro(kind) if name in space(base)), None)


def find(ref: str) -> type | None:
    """The class of a name ``"module:QualName"``, if its module is loaded and has it."""
    module_name, _, path = ref.partition(":")
    module = sys.modules.get(module_name)
    if module is None or not issubclass(type(module), ModuleType):
        return None
    found: Any = None
    names: Mapping[str, Any] = object.__getattribute__(module, "__dict__")
    head, bracket, arguments = path.partition("[")  # in names that pydantic 1 makes up
    parts = head.split(".")
    parts[-1] += bracket + arguments
    for part in parts:
        found = names.get(part)
        if not issubclass(type(found), type):
            return None
        names = space(found)
    return found if path else None


def name_of(kind: type) -> str:
    """A class's name, as errors and stored data have it."""
    return f"{kind.__module__}:{kind.__qualname__}"


def loaded(module: str, name: str) -> type | None:
    """A library's class, if the library is loaded."""
    found = sys.modules.get(module)
    return None if found is None else found.__dict__.get(name)


# --- parametrized pydantic models -----------------------------------------------------------------


def generic_of(kind: type) -> tuple[type, tuple[Any, ...]] | None:
    """The origin and the arguments of a parametrized pydantic model."""
    facts = space(kind).get("__pydantic_generic_metadata__")
    if facts:
        return None if facts["origin"] is None else (facts["origin"], facts["args"])
    known: Any = loaded("pydantic.v1.generics", "_assigned_parameters")
    arguments = None if known is None else known.get(kind)
    return None if arguments is None else (mro(kind)[1], tuple(arguments.values()))


def ref_of(kind: type) -> Any:
    """How a class is named in stored data; see `_wire`."""
    generic = generic_of(kind)
    if generic is None:
        return name_of(kind)
    found = _generic_refs.get(kind)
    if found is None:
        origin, arguments = generic
        found = [ref_of(origin), *(annotation_name(argument, ref_of) for argument in arguments)]
        _generic_refs[kind] = found
    return found


def find_ref(ref: Any) -> type | None:
    """The class that stored data names, if it is there.

    Of a parametrized model, only one that the application has made: making one would run its code.
    """
    if type(ref) is str:
        return find(ref)
    if type(ref) is not list or not ref:
        raise SerializationError("the stored value is damaged: a type has no name")
    origin = find_ref(ref[0])
    if origin is None:
        return None
    made: list[tuple[type, Any, tuple[Any, ...]]] = []
    subclasses: list[type] = type.__subclasses__(origin)
    for kind in subclasses:
        generic = generic_of(kind)
        if generic is not None and generic[0] is origin:
            name = ref_of(kind)
            if name == ref:
                return kind
            made.append((kind, name, generic[1]))
    return closest(ref, made)


# --- what instances are made of -------------------------------------------------------------------


def slots_of(kind: type) -> dict[str, MemberDescriptorType]:
    """The slots of a class's instances, by name; of equal names the one that counts."""
    found: dict[str, MemberDescriptorType] = {}
    hidden: set[str] = set()
    for base in mro(kind):
        for name, member in space(base).items():
            if type(member) is MemberDescriptorType and name not in hidden:
                found.setdefault(name, member)
            hidden.add(name)
    return found


def dict_of(kind: type) -> GetSetDescriptorType | None:
    """What reads and replaces an instance's ``__dict__``; None if instances have none."""
    found = attribute(kind, "__dict__")
    return found if type(found) is GetSetDescriptorType else None


def solid_base(kind: type) -> type:
    """The builtin type whose memory layout instances have; object for ordinary classes."""
    found: Any = kind
    while _FLAGS(found) & _HEAP:
        found = _BASE(found)
    return found  # type: ignore[no-any-return] # a class, as its bases are


def caches(kind: type) -> Iterator[str]:
    """The names of cached properties: what they hold can be made again, and is not stored."""
    for base in mro(kind):
        for name, member in space(base).items():
            if type(member) is cached_property:
                yield name


# --- hashing --------------------------------------------------------------------------------------


def hashes_itself(kind: type) -> bool:
    """Whether hashing or comparing an instance runs a method that the application wrote.

    Methods that dataclasses and pydantic generate, and those of enums and tuples, are not its own.
    """
    return any(_written(attribute(kind, name)) for name in ("__hash__", "__eq__"))


def _written(method: Any) -> bool:
    if method is None or type(method) is WrapperDescriptorType:
        return False  # not hashable at all, or by what object or a builtin type does
    if type(method) is not FunctionType:
        return True
    # Dataclasses compile theirs from text.
    generated = method.__code__.co_filename.startswith("<")
    return not generated and method.__module__.partition(".")[0] not in _LIBRARIES
