"""How to read what Redis answers: replies of the scripts, and the fields of a session's hash. Pure.

The shapes are written down at the top of each ``lua/*.lua`` file, the fields in ``_common.lua``.
Whatever is not as it was written is a `CorruptSessionError` that names the session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NoReturn, TypeVar
from zlib import crc32

import msgpack

from wren_sessions.errors import CorruptSessionError, FormatVersionError
from wren_sessions.keys import KeySpace, decode, segment_field
from wren_sessions.records import (
    ArenaParts,
    Committed,
    Life,
    Loaded,
    Name,
    Scanned,
    SessionInfo,
    Span,
    Start,
    Stored,
    StoredWrite,
    merge_spans,
)
from wren_sessions.ttl import Override

T = TypeVar("T")

FORMAT: Final = 1
SEGMENT_BYTES: Final = 2_032  # as in _common.lua; why this size: docs/explanation/storage.md
NO_KEY: Final = -2  # what PTTL says of a key that is not there
META_WORDS: Final = 9


def read_checked(session: str, read: Callable[[Any], T], reply: Any) -> T:
    """Read what a script replied.

    Raises:
        CorruptSessionError: what stands at the key is no session of this package, or damaged.
        FormatVersionError: a newer version of this package wrote it.
    """
    _refuse(session, reply)
    try:
        return read(reply)
    except (ValueError, TypeError, IndexError):
        corrupt(session, "what its key holds is damaged")


def _refuse(session: str, reply: Any) -> None:
    match reply[0]:
        case b"foreign":
            raise CorruptSessionError(
                f"what stands under the name of session {session!r} is no session of this package; "
                "rename or delete that key, or use another prefix",
                session=session,
            )
        case b"version":
            _newer(session, reply[1])


def _newer(session: str, version: bytes) -> NoReturn:
    if not version.isdigit():
        corrupt(session, "its field ':meta' is damaged")
    raise FormatVersionError(
        f"session {session!r} has format version {int(version)}, and this wren-sessions reads up "
        f"to {FORMAT}: upgrade it",
        session=session,
        found=int(version),
        supported=FORMAT,
    )


def corrupt(session: str, why: str) -> NoReturn:
    """Raise the error for stored data that is not as it was written."""
    raise CorruptSessionError(
        f"session {session!r} cannot be read: {why}; restore it from a copy, or delete it",
        session=session,
    )


def read_life_text(text: bytes) -> Life:
    words = text.split()
    return Life(
        incarnation=words[0].decode(),
        created_ms=int(words[1]),
        updated_ms=int(words[2]),
        now_ms=int(words[3]),
        deadline_ms=None if words[4] == b"-" else int(words[4]),
        pinned=words[5] == b"1",
        revision=int(words[6]),
    )


def read_life(reply: Any) -> Life | None:
    return None if reply[0] == b"miss" else read_life_text(reply[1])


def read_override(word: bytes) -> Override:
    if word == b"-":
        return None
    return "none" if word == b"none" else int(word)


def read_committed(reply: Any) -> Committed:
    outcome = reply[0].decode()
    if outcome == "done":
        life = read_life_text(reply[1])
        return Committed(outcome=outcome, now_ms=life.now_ms, life=life, base=int(reply[2]))
    if outcome == "deleted":
        return Committed(outcome="done", now_ms=int(reply[1]))
    life_now = read_life_text(reply[2]) if reply[2] else None
    return Committed(outcome=outcome, now_ms=int(reply[1]), life=life_now)


def read_loaded(session: str, namespace: str, reply: Any) -> Loaded | None:
    if reply[0] == b"miss":
        return None
    _, life, checkpoint_id, value, parts, special, segments, state = reply
    name = (namespace, decode(checkpoint_id.decode()))
    stored = _stored(session, name, value, parts, special)
    arena = None
    if segments != b"":
        numbers = segments_of(stored.spans)
        if None in segments or len(segments) != len(numbers):
            corrupt(session, "a part of its arena is missing")
        arena = _join_segments(session, numbers, segments)
    return Loaded(life=read_life_text(life), stored=stored, arena=arena, state=state)


def read_heads(reply: Any) -> tuple[Name, ...]:
    """The latest checkpoint of each namespace, the oldest namespace first."""
    names = [part.decode() for part in reply[1:]]
    pairs = list(zip(names[::2], names[1::2], strict=True))
    return tuple((decode(namespace[1:]), decode(head)) for namespace, head in reversed(pairs))


def read_scanned(session: str, starts: Sequence[Start], reply: Any) -> Scanned:
    _, life_text, entries, rest = reply
    life = read_life_text(life_text) if life_text else None
    records = tuple(
        _stored(
            session,
            (starts[int(pair) - 1].namespace, decode(checkpoint_id.decode())),
            value,
            parts,
            special,
        )
        for pair, checkpoint_id, value, parts, special in entries
    )
    if rest == b"":
        return Scanned(records=records, life=life)
    at, before = int(rest[0]) - 1, rest[1]
    going_on = Start(starts[at].namespace, decode(before.decode()) if before else None)
    return Scanned(records=records, rest=(going_on, *starts[at + 1 :]), life=life)


def _stored(session: str, name: Name, value: bytes, parts: Any, special: Any) -> Stored:
    try:
        line, body = value.split(b"\n", 1)
        _, base, own, _, spans = line.split()
        writes, write_spans = _writes(parts, special)
        used = [Span(int(base), int(own)), *_read_spans(spans), *write_spans]
    except Exception:  # noqa: BLE001 -- whatever damaged bytes make the parsers do
        corrupt(session, f"checkpoint {name[1]!r} or its pending writes are damaged")
    return Stored(name=name, body=body, base=int(base), spans=merge_spans(used), writes=writes)


def _read_spans(text: bytes) -> list[Span]:
    if text == b"-":
        return []
    pairs = (span.split(b"+") for span in text.split(b","))
    return [Span(int(offset), int(length)) for offset, length in pairs]


def _writes(parts: list[bytes], special: list[bytes]) -> tuple[tuple[StoredWrite, ...], list[Span]]:
    if not parts:
        return (), []
    line, first = parts[0].split(b"\n", 1)
    _, _, span_text, size_bytes = line.split()
    data = b"".join([first, *parts[1:]])
    if len(data) != int(size_bytes):
        raise ValueError("truncated")
    found: dict[str, bytes] = {}
    for key, body in _unchunk(data):
        found.setdefault(key, body)
    found |= {key.decode(): body for key, body in zip(special[::2], special[1::2], strict=True)}
    writes = tuple(StoredWrite(key, body) for key, body in found.items())
    return writes, _read_spans(span_text)


def _unchunk(data: bytes) -> Iterator[tuple[str, bytes]]:
    unpacker = msgpack.Unpacker(max_buffer_size=len(data) or 1)
    unpacker.feed(data)
    while unpacker.tell() < len(data):
        crc, *flat = unpacker.unpack()
        keys, bodies = flat[::2], flat[1::2]
        if crc_of(keys) != crc or not all(isinstance(body, bytes) for body in bodies):
            raise ValueError("changed")
        yield from zip(keys, bodies, strict=True)


def crc_of(keys: Sequence[str]) -> int:
    """What shows that the keys of pending writes are as they were; bodies have their own."""
    return crc32("\n".join(keys).encode())


def segments_of(spans: Sequence[Span]) -> list[int]:
    """The numbers of the segments that spans touch, each once, ascending: as load.lua has them."""
    numbers: set[int] = set()
    for span in spans:
        if span.length:
            numbers.update(range(span.offset // SEGMENT_BYTES, (span.end - 1) // SEGMENT_BYTES + 1))
    return sorted(numbers)


def read_arena(
    session: str, spans: Sequence[Span], numbers: list[int], replies: list[Any]
) -> ArenaParts | None:
    """The parts of the arena that several HMGET brought, each with ``:meta`` in front."""
    metas = [reply[0] for reply in replies]
    found = [segment for reply in replies for segment in reply[1:]]
    if None in metas or None in found:
        return None
    lives = {tuple(meta.split()[:2]) for meta in metas}
    if len(lives) > 1:  # deleted and made again between two of them
        return None
    parts = _join_segments(session, numbers, found)
    whole = all(parts.get(span) is not None for span in spans if span.length)
    return parts if whole else None


def _join_segments(session: str, numbers: list[int], segments: Sequence[bytes]) -> ArenaParts:
    """Join the segments that follow each other."""
    runs: list[tuple[int, list[bytes]]] = []
    for at, (number, segment) in enumerate(zip(numbers, segments, strict=True)):
        if at and numbers[at - 1] == number - 1:
            if len(runs[-1][1][-1]) != SEGMENT_BYTES:
                corrupt(session, f"its field {segment_field(number - 1)!r} is damaged")
            runs[-1][1].append(segment)
        else:
            runs.append((number * SEGMENT_BYTES, [segment]))
    return ArenaParts((offset, b"".join(run)) for offset, run in runs)


def session_of(keys: KeySpace, name: bytes) -> str | None:
    """The session that a key is named after, or None if no session of this store could be."""
    try:
        return keys.parse_session_key(name.decode())
    except UnicodeDecodeError:
        return None


def read_listed(
    keys: KeySpace, name: bytes, fields: Any, left_ms: int, now_ms: int
) -> SessionInfo | None:
    """One entry of a listing; None if it is no session that this version reads."""
    state, meta = fields or (None, None)
    session = session_of(keys, name)
    words = [] if meta is None else meta.split()
    if session is None or len(words) != META_WORDS or words[0] != b"%d" % FORMAT:
        return None
    try:
        life = Life(
            incarnation=words[1].decode(),
            created_ms=int(words[2]),
            updated_ms=int(words[3]),
            now_ms=now_ms,
            deadline_ms=None if left_ms < 0 else now_ms + left_ms,
            pinned=words[7] == b"1",
            revision=int(words[5]),
        )
    except ValueError:
        return None
    return SessionInfo(session=session, life=life, state=state or b"")
