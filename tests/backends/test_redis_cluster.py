"""Sessions in a cluster: trips, slots that move, a primary that goes away, listings meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest
from redis import Redis
from redis.crc import key_slot

from backends.faces import FACES, face_of, opened
from backends.test_redis_trips import CALLS
from backends.trips import counted_trips
from cli.running import in_process
from recording import CANARY, assert_no_canary
from remedies.proposals import tries
from servers import ClusterServers, RedisServer, free_port, wait_until
from wren_sessions import open_store
from wren_sessions.errors import ConfigurationError, SessionExistsError, StoreUnavailableError
from wren_sessions.keys import KeySpace
from wren_sessions.records import Start
from wren_sessions.stores.redis import RedisStore
from wren_sessions.stores.redis.trips import LANES
from wren_sessions.testing.build import SESSION, add, put, write

WRITERS: Final = 6


@pytest.fixture
def store(cluster_url: str) -> Iterator[RedisStore]:
    """A store on the cluster."""
    with RedisStore.from_url(cluster_url) as store:
        yield store


def slot_of(session: str) -> int:
    """The slot that a session is in."""
    slot: int = key_slot(KeySpace().session_key(session).encode())
    return slot


def other(cluster: ClusterServers, slot: int) -> RedisServer:
    """A primary that does not have a slot."""
    return next(one for one in cluster.primaries() if one is not cluster.owner(slot))


# --- trips ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("face", FACES)
async def test_every_call_is_as_many_trips_as_on_one_server(cluster_url: str, face: str) -> None:
    """One, on connections that are open; a copy to another node is two."""
    counts: dict[str, int] = {}
    async with opened(cluster_url) as store:
        there = face_of(store, face)
        await there.ping()
        for name, call in [*CALLS.items(), *CALLS.items()]:  # first each node learns the scripts
            await there.delete(SESSION)
            await there.delete("copy")
            await there.commit(put("1", append=b"one" * 10_000))
            await there.commit(put("2", parent="1", append=b"two"))
            with counted_trips() as trips:
                await call(there)
                far = name == "copy" and slot_of(SESSION) != slot_of("copy")
                counts[name] = trips.count - far
        assert counts == dict.fromkeys(CALLS, 1)


async def test_calls_at_the_same_time_share_trips_to_each_node(cluster_url: str) -> None:
    """Four trips to each node are under way at once; further calls wait, and go out together."""
    async with opened(cluster_url) as store:

        async def crowd(round_: str) -> list[str]:
            turns = [put("1", session=f"s{n}", token=f"{round_}{n:04}") for n in range(90)]
            done = await asyncio.gather(*(store.aio.commit(turn) for turn in turns))
            return [one.life.incarnation for one in done if one.life]

        assert await crowd("first") == [f"first{number:04}" for number in range(90)]
        for number in range(90):
            await store.aio.delete(f"s{number}")
        with counted_trips() as trips:
            assert await crowd("again") == [f"again{number:04}" for number in range(90)]
        assert trips.count <= 3 * (LANES + 3)


# --- copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("face", FACES)
async def test_a_copy_to_another_node_is_whole(cluster_url: str, face: str) -> None:
    """Wherever the target is, it gets all; what is there already is kept unless it may go."""
    async with opened(cluster_url) as store:
        there = face_of(store, face)
        await there.commit(put("1", append=b"x" * 100_000, state=b"{}"))
        await there.commit(add("1", write("task", 0, b"pending")))
        source = await there.load(SESSION)
        assert source is not None
        targets = [f"{2_654_435_761 * number % 2**32:08x}" for number in range(1, 13)]
        assert {slot_of(target) * 3 // 16_384 for target in targets} == {0, 1, 2}
        for target in targets:
            assert await there.copy(SESSION, target, state=b'{"n": 1}') is not None
            found = await there.load(target)
            assert found is not None
            assert found.stored == source.stored
            assert found.state == b'{"n": 1}'
            with pytest.raises(SessionExistsError):
                await there.copy(SESSION, target)
            assert await there.copy(SESSION, target, replace=True) is not None
            assert await there.copy("nothing", target, replace=True) is None


# --- slots that move ------------------------------------------------------------------------------


@pytest.mark.parametrize("face", FACES)
async def test_a_slot_that_moves_is_followed(
    cluster_url: str, redis_cluster: ClusterServers, face: str
) -> None:
    """Before, while and after a slot moves, a session is read and written where it is."""
    slot = slot_of(SESSION)
    async with opened(cluster_url) as store:
        there = face_of(store, face)
        await there.commit(put("1"))
        target = other(redis_cluster, slot)
        source = redis_cluster.begin_to_move(slot, target)
        await there.commit(put("2", parent="1"))  # it has not moved
        redis_cluster.move_keys(slot, source, target, 10)
        await there.commit(put("3", parent="2"))  # ASK
        assert await there.heads(SESSION) == (("", "3"),)
        spans = await there.read(SESSION, [])
        assert spans is not None
        redis_cluster.end_move(slot, source, target)
        await there.commit(put("4", parent="3"))  # MOVED
        assert await there.heads(SESSION) == (("", "4"),)
        assert await there.delete(SESSION)


def test_a_listing_loses_no_session_whose_slot_moves(
    store: RedisStore, redis_cluster: ClusterServers
) -> None:
    """Slots move in both directions between the pages, and one stays half moved to the end."""
    sessions = {f"session {number}" for number in range(120)}
    for session in sessions:
        store.commit(put("1", session=session))
    for target in redis_cluster.primaries():
        found: Counter[str] = Counter()
        slots = iter(sorted({slot_of(session) for session in sessions}))
        moved = next(slots)
        half = other(redis_cluster, moved)
        source = redis_cluster.begin_to_move(moved, half)
        redis_cluster.move_keys(moved, source, half, 1)
        cursor, pages = None, 0
        while True:
            page = store.list_sessions(cursor, 7)
            found.update(info.session for info in page.sessions)
            cursor, pages = page.cursor, pages + 1
            if cursor is None:
                break
            if pages < 12 and (slot := next(slots)) and redis_cluster.owner(slot) is not target:
                redis_cluster.move(slot, target)
        redis_cluster.move_keys(moved, source, half, 10)
        redis_cluster.end_move(moved, source, half)
        assert set(found) == sessions


def test_a_listing_at_rest_names_each_session_once(store: RedisStore) -> None:
    """In pages of any size; the cursor is short, and one that is none is refused."""
    sessions = [f"session {number}" for number in range(50)]
    for session in sessions:
        store.commit(put("1", session=session))
    found: list[str] = []
    page = store.list_sessions(None, 3)
    while True:
        found += [info.session for info in page.sessions]
        if page.cursor is None:
            break
        assert len(page.cursor) < 300
        page = store.list_sessions(page.cursor, 3)
    assert sorted(found) == sorted(sessions)
    for cursor in ("12", "x.0.MA==.AAAA", ".0.MA==.eJw=", "..", "💥"):
        with pytest.raises(ConfigurationError, match="is not a cursor"):
            store.list_sessions(cursor)


def wait_for_replica(server: RedisServer, key: str) -> None:
    """Wait until a replica has what was written so far; `key` is one of the server's.

    WAIT only waits for what its own connection has written.
    """
    with Redis.from_url(server.url) as client:
        client.set(f"{{{key}}}", "written last")  # in the same slot
        client.delete(f"{{{key}}}")
        assert client.execute_command("WAIT", 1, 5_000) == 1


# --- a primary that goes away ---------------------------------------------------------------------


def test_writers_ride_out_moves_and_a_failover(
    store: RedisStore, redis_cluster: ClusterServers
) -> None:
    """Nothing acknowledged that the new primary has is lost, nothing is doubled, no error comes."""
    known: dict[str, list[str]] = {f"writer {number}": [] for number in range(WRITERS)}
    stop = threading.Event()

    def keep_on(session: str) -> None:
        last = None
        while not stop.is_set():
            last, parent = f"{len(known[session]) + 1:06}", last
            turn = put(last, parent=parent, session=session, append=b"turn")
            while store.commit(turn).outcome != "done":
                pass
            known[session].append(last)

    with ThreadPoolExecutor(WRITERS) as threads:
        writers = [threads.submit(keep_on, session) for session in known]
        try:
            for session in [*known][:3]:
                slot = slot_of(session)
                redis_cluster.move(slot, other(redis_cluster, slot))
            victim = redis_cluster.owner(slot_of("writer 0"))
            replicated = {session: list(ids) for session, ids in known.items()}
            wait_for_replica(victim, store.keys.session_key("writer 0"))
            victim.kill()
            reached = {session: len(ids) + 10 for session, ids in known.items()}
            wait_until(lambda: all(len(ids) > reached[at] for at, ids in known.items()))
        finally:
            stop.set()
    assert [writer.exception() for writer in writers] == [None] * WRITERS
    victim.start()
    redis_cluster.wait_until_whole()
    for session, ids in known.items():
        records = store.scan(session, [Start("")], 1_000_000).records[::-1]
        there = [stored.name[1] for stored in records]
        assert {*replicated[session], *ids[-5:]} <= {*there}
        assert [stored.base for stored in records] == [4 * number for number in range(len(there))]


def test_a_cluster_that_is_gone_is_an_error_of_ours(redis_cluster: ClusterServers) -> None:
    """No node answers: an error that names the cluster, and no password, after the time given."""
    url = f"redis+cluster://me:{CANARY}@127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    with (
        open_store(url, failover_timeout="1s") as store,
        pytest.raises(StoreUnavailableError, match=r"redis\+cluster://127") as caught,
    ):
        store.ping()
    assert_no_canary(caught.value)
    assert CANARY not in repr(store)


@tries(
    "it is part of a cluster: use redis+cluster:// instead of redis://",
    "it is no cluster: use redis:// instead of redis+cluster://",
    "a redis:// URL reaches only the sessions of this node: use redis+cluster://",
)
def test_the_other_kind_of_url(
    store: RedisStore,
    redis_cluster: ClusterServers,
    redis_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each is told from the other, and with the scheme that is named it works."""
    slot = slot_of(SESSION)
    single = other(redis_cluster, slot).url
    with (
        open_store(single) as wrong,
        pytest.raises(StoreUnavailableError, match="part of a cluster"),
    ):
        wrong.commit(put("1"))
    cli = in_process(capsys)
    assert "use redis+cluster://" in " ".join(cli("check", url=single).out.split())
    right = single.replace("redis://", "redis+cluster://")
    assert "use redis+cluster://" not in " ".join(cli("check", url=right).out.split())
    with open_store(right) as cluster:
        assert cluster.commit(put("1")).outcome == "done"
    plain = redis_url.replace("redis://", "redis+cluster://")
    with (
        open_store(plain) as wrong,
        pytest.raises(StoreUnavailableError, match="use redis:// i"),
    ):
        wrong.ping()
    with open_store(redis_url) as server:
        server.ping()
