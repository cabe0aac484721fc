"""Classes and the state of their objects, read and set without running code of an application.

Attribute access is avoided: classes may have a metaclass, and objects descriptors, whose code would
run. So what a class says is looked up in its ``__dict__`` and in those of its bases, and what an
object holds is asked of the slots.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType, WrapperDescriptorType
from typing import Any, Final

from wren_sessions.errors import SerializationError
from wren_sessions.serializers._main_module import import_name

_MRO: Final = type.__dict__["__mro__"].__get__
_DICT: Final = type.__dict__["__dict__"].__get__
_BASE: Final = type.__dict__["__base__"].__get__
_FLAGS: Final = type.__dict__["__flags__"].__get__
_HEAP: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement
_LIBRARIES: Final = frozenset({"enum", "langchain_core", "langgraph", "pydantic"})


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


def name_of(kind: type) -> str:
    """A class's name, as errors have it."""
    return f"{import_name(str(kind.__module__))}:{kind.__qualname__}"


def loaded(module: str, name: str) -> type | None:
    """A library's class, if the library is loaded."""
    found = sys.modules.get(module)
    return None if found is None else found.__dict__.get(name)


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


# --- objects --------------------------------------------------------------------------------------


def slots_of(kind: type) -> dict[str, MemberDescriptorType]:
    """The slots of a class's instances, by name; of equal names the one that counts."""
    found: dict[str, MemberDescriptorType] = {}
    hidden: set[str] = set()
    for base in mro(kind):
        members = space(base)
        found |= {
            name: member
            for name, member in members.items()
            if type(member) is MemberDescriptorType and name not in hidden
        }
        hidden.update(members)
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


class State:
    """The attributes of instances of a class, wherever they are kept; not the slots in `but`."""

    def __init__(self, kind: type, but: Iterable[str] = ()) -> None:
        self.slots = {name: slot for name, slot in slots_of(kind).items() if name not in but}
        self._dict = dict_of(kind)
        self._caches = {*caches(kind), "__orig_class__"}
        self._name = name_of(kind)

    def of(self, value: Any) -> dict[str, Any]:
        """All that is set, without what can be made again."""
        found = {} if self._dict is None else dict(self._dict.__get__(value))
        for name in self._caches & found.keys():
            del found[name]
        for name, slot in self.slots.items():
            try:
                found[name] = slot.__get__(value)
            except AttributeError:
                continue  # not set
        return found

    def put(self, value: Any, state: Mapping[str, Any]) -> Any:
        """Set all of a new instance's attributes."""
        kept = dict(state)
        for name in state.keys() & self.slots.keys() if self.slots else ():
            self.slots[name].__set__(value, kept.pop(name))
        if kept and self._dict is None:
            raise SerializationError(
                f"a {self._name} was stored with {listed(kept)}, for which it has no slot",
                deferrable=True,
            )
        if self._dict is not None:
            self._dict.__set__(value, kept)
        return value


def listed(names: Iterable[Any]) -> str:
    """Names of attributes, for an error."""
    # Only text: the repr of anything else may be an application's.
    return ", ".join(sorted(repr(name) for name in names if type(name) is str)) or "odd names"
