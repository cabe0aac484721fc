"""The asyncio clients of a store: one for each event loop, closed with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from wren_sessions.stores.redis.pipeline import TaskPipelines

if TYPE_CHECKING:
    import redis.asyncio


class LoopClient:
    """The asyncio client of one event loop.

    Args:
        client: the client.
        owned: whether it is ours to close.

    Attributes:
        trips: sends over it.
    """

    def __init__(self, client: redis.asyncio.Redis, *, owned: bool) -> None:
        self.trips = TaskPipelines(client)
        if owned:
            # The trips are the bound: the driver's own can lose count when a call is cancelled.
            client.connection_pool.max_connections = 2**31
        self._keeper = _kept(client) if owned else None

    async def open(self) -> None:
        """Make sure that connections are closed with their event loop."""
        if self._keeper is not None:
            await anext(self._keeper)

    async def close(self) -> None:
        """Close the connections, where they are ours; they open again when used."""
        if self._keeper is not None:
            await self._keeper.aclose()


async def _kept(client: redis.asyncio.Redis) -> AsyncGenerator[None]:
    """An event loop ends the generators that wait in it, and so closes the client in time."""
    try:
        yield
    finally:
        await client.connection_pool.disconnect()


class LoopClients:
    """The asyncio clients of one store, one for each event loop: connections belong to their loop.

    Args:
        make: makes a client.
        owned: whether clients are ours to close.
    """

    def __init__(self, make: Callable[[], redis.asyncio.Redis], *, owned: bool) -> None:
        self._make = make
        self._owned = owned
        self._lock = threading.Lock()  # loops may run in several threads
        self._clients: dict[asyncio.AbstractEventLoop, LoopClient] = {}

    async def current(self) -> LoopClient:
        """The running loop's client, made when first asked for."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if (found := self._clients.get(loop)) is not None:
                return found
            self._clients = {at: kept for at, kept in self._clients.items() if not at.is_closed()}
            found = self._clients[loop] = LoopClient(self._make(), owned=self._owned)
        await found.open()
        return found

    async def close(self) -> None:
        """Close the running loop's client."""
        with self._lock:
            found = self._clients.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found.close()
