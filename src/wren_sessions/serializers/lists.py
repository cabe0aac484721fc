"""Lists of messages: they grow with a conversation, and are stored again at each step.

Two things keep a step from costing the whole list. The engine compares the packed list with the
previous one, so `dump_list` shows it the bytes without copying them. And unpacked messages are kept
(`Unpacked`): if a list begins with the same messages, only the rest is packed, or unpacked.

Building messages one by one takes longer than unpacking them. So the whole list is built at once,
field by field, in loops that run in C. The kept objects are never handed out: each call returns new
messages, with copies of everything in them that can be changed.
"""

from __future__ import annotations

import re
import secrets
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterable
from itertools import chain, repeat
from operator import itemgetter, methodcaller
from typing import Any, Final, NamedTuple

from wren_sessions.serializers._wire import (
    MARKER,
    Builder,
    Table,
)
from wren_sessions.serializers.packing import (
    KnownMessages,
    array_header,
    pack_each,
)

ormsgpack: Any
try:  # comes with langgraph, but not on every platform
    import ormsgpack
except ImportError:
    ormsgpack = None

_UNUSUAL: Final = (KeyError, RecursionError, TypeError, ValueError)
"""What anything but a list of usual messages raises: the general way reads it, or finds out why it
cannot."""

_EMPTY: Final[dict[str, Any]] = {
    "additional_kwargs": {},
    "response_metadata": {},
    "tool_calls": [],
    "invalid_tool_calls": [],
}
_MOST_PLAIN: Final = 1_024
_PLAIN: Final[set[tuple[type, tuple[type, ...]]]] = set()
"""Classes, each with types of its fields with which a message has nothing that has to be copied,
where what `_EMPTY` names is empty."""
_CONTAINERS: Final = frozenset({dict, list})
_SIMPLE: Final = frozenset({str, type(None)})  # equal and of one type: the same
_DEEPEST: Final = 32
_MESSAGE_BYTES: Final = 700  # what a message takes besides its texts, about
begins_usual: Final = re.compile(
    rb"(?:[\x91-\x9f]|\xdc..|\xdd.{4})[\x90-\x9f]\xd6%cM" % (MARKER & 0xFF), re.DOTALL
).match
"""Whether data are a list that begins with a usual message: the heads of both, and the mark."""
_BORDER: Final = secrets.token_bytes(8)  # nobody can know it who writes values
_PACKED_BORDER: Final = b"\xc4\x08" + _BORDER
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


class Unpacked(KnownMessages):
    """The messages of a list, to be built again. What is in it never changes: `grown` makes others.

    Attributes:
        size_bytes: of what they were unpacked from, at the most.
        kept_bytes: how much memory they take, about.
    """

    def __init__(self) -> None:
        super().__init__()
        self.size_bytes = self.kept_bytes = 0
        self._calls: list[int] = []  # which of the usual messages have fields for tool calls
        self._setters: list[Callable[[Any, Any], None]] = []

    def first(self, count: int) -> Unpacked:
        """The first of them."""
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
        found.kept_bytes = found.size_bytes + _MESSAGE_BYTES * count
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
            at = len(found._kinds)
            shape: Shape | None = items[0].shape
            if shape is None:
                found._others.append((at + len(found._others), items))
                continue
            kind, names, fields_of, calls, found._setters = shape
            fields = fields_of(items)
            found._kinds.append(kind)
            found._fields.append(fields)
            found._names.append(names)
            if calls:
                found._calls.append(at)
            types = tuple(map(type, fields.values()))
            found._types += types
            if (kind, types) not in _PLAIN or any(map(fields.get, _EMPTY)):
                found._note_changeable(at, kind, types)
        found.count = len(found._kinds) + len(found._others)
        found.size_bytes = self.size_bytes + size_bytes
        found.kept_bytes = found.size_bytes + _MESSAGE_BYTES * found.count
        return found

    def _note_changeable(self, at: int, kind: type, types: tuple[type, ...]) -> None:
        """Note what has to be copied of a message."""
        before = len(self._changeable)
        for name, value in self._fields[at].items():
            if value != _EMPTY[name] if name in _EMPTY else type(value) not in _SIMPLE:
                inside = _types_in(value)
                self._comparable = self._comparable and bytes not in inside
                copy = _copied if _CONTAINERS & inside else _copy
                self._changeable.append((at, name, copy, value))
                self._images += pack_each([value])
        if len(self._changeable) == before and len(_PLAIN) < _MOST_PLAIN:
            _PLAIN.add((kind, types))

    def build(self) -> list[Any]:
        """New messages, which share nothing that can be changed."""
        messages: list[Any] = list(map(object.__new__, self._kinds))
        if messages:
            set_fields, set_names, set_extra, set_private = self._setters
            copies = list(map(dict.copy, self._fields))
            for fields in copies:
                fields["additional_kwargs"], fields["response_metadata"] = {}, {}
            for at in self._calls:
                fields = copies[at]
                fields["tool_calls"], fields["invalid_tool_calls"] = [], []
            for at, name, copy, value in self._changeable:
                copies[at][name] = copy(value)
            deque(map(set_fields, messages, copies), 0)
            deque(map(set_names, messages, map(set.copy, self._names)), 0)
            deque(map(set_extra, messages, map(dict.copy, repeat({}))), 0)
            deque(map(set_private, messages, repeat(None)), 0)
        for at, items in self._others:
            messages.insert(at, items[0].build(_copied(items)))
        return messages


NOTHING: Final = Unpacked()


def read_messages(
    data: bytes, table: Table, earlier: Unpacked
) -> tuple[list[Any], Unpacked] | None:
    """A list of usual messages that hold nothing but plain data; None if it is something else.

    Args:
        data: the bytes, which were checked to be whole.
        table: builds the value of each kind of envelope.
        earlier: messages that stand before these in the list.

    Returns:
        The messages, and what they were built from.
    """
    if begins_usual(data) is None:
        return None
    try:
        unpacked = earlier.grown(_envelopes(data, table)[0], len(data))
        return unpacked.build(), unpacked
    except _UNUSUAL:
        return None


def read_lists(data: bytes, table: Table, *, many: bool) -> list[list[Any]]:
    """Lists of such messages, of which nothing is kept; none if one of them is something else.

    Args:
        data: the bytes, which were checked to be whole and not too deep.
        table: builds the value of each kind of envelope.
        many: whether it is an array of lists with borders; else it is one list.
    """
    try:
        lists = _envelopes(data, table, many=many)
        for envelopes in lists:
            for at, items in enumerate(envelopes):
                envelopes[at] = items[0].build(items)
    except _UNUSUAL:
        return []
    return lists


def _envelopes(data: bytes, table: Table, *, many: bool = False) -> list[list[list[Any]]]:
    """The envelopes of lists.

    ormsgpack is faster than msgpack, but tells nobody of the lists that it made. So the envelopes
    must all stand in the lists themselves: as many as there are markers.

    Raises:
        Exception: one of `_UNUSUAL`, if there is anything else.
    """
    if ormsgpack is None:
        raise TypeError
    markers = 0

    def extension(code: int, kind: bytes) -> Any:
        nonlocal markers
        if code != MARKER:
            raise TypeError
        markers += 1
        return table[kind]

    found = ormsgpack.unpackb(data, ext_hook=extension)
    lists = within_borders(found) if many else [found]
    if markers != sum(map(len, lists)):
        raise TypeError
    for items in chain.from_iterable(lists):
        if type(items) is not list or not items or not issubclass(type(items[0]), Builder):
            raise TypeError
    return lists


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


# --- values that are read together ----------------------------------------------------------------


def bordered(parts: Collection[bytes]) -> bytes:
    """An array of values with a border before and behind each, to be read at once.

    The borders show that each part ends where its own value does. If a damaged part lacks what the
    next one has too much of, they are an array when they are put together, but of other values.

    Args:
        parts: each the bytes of one value.
    """
    return array_header(2 * len(parts) + 1) + _PACKED_BORDER.join((b"", *parts, b""))


def within_borders(found: Any) -> list[Any]:
    """The values of such an array.

    Raises:
        ValueError: one of them does not end where its part does.
    """
    borders = found[::2] if type(found) is list else []
    if {*map(type, borders)} != {bytes} or {*borders} != {_BORDER}:
        raise ValueError
    return found[1::2]  # type: ignore[no-any-return] # a list, too
