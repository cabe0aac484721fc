"""What a process remembers: bounded, forgotten in time, safe for threads, and never mixed up."""

from __future__ import annotations

import os
import threading
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any, Final

import pytest

from wren_sessions.checkpoints import record_cache as _cache
from wren_sessions.checkpoints.arriving import MAX_OLD, RECENT_S, Putting
from wren_sessions.checkpoints.codec import CheckpointRecord
from wren_sessions.checkpoints.record_cache import (
    MAX_ORIGINS,
    MAX_PAST,
    MAX_RECORDS,
    Cache,
    is_persistent,
)
from wren_sessions.delta.base import DeltaBase, StoredValue
from wren_sessions.delta.extents import Extent
from wren_sessions.records import Life, Name

SESSION: Final = "cli_20251108_145739"
FIRST: Final = ("", "c1")
SECOND: Final = ("", "c2")
PUT: Final = Putting()


def life(incarnation: str = "a", now_ms: int = 1_000) -> Life:
    """A session's life as a store told it."""
    return Life(
        incarnation=incarnation,
        created_ms=1,
        updated_ms=now_ms,
        now_ms=now_ms,
        deadline_ms=now_ms + 1_000,
        pinned=False,
        revision=1,
    )


def body(size_bytes: int = 0, *, persistent_subgraphs: bool = False) -> CheckpointRecord:
    """A record with one large value."""
    values = {"messages": StoredValue("msgpack", [Extent(0, size_bytes, 0)])}
    if size_bytes:
        values["messages"].known = DeltaBase(os.urandom(size_bytes), [Extent(0, size_bytes, 0)])
    return CheckpointRecord(None, ("msgpack", b""), {}, {}, values, persistent_subgraphs)


def filled(
    cache: Cache, session: str = SESSION, name: Name = FIRST, size_bytes: int = 0
) -> CheckpointRecord:
    """Remember one record of a session."""
    record = body(size_bytes)
    cache.live(session, life(), name)
    cache.remember(session, name, record, instead_of=None)
    return record


def waits(cache: Cache, name: Name) -> tuple[Life | None, bool]:
    """The life of a checkpoint that pending writes are for, and whether it is being written."""
    known = cache.for_writes(SESSION, name)
    return known.life, known.begun


def early(incarnation: str | None = None) -> Any:
    """Pending writes of a checkpoint that is not there; None: they are not stored yet."""
    return SimpleNamespace(incarnation=incarnation, size_bytes=1)


def hold(cache: Cache, name: Name, writes: Any) -> bool:
    """Remember pending writes that come now; whether that is enough."""
    return cache.hold(SESSION, name, writes, cache.for_writes(SESSION, name))


def written(cache: Cache, name: Name) -> tuple[Any, ...]:
    """A checkpoint that continues nothing is written; gives the writes that came before it."""
    waited = cache.begin(SESSION, name, life(), PUT)
    cache.written(SESSION, life(), name, body(), None, putting=PUT)
    return tuple(waited)


class _Sent:
    """A signal that counts how often it was sent."""

    times = 0

    def send(self) -> None:
        """Count."""
        self.times += 1

    async def wait(self, seconds: float) -> bool:
        """Nobody does."""
        raise NotImplementedError(seconds)


# --- records --------------------------------------------------------------------------------------


def test_a_record_is_remembered_until_another_continues_it() -> None:
    """The record written last is known, the one before it is not kept."""
    cache = Cache()
    first = filled(cache)
    assert cache.record(SESSION, FIRST) is first
    second = body()
    cache.remember(SESSION, SECOND, second, instead_of=FIRST)
    assert cache.record(SESSION, FIRST) is None
    assert cache.records(SESSION) == [(SECOND, second)]


def test_the_record_used_last_comes_first() -> None:
    """What a new value most likely resembles is compared first."""
    cache = Cache()
    filled(cache, name=FIRST)
    filled(cache, name=SECOND)
    assert [name for name, _ in cache.records(SESSION)] == [SECOND, FIRST]
    cache.record(SESSION, FIRST)
    assert [name for name, _ in cache.records(SESSION)] == [FIRST, SECOND]


def test_a_session_has_a_bounded_number_of_records() -> None:
    """A graph with many subgraphs does not make one session crowd out all others."""
    cache = Cache()
    for number in range(MAX_RECORDS + 10):
        filled(cache, name=("ns", str(number)))
    assert len(cache.records(SESSION)) == MAX_RECORDS
    assert cache.record(SESSION, ("ns", "0")) is None


def test_all_records_take_a_bounded_number_of_bytes() -> None:
    """Past the bound the session used least recently is forgotten, whole."""
    cache = Cache(max_bytes=110_000)
    for session in ("old", "used", "new"):
        filled(cache, session, size_bytes=30_000)
    cache.record("used", FIRST)
    cache.record("old", FIRST)
    filled(cache, "more", size_bytes=30_000)
    assert [s for s in ("old", "used", "new", "more") if cache.records(s)] == [
        "old",
        "used",
        "more",
    ]
    assert cache.size_bytes <= 110_000


def test_bytes_that_records_share_count_once() -> None:
    """A long list in fifty records of one session is in memory once."""
    cache = Cache(max_bytes=1_000_000)
    known = DeltaBase(os.urandom(400_000), [Extent(0, 400_000, 0)])
    for number in range(20):
        record = body()
        record.values["messages"].known = known
        cache.remember(SESSION, ("", str(number)), record, instead_of=None)
    assert len(cache.records(SESSION)) == 20
    assert cache.size_bytes < 600_000


def test_forgetting_everything_leaves_nothing_counted() -> None:
    """The bytes of what was forgotten are free again, by whichever way it was forgotten."""
    cache = Cache()
    filled(cache, "a", size_bytes=5_000)
    filled(cache, "b", size_bytes=5_000)
    filled(cache, "c", size_bytes=5_000)
    cache.forget("a")
    cache.absent("b")
    cache.live("c", life("another", now_ms=2_000))
    assert cache.size_bytes == 0
    assert not any(cache.records(session) for session in "abc")


def test_a_cache_of_no_bytes_remembers_lives_alone() -> None:
    """Without records the next step reads its parent, and still knows what it belongs to."""
    cache = Cache(max_bytes=0)
    filled(cache, size_bytes=10)
    assert cache.record(SESSION, FIRST) is None
    assert cache.life_of(SESSION, [FIRST]) == life()


# --- lives ----------------------------------------------------------------------------------------


def test_a_life_is_known_until_the_session_is_known_not_to_be_there() -> None:
    """Forgetting records keeps it; a session that is not there has none."""
    cache = Cache()
    filled(cache)
    cache.forget(SESSION)
    assert cache.life(SESSION) == life()
    cache.absent(SESSION)
    assert cache.life(SESSION) is None
    assert Cache().life(SESSION) is None


def test_records_of_another_life_are_forgotten() -> None:
    """What a deleted session held is never built on in the one that took its id."""
    cache = Cache()
    filled(cache)
    cache.live(SESSION, life("b", now_ms=2_000))
    assert cache.record(SESSION, FIRST) is None


def test_a_checkpoint_belongs_to_the_life_it_was_seen_in() -> None:
    """A run that began before its session was replaced is told from one that began after."""
    cache = Cache()
    cache.live(SESSION, life("a"), FIRST)
    cache.absent(SESSION)
    cache.live(SESSION, life("b", now_ms=2_000), SECOND)
    first, second = cache.life_of(SESSION, [FIRST]), cache.life_of(SESSION, [SECOND])
    assert first
    assert first.incarnation == "a"
    assert second
    assert second.incarnation == "b"
    assert cache.life_of(SESSION, [("", "other"), FIRST]) == first
    assert cache.life_of(SESSION, [("", "other")]) is None
    assert cache.life_of("other", [FIRST]) is None


def test_the_latest_answer_about_a_life_counts() -> None:
    """Answers that arrive out of order neither shorten a life nor bring a past one back."""
    cache = Cache()
    cache.live(SESSION, life("a", now_ms=2_000), FIRST)
    cache.live(SESSION, life("a", now_ms=1_000))
    assert cache.life(SESSION) == life("a", now_ms=2_000)
    filled(cache, name=FIRST)
    cache.live(SESSION, life("b", now_ms=3_000), SECOND)
    cache.remember(SESSION, SECOND, body(), instead_of=None)
    cache.live(SESSION, life("a", now_ms=2_500), FIRST)
    assert cache.life(SESSION) == life("b", now_ms=3_000)
    assert cache.record(SESSION, SECOND) is not None


def test_lives_and_checkpoints_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither many sessions, nor many lives, nor many checkpoints are remembered without end."""
    monkeypatch.setattr(_cache, "MAX_LIVES", 3)
    cache = Cache()
    for number in range(5):
        filled(cache, str(number))
    assert [str(n) for n in range(5) if cache.life(str(n))] == ["2", "3", "4"]
    assert not cache.records("0")
    for number in range(MAX_PAST + 2):
        cache.live(SESSION, life(str(number), now_ms=number), ("", str(number)))
    assert cache.life_of(SESSION, [("", "0")]) is None
    assert cache.life_of(SESSION, [("", "2")]) == life("2", now_ms=2)
    for number in range(MAX_ORIGINS):
        cache.live(SESSION, life("last", now_ms=99), ("ns", str(number)))
    assert cache.life_of(SESSION, [("", "5")]) is None
    assert cache.life_of(SESSION, [("ns", "0")]) == life("last", now_ms=99)


# --- persistent subgraphs ---


@pytest.mark.parametrize(
    ("namespace", "keeps"),
    [
        ("", False),
        ("agent:8f1c6c6e-6d1f-5b0b-8f1c-6c6e6d1f5b0b", False),
        ("agent", True),
        ("agent|tools", True),
        ("agent|tools:8f1c6c6e", False),
        ("agent|1", True),
    ],
)
def test_a_namespace_without_a_task_outlives_it(namespace: str, *, keeps: bool) -> None:
    """A subgraph with a checkpointer of its own keeps one namespace over all turns."""
    assert is_persistent(namespace) is keeps


@pytest.mark.parametrize(
    ("name", "persistent_subgraphs", "known"),
    [(FIRST, True, True), (("agent", "c"), False, True), (FIRST, False, False)],
)
def test_a_memory_of_a_subgraph_is_known_for_its_life(
    name: Name, *, persistent_subgraphs: bool, known: bool
) -> None:
    """From the subgraph's own record, or from one that says so; not in the session's next life."""
    cache = Cache(max_bytes=0)
    cache.live(SESSION, life("a"), name)
    cache.remember(SESSION, name, body(persistent_subgraphs=persistent_subgraphs), instead_of=None)
    assert cache.has_persistent_subgraphs(SESSION, life("a")) is known
    assert not cache.has_persistent_subgraphs(SESSION, life("b"))
    assert not cache.has_persistent_subgraphs(SESSION, None)
    assert not cache.has_persistent_subgraphs("other", life("a"))


# --- counting, threads ----------------------------------------------------------------------------


def test_an_entry_that_an_interrupt_left_empty_does_no_harm() -> None:
    """A call that was stopped just behind making it leaves nothing that others stumble over."""
    cache = Cache(max_bytes=10_000)
    cache._sessions["interrupted"] = _cache._Session()
    for number in range(50):
        cache.remember(f"s{number}", ("", "1"), body(1_000), instead_of=None)
    assert 0 < cache.size_bytes <= 10_000
    assert "interrupted" not in cache._sessions


def test_what_was_interrupted_is_forgotten() -> None:
    """Records that may belong to another life, or are not counted, are not built on."""
    cache = Cache()
    cache.remember("s", ("", "1"), body(1_000), instead_of=None)
    cache.size_bytes += 5
    with pytest.raises(KeyboardInterrupt), cache._lock:
        raise KeyboardInterrupt
    assert cache.records("s") == []
    assert cache.size_bytes == 0


def test_steps_are_counted_per_session() -> None:
    """Each session counts for itself, until it begins anew."""
    cache = Cache()
    assert [cache.count("a"), cache.count("a"), cache.count("b")] == [1, 2, 1]
    assert cache.count("a", begin=True) == 0
    assert cache.count("a") == 1


def test_threads_leave_the_count_of_bytes_right() -> None:
    """Many threads that remember and forget at once never lose a byte of the account."""
    cache = Cache(max_bytes=300_000)
    start = threading.Barrier(8)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        start.wait()
        try:
            for number in range(150):
                session = str((seed + number) % 5)
                filled(cache, session, ("", str(number % 7)), size_bytes=10_000)
                cache.records(session)
                cache.record(session, FIRST)
                if number % 11 == seed % 11:
                    cache.forget(session)
                if number % 13 == seed % 13:
                    cache.absent(session)
                cache.live(session, life(str(number % 3), now_ms=number))
        except BaseException as error:  # noqa: BLE001 -- shown by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert 0 <= cache.size_bytes <= 300_000
    for session in "01234":
        cache.forget(session)
    assert cache.size_bytes == 0


# --- what is on its way ---------------------------------------------------------------------------


def test_writes_are_remembered_for_a_checkpoint_that_is_not_there() -> None:
    """They are given once, to the put that writes it; after that none need be remembered."""
    cache = Cache()
    one, two = early(), early()
    assert waits(cache, FIRST) == (None, False)
    assert hold(cache, FIRST, one)
    assert cache.for_writes(SESSION, FIRST).waits
    assert hold(cache, FIRST, two)
    assert written(cache, FIRST) == (one, two)
    assert not hold(cache, FIRST, early())
    assert not hold(cache, FIRST, early("a"))
    assert written(cache, FIRST) == ()
    assert waits(cache, FIRST) == (life(), False)
    assert written(Cache(), FIRST) == ()


def test_writes_of_a_checkpoint_on_its_way_are_remembered_only_if_they_are_stored() -> None:
    """Its commit has been made: it cannot take them in any more."""
    cache = Cache()
    cache.begin(SESSION, FIRST, None, PUT)
    assert waits(cache, FIRST) == (None, True)
    assert not hold(cache, FIRST, early())
    assert not hold(cache, FIRST, early("a"))
    cache.begin(SESSION, FIRST, life("a"), PUT)
    assert not hold(cache, FIRST, early())
    assert not hold(cache, FIRST, early("b"))
    stored = early("a")
    assert hold(cache, FIRST, stored)
    assert not cache.for_writes(SESSION, FIRST).waits
    assert cache.begin(SESSION, FIRST, None, PUT) == (stored,)  # it begins another life


def test_writes_are_enough_if_their_checkpoint_came_while_they_were_stored() -> None:
    """Unless it came and went meanwhile: a prune may have dropped them before."""
    cache = Cache()
    cache.live(SESSION, life("a"))
    before = cache.for_writes(SESSION, FIRST)
    cache.begin(SESSION, FIRST, life("a"), PUT)
    on_its_way = cache.for_writes(SESSION, FIRST)
    cache.written(SESSION, life("a"), FIRST, body(), None, putting=PUT)
    assert not cache.hold(SESSION, FIRST, early("a"), before)
    assert not cache.hold(SESSION, FIRST, early(), on_its_way)
    assert not cache.hold(SESSION, FIRST, early("b"), on_its_way)
    assert cache.hold(SESSION, FIRST, early("a"), on_its_way)


@pytest.mark.parametrize("fails", [False, True])
def test_who_waits_for_a_checkpoint_on_its_way_is_told_once(*, fails: bool) -> None:
    """Also if it was not written; nobody waits for one that is not on its way."""
    cache = Cache()
    first, second, other = _Sent(), _Sent(), _Sent()
    assert not cache.await_put(SESSION, FIRST, first)
    cache.begin(SESSION, FIRST, None, PUT)
    cache.begin(SESSION, SECOND, None, PUT)
    assert cache.await_put(SESSION, FIRST, first)
    assert cache.await_put(SESSION, FIRST, second)
    assert cache.await_put(SESSION, SECOND, other)
    for _ in range(2):
        if fails:
            cache.end(SESSION, FIRST, PUT, unsure=True)
        else:
            cache.written(SESSION, life(), FIRST, body(), None, putting=PUT)
    assert (first.times, second.times, other.times) == (1, 1, 0)
    assert not cache.await_put(SESSION, FIRST, first)


@pytest.mark.parametrize("unsure", [False, True])
def test_of_two_puts_the_last_one_counts(*, unsure: bool) -> None:
    """Writes that come while one of them is on its way wait for it, and are not remembered."""
    cache, other, sent = Cache(), Putting(), _Sent()
    cache.begin(SESSION, FIRST, None, PUT)
    cache.begin(SESSION, FIRST, None, other)
    cache.begin(SESSION, FIRST, None, other)  # it says more about itself
    assert cache.await_put(SESSION, FIRST, sent)
    cache.end(SESSION, FIRST, PUT, unsure=unsure)
    assert waits(cache, FIRST) == (None, True)
    assert not hold(cache, FIRST, early())
    cache.end(SESSION, FIRST, PUT, unsure=unsure)  # it ends once
    assert sent.times == 0
    cache.end(SESSION, FIRST, other, unsure=False)
    assert (sent.times, waits(cache, FIRST)) == (1, (None, False))
    assert cache.for_writes(SESSION, FIRST).unsure is unsure


def test_a_forked_child_waits_for_no_put_of_its_parent() -> None:
    """The thread that makes it is not there; what it writes may be stored or not."""
    cache = Cache()
    cache.begin(SESSION, FIRST, None, PUT)
    sent = _Sent()
    assert cache.await_put(SESSION, FIRST, sent)
    cache.renew()
    assert waits(cache, FIRST) == (None, False)
    assert cache.for_writes(SESSION, FIRST).unsure
    assert not cache.await_put(SESSION, FIRST, sent)


def test_writes_stay_for_a_checkpoint_whose_put_failed() -> None:
    """It may be tried again, with them; if the session is deleted, its writes are, too."""
    cache = Cache()
    waiting = {name: early() for name in (FIRST, SECOND)}
    for name, writes in waiting.items():
        assert hold(cache, name, writes)
        assert cache.begin(SESSION, name, None, PUT) == (writes,)
        cache.end(SESSION, name, PUT, unsure=True)
    assert waits(cache, FIRST) == (None, False)
    assert written(cache, FIRST) == (waiting[FIRST],)
    cache.absent(SESSION)
    cache.absent(SESSION, deleted=True)
    assert written(cache, SECOND) == ()


def test_writes_of_a_checkpoint_whose_put_failed_are_remembered_only_if_they_are_stored() -> None:
    """It may be there: so what waits for it is tried with the next of them."""
    cache = Cache()
    waiting = early()
    hold(cache, FIRST, waiting)
    cache.live(SESSION, life("a"))
    cache.begin(SESSION, FIRST, life("a"), PUT)
    cache.end(SESSION, FIRST, PUT, unsure=True)
    known = cache.for_writes(SESSION, FIRST)
    assert (known.unsure, known.early, known.expected) == (True, (waiting,), life("a"))
    cache.begin(SESSION, FIRST, life("a"), PUT)
    cache.end(
        SESSION, FIRST, PUT, unsure=False
    )  # the next try fails for certain, the first may come
    assert cache.for_writes(SESSION, FIRST).unsure
    assert not hold(cache, FIRST, early())
    assert not hold(cache, FIRST, early("b"))
    assert hold(cache, FIRST, early("a"))
    assert cache.found(SESSION, FIRST)[0] is waiting
    assert cache.begin(SESSION, FIRST, None, PUT) == ()
    assert not cache.for_writes(SESSION, FIRST).unsure
    cache.end(SESSION, FIRST, PUT, unsure=False)
    assert not cache.for_writes(SESSION, FIRST).unsure


def test_what_a_put_on_its_way_contains_is_not_given_again() -> None:
    """Another write that finds its checkpoint would store it behind newer ones of its task."""
    cache = Cache()
    waiting = early()
    hold(cache, FIRST, waiting)
    assert cache.begin(SESSION, FIRST, None, PUT) == (waiting,)
    assert cache.found(SESSION, FIRST) == ()
    cache.end(SESSION, FIRST, PUT, unsure=True)
    assert cache.found(SESSION, FIRST) == [waiting]


def test_writes_that_nothing_comes_for_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go when they have waited for long, and never while their step may be saved."""
    now_s = [1_000.0]
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    cache = Cache()
    names = [("", str(number)) for number in range(3 * MAX_OLD)]
    for name in names:
        hold(cache, name, early())
    now_s[0] += RECENT_S - 1
    hold(cache, SECOND, early())
    assert all(cache.for_writes(SESSION, name).waits for name in names)
    now_s[0] += 1
    hold(cache, FIRST, early())
    left = [name for name in names if cache.for_writes(SESSION, name).waits]
    assert left == names[-MAX_OLD + 2 :]


def test_puts_that_may_still_come_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a step with many subgraphs; later, only the last ones."""
    now_s = [1_000.0]
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    cache = Cache()
    names = [("", str(number)) for number in range(3 * MAX_OLD)]

    def unsure() -> list[Name]:
        return [name for name in names if cache.for_writes(SESSION, name).unsure]

    for name in names:
        cache.begin(SESSION, name, None, PUT)
        cache.end(SESSION, name, PUT, unsure=True)
    assert unsure() == names
    now_s[0] += RECENT_S
    cache.begin(SESSION, FIRST, None, PUT)
    cache.end(SESSION, FIRST, PUT, unsure=True)
    assert unsure() == names[-MAX_OLD + 1 :]


def test_a_session_that_waits_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sessions begin their first turn at once."""
    monkeypatch.setattr(_cache, "MAX_LIVES", 3)
    now_s = [1_000.0]
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    cache = Cache()
    for number in range(10):
        session = str(number)
        cache.hold(session, FIRST, early(), cache.for_writes(session, FIRST))
    assert all(cache.for_writes(str(number), FIRST).waits for number in range(10))
    now_s[0] += RECENT_S
    for number in range(10, 20):
        cache.live(str(number), life())
    assert not any(cache.for_writes(str(number), FIRST).waits for number in range(10))
    assert [n for n in range(20) if cache.life(str(n))] == [17, 18, 19]


@pytest.mark.parametrize("behind", [None, "a"])
def test_writes_that_are_not_stored_count_whatever_came_behind_them(behind: str | None) -> None:
    """Later ones of their task must not overtake them, though another task's are stored."""
    cache = Cache()
    hold(cache, FIRST, early("a"))
    assert not cache.for_writes(SESSION, FIRST).waits
    hold(cache, FIRST, early())
    hold(cache, FIRST, early(behind))
    assert cache.for_writes(SESSION, FIRST).waits


def test_writes_of_a_checkpoint_that_another_continues_do_not_wait() -> None:
    """It is there, though it was written too long ago to be remembered; what is stored goes."""
    cache = Cache()
    cache.live(SESSION, life("a"), FIRST)
    for number in range(MAX_ORIGINS):
        cache.live(SESSION, life("a"), ("many tasks", str(number)))
    stored, kept_here = early("a"), early()
    for writes in (stored, kept_here, stored):
        assert hold(cache, FIRST, writes)
    cache.written(SESSION, life("a"), SECOND, body(), FIRST, putting=PUT)
    assert written(cache, FIRST) == (kept_here,)


def test_a_checkpoint_that_is_being_written_counts_for_those_within_it() -> None:
    """A subgraph's checkpoint may come before the root's has been written."""
    cache = Cache()
    cache.live(SESSION, life("a"), FIRST)
    cache.begin(SESSION, SECOND, life("a"), PUT)
    assert cache.life_of(SESSION, [SECOND]) == life("a")
    assert waits(cache, SECOND) == (None, True)
    cache.end(SESSION, SECOND, PUT, unsure=True)
    assert cache.life_of(SESSION, [SECOND]) is None


def test_what_was_looked_for_belongs_to_the_context_that_looked() -> None:
    """Two requests in one process do not mix up the lives that they began with."""
    cache = Cache()
    cache.live(SESSION, life("a"), FIRST)
    cache.look(SESSION, life("a"))
    copied = copy_context()
    cache.live(SESSION, life("b", now_ms=2_000), SECOND)
    cache.look(SESSION, life("b", now_ms=2_000))
    assert cache.life_looked_at(SESSION) == life("b", now_ms=2_000)
    assert copied.run(cache.life_looked_at, SESSION) == life("a")
    assert cache.life_looked_at("other") is None
    assert Cache().life_looked_at(SESSION) is None
    cache.look(SESSION, None)
    assert cache.life_looked_at(SESSION) is None


def test_a_deletion_is_known_until_the_next_look() -> None:
    """What this process deleted is told from what was merely not found."""
    cache = Cache()
    cache.live(SESSION, life("a"), FIRST)
    cache.absent(SESSION, deleted=True)
    assert cache.is_deleted(SESSION)
    cache.absent(SESSION)
    assert not cache.is_deleted(SESSION)
    cache.absent(SESSION, deleted=True)
    cache.live(SESSION, life("b", now_ms=2_000))
    assert not cache.is_deleted(SESSION)
    assert not cache.is_deleted("other")
