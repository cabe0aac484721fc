"""Bytes to values: all that unpacks.

msgpack unpacks a value in one call, and calls back for each list: one that is an envelope (see
`_wire`) begins with its marker, a `Builder`, which builds the value (`read`).

Lists of messages grow with a conversation, and are read again at each step. So unpacked messages
are kept (`Unpacked`): if a list begins with the same ones, only the rest is unpacked. Building
messages one by one takes longer than unpacking them. So the whole list is built at once, field by
field, in loops that run in C. The kept objects are never handed out: each call returns new
messages, with copies of everything in them that can be changed.
"""

from __future__ import annotations

import re
import secrets
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from itertools import chain, repeat
from operator import itemgetter, methodcaller
from typing import Any, Final, NamedTuple

import msgpack

from wren_sessions.errors import SerializationError, UnsafeTypeError, WrenSessionsError
from wren_sessions.serializers._models import ModelProfile, mask_to_names, model_profile
from wren_sessions.serializers._resolve import official
from wren_sessions.serializers._wire import FIELDS, MARKER, MESSAGES, SHAPED, USUAL_BYTES, Build
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

FieldsOf = Callable[[list[Any]], dict[str, Any]]  # from an envelope's items

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
_MOST_BUILDERS: Final = 1_024
_MANY_KEYS: Final = 1_000
_SAME_HASHES: Final = 100
_copy: Final = methodcaller("copy")


class Builder:
    """A marker as it was read: builds the value of its envelope.

    Attributes:
        build: takes the envelope's items.
        shape: how lists of such values are built at once; None where they are not.
    """

    shape: Any = None

    def __init__(self, build: Build) -> None:
        self.build: Build = build


class Table(dict[bytes, Builder]):
    """The builders of all kinds of envelopes.

    Args:
        builds: what builds the value of each kind.
        usual: makes the builder of usual messages of a kind, with some fields set.
        shaped: makes that of objects that say the types of their fields; None for a builder that
            does not look at them.
    """

    def __init__(
        self,
        builds: Mapping[bytes, Build | Builder],
        usual: Callable[[bytes, int], Builder],
        shaped: Callable[[bytes], Build] | None = None,
    ) -> None:
        super().__init__(
            (kind, build if isinstance(build, Builder) else Builder(build))
            for kind, build in builds.items()
        )
        self._usual = usual
        self._shaped = shaped

    def with_builders(self, builders: Mapping[bytes, Builder]) -> Table:
        """The same table, and more kinds of envelopes."""
        return Table({**self, **builders}, self._usual, self._shaped)

    def __missing__(self, kind: bytes) -> Builder:
        if kind[:1] in SHAPED and len(kind) % 2:
            builder = self[kind[:1]] if self._shaped is None else Builder(self._shaped(kind))
            if len(self) < _MOST_BUILDERS:
                self[kind] = builder
            return builder
        names = FIELDS[kind[:2]]
        mask = int.from_bytes(kind[2:])
        if len(kind) != USUAL_BYTES or mask >> len(names):
            raise KeyError
        builder = self._usual(kind[:2], mask)
        if len(self) < _MOST_BUILDERS:
            self[kind] = builder
        return builder


def read(data: bytes, table: Mapping[bytes, Builder]) -> Any:
    """The value of bytes in this format, which `Limits.check_stored` has passed.

    Raises:
        SerializationError: the data is damaged, or what a builder raised.
    """
    try:
        return _unpacked(data, table)
    except WrenSessionsError:
        raise
    except RecursionError:
        raise SerializationError(
            "the value cannot be read here, since the program has nearly used up its stack: read "
            "it where fewer calls are open, or raise sys.setrecursionlimit"
        ) from None
    except Exception as error:  # noqa: BLE001 -- whatever damaged data makes a builder raise
        raise damaged(error) from None


def no_extension(code: int, kind: bytes) -> Any:
    """Refuse an extension value where there are none."""
    raise SerializationError(f"the stored value has an extension, {code} {kind!r}")


def damaged(error: Exception) -> SerializationError:
    """The error for data that made something else raise one, whose own text may hold content."""
    return SerializationError(
        f"the stored value is damaged, or was not written by this package ({type(error).__name__})"
    )


def _unpacked(data: bytes, table: Mapping[bytes, Builder]) -> Any:
    open_markers = 0
    own, marked = MARKER, Builder  # these functions run for each list: locals are faster

    def extension(code: int, kind: bytes) -> Any:
        nonlocal open_markers
        if code != own:
            raise SerializationError(f"the stored value has an unknown extension, {code}")
        open_markers += 1
        return table[kind]

    def built(items: list[Any]) -> Any:
        nonlocal open_markers
        if items and issubclass(type(items[0]), marked):  # `isinstance` would ask the object
            open_markers -= 1
            return items[0].build(items)
        return items

    value = msgpack.unpackb(
        data, list_hook=built, ext_hook=extension, unicode_errors="surrogatepass"
    )
    if open_markers:
        raise SerializationError("the stored value is damaged: an envelope has lost its list")
    return value


def check_hashes(keys: Collection[Any]) -> None:
    """Refuse keys that were chosen so that a dict or set of them takes for ever to build."""
    if len(keys) > _MANY_KEYS:
        hashes = sorted(map(hash, keys))
        if any(a == b for a, b in zip(hashes, hashes[_SAME_HASHES:], strict=False)):
            raise SerializationError("the stored value has too many keys with the same hash")


def bordered(parts: Collection[bytes]) -> bytes:
    """An array of values with a border before and behind each, to be read at once.

    The borders show that each part ends where its own value does. If a damaged part lacks what the
    next one has too much of, they are an array when they are put together, but of other values.
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


# --- lists of messages ----------------------------------------------------------------------------


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


# --- messages one by one --------------------------------------------------------------------------


class _MessageBuilder(Builder):
    """Builds messages of a class, which is loaded with the first that is read.

    Args:
        kind: of the envelope, with a small letter.
        make: makes what builds them, and their shape if they have one.
    """

    def __init__(
        self, kind: bytes, make: Callable[[ModelProfile], tuple[Build, Shape | None]]
    ) -> None:
        super().__init__(self._first)
        self._kind = kind
        self._make = make

    def _first(self, items: list[Any]) -> Any:
        self.build, _ = self._made()
        return self.build(items)

    @cached_property
    def shape(self) -> Shape | None:
        """How lists are built; None if this builds messages of any form."""
        return self._made()[1]

    def _made(self) -> tuple[Build, Shape | None]:
        name = MESSAGES[self._kind]
        cls = official(name)
        profile = None if cls is None else model_profile(cls)
        if not isinstance(profile, ModelProfile):
            raise UnsafeTypeError(
                f"the value holds a {name}, which the installed langchain-core does not have: "
                "install langchain-core, or a newer one"
            )
        return self._make(profile)


def message_builders() -> dict[bytes, Builder]:
    """What builds messages of any form."""
    return {kind: _MessageBuilder(kind, _general) for kind in MESSAGES}


def usual_builder(kind: bytes, mask: int) -> Builder:
    """What builds usual messages with some fields set."""
    return _MessageBuilder(b"m" + kind[1:], lambda profile: _usual(profile, kind, mask))


def _general(profile: ModelProfile) -> tuple[Build, None]:
    def build(items: list[Any]) -> Any:
        _, fields, mask, *rest = items
        return profile.made(fields, mask, *(rest or [{} if profile.open else None]))

    return build, None


def _usual(profile: ModelProfile, kind: bytes, mask: int) -> tuple[Build, Shape | None]:
    order = FIELDS[kind]
    fields_of, names = _FIELDS_OF[order], mask_to_names(mask, order)

    def changed(items: list[Any]) -> Any:
        return profile.put(fields_of(items), names.copy(), {} if profile.open else None, None, {})

    if tuple(profile.defaults) != order or not profile.open:
        return changed, None  # another release of langchain-core has other fields
    setters = [slot.__set__ for slot in profile.slots]
    shape = Shape(profile.kind, names, fields_of, "tool_calls" in order, setters)

    cls, new = profile.kind, object.__new__
    set_fields, set_names, set_extra, set_private = setters

    def build(items: list[Any]) -> Any:
        message: Any = new(cls)
        set_fields(message, fields_of(items))
        set_names(message, names.copy())
        set_extra(message, {})
        set_private(message, None)
        return message

    return build, shape


# Written out, since a dict display is several times faster than zip.


def _fields_of_common(items: list[Any]) -> dict[str, Any]:
    _, content, kwargs, metadata, kind, name, own_id = items
    return {
        "content": content,
        "additional_kwargs": kwargs,
        "response_metadata": metadata,
        "type": kind,
        "name": name,
        "id": own_id,
    }


def _fields_of_ai(items: list[Any]) -> dict[str, Any]:
    _, content, kwargs, metadata, kind, name, own_id, calls, invalid, usage = items
    return {
        "content": content,
        "additional_kwargs": kwargs,
        "response_metadata": metadata,
        "type": kind,
        "name": name,
        "id": own_id,
        "tool_calls": calls,
        "invalid_tool_calls": invalid,
        "usage_metadata": usage,
    }


def _fields_of_tool(items: list[Any]) -> dict[str, Any]:
    _, content, kwargs, metadata, kind, name, own_id, call_id, artifact, status = items
    return {
        "content": content,
        "additional_kwargs": kwargs,
        "response_metadata": metadata,
        "type": kind,
        "name": name,
        "id": own_id,
        "tool_call_id": call_id,
        "artifact": artifact,
        "status": status,
    }


def _fields_of_chunk(items: list[Any]) -> dict[str, Any]:
    *most, chunks, position = items
    return _fields_of_ai(most) | {"tool_call_chunks": chunks, "chunk_position": position}


_FIELDS_OF: Final[dict[tuple[str, ...], FieldsOf]] = {
    tuple(fields_of([None] * (length + 1))): fields_of
    for fields_of, length in (
        (_fields_of_common, 6),
        (_fields_of_ai, 9),
        (_fields_of_tool, 9),
        (_fields_of_chunk, 11),
    )
}
