"""What somebody who can write to the store can do to an encrypted session: nothing unseen.

The attacker has the store below, and copies of all that was ever in it, but no key.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from wren_sessions import MemoryStore, Sessions, SessionSaver
from wren_sessions.errors import CorruptSessionError, DecryptionError, WrenSessionsError
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Commit, Name, Prune, Record, Write, Writes
from wren_sessions.serializers.encryption import Encryption
from wren_sessions.stores.file import FileStore
from wren_sessions.stores.protected import ProtectedStore

KEYS = Encryption([Encryption.generate_key()])
FOUND = "changed, moved or cut off|is another session's|is not the one that its header names"
ANSWER = "the interviewee's answer, which nobody else may read. " * 30


def protected(store: SessionStore) -> ProtectedStore:
    """The store as the application has it."""
    return ProtectedStore(store, encryption=KEYS)


def talk(store: SessionStore, session: str, turns: int) -> list[str]:
    """A session with a checkpoint a turn; their ids, the oldest first."""
    sessions = Sessions(protected(store))
    ids = []
    messages: list[Any] = []
    for turn in range(turns):
        messages += [HumanMessage(f"{turn} {ANSWER}", id=f"h{turn}"), AIMessage("?", id=f"a{turn}")]
        saved = sessions.save(session, {"messages": messages, "turn_count": turn})
        assert saved.checkpoint_id
        ids.append(saved.checkpoint_id)
    return ids


def stored(store: SessionStore, session: str, checkpoint_id: str | None = None) -> Any:
    """A record as it lies in the store."""
    loaded = store.load(session, "", checkpoint_id)
    assert loaded is not None
    return loaded.stored


def plant(store: SessionStore, session: str, **parts: Any) -> None:
    """Write something into a session of the store below."""
    commit = Commit(session=session, token=secrets.token_hex(4), **parts)
    assert store.commit(commit).outcome == "done"


def record(name: str, body: bytes, spans: Any = ()) -> Record:
    """A record of the root namespace."""
    return Record(name=("", name), parent_id=None, body=body, spans=spans)


def read(store: SessionStore, session: str, at: str | None = None) -> Any:
    """Read a session as the application does, in a new process."""
    return Sessions(protected(store)).load(session, at=at)


def test_nothing_of_the_content_is_stored_in_the_clear() -> None:
    """Neither in records, nor in the arena, nor in the header."""
    store = MemoryStore()
    talk(store, "s", 3)
    assert read(store, "s").state["turn_count"] == 2
    dump = store.dump("s")
    assert dump
    for text in (b"interviewee", b"HumanMessage", b"turn_count", b"messages"):
        assert text not in dump
    info = store.info("s")
    assert info is not None
    assert b'"checkpoint":{}' in info.state
    assert protected(store).info("s").state.count(b'"turn_count":2') == 1  # type: ignore[union-attr]


def test_every_bit_of_a_record_counts() -> None:
    """A flipped bit anywhere in the body is noticed."""
    store = MemoryStore()
    (name,) = talk(store, "s", 1)
    good = stored(store, "s")
    for at in range(0, len(good.body), 7):
        body = bytearray(good.body)
        body[at] ^= 0x10
        plant(store, "s", record=record(name, bytes(body), good.spans))
        with pytest.raises(WrenSessionsError):
            read(store, "s", name)


def test_two_records_swapped() -> None:
    """Each is bound to its name."""
    store = MemoryStore()
    first, second = talk(store, "s", 2)
    one, two = stored(store, "s", first), stored(store, "s", second)
    plant(store, "s", record=record(first, two.body, two.spans))
    plant(store, "s", record=record(second, one.body, one.spans))
    for name in (first, second):
        with pytest.raises(DecryptionError, match=FOUND):
            read(store, "s", name)
    with pytest.raises(CorruptSessionError, match=FOUND):
        read(store, "s")


def test_another_sessions_record() -> None:
    """Also one of the same name, with its arena, in place of the whole session."""
    store = MemoryStore()
    talk(store, "victim", 2)
    talk(store, "donor", 2)
    header = store.info("victim")
    assert header is not None
    store.copy("donor", "victim", replace=True)
    with pytest.raises(DecryptionError, match=FOUND):
        read(store, "victim")
    plant(store, "victim", state=header.state)  # under the victim's own header
    with pytest.raises((DecryptionError, CorruptSessionError), match=FOUND):
        read(store, "victim")
    for name in [name for _, name in protected(store).heads("victim")]:
        with pytest.raises(DecryptionError, match=FOUND):
            read(store, "victim", name)


def test_an_older_checkpoint_under_a_newer_header() -> None:
    """The header names the latest checkpoint: taking it away is noticed."""
    store = MemoryStore()
    talk(store, "s", 2)
    older = store.dump("s")
    talk(store, "s", 1)
    newer = store.info("s")
    assert older
    assert newer is not None
    store.delete("s")
    store.restore("s", older)
    plant(store, "s", state=newer.state)
    with pytest.raises(CorruptSessionError, match=FOUND):
        read(store, "s")


def pruned(store: SessionStore, *drop: Name) -> None:
    """Drop checkpoints of a session, and give it another header."""
    found = store.info("s")
    assert found is not None
    life = found.life
    prune = Prune(
        session="s", incarnation=life.incarnation, revision=life.revision, drop=drop, state=b"{}"
    )
    assert protected(store).prune(prune).outcome == "done"


@pytest.mark.parametrize("since", ["nothing", "a prune", "a later one was dropped"])
def test_an_older_form_of_the_same_checkpoint(since: str) -> None:
    """A checkpoint that was written again is the one that the header has a digest of."""
    store = MemoryStore()
    saver = SessionSaver(protected(store))
    config: Any = {"configurable": {"thread_id": "s", "checkpoint_ns": ""}}
    checkpoint: Any = {"v": 4, "id": "c1", "ts": "", "channel_versions": {"x": 1}}
    checkpoint |= {"versions_seen": {}, "channel_values": {"x": 1}}
    saver.put(config, checkpoint, {}, {"x": 1})
    old = stored(store, "s")
    saver.put(config, checkpoint | {"channel_values": {"x": 2}}, {}, {"x": 1})
    if since == "a prune":
        pruned(store)
    if since == "a later one was dropped":
        at: Any = {"configurable": config["configurable"] | {"checkpoint_id": "c1"}}
        saver.put(at, checkpoint | {"id": "c2", "channel_values": {"x": 3}}, {}, {"x": 1})
        pruned(store, ("", "c2"))
    assert read(store, "s").state == {"x": 2}
    plant(store, "s", record=record("c1", old.body))
    with pytest.raises(CorruptSessionError, match=FOUND):
        read(store, "s")


def test_plain_data_are_refused() -> None:
    """A record, a pending write or a session that is not encrypted was planted by somebody."""
    store, plain = MemoryStore(), MemoryStore()
    (name,) = talk(store, "s", 1)
    Sessions(plain).save("s", {"x": "planted"})
    planted = stored(plain, "s")
    plant(store, "s", record=record(f"{name}0", planted.body))
    with pytest.raises(DecryptionError, match="is not encrypted"):
        read(store, "s", f"{name}0")
    with pytest.raises(DecryptionError, match="is not encrypted"):
        read(plain, "s")
    talk(store, "t", 1)
    (head,) = protected(store).heads("t")
    write = Write(key="task/0", body=planted.body)
    plant(store, "t", writes=Writes(name=head, entries=(write,)))
    with pytest.raises(DecryptionError, match="is not encrypted"):
        read(store, "t")


def test_a_pending_write_at_another_checkpoint() -> None:
    """Writes are bound to their checkpoint and their task."""
    store = MemoryStore()
    saver = SessionSaver(protected(store))
    ids = talk(store, "s", 2)
    config: Any = {"configurable": {"thread_id": "s", "checkpoint_ns": "", "checkpoint_id": ids[0]}}
    saver.put_writes(config, [("messages", "hello")], "task")
    (write,) = stored(store, "s", ids[0]).writes
    assert saver.get_tuple(config).pending_writes == [("task", "messages", "hello")]  # type: ignore[union-attr]
    for key, name in ((write.key, ids[1]), ("other/0", ids[0])):
        moved = Write(key=key, body=write.body)
        plant(store, "s", writes=Writes(name=("", name), entries=(moved,)))
        with pytest.raises(DecryptionError, match=FOUND):
            saver.get_tuple({"configurable": config["configurable"] | {"checkpoint_id": name}})


def arena_of(path: Path, change: Callable[[bytearray], None]) -> None:
    """Change the bytes of the only arena in a file."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT pos, data FROM arena ORDER BY pos").fetchall()
        data = bytearray(b"".join(row[1] for row in rows))
        change(data)
        for pos, row in rows:
            part, data = data[: len(row)], data[len(row) :]
            connection.execute("UPDATE arena SET data = ? WHERE pos = ?", (bytes(part), pos))
        connection.commit()


def test_the_arena(tmp_path: Path) -> None:
    """A flipped bit, two chunks swapped, a chunk repeated: the record's digest tells."""
    path = tmp_path / "x.db"
    with FileStore(path) as store:
        sessions = Sessions(protected(store))
        # Equal lengths, so that chunks can change places.
        parts = [f"{number} {ANSWER}" for number in range(4)]
        sessions.save("s", {"messages": parts})
        assert read(store, "s").state == {"messages": parts}
        (span,) = stored(store, "s").spans
    length = span.length // 4

    def flip(data: bytearray) -> None:
        data[len(data) // 2] ^= 1

    def swap(data: bytearray) -> None:
        first = data[:length]
        data[:length] = data[length : 2 * length]
        data[length : 2 * length] = first

    def repeat(data: bytearray) -> None:
        data[:length] = data[length : 2 * length]

    good: list[bytes] = []
    arena_of(path, lambda data: good.append(bytes(data)))
    for change in (flip, swap, repeat):
        arena_of(path, change)
        with FileStore(path) as store, pytest.raises(CorruptSessionError, match="is damaged"):
            read(store, "s")
        arena_of(path, lambda data: data.__setitem__(slice(None), good[0]))
    with FileStore(path) as store:
        assert read(store, "s").state == {"messages": parts}


def test_without_the_key() -> None:
    """A store that is opened without encryption says so, and a listing still works."""
    store = MemoryStore()
    talk(store, "s", 1)
    with pytest.raises(DecryptionError, match="is encrypted: open the store with its key"):
        Sessions(store).load("s")
    (listed,) = Sessions(store).list().sessions
    assert b'"sealed"' in listed.state
    other = ProtectedStore(store, encryption=Encryption([Encryption.generate_key("other")]))
    with pytest.raises(DecryptionError, match="the key 'k1', and the keys here are 'other'"):
        Sessions(other).load("s")
    assert other.list_sessions().sessions[0].state == listed.state


def test_a_fork_has_a_header_of_its_own() -> None:
    """It reads, goes on, and its header does not open for another name."""
    store = MemoryStore()
    ids = talk(store, "s", 3)
    sessions = Sessions(protected(store))
    assert sessions.fork("s", "f").state == sessions.load("s").state
    assert sessions.fork("s", "early", at=ids[0]).state["turn_count"] == 0
    sessions.save("early", {"turn_count": 7})
    assert read(store, "early").state == {"turn_count": 7}
    found = store.info("f")
    assert found is not None
    plant(store, "s", state=found.state)
    with pytest.raises(DecryptionError, match=FOUND):
        read(store, "s")


def test_commits_of_two_processes_have_one_uid() -> None:
    """A process that has not seen the session asks for its header before it writes."""
    store = MemoryStore()
    talk(store, "s", 1)
    cold = protected(store)
    committed = cold.commit(Commit(session="s", token="t", record=record("~", b"x"), state=b"{}"))
    assert committed.outcome == "done"
    assert stored(cold, "s", "~").body == b"x"
    assert replace(stored(protected(store), "s", "~"), spans=()).body == b"x"
