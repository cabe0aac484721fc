"""A session in memory as bytes and back, for `MemoryStore.dump` and `MemoryStore.restore`. Pure.

The bytes are a CRC-32 of what follows, and a msgpack array: the format version; the fields of
`_PLAIN`; the tokens of recent commits; the arena's end, and its pieces with their offsets; the
namespaces, each with its head and its records; the pending writes by checkpoint. Everything that
has an order is dumped in that order, so equal sessions give equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, NoReturn, TypeVar
from zlib import crc32

import msgpack

from wren_sessions.errors import CorruptSessionError, FormatVersionError, SerializationError
from wren_sessions.records import Span
from wren_sessions.serializers.limits import Budget, OverBudgetError, check_sequence
from wren_sessions.stores.memory.arena import Arena
from wren_sessions.stores.memory.session import KeptRecord, KeptWrite, Namespace, Session
from wren_sessions.ttl import MAX_MS, MAX_TIME_MS, Override

T = TypeVar("T")

FORMAT: Final = 1
MAX_NUMBER: Final = 10**15  # as on Redis; see _common.lua

_PLAIN: Final = (
    "incarnation",
    "created_ms",
    "updated_ms",
    "deadline_ms",
    "override",
    "pinned",
    "revision",
    "state",
)
_CRC_BYTES: Final = 4
_OF_BYTES: Final = 6  # most of a dump are bytes: it has few objects for its size


def pack(session: Session) -> bytes:
    """A session as bytes."""
    plain = attrgetter(*_PLAIN)(session)
    arena = session.arena.end, session.arena.pieces()
    namespaces = [
        (name, kept.head, list(kept.records.items())) for name, kept in session.namespaces.items()
    ]
    writes = [(name, list(kept.items())) for name, kept in session.writes.items()]
    packed: bytes = msgpack.packb((FORMAT, plain, list(session.recent), arena, namespaces, writes))
    return crc32(packed).to_bytes(_CRC_BYTES) + packed


def unpack(name: str, data: bytes) -> Session:
    """The session that `pack` packed, under the id that it is to have.

    Raises:
        CorruptSessionError: these are not such bytes, or they are damaged.
        FormatVersionError: a newer version packed it.
    """
    crc, packed = data[:_CRC_BYTES], data[_CRC_BYTES:]
    if crc32(packed).to_bytes(_CRC_BYTES) != crc or not packed:
        raise CorruptSessionError(
            f"session {name!r} cannot be restored: these bytes are not a dump of a session, or "
            "are damaged; restore it from another copy",
            session=name,
        )
    try:
        with Budget(len(packed) // _OF_BYTES, what="the dump"):
            check_sequence(packed)
        found, *parts = msgpack.unpackb(packed, use_list=False, strict_map_key=False)
    except OverBudgetError as error:
        _damaged(name, error.why)
    except (*_WRONG, SerializationError):
        _damaged(name, "its parts are not those of a dump")
    if found != FORMAT:
        raise FormatVersionError(
            f"the dump of session {name!r} has format version {found}, and this wren-sessions "
            f"reads up to {FORMAT}: upgrade it",
            session=name,
            found=found,
            supported=FORMAT,
        )
    try:
        session = _restored(*parts)
    except _WRONG as error:
        _damaged(name, str(error))
    session.size_bytes = len(name.encode()) + _content_bytes(session)
    return session


_WRONG: Final = (ValueError, TypeError, LookupError, AttributeError, msgpack.UnpackException)


def _damaged(name: str, why: str) -> NoReturn:
    raise CorruptSessionError(
        f"the dump of session {name!r} is damaged: {why}; restore it from another copy",
        session=name,
    )


# --- reading: every part is of its type, and every number in its range ----------------------------


def _restored(plain: Any, recent: Any, arena: Any, namespaces: Any, writes: Any) -> Session:
    fields = dict(zip(_PLAIN, plain, strict=True))
    kept = _arena(*arena)
    session = Session(**{name: _PLAIN_CHECKS[name](fields[name]) for name in _PLAIN}, arena=kept)
    session.recent.extend(map(_text, recent))
    for namespace, head, records in namespaces:
        session.namespaces[_text(namespace)] = _namespace(head, records, kept.end)
    for (namespace, checkpoint_id), entries in writes:
        session.writes[_text(namespace), _text(checkpoint_id)] = {
            _text(key): KeptWrite(_bytes(body), _spans(spans, kept.end))
            for key, (body, spans) in entries
        }
    return session


def _namespace(head: Any, records: Any, end: int) -> Namespace:
    kept = Namespace()
    for checkpoint_id, (body, base, spans, token) in records:
        record = KeptRecord(_bytes(body), _count(base, end), _spans(spans, end), _text(token))
        kept.put(_text(checkpoint_id), record, leads=checkpoint_id == head)
    if not kept.head:
        raise ValueError("the latest checkpoint of a namespace is missing")
    return kept


def _arena(end: Any, pieces: Any) -> Arena:
    """An arena: its pieces ascend, do not overlap, and lie before its end."""
    at = 0
    for start, piece in pieces:
        if _count(start, _count(end)) < at or not _bytes(piece):
            raise ValueError("the pieces of its arena are not in order")
        at = start + len(piece)
    if at > _count(end):
        raise ValueError("its arena is longer than it says")
    return Arena.of(end, pieces)


def _spans(pairs: Any, end: int) -> tuple[Span, ...]:
    spans = tuple(Span(_count(offset), _count(length)) for offset, length in pairs)
    if any(span.end > end for span in spans):
        raise ValueError("a checkpoint refers to what is not in its arena")
    return spans


def _is(kind: type[T]) -> Callable[[Any], T]:
    """A check that something is of a type, and of no other."""

    def check(value: Any) -> T:
        if type(value) is not kind:
            raise TypeError(f"{str(value)[:40]!r} stands where a {kind.__name__} should")
        return value

    return check


_text, _bytes, _number = _is(str), _is(bytes), _is(int)


def _count(value: Any, most: int = MAX_NUMBER) -> int:
    if not 0 <= _number(value) <= most:
        raise ValueError(f"the number {str(value)[:40]} is out of range")
    return int(value)


def _time(value: Any) -> int:
    if abs(_number(value)) > MAX_TIME_MS:
        raise ValueError(f"the time {str(value)[:40]} is out of range")
    return int(value)


def _deadline(value: Any) -> int | None:
    return None if value is None else _time(value)


def _override(value: Any) -> Override:
    return value if value in {None, "none"} else _count(value, MAX_MS)


_PLAIN_CHECKS: Final[dict[str, Callable[[Any], Any]]] = {
    "incarnation": _text,
    "created_ms": _time,
    "updated_ms": _time,
    "deadline_ms": _deadline,
    "override": _override,
    "pinned": _is(bool),
    "revision": _count,
    "state": _bytes,
}


def _content_bytes(session: Session) -> int:
    """What a session takes besides its id; commits and prunes keep count of the same."""
    total = session.arena.size_bytes + len(session.state)
    for namespace, kept in session.namespaces.items():
        for checkpoint_id, record in kept.records.items():
            total += len(namespace.encode()) + len(checkpoint_id.encode()) + len(record.body)
    for (namespace, checkpoint_id), writes in session.writes.items():
        total += len(namespace.encode()) + len(checkpoint_id.encode())
        total += sum(len(key.encode()) + len(write.body) for key, write in writes.items())
    return total
