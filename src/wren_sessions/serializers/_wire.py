r"""The format of stored values, and the one reader of it: pure, names no class of anybody.

A value is msgpack. What msgpack has no type for is an *envelope*: an array whose first element is
an extension value, the marker, of `MARKER` code and with a kind as its data::

    (1, 2)                 [marker "t", 1, 2]
    Decimal("1.50")        [marker "D", "1.50"]
    Profile(name="Ann")    [marker "p", "app.state:Profile", {"name": "Ann"}, 1]
    HumanMessage("hi")     [marker "Mh\0\1", "hi", {}, {}, "human", nil, nil]

An application cannot make an extension value with a negative code, so no list or dict of its own
looks like an envelope. There are no back references and no tables: an element of a list has the
same bytes wherever it stands. Lists are arrays, dicts are maps; sets are sorted.

========== ==================================================================================
kind       what follows
========== ==================================================================================
t s f      the elements of a tuple, set, frozenset
q          maxlen, elements: deque
k          key, value, key, value …: a dict with keys that are not all text or bytes
i          bytes, big-endian two's complement: an int beyond 64 bits
c F        real, imaginary: complex · numerator, denominator: Fraction
r S        start, stop, step: range · slice
D          text: Decimal
B          bytes: bytearray
O C E      a map: OrderedDict · Counter · name of the factory or nil, then a map: defaultdict
d h        ISO text without zone, fold, zone or nil: datetime · time
a l        ISO text: date · days, seconds, microseconds: timedelta
z Z y      microseconds (and name, if it was given one): timezone · key: ZoneInfo · seconds:
           the time zone of pydantic 2
u          16 bytes (and what is known of its safety): UUID
P I        class name, text: path · address, interface or network
R          pattern, flags: compiled regular expression
A N        dtype, shape, order, bytes: numpy array · dtype, bytes: numpy scalar
x          class name of `SUBCLASSES`, a text or map
e          type, member name (an int for a combination of flags), value: enum
U          type, text (and whether an empty path is kept, other attributes): URL of pydantic 2
w          type, int or text (and attributes): a number or text of a class of pydantic's
g          a name of `SENTINELS`
V          channel, version, value: of a channel that a migration has changed, at the top alone
n          type, map: named tuple
o          type, map of fields (and map of other attributes): dataclass, LangGraph's Send, Item …
p          type, map of fields, set (and extra, private, other attributes): pydantic 2 model
v          type, map of fields, set (and private): pydantic 1 model
m?         map of fields, set (and extra, private, other attributes): a class of `MESSAGES`
M?         the values of a usual message's fields, which `FIELDS` names; the marker's last two bytes
           are the *set*
========== ==================================================================================

Behind the letters n, o, p and v stand two bytes for each field of the map that the class has, which
say of which type it is: see `_shapes`. Versions before left them out.

*type* is ``"module:QualName"``; of a parametrized generic model it is a list of its origin and its
arguments, which `_annotations` names. Marks may follow a name: ``#__main__`` if the module ran
as the program; and ``#`` with 16 hexadecimal digits, the number of a class that no name leads to,
which the process that wrote it has drawn. Behind both, ``#v`` and a number say up to which
migration an object's fields are. *set* says which fields were set: an integer whose bit n stands
for the n-th key of the map (the n-th of `FIELDS`), or a list of names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import msgpack

from wren_sessions.errors import SerializationError, WrenSessionsError

KIND: Final = "safe"  # the type tag of a value in this format
MARKER: Final = -16
MARK: Final = bytes([MARKER & 0xFF])  # is in every envelope
CHANNEL: Final = b"V"
SHAPED: Final = frozenset({b"o", b"p", b"v", b"n"})  # their markers may say more: see `_shapes`
MAIN_MARK: Final = "#__main__"  # behind the name of a class: its module ran as the program
_MARK: Final = re.compile(rf"(?:{MAIN_MARK}|#[0-9a-f]{{16}})?(?:#v[1-9][0-9]{{0,8}})?\Z")
_VERSION: Final = re.compile(r"#v([1-9][0-9]{0,8})\Z")
_USUAL_BYTES: Final = 4
_MOST_BUILDERS: Final = 1_024
_MANY_KEYS: Final = 1_000
_SAME_HASHES: Final = 100

_BASE: Final = "langchain_core.messages."
MESSAGES: Final = {
    b"mh": f"{_BASE}human:HumanMessage",
    b"mH": f"{_BASE}human:HumanMessageChunk",
    b"ma": f"{_BASE}ai:AIMessage",
    b"mA": f"{_BASE}ai:AIMessageChunk",
    b"ms": f"{_BASE}system:SystemMessage",
    b"mS": f"{_BASE}system:SystemMessageChunk",
    b"mt": f"{_BASE}tool:ToolMessage",
    b"mT": f"{_BASE}tool:ToolMessageChunk",
    b"mc": f"{_BASE}chat:ChatMessage",
    b"mC": f"{_BASE}chat:ChatMessageChunk",
    b"mf": f"{_BASE}function:FunctionMessage",
    b"mF": f"{_BASE}function:FunctionMessageChunk",
    b"mr": f"{_BASE}modifier:RemoveMessage",
    b"mb": f"{_BASE}base:BaseMessage",
    b"mB": f"{_BASE}base:BaseMessageChunk",
    b"mD": "langchain_core.documents.base:Document",
}

SUBCLASSES: Final[Mapping[str, type]] = {
    f"{_BASE}base:TextAccessor": str,
    "langchain_core.runnables.utils:AddableDict": dict,
}
# Pydantic's own classes for values: of version 2, and of version 1 under `pydantic.v1`.
_NETWORKS: Final = ("AnyUrl", "AnyHttpUrl", "HttpUrl", "FileUrl", "NameEmail")
_NETWORKS_2: Final = ("AnyWebsocketUrl", "WebsocketUrl", "FtpUrl", "NatsDsn", "MySQLDsn")
_DSNS: Final = ("PostgresDsn", "CockroachDsn", "AmqpDsn", "RedisDsn", "MongoDsn", "KafkaDsn")
_DSNS_2: Final = ("MariaDBDsn", "ClickHouseDsn", "SnowflakeDsn")
_VALUES: Final = ("SecretStr", "SecretBytes", "ByteSize", "PaymentCardNumber")
VALUE_TYPES: Final = frozenset(
    f"{module}:{name}"
    for module, names in {
        "pydantic.networks": (*_NETWORKS, *_NETWORKS_2, *_DSNS, *_DSNS_2),
        "pydantic.types": (*_VALUES, "Secret", "PaymentCardBrand"),
        "pydantic.color": ("Color", "RGBA"),
        "pydantic_core": ("Url", "MultiHostUrl"),
        "pydantic.v1.networks": (*_NETWORKS, *_DSNS, "MultiHostDsn"),
        "pydantic.v1.types": (*_VALUES, "PaymentCardBrand"),
        "pydantic.v1.color": ("Color", "RGBA"),
    }.items()
    for name in names
)
SENTINELS: Final = ("pydantic_core:MISSING", "pydantic_core:UNSET")
_COMMON: Final = ("content", "additional_kwargs", "response_metadata", "type", "name", "id")
_AI: Final = (*_COMMON, "tool_calls", "invalid_tool_calls", "usage_metadata")
_TOOL: Final = (*_COMMON, "tool_call_id", "artifact", "status")
FIELDS: Final = {
    b"Mh": _COMMON,
    b"MH": _COMMON,
    b"Ms": _COMMON,
    b"MS": _COMMON,
    b"Ma": _AI,
    b"MA": (*_AI, "tool_call_chunks", "chunk_position"),
    b"Mt": _TOOL,
    b"MT": _TOOL,
}

Build = Callable[[list[Any]], Any]  # the envelope's items, the marker first


def marker(kind: bytes) -> Any:
    """The first element of envelopes of a kind, to be packed."""
    # ExtType itself takes no negative code: that is what keeps markers ours.
    return tuple.__new__(msgpack.ExtType, (MARKER, kind))


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
        if len(kind) != _USUAL_BYTES or mask >> len(names):
            raise KeyError
        builder = self._usual(kind[:2], mask)
        if len(self) < _MOST_BUILDERS:
            self[kind] = builder
        return builder


def usual_kind(kind: bytes, mask: int) -> bytes:
    """The kind of a usual message with some fields set."""
    return kind + mask.to_bytes(_USUAL_BYTES - len(kind))


def read(data: bytes, table: Mapping[bytes, Builder]) -> Any:
    """The value of bytes in this format.

    Args:
        data: the bytes, which `Limits.check_stored` has passed.
        table: builds the value of each kind of envelope.

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


def type_name(ref: Any) -> str:
    """A stored type as text, with the arguments of a parametrized one in brackets."""
    if type(ref) is str:
        return split_mark(ref)[0]
    if type(ref) is not list or not ref:
        raise SerializationError("the stored value is damaged: a type has no name")
    if ref[0] == "typing:Annotated" and len(ref) > 1:
        return type_name(ref[1])
    origin, *arguments = map(type_name, ref)
    return f"{origin}[{', '.join(name.rpartition(':')[2] for name in arguments)}]"


def split_mark(ref: str) -> tuple[str, str]:
    """The name of a class as it is stored, and the mark that follows it, or an empty text."""
    found = _MARK.search(ref) if "#" in ref else None
    return (ref, "") if found is None else (ref[: found.start()], found.group())


def split_version(ref: Any) -> tuple[Any, int]:
    """The name of a class as it is stored, and up to which migration its fields are."""
    if type(ref) is list and ref:
        first, version = split_version(ref[0])
        return [first, *ref[1:]], version
    found = _VERSION.search(ref) if type(ref) is str else None
    return (ref, 0) if found is None else (ref[: found.start()], int(found[1]))


def with_version(ref: Any, version: int) -> Any:
    """A stored name that says up to which migration the fields are."""
    if type(ref) is list:
        return [with_version(ref[0], version), *ref[1:]]
    return f"{ref}#v{version}"
