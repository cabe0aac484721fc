"""The state of objects, read and set without calling any method of the objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wren_sessions.errors import SerializationError
from wren_sessions.serializers._resolve import caches, dict_of, name_of, slots_of


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
