"""Classes by name, and their names, without importing a module or running code of an application.

A class is looked up in the ``__dict__`` of a module that is already loaded, and then in those of
classes. Attribute access is avoided: modules may have a ``__getattr__``, and classes a metaclass,
whose code would run.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary
from weakref import ref as weakref

from wren_sessions.errors import SerializationError
from wren_sessions.serializers._annotations import annotation_name
from wren_sessions.serializers._classes import loaded, mro, name_of, solid_base, space
from wren_sessions.serializers._local_classes import class_of, notes_so_far, numbered
from wren_sessions.serializers._main_module import is_main, module_at, modules_of
from wren_sessions.serializers._meanings import closest
from wren_sessions.serializers._wire import (
    MAIN_MARK,
    MESSAGES,
    SUBCLASSES,
    VALUE_TYPES,
    split_mark,
    type_name,
)

_generic_refs: WeakKeyDictionary[type, _GenericRef] = WeakKeyDictionary()

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


def is_official(ref: Any) -> bool:
    """Whether a type may always be built: langchain's, langgraph's, and pydantic's for values."""
    return type(ref) is str and (ref in _OFFICIAL or ref in VALUE_TYPES)


def official(ref: str) -> type | None:
    """The class of an official type; where it is not loaded, all official types are.

    So what is imported does not depend on what stored data name, and a process that has what it
    reads imports nothing: that takes longer than a first read takes otherwise.
    """
    kind = find(ref)
    if kind is None:
        load_official()
        kind = find(ref)
    return kind


@cache
def load_official() -> None:
    """Import the modules of the official types, as far as they are installed: all, whatever for."""
    modules = {ref.partition(":")[0] for ref in _OFFICIAL} | {"pydantic.networks", "pydantic.types"}
    for module in sorted(modules):
        with suppress(ImportError):
            import_module(module)


def find(ref: str) -> type | None:
    """The class of a name ``"module:QualName"``, if its module is loaded and has it.

    Or the class of a name with a mark: see `_main_module` and `_local_classes`.
    """
    if "#" not in ref:
        module_name, _, path = ref.partition(":")
        module = module_at(module_name)
        kind = None if module is None else _class_in(module, path)
        return _class_of_program(ref, marked=False) if kind is None else kind
    name, mark = split_mark(ref)
    if mark in {"", MAIN_MARK}:
        return _class_of_program(name, marked=bool(mark))
    return class_of(ref)


def _class_of_program(name: str, *, marked: bool) -> type | None:
    """The class of a name whose module may be the program itself."""
    module_name, _, path = name.partition(":")
    for module in modules_of(module_name, marked=marked):
        kind = _class_in(module, path)
        if kind is not None:
            return kind
    return None


def _class_in(module: ModuleType, path: str) -> type | None:
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


def has_name(ref: Any) -> bool:
    """Whether a name leads to a stored class, and to those that parametrize it, in any process."""
    if type(ref) is str:
        return split_mark(ref)[1] in {"", MAIN_MARK}
    return all(map(has_name, ref))


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
        return _name_in_data(kind)
    return _generic_ref(kind, generic).ref


def _name_in_data(kind: type) -> str:
    name = name_of(kind)
    own_name = f"{kind.__module__}:{kind.__qualname__}"
    if is_main(kind.__module__) and not is_main(name.partition(":")[0]):
        marked = name + MAIN_MARK
        if find(marked) is kind:
            return marked
    if find(own_name) is kind:
        return own_name
    return numbered(kind, name) or own_name


class _GenericRef(NamedTuple):
    """How a parametrized model is named, and the classes in its arguments with their names."""

    ref: Any
    classes: list[tuple[weakref[type], Any]]

    def holds(self) -> bool:
        """Whether the classes still have these names: a module may have been reloaded."""
        for made, name in self.classes:
            kind = made()
            if type(name) is str and "#" not in name:
                holds = find(name) is kind  # as most are; to name it anew takes longer
            else:
                holds = kind is not None and ref_of(kind) == name
            if not holds:
                return False
        return True


def _generic_ref(kind: type, generic: tuple[type, tuple[Any, ...]]) -> _GenericRef:
    known = _generic_refs.get(kind)
    if known is not None and known.holds():
        return known
    classes: list[tuple[weakref[type], Any]] = []

    def named(part: type) -> Any:
        name = ref_of(part)
        if solid_base(part) is not part:  # a builtin class keeps its name
            classes.append((weakref(part), name))
        return name

    origin, arguments = generic
    ref: Any = [named(origin), *(annotation_name(argument, named) for argument in arguments)]
    notes = notes_so_far(kind)
    if notes is not None and notes.mark:  # another one has the same name
        ref = numbered(kind, type_name(ref)) or ref
    found = _generic_refs[kind] = _GenericRef(ref, classes)
    return found


def number_generic(kind: type) -> bool:
    """Give a parametrized model a number, since another one has its name; whether that is so."""
    if generic_of(kind) is None or numbered(kind, type_name(ref_of(kind))) is None:
        return False
    _generic_refs.pop(kind, None)
    return True


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
    made: list[tuple[type, tuple[Any, ...]]] = []
    subclasses: list[type] = type.__subclasses__(origin)
    for kind in subclasses:
        generic = generic_of(kind)
        if generic is not None and generic[0] is origin:
            known = _generic_refs.get(kind)
            if known is not None and known.ref == ref and known.holds():
                return kind
            made.append((kind, generic[1]))
    return _by_meaning(ref, made)


def _by_meaning(ref: list[Any], made: list[tuple[type, tuple[Any, ...]]]) -> type | None:
    """The class that a name means, if none is known by it."""
    here = ref_here(ref)
    names = [(kind, ref_of(kind), arguments) for kind, arguments in made]
    for kind, name, _ in names:
        if name in (ref, here):
            return kind
    return closest(here, [each for each in names if type(each[1]) is list])


def ref_here(ref: Any) -> Any:
    """A stored name in the words of this process, in which another module may be ``__main__``."""
    if type(ref) is not str:
        return list(map(ref_here, ref)) if type(ref) is list else ref
    kind = find(ref) if ":" in ref else None
    return ref if kind is None or generic_of(kind) is not None else ref_of(kind)
