"""A process that archives a session and is killed at every step of it: run by a test.

Prints, for each step, which version each file is of: a line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wren_sessions import (
    MemoryStore,
    Profile,
    SessionArchiver,
    Sessions,
    Transcript,
    import_session,
)

STEPS = ("open", "fsync", "mkdir", "replace", "rename", "unlink")


def counted(real: Any, left: list[int]) -> Callable[..., Any]:
    """A system call, before the last of which the process is killed."""

    def call(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    return call


def archive_until(archiver: SessionArchiver, step: int) -> bool:
    """Archive in a process of its own that is killed at a step; whether it came to the end."""
    pid = os.fork()
    if pid == 0:
        left = [step]
        for name in STEPS:
            setattr(os, name, counted(getattr(os, name), left))
        archiver.archive("s")
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 0


def versions(archiver: SessionArchiver) -> dict[str, Any]:
    """Which version each file is of; reading it fails if it is not whole."""
    archive = archiver.find("s")
    if archive is None:
        return {}
    store = MemoryStore()
    import_session(store, archive.export.read_text().splitlines())
    return {
        "session": Sessions(store).load("s").state["n"],
        "said": Transcript.read(archive.conversation).messages[0].text,
        "found": Profile.read(archive.profile).values["n"],
    }


def main(root: str) -> None:
    """Archive one version, then kill the archiving of the next one at each of its steps."""
    sessions = Sessions(MemoryStore())
    archiver = SessionArchiver(sessions, Path(root))
    number, step, done = 1, 1, False
    sessions.save("s", {"n": number, "messages": ["1"]})
    archiver.archive("s")
    while not done:
        number += 1
        sessions.save("s", {"n": number, "messages": [str(number)]})
        done = archive_until(archiver, step)
        seen = {"step": step, "number": number, "files": versions(archiver)}
        sys.stdout.write(json.dumps(seen) + "\n")
        if done:
            break
        archiver.archive("s")
        step += 1


main(sys.argv[1])
