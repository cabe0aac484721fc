"""Operations of several steps, in processes that are killed behind every one: see test_killed.py.

Prints a line of JSON for each death: what the store has then, and what a second run makes of it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from wren_sessions import (
    Encryption,
    ProtectedStore,
    Sessions,
    SessionStore,
    copy_sessions,
    export_session,
    import_session,
    open_store,
    rekey,
)
from wren_sessions.errors import SessionExistsError
from wren_sessions.keys import StagingId
from wren_sessions.records import Start
from wren_sessions.stores.file import FileStore
from wren_sessions.stores.redis import RedisStore

CHANGING: Final = ("commit", "prune", "copy", "delete", "set_ttl", "pin")
OLD: Final = ("old", bytes(32))
NEW: Final = ("new", b"1" * 32)
STATES: Final = 3


def fill(store: SessionStore, name: str) -> str | None:
    """Write a session; its second checkpoint."""
    saved = [Sessions(store).save(name, {"n": number}) for number in range(STATES)]
    return saved[1].checkpoint_id


def opened(url: str, *keys: tuple[str, bytes]) -> Any:
    """A store of its own, encrypted or not."""
    return open_store(url, encryption=Encryption(list(keys)) if keys else None, dotenv=False)


class Operations:
    """What is done to a session `s`, or makes a session `made`.

    Args:
        url: of a store that is encrypted.
        folder: for files.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._file = folder / "session.jsonl"
        self._source = f"file:{folder}/source.db"
        with opened(self._source) as source:
            fill(source, "made")

    def prepare(self) -> None:
        """Begin anew, with a session that is as it was when its file was written, and one more."""
        with opened(self._url, OLD) as store:
            for name in ("s", "made"):
                store.delete(name)
            self._at = fill(store, "s")
            self._file.write_text("\n".join(export_session(store, "s")))
            Sessions(store).save("s", {"n": STATES})

    def fork(self) -> None:
        """A fork at an earlier state."""
        with opened(self._url, OLD) as store:
            Sessions(store).fork("s", "made", at=self._at)

    def copy(self) -> None:
        """A copy from another store."""
        with opened(self._source) as source, opened(self._url, OLD) as store:
            copy_sessions(source, store)

    def imported(self) -> None:
        """An import."""
        with opened(self._url, OLD) as store:
            import_session(store, self._file.read_text().splitlines(), session="made")

    def restore(self) -> None:
        """An archive in the place of what is there."""
        with opened(self._url, OLD) as store:
            Sessions(store).restore(self._file, "s", replace=True)

    def rekey(self) -> None:
        """A change of keys."""
        with opened(self._url, NEW, OLD) as store:
            rekey(store, unused_for=None)


def dying(real: Callable[..., Any], left: list[int], out: int) -> Callable[..., Any]:
    """A method of a store, behind the last call of which the process dies; names what is made."""

    def call(*args: Any, **kwargs: Any) -> Any:
        for arg in (*args, *(getattr(arg, "session", None) for arg in args)):
            if isinstance(arg, StagingId):
                os.write(out, f"{arg}\n".encode())
        found = real(*args, **kwargs)
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    return call


def killed(act: Callable[[], None], kind: type[SessionStore], step: int) -> tuple[bool, set[str]]:
    """Act in a process that dies behind a step; whether it came to its end, and what it made."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        left = [step]
        for name in CHANGING:
            setattr(kind, name, dying(getattr(kind, name), left, write))
        act()
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        made = set(told.read().split())
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 0, made


def look(store: ProtectedStore) -> dict[str, list[int]]:
    """Each session that is listed: its state, and how many checkpoints it has."""
    sessions = Sessions(store, cache_bytes=0)
    return {
        name: [sessions.load(name).state["n"], len(store.scan(name, [Start("")], 100).records)]
        for name in sorted(info.session for info in store.list_sessions().sessions)
    }


def ends(store: ProtectedStore, made: set[str]) -> list[int | None]:
    """When what was left behind goes away by itself."""
    found = [store.unprotected.info(str.__new__(StagingId, name)) for name in made]
    return [info.life.ttl_ms for info in found if info is not None]


def main(url: str, name: str, folder: str) -> None:
    """Kill an operation behind each of its steps, and run it again."""
    operations = Operations(url, Path(folder))
    act = getattr(operations, name)
    step, ended = 0, False
    while not ended:
        step += 1
        operations.prepare()
        ended, made = killed(act, FileStore if url.startswith("file:") else RedisStore, step)
        with opened(url, NEW, OLD) as store:
            there, left = look(store), ends(store, made)
        with suppress(SessionExistsError):
            act()
        with opened(url, NEW, OLD) as store:
            told = {"there": there, "left": left, "after": look(store)}
        if name == "rekey":
            with opened(url, NEW) as store:
                assert look(store) == told["after"]
        sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
