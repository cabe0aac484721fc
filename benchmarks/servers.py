"""Redis servers of a benchmark's own, on free loopback ports, with temporary folders."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from redis import Redis
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError

HOST: Final = "127.0.0.1"
PATIENCE_S: Final = 20.0
POLL_S: Final = 0.02


@contextmanager
def redis_server(*options: str) -> Iterator[str]:
    """Start a server that keeps nothing on disk; gives its URL, and stops it at the end.

    Args:
        options: of redis-server, such as ``"--maxmemory", "4mb"``.

    Raises:
        SystemExit: there is no redis-server and no valkey-server on the PATH, or it does not start.
    """
    executable = shutil.which("redis-server") or shutil.which("valkey-server")
    if executable is None:
        raise SystemExit("no redis-server or valkey-server on the PATH: pass --url redis://…")
    with serving(executable, *options) as url:
        yield url


@contextmanager
def serving(executable: str, *options: str, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """Start this server, as `redis_server` does.

    Args:
        executable: a redis-server.
        options: its options.
        env: its environment; None for that of this process.

    Raises:
        SystemExit: it does not start.
    """
    port = free_port()
    command = f"--bind {HOST} --port {port} --appendonly no --save".split()
    with tempfile.TemporaryDirectory(prefix="wren-benchmark-") as folder:
        process = subprocess.Popen(
            [executable, *command, "", *options], cwd=folder, env=env, stdout=subprocess.DEVNULL
        )
        try:
            with Redis(host=HOST, port=port) as client:
                wait_until(lambda: bool(client.ping()))
            yield f"redis://{HOST}:{port}/0"
        finally:
            process.terminate()
            process.wait()


@contextmanager
def redis_with_replica() -> Iterator[str]:
    """Start a server with a replica, so that it counts what it replicates; gives its URL."""
    quiet = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "3600")
    with redis_server(*quiet) as url:
        port = url.rpartition(":")[2].partition("/")[0]
        with redis_server("--replicaof", f"{HOST} {port}"), Redis.from_url(url) as client:
            wait_until(lambda: has_replica(client))
            yield url


def has_replica(client: Redis) -> bool:
    """Whether a replica follows this server: only then is `replicated_bytes` counted."""
    info: dict[str, Any] = client.info("replication")
    return any(
        replica["state"] == "online"
        for name, replica in info.items()
        if name.startswith("slave") and isinstance(replica, dict)
    )


def replicated_bytes(client: Redis) -> int:
    """How much this server has sent to each replica since it started."""
    info: dict[str, Any] = client.info("replication")
    return int(info["master_repl_offset"])


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(answers: Callable[[], bool]) -> None:
    """Ask again and again until the answer is yes.

    Raises:
        SystemExit: it was not, for 20 seconds.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if answers():
                return
        except (RedisConnectionError, BusyLoadingError):
            pass
        time.sleep(POLL_S)
    raise SystemExit(f"a redis-server did not get ready in {PATIENCE_S:g} s")
