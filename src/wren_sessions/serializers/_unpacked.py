"""Messages as they were unpacked, to build equal ones as often as they are asked for.

To build messages one by one takes longer than to unpack them. Here that is done for a whole list at
once, part by part, in loops that run in C. What was unpacked is never handed out, but a copy of all
in it that can be changed. So what a process has read before need not be unpacked again, nor what
several checkpoints of a thread have in common.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import repeat
from operator import methodcaller
from typing import Any, Final, NamedTuple

Copy = Callable[[Any], Any]

_EMPTY: Final[dict[str, Any]] = {
    "additional_kwargs": {},
    "response_metadata": {},
    "tool_calls": [],
    "invalid_tool_calls": [],
}
_CONTAINERS: Final = frozenset({dict, list})
_copy: Final = methodcaller("copy")


class Shape(NamedTuple):
    """How usual messages of a class are built, with some fields set.

    Attributes:
        kind: the class.
        names: the fields that are set.
        fields_of: all fields, from an envelope's items.
        calls: whether they can have tool calls.
        setters: put the four parts that a pydantic model consists of.
    """

    kind: type
    names: set[str]
    fields_of: Callable[[list[Any]], dict[str, Any]]
    calls: bool
    setters: list[Callable[[Any, Any], None]]


class Unpacked:
    """The messages of a list. What is in it never changes; `grown` makes another one.

    Attributes:
        count: how many there are.
        size_bytes: of what they were unpacked from.
    """

    def __init__(self) -> None:
        self.count = 0
        self.size_bytes = 0
        # Of the usual messages: their parts, …
        self._kinds: list[type] = []
        self._fields: list[dict[str, Any]] = []
        self._names: list[set[str]] = []
        # … which have fields for tool calls, and what else has to be copied: where, and how.
        self._calls: list[int] = []
        self._changeable: list[tuple[int, str, Copy, Any]] = []
        self._setters: list[Callable[[Any, Any], None]] = []
        # The others, with their places in the list.
        self._others: list[tuple[int, list[Any]]] = []

    def grown(self, envelopes: Iterable[list[Any]], size_bytes: int) -> Unpacked:
        """The same and more messages.

        Args:
            envelopes: of these, plain but for their markers.
            size_bytes: of what they were unpacked from.
        """
        found = object.__new__(Unpacked)
        found._kinds, found._fields = self._kinds.copy(), self._fields.copy()
        found._names, found._calls = self._names.copy(), self._calls.copy()
        found._changeable, found._others = self._changeable.copy(), self._others.copy()
        found._setters = self._setters
        for items in envelopes:
            found._add(items)
        found.count = len(found._kinds) + len(found._others)
        found.size_bytes = self.size_bytes + size_bytes
        return found

    def _add(self, items: list[Any]) -> None:
        at = len(self._kinds)
        shape: Shape | None = items[0].shape
        if shape is None:
            self._others.append((at + len(self._others), items))
            return
        kind, names, fields_of, calls, self._setters = shape
        fields = fields_of(items)
        self._kinds.append(kind)
        self._fields.append(fields)
        self._names.append(names)
        if calls:
            self._calls.append(at)
        for name, value in fields.items():
            if name in _EMPTY:
                if value != _EMPTY[name]:
                    self._changeable.append((at, name, _copier(value), value))
            elif type(value) in _CONTAINERS:
                self._changeable.append((at, name, _copier(value), value))

    def build(self) -> list[Any]:
        """New messages, which share nothing that can be changed."""
        messages: list[Any] = list(map(object.__new__, self._kinds))
        if messages:
            set_fields, set_names, set_extra, set_private = self._setters
            deque(map(set_fields, messages, self._copied_fields()), 0)
            deque(map(set_names, messages, map(set.copy, self._names)), 0)
            deque(map(set_extra, messages, [{} for _ in messages]), 0)
            deque(map(set_private, messages, repeat(None)), 0)
        for at, items in self._others:
            messages.insert(at, items[0].build(_copied(items)))
        return messages

    def _copied_fields(self) -> list[dict[str, Any]]:
        copies = list(map(dict.copy, self._fields))
        for fields in copies:
            fields["additional_kwargs"], fields["response_metadata"] = {}, {}
        for at in self._calls:
            fields = copies[at]
            fields["tool_calls"], fields["invalid_tool_calls"] = [], []
        for at, name, copy, value in self._changeable:
            copies[at][name] = copy(value)
        return copies


def _copier(value: Any) -> Copy:
    """What copies a plain value: C, where it holds nothing that can be changed."""
    if type(value) not in _CONTAINERS:
        return _copied
    inside = value.values() if type(value) is dict else value
    return _copied if _CONTAINERS.intersection(map(type, inside)) else _copy


def _copied(value: Any) -> Any:
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    if type(value) is list:
        return [_copied(item) for item in value]
    return value
