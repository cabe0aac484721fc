"""Where savers keep their data: a fresh, empty place for each run of a workload.

A place is a logical database of one Redis server, a database of one PostgreSQL server, or a file
in a temporary folder. Redis and Valkey savers share the server, and so do their clients' settings.
"""

from __future__ import annotations

import secrets
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit, urlunsplit

from benchmarks import postgres
from benchmarks.faces import Saver
from benchmarks.peers import Peer
from benchmarks.servers import HOST, redis_server
from benchmarks.stack import StackMissingError, stack_server
from redis import Redis

DATABASES: Final = 64


class UnavailableError(Exception):
    """What a peer needs is not there."""


@dataclass(frozen=True)
class Place:
    """Where a saver keeps its data.

    Attributes:
        backend: see `Peer.backend`.
        address: a URL, a path, or nothing at all.
    """

    backend: str
    address: str

    @property
    def port(self) -> int | None:
        """The server's; None where there is no server on this machine."""
        if self.backend in {"memory", "file"}:
            return None
        parts = urlsplit(self.address)
        return parts.port if parts.hostname in {HOST, "localhost"} else None

    def through(self, port: int) -> str:
        """The same address with another port: a proxy's."""
        parts = urlsplit(self.address)
        user, _, _ = parts.netloc.rpartition("@")
        host = f"{user}@{HOST}:{port}" if user else f"{HOST}:{port}"
        return urlunsplit(parts._replace(netloc=host))

    def stored_bytes(self, saver: Saver) -> int | None:
        """What is stored here; None if that cannot be told."""
        if self.backend == "file":
            return _file_bytes(self.address)
        if self.backend == "postgres":
            return postgres.stored_bytes(self.address)
        if self.backend == "memory":
            return _memory_bytes(saver)
        return _redis_bytes(self.address)


def _file_bytes(path: str) -> int:
    """Used pages, of the file and of its log."""
    with closing(sqlite3.connect(path)) as connection:
        size, count, free = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "page_count", "freelist_count")
        )
        return int(size * (count - free))


def _redis_bytes(url: str) -> int:
    with Redis.from_url(url) as client:
        keys = client.scan_iter(count=1_000)
        return sum(int(client.memory_usage(key, samples=0) or 0) for key in keys)


def _memory_bytes(saver: Any) -> int:
    """What a saver in memory holds, without what Python needs around it; ours says it itself."""
    if hasattr(saver, "blobs"):
        return sum(map(_held_bytes, (saver.blobs, saver.storage, saver.writes)))
    found = [saver.store.info(one.session) for one in saver.store.list_sessions().sessions]
    return sum(one.size_bytes or 0 for one in found if one)


def _held_bytes(value: object) -> int:
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_held_bytes(key) + _held_bytes(held) for key, held in value.items())
    if isinstance(value, tuple | list):
        return sum(map(_held_bytes, value))
    return 8  # a number, or nothing


class Sites:
    """The servers and the folder of a run; use it as a context manager.

    Args:
        modules_url: a Redis server with JSON and search modules, for the saver that needs them;
            None for one of its own.
    """

    def __init__(self, modules_url: str | None = None) -> None:
        self.modules_url = modules_url
        self._stack = ExitStack()
        self._redis: str | None = None
        self._modules: str | None = None
        self._postgres: int | None = None
        self._free = list(range(DATABASES))
        self._folder = Path()

    def __enter__(self) -> Self:
        name = tempfile.TemporaryDirectory(prefix="wren-benchmark-", ignore_cleanup_errors=True)
        self._folder = Path(self._stack.enter_context(name))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def redis_url(self) -> str:
        """The Redis server, database 0, which no place uses."""
        if self._redis is None:
            options = ("--databases", str(DATABASES + 1), "--maxclients", "2000")
            self._redis = self._stack.enter_context(redis_server(*options))
        return self._redis

    @contextmanager
    def place(self, peer: Peer) -> Iterator[Place]:
        """An empty place for a peer, emptied at the end.

        Raises:
            UnavailableError: there is no server for it.
        """
        if peer.backend == "memory":
            yield Place("memory", "")
        elif peer.backend == "file":
            with tempfile.TemporaryDirectory(dir=self._folder) as folder:
                yield Place("file", str(Path(folder, "saver.db")))
        elif peer.backend == "redis":
            yield from self._redis_place()
        elif peer.backend == "postgres":
            yield from self._postgres_place()
        else:
            yield from self._modules_place()

    @property
    def modules(self) -> str:
        """A Redis server with modules: the one that was given, or one of this run's.

        Raises:
            UnavailableError: there is none.
        """
        if self._modules is None:
            try:
                self._modules = self.modules_url or self._stack.enter_context(stack_server())
            except StackMissingError as error:
                raise UnavailableError(str(error)) from error
        return self._modules

    def _modules_place(self) -> Iterator[Place]:
        try:
            yield Place("modules", self.modules)
        finally:
            if self._modules is not None and self.modules_url is None:
                with Redis.from_url(self._modules) as client:
                    client.flushall()

    def _redis_place(self) -> Iterator[Place]:
        number = self._free.pop()
        url = f"{self.redis_url.rpartition('/')[0]}/{number + 1}"
        try:
            yield Place("redis", url)
        finally:
            with Redis.from_url(url) as client:
                client.flushdb()
            self._free.append(number)

    def _postgres_place(self) -> Iterator[Place]:
        if self._postgres is None:
            try:
                self._postgres = self._stack.enter_context(postgres.postgres_server())
            except postgres.PostgresMissingError as error:
                raise UnavailableError(str(error)) from error
        name = f"bench_{secrets.token_hex(6)}"
        try:
            yield Place("postgres", postgres.new_database(self._postgres, name))
        finally:
            postgres.drop_database(self._postgres, name)
