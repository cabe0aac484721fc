"""What can be wrong with a server or the way to it: each is told apart, and no password is told."""

from __future__ import annotations

import asyncio
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import pytest
import pytest_asyncio
import redis
import redis.asyncio

from backends.chats import THREAD, Chat
from backends.faces import face_of, opened, saver_on
from backends.test_redis_trips import CALLS
from recording import CANARY, assert_no_canary
from servers import RedisServer, ServerAddress, free_port, start_server
from wren_sessions import Encryption, SessionSaver, Settings, open_store
from wren_sessions.errors import (
    ConfigurationError,
    StoreTimeoutError,
    StoreUnavailableError,
    WrenSessionsError,
)
from wren_sessions.protocols import AsyncSessionStore, SessionStore
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing.build import SESSION, done, put

pytestmark = pytest.mark.redis_server

KEY: Final = f"langgraph:checkpoint:{THREAD}:latest"
HERE: Final = "127.0.0.1"
NOWHERE: Final = "no-such-host.invalid"

Calls: TypeAlias = dict[str, Callable[[AsyncSessionStore], Awaitable[object]]]


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    """A server that wants a password."""
    with start_server("--requirepass", CANARY) as server:
        yield server


@pytest.fixture(scope="module")
def open_server() -> Iterator[RedisServer]:
    """A server of this module that wants none, to be set up as tests need it."""
    with start_server("--repl-diskless-sync-delay", "0") as server:
        yield server


@pytest.fixture
def admin(open_server: RedisServer) -> Iterator[redis.Redis]:
    """A client that may do everything there; settings and data are put back afterwards."""
    with redis.Redis.from_url(open_server.url) as client:
        yield client
        client.config_set("maxmemory", 0)
        client.flushall()


# --- the way to the server ------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """A way to a server that does not lead there, and what the error says of it."""

    url: str
    says: str
    kind: type[StoreUnavailableError] = StoreUnavailableError
    options: dict[str, Any] = field(default_factory=dict)


def ways(guarded: int, plain: int) -> dict[str, Way]:
    """All of them, given the ports of a server with a password and of one without."""
    wrong = f"{CANARY}-2"
    return {
        "wrong password": Way(f"redis://:{wrong}@{HERE}:{guarded}/0", "refused the user name or"),
        "wrong user": Way(f"redis://bob:{CANARY}@{HERE}:{guarded}/0", "refused the user name or"),
        "no password": Way(f"redis://{HERE}:{guarded}/0", "requires a password"),
        "needless password": Way(
            f"redis://:{CANARY}@{HERE}:{plain}/0?protocol=2", "has no password, but one was given"
        ),
        "wrong database": Way(f"redis://:{CANARY}@{HERE}:{guarded}/99", "no database of that"),
        "TLS to a plain port": Way(
            f"rediss://:{CANARY}@{HERE}:{plain}/0",
            "speaks TLS",
            StoreTimeoutError,
            {"socket_connect_timeout": 0.3, "socket_timeout": 0.3},
        ),
        "closed port": Way(f"redis://:{CANARY}@{HERE}:{free_port()}/0", "check host and port"),
        "unknown host": Way(f"redis://:{CANARY}@{NOWHERE}/0", "check host and port"),
        "no socket": Way(f"unix://:{CANARY}@/no/such/redis.sock?db=3", "check host and port"),
    }


@pytest.fixture(params=ways(0, 0))
def way(
    request: pytest.FixtureRequest,
    guarded: RedisServer,
    open_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Way:
    """One way after the other. That a host is unknown is said here at once: a resolver may wait."""
    look_up = socket.getaddrinfo

    def found(host: Any, *args: Any, **options: Any) -> Any:
        if host == NOWHERE:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *args, **options)

    if request.param == "no socket" and redis.__version__.startswith("5.0."):
        pytest.skip("redis-py 5.0 leaves such a socket open")
    monkeypatch.setattr(socket, "getaddrinfo", found)
    return ways(guarded.port, open_server.port)[request.param]


async def test_each_wrong_way_is_told_apart(way: Way, face: str) -> None:
    """Get, put, put_writes and list all say what is wrong, where, and for which session."""
    async with opened(way.url, **way.options) as store:
        chat = Chat(saver_on(store, face))
        chat.config["configurable"]["checkpoint_id"] = "1"
        for call in (chat.get, chat.put, chat.write, chat.history):
            with pytest.raises(way.kind) as caught:
                await call()
            for part in (way.says, store.location, THREAD):
                assert part in str(caught.value)
            assert_no_canary(caught.value)
        with pytest.raises(way.kind, match="Redis at"):
            await face_of(store, face).list_sessions()


async def test_no_call_fails_otherwise_where_nothing_listens(face: str) -> None:
    """Every call of a store, also a copy and what is an owner's, says where it found nothing."""
    owned: Calls = {
        "owned": lambda there: there.commit(put("1", owner="ann")),
        "list_owned": lambda there: there.list_owned("ann"),  # type: ignore[attr-defined]
        "delete_owned": lambda there: there.delete_owned(SESSION, "ann"),  # type: ignore[attr-defined]
        "list_sessions": lambda there: there.list_sessions(),
    }
    async with opened(f"redis://{HERE}:{free_port()}/0", retries=0) as store:
        for call in (CALLS | owned).values():
            with pytest.raises(StoreUnavailableError, match="check host and port"):
                await call(face_of(store, face))


async def test_what_listens_may_be_no_redis(face: str) -> None:
    """A port at which something else answers is an error of ours too."""
    with socket.create_server((HERE, 0)) as other:
        other.listen()
        url = f"redis://:{CANARY}@{HERE}:{other.getsockname()[1]}/0"
        async with opened(url, socket_timeout=0.2, protocol=2) as store:
            with pytest.raises(StoreUnavailableError) as caught:
                await face_of(store, face).ping()
            assert_no_canary(caught.value)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (f"redis://:{CANARY}@{HERE}:not-a-port/0", {}),
        (f"http://:{CANARY}@{HERE}/0", {}),
        (f"redis://:{CANARY}@{HERE}/0?socket_timeout=soon", {}),
        (f"redis://:{CANARY}@{HERE}/0", {"no_such_option": CANARY}),
        (f"redis://:{CANARY}@{HERE}/0?no_such_option=1", {}),
        (f"redis://:{CANARY}@{HERE}/0", {"max_connections": -1}),
    ],
    ids=["port", "scheme", "value", "option", "option in the URL", "number"],
)
def test_an_impossible_url_is_refused_at_once(url: str, options: dict[str, Any]) -> None:
    """What cannot be a way to any server is refused when the store is made, without I/O."""
    with pytest.raises(ConfigurationError) as caught:
        RedisStore.from_url(url, **options)
    assert_no_canary(caught.value)


@pytest.mark.parametrize(
    ("url", "location"),
    [
        (f"redis://bob:{CANARY}@some.host:7000/3", "redis://some.host:7000/3"),
        (f"rediss://:{CANARY}@some.host", "rediss://some.host:6379/0"),
        (f"redis://:{CANARY}@[::1]:7000", "redis://[::1]:7000/0"),
        (f"unix://bob:{CANARY}@/run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
        (f"redis://?password={CANARY}", "redis://localhost:6379/0"),
    ],
    ids=["user", "TLS", "IPv6", "socket", "option"],
)
def test_a_location_holds_no_password(url: str, location: str) -> None:
    """Where a store is, and how it is printed, tells host, port and database alone."""
    store = RedisStore.from_url(url)
    assert store.location == location
    for text in (repr(store), str(store), repr(store.aio), repr(store._commands)):
        assert CANARY not in text


def test_only_clients_of_redis_py_are_taken() -> None:
    """Anything else is refused, and named."""
    given: Any = object()
    with pytest.raises(ConfigurationError, match="not object"):
        RedisStore.from_client(given)


async def test_an_asyncio_client_makes_no_blocking_calls(redis_url: str) -> None:
    """Every blocking method says how to do it instead; the awaitable ones work."""
    client = redis.asyncio.Redis.from_url(redis_url)
    store = RedisStore.from_client(client)
    for call in (store.ping, lambda: store.load(SESSION), lambda: store.commit(put("1"))):
        with pytest.raises(ConfigurationError, match="await"):
            call()
    await store.aio.ping()
    store.close()
    await store.aio.close()
    await store.aio.ping()  # the client is the application's, and was not closed
    await client.connection_pool.disconnect()


# --- access rules ---------------------------------------------------------------------------------


@contextmanager
def user(admin: redis.Redis, address: ServerAddress, *rules: str) -> Iterator[str]:
    """The URL of a user with these rights."""
    admin.execute_command("ACL", "SETUSER", "limited", "reset", "on", f">{CANARY}", *rules)
    yield f"redis://limited:{CANARY}@{address.host}:{address.port}/0"
    admin.execute_command("ACL", "DELUSER", "limited")


async def test_rights_on_the_prefix_are_enough(
    open_server: RedisServer, admin: redis.Redis, face: str
) -> None:
    """A user with the keys of the prefix, hashes, expiry and scripts can do everything."""
    rules = (
        "~langgraph:checkpoint:*",
        *("+@hash", "+@scripting", "+@keyspace", "+@connection", "+time", "-@dangerous"),
    )
    with user(admin, open_server.address, *rules) as url:
        async with opened(url) as store:
            chat = await Chat(saver_on(store, face)).grow(3)
            await chat.write()
            await chat.latest()
            there = face_of(store, face)
            assert (await there.info(THREAD)) is not None
            assert len((await there.list_sessions()).sessions) == 1
            assert await there.copy(THREAD, "copy") is not None
            assert await there.delete(THREAD)


@pytest.mark.parametrize(
    "rules",
    [
        ("~other:*", "+@all"),
        ("~*", "+@all", "-evalsha", "-eval"),
        ("~*", "+@all", "-hget", "-hset", "-hmget"),
        ("~*", "-@all"),
    ],
    ids=["other keys", "no scripts", "no hashes", "nothing"],
)
async def test_missing_rights_are_told(
    open_server: RedisServer, admin: redis.Redis, face: str, rules: tuple[str, ...]
) -> None:
    """A user who may not do what is needed is told so, also where a script met the wall."""
    async with opened(open_server.url) as allowed:
        await done(allowed.aio, put("1", session=THREAD))
    with user(admin, open_server.address, *rules) as url:
        async with opened(url) as store:
            chat = Chat(saver_on(store, face))
            for call in (chat.get, chat.put, chat.history):
                with pytest.raises(StoreUnavailableError, match="access rules") as caught:
                    await call()
                assert THREAD in str(caught.value)
                assert_no_canary(caught.value)


async def test_a_listing_that_is_not_allowed_is_no_empty_one(
    open_server: RedisServer, admin: redis.Redis, face: str
) -> None:
    """Keys that may be found but not read are an error, not entries that are none of ours."""
    async with opened(open_server.url) as allowed:
        await done(allowed.aio, put("1"))
    with user(admin, open_server.address, "~other:*", "+@all") as url:
        async with opened(url) as store:
            with pytest.raises(StoreUnavailableError, match="access rules"):
                await face_of(store, face).list_sessions()


# --- the server's state ---------------------------------------------------------------------------


async def test_a_full_server_refuses_a_write_whole(
    open_server: RedisServer, admin: redis.Redis, face: str
) -> None:
    """Out of memory, each write is an error that changed nothing; reading goes on."""
    async with opened(open_server.url) as store:
        chat = await Chat(saver_on(store, face)).grow(5)
        await chat.write()
        written, dump = list(chat.messages), admin.dump(KEY)
        admin.config_set("maxmemory", 1)
        there = face_of(store, face)
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "put": chat.put,
            "put_writes": chat.write,
            "set_ttl": lambda: there.set_ttl(THREAD, "1h"),
            "pin": lambda: there.pin(THREAD),
            "copy": lambda: there.copy(THREAD, "copy"),
            "new": Chat(chat.saver, "another").put,
        }
        for name, call in calls.items():
            with pytest.raises(StoreUnavailableError, match="out of memory") as caught:
                await call()
            assert ("another" if name == "new" else THREAD) in str(caught.value)
            assert admin.dump(KEY) == dump, name
        assert admin.keys() == [KEY.encode()]
        chat.messages = written
        await chat.latest()
        assert len(await chat.history()) == 5
        assert await there.touch(THREAD) is not None
        admin.config_set("maxmemory", 0)
        await chat.put()
        await chat.latest()
        admin.config_set("maxmemory", 1)
        assert await there.delete(THREAD)


@pytest_asyncio.fixture
async def replica(open_server: RedisServer, admin: redis.Redis) -> AsyncIterator[RedisServer]:
    """A replica of the open server, in step with it."""
    with start_server("--replicaof", open_server.host, str(open_server.port)) as replica:
        with redis.Redis.from_url(replica.url) as client:
            while client.info("replication")["master_link_status"] != "up":
                pass
        yield replica


async def test_a_replica_reads_and_does_not_write(
    open_server: RedisServer, replica: RedisServer, admin: redis.Redis, face: str
) -> None:
    """Writes say that this is no primary; reads are answered."""
    async with opened(open_server.url) as primary:
        chat = await Chat(saver_on(primary, face)).grow(2)
        admin.wait(1, 5_000)
    async with opened(replica.url) as store:
        there = chat.on(saver_on(store, face))
        await there.latest()
        assert len(await there.history()) == 2
        for call in (there.put, there.write, lambda: there.saver.adelete_thread(THREAD)):
            with pytest.raises(StoreUnavailableError, match="read-only replica") as caught:
                await call()
            assert THREAD in str(caught.value)
        assert len(await there.history()) == 2


async def test_a_server_with_too_many_clients(
    open_server: RedisServer, admin: redis.Redis, face: str
) -> None:
    """A connection that the server turned away says why."""
    admin.config_set("maxclients", 1)
    try:
        async with opened(open_server.url) as store:
            with pytest.raises(
                StoreUnavailableError, match=r"too many clients|check host and port"
            ):
                await face_of(store, face).ping()
    finally:
        admin.config_set("maxclients", 1_000)


async def test_a_server_that_cannot_save(face: str) -> None:
    """A server that stops writes because its disk fails says so; nothing was written."""
    with start_server("--save", "3600", "1", "--dbfilename", "taken") as server:
        (server.folder / "taken").mkdir()
        async with opened(server.url) as store:
            await done(store.aio, put("1"))
            with redis.Redis.from_url(server.url) as client:
                client.bgsave()
                while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
                    pass
                with pytest.raises(StoreUnavailableError, match="cannot save to disk"):
                    await face_of(store, face).commit(put("2"))
                assert client.hlen(f"langgraph:checkpoint:{SESSION}:latest") == 3
        server.kill()  # it would not stop without saving


def test_no_password_in_any_frame_of_a_traceback(guarded: RedisServer) -> None:
    """What a log of the traceback shows, with all that led to it, is free of the password."""
    store = RedisStore.from_url(f"redis://bob:{CANARY}@{HERE}:{guarded.port}/0")
    with pytest.raises(StoreUnavailableError) as caught:
        store.ping()
    text = "".join(traceback.format_exception(caught.value))
    assert "AuthenticationError" in text
    assert CANARY not in text
    store.close()


def frames_with(error: BaseException, secret: str) -> list[str]:
    """Where a tool that shows variables would show a secret, outside of this file."""
    found = []
    waiting: list[traceback.TracebackException | None] = [
        traceback.TracebackException.from_exception(error, capture_locals=True)
    ]
    while waiting:
        one = waiting.pop()
        if one is not None:
            waiting += (one.__cause__, one.__context__)
            found += [
                f"{frame.filename}:{frame.lineno} {name}"
                for frame in one.stack
                if frame.filename != __file__
                for name, shown in (frame.locals or {}).items()
                if secret in shown
            ]
    return found


def use(store: SessionStore) -> None:
    """Call a store that cannot be reached, by both faces."""

    async def ping() -> None:
        async with store:
            await store.aio.ping()

    with store:
        with suppress(StoreUnavailableError):
            asyncio.run(ping())
        store.ping()


URL: Final = f"redis://bob:{CANARY}@{HERE}:1"
MISTAKES: Final[dict[str, Callable[[], object]]] = {
    "port": lambda: open_store(f"redis://bob:{CANARY}@{HERE}:99999"),
    "host": lambda: open_store(f"redis://bob:{CANARY}@a b"),
    "password": lambda: open_store(f"redis://bob:{CANARY}/x@{HERE}"),
    "scheme": lambda: open_store(f"rediss3://bob:{CANARY}@{HERE}"),
    "option": lambda: open_store(f"{URL}/0?nonsense=1"),
    "value": lambda: open_store(f"{URL}/0?socket_timeout=soon"),
    "password twice": lambda: open_store(URL, password=f"not {CANARY}"),
    "database twice": lambda: open_store(f"{URL}/0", db=3),
    "saver": lambda: SessionSaver.from_conn_string(f"{URL}/0?nonsense=1"),
    "driver": lambda: RedisStore.from_url(URL, nonsense=1),
    "constructor": lambda: RedisStore(url=URL, options={"nonsense": 1}),
    "settings": lambda: Settings(url=f"{URL}/0?nonsense=1").open(),
    "variables": lambda: Settings.from_env(
        {"REDIS_URL": URL, "REDIS_PASSWORD": CANARY, "REDIS_HOST": HERE}, dotenv=False
    ),
    "host variable": lambda: Settings.from_env(
        {"REDIS_HOST": "a b", "REDIS_PASSWORD": CANARY}, dotenv=False
    ),
    "key": lambda: Encryption([CANARY]),
    "key variable": lambda: Settings.from_env(
        {"WREN_SESSIONS_ENCRYPTION_KEYS": f"k:{CANARY}"}, dotenv=False
    ),
    "nobody there": lambda: use(open_store(URL)),
    "client": lambda: use(RedisStore.from_client(redis.Redis(port=1, password=CANARY))),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_no_frame_of_an_error_shows_the_password(mistake: str) -> None:
    """No variable in the frames of an error has a password or a key in its repr."""
    with pytest.raises(WrenSessionsError) as caught:
        MISTAKES[mistake]()
    assert frames_with(caught.value, CANARY) == []


def test_no_frame_of_a_refused_login_shows_the_password(guarded: RedisServer) -> None:
    """The driver's frames hold the password while it logs in; they are not part of our error."""
    with pytest.raises(StoreUnavailableError, match="refused") as caught:
        use(open_store(f"redis://bob:{CANARY}@{HERE}:{guarded.port}/0"))
    assert frames_with(caught.value, CANARY) == []
    assert isinstance(caught.value.__cause__, redis.RedisError)
