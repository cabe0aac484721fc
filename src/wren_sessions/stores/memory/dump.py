"""A session in memory as bytes and back, for `MemoryStore.dump` and `MemoryStore.restore`. Pure.

The bytes are a CRC-32 of what follows, and a msgpack array: the format version; the fields of
`_PLAIN`; the tokens of recent commits; the arena's end, and its pieces with their offsets; the
namespaces, each with its head and its records; the pending writes by checkpoint. What is kept in an
order is dumped in that order, so that the same session gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any, Final
from zlib import crc32

import msgpack

from wren_sessions.errors import CorruptSessionError, FormatVersionError
from wren_sessions.records import Span
from wren_sessions.stores.memory.arena import Arena
from wren_sessions.stores.memory.session import KeptRecord, KeptWrite, Namespace, Session

FORMAT: Final = 1

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
    """The session that `pack` packed.

    Args:
        name: the id it is to have.
        data: the bytes.

    Raises:
        CorruptSessionError: these are not such bytes, or they are damaged.
        FormatVersionError: a newer version packed it.
    """
    crc, packed = data[:_CRC_BYTES], data[_CRC_BYTES:]
    if crc32(packed).to_bytes(_CRC_BYTES) != crc or not packed:
        raise CorruptSessionError(
            f"session {name!r} cannot be restored: these bytes are no dump of a session, or they "
            "are damaged; restore it from another copy",
            session=name,
        )
    found, *parts = msgpack.unpackb(packed, use_list=False)
    if found != FORMAT:
        raise FormatVersionError(
            f"the dump of session {name!r} has format version {found}, and this wren-sessions "
            f"reads up to {FORMAT}: upgrade it",
            session=name,
            found=found,
            supported=FORMAT,
        )
    session = _restored(*parts)
    session.size_bytes = len(name.encode()) + _content_bytes(session)
    return session


def _restored(plain: Any, recent: Any, arena: Any, namespaces: Any, writes: Any) -> Session:
    session = Session(**dict(zip(_PLAIN, plain, strict=True)), arena=Arena.of(*arena))
    session.recent.extend(recent)
    for namespace, head, records in namespaces:
        kept = session.namespaces[namespace] = Namespace()
        for checkpoint_id, (body, base, spans, token) in records:
            record = KeptRecord(body, base, _spans(spans), token)
            kept.put(checkpoint_id, record, leads=checkpoint_id == head)
    for (namespace, checkpoint_id), entries in writes:
        session.writes[namespace, checkpoint_id] = {
            key: KeptWrite(body, _spans(spans)) for key, (body, spans) in entries
        }
    return session


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


def _spans(pairs: Iterable[tuple[int, int]]) -> tuple[Span, ...]:
    return tuple(Span(*pair) for pair in pairs)
