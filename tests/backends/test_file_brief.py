"""Brief reads use the writer's connection while nobody writes, and wait for nobody."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wren_sessions.errors import CorruptSessionError
from wren_sessions.records import Record, Span, Start, merge_spans
from wren_sessions.stores.file import FileStore, cells, reading, writing
from wren_sessions.testing.build import SESSION, add, put, write


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileStore]:
    """A store with a session; it has written, and not read yet."""
    with FileStore(tmp_path / "sessions.db") as store:
        store.commit(put("1", append=b"some"))
        yield store


def connections(store: FileStore) -> int:
    """How many connections are open: one writes, all others only read."""
    return len(store._database._open)


def test_a_lone_reader_needs_no_connection_of_its_own(store: FileStore) -> None:
    """The writer's has the pages in memory."""
    assert store.load(SESSION) is not None
    assert store.heads(SESSION) == (("", "1"),)
    assert len(store.scan(SESSION, [Start("")], 10).records) == 1
    assert store.read(SESSION, [Span(0, 4)]) is not None
    assert connections(store) == 1


def test_a_read_beside_a_transaction_sees_what_was_committed(store: FileStore) -> None:
    """It neither waits for the transaction nor sees into it."""
    found: list[object] = []

    def drop(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM records")
        reader = threading.Thread(target=lambda: found.append(store.load(SESSION)))
        reader.start()
        reader.join(30)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 -- what was raised above
        store._database.write(drop)
    assert len(found) == 1
    assert found[0] is not None
    assert connections(store) == 2


def test_what_takes_long_is_read_elsewhere(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long list keeps no writer waiting: it is read with a connection of its own, whole."""
    data = bytes(range(256)) * 40
    store.commit(put("2", append=data))
    assert store.load(SESSION) is not None
    assert connections(store) == 1
    monkeypatch.setattr(reading, "BRIEF_BYTES", len(data) - 1)
    loaded = store.load(SESSION)
    assert loaded is not None
    assert loaded.arena is not None
    assert loaded.arena.get(loaded.stored.spans[0]) == data
    assert connections(store) == 2


def test_long_scans_and_reads_are_made_elsewhere(store: FileStore) -> None:
    """So are pages of many records, sizes and listings."""
    store.scan(SESSION, [Start("")], 1_000)
    assert connections(store) == 2


def test_a_connection_that_fails_is_not_the_end_of_a_read(store: FileStore) -> None:
    """An error on the writer's connection is not told: another one is asked."""
    kept = store._database._writer
    assert kept is not None
    kept.connection.close()
    loaded = store.load(SESSION)
    assert loaded is not None
    assert loaded.stored.name == ("", "1")


def test_a_file_that_was_deleted_is_noticed(tmp_path: Path, store: FileStore) -> None:
    """The writer's connection is to the file that stands there, or it is not used."""
    for name in ("", "-wal", "-shm"):
        (tmp_path / f"sessions.db{name}").unlink()
    assert store.load(SESSION) is None


def test_a_damaged_file_is_told(store: FileStore) -> None:
    """Where both connections find the same, that is the answer."""
    kept = store._database._writer
    assert kept is not None
    kept.connection.execute("DELETE FROM arena")
    with pytest.raises(CorruptSessionError):
        store.load(SESSION)
    kept.connection.execute("DROP TABLE writes")
    with pytest.raises(CorruptSessionError, match="table 'writes' in its schema is missing"):
        store.load(SESSION)
    assert not kept.connection.in_transaction


def test_many_writes_keep_their_order(store: FileStore) -> None:
    """Pending writes come in the order they were made, whatever their keys."""
    keys = ["zebra", "ant", "moth", "bee"]
    for key in keys:
        store.commit(add("1", write(key, 0, key.encode())))
    loaded = store.load(SESSION)
    assert loaded is not None
    assert [stored.body.decode() for stored in loaded.stored.writes] == keys


spans = st.builds(Span, st.integers(0, 60), st.integers(0, 20))


@given(st.lists(spans, max_size=4), st.binary(max_size=5))
def test_spans_are_stored_in_their_shortest_form(given: list[Span], append: bytes) -> None:
    """The short cut for a list that grew gives what merging gives."""
    record = Record(name=("", "1"), parent_id=None, body=b"", append=append, spans=tuple(given))
    packed = writing._pack_with_own(record, 60)
    whole = merge_spans((*given, Span(60, len(append))))
    assert tuple(cells.unpack_spans(packed, "records", "1")) == whole


def test_readers_and_writers_in_many_threads(store: FileStore) -> None:
    """Whoever reads sees whole commits, in the order they were made."""
    errors: list[object] = []
    stop = threading.Event()

    def read() -> None:
        last = 0
        while not stop.is_set():
            loaded = store.load(SESSION)
            if loaded is None or loaded.arena is None:
                errors.append("lost")
                return
            (span,) = loaded.stored.spans
            if loaded.life.revision < last or loaded.arena.get(span) != loaded.stored.body:
                errors.append(loaded)
            last = loaded.life.revision

    store.commit(put("1", body=b"0" * 9, append=b"0" * 9))
    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for number in range(2, 150):
        text = f"{number:09}".encode()
        store.commit(put(f"{number:03}", body=text, append=text))
    stop.set()
    for reader in readers:
        reader.join()
    assert errors == []
