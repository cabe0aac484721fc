"""Connections as a service wants them: TLS, logins that change, bounds, and who is connected."""

from __future__ import annotations

import asyncio
import importlib.metadata
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
import redis
import redis.asyncio
from redis.credentials import CredentialProvider

from backends.faces import FACES, face_of, opened
from backends.proxy import Proxy, proxy_to
from backends.trips import counted_trips
from certificates import Certificates, make_certificates
from cli.running import in_process
from recording import CANARY, assert_no_canary
from remedies.proposals import tries
from servers import (
    SentinelServer,
    ServerAddress,
    free_port,
    start_server,
    wait_until,
)
from wren_sessions import __version__, open_store
from wren_sessions.errors import StoreTimeoutError, StoreUnavailableError, WrenSessionsError
from wren_sessions.stores.redis import RedisStore
from wren_sessions.stores.redis.clients import Fleet, asyncio_client, blocking_client
from wren_sessions.stores.redis.plans import packed
from wren_sessions.testing.build import SESSION, put

pytestmark = pytest.mark.redis_server

CALLERS: Final = 40
SERVICE: Final = "sessions"


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority, and what it signed."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_server(certificates: Certificates) -> Iterator[ServerAddress]:
    """A server, alone in its cluster, that speaks TLS with those who show a certificate."""
    port = free_port()
    options = certificates.options(port)
    cluster = ("--cluster-enabled", "yes", "--tls-cluster", "yes")
    with start_server(*cluster, *options) as server:
        with redis.Redis.from_url(server.url) as admin:
            admin.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16_383)
            wait_until(lambda: admin.cluster("info")["cluster_state"] == "ok")
            admin.execute_command("ACL", "SETUSER", "me", "on", f">{CANARY}", "~*", "+@all")
        yield ServerAddress(f"rediss://me:{CANARY}@127.0.0.1:{port}", server.host, port)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster"])
async def test_tls_with_certificates_of_both_sides(
    tls_server: ServerAddress, certificates: Certificates, scheme: str, face: str
) -> None:
    """A server and a cluster are used over TLS; both sides show a certificate."""
    url = f"{tls_server.url.replace('rediss', scheme)}?{certificates.query}"
    with open_store(url) as kept:
        store: Any = kept
        there = face_of(store, face)
        await there.commit(put("1"))
        assert await there.heads(SESSION) == (("", "1"),)
        assert await there.delete(SESSION)
        assert CANARY not in repr(store)
        await store.aio.close()


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("missing", ["authority", "client"])
async def test_a_certificate_that_is_missing_is_told(
    tls_server: ServerAddress,
    certificates: Certificates,
    missing: str,
    face: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where one side has no certificate that the other takes: an error of ours, without secrets."""
    left = certificates.query.split("&")
    query = "&".join(left[1:] if missing == "authority" else left[:1])
    url = f"{tls_server.url}?{query}&retries=0"
    with open_store(url) as kept:
        store: Any = kept
        with pytest.raises(StoreUnavailableError) as caught:
            await face_of(store, face).ping()
        await store.aio.close()
    assert_no_canary(caught.value)
    found = in_process(capsys)("check", url=url).out
    assert "the certificate is not accepted" in " ".join(found.split())
    assert CANARY not in found


async def test_sentinels_over_tls(certificates: Certificates) -> None:
    """Sentinels and the primary that they name are asked over TLS, by both faces."""
    ports = free_port(), free_port()
    options = certificates.options(ports[0])
    with start_server(*options) as primary:
        at = ServerAddress("", primary.host, ports[0])
        both = ("--tls-replication", "yes", *certificates.options(ports[1]))
        with SentinelServer(primary.executable, SERVICE, at, *both) as sentinel:
            with redis.Redis.from_url(sentinel.url) as asked:
                wait_until(lambda: asked.sentinel_master(SERVICE)["flags"] == "master")
            url = f"rediss+sentinel://127.0.0.1:{ports[1]}/{SERVICE}?{certificates.query}"
            with open_store(url) as store:
                store.commit(put("1"))
                assert await store.aio.heads(SESSION) == (("", "1"),)
                await store.aio.close()


async def test_sentinels_that_want_a_login() -> None:
    """Their user name and password are arguments; without them the error says what is missing."""
    with start_server() as primary:
        login = ("--requirepass", "theirs")
        with SentinelServer(primary.executable, SERVICE, primary.address, *login) as sentinel:
            url = f"redis+sentinel://127.0.0.1:{sentinel.port}/{SERVICE}"
            with open_store(url, sentinel_password="theirs") as store:
                store.commit(put("1"))
                assert await store.aio.heads(SESSION) == (("", "1"),)
                await store.aio.close()
            with open_store(url, sentinel_password=CANARY) as wrong:
                with pytest.raises(StoreUnavailableError) as caught:
                    wrong.ping()
                assert_no_canary(caught.value)


# --- logins ---------------------------------------------------------------------------------------


class Rotating(CredentialProvider):
    """Gives the password that holds now, as a service for secrets does."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.asked = 0

    def get_credentials(self) -> tuple[str, str]:
        """User and password."""
        self.asked += 1
        return "app", self.password

    async def get_credentials_async(self) -> tuple[str, str]:
        """The same, awaited."""
        return self.get_credentials()


@pytest.fixture
def admin(redis_url: str) -> Iterator[redis.Redis]:
    """Someone who makes users."""
    with redis.Redis.from_url(redis_url) as client:
        yield client
        client.execute_command("ACL", "DELUSER", "app")


@pytest.mark.parametrize("face", FACES)
async def test_a_password_that_changes(redis_url: str, admin: redis.Redis, face: str) -> None:
    """Each new connection asks for the password of the day; calls go on, and no error comes."""
    rights = ("on", "~*", "+@all")
    admin.execute_command("ACL", "SETUSER", "app", *rights, f">{CANARY}1")
    provider = Rotating(f"{CANARY}1")
    async with opened(redis_url, credential_provider=provider) as store:
        there = face_of(store, face)
        await there.commit(put("1"))
        admin.execute_command("ACL", "SETUSER", "app", f">{CANARY}2", f"<{CANARY}1")
        provider.password = f"{CANARY}2"
        asked = provider.asked
        admin.execute_command("CLIENT", "KILL", "USER", "app")
        await there.commit(put("2", parent="1"))
        assert provider.asked > asked
        admin.execute_command("ACL", "SETUSER", "app", f"<{CANARY}2")
        admin.execute_command("CLIENT", "KILL", "USER", "app")
        with pytest.raises(StoreUnavailableError, match="refused the user name or password") as no:
            await there.ping()
        assert_no_canary(no.value)
        assert CANARY not in repr(store)


@pytest.mark.parametrize("face", FACES)
async def test_a_provider_that_fails(redis_url: str, face: str) -> None:
    """What a provider raises is the application's own error, and comes as it is."""

    class Broken(Rotating):
        def get_credentials(self) -> tuple[str, str]:
            raise PermissionError("no token today")

    async with opened(redis_url, credential_provider=Broken("")) as store:
        with pytest.raises((PermissionError, WrenSessionsError), match="no token today"):
            await face_of(store, face).ping()


# --- who is connected -----------------------------------------------------------------------------


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("protocol", [2, 3])
async def test_the_server_sees_who_is_connected(
    redis_url: str, admin: redis.Redis, protocol: int, face: str
) -> None:
    """CLIENT LIST shows the name that was given, the protocol and, from Redis 7.2, this library."""
    name = f"interviews-{protocol}-{face}"
    async with opened(f"{redis_url}?client_name={name}&protocol={protocol}") as store:
        await face_of(store, face).ping()
        (ours,) = [one for one in admin.client_list() if one["name"] == name]
        assert ours["resp"] == str(protocol)
        assert ours.get("lib-name") in {None, f"redis-py(wren-sessions_v{__version__})"}


@pytest.mark.parametrize("face", FACES)
async def test_a_login_is_one_trip(redis_url: str, admin: redis.Redis, face: str) -> None:
    """Password, names and database are sent together, before the first call."""
    admin.execute_command("ACL", "SETUSER", "app", "on", "~*", "+@all", f">{CANARY}")
    name = f"together-{face}"
    url = f"{redis_url.replace('://', f'://app:{CANARY}@', 1)}?db=3&client_name={name}"
    with counted_trips() as trips:
        async with opened(url) as store:
            there = face_of(store, face)
            assert await trips.of(there.ping) == 2
            (ours,) = [one for one in admin.client_list() if one["name"] == name]
            assert (ours["db"], ours["user"]) == ("3", "app")


@pytest.mark.parametrize("face", FACES)
async def test_a_new_connection_looks_up_no_package(
    redis_url: str, face: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names for `CLIENT LIST` are known: reading a package's metadata takes a millisecond."""
    looked_up: list[str] = []
    monkeypatch.setattr(importlib.metadata, "version", looked_up.append)
    async with opened(redis_url) as store:
        await face_of(store, face).ping()
    assert not looked_up


@pytest.mark.parametrize("face", FACES)
async def test_who_may_not_say_its_name_may_log_in(
    redis_url: str, admin: redis.Redis, face: str
) -> None:
    """What only helps the server's administrator may be refused; the given name may not."""
    rights = ("on", "~*", "+@all", "-client", f">{CANARY}")
    admin.execute_command("ACL", "SETUSER", "app", *rights)
    url = redis_url.replace("://", f"://app:{CANARY}@", 1)
    async with opened(url) as store:
        await face_of(store, face).ping()
    async with opened(f"{url}?client_name=mine", retries=0) as store:
        with pytest.raises(StoreUnavailableError, match="access rules"):
            await face_of(store, face).ping()


@pytest.mark.parametrize("face", FACES)
async def test_an_idle_connection_is_checked(redis_url: str, admin: redis.Redis, face: str) -> None:
    """With `health_check_interval` a PING goes before the command."""
    async with opened(redis_url, health_check_interval=0.05) as store:
        there = face_of(store, face)
        await there.heads(SESSION)
        admin.config_resetstat()
        await asyncio.sleep(0.06)
        await there.heads(SESSION)
        assert admin.info("commandstats")["cmdstat_ping"]["calls"] >= 1


# --- bounds ---------------------------------------------------------------------------------------


@pytest.fixture
def proxy(redis_server: ServerAddress, redis_url: str) -> Iterator[Proxy]:
    """A way to the server that loses something."""
    with proxy_to(redis_server.host, redis_server.port) as proxy:
        yield proxy


def outcomes(call: Callable[[], object]) -> list[Exception | None]:
    """What many threads get that call at the same time."""
    together = threading.Barrier(CALLERS)

    def one() -> Exception | None:
        together.wait()
        try:
            call()
        except WrenSessionsError as error:
            return error
        return None

    with ThreadPoolExecutor(CALLERS) as threads:
        return [done.result() for done in [threads.submit(one) for _ in range(CALLERS)]]


def test_threads_share_one_connection(redis_url: str, admin: redis.Redis) -> None:
    """With `max_connections=1` forty threads get their answers, over one connection."""
    with open_store(f"{redis_url}?max_connections=1&client_name=narrow") as store:
        assert outcomes(store.ping) == [None] * CALLERS
        assert len([one for one in admin.client_list() if one["name"] == "narrow"]) == 1


@tries("all connections to it were busy for as long as an answer may take, and nothing was sent")
def test_nobody_waits_for_a_server_that_hangs_in_turn(proxy: Proxy) -> None:
    """All who wait for a connection fail with the first trip, with nothing of theirs sent.

    With a longer `socket_timeout`, as the error says, all get their answers when it goes on.
    """
    with open_store(f"{proxy.url}?max_connections=1&socket_timeout=300ms&retries=0") as store:
        store.ping()
        proxy.hold()
        before = len(proxy.requests)
        found = outcomes(lambda: store.heads(SESSION))
        proxy.release()
        assert {type(error) for error in found} == {StoreTimeoutError}
        sent = len(proxy.requests) - before
        assert sent <= 1 + 3  # a trip, and a new connection's handshake
        assert any("all connections to it were busy" in str(error) for error in found)
    with open_store(f"{proxy.url}?max_connections=1&socket_timeout=1m") as store:
        store.ping()
        proxy.hold()
        later = threading.Timer(0.5, proxy.release)
        later.start()
        assert outcomes(store.ping) == [None] * CALLERS
        later.join()


async def test_no_task_waits_for_a_server_that_hangs_in_turn(proxy: Proxy) -> None:
    """The same of tasks."""
    async with opened(proxy.url, max_connections=1, socket_timeout=0.3, retries=0) as store:
        await store.aio.ping()
        proxy.hold()
        before = len(proxy.requests)
        calls = [store.aio.heads(SESSION) for _ in range(CALLERS)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        proxy.release()
        assert {type(error) for error in found} == {StoreTimeoutError}
        assert len(proxy.requests) - before <= 1 + 3
        assert any("all connections to it were busy" in str(error) for error in found)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("retries", [0, 2])
async def test_so_often_is_a_lost_connection_tried_again(
    proxy: Proxy, retries: int, face: str
) -> None:
    """A call whose replies are lost is sent once, and again as often as `retries` says."""
    with open_store(f"{proxy.url}?retries={retries}") as kept:
        store: Any = kept
        there = face_of(store, face)
        await there.commit(put("1"))
        proxy.cut(b"EVALSHA", retries + 1)
        with pytest.raises(StoreUnavailableError):
            await there.commit(put("2", parent="1"))
        proxy.cut(b"EVALSHA", retries)
        await there.commit(put("3", parent="1"))
        assert proxy.lost == 2 * retries + 1
        await store.aio.close()


# --- loops ----------------------------------------------------------------------------------------


def test_several_loops_in_a_cluster(cluster_url: str) -> None:
    """Event loops in threads of their own, at the same time, and a second one after the first."""

    async def turns(store: Any, name: str) -> list[str]:
        for number in range(5):
            parent = str(number - 1) if number else None
            await store.aio.commit(put(str(number), parent=parent, session=name))
        return [at for _, at in await store.aio.heads(name)]

    with open_store(cluster_url) as store, ThreadPoolExecutor(4) as threads:
        names = [f"loop {number}" for number in range(8)]
        heads = threads.map(lambda name: asyncio.run(turns(store, name)), names)
        assert [*heads] == [["4"]] * len(names)
        assert store.heads(names[0]) == (("", "4"),)


# redis-py 5.0 leaves a socket that it could not connect to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_socket_and_a_file_of_certificates_that_are_not_there(tmp_path: Path) -> None:
    """Paths that name nothing: errors of ours, at the first call."""
    for url in (
        f"unix://{tmp_path}/no.sock",
        f"rediss://:{CANARY}@127.0.0.1:1?ssl_ca_certs={tmp_path}/no.pem",
    ):
        with open_store(url) as store:
            with pytest.raises(WrenSessionsError) as caught:
                store.ping()
            assert_no_canary(caught.value)


@pytest.mark.parametrize("face", FACES)
async def test_a_client_that_traces_commands_sees_each_of_ours(
    redis_url: str, face: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls pass the client's class where an application or a tracer has put its own there."""
    kind: Any = redis.Redis if face == "sync" else redis.asyncio.Redis
    sends = kind.execute_command
    seen: list[str] = []

    def traced(self: Any, *command: Any, **options: Any) -> Any:
        seen.append(command[0])
        return sends(self, *command, **options)

    class Traced(kind):  # type: ignore[misc]
        execute_command = traced

    async def commits(client: Any) -> bool:
        seen.clear()
        store = RedisStore.from_client(client)
        await face_of(store, face).commit(put("1"))
        await store.aio.close()
        return "EVALSHA" in seen

    assert await commits(Traced.from_url(redis_url))
    monkeypatch.setattr(kind, "execute_command", traced)
    assert await commits(kind.from_url(redis_url))


@pytest.mark.parametrize("name", ["send_command", "read_response"])
@pytest.mark.parametrize("face", FACES)
async def test_a_connection_of_the_applications_own_sends_each_of_our_commands(
    redis_url: str, face: str, name: str
) -> None:
    """Whichever of its methods is their own is called, to trace commands, for example."""
    theirs: Any = redis.Connection if face == "sync" else redis.asyncio.Connection
    seen: list[int] = []

    def traced(self: Any, *given: Any, **options: Any) -> Any:
        seen.append(1)
        return getattr(theirs, name)(self, *given, **options)

    kind = type("Traced", (theirs,), {name: traced})
    clients: Any = redis if face == "sync" else redis.asyncio
    pool = clients.ConnectionPool.from_url(redis_url, connection_class=kind)
    store = RedisStore.from_client(clients.Redis(connection_pool=pool))
    await face_of(store, face).commit(put("1"))
    before = len(seen)
    await face_of(store, face).commit(put("2", new=False))
    assert len(seen) == before + 1
    await store.aio.close()


class Packer:
    """Packs commands for the driver, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def pack(self, *command: Any) -> list[bytes]:
        """A command."""
        self.count += 1
        return [packed(command)]


def test_a_packer_of_the_applications_own_packs_each_of_our_commands(redis_url: str) -> None:
    """We do not pack them ourselves then."""
    packer = Packer()
    client = redis.Redis.from_url(redis_url, command_packer=packer)
    with client, RedisStore.from_client(client) as store:
        store.commit(put("1"))
        before = packer.count
        store.commit(put("2", new=False))
        assert packer.count == before + 1


@pytest.mark.parametrize("face", FACES)
async def test_a_parser_of_the_applications_own_reads_each_of_our_replies(
    redis_url: str, face: str
) -> None:
    """We do not read them ourselves then."""
    clients: Any = redis if face == "sync" else redis.asyncio
    theirs: Any = clients.connection.DefaultParser
    seen: list[int] = []

    def counted(self: Any, *given: Any, **options: Any) -> Any:
        seen.append(1)
        return theirs.read_response(self, *given, **options)

    kind = type("Counting", (theirs,), {"read_response": counted})
    store = RedisStore.from_client(clients.Redis.from_url(redis_url, parser_class=kind, protocol=2))
    await face_of(store, face).commit(put("1"))
    before = len(seen)
    await face_of(store, face).commit(put("2", new=False))
    assert len(seen) == before + 1
    await store.aio.close()


SEVERAL: Final = ("redis+sentinel://localhost:1,localhost:2/service", "redis+cluster://localhost:1")


@pytest.mark.parametrize("url", ["redis://localhost:1", *SEVERAL])
@pytest.mark.parametrize("make", [blocking_client, asyncio_client])
def test_what_a_url_says_counts(url: str, make: Callable[[str, dict[str, Any]], Any]) -> None:
    """Not our defaults, whether it names a server, Sentinels or a cluster."""
    pool = _pool(make(f"{url}?socket_timeout=3&protocol=3&timeout=2", {"client_name": "app"}))
    said = [pool.connection_kwargs[name] for name in ("socket_timeout", "protocol", "client_name")]
    assert said in ([3.0, 3, "app"], [3.0, "3", "app"])  # redis-py 5.0 makes it a number later
    assert pool.connection_kwargs["socket_connect_timeout"] == 5.0


def _pool(made: Any) -> Any:
    return made.like if isinstance(made, Fleet) else made.connection_pool
