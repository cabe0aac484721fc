"""How threads send plans. A trip goes over a connection of its own, and is shared by many calls.

Sharing: a call without company goes at once. If all lanes are busy with a trip, further calls wait
for one to come back, and then go together, as one pipeline. So fifty callers cost the driver, the
server and the network a few long trips instead of fifty short ones. With 200 writes at once, twice
as many a second were measured. There are several lanes, so one long answer delays few other calls,
and a distant server is never idle. Each call gets its own reply or error. If a connection is lost,
every call on it gets the error, after the driver has repeated what it sent. Repeating is safe, as
it is for a single call. No call waits for a lane longer than for an answer (``socket_timeout``). So
if a server hangs, all waiting calls fail with the first trip, instead of one trip after the other.

A connection is used by one trip at a time, and never again in the middle of an answer. An exception
may come up anywhere while an answer is awaited: Ctrl-C, a time limit, a cancelled task. The rest of
that answer still arrives, and whoever uses the connection next would take it for theirs. Cleaning
up after the exception is not enough, for it may interrupt that as well, or come just before or
behind it. So a trip marks the connection as unfinished *before* anything is sent, and takes the
mark away only after the whole answer was read and is known to be its own. Whoever finds the mark
gets a new connection. The driver's pools cannot be used for this: an exception inside one of them
loses a place in it, or leaves its lock locked. Here is a pool for a client of the driver that holds
one connection.

Bytes: around a command that the server runs in thirty microseconds, the driver spends as long
again: it packs the arguments one by one, and reads a reply line by line. What nearly every call
needs is simpler, so a single command goes over the connection itself: arguments that are bytes, and
a reply that is one text, or a list of texts (`plans`). If a reply turns out to be something else,
such as an error, all that came of it is given back, and the driver reads it from where it begins.
The driver also reads what comes over TLS, or in several pieces: there it is as quick. A lost
connection is tried again as the driver's client would. Where somebody has put something of their
own in the place of the client or the connection, to trace calls, for example, the client is asked.
"""

from __future__ import annotations

import io
import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final, TypeAlias

import redis
from redis import exceptions as driver

from wren_sessions.stores.leader_queue import Batch, LeaderQueue, Ticket, fail_all
from wren_sessions.stores.redis import trips
from wren_sessions.stores.redis.clients import LOST, MOVES, RAW, is_plain, over
from wren_sessions.stores.redis.errors import NO_LANE, is_demotion
from wren_sessions.stores.redis.plans import Plan, packed, whole

_Lost: TypeAlias = Callable[[Any, Exception], Any]

_PIECE_BYTES: Final = 65_536  # to read at once


# --- bytes ----------------------------------------------------------------------------------------


def is_quiet(connection: Any) -> bool:
    """Whether a connection is open and has nothing to read; False where this cannot tell."""
    sock = getattr(connection, "_sock", None)
    if type(sock) is not socket.socket or not hasattr(select, "poll"):  # TLS; Windows
        return False
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return not poll.poll(0)


def exchange(connection: Any, command: bytes) -> Any:
    """Send a packed command, and read its reply, as bytes.

    Raises:
        Exception: one of the driver's.
    """
    sock = getattr(connection, "_sock", None)
    if type(sock) is not socket.socket or connection.health_check_interval:
        connection.send_packed_command([command])
        return connection.read_response(disable_decoding=True)
    try:
        sock.sendall(command)
        came = sock.recv(_PIECE_BYTES)
        if (reply := whole(came)) is not None:
            return reply
        _give_back(connection._parser, came)  # noqa: SLF001 -- it has no public name
    except TimeoutError:
        connection.disconnect()
        raise driver.TimeoutError("Timeout reading from socket") from None
    except OSError as error:
        connection.disconnect()
        raise driver.ConnectionError(f"Error while talking to the server: {error}") from error
    return connection.read_response(disable_decoding=True)


def _give_back(parser: Any, came: bytes) -> None:
    """Have the driver's parser begin with what came."""
    if (hiredis := getattr(parser, "_reader", None)) is not None:
        hiredis.feed(came)
        return
    buffer = parser._buffer._buffer  # noqa: SLF001 -- it reads from there
    at = buffer.tell()
    buffer.seek(0, io.SEEK_END)
    buffer.write(came)
    buffer.seek(at)


# --- one connection -------------------------------------------------------------------------------


class OneConnection(redis.ConnectionPool):
    """A pool of one blocking connection.

    Args:
        like: a pool of connections to the same server.

    Attributes:
        unfinished: something was sent, and its answer was not read to the end, or was another's.
    """

    unfinished: bool = False

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
            if not (getattr(kept, MOVES, bool)() or (not is_quiet(kept) and kept.can_read())):
                return kept
        except LOST:  # it was closed meanwhile
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
        self.client: redis.Redis = over(self.connection, client)
        self._plain: bool = is_plain(client)
        self._lost: _Lost = getattr(self.client, "_disconnect_raise", _disconnect)

    def execute(self, command: tuple[Any, ...]) -> Any:
        """Send one command, and give its reply as bytes."""
        if not self._plain:
            return self.client.execute_command(*command, **RAW)
        kept, raw = self.connection.get_connection(), packed(command)
        return kept.retry.call_with_retry(
            partial(exchange, kept, raw), lambda error: self._lost(kept, error)
        )


def _disconnect(connection: Any, _: Exception) -> None:
    connection.disconnect()


# --- one trip -------------------------------------------------------------------------------------


def send(line: Line, plan: Plan[Any]) -> Any:
    """Send a plan and return the reply of its script, or the replies of its commands."""
    if len(plan.commands) > 1 or plan.asking:
        return trips.given(send_together(line, [plan])[0])
    line.connection.begin()
    try:
        try:
            reply = line.execute(plan.commands[0])
        except driver.NoScriptError:  # the server has not seen it yet, or forgot it
            reply = line.execute(trips.in_full(plan).commands[0])
        answer = plan.answered([reply])
    except driver.ResponseError as error:  # a whole reply
        line.connection.unfinished = is_demotion(error)
        raise
    except trips.NONSENSE as error:
        raise trips.nonsense(error) from error
    line.connection.unfinished = False
    return answer


def send_together(line: Line, plans: Sequence[Plan[Any]]) -> list[Any]:
    """Send plans in one trip, and return what `send` would have returned or raised for each."""
    line.connection.begin()
    try:
        with line.client.pipeline(transaction=False) as pipe:
            for command in trips.commands_of(plans):
                pipe.execute_command(*command, **RAW)
            outcomes = trips.outcomes_of(plans, pipe.execute(raise_on_error=False))
    except trips.NONSENSE as error:
        raise trips.nonsense(error) from error
    line.connection.unfinished = any(map(is_demotion, outcomes))
    unknown = trips.not_loaded(plans, outcomes)
    return trips.put_in(outcomes, send_together(line, unknown)) if unknown else outcomes


# --- trips of many threads ------------------------------------------------------------------------


class _ThreadLane(LeaderQueue[Plan[Any]]):
    """One trip at a time, of threads.

    Args:
        client: a client; the lane sends over a connection of its own, made as the client's are.
    """

    most = trips.MOST

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        self._client = client
        self._line: Line | None = None
        self._patience_s = trips.patience_of(client)

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
        self._lanes = [_ThreadLane(self.client) for _ in range(trips.lanes_of(self.client))]

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
