"""What only the store in memory does: bounds, eviction, sweeping, its clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from wren_sessions.errors import (
    ConfigurationError,
    CorruptSessionError,
    SessionExpiredError,
    StoreUnavailableError,
)
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Life, Span, Start
from wren_sessions.stores.memory import MemoryStore
from wren_sessions.testing import FakeClock
from wren_sessions.testing.build import SESSION, add, commit, prune, put, write
from wren_sessions.ttl import DAY, TTLPolicy, to_ms


@pytest.fixture
def clock() -> FakeClock:
    """A clock moved by hand."""
    return FakeClock()


def names(store: MemoryStore) -> list[str]:
    """The sessions that are there, as a listing has them."""
    return [entry.session for entry in store.list_sessions(limit=1_000).sessions]


def kept(store: MemoryStore) -> list[str]:
    """The sessions that take memory, expired or not."""
    return list(store._index._sessions)


def size(store: MemoryStore, session: str = SESSION) -> int:
    """How many bytes a session takes."""
    info = store.info(session)
    assert info is not None
    assert info.size_bytes is not None
    return info.size_bytes


def check_total(store: MemoryStore) -> None:
    """Make sure that the total is the sum of the sessions, counted one by one."""
    total = 0
    for name, session in store._index._sessions.items():
        counted = len(name.encode()) + session.arena.size_bytes + len(session.state)
        assert session.arena.size_bytes == sum(map(len, session.arena._pieces))
        for ns, namespace in session.namespaces.items():
            assert namespace.ids == sorted(namespace.records)
            for checkpoint_id, record in namespace.records.items():
                counted += len((ns + checkpoint_id).encode()) + len(record.body)
        for (ns, checkpoint_id), writes in session.writes.items():
            counted += len((ns + checkpoint_id).encode())
            counted += sum(len(key.encode()) + len(entry.body) for key, entry in writes.items())
        assert session.size_bytes == counted
        total += counted
    assert store._index.size_bytes == total
    assert store._index._ids == sorted(store._index._sessions)


# --- the store ------------------------------------------------------------------------------------


def test_a_store_without_options() -> None:
    """By default a store keeps sessions for a day, without bounds."""
    store: SessionStore = MemoryStore()
    assert store.ttl == DAY
    assert store.keys.prefix == "langgraph:checkpoint"
    assert store.location == "memory://"
    assert store.persistent is False
    assert repr(store) == "MemoryStore('memory://', idle 1d, refreshed on write)"


@pytest.mark.parametrize(
    "options", [{"max_sessions": 0}, {"max_bytes": 0}, {"max_bytes": -1}, {"prefix": "a*"}]
)
def test_options_that_cannot_work(options: dict[str, int]) -> None:
    """A bound below 1, or a prefix that is no prefix, is refused."""
    with pytest.raises(ConfigurationError):
        MemoryStore(**options)  # type: ignore[arg-type]


def test_the_clock_is_the_systems() -> None:
    """Without a clock of its own, a store goes by the time of day, in milliseconds."""
    before_ms = int(time.time() * 1_000)
    committed = MemoryStore().commit(put("1"))
    assert before_ms <= committed.now_ms <= int(time.time() * 1_000)


def test_sessions_outlive_close() -> None:
    """Closing gives nothing back: the sessions are there as long as the store is."""
    with MemoryStore() as store:
        store.commit(put("1"))
    assert store.load(SESSION) is not None


async def test_sessions_outlive_close_of_the_awaitable_face() -> None:
    """The same with ``async with``, and in place: no thread is started."""
    threads = threading.active_count()
    async with MemoryStore() as store:
        await store.aio.commit(put("1"))
    assert await store.aio.load(SESSION) is not None
    assert threading.active_count() == threads


def test_the_incarnation_is_the_token() -> None:
    """A session is named after the commit that made it, so that a repeat is recognised."""
    life = MemoryStore().commit(put("1", token="made it")).life
    assert life is not None
    assert life.incarnation == "made it"


def test_a_repeated_commit_that_made_its_session_is_not_counted(clock: FakeClock) -> None:
    """Pending writes that made a session are recognised when they are repeated."""
    store = MemoryStore(clock=clock)
    again = add("1", write("task", 0, b"value", replaces=True))
    assert store.commit(again).life == store.commit(again).life


def test_bytes_come_out_as_bytes() -> None:
    """Nobody gets hold of what the store itself works on."""
    store = MemoryStore()
    store.commit(put("1", append=b"some"))
    loaded = store.load(SESSION)
    assert loaded is not None
    assert loaded.arena is not None
    assert type(loaded.arena.get(loaded.stored.spans[0])) is bytes


def test_bytes_that_were_never_stored() -> None:
    """A record that refers to bytes beyond the arena is damaged, not a miss."""
    store = MemoryStore()
    store.commit(put("1", append=b"four", spans=(Span(2, 3),)))
    with pytest.raises(CorruptSessionError) as caught:
        store.load(SESSION)
    assert caught.value.session == SESSION


def test_bytes_that_were_freed() -> None:
    """What a prune gave back is a miss to read, and damage to who refers to it all the same."""
    store = MemoryStore()
    for at in range(4):
        store.commit(put(str(at), append=bytes([at]) * 10))
    store.commit(put("9", spans=(Span(5, 10),)))
    before = size(store)
    info = store.info(SESSION)
    assert info is not None
    freed = (Span(0, 10), Span(20, 10))
    store.prune(prune(info.life, ("", "0"), ("", "2"), keep=(Span(12, 1),), free=freed))
    assert size(store) == before - 2 * (10 + 1 + len(b"body"))
    spans = [(0, 1), (9, 1), (9, 2), (10, 10), (15, 10), (29, 1), (30, 10), (10, 30), (39, 2)]
    there = {span for span in spans if store.read(SESSION, [Span(*span)])}
    assert there == {(10, 10), (30, 10)}
    with pytest.raises(CorruptSessionError):
        store.load(SESSION)
    check_total(store)


def test_limits_below_1() -> None:
    """A page must have room for something."""
    store = MemoryStore()
    with pytest.raises(ConfigurationError):
        store.list_sessions(limit=0)
    with pytest.raises(ConfigurationError):
        store.scan(SESSION, [Start("")], 0)


def test_a_listing_is_sorted_and_its_cursor_is_checked() -> None:
    """Sessions are listed by id; a cursor is taken back as it was given only."""
    store = MemoryStore()
    for name in ("b", "é", "a:1", "a", "Z"):
        store.commit(put("1", session=name))
    assert names(store) == ["Z", "a", "a:1", "b", "é"]
    cursor = store.list_sessions(limit=3).cursor
    assert cursor is not None
    assert [entry.session for entry in store.list_sessions(cursor).sessions] == ["b", "é"]
    for other in ("after:", "after:%", "after:%FF", "after:a:1", "after:%61", "a", "", "%"):
        with pytest.raises(ConfigurationError, match="is not a cursor"):
            store.list_sessions(other)


# --- deadlines ------------------------------------------------------------------------------------


def test_a_deadline_is_to_the_millisecond(clock: FakeClock) -> None:
    """A session is there one millisecond before its deadline, and not at it."""
    store = MemoryStore(ttl=TTLPolicy(idle="10s"), clock=clock)
    store.commit(put("1"))
    clock.advance("9999ms")
    assert store.load(SESSION) is not None
    clock.advance("1ms")
    assert store.load(SESSION) is None


def outlived(clock: FakeClock, refresh: str = "write") -> MemoryStore:
    """A store with a session that is older than the policy allows by now."""
    store = MemoryStore(ttl=TTLPolicy(idle=None), clock=clock)
    store.commit(put("1"))
    clock.advance("2h")
    store._ttl = TTLPolicy(idle=None, max_age="1h", refresh=refresh)  # type: ignore[arg-type]
    return store


def test_a_session_past_a_new_maximum_age_cannot_be_renewed(clock: FakeClock) -> None:
    """Where a stricter policy came later, a renewal is refused and nothing changes."""
    store = outlived(clock, refresh="read")
    before = store.info(SESSION)
    assert store.commit(put("2")).outcome == "expired"
    assert store.load(SESSION) is None
    assert store.touch(SESSION) is None
    assert store.set_ttl(SESSION, "5h") is None
    assert store.pin(SESSION, pinned=False) is None
    with pytest.raises(SessionExpiredError) as caught:
        store.copy(SESSION, "copy")
    assert caught.value.session == SESSION
    assert store.info(SESSION) == before
    assert names(store) == [SESSION]


def test_a_refused_unpin_leaves_the_pin(clock: FakeClock) -> None:
    """A pinned session past its maximum age stays pinned, and can be copied and deleted."""
    store = MemoryStore(ttl=TTLPolicy(idle=None, max_age="1h"), clock=clock)
    store.commit(put("1"))
    store.pin(SESSION)
    clock.advance("2h")
    assert store.pin(SESSION, pinned=False) is None
    copied = store.copy(SESSION, "copy")
    assert copied is not None
    assert copied.pinned
    assert store.delete(SESSION)


# --- sweeping -------------------------------------------------------------------------------------


def test_expired_sessions_are_forgotten_unasked(clock: FakeClock) -> None:
    """Calls on other sessions give the memory of expired ones back, a few at a time."""
    store = MemoryStore(ttl=TTLPolicy(idle="1h"), clock=clock)
    for number in range(100):
        store.commit(put("1", session=str(number), append=bytes(1_000)))
    clock.advance("2h")
    assert names(store) == []
    store.commit(put("1"))
    assert 0 < len(kept(store)) < 100
    for _ in range(8):
        store.info(SESSION)
    assert kept(store) == [SESSION]
    check_total(store)


def test_a_renewed_session_is_not_swept(clock: FakeClock) -> None:
    """Sweeping goes by the deadline a session has, not by one it had."""
    store = MemoryStore(ttl=TTLPolicy(idle="1h"), clock=clock)
    for name in ("renewed", "pinned", "endless", "longer", "lost"):
        store.commit(put("1", session=name))
    store.pin("pinned")
    store.set_ttl("endless", None)
    store.set_ttl("longer", "3h")
    for _ in range(4):
        clock.advance("30m")
        store.commit(put("2", session="renewed"))
    assert names(store) == ["endless", "longer", "pinned", "renewed"]
    assert sorted(kept(store)) == names(store)
    store.pin("pinned", pinned=False)
    clock.advance("61m")
    store.ping()
    assert names(store) == ["endless"]
    assert kept(store) == ["endless"]


def test_a_shortened_session_is_swept_in_time(clock: FakeClock) -> None:
    """A deadline that comes nearer is noticed."""
    store = MemoryStore(clock=clock)
    store.commit(put("1"))
    store.set_ttl(SESSION, "1h")
    clock.advance("1h")
    store.list_sessions()
    assert kept(store) == []
    clock.advance("24h")
    store.list_sessions()
    assert store._index._heap == []


def test_the_queue_of_deadlines_stays_small(clock: FakeClock) -> None:
    """Neither renewing a session nor making and deleting sessions piles up anything."""
    store = MemoryStore(clock=clock)
    for number in range(1_000):
        clock.advance("1s")
        store.commit(put(str(number)))
        store.commit(put("1", session=f"short {number}"))
        store.set_ttl(f"short {number}", 1_000 - number / 10)
        store.delete(f"short {number}")
    assert len(store._index._heap) < 150
    assert len(store._index._due_ms) == 1


# --- bounds ---------------------------------------------------------------------------------------


def test_the_least_recently_used_session_is_evicted() -> None:
    """Above `max_sessions`, the session that was not used for longest goes, whole."""
    store = MemoryStore(max_sessions=3)
    for name in ("a", "b", "c"):
        store.commit(put("1", session=name, append=b"some", state=b"{}"))
    store.commit(put("2", session="a"))
    store.commit(put("1", session="d"))
    assert names(store) == ["a", "c", "d"]
    life = store.commit(put("9", session="b")).life
    assert life is not None
    assert life.revision == 1
    assert names(store) == ["a", "b", "d"]
    check_total(store)


@pytest.mark.parametrize("call", ["load", "scan", "read", "touch", "set_ttl", "copy"])
def test_what_counts_as_recent_use(call: str) -> None:
    """Whoever works with a session keeps it from being the next to go."""
    store = MemoryStore(max_sessions=4)
    for name in ("a", "b", "c"):
        store.commit(put("1", session=name, append=b"some"))
    calls: dict[str, Callable[[], object]] = {
        "load": lambda: store.load("a"),
        "scan": lambda: store.scan("a", [Start("")], 1),
        "read": lambda: store.read("a", [Span(0, 4)]),
        "touch": lambda: store.touch("a"),
        "set_ttl": lambda: store.set_ttl("a", "1h"),
        "copy": lambda: store.copy("a", "d"),
    }
    assert calls[call]() is not None
    for name in ("d", "e"):
        store.commit(put("1", session=name))
    assert names(store) == ["a", "c", "d", "e"]


def test_looking_at_a_session_is_no_use() -> None:
    """Listings and info leave the order of eviction alone."""
    store = MemoryStore(max_sessions=2)
    store.commit(put("1", session="a"))
    store.commit(put("1", session="b"))
    store.info("a")
    store.heads("a")
    store.list_sessions()
    store.commit(put("1", session="c"))
    assert names(store) == ["b", "c"]


def test_pinned_sessions_are_not_evicted() -> None:
    """A pinned session stays, however long ago it was used."""
    store = MemoryStore(max_sessions=2)
    store.commit(put("1", session="pinned"))
    store.pin("pinned")
    for number in range(5):
        store.commit(put("1", session=str(number)))
    assert names(store) == ["4", "pinned"]


def test_a_store_full_of_pinned_sessions_refuses_more() -> None:
    """Where nothing may be evicted, a new session is an error, and nothing was written."""
    store = MemoryStore(max_sessions=1)
    store.commit(put("1", session="pinned"))
    store.pin("pinned")
    with pytest.raises(StoreUnavailableError, match="max_sessions=1"):
        store.commit(put("1", session="more"))
    with pytest.raises(StoreUnavailableError):
        store.copy("pinned", "more")
    assert names(store) == ["pinned"]
    assert store.commit(put("2", session="pinned")).outcome == "done"


def test_bytes_are_bounded() -> None:
    """Above `max_bytes`, sessions go until what is written fits."""
    store = MemoryStore(max_bytes=10_000)
    for number in range(50):
        store.commit(put("1", session=f"s{number:02}", append=bytes(1_500)))
        check_total(store)
        assert store._index.size_bytes <= 10_000
    assert names(store) == [f"s{number}" for number in range(44, 50)]
    store.commit(put("2", session="s44", append=bytes(6_500)))
    assert names(store) == ["s44", "s49"]


def test_a_session_is_not_evicted_by_itself() -> None:
    """What is too large alone is refused before anything is written or evicted."""
    store = MemoryStore(max_bytes=10_000)
    store.commit(put("1", append=bytes(6_000)))
    store.commit(put("1", session="other", append=bytes(3_000)))
    before = store.info(SESSION)
    for too_much in (
        put("2", append=bytes(4_000)),
        put("2", body=bytes(4_000)),
        add("1", write("task", 0, bytes(4_000))),
        commit(state=bytes(4_000)),
        put("1", session="new", append=bytes(10_000)),
    ):
        with pytest.raises(StoreUnavailableError, match="max_bytes=10000"):
            store.commit(too_much)
    assert store.info(SESSION).size_bytes == before.size_bytes  # type: ignore[union-attr]
    assert names(store) == [SESSION, "other"]
    assert store.scan(SESSION, [Start("")], 9).records[0].name == ("", "1")
    check_total(store)


def test_expired_sessions_are_evicted_first(clock: FakeClock) -> None:
    """A session that has expired makes room before one that lives."""
    store = MemoryStore(max_sessions=2, clock=clock)
    store.commit(put("1", session="lives"))
    store.commit(put("1", session="short"))
    store.set_ttl("short", "1h")
    clock.advance("2h")
    store.commit(put("1", session="new"))
    assert names(store) == ["lives", "new"]


def test_a_copy_keeps_within_the_bounds() -> None:
    """Copying evicts others, never its source, and counts what it replaces."""
    store = MemoryStore(max_bytes=10_000)
    store.commit(put("1", session="source", append=bytes(4_000)))
    store.commit(put("1", session="other", append=bytes(4_000)))
    assert store.copy("source", "copy") is not None
    assert names(store) == ["copy", "source"]
    assert store.copy("source", "copy", replace=True) is not None
    check_total(store)
    store.pin("copy")
    with pytest.raises(StoreUnavailableError):
        store.copy("source", "third")
    assert names(store) == ["copy", "source"]
    check_total(store)
    assert store._index.size_bytes <= 10_000


def test_sizes_count_everything() -> None:
    """Each byte that is kept is counted once, and given back when it goes."""
    store = MemoryStore()
    store.commit(put("1", session="é", body=b"body", append=b"12345"))
    assert size(store, "é") == 2 + 1 + 4 + 5
    store.commit(put("1", session="é", body=b"b", append=b"6", state=b"{}"))
    assert size(store, "é") == 2 + 1 + 1 + 6 + 2
    store.commit(add("9", write("t", 0, b"abc"), ns="n", session="é"))
    assert size(store, "é") == 12 + 2 + 3 + 3
    store.commit(add("9", write("t", 0, b"ignored"), ns="n", session="é"))
    assert size(store, "é") == 20
    store.commit(add("9", write("t", 0, b"abcde", replaces=True), ns="n", session="é"))
    assert size(store, "é") == 22
    store.copy("é", "longer")
    assert size(store, "longer") == 26
    check_total(store)
    assert store.delete("é")
    assert store.delete("longer")
    assert store._index.size_bytes == 0


# --- threads --------------------------------------------------------------------------------------


def test_threads_share_a_bounded_store(clock: FakeClock) -> None:
    """Everything at once from many threads: no error, and the store's books are in order."""
    store = MemoryStore(max_sessions=5, max_bytes=50_000, clock=clock)
    errors: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for number in range(200):
                name = f"s{(worker * 7 + number) % 9}"
                store.commit(put(f"{number}-{worker}", session=name, append=bytes(100)))
                store.load(name)
                store.copy(name, f"s{number % 9} copy", replace=True)
                store.list_sessions(limit=3)
                store.touch(name)
                if number % 10 == worker:
                    clock.advance("3h")
                    store.delete(name)
        except BaseException as error:  # noqa: BLE001 -- a thread cannot fail the test itself
            errors.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(kept(store)) <= 5
    assert store._index.size_bytes <= 50_000
    check_total(store)


def test_a_life_given_out_does_not_change() -> None:
    """What a call answered stays as it was, whatever happens to the session later."""
    store = MemoryStore(ttl=TTLPolicy(idle="1h"))
    life = store.commit(put("1")).life
    assert isinstance(life, Life)
    deadline_ms = life.deadline_ms
    store.set_ttl(SESSION, "9h")
    store.commit(put("2"))
    assert (life.deadline_ms, life.revision) == (deadline_ms, 1)
    assert deadline_ms == life.now_ms + to_ms("1h")
