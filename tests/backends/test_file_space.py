"""The space that a session file takes: sweeping, shrinking, and what its log may grow to."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from wren_sessions.records import Prune, Span, Start
from wren_sessions.stores.file import FileStore
from wren_sessions.testing import FakeClock
from wren_sessions.testing.build import SESSION, add, commit, put, write
from wren_sessions.ttl import TTLPolicy

HOUR = TTLPolicy(idle="1h")
TABLES = ("sessions", "records", "heads", "writes", "arena")


@pytest.fixture
def clock() -> FakeClock:
    """A clock moved by hand."""
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the session file will be."""
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path: Path, clock: FakeClock) -> Iterator[FileStore]:
    """A store whose sessions live an hour."""
    with FileStore(path, ttl=HOUR, clock=clock, synchronous="off") as store:
        yield store


def rows(path: Path) -> dict[str, int]:
    """How many rows each table has."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
            for table in TABLES
        }


def fill(store: FileStore, session: str, size: int = 20_000) -> None:
    """A session with something in every table."""
    store.commit(put("1", session=session, append=bytes(size)))
    store.commit(add("1", write("task", 0, b"value"), session=session))


def use(store: FileStore, clock: FakeClock, times: int) -> None:
    """Commit something small now and then, which is when sweeping is done."""
    for _ in range(times):
        clock.advance("2s")
        store.commit(commit("in use", state=b"{}"))


def test_expired_sessions_are_swept_whole(path: Path, store: FileStore, clock: FakeClock) -> None:
    """Some time after it expired, nothing of a session is left in any table."""
    for number in range(5):
        fill(store, f"old {number}")
    clock.advance("1h")
    assert rows(path) == {"sessions": 5, "records": 5, "heads": 5, "writes": 5, "arena": 5}
    use(store, clock, 2)
    assert rows(path) == {"sessions": 1, "records": 0, "heads": 0, "writes": 0, "arena": 0}


def test_sessions_that_are_used_or_pinned_are_not_swept(store: FileStore, clock: FakeClock) -> None:
    """A deadline that moved, or went away, is found out before anything is removed."""
    for session in ("written", "touched", "pinned", "own time", "no limit", "expired"):
        fill(store, session)
    clock.advance("50m")
    store.commit(put("2", session="written"))
    store.touch("touched")
    store.pin("pinned")
    store.set_ttl("own time", "5h")
    store.set_ttl("no limit", None)
    clock.advance("50m")
    use(store, clock, 3)
    left = {entry.session for entry in store.list_sessions().sessions}
    assert left == {"written", "touched", "pinned", "own time", "no limit", "in use"}


def test_a_deadline_that_moved_closer_is_met(
    path: Path, store: FileStore, clock: FakeClock
) -> None:
    """A session that got a shorter time of its own is swept when that is over."""
    fill(store, "short")
    store.set_ttl("short", "1m")
    fill(store, "unpinned")
    store.pin("unpinned")
    clock.advance("5h")
    store.pin("unpinned", pinned=False)
    use(store, clock, 1)
    assert rows(path)["sessions"] == 2
    clock.advance("61m")
    use(store, clock, 1)
    assert rows(path)["sessions"] == 1


def test_many_expired_sessions_are_swept_a_few_at_a_time(
    path: Path, store: FileStore, clock: FakeClock
) -> None:
    """One commit does not pay for all that expired; the next ones go on without a pause."""
    for number in range(150):
        store.commit(commit(f"old {number}"))
    clock.advance("2h")
    counts = []
    for _ in range(4):
        store.commit(commit("in use", state=b"{}"))
        counts.append(rows(path)["sessions"])
    assert counts == [87, 23, 1, 1]


def test_a_large_session_is_swept_by_itself(path: Path, store: FileStore, clock: FakeClock) -> None:
    """A sweep ends behind a session with many rows, and the next commit goes on."""
    for number in range(3):
        entries = [write("task", index, b"value") for index in range(1_100)]
        store.commit(add("1", *entries, session=f"old {number}"))
    clock.advance("2h")
    counts = []
    for _ in range(4):
        store.commit(commit("in use", state=b"{}"))
        counts.append(rows(path)["sessions"])
    assert counts == [3, 2, 1, 1]


def test_a_session_made_again_has_nothing_of_the_expired_one(
    path: Path, store: FileStore, clock: FakeClock
) -> None:
    """A commit on an expired session that was not swept yet begins a new one."""
    fill(store, SESSION)
    store.commit(commit("other"))
    clock.advance("61m")
    store.commit(put("2", append=b"new"))
    found = store.scan(SESSION, [Start("")], 10).records
    assert [(stored.name[1], stored.base) for stored in found] == [("2", 0)]
    assert rows(path)["records"] == 1


def test_the_file_shrinks(path: Path, store: FileStore, clock: FakeClock) -> None:
    """Space of expired sessions goes back to the file system, with the commits that follow."""
    for number in range(10):
        fill(store, f"old {number}", size=1_000_000)
    store.close()
    full = path.stat().st_size
    assert full > 10_000_000
    clock.advance("2h")
    use(store, clock, 20)
    store.close()
    assert path.stat().st_size < full / 4


def test_deleting_gives_space_back_and_leaves_no_bytes(path: Path, store: FileStore) -> None:
    """What was deleted is not in the file any more, and neither are its pages."""
    store.commit(put("1", append=b"something very private " * 100_000))
    store.close()
    full = path.stat().st_size
    assert store.delete(SESSION)
    use(store, FakeClock(), 5)
    store.close()
    assert path.stat().st_size < full / 1.5
    assert b"very private" not in path.read_bytes()


def test_pruning_gives_space_back(path: Path, store: FileStore) -> None:
    """What only dropped records needed is removed from the arena; offsets stay."""
    store.commit(put("1", append=b"dropped " * 100_000))
    kept = store.commit(put("2", append=b"kept")).base
    info = store.info(SESSION)
    assert info is not None
    assert info.size_bytes is not None
    assert info.size_bytes > 800_000
    store.prune(
        Prune(
            session=SESSION,
            incarnation=info.life.incarnation,
            revision=info.life.revision,
            drop=(("", "1"),),
            keep=(Span(kept, 4),),
            free=(Span(0, kept),),
        )
    )
    after = store.info(SESSION)
    assert after is not None
    assert after.size_bytes is not None
    assert after.size_bytes < 100_000
    parts = store.read(SESSION, [Span(kept, 4)])
    assert parts is not None
    assert parts.get(Span(kept, 4)) == b"kept"
    assert store.read(SESSION, [Span(0, 8)]) is None
    assert store.commit(put("3", append=b"more")).base == kept + 4


def test_the_log_does_not_grow_for_ever(
    path: Path, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads that overlap without a pause do not keep the write-ahead log from starting anew."""
    monkeypatch.setattr("wren_sessions.stores.file.log._LONG_BYTES", 1_000_000)
    store.commit(put("0", session="read", append=bytes(500_000)))
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            assert store.load("read") is not None

    readers = [threading.Thread(target=read) for _ in range(6)]
    for reader in readers:
        reader.start()
    log, longest = path.with_name("sessions.db-wal"), 0
    for number in range(500):
        store.commit(put(f"{number:04}", append=bytes(20_000)))
        longest = max(longest, log.stat().st_size)
    done.set()
    for reader in readers:
        reader.join()
    assert longest < 6_000_000
