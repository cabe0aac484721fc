"""How to read what Redis answers: replies of the scripts, and the fields of a session's hash. Pure.

The shapes are written down at the top of each ``lua/*.lua`` file, the fields in ``_common.lua``.
Whatever is not as it was written is a `CorruptSessionError` that names the session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple, NoReturn, TypeVar
from zlib import crc32

import msgpack

from wren_sessions.errors import CorruptSessionError, FormatVersionError
from wren_sessions.keys import KeySpace, decode, segment_field
from wren_sessions.records import (
    NOTHING_NOTED,
    ArenaParts,
    Committed,
    Held,
    Life,
    Loaded,
    Name,
    Notes,
    Outcome,
    Scanned,
    SessionInfo,
    Span,
    Start,
    Stored,
    StoredWrite,
    TurnState,
    merge_spans,
    missing,
)
from wren_sessions.serializers.limits import check_sequence
from wren_sessions.ttl import Override

T = TypeVar("T")

FORMAT: Final = 2
SEGMENT_BYTES: Final = 2_032  # as in _common.lua; why this size: docs/explanation/storage.md
NO_KEY: Final = -2  # what PTTL says of a key that is not there
NO_END: Final = -1  # and of one that stays
META_WORDS: Final = {b"1": 9, b"2": 10}  # by format version
MAX_DIGITS: Final = 15  # of any number, as in _common.lua


REFUSED: Final = (b"foreign", b"version")
"""What a script says first where it does not know what stands at the key."""


def refuse(session: str, words: list[bytes]) -> NoReturn:
    """Raise the error for one of these."""
    if words[0] == b"version":
        _newer(session, words[1])
    raise CorruptSessionError(
        f"what stands under the name of session {session!r} is no session of this package; rename "
        "or delete that key, or use another prefix",
        session=session,
    )


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
        f"session {session!r} cannot be read: {why}; delete it, and restore it from a copy if "
        "there is one",
        session=session,
    )


def _life_at(words: list[bytes], at: int) -> Life:
    """A life, whose seven words start at `at`."""
    incarnation, created, updated, now, deadline, pinned, revision = words[at : at + 7]
    return Life(
        incarnation=incarnation.decode(),
        created_ms=int(created),
        updated_ms=int(updated),
        now_ms=int(now),
        deadline_ms=None if deadline == b"-" else int(deadline),
        pinned=pinned == b"1",
        revision=int(revision),
    )


def read_life(words: list[bytes]) -> Life | None:
    """The life behind the status word; None for a miss."""
    return None if words[0] == b"miss" else _life_at(words, 1)


class OwnedLife(NamedTuple):
    """A life, and whose the session is.

    Attributes:
        life: the life.
        owner: whose the session is.
        former: whose the session was that had no end, and that was replaced by a copy.
    """

    life: Life
    owner: str | None
    former: str | None = None


def read_owned_life(words: list[bytes], _: Any) -> OwnedLife | None:
    """The life behind the status word, and the owners behind it; None for a miss."""
    life = read_life(words)
    return None if life is None else OwnedLife(life, *(_holder(w) or None for w in words[8:]))


class Gone(NamedTuple):
    """What was deleted.

    Attributes:
        there: whether anything was.
        now_ms: the server's clock.
        owner: whose the session was if it had no end, so that its owner's listing has none either.
    """

    there: bool
    now_ms: int
    owner: str | None


def read_gone(replies: list[Any]) -> Gone:
    """The answer to a deletion. A damaged name of an owner is nobody's: the session is gone."""
    about, left_ms, (seconds, micros), count = replies
    try:
        owner = read_notes(about).owner if left_ms == NO_END else None
    except ValueError:
        owner = None
    return Gone(bool(count), int(seconds) * 1_000 + int(micros) // 1_000, owner)


def read_deleted(words: list[bytes]) -> Gone:
    """The answer to a deletion of an owner's session."""
    if words[0] == b"miss":
        return Gone(there=False, now_ms=0, owner=None)
    return Gone(there=True, now_ms=int(words[1]), owner=_holder(words[2]) or None)


def read_owned_load(
    read: Callable[[list[bytes], Any], Loaded | None], words: list[bytes], reply: Any
) -> tuple[Loaded | None, str | None]:
    """The answer to a load that renews the session's life, and whose the session is."""
    owner = None if words[0] == b"miss" else _holder(words.pop()) or None
    return read(words, reply), owner


def read_notes(about: bytes | None) -> Notes:
    """Whose a session is, and what is noted about it."""
    if not about:
        return NOTHING_NOTED
    owner, _, rest = about.partition(b" ")
    return Notes(_holder(owner) or None, rest)


def read_override(word: bytes) -> Override:
    """A session's own idle timeout, as it is stored."""
    if word == b"-":
        return None
    return "none" if word == b"none" else int(word)


def read_committed(words: list[bytes], _: Any) -> Committed:
    """The answer to a commit or a prune."""
    if words[0] == b"done":
        life = _life_at(words, 1)
        if len(words) == 9:  # noqa: PLR2004 -- nobody's
            return Committed(outcome="done", now_ms=life.now_ms, life=life, base=int(words[8]))
        base, owner = int(words[8]), _holder(words[9]) or None
        return Committed(outcome="done", now_ms=life.now_ms, life=life, base=base, owner=owner)
    now_ms, life_now = int(words[1]), None
    if words[0] == b"deleted":
        return Committed(outcome="done", now_ms=now_ms, owner=_holder(words[2]) or None)
    if len(words) > 2:  # noqa: PLR2004 -- status and time
        life_now = _life_at(words, 2)
    turn = None
    if words[0] == b"held":
        turn = TurnState(
            mine=False, now_ms=now_ms, holder=_holder(words[9]), since_ms=int(words[10])
        )
    return Committed(outcome=_OUTCOMES[words[0]], now_ms=now_ms, life=life_now, turn=turn)


_OUTCOMES: Final[dict[bytes, Outcome]] = {
    b"gone": "gone",
    b"conflict": "conflict",
    b"stale": "stale",
    b"exists": "exists",
    b"expired": "expired",
    b"held": "held",
}


def read_turn(words: list[bytes], _: Any) -> tuple[TurnState, OwnedLife | None]:
    """Who has a turn; and the life of an owner's session that lives longer by it."""
    mine, now, holder, since, ahead, *renewed = words
    state = TurnState(mine == b"mine", int(now), _holder(holder), int(since), int(ahead))
    return state, OwnedLife(_life_at(renewed, 0), _holder(renewed[7])) if renewed else None


def _holder(word: bytes) -> str:
    return "" if word == b"-" else decode(word.decode())


def read_loaded(
    session: str, namespace: str, held: Held | None, words: list[bytes], reply: Any
) -> Loaded | None:
    """The answer to a load; None for a miss."""
    if words[0] == b"miss":
        return None
    checkpoint_id, parts, segments, spans = words[8:]
    _, value, state, *rest = reply
    end = len(rest) if segments == b"-" else len(rest) - int(segments)
    name = (namespace, decode(checkpoint_id.decode()))
    first = int(parts)
    stored = _stored(session, name, value, spans, parts=rest[:first], special=rest[first:end])
    life, arena = _life_at(words, 1), None
    if segments != b"-":
        wanted = segments_of(missing(stored.spans, held, life.incarnation))
        arena = _join_segments(session, wanted, rest[end:])
    return Loaded(life=life, stored=stored, arena=arena, state=state)


def read_heads(_: list[bytes], reply: Any) -> tuple[Name, ...]:
    """The latest checkpoint of each namespace, the oldest namespace first."""
    names = [part.decode() for part in reply[1:]]
    pairs = list(zip(names[::2], names[1::2], strict=True))
    return tuple((decode(namespace[1:]), decode(head)) for namespace, head in reversed(pairs))


def read_scanned(session: str, starts: Sequence[Start], words: list[bytes], reply: Any) -> Scanned:
    """A page of records."""
    _, going_on, leads, *entries = reply
    if len(words) == 1:
        return Scanned(records=())
    life, room = _life_at(words, 1), _Room(int(words[8]), int(words[9]) * SEGMENT_BYTES)
    records = tuple([_read_entry(session, starts, room, *entry) for entry in entries])
    numbers_and_ids = leads.decode().split()
    pairs = zip(numbers_and_ids[::2], numbers_and_ids[1::2], strict=True)
    heads = {starts[int(number) - 1].namespace: decode(head) for number, head in pairs}
    rest: tuple[Start, ...] = ()
    if going_on:
        number, before = going_on.decode().split(" ")
        at = int(number) - 1
        start = Start(starts[at].namespace, None if before == ":" else decode(before))
        rest = (start, *starts[at + 1 :])
    return Scanned(records=records, rest=rest, life=life, heads=heads)


class _Room(NamedTuple):
    """What limits the spans of one record.

    Attributes:
        end: where the session's arena ends.
        most_bytes: more than all of its fields could have of the arena.
    """

    end: int
    most_bytes: int

    def check(self, session: str, stored: Stored) -> None:
        """Refuse a record that refers to more than there is: somebody would try to fetch it."""
        spans = stored.spans
        if (spans and spans[-1].end > self.end) or sum(map(_length, spans)) > self.most_bytes:
            corrupt(session, f"checkpoint {stored.name[1]!r} refers to what is not there")


_length: Final = attrgetter("length")


def _read_entry(
    session: str, starts: Sequence[Start], room: _Room, text: bytes, value: bytes, *rest: bytes
) -> Stored:
    number, checkpoint_id, count, spans = text.split(b" ")
    name = (starts[int(number) - 1].namespace, decode(checkpoint_id.decode()))
    first = int(count)
    stored = _stored(session, name, value, spans, parts=rest[:first], special=rest[first:])
    room.check(session, stored)
    return stored


def _stored(
    session: str,
    name: Name,
    value: bytes,
    write_spans: bytes,
    *,
    parts: Sequence[bytes],
    special: Sequence[bytes],
) -> Stored:
    try:
        line, body = value.split(b"\n", 1)
        _, base_text, own, lower, spans, *_ = line.split(b" ")
        base = _number(base_text)
        below = None if lower == b":" else decode(lower.decode())
        used = [Span(base, _number(own)), *_read_spans(spans), *_read_spans(write_spans)]
        writes = _writes(parts, special) if parts or special else ()
    except Exception:  # noqa: BLE001 -- whatever damaged bytes make the parsers do
        corrupt(session, f"checkpoint {name[1]!r} or its pending writes are damaged")
    return Stored(
        name=name, body=body, base=base, spans=merge_spans(used), writes=writes, below=below
    )


def _read_spans(text: bytes) -> list[Span]:
    if text == b"-":
        return []
    spans: list[Span] = []
    for span in text.split(b","):
        if span != b"-":
            offset, length = span.split(b"+")
            spans.append(Span(_number(offset), _number(length)))
    return spans


def _number(word: bytes) -> int:
    """An offset or a length; `int` alone also reads signs, spaces and underscores."""
    if not word.isdigit():
        raise ValueError(word)
    return int(word)


def _writes(parts: Sequence[bytes], special: Sequence[bytes]) -> tuple[StoredWrite, ...]:
    found: dict[str, bytes] = {}
    data = b"".join(parts)
    if data:
        check_sequence(data)
    unpacker = msgpack.Unpacker(max_buffer_size=len(data) or 1)
    unpacker.feed(data)
    for crc, *flat in unpacker:
        if len(flat) == 2:  # noqa: PLR2004 -- one write: there may be hundreds of these
            key, body = flat
            whole = crc32(key.encode()) == crc and type(body) is bytes
            found.setdefault(key, body)
        else:
            keys, bodies = flat[::2], flat[1::2]
            whole = crc_of(keys) == crc and _BYTES.issuperset(map(type, bodies))
            for key, body in zip(keys, bodies, strict=True):
                found.setdefault(key, body)
        if not whole:
            raise ValueError("changed")
    if unpacker.tell() != len(data):
        raise ValueError("cut off")
    for key_bytes, body in zip(special[::2], special[1::2], strict=True):
        found[key_bytes.decode()] = body
    return tuple(map(StoredWrite, found, found.values()))


_BYTES: Final = frozenset({bytes})


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
    count = len(numbers)
    if len(segments) != count:
        corrupt(session, "a part of its arena is missing")
    if not count:
        return ArenaParts(())
    starts = [0]
    if numbers[-1] - numbers[0] >= count:  # not all of them follow each other
        starts += [at for at in range(1, count) if numbers[at - 1] != numbers[at] - 1]
    return ArenaParts(
        (numbers[start] * SEGMENT_BYTES, _run(session, numbers[start], segments[start:end]))
        for start, end in zip(starts, [*starts[1:], count], strict=True)
    )


def _run(session: str, first: int, segments: Sequence[bytes]) -> bytes:
    """The bytes of segments that follow each other; only the last one may be shorter."""
    joined = b"".join(segments)
    if len(joined) != (len(segments) - 1) * SEGMENT_BYTES + len(segments[-1]):
        sizes = [len(segment) == SEGMENT_BYTES for segment in segments]
        corrupt(session, f"its field {segment_field(first + sizes.index(False))!r} is damaged")
    return joined


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
    state, meta, about = fields or (None, None, None)
    session = session_of(keys, name)
    words = [] if meta is None else meta.split()
    if session is None or not words or len(words) != META_WORDS.get(words[0]):
        return None
    if max(len(words[at]) for at in (2, 3, 4, 5)) > MAX_DIGITS:
        return None
    try:
        idle = read_override(words[4])
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
    return SessionInfo(
        session=session, life=life, state=state or b"", idle=idle, notes=read_notes(about)
    )
