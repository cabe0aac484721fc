"""What can be damaged: a session file, a Redis server, a dump, an export, and an archive.

A form knows how it was when it was whole, damages itself, and is put back, damaged as it was,
before each call: so calls that write do not disturb each other. In all of them are two sessions:
one of a graph, with a subgraph's namespace, pending writes and a question that waits, and one of an
app without LangGraph.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import msgpack
from redis import Redis

from backends.damaging import WAYS as CELL_WAYS
from damage.ways import changed, mutated, repacked, summed
from golden import content
from wren_sessions import (
    Compression,
    Encryption,
    FileStore,
    MemoryStore,
    RedisStore,
    SessionArchiver,
    Sessions,
    SessionSaver,
)
from wren_sessions.archives import export_session
from wren_sessions.protocols import SessionStore
from wren_sessions.stores.protected import ProtectedStore
from wren_sessions.testing.build import add, write
from wren_sessions.ttl import TTLPolicy

GRAPH: Final = content.SESSION
OTHER: Final = "other"
KEY: Final = "damage:" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
PROTECTIONS: Final = ("plain", "zstd", "encrypted")
EVER: Final = TTLPolicy()


class Damage(NamedTuple):
    """What was done.

    Attributes:
        where: the table and column, the kind of field, or the part of a file.
        what: what was done to it.
        forged: whether a checksum was made anew, which only a key can tell.
    """

    where: str
    what: str
    forged: bool = False

    def __str__(self) -> str:
        return f"{self.where} {self.what}{' (forged)' if self.forged else ''}"


def protected(store: SessionStore, protection: str) -> SessionStore:
    """A store with encryption, compression, or neither."""
    if protection == "zstd":
        return ProtectedStore(store, compression=Compression(threshold_bytes=64))
    if protection == "encrypted":
        return ProtectedStore(store, encryption=Encryption([KEY]))
    return store


def fill(store: SessionStore) -> None:
    """Write both sessions."""
    content.write(SessionSaver(store))
    Sessions(store).save(OTHER, {"a": 1, "text": "x" * 3_000})
    Sessions(store).save(OTHER, {"a": 2, "text": "x" * 3_000})
    below = getattr(store, "unprotected", store)
    if below is store:  # a sealed write has to be sealed
        store.commit(add("9", write("task", 0, b"early"), session=OTHER))


class Form(ABC):
    """One thing that can be damaged.

    Args:
        protection: one of `PROTECTIONS`.

    Attributes:
        name: of the form, with its protection.
        sealed: whether a key tells what was forged.
    """

    kind: str

    def __init__(self, protection: str) -> None:
        self.protection = protection
        self.name = f"{self.kind}, {protection}"
        self.sealed = protection == "encrypted"

    @property
    def url(self) -> str | None:
        """The store's URL for the command line; None where it has none."""
        return None

    @abstractmethod
    def mend(self) -> None:
        """Make it whole, as it was."""

    @abstractmethod
    def damage(self, draw: Random) -> Damage | None:
        """Damage it; None where nothing was changed."""

    @abstractmethod
    def again(self) -> None:
        """Put it back as it was after it was damaged, or made whole."""

    @abstractmethod
    def below(self) -> SessionStore:
        """The store, without protection."""

    @contextmanager
    def store(self) -> Iterator[SessionStore]:
        """The store, opened anew, so that it knows nothing."""
        found = protected(self.below(), self.protection)
        with found:
            yield found

    def close(self) -> None:  # noqa: B027 -- most have nothing to give back
        """Give back what it holds."""


# --- a session file -------------------------------------------------------------------------------


class FileForm(Form):
    """A session file: any cell, rows, and the file's own bytes."""

    kind = "file"

    def __init__(self, protection: str, folder: Path) -> None:
        super().__init__(protection)
        self.path = folder / f"{protection}.db"
        with protected(self.below(), protection) as store:
            fill(store)
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")  # one file, to be copied
        self._whole = self._now = self.path.read_bytes()

    @property
    def url(self) -> str:
        """See `Form.url`."""
        options = "?compression=zstd" if self.protection == "zstd" else ""
        return f"file:{self.path}{options}"

    def below(self) -> SessionStore:
        """See `Form.below`."""
        return FileStore(self.path, ttl=EVER)

    def mend(self) -> None:
        """See `Form.mend`."""
        self._now = self._whole
        self.again()

    def again(self) -> None:
        """See `Form.again`."""
        for name in ("-wal", "-shm", "-journal"):
            self.path.with_name(self.path.name + name).unlink(missing_ok=True)
        self.path.write_bytes(self._now)

    def damage(self, draw: Random) -> Damage | None:
        """See `Form.damage`."""
        done = self._bytes(draw) if draw.random() < 0.08 else self._row(draw)
        self._now = self.path.read_bytes()
        return None if self._now == self._whole else done

    def _bytes(self, draw: Random) -> Damage:
        data = bytearray(self._whole)
        for _ in range(draw.choice((1, 8, 64))):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        if draw.random() < 0.3:
            del data[draw.randrange(len(data)) :]
        self.path.write_bytes(data)
        return Damage("file", "bytes")

    def _row(self, draw: Random) -> Damage | None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            table = draw.choice(_tables(connection))
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            keys = "sid, namespace" if table == "heads" else "rowid"
            try:
                return draw.choice(self._ways)(self, connection, draw, (table, keys, columns))
            except sqlite3.Error:  # a strict table, a key that is there already
                return None

    def _cell(
        self, connection: sqlite3.Connection, draw: Random, place: tuple[str, str, list[str]]
    ) -> Damage | None:
        table, keys, columns = place
        column = draw.choice(columns)
        rows = _rows(connection, table, keys, column)
        if not rows:
            return None
        *key, old = draw.choice(rows)
        if type(old) is bytes and draw.random() < 0.6:
            what, value, forged = changed(old, draw)
            expression = "?"
        else:
            what, expression, found = draw.choice(CELL_WAYS)(old, draw)
            value, forged = found, False
        _update(connection, table, keys, f"{column} = {expression}", (value, *key))
        return Damage(f"{table}.{column}", what, forged)

    def _deleted(
        self, connection: sqlite3.Connection, draw: Random, place: tuple[str, str, list[str]]
    ) -> Damage | None:
        table, keys, _ = place
        rows = _rows(connection, table, keys, "1")
        if not rows:
            return None
        *key, _ = draw.choice(rows)
        where = " AND ".join(f"{name} = ?" for name in keys.split(", "))
        connection.execute(f"DELETE FROM {table} WHERE {where}", key)  # noqa: S608
        return Damage(f"{table} row", "deleted")

    def _swapped(
        self, connection: sqlite3.Connection, draw: Random, place: tuple[str, str, list[str]]
    ) -> Damage | None:
        """Exchange one column, or all but the keys, of two rows."""
        table, keys, columns = place
        rows = _rows(connection, table, keys, ", ".join(columns))
        if len(rows) < 2:
            return None
        one, other = draw.sample(rows, 2)
        width = len(keys.split(", "))
        named = {"sid", "namespace", "id", "pos", "name", "number", "key", "prefix"}
        free = [column for column in columns if column not in named]
        chosen = free if draw.random() < 0.5 else [draw.choice(free or columns)]
        if not chosen:
            return None
        for row, source in ((one, other), (other, one)):
            cells = dict(zip(columns, source[width:], strict=True))
            changes = ", ".join(f"{column} = ?" for column in chosen)
            values = [cells[column] for column in chosen]
            _update(connection, table, keys, changes, (*values, *row[:width]))
        return Damage(f"{table}.{chosen[0] if len(chosen) == 1 else 'row'}", "swapped")

    _ways: Final = (_cell, _cell, _cell, _cell, _deleted, _swapped)


def _tables(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    return sorted(name for (name,) in found)


def _rows(connection: sqlite3.Connection, table: str, keys: str, columns: str) -> list[Any]:
    return connection.execute(f"SELECT {keys}, {columns} FROM {table}").fetchall()  # noqa: S608


def _update(
    connection: sqlite3.Connection, table: str, keys: str, changes: str, values: tuple[Any, ...]
) -> None:
    where = " AND ".join(f"{name} = ?" for name in keys.split(", "))
    connection.execute(f"UPDATE {table} SET {changes} WHERE {where}", values)  # noqa: S608


# --- a Redis server -------------------------------------------------------------------------------


class RedisForm(Form):
    """The hashes of a real server: any field."""

    kind = "redis"

    def __init__(self, protection: str, url: str) -> None:
        super().__init__(protection)
        self._url = url
        self.client = Redis.from_url(url)
        self.client.flushdb()
        with self.store() as store:
            fill(store)
        self._whole = self._now = self._read()

    @property
    def url(self) -> str:
        """See `Form.url`."""
        return f"{self._url}?compression=zstd" if self.protection == "zstd" else self._url

    def below(self) -> SessionStore:
        """See `Form.below`."""
        return RedisStore.from_client(self.client, ttl=EVER)

    def close(self) -> None:
        """See `Form.close`."""
        self.client.close()

    def _read(self) -> dict[bytes, bytes]:
        return {key: self.client.dump(key) for key in sorted(self.client.keys("*"))}  # type: ignore[misc]

    def mend(self) -> None:
        """See `Form.mend`."""
        self._now = self._whole
        self.again()

    def again(self) -> None:
        """See `Form.again`."""
        with self.client.pipeline() as pipe:
            pipe.flushdb()
            for key, value in self._now.items():
                pipe.restore(key, 0, value)
            pipe.execute()

    def damage(self, draw: Random) -> Damage | None:
        """See `Form.damage`."""
        keys = sorted(self._whole)
        key = draw.choice(keys)
        fields: dict[bytes, bytes] = self.client.hgetall(key)  # type: ignore[assignment]
        field = draw.choice(sorted(fields))
        where = kind_of(field)
        done = self._one(key, fields, field, draw)
        self._now = self._read()
        return None if self._now == self._whole else Damage(where, *done)

    def _one(
        self, key: bytes, fields: dict[bytes, bytes], field: bytes, draw: Random
    ) -> tuple[str, bool]:
        match draw.randrange(12):
            case 0 | 1:
                self.client.hdel(key, field)
                return "deleted", False
            case 2 | 3:
                alike = sorted(f for f in fields if kind_of(f) == kind_of(field) and f != field)
                other = draw.choice(alike or [field])
                both = {field: fields[other], other: fields[field]}
                self.client.hset(key, mapping=both)  # type: ignore[arg-type]
                return "swapped", False
            case 4:
                self.client.hset(key, b"more" + field, draw.randbytes(20))
                return "another field beside", False
            case 5 if draw.random() < 0.3:
                self.client.delete(key)
                self.client.rpush(key, "x")
                return "the key another type", False
            case _:
                what, value, forged = changed(fields[field], draw)
                self.client.hset(key, field, value)
                return what, forged


def kind_of(field: bytes) -> str:
    """What a field of a session's hash is."""
    if field.startswith(b":w"):
        tail = field.rpartition(b"/")[2]
        return ":w log" if b"-" in tail else ":w part"
    if field.startswith(b":"):
        return field.decode()[:2] if field[1:2] in {b"a", b"s", b"b"} else field.decode()[:5]
    return "state" if field == b"state" else "record"


# --- dumps, exports, archives ---------------------------------------------------------------------


class DumpForm(Form):
    """What `MemoryStore.dump` gives."""

    kind = "dump"

    def __init__(self, protection: str) -> None:
        super().__init__(protection)
        below = MemoryStore(ttl=EVER)
        fill(protected(below, protection))
        self._whole = {session: below.dump(session) or b"" for session in (GRAPH, OTHER)}
        self._now = dict(self._whole)

    def below(self) -> SessionStore:
        """See `Form.below`."""
        store = MemoryStore(ttl=EVER)
        for session, data in self._now.items():
            store.restore(session, data)
        return store

    def mend(self) -> None:
        """See `Form.mend`."""
        self._now = dict(self._whole)

    def again(self) -> None:
        """See `Form.again`; nothing that is written goes back to the dumps."""

    def damage(self, draw: Random) -> Damage | None:
        """See `Form.damage`."""
        session = draw.choice((GRAPH, OTHER))
        data = self._whole[session]
        if draw.random() < 0.3:
            what, value, forged = changed(data, draw)
        else:
            tree = mutated(msgpack.unpackb(data[4:], strict_map_key=False), draw)
            what, value, forged = "mutated", summed(repacked(tree)), True
        self._now[session] = value
        return None if value == data else Damage("dump", what, forged)


class ExportForm(Form):
    """The files of an export and of an archive, which are brought into an empty store."""

    kind = "export"

    def __init__(self, folder: Path) -> None:
        super().__init__("plain")
        self.folder = folder / "archive"
        store = MemoryStore(ttl=EVER)
        fill(store)
        archive = SessionArchiver(store, self.folder).archive(GRAPH)
        archive.export.write_text("".join(export_session(store, GRAPH)))
        self.files = (archive.export, archive.conversation, archive.profile)
        self.archive = archive.folder
        self._whole = self._now = [path.read_bytes() for path in self.files]

    def below(self) -> SessionStore:
        """See `Form.below`."""
        return MemoryStore(ttl=EVER)

    def mend(self) -> None:
        """See `Form.mend`."""
        self._now = self._whole
        self.again()

    def again(self) -> None:
        """See `Form.again`."""
        for path, data in zip(self.files, self._now, strict=True):
            path.write_bytes(data)

    def damage(self, draw: Random) -> Damage | None:
        """See `Form.damage`."""
        at = draw.choice((0, 0, 0, 1, 2))
        self._now = list(self._whole)
        done = self._lines(draw) if at == 0 else self._json(at, draw)
        self.again()
        return None if self._now == self._whole else Damage(self.files[at].name, *done)

    def _lines(self, draw: Random) -> tuple[str, bool]:
        lines = self._whole[0].splitlines(keepends=True)
        at = draw.randrange(len(lines))
        what, forged = "mutated", True
        match draw.randrange(6):
            case 0:
                what, value, _ = changed(self._whole[0], draw)
                self._now[0] = value
                return what, False
            case 1:
                del lines[at]
                what, forged = "line deleted", draw.random() < 0.5
            case 2:
                other = draw.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
                what, forged = "lines swapped", draw.random() < 0.5
            case _:
                lines[at] = _json_line(mutated(json.loads(lines[at]), draw))
        self._now[0] = b"".join(_ended(lines) if forged else lines)
        return what, forged

    def _json(self, at: int, draw: Random) -> tuple[str, bool]:
        if draw.random() < 0.3:
            what, self._now[at], _ = changed(self._whole[at], draw)
            return what, True  # there is no checksum: it is a file for people
        self._now[at] = _json_line(mutated(json.loads(self._whole[at]), draw))
        return "mutated", True


def _json_line(tree: Any) -> bytes:
    return json.dumps(tree, separators=(",", ":")).encode() + b"\n"


def _ended(lines: list[bytes]) -> list[bytes]:
    """Lines with a last one that fits them."""
    kept = [line for line in lines if b'"sha256"' not in line]
    digest = hashlib.sha256(b"".join(kept)).hexdigest()
    return [*kept, _json_line({"end": True, "lines": len(kept), "sha256": digest})]
