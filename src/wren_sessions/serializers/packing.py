"""Values to bytes: all that packs.

Most values are dicts and lists of plain data, with a few objects in them. msgpack packs those in
one call, and calls back for each object, which becomes an envelope (see `_wire`): `Packing`. Then
orjson looks at the same value, also in one call, since msgpack alone would change some data without
a word: a bytearray would become bytes. If another thread ran in between, it may be too late to see
that. So nothing that holds bytes is packed like this (`holds_bytes`).

Any other value is *lowered* first, level by level, to what msgpack packs natively: `written`. What
could not be read back is refused there, and never written. Each level is copied before its types
are looked at, since another thread may change it.

Langchain's messages have a fast path: exact classes, written from their fields (`Messages`). A
*usual* message has exactly the fields that its class has had for a long time (`FIELDS` in `_wire`),
in order. It is written as the values of these fields, and `unpacking` builds it again. All other
messages and classes take the general way, `ModelProfile`. That writes a map, and readers know both
forms.

Writing first assumes that the values in usual messages are plain. One call of orjson over all of
them then checks this: orjson refuses what msgpack would change silently (a bytearray would become
bytes), and msgpack in strict mode refuses the rest. If orjson is not installed, or refuses
something, each field is checked.

Lists of messages grow with a conversation, and are stored again at each step. The engine compares
the packed list with the previous one, so it looks at the bytes where they are (`PackedList`). If a
list begins with messages that are known already (`KnownMessages`), only the rest is packed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from itertools import chain, repeat
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple

import msgpack

from wren_sessions.errors import SerializationError
from wren_sessions.serializers import _standard
from wren_sessions.serializers._deep import Part, Unsorted
from wren_sessions.serializers._models import FOUR, ModelProfile, names_to_mask
from wren_sessions.serializers._standard import Write, write_int, write_odd_dict
from wren_sessions.serializers._wire import FIELDS, MARK, MARKER, MESSAGES, marker, usual_kind
from wren_sessions.serializers.limits import DEEPEST, Limits, fault_of, over

Lower = Callable[[Any], Any]
Copy = Callable[[Any], Any]
ValuesOf = Callable[[dict[str, Any]], tuple[Any, ...]]

SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})
_KEYS: Final = frozenset({str, bytes})
_CHANGED: Final = frozenset({bytearray, memoryview, msgpack.ExtType, msgpack.Timestamp})
_SET, _FROZENSET = map(marker, (b"s", b"f"))
_CALLS_EACH: Final = 2  # that lowering takes at least for each level, in any Python
_MARKED: Final = (None,)  # in place of a marker, where nothing is built
_BIN8, _BIN16, _BIN32 = range(0xC4, 0xC7)  # what bytes begin with
_REFUSED: Final = -2  # as the longest bytes: empty ones are longer (-1 would stand for no limit)
_SHORT: Final = 16  # elements: an array of fewer has a header of one byte, …
_LONG: Final = 65_536  # … one of fewer than these a header of three, and else of five
ARRAYS: Final = {**dict.fromkeys(range(0x90, 0xA0), 1), 0xDC: 3, 0xDD: 5}  # header's length
KINDS: Final = {name: kind for kind, name in MESSAGES.items()}
_MOST_KNOWN: Final = 8
_PARTS: Final = tuple(map(attrgetter, FOUR))  # not all at once: a tuple each sets off collections
_all_values: Final = chain.from_iterable
_AT_ONCE: Final = 200  # messages; of more, each step takes fresh memory, and is slower
KEPT_BYTES: Final = 1_048_576  # a packer that grew larger is not kept

# Why what was trusted to be plain cannot be packed; looking at each value tells what it is.
PACKING_ERRORS: Final = (RecursionError, SerializationError, TypeError, ValueError)

orjson: Any
try:  # comes with langchain, but not on every platform
    import orjson
except ImportError:
    orjson = None

STRICT_JSON: Final = (
    0
    if orjson is None
    else orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)

spare: Final[dict[str, Any]] = {}
"""The packer that nobody uses now, if there is one: it takes longer to make than to use.

Whoever packs takes it out, and puts it back when done; not if it failed, nor if it has grown large,
since it keeps its buffer. It belongs to no thread: LangGraph begins new threads with each run.
"""


def lowering(
    find: Callable[[type, Lower], Write],
    check_keys: Callable[[Collection[Any]], None],
    inner: Lower | None = None,
) -> Lower:
    """A function that turns values into what msgpack packs.

    Args:
        find: what writes objects of a class, given what lowers their parts; raises if nothing does.
        check_keys: raises if keys of a dict, or elements of a set, may not be hashed when read.
        inner: what lowers the parts of values; None for the function itself.
    """
    writers: dict[type, Callable[[Any], Any]] = {}

    def lower(value: Any) -> Any:
        kind = type(value)
        if kind in SCALARS:
            return value
        write = writers.get(kind)
        return find(kind, part)(value) if write is None else write(value)

    part = inner or lower
    writers |= _plain_containers(part, check_keys)
    writers |= _standard.WRITERS
    writers |= {kind: _inside(write, part) for kind, write in _standard.CONTAINERS.items()}
    return lower


def _plain_containers(
    lower: Lower, check_keys: Callable[[Collection[Any]], None]
) -> dict[type, Callable[[Any], Any]]:
    holds_scalars, holds_keys, holds_text = (
        kinds.issuperset for kinds in (SCALARS, _KEYS, frozenset({str}))
    )
    write_odd = _inside(write_odd_dict, lower)
    later = lower is Part

    def lower_list(value: list[Any]) -> list[Any]:
        if not value:
            return []
        value = value.copy()
        return value if holds_scalars(map(type, value)) else [lower(item) for item in value]

    def lower_dict(value: dict[Any, Any]) -> Any:
        if not value:
            return {}
        value = value.copy()
        if not holds_keys(map(type, value)):
            check_keys(value)
            return write_odd(value)
        if holds_scalars(map(type, value.values())):
            return value
        return {key: lower(item) for key, item in value.items()}

    def lower_set(value: set[Any] | frozenset[Any]) -> list[Any]:
        head = _SET if type(value) is set else _FROZENSET
        value = value.copy()
        check_keys(value)
        if holds_text(map(type, value)):
            return [head, *sorted(value)]
        elements = list(map(lower, value))
        return Unsorted([head, *elements]) if later else [head, *sorted(elements, key=pack)]

    return {list: lower_list, dict: lower_dict, set: lower_set, frozenset: lower_set}


def _inside(write: Write, lower: Lower) -> Write:
    """The items of an envelope, each of them written."""

    def written_inside(value: Any) -> list[Any]:
        mark, *items = write(value)
        return [mark, *map(lower, items)]

    return written_inside


def pack(lowered: Any) -> bytes:
    """Pack what `lowering` gave."""
    packer = spare.pop("packer", None) or new_packer()
    try:
        data: bytes = packer.pack(lowered)
    except UnicodeEncodeError:  # half a surrogate pair: rare, and the other packer is slower
        return new_packer("surrogatepass").pack(lowered)  # type: ignore[no-any-return]
    if len(data) < KEPT_BYTES:
        spare["packer"] = packer
    return data


def pack_each(values: Sequence[Any]) -> list[bytes]:
    """The bytes of each of some values.

    Raises:
        PACKING_ERRORS: one of them is not plain, or not quite: a tuple, a subclass.
    """
    packer = spare.pop("packer", None) or new_packer()
    found = list(map(packer.pack, values))
    spare["packer"] = packer
    return found


def new_packer(
    unicode_errors: str | None = None,
    *,
    autoreset: bool = True,
    default: Callable[[Any], Any] | None = None,
) -> Any:
    """A packer that leaves objects to `default`; without one, it refuses them."""
    return msgpack.Packer(
        default=default or _default,
        strict_types=True,
        unicode_errors=unicode_errors,
        autoreset=autoreset,
    )


class Packing:
    """Packs dicts and lists without looking at each level, for one serializer. Thread-safe.

    Args:
        lower: makes an envelope of an object, or refuses it.
    """

    def __init__(self, lower: Lower) -> None:
        self._lower = lower
        self._spare: dict[str, Any] = {}

    def pack(self, value: Any) -> bytes | None:
        """The bytes of a dict or list; None for anything else, and if nobody can say so.

        orjson comes second: it takes tuples, and has no limit to their depth. Between the two, and
        while an object is lowered, other threads run. One may change the length of a list whose
        head is packed already: then the bytes are not whole.
        """
        if orjson is None or (type(value) is not dict and type(value) is not list):
            return None
        packer = self._spare.pop("packer", None) or new_packer(default=self._lowered)
        try:
            data: bytes = packer.pack(value)
            orjson.dumps(value, _check_object, STRICT_JSON)
        except PACKING_ERRORS:
            return None
        if holds_bytes(data) and not _only_in_envelopes(data):
            return None
        # `in` would first raise, and drop, an error that a mark is no number.
        if data.find(MARK) >= 0 and fault_of(data) is not None:
            return None
        if len(data) < KEPT_BYTES:
            self._spare["packer"] = packer
        return data

    def _lowered(self, value: Any) -> Any:
        return write_int(value) if type(value) is int else self._lower(value)


def _check_object(value: Any) -> None:
    """Refuse what msgpack packs as something else; it has called back for any other object."""
    if type(value) in _CHANGED:
        raise TypeError


def holds_bytes(data: bytes) -> bool:
    """Whether there are bytes in what was packed.

    They may have been a bytearray that another thread took away before orjson saw it. Letters such
    as ą begin with the same byte as bytes do. So this also runs for text in many languages, and has
    to be quick: reading ends at the first bytes, and texts are not decoded.
    """
    if not (_BIN8 in data or _BIN16 in data or _BIN32 in data):
        return False
    try:
        msgpack.unpackb(data, raw=True, use_list=False, max_bin_len=_REFUSED, ext_hook=_marked)
    except PACKING_ERRORS:
        return True
    return False


def _only_in_envelopes(data: bytes) -> bool:
    """Whether all bytes are in envelopes: the parts of objects were copied and looked at."""
    try:
        orjson.dumps(msgpack.unpackb(data, ext_hook=_marked, list_hook=_outside))
    except PACKING_ERRORS:
        return False
    return True


def _marked(code: int, _kind: bytes) -> tuple[None]:
    if code != MARKER:
        raise ValueError
    return _MARKED


def _outside(items: list[Any]) -> list[Any] | None:
    """What is no envelope."""
    return None if items and items[0] is _MARKED else items


def written(
    value: Any, packing: Packing, lower: Lower, deep: Callable[[], Lower], limits: Limits
) -> bytes:
    """The bytes of a value.

    Args:
        value: the value.
        packing: packs it, if it can.
        lower: lowers it; each level takes some calls.
        deep: makes what lowers it if there is no room for them on the stack: see `_deep`.
        limits: what is refused for its size.

    Raises:
        SerializationError: it holds what cannot be stored, refers to itself, or is too large.
    """
    data = packing.pack(value)
    may_be_deep = sys.getrecursionlimit() > _CALLS_EACH * DEEPEST
    if data is not None and len(data) <= limits.free_bytes and not may_be_deep:
        return data
    try:
        try:
            data = pack(lower(value)) if data is None else data
        except RecursionError:
            may_be_deep = True
            data = pack(deep()(value))
    except (RecursionError, ValueError) as error:
        if isinstance(error, ValueError) and "recursion" not in str(error):
            raise
        raise over(
            "max_depth", limits.max_depth, "the value is nested deeper, or refers to itself"
        ) from None
    if may_be_deep:
        limits.check_depth(data)
    limits.check_written(data)
    return data


def _default(value: Any) -> Any:
    if type(value) is int:
        return write_int(value)
    raise SerializationError(f"a {type(value).__qualname__} was not written as an envelope")


# --- headers of arrays ----------------------------------------------------------------------------


def array_header(size: int) -> bytes:
    """What msgpack begins an array with; its own packer takes longer to make than to use."""
    if size < _SHORT:
        return bytes([0x90 | size])
    return b"\xdc" + size.to_bytes(2) if size < _LONG else b"\xdd" + size.to_bytes(4)


def header_length(data: bytes | memoryview) -> int:
    """How many bytes an array's header has, 0 for any other value."""
    return ARRAYS.get(data[0], 0) if data else 0


def array_length(data: bytes) -> tuple[int, int]:
    """How many elements an array has, and how many bytes its header; zeros for anything else."""
    size = ARRAYS.get(data[0], 0) if data else 0
    if size > 1:
        return int.from_bytes(data[1:size]), size
    return (data[0] & 0x0F, 1) if size else (0, 0)


# --- messages -------------------------------------------------------------------------------------


class _Usual:
    """How usual messages of a class are written; `general` writes the others of the class."""

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
    """Writes the messages of one serializer."""

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


class KnownMessages:
    """Messages that a list may begin with: they need not be packed again.

    Attributes:
        count: how many there are.
    """

    def __init__(self) -> None:
        self.count = 0
        # Of the usual messages: their parts, and what has to be copied: where, and how.
        self._kinds: list[type] = []
        self._fields: list[dict[str, Any]] = []
        self._names: list[set[str]] = []
        self._types: list[type] = []  # of all fields
        self._changeable: list[tuple[int, str, Copy, Any]] = []
        self._images: list[bytes] = []  # the bytes of what can be changed
        self._comparable = True  # a bytearray equals bytes, and is packed as they are
        # The others, with their places in the list.
        self._others: list[tuple[int, list[Any]]] = []

    def begins(self, messages: list[Any]) -> bool:
        """Whether a list begins with messages that are the same as these in every respect.

        1, 1.0 and True are not the same, nor are 0.0 and -0.0, nor a text and one of a subclass.
        """
        first = messages[: self.count]
        if self._others or not self._comparable or list(map(type, first)) != self._kinds:
            return False
        # Each step runs in C, and tells apart what the others take for the same.
        try:
            fields, names, extras, privates = map(list, map(map, _PARTS, repeat(first)))
            return (
                fields == self._fields
                and names == self._names
                and extras.count({}) == privates.count(None) == self.count
                and list(map(type, _all_values(map(dict.values, fields)))) == self._types
                and (
                    not self._changeable
                    or pack_each([fields[at][name] for at, name, _, _ in self._changeable])
                    == self._images
                )
            )
        except Exception:  # noqa: BLE001 -- what comparing unknown objects raises; they are others
            return False


class PackedList(NamedTuple):
    """A list as it was packed.

    Attributes:
        kind: its type tag.
        head: the array's head.
        elements: the bytes of its elements, which are gone when whoever looks at them returns.
        unchanged: whether those of the messages that were unpacked earlier are left out, because
            the list begins with the same ones.
    """

    kind: str
    head: bytes
    elements: memoryview
    unchanged: bool


def _general_writer(profile: ModelProfile, kind: bytes, lower: Lower) -> Write:
    mark = marker(kind)
    usual_extra: dict[str, Any] | None = {} if profile.open else None

    def write(message: Any) -> list[Any]:
        _, _, fields, mask, *rest = profile.write(message)
        extra, *others = rest or [None]
        parts = [extra, *others] if others or extra != usual_extra else []
        return [mark, *map(lower, (fields, mask, *parts))]

    return write
