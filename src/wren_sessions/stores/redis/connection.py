"""One connection, used by one trip at a time, that is never used again in the middle of an answer.

An exception may come up anywhere while an answer is awaited: Ctrl-C, a time limit, a cancelled
task. The rest of that answer still arrives, and whoever uses the connection next would take it for
theirs. Cleaning up after the exception is not enough, for it may interrupt that as well, or come
just before or behind it. So a trip marks the connection as unfinished *before* anything is sent,
and takes the mark away only after the whole answer was read and is known to be its own. Whoever
finds the mark gets a new connection.

The driver's pools cannot be used for this: an exception inside one of them loses a place in it, or
leaves its lock locked. Here is a pool for a client of the driver that holds one connection.
"""

from __future__ import annotations

import asyncio
import os
from copy import copy
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis import exceptions as driver

C = TypeVar("C", redis.Redis, redis.asyncio.Redis)

_UNUSABLE = (driver.ConnectionError, driver.TimeoutError, OSError)


class _Finished:
    """Whether the last trip came to its end.

    Attributes:
        unfinished: something was sent, and its answer was not read to the end, or was another's.
    """

    unfinished = False


class OneConnection(_Finished, redis.ConnectionPool):
    """A pool of one blocking connection.

    Args:
        like: a pool of connections to the same server.
    """

    def __init__(self, like: redis.ConnectionPool) -> None:
        super().__init__(like.connection_class, 1, **like.connection_kwargs)
        self._kept: Any = None  # a connection; its classes share no type

    def begin(self) -> None:
        """A trip begins."""
        if self.unfinished:
            kept, self._kept = self._kept, None
            if kept is not None:
                kept.disconnect()
        self.unfinished = True

    def get_connection(self, *_: Any, **__: Any) -> Any:
        """The connection, which has nothing to read."""
        kept = self._kept
        if kept is None or kept.pid != os.getpid():
            kept = self._kept = self.connection_class(**self.connection_kwargs)
        try:
            kept.connect()
            if not kept.can_read():
                return kept
        except _UNUSABLE:  # it was closed meanwhile
            pass
        kept.disconnect()
        kept.connect()
        return kept

    def release(self, connection: Any) -> None:
        """Nothing: it is kept."""

    def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 -- theirs
        """Close the connection; the next trip opens it again."""
        if self._kept is not None:
            self._kept.disconnect()


class Line:
    """A client like another one, which sends over one connection of its own.

    Args:
        client: the other one; it may be of a class of the application's.

    Attributes:
        client: sends.
        connection: what it sends over.
    """

    def __init__(self, client: redis.Redis) -> None:
        self.connection: OneConnection = OneConnection(client.connection_pool)
        self.client: redis.Redis = _over(self.connection, client)


class OneAsyncConnection(_Finished, redis.asyncio.ConnectionPool):
    """A pool of one asyncio connection.

    Args:
        like: a pool of connections to the same server.
    """

    def __init__(self, like: redis.asyncio.ConnectionPool) -> None:
        super().__init__(like.connection_class, 1, **like.connection_kwargs)
        self._kept: Any = None

    async def begin(self) -> None:
        """A trip begins."""
        if self.unfinished:
            kept, self._kept = self._kept, None
            if kept is not None:
                await kept.disconnect(nowait=True)
        self.unfinished = True

    async def get_connection(self, *_: Any, **__: Any) -> Any:
        """The connection, which has nothing to read."""
        kept = self._kept
        if kept is None:
            kept = self._kept = self.connection_class(**self.connection_kwargs)
        try:
            await kept.connect()
            can_read = getattr(kept, "can_read", None) or kept.can_read_destructive  # before 8.0
            if not await can_read():
                return kept
        except _UNUSABLE:  # it was closed meanwhile
            pass
        await kept.disconnect(nowait=True)
        await kept.connect()
        return kept

    async def release(self, connection: Any) -> None:
        """Nothing: it is kept."""

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 -- theirs
        """Close the connection; the next trip opens it again."""
        if self._kept is not None:
            await self._kept.disconnect()


class AsyncLine:
    """See `Line`.

    Attributes:
        task: whose trip is on it, if one is.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.connection: OneAsyncConnection = OneAsyncConnection(client.connection_pool)
        self.client: redis.asyncio.Redis = _over(self.connection, client)
        self.task: asyncio.Task[Any] | None = None

    @property
    def free(self) -> bool:
        """Whether no trip is on it; a task that ended, or asks, was interrupted in its last one."""
        return self.task is None or self.task.done() or self.task is asyncio.current_task()


def _over(connection: OneConnection | OneAsyncConnection, client: C) -> C:
    """A copy of a client that sends over a connection."""
    found = copy(client)
    its = vars(found)
    its["connection_pool"] = connection
    its["connection"] = None  # one that the client keeps for itself
    for name in ("single_connection_client", "_single_connection_client"):
        if name in its:
            its[name] = False
    its["response_callbacks"] = copy(client.response_callbacks)
    found.set_response_callback("PING", _as_it_is)
    return found


def _as_it_is(response: Any, **_: Any) -> Any:
    return response
