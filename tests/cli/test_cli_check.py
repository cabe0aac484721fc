"""`check`: what is wrong with a store is told apart, each with what to do."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis import Redis

from cli.running import Cli
from remedies.proposals import tries
from servers import RedisServer, free_port, start_server
from wren_sessions import FileStore, Sessions, open_store
from wren_sessions.cli._findings import TROUBLES, of_server
from wren_sessions.stores.redis import diagnosis as _redis_diagnosis
from wren_sessions.testing import FakeClock
from wren_sessions.testing.build import put
from wren_sessions.ttl import DAY


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server of our own with a password and users of few rights."""
    with start_server("--requirepass", "secret", "--databases", "4") as found:
        with Redis.from_url(found.url) as client:
            client.execute_command("ACL", "SETUSER", "nobody", "on", ">pw")
            client.execute_command("ACL", "SETUSER", "other", "on", ">pw", "~other:*", "+@all")
            rule = (
                "~langgraph:checkpoint:* +@read +@write +@keyspace +@scripting +@connection "
                "-@dangerous +time +info"
            )
            client.execute_command("ACL", "SETUSER", "wren", "on", ">pw", *rule.split())
        yield found


def findings(cli: Cli, url: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the findings by name."""
    found = cli("check", "--json", url=url)
    return found.code, {finding["check"]: finding for finding in found.json}


def trouble(cli: Cli, url: str) -> str:
    """What is wrong with the connection, by the name that the diagnosis has for it."""
    code, found = findings(cli, url)
    assert code == 4, found
    (failed,) = (finding for finding in found.values() if finding["level"] == "failed")
    assert failed["advice"]
    assert list(found)[-1] == failed["check"], "nothing is looked at after what does not work"
    return next(name for name, (text, _) in TROUBLES.items() if failed["finding"].startswith(text))


def test_a_server_that_is_well_has_no_failures(cli: Cli, server: RedisServer) -> None:
    """Kind and version, latency, memory, eviction, sessions, lifetime."""
    code, found = findings(cli, server.url)
    assert code == 7  # it saves nothing to disk
    assert found["persistence"]["level"] == "warning"
    assert found["server"]["finding"].split()[0] in {"Redis", "Valkey"}
    assert {"store", "latency", "eviction", "memory", "sessions", "lifetime"} <= found.keys()
    assert found["latency"]["finding"].endswith("(median of 10)")


def test_troubles_with_login_are_told_apart(cli: Cli, server: RedisServer) -> None:
    """No password, a wrong one, a wrong user, a wrong database, too few rights."""
    port = server.port
    assert trouble(cli, f"redis://127.0.0.1:{port}/0") == "no-password"
    assert trouble(cli, f"redis://:wrong@127.0.0.1:{port}/0") == "password"
    assert trouble(cli, f"redis://stranger:secret@127.0.0.1:{port}/0") == "password"
    assert trouble(cli, f"redis://:secret@127.0.0.1:{port}/9") == "database"
    assert trouble(cli, f"redis://nobody:pw@127.0.0.1:{port}/0") == "rights"


@tries("leave it out of REDIS_PASSWORD or the URL, or set one at the server")
def test_a_password_that_the_server_does_not_have(cli: Cli, server_url: str) -> None:
    """Here as in `list`: not that it is wrong, but that there is none."""
    url = server_url.replace("redis://", "redis://:x@")
    assert trouble(cli, url) == "needless-password"
    assert "it has no password, but one was given" in cli("list", url=url).err
    assert cli("check", url=server_url).code in {0, 7}


def test_rights_for_other_keys_are_too_few(cli: Cli, server: RedisServer) -> None:
    """The server answers, and the sessions cannot be read."""
    code, found = findings(cli, f"redis://other:pw@127.0.0.1:{server.port}/0")
    assert code == 4
    assert found["sessions"]["level"] == "failed"
    assert "access rules" in found["sessions"]["finding"]


def test_the_rights_that_are_recommended_are_enough(
    cli: Cli, server: RedisServer, file_url: str
) -> None:
    """The rule in the advice and in the documentation does for every command."""
    _, advice = TROUBLES["rights"]
    page = (Path(__file__).parents[2] / "docs/how-to/redis-cloud.md").read_text()
    rule = "~langgraph:checkpoint:* +@read +@write +@keyspace +@scripting +@connection -@dangerous"
    assert f"{rule} +time +info" in advice
    assert f"{rule} +time +info" in page
    url = f"redis://wren:pw@127.0.0.1:{server.port}/0"
    assert cli("copy", "--to", url, url=file_url).code == 0
    for argv in (
        ["check"],
        ["list"],
        ["stats"],
        ["show", "nested"],
        ["history", "nested"],
        ["conversation", "nested"],
        ["ttl", "nested", "--pin"],
        ["touch", "nested"],
        ["fork", "nested", "fork"],
        ["prune", "--all", "--keep-last", "1"],
        ["export", "--all"],
        ["delete", "--status", "running", "--yes"],
    ):
        found = cli(*argv, url=url)
        assert found.code in {0, 7}, found
    with Redis.from_url(server.url) as client:
        client.flushall()


def test_a_host_that_is_not_known_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is wrong, or the machine's DNS."""

    def unknown(*args: object, **kwargs: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert trouble(cli, "redis://nobody.example:6379/0") == "host"


def test_a_closed_port_is_told(cli: Cli) -> None:
    """The host is there, and nobody listens."""
    assert trouble(cli, f"redis://127.0.0.1:{free_port()}/0") == "refused"
    assert trouble(cli, f"rediss://127.0.0.1:{free_port()}/0") == "refused"


def test_a_socket_that_is_not_there_is_told(cli: Cli, tmp_path: Path) -> None:
    """A server on this machine, by its socket."""
    assert trouble(cli, f"unix://{tmp_path}/no.sock") == "socket"


def test_silence_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall takes the connection, or swallows it."""
    monkeypatch.setattr(_redis_diagnosis, "_WAIT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert trouble(cli, f"redis://127.0.0.1:{port}/0?socket_timeout=200ms") == "timeout"


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_silence_is_waited_for_once(scheme: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection as the URL says it, and one each to see whether it speaks TLS or not."""
    monkeypatch.setattr(_redis_diagnosis, "_ANSWER_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/0"
        assert trouble(cli, f"{url}?socket_connect_timeout=100ms&socket_timeout=100ms") == "timeout"
        silent.setblocking(False)
        calls = 0
        with suppress(BlockingIOError):
            while True:
                silent.accept()[0].close()
                calls += 1
    assert calls == 3


def test_tls_to_a_plain_port_is_told(cli: Cli, server: RedisServer) -> None:
    """One ``s`` too many."""
    url = f"rediss://:secret@127.0.0.1:{server.port}/0?socket_connect_timeout=300ms&socket_timeout=300ms"
    with Redis.from_url(server.url) as client:
        info: Any = client.info
        before = info("stats")["total_connections_received"]
        assert trouble(cli, url) == "no-tls"
        assert info("stats")["total_connections_received"] == before + 2


def certificate(folder: Path) -> Path:
    """A certificate for another host that nobody trusts, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "elsewhere.example")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@contextmanager
def listening(answer: bytes, pem: Path | None = None) -> Iterator[int]:
    """A server that says the same to everybody, over TLS if it has a certificate; its port."""
    context = None
    if pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            try:
                with raw if context is None else context.wrap_socket(raw, server_side=True) as one:
                    one.recv(1_000)
                    one.sendall(answer)
            except OSError:
                raw.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_a_plain_url_to_a_tls_port_is_told(cli: Cli, tmp_path: Path) -> None:
    """One ``s`` too few."""
    with listening(b"+PONG\r\n", certificate(tmp_path)) as port:
        assert trouble(cli, f"redis://127.0.0.1:{port}/0") == "wants-tls"


def test_a_certificate_that_is_not_trusted_is_told(cli: Cli, tmp_path: Path) -> None:
    """Signed by nobody known, or for another host."""
    with listening(b"+PONG\r\n", certificate(tmp_path)) as port:
        assert trouble(cli, f"rediss://127.0.0.1:{port}/0") == "certificate"


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_something_that_is_no_redis_is_told(cli: Cli, scheme: str) -> None:
    """Such as a web server."""
    with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert trouble(cli, f"{scheme}://127.0.0.1:{port}/0") == "not-redis"


def test_a_server_that_is_loading_is_told(cli: Cli) -> None:
    """It is there, so neither host nor port is wrong."""
    with listening(b"-LOADING Redis is loading the dataset in memory\r\n" * 8) as port:
        assert trouble(cli, f"redis://127.0.0.1:{port}/0") == "loading"


def test_sessions_in_another_database_are_noticed(cli: Cli, server: RedisServer) -> None:
    """An empty database beside one that has keys is perhaps the wrong one."""
    with open_store(f"{server.url[:-1]}1") as store:
        Sessions(store).create("elsewhere")
        code, found = findings(cli, server.url)
        store.delete("elsewhere")
    assert code == 7
    assert "1 (1 keys)" in found["database"]["finding"]


@pytest.mark.parametrize(
    ("facts", "name", "level"),
    [
        ({"server": "Redis", "version": "6.0.16"}, "server", "failed"),
        ({"server": "Redis", "version": "6.2.0"}, "server", "ok"),
        ({"server": "Valkey", "version": "8.0.1"}, "server", "ok"),
        ({"server": "Dragonfly", "version": "1.2"}, "server", "warning"),
        ({"policy": "allkeys-lru", "max_bytes": 100}, "eviction", "warning"),
        ({"policy": "volatile-ttl", "max_bytes": 100}, "eviction", "ok"),
        ({"policy": "volatile-ttl", "max_bytes": 100, "evicted": 3}, "eviction", "warning"),
        ({"policy": "noeviction", "max_bytes": 100}, "eviction", "ok"),
        ({"policy": "allkeys-lru", "max_bytes": 0}, "eviction", "ok"),
        ({"used_bytes": 90, "max_bytes": 100}, "memory", "warning"),
        ({"used_bytes": 10, "max_bytes": 100}, "memory", "ok"),
        ({"aof": True}, "persistence", "ok"),
        ({"aof": False, "rdb": True}, "persistence", "ok"),
        ({"aof": False, "rdb": False}, "persistence", "warning"),
        ({"aof": True, "saved": False}, "persistence", "warning"),
        ({"aof": False}, "persistence", "ok"),
        ({"role": "slave"}, "role", "failed"),
        ({"cluster": True}, "cluster", "warning"),
    ],
)
def test_facts_are_judged(facts: dict[str, Any], name: str, level: str) -> None:
    """What a server says of itself; each thing to look at has an advice."""
    found = {f.name: f for f in of_server({"server": "Redis", "version": "7.2.4"} | facts)}
    assert found[name].level == level
    assert bool(found[name].advice) == (level != "ok")


def test_a_file_that_is_well(cli: Cli, file_url: str) -> None:
    """Permissions, size, free space, sessions."""
    Path(file_url.removeprefix("file:")).chmod(0o600)
    code, found = findings(cli, file_url)
    assert code == 0, found
    assert {"file", "permissions", "size", "disk", "sessions", "lifetime"} <= found.keys()
    assert found["sessions"]["finding"].startswith("8 ")


def test_a_file_that_others_can_read_is_a_warning(cli: Cli, file_url: str) -> None:
    """With the command that closes it."""
    Path(file_url.removeprefix("file:")).chmod(0o644)
    code, found = findings(cli, file_url)
    assert code == 7
    assert found["permissions"]["advice"].startswith("chmod 600 ")


def test_expired_sessions_in_a_file_are_counted(cli: Cli, tmp_path: Path) -> None:
    """They take room until the file is next written."""
    with FileStore(tmp_path / "a.db", ttl=DAY, clock=FakeClock(1_000)) as store:
        Sessions(store).create("old")
    _, found = findings(cli, f"file:{tmp_path}/a.db")
    assert "1 expired sessions" in found["size"]["finding"]


def test_sessions_of_another_prefix_are_not_counted(cli: Cli, tmp_path: Path) -> None:
    """A file may hold those of several apps: each is told of its own."""
    for prefix in ("app", "app:b"):
        path, clock = tmp_path / "a.db", FakeClock(1_000)
        with FileStore(path, ttl=DAY, clock=clock, prefix=prefix) as store:
            store.commit(put("1", session="old"))
    for prefix, expired in (("app", 1), ("app:b", 1), ("ap", 0)):
        found = FileStore(tmp_path / "a.db", prefix=prefix).diagnose().facts
        assert (found["sessions"], found["expired_sessions"]) == (0, expired)


def test_a_folder_that_is_not_there_is_told(cli: Cli, tmp_path: Path) -> None:
    """The app makes the file, and no folder."""
    code, found = findings(cli, f"file:{tmp_path}/no/such.db")
    assert code == 4
    assert "its folder is not there" in found["file"]["finding"]


def test_memory_is_said_to_be_what_it_is(cli: Cli) -> None:
    """Also where nothing is configured."""
    for options in ([], ["--url", "memory://"]):
        found = cli("check", *options)
        assert found.code == 7
        assert "lost when it ends" in found.out
        assert "WREN_SESSIONS_URL" in found.out
