"""Reading: what is sent for records and parts of the arena, and what comes back.

See ``lua/load.lua``, ``lua/scan.lua`` and ``lua/heads.lua``. The arena is stored in segments,
fields of one size each; a reply has those that the caller does not hold already.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final, NamedTuple, cast
from zlib import crc32

import msgpack

from wren_sessions.keys import META, decode, segment_field
from wren_sessions.records import (
    INLINE_BYTES,
    ArenaParts,
    Held,
    Loaded,
    Name,
    Scanned,
    Span,
    Start,
    Stored,
    StoredWrite,
    merge_spans,
    missing,
)
from wren_sessions.serializers.limits import check_sequence
from wren_sessions.stores.redis.commit import crc_of
from wren_sessions.stores.redis.plans import (
    NONE,
    Plan,
    Plans,
    corrupt,
    holder_of,
    id_word,
    life_at,
    namespace_word,
    pairs_word,
    plain,
    spans_word,
)

MAX_NAMES: Final = 3_800  # fields in one HMGET: some servers take at most 3,900 arguments
SEGMENT_BYTES: Final = 2_032  # as in _common.lua; why this size: docs/explanation/storage.md
_MAX_BYTES: Final = b"%d" % INLINE_BYTES


class LoadPlans(Plans):
    """Plans of what reads records and the arena."""

    def load(
        self,
        session: str,
        namespace: str = "",
        checkpoint_id: str | None = None,
        held: Held | None = None,
    ) -> Plan[Loaded | None]:
        """See `SessionStore.load`."""
        wanted = NONE if checkpoint_id is None else id_word(checkpoint_id)
        words = f"{self._policies[type(session)]} {namespace_word(namespace)} {wanted}".encode()
        there = "" if held is None else f"{held.incarnation} {spans_word(held.spans)}"
        read = partial(_read_loaded, session, namespace, held)
        return self._scripted("load", session, (words, _MAX_BYTES, there.encode()), read)

    def scan(self, session: str, starts: Sequence[Start], limit: int) -> Plan[Scanned]:
        """See `SessionStore.scan`."""
        args = (b"%d" % limit, pairs_word(starts))
        return self._scripted("scan", session, args, partial(_read_scanned, session, starts))

    def read(self, session: str, spans: Sequence[Span]) -> Plan[ArenaParts | None]:
        """See `SessionStore.read`."""
        numbers = segments_of(spans)
        names = [segment_field(n).encode() for n in numbers]
        key = self.key(session)
        starts = range(0, len(names), MAX_NAMES) or (0,)
        commands = tuple(
            ("HMGET", key, META.encode(), *names[at : at + MAX_NAMES]) for at in starts
        )
        return plain(
            session, lambda replies: _read_arena(session, spans, numbers, replies), *commands
        )

    def heads(self, session: str) -> Plan[tuple[Name, ...]]:
        """See `SessionStore.heads`."""
        return self._scripted("heads", session, (), _read_heads)


def _read_loaded(
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
    life, arena = life_at(words, 1), None
    if segments != b"-":
        wanted = segments_of(missing(stored.spans, held, life.incarnation))
        arena = _join_segments(session, wanted, rest[end:])
    return Loaded(life=life, stored=stored, arena=arena, state=state)


def and_owner(load: Plan[Loaded | None]) -> Plan[tuple[Loaded | None, str | None]]:
    """A load that renews the session's life, and also tells whose the session is."""

    def read(words: list[bytes], reply: Any) -> tuple[Loaded | None, str | None]:
        owner = None if words[0] == b"miss" else holder_of(words.pop()) or None
        return load.read(words, reply), owner

    return cast("Plan[Any]", load)._replace(read=read)


def _read_heads(_: list[bytes], reply: Any) -> tuple[Name, ...]:
    """The latest checkpoint of each namespace, the oldest namespace first."""
    names = [part.decode() for part in reply[1:]]
    pairs = list(zip(names[::2], names[1::2], strict=True))
    return tuple((decode(namespace[1:]), decode(head)) for namespace, head in reversed(pairs))


def _read_scanned(session: str, starts: Sequence[Start], words: list[bytes], reply: Any) -> Scanned:
    """A page of records."""
    _, going_on, leads, *entries = reply
    if len(words) == 1:
        return Scanned(records=())
    life, room = life_at(words, 1), _Room(int(words[8]), int(words[9]) * SEGMENT_BYTES)
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


def segments_of(spans: Sequence[Span]) -> list[int]:
    """The numbers of the segments that spans touch, each once, ascending: as load.lua has them."""
    numbers: set[int] = set()
    for span in spans:
        if span.length:
            numbers.update(range(span.offset // SEGMENT_BYTES, (span.end - 1) // SEGMENT_BYTES + 1))
    return sorted(numbers)


def _read_arena(
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
