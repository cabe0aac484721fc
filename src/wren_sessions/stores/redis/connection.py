"""One connection, used by one trip at a time, that is never used again in the middle of an answer.

An exception may come up anywhere while an answer is awaited: Ctrl-C, a time limit, a cancelled
task. The rest of that answer still arrives, and whoever uses the connection next would take it for
theirs. Cleaning up after the exception is not enough, for it may interrupt that as well, or come
just before or behind it. So a trip marks the connection as unfinished *before* anything is sent,
and takes the mark away only after the whole answer was read and is known to be its own. Whoever
finds the mark gets a new connection.

The driver's pools cannot be used for this: an exception inside one of them loses a place in it, or
leaves its lock locked. Here is a pool for a client of the driver that holds one connection.

A single command goes over the connection itself (see `wire`): what the driver's client does around
it takes as long as the trip. A lost connection is tried again as the client would. Where somebody
has put something of their own in the place of the client or the connection, to trace calls, for
example, the client is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import copy
from functools import partial
from inspect import getattr_static
from types import FunctionType
from typing import Any, Final, TypeAlias, TypeVar

import redis
import redis.asyncio
from redis import exceptions as driver
from redis.client import NEVER_DECODE

from wren_sessions.stores.redis.wire import aexchange, exchange, is_quiet, packed

C = TypeVar("C", redis.Redis, redis.asyncio.Redis)
Command: TypeAlias = tuple[Any, ...]
_Lost: TypeAlias = Callable[[Any, Exception], Any]

RAW: Final = {NEVER_DECODE: True}
_MOVES: Final = "should_reconnect"  # whether the server said that it goes away: redis-py 6.4 and on

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
        if kept is None:
            kept = self._kept = self.connection_class(**self.connection_kwargs)
        try:
            if getattr(kept, "_sock", None) is None:
                kept.connect()
            if not (getattr(kept, _MOVES, bool)() or (not is_quiet(kept) and kept.can_read())):
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
        self._plain: bool = _is_plain(client)
        self._lost: _Lost = getattr(self.client, "_disconnect_raise", _disconnect)

    def execute(self, command: Command) -> Any:
        """Send one command, and give its reply as bytes."""
        if not self._plain:
            return self.client.execute_command(*command, **RAW)
        kept, raw = self.connection.get_connection(), packed(command)
        return kept.retry.call_with_retry(
            partial(exchange, kept, raw), lambda error: self._lost(kept, error)
        )


def _disconnect(connection: Any, _: Exception) -> None:
    connection.disconnect()


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
            if not kept.is_connected:
                await kept.connect()
            can_read = getattr(kept, "can_read", None) or kept.can_read_destructive  # before 8.0
            if not (getattr(kept, _MOVES, bool)() or await can_read()):
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
        self._plain: bool = _is_plain(client)
        self._lost: _Lost = getattr(self.client, "_disconnect_raise", _adisconnect)

    async def execute(self, command: Command) -> Any:
        """See `Line.execute`."""
        if not self._plain:
            return await self.client.execute_command(*command, **RAW)
        kept, raw = await self.connection.get_connection(), packed(command)
        return await kept.retry.call_with_retry(
            partial(aexchange, kept, raw), lambda error: self._lost(kept, error)
        )

    @property
    def free(self) -> bool:
        """Whether no trip is on it; a task that ended, or asks, was interrupted in its last one."""
        return self.task is None or self.task.done() or self.task is asyncio.current_task()


async def _adisconnect(connection: Any, _: Exception) -> None:
    await connection.disconnect()


def _is_plain(client: redis.Redis | redis.asyncio.Redis) -> bool:
    """Whether the driver's own functions send a client's commands, with nothing around them."""
    kind, kwargs = client.connection_pool.connection_class, client.connection_pool.connection_kwargs
    theirs = (*_found(client, "execute_command", "parse_response"), *_found(kind, *_OVER_IT))
    parts = [kwargs[name] for name in _IN_IT if kwargs.get(name) is not None]
    return all(part.__module__.startswith("redis.") for part in parts) and all(
        type(one) is FunctionType and one.__globals__["__name__"].startswith("redis.")
        for one in theirs
    )


_OVER_IT: Final = ("send_command", "pack_command", "send_packed_command", "read_response")
_IN_IT: Final = ("command_packer", "encoder_class", "parser_class")


def _found(there: object, *names: str) -> list[Any]:
    return [getattr_static(there, name) for name in names]


def _over(connection: OneConnection | OneAsyncConnection, client: C) -> C:
    """A copy of a client that sends over a connection."""
    found = copy(client)
    its = vars(found)
    its["connection_pool"] = connection
    its["connection"] = None  # one that the client keeps for itself
    for name in ("single_connection_client", "_single_connection_client"):
        if name in its:
            its[name] = False
    its["response_callbacks"] = {**client.response_callbacks, "PING": _as_it_is}
    return found


def _as_it_is(response: Any, **_: Any) -> Any:
    return response
