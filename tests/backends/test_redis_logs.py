"""The log of a checkpoint's pending writes on Redis: however it grew, and whoever began it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import pytest
import pytest_asyncio
import redis

from backends.faces import opened
from wren_sessions.errors import CorruptSessionError
from wren_sessions.keys import special_prefix, writes_field
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Commit, Span, Start, Stored, merge_spans
from wren_sessions.stores.memory import MemoryStore
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing.build import (
    SESSION,
    add,
    done,
    loaded,
    pending,
    prune,
    put,
    scan_ids,
    write,
)

KEY: Final = f"langgraph:checkpoint:{SESSION}:latest"
LOG: Final = writes_field("", "1").encode()
SPECIAL: Final = special_prefix("", "1").encode()
ARENA_BYTES: Final = 50_000


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    """A client that sees the fields."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest_asyncio.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    """A store with a session of two checkpoints and an arena."""
    async with opened(redis_url) as store:
        await begin(store.aio)
        yield store


async def begin(face: AsyncSessionStore) -> None:
    """Make the session."""
    await done(face, put("1", append=bytes(ARENA_BYTES)))
    await done(face, put("2", parent="1"))


def log_fields(server: redis.Redis) -> dict[bytes, bytes]:
    """The fields of the first checkpoint's pending writes."""
    found: Any = server.hgetall(KEY)
    return {name: found[name] for name in found if name.startswith((LOG, SPECIAL))}


async def stored(face: AsyncSessionStore) -> Stored:
    """The first checkpoint."""
    return (await loaded(face, "1")).stored


def some_writes(rng: random.Random, number: int) -> Commit:
    """Writes such as tasks make: short and long, appended and replaced, with spans and without."""
    entries = [
        write(f"task {number}-{at}", at, rng.randbytes(rng.choice((0, 5, 90, 700, 3_000))))
        for at in range(rng.randrange(3))
    ]
    if rng.random() < 0.6 or not entries:
        name = f"asking {rng.randrange(40)}"
        entries.append(write(name, -3, rng.randbytes(rng.choice((0, 40))), replaces=True))
    start = rng.randrange(ARENA_BYTES - 100)
    spans = tuple(Span(start + 20 * at, 10) for at in range(rng.randrange(4)))
    return add("1", *entries, spans=spans)


@pytest.mark.parametrize("seed", range(4))
async def test_a_log_holds_what_a_simple_store_would_hold(store: RedisStore, seed: int) -> None:
    """After each of many commits, load and scan give the same as a store in memory."""
    rng = random.Random(seed)
    simple = MemoryStore().aio
    await begin(simple)
    for number in range(60):
        what = some_writes(rng, number)
        await done(store.aio, what)
        await done(simple, what)
        found, expected = await stored(store.aio), await stored(simple)
        assert dict(found.writes) == dict(expected.writes)
        assert found.spans == expected.spans
        first = (await store.aio.scan(SESSION, [Start("", "2")], 1)).records[0]
        assert (first.writes, first.spans) == (found.writes, found.spans)


async def test_writes_keep_their_order(store: RedisStore) -> None:
    """Appended ones come as they were written, and then the replaced ones by their first time."""
    for at in range(30):
        await done(store.aio, add("1", write(f"t{at}", 0, bytes(300))))
        await done(store.aio, add("1", write(f"s{at % 20}", -1, b"%d" % at, replaces=True)))
    keys = [entry.key for entry in (await stored(store.aio)).writes]
    assert keys == [f"t{at}/0" for at in range(30)] + [f"s{at}/-1" for at in range(20)]


async def test_one_commit_is_one_field(store: RedisStore, server: redis.Redis) -> None:
    """A single task's writes take one field, and one more for each that is replaced."""
    await done(store.aio, add("1", write("t", 0, bytes(900)), write("t", 1, b"note")))
    assert log_fields(server).keys() == {LOG}
    await done(store.aio, add("1", write("t", -3, b"?", replaces=True)))
    assert log_fields(server).keys() == {LOG, LOG + b"/0", SPECIAL + b"t/-3"}


async def test_replacing_writes_nothing_else(store: RedisStore, server: redis.Redis) -> None:
    """A replaced write leaves the log's fields as they are."""
    for at in range(3):
        await done(store.aio, add("1", write(f"t{at}", -3, b"first", replaces=True)))
    before = log_fields(server)
    await done(store.aio, add("1", write("t1", -3, b"second", replaces=True)))
    assert log_fields(server) == before | {SPECIAL + b"t1/-3": b"second"}


async def test_nothing_of_a_log_outlives_its_checkpoint(
    store: RedisStore, server: redis.Redis
) -> None:
    """A prune drops all parts and lists of a long log, and nothing of another one."""
    rng = random.Random(1)
    for number in range(80):
        await done(store.aio, some_writes(rng, number))
    life = (await done(store.aio, add("2", write("t", 0, b"kept"), write("u", 0, b"too")))).life
    names = log_fields(server).keys()
    for kind in (b"/1", b"/k1", b"/s2"):
        assert LOG + kind in names
    assert (await store.aio.prune(prune(life, ("", "1")))).outcome == "done"
    assert not log_fields(server)
    assert await scan_ids(store.aio) == ["2"]
    assert await pending(store.aio, "2") == {"t/0": b"kept", "u/0": b"too"}


def as_before(server: redis.Redis, segment_bytes: int = 2_032) -> None:
    """Turn the log into what the first versions wrote: a line of four words with bytes behind it.

    The list of all keys and of all spans stood in that line; the bytes went on in further fields.
    """
    fields = log_fields(server)
    words = fields[LOG].split(b"\n")[0].split()
    last, bytes_, key_lists, span_lists = words[0], words[3], int(words[5]), int(words[6])
    data = b"".join(fields[LOG + b"/%d" % at] for at in range(int(last) + 1))
    lists = [
        b",".join([*(fields[LOG + b"/%b%d" % (kind, at + 1)] for at in range(count)), latest])
        for kind, count, latest in ((b"k", key_lists, words[1]), (b"s", span_lists, words[2]))
    ]
    parts = [data[at : at + segment_bytes] for at in range(0, len(data), segment_bytes)]
    server.hdel(KEY, *(name for name in fields if name.startswith(LOG)))
    line = b" ".join([b"%d" % (len(parts) - 1), *lists, bytes_])
    server.hset(KEY, LOG, line + b"\n" + parts[0])
    for at, part in enumerate(parts[1:], 1):
        server.hset(KEY, LOG + b"/%d" % at, part)


@pytest.mark.parametrize("count", [2, 9, 60])
async def test_a_log_of_the_first_layout_is_gone_on_with(
    store: RedisStore, server: redis.Redis, count: int
) -> None:
    """What stood in one growing field is read, gone on with and dropped like any other."""
    rng = random.Random(count)
    simple = MemoryStore().aio
    await begin(simple)
    for number in range(count):
        what = some_writes(rng, number)
        await done(store.aio, what)
        await done(simple, what)
    as_before(server)
    old = log_fields(server)
    assert dict((await stored(store.aio)).writes) == dict((await stored(simple)).writes)
    key = next(name for name in old if name.startswith(SPECIAL)).removeprefix(SPECIAL).decode()
    task, index = key.split("/")
    again = add("1", write(task.replace("%20", " "), int(index), b"again", replaces=True))
    for made in (again, *(some_writes(rng, count + number) for number in range(20))):
        await done(store.aio, made)
        await done(simple, made)
        found, expected = await stored(store.aio), await stored(simple)
        assert dict(found.writes) == dict(expected.writes)
        assert found.spans == merge_spans(expected.spans)
    life = (await loaded(store.aio, "2")).life
    assert (await store.aio.prune(prune(life, ("", "1")))).outcome == "done"
    assert not log_fields(server)


async def test_a_log_of_the_first_layout_without_bytes_is_gone_on_with(
    store: RedisStore, server: redis.Redis
) -> None:
    """The same where there were interrupts alone."""
    for at in range(3):
        server.hset(KEY, SPECIAL + b"t%d/-3" % at, b"asked")
    server.hset(KEY, LOG, b"0 t0/-3,t1/-3,t2/-3 - 0\n")
    assert await pending(store.aio, "1") == {f"t{at}/-3": b"asked" for at in range(3)}
    await done(store.aio, add("1", write("t", 0, b"value")))
    await done(store.aio, add("1", write("t3", -3, b"asked", replaces=True)))
    expected = {"t/0": b"value"} | {f"t{at}/-3": b"asked" for at in range(4)}
    assert await pending(store.aio, "1") == expected


LINES: Final[dict[str, Callable[[list[bytes]], list[bytes]]]] = {
    "a part less": lambda w: [b"%d" % (int(w[0]) - 1), *w[1:]],
    "no latest keys": lambda w: [w[0], b"-", *w[2:]],
    "a list of keys less": lambda w: [*w[:5], b"%d" % (int(w[5]) - 1), w[6]],
    "a list of keys more": lambda w: [*w[:5], b"%d" % (int(w[5]) + 1), w[6]],
    "a list of spans more": lambda w: [*w[:6], b"%d" % (int(w[6]) + 1)],
    "a word less": lambda w: w[:6],
    "no number": lambda w: [*w[:3], b"many", *w[4:]],
}


@pytest.mark.parametrize("damage", LINES)
async def test_a_line_that_is_not_right_is_told(
    store: RedisStore, server: redis.Redis, damage: str
) -> None:
    """A line that does not fit its fields is an error that names the log."""
    rng = random.Random(7)
    for number in range(60):
        await done(store.aio, some_writes(rng, number))
    words = log_fields(server)[LOG].split()
    server.hset(KEY, LOG, b" ".join(LINES[damage](words)) + b"\n")
    with pytest.raises(CorruptSessionError, match=r"its field ':w//1[^']*' is damaged"):
        await stored(store.aio)
