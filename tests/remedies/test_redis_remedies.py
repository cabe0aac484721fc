"""What errors and `check` say of Redis, done to the letter on real servers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest
from redis import Redis
from redis import exceptions as driver
from redis.asyncio import Redis as AsyncRedis

from cli.running import Cli, in_process
from remedies.proposals import tries
from servers import RedisServer, free_port, start_server
from wren_sessions import RedisStore, Sessions, SessionSaver, open_store
from wren_sessions.errors import (
    ConfigurationError,
    CorruptSessionError,
    StoreTimeoutError,
    StoreUnavailableError,
)

pytestmark = pytest.mark.redis_server

KEY: Final = "langgraph:checkpoint:s:latest"
PASSWORD: Final = "secret"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server without a password."""
    with start_server("--repl-diskless-sync-delay", "0") as server:
        yield server


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    """A server with a password."""
    with start_server("--requirepass", PASSWORD) as server:
        yield server


@pytest.fixture
def admin(server: RedisServer) -> Iterator[Redis]:
    """A client that may do everything; settings and data are put back."""
    with Redis.from_url(server.url) as client:
        client.flushall()
        yield client
        for name, value in {"maxmemory": 0, "maxclients": 10_000, "save": ""}.items():
            client.config_set(name, value)
        client.config_set("maxmemory-policy", "noeviction")
        client.execute_command("REPLICAOF", "NO", "ONE")
        client.flushall()


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Cli:
    """The command, in this process, where nothing is configured."""
    for name in ("WREN_SESSIONS_URL", "REDIS_URL", "REDIS_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return in_process(capsys)


def works(url: str, **options: Any) -> bool:
    """Whether a session can be saved and loaded there."""
    with open_store(url, dotenv=False, **options) as store:
        sessions = Sessions(store)
        sessions.save("works", {"n": 1})
        found = sessions.load("works").state == {"n": 1}
        sessions.delete("works")
    return found


def error(url: str, **options: Any) -> str:
    """What is said of a store that cannot be used."""
    with (
        open_store(url, dotenv=False, **options) as store,
        pytest.raises(StoreUnavailableError) as caught,
    ):
        Sessions(store).save("s", {"n": 1})
    return str(caught.value)


# --- the way there --------------------------------------------------------------------------------


@tries(
    "it refused the user name or password: check them",
    "check REDIS_USERNAME and REDIS_PASSWORD, or the URL, where / ? # @ are written as",
    "it has no password, but one was given: leave it out, or set one there",
    "it has no database of that number: check the end of the URL",
    "check the number at the end of the URL, or REDIS_DB",
    "set REDIS_PASSWORD, or write redis://default:PASSWORD@HOST:PORT",
)
def test_logins(
    server: RedisServer,
    guarded: RedisServer,
    admin: Redis,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The right password, none, one that is set there, a number that there is."""
    at = f"127.0.0.1:{guarded.port}"
    assert "check them" in error(f"redis://:wrong@{at}/0")
    assert "check REDIS_USERNAME" in cli("check", url=f"redis://:wrong@{at}/0").out
    assert (
        "set REDIS_PASSWORD, or write redis://default:PASSWORD"
        in cli("check", url=guarded_url(at)).out
    )
    right = f"redis://default:{PASSWORD}@{at}/0"
    assert works(right)
    assert "failed" not in cli("check", url=right).out
    assert "check the end of the URL" in error(f"redis://default:{PASSWORD}@{at}/99")
    assert "check the number" in cli("check", url=f"redis://default:{PASSWORD}@{at}/99").out
    monkeypatch.setenv("REDIS_HOST", "127.0.0.1")
    monkeypatch.setenv("REDIS_PORT", str(guarded.port))
    monkeypatch.setenv("REDIS_PASSWORD", PASSWORD)
    monkeypatch.setenv("REDIS_DB", "0")
    assert cli("list").code == 0
    needless = f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0?protocol=2"
    assert "leave it out, or set one there" in error(needless)
    assert works(server.url)
    admin.config_set("requirepass", PASSWORD)
    try:
        assert works(needless)
    finally:
        admin.config_set("requirepass", "")


def guarded_url(at: str) -> str:
    """The URL without its password."""
    return f"redis://{at}/0"


@tries("where / ? # @ are written as")
def test_a_password_with_odd_characters(admin: Redis, server: RedisServer) -> None:
    """As the advice writes them."""
    admin.config_set("requirepass", "a/b?c#d@e")
    try:
        with Redis(port=server.port, password="a/b?c#d@e") as client:
            assert works(f"redis://default:a%2Fb%3Fc%23d%40e@127.0.0.1:{server.port}/0")
            client.config_set("requirepass", "")
    finally:
        admin.config_set("requirepass", "")


@tries(
    "it could not be reached in time, and nothing was sent: check host, port and firewall",
    "write redis:// instead of rediss://, or unset REDIS_SSL",
    "the TLS handshake failed: check rediss:// against redis://",
    "it cannot be used; check host and port, that the server runs",
    "check the port, and that the server runs and listens on more",
    "check the path, that the server runs, and that this user may use the socket",
    "raise socket_timeout",
)
def test_the_way_there(server: RedisServer, cli: Cli, tmp_path: Any) -> None:
    """Without TLS where there is none; to a port, and a socket, where a server runs."""
    tls = server.url.replace("redis://", "rediss://")
    quick = {"socket_connect_timeout": 0.3, "socket_timeout": 0.3}
    assert "that the port of a rediss:// URL speaks TLS" in error(tls, **quick)
    assert "write redis:// instead of rediss://" in cli("check", url=tls).out
    port = free_port()
    assert "check host and port, that the server runs" in error(f"redis://127.0.0.1:{port}/0")
    assert (
        "check the port, and that the server runs"
        in cli("check", url=f"redis://127.0.0.1:{port}/0").out
    )
    path = tmp_path / "r.sock"
    assert "check the path, that the server runs" in cli("check", url=f"unix://{path}?db=0").out
    assert works(server.url)
    with start_server("--unixsocket", str(path), "--unixsocketperm", "700"):
        assert works(f"unix://{path}?db=0")


def test_a_server_that_answers_late(admin: Redis, server: RedisServer) -> None:
    """With a longer socket_timeout its answer is waited for."""
    with (
        RedisStore.from_url(server.url, socket_timeout=0.1) as impatient,
        RedisStore.from_url(server.url, socket_timeout=30) as patient,
    ):
        impatient.ping()
        patient.ping()
        admin.execute_command("CLIENT", "PAUSE", "700")
        with pytest.raises(StoreTimeoutError, match="or raise socket_timeout"):
            impatient.info("s")
        assert patient.info("s") is None


@tries("save less at once, or raise proto-max-bulk-len there")
def test_a_value_that_is_too_large_for_the_server(
    admin: Redis, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and nothing was written. Less can be saved, or the same where it may be."""
    monkeypatch.setattr("wren_sessions.stores.redis.errors.MAX_BYTES", 1_048_576)
    before: Any = admin.config_get("proto-max-bulk-len")
    large = {"data": b"1" * 3_000_000}
    with RedisStore.from_url(server.url, retries=0) as store:
        sessions = Sessions(store)
        sessions.save("s", {"data": b"1"})  # the server knows the script
        admin.config_set("proto-max-bulk-len", 1_048_576)
        try:
            with pytest.raises(StoreUnavailableError, match=r"a value of 3,\d+,\d+ bytes"):
                sessions.save("s", large)
            assert sessions.load("s").state == {"data": b"1"}
            sessions.save("s", {"data": b"1" * 900_000})
        finally:
            admin.config_set("proto-max-bulk-len", before["proto-max-bulk-len"])
        assert sessions.save("s", large).state == large


@tries("it has too many clients: close some")
def test_connections(admin: Redis, server: RedisServer) -> None:
    """Fewer clients. The application's own pool is not what calls wait for."""

    async def beside_others(most: int) -> None:
        """A call beside one of the application's own, on its client."""
        async with AsyncRedis.from_url(server.url, max_connections=most) as client:
            store = RedisStore.from_client(client)
            waiting: Any = asyncio.ensure_future(client.blpop(["nothing"], timeout=0.5))
            await asyncio.sleep(0.1)
            try:
                await store.aio.info("s")
            finally:
                await waiting

    asyncio.run(beside_others(1))
    admin.config_set("maxclients", 3)
    with ExitStack() as stack:
        others = [stack.enter_context(Redis.from_url(server.url)) for _ in range(3)]
        try:
            for other in others:
                other.ping()
        except driver.ConnectionError:
            pass  # the server is full
        with RedisStore.from_url(server.url, retry=None) as store:
            with pytest.raises(StoreUnavailableError, match="too many clients: close some"):
                store.ping()
            for other in others:
                other.close()
            _until(lambda: store.info("s") is None)
    assert works(server.url)


def _until(done: Callable[[], bool]) -> None:
    for _ in range(200):
        try:
            if done():
                return
        except StoreUnavailableError:
            time.sleep(0.02)
    raise AssertionError


# --- what the server does -------------------------------------------------------------------------


@tries(
    "give it more memory or an eviction policy, or delete sessions",
    "raise maxmemory, shorten lifetimes, or delete and prune",
    "set maxmemory-policy noeviction, or volatile-ttl, and leave room for the sessions",
)
@pytest.mark.parametrize("way", ["memory", "policy", "delete"])
def test_a_full_server(admin: Redis, server: RedisServer, cli: Cli, way: str) -> None:
    """Each of the three makes room."""
    with open_store(server.url, dotenv=False) as store:
        sessions = Sessions(store)
        for number in range(30):
            sessions.save(f"full{number}", {"text": "x" * 50_000})
        used: Any = admin.info("memory")
        admin.config_set("maxmemory", used["used_memory"] - 200_000)  # some of it may be freed
        with pytest.raises(StoreUnavailableError, match="give it more memory or an eviction"):
            sessions.save("s", {"n": 1})
        assert "raise maxmemory" in cli("check", url=server.url).out
        if way == "memory":
            admin.config_set("maxmemory", used["used_memory"] * 2)
        elif way == "policy":
            admin.config_set("maxmemory-policy", "allkeys-lru")
            assert (
                "set maxmemory-policy noeviction, or volatile-ttl"
                in cli("check", url=server.url).out
            )
            admin.config_set("maxmemory-policy", "volatile-ttl")
        else:
            for number in range(20):
                sessions.delete(f"full{number}")
        _until(lambda: sessions.save("s", {"n": 1}).state == {"n": 1})


@tries("it is a read-only replica: connect to the primary", "connect to the primary instead")
def test_a_replica(admin: Redis, server: RedisServer, cli: Cli) -> None:
    """The primary takes the write."""
    del admin
    with start_server("--replicaof", "127.0.0.1", str(server.port)) as replica:
        with Redis.from_url(replica.url) as client:
            _until(lambda: client.info("replication")["master_link_status"] == "up")
        assert "connect to the primary" in error(replica.url)
        assert "connect to the primary instead" in cli("check", url=replica.url).out
    assert works(server.url)


@tries("it is busy with a script: try again soon")
def test_a_server_that_is_busy(admin: Redis, server: RedisServer) -> None:
    """Once the script is over, it works."""
    admin.config_set("lua-time-limit", 50)
    with Redis.from_url(server.url, socket_timeout=30) as other:

        def loop() -> None:
            with pytest.raises(driver.ResponseError):
                other.eval("while true do end", 0)

        looping = threading.Thread(target=loop)
        looping.start()
        try:
            with open_store(server.url, dotenv=False, socket_timeout=10) as store:
                deadline = time.monotonic() + 20
                said = ""
                while "try again soon" not in said and time.monotonic() < deadline:
                    try:
                        store.info("s")
                    except StoreUnavailableError as caught:
                        said = str(caught)
                assert "it is busy with a script: try again soon" in said
        finally:
            admin.execute_command("SCRIPT", "KILL")
            looping.join()
    assert works(server.url)


@tries(
    "allow it the keys under the prefix, and the commands of keys, hashes, expiry and scripts",
    "commands of hashes, keys, expiry and scripts: give them with ACL SETUSER … {}",
    "allow +info to see version, memory and persistence here",
)
def test_rights(admin: Redis, server: RedisServer, cli: Cli) -> None:
    """The rules that are printed are enough, as they are printed, wherever the wall is met."""
    url = f"redis://app:{PASSWORD}@127.0.0.1:{server.port}/0"
    rules = ""
    try:
        for may in ([], ["+ping", "~theirs:*"]):
            admin.execute_command("ACL", "SETUSER", "app", "reset", "on", f">{PASSWORD}", *may)
            for said in (cli("check", url=url).out, error(url)):
                rules = said.partition("ACL SETUSER … ")[2].partition("\n")[0].partition(" (")[0]
                assert rules.startswith("~langgraph:checkpoint:* "), said
        admin.execute_command("ACL", "SETUSER", "app", *rules.split(), "-info")
        assert works(url)
        assert "allow +info" in cli("check", url=url).out
        admin.execute_command("ACL", "SETUSER", "app", "+info")
        assert "allow +info" not in cli("check", url=url).out
    finally:
        admin.execute_command("ACL", "DELUSER", "app")


@tries("turn on appendonly, or snapshots (save), if they should survive a restart")
@pytest.mark.parametrize("way", ["appendonly", "save"])
def test_persistence(way: str, cli: Cli) -> None:
    """Either lets sessions outlive a restart."""
    arguments = ("--appendonly", "yes") if way == "appendonly" else ("--save", "3600 1")
    with start_server() as without:
        assert "turn on appendonly, or snapshots (save)" in cli("check", url=without.url).out
    with start_server(*arguments) as server:
        with open_store(server.url, dotenv=False) as store:
            Sessions(store).save("s", {"n": 1})
        assert "turn on appendonly" not in cli("check", url=server.url).out
        server.stop()
        server.start()
        with open_store(server.url, dotenv=False) as store:
            assert Sessions(store).load("s").state == {"n": 1}


# --- what stands at a key -------------------------------------------------------------------------


@tries(
    "let it expire, delete the key, or use another prefix",
    "rename or delete that key, or use another prefix",
    "wait until they expire, if they have a TTL, or use another prefix",
    "if sessions are missing, check the number at the end of the URL, or REDIS_DB",
)
@pytest.mark.parametrize("kind", ["pickle", "hash"])
@pytest.mark.parametrize("way", ["expire", "rename", "delete", "prefix"])
def test_what_is_no_session(
    admin: Redis, server: RedisServer, cli: Cli, kind: str, way: str
) -> None:
    """Each of the ways out."""
    if kind == "pickle":
        admin.set(KEY, b"\x80\x04.")
    else:
        admin.hset(KEY, "theirs", "x")
    with open_store(server.url, dotenv=False) as store:
        with pytest.raises(CorruptSessionError, match="or use another prefix"):
            Sessions(store).save("s", {"n": 1})
        assert "or use another prefix" in cli("check", url=server.url).out
        if way == "expire":
            admin.pexpire(KEY, 1)
            _until(lambda: not admin.exists(KEY))
        elif way == "rename":
            admin.rename(KEY, "theirs")
        elif way == "delete":
            assert Sessions(store).delete("s")
        else:
            assert works(f"{server.url}?prefix=mine")
            return
        assert Sessions(store).save("s", {"n": 1}).state == {"n": 1}
    other = server.url.removesuffix("/0") + "/1"
    assert "check the number at the end of the URL" in cli("check", url=other).out
    assert "s" in cli("list", url=server.url).out


# --- clients --------------------------------------------------------------------------------------


@tries("await the asynchronous ones (ainvoke, store.aio), or make it from a URL or a redis.Redis")
async def test_a_store_of_an_asyncio_client(admin: Redis, server: RedisServer) -> None:
    """It is awaited; or made from what can block."""
    del admin
    async with AsyncRedis.from_url(server.url) as client:
        store = RedisStore.from_client(client)
        with pytest.raises(ConfigurationError, match="await the asynchronous ones"):
            store.info("s")
        assert await store.aio.info("s") is None
        assert await SessionSaver(store).aget_tuple({"configurable": {"thread_id": "s"}}) is None
    assert works(server.url)
    with Redis.from_url(server.url) as blocking:
        assert RedisStore.from_client(blocking).info("s") is None
