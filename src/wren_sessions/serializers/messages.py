"""The fast path for langchain's messages: exact classes, written from their fields.

A *usual* message has exactly the fields that its class has had for a long time (`FIELDS` in
`_wire`), in order. It is written as the values of these fields, and `lists` builds it again. All
other messages and classes take the general way, `ModelProfile`. That writes a map, and readers know
both forms.

Writing first assumes that the values in usual messages are plain. One call of orjson over all of
them then checks this: orjson refuses what msgpack would change silently (a bytearray would become
bytes), and msgpack in strict mode refuses the rest. If orjson is not installed, or refuses
something, each field is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

from wren_sessions.serializers._models import ModelProfile, names_to_mask
from wren_sessions.serializers._standard import Write
from wren_sessions.serializers._wire import FIELDS, MESSAGES, array_header, marker, usual_kind
from wren_sessions.serializers._writing import (
    PACKING_ERRORS,
    SCALARS,
    STRICT_JSON,
    Lower,
    holds_bytes,
    orjson,
    pack,
)

KINDS: Final = {name: kind for kind, name in MESSAGES.items()}
_MOST_KNOWN: Final = 8
_AT_ONCE: Final = 200  # messages; of more, each step takes fresh memory, and is slower

ValuesOf = Callable[[dict[str, Any]], tuple[Any, ...]]


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
            ((mark, *items),) = lowered
            if held:
                lower = self._lower
                items = [item if type(item) in SCALARS else lower(item) for item in items]
            return [mark, *items]

        return write

    def begins(self, value: Any) -> bool:
        """Whether a value is a list that begins with a usual message."""
        if orjson is None or type(value) is not list or not value:
            return False
        return type(value[0]) in self._usual

    def packed(self, messages: list[Any]) -> bytes | None:
        """The bytes of a list that begins with a usual message; None if it is not all plain."""
        if len(messages) > _AT_ONCE:
            messages = messages[:]  # another thread may append to it
            whole = [array_header(len(messages))]
            for at in range(0, len(messages), _AT_ONCE):
                some = messages[at : at + _AT_ONCE]
                data = self.packed(some)
                if data is None:
                    return None
                whole.append(data[len(array_header(len(some))) :])
            return b"".join(whole)
        lowered: list[Any] = []
        try:
            held = self._trusted(messages, lowered.append)
            data = pack(lowered)  # first: orjson takes tuples, and has no limit to their depth
            orjson.dumps(held, None, STRICT_JSON)
        except PACKING_ERRORS:
            return None
        return None if holds_bytes(data) else data

    def pack(self, messages: list[Any], packer: Any) -> bool:
        """Pack messages, one behind the other, if all that they hold is plain.

        Args:
            messages: a list that begins with a usual message, or what follows in such a list.
            packer: keeps what it packs. A strict one: orjson takes tuples and enums, and does not
                tell.

        Returns:
            Whether that could be done; if not, each field must be looked at.
        """
        try:
            for at in range(0, len(messages), _AT_ONCE):
                held = self._trusted(messages[at : at + _AT_ONCE], packer.pack)
                orjson.dumps(held, None, STRICT_JSON)
        except PACKING_ERRORS:
            return False
        return not holds_bytes(b"".join((array_header(len(messages)), packer.getbuffer())))

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


def _general_writer(profile: ModelProfile, kind: bytes, lower: Lower) -> Write:
    mark = marker(kind)
    usual_extra: dict[str, Any] | None = {} if profile.open else None

    def write(message: Any) -> list[Any]:
        _, _, fields, mask, *rest = profile.write(message)
        extra, *others = rest or [None]
        parts = [extra, *others] if others or extra != usual_extra else []
        return [mark, *map(lower, (fields, mask, *parts))]

    return write
