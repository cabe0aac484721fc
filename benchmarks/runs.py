"""One run of the benchmark: its sizes, its peers, and how peers take turns in a workload.

Peers are interleaved: each step of a workload (of a conversation: a few turns) is done by one after
the other, beginning with another one each time. So what else the machine does hurts all of them
alike, and ratios hold where single numbers do not.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from benchmarks.faces import Face
from benchmarks.measuring import rotated
from benchmarks.peers import Peer
from benchmarks.results import Key, Results
from benchmarks.sites import Place, Sites

T = TypeVar("T")

IN_A_ROW: Final = 5
"""Turns of a conversation that a peer has in a row: an application has one saver and not seven, so
that the saver's code and the session are in the processor's cache for all but the first of them."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is done.

    Attributes:
        name: of this choice.
        chats: how long chats become, and how many of each are held, by face.
        lists: how often the last ten checkpoints are listed at the end of each.
        probes: lengths at which bytes and round trips of a turn are counted.
        fan_outs: how often the tasks write at once.
        tasks: how many they are.
        graph_turns: turns of the real graph.
        short: short chats per peer, and reads of many pending writes.
        short_graphs: conversations of ten turns with the real graph.
        sessions: how many are served, two turns each.
        clients: how many tasks serve them.
        resumes: fresh processes per peer.
        limits: samples of each comparison with a plain command.
        imports: processes per import.
    """

    name: str
    chats: dict[str, dict[int, int]]
    lists: int
    probes: tuple[int, ...]
    fan_outs: int
    tasks: int
    graph_turns: int
    short: int
    short_graphs: int
    sessions: int
    clients: int
    resumes: int
    limits: int
    imports: int

    @property
    def lengths(self) -> tuple[int, ...]:
        """How long chats become, on either face."""
        return tuple(sorted(set().union(*self.chats.values())))


FULL: Final = Sizes(
    name="full",
    chats={"sync": {20: 15, 200: 5, 1_000: 3}, "async": {20: 15, 200: 5, 1_000: 2}},
    lists=5,
    probes=(20, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1_000),
    fan_outs=15,
    tasks=200,
    graph_turns=100,
    short=30,
    short_graphs=10,
    sessions=1_000,
    clients=50,
    resumes=7,
    limits=60,
    imports=15,
)
QUICK: Final = Sizes(
    name="quick",
    chats={"sync": {20: 5, 200: 2, 1_000: 1}, "async": {20: 5, 200: 2, 1_000: 1}},
    lists=5,
    probes=(20, 100, 200, 400, 600, 800, 1_000),
    fan_outs=5,
    tasks=200,
    graph_turns=100,
    short=12,
    short_graphs=4,
    sessions=200,
    clients=50,
    resumes=3,
    limits=25,
    imports=7,
)
TINY: Final = Sizes(
    name="tiny",
    chats={"sync": {20: 2, 40: 1}, "async": {20: 2, 40: 1}},
    lists=2,
    probes=(20, 30, 40),
    fan_outs=2,
    tasks=20,
    graph_turns=5,
    short=2,
    short_graphs=1,
    sessions=20,
    clients=5,
    resumes=1,
    limits=5,
    imports=1,
)


@dataclass
class Stand(Generic[T]):
    """A peer in a workload.

    Attributes:
        peer: who.
        face: its saver.
        place: where its data are.
        own: what the workload keeps for it.
    """

    peer: Peer
    face: Face
    place: Place
    own: T


@dataclass
class Run:
    """One run, on one face.

    Attributes:
        sites: where data are kept.
        sizes: how much is done.
        results: where numbers go.
        face: ``"sync"`` or ``"async"``.
        peers: who takes part.
    """

    sites: Sites
    sizes: Sizes
    results: Results
    face: str
    peers: Sequence[Peer]
    _step: int = field(default=0, init=False)

    def key(self, workload: str, peer: Peer | str) -> Key:
        """Whose number it is."""
        return Key(workload, peer if isinstance(peer, str) else peer.name, self.face)

    @asynccontextmanager
    async def stands(
        self,
        workload: str,
        make: Callable[[Face, Place], T],
        *,
        peers: Sequence[Peer] | None = None,
        many: bool = False,
    ) -> AsyncIterator[list[Stand[T]]]:
        """Open all peers, each in an empty place; who cannot be opened is noted and left out.

        Args:
            workload: its name.
            make: what the workload keeps for each peer.
            peers: who takes part; None for all of this run.
            many: whether many tasks will call a saver at once.
        """
        async with AsyncExitStack() as stack:
            found: list[Stand[T]] = []
            for peer in self.peers if peers is None else peers:
                try:
                    place = stack.enter_context(self.sites.place(peer))
                    opened = peer.open(place.address, self.face, many)
                    face = Face(await stack.enter_async_context(opened), self.face)
                    found.append(Stand(peer, face, place, make(face, place)))
                except Exception as error:  # noqa: BLE001 -- whatever keeps a peer out is reported
                    self.results.fail(self.key(workload, peer), error)
            try:
                yield found
            finally:
                gc.unfreeze()

    async def each(
        self,
        workload: str,
        stands: list[Stand[T]],
        step: Callable[[Stand[T]], Awaitable[object]],
        *,
        times: int = 1,
    ) -> None:
        """Let each peer do a step, so many times; who fails is noted, and leaves the workload.

        What savers in memory hold is kept out of the garbage collector's way: else it would go
        through it again and again, at the cost of whoever's turn it is.
        """
        self._step += 1
        gc.freeze()
        for stand in rotated(stands, self._step):
            try:
                for _ in range(times):
                    await step(stand)
            except Exception as error:  # noqa: BLE001 -- whatever fails is reported
                self.results.fail(self.key(workload, stand.peer), error)
                stands.remove(stand)
