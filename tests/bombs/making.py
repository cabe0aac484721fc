"""Bombs: a few bytes that ask for much memory or time, for each place that reads stored data."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any, Final
from zlib import crc32

import msgpack
import zstandard

from wren_sessions import Limits, MemoryStore, PlainSerializer, SafeSerializer, Sessions
from wren_sessions.archives import import_session
from wren_sessions.langgraph import SessionSaver
from wren_sessions.records import Commit, Record, Span, Write, Writes
from wren_sessions.transcripts import Profile, Transcript
from wren_sessions.upgrading._application import Application
from wren_sessions.upgrading._rewriting import migrate
from wren_sessions.upgrading._verifying import verify

Bomb = tuple[str, Callable[[], Any]]

MEGABYTE: Final = 1_048_576
LARGE: Final = 8_000_000  # elements: 10 million are the most that a list may have

# What becomes large: one element each.
ELEMENTS: Final[dict[str, bytes]] = {
    "lists": b"\x90",
    "dicts": b"\x80",
    "list in list": b"\x91\x90",
    "dict of one": b"\x81\xa0\xc0",
    "texts": b"\xa2ab",
    "floats": b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x01",
    "integers": b"\xcd\x7f\x01",
    "tuples": b"\x92\xd4\xf0t\x01",
    "sets": b"\x91\xd4\xf0s",
    "deques": b"\x92\xd4\xf0q\xc0",
    "counters": b"\x92\xd4\xf0C\x80",
    "decimals": b"\x92\xd4\xf0D\xa11",
    "dates": b"\x92\xd4\xf0a\xaa2020-01-01",
    "paths": b"\x93\xd4\xf0P\xadPurePosixPath\xa1a",
    "ranges": b"\x94\xd4\xf0r\x00\x01\x01",
    "messages": b"\x97\xd6\xf0Mh\x00\x01\xa1a\x80\x80\xa5human\xc0\xc0",
    "deep": b"\x91" * 400 + b"\x90",
}

SLOW: Final = {"tuples", "decimals", "dates", "paths", "ranges"}  # to build or count
LOWER: Final = 30_000_000  # bytes that those may take, where many are read: it takes less time


def packed(head: bytes, count: int) -> bytes:
    """The header of an array, and an element so many times."""
    return b"\xdd" + count.to_bytes(4) + head * count


def values() -> Iterator[Bomb]:
    """Values of some megabytes that take a hundred times as much."""
    for name, element in ELEMENTS.items():
        size = MEGABYTE if name in SLOW else 4 * MEGABYTE
        data = packed(element, size // len(element))
        made: tuple[SafeSerializer | PlainSerializer, ...] = (SafeSerializer(), PlainSerializer())
        for reader in made:
            kind = type(reader).__name__
            yield (
                f"{name}, {kind}",
                partial(reader.loads_typed, ("safe", data)),
            )
    for name in ("lists", "dicts", "dict of one", "texts"):
        element = ELEMENTS[name]
        data = packed(element, 4 * MEGABYTE // len(element))
        yield (
            f"{name}, LangGraph's",
            partial(SafeSerializer().loads_typed, ("msgpack", data)),
        )
        inner = packed(element, MEGABYTE // len(element))
        whole = b"\xdc\x00\x04" + (b"\xc9" + len(inner).to_bytes(4) + b"\x07" + inner) * 4
        yield (
            f"{name}, in extensions",
            partial(SafeSerializer().loads_typed, ("msgpack", whole)),
        )
    for text in (b"{},", b"[],", b'{"a":1},', b'"ab",'):
        data = b"[" + text * (12_000_000 // len(text)) + b"0]"
        yield (
            f"JSON {text.decode()}",
            partial(SafeSerializer().loads_typed, ("json", data)),
        )


# --- records --------------------------------------------------------------------------------------


def frame(fields: list[Any], *, squeezed: bool = False) -> bytes:
    """The body of a record, or of a pending write."""
    data = msgpack.packb(fields)
    if squeezed:
        data = zstandard.ZstdCompressor(level=3).compress(data)
    return b"%c%c%b%b" % (1, 2 if squeezed else 0, crc32(data).to_bytes(4), data)


def raw_frame(data: bytes) -> bytes:
    """The body of a record, of bytes that are packed already and are compressed here."""
    data = zstandard.ZstdCompressor(level=3).compress(data)
    return b"%c%c%b%b" % (1, 2, crc32(data).to_bytes(4), data)


META: Final = SafeSerializer().dumps_typed(({"v": 4, "ts": "x", "id": "1"}, {"step": 1}))


def record(values: dict[str, list[Any]], *, squeezed: bool = False, **other: Any) -> bytes:
    """The body of a record with these values: type tag and pieces by channel."""
    names = list(values)
    own = [number for at in range(len(names)) for number in (at, 0)]
    listed = [[at, *values[name]] for at, name in enumerate(names)]
    fields = [None, META, names, ["0000000001.a"], own, other.get("seen", {}), listed]
    return frame(fields, squeezed=squeezed)


def stored(body: bytes, append: bytes = b"", writes: list[bytes] | None = None) -> MemoryStore:
    """A store with one checkpoint."""
    store = MemoryStore()
    spans = (Span(0, len(append)),) if append else ()
    name = ("", "1")
    entries = tuple(Write(key=f"t/{at}", body=write) for at, write in enumerate(writes or []))
    made = Record(name=name, parent_id=None, body=body, append=append, spans=spans)
    linked = Writes(name=name, entries=entries, spans=spans) if entries else None
    store.commit(Commit(session="s", token="t" * 16, record=made, writes=linked))
    return store


def readers(name: str, store: MemoryStore, memory_bytes: int | None = None) -> Iterator[Bomb]:
    """What reads a checkpoint, in some ways."""
    config: Any = {"configurable": {"thread_id": "s", "checkpoint_ns": ""}}
    serde = SafeSerializer(limits=Limits(max_memory_bytes=memory_bytes)) if memory_bytes else None
    yield f"{name}, get", lambda: SessionSaver(store, serde=serde).get_tuple(config)
    yield f"{name}, list", lambda: list(SessionSaver(store, serde=serde).list(config))
    yield f"{name}, copy", lambda: SessionSaver(store, serde=serde).copy_thread("s", "t")


def deploys(name: str, store: MemoryStore) -> Iterator[Bomb]:
    """What `verify` and `migrate` read."""
    app = Application(SafeSerializer(), {})
    yield f"{name}, verify", lambda: verify(store, app, history=True)
    yield f"{name}, migrate", lambda: migrate(store, app, write=True, unused_ms=0)


def arenas() -> Iterator[Bomb]:
    """Values that name the same megabyte again and again."""
    million = b"\0" * MEGABYTE
    whole = [0, MEGABYTE, crc32(million)]
    some = [[at, MEGABYTE - at, crc32(million[at:])] for at in range(40)]
    inside = [[0, 1_000, crc32(million[:1_000])]] * 100_000
    made = {
        "the same range 100,000 times": {"a": ["bytes", *[whole] * 100_000]},
        "the same range 97 times": {"a": ["bytes", *[whole] * 97]},
        "short ranges": {"a": ["bytes", *inside]},
        "ranges that overlap": {"a": ["bytes", *some * 2_500]},
        "many values of 32 ranges": {str(n): ["bytes", *[whole] * 32] for n in range(100)},
        "many values of one range": {str(n): ["bytes", whole] for n in range(5_000)},
    }
    for name, values in made.items():
        yield from readers(name, stored(record(values), million))
    dense = packed(b"\x90", 180_000)
    same = ["safe", [0, len(dense), crc32(dense)]]
    many_names = {str(n): same for n in range(700)}
    for read in (readers, deploys):
        yield from read("a dense value under many names", stored(record(many_names), dense))
    write = frame(["t", 0, "", "a", "bytes", *[whole] * 32])
    many = stored(record({}), million, [write] * 200)
    for read in (readers, deploys):
        yield from read("many writes", many)
    fresh = {"a": ["bytes", *[[*whole, 1]] * 100_000]}
    yield from readers("ranges of its own", stored(record(fresh), million))


def squeezed() -> Iterator[Bomb]:
    """Values and records that were compressed."""
    compress = zstandard.ZstdCompressor(level=3).compress
    chunk = b"\x01" + compress(b"\0" * (4 * MEGABYTE))
    pieces = msgpack.packb(chunk) * 60
    yield from readers("zeros", stored(record({"a": ["bytes+zstd.0.0", pieces]})))
    two = {str(n): ["bytes+zstd.0.0", msgpack.packb(chunk) * 12] for n in range(50)}
    for read in (readers, deploys):
        yield from read("zeros in 50 values", stored(record(two)))
    for name, element in ELEMENTS.items():
        data = packed(element, min(LARGE, 12 * MEGABYTE // len(element)))
        head, body = data[:5], b"\x01" + compress(data[5:])
        value = ["safe+zstd.5.0", head + msgpack.packb(body)]
        most = LOWER if name in {*SLOW, "dict of one"} else None
        yield from list(readers(f"{name}, compressed", stored(record({"a": value})), most))[:1]
        yield from list(readers(f"{name}, 20 of them", _twenty(element), most))[:1]
    empty = zstandard.ZstdCompressor(write_content_size=False).compress(b"\0" * 8 * MEGABYTE)
    unknown = msgpack.packb(b"\x01" + empty)
    yield from readers("no size", stored(record({"a": ["bytes+zstd.0.0", unknown]})))
    frames = msgpack.packb(b"\x01" + compress(b"\0" * MEGABYTE) * 200)
    yield from readers("many frames", stored(record({"a": ["bytes+zstd.0.0", frames]})))
    claims = b"\xdd" + (4_000_000).to_bytes(4)
    bodies = {
        "a body of lists": packed(b"\x90", LARGE),
        "a body of dicts": packed(b"\x80", LARGE),
        "a body of nil": packed(b"\xc0", 90 * MEGABYTE),
        "a body of claims": claims * 900 + b"\xc0" * 4_000_000,
        "a body of depth": b"\x91" * 30_000_000,
    }
    for name, data in bodies.items():
        yield from list(readers(name, stored(raw_frame(data))))[:2]


def _twenty(element: bytes) -> MemoryStore:
    compress = zstandard.ZstdCompressor(level=3).compress
    data = packed(element, min(400_000, 2 * MEGABYTE // len(element)))
    value = ["safe+zstd.5.0", data[:5] + msgpack.packb(b"\x01" + compress(data[5:]))]
    return stored(record({str(n): value for n in range(20)}))


def tables() -> Iterator[Bomb]:
    """Records whose tables multiply."""
    names = [str(n) for n in range(2_000)]
    pairs = [number for at in range(len(names)) for number in (at, 0)]
    seen = {str(n): pairs for n in range(4_000)}
    listed = [None, META, names, ["1.a"], [], seen, []]
    yield from readers("versions seen", stored(frame(listed, squeezed=True)))
    deep: Any = "a"
    for _ in range(400):
        deep = [deep]
    yield from readers("channels in lists", stored(frame([None, META, [deep], ["1"], [], {}, []])))
    long: list[Any] = [None, META, ["a"], ["1.a", *[1e308] * 200_000], [], {}, []]
    yield from readers("long versions", stored(frame(long, squeezed=True)))
    values = [[0, "bytes", b""]] * 1_500_000
    yield from readers(
        "values", stored(frame([None, META, ["a"], ["1"], [], {}, values], squeezed=True))
    )


# --- files ----------------------------------------------------------------------------------------


def archive(lines: list[dict[str, Any]], **opening: Any) -> list[bytes]:
    """An export whose digest is right."""
    first = {
        "format": "wren-sessions/session",
        "version": 1,
        "session": "s",
        "exported_at": "x",
        "checkpoints": len(lines),
        "created_ms": 1_700_000_000_000,
        "updated_ms": 1_700_000_000_000,
        "deadline_ms": None,
        "pinned": False,
        "idle": None,
        "incarnation": "i" * 16,
        "revision": 1,
        "heads": [["", str(len(lines) - 1)]],
        "state": "{}",
        **opening,
    }
    whole = [json.dumps(line, separators=(",", ":")).encode() for line in (first, *lines)]
    digest = hashlib.sha256(b"".join(line + b"\n" for line in whole)).hexdigest()
    return [*whole, json.dumps({"end": True, "lines": len(whole), "sha256": digest}).encode()]


def million_in_base64() -> str:
    """What a line appends to the stream: a megabyte that is not the same everywhere."""
    return base64.b64encode(Random(1).randbytes(MEGABYTE)).decode()


def line(at: int, **fields: Any) -> dict[str, Any]:
    """A checkpoint's line."""
    return {
        "checkpoint": str(at),
        "namespace": "",
        "order": at,
        "parent": None,
        "head": [META[0], base64.b64encode(META[1]).decode()],
        "versions": {},
        "seen": {},
        "values": {},
        "memories": False,
        "append": "",
        "writes": [],
        **fields,
    }


def files() -> Iterator[Bomb]:
    """Archives, conversations and profiles."""
    million = base64.b64encode(b"\0" * MEGABYTE).decode()
    again = [0, MEGABYTE]
    made = {
        "the same range 50,000 times": line(
            0, append=million, values={"a": ["bytes", *[again] * 50_000]}
        ),
        "ranges that overlap": line(
            0, append=million, values={"a": ["bytes", *([n, MEGABYTE - n] for n in range(50_000))]}
        ),
        "values of 32 ranges": line(
            0, append=million, values={str(n): ["bytes", *[again] * 32] for n in range(500)}
        ),
        "many values": line(
            0, append=million, values={str(n): ["bytes", [n, MEGABYTE - n]] for n in range(20_000)}
        ),
        "versions seen": line(0, seen={str(n): {} for n in range(50_000)}),
        "pieces of nothing": line(0, values={"a": ["bytes", *[""] * 100_000]}),
        "values of lists": line(0, values={"a": [["bytes"]] * 100_000}),
        "writes of nothing": line(0, writes=[{}] * 1_000_000),
        "deep": line(0, values=json.loads("[" * 900 + "]" * 900)),
        "a long number": line(0, order=10**4_000),
    }
    for name, found in made.items():
        whole = archive([found])
        yield f"archive: {name}", partial(import_session, MemoryStore(), whole)
    lines = [
        line(
            at,
            append="" if at else million_in_base64(),
            values={"a": ["bytes", *([at * 32 + n, MEGABYTE - 10_000 - n] for n in range(32))]},
        )
        for at in range(300)
    ]
    yield "archive: ranges of many lines", partial(import_session, MemoryStore(), archive(lines))
    for name, field in {"heads": [["", "0"]] * 200_000, "state": "[" * 1_000_000}.items():
        whole = archive([line(0)], **{name: field})
        yield f"archive: {name}", partial(import_session, MemoryStore(), whole)
    texts = {
        "messages": b'{"messages":[' + b"{}," * 60_000 + b"{}]}",
        "texts": b"[" + b'"",' * 60_000 + b'""]',
        "pairs": b"[" + b'["ai",""],' * 60_000 + b'["ai",""]]',
        "nulls": b"[" + b"null," * 60_000 + b"null]",
        "depth": b"[" * 3_000_000,
        "a number": b'{"messages":[],"schema_version":' + b"9" * 3_000_000 + b"}",
        "lists": b"[" + b"[]," * 60_000 + b"[]]",
        "calls": b'{"messages":[{"role":"ai","content":"","tool_calls":['
        + b"{}," * 60_000
        + b"{}]}]}",
        "content": b'[{"role":"ai","content":[' + b"{}," * 60_000 + b"{}]}]",
        "times": b"["
        + b'{"role":"ai","content":"","created_at":"2020-01-01"},' * 60_000
        + b'{"role":"ai","created_at":"x"}]',
        "escapes": b'["' + b"\\ud83d\\ude00" * 400_000 + b'"]',
    }
    for name, text in texts.items():
        yield f"conversation: {name}", partial(Transcript.from_json, text)
        yield f"profile: {name}", partial(Profile.from_json, text)


def dumps() -> Iterator[Bomb]:
    """Dumps of a memory store, and headers."""

    def restored(data: bytes) -> Callable[[], Any]:
        whole = crc32(data).to_bytes(4) + data
        return lambda: MemoryStore().restore("s", whole)

    plain = ["i", 1, 1, None, None, False, 1, b"{}"]
    for name in ("lists", "dicts", "list in list", "dict of one", "texts", "integers"):
        yield f"dump: {name}", restored(packed(ELEMENTS[name], LARGE))
    yield "dump: claims", restored((b"\xdd" + (4_000_000).to_bytes(4)) * 900 + b"\xc0" * 4_000_000)
    yield "dump: depth", restored(b"\x91" * 5_000_000)
    spans = [[0, 0]] * 3_000_000
    namespaces = [["", "1", [["1", [b"", 0, spans, "t"]]]]]
    yield "dump: spans", restored(msgpack.packb([1, plain, [], [0, []], namespaces, []]))
    pieces = [[n, b"x"] for n in range(400_000)]
    yield "dump: pieces", restored(msgpack.packb([1, plain, [], [400_000, pieces], [], []]))
    for name, state in {
        "depth": b"[" * 5_000_000,
        "a number": b'{"a":' + b"9" * 4_000_000 + b"}",
        "lists": b"[" + b"[]," * 2_000_000 + b"[]]",
    }.items():
        store = stored(record({}))
        store.commit(Commit(session="s", token="u" * 16, state=state))
        yield f"header: {name}", Sessions(store).list


GROUPS: Final[dict[str, Callable[[], Iterator[Bomb]]]] = {
    "values": values,
    "arenas": arenas,
    "compressed": squeezed,
    "tables": tables,
    "files": files,
    "dumps": dumps,
}
