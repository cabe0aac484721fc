"""Calls that are on their way at the same time share trips to the server.

A lone call goes at once, by itself. Where as many trips are under way as there are lanes, further
calls wait for one of them to come back, and then go out together, as one pipeline. So fifty tasks
cost the driver, the server and the network a few long trips instead of fifty short ones: measured
here, with 200 writes at once, twice as many a second. There are several lanes, so that one long
answer holds up few others, and a far server is never left idle.

Each call gets its own reply or error. A connection that is lost is everybody's error who was on it,
after the driver has repeated what it was sent; that is safe, as it is for one call.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from wren_sessions.stores._batching import settle
from wren_sessions.stores.leader_queue import Batch, LeaderQueue, Ticket, fail_all, twin
from wren_sessions.stores.redis.commands import Plan
from wren_sessions.stores.redis.driver import asend, asend_together, send, send_together

if TYPE_CHECKING:
    import redis
    import redis.asyncio

LANES: Final = 4
MOST: Final = 16  # calls of one trip: a session knows as many commits again if they are repeated


class _ThreadLane(LeaderQueue[Plan[Any]]):
    """One trip at a time, of threads.

    Args:
        client: sends.
    """

    most = MOST

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        self._client = client

    def alone(self, work: Plan[Any]) -> Any:
        """Send one plan."""
        return send(self._client, work)

    def together(self, tickets: Sequence[Ticket[Plan[Any]]]) -> None:
        """Send plans in one trip."""
        batch = Batch()
        for ticket in tickets:
            ticket.join(batch)
        try:
            replies = send_together(self._client, [ticket.work for ticket in tickets])
        except Exception as error:  # noqa: BLE001 -- it is everybody's answer
            fail_all(tickets, error, batch)
            return
        for ticket, reply in zip(tickets, replies, strict=True):
            if isinstance(reply, Exception):
                ticket.fail(reply)
            else:
                ticket.give(reply)
        batch.settled = True


class ThreadPipelines:
    """The trips of threads, over a blocking client.

    Attributes:
        client: sends.
    """

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lanes = [_ThreadLane(self.client) for _ in range(_lanes_of(self.client))]

    def send(self, plan: Plan[Any]) -> Any:
        """Send a plan, perhaps with others, and return what `Plan.result` takes.

        Raises:
            Exception: one of the driver's.
        """
        if self._pid != os.getpid():  # the threads that led are not in this process
            self._start()
        return min(self._lanes, key=attrgetter("waiting")).run(plan)


class _Waiting(NamedTuple):
    """A plan, and the future of the task that waits for its reply."""

    plan: Plan[Any]
    reply: asyncio.Future[Any]


class TaskPipelines:
    """The trips of one event loop's tasks, over an asyncio client.

    Args:
        client: sends.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._lanes = _lanes_of(client)
        self._under_way = 0
        self._queue: deque[_Waiting] = deque()
        self._shared: set[asyncio.Task[None]] = set()  # the event loop does not keep its tasks

    async def send(self, plan: Plan[Any]) -> Any:
        """See `ThreadPipelines.send`. What is cancelled while it waits is not sent."""
        if self._under_way >= self._lanes:
            waiting = _Waiting(plan, asyncio.get_running_loop().create_future())
            self._queue.append(waiting)
            return await waiting.reply
        self._under_way += 1
        try:
            return await asend(self._client, plan)
        finally:
            self._come_back()

    def _come_back(self) -> None:
        """A trip is over: those who wait go."""
        self._under_way -= 1
        while self._queue and self._under_way < self._lanes:
            first = [self._queue.popleft() for _ in range(min(len(self._queue), MOST))]
            batch = [waiting for waiting in first if not waiting.reply.done()]
            if batch:
                self._under_way += 1
                task = asyncio.get_running_loop().create_task(self._share(batch))
                self._shared.add(task)
                task.add_done_callback(self._shared.discard)

    async def _share(self, batch: Sequence[_Waiting]) -> None:
        outcomes: Sequence[Any] = [asyncio.CancelledError()] * len(batch)
        try:
            outcomes = await asend_together(self._client, [waiting.plan for waiting in batch])
        except Exception as error:  # noqa: BLE001 -- it is everybody's answer
            outcomes = [twin(error) for _ in batch]
        finally:
            for waiting, outcome in zip(batch, outcomes, strict=True):
                settle(waiting.reply, outcome)
            self._come_back()


def _lanes_of(client: redis.Redis | redis.asyncio.Redis) -> int:
    """How many trips may be under way: no more than there are connections."""
    return max(1, min(LANES, client.connection_pool.max_connections))
