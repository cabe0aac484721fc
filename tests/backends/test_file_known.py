"""What a process remembers of its last commit to a session file never changes what is written.

The same calls run on two files. On one the store remembers; on the other it is made to forget
before each commit. Both have to give the same answers and to end with the same rows.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, cast

import pytest

from wren_sessions.errors import StoreUnavailableError
from wren_sessions.records import NOTHING_NOTED, Commit, Committed, Notes, Span, TurnStep
from wren_sessions.stores.file import FileStore
from wren_sessions.testing import FakeClock
from wren_sessions.testing.build import SESSION, add, commit, prune, put, write

TABLES: Final = ("sessions", "records", "heads", "writes", "turns", "notes", "arena", "prefixes")


def begin(store: FileStore) -> None:
    """A session with two checkpoints, and writes of the latest one."""
    store.commit(put("1", append=b"one", token="t1"))
    store.commit(put("2", parent="1", append=b"two", witnesses=(("", "1"),), token="t2"))
    store.commit(add("2", write("task", 0, b"first"), token="t3"))


def _prune(store: FileStore) -> None:
    info = store.info(SESSION)
    assert info is not None
    store.prune(prune(info.life, ("", "1"), free=(Span(0, 3),)))


def _turn(store: FileStore) -> None:
    store.turn(TurnStep(session=SESSION, what="take", token="somebody", ttl_ms=60_000))


def _pass(_: FileStore) -> None:
    return


BETWEEN: Final[dict[str, Callable[[FileStore], object]]] = {
    "nothing": _pass,
    "a checkpoint": lambda store: store.commit(put("3", parent="2", append=b"3", token="t4")),
    "a lower checkpoint": lambda store: store.commit(put("15", parent="1", token="t4")),
    "a child's checkpoint": lambda store: store.commit(put("1", ns="child", token="t4")),
    "a child's checkpoint, and one more": lambda store: (
        store.commit(put("1", ns="child", token="t4")),
        store.commit(put("3", parent="2", token="t5")),
    ),
    "writes": lambda store: store.commit(add("2", write("task", 1, b"more"), token="t4")),
    "writes of an earlier one": lambda store: store.commit(
        add("1", write("task", 1, b"more"), token="t4")
    ),
    "early writes": lambda store: store.commit(add("4", write("task", 0, b"early"), token="t4")),
    "early writes, and a checkpoint below": lambda store: (
        store.commit(add("4", write("task", 0, b"early"), token="t4")),
        store.commit(put("3", parent="2", token="t5")),
    ),
    "early writes of two": lambda store: (
        store.commit(add("5", write("task", 0, b"early"), token="t4")),
        store.commit(add("4", write("task", 0, b"early"), token="t5")),
    ),
    "a header": lambda store: store.commit(commit(state=b"{}", token="t4")),
    "another session": lambda store: store.commit(put("9", session="another", token="t4")),
    "a turn": _turn,
    "a timeout": lambda store: store.set_ttl(SESSION, "2h"),
    "a pin": lambda store: store.pin(SESSION),
    "an owner": lambda store: store.annotate(SESSION, Notes("ada"), NOTHING_NOTED),
    "a deletion": lambda store: store.delete(SESSION),
    "another in its place": lambda store: (
        store.delete(SESSION),
        store.commit(put("2", token="t4")),
    ),
    "a copy in its place": lambda store: (
        store.commit(put("2", session="another", token="t4")),
        store.copy("another", SESSION, replace=True),
    ),
    "a prune": _prune,
    "a rewritten file": lambda store: store.scrub(),
    "a refused commit": lambda store: store.commit(put("3", new=True, token="t4")),
}

AFTER: Final[dict[str, Callable[[], Commit]]] = {
    "the next checkpoint": lambda: put(
        "4", parent="2", append=b"four", witnesses=(("", "2"),), token="t9"
    ),
    "one that must be the next": lambda: put("4", parent="2", latest=True, token="t9"),
    "one with its writes": lambda: _with_writes("4", "4"),
    "one with the last one's writes": lambda: _with_writes("4", "2"),
    "one with early writes": lambda: _with_writes("4", "5"),
    "one with an owner": lambda: put("4", parent="2", owner="bob", token="t9"),
    "a lower one": lambda: put("15", parent="1", token="t9"),
    "the same one again": lambda: put("2", parent="1", append=b"2", token="t9"),
    "the same commit again": lambda: put("2", parent="1", append=b"two", token="t2"),
    "the same writes again": lambda: add("2", write("task", 0, b"first"), token="t3"),
    "early writes": lambda: add("5", write("task", 7, b"seven"), token="t9"),
    "further writes": lambda: add("2", write("task", 7, b"seven"), token="t9"),
    "writes that replace": lambda: add("2", write("task", 0, b"two", replaces=True), token="t9"),
    "writes of the first life": lambda: add(
        "2", write("task", 7, b"seven"), incarnation="t1", token="t9"
    ),
    "one by its turn": lambda: put("4", parent="2", turn="somebody", token="t9"),
    "one of a revision": lambda: put("4", parent="2", incarnation="t1", revision=3, token="t9"),
    "a child's": lambda: put("1", ns="child", token="t9"),
    "a child's writes": lambda: add("3", write("task", 0, b"child"), ns="child", token="t9"),
    "writes of an earlier one": lambda: add("1", write("task", 7, b"seven"), token="t9"),
}


def _with_writes(checkpoint_id: str, of: str) -> Commit:
    both = add(of, write("task", 0, b"own"), token="t9")
    both.record = put(checkpoint_id, parent="2").record
    return both


class Twice:
    """Two stores on a file of their own, and two on another, of which the first one forgets."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.clock = FakeClock()
        self.paths = [folder / "remembers.db", folder / "forgets.db"]
        self.pairs = [(self._store(path), self._store(path)) for path in self.paths]

    def _store(self, path: Path) -> FileStore:
        return FileStore(path, ttl="1h", synchronous="off", clock=self.clock)

    def run(self, call: Callable[[FileStore], Any], by: int = 0) -> list[Any]:
        """Make a call on both files, with the same random texts; `by` says by which store."""
        answers = []
        for path, pair in zip(self.paths, self.pairs, strict=True):
            texts = count()
            self.monkeypatch.setattr(secrets, "token_hex", lambda _, at=texts: f"random{next(at)}")
            if path == self.paths[1]:
                forget(pair[0])
            answers.append(call(pair[by]))
        return answers

    def commit(self, make: Callable[[], Commit]) -> list[Any]:
        """Make a commit on both files."""
        return self.run(lambda store: store.commit(make()))

    def rows(self) -> list[list[Any]]:
        """All that is in each file."""
        found = []
        for path in self.paths:
            with closing(sqlite3.connect(path)) as connection:
                tables = [connection.execute(f"SELECT * FROM {name}") for name in TABLES]  # noqa: S608
                found.append([rows.fetchall() for rows in tables])
        return found


def forget(store: FileStore) -> None:
    """Have a store forget what it wrote, as if it had just opened the file."""
    if store._database._writer is not None:
        store._database.known._sessions.clear()


@pytest.fixture
def twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Twice]:
    """Both files, with the same session."""
    twice = Twice(tmp_path, monkeypatch)
    for store, _ in twice.pairs:
        begin(store)
    yield twice
    for pair in twice.pairs:
        for store in pair:
            store.close()


@pytest.mark.parametrize("by", [0, 1], ids=["itself", "another"])
@pytest.mark.parametrize("between", BETWEEN)
def test_what_is_remembered_is_what_the_file_says(twice: Twice, between: str, by: int) -> None:
    """Whatever this store or another one does in between, and whatever is written then."""
    for name, make in AFTER.items():
        twice.run(lambda store: store.delete(SESSION))
        twice.run(begin)
        twice.run(BETWEEN[between], by)
        answers = twice.commit(make)
        assert answers[0] == answers[1], name
        for number in (5, 6):
            answers = twice.commit(partial(put, str(number), parent="4", token=f"t1{number}"))
            assert answers[0] == answers[1], name
        rows = twice.rows()
        assert rows[0] == rows[1], name
        twice.run(lambda store: store.delete("another"))


def test_a_warm_commit_asks_nothing(tmp_path: Path) -> None:
    """Neither a checkpoint nor pending writes read a table, once this process has written one.

    They are 7 and 5 statements, of which one asks whether another connection has written.
    """
    with FileStore(tmp_path / "sessions.db", ttl="1h", clock=FakeClock()) as store:
        begin(store)
        writer = store._database._writer
        assert writer is not None
        statements: list[str] = []
        writer.connection.set_trace_callback(statements.append)
        store.commit(put("3", parent="2", append=b"3", witnesses=(("", "2"),), latest=True))
        store.commit(add("3", write("task", 0, b"value")))
    assert len(statements) == 7 + 5
    assert not [statement for statement in statements if "SELECT" in statement]


def test_what_a_failed_commit_wrote_is_not_remembered(tmp_path: Path) -> None:
    """If the disk is full, the next commit builds on what the file holds."""
    with FileStore(tmp_path / "sessions.db", clock=FakeClock()) as store:
        begin(store)
        writer = store._database._writer
        assert writer is not None
        (pages,) = writer.connection.execute("PRAGMA page_count").fetchone()
        writer.connection.execute(f"PRAGMA max_page_count = {pages + 20}")
        with pytest.raises(StoreUnavailableError, match="full"):
            store.commit(put("3", parent="2", append=bytes(500_000)))
        answer = store.commit(put("3", parent="2", append=b"small"))
        assert (answer.base, answer.life and answer.life.revision) == (6, 4)


def test_a_commit_that_does_not_arrive_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt in front of the COMMIT takes everything back, also what was remembered."""
    with FileStore(tmp_path / "sessions.db", clock=FakeClock()) as store:
        begin(store)

        def interrupted(_: sqlite3.Connection) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(store._database._commits, "_commit", interrupted)
            with pytest.raises(KeyboardInterrupt):
                store.commit(put("3", parent="2", append=b"lost"))
        answer = store.commit(put("4", parent="2", append=b"four", latest=True))
        assert (answer.outcome, answer.base) == ("done", 6)
        assert store.load(SESSION, "", "3") is None


def test_a_commit_that_failed_beside_others_is_not_remembered(tmp_path: Path) -> None:
    """Those that share its transaction, before and behind it, are written as they should be."""
    with FileStore(tmp_path / "sessions.db", clock=FakeClock()) as store:
        begin(store)
        broken = put("3", parent="2")
        assert broken.record is not None
        broken.record.body = cast("bytes", object())  # SQLite cannot store it
        made = (add("2", write("task", 5, b"a")), broken, put("3", parent="2", latest=True))
        outcomes = store._commit_all(made)
        assert isinstance(outcomes[1], Exception)
        done = [one for one in (outcomes[0], outcomes[2]) if isinstance(one, Committed)]
        assert [one.outcome for one in done] == ["done", "done"]
        assert [one.life and one.life.revision for one in done] == [4, 5]
        loaded = store.load(SESSION)
        assert loaded is not None
        assert (loaded.stored.name[1], loaded.stored.body) == ("3", b"body")


def test_it_remembers_a_bounded_number_of_sessions(tmp_path: Path) -> None:
    """A process that writes to many sessions forgets them now and then."""
    with FileStore(tmp_path / "sessions.db", synchronous="off", clock=FakeClock()) as store:
        for number in range(1_500):
            store.commit(put("1", session=f"session{number}"))
        assert 0 < len(store._database.known._sessions) <= 1_024
        answer = store.commit(put("2", parent="1", session="session0", latest=True))
        assert answer.outcome == "done"
