"""Calls at the same time share trips to the server.

A call without company goes at once. If all lanes are busy with a trip, further calls wait for one
to come back, and then go together, as one pipeline. So fifty tasks cost the driver, the server and
the network a few long trips instead of fifty short ones. With 200 writes at once, twice as many a
second were measured. There are several lanes, so one long answer delays few other calls, and a
distant server is never idle.

Each call gets its own reply or error. If a connection is lost, every call on it gets the error,
after the driver has repeated what it sent. Repeating is safe, as it is for a single call.

No call waits for a lane longer than for an answer (``socket_timeout``). So if a server hangs, all
waiting calls fail with the first trip, instead of one trip after the other.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redis import exceptions as driver

from wren_sessions.stores._batching import settle
from wren_sessions.stores.leader_queue import Batch, LeaderQueue, Ticket, fail_all, twin
from wren_sessions.stores.redis.clients import disconnect_sentinels
from wren_sessions.stores.redis.connection import AsyncLine, Line
from wren_sessions.stores.redis.driver import (
    asend,
    asend_together,
    send,
    send_together,
)
from wren_sessions.stores.redis.errors import NO_LANE
from wren_sessions.stores.redis.plans import Plan

if TYPE_CHECKING:
    import redis
    import redis.asyncio

LANES: Final = 4
_PATIENCE_S: Final = 1.0
MOST: Final = 16  # calls of one trip: a session knows as many commits again if they are repeated


class _ThreadLane(LeaderQueue[Plan[Any]]):
    """One trip at a time, of threads.

    Args:
        client: a client; the lane sends over a connection of its own, made as the client's are.
    """

    most = MOST

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        self._client = client
        self._line: Line | None = None
        self._patience_s = _patience_of(client)

    def alone(self, work: Plan[Any]) -> Any:
        """Send one plan."""
        return send(self._line or self._first_line(), work)

    def together(self, tickets: Sequence[Ticket[Plan[Any]]]) -> None:
        """Send plans in one trip, but for those that waited too long."""
        now = time.monotonic()
        late = [ticket for ticket in tickets if now - ticket.since > self._patience_s]
        if late:
            batch = Batch()
            for ticket in late:
                ticket.join(batch)
            fail_all(late, driver.TimeoutError(NO_LANE), batch)
        if len(late) < len(tickets):
            self._share([ticket for ticket in tickets if ticket not in late])

    def _share(self, tickets: Sequence[Ticket[Plan[Any]]]) -> None:
        batch = Batch()
        for ticket in tickets:
            ticket.join(batch)
        try:
            replies = send_together(
                self._line or self._first_line(), [ticket.work for ticket in tickets]
            )
        except Exception as error:  # noqa: BLE001 -- it is everybody's answer
            fail_all(tickets, error, batch)
            return
        for ticket, reply in zip(tickets, replies, strict=True):
            if isinstance(reply, Exception):
                ticket.fail(reply)
            else:
                ticket.give(reply)
        batch.settled = True

    def close(self) -> None:
        """Close the connection; the next trip opens it again."""
        if self._line is not None:
            self._line.connection.disconnect()

    def _first_line(self) -> Line:
        """Made with the first trip: most processes need one lane."""
        self._line = Line(self._client)
        return self._line


class ThreadPipelines:
    """The trips of threads, over connections like those of a blocking client.

    Attributes:
        client: the client.
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
        lane = self._lanes[0]
        if lane.waiting:
            lane = min(self._lanes, key=attrgetter("waiting"))
        return lane.run(plan)

    def close(self) -> None:
        """Close the connections; later trips open them again."""
        if self._pid == os.getpid():
            for lane in self._lanes:
                lane.close()


class _Waiting(NamedTuple):
    """A plan, the future of the task that waits for its reply, and since when it does."""

    plan: Plan[Any]
    reply: asyncio.Future[Any]
    since: float


class TaskPipelines:
    """The trips of one event loop's tasks, over connections like those of an asyncio client.

    A lane is taken by a task, and free when that task is done, however it ended. So no lane is lost
    where a task is interrupted before it says that its trip is over.

    Args:
        client: the client.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client  # the lanes' connections ask its pool where a primary is
        self._lanes: list[AsyncLine] = []  # as many as were needed at the same time
        self._patience_s = _patience_of(client)
        self._queue: deque[_Waiting] = deque()
        self._shared: set[asyncio.Task[None]] = set()  # the event loop does not keep its tasks
        self._watch: asyncio.TimerHandle | None = None

    async def send(self, plan: Plan[Any]) -> Any:
        """See `ThreadPipelines.send`. What is cancelled while it waits is not sent."""
        lane = self._free_lane()
        if lane is None:
            waiting = _Waiting(plan, asyncio.get_running_loop().create_future(), time.monotonic())
            self._queue.append(waiting)
            self._look_again()
            return await waiting.reply
        task = lane.task = asyncio.current_task()
        cancelled = task.cancelling() if task else 0
        try:
            answer = await asend(lane, plan)
        finally:
            lane.task = None
            self._go_on()
        if task and task.cancelling() > cancelled:  # lost by `wait_for` of 3.11, in the driver
            raise asyncio.CancelledError
        return answer

    async def close(self) -> None:
        """Close the connections; later trips open them again."""
        for lane in self._lanes:
            await lane.connection.disconnect()
        await disconnect_sentinels(self._client)

    def _free_lane(self) -> AsyncLine | None:
        for lane in self._lanes:
            if lane.free:
                return lane
        if len(self._lanes) == _lanes_of(self._client):
            return None
        self._lanes.append(AsyncLine(self._client))
        return self._lanes[-1]

    def _go_on(self) -> None:
        """A trip is over: those who wait go."""
        while self._queue and (lane := self._free_lane()):
            first = [self._queue.popleft() for _ in range(min(len(self._queue), MOST))]
            now = time.monotonic()
            for waiting in first:
                if now - waiting.since > self._patience_s:
                    settle(waiting.reply, driver.TimeoutError(NO_LANE))
            batch = [waiting for waiting in first if not waiting.reply.done()]
            if batch:
                task = asyncio.get_running_loop().create_task(self._share(lane, batch))
                lane.task = task
                self._shared.add(task)
                task.add_done_callback(self._shared.discard)

    def _look_again(self) -> None:
        """Those who wait do not depend on a task that ends as it should."""
        if self._watch is None or self._watch.when() < asyncio.get_running_loop().time():
            self._watch = asyncio.get_running_loop().call_later(_PATIENCE_S, self._watched)

    def _watched(self) -> None:
        self._go_on()
        if self._queue:
            self._look_again()

    async def _share(self, lane: AsyncLine, batch: Sequence[_Waiting]) -> None:
        outcomes: Sequence[Any] = [asyncio.CancelledError()] * len(batch)
        try:
            outcomes = await asend_together(lane, [waiting.plan for waiting in batch])
        except Exception as error:  # noqa: BLE001 -- it is everybody's answer
            outcomes = [twin(error) for _ in batch]
        finally:
            for waiting, outcome in zip(batch, outcomes, strict=True):
                settle(waiting.reply, outcome)
            lane.task = None
            self._go_on()


def _lanes_of(client: redis.Redis | redis.asyncio.Redis) -> int:
    """How many trips may be under way: no more than there are connections."""
    return max(1, min(LANES, client.connection_pool.max_connections))


def _patience_of(client: redis.Redis | redis.asyncio.Redis) -> float:
    """For how many seconds a call may wait for a lane."""
    return client.connection_pool.connection_kwargs.get("socket_timeout") or math.inf
