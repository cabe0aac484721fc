"""Erasing an owner: nothing is left, and with a key of their own nobody reads earlier copies."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from redis import Redis

from remedies.proposals import tries
from saver import graphs
from servers import RedisServer, find_executable, unavailable
from wren_sessions import (
    Archive,
    ConfigurationError,
    ConflictError,
    CorruptSessionError,
    DecryptionError,
    Encryption,
    ErasureReceipt,
    FileStore,
    FormatVersionError,
    MemoryStore,
    Profile,
    ProtectedStore,
    SessionArchiver,
    SessionGoneError,
    SessionNotFoundError,
    Sessions,
    SessionSaver,
    StoreUnavailableError,
    TracedStore,
    Transcript,
    aerase_owner,
    erase_owner,
    import_session,
    open_store,
    rekey,
)
from wren_sessions._blocking import run
from wren_sessions.keys import StagingId
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Commit, Committed, SessionPage, Start
from wren_sessions.serializers.keyring import Keyring, is_owner_key
from wren_sessions.stores.protected.headers import key_id
from wren_sessions.testing import FakeClock
from wren_sessions.testing.build import add, write
from wren_sessions.transfer.rekey import _Rekeying
from wren_sessions.ttl import FOREVER, TTLPolicy

KEY, NEW = Encryption.generate_key("k1"), Encryption.generate_key("k2")
SECRET = b"0123456789abcdef"
MARK = "zanzibar"


@pytest.fixture(params=["memory", "file", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the sessions are."""
    if request.param == "redis":
        found: str = request.getfixturevalue("redis_url")
        return found
    return "memory://" if request.param == "memory" else f"file:{tmp_path}/sessions.db"


@pytest.fixture(params=["plain", "encrypted", "owner keys", "hidden"])
def opened(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> Iterator[SessionStore]:
    """The store, protected in one of the ways."""
    options: dict[str, Any] = {}
    if request.param != "plain":
        secret = SECRET if request.param == "hidden" else None
        options["encryption"] = Encryption([KEY], owner_secret=secret)
    if request.param in {"owner keys", "hidden"}:
        keys = "memory://" if url == "memory://" else f"file:{tmp_path}/keys.db"
        options["owner_keys"] = keys
    with open_store(url, dotenv=False, **options) as store:
        yield store


def talk(store: SessionStore, owner: str, session: str, turns: int = 3) -> None:
    """Let an owner's graph talk."""
    graph = graphs.chat().compile(checkpointer=SessionSaver(store, owner_key="user_id"))
    config: Any = {"configurable": {"thread_id": session, "user_id": owner}}
    for turn in range(turns):
        said = graphs.said(turn, "human")
        said.content = f"{owner} says {MARK} {turn} {said.content}"
        graph.invoke({"messages": [said]}, config)


def texts(store: SessionStore, session: str) -> list[str]:
    """What was said in a session."""
    return [message.text for message in Sessions(store).transcript(session).messages]


async def erased(face: str, store: SessionStore, owner: str, **options: Any) -> ErasureReceipt:
    """Erase by the function of a face."""
    options = {"settle": None, **options}
    if face == "sync":
        return erase_owner(store, owner, **options)
    return await aerase_owner(store, owner, **options)


@pytest.mark.parametrize("face", ["sync", "async"])
async def test_all_of_an_owner_goes_and_nothing_else(
    face: str, opened: SessionStore, url: str, tmp_path: Path
) -> None:
    """Sessions, pinned ones too, lists and archives; what others have stays."""
    root = tmp_path / "profiles"
    for session in ("anneliese_1", "anneliese_2"):
        talk(opened, "anneliese", session)
    talk(opened, "bob", "bob_1")
    sessions = Sessions(opened)
    sessions.annotate("anneliese_1", title=f"about {MARK}")
    sessions.pin("anneliese_2")
    archiver = SessionArchiver(opened, root)
    for session in ("anneliese_1", "anneliese_2", "bob_1"):
        archiver.archive(session)
    sessions.delete("anneliese_1")  # only its archive is left
    would = await erased(face, opened, "anneliese", archives=archiver, dry_run=True)
    assert would.dry_run
    assert would.sessions == ("anneliese_2",)
    assert sessions.exists("anneliese_2")
    receipt = await erased(face, opened, "anneliese", archives=root)
    assert found_in(url, b"anneliese") == []
    assert receipt.sessions == ("anneliese_2",)
    assert receipt.archives == (root / "anneliese_1", root / "anneliese_2") == would.archives
    assert receipt.keys == would.keys
    told = json.loads(receipt.to_json())
    assert told["owner"] == "anneliese"
    assert told["archives"] == [str(root / "anneliese_1"), str(root / "anneliese_2")]
    assert not sessions.exists("anneliese_2")
    assert sessions.list(owner="anneliese").total == 0
    assert [found.session for found in sessions.list(owner="bob").sessions] == ["bob_1"]
    assert texts(opened, "bob_1")[0].startswith("bob says")
    assert [folder.name for folder in root.iterdir()] == ["bob_1"]
    assert found_in(url, b"anneliese_2") == []
    again = await erased(face, opened, "anneliese", archives=root)
    assert (again.sessions, again.archives, again.keys) == ((), (), receipt.keys and 0)


def found_in(url: str, text: bytes) -> list[str]:
    """Where a text still stands: files of a file store, keys and values on a server."""
    if url == "memory://":
        return []
    if url.startswith("file:"):
        files = Path(url.removeprefix("file:")).parent.glob("sessions.db*")
        return [str(path) for path in files if text in path.read_bytes()]
    with Redis.from_url(url) as client:
        names: Any = list(client.scan_iter())
        return [str(name) for name in names if text in name or text in (client.dump(name) or b"")]


def test_no_byte_of_a_busy_owner_is_left_in_a_file(tmp_path: Path) -> None:
    """Also not where SQLite has moved pages and cells about, as it had here without `scrub`."""
    chance = random.Random(2)
    with FileStore(tmp_path / "sessions.db") as store:
        sessions = Sessions(store)
        for turn in range(400):
            owner, mark = chance.choice([("ann", MARK), ("bob", "quebec")])
            session = f"{owner}_{chance.randrange(20)}"
            said = [mark * chance.randrange(1, 300) for _ in range(chance.randrange(1, 12))]
            sessions.save(session, {"messages": said})
            sessions.annotate(session, owner=owner, title=mark)
            if turn % 17 == 0:
                sessions.prune(session)
        erase_owner(store, "ann")
        files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert [name for name, data in files.items() if MARK.encode() in data] == []
        assert b"quebec" in files["sessions.db"]
        assert all(sessions.load(info.session).state for info in sessions.owned("bob"))


def test_it_is_completed_by_another_call(
    opened: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first one stopped in the middle."""
    for number in range(3):
        talk(opened, "ann", f"a{number}", 1)
    store: Any = type(opened)
    delete = store.delete_owned
    done: list[str] = []

    def stops(self: Any, session: str, owner: str) -> bool:
        if done:
            raise KeyboardInterrupt
        done.append(session)
        return bool(delete(self, session, owner))

    monkeypatch.setattr(store, "delete_owned", stops)
    with pytest.raises(KeyboardInterrupt):
        erase_owner(opened, "ann", settle=None)
    monkeypatch.undo()
    receipt = erase_owner(opened, "ann", settle=None)
    assert len(receipt.sessions) == 2
    assert Sessions(opened).list(owner="ann").total == 0
    talk(opened, "ann", "new", 1)  # who comes back has a key that lasts
    assert texts(opened, "new")


@tries("stop what writes them, and erase once more")
def test_an_owner_who_is_written_all_the_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends, and the key is still there; once nobody writes, all goes."""
    store = MemoryStore()
    talk(store, "ann", "a", 1)
    delete = store.delete_owned

    def writes(session: str, owner: str) -> bool:
        gone = delete(session, owner)
        Sessions(store).save("a", {"n": 1})
        Sessions(store).annotate("a", owner="ann")
        return gone

    monkeypatch.setattr(store, "delete_owned", writes)
    with pytest.raises(ConflictError, match="all the time"):
        erase_owner(store, "ann")
    monkeypatch.undo()
    assert erase_owner(store, "ann").sessions == ("a",)


def test_what_no_list_shows_goes_too(tmp_path: Path) -> None:
    """Sessions that have expired, and copies of sessions that were cut off by a kill."""
    clock = FakeClock()
    with FileStore(tmp_path / "sessions.db", ttl=TTLPolicy("1h"), clock=clock) as store:
        for number in range(150):
            Sessions(store).save(f"{MARK}_{number}", {"text": MARK})
            Sessions(store).annotate(f"{MARK}_{number}", owner="ann")
        clock.advance("2h")
        talk(store, "ann", "a", 1)
        store.copy("a", StagingId("a"))
        assert len(erase_owner(store, "ann").sessions) == 1
        assert MARK.encode() not in (tmp_path / "sessions.db").read_bytes()


def test_a_process_that_goes_on_makes_readable_sessions(tmp_path: Path) -> None:
    """It knows the keys of sessions that somebody else has erased meanwhile."""
    below = MemoryStore(ttl=FOREVER)
    keys = MemoryStore(ttl=FOREVER)

    def process() -> ProtectedStore:
        return ProtectedStore(below, encryption=Encryption([KEY]), owner_keys=keys)

    mine, theirs = process(), process()
    talk(mine, "ann", "a")
    Sessions(mine).create("made", state={"n": 1})
    Sessions(mine).annotate("made", owner="ann")
    Sessions(mine).save("made", {"n": 2})
    assert erase_owner(theirs, "ann", settle=None).sessions
    talk(mine, "ann", "a", 1)
    assert Sessions(mine).create("made", state={"n": 3}).revision
    for store in (mine, theirs, process()):
        assert len(texts(store, "a")) == 2
        assert Sessions(store).load("made").state == {"n": 3}


def test_an_archive_from_before_the_owner_goes_too(tmp_path: Path) -> None:
    """It is of a session that is theirs now."""
    store = MemoryStore()
    Sessions(store).save("s", {"n": 1})
    SessionArchiver(store, tmp_path).archive("s")
    Sessions(store).annotate("s", owner="ann")
    assert erase_owner(store, "ann", archives=tmp_path).archives == (tmp_path / "s",)
    assert list(tmp_path.iterdir()) == []


@tries("there is no folder of archives {}: check its name")
def test_a_wrong_folder_of_archives_erases_nothing(tmp_path: Path) -> None:
    """It is named; with the right one all goes."""
    store = MemoryStore()
    talk(store, "ann", "s", 1)
    with pytest.raises(ConfigurationError, match="there is no folder of archives"):
        erase_owner(store, "ann", archives=tmp_path / "no")
    assert store.info("s") is not None
    assert erase_owner(store, "ann", archives=tmp_path).sessions == ("s",)


@tries("check the permissions of the folder, and erase once more")
def test_an_archive_that_cannot_be_removed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it can be, another call completes the erasure."""
    store = MemoryStore()
    talk(store, "ann", "s", 1)
    SessionArchiver(store, tmp_path).archive("s")

    def fails(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("wren_sessions.archives._owned.shutil.rmtree", fails)
    with pytest.raises(StoreUnavailableError, match="cannot be removed: Permission denied"):
        erase_owner(store, "ann", archives=tmp_path)
    monkeypatch.undo()
    assert erase_owner(store, "ann", archives=tmp_path).archives == (tmp_path / "s",)


@tries("the log of {} cannot be emptied while another process reads it: try again")
def test_a_reader_keeps_the_log_from_being_emptied(tmp_path: Path) -> None:
    """The sessions are gone, and another call does the rest."""
    with FileStore(tmp_path / "s.db", busy_timeout="50ms") as store:
        talk(store, "ann", "s", 1)
        reader = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sessions").fetchall()
        with pytest.raises(StoreUnavailableError, match="cannot be emptied"):
            erase_owner(store, "ann")
        reader.close()
        assert erase_owner(store, "ann").sessions == ()
        assert (tmp_path / "s.db-wal").stat().st_size == 0


# --- copies from before ---------------------------------------------------------------------------


def with_keys(url: str, tmp_path: Path, *keys: str, **options: Any) -> SessionStore:
    """The store as a process has it that was just started."""
    given = {"owner_keys": f"file:{tmp_path}/keys.db", **options}
    return open_store(url, dotenv=False, encryption=Encryption(keys or [KEY]), **given)


@tries("open the store with owner_keys=, or set WREN_SESSIONS_OWNER_KEYS")
def test_a_copy_of_the_file_cannot_be_read_after_it(tmp_path: Path) -> None:
    """Not with the app's key either; copies of what others have can."""
    with with_keys(f"file:{tmp_path}/sessions.db", tmp_path) as store:
        talk(store, "ann", "a")
        talk(store, "bob", "b")
        Sessions(store).annotate("a", title=MARK, tags=["secret"])
    shutil.copytree(tmp_path, before := tmp_path / "before", ignore=lambda *_: ["keys.db"])
    url = f"file:{before}/sessions.db"
    with with_keys(url, tmp_path) as copied:
        assert len(texts(copied, "a")) == 6
        assert Sessions(copied).list(owner="ann").sessions[0].title == MARK
    with with_keys(f"file:{tmp_path}/sessions.db", tmp_path) as store:
        assert erase_owner(store, "ann", settle=None).keys == 1
    with with_keys(url, tmp_path) as copied:
        unreadable(copied, "a")
        assert len(texts(copied, "b")) == 6
    without = with_keys(url, tmp_path, owner_keys=None)
    with without as copied, pytest.raises(DecryptionError, match="owner_keys="):
        Sessions(copied).load("a")


def unreadable(store: SessionStore, session: str) -> None:
    """Nothing of the session can be read, and the store can be listed."""
    sessions = Sessions(store)
    for read in (sessions.load, sessions.transcript, store.info, store.load):
        with pytest.raises(DecryptionError, match="an owner who was erased"):
            read(session)
    with pytest.raises(DecryptionError):
        list(SessionSaver(store).list({"configurable": {"thread_id": session}}))
    listed = {found.session: found for found in sessions.list().sessions}
    assert listed[session].title == ""
    assert MARK not in str(listed[session])


def test_a_snapshot_and_a_log_of_a_server_cannot_be_read_after_it(tmp_path: Path) -> None:
    """A server that is started on the RDB, or on the append-only file, from before."""
    executable = find_executable() or unavailable("there is no redis-server")
    for name, options in (("rdb", ()), ("aof", ("--appendonly", "yes"))):
        keys = f"file:{tmp_path}/{name}.db"
        with ExitStack() as stack:
            server = stack.enter_context(RedisServer(executable, *options))
            with with_keys(server.url, tmp_path, owner_keys=keys) as store:
                talk(store, "ann", "a")
                with Redis.from_url(server.url) as client:
                    client.save()
                    client.config_set("appendfsync", "always")
                before = tmp_path / name
                shutil.copytree(server.folder, before)
                assert len(texts(store, "a")) == 6
                erase_owner(store, "ann", settle=None)
                with Redis.from_url(server.url) as client:
                    assert client.dbsize() == 0
            again = RedisServer(executable, *options)
            shutil.copytree(before, again.folder, dirs_exist_ok=True)
            stack.enter_context(again)
            with Redis.from_url(again.url) as client:
                assert client.dbsize()
            with with_keys(again.url, tmp_path, owner_keys=keys) as store:
                unreadable(store, "a")


@pytest.mark.parametrize("face", ["sync", "async"])
async def test_a_copy_of_an_archive_cannot_be_read_after_it(face: str, tmp_path: Path) -> None:
    """Conversation, profile and session are sealed; with the key they are read and restored."""
    root, copies = tmp_path / "profiles", tmp_path / "copies"
    with with_keys(f"file:{tmp_path}/sessions.db", tmp_path) as store:
        talk(store, "ann", "a")
        Sessions(store).save("nobodys", {"messages": [("human", MARK)]})
        archiver = SessionArchiver(store, root)
        archive = archiver.archive("a") if face == "sync" else await archiver.aio.archive("a")
        shutil.copytree(root, copies)
        assert len(list(copies.rglob("*.json*"))) == 3
        for path in copies.rglob("*.json*"):
            assert MARK.encode() not in path.read_bytes()
        assert archiver.find("a") == archive == archiver.archive("a")
        text = archiver.read(archive.conversation)
        assert await archiver.aio.read(archive.conversation) == text
        assert len(Transcript.from_json(text).messages) == 6
        assert Profile.from_json(archiver.read(archive.profile)).session == "a"
        sessions = Sessions(store)
        if face == "sync":
            assert sessions.restore(copies / "a", "again").id == "again"
        else:
            assert (await sessions.aio.restore(copies / "a", "again")).id == "again"
        assert texts(store, "again") == texts(store, "a")
        with (copies / "a" / "session.jsonl").open("rb") as file:
            assert import_session(store, file, session="imported") == "imported"
        assert MARK in SessionArchiver(store, root).archive("nobodys").conversation.read_text()
        plain = SessionArchiver(store, tmp_path / "plain", seal=False).archive("a")
        assert len(Transcript.read(plain.conversation).messages) == 6
        receipt = erase_owner(store, "ann", archives=archiver, settle=None)
        assert receipt.archives == (root / "a",)
        assert set(receipt.sessions) == {"a", "again", "imported"}
        for what in ("a", Path("a", "session.jsonl")):
            with pytest.raises(DecryptionError, match="an owner who was erased"):
                sessions.restore(copies / what)
        with pytest.raises(DecryptionError, match="an owner who was erased"):
            SessionArchiver(store, copies).read(copies / "a/logs/conversation.json")
    without = open_store("memory://", dotenv=False)
    with without as other, pytest.raises(DecryptionError, match="open the store with owner_keys="):
        Sessions(other).restore(copies / "a")


@tries(
    "the sealed archive of session {} is damaged or cut off: use another copy of the file",
    "is sealed with its owner's key: open the store with owner_keys=",
)
def test_a_damaged_archive_is_told(tmp_path: Path) -> None:
    """Cut off anywhere, or of a newer version; nothing is restored."""
    with with_keys(f"file:{tmp_path}/sessions.db", tmp_path) as store:
        talk(store, "ann", "a", 1)
        archive = SessionArchiver(store, tmp_path).archive("a")
        whole = archive.export.read_bytes()
        first = whole.index(b"\n") + 1
        for cut in (60, first - 5, first, first + 20, len(whole) - 3):
            archive.export.write_bytes(whole[:cut])
            with pytest.raises((CorruptSessionError, DecryptionError)):
                Sessions(store).restore(archive, "new")
        newer = whole.replace(b'"version":1', b'"version":2', 1)
        archive.export.write_bytes(newer)
        with pytest.raises(FormatVersionError, match="reads up to 1: upgrade it"):
            Sessions(store).restore(archive, "new")
        archive.export.write_bytes(whole.replace(b'"session":"a"', b'"session":"b"', 1))
        with pytest.raises(DecryptionError):
            Sessions(store).restore(archive, "new")
        assert store.info("new") is None
        archive.export.write_bytes(whole)
        assert Sessions(store).restore(archive, "new").id == "new"


@pytest.mark.parametrize("opened", ["owner keys", "hidden"], indirect=True)
def test_an_archive_of_an_owner_who_was_erased_meanwhile_is_not_written(
    opened: SessionStore, tmp_path: Path
) -> None:
    """It would be sealed with a new key, and could be read. Whoever comes back is archived."""
    talk(opened, "ann", "a", 3)
    archiver = SessionArchiver(opened, tmp_path / "archives")
    assert isinstance(opened, ProtectedStore)
    assert opened.owner_keys is not None
    archive = archiver._write

    def late(contents: Any) -> Archive:
        erase_owner(opened, "ann", settle=None)
        return archive(contents)

    with mock.patch.object(archiver, "_write", late):
        with pytest.raises(SessionNotFoundError):
            archiver.archive("a")
        assert not (tmp_path / "archives").exists()
        assert run(opened.owner_keys.ids()) == set()
        talk(opened, "ann", "a", 3)
        assert archiver.archive_completed() == ()
    talk(opened, "ann", "a", 3)
    assert len(archiver.archive_completed()) == 1


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("opened", ["owner keys", "hidden"], indirect=True)
@pytest.mark.parametrize("url", ["memory", "file"], indirect=True)
async def test_a_sealed_archive_says_whether_it_is_up_to_date(
    opened: SessionStore, face: str, tmp_path: Path
) -> None:
    """Also after something was noted or set: without being opened, and without telling what."""
    sessions = Sessions(opened)
    sessions.create("a", owner="ann", state={"is_complete": True})
    archiver = SessionArchiver(opened, tmp_path / "archives")

    async def completed() -> tuple[Archive, ...]:
        both = archiver if face == "sync" else archiver.aio
        found: Any = both.archive_completed()
        return tuple(found if face == "sync" else await found)

    def title() -> None:
        sessions.annotate("a", title=MARK)

    def without_settings() -> None:
        first, rest = archive.export.read_text().split("\n", 1)
        fields = json.loads(first)
        assert fields.pop("settings")
        archive.export.write_text(f"{json.dumps(fields, separators=(',', ':'))}\n{rest}")

    (archive,) = await completed()
    changes: tuple[Callable[[], object], ...] = (
        title,
        lambda: sessions.pin("a"),
        lambda: sessions.set_ttl("a", "2h"),
        without_settings,  # as it was written before it said it
    )
    for change in changes:
        change()
        assert await completed() == (archive,)
        written = archive.export.read_bytes()
        with mock.patch.object(Keyring, "open", autospec=True, side_effect=Keyring.open) as opens:
            assert await completed() == ()
        assert "archive" not in {call.args[1] for call in opens.call_args_list}
        assert archive.export.read_bytes() == written
        assert MARK.encode() not in written
    assert sessions.restore(archive, "again").life.pinned


# --- keys of owners -------------------------------------------------------------------------------


def test_a_session_that_gets_an_owner_is_sealed_for_them(tmp_path: Path) -> None:
    """What is written from then on at once; what is older, when it is rekeyed."""
    url = f"file:{tmp_path}/sessions.db"
    with with_keys(url, tmp_path) as store:
        sessions = Sessions(store)
        sessions.save("s", {"text": MARK * 500})
        sessions.annotate("s", owner="ann", title=MARK)
        assert sessions.load("s").state == {"text": MARK * 500}
        sessions.save("s", {"text": "more"})
        assert rekey(store, unused_for=None).rewritten == ("s",)
        assert rekey(store, unused_for=None).current == ("s",)
        assert sessions.list(owner="ann").sessions[0].title == MARK
        sessions.annotate("s", owner="bob")
        assert rekey(store, unused_for=None).rewritten == ("s",)
    shutil.copy(tmp_path / "sessions.db", tmp_path / "before.db")
    with with_keys(url, tmp_path) as store:
        assert erase_owner(store, "ann", settle=None).sessions == ()
        assert Sessions(store).load("s").state == {"text": "more"}
        assert erase_owner(store, "bob", settle=None).sessions == ("s",)
    copied = with_keys(f"file:{tmp_path}/before.db", tmp_path)
    with copied as store, pytest.raises(DecryptionError, match="an owner who was erased"):
        Sessions(store).load("s")


@pytest.mark.parametrize("state", [None, {"text": MARK}])
def test_a_session_that_is_made_for_an_owner_is_sealed_for_them(
    state: dict[str, Any] | None, tmp_path: Path
) -> None:
    """From its first byte on; nothing of it can be read when the key is destroyed."""
    with with_keys(f"file:{tmp_path}/sessions.db", tmp_path) as store:
        Sessions(store).create("s", state=state, owner="ann")
        assert isinstance(store, ProtectedStore)
        info = store.unprotected.info("s")
        assert info is not None
        assert is_owner_key(key_id(info.state) or "")
        shutil.copytree(tmp_path, before := tmp_path / "before", ignore=lambda *_: ["keys.db"])
        assert erase_owner(store, "ann", settle=None).sessions == ("s",)
    with (
        with_keys(f"file:{before}/sessions.db", tmp_path) as copied,
        pytest.raises(DecryptionError, match="an owner who was erased"),
    ):
        Sessions(copied).load("s")


def test_another_key_of_the_app_touches_no_session_of_an_owner(tmp_path: Path) -> None:
    """Only the keys of owners are sealed anew; the old key can be taken away then."""
    url = f"file:{tmp_path}/sessions.db"
    with with_keys(url, tmp_path) as store:
        talk(store, "ann", "a")
        talk(store, "bob", "b")
    with with_keys(url, tmp_path, NEW, KEY) as store:
        before = {info.session: info.life for info in store.list_sessions().sessions}
        report = rekey(store, unused_for=None)
        assert (report.owner_keys, report.rewritten) == (2, ())
        after = {info.session: info.life for info in store.list_sessions().sessions}
        lives = [
            {name: (life.incarnation, life.revision) for name, life in each.items()}
            for each in (before, after)
        ]
        assert lives[0] == lives[1]
        assert rekey(store, unused_for=None).owner_keys == 0
    with with_keys(url, tmp_path, NEW) as store:
        assert len(texts(store, "a")) == 6
        talk(store, "ann", "a", 1)
        assert len(texts(store, "a")) > 6


def test_a_process_that_knows_a_key_asks_for_it_once(tmp_path: Path) -> None:
    """Putting and getting take no call of the store of the keys."""
    asked: list[str] = []

    class Counted(FileStore):
        """A store that remembers what was asked of it."""

        def __getattribute__(self, name: str) -> Any:
            if name in {"info", "list_owned", "commit", "load", "scan"}:
                asked.append(name)
            return super().__getattribute__(name)

    keys = Counted(tmp_path / "keys.db")
    below = MemoryStore(ttl=FOREVER)
    store = ProtectedStore(below, encryption=Encryption([KEY]), owner_keys=keys)
    asked.clear()
    talk(store, "ann", "a", 1)
    assert asked == ["list_owned", "commit"]
    talk(store, "ann", "a", 5)
    assert len(asked) == 2
    again = ProtectedStore(below, encryption=Encryption([KEY]), owner_keys=keys)
    asked.clear()
    talk(again, "ann", "a", 5)
    assert asked == ["info"]


@tries(
    "open it with ttl=FOREVER",
    "leave ttl and max_age out",
    "keep them in a file or on a server, not in",
    "Give owner_keys a file or a server of its own",
)
@pytest.mark.parametrize(
    ("sessions", "keys", "why"),
    [
        ("file:{0}/s.db", "file:{0}/s.db", "must not be kept where the sessions are"),
        ("redis://h:6379/0", "redis://h:6379/1", "must not be kept where the sessions are"),
        ("file:{0}/s.db", "memory://", "would end with this process"),
        ("file:{0}/s.db", "file:{0}/k.db?ttl=1h", "must not expire"),
        ("file:{0}/s.db", "mongo://x", "owner_keys"),
    ],
)
def test_keys_have_a_place_of_their_own(sessions: str, keys: str, why: str, tmp_path: Path) -> None:
    """One that lasts, and is not in the backups of the sessions."""
    with pytest.raises(ConfigurationError, match=why):
        with_keys(sessions.format(tmp_path), tmp_path, owner_keys=keys.format(tmp_path))
    with_keys(sessions.format(tmp_path), tmp_path, owner_keys=f"file:{tmp_path}/keys.db").close()
    expires = MemoryStore(ttl=TTLPolicy("1h"))
    with pytest.raises(ConfigurationError, match="ttl=FOREVER"):
        ProtectedStore(MemoryStore(), encryption=Encryption([KEY]), owner_keys=expires)
    lasts = MemoryStore(ttl=FOREVER)
    ProtectedStore(MemoryStore(), encryption=Encryption([KEY]), owner_keys=lasts)


@tries("restore the store of the keys of owners from its backup")
def test_a_damaged_key_is_named(tmp_path: Path) -> None:
    """With its backup the sessions are there again."""
    url = f"file:{tmp_path}/sessions.db"
    with with_keys(url, tmp_path) as store:
        talk(store, "ann", "a", 1)
    shutil.copy(tmp_path / "keys.db", tmp_path / "backup.db")
    with FileStore(tmp_path / "keys.db", prefix="wren-sessions:owner-keys") as keys:
        (info,) = keys.list_sessions().sessions
        keys.commit(Commit(session=info.session, token="t", state=b"{}"))
    with with_keys(url, tmp_path) as store, pytest.raises(DecryptionError, match="is damaged"):
        texts(store, "a")
    shutil.copy(tmp_path / "backup.db", tmp_path / "keys.db")
    with with_keys(url, tmp_path) as store:
        assert texts(store, "a")


@tries("was changed by somebody else just now; nothing was written: try again")
def test_two_who_change_a_key_at_once_are_told_apart(tmp_path: Path) -> None:
    """The second one is told, and can do it again."""
    keys = FileStore(tmp_path / "keys.db")
    store = ProtectedStore(MemoryStore(), encryption=Encryption([KEY]), owner_keys=keys)
    talk(store, "ann", "a", 1)
    ring = store.owner_keys
    assert ring is not None
    read = keys.list_owned

    def late(*args: Any) -> Any:
        page = read(*args)
        for info in page.sessions:
            keys.commit(Commit(session=info.session, token="other", state=info.state))
        return page

    keys.list_owned = late  # type: ignore[assignment, method-assign]
    with pytest.raises(ConflictError, match="was changed by somebody else"):
        run(ring.end("ann"))
    keys.list_owned = read  # type: ignore[method-assign]
    assert erase_owner(store, "ann", settle=None).keys == 1


@tries(
    "pass encryption=Encryption([…]) too, or set WREN_SESSIONS_ENCRYPTION_KEYS",
    "{} hides the owners of encrypted sessions: set {} too, or unset it",
)
def test_keys_take_encryption(tmp_path: Path) -> None:
    """They are never stored as they are."""
    with pytest.raises(ConfigurationError, match="encryption="):
        open_store("memory://", owner_keys=f"file:{tmp_path}/k.db", dotenv=False)


def test_the_environment_says_where_keys_and_secret_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the command line as well."""
    monkeypatch.setenv("WREN_SESSIONS_ENCRYPTION_KEYS", KEY)
    monkeypatch.setenv("WREN_SESSIONS_OWNER_KEYS", f"file:{tmp_path}/keys.db")
    monkeypatch.setenv("WREN_SESSIONS_OWNER_SECRET", "s" * 32)
    with open_store(f"file:{tmp_path}/sessions.db", dotenv=False) as store:
        talk(store, "ann", "a", 1)
        info = store.info("a")
        assert info is not None
        assert str(info.owner).startswith("hmac-")
        assert erase_owner(store, "ann", settle=None).keys == 1
    monkeypatch.setenv("WREN_SESSIONS_OWNER_SECRET", "short")
    with pytest.raises(ConfigurationError, match="WREN_SESSIONS_OWNER_SECRET: owner_secret must"):
        open_store("memory://", dotenv=False)
    monkeypatch.delenv("WREN_SESSIONS_ENCRYPTION_KEYS")
    with pytest.raises(ConfigurationError, match="WREN_SESSIONS_OWNER_SECRET hides"):
        open_store("memory://", dotenv=False)


# --- what an erasure must not take along ----------------------------------------------------------


@pytest.mark.parametrize("to", ["bob", ""])
@pytest.mark.parametrize("face", ["sync", "async"])
async def test_a_session_that_was_handed_over_outlives_its_first_owner(
    face: str, to: str, url: str, tmp_path: Path
) -> None:
    """Also a fork of it: what the first owner's key had sealed is sealed anew before it goes."""
    keys = "memory://" if url == "memory://" else f"file:{tmp_path}/keys.db"
    with with_keys(url, tmp_path, owner_keys=keys) as store:
        talk(store, "ann", "a")
        talk(store, "ann", "own")
        sessions = Sessions(store)
        sessions.annotate("a", owner=to, title=MARK)
        sessions.fork("a", "forked")
        said = texts(store, "a")
        receipt = await erased(face, store, "ann")
        assert (receipt.sessions, receipt.keys) == (("own",), 1)
        for session in ("a", "forked"):
            assert texts(store, session) == said
            info = store.info(session)
            assert info is not None
            assert info.owner == (to or None)
        talk(store, to or "carl", "a", 1)
        assert len(texts(store, "a")) > len(said)
        if to:
            erase_owner(store, to, settle=None)
            assert store.list_sessions().sessions == ()


@pytest.mark.parametrize("to", ["bob", ""])
@pytest.mark.parametrize("face", ["sync", "async"])
async def test_a_session_that_is_handed_over_before_it_is_deleted_stays(
    face: str, to: str, opened: SessionStore, tmp_path: Path
) -> None:
    """It was listed as the owner's, and is somebody else's by then; so are its archive and copy."""
    talk(opened, "ann", "given", 1)
    talk(opened, "ann", "own", 1)
    said = texts(opened, "given")
    archiver = SessionArchiver(opened, tmp_path / "archives")
    archives = [archiver.archive(session).folder for session in ("given", "own")]
    below: Any = getattr(opened, "unprotected", opened)
    done: list[str] = []

    def handed_over(session: str) -> None:
        if session == "given" and not done:
            done.append(session)
            Sessions(opened).annotate("given", owner=to)
            archiver.archive("given")
            below.commit(Commit(session=StagingId("given"), token="copy", state=b"{}"))

    deleted, awaited = below.delete_owned, below.aio.delete_owned

    def late(session: str, owner: str) -> bool:
        handed_over(session)
        return bool(deleted(session, owner))

    async def alate(session: str, owner: str) -> bool:
        handed_over(session)
        return bool(await awaited(session, owner))

    with (
        mock.patch.object(below, "delete_owned", late),
        mock.patch.object(below.aio, "delete_owned", alate),
    ):
        receipt = await erased(face, opened, "ann", archives=archiver)
    assert (receipt.sessions, receipt.archives) == (("own",), (archives[1],))
    assert texts(opened, "given") == said
    assert archiver.find("given") is not None
    written_anew = getattr(opened, "owner_keys", None) is not None  # which deletes what was begun
    assert below.delete(StagingId("given")) is not written_anew
    assert opened.info("own") is None


@tries("given to another owner; nothing was written. If it is still there, run it again")
@pytest.mark.parametrize("to", ["bob", ""])
@pytest.mark.parametrize("face", ["sync", "async"])
async def test_a_run_from_before_a_handover_ends(
    face: str, to: str, url: str, tmp_path: Path
) -> None:
    """Even if the first owner is erased meanwhile, it can leave nothing that nobody can read."""
    keys = FileStore(tmp_path / "keys.db")
    with open_store(url, dotenv=False) as below, keys:
        store, late = (
            ProtectedStore(below, encryption=Encryption([KEY]), owner_keys=keys) for _ in range(2)
        )
        talk(store, "ann", "a", 1)
        said = texts(store, "a")

        def hand_over(state: graphs.Chat) -> graphs.Chat:
            del state
            Sessions(store).annotate("a", owner=to)
            erase_owner(store, "ann", settle=None)
            return {"is_complete": True}

        builder = graphs.chat().add_node("hand_over", hand_over)
        builder.add_edge("analyse", "hand_over")
        graph: Any = builder.compile(checkpointer=SessionSaver(late, owner_key="user_id"))
        config: Any = {"configurable": {"thread_id": "a", "user_id": "ann"}}
        question = {"messages": [graphs.said(1, "human")]}
        with pytest.raises(SessionGoneError, match="given to another owner"):
            await invoked(face, graph, question, config)
        assert texts(store, "a")[: len(said)] == said
        talk(late, to or "carl", "a", 1)
        assert len(texts(store, "a")) > len(said)


@pytest.mark.parametrize("face", ["sync", "async"])
async def test_who_knew_an_empty_session_as_another_owners_writes_it_readably(
    face: str, url: str, tmp_path: Path
) -> None:
    """Nothing in it has to be sealed anew when the first owner goes; the key is still not used."""
    keys = FileStore(tmp_path / "keys.db")
    with open_store(url, dotenv=False) as below, keys:
        store, late = (
            ProtectedStore(below, encryption=Encryption([KEY]), owner_keys=keys) for _ in range(2)
        )
        sessions = Sessions(store)
        life = sessions.create("s").life
        sessions.annotate("s", owner="ann")
        seen = Commit(session="s", token="t1", state=b"{}")
        assert (await committed(face, late, seen)).outcome == "done"  # it knows the key from now on
        handed = sessions.annotate("s", owner="bob").life
        assert handed.incarnation != life.incarnation
        erase_owner(store, "ann", settle=None)
        pinned = Commit(session="s", token="t2", state=b"{}", incarnation=life.incarnation)
        assert (await committed(face, late, pinned)).outcome == "gone"
        if face == "sync":
            Sessions(late).save("s", {"text": MARK})
        else:
            await Sessions(late).aio.save("s", {"text": MARK})
        assert sessions.load("s").state == {"text": MARK}
        assert Sessions(late).load("s").state == {"text": MARK}


async def invoked(face: str, graph: Any, *args: Any) -> Any:
    """Run a graph by a face, and write each step before the next one begins."""
    if face == "sync":
        return graph.invoke(*args, durability="sync")
    return await graph.ainvoke(*args, durability="sync")


async def committed(face: str, store: SessionStore, commit: Commit) -> Committed:
    """Commit by a face."""
    return store.commit(commit) if face == "sync" else await store.aio.commit(commit)


@pytest.mark.parametrize("first", [None, "ann"])
def test_an_owner_who_comes_during_a_commit_is_seen(first: str | None) -> None:
    """It was sealed for nobody, or for somebody who is not the owner; the next one is right."""
    keys, below = MemoryStore(ttl=FOREVER), MemoryStore(ttl=FOREVER)
    store, late = (
        ProtectedStore(below, encryption=Encryption([KEY]), owner_keys=keys) for _ in range(2)
    )
    Sessions(late).create("s", state={"n": 1})
    commit = below.commit

    def committing(commit_: Commit) -> Committed:
        below.commit = commit  # type: ignore[method-assign]
        Sessions(store).annotate("s", owner="bob")
        return commit(commit_)

    below.commit = committing  # type: ignore[assignment, method-assign]
    late.commit(add("9", write("task", 0, b"early"), session="s", owner=first))
    erase_owner(store, "ann", settle=None)
    assert Sessions(store).load("s").state == {"n": 1}
    Sessions(late).save("s", {"n": 2})
    info = below.info("s")
    assert info is not None
    assert is_owner_key(key_id(info.state) or "")
    assert Sessions(store).load("s").state == {"n": 2}


def test_a_stale_writer_cannot_leave_a_session_to_a_key_that_goes(tmp_path: Path) -> None:
    """Who has seen the session as another owner's looks again, and seals for the new one."""
    url = f"file:{tmp_path}/sessions.db"
    with with_keys(url, tmp_path) as store, with_keys(url, tmp_path) as stale:
        Sessions(store).save("s", {"text": "first"})
        Sessions(store).annotate("s", owner="ann")
        Sessions(stale).save("s", {"text": MARK})
        Sessions(store).annotate("s", owner="bob")
        assert isinstance(stale, ProtectedStore)
        info = stale.unprotected.info("s")
        assert info is not None
        for _ in range(2):
            stale.commit(Commit(session="s", token=str(random.random()), state=b"{}"))
        after = stale.unprotected.info("s")
        assert after is not None
        assert key_id(after.state) == key_id(info.state)
        erase_owner(store, "ann", settle=None)
        assert Sessions(store).load("s").state == {"text": MARK}


def test_a_destroyed_key_is_in_no_file_of_the_keys(tmp_path: Path) -> None:
    """Nor in the log of that file, while it is still open: a copy of it would open everything."""
    with with_keys(f"file:{tmp_path}/sessions.db", tmp_path) as store:
        talk(store, "ann", "a", 1)
        talk(store, "bob", "b", 1)
        with FileStore(tmp_path / "keys.db", prefix="wren-sessions:owner-keys") as keys:
            (info,) = keys.list_owned("ann").sessions
        wrapped = json.loads(info.state)["key"].encode()
        assert any(wrapped in path.read_bytes() for path in tmp_path.glob("keys.db*"))
        erase_owner(store, "ann", settle=None, scrub=False)
        assert not any(wrapped in path.read_bytes() for path in tmp_path.glob("keys.db*"))
        assert texts(store, "b")


def test_a_put_with_an_owners_key_takes_few_bytes_more(tmp_path: Path) -> None:
    """At most 40: the id of the owner's key, which is longer than the app's, in each body."""

    def size(owner: str | None, name: str) -> int:
        with with_keys(f"file:{tmp_path}/{name}.db", tmp_path) as store:
            sessions = Sessions(store)
            sessions.save("s", {"n": 0})
            if owner is not None:
                sessions.annotate("s", owner=owner)
            assert isinstance(store, ProtectedStore)
            sizes = []
            for turn in range(1, 21):
                sessions.save("s", {"n": turn})
                (record,) = store.unprotected.scan("s", [Start("")], 1).records
                info = store.unprotected.info("s")
                assert info is not None
                sizes.append(len(record.body) + len(info.state))
            return max(sizes)

    assert 0 < size("ann", "owned") - size(None, "nobodys") <= 40


def test_a_traced_store_hands_over_and_erases_as_well(tmp_path: Path) -> None:
    """And a session that nobody can read any more stops no erasure of somebody else."""
    url = f"file:{tmp_path}/sessions.db"
    with with_keys(url, tmp_path) as store:
        talk(store, "carl", "c", 1)
        shutil.copy(tmp_path / "sessions.db", tmp_path / "before.db")
        erase_owner(store, "carl", settle=None)
    with with_keys(f"file:{tmp_path}/before.db", tmp_path) as below:
        store = TracedStore(below)
        talk(store, "ann", "a")
        Sessions(store).annotate("a", owner="bob")
        said = texts(store, "a")
        assert erase_owner(store, "ann", settle=None).keys == 1
        assert texts(store, "a") == said


@pytest.mark.parametrize("gone", ["ann", "bob"])
def test_a_handover_that_stops_in_the_middle_loses_nothing(gone: str, tmp_path: Path) -> None:
    """Behind each call of either store: the session is erased with its owner, or can be read."""
    whole, stop = False, 0
    while not whole:
        stop += 1
        folder = tmp_path / str(stop)
        folder.mkdir()
        url = f"file:{folder}/sessions.db"
        with with_keys(url, folder) as store:
            talk(store, "ann", "a", 1)
            talk(store, "bob", "b", 1)
            said = texts(store, "a")
        with with_keys(url, folder) as store, pytest.MonkeyPatch.context() as patch:
            whole = not stopped(patch, stop, lambda: Sessions(store).annotate("a", owner="bob"))
        with with_keys(url, folder) as store:
            info = store.info("a")
            assert info is not None
            erase_owner(store, gone, settle=None)
            assert (store.info("a") is None) == (info.owner == gone)
            if info.owner != gone:
                assert texts(store, "a") == said
    assert stop > 5


def stopped(patch: pytest.MonkeyPatch, stop: int, work: Callable[[], object]) -> bool:
    """Interrupt work behind a call of a file store; whether it came that far."""
    calls = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **options: Any) -> Any:
            nonlocal calls
            found = call(*args, **options)
            calls += 1
            if calls == stop:
                raise KeyboardInterrupt
            return found

        return counting

    for name in ("info", "list_owned", "commit", "prune", "annotate"):
        patch.setattr(FileStore, name, counted(getattr(FileStore, name)))
    try:
        work()
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.parametrize("owner_keys", [False, True])
def test_an_owner_is_listed_three_times(*, owner_keys: bool) -> None:
    """To delete, to see that nothing is left, and once more before (are keys missing?) or after."""
    below = MemoryStore(ttl=FOREVER)
    keys = MemoryStore(ttl=FOREVER) if owner_keys else None
    store = ProtectedStore(below, encryption=Encryption([KEY]), owner_keys=keys)
    talk(store, "ann", "a", 1)
    asked: list[str | None] = []
    listed = below.list_owned

    def list_owned(owner: str, cursor: str | None = None, limit: int = 100) -> SessionPage:
        asked.append(cursor)
        return listed(owner, cursor, limit)

    below.list_owned = list_owned  # type: ignore[method-assign]
    assert erase_owner(store, "ann", settle=None).sessions == ("a",)
    assert len(asked) == 3


# --- what cannot be read --------------------------------------------------------------------------


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("face", ["sync", "async"])
async def test_what_nobody_can_read_keeps_no_key(
    face: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, deleted: bool
) -> None:
    """A session from a backup that another erased owner had as well is named if it is there still.

    The others are kept.
    """
    below, keys = MemoryStore(ttl=FOREVER), MemoryStore(ttl=FOREVER)
    store = ProtectedStore(below, encryption=Encryption([KEY]), owner_keys=keys)
    sessions = Sessions(store)
    for session in ("a", "z"):
        for owner in ("carl", "ann"):
            talk(store, owner, session, 1)
            sessions.annotate(session, owner={"carl": "ann", "ann": "bob"}[owner])
    said = texts(store, "z")
    (tmp_path / "a").write_bytes(below.dump("a") or b"")
    assert (await erased(face, store, "carl")).unreadable == {}
    below.restore("a", (tmp_path / "a").read_bytes())
    store = ProtectedStore(below, encryption=Encryption([KEY]), owner_keys=keys)
    lacks = _Rekeying.lacks_owner_key

    async def lacks_owner_key(rekeying: _Rekeying, session: str, there: set[str]) -> bool | None:
        if deleted:
            below.delete(session)
        return await lacks(rekeying, session, there)

    monkeypatch.setattr(_Rekeying, "lacks_owner_key", lacks_owner_key)
    receipt = await erased(face, store, "ann")
    named = set() if deleted else {"a"}
    assert (receipt.sessions, receipt.keys, set(receipt.unreadable)) == ((), 1, named)
    assert all("owner who was erased" in why for why in receipt.unreadable.values())
    assert json.loads(receipt.to_json())["unreadable"] == receipt.unreadable
    assert texts(store, "z") == said
    assert keys.list_owned("ann").sessions == ()


def test_what_another_key_can_read_keeps_an_owners_key() -> None:
    """Also where it is the first of all sessions: the others are written anew before it is told."""
    below, keys = MemoryStore(ttl=FOREVER), MemoryStore(ttl=FOREVER)
    other = Encryption.generate_key("other")

    def opened(*ring: str) -> ProtectedStore:
        return ProtectedStore(below, encryption=Encryption(ring), owner_keys=keys)

    Sessions(opened(other, KEY)).save("a", {"turn": 1})
    Sessions(opened(KEY)).save("z", {"turn": 1})
    both = opened(KEY, other)
    for session in ("a", "z"):
        Sessions(both).annotate(session, owner="ann")
        Sessions(both).save(session, {"turn": 2})
        Sessions(both).annotate(session, owner="bob")
    before = below.info("z")
    with pytest.raises(DecryptionError, match="the key 'other'"):
        erase_owner(opened(KEY), "ann", settle=None)
    after = below.info("z")
    assert before is not None
    assert after is not None
    assert after.life.incarnation != before.life.incarnation
    assert len(keys.list_owned("ann").sessions) == 1
    receipt = erase_owner(both, "ann", settle=None)
    assert (receipt.keys, receipt.unreadable) == (1, {})
    assert [Sessions(both).load(session).state for session in ("a", "z")] == [{"turn": 2}] * 2


def test_however_many_nobody_can_read_the_keys_are_listed_once() -> None:
    """Listing the keys of all owners takes as many trips as there are pages of them."""
    below, keys = MemoryStore(ttl=FOREVER), MemoryStore(ttl=FOREVER)
    store = ProtectedStore(below, encryption=Encryption([KEY]), owner_keys=keys)
    lost = ("a", "b", "c")
    for session in (*lost, "z"):
        Sessions(store).create(session, owner="carl", state={"n": 1})
        Sessions(store).annotate(session, owner="ann")
    Sessions(store).annotate("z", owner="bob")
    kept = {session: below.dump(session) or b"" for session in lost}
    erase_owner(store, "ann", settle=None)
    for session, dump in kept.items():
        below.restore(session, dump)
    store = ProtectedStore(below, encryption=Encryption([KEY]), owner_keys=keys)
    with mock.patch.object(keys, "list_sessions", wraps=keys.list_sessions) as listed:
        receipt = erase_owner(store, "carl", settle=None)
    assert set(receipt.unreadable) == set(lost)
    assert listed.call_count == 1
