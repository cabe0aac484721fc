"""Round trips, counted where redis-py writes to its connections and reads from them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import redis.asyncio.connection
import redis.connection


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
            patch.setattr(kind, "send_packed_command", _noting(kind, "send_packed_command", trips))
            patch.setattr(kind, "read_response", _noting(kind, "read_response", trips))
        yield trips


def _noting(kind: type, name: str, trips: Trips) -> Callable[..., Any]:
    """The method, which notes its calls; an awaitable one notes when it is called, too."""
    original = getattr(kind, name)
    note = trips.sent if name.startswith("send") else trips.read

    def noting(self: object, *args: Any, **kwargs: Any) -> Any:
        note(self)
        return original(self, *args, **kwargs)

    return noting
