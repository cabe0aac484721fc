"""How to read what Redis answers: replies of the scripts, and the fields of a session's hash. Pure.

The shapes are written down at the top of each ``lua/*.lua`` file, the fields in ``_common.lua``.
Whatever is not as it was written is a `CorruptSessionError` that names the session.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NoReturn

import msgpack

from wren_sessions.errors import CorruptSessionError, FormatVersionError
from wren_sessions.keys import KeySpace, decode
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

FORMAT: Final = 1
SEGMENT_BYTES: Final = 2_032  # as in _common.lua; why this size: docs/explanation/storage.md
NO_KEY: Final = -2  # what PTTL says of a key that is not there
META_WORDS: Final = 9


def refuse(session: str, reply: Any) -> None:
    """Raise what a script says that it could not do."""
    match reply[0]:
        case b"foreign":
            raise CorruptSessionError(
                f"what stands under the name of session {session!r} is no session of this package; "
                "rename or delete that key, or use another prefix",
                session=session,
            )
        case b"version":
            _newer(session, reply[1])
        case b"damaged":
            corrupt(session, f"its field {reply[1].decode('utf-8', 'replace')!r} is damaged")


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


def read_committed(reply: Any) -> Committed:
    outcome = reply[0].decode()
    if outcome == "done":
        life = read_life_text(reply[1])
        return Committed(outcome=outcome, now_ms=life.now_ms, life=life, base=int(reply[2]))
    life_text = reply[2] if outcome == "exists" else None
    return Committed(
        outcome=outcome, now_ms=int(reply[1]), life=read_life_text(life_text) if life_text else None
    )


def read_loaded(session: str, namespace: str, reply: Any) -> Loaded | None:
    if reply[0] == b"miss":
        return None
    _, life, checkpoint_id, value, parts, special, segments = reply
    name = (namespace, decode(checkpoint_id.decode()))
    stored = _stored(session, name, value, parts, special)
    arena = None
    if segments != b"":
        numbers = segments_of(stored.spans)
        if None in segments or len(segments) != len(numbers):
            corrupt(session, "a part of its arena is missing")
        arena = join_segments(numbers, segments)
    return Loaded(life=read_life_text(life), stored=stored, arena=arena)


def read_scanned(session: str, starts: Sequence[Start], reply: Any) -> Scanned:
    _, entries, rest = reply
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
        return Scanned(records=records)
    at, before = int(rest[0]) - 1, rest[1]
    going_on = Start(starts[at].namespace, decode(before.decode()) if before else None)
    return Scanned(records=records, rest=(going_on, *starts[at + 1 :]))


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
    spans = _read_spans(line.split()[2])
    found: dict[str, bytes] = {}
    for key, body in _unchunk(b"".join([first, *parts[1:]])):
        found.setdefault(key, body)
    for key_bytes, body in zip(special[::2], special[1::2], strict=True):
        if not isinstance(body, bytes):
            raise TypeError(key_bytes)
        found[key_bytes.decode()] = body
    return tuple(StoredWrite(key, body) for key, body in found.items()), spans


def _unchunk(data: bytes) -> Iterator[tuple[str, bytes]]:
    unpacker = msgpack.Unpacker(max_buffer_size=len(data) or 1)
    unpacker.feed(data)
    for chunk in unpacker:
        yield from zip(chunk[1::2], chunk[2::2], strict=True)
    if unpacker.tell() != len(data):
        raise ValueError("truncated")


def segments_of(spans: Sequence[Span]) -> list[int]:
    """The numbers of the segments that spans touch, each once, ascending: as load.lua has them."""
    numbers: set[int] = set()
    for span in spans:
        if span.length:
            numbers.update(range(span.offset // SEGMENT_BYTES, (span.end - 1) // SEGMENT_BYTES + 1))
    return sorted(numbers)


def join_segments(numbers: list[int], segments: Sequence[bytes | None]) -> ArenaParts:
    """Join the segments that follow each other."""
    cuts = [at for at, (a, b) in enumerate(pairwise(numbers), 1) if b != a + 1]
    bounds = [0, *cuts, len(numbers)] if numbers else [0]
    return ArenaParts(
        (numbers[start] * SEGMENT_BYTES, b"".join(segments[start:end]))  # type: ignore[arg-type]
        for start, end in pairwise(bounds)
    )


def read_listed(
    keys: KeySpace, name: bytes, fields: Any, left_ms: int, now_ms: int
) -> SessionInfo | None:
    """One entry of a listing; None if it is no session of this package."""
    session = keys.parse_session_key(name.decode("utf-8", "replace"))
    if session is None or not isinstance(fields, list) or fields[1] is None:
        return None
    words = fields[1].split()
    if words[0] != b"%d" % FORMAT or len(words) != META_WORDS:
        return None
    life = Life(
        incarnation=words[1].decode(),
        created_ms=int(words[2]),
        updated_ms=int(words[3]),
        now_ms=now_ms,
        deadline_ms=None if left_ms < 0 else now_ms + left_ms,
        pinned=words[7] == b"1",
        revision=int(words[5]),
    )
    return SessionInfo(session=session, life=life, state=fields[0] or b"")
