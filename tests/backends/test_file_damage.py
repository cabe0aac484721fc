"""Damaged session files: the right value or an error of ours, whatever stands in a cell."""

from __future__ import annotations

import io
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from backends.damaging import damage
from golden import content
from wren_sessions import FileStore, MemoryStore, Sessions, SessionSaver, copy_sessions
from wren_sessions.archives import export_session
from wren_sessions.cli import main
from wren_sessions.errors import CorruptSessionError, StoreUnavailableError, WrenSessionsError
from wren_sessions.records import NOTHING_NOTED, Seen, Span, Start
from wren_sessions.testing.build import SESSION, add, put, write
from wren_sessions.ttl import TTLPolicy

GOLDEN: Final = Path(content.__file__).parent
GRAPH: Final = content.SESSION
OTHER: Final = "other"
TRIALS: Final = 50
BLOCKS: Final = 4
FOUND_BY: Final = {"number", "prefix", "name", "sid", "namespace", "id", "pos", "deadline_ms"}
"""Columns by which a row is found, or is a miss: with another value it is another row."""

Call: TypeAlias = Callable[[FileStore], Any]


def id_of(step: int) -> str:
    """A checkpoint's id."""
    return content.checkpoint(step, {})["id"]


READS: Final[dict[str, Call]] = {
    "get": lambda store: SessionSaver(store).get_tuple(content.config()),
    "get by id": lambda store: SessionSaver(store).get_tuple(content.config("", id_of(2))),
    "get a child": lambda store: SessionSaver(store).get_tuple(content.config(content.CHILD)),
    "list": lambda store: list(SessionSaver(store).list(content.config())),
    "load": lambda store: Sessions(store).load(OTHER).state,
}
CALLS: Final[dict[str, Call]] = {
    "list all": lambda store: list(SessionSaver(store).list(None)),
    "transcript": lambda store: Sessions(store).transcript(GRAPH),
    "sessions": lambda store: store.list_sessions(None, 1),
    "info": lambda store: [store.info(session) for session in (GRAPH, OTHER)],
    "heads": lambda store: store.heads(GRAPH),
    "scan": lambda store: store.scan(GRAPH, [Start(""), Start(content.CHILD)], 2),
    "read": lambda store: store.read(GRAPH, [Span(0, 3_000)]),
    "diagnose": lambda store: store.diagnose(),
    "export": lambda store: list(export_session(store, GRAPH)),
    "copy elsewhere": lambda store: copy_sessions(store, MemoryStore()),
    "touch": lambda store: [store.touch(session) for session in (GRAPH, OTHER)],
    "fork": lambda store: Sessions(store).fork(GRAPH, "fork"),
    "put": lambda store: SessionSaver(store).put(
        content.config("", id_of(4)),
        content.checkpoint(9, {"messages": content.messages(7)}),
        {"source": "loop", "step": 9, "parents": {}},
        {"messages": f"{10:032}.golden00"},
    ),
    "put_writes": lambda store: SessionSaver(store).put_writes(
        content.config("", id_of(4)), [("note", "a")], "task-z", "~z"
    ),
    "save": lambda store: Sessions(store).save(OTHER, {"a": 2}),
    "append": lambda store: store.commit(put("a", session=OTHER, append=bytes(5_000))),
    "prune": lambda store: SessionSaver(store).prune([GRAPH], strategy="keep_latest"),
    "copy": lambda store: store.copy(GRAPH, "copy", replace=True),
    "delete": lambda store: [store.delete(session) for session in (GRAPH, OTHER)],
}


def make(path: Path, form: str) -> None:
    """A session file, of strict tables or of plain ones, with something in every column."""
    if form == "plain":
        shutil.copy(GOLDEN / "v1.sqlite3", path)
    with FileStore(path) as store:
        if form == "strict":
            content.write(SessionSaver(store))
        Sessions(store).save(OTHER, {"a": 1, "text": "x" * 3_000})
        store.set_ttl(OTHER, "2h")
        store.commit(add("9", write("task", 0, b"early"), session=OTHER))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")  # one file, to be copied


@pytest.fixture(scope="module", params=["strict", "plain"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session file, not to be changed."""
    path = tmp_path_factory.mktemp("whole") / "sessions.db"
    make(path, request.param)
    return path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(whole, tmp_path / "sessions.db"))


def change(path: Path, *statements: str) -> None:
    """Change a file behind the store's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            connection.execute(statement)


def answer(path: Path, call: Call) -> Any:
    """What a call on a fresh store gives, or the error of ours that it raises."""
    try:
        with FileStore(path) as store:
            return call(store)
    except WrenSessionsError as error:
        return error


# --- any cell -------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_damaged_cell_gives_the_right_value_or_an_error_of_ours(
    whole: Path, tmp_path: Path, block: int
) -> None:
    """Any table and column, any type, numbers of any size: every way to read, then to write."""
    right = {name: answer(whole, call) for name, call in READS.items()}
    for seed in range(block * TRIALS, (block + 1) * TRIALS):
        path = Path(shutil.copy(whole, tmp_path / f"{seed}.db"))
        done = damage(path, random.Random(seed))
        if done is None:
            continue
        for name, call in READS.items():
            found = answer(path, call)
            wrong = not isinstance(found, WrenSessionsError) and found != right[name]
            assert not wrong or done.column in FOUND_BY, (seed, done, name)
        for call in CALLS.values():
            answer(path, call)


COMMANDS: Final = (
    ("list", "--details"),
    ("list", "--json"),
    ("show", GRAPH),
    ("show", OTHER, "--json"),
    ("history", GRAPH),
    ("conversation", GRAPH),
    ("stats",),
    ("ttl", OTHER),
    ("check",),
    ("delete", "--older-than", "1d", "--dry-run"),
)


def run(path: Path, *argv: str) -> tuple[int, str]:
    """Run a command; its exit code and what it printed."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        code = main([*argv, "--url", f"file:{path}"])
    return code, printed.getvalue()


@pytest.mark.parametrize("seed", range(1_000, 1_012))
def test_no_command_ends_with_a_traceback(whole: Path, tmp_path: Path, seed: int) -> None:
    """A command shows what it can read, or says what is damaged and ends with a code."""
    path = Path(shutil.copy(whole, tmp_path / "sessions.db"))
    damage(path, random.Random(seed))
    for argv in COMMANDS:
        code, _ = run(path, *argv)
        assert code in {0, 2, 3, 4, 5, 7}, argv


# --- what the error says --------------------------------------------------------------------------

TOLD: Final = {
    "sessions SET revision = 'x'": "table sessions: revision is text",
    "sessions SET arena_end = -5": "table sessions: a number",
    "sessions SET own_idle = x'00'": "table sessions: own_idle is a blob",
    "sessions SET pinned = 9": "table sessions: a number",
    "sessions SET incarnation = CAST(x'ff' AS TEXT)": "'?incarnation'? of table sessions",
    "records SET body = 'x'": "table records: body is text",
    "records SET base = -1": "table records: base is out of range",
    "records SET spans = x'0011'": "table records: spans end in the middle",
    "records SET spans = x'0000000000000000ffffffffffffffff'": "table records: spans are out of",
    "heads SET head = 'nowhere'": "table heads: the head of namespace",
    "heads SET head = 7": "table heads",
    "writes SET body = 3": "table writes: body is an integer",
    "writes SET key = CAST(key AS BLOB)": "table writes: key is a blob",
    "arena SET data = 'x'": "table arena: data is text",
}


@pytest.mark.parametrize("statement", TOLD)
def test_an_error_names_table_row_and_session(tmp_path: Path, statement: str) -> None:
    """So that somebody can look at it, or delete what is lost."""
    path = tmp_path / "sessions.db"
    make(path, "plain")
    change(path, f"UPDATE {statement}")
    with FileStore(path) as store, pytest.raises(CorruptSessionError) as caught:
        SessionSaver(store).get_tuple(content.config())
    assert caught.value.session == GRAPH
    assert repr(GRAPH) in str(caught.value)
    assert str(path) in str(caught.value)
    assert re.search(TOLD[statement], str(caught.value)), str(caught.value)


def test_a_strict_table_refuses_what_is_not_its_type(tmp_path: Path) -> None:
    """New files let nobody write it, where SQLite is new enough."""
    path = tmp_path / "sessions.db"
    make(path, "strict")
    if sqlite3.sqlite_version_info < (3, 37):
        pytest.skip("SQLite has strict tables since 3.37")
    with closing(sqlite3.connect(path)) as connection:
        for statement in (*TOLD, "arena SET pos = 7", "sessions SET arena_tail = arena_end + 1"):
            if "heads" in statement or "x'ff" in statement or "x'0000" in statement:
                continue
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(f"UPDATE {statement}")


def test_an_older_sqlite_is_told_of_strict_tables(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was made elsewhere may be whole, and only too new for this Python's SQLite."""
    change(path, "UPDATE sqlite_master SET sql = sql || ' MODERN' WHERE name = 'heads'")
    with FileStore(path) as store:
        with pytest.raises(CorruptSessionError) as caught:
            store.ping()
        assert "3.37" not in str(caught.value)
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
        with pytest.raises(CorruptSessionError, match=r"made with SQLite 3\.37 or newer"):
            store.ping()


def test_a_damaged_session_is_left_out_of_listings_and_can_be_deleted(path: Path) -> None:
    """The others go on, and a listing counts what it left out."""
    change(path, "UPDATE sessions SET incarnation = CAST(x'ff' AS TEXT) WHERE name = 'other'")
    with FileStore(path) as store:
        page = store.list_sessions()
        assert ([info.session for info in page.sessions], page.foreign) == ([GRAPH], 1)
        with pytest.raises(CorruptSessionError, match="run wren-sessions check"):
            store.info(OTHER)
        assert store.delete(OTHER)
        assert store.list_sessions().foreign == 0
        assert Sessions(store).save(OTHER, {"a": 3}).state == {"a": 3}
        content.check(SessionSaver(store))


def test_pages_end_whatever_is_damaged(path: Path) -> None:
    """A cursor goes on behind rows that cannot be read."""
    with FileStore(path) as store:
        for number in range(6):
            store.commit(put("1", session=f"s{number}"))
        change(path, "UPDATE sessions SET pinned = 5 WHERE name BETWEEN 's1' AND 's4'")
        found, foreign, cursor = [], 0, None
        for _ in range(9):
            page = store.list_sessions(cursor, 1)
            found += [info.session for info in page.sessions]
            foreign, cursor = foreign + page.foreign, page.cursor
            if cursor is None:
                break
    assert (found, foreign, cursor) == ([GRAPH, OTHER, "s0", "s5"], 4, None)


# --- times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ms", [(1 << 63) - 1, 1 << 62, 10**15, -(10**15), -(1 << 63)])
@pytest.mark.parametrize("column", ["created_ms", "updated_ms", "deadline_ms", "sweep_ms"])
def test_a_time_that_no_calendar_has_is_unknown(path: Path, column: str, ms: int) -> None:
    """It ends no listing, no transcript and no export, and the session can be written further."""
    change(path, f"UPDATE sessions SET {column} = {ms}")  # noqa: S608
    expired = column == "deadline_ms" and ms < 0
    for argv in COMMANDS:
        code, printed = run(path, *argv)
        assert code in ({0, 3, 7} if expired else {0, 7}), argv
        if argv == ("show", GRAPH) and column in {"created_ms", "updated_ms"}:
            assert "unknown" in printed
    if expired:
        return
    with FileStore(path, ttl=TTLPolicy(idle="1h", max_age="2h")) as store:
        transcript = Sessions(store).transcript(GRAPH)
        assert (transcript.created is None) == (column == "created_ms")
        assert list(export_session(store, GRAPH))
        if column == "created_ms" and ms < 0:
            return  # its age is past the maximum
        assert store.commit(put("a", session=OTHER)).outcome == "done"
        assert store.touch(OTHER) is not None


# --- the schema -----------------------------------------------------------------------------------

VIEW: Final = """CREATE VIEW writes AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n)
    SELECT 1 AS sid, '' AS namespace, '' AS id, '' AS key, x'' AS spans, x'' AS body FROM n"""
HOSTILE: Final = {
    "an endless view": (("DROP TABLE writes", VIEW), "view 'writes'"),
    "a view of its own": (("CREATE VIEW v AS SELECT 1",), "view 'v'"),
    "a trigger": (
        ("CREATE TRIGGER t AFTER UPDATE ON sessions BEGIN DELETE FROM records; END",),
        "trigger 't'",
    ),
    "a generated column": (
        ("ALTER TABLE heads ADD COLUMN g BLOB AS (zeroblob(1000000000))",),
        "table 'heads'",
    ),
    "a virtual table": (
        ("DROP TABLE arena", "CREATE VIRTUAL TABLE arena USING fts5(pos, data)"),
        "'arena",
    ),
    "an index that computes": (
        ("CREATE INDEX i ON records (printf('%1000000d', base))",),
        "index 'i'",
    ),
    "another column": (("ALTER TABLE records ADD COLUMN more TEXT",), "table 'records'"),
    "a table that is missing": (("DROP TABLE heads",), "table 'heads' in its schema is missing"),
    "a version that never was": (("PRAGMA user_version = 0",), "version 0"),
    "many tables": (
        tuple(f"CREATE TABLE t{number} (x)" for number in range(1_000)),
        "more than 1000 entries",
    ),
    "no UTF-8": (
        ("UPDATE sqlite_master SET sql = CAST(x'ff' || sql AS TEXT) WHERE name = 'heads'",),
        "",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_another_schema_is_refused_at_opening(path: Path, kind: str) -> None:
    """Nothing that a file says is run: no view, trigger, generated column or function."""
    statements, told = HOSTILE[kind]
    try:
        change(path, *statements)
    except sqlite3.OperationalError as error:
        if "no such module" not in str(error):
            raise
        pytest.skip(str(error))
    with FileStore(path) as store:
        for call in (store.list_sessions, store.ping, lambda: store.load(GRAPH)):
            with pytest.raises(CorruptSessionError) as caught:
                call()
            assert told in str(caught.value)
            assert str(path) in str(caught.value)


def test_tables_of_somebody_else_are_left_alone(path: Path) -> None:
    """A tool for replication or statistics may keep some in the file."""
    change(path, "CREATE TABLE _seq (id INTEGER PRIMARY KEY, seq)", "CREATE INDEX _i ON _seq (seq)")
    change(path, "INSERT INTO _seq VALUES (1, 2)", "ANALYZE")
    with FileStore(path) as store:
        content.check(SessionSaver(store))
        assert store.commit(put("a", session=SESSION)).outcome == "done"


def test_a_file_of_version_1_is_checked_before_it_is_upgraded(tmp_path: Path) -> None:
    """A trigger in it does not see the upgrade."""
    path = Path(shutil.copy(GOLDEN / "v1.sqlite3", tmp_path / "sessions.db"))
    change(path, "CREATE TRIGGER t AFTER DELETE ON sessions BEGIN DELETE FROM records; END")
    with FileStore(path) as store, pytest.raises(CorruptSessionError, match="trigger 't'"):
        store.list_sessions()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


# --- files that cannot be opened ------------------------------------------------------------------

NO_FILES = """
import os, resource, sys
from wren_sessions.errors import StoreUnavailableError
from wren_sessions.stores.file import FileStore
from wren_sessions.testing.build import SESSION, put
calls = [
    lambda store: store.commit(put("2")),
    lambda store: store.load(SESSION),
    lambda store: store.list_sessions(),
    lambda store: store.diagnose(),
    lambda store: store.ping(),
]
with FileStore(sys.argv[1]) as store:
    store.commit(put("1"))
taken = []
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
for spare in range(4):
    for call in calls:
        store = FileStore(sys.argv[1])
        try:
            call(store)
        except StoreUnavailableError as error:
            assert "ulimit" in str(error), error
        else:
            assert spare > 1
        store.close()
    os.close(taken.pop())
for _ in range(8):
    os.close(taken.pop())
assert FileStore(sys.argv[1]).load(SESSION) is not None
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_no_file_descriptors_left_is_an_outage(tmp_path: Path) -> None:
    """The error says what to do, and the store works when there are some again."""
    words = [sys.executable, "-c", NO_FILES, str(tmp_path / "sessions.db")]
    subprocess.run(words, check=True)


def test_rows_that_contradict_each_other_are_damage(path: Path) -> None:
    """A limit that was reached is told as one, anything else that SQLite refuses as damage."""
    change(path, "UPDATE heads SET namespace = 'a' WHERE namespace = ''")
    with FileStore(path) as store:
        with pytest.raises(CorruptSessionError, match="no head of namespace ''"):
            store.load(GRAPH)
        change(path, "UPDATE sqlite_sequence SET seq = (1 << 31) - 1")
        with pytest.raises(StoreUnavailableError, match="limit was reached"):
            store.commit(put("1", session="new"))


def test_a_session_whose_notes_are_damaged_is_copied_over(tmp_path: Path) -> None:
    """They are read only where the copy compares them."""
    path = tmp_path / "sessions.db"
    with FileStore(path) as store:
        Sessions(store).save(GRAPH, {"n": 1})
        Sessions(store).save(OTHER, {"n": 2})
        Sessions(store).annotate(OTHER, title="one")
        life = {info.session: info for info in store.list_sessions().sessions}[OTHER].life
    change(path, "UPDATE notes SET owner = CAST(x'ff' AS TEXT)")
    with FileStore(path) as store:
        with pytest.raises(CorruptSessionError, match="notes"):
            store.copy(GRAPH, OTHER, replace=Seen.of(life, None, NOTHING_NOTED))
        assert store.copy(GRAPH, OTHER, replace=life) is not None
        assert Sessions(store).load(OTHER).state == {"n": 1}
