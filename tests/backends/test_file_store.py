"""What only the store in a file does: its file, opening, closing, and what can be wrong with it."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from wren_sessions.errors import (
    ConfigurationError,
    CorruptSessionError,
    StoreTimeoutError,
    StoreUnavailableError,
    WrenSessionsError,
)
from wren_sessions.records import Span, Start
from wren_sessions.stores.file import FileStore, schema
from wren_sessions.stores.file.cells import pack_spans
from wren_sessions.testing import FakeClock
from wren_sessions.testing.build import SESSION, put
from wren_sessions.ttl import FOREVER, TTLPolicy


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the session file will be."""
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[FileStore]:
    """A store with a new file."""
    with FileStore(path) as store:
        yield store


def mode(path: Path) -> int:
    """A file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def body(store: FileStore, checkpoint_id: str | None = None) -> bytes | None:
    """The body of a checkpoint, if it is there."""
    loaded = store.load(SESSION, "", checkpoint_id)
    return loaded.stored.body if loaded else None


def check_integrity(path: Path) -> None:
    """Make sure that SQLite finds nothing wrong with a file."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# --- making one -----------------------------------------------------------------------------------


def test_making_a_store_touches_no_file(path: Path) -> None:
    """The constructor does no I/O, so that a store may be made before its folder."""
    store = FileStore(path.parent / "later" / "sessions.db")
    store.close()
    assert list(path.parent.iterdir()) == []


def test_it_says_what_it_is(path: Path) -> None:
    """A store names its file, absolute, and sessions stay until they are deleted."""
    store = FileStore(path, prefix="app:v1")
    assert store.location == f"file:{path}"
    assert store.persistent
    assert store.ttl == FOREVER
    assert store.keys.address("a") == "app:v1:a:latest"
    assert str(path) in repr(store)


def test_a_relative_path_belongs_to_the_folder_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that changes its folder afterwards goes on with the same file."""
    monkeypatch.chdir(tmp_path)
    store = FileStore("sessions.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.ping()
    store.close()
    assert (tmp_path / "sessions.db").exists()


@pytest.mark.parametrize("name", ["a?mode=memory", "50%41.db", "a b#c.db", "räume.db", ":x:"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    """Nothing in a file's name means anything to SQLite."""
    with FileStore(tmp_path / name) as store:
        store.commit(put("1"))
        assert body(store) == b"body"
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("bad", ["", ":memory:", "a\0b"])
def test_a_path_that_is_no_file_is_refused(bad: str) -> None:
    """What SQLite would take for something else than a file is refused at once."""
    with pytest.raises(ConfigurationError, match="path of a file"):
        FileStore(bad)


@pytest.mark.parametrize(
    "options",
    [
        {"synchronous": "extra"},
        {"busy_timeout": "soon"},
        {"busy_timeout": 0},
        {"threads": 0},
        {"prefix": "a*"},
    ],
)
def test_an_option_that_makes_no_sense_is_refused(path: Path, options: dict[str, object]) -> None:
    """Options are checked when the store is made, not when it is used."""
    with pytest.raises(ConfigurationError):
        FileStore(path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_only_the_owner_can_read_it(path: Path, umask: int) -> None:
    """The file and SQLite's two beside it are made with mode 0600, whatever the umask."""
    before = os.umask(umask)
    try:
        store = FileStore(path)
        store.commit(put("1"))
    finally:
        os.umask(before)
    files = {file.name: mode(file) for file in path.parent.iterdir()}
    store.close()
    assert files == dict.fromkeys(("sessions.db", "sessions.db-wal", "sessions.db-shm"), 0o600)


def test_the_mode_of_a_file_that_is_there_is_left_alone(path: Path, store: FileStore) -> None:
    """Somebody who shares a file with a group can go on doing so."""
    store.ping()
    store.close()
    path.chmod(0o660)
    store.commit(put("1"))
    assert mode(path) == 0o660
    assert mode(path.with_name("sessions.db-wal")) == 0o660


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The folder is not made silently: a wrong path is an error that names it."""
    store = FileStore(tmp_path / "no" / "sessions.db")
    with pytest.raises(ConfigurationError, match="not a directory") as caught:
        store.ping()
    assert str(tmp_path / "no") in str(caught.value)
    (tmp_path / "no").mkdir()
    store.ping()
    store.close()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """The path of a folder is refused with what to write instead."""
    with pytest.raises(ConfigurationError, match="is a folder"):
        FileStore(tmp_path).ping()


def test_the_pragmas_are_set(path: Path, store: FileStore) -> None:
    """Writing is durable, deleted bytes are overwritten, and free pages can be given back."""
    store.ping()
    writer = store._database._writer
    assert writer is not None
    names = ("journal_mode", "synchronous", "secure_delete", "auto_vacuum")
    values = [writer.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    assert values == ["wal", 2, 1, 2]


# --- what may stand at the path -------------------------------------------------------------------


def foreign_files() -> Iterator[tuple[str, list[str], str]]:
    """Databases that are not ours: statements that make them, and what the error says."""
    yield "tables", ["CREATE TABLE t (x)", "INSERT INTO t VALUES (1)"], "another application"
    yield "owner", ["PRAGMA application_id = 7"], "another application"
    yield "version", ["PRAGMA user_version = 3"], "another application"
    newer = f"PRAGMA user_version = {schema.VERSION + 1}"
    ours = f"PRAGMA application_id = {schema.APPLICATION_ID}"
    yield "newer", [ours, newer], f"version {schema.VERSION + 1}.* knows {schema.VERSION}"


@pytest.mark.parametrize(
    ("statements", "says"), [pytest.param(*rest, id=name) for name, *rest in foreign_files()]
)
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_foreign_database_is_refused_and_left_alone(
    path: Path, statements: list[str], says: str, journal: str
) -> None:
    """Another application's file, or that of a newer version, is never written."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in (f"PRAGMA journal_mode = {journal}", *statements):
            connection.execute(statement)
        connection.commit()
    before = path.read_bytes()
    store = FileStore(path)
    with pytest.raises(ConfigurationError, match=says) as caught:
        store.commit(put("1"))
    with pytest.raises(ConfigurationError, match=says):
        store.load(SESSION)
    store.close()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"{}", b"SQLite format 3", b"\0" * 8_192, bytes(range(256))])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    """A file of another kind is never overwritten."""
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="not a SQLite database") as caught:
        FileStore(path).commit(put("1"))
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_session_file(path: Path, store: FileStore) -> None:
    """A process that died just after it made the file leaves nothing to be cleaned up."""
    path.touch()
    store.commit(put("1"))
    assert body(store) == b"body"


def test_damage_is_an_error_that_names_file_and_remedy(path: Path, store: FileStore) -> None:
    """A page that was overwritten is reported as damage, never as a miss."""
    store.commit(put("1", append=bytes(100_000)))
    store.close()
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xa5" * (path.stat().st_size - 4_096))
    with pytest.raises(CorruptSessionError, match="damaged") as caught:
        store.load(SESSION)
    assert str(path) in str(caught.value)
    assert caught.value.session == SESSION
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)
    with pytest.raises(CorruptSessionError):
        store.commit(put("2"))


def test_a_backup_put_back_is_used_at_once(path: Path, store: FileStore) -> None:
    """A file that was replaced or deleted while it was open is noticed by the next call."""
    store.commit(put("1", body=b"backed up"))
    store.close()
    backup = path.read_bytes()
    store.commit(put("2", body=b"later"))
    assert body(store) == b"later"
    for file in path.parent.iterdir():
        file.unlink()
    path.write_bytes(backup)
    assert body(store) == b"backed up"
    store.commit(put("3", body=b"after it"))
    assert body(store) == b"after it"
    for file in path.parent.iterdir():
        file.unlink()
    assert store.load(SESSION) is None
    store.commit(put("4"))
    store.close()
    check_integrity(path)


# --- locks, permissions ---------------------------------------------------------------------------


def test_a_lock_that_stays_is_a_timeout(path: Path, store: FileStore) -> None:
    """Where another process keeps the file locked, a commit gives up after the busy timeout."""
    store.ping()
    impatient = FileStore(path, busy_timeout="20ms")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreTimeoutError, match="locked by another process") as caught:
            impatient.commit(put("1"))
    assert str(path) in str(caught.value)
    impatient.commit(put("1"))
    impatient.close()
    assert body(store) == b"body"


def test_a_lock_that_passes_is_waited_for(path: Path, store: FileStore) -> None:
    """A commit waits for another process's transaction; reading does not."""
    store.commit(put("1"))
    committing = threading.Thread(target=store.commit, args=(put("2", body=b"waited"),))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        committing.start()
        assert body(store) == b"body"
        other.execute("COMMIT")
    committing.join()
    assert body(store) == b"waited"


READ_ONLY = """
import os, sys
from wren_sessions.errors import StoreUnavailableError
from wren_sessions.stores.file import FileStore
from wren_sessions.testing.build import put
if os.geteuid() == 0:
    os.seteuid(65534)  # permissions do not count for root
store = FileStore(sys.argv[1])
for call in (lambda: store.commit(put("2")), store.ping):
    try:
        call()
    except StoreUnavailableError as error:
        assert "write access" in str(error), error
        assert sys.argv[1] in str(error), error
    else:
        sys.exit("that should not work")
try:
    FileStore(sys.argv[1] + ".new").ping()
except StoreUnavailableError as error:
    assert "cannot be made" in str(error), error
else:
    assert os.access(os.path.dirname(sys.argv[1]), os.W_OK, effective_ids=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
@pytest.mark.parametrize(("file", "folder"), [(0o444, 0o755), (0o444, 0o777), (0o000, 0o755)])
def test_missing_permissions_are_explained(path: Path, file: int, folder: int) -> None:
    """A file or folder that this user cannot write is an outage with what to change."""
    for parent in path.parents[:3]:
        parent.chmod(0o755)
    with FileStore(path) as store:
        store.commit(put("1"))
    path.chmod(file)
    path.parent.chmod(folder if os.geteuid() == 0 else folder & 0o555)
    try:
        subprocess.run([sys.executable, "-c", READ_ONLY, str(path)], check=True)
    finally:
        path.parent.chmod(0o755)


def test_an_error_of_another_kind_is_an_outage(path: Path, store: FileStore) -> None:
    """Whatever SQLite says becomes an error of this package, with its cause."""
    store.ping()
    writer = store._database._writer
    assert writer is not None
    writer.connection.execute("DROP TABLE records")
    with pytest.raises(StoreUnavailableError) as caught:
        store.commit(put("1"))
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert isinstance(caught.value, WrenSessionsError)


# --- closing --------------------------------------------------------------------------------------


def test_closing_twice_is_fine_and_the_next_call_opens_again(path: Path, store: FileStore) -> None:
    """A closed store has no files open, and opens them when it is used again."""
    store.close()
    store.commit(put("1"))
    assert body(store) == b"body"
    store.close()
    store.close()
    assert [file.name for file in path.parent.iterdir()] == ["sessions.db"]
    assert body(store) == b"body"


async def test_closing_one_face_closes_the_other(path: Path) -> None:
    """Both faces are one store, with one file."""
    async with FileStore(path) as store:
        await store.aio.commit(put("1"))
        assert body(store) == b"body"
    assert [file.name for file in path.parent.iterdir()] == ["sessions.db"]


def test_closing_waits_for_calls_under_way(path: Path) -> None:
    """A call that runs in another thread ends well, before the connections are closed."""
    started, go_on = threading.Event(), threading.Event()
    clock = FakeClock()

    def slow() -> int:
        started.set()
        go_on.wait()
        return clock()

    store = FileStore(path, clock=slow)
    committing = threading.Thread(target=store.commit, args=(put("1"),))
    committing.start()
    started.wait()
    closing_it = threading.Thread(target=store.close)
    closing_it.start()
    assert committing.is_alive()
    go_on.set()
    closing_it.join()
    committing.join()
    assert [file.name for file in path.parent.iterdir()] == ["sessions.db"]
    assert body(store) == b"body"
    store.close()


def test_connections_are_used_again_and_few_are_kept(store: FileStore) -> None:
    """Many threads that read at once leave a bounded number of open connections."""
    store.commit(put("1"))
    together = threading.Barrier(40)

    def read() -> None:
        together.wait()
        for _ in range(5):
            assert body(store) == b"body"

    threads = [threading.Thread(target=read) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store._database._open) <= 17


# --- reading and renewing -------------------------------------------------------------------------


def test_a_load_that_is_no_use_writes_nothing(path: Path) -> None:
    """Only a policy that renews on reading makes a load write, and only a new deadline."""
    clock = FakeClock()
    with FileStore(path, ttl=TTLPolicy(idle="1h", refresh="read"), clock=clock) as store:
        store.commit(put("1"))
        wal = path.with_name("sessions.db-wal")
        before = wal.stat().st_size
        store.load(SESSION)
        assert wal.stat().st_size == before
        clock.advance("1m")
        loaded = store.load(SESSION)
        assert loaded is not None
        assert loaded.life.ttl_ms == 3_600_000
        assert wal.stat().st_size > before


def test_short_appends_share_rows(path: Path, store: FileStore) -> None:
    """Appends are added to the arena's last row until it fills a page; bytes stay bytes."""
    element = bytes(range(256)) * 2
    for number in range(20):
        store.commit(put(f"{number:02}", append=element))
    whole = Span(0, 20 * len(element))
    parts = store.read(SESSION, [whole])
    assert parts is not None
    assert parts.get(whole) == 20 * element
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT typeof(data), length(data) FROM arena").fetchall()
    assert rows == [("blob", 3_584)] * 2 + [("blob", 3_072)]


@pytest.mark.parametrize(
    "planted",
    [
        [Span(1 << 32, 6)],  # where the arena of the next session begins
        [Span(0, 1 << 32), Span(0, 10)],
        [Span((1 << 64) - 1, 1)],
        [Span(0, (1 << 64) - 1)],
    ],
)
def test_a_planted_span_reads_nothing_else(
    path: Path, store: FileStore, planted: list[Span]
) -> None:
    """A record that refers beyond its own arena is damage, and brings nobody else's bytes."""
    store.commit(put("1", append=b"ours"))
    store.commit(put("1", session="other", append=b"secret"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE records SET spans = ?", (pack_spans(planted),))
        connection.commit()
    for look in (lambda: store.load(SESSION), lambda: store.scan(SESSION, [Start("")], 9)):
        with pytest.raises(CorruptSessionError, match="spans are out of"):
            look()
    assert store.read(SESSION, planted) is None


def test_planted_spans_of_the_same_bytes_are_damage(path: Path, store: FileStore) -> None:
    """A record refers to each byte once, so that no load takes more memory than there is stored."""
    store.commit(put("1", append=b"x" * 1_000_000))
    with closing(sqlite3.connect(path)) as connection:
        spans = pack_spans([Span(0, 1_000_000)] * 20_000)
        connection.execute("UPDATE records SET spans = ?", (spans,))
        connection.commit()
    with pytest.raises(CorruptSessionError, match="spans are out of order"):
        store.load(SESSION)
