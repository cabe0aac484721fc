"""A session file that outlives its policy, and what is asked of it that it cannot give."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from wren_sessions.errors import (
    ConfigurationError,
    CorruptSessionError,
    SerializationError,
    SessionExpiredError,
)
from wren_sessions.records import Life, Loaded
from wren_sessions.stores.file import FileStore
from wren_sessions.testing import FakeClock
from wren_sessions.testing.build import SESSION, commit, put
from wren_sessions.ttl import TTLPolicy

DAY_OLD = TTLPolicy(idle=None, max_age="24h", refresh="read")


@pytest.fixture
def clock() -> FakeClock:
    """A clock moved by hand."""
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path, clock: FakeClock) -> Path:
    """A file with a session that was made two days ago, without limits."""
    path = tmp_path / "sessions.db"
    with FileStore(path, clock=clock) as store:
        store.commit(put("1", append=b"some"))
    clock.advance("48h")
    return path


USES: dict[str, Callable[[FileStore], Life | Loaded | None]] = {
    "load": lambda store: store.load(SESSION),
    "touch": lambda store: store.touch(SESSION),
    "set_ttl": lambda store: store.set_ttl(SESSION, "1h"),
    "unpin": lambda store: store.pin(SESSION, pinned=False),
}


@pytest.mark.parametrize("use", USES)
def test_a_use_past_a_new_maximum_age_is_a_miss(path: Path, clock: FakeClock, use: str) -> None:
    """Where the policy has a maximum age now, a session that is past it is not to be used."""
    with FileStore(path, ttl=DAY_OLD, clock=clock) as store:
        assert USES[use](store) is None
        info = store.info(SESSION)
        assert info is not None
        assert info.life.deadline_ms is None
    with FileStore(path, clock=clock) as store:
        assert store.load(SESSION) is not None


def test_a_commit_past_a_new_maximum_age_is_refused(path: Path, clock: FakeClock) -> None:
    """A commit tells that the session expired, and writes nothing."""
    with FileStore(path, ttl=DAY_OLD, clock=clock) as store:
        assert store.commit(put("2", state=b"{}")).outcome == "expired"
        assert store.load(SESSION, "", "2") is None


def test_a_copy_past_a_new_maximum_age_is_an_error(path: Path, clock: FakeClock) -> None:
    """Copying does not start the maximum age again; a pinned session can be copied."""
    with FileStore(path, ttl=DAY_OLD, clock=clock) as store:
        with pytest.raises(SessionExpiredError, match="older than the maximum age") as caught:
            store.copy(SESSION, "copy")
        assert caught.value.session == SESSION
        assert store.info("copy") is None
        store.pin(SESSION)
        assert store.copy(SESSION, "copy") is not None


@pytest.mark.parametrize("again", [True, False], ids=["made again", "deleted"])
def test_a_session_that_goes_while_it_is_loaded(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, *, again: bool
) -> None:
    """A load that renews finds what is there when it renews: the new session, or nothing."""
    with (
        FileStore(path, clock=clock) as other,
        FileStore(path, ttl=TTLPolicy(idle="1h", refresh="read"), clock=clock) as store,
    ):
        renew = store._renew

        def go_away_first(*arguments: object) -> Life | None:
            monkeypatch.undo()
            other.delete(SESSION)
            if again:
                other.commit(put("1", body=b"another"))
            return renew(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(store, "_renew", go_away_first)
        loaded = store.load(SESSION)
    assert (loaded.stored.body if loaded else None) == (b"another" if again else None)


def test_bytes_that_are_missing_are_damage(path: Path, clock: FakeClock) -> None:
    """A checkpoint whose bytes are gone is an error, never a shorter list."""
    with FileStore(path, clock=clock) as store:
        store.ping()
        writer = store._database._writer
        assert writer is not None
        writer.connection.execute("DELETE FROM arena")
        with pytest.raises(CorruptSessionError, match="not there") as caught:
            store.load(SESSION)
        assert caught.value.session == SESSION


def test_a_value_too_large_for_sqlite_is_refused(path: Path, clock: FakeClock) -> None:
    """SQLite's limit on one value is told as a value that cannot be stored."""
    with FileStore(path, clock=clock) as store:
        store.ping()
        writer = store._database._writer
        assert writer is not None
        writer.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
        with pytest.raises(SerializationError, match="too large"):
            store.commit(put("2", body=bytes(200_000)))
        assert store.commit(put("3")).outcome == "done"


@pytest.mark.parametrize(
    "cursor", ["", "after:", "0", "after:a b", "after:%FF", "after:" + "a" * 2_000]
)
def test_junk_is_no_cursor(path: Path, clock: FakeClock, cursor: str) -> None:
    """A cursor that no page had is refused, and not taken for a place in the listing."""
    with FileStore(path, clock=clock) as store, pytest.raises(ConfigurationError, match="cursor"):
        store.list_sessions(cursor)


def test_pages_go_on_behind_the_last_session(path: Path, clock: FakeClock) -> None:
    """Pages are sorted by id, and a session deleted in between hides no other."""
    with FileStore(path, clock=clock) as store:
        store.delete(SESSION)
        for name in ("b", "a:1", "é", "c"):
            store.commit(commit(name))
        first = store.list_sessions(limit=2)
        assert [entry.session for entry in first.sessions] == ["a:1", "b"]
        store.delete("b")
        second = store.list_sessions(first.cursor, limit=2)
        assert [entry.session for entry in second.sessions] == ["c", "é"]
        assert second.cursor is None
