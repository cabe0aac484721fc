"""What is gone from a session file is damage, and nothing that was never there is."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from golden import content
from wren_sessions import FileStore, SessionSaver
from wren_sessions.errors import CorruptSessionError
from wren_sessions.records import Start
from wren_sessions.testing.build import SESSION, add, prune, put, write
from wren_sessions.transfer.checking import check_session

GOLDEN: Final = Path(content.__file__).parent
ALL: Final = [Start(""), Start("sub")]

Call = Callable[[FileStore], Any]

LATEST: Final[Call] = lambda store: store.load(SESSION)  # noqa: E731
LISTED: Final[Call] = lambda store: store.scan(SESSION, ALL, 100)  # noqa: E731
BY_ID: Final[Call] = lambda store: store.load(SESSION, "", "2")  # noqa: E731


def fill(store: FileStore) -> None:
    """Five checkpoints, most with writes, and a namespace besides."""
    for number in range(1, 6):
        store.commit(put(str(number), parent=str(number - 1)))
        if number != 4:
            store.commit(add(str(number), write("task", 0, b"a"), write("task", 1, b"b")))
            store.commit(add(str(number), write("more", -3, b"c", replaces=True)))
    store.commit(put("1", ns="sub"))
    store.commit(add("1", write("task", 0, b"a"), ns="sub"))
    store.commit(add("5", write("more", -3, b"another", replaces=True)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with such a session."""
    with FileStore(tmp_path / "sessions.db") as store:
        fill(store)
    return tmp_path / "sessions.db"


def change(path: Path, *statements: str) -> None:
    """Change a file behind the store's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


GONE: Final[dict[str, tuple[str, Call]]] = {
    "a write of the latest": ("FROM writes WHERE id = '5' AND key = 'task/0'", LATEST),
    "all of the latest's": ("FROM writes WHERE id = '5'", LATEST),
    "a write of a namespace": (
        "FROM writes WHERE namespace = 'sub'",
        lambda store: store.load(SESSION, "sub"),
    ),
    "an earlier log": ("FROM writes WHERE id = '2'", BY_ID),
    "an earlier log, listed": ("FROM writes WHERE id = '3' AND key = 'task/1'", LISTED),
    "a checkpoint": ("FROM records WHERE id = '3'", LISTED),
    "a checkpoint, asked for": ("FROM records WHERE id = '2'", BY_ID),
    "the lowest": ("FROM records WHERE id = '1' AND namespace = ''", LISTED),
    "the lowest, listed alone": (
        "FROM records WHERE id = '1' AND namespace = ''",
        lambda store: store.scan(SESSION, [Start("", "2")], 1),
    ),
    "one at the end of a page": (
        "FROM records WHERE id = '3'",
        lambda store: store.scan(SESSION, [Start("")], 2),
    ),
    "one at the beginning of a page": (
        "FROM records WHERE id = '3'",
        lambda store: store.scan(SESSION, [Start("", "4")], 1),
    ),
    "a head": ("FROM heads WHERE namespace = ''", LATEST),
    "a namespace's head": (
        "FROM heads WHERE namespace = 'sub'",
        lambda store: store.heads(SESSION),
    ),
    "all heads": ("FROM heads", lambda store: store.heads(SESSION)),
}


@pytest.mark.parametrize("what", GONE)
def test_a_row_that_is_gone_is_damage(path: Path, what: str) -> None:
    """Of the latest checkpoint and of earlier ones, by name and in listings."""
    rows, call = GONE[what]
    with FileStore(path) as store:
        call(store)
        change(path, f"DELETE {rows}")
        with pytest.raises(CorruptSessionError):
            call(store)


def test_a_checkpoint_under_another_id_is_damage(path: Path) -> None:
    """Whoever asks for its own id is told, also where it was the latest."""
    change(path, "UPDATE records SET id = '25' WHERE id = '2'")
    change(path, "UPDATE records SET id = '59' WHERE id = '5'")
    with FileStore(path) as store:
        for id_ in ("2", "5"):
            with pytest.raises(CorruptSessionError):
                store.load(SESSION, "", id_)
        assert store.load(SESSION, "", "7") is None


def test_a_namespace_that_is_gone_whole_is_damage(path: Path) -> None:
    """Its head and its only checkpoint are gone: it is no namespace that never was."""
    change(path, "DELETE FROM heads WHERE namespace = 'sub'")
    change(path, "DELETE FROM records WHERE namespace = 'sub'")
    with FileStore(path) as store:
        for call in (
            lambda: store.load(SESSION, "sub"),
            lambda: store.scan(SESSION, [Start("sub")], 9),
            lambda: store.heads(SESSION),
            lambda: store.commit(put("2", ns="sub")),
        ):
            with pytest.raises(CorruptSessionError):
                call()
        assert store.load(SESSION) is not None


EXCHANGED: Final = {
    "keys": "SET key = key || '0' WHERE key = 'task/0'",
    "owners": "SET id = '4' WHERE id = '5'",
}


@pytest.mark.parametrize("what", EXCHANGED)
def test_writes_that_are_elsewhere_are_damage(path: Path, what: str) -> None:
    """Each has its key in the sum of its checkpoint, and a checksum of its own besides."""
    change(path, f"UPDATE writes {EXCHANGED[what]}")
    with FileStore(path) as store, pytest.raises(CorruptSessionError, match="table writes"):
        LATEST(store)


def test_an_arena_that_ends_elsewhere_is_not_appended_to(path: Path) -> None:
    """Bytes are never added to a row that is not the last one, or is not as long as it was."""
    with FileStore(path) as store:
        store.commit(put("6", append=b"some bytes"))
        change(path, "UPDATE arena SET data = x'00'")
        with pytest.raises(CorruptSessionError, match="table arena"):
            store.commit(put("7", append=b"more"))
        change(path, "DELETE FROM arena")
        with pytest.raises(CorruptSessionError, match="table arena"):
            store.commit(put("7", append=b"more"))


def test_two_clocks_a_late_write_and_an_early_one_are_no_damage(tmp_path: Path) -> None:
    """Numbers are kept whatever the order in which checkpoints and writes come."""
    with FileStore(tmp_path / "sessions.db") as store:
        store.commit(add("7", write("early", 0, b"x")))
        for id_, parent in (("5", None), ("7", "5"), ("6", "7"), ("62", "6"), ("61", "5")):
            store.commit(put(id_, parent=parent))
            store.commit(
                add(id_, write("task", 0, id_.encode()), write("t", -3, b"", replaces=True))
            )
        for id_ in ("5", "7", "61", "62", "6", "7"):
            store.commit(add(id_, write("late", 0, b"late"), write("t", -3, b"y", replaces=True)))
        store.commit(put("7", parent="62"))
        store.commit(put("61", parent="7"))
        assert dict(store.heads(SESSION)) == {"": "61"}
        store.commit(add("61", write("last", 0, b"x")))
        found = store.scan(SESSION, [Start("")], 9).records
        assert [stored.name[1] for stored in found] == ["7", "62", "61", "6", "5"]
        for stored in found:
            loaded = store.load(SESSION, *stored.name)
            assert loaded is not None
            assert (loaded.stored.writes, loaded.stored.below) == (stored.writes, stored.below)


@pytest.mark.parametrize("drop", [("2", "3"), ("1",), ("5",), ("4", "5"), ("1", "3", "5")])
def test_what_was_pruned_is_not_missed(path: Path, drop: tuple[str, ...]) -> None:
    """What is left is whole, and a row that goes afterwards is still damage."""
    with FileStore(path) as store:
        info = store.info(SESSION)
        assert info is not None
        assert store.prune(prune(info.life, *(("", id_) for id_ in drop))).outcome == "done"
        left = [id_ for id_ in "54321" if id_ not in drop]
        assert [stored.name[1] for stored in store.scan(SESSION, ALL[:1], 9).records] == left
        assert all(store.load(SESSION, "", id_) for id_ in left)
        assert store.load(SESSION, "", drop[0]) is None
        change(path, f"DELETE FROM records WHERE namespace = '' AND id = {left[1]!r}")  # noqa: S608
        with pytest.raises(CorruptSessionError):
            LISTED(store)


def test_a_copy_is_counted_too(path: Path) -> None:
    """It says the same as the session that it was made of."""
    with FileStore(path) as store:
        store.copy(SESSION, "copy")
        assert len(store.scan("copy", ALL, 9).records) == 6
        change(path, "DELETE FROM writes WHERE id = '5'")
        with pytest.raises(CorruptSessionError):
            store.load("copy")


@pytest.mark.parametrize("file", ["v1.sqlite3", "v2.sqlite3", "v2-named.sqlite3"])
def test_what_was_not_counted_is_not_missed(tmp_path: Path, file: str) -> None:
    """Sessions of earlier versions are read; what is written to them from now on is counted."""
    path = Path(shutil.copy(GOLDEN / file, tmp_path / "sessions.db"))
    with FileStore(path) as store:
        saver = SessionSaver(store)
        content.check(saver)
        step = content.checkpoint(9, {"messages": content.messages(7)})
        latest = saver.get_tuple(content.config())
        assert latest is not None
        config = saver.put(latest.config, step, {"source": "loop", "step": 9, "parents": {}}, {})
        saver.put_writes(config, [("note", "a")], "task-z", "~z")
        assert check_session(store, content.SESSION).ok
        assert len(list(saver.list(content.config()))) == 6
        change(path, f"DELETE FROM writes WHERE id = {step['id']!r}")  # noqa: S608
        with pytest.raises(CorruptSessionError):
            saver.get_tuple(content.config())


def test_what_is_damaged_in_a_file_of_version_2_does_not_stop_its_upgrade(tmp_path: Path) -> None:
    """The others are read, and the damage is told where it is."""
    path = Path(shutil.copy(GOLDEN / "v2-named.sqlite3", tmp_path / "sessions.db"))
    change(
        path,
        "PRAGMA ignore_check_constraints = ON",
        "UPDATE records SET base = -5 WHERE sid = 1",
        "UPDATE sessions SET revision = -1 WHERE sid = 1",
    )
    with FileStore(path) as store, pytest.raises(CorruptSessionError, match="table sessions"):
        store.load(content.SESSION)
    with FileStore(path, prefix=content.TENANT) as store:
        content.check(SessionSaver(store))
