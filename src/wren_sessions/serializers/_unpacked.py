"""Messages as they were unpacked, to build equal ones as often as they are asked for.

To build messages one by one takes longer than to unpack them. Here that is done for a whole list at
once, part by part, in loops that run in C. What was unpacked is never handed out, but a copy of all
in it that can be changed. So what a process has read before need not be unpacked again, nor what
several checkpoints of a thread have in common.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain, repeat
from operator import attrgetter, itemgetter, methodcaller
from typing import Any, Final, NamedTuple

from wren_sessions.serializers._models import FOUR
from wren_sessions.serializers._writing import pack_each

Copy = Callable[[Any], Any]

_EMPTY: Final[dict[str, Any]] = {
    "additional_kwargs": {},
    "response_metadata": {},
    "tool_calls": [],
    "invalid_tool_calls": [],
}
_CONTAINERS: Final = frozenset({dict, list})
_SIMPLE: Final = frozenset({str, type(None)})  # equal and of one type: the same
_PARTS: Final = tuple(map(attrgetter, FOUR))
_DEEPEST: Final = 32
_MESSAGE_BYTES: Final = 700  # what a message takes besides its texts, about
_copy: Final = methodcaller("copy")
_all_values: Final = chain.from_iterable


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
        size_bytes: of what they were unpacked from, at the most.
    """

    def __init__(self) -> None:
        self.count = 0
        self.size_bytes = 0
        # Of the usual messages: their parts, …
        self._kinds: list[type] = []
        self._fields: list[dict[str, Any]] = []
        self._names: list[set[str]] = []
        self._types: list[type] = []  # of all fields
        # … which have fields for tool calls, and what else has to be copied: where, and how.
        self._calls: list[int] = []
        self._changeable: list[tuple[int, str, Copy, Any]] = []
        self._images: list[bytes] = []  # the bytes of what can be changed
        self._comparable = True  # a bytearray equals bytes, and is packed as they are
        self._setters: list[Callable[[Any, Any], None]] = []
        # The others, with their places in the list.
        self._others: list[tuple[int, list[Any]]] = []

    @property
    def kept_bytes(self) -> int:
        """How much memory it takes, about."""
        return self.size_bytes + _MESSAGE_BYTES * self.count

    def first(self, count: int) -> Unpacked:
        """The first of them; itself if there are no more."""
        if count >= self.count:
            return self
        found = object.__new__(Unpacked)
        found._others = [(at, items) for at, items in self._others if at < count]
        usual = count - len(found._others)
        found._kinds, found._fields = self._kinds[:usual], self._fields[:usual]
        found._names = self._names[:usual]
        found._types = self._types[: sum(map(len, found._fields))]
        found._calls = self._calls[: bisect_left(self._calls, usual)]
        changeable = bisect_left(self._changeable, usual, key=itemgetter(0))
        found._changeable = self._changeable[:changeable]
        found._images = self._images[:changeable]
        found._setters, found._comparable = self._setters, self._comparable
        found.count, found.size_bytes = count, self.size_bytes
        return found

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
        found._types, found._images = self._types.copy(), self._images.copy()
        found._setters, found._comparable = self._setters, self._comparable
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
        self._types += map(type, fields.values())
        for name, value in fields.items():
            if value != _EMPTY[name] if name in _EMPTY else type(value) not in _SIMPLE:
                inside = _types_in(value)
                self._comparable = self._comparable and bytes not in inside
                copy = _copied if _CONTAINERS & inside else _copy
                self._changeable.append((at, name, copy, value))
                self._images += pack_each([value])

    def begins(self, messages: list[Any]) -> bool:
        """Whether a list begins with messages that are the same as these in every respect.

        1, 1.0 and True are not the same, nor are 0.0 and -0.0, nor a text and one of a subclass.
        """
        first = messages[: self.count]
        if self._others or not self._comparable or list(map(type, first)) != self._kinds:
            return False
        # Each step runs in C, and tells apart what the others take for the same.
        try:
            fields, names, extras, privates = (list(map(part, first)) for part in _PARTS)
            return (
                fields == self._fields
                and names == self._names
                and extras.count({}) == privates.count(None) == self.count
                and list(map(type, _all_values(map(dict.values, fields)))) == self._types
                and pack_each([fields[at][name] for at, name, _, _ in self._changeable])
                == self._images
            )
        except Exception:  # noqa: BLE001 -- what comparing unknown objects raises; they are others
            return False

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


def _types_in(value: Any, depth: int = 0) -> set[type]:
    """The types of what is in a plain value; its own, if it is no container.

    Raises:
        ValueError: it is so deep that copying it may take more calls than the stack has room for.
    """
    if depth > _DEEPEST:
        raise ValueError
    if type(value) not in _CONTAINERS:
        return {type(value), list}
    inside = list(value.values() if type(value) is dict else value)
    found = set(map(type, inside))
    for item in inside if found & _CONTAINERS else ():
        found |= _types_in(item, depth + 1)
    return found


def _copied(value: Any) -> Any:
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    if type(value) is list:
        return [_copied(item) for item in value]
    return value
