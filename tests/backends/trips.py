"""Round trips, counted where they are written to redis-py's connections and read from them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import redis.asyncio.connection
import redis.connection

from wren_sessions.stores.redis import tasks, threads
from wren_sessions.stores.redis.tasks import aexchange
from wren_sessions.stores.redis.threads import exchange


class Trips:
    """How often something was sent after something was read, or first of all.

    What is sent at once, or before a reply is read, is one trip. A handshake counts too: connect
    before counting.
    """

    def __init__(self) -> None:
        self.count = 0
        self._on_its_way: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()

    def sent(self, connection: object) -> None:
        """Something was sent."""
        self.count += not self._on_its_way.get(connection)
        self._on_its_way[connection] = True

    def read(self, connection: object) -> None:
        """A reply was read."""
        self._on_its_way[connection] = False

    async def of(self, call: Callable[[], Awaitable[object]]) -> int:
        """How many trips a call makes."""
        before = self.count
        await call()
        return self.count - before


@contextmanager
def counted_trips() -> Iterator[Trips]:
    """Count the trips of all connections, blocking and asyncio."""
    trips = Trips()
    with pytest.MonkeyPatch.context() as patch:
        for kind in (
            redis.connection.AbstractConnection,
            redis.asyncio.connection.AbstractConnection,
        ):
            patch.setattr(
                kind, "send_packed_command", _noting(kind.send_packed_command, trips.sent)
            )
            patch.setattr(kind, "read_response", _noting(kind.read_response, trips.read))
        patch.setattr(threads, "exchange", _exchanging(trips))
        patch.setattr(tasks, "aexchange", _aexchanging(trips))
        yield trips


def _noting(original: Callable[..., Any], note: Callable[[object], None]) -> Callable[..., Any]:
    """The function, which notes its calls; an awaitable one notes when it is called, too."""

    def noting(connection: object, *args: Any, **kwargs: Any) -> Any:
        note(connection)
        return original(connection, *args, **kwargs)

    return noting


def _exchanging(trips: Trips) -> Callable[[object, bytes], Any]:
    """The function that sends and reads, which may have the driver do so."""

    def noting(connection: object, command: bytes) -> Any:
        trips.sent(connection)
        try:
            return exchange(connection, command)
        finally:
            trips.read(connection)

    return noting


def _aexchanging(trips: Trips) -> Callable[[object, bytes], Awaitable[Any]]:
    """The same of asyncio."""

    async def noting(connection: object, command: bytes) -> Any:
        trips.sent(connection)
        try:
            return await aexchange(connection, command)
        finally:
            trips.read(connection)

    return noting
