"""Trips in a cluster: each plan goes to the node that has its session, and follows it if it moves.

A session is one key, so it lies in one slot, and a slot belongs to one node. Each node gets trips
of its own, like a single server (`threads`, `tasks`). Calls at the same time share them, over
connections that no exception can mix up. So redis-py's clients for clusters do not send anything
here. Their map of slots is not used either: it takes a connection to create, belongs to one event
loop, and has other names in other versions.

For each plan, this module handles what a node replies instead of an answer:

- MOVED: another node has the slot. The map is corrected, and the plan goes there.
- ASK: the slot is being moved, and this key is there already. This plan goes there, once.
- TRYAGAIN, CLUSTERDOWN, or a lost connection: the cluster is changing. The map is read again and
  the plan is sent again, with growing pauses, until the time is up.

Sending a plan again is safe: a commit is applied once, however often it is sent (see
``commit.lua``).
"""

from __future__ import annotations

import asyncio
import random
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from redis import exceptions as driver
from redis.backoff import EqualJitterBackoff
from redis.crc import key_slot

from wren_sessions._blocking import run
from wren_sessions.stores.redis.clients import LOST, Address, Fleet
from wren_sessions.stores.redis.commands import Commands
from wren_sessions.stores.redis.errors import CONNECTING, DRIVER_ERRORS
from wren_sessions.stores.redis.plans import Plan
from wren_sessions.stores.redis.tasks import TaskPipelines, Trips
from wren_sessions.stores.redis.threads import ThreadPipelines

_PAUSES: Final = EqualJitterBackoff(cap=0.5, base=0.02)
_HURRIED_S: Final = 1.0
_HOPS: Final = 5  # so often a plan follows MOVED and ASK at once: nodes may disagree for a moment
_CORRECTIONS: Final = 64  # of one map, before it is asked for again

_CHANGING: Final = (
    driver.BusyLoadingError,
    driver.ClusterDownError,
    driver.ConnectionError,
    driver.MasterDownError,
    driver.ReadOnlyError,
    OSError,
)


class Slots:
    """Which node has which slots, as one of the nodes told it.

    Args:
        reply: of CLUSTER SLOTS.
        asked: who told it; nodes may leave out their own host.
        remap: see `Fleet`.

    Attributes:
        nodes: all nodes, also replicas, which can be asked, too.
        primaries: those that have slots.
    """

    def __init__(self, reply: Any, asked: Address, remap: Callable[[Address], Address]) -> None:
        def address(node: Any) -> Address:
            host = node[0].decode() if isinstance(node[0], bytes) else node[0]
            return remap((host if host not in {None, "", "?"} else asked[0], int(node[1])))

        ranges = sorted(
            (int(low), int(high), [*map(address, nodes)]) for low, high, *nodes in reply
        )
        self._starts = [low for low, _, _ in ranges]
        self._ends = [high for _, high, _ in ranges]
        self._owners = [nodes[0] for _, _, nodes in ranges]
        self.nodes: set[Address] = {node for _, _, nodes in ranges for node in nodes}
        self.primaries: list[Address] = sorted({*self._owners})
        self._moved: dict[int, Address] = {}

    def owner(self, slot: int | None) -> Address:
        """The node that has a slot; one of the primaries for None.

        Raises:
            ClusterDownError: no node has it.
        """
        if slot is None and self._owners:
            return self._owners[0]
        if slot in self._moved:
            return self._moved[slot]
        at = bisect_right(self._starts, slot or 0) - 1
        if slot is None or at < 0 or slot > self._ends[at]:
            raise driver.ClusterDownError(f"CLUSTERDOWN no node has hash slot {slot}")
        return self._owners[at]

    def correct(self, slot: int, owner: Address) -> bool:
        """Note who has a slot now; whether there were many such, and the map is old."""
        self._moved[slot] = owner
        return len(self._moved) > _CORRECTIONS


N = TypeVar("N", bound=Trips)


class _Router(Generic[N]):
    """Finds the node for each plan.

    Args:
        fleet: how to reach the nodes.
        trips: makes the trips to a node.
        pause: waits for some seconds.
    """

    def __init__(
        self,
        fleet: Fleet[Any],
        trips: Callable[[Address], N],
        pause: Callable[[float], Awaitable[None]],
    ) -> None:
        self._fleet = fleet
        self._trips = trips
        self._pause = pause
        self._slots: Slots | None = None
        self.nodes: dict[Address, N] = {}

    def _node(self, address: Address) -> N:
        found = self.nodes.get(address)
        return found or self.nodes.setdefault(address, self._trips(address))

    async def send(self, plan: Plan[Any]) -> Any:
        """Send a plan, wherever it belongs now.

        Raises:
            Exception: one of the driver's; what changes was waited for.
        """
        slots = self._slots or await self._learn(None)
        if plan.fresh:
            slots = await self._again(slots)
        patience_s = self._fleet.patience_s
        trial = _Trial(plan, min(_HURRIED_S, patience_s) if plan.hurried else patience_s)
        while True:
            address = None
            try:
                address = trial.address(slots)
                return await self._node(address).send(trial.plan)
            except driver.AskError as error:
                host = error.host or (address[0] if address else "")  # empty: the node that says so
                told = self._fleet.remap((host, error.port))
                old = trial.redirect(error, slots, told)
                await self._pause(trial.pause_s(error, free=_HOPS))
                slots = await self._again(slots) if old else self._slots or slots
            except driver.TryAgainError as error:
                await self._pause(trial.pause_s(error))
            except driver.TimeoutError as error:
                if CONNECTING not in str(error):  # its caller has waited long enough
                    self._slots = None
                    raise
                await self._pause(trial.pause_s(error))
                slots = await self._again(slots, address)
            except _CHANGING as error:
                trial.restart()
                await self._pause(trial.pause_s(error))
                slots = await self._again(slots, address)

    async def _again(self, seen: Slots, failed: Address | None = None) -> Slots:
        """The map anew, unless that was done meanwhile; the old one if no node answers."""
        if self._slots is not seen and self._slots is not None:
            return self._slots
        try:
            return await self._learn(failed)
        except DRIVER_ERRORS:
            return seen

    async def _learn(self, failed: Address | None) -> Slots:
        """Ask the nodes, one after the other, who has which slots.

        Raises:
            Exception: one of the driver's: what the last one said.
        """
        known = {*self._fleet.seeds, *(self._slots.nodes if self._slots else ())}
        *first, last = sorted(known, key=lambda one: (one == failed, random.random()))  # noqa: S311
        for address in first:
            with suppress(*LOST):
                return await self._told(address)
        return await self._told(last)

    async def _told(self, address: Address) -> Slots:
        """Ask one node, and let go of the nodes that it does not know."""
        plan = Commands.slots()
        reply = plan.result(await self._node(address).send(plan))
        self._slots = slots = Slots(reply, address, self._fleet.remap)
        for gone in self.nodes.keys() - slots.nodes - {*self._fleet.seeds}:
            await self.nodes.pop(gone).close()
        return slots


class _Trial:
    """Where a plan goes next, and how long it has been on its way.

    Attributes:
        plan: as it is sent now.
    """

    def __init__(self, plan: Plan[Any], patience_s: float) -> None:
        self._first = self.plan = plan
        self._to: Address | None = plan.at if isinstance(plan.at, tuple) else None
        self._slot = plan.at if isinstance(plan.at, int) else None
        if plan.at is None and plan.key is not None:
            self._slot = key_slot(plan.key)
        self._failures = 0
        self._patience_s = patience_s
        self._until: float | None = None

    def address(self, slots: Slots) -> Address:
        """Where to send it."""
        return self._to or slots.owner(self._slot)

    def redirect(self, error: driver.AskError, slots: Slots, told: Address) -> bool:
        """Follow MOVED or ASK; whether the map is old."""
        if isinstance(error, driver.MovedError):
            self.restart()
            return slots.correct(error.slot_id, told)
        self._to, self.plan = told, self._first._replace(asking=True)
        return False

    def restart(self) -> None:
        """Go by the map."""
        self._to = self._first.at if isinstance(self._first.at, tuple) else None
        self.plan = self._first

    def pause_s(self, error: Exception, free: int = 1) -> float:
        """How long to wait before the next trial; the first ones need not.

        Raises:
            Exception: the error: the time for that is over.
        """
        now = time.monotonic()
        self._until = self._until or now + self._patience_s
        if now >= self._until:
            raise error
        self._failures += 1
        return 0 if self._failures <= free else _PAUSES.compute(self._failures - free)


class _Unsuspended:
    """The trips of threads to one node, to await; they never suspend."""

    def __init__(self, trips: ThreadPipelines) -> None:
        self._trips = trips

    async def send(self, plan: Plan[Any]) -> Any:
        """Send a plan."""
        return self._trips.send(plan)

    async def close(self) -> None:
        """Close the connections."""
        self._trips.close()


async def _sleep(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 -- of a thread


class ClusterThreads:
    """The trips of threads in a cluster: as `ThreadPipelines`."""

    def __init__(self, fleet: Fleet[Any]) -> None:
        self.client = fleet
        self._router: _Router[_Unsuspended] = _Router(
            fleet, lambda address: _Unsuspended(ThreadPipelines(fleet.client(address))), _sleep
        )

    def send(self, plan: Plan[Any]) -> Any:
        """See `ThreadPipelines.send`."""
        return run(self._router.send(plan))

    def close(self) -> None:
        """Close the connections; later trips open them again."""
        run(_close(self._router.nodes.values()))


class ClusterTasks:
    """The trips of one event loop's tasks in a cluster: as `TaskPipelines`."""

    def __init__(self, fleet: Fleet[Any]) -> None:
        self._router: _Router[TaskPipelines] = _Router(
            fleet, lambda address: TaskPipelines(fleet.client(address)), asyncio.sleep
        )

    async def send(self, plan: Plan[Any]) -> Any:
        """See `TaskPipelines.send`."""
        return await self._router.send(plan)

    async def close(self) -> None:
        """Close the connections; later trips open them again."""
        await _close(self._router.nodes.values())


async def _close(nodes: Iterable[Trips]) -> None:
    for node in list(nodes):
        await node.close()
