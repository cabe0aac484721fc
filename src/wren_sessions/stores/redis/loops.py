"""The asyncio clients of a store: one for each event loop, closed with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TypeAlias

from wren_sessions._blocking import Lock, renew_in_child
from wren_sessions.stores.redis.cluster import ClusterTasks
from wren_sessions.stores.redis.pipeline import TaskPipelines

Trips: TypeAlias = TaskPipelines | ClusterTasks


class LoopClient:
    """What one event loop sends over.

    Attributes:
        trips: sends.
    """

    def __init__(self, trips: Trips) -> None:
        self.trips = trips
        self._keeper = _kept(self.trips)

    async def open(self) -> None:
        """Make sure that connections are closed with their event loop."""
        await anext(self._keeper)

    async def close(self) -> None:
        """Close the connections; they open again when used."""
        await self._keeper.aclose()


async def _kept(trips: Trips) -> AsyncGenerator[None]:
    """An event loop ends the generators that wait in it, and so closes connections in time."""
    try:
        yield
    finally:
        await trips.close()


class LoopClients:
    """The asyncio clients of one store, one for each event loop: connections belong to their loop.

    Args:
        make: makes the trips of one event loop.
    """

    def __init__(self, make: Callable[[], Trips]) -> None:
        self._make = make
        self._lock = Lock()  # loops may run in several threads
        self._clients: dict[asyncio.AbstractEventLoop, LoopClient] = {}
        self._inherited: list[object] = []  # a child neither uses nor closes what its parent does
        renew_in_child(self)

    def renew(self) -> None:
        """In a forked child: the connections are its parent's."""
        self._inherited.append(self._clients)
        self._clients = {}

    async def current(self) -> LoopClient:
        """The running loop's client, made when first asked for."""
        loop = asyncio.get_running_loop()
        if (found := self._clients.get(loop)) is not None:
            return found
        with self._lock:  # only this thread adds this loop
            self._clients = {at: kept for at, kept in self._clients.items() if not at.is_closed()}
            found = self._clients[loop] = LoopClient(self._make())
        await found.open()
        return found

    async def close(self) -> None:
        """Close the running loop's client."""
        with self._lock:
            found = self._clients.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found.close()
