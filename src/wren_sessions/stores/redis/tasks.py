"""How the tasks of an event loop send plans: as `threads`, which says why, and awaited.

A time limit of the driver's costs a task of its own. So a short command is written at once here, a
reply's time limit is told to the reader, and a reply in several pieces is put together. A lane is
taken by a task, and free when that task is done, however it ended. Connections belong to their
event loop: there are trips for each, closed with it.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import redis.asyncio
from redis import exceptions as driver

from wren_sessions._blocking import Lock, renew_in_child
from wren_sessions.stores._batching import settle
from wren_sessions.stores.leader_queue import twin
from wren_sessions.stores.redis import trips
from wren_sessions.stores.redis.clients import (
    LOST,
    MOVES,
    RAW,
    disconnect_sentinels,
    is_plain,
    over,
)
from wren_sessions.stores.redis.errors import NO_LANE, is_demotion
from wren_sessions.stores.redis.plans import LIST, TEXT, Plan, packed, whole

_Lost: TypeAlias = Callable[[Any, Exception], Any]

_BUFFER_BYTES: Final = 32_768  # half of what asyncio takes before a writer has to wait
_BEGINNING: Final = re.compile(rb"(\$\d{0,9}\r?)?")  # of a text, as far as it came
_PATIENCE_S: Final = 1.0


# --- bytes ----------------------------------------------------------------------------------------


async def aexchange(connection: Any, command: bytes) -> Any:
    """See `exchange`. A short command is written at once: a time limit for that costs a task."""
    reader: asyncio.StreamReader | None = connection._reader  # noqa: SLF001 -- no public name
    if reader is None or connection.health_check_interval:
        await connection.send_packed_command([command])
        return await connection.read_response(disable_decoding=True)
    if len(command) <= _BUFFER_BYTES:
        connection._writer.write(command)  # noqa: SLF001 -- nor this one
    else:
        await connection.send_packed_command([command])
    came = await _seen(reader, connection.socket_timeout)
    if reader.exception() is None and (reply := whole(came)) is not None:
        return reply
    if came and (reply := await _all_seen(reader, connection.socket_timeout, came)) is not None:
        return reply
    return await connection.read_response(disable_decoding=True)


async def _all_seen(reader: asyncio.StreamReader, limit: float | None, came: bytes) -> Any:
    """A reply that began with what came; None if the driver has to read it."""
    reply = _Pieces(came)
    while reply.missing and reader.exception() is None and (piece := await _seen(reader, limit)):
        reply.add(piece)
    if reader.exception() is None and (value := reply.value) is not None:
        return value
    if not reader.at_eof():
        reader.feed_data(bytes(reply.came))
    return None


async def _seen(reader: asyncio.StreamReader, limit: float | None) -> bytes:
    """All that came, so that what is given back is the first again; nothing where that failed.

    It may have come with the time limit, which the reader keeps as its exception.
    """
    late = None
    if limit is not None:
        late = asyncio.get_running_loop().call_later(limit, reader.set_exception, TimeoutError())
    try:
        return await reader.read(sys.maxsize)
    except OSError:  # the reader keeps it: the driver comes upon it, and says what it is
        return b""
    finally:
        if late is not None:
            late.cancel()


class _Pieces:
    """A reply that comes in several pieces.

    Args:
        came: the first one.

    Attributes:
        came: all of them so far.
        missing: how many bytes it takes to go on; 0 if it is whole, or something else.
    """

    def __init__(self, came: bytes) -> None:
        head = LIST.match(came)
        self._at, self._count = (head.end(), int(head[1])) if head else (0, 1)
        self._is_list = head is not None
        self._texts: list[slice] = []
        self.came: bytearray = bytearray(came)
        self.missing: int = self._go_on()

    def add(self, piece: bytes) -> None:
        """Add the next one."""
        self.came += piece
        self.missing -= len(piece)
        if self.missing <= 0:
            self.missing = self._go_on()

    def _go_on(self) -> int:
        """Find the texts that came; how many bytes are missing to the end of the next, at least."""
        while len(self._texts) < self._count:
            if (length := TEXT.match(self.came, self._at)) is None:
                return 1 if _BEGINNING.fullmatch(self.came, self._at) else 0
            text = slice(length.end(), length.end() + int(length[1]))
            if (missing := text.stop + 2 - len(self.came)) > 0:
                return missing
            self._texts.append(text)
            self._at = text.stop + 2
        return 0

    @property
    def value(self) -> bytes | list[bytes] | None:
        """The text or the texts, if that is all that came."""
        if len(self._texts) < self._count or self._at != len(self.came):
            return None
        with memoryview(self.came) as view:
            texts = [bytes(view[text]) for text in self._texts]
        return texts if self._is_list else texts[0]


# --- one connection -------------------------------------------------------------------------------


class OneAsyncConnection(redis.asyncio.ConnectionPool):
    """A pool of one asyncio connection.

    Args:
        like: a pool of connections to the same server.

    Attributes:
        unfinished: something was sent, and its answer was not read to the end, or was another's.
    """

    unfinished: bool = False

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
            if not (getattr(kept, MOVES, bool)() or await can_read()):
                return kept
        except LOST:  # it was closed meanwhile
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
        self.client: redis.asyncio.Redis = over(self.connection, client)
        self.task: asyncio.Task[Any] | None = None
        self._plain: bool = is_plain(client)
        self._lost: _Lost = getattr(self.client, "_disconnect_raise", _adisconnect)

    async def execute(self, command: tuple[Any, ...]) -> Any:
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


# --- one trip -------------------------------------------------------------------------------------


async def asend(line: AsyncLine, plan: Plan[Any]) -> Any:
    """See `send`."""
    if len(plan.commands) > 1 or plan.asking:
        return trips.given((await asend_together(line, [plan]))[0])
    await line.connection.begin()
    try:
        try:
            reply = await line.execute(plan.commands[0])
        except driver.NoScriptError:  # the server has not seen it yet, or forgot it
            reply = await line.execute(trips.in_full(plan).commands[0])
        answer = plan.answered([reply])
    except driver.ResponseError as error:  # a whole reply
        line.connection.unfinished = is_demotion(error)
        raise
    except trips.NONSENSE as error:
        raise trips.nonsense(error) from error
    line.connection.unfinished = False
    return answer


async def asend_together(line: AsyncLine, plans: Sequence[Plan[Any]]) -> list[Any]:
    """See `send_together`."""
    await line.connection.begin()
    try:
        async with line.client.pipeline(transaction=False) as pipe:
            for command in trips.commands_of(plans):
                pipe.execute_command(*command, **RAW)
            outcomes = trips.outcomes_of(plans, await pipe.execute(raise_on_error=False))
    except trips.NONSENSE as error:
        raise trips.nonsense(error) from error
    line.connection.unfinished = any(map(is_demotion, outcomes))
    unknown = trips.not_loaded(plans, outcomes)
    return trips.put_in(outcomes, await asend_together(line, unknown)) if unknown else outcomes


# --- trips of many tasks --------------------------------------------------------------------------


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
        self._patience_s = trips.patience_of(client)
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
        if len(self._lanes) == trips.lanes_of(self._client):
            return None
        self._lanes.append(AsyncLine(self._client))
        return self._lanes[-1]

    def _go_on(self) -> None:
        """A trip is over: those who wait go."""
        while self._queue and (lane := self._free_lane()):
            first = [self._queue.popleft() for _ in range(min(len(self._queue), trips.MOST))]
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


# --- trips of each event loop ---------------------------------------------------------------------


class Trips(Protocol):
    """What sends the plans of one event loop, or of one node of a cluster."""

    async def send(self, plan: Plan[Any]) -> Any:
        """See `TaskPipelines.send`."""

    async def close(self) -> None:
        """See `TaskPipelines.close`."""


class _Client(NamedTuple):
    """What one event loop sends over, and what closes it with the loop."""

    trips: Trips
    keeper: AsyncGenerator[None]


async def _kept(sender: Trips) -> AsyncGenerator[None]:
    """An event loop ends the generators that wait in it, and so closes connections in time."""
    try:
        yield
    finally:
        await sender.close()


class LoopTrips:
    """The trips of one store, for each event loop its own: connections belong to their loop.

    Args:
        make: makes the trips of one event loop.
    """

    def __init__(self, make: Callable[[], Trips]) -> None:
        self._make = make
        self._lock = Lock()  # loops may run in several threads
        self._clients: dict[asyncio.AbstractEventLoop, _Client] = {}
        self._inherited: list[object] = []  # a child neither uses nor closes what its parent does
        renew_in_child(self)

    def renew(self) -> None:
        """In a forked child: the connections are its parent's."""
        self._inherited.append(self._clients)
        self._clients = {}

    async def current(self) -> Trips:
        """The running loop's trips, made when first asked for."""
        loop = asyncio.get_running_loop()
        if (found := self._clients.get(loop)) is not None:
            return found.trips
        with self._lock:  # only this thread adds this loop
            self._clients = {at: kept for at, kept in self._clients.items() if not at.is_closed()}
            made = self._make()
            found = self._clients[loop] = _Client(made, _kept(made))
        await anext(found.keeper)
        return found.trips

    async def close(self) -> None:
        """Close the running loop's connections; they open again when used."""
        with self._lock:
            found = self._clients.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found.keeper.aclose()
