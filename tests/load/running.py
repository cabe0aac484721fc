"""A cluster under load: slots move both ways, a primary dies, and writers go on.

``python -m load.running``: 1,000 sessions, 50 writers, half of them threads and half of them tasks.
A turn is lost if it was acknowledged, a replica had it when the primary died or the primary did not
die, and it is not there in the end. It is doubled if its bytes are there twice.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle

from redis import Redis
from redis.crc import key_slot

from servers import ClusterServers, RedisServer, wait_until
from wren_sessions.errors import WrenSessionsError
from wren_sessions.keys import KeySpace
from wren_sessions.records import Commit, Start
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing.build import put

TURN = b"turn"


def slot_of(session: str) -> int:
    """The slot that a session is in."""
    slot: int = key_slot(KeySpace().session_key(session).encode())
    return slot


@dataclass
class Load:
    """What writers did.

    Attributes:
        acknowledged: the turns of each session that a call returned for.
        pending: the turn of each session that is on its way, sent again until it is acknowledged.
        slowest_s: the longest call of each second since the start.
        errors: how often which error of ours came.
        foreign: other exceptions.
    """

    sessions: list[str]
    acknowledged: dict[str, list[str]] = field(default_factory=dict)
    pending: dict[str, tuple[str, Commit]] = field(default_factory=dict)
    slowest_s: dict[int, float] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    foreign: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.monotonic)

    def turns(self, sessions: list[str]) -> Iterator[tuple[str, Commit]]:
        """The next turn of one session after the other; one that failed is sent again."""
        for session in cycle(sessions):
            if self.stop.is_set():
                return
            done = self.acknowledged.get(session, [])
            if session not in self.pending:
                parent, name = (done[-1] if done else None), f"{len(done) + 1:06}"
                self.pending[session] = name, put(name, parent=parent, session=session, append=TURN)
            yield session, self.pending[session][1]

    def note(self, session: str, began: float, error: Exception | None) -> None:
        """What became of a call."""
        now = time.monotonic()
        second = int(now - self.began)
        self.slowest_s[second] = max(self.slowest_s.get(second, 0), now - began)
        if error is None:
            self.acknowledged.setdefault(session, []).append(self.pending.pop(session)[0])
        elif isinstance(error, WrenSessionsError):
            self.errors[type(error).__name__] += 1
        else:
            self.foreign.append(repr(error))


def write(load: Load, store: RedisStore, sessions: list[str]) -> None:
    """A thread that writes."""
    for session, turn in load.turns(sessions):
        began, error = time.monotonic(), None
        try:
            store.commit(turn)
        except Exception as caught:  # noqa: BLE001 -- it is counted
            error = caught
        load.note(session, began, error)


async def awrite(load: Load, store: RedisStore, sessions: list[str]) -> None:
    """A task that writes."""
    for session, turn in load.turns(sessions):
        began, error = time.monotonic(), None
        try:
            await store.aio.commit(turn)
        except Exception as caught:  # noqa: BLE001 -- it is counted
            error = caught
        load.note(session, began, error)


async def awrite_all(load: Load, store: RedisStore, parts: list[list[str]]) -> None:
    """All tasks that write."""
    await asyncio.gather(*(awrite(load, store, part) for part in parts))
    await store.aio.close()


def move_slots(cluster: ClusterServers, slots: list[int]) -> int:
    """Move each slot to another primary, one by one."""
    began = time.monotonic()
    for slot in slots:
        others = [one for one in cluster.primaries() if one is not cluster.owner(slot)]
        cluster.move(slot, random.choice(others))
    print(f"moved {len(slots)} slots in {time.monotonic() - began:.1f} s", flush=True)  # noqa: T201
    return len(slots)


def replicate(cluster: ClusterServers, sessions: list[str]) -> set[str]:
    """Wait until a primary's replica has all of now; the sessions that are on that primary."""
    primary = cluster.owner(slot_of(sessions[0]))
    with Redis.from_url(primary.url) as client:
        offset = client.info("replication")["master_repl_offset"]
        wait_until(lambda: client.info("replication")["slave0"]["offset"] >= offset)
        ranges = cluster.ask(primary, "CLUSTER SLOTS")
    ours = [(low, high) for low, high, node, *_ in ranges if node[1] == primary.port]
    return {name for name in sessions if any(low <= slot_of(name) <= high for low, high in ours)}


def fail_over(cluster: ClusterServers, load: Load, session: str) -> tuple[RedisServer, float]:
    """Kill the primary that has a session; the server, and after how long its sessions go on."""
    victim = cluster.owner(slot_of(session))
    victim.kill()
    began, before = time.monotonic(), len(load.acknowledged[session])
    wait = 0.0
    while len(load.acknowledged[session]) <= before + 1 and wait < 60:
        time.sleep(0.01)
        wait = time.monotonic() - began
    return victim, wait


def faults_of(
    load: Load, store: RedisStore, owned: set[str], replicated: dict[str, int]
) -> tuple[int, int, int]:
    """How many turns are lost that must not be, lost because no replica had them, and doubled."""
    lost, unlucky, doubled = 0, 0, 0
    for session, turns in load.acknowledged.items():
        records = store.scan(session, [Start("")], 10_000_000).records[::-1]
        there = [stored.name[1] for stored in records]
        found = {*there}
        missing = [at for at, name in enumerate(turns) if name not in found]
        at_risk = [at for at in missing if session in owned and at >= replicated[session]]
        lost, unlucky = lost + len(missing) - len(at_risk), unlucky + len(at_risk)
        bases = [stored.base for stored in records]
        doubled += (
            len(there)
            - len(found)
            + sum(base != len(TURN) * number for number, base in enumerate(bases))
        )
    return lost, unlucky, doubled


def main() -> int:
    """Run, and print figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--writers", type=int, default=50)
    parser.add_argument("--slots", type=int, default=60, help="how many move, each there and back")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    sessions = [f"session {number}" for number in range(options.sessions)]
    parts = [sessions[number :: options.writers] for number in range(options.writers)]
    load, cluster = Load(sessions), ClusterServers()
    half, store = options.writers // 2, RedisStore.from_url(cluster.url)
    with store, ThreadPoolExecutor(half + 1) as threads:
        running = [threads.submit(write, load, store, part) for part in parts[:half]]
        running.append(threads.submit(lambda: asyncio.run(awrite_all(load, store, parts[half:]))))
        try:
            wait_until(lambda: len(load.acknowledged) == options.sessions)
            slots = sorted({slot_of(one) for one in sessions})
            some = random.sample(slots, min(options.slots, len(slots)))
            moved = move_slots(cluster, some) + move_slots(cluster, some[::-1])
            replicated = {name: len(turns) for name, turns in load.acknowledged.items()}
            owned = replicate(cluster, sessions)
            victim, waited = fail_over(cluster, load, sessions[0])
            victim.start()
            cluster.wait_until_whole()
            moved += move_slots(cluster, some[:10])
        finally:
            load.stop.set()
        for one in running:
            one.result()
        lost, unlucky, doubled = faults_of(load, store, owned, replicated)
    seconds = time.monotonic() - load.began
    cluster.close()
    total = sum(map(len, load.acknowledged.values()))
    slowest = sorted(load.slowest_s.values())[-3:][::-1]
    print(  # noqa: T201
        f"{options.sessions} sessions, {options.writers} writers, {total} turns acknowledged, "
        f"{moved} moves of slots, {len(owned)} sessions on the primary that was killed\n"
        f"lost {lost}, lost because no replica had them {unlucky}, doubled {doubled}\n"
        f"errors of ours {dict(load.errors)}, other exceptions {load.foreign}\n"
        f"sessions of the killed primary went on after {waited:.1f} s; "
        f"slowest calls {', '.join(f'{one:.1f} s' for one in slowest)}; {seconds:.0f} s in all"
    )
    return bool(lost or doubled or load.foreign)


if __name__ == "__main__":
    sys.exit(main())
