"""The fast path for langchain's messages: exact classes, from their fields and into their fields.

A *usual* message has the fields that its class has had for long (`FIELDS` in `_wire`), in order,
and nothing beside them. It is written as their values and read into its ``__dict__``. Any other,
and any other class, takes the general way, `ModelProfile`; what that writes is a map, and readers
know both.

Writing trusts at first that what usual messages hold is plain. One call of orjson over all of it
then shows whether it is: orjson refuses what msgpack would change without a word (a bytearray would
become bytes), and msgpack, told to be strict, the rest. Where orjson is not installed, or refuses
something, each field is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

from wren_sessions.errors import UnsafeTypeError
from wren_sessions.serializers._models import (
    ModelProfile,
    mask_to_names,
    model_profile,
    names_to_mask,
)
from wren_sessions.serializers._resolve import find, load_official
from wren_sessions.serializers._standard import Write
from wren_sessions.serializers._wire import (
    FIELDS,
    MARKER,
    MESSAGES,
    Build,
    Builder,
    Table,
    marker,
    usual_kind,
)
from wren_sessions.serializers._writing import PACKING_ERRORS, Lower, pack

orjson: Any
ormsgpack: Any
try:  # both come with langgraph and langchain, but not on every platform
    import orjson
    import ormsgpack
except ImportError:
    orjson = ormsgpack = None

KINDS: Final = {name: kind for kind, name in MESSAGES.items()}
_MOST_KNOWN: Final = 8
_SHORT: Final = 16  # elements: an array of fewer has a header of one byte, …
_LONG: Final = 65_536  # … one of fewer than these a header of three, and else of five
_AT_ONCE: Final = 200  # messages; of more, each step takes fresh memory, and is slower
_ARRAYS: Final = frozenset({*range(0x91, 0xA0), 0xDC, 0xDD})
_MARK: Final = bytes([0xD6, MARKER & 0xFF]) + b"M"  # where a usual message begins

ValuesOf = Callable[[dict[str, Any]], tuple[Any, ...]]
FieldsOf = Callable[[list[Any]], dict[str, Any]]  # from an envelope's items


class _Usual:
    """How usual messages of a class are written.

    Args:
        kind: of the envelope, without the fields that are set.
        general: writes the other messages of the class.
    """

    def __init__(self, kind: bytes, general: Write) -> None:
        self.general = general
        self._kind = kind
        # Which fields are set, and the marker for that: a few that come again and again.
        self._known: list[tuple[frozenset[str], Any]] = []
        # What gives the values in order, how many there are, and the newest of the above.
        self.latest: tuple[ValuesOf, int, frozenset[str], Any]
        self.latest = itemgetter(*FIELDS[kind]), len(FIELDS[kind]), frozenset(), None
        self.mark({"content"})

    def mark(self, names: set[str]) -> Any:
        """The marker for messages with these fields set; None if others are."""
        for known, mark in self._known:
            if names == known:
                return mark
        mask = names_to_mask(names, FIELDS[self._kind])
        if type(mask) is not int:
            return None
        found = marker(usual_kind(self._kind, mask))
        if len(self._known) < _MOST_KNOWN:
            self._known = [*self._known, (frozenset(names), found)]
            self.latest = *self.latest[:2], *self._known[-1]
        return found


class Messages:
    """Writes the messages of one serializer.

    Args:
        lower: writes what is in a message's fields.
    """

    def __init__(self, lower: Lower) -> None:
        self._lower = lower
        self._usual: dict[type, _Usual] = {}

    def add(self, profile: ModelProfile) -> Write:
        """A writer for a class of messages, which looks at each field."""
        kind = KINDS[profile.name]
        general = _general_writer(profile, kind, self._lower)
        usual = b"M" + kind[1:]
        if tuple(profile.defaults) != FIELDS.get(usual) or not profile.open:
            return general
        self._usual[profile.kind] = _Usual(usual, general)

        def write(message: Any) -> list[Any]:
            lowered: list[Any] = []
            held = self._trusted([message], lowered.append)
            (items,) = lowered
            return [items[0], *map(self._lower, items[1:])] if held else items

        return write

    def begins(self, value: Any) -> bool:
        """Whether a value is a list that begins with a usual message."""
        if orjson is None or type(value) is not list or not value:
            return False
        return type(value[0]) in self._usual

    def packed(self, messages: list[Any]) -> bytes | None:
        """The bytes of a list that begins with a usual message; None if it is not all plain."""
        try:
            parts = [
                self._part(messages[at : at + _AT_ONCE]) for at in range(0, len(messages), _AT_ONCE)
            ]
        except PACKING_ERRORS:
            return None
        return b"".join([_array_header(len(messages)), *parts])

    def _part(self, messages: list[Any]) -> memoryview:
        """The bytes of some messages, one behind the other."""
        lowered: list[Any] = []
        held = self._trusted(messages, lowered.append)
        orjson.dumps(held, None, _OPTION)
        return memoryview(pack(lowered))[1 if len(lowered) < _SHORT else 3 :]

    def pack(self, messages: list[Any], packer: Any) -> None:
        """Pack a list that begins with a usual message, if all that it holds is plain.

        Args:
            messages: the list.
            packer: a strict packer: orjson takes tuples and enums, and does not tell.

        Raises:
            PACKING_ERRORS: something is not plain: each field must be looked at.
        """
        packer.pack_array_header(len(messages))
        for at in range(0, len(messages), _AT_ONCE):
            held = self._trusted(messages[at : at + _AT_ONCE], packer.pack)
            orjson.dumps(held, None, _OPTION)

    def _trusted(self, messages: list[Any], put: Callable[[list[Any]], None]) -> list[Any]:
        """Put messages, ready to be packed; gives what they hold, which nobody has looked at."""
        # One loop without calls, as far as that goes: this is the hottest code of all.
        held: list[Any] = []
        usual = self._usual.get
        for message in messages:
            how = usual(type(message))
            if how is None:
                put(self._lower(message))
                continue
            values_of, count, known, mark = how.latest
            try:
                fields, extra = message.__dict__, message.__pydantic_extra__
                values, names = values_of(fields), message.__pydantic_fields_set__
                private = message.__pydantic_private__
            except (AttributeError, KeyError):
                put(how.general(message))
                continue
            if names != known:
                mark = how.mark(names)
            if (
                extra
                or private is not None
                or extra is None
                or mark is None
                or len(fields) != count
            ):
                put(how.general(message))
            else:
                held.append(values)
                put([mark, *values])
        return held


def _array_header(size: int) -> bytes:
    """What msgpack begins an array with; its own packer takes longer to make than to use."""
    if size < _SHORT:
        return bytes([0x90 | size])
    return b"\xdc" + size.to_bytes(2) if size < _LONG else b"\xdd" + size.to_bytes(4)


_OPTION: Final = (
    0
    if orjson is None
    else orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)


def _general_writer(profile: ModelProfile, kind: bytes, lower: Lower) -> Write:
    mark = marker(kind)
    usual_extra: dict[str, Any] | None = {} if profile.open else None

    def write(message: Any) -> list[Any]:
        _, _, fields, mask, *rest = profile.write(message)
        extra, *others = rest or [None]
        parts = [extra, *others] if others or extra != usual_extra else []
        return [mark, *map(lower, (fields, mask, *parts))]

    return write


# --- building -------------------------------------------------------------------------------------


def read_messages(data: bytes, table: Table) -> list[Any] | None:
    """A list of usual messages that hold nothing but plain data; None if it is something else.

    ormsgpack is faster than msgpack, but tells nobody of the lists that it made. So the envelopes
    must all stand in the list itself: as many as there are markers.

    Args:
        data: the bytes, which were checked to be whole.
        table: builds the value of each kind of envelope.
    """
    if ormsgpack is None or data[:16].find(_MARK) < 0 or data[0] not in _ARRAYS:
        return None
    markers = 0

    def extension(code: int, kind: bytes) -> Any:
        nonlocal markers
        if code != MARKER:
            raise TypeError
        markers += 1
        return table[kind]

    try:
        found = ormsgpack.unpackb(data, ext_hook=extension)
        if markers != len(found) or not all(map(_is_envelope, found)):
            return None
        return [items[0].build(items) for items in found]
    except (KeyError, TypeError, ValueError):
        return None  # damaged, which the general way finds out too


def _is_envelope(items: Any) -> bool:
    return type(items) is list and bool(items) and type(items[0]) is Builder


def message_builders() -> dict[bytes, Builder]:
    """What builds messages of any form; their classes are loaded with the first that is read."""
    return {kind: _lazy(kind, _general_builder) for kind in MESSAGES}


def usual_builder(kind: bytes, mask: int) -> Builder:
    """What builds usual messages with some fields set."""
    return _lazy(kind, lambda profile: _usual_builder(profile, kind, mask))


def _lazy(kind: bytes, make: Callable[[ModelProfile], Build]) -> Builder:
    name = MESSAGES[b"m" + kind[1:]]

    def first(items: list[Any]) -> Any:
        load_official()
        cls = find(name)
        profile = None if cls is None else model_profile(cls)
        if not isinstance(profile, ModelProfile):
            raise UnsafeTypeError(
                f"the value holds a {name}, which the installed langchain-core has not got: "
                "install langchain-core, or a newer one"
            )
        builder.build = make(profile)
        return builder.build(items)

    builder = Builder(first)
    return builder


def _general_builder(profile: ModelProfile) -> Build:
    def build(items: list[Any]) -> Any:
        _, fields, mask, *rest = items
        return profile.made(fields, mask, *(rest or [{} if profile.open else None]))

    return build


def _usual_builder(profile: ModelProfile, kind: bytes, mask: int) -> Build:
    cls, new, fields_of = profile.kind, object.__new__, _FIELDS_OF[FIELDS[kind]]
    set_fields, set_names, set_extra, set_private = (slot.__set__ for slot in profile.slots)
    names = mask_to_names(mask, FIELDS[kind])

    def build(items: list[Any]) -> Any:
        fields = fields_of(items)
        message: Any = new(cls)
        set_fields(message, fields)
        set_names(message, names.copy())
        set_extra(message, {})
        set_private(message, None)
        return message

    def changed(items: list[Any]) -> Any:
        return profile.put(fields_of(items), names.copy(), {} if profile.open else None, None, {})

    # Another release of langchain-core may have other fields.
    return build if tuple(profile.defaults) == FIELDS[kind] and profile.open else changed


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
