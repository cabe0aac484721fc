r"""The format of stored values, and how classes are named in them. Pure.

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
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgpack

from wren_sessions.errors import SerializationError

KIND: Final = "safe"  # the type tag of a value in this format
MARKER: Final = -16
MARK: Final = bytes([MARKER & 0xFF])  # is in every envelope
CHANNEL: Final = b"V"
SHAPED: Final = frozenset({b"o", b"p", b"v", b"n"})  # their markers may say more: see `_shapes`
MAIN_MARK: Final = "#__main__"  # behind the name of a class: its module ran as the program
_MARK: Final = re.compile(rf"(?:{MAIN_MARK}|#[0-9a-f]{{16}})?(?:#v[1-9][0-9]{{0,8}})?\Z")
_VERSION: Final = re.compile(r"#v([1-9][0-9]{0,8})\Z")
USUAL_BYTES: Final = 4

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


def usual_kind(kind: bytes, mask: int) -> bytes:
    """The kind of a usual message with some fields set."""
    return kind + mask.to_bytes(USUAL_BYTES - len(kind))


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
