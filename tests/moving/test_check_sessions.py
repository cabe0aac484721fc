"""Verifying says what of a session is whole, and a repair goes on from there."""

from __future__ import annotations

import json
import shutil
import sqlite3
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
import redis

from damage.forms import GRAPH, KEY, OTHER, FileForm, Form, RedisForm
from golden import content
from remedies.proposals import tries
from servers import start_server
from wren_sessions import (
    Encryption,
    FileStore,
    MemoryStore,
    RedisStore,
    Sessions,
    SessionSaver,
    copy_sessions,
    open_store,
)
from wren_sessions.errors import ConflictError, CorruptSessionError, SessionNotFoundError
from wren_sessions.protocols import SessionStore
from wren_sessions.stores.protected import ProtectedStore
from wren_sessions.testing.build import commit
from wren_sessions.transfer.checking import acheck_session, check_session
from wren_sessions.transfer.repairing import arepair_session, repair_session

FORMS: Final = [(k, p) for k in ("file", "redis") for p in ("plain", "zstd", "encrypted")]


def id_of(step: int) -> str:
    """A checkpoint's id."""
    return content.checkpoint(step, {})["id"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server of its own: nothing on it has a deadline."""
    with start_server() as server:
        yield server.url


@pytest.fixture(params=FORMS, ids=", ".join)
def form(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Form]:
    """Two sessions that can be damaged."""
    kind, protection = request.param
    found: Form = (
        FileForm(protection, tmp_path)
        if kind == "file"
        else RedisForm(protection, request.getfixturevalue("url"))
    )
    yield found
    found.close()


def spoil(form: Form, *steps: int) -> None:
    """Write other bodies into the records of the graph's session, behind the store's back."""
    for step in steps:
        if isinstance(form, RedisForm):
            key = "langgraph:checkpoint:golden%3Asession%2F1:latest"
            form.client.hset(key, id_of(step), "spoilt")
            continue
        assert isinstance(form, FileForm)
        changes = ["spans = x'0000'"] if step % 2 else ["body = 'text'", "body = x'00'"]
        with closing(sqlite3.connect(form.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            for change in changes:
                with suppress(sqlite3.IntegrityError):  # a strict table
                    statement = f"UPDATE records SET {change} WHERE namespace = '' AND id = ?"  # noqa: S608
                    connection.execute(statement, [id_of(step)])


def test_what_is_whole_is_said_to_be(form: Form) -> None:
    """All checkpoints of all namespaces, and nothing was written."""
    with form.store() as store:
        before = store.info(GRAPH)
        found = check_session(store, GRAPH)
        assert found.ok
        assert [id_ for ns, id_ in found.whole if ns == ""] == [id_of(step) for step in range(5)]
        assert [ns for ns, _ in found.whole].count(content.CHILD) == 1
        assert found.latest == id_of(4)
        assert check_session(store, OTHER).ok
        after = store.info(GRAPH)
    assert before is not None
    assert after is not None
    assert (before.life.revision, before.state) == (after.life.revision, after.state)


def test_damaged_checkpoints_are_named_and_left_out(form: Form) -> None:
    """Those on either side can be read, and are what the repaired session goes on with."""
    spoil(form, 4, 2)
    with form.store() as store:
        found = check_session(store, GRAPH)
        named = {(part.namespace, part.checkpoint_id) for part in found.damaged}
        assert named == {("", id_of(4)), ("", id_of(2))}
        whole = [id_ for ns, id_ in found.whole if ns == ""]
        assert whole == [id_of(0), id_of(1), id_of(3)]
        assert found.latest == id_of(3)
        assert repair_session(store, found) == 4
        assert check_session(store, GRAPH).ok
    with form.store() as store:
        latest = SessionSaver(store).get_tuple(content.config())
        assert latest is not None
        assert latest.checkpoint["channel_values"] == content.states()[3]
        child = SessionSaver(store).get_tuple(content.config(content.CHILD))
        assert child is not None
        assert child.checkpoint["channel_values"]["messages"] == content.messages(6)
        info = store.info(GRAPH)
        assert info is not None
        assert b'"turn_count":3' in info.state or form.sealed
        following = content.checkpoint(9, {"messages": content.messages(7)})
        metadata: Any = {"source": "loop", "step": 9, "parents": {}}
        SessionSaver(store).put(
            latest.config,
            following,
            metadata,
            {"messages": f"{10:032}.golden00"},
        )
        assert check_session(store, GRAPH).ok


def test_the_original_can_be_kept_and_looked_at(form: Form, tmp_path: Path) -> None:
    """A damaged session as its store has it: a session file of its own, or what RESTORE takes."""
    spoil(form, 4)
    with form.store() as store:
        before = check_session(store, GRAPH)
        below: Any = getattr(store, "unprotected", store)
        data = below.dump(GRAPH)
        assert below.dump("no such session") is None
    if isinstance(form, RedisForm):
        assert form.client.restore("langgraph:checkpoint:kept:latest", 0, data)
        assert form.client.hlen("langgraph:checkpoint:kept:latest") > 10
        return
    kept = tmp_path / "kept.db"
    kept.write_bytes(data)
    options = {"encryption": Encryption([KEY])} if form.sealed else {}
    with open_store(f"file:{kept}", **options) as copy:  # type: ignore[arg-type]
        assert check_session(copy, GRAPH).whole == before.whole
        assert copy.info(OTHER) is None


def test_a_writer_in_between_stops_the_repair(form: Form) -> None:
    """Nothing was changed, and the error says why."""
    spoil(form, 2)
    with form.store() as store:
        found = check_session(store, GRAPH)
        touched = getattr(store, "unprotected", store).commit(commit(GRAPH))
        assert touched.outcome == "done"
        with pytest.raises(ConflictError, match="was written since it was verified"):
            repair_session(store, found)
        assert check_session(store, GRAPH).whole == found.whole


class Restless:
    """A store whose session is written each time it was looked at."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def heads(self, session: str) -> object:
        """See `SessionStore.heads`."""
        self._store.commit(commit(session))
        return self._store.heads(session)


@tries("was not verified, because others kept writing it: try again when it is less busy")
def test_a_session_that_is_written_all_the_time_is_an_error(tmp_path: Path) -> None:
    """What was seen would be of several moments."""
    form = FileForm("plain", tmp_path)
    with form.store() as store:
        with pytest.raises(ConflictError, match="when it is less busy"):
            check_session(Restless(store), GRAPH)  # type: ignore[arg-type]
        assert check_session(store, GRAPH).ok


def test_a_damaged_pending_write_is_left_out_alone(tmp_path: Path) -> None:
    """Its checkpoint is whole, and the other writes stay."""
    form = FileForm("plain", tmp_path)
    with closing(sqlite3.connect(form.path, isolation_level=None)) as connection:
        connection.execute("UPDATE writes SET body = x'0100aa' WHERE key LIKE 'task-a%'")
    with form.store() as store:
        found = check_session(store, GRAPH)
        assert [(part.checkpoint_id, part.write) for part in found.damaged] == [
            (id_of(4), "task-a/0")
        ]
        assert found.latest == id_of(4)
        repair_session(store, found)
        latest = SessionSaver(store).get_tuple(content.config())
    assert latest is not None
    assert [write[:2] for write in latest.pending_writes or []] == [
        ("task-b", "messages"),
        ("task-b", "note"),
        ("task-c", "__interrupt__"),
    ]


@tries("or its own entry is damaged; restore the session from a copy")
def test_nothing_whole_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    """The error says so, and the session stays as it is."""
    form, copy = FileForm("plain", tmp_path), MemoryStore()
    with form.store() as store:
        copy_sessions(store, copy)
    with closing(sqlite3.connect(form.path, isolation_level=None)) as connection:
        connection.execute("UPDATE records SET body = x'0100'")
    with form.store() as store:
        found = check_session(store, GRAPH)
        assert found.latest is None
        assert found.whole == ()
        with pytest.raises(CorruptSessionError, match="restore the session from a copy"):
            repair_session(store, found)
        copy_sessions(copy, store, sessions=[GRAPH], replace=True)
        assert check_session(store, GRAPH).ok


def test_a_session_that_is_not_there(tmp_path: Path) -> None:
    """A miss is an error here: somebody named it."""
    with FileStore(tmp_path / "a.db") as store:
        Sessions(store).save("a", {})
        with pytest.raises(SessionNotFoundError):
            check_session(store, "b")


async def test_the_awaitable_face_finds_the_same(form: Form) -> None:
    """And repairs the same."""
    spoil(form, 2)
    with form.store() as store:
        found = await acheck_session(store, GRAPH)
        assert found.whole == check_session(store, GRAPH).whole
        assert await arepair_session(store, found) == 5
        assert (await acheck_session(store, GRAPH)).ok
        await store.aio.close()


@pytest.mark.parametrize("seed", range(12))
def test_what_verifies_can_be_read(form: Form, seed: int) -> None:
    """Damage that reading stumbles over is found by verifying."""
    form.damage(Random(seed))
    form.again()
    with form.store() as store:
        try:
            found = check_session(store, GRAPH)
        except SessionNotFoundError:
            return
        if found.ok:
            list(SessionSaver(store).list(content.config()))
        elif found.info is not None and found.latest is not None:
            repair_session(store, found)
            list(SessionSaver(store).list(content.config()))


def test_protection_is_part_of_it(tmp_path: Path) -> None:
    """Without the key nothing can be said to be whole."""
    form = FileForm("encrypted", tmp_path)
    with ProtectedStore(FileStore(form.path), encryption=Encryption([KEY])) as store:
        assert check_session(store, GRAPH).ok
    with FileStore(form.path) as store:
        assert not check_session(store, GRAPH).ok


@pytest.mark.parametrize("file", ["v1.sqlite3", "v2-named.sqlite3", "v3.sqlite3"])
def test_what_was_never_counted_is_said_to_be_unverified(tmp_path: Path, file: str) -> None:
    """A session file of an early version is whole as far as it can be told, and that is said."""
    path = Path(shutil.copy(Path(content.__file__).parent / file, tmp_path / "sessions.db"))
    with FileStore(path) as store:
        found = check_session(store, GRAPH)
        assert (found.ok, found.counted) == (True, file == "v3.sqlite3")


@pytest.mark.parametrize("version", [1, 2])
def test_so_is_a_session_on_redis(url: str, version: int) -> None:
    """Version 1 of the format counted no fields; its exit code is that of a whole session."""
    fields = json.loads((Path(content.__file__).parent / f"v{version}.redis.json").read_text())
    with redis.Redis.from_url(url) as client, RedisStore.from_client(client) as store:
        key = store.keys.session_key(GRAPH)
        client.delete(key)
        client.hset(key, mapping={b64decode(name): b64decode(fields[name]) for name in fields})
        found = check_session(store, GRAPH)
        assert (found.ok, found.counted) == (True, version == 2)
