"""What a page of an owner's sessions costs: ``python benchmarks/owners.py --sessions 1000 100000``.

A file and a Redis server are filled with sessions, ten for each owner. Then owners all over the
store are listed, a page each. Trips are counted; times are of one process. What the index takes is
the difference to the same sessions without owners.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

sys.path.append(str(Path(__file__).parent.parent))

from benchmarks.meters import Wire
from benchmarks.servers import redis_server
from redis import Redis

from wren_sessions import FileStore, RedisStore, Sessions
from wren_sessions.protocols import SessionStore
from wren_sessions.testing.build import put

EACH: Final = 10  # sessions of an owner
PAGES: Final = 300
LIMIT: Final = 20
THREADS: Final = 8


class Filled(NamedTuple):
    """A store to measure.

    Attributes:
        store: the store.
        size_bytes: says what it takes.
        trips: says how many round trips were made so far; None where there are none.
    """

    store: SessionStore
    size_bytes: Callable[[], int]
    trips: Callable[[], int] | None


@contextmanager
def on_file() -> Iterator[Filled]:
    """A new file."""
    with tempfile.TemporaryDirectory() as folder, FileStore(Path(folder) / "s.db") as store:
        path = Path(folder) / "s.db"

        def size_bytes() -> int:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return path.stat().st_size

        store.ping()
        yield Filled(store, size_bytes, None)


@contextmanager
def on_redis() -> Iterator[Filled]:
    """A new server."""
    with redis_server() as url:
        wire = Wire()
        with RedisStore.from_client(wire.client(url)) as store, Redis.from_url(url) as client:
            yield Filled(
                store, lambda: int(client.info("memory")["used_memory"]), lambda: wire.sends
            )


def fill(store: SessionStore, sessions: int, *, owned: bool) -> None:
    """Make so many sessions, each with one checkpoint."""
    owners = sessions // EACH

    def make(number: int) -> None:
        owner = f"user-{number % owners}" if owned else None
        store.commit(put("1", session=f"chat-{number}", owner=owner))

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(make, range(sessions), chunksize=100):
            pass


def pages(filled: Filled, sessions: int) -> tuple[float, float]:
    """The median time of a page in ms, and the trips that it took at the most."""
    owners, listing = sessions // EACH, Sessions(filled.store)
    times, trips = [], []
    listing.list(owner="user-0")  # connects
    for number in range(PAGES):
        before, begin = filled.trips() if filled.trips else 0, time.perf_counter()
        page = listing.list(owner=f"user-{number * owners // PAGES}", limit=LIMIT)
        times.append(time.perf_counter() - begin)
        trips.append((filled.trips() if filled.trips else 0) - before)
        if not len(page.sessions) == page.total == EACH:
            raise SystemExit(f"a page has {len(page.sessions)} sessions, not {EACH}")
    return median(times) * 1_000, max(trips)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, nargs="+", default=[1_000, 100_000])
    print("| store | sessions | owners | trips | ms a page | index bytes a session |")
    print("|---|---|---|---|---|---|")
    for name, opened in (("file", on_file), ("Redis", on_redis)):
        for sessions in parser.parse_args().sessions:
            with opened() as filled:
                begin = filled.size_bytes()
                fill(filled.store, sessions, owned=False)
                bare = filled.size_bytes() - begin
            with opened() as filled:
                begin = filled.size_bytes()
                fill(filled.store, sessions, owned=True)
                index = (filled.size_bytes() - begin - bare) / sessions
                ms, trips = pages(filled, sessions)
            shown = f"{trips:.0f}" if name == "Redis" else "1 query"
            owners = sessions // EACH
            print(f"| {name} | {sessions:,} | {owners:,} | {shown} | {ms:.2f} | {index:.0f} |")


if __name__ == "__main__":
    main()
