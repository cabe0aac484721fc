"""What stands at a session's key and is not what was written there: an error that names it."""

from __future__ import annotations

import pickle
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import pytest
import redis

from backends.chats import TEXT, THREAD, Chat
from backends.faces import face_of, opened, saver_on
from wren_sessions.errors import (
    CorruptSessionError,
    DecryptionError,
    FormatVersionError,
    WrenSessionsError,
)
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Span, Start
from wren_sessions.testing.build import add, commit, done, prune, put, write

KEY: Final = f"langgraph:checkpoint:{THREAD}:latest"

STORE_CALLS: Final[dict[str, Callable[[AsyncSessionStore], Awaitable[object]]]] = {
    "commit": lambda face: face.commit(put("2", session=THREAD)),
    "writes": lambda face: face.commit(add("2", write("t", 0, b"v"), session=THREAD)),
    "header": lambda face: face.commit(commit(THREAD, state=b"{}")),
    "load": lambda face: face.load(THREAD),
    "load one": lambda face: face.load(THREAD, "", "1"),
    "scan": lambda face: face.scan(THREAD, [Start("")], 10),
    "heads": lambda face: face.heads(THREAD),
    "info": lambda face: face.info(THREAD),
    "touch": lambda face: face.touch(THREAD),
    "set_ttl": lambda face: face.set_ttl(THREAD, "1h"),
    "pin": lambda face: face.pin(THREAD),
    "copy": lambda face: face.copy(THREAD, "copy"),
}


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    """A client with which to do damage."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


async def refused(
    call: Callable[[], Awaitable[object]],
    kind: type[WrenSessionsError] = CorruptSessionError,
    says: str = "",
) -> None:
    """Make a call, and make sure that it is refused with the session's name and `says`."""
    with pytest.raises(kind) as caught:
        await call()
    assert getattr(caught.value, "session", None) == THREAD
    assert repr(THREAD) in str(caught.value)
    assert says in str(caught.value)


def fields(server: redis.Redis) -> dict[bytes, bytes]:
    """The fields of the session's hash."""
    found: Any = server.hgetall(KEY)
    return dict(found)


def field(server: redis.Redis, name: bytes) -> bytes:
    """One of them."""
    return fields(server)[name]


# --- what is no session ---------------------------------------------------------------------------


class Bomb:
    """What fails the test when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("something was unpickled",)


def pickled(server: redis.Redis) -> str:
    """What an old WREN kept at the key."""
    server.set(KEY, pickle.dumps({"checkpoint": {"messages": [Bomb()]}}), 60)
    return "an app pickled before it used this package"


def listed(server: redis.Redis) -> str:
    """Another type of value."""
    server.rpush(KEY, "something")
    server.expire(KEY, 60)
    return "another type of value"


def foreign(server: redis.Redis) -> str:
    """A hash of somebody else."""
    server.hset(KEY, mapping={"state": "{}", "theirs": "something"})
    server.expire(KEY, 60)
    return "is no session of this package"


@pytest.mark.parametrize("make", [pickled, listed, foreign])
async def test_what_is_no_session_is_an_error(
    redis_url: str, server: redis.Redis, face: str, make: Callable[[redis.Redis], str]
) -> None:
    """Get, put, put_writes and list say what stands there; nothing is unpickled or changed."""
    says = make(server)
    before = server.dump(KEY)
    async with opened(redis_url) as store:
        chat = Chat(saver_on(store, face))
        for call in (chat.get, chat.put, chat.history):
            await refused(call, says=says)
        chat.config["configurable"]["checkpoint_id"] = "1"
        for call in (chat.write, chat.put, lambda: chat.saver.aget_tuple(chat.config)):
            await refused(call, says=says)
        for name, store_call in STORE_CALLS.items():
            await refused(lambda call=store_call: call(face_of(store, face)), says=says)  # type: ignore[misc]
            assert server.dump(KEY) == before, name


@pytest.mark.parametrize("make", [pickled, listed, foreign])
async def test_what_is_no_session_is_counted_and_can_be_deleted(
    redis_url: str, server: redis.Redis, face: str, make: Callable[[redis.Redis], str]
) -> None:
    """A listing leaves it out and counts it; deleting it makes room for a session."""
    make(server)
    async with opened(redis_url) as store:
        there = face_of(store, face)
        saver = saver_on(store, face)
        await Chat(saver, "another").grow(2)
        page = await there.list_sessions(limit=1_000)
        assert ([entry.session for entry in page.sessions], page.foreign) == (["another"], 1)
        assert len([found async for found in saver.alist(None)]) == 2
        assert await there.delete(THREAD)
        await Chat(saver).put()
        assert len([found async for found in saver.alist(None)]) == 3


async def test_reading_the_arena_of_what_is_no_hash(
    redis_url: str, server: redis.Redis, face: str
) -> None:
    """The one call that is no script says the same, however much is read."""
    says = pickled(server)
    async with opened(redis_url) as store:
        for length in (1, 20_000_000):
            spans = [Span(0, length)]
            await refused(lambda spans=spans: face_of(store, face).read(THREAD, spans), says=says)  # type: ignore[misc]


async def test_a_copy_may_replace_what_is_no_session(
    redis_url: str, server: redis.Redis, face: str
) -> None:
    """A target that is damaged or somebody else's is in the way, and replaced where asked for."""
    async with opened(redis_url) as store:
        there = face_of(store, face)
        await done(there, put("1", session="source"))
        for make in (pickled, foreign):
            server.delete(KEY)
            make(server)
            with pytest.raises(WrenSessionsError, match="is there already"):
                await there.copy("source", THREAD)
            assert await there.copy("source", THREAD, replace=True) is not None
            assert await there.load(THREAD) is not None


# --- a newer format -------------------------------------------------------------------------------


async def test_a_newer_session_is_refused(redis_url: str, server: redis.Redis, face: str) -> None:
    """Every call on a session of a newer format says to upgrade; a listing counts it."""
    async with opened(redis_url) as store:
        chat = await Chat(saver_on(store, face)).grow(2)
        words = field(server, b":meta").split()
        server.hset(KEY, ":meta", b" ".join([b"3", *words[1:], b"more"]))
        before = server.dump(KEY)
        for call in (chat.get, chat.put, chat.write, chat.history):
            await refused(call, FormatVersionError, "upgrade")
        for store_call in STORE_CALLS.values():
            await refused(lambda call=store_call: call(face_of(store, face)), FormatVersionError)  # type: ignore[misc]
        assert server.dump(KEY) == before
        page = await face_of(store, face).list_sessions()
        assert (page.sessions, page.foreign) == ((), 1)


async def test_a_newer_record_is_refused(redis_url: str, server: redis.Redis, face: str) -> None:
    """A record of a newer format is an error to who needs it; the others are read."""
    async with opened(redis_url) as store:
        chat = await Chat(saver_on(store, face)).grow(2)
        early = chat.config
        await chat.put()
        latest = chat.config["configurable"]["checkpoint_id"]
        line, body = field(server, latest.encode()).split(b"\n", 1)
        server.hset(KEY, latest, line + b"\n" + b"\x02" + body[1:])
        cold = chat.on(saver_on(store, face))
        for call in (cold.get, cold.put, cold.history):
            await refused(call, FormatVersionError, "upgrade")
        with pytest.raises(FormatVersionError) as caught:
            await cold.get()
        assert (caught.value.found, caught.value.supported) == (2, 1)
        assert await cold.saver.aget_tuple(early) is not None


# --- damage ---------------------------------------------------------------------------------------


class Damaged:
    """A chat of six checkpoints with pending writes on the last one, and the fields it lies in."""

    def __init__(self, server: redis.Redis, chat: Chat) -> None:
        self.server = server
        self.chat = chat
        self.fields = fields(server)
        ids = sorted(field for field in self.fields if field.count(b"-") == 4 and b":" not in field)
        self.latest, self.middle = ids[-1], ids[2]
        self.log = b":w//" + self.latest
        (self.special,) = (field for field in self.fields if field.startswith(b":s/"))

    def set(self, field: bytes, value: bytes | None) -> None:
        """Replace a field, or remove it."""
        if value is None:
            self.server.hdel(KEY, field)
        else:
            self.server.hset(KEY, field, value)

    def restore(self, field: bytes) -> None:
        """Put a field back."""
        self.set(field, self.fields[field])

    def on(self, saver: Any) -> Chat:
        """The chat, as another process sees it."""
        return self.chat.on(saver)


async def written(server: redis.Redis, saver: Any) -> Damaged:
    """The chat, still whole."""
    chat = await Chat(saver).grow(6)
    for number in range(8):
        await chat.write(f"task {number}", f"{number}. {TEXT}")
    await chat.interrupt()
    return Damaged(server, chat)


def flipped(value: bytes, at: int) -> bytes:
    """The value with one byte changed."""
    return value[:at] + bytes([value[at] ^ 0x01]) + value[at + 1 :]


def shortened(value: bytes) -> bytes:
    """The value without its second half."""
    return value[: len(value) // 2]


DAMAGES: Final[dict[str, Callable[[Damaged], tuple[bytes, bytes | None]]]] = {
    "record missing": lambda of: (of.latest, None),
    "record empty": lambda of: (of.latest, b""),
    "record truncated": lambda of: (of.latest, shortened(of.fields[of.latest])),
    "record changed": lambda of: (of.latest, flipped(of.fields[of.latest], -5)),
    "record without line": lambda of: (of.latest, of.fields[of.latest].replace(b"\n", b"")),
    "record with another line": lambda of: (of.latest, b"what\n" + of.fields[of.latest]),
    "log truncated": lambda of: (of.log, shortened(of.fields[of.log])),
    "log changed": lambda of: (of.log, flipped(of.fields[of.log], -5)),
    "log without its count": lambda of: (of.log, flipped(of.fields[of.log], -6)),
    "log empty": lambda of: (of.log, b""),
    "part of the log missing": lambda of: (of.log + b"/1", None),
    "part of the log truncated": lambda of: (of.log + b"/1", shortened(of.fields[of.log + b"/1"])),
    "interrupt missing": lambda of: (of.special, None),
    "interrupt truncated": lambda of: (of.special, shortened(of.fields[of.special])),
    "interrupt changed": lambda of: (of.special, flipped(of.fields[of.special], -1)),
    "segment missing": lambda of: (b":a0", None),
    "segment truncated": lambda of: (b":a0", shortened(of.fields[b":a0"])),
    "segment changed": lambda of: (b":a0", flipped(of.fields[b":a0"], 700)),
    "last segment missing": lambda of: (b":a1", None),
    "last segment truncated": lambda of: (b":a1", of.fields[b":a1"][:-1]),
    "head missing": lambda of: (b":head/", None),
    "head truncated": lambda of: (b":head/", shortened(of.fields[b":head/"])),
    "head changed": lambda of: (b":head/", flipped(of.fields[b":head/"], 10)),
    "head empty": lambda of: (b":head/", b""),
    "meta truncated": lambda of: (b":meta", shortened(of.fields[b":meta"])),
    "meta empty": lambda of: (b":meta", b""),
    "meta without numbers": lambda of: (b":meta", b"1 a b c d e f g h"),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damage_is_told(redis_url: str, server: redis.Redis, face: str, damage: str) -> None:
    """Whatever is missing, cut off or changed: get and list are errors, not other values."""
    async with opened(redis_url) as store:
        damaged = await written(server, saver_on(store, "async"))
        field, value = DAMAGES[damage](damaged)
        assert damaged.fields[field] != value
        damaged.set(field, value)
        chat = damaged.on(saver_on(store, face))
        await refused(chat.get)
        if field != b":head/" or damage != "head changed":  # lists start at the highest id
            await refused(chat.history)
        assert await face_of(store, face).delete(THREAD)
        assert await chat.get() is None


@pytest.mark.parametrize("damage", [None, b"", b"what\nelse", b"a b c : -\n"])
async def test_damage_in_the_middle_is_told_by_list(
    redis_url: str, server: redis.Redis, face: str, damage: bytes | None
) -> None:
    """A list that comes to a damaged record is an error, not a shorter list; the latest is read."""
    async with opened(redis_url) as store:
        damaged = await written(server, saver_on(store, "async"))
        damaged.set(damaged.middle, damage)
        chat = damaged.on(saver_on(store, face))
        await chat.latest()
        await refused(chat.history)
        assert len(await chat.history(limit=3)) == 3


async def test_a_commit_does_not_build_on_damage(
    redis_url: str, server: redis.Redis, face: str
) -> None:
    """Appending to an arena or a chain that is not whole is refused, and changes nothing."""
    async with opened(redis_url) as store:
        for damage in (
            "last segment missing",
            "last segment truncated",
            "head missing",
            "head empty",
            "meta truncated",
        ):
            server.delete(KEY)
            damaged = await written(server, saver_on(store, "async"))
            damaged.set(*DAMAGES[damage](damaged))
            before = server.dump(KEY)
            await refused(damaged.on(saver_on(store, face, cache_bytes=0)).put)
            what = put("9", session=THREAD, append=b"some")
            await refused(lambda what=what: face_of(store, face).commit(what))  # type: ignore[misc]
            assert server.dump(KEY) == before, damage


async def test_pending_writes_do_not_build_on_damage(
    redis_url: str, server: redis.Redis, face: str
) -> None:
    """A log that is not whole is not gone on with."""
    async with opened(redis_url) as store:
        for damage in ("log empty", "part of the log missing"):
            server.delete(KEY)
            damaged = await written(server, saver_on(store, "async"))
            damaged.set(*DAMAGES[damage](damaged))
            last = damaged.fields[damaged.log].split()[0]
            if damage == "part of the log missing":
                damaged.set(damaged.log + b"/" + last, None)
            before = server.dump(KEY)
            await refused(damaged.on(saver_on(store, face)).write)
            assert server.dump(KEY) == before, damage


async def test_a_circle_comes_to_an_end(redis_url: str, server: redis.Redis, face: str) -> None:
    """Chains that lead back to where they began are damage, and do not hold up the server."""
    async with opened(redis_url) as store:
        there = face_of(store, face)
        lives = [
            (await done(there, put(str(number), ns=ns, session=THREAD))).life
            for ns in ("", "child")
            for number in (2, 4, 6)
        ]
        whole = fields(server)
        circles = {b"4": whole[b"4"].replace(b" 2 ", b" 6 "), b":head/": b"6 6 /child"}
        for field, value in circles.items():
            assert value != whole[field]
            server.hset(KEY, field, value)
            calls: dict[bytes, list[Callable[[], Awaitable[object]]]] = {
                b"4": [
                    lambda: there.scan(THREAD, [Start("")], 100),
                    lambda: there.scan(THREAD, [Start("", "1")], 100),
                    lambda: there.commit(put("1", session=THREAD)),
                    lambda: there.prune(prune(lives[-1], ("", "2"), session=THREAD)),
                ],
                b":head/": [
                    lambda: there.heads(THREAD),
                    lambda: there.prune(
                        prune(lives[-1], *(("child", n) for n in "246"), session=THREAD)
                    ),
                ],
            }
            for call in calls[field]:
                await refused(call)
            server.hset(KEY, field, whole[field])


@pytest.mark.parametrize("seed", range(4))
async def test_one_changed_byte_never_gives_other_values(
    redis_url: str, server: redis.Redis, seed: int
) -> None:
    """Any byte of any field may change: what is read is the same, or an error that names it."""
    rng = random.Random(seed)
    async with opened(redis_url) as store:
        damaged = await written(server, saver_on(store, "sync"))
        whole = damaged.on(saver_on(store, "sync"))
        expected = [await outcome(whole.get), await outcome(whole.history)]
        told = 0
        for name, value in damaged.fields.items():
            for at in {*range(min(len(value), 12)), *rng.choices(range(len(value)), k=12)}:
                bit = 1 << rng.randrange(8)
                damaged.set(name, value[:at] + bytes([value[at] ^ bit]) + value[at + 1 :])
                found = [await outcome(whole.get), await outcome(whole.history)]
                for one, other in zip(found, expected, strict=True):
                    assert one in (THREAD, other), (name, at, bit)
                    told += one == THREAD
            damaged.restore(name)
        assert told > 100


async def outcome(call: Callable[[], Awaitable[object]]) -> object:
    """What a call returns, or the session that its error names."""
    try:
        return await call()
    except (CorruptSessionError, FormatVersionError) as error:
        return error.session
    except DecryptionError as error:  # the byte that says whether a value is sealed
        return THREAD if repr(THREAD) in str(error) else str(error)
