"""What the errors of moving, exporting and archiving propose, done to the letter."""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver

from moving.apps import held, sqlite_saver, talk
from remedies.permissions import open_folder
from remedies.proposals import tries
from remedies.restless import Restless
from wren_sessions import (
    MemoryStore,
    SafeSerializer,
    SessionArchiver,
    Sessions,
    SessionSaver,
    Transcript,
    aimport_checkpoints,
    copy_sessions,
    export_session,
    export_sessions,
    import_checkpoints,
    import_session,
    import_sessions,
)
from wren_sessions.errors import (
    ConfigurationError,
    ConflictError,
    CorruptSessionError,
    SerializationError,
    SessionExistsError,
    SessionNotFoundError,
    StoreUnavailableError,
)
from wren_sessions.transfer import _sources

CONFIG: Final[Any] = {"configurable": {"thread_id": "t"}}
OTHER: Final[Any] = {"configurable": {"thread_id": "u"}}


def filled(*names: str) -> MemoryStore:
    """A store with these sessions."""
    store = MemoryStore()
    for name in names:
        Sessions(store).save(name, {"n": 1})
    return store


# --- between stores -------------------------------------------------------------------------------


@tries(
    "leave it out, delete it there, or pass replace=True",
    "source and target are the same store; use copy for one session",
)
@pytest.mark.parametrize("way", ["leave out", "delete", "replace"])
def test_a_session_that_the_target_has(way: str) -> None:
    """Each of the three."""
    source, target = filled("s", "u"), MemoryStore()
    Sessions(target).save("s", {"theirs": 1})
    with pytest.raises(SessionExistsError, match="leave it out, delete it there, or pass replace"):
        copy_sessions(source, target)
    if way == "leave out":
        copy_sessions(source, target, sessions=["u"])
        assert Sessions(target).load("s").state == {"theirs": 1}
        return
    if way == "delete":
        target.delete("s")
    copy_sessions(source, target, replace=way == "replace")
    assert Sessions(target).load("s").state == {"n": 1}
    with pytest.raises(ConfigurationError, match="use copy for one session"):
        copy_sessions(source, source)
    assert source.copy("s", "v")


@tries(
    "was not copied, because others kept writing it: try again when it is less busy",
    "is it being copied twice? Nothing of it is there: try again",
    "keep applications away from it, and import it again",
    "was pruned or deleted while it was being exported: export it again",
)
def test_others_are_at_work() -> None:
    """When they rest, it works."""
    source, target, count = filled("s"), MemoryStore(), itertools.count()

    def write() -> None:
        Sessions(source).save("s", {"n": next(count), "text": "x" * 3_000})

    busy: Any = Restless(source, write)
    with pytest.raises(ConflictError, match="others kept writing it: try again when it is less"):
        copy_sessions(busy, target)
    busy.rests = True
    assert len(copy_sessions(busy, target, replace=True).copied) == 1

    again = MemoryStore()
    with pytest.raises(ConflictError, match="Nothing of it is there: try again"):
        copy_sessions(source, again, on_progress=_once(lambda: copy_sessions(source, again)))
    again.delete("s")
    assert len(copy_sessions(source, again).copied) == 1

    saver, threads = SessionSaver(MemoryStore()), InMemorySaver()
    talk(threads, 2)
    with pytest.raises(ConflictError, match="keep applications away from it, and import it again"):
        import_checkpoints(threads, saver, on_progress=_once(lambda: saver.delete_thread("t")))
    saver.delete_thread("t")
    import_checkpoints(threads, saver)
    assert held(saver) == held(threads)

    lines = export_session(source, "s")
    next(lines)
    source.delete("s")
    with pytest.raises(ConflictError, match="while it was being exported: export it again"):
        list(lines)
    Sessions(source).save("s", {"n": 1})
    assert list(export_session(source, "s"))


def _once(happen: Any) -> Any:
    done: list[bool] = []

    def progress(_: Any) -> None:
        if not done:
            done.append(True)
            happen()

    return progress


# --- between savers -------------------------------------------------------------------------------


@tries(
    "has no blocking methods: use aimport_checkpoints",
    "has no asynchronous methods: use import_checkpoints",
)
async def test_the_other_function(tmp_path: Path) -> None:
    """The function that is named moves the thread."""
    aio = pytest.importorskip("langgraph.checkpoint.sqlite.aio")
    blocking = sqlite_saver()
    talk(blocking, 2)
    target = SessionSaver(MemoryStore())
    with pytest.raises(ConfigurationError, match="use import_checkpoints"):
        await aimport_checkpoints(blocking, target)
    import_checkpoints(blocking, target)
    assert held(target)
    with pytest.raises(ConfigurationError, match="use aimport_checkpoints"):
        import_checkpoints(BaseCheckpointSaver(), target)
    async with aio.AsyncSqliteSaver.from_conn_string(str(tmp_path / "aio.db")) as awaited:
        await aimport_checkpoints(target, awaited)
        other = SessionSaver(MemoryStore())
        await aimport_checkpoints(awaited, other)
    assert held(other) == held(target)


@tries("Leave the thread out (threads=[…]), or delete it from the target first")
@pytest.mark.parametrize("way", ["leave out", "delete"])
def test_a_thread_that_the_target_has(way: str) -> None:
    """Either way, the rest is moved."""
    source, target = InMemorySaver(), SessionSaver(MemoryStore())
    talk(source, 2)
    talk(source, 2, thread=OTHER)
    talk(target, 3)
    with pytest.raises(ConflictError, match=r"Leave the thread out \(threads=\[…\]\), or delete"):
        import_checkpoints(source, target)
    if way == "leave out":
        import_checkpoints(source, target, threads=["u"])
        assert len(list(target.list(OTHER))) == len(list(source.list(OTHER)))
    else:
        target.delete_thread("t")
        import_checkpoints(source, target)
        assert held(target) == held(source)


class Rounding(SafeSerializer):
    """A serializer that does not keep everything."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Forget what is behind the point."""
        return super().dumps_typed(_rounded(obj))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) else value


@tries(
    "{}; give the target a serializer that keeps it",
    "{}; delete the thread there",
)
def test_a_target_that_changes_what_it_is_given() -> None:
    """With another serializer, and from the beginning, the thread is moved as it is."""
    source = InMemorySaver()
    talk(source, 2)
    found = next(iter(source.list(CONFIG)))
    checkpoint: Any = {**found.checkpoint, "channel_values": {"it": 1.5}, "id": "9" * 36}
    checkpoint["channel_versions"] = {"it": f"{1:032}.5"}
    source.put(found.config, checkpoint, {}, checkpoint["channel_versions"])
    store = MemoryStore()
    with pytest.raises(SerializationError, match="give the target a serializer that keeps it"):
        import_checkpoints(source, SessionSaver(store, serde=Rounding()))
    SessionSaver(store).delete_thread("t")
    target = SessionSaver(store)
    import_checkpoints(source, target)
    assert held(target) == held(source)


@tries("move its threads one by one (threads=[…])")
def test_a_listing_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thread by thread, all of them are moved."""
    source, target = InMemorySaver(), SessionSaver(MemoryStore())
    for thread in (CONFIG, OTHER):
        talk(source, 2, thread=thread)
    monkeypatch.setattr(_sources, "LISTED", len(list(source.list(CONFIG))) + 1)
    with pytest.raises(ConfigurationError, match=r"one by one \(threads=\[…\]\)"):
        import_checkpoints(source, target)
    for name in ("t", "u"):
        import_checkpoints(source, target, threads=[name])
    assert held(target) == held(source)
    assert len(list(target.list(OTHER))) == len(list(source.list(OTHER)))


# --- files ----------------------------------------------------------------------------------------


@tries(
    "nothing was written. Use another copy of the file",
    "Take a .jsonl file that `wren-sessions export` or export_session wrote",
    "there are several sessions in this file: use import_sessions",
)
def test_exports() -> None:
    """Another copy; and the function for several."""
    lines = list(export_session(filled("s"), "s"))
    target = MemoryStore()
    with pytest.raises(CorruptSessionError, match="Use another copy of the file"):
        import_session(target, lines[:-1])
    import_session(target, lines)
    with pytest.raises(CorruptSessionError, match=r"Take a \.jsonl file that"):
        import_session(target, ['{"messages": []}'])
    several = list(export_sessions(filled("s", "u")))
    with pytest.raises(CorruptSessionError, match="use import_sessions"):
        import_session(MemoryStore(), several)
    assert set(import_sessions(MemoryStore(), several)) == {"s", "u"}


@tries("name a session's folder, or the {} in it", "put a real folder in its place")
def test_archives(tmp_path: Path) -> None:
    """The folder, and the file in it; and a folder where a link was."""
    store = filled("s")
    archiver = SessionArchiver(store, tmp_path / "archive")
    archive = archiver.archive("s")
    with pytest.raises(
        SessionNotFoundError, match=r"name a session's folder, or the session\.jsonl"
    ):
        Sessions(store).restore(tmp_path / "nothing")
    for named in (archive.export.parent, archive.export):
        store.delete("s")
        Sessions(store).restore(named)
        assert Sessions(store).load("s").state == {"n": 1}

    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "linked" / "s"
    folder.parent.mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    linked = SessionArchiver(store, tmp_path / "linked")
    with pytest.raises(StoreUnavailableError, match="put a real folder in its place"):
        linked.archive("s")
    folder.unlink()
    folder.mkdir()
    assert linked.archive("s").export.is_file()


PERMISSIONS: Final = """
import os, sys
from pathlib import Path
from wren_sessions import MemoryStore, SessionArchiver, Sessions
store = MemoryStore()
Sessions(store).save("s", {"n": 1})
root = Path(sys.argv[1])
warm = SessionArchiver(store, root.with_name("warm")).archive("s")  # all modules are loaded
Sessions(MemoryStore()).restore(warm)
if os.geteuid() == 0:
    os.seteuid(65534)  # permissions do not count for root
try:
    if sys.argv[2] == "write":
        SessionArchiver(store, root).archive("s")
    else:
        Sessions(MemoryStore()).restore(root / "s")
except Exception as error:
    print(error)
else:
    print("ok")
"""


@tries(
    "check the folder's permissions and the space that is left",
    "check the permissions of the folders above",
    "check its permissions, and how many files this process has open",
)
@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_permissions() -> None:
    """With the permissions it works."""
    with open_folder() as folder:
        root = folder / "archive"
        root.mkdir(mode=0o555)

        def told(what: str) -> str:
            run = subprocess.run(
                [sys.executable, "-c", PERMISSIONS, str(root), what],
                capture_output=True,
                text=True,
                check=True,
            )
            return run.stdout.strip()

        root.parent.chmod(0o600)
        assert "check the permissions of the folders above" in told("write")
        root.parent.chmod(0o755)
        assert "check the folder's permissions" in told("write")
        root.chmod(0o777)
        assert told("write") == "ok"
        file = root / "s" / "session.jsonl"
        mode = stat.S_IMODE(file.stat().st_mode)
        file.chmod(0)
        assert "check its permissions" in told("read")
        file.chmod(mode)
        assert told("read") == "ok"


@tries("{} cannot be read: {}; restore the file from a copy")
def test_a_conversation_file(tmp_path: Path) -> None:
    """Another copy of it is read."""
    store = MemoryStore()
    Sessions(store).save("s", {"messages": [{"role": "user", "content": "hello"}]})
    archive = SessionArchiver(store, tmp_path).archive("s")
    path = archive.conversation
    copy = path.read_text("utf-8")
    path.write_text(copy[: len(copy) // 2], "utf-8")
    with pytest.raises(CorruptSessionError, match="restore the file from a copy"):
        Transcript.read(path)
    path.write_text(copy, "utf-8")
    assert Transcript.read(path).messages
