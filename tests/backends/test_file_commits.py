"""Group commit: many callers share a transaction, and what happens to one does not hurt others."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from wren_sessions._blocking import Lock
from wren_sessions.errors import StoreUnavailableError
from wren_sessions.stores.file import FileStore
from wren_sessions.stores.file.group_commit import GroupCommit, Operation
from wren_sessions.testing.build import SESSION, put


class Connection(sqlite3.Connection):
    """A connection that counts its commits, and does something else at one if told to."""

    commits = 0
    at_commit: Callable[[Connection], None] | None = None

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Execute, or do what was planned for the next COMMIT."""
        if sql == "COMMIT":
            self.commits += 1
            instead, self.at_commit = self.at_commit, None
            if instead:
                instead(self)
                return self.cursor()
        return super().execute(sql, *parameters)


class Writer:
    """A group commit on a table of texts, with a way to have callers wait for each other."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, factory=Connection
        )
        self.connection.execute("CREATE TABLE texts (text TEXT UNIQUE)")
        self.chore: Operation | None = None
        self.commits = GroupCommit(self._begin, self._commit, lambda: self.chore, Lock())
        self.outcomes: dict[str, object] = {}

    def _begin(self) -> sqlite3.Connection:
        self.connection.execute("BEGIN IMMEDIATE")
        return self.connection

    def _commit(self, connection: sqlite3.Connection) -> None:
        connection.execute("COMMIT")

    def add(self, text: str, then: Callable[[], None] = lambda: None) -> None:
        """Insert a text, and note what came of it."""

        def operation(connection: sqlite3.Connection) -> str:
            connection.execute("INSERT INTO texts VALUES (?)", (text,))
            then()
            return f"{text} done"

        try:
            self.outcomes[text] = self.commits.run(operation)
        except BaseException as error:  # noqa: BLE001 -- the test looks at it
            self.outcomes[text] = type(error)

    def add_together(self, *adders: Callable[[], None], by: Callable[[], None]) -> None:
        """Run `by` as the leader, once all `adders` wait behind it in one batch."""
        leading, waiting = threading.Event(), threading.Event()

        def hold(connection: Connection) -> None:
            leading.set()
            assert waiting.wait(30)
            sqlite3.Connection.execute(connection, "COMMIT")

        self.connection.at_commit = hold
        self._queue_up(partial(self.add, "first"), leading, waiting, (by, *adders))

    def add_along(
        self, *adders: Callable[[], None], then: Callable[[], None] = lambda: None
    ) -> None:
        """Add "first", during which all `adders` come and wait; then go on with it."""
        leading, waiting = threading.Event(), threading.Event()

        def hold() -> None:
            leading.set()
            assert waiting.wait(30)
            then()

        self._queue_up(partial(self.add, "first", hold), leading, waiting, adders)

    def _queue_up(
        self,
        first: Callable[[], None],
        leading: threading.Event,
        waiting: threading.Event,
        adders: Sequence[Callable[[], None]],
    ) -> None:
        threads = [threading.Thread(target=first)]
        threads[0].start()
        assert leading.wait(30)
        for at, adder in enumerate(adders, start=1):
            threads.append(threading.Thread(target=adder))
            threads[-1].start()
            while len(self.commits._queue) < at:
                pass
        waiting.set()
        for thread in threads:
            thread.join()

    def texts(self) -> set[str]:
        """What was committed."""
        assert not self.connection.in_transaction
        return {text for (text,) in self.connection.execute("SELECT text FROM texts")}


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    """A group commit with a connection that can be tampered with."""
    writer = Writer(tmp_path / "texts.db")
    yield writer
    assert not writer.commits._queue
    assert not writer.commits._lead.locked()
    writer.connection.close()


def raise_(error: BaseException) -> None:
    """Raise, as an expression."""
    raise error


def adder(writer: Writer, text: str, error: BaseException | None = None) -> Callable[[], None]:
    """Something that adds a text, and raises behind the INSERT if told to."""
    return lambda: writer.add(text, (lambda: raise_(error)) if error else lambda: None)


def test_a_lone_caller_commits_at_once(writer: Writer) -> None:
    """Each call of a single thread is a transaction of its own."""
    for text in ("a", "b", "c"):
        writer.add(text)
    assert writer.outcomes == {text: f"{text} done" for text in "abc"}
    assert writer.connection.commits == 3


def test_callers_that_wait_share_a_transaction(writer: Writer) -> None:
    """What queues up behind a commit is committed together, and each gets its own answer."""
    writer.add_together(*(adder(writer, text) for text in "bcdef"), by=adder(writer, "a"))
    assert writer.outcomes == {text: f"{text} done" for text in ("first", *"abcdef")}
    assert writer.texts() == {"first", *"abcdef"}
    assert writer.connection.commits == 2


def test_one_that_fails_does_not_hurt_the_others(writer: Writer) -> None:
    """An operation that raises is undone alone."""
    failing = adder(writer, "b", ValueError("no"))
    writer.add_together(failing, adder(writer, "c"), by=adder(writer, "a"))
    assert writer.outcomes["b"] is ValueError
    assert writer.texts() == {"first", "a", "c"}
    assert writer.connection.commits == 2


def test_a_lone_one_that_fails_is_undone(writer: Writer) -> None:
    """An operation that raises leaves nothing, and the next one is not affected."""
    writer.add("a", lambda: raise_(ValueError("no")))
    writer.add("b")
    assert writer.outcomes == {"a": ValueError, "b": "b done"}
    assert writer.texts() == {"b"}


def test_a_transaction_that_sqlite_gave_up_is_done_in_parts(writer: Writer) -> None:
    """Where SQLite rolls everything back because of one operation, the others are repeated."""

    def give_up() -> None:
        writer.connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    writer.add_together(lambda: writer.add("b", give_up), adder(writer, "c"), by=adder(writer, "a"))
    assert writer.outcomes["b"] is sqlite3.OperationalError
    assert writer.texts() == {"first", "a", "c"}


def test_a_commit_that_fails_is_everybodys_error(writer: Writer) -> None:
    """Nobody is told that something is stored when the COMMIT failed."""

    def refuse(_: Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    def refuse_next() -> None:
        writer.connection.at_commit = refuse

    writer.add_together(
        lambda: writer.add("b", refuse_next), adder(writer, "c"), by=adder(writer, "a")
    )
    failed = {text for text, outcome in writer.outcomes.items() if outcome != f"{text} done"}
    assert failed == {"a", "b", "c"}
    assert writer.texts() == {"first"}
    writer.add("d")
    assert writer.texts() == {"first", "d"}


def test_a_transaction_that_cannot_begin_is_everybodys_error(writer: Writer) -> None:
    """Where the file is locked, everybody who waits for it is told."""
    writer.connection.execute("BEGIN")
    writer.add("a")
    writer.connection.execute("ROLLBACK")
    writer.add("b")
    assert writer.outcomes == {"a": sqlite3.OperationalError, "b": "b done"}


def test_an_interrupted_leader_loses_nobody(writer: Writer) -> None:
    """Ctrl-C in the thread that leads undoes its own operation; the others are done."""
    interrupted = adder(writer, "a", KeyboardInterrupt())
    writer.add_together(adder(writer, "b"), adder(writer, "c"), by=interrupted)
    assert writer.outcomes["a"] is KeyboardInterrupt
    assert writer.outcomes["b"] == "b done"
    assert writer.outcomes["c"] == "c done"
    assert writer.texts() == {"first", "b", "c"}


def test_an_interrupt_behind_the_commit_repeats_nothing(writer: Writer) -> None:
    """Ctrl-C just after the COMMIT: what is stored is not run again."""

    def interrupt(connection: Connection) -> None:
        sqlite3.Connection.execute(connection, "COMMIT")
        raise KeyboardInterrupt

    def interrupt_next() -> None:
        writer.connection.at_commit = interrupt

    writer.add_together(adder(writer, "b"), by=lambda: writer.add("a", interrupt_next))
    assert writer.outcomes["a"] is KeyboardInterrupt
    assert writer.outcomes["b"] == "b done"
    assert writer.texts() == {"first", "a", "b"}


def test_who_comes_while_one_runs_shares_its_transaction(writer: Writer) -> None:
    """A caller that is alone waits for nobody, but takes along who came before its COMMIT."""
    writer.add_along(*(adder(writer, text) for text in "abc"))
    assert writer.outcomes == {text: f"{text} done" for text in ("first", *"abc")}
    assert writer.texts() == {"first", *"abc"}
    assert writer.connection.commits == 1


def test_who_was_taken_along_fails_alone(writer: Writer) -> None:
    """The caller that took it along, and the others, are written."""
    writer.add_along(adder(writer, "a", ValueError("no")), adder(writer, "b"))
    assert writer.outcomes == {"first": "first done", "a": ValueError, "b": "b done"}
    assert writer.texts() == {"first", "b"}
    assert writer.connection.commits == 1


def test_the_one_that_fails_leaves_the_others_to_the_next(writer: Writer) -> None:
    """If a caller's own operation fails, those who came meanwhile are written without it."""
    writer.add_along(adder(writer, "a"), then=lambda: raise_(ValueError("no")))
    assert writer.outcomes == {"first": ValueError, "a": "a done"}
    assert writer.texts() == {"a"}


def test_who_was_taken_along_cannot_undo_the_one_that_took_it(writer: Writer) -> None:
    """Where SQLite rolls everything back because of it, the others are repeated without it."""

    def give_up() -> None:
        writer.connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    writer.add_along(lambda: writer.add("a", give_up), adder(writer, "b"))
    assert writer.outcomes == {"first": "first done", "a": sqlite3.OperationalError, "b": "b done"}
    assert writer.texts() == {"first", "b"}


def test_a_commit_that_fails_is_the_error_of_all_in_it(writer: Writer) -> None:
    """Also of those who were taken along; the next one is not affected."""

    def refuse(_: Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    writer.connection.at_commit = refuse
    writer.add_along(adder(writer, "a"), adder(writer, "b"))
    assert writer.outcomes == dict.fromkeys(("first", "a", "b"), sqlite3.OperationalError)
    writer.add("c")
    assert writer.texts() == {"c"}


def test_an_interrupt_behind_the_commit_repeats_nobody(writer: Writer) -> None:
    """Ctrl-C in the thread that took others along: what is stored is their answer."""

    def interrupt(connection: Connection) -> None:
        sqlite3.Connection.execute(connection, "COMMIT")
        raise KeyboardInterrupt

    writer.connection.at_commit = interrupt
    writer.add_along(adder(writer, "a"))
    assert writer.outcomes == {"first": KeyboardInterrupt, "a": "a done"}
    assert writer.texts() == {"first", "a"}


def test_an_interrupt_before_the_commit_loses_nobody(writer: Writer) -> None:
    """Ctrl-C while it runs what it took along: that is undone, and done by the next leader."""
    interrupts = [KeyboardInterrupt()]

    def once() -> None:
        if interrupts:
            raise interrupts.pop()

    writer.add_along(lambda: writer.add("a", once), adder(writer, "b"))
    assert writer.outcomes == {"first": KeyboardInterrupt, "a": "a done", "b": "b done"}
    assert writer.texts() == {"a", "b"}


def test_an_interrupted_follower_withdraws(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a thread that waits: its operation is not run behind its back."""
    monkeypatch.setattr("wren_sessions.stores.leader_queue.Ticket.wait", interrupted_wait)
    started, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        assert go_on.wait(30)

    leading = threading.Thread(target=writer.add, args=("a", hold))
    leading.start()
    assert started.wait(30)
    writer.add("b")
    go_on.set()
    leading.join()
    assert writer.outcomes == {"a": "a done", "b": KeyboardInterrupt}
    assert writer.texts() == {"a"}


def interrupted_wait(*_: object) -> None:
    """What waiting does when Ctrl-C is pressed."""
    raise KeyboardInterrupt


def test_a_follower_does_not_depend_on_being_woken(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader that was interrupted before it woke anybody leaves nobody asleep."""
    monkeypatch.setattr("wren_sessions.stores.leader_queue._PATIENCE_S", 0.001)
    monkeypatch.setattr("wren_sessions.stores.leader_queue.Ticket.wake", lambda _: None)
    writer.add_together(adder(writer, "b"), adder(writer, "c"), by=adder(writer, "a"))
    assert writer.texts() == {"first", "a", "b", "c"}


def test_a_chore_runs_along_and_cannot_fail_a_commit(writer: Writer) -> None:
    """Sweeping shares the transaction; if it fails, it is undone alone."""

    def chore(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO texts VALUES ('chore')")

    def failing_chore(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO texts VALUES ('half')")
        connection.execute("INSERT INTO texts VALUES ('half')")

    writer.chore = chore
    writer.add("a")
    writer.chore = failing_chore
    writer.add("b")
    assert writer.texts() == {"a", "b", "chore"}
    assert writer.connection.commits == 2


# --- the store ------------------------------------------------------------------------------------


def test_200_threads_put_at_once(tmp_path: Path) -> None:
    """Everybody is answered, nobody finds the file busy, and everything is there."""
    store = FileStore(tmp_path / "sessions.db", synchronous="full")
    together = threading.Barrier(200)
    outcomes: list[str] = []

    def run(number: int) -> None:
        together.wait()
        outcomes.append(store.commit(put(f"{number:03}", append=bytes([number]) * 900)).outcome)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["done"] * 200
    info = store.info(SESSION)
    assert info is not None
    assert info.life.revision == 200
    for number in range(200):
        loaded = store.load(SESSION, "", f"{number:03}")
        assert loaded is not None
        assert loaded.arena is not None
        assert loaded.arena.get(loaded.stored.spans[0]) == bytes([number]) * 900
    store.close()


def test_a_full_disk_hurts_only_what_does_not_fit(tmp_path: Path) -> None:
    """What was stored before can be read, what fits can be stored, and the file is intact."""
    path = tmp_path / "sessions.db"
    with FileStore(path) as store:
        store.commit(put("1", append=bytes(50_000)))
        writer = store._database._writer
        assert writer is not None
        (pages,) = writer.connection.execute("PRAGMA page_count").fetchone()
        writer.connection.execute(f"PRAGMA max_page_count = {pages + 20}")
        with pytest.raises(StoreUnavailableError, match="full") as caught:
            store.commit(put("2", append=bytes(500_000)))
        assert str(path) in str(caught.value)
        assert store.commit(put("3", append=b"small")).base == 50_000
        assert store.load(SESSION, "", "2") is None
        loaded = store.load(SESSION, "", "1")
        assert loaded is not None
        assert loaded.arena is not None
        assert loaded.arena.get(loaded.stored.spans[0]) == bytes(50_000)
        writer.connection.execute("PRAGMA max_page_count = 100000")
        store.commit(put("4", append=bytes(500_000)))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_an_interrupt_just_behind_the_begin_is_cleaned_up(tmp_path: Path) -> None:
    """A transaction that an interrupted leader left open does not keep the next one out."""
    with FileStore(tmp_path / "sessions.db") as store:
        store.commit(put("1"))
        writer = store._database._writer
        assert writer is not None
        writer.connection.execute("BEGIN IMMEDIATE")
        writer.connection.execute("DELETE FROM records")
        store.commit(put("2"))
        assert store.load(SESSION, "", "1") is not None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sessions SET arena_end = (1 << 32) - 10, arena_tail = (1 << 32) - 10",
        "UPDATE sqlite_sequence SET seq = (1 << 31) - 1",
    ],
    ids=["arena", "sessions"],
)
def test_the_limits_are_kept(tmp_path: Path, statement: str) -> None:
    """4 GiB of arena in a session, 2,147,483,647 sessions in a file: then a clear error."""
    with FileStore(tmp_path / "sessions.db") as store:
        store.commit(put("1", append=b"some"))
        writer = store._database._writer
        assert writer is not None
        writer.connection.execute(statement)
        session = SESSION if "arena" in statement else "another"
        with pytest.raises(StoreUnavailableError, match="limit was reached"):
            store.commit(put("2", session=session, append=b"eleven byte"))
        assert store.load(session, "", "2") is None
        assert store.commit(put("3", append=b"ten bytes.")).outcome == "done"
