"""Archives: what is kept of a session, when, and how it comes back."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command

from moving.apps import THREAD, next_step, talk
from moving.apps import chat as chat_that_asks
from saver.apps import thread
from saver.backends import BACKENDS, Backend, place
from saver.graphs import chat, said
from wren_sessions import (
    Archive,
    CorruptSessionError,
    FormatVersionError,
    MemoryStore,
    Profile,
    RedisStore,
    SessionArchiver,
    SessionExistsError,
    SessionNotFoundError,
    Sessions,
    SessionSaver,
    StoreUnavailableError,
    Transcript,
    TTLPolicy,
)
from wren_sessions._blocking import run
from wren_sessions.protocols import SessionStore
from wren_sessions.testing import FakeClock

HERE = Path(__file__).parent


class Face:
    """An archiver by one face."""

    def __init__(self, face: str, store: SessionStore, root: Path, **options: Any) -> None:
        self.blocking = face == "sync"
        self.sessions = Sessions(store)
        self.archiver = SessionArchiver(self.sessions, root, **options)

    async def __call__(self, method: str, *args: Any) -> Any:
        """Call one of its methods."""
        if self.blocking:
            return getattr(self.archiver, method)(*args)
        return await getattr(self.archiver.aio, method)(*args)

    async def restore(self, *args: Any, **options: Any) -> Any:
        """Restore a session."""
        if self.blocking:
            return self.sessions.restore(*args, **options)
        return await self.sessions.aio.restore(*args, **options)


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return [path.name for path in folder.iterdir()]


def wait_until_gone(sessions: Sessions) -> None:
    """Wait until the server has dropped the session."""
    while sessions.exists("t"):
        time.sleep(0.001)


def unfinished(root: Path) -> list[Path]:
    """Files that somebody began to write."""
    return list(root.rglob(".*.tmp"))


def turns(store: SessionStore, count: int, session: str = "t") -> None:
    """A conversation, which is complete after its third turn."""
    graph = chat().compile(checkpointer=SessionSaver(store))
    for number in range(count):
        graph.invoke({"messages": [said(number, "human")]}, thread(session))


async def test_the_files_of_a_session(backend: Backend, face: str, tmp_path: Path) -> None:
    """What was said, what was found out, and all of it, where the documentation says."""
    store = backend.store()
    turns(store, 2)
    archive: Archive = await Face(face, store, tmp_path / "user_profiles")("archive", "t")
    folder = tmp_path / "user_profiles" / "t"
    assert archive.folder == folder
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == [
        "logs/conversation.json",
        "profiles/profile.json",
        "session.jsonl",
    ]
    assert Transcript.read(archive.conversation) == Sessions(store).transcript("t")
    profile = Profile.read(archive.profile)
    assert profile.values["turn_count"] == 2
    assert profile.values["is_complete"] is False
    assert isinstance(profile.values["profile"], dict)
    assert profile.checkpoint_id == Sessions(store).load("t").checkpoint_id


async def test_files_are_their_owners_alone(face: str, tmp_path: Path) -> None:
    """Files have mode 0600 and folders 0700, whatever the umask; no other file is left."""
    store = MemoryStore()
    turns(store, 1)
    before = os.umask(0)
    try:
        await Face(face, store, tmp_path / "a" / "b")("archive", "t")
    finally:
        os.umask(before)
    found = list((tmp_path / "a").rglob("*"))
    assert len(found) == 7
    for path in (tmp_path / "a", *found):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


async def test_a_session_is_archived_once_it_is_over(
    backend: Backend, face: str, tmp_path: Path
) -> None:
    """`archive_if_complete` waits for the state to say so, and writes nothing twice."""
    store = backend.store()
    use = Face(face, store, tmp_path)
    turns(store, 2)
    assert await use("archive_if_complete", "t") is None
    turns(store, 1)
    archive = await use("archive_if_complete", "t")
    before = archive.export.stat()
    assert await use("archive_if_complete", "t") == archive
    assert archive.export.stat().st_ino == before.st_ino
    turns(store, 1)
    again = await use("archive_if_complete", "t")
    assert again.revision > archive.revision
    assert again.export.stat().st_ino != before.st_ino
    with pytest.raises(SessionNotFoundError):
        await use("archive_if_complete", "nobody")


async def test_a_session_with_a_next_step_is_not_over(face: str, tmp_path: Path) -> None:
    """A graph that stopped before a node, or waits for an answer, is not over."""
    store = MemoryStore()
    graph = chat_that_asks(SessionSaver(store))
    use = Face(face, store, tmp_path, complete=lambda state: "turn" in state)
    graph.invoke({"notes": ["and you?"]}, THREAD)
    assert await use("archive_if_complete", "t") is None
    for question in graph.get_state(THREAD).interrupts:
        assert await use("archive_if_complete", "t") is None
        graph.invoke(Command(resume={question.id: "me"}), THREAD)
    assert await use("archive_if_complete", "t") is not None
    stopped = chat().compile(checkpointer=SessionSaver(store), interrupt_before=["analyse"])
    stopped.invoke({"messages": [said(0, "human")]}, thread("stopped"))
    assert (
        await Face(face, store, tmp_path, complete=lambda _: True)("archive_if_complete", "stopped")
        is None
    )


async def test_a_sweep_archives_what_was_missed(
    backend: Backend, face: str, tmp_path: Path
) -> None:
    """`archive_completed` finds all sessions that are over, and those alone, once."""
    store = backend.store()
    use = Face(face, store, tmp_path)
    for number, count in enumerate((3, 2, 3)):
        turns(store, count, f"s{number}")
    use.sessions.create("empty")
    use.sessions.save("plain", {"is_complete": True, "messages": ["done"]})
    found = await use("archive_completed")
    assert sorted(archive.session for archive in found) == ["plain", "s0", "s2"]
    assert await use("archive_completed") == ()


SETTINGS: dict[str, Callable[[Sessions], object]] = {
    "owner": lambda sessions: sessions.annotate("s", owner="ann"),
    "title": lambda sessions: sessions.annotate("s", title="one"),
    "timeout": lambda sessions: sessions.set_ttl("s", "2h"),
    "pin": lambda sessions: sessions.pin("s"),
    "no timeout": lambda sessions: sessions.set_ttl("s", None),
    "no pin": lambda sessions: sessions.pin("s", pinned=False),
    "no owner": lambda sessions: sessions.annotate("s", owner=""),
}


def settings(sessions: Sessions, session: str) -> tuple[object, ...]:
    """What is archived of a session besides its contents."""
    info = sessions.store.info(session)
    assert info is not None
    return info.notes, info.idle, info.life.pinned


async def test_what_was_noted_or_set_since_is_archived(
    backend: Backend, face: str, tmp_path: Path
) -> None:
    """It is no new revision, and is in the archive all the same; once."""
    use = Face(face, backend.store(), tmp_path)
    sessions = use.sessions
    sessions.save("s", {"is_complete": True})
    archive = await use("archive_if_complete", "s")
    for number, change in enumerate(SETTINGS.values()):
        change(sessions)
        before = archive.export.read_text()
        if number % 2:
            assert await use("archive_if_complete", "s") == archive
        else:
            assert await use("archive_completed") == (archive,)
        after = archive.export.read_text()
        assert after != before
        await use.restore(archive, "again", replace=True)
        assert settings(sessions, "again") == settings(sessions, "s")
        sessions.delete("again")
        assert await use("archive_completed") == ()
        assert await use("archive_if_complete", "s") == archive
        assert archive.export.read_text() == after
    sessions.delete("s")  # it would not expire


async def test_what_says_that_a_session_is_over_can_be_chosen(face: str, tmp_path: Path) -> None:
    """Another value of the state, or a function of it."""

    def enough(state: Mapping[str, Any]) -> bool:
        return len(state["messages"]) > 1

    sessions = Sessions(MemoryStore())
    sessions.save("one", {"messages": ["a"], "done": True})
    sessions.save("two", {"messages": ["a", "b"], "done": False})
    for complete, expected in (("done", ["one"]), (enough, ["two"])):
        root = tmp_path / expected[0]
        found = await Face(face, sessions.store, root, complete=complete)("archive_completed")
        assert [archive.session for archive in found] == expected


@pytest.fixture
async def other(request: pytest.FixtureRequest, backend: Backend) -> AsyncIterator[Backend]:
    """An empty place on the next backend."""
    name = BACKENDS[(BACKENDS.index(backend.name) + 1) % len(BACKENDS)]
    opened = Backend(name, place(name, request))
    yield opened
    await opened.close()


@pytest.mark.parametrize("by", ["archive", "folder", "file", "text"])
async def test_a_session_comes_back(
    backend: Backend, other: Backend, face: str, tmp_path: Path, by: str
) -> None:
    """A session that was deleted is restored, on any backend, and its graph goes on."""
    store = backend.store()
    talk(SessionSaver(store), 2)
    archive: Archive = await Face(face, store, tmp_path)("archive", "t")
    named = {
        "archive": archive,
        "folder": archive.folder,
        "file": archive.export,
        "text": str(archive.folder),
    }[by]
    use = Face(face, other.store(), tmp_path)
    restored = await use.restore(named)
    assert restored.state == Sessions(store).load("t").state
    assert restored.id == "t"
    assert next_step(SessionSaver(other.store())) == next_step(SessionSaver(store))


@pytest.mark.parametrize("policy", [TTLPolicy(idle="24h"), TTLPolicy(idle=None, max_age="2d")])
async def test_a_session_comes_back_after_its_time(
    policy: TTLPolicy, face: str, tmp_path: Path
) -> None:
    """Expired by idle time or by age, a session lives on from its archive, with its history."""
    clock = FakeClock()
    store = MemoryStore(clock=clock, ttl=policy)
    use = Face(face, store, tmp_path)
    talk(SessionSaver(store), 2)
    history = list(chat_that_asks(SessionSaver(store)).get_state_history(THREAD))
    archive = await use("archive", "t")
    clock.advance("3d")
    assert use.sessions.get("t") is None
    restored = await use.restore(archive)
    assert restored.waiting
    assert restored.life.ttl_ms is not None
    assert restored.life.ttl_ms > 3_600_000
    assert list(chat_that_asks(SessionSaver(store)).get_state_history(THREAD)) == history
    next_step(SessionSaver(store))


async def test_a_session_comes_back_after_redis_dropped_it(
    redis_url: str, face: str, tmp_path: Path
) -> None:
    """The same with a real server, which expires the session itself."""
    with RedisStore.from_url(redis_url, ttl=TTLPolicy(idle="24h")) as store:
        use = Face(face, store, tmp_path)
        talk(SessionSaver(store), 2)
        archive = await use("archive", "t")
        store.set_ttl("t", "1ms")
        await asyncio.to_thread(wait_until_gone, use.sessions)
        await use.restore(archive)
        next_step(SessionSaver(store))
        await store.aio.close()


async def test_a_session_that_is_there_is_not_replaced(face: str, tmp_path: Path) -> None:
    """Restoring over a session must be asked for; under another id it is free."""
    store = MemoryStore()
    use = Face(face, store, tmp_path)
    use.sessions.save("s", {"n": 1})
    archive = await use("archive", "s")
    use.sessions.save("s", {"n": 2})
    with pytest.raises(SessionExistsError):
        await use.restore(archive)
    assert use.sessions.load("s").state == {"n": 2}
    assert (await use.restore(archive, "copy")).state == {"n": 1}
    assert (await use.restore(archive, replace=True)).state == {"n": 1}


async def test_an_archive_that_is_not_there_or_damaged(face: str, tmp_path: Path) -> None:
    """Each says what it is; nothing is written."""
    store = MemoryStore()
    use = Face(face, store, tmp_path)
    use.sessions.save("s", {"n": 1})
    archive = await use("archive", "s")
    use.sessions.delete("s")
    for nothing in (tmp_path / "nobody", tmp_path):
        with pytest.raises(SessionNotFoundError, match="no archive"):
            await use.restore(nothing)
    lines = archive.export.read_text().splitlines(keepends=True)
    archive.export.write_text("".join(lines[:-1]))
    with pytest.raises(CorruptSessionError, match="cut off"):
        await use.restore(archive)
    newer = json.dumps(json.loads(lines[0]) | {"version": 9})
    archive.export.write_text(newer + "\n")
    with pytest.raises(FormatVersionError):
        await use.restore(archive)
    with pytest.raises(FormatVersionError):
        await use("find", "s")
    assert store.list_sessions().sessions == ()
    use.sessions.save("s", {"n": 2, "is_complete": True})
    assert await use("archive_if_complete", "s") is not None  # a damaged archive is written again


def test_an_archiver_that_is_killed_leaves_every_file_whole(tmp_path: Path) -> None:
    """Whenever a process dies, each file is all of the old archive's or all of the new one's."""
    script = [sys.executable, str(HERE / "killed.py"), str(tmp_path)]
    run = subprocess.run(script, capture_output=True, text=True, check=True)
    seen = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(seen) > 8
    found = [{f["session"], f["found"], int(f["said"])} for f in (state["files"] for state in seen)]
    possible = [{state["number"] - 1, state["number"]} for state in seen]
    assert all(there <= known for there, known in zip(found, possible, strict=True))
    assert found[0] == {1}
    assert found[-1] == {seen[-1]["number"]}
    assert (
        sum(len(there) > 1 for there in found) <= 2
    )  # only a death between two renames leaves files of two versions
    assert unfinished(tmp_path)


async def test_what_a_dead_process_left_is_removed(face: str, tmp_path: Path) -> None:
    """Files that were never finished go once they are old; those of a living process stay."""
    use = Face(face, MemoryStore(), tmp_path)
    use.sessions.save("s", {"n": 1})
    (tmp_path / "s").mkdir()
    old, young, *theirs = (
        tmp_path / "s" / name
        for name in (
            ".session.jsonl.0123456789ab.tmp",
            ".session.jsonl.ba9876543210.tmp",
            ".session.jsonl.1.tmp",
            ".report.docx.0123456789ab.tmp",
            ".tmp",
        )
    )
    for path in (old, young, *theirs):
        path.write_text("half")
        os.utime(path, (0, 0))
    os.utime(young)
    await use("archive", "s")
    assert not old.exists()
    assert young.exists()
    assert all(path.exists() for path in theirs)  # of other programs, or not known to be ours


async def test_a_symbolic_link_is_not_followed(face: str, tmp_path: Path) -> None:
    """A folder of a session, or one in it, that is a link: an error, and nothing is written."""
    root, elsewhere = tmp_path / "archives", tmp_path / "elsewhere"
    elsewhere.mkdir()
    use = Face(face, MemoryStore(), root)
    use.sessions.save("s", {"n": 1, "is_complete": True})
    for linked in (root / "s", root / "s" / "logs"):
        linked.parent.mkdir(parents=True, exist_ok=True)
        linked.symlink_to(elsewhere)
        for method in ("archive", "archive_if_complete"):
            with pytest.raises(StoreUnavailableError, match="symbolic link"):
                await use(method, "s")
        assert list(elsewhere.iterdir()) == []
        linked.unlink()
    assert (await use("archive", "s")).export.exists()
    linked_root = tmp_path / "linked"
    linked_root.symlink_to(root)  # where the archives are is for the application to say
    assert await Face(face, use.sessions.store, linked_root)("find", "s") is not None


async def test_without_a_file_descriptor(face: str, tmp_path: Path) -> None:
    """Where no file can be opened any more, each call is an error of ours, and works afterwards."""
    resource = pytest.importorskip("resource")
    use = Face(face, MemoryStore(), tmp_path)
    use.sessions.save("s", {"n": 1})
    archive = await use("archive", "s")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.open(os.devnull, os.O_RDONLY)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    try:
        for call in (use("find", "s"), use("archive", "s"), use.restore(archive, replace=True)):
            with pytest.raises(StoreUnavailableError):
                await call
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert await use("find", "s") == archive


async def test_a_folder_that_cannot_be_written_is_an_error(face: str, tmp_path: Path) -> None:
    """Where files cannot be written, the error names the folder, and the old archive stays."""
    use = Face(face, MemoryStore(), tmp_path)
    use.sessions.save("s", {"n": 1})
    archive = await use("archive", "s")
    before = archive.export.read_bytes()
    archive.profile.unlink()
    archive.profile.parent.rmdir()
    archive.profile.parent.write_text("in the way")
    use.sessions.save("s", {"n": 2})
    with pytest.raises(StoreUnavailableError, match="cannot be written"):
        await use("archive", "s")
    assert archive.export.read_bytes() == before
    assert unfinished(tmp_path) == []


async def test_an_older_state_does_not_replace_a_newer_one(face: str, tmp_path: Path) -> None:
    """An archiver that was slow leaves what a faster one wrote from the same session."""
    use = Face(face, MemoryStore(), tmp_path)
    use.sessions.save("s", {"n": 1})
    slow = SessionArchiver(use.sessions, tmp_path)
    contents = run(slow._blocking._collecting.collect("s"))
    use.sessions.save("s", {"n": 2})
    newer = await use("archive", "s")
    assert slow._write(contents) == newer
    assert Profile.read(newer.profile).values["n"] == 2


@pytest.mark.parametrize("session", ["..", "a/../../b", "Anna", "con", "é" * 300, "x\ny"])
async def test_any_id_has_its_archive_below_the_root(
    session: str, face: str, tmp_path: Path
) -> None:
    """Hostile ids are archived and restored as any other, and nothing is written elsewhere."""
    root = tmp_path / "root"
    use = Face(face, MemoryStore(), root)
    use.sessions.save(session, {"n": 1})
    archive = await use("archive", session)
    assert archive.folder.parent == root
    assert names(tmp_path) == ["root"]
    assert len(names(root)) == 1
    use.sessions.delete(session)
    assert (await use.restore(archive)).id == session
    found = await use("find", session)
    assert found is not None
    assert found.session == session
