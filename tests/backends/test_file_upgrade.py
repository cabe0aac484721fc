"""Session files of version 1 become files of today: in place, at once, and by whoever is first."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from golden import content
from wren_sessions.records import Start
from wren_sessions.stores.file import FileStore, schema
from wren_sessions.testing.build import put

GOLDEN: Final = Path(content.__file__).parent / "v1.sqlite3"

# What version 1 asked and wrote, for a process of it that still has the file open.
OLD_FIND: Final = "SELECT s.sid, s.revision FROM sessions s WHERE s.id = ?"
OLD_PAGE: Final = "SELECT s.id, s.state FROM sessions s WHERE s.id > ? ORDER BY s.id LIMIT ?"
OLD_MAKE: Final = """
    INSERT INTO sessions (id, incarnation, created_ms, updated_ms, pinned, revision, arena_end,
        arena_tail, recent, state)
    VALUES (?, ?, ?, 0, 0, 0, 0, 0, '', x'')"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A session file of version 1."""
    return Path(shutil.copy(GOLDEN, tmp_path / "sessions.db"))


def ids(path: Path, prefix: str) -> list[str]:
    """The sessions that a store with a prefix lists."""
    with FileStore(path, prefix=prefix) as store:
        return [info.session for info in store.list_sessions().sessions]


def version(path: Path) -> int:
    """The version of the schema, and that the file is intact."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (found,) = connection.execute("PRAGMA user_version").fetchone()
    return int(found)


def test_its_sessions_get_the_prefix_that_opens_it(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first store takes them over, and says so; another prefix finds nothing from then on."""
    with caplog.at_level(logging.WARNING, "wren_sessions"):
        assert ids(path, "first") == [content.SESSION]
    (record,) = caplog.records
    assert str(path) in record.getMessage()
    assert "(1) have the prefix 'first'" in record.getMessage()
    assert version(path) == schema.VERSION
    assert ids(path, "second") == ids(path, "first:b") == []
    assert ids(path, "first") == [content.SESSION]
    assert len(caplog.records) == 1


def test_what_is_known_of_a_session_stays(path: Path) -> None:
    """Its life, its timeout, its pin and its size are as they were."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE sessions SET own_idle = 5000, pinned = 1, recent = 'a b'")
        connection.commit()
        columns = "incarnation, created_ms, updated_ms, deadline_ms, own_idle, pinned, revision"
        before = connection.execute(f"SELECT {columns} FROM sessions").fetchone()  # noqa: S608
    with FileStore(path, clock=lambda: 7) as store:
        info = store.info(content.SESSION)
    assert info is not None
    life = info.life
    own = (info.idle, life.pinned, life.revision)
    times = (life.created_ms, life.updated_ms, life.deadline_ms)
    assert (life.incarnation, *times, *own) == before


def test_no_number_of_a_session_comes_again(path: Path) -> None:
    """Numbers that sessions had which were deleted before the upgrade are not given out again."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE sqlite_sequence SET seq = 41")
        connection.commit()
    with FileStore(path) as store:
        store.commit(put("1", session="new"))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT max(sid) FROM sessions").fetchone() == (42,)
        sequences = connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall()
    assert sequences == [("sessions", 42)]


def test_a_file_without_sessions_is_upgraded_silently(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """There is nothing to say of a file that holds nothing, and any prefix may use it."""
    with closing(sqlite3.connect(path)) as connection:
        for table in ("sessions", "records", "heads", "writes", "arena", "sqlite_sequence"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608
        connection.commit()
    for prefix in ("a", "b"):
        with FileStore(path, prefix=prefix) as store:
            store.commit(put("1"))
            assert len(store.list_sessions().sessions) == 1
    assert caplog.records == []


def test_what_was_deleted_leaves_no_bytes(path: Path) -> None:
    """The rows that the upgrade moved are overwritten in their old place."""
    with FileStore(path) as store:
        assert store.delete(content.SESSION)
    assert b"turn_count" not in path.read_bytes()


def test_a_process_of_version_1_that_has_it_open_does_no_harm(path: Path) -> None:
    """What it asks fails, so that it writes nothing and takes no session for one of its own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        assert old.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
        assert old.execute(OLD_FIND, (content.SESSION,)).fetchone() is not None
        assert len(old.execute(OLD_PAGE, ("", 9)).fetchall()) == 1
        with FileStore(path) as store:
            before = store.load(content.SESSION)
            for statement, values in (
                (OLD_FIND, (content.SESSION,)),
                (OLD_PAGE, ("", 9)),
                (OLD_MAKE, ("new", "i", 1)),
            ):
                with pytest.raises(sqlite3.OperationalError, match="column"):
                    old.execute(statement, values)
            after = store.load(content.SESSION)
    assert before is not None
    assert after is not None
    assert (before.stored, before.state) == (after.stored, after.state)
    assert ids(path, content.TENANT) == []


WRITING = """
import sys
from wren_sessions.stores.file import FileStore
from wren_sessions.testing.build import put
sys.stdin.readline()
with FileStore(sys.argv[1], synchronous="normal") as store:
    for number in range(20):
        assert store.commit(put(f"{sys.argv[2]}{number:02}", session="new")).outcome == "done"
"""


def test_processes_that_open_it_at_once_upgrade_it_once(path: Path) -> None:
    """Whoever is first does it, the others wait, and all write to the same sessions."""
    letters = "abcdef"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITING, str(path), letter], stdin=subprocess.PIPE, text=True
        )
        for letter in letters
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    with FileStore(path) as store:
        assert len(store.scan("new", [Start("")], 1_000).records) == 20 * len(letters)
        assert store.load(content.SESSION) is not None
    assert version(path) == schema.VERSION


KILLED = """
import os, shutil, signal, sqlite3, sys
from wren_sessions.stores.file import FileStore
golden, path = sys.argv[1:]
connect = sqlite3.connect

def killed_at(last):
    begun, count = False, 0
    def traced(statement):
        nonlocal begun, count
        begun = begun or statement == "BEGIN IMMEDIATE"
        count += begun
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
    def connecting(*args, **kwargs):
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(traced)
        return connection
    sqlite3.connect = connecting
    FileStore(path, synchronous="off").list_sessions()

for last in range(1, 99):
    for rest in ("-wal", "-shm", "-journal"):
        if os.path.exists(path + rest):
            os.unlink(path + rest)
    shutil.copy(golden, path)
    child = os.fork()
    if not child:
        killed_at(last)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status == 0:
        break
    with connect(path) as connection:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        columns = [row[1] for row in connection.execute("PRAGMA table_info(sessions)")]
        assert ("id" in columns) == (found == 1), (found, columns)
    connection.close()
    with FileStore(path) as store:
        (info,) = store.list_sessions().sessions
        assert store.load(info.session) is not None
print(last)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_killed_upgrade_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    """SIGKILL at each of its statements: the file is of one version, whole, and is read after."""
    words = [sys.executable, "-c", KILLED, str(GOLDEN), str(tmp_path / "sessions.db")]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert int(printed) > sum(map(len, schema.UPGRADES.values()))
