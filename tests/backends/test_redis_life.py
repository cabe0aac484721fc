"""Lifetimes on a real server: one deadline per key, by the server's clock, kept by the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
import pytest_asyncio
import redis

from backends.chats import THREAD, Chat
from backends.faces import face_of, opened, saver_on
from servers import start_server
from wren_sessions.errors import SessionExpiredError, SessionGoneError
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Life
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing.build import SESSION, add, commit, done, info, listed, put, write
from wren_sessions.ttl import Refresh, TTLPolicy, to_ms

KEY: Final = f"langgraph:checkpoint:{SESSION}:latest"
LOOK: Final = """
local there = redis.call('EXISTS', KEYS[1])
local t = redis.call('TIME')
return {there, t[1] * 1000 + math.floor(t[2] / 1000)}
"""
HOUR_MS: Final = 3_600_000

Open = Callable[..., RedisStore]


@pytest_asyncio.fixture
async def open_store(redis_url: str) -> AsyncIterator[Open]:
    """Makes stores, and closes them."""
    made: list[RedisStore] = []

    def open_store(**options: Any) -> RedisStore:
        made.append(RedisStore.from_url(redis_url, **options))
        return made[-1]

    yield open_store
    for store in made:
        await store.aio.close()


def look(client: redis.Redis, key: str = KEY) -> tuple[bool, int]:
    """Whether a key is there, and the server's clock, in one step."""
    there, now_ms = client.eval(LOOK, 1, key)
    return bool(there), int(now_ms)


def wait_for_the_end(client: redis.Redis, deadline_ms: int, key: str = KEY) -> None:
    """Watch a key until it is gone: it is there up to its deadline, and not behind it."""
    before_ms = 0
    while True:
        there, now_ms = look(client, key)
        assert there or now_ms >= deadline_ms
        assert not there or before_ms <= deadline_ms
        if not there:
            return
        before_ms = now_ms


def deadline_of(client: redis.Redis, key: str = KEY) -> int | None:
    """The key's deadline, to the millisecond; None if it has none."""
    while True:
        (_, before), left, (_, after) = (
            look(client, key),
            client.execute_command("PTTL", key),
            look(client, key),
        )
        if left < 0:
            return None
        if before == after:
            return before + int(left)


async def life_of(face: AsyncSessionStore) -> Life:
    """The session's life."""
    return (await info(face)).life


# --- the end --------------------------------------------------------------------------------------


async def test_a_session_ends_whole_at_its_deadline(
    client: redis.Redis, open_store: Open, face: str
) -> None:
    """The server removes the key when the deadline comes, and no call finds a part of it."""
    there = face_of(open_store(ttl=TTLPolicy(idle="1h")), face)
    await done(there, put("1", append=bytes(10_000), state=b"{}"))
    await done(there, add("1", write("task", 0, b"value")))
    life = await there.set_ttl(SESSION, "150ms")
    assert life is not None
    assert life.deadline_ms == life.now_ms + 150
    wait_for_the_end(client, life.deadline_ms)
    assert await there.load(SESSION) is None
    assert await there.info(SESSION) is None
    assert client.keys() == []


async def test_the_maximum_age_ends_a_session_in_use(
    client: redis.Redis, open_store: Open, face: str
) -> None:
    """However often it is written, a session ends at its maximum age."""
    there = face_of(open_store(ttl=TTLPolicy(idle="10h", max_age="1h")), face)
    life = (await done(there, put("1"))).life
    assert life is not None
    for number in range(5):
        assert (await done(there, put(f"2{number}", session=SESSION))).life is not None
        assert deadline_of(client) == life.created_ms + HOUR_MS
    await there.delete(SESSION)
    old = (await done(there, put("1", created_ms=life.now_ms + 1_000 - HOUR_MS))).life
    assert old is not None
    wait_for_the_end(client, old.created_ms + HOUR_MS)
    assert await there.load(SESSION) is None


async def test_a_chat_that_expired_is_written_whole(
    client: redis.Redis, open_store: Open, face: str
) -> None:
    """The next checkpoint after the deadline holds everything, and keeps the session's age."""
    store = open_store(ttl=TTLPolicy(idle="1s"))
    chat = await Chat(saver_on(store, face)).grow(3)
    before = store.info(THREAD)
    assert before is not None
    assert before.life.deadline_ms is not None
    key = store.keys.session_key(THREAD)
    wait_for_the_end(client, before.life.deadline_ms, key)
    await chat.put()
    await chat.on(saver_on(store, face)).latest()
    after = store.info(THREAD)
    assert after is not None
    assert after.life.created_ms == before.life.created_ms
    assert after.life.revision == 1


async def test_a_chat_past_its_maximum_age_cannot_go_on(
    client: redis.Redis, open_store: Open, face: str
) -> None:
    """Writing again does not start the maximum age again."""
    store = open_store(ttl=TTLPolicy(idle=None, max_age="1s"))
    chat = await Chat(saver_on(store, face)).grow(3)
    before = store.info(THREAD)
    assert before is not None
    assert before.life.deadline_ms is not None
    wait_for_the_end(client, before.life.deadline_ms, store.keys.session_key(THREAD))
    with pytest.raises(SessionExpiredError, match=THREAD):
        await chat.put()
    assert client.keys() == []


# --- the deadline ---------------------------------------------------------------------------------


@pytest.mark.parametrize("idle", ["90061001ms", 1_234.567, "24h"])
async def test_the_key_has_the_deadline_that_info_tells(
    client: redis.Redis, open_store: Open, face: str, idle: Any
) -> None:
    """To the millisecond, in every answer that holds a life."""
    there = face_of(open_store(ttl=TTLPolicy(idle=idle)), face)
    life = (await done(there, put("1"))).life
    assert life is not None
    deadline_ms = deadline_of(client)
    assert deadline_ms == life.deadline_ms == life.now_ms + to_ms(idle)
    found = await there.load(SESSION)
    assert found is not None
    page = await there.scan(SESSION, [], 1)
    assert page.life is not None
    lives = [await life_of(there), found.life, page.life, (await done(there, put("1"))).life]
    assert {life and life.deadline_ms for life in lives[:3]} == {deadline_ms}
    assert lives[3] is not None
    assert deadline_of(client) == lives[3].deadline_ms
    (entry,) = (await listed(there)).values()
    assert entry.life.deadline_ms is not None
    assert entry.life.deadline_ms <= (deadline_of(client) or 0)


async def test_the_deadline_is_set_in_the_step_that_writes(
    client: redis.Redis, redis_url: str, open_store: Open, face: str
) -> None:
    """There is no moment without deadline: what writes the key also sets its end, in one script."""
    there = face_of(open_store(), face)
    calls: dict[str, Callable[[], Any]] = {
        "HSET": lambda: there.commit(put("1", append=b"some", state=b"{}")),
        "COPY": lambda: there.copy(SESSION, "copy"),
        "PEXPIREAT": lambda: there.touch(SESSION),
    }
    for call in calls.values():  # the server learns the scripts
        await call()
    client.flushdb()
    with redis.Redis.from_url(redis_url) as watcher, watcher.monitor() as monitor:
        for name, call in calls.items():
            await call()
            client.echo("end of the call")
            commands = []
            for command in monitor.listen():
                if command["command"].startswith("ECHO"):
                    break
                commands.append((command["client_type"], command["command"].split()[0].upper()))
            by_clients = [word for kind, word in commands if kind != "lua"]
            by_script = [word for kind, word in commands if kind == "lua"]
            assert by_clients == ["EVALSHA"]
            assert by_script.index(name) <= by_script.index("PEXPIREAT")


async def test_an_operator_may_change_the_deadline(
    client: redis.Redis, open_store: Open, face: str
) -> None:
    """``EXPIRE`` and ``PERSIST`` in redis-cli are what `info` tells; the next use sets it anew."""
    there = face_of(open_store(), face)
    await done(there, put("1"))
    client.expire(KEY, 100)
    deadline_ms = deadline_of(client)
    assert (await life_of(there)).deadline_ms == deadline_ms
    client.persist(KEY)
    life = await life_of(there)
    assert (life.deadline_ms, life.pinned) == (None, False)
    assert (await listed(there))[SESSION].life.deadline_ms is None
    await done(there, put("2"))
    assert (deadline_of(client) or 0) > (deadline_ms or 0)
    client.execute_command("PEXPIRE", KEY, 20)
    wait_for_the_end(client, deadline_of(client) or 0)
    assert await there.info(SESSION) is None


@pytest.mark.leaves_keys("that is what the policy says")
async def test_without_limits_a_key_has_no_deadline(
    client: redis.Redis, open_store: Open, face: str
) -> None:
    """A policy without idle time and maximum age leaves no TTL, and takes one away."""
    there = face_of(open_store(ttl=TTLPolicy(idle=None)), face)
    await done(there, put("1"))
    assert client.ttl(KEY) == -1
    client.expire(KEY, 100)
    await done(there, put("2"))
    assert client.ttl(KEY) == -1


# --- what counts as use ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refresh", "renewing"),
    [
        ("write", {"commit", "touch", "set_ttl", "unpin"}),
        ("read", {"commit", "load", "touch", "set_ttl", "unpin"}),
        ("never", {"touch", "set_ttl", "unpin"}),
    ],
)
async def test_what_renews_a_deadline(
    client: redis.Redis, open_store: Open, face: str, refresh: Refresh, renewing: set[str]
) -> None:
    """By the policy, a use sets the whole idle time again; nothing else touches the deadline."""
    there = face_of(open_store(ttl=TTLPolicy(idle="1h", refresh=refresh)), face)
    await done(there, put("1", append=b"some"))
    calls: dict[str, Callable[[], Any]] = {
        "commit": lambda: there.commit(put("2")),
        "load": lambda: there.load(SESSION),
        "touch": lambda: there.touch(SESSION),
        "set_ttl": lambda: there.set_ttl(SESSION, "1h"),
        "unpin": lambda: there.pin(SESSION, pinned=False),
        "scan": lambda: there.scan(SESSION, [], 1),
        "heads": lambda: there.heads(SESSION),
        "read": lambda: there.read(SESSION, []),
        "info": lambda: there.info(SESSION),
        "list": there.list_sessions,
        "refused": lambda: there.commit(put("3", new=True)),
        "copy": lambda: there.copy(SESSION, "copy", replace=True),
    }
    renewed = set()
    for name, call in calls.items():
        client.expire(KEY, 100)
        await call()
        if client.pttl(KEY) > HOUR_MS // 2:
            renewed.add(name)
    assert renewed == renewing


async def test_age_and_own_timeout_bound_the_deadline(
    client: redis.Redis, open_store: Open, face: str
) -> None:
    """The deadline is the earlier of the last use plus idle time and the creation plus maximum."""
    there = face_of(open_store(ttl=TTLPolicy(idle="1h", max_age="3h")), face)
    now_ms = (await done(there, put("1", session="other"))).now_ms
    created_ms = now_ms - 2 * HOUR_MS
    await done(there, put("1", created_ms=created_ms))
    assert (deadline_of(client) or 0) - now_ms <= HOUR_MS + 60_000
    life = await there.set_ttl(SESSION, "90m")
    assert life is not None
    assert deadline_of(client) == life.deadline_ms == created_ms + 3 * HOUR_MS
    life = await there.set_ttl(SESSION, "10m")
    assert life is not None
    assert deadline_of(client) == life.deadline_ms == life.now_ms + 600_000
    life = (await done(there, put("2"))).life
    assert life is not None
    assert deadline_of(client) == life.deadline_ms == life.now_ms + 600_000


async def test_a_pinned_session_has_no_deadline(
    client: redis.Redis, open_store: Open, face: str
) -> None:
    """Pinning persists the key, whatever is done with it; unpinning gives it a deadline again."""
    there = face_of(open_store(ttl=TTLPolicy(idle="1h", max_age="2h", refresh="read")), face)
    await done(there, put("1"))
    await there.pin(SESSION)
    for call in (
        lambda: there.commit(put("2")),
        lambda: there.commit(commit(state=b"{}")),
        lambda: there.load(SESSION),
        lambda: there.touch(SESSION),
        lambda: there.set_ttl(SESSION, "5m"),
    ):
        assert client.ttl(KEY) == -1
        await call()
    assert client.ttl(KEY) == -1
    assert (await listed(there))[SESSION].life.pinned
    life = await there.pin(SESSION, pinned=False)
    assert life is not None
    assert deadline_of(client) == life.deadline_ms == life.now_ms + 300_000


# --- prefixes and eviction ------------------------------------------------------------------------


async def test_prefixes_keep_sessions_apart(open_store: Open, client: redis.Redis) -> None:
    """Stores of other prefixes on one database never meet, however the prefixes look alike."""
    prefixes = ("wren", "wren:a", "wren:a:b", "wre", "a", "WREN", "langgraph:checkpoint")
    sessions = ("a", "a:b", "b", "b:latest", "latest", "a:latest", "wren")
    stores = {prefix: open_store(prefix=prefix) for prefix in prefixes}
    for prefix, store in stores.items():
        for session in sessions:
            await done(store.aio, put("1", session=session, body=f"{prefix}|{session}".encode()))
    assert client.dbsize() == len(prefixes) * len(sessions)
    for prefix, store in stores.items():
        assert set(await listed(store.aio)) == set(sessions)
        for session in sessions:
            found = await store.aio.load(session)
            assert found is not None
            assert found.stored.body == f"{prefix}|{session}".encode()
    for gone, store in enumerate(stores.values(), 1):
        for session in sessions:
            assert await store.aio.delete(session)
        assert client.dbsize() == (len(prefixes) - gone) * len(sessions)


async def test_a_listing_passes_over_other_keys(open_store: Open, client: redis.Redis) -> None:
    """Keys that no session could have are neither listed nor counted, nor read."""
    store = open_store(prefix="wren")
    await done(store.aio, put("1"))
    for name in ("wren", "wren:latest", "wren:x:latest:", "other:x:latest", b"wren:\xff:latest"):
        client.set(name, "theirs", 60)
    for name in ("wren:a b:latest", "wren:x:y:latest", "wren:%7a:latest"):
        client.rpush(name, "theirs")
        client.expire(name, 60)
    page = await store.aio.list_sessions(limit=1_000)
    assert [entry.session for entry in page.sessions] == [SESSION]
    assert page.foreign == 0
    client.flushdb()


@pytest.mark.redis_server
@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
async def test_eviction_takes_sessions_whole(policy: str) -> None:
    """On a full server a session is there as it was written, or it is not there at all."""
    with start_server("--maxmemory", "4mb", "--maxmemory-policy", policy) as server:
        async with opened(server.url) as store:
            chats = [Chat(saver_on(store, "sync"), f"session {number}") for number in range(60)]
            evicted: list[Chat] = []
            for chat in chats:
                await chat.put(document=f"{chat.thread}" * 1_000)
                await chat.write()
            for chat in chats:
                found = await chat.on(saver_on(store, "sync")).get()
                if found is None:
                    evicted.append(chat)
                    assert await chat.history() == []
                else:
                    assert found.checkpoint["channel_values"]["messages"] == chat.messages
                    assert found.pending_writes == [("task", "note", "said")]
            assert 0 < len(evicted) < len(chats)
            for chat in evicted:
                with pytest.raises(SessionGoneError):
                    await chat.put()
