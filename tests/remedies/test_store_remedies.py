"""What the errors of stores propose, done to the letter; Redis has a file of its own."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from redis import Redis

from cli.running import Cli, in_process
from remedies.permissions import open_folder
from remedies.proposals import tries
from saver.backends import Backend, place
from wren_sessions import (
    Encryption,
    FileStore,
    MemoryStore,
    Sessions,
    TTLPolicy,
    copy_sessions,
    export_session,
    import_session,
    open_store,
    rekey,
)
from wren_sessions.errors import (
    ConfigurationError,
    ConflictError,
    CorruptSessionError,
    DecryptionError,
    SessionExistsError,
    SessionExpiredError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from wren_sessions.stores.protected import ProtectedStore
from wren_sessions.testing import FakeClock
from wren_sessions.testing.build import put

STATE: Final = {"n": 1, "messages": ["x" * 500 + str(number) for number in range(20)]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a store."""
    return tmp_path / "sessions.db"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """The command, in this process, where nothing is configured."""
    for name in ("WREN_SESSIONS_URL", "REDIS_URL", "REDIS_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return in_process(capsys)


# --- damage ---------------------------------------------------------------------------------------


def spoil(url: str, what: str) -> None:
    """Damage all records, or the arena, of the session "s"."""
    if url.startswith("file:"):
        table, column = {"record": ("records", "body"), "arena": ("arena", "data")}[what]
        with closing(sqlite3.connect(url.removeprefix("file:"))) as connection, connection:
            connection.execute(f"UPDATE {table} SET {column} = x'010000'")  # noqa: S608 -- ours
        return
    with Redis.from_url(url) as client:
        key = "langgraph:checkpoint:s:latest"
        names: Any = client.hkeys(key)
        for name in names:
            if what == "meta" and name == b":meta":
                client.hset(key, name, b"damaged")
            if what == "arena" and name.startswith(b":a"):
                client.hset(key, name, b"\x00")
            if what == "record" and name != b"state" and not name.startswith(b":"):
                client.hset(key, name, b"\x01\x00\x00")


@tries(
    "; run wren-sessions check {} to see what is intact, and add --repair to keep that",
    "nothing can be kept: delete it, and restore it from a copy if there is one",
)
@pytest.mark.parametrize(
    ("backend", "what"),
    [("file", "record"), ("file", "arena"), *(("redis", it) for it in ("record", "arena", "meta"))],
)
@pytest.mark.parametrize("way", ["restore", "delete"])
def test_a_damaged_session(
    backend: str, what: str, way: str, request: pytest.FixtureRequest
) -> None:
    """It is restored from a copy, at once where that is proposed; and it can be deleted."""
    url = place(backend, request)
    with open_store(url, dotenv=False) as store:
        Sessions(store).save("s", STATE)
        copy = list(export_session(store, "s"))
    spoil(url, what)
    with open_store(url, dotenv=False) as store:
        sessions = Sessions(store)
        with pytest.raises(CorruptSessionError, match="check --session s to see what") as no:
            sessions.load("s")
        assert "delete" not in str(no.value)
        with pytest.raises(CorruptSessionError):
            list(export_session(store, "s"))
        if way == "delete" or what == "meta":
            assert sessions.delete("s")
            assert sessions.get("s") is None
        if way == "restore":
            import_session(store, copy, replace=True)
            assert sessions.load("s").state == STATE
        sessions.delete("s")


def test_a_damaged_session_whose_name_has_hidden_characters(path: Path, cli: Cli) -> None:
    """They are not in the error as they are, which would forge lines of a log; all are checked."""
    name = "s\n2026-01-01 ERROR \x1b[2J\u202e"
    with FileStore(path) as store:
        Sessions(store).save(name, STATE)
    spoil(f"file:{path}", "record")
    with FileStore(path) as store, pytest.raises(CorruptSessionError) as no:
        Sessions(store).load(name)
    assert str(no.value).isprintable()
    assert "run wren-sessions check --all" in str(no.value)
    assert cli("check", "--all", url=f"file:{path}").code


def test_an_earlier_checkpoint_of_a_damaged_session(path: Path) -> None:
    """It can be read, and a fork of it goes on."""
    with FileStore(path) as store:
        sessions = Sessions(store)
        first = sessions.save("s", {"n": 1}).checkpoint_id
        last = sessions.save("s", {"n": 2}).checkpoint_id
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE records SET body = x'010000' WHERE id = ?", (last,))
    with FileStore(path) as store:
        sessions = Sessions(store)
        with pytest.raises(CorruptSessionError, match="run wren-sessions check --session s"):
            sessions.load("s")
        assert sessions.load("s", at=first).state == {"n": 1}


@tries(
    "put a backup in its place (without the old -wal and -shm files)",
    "copy what can still be read to another file, each session by its id",
)
def test_a_damaged_file(path: Path, cli: Cli) -> None:
    """A backup is used at once; and without one, what can be read is copied out of it."""
    url, other = f"file:{path}", path.with_name("other.db")
    with open_store(url, dotenv=False) as store:
        for number in range(30):
            Sessions(store).save(f"s{number}", {"n": number, "text": "x" * 3_000})
    backup = path.with_name("backup.db")
    shutil.copy(path, backup)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 4_096 * 4_096)
        file.write(b"\xff" * 4_096)
    saved: list[str] = []
    errors: list[str] = []
    for number in range(30):
        run = cli("copy", f"s{number}", "--to", f"file:{other}", url=url)
        (errors if run.code else saved).append(run.err if run.code else f"s{number}")
    assert any("copy what can still be read to another file" in text for text in errors), errors
    with open_store(f"file:{other}", dotenv=False) as store:
        for name in saved:
            assert Sessions(store).load(name).state["n"] == int(name[1:])
    assert len(saved) > 20
    for each in (path, path.with_name("sessions.db-wal"), path.with_name("sessions.db-shm")):
        each.unlink(missing_ok=True)
    shutil.copy(backup, path)
    with open_store(url, dotenv=False) as store:
        assert Sessions(store).load("s29").state["n"] == 29


@tries(
    "these bytes are not a dump of a session, or are damaged; restore it from another copy",
    "the dump of session {} is damaged: {}; restore it from another copy",
)
def test_a_damaged_dump() -> None:
    """Another one is taken."""
    store = MemoryStore()
    Sessions(store).save("s", STATE)
    dump = store.dump("s")
    assert dump
    for damaged in (b"nothing", dump[: len(dump) // 2], dump.replace(b"xxx", b"yy", 1)):
        with pytest.raises(CorruptSessionError, match="restore it from another copy"):
            MemoryStore().restore("s", damaged)
    other = MemoryStore()
    other.restore("s", dump)
    assert Sessions(other).load("s").state == STATE


# --- bounds and conditions ------------------------------------------------------------------------


@tries("Raise the bound, or unpin or delete sessions")
@pytest.mark.parametrize("way", ["raise", "unpin", "delete"])
def test_a_full_memory_store(way: str) -> None:
    """Each of the three makes room."""
    store = MemoryStore(max_sessions=1)
    sessions = Sessions(store)
    sessions.save("pinned", {"n": 1})
    sessions.pin("pinned")
    with pytest.raises(StoreUnavailableError, match="Raise the bound, or unpin or delete"):
        sessions.save("s", {"n": 1})
    if way == "raise":
        wider = MemoryStore(max_sessions=2)
        copy_sessions(store, wider)
        sessions = Sessions(wider)
    elif way == "unpin":
        sessions.pin("pinned", pinned=False)
    else:
        sessions.delete("pinned")
    assert sessions.save("s", {"n": 1}).state == {"n": 1}


@tries(
    "delete it first, or pass replace=True",
    "pass None to begin, then the cursor of the page before",
)
@pytest.mark.parametrize("backend", ["memory", "file", "redis"])
def test_calls_of_a_store(backend: str, request: pytest.FixtureRequest) -> None:
    """Each of the ways out."""
    store = Backend(backend, place(backend, request)).store()
    sessions = Sessions(store)
    sessions.save("s", {"n": 1})
    sessions.save("t", {"n": 2})
    with pytest.raises(SessionExistsError, match="pass replace=True"):
        store.copy("s", "t")
    store.copy("s", "t", replace=True)
    store.delete("t")
    store.copy("s", "t")
    assert sessions.load("t").state == {"n": 1}
    with pytest.raises(ConfigurationError, match="cursor"):
        store.list_sessions("no cursor at all", 1)
    cursor, found = None, []
    while True:
        page = store.list_sessions(cursor, 1)
        found += [info.session for info in page.sessions]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(set(found)) == ["s", "t"]
    for name in found:
        store.delete(name)
    store.close()


@tries("Pin it to keep it, or raise the maximum age")
@pytest.mark.parametrize("backend", ["memory", "file"])
@pytest.mark.parametrize("way", ["pin", "raise"])
def test_a_session_past_a_maximum_age_is_copied(backend: str, way: str, path: Path) -> None:
    """Once it is pinned, or the store takes sessions of that age."""
    clock = FakeClock()
    memory = MemoryStore(ttl=TTLPolicy(idle=None), clock=clock)
    made: Callable[[TTLPolicy], Any] = (
        (lambda ttl: FileStore(path, ttl=ttl, clock=clock))
        if backend == "file"
        else (lambda ttl: MemoryStore(ttl=ttl, clock=clock))
    )
    with made(TTLPolicy(idle=None)) as store:
        Sessions(store).save("s", {"n": 1})
        if backend == "memory":
            memory.restore("s", store.dump("s"))
    clock.advance(timedelta(hours=2))
    with made(TTLPolicy(idle=None, max_age="1h")) as store:
        if backend == "memory":
            store.restore("s", memory.dump("s"))
        with pytest.raises(SessionExpiredError, match="Pin it to keep it, or raise the maximum"):
            store.copy("s", "t")
        if way == "pin":
            store.pin("s")
            store.copy("s", "t")
            assert Sessions(store).load("t").state == {"n": 1}
    if way == "raise":
        with made(TTLPolicy(idle=None, max_age="30d")) as store:
            if backend == "memory":
                store.restore("s", memory.dump("s"))
            store.copy("s", "t")
            assert Sessions(store).load("t").state == {"n": 1}


# --- files ----------------------------------------------------------------------------------------


@tries(
    "name the session file in it, such as {}",
    "is not a directory. Make it first, or choose another",
)
def test_a_path_that_cannot_be(path: Path) -> None:
    """As it is named there; in a folder that was made; elsewhere."""
    with pytest.raises(ConfigurationError, match="is a folder; name the session file in it") as no:
        FileStore(path.parent).ping()
    named = str(no.value).rpartition("such as ")[2]
    FileStore(named).ping()
    deep = path.parent / "not" / "there" / "s.db"
    with pytest.raises(ConfigurationError, match="Make it first, or choose another path"):
        FileStore(deep).ping()
    deep.parent.mkdir(parents=True)
    FileStore(deep).ping()
    FileStore(path).ping()


@tries(
    "of another application. It was left as it is; choose another path",
    "It was left as it is; choose another path, or put a backup in its place",
)
def test_a_file_of_somebody_else(path: Path) -> None:
    """Another path; or a backup in its place."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    with pytest.raises(ConfigurationError, match="choose another path"):
        FileStore(path).ping()
    other = path.with_name("other.db")
    with FileStore(other) as store:
        Sessions(store).save("s", {"n": 1})
    text = path.with_name("text.db")
    text.write_text("something else, and not short\n" * 100)
    with pytest.raises(ConfigurationError, match="choose another path, or put a backup"):
        FileStore(text).ping()
    shutil.copy(other, text)
    with FileStore(text) as store:
        assert Sessions(store).load("s").state == {"n": 1}


@tries(
    "was damaged or changed: {}. Put a backup in its place; nothing of it was used",
)
def test_rows_and_schemas_that_somebody_changed(path: Path) -> None:
    """The session is deleted and restored; a backup is used."""
    with FileStore(path) as store:
        Sessions(store).save("s", STATE)
        copy = list(export_session(store, "s"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE sessions SET incarnation = CAST(x'ff' AS TEXT)")
    with FileStore(path) as store:
        sessions = Sessions(store)
        with pytest.raises(CorruptSessionError, match="run wren-sessions check --session s"):
            sessions.load("s")
        assert sessions.delete("s")
        import_session(store, copy)
        assert sessions.load("s").state == STATE
    backup = path.with_name("backup.db")
    shutil.copy(path, backup)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE VIEW theirs AS SELECT 1")
    with FileStore(path) as store, pytest.raises(CorruptSessionError, match="Put a backup in its"):
        Sessions(store).load("s")
    shutil.copy(backup, path)
    with FileStore(path) as store:
        assert Sessions(store).load("s").state == STATE


LIMITED: Final = """
import os, resource, sys
from wren_sessions import FileStore, Sessions
from wren_sessions.errors import StoreUnavailableError
path, way = sys.argv[1:]
with FileStore(path) as store: store.ping()
taken = []
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))
try:
    while True: taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError: pass
try: FileStore(path).ping()
except StoreUnavailableError as error: print("ulimit -n" in str(error))
if way == "close":
    for number in taken[:10]: os.close(number)
else:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
store = FileStore(path)
Sessions(store).save("s", {"n": 1})
print(Sessions(store).load("s").state == {"n": 1})
"""


@tries("Close some files, or allow this process more of them (ulimit -n)")
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
@pytest.mark.parametrize("way", ["close", "allow"])
def test_no_file_descriptors_are_left(path: Path, way: str) -> None:
    """Either gives the store the ones that it needs."""
    words = [sys.executable, "-c", LIMITED, str(path), way]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "True"]


FORBIDDEN: Final = """
import os, sys
from wren_sessions import FileStore, Sessions
Sessions(FileStore(sys.argv[1] + ".warm")).save("s", {"n": 1})  # all modules are loaded
if os.geteuid() == 0: os.seteuid(65534)  # permissions do not count for root
try: Sessions(FileStore(sys.argv[1])).save("s", {"n": 1})
except Exception as error: print(error)
else: print("ok")
"""


@tries(
    "Give this user write access to the file and to its folder",
    "give this user write access to the file and to its folder",
)
@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_write_access() -> None:
    """Once it is given, it works."""
    with open_folder() as folder:
        path = folder / "sessions.db"
        with FileStore(path) as store:
            store.ping()
        path.chmod(0o444)

        def told() -> str:
            words = [sys.executable, "-c", FORBIDDEN, str(path)]
            run = subprocess.run(words, capture_output=True, text=True, check=True)
            return run.stdout.strip()

        assert "write access to the file and to its folder" in told()
        path.chmod(0o666)
        path.parent.chmod(0o777)
        assert told() == "ok"


@tries(
    "Free some space; what was stored before is intact and can be read",
    "free some space: writes fail on a full disk",
)
def test_a_full_disk(path: Path) -> None:
    """What was there can be read; once there is space, what did not fit is written."""
    with FileStore(path) as store:
        sessions = Sessions(store)
        sessions.save("s", {"n": 1})
        writer = store._database._writer
        assert writer is not None
        (pages,) = writer.connection.execute("PRAGMA page_count").fetchone()
        writer.connection.execute(f"PRAGMA max_page_count = {pages + 5}")
        with pytest.raises(StoreUnavailableError, match="Free some space"):
            sessions.save("t", {"text": "x" * 500_000})
        assert sessions.load("s").state == {"n": 1}
        writer.connection.execute("PRAGMA max_page_count = 100000")
        assert sessions.save("t", {"text": "x" * 500_000}).state


@tries("Start a new session, or a new file")
def test_the_limits_of_a_file(path: Path) -> None:
    """Another file has all of its numbers left."""
    with FileStore(path) as store:
        Sessions(store).save("s", {"n": 1})
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE sqlite_sequence SET seq = (1 << 31) - 1")
    with FileStore(path) as store, pytest.raises(StoreUnavailableError, match="or a new file"):
        Sessions(store).save("t", {"n": 1})
    with FileStore(path.with_name("new.db")) as store:
        assert Sessions(store).save("t", {"n": 1}).state


@tries("Look for a process that holds a transaction open, or raise busy_timeout")
@pytest.mark.parametrize("way", ["end it", "raise"])
def test_a_file_that_is_locked(path: Path, way: str) -> None:
    """The other process ends its transaction; or ours waits for longer."""
    with FileStore(path) as store:
        store.ping()
    with (
        FileStore(path, busy_timeout="20ms") as impatient,
        closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreTimeoutError, match="or raise busy_timeout"):
            impatient.commit(put("1"))
        if way == "end it":
            other.execute("COMMIT")
            assert impatient.commit(put("1")).outcome == "done"
            return
        ending = threading.Timer(0.3, other.execute, ["COMMIT"])
        with FileStore(path, busy_timeout="30s") as patient:
            ending.start()
            assert patient.commit(put("1")).outcome == "done"
        ending.join()


FORKED: Final = """
import ctypes, os, sys
from wren_sessions import FileStore, Sessions
from wren_sessions.errors import StoreUnavailableError
store = FileStore(sys.argv[1])
way = sys.argv[2]
Sessions(store).save("s", {"n": 1})
if way == "close":
    store.close()
child = ctypes.PyDLL(None).fork()
if not child:
    try:
        if way == "after":
            store = FileStore(sys.argv[1])
        Sessions(store).save("t", {"n": 2})
    except StoreUnavailableError as error:
        os._exit(7 if "or close() it before" in str(error) else 1)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@tries("Make the store after the fork (uWSGI: lazy-apps = true), or close() it before")
@pytest.mark.skipif(os.name == "nt", reason="Windows does not fork")
def test_a_fork_that_python_does_not_see(path: Path) -> None:
    """A store that is made after it, or was closed before it, can be used."""
    told = {
        way: subprocess.run(
            [sys.executable, "-c", FORKED, str(path), way],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for way in ("open", "close", "after")
    }
    assert told == {"open": "7", "close": "0", "after": "0"}


# --- encryption -----------------------------------------------------------------------------------


@tries("open the store with Encryption(…, migrate=True) and rewrite it", "the store has no encryp")
@pytest.mark.parametrize("backend", ["memory", "file", "redis"])
def test_sessions_from_before_encryption(backend: str, request: pytest.FixtureRequest) -> None:
    """They are rewritten, and read without `migrate` then."""
    below = Backend(backend, place(backend, request)).store()
    Sessions(below).save("s", STATE)
    key, old = Encryption.generate_key("new"), Encryption.generate_key("old")
    with pytest.raises(ConfigurationError, match=r"encryption=Encryption\(\[new, old\]\)"):
        rekey(below)
    with pytest.raises(DecryptionError, match=r"Encryption\(…, migrate=True\) and rewrite it"):
        Sessions(ProtectedStore(below, encryption=Encryption([key]))).load("s")
    migrating = ProtectedStore(below, encryption=Encryption([key, old], migrate=True))
    assert rekey(migrating, unused_for=None).rewritten == ("s",)
    store = ProtectedStore(below, encryption=Encryption([key]))
    assert Sessions(store).load("s").state == STATE
    below.delete("s")
    below.close()


@tries(
    "is another session's: somebody moved it; restore the session from a copy, or delete it",
    "put an older one in its place; restore the session from a copy, or delete it",
)
@pytest.mark.parametrize("fault", ["moved", "older"])
def test_what_somebody_put_in_its_place(fault: str, path: Path) -> None:
    """The copy is back, or the session is gone."""
    key = Encryption.generate_key()
    with open_store(f"file:{path}", encryption=Encryption([key]), dotenv=False) as store:
        sessions = Sessions(store)
        older = sessions.save("s", {"n": 1}).checkpoint_id
        latest = sessions.save("s", STATE).checkpoint_id
        theirs = sessions.save("t", {"n": 3}).checkpoint_id
        copy = list(export_session(store, "s"))
    with closing(sqlite3.connect(path)) as connection, connection:
        if fault == "older":
            connection.execute("UPDATE heads SET head = ? WHERE head = ?", (older, latest))
        else:
            connection.execute(
                "UPDATE records SET body = (SELECT body FROM records WHERE id = ?) WHERE id = ?",
                (theirs, latest),
            )
    for way in ("restore", "delete"):
        with open_store(f"file:{path}", encryption=Encryption([key]), dotenv=False) as store:
            sessions = Sessions(store)
            if way == "restore":
                with pytest.raises((CorruptSessionError, DecryptionError), match="restore the"):
                    sessions.load("s")
                import_session(store, copy, replace=True)
                assert sessions.load("s").state == STATE
            else:
                assert sessions.delete("s")


# --- others at work -------------------------------------------------------------------------------


@tries("one of them was changed meanwhile; try again", "nothing was: try again")
def test_others_are_at_work() -> None:
    """When they rest, it works."""
    store = MemoryStore()
    sessions = Sessions(store)
    life = sessions.save("s", {"n": 1}).life
    sessions.save("s", {"n": 2})
    with pytest.raises(ConflictError, match="changed meanwhile; try again"):
        store.copy("s", "t", expect=life)
    info = store.info("s")
    assert info
    assert store.copy("s", "t", expect=info.life)
