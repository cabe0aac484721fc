"""Records or pending writes of two checkpoints exchanged: each is bound to its own checkpoint."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from golden import content
from wren_sessions import Compression, FileStore, RedisStore, SessionSaver
from wren_sessions.checkpoints.codec import (
    WriteBody,
    compressed,
    encode_write,
    plain_frame,
    writes_of,
)
from wren_sessions.delta.base import StoredValue
from wren_sessions.errors import CorruptSessionError
from wren_sessions.keys import write_key
from wren_sessions.records import Stored, StoredWrite
from wren_sessions.stores.protected import ProtectedStore

ID: Final = "1f0bd2a4-0000-6000-8000-{:012}"
FIRST, SECOND = ID.format(0), ID.format(1)


def write(saver: SessionSaver) -> None:
    """Two checkpoints with pending writes of the same task."""
    config = content.config()
    for step in range(2):
        checkpoint = content.checkpoint(step, {"turn_count": step, "notes": ["x" * 90 * step]})
        saver.put(config, checkpoint, {"step": step}, checkpoint["channel_versions"])
        there = content.config("", checkpoint["id"])
        saver.put_writes(there, [("notes", f"said {step}")], "task")


def refused(saver: SessionSaver) -> None:
    """Neither checkpoint is read, by its id or in a list."""
    for config in (content.config(), content.config("", FIRST), content.config("", SECOND)):
        with pytest.raises(CorruptSessionError, match="is damaged"):
            saver.get_tuple(config)
    with pytest.raises(CorruptSessionError, match="is damaged"):
        list(saver.list(content.config()))


Wrap = Callable[[Any], Any]
WRAPS: Final[list[Wrap]] = [
    lambda store: store,
    lambda store: ProtectedStore(store, compression=Compression(threshold_bytes=16)),
]


@pytest.mark.parametrize("wrap", WRAPS, ids=["plain", "zstd"])
@pytest.mark.parametrize("table", ["records", "writes"])
def test_exchanged_in_a_file(tmp_path: Path, table: str, wrap: Wrap) -> None:
    """The bodies of two rows."""
    path = tmp_path / "sessions.db"
    with FileStore(path) as store:
        write(SessionSaver(wrap(store)))
    with closing(sqlite3.connect(path)) as connection:
        rows = dict(connection.execute(f"SELECT id, body FROM {table}"))  # noqa: S608
        for one, other in ((FIRST, SECOND), (SECOND, FIRST)):
            change = f"UPDATE {table} SET body = ? WHERE id = ?"  # noqa: S608
            connection.execute(change, (rows[one], other))
        connection.commit()
    with FileStore(path) as store:
        refused(SessionSaver(wrap(store)))


@pytest.mark.parametrize("wrap", WRAPS, ids=["plain", "zstd"])
@pytest.mark.parametrize("prefix", ["", ":w//"])
def test_exchanged_on_redis(redis_url: str, prefix: str, wrap: Wrap) -> None:
    """The bodies of two records, or two whole logs."""
    with redis.Redis.from_url(redis_url) as client:
        store = RedisStore.from_client(client)
        write(SessionSaver(wrap(store)))
        key = store.keys.session_key(content.SESSION)
        one, other = prefix + FIRST, prefix + SECOND
        first, second = [client.hget(key, name).split(b"\n", 1) for name in (one, other)]
        client.hset(key, one, b"\n".join((first[0], second[1])))
        client.hset(key, other, b"\n".join((second[0], first[1])))
        refused(SessionSaver(wrap(store)))


def test_a_frame_stays_bound_when_it_is_compressed() -> None:
    """To compress it and back needs no name, and gives the same bytes."""
    write = WriteBody("task", 0, "", "notes", StoredValue("safe", [b"x" * 200]))
    frame = encode_write(write, ("", FIRST))
    small = compressed(frame, Compression(threshold_bytes=16))
    assert len(small) < len(frame)
    assert plain_frame(small) == frame
    kept = StoredWrite(write_key(write.task_id, write.index), small)
    mine, other = (
        Stored(name=("", checkpoint_id), body=b"", base=0, writes=(kept,))
        for checkpoint_id in (FIRST, SECOND)
    )
    assert writes_of("s", mine) == [write]
    with pytest.raises(CorruptSessionError):
        writes_of("s", other)
