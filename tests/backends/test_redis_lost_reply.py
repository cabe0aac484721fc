"""A reply that gets lost: the driver sends the command again, and it is applied once."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final

import pytest
import pytest_asyncio
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from backends.chats import THREAD, Chat
from backends.faces import face_of, opened, saver_on
from backends.proxy import Proxy, proxy_to
from servers import ServerAddress
from wren_sessions.errors import StoreTimeoutError, StoreUnavailableError
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Commit
from wren_sessions.stores.redis import RedisStore
from wren_sessions.stores.redis.scripts import script
from wren_sessions.testing.build import (
    SESSION,
    add,
    commit,
    done,
    info,
    pending,
    put,
    scan_ids,
    write,
)

LARGE: Final = bytes(range(256)) * 600
LOST: Final = (redis.ConnectionError,)


def call_of(name: str) -> bytes:
    """What a request that runs a script begins with."""
    return b"EVALSHA\r\n$40\r\n" + script(name).sha.encode()


@pytest.fixture
def proxy(redis_url: str, redis_server: ServerAddress) -> Iterator[Proxy]:
    """A proxy to the server; a store that connects to it knows no better."""
    with proxy_to(redis_server.host, redis_server.port) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def direct(redis_url: str) -> AsyncIterator[AsyncSessionStore]:
    """A store that reaches the server without the proxy."""
    async with opened(redis_url) as store:
        await done(store.aio, put("1", session="elsewhere"))  # the server knows the script
        await store.aio.copy("elsewhere", "somewhere")
        yield store.aio


@pytest_asyncio.fixture
async def store(proxy: Proxy, direct: AsyncSessionStore) -> AsyncIterator[RedisStore]:
    """A store behind the proxy."""
    async with opened(proxy.url) as store:
        yield store


def fields(url: str, session: str = SESSION) -> dict[bytes, bytes]:
    """All that a session's hash holds, but for times."""
    with redis.Redis.from_url(url) as client:
        found = client.hgetall(f"langgraph:checkpoint:{session}:latest")
    assert isinstance(found, dict)
    found[b":meta"] = re.sub(rb"\b\d{13}\b", b"<time>", found[b":meta"])
    return found


def everything() -> list[Commit]:
    """Commits of every kind, with tokens that are the same each time."""
    both = add("2", write("a", 0, LARGE), write("b", -1, b"first", replaces=True))
    commits = [
        put("1", new=True, append=LARGE, state=b'{"at": 1}'),
        put("2", parent="1", append=b"two", witnesses=(("", "1"),)),
        add("2", *(write("task", at, bytes(700)) for at in range(20))),
        add("2", write("task", -3, b"interrupt", replaces=True)),
        add("9", write("early", 0, b"value")),
        commit(state=b'{"at": 2}'),
        put("1", ns="child", append=b"child"),
        commit(record=put("3").record, writes=both.writes, state=b'{"at": 3}'),
        put("0", append=LARGE),
    ]
    return [
        Commit(
            **{name: getattr(made, name) for name in Commit.__slots__} | {"token": f"token-{at}"}
        )
        for at, made in enumerate(commits)
    ]


async def test_every_commit_is_applied_once(
    redis_url: str, proxy: Proxy, store: RedisStore, face: str, direct: AsyncSessionStore
) -> None:
    """With each reply lost once, a session is byte for byte as it is with none lost."""
    for made in everything():
        await done(direct, made)
    expected = fields(redis_url)
    await direct.delete(SESSION)
    there = face_of(store, face)
    for number, made in enumerate(everything(), 1):
        proxy.cut(call_of("commit"))
        assert (await done(there, made)).life is not None
        assert (await info(direct)).life.revision == number
    assert proxy.lost == len(everything())
    assert fields(redis_url) == expected


async def test_a_commit_is_applied_once_however_often_its_reply_is_lost(
    redis_url: str, proxy: Proxy, store: RedisStore, face: str, direct: AsyncSessionStore
) -> None:
    """Three lost replies in a row are survived, and the record is there once."""
    there = face_of(store, face)
    await done(there, put("1"))
    proxy.cut(call_of("commit"), times=3)
    committed = await done(there, put("2", append=LARGE))
    assert proxy.lost == 3
    assert committed.life is not None
    assert committed.life.revision == 2
    assert fields(redis_url)[b":meta"].split()[6] == b"%d" % len(LARGE)


async def test_a_commit_whose_script_was_not_known_is_applied_once(
    redis_url: str, proxy: Proxy, store: RedisStore, face: str, direct: AsyncSessionStore
) -> None:
    """The same where the lost reply is that of the call which sends the script."""
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()
    proxy.cut(b"EVAL\r\n")
    committed = await done(face_of(store, face), put("1", append=LARGE))
    assert proxy.lost == 1
    assert committed.life is not None
    assert committed.life.revision == 1
    assert fields(redis_url)[b":meta"].split()[6] == b"%d" % len(LARGE)


async def test_a_new_session_is_made_once(
    proxy: Proxy, store: RedisStore, face: str, direct: AsyncSessionStore
) -> None:
    """A session that must be new is not refused because the first attempt made it."""
    for what in (put("1", new=True), commit(session="header", new=True, state=b"{}")):
        proxy.cut(call_of("commit"))
        committed = await done(face_of(store, face), what)
        assert committed.life is not None
        assert committed.life.revision == 1
        assert (await info(direct, what.session)).life.incarnation == committed.life.incarnation


async def test_a_copy_is_made_once(
    proxy: Proxy, store: RedisStore, face: str, direct: AsyncSessionStore
) -> None:
    """A copy is not refused because the first attempt made it, and is one session."""
    await done(direct, put("1", append=LARGE))
    proxy.cut(call_of("copy"))
    life = await face_of(store, face).copy(SESSION, "copy")
    assert proxy.lost == 1
    assert life is not None
    assert (await info(direct, "copy")).life.incarnation == life.incarnation


async def test_a_repeat_that_comes_late_undoes_nothing(direct: AsyncSessionStore) -> None:
    """Others may commit before the repeat arrives: what they wrote stays."""
    await done(direct, put("1"))
    interrupt = add("1", write("task", -3, b"mine", replaces=True))
    header = commit(state=b"mine")
    for what in (interrupt, header):
        await done(direct, what)
    for number in range(10):
        await done(direct, add("1", write(f"other {number}", 0, b"value")))
    await done(direct, add("1", write("task", -3, b"theirs", replaces=True)))
    await done(direct, commit(state=b"theirs"))
    before = await info(direct)
    for what in (interrupt, header):
        assert (await done(direct, what)).base == 0
    assert await info(direct) == before
    assert before.state == b"theirs"
    assert (await pending(direct, "1"))["task/-3"] == b"theirs"


async def test_what_is_remembered_of_commits_does_not_grow(
    redis_url: str, direct: AsyncSessionStore
) -> None:
    """A session remembers its latest commits only."""
    await done(direct, put("1"))
    for number in range(100):
        await done(direct, commit(token=f"{number:016}", state=b"{}"))
    assert len(fields(redis_url)[b":done"]) == 16 * 17 - 1


async def test_a_chat_does_not_notice(
    redis_url: str, proxy: Proxy, store: RedisStore, face: str, direct: AsyncSessionStore
) -> None:
    """A saver whose every reply is lost once writes each checkpoint and write once."""
    chat = Chat(saver_on(store, face))
    for number in range(1, 6):
        for call in (chat.put, chat.write, chat.interrupt):
            proxy.cut(call_of("commit"))
            await call()
        proxy.cut(call_of("load"))
        found = await chat.latest()
        assert found.pending_writes == [
            ("asking", "__interrupt__", ["what?"]),
            ("task", "note", "said"),
        ]
        assert (await info(direct, THREAD)).life.revision == 3 * number
    assert proxy.lost == 20
    assert len(await chat.history()) == 5


@pytest.mark.parametrize("face", ["threads", "async"])
async def test_clients_of_the_application_may_repeat_too(
    proxy: Proxy, direct: AsyncSessionStore, face: str
) -> None:
    """Whatever client repeats a command: it is applied once."""
    clients: dict[str, Callable[[], Any]] = {
        "threads": lambda: redis.Redis.from_url(
            proxy.url, retry=Retry(NoBackoff(), 3, LOST), retry_on_error=[*LOST]
        ),
        "async": lambda: redis.asyncio.Redis.from_url(
            proxy.url, retry=AsyncRetry(NoBackoff(), 3, LOST), retry_on_error=[*LOST]
        ),
    }
    client = clients[face]()
    there = RedisStore.from_client(client).aio
    for number in range(1, 4):
        proxy.cut(call_of("commit"))
        committed = await done(there, put(str(number), append=LARGE))
        assert committed.base == (number - 1) * len(LARGE)
    assert (await info(direct)).life.revision == proxy.lost == 3
    await there.close()
    closed = client.connection_pool.disconnect()
    if closed is not None:
        await closed


async def test_a_client_that_does_not_repeat_says_so(
    proxy: Proxy, direct: AsyncSessionStore
) -> None:
    """Without repeats a lost reply is an error, and sending the commit again is safe."""
    client = redis.Redis.from_url(proxy.url, retry=Retry(NoBackoff(), 0))
    store = RedisStore.from_client(client)
    what = put("1", append=LARGE)
    proxy.cut(call_of("commit"))
    with pytest.raises(StoreUnavailableError, match=SESSION):
        store.commit(what)
    committed = store.commit(what)
    assert (committed.outcome, committed.base) == ("done", 0)
    assert (await info(direct)).life.revision == 1
    client.close()


# --- no answer at all -----------------------------------------------------------------------------


@pytest_asyncio.fixture
async def hurried(proxy: Proxy, direct: AsyncSessionStore) -> AsyncIterator[RedisStore]:
    """A store behind the proxy that does not wait long."""
    async with opened(proxy.url, socket_timeout=0.2) as store:
        yield store


async def test_no_answer_is_a_timeout(proxy: Proxy, hurried: RedisStore, face: str) -> None:
    """From get, put, put_writes and list alike: an error that says it may have happened."""
    chat = await Chat(saver_on(hurried, face)).grow(2)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "get": chat.get,
        "put": chat.put,
        "put_writes": chat.write,
        "list": chat.history,
        "delete": lambda: chat.saver.adelete_thread(THREAD),
    }
    for name, call in calls.items():
        await face_of(hurried, face).ping()  # connects
        proxy.hold()
        with pytest.raises(StoreTimeoutError) as caught:
            await call()
        proxy.release()
        for part in (THREAD, hurried.location, "may or may not have happened", "socket_timeout"):
            assert part in str(caught.value), name
    assert await chat.get() is None


async def test_a_commit_without_answer_can_be_sent_again(
    proxy: Proxy, hurried: RedisStore, face: str, direct: AsyncSessionStore
) -> None:
    """After a timeout the caller may send the same commit again: it is applied once."""
    there = face_of(hurried, face)
    await done(there, put("1"))
    what = put("2", append=LARGE)
    proxy.hold()
    with pytest.raises(StoreTimeoutError):
        await there.commit(what)
    proxy.release()
    assert (await done(there, what)).base == 0
    assert (await info(direct)).life.revision == 2
    assert await scan_ids(direct) == ["2", "1"]


async def test_a_timeout_is_not_waited_for_again(
    proxy: Proxy, hurried: RedisStore, face: str
) -> None:
    """A call that timed out is not sent a second time: its caller has waited long enough."""
    there = face_of(hurried, face)
    await there.ping()
    sent = len(proxy.requests)
    proxy.hold()
    with pytest.raises(StoreTimeoutError):
        await there.touch(SESSION)
    proxy.release()
    assert len(proxy.requests) == sent + 1


def test_the_log_takes_more_than_a_field() -> None:
    """The commits above really go on in further parts of a log."""
    writes = everything()[2].writes
    assert writes is not None
    assert sum(len(entry.body) for entry in writes.entries) > 2_032
