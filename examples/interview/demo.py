"""An interview that begins in one process and is completed in another.

    python examples/interview/demo.py                              interview.db in this folder
    python examples/interview/demo.py --url redis://localhost      the same on Redis

Exits with 1 if the second process does not ask what the first one asked last, if an answer is lost
or doubled, or if a file is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from files import paths
from run import command_names
from terminal import WIDTH, say

from wren_sessions import SessionStore, WrenSessionsError, open_store
from wren_sessions.ttl import describe_ms

HERE: Final = Path(__file__).parent
ANSWERS: Final = HERE / "answers.txt"
_SESSION = re.compile(r"^Session (\S+)$", re.MULTILINE)
_QUESTION = re.compile(r"^ ?(\d+/\d+  .+(?:\n {6}\S.*)*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Demo:
    """Where one demonstration keeps its things."""

    url: str
    folder: Path

    @property
    def profiles(self) -> Path:
        """Where the files of the finished interview go."""
        return self.folder / "user_profiles"

    def process(self, name: str, answers: Sequence[str], *options: str) -> str:
        """Run the interview in a process of its own, with these answers; what it printed."""
        command = [sys.executable, "-X", "utf8", str(HERE / "run.py"), "--url", self.url]
        command += ["--profiles", str(self.profiles), *options]
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder, "answers.txt")
            script.write_text("\n".join(answers), encoding="utf-8")
            done = subprocess.run(  # noqa: S603 -- our own script
                [*command, "--answers", str(script)],
                stdout=subprocess.PIPE,
                encoding="utf-8",
                check=False,
            )
        print(done.stdout.rstrip())
        if done.returncode:
            sys.exit(f"{name} ended with exit code {done.returncode}")
        return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; the exit code."""
    options = parse(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    file = quote(str(options.folder / "interview.db"))
    demo = Demo(options.url or f"file:{file}", options.folder)
    try:
        with open_store(demo.url) as store:
            return show(demo, store)
    except WrenSessionsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="One interview in two processes.")
    parser.add_argument(
        "--url", help="a store that outlives its process (default: interview.db in the folder)"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(), help="where files go (default: this folder)"
    )
    return parser.parse_args(arguments)


def show(demo: Demo, store: SessionStore) -> int:
    """Both halves, what is stored, and whether all is as it should be."""
    if not store.persistent:
        print(f"error: {store.location} ends with its process; try --url", file=sys.stderr)
        return 2
    say(
        "A session is one conversation, stored under one id. LangGraph calls it a thread. Here one "
        "process begins a session, and another one goes on with it."
    )
    answers = ANSWERS.read_text(encoding="utf-8").splitlines()
    heading("Process 1: a new interview, stopped after 4 answers")
    first = demo.process("process-1", answers[:4])
    session = _SESSION.findall(first)[0]
    heading("Process 2: the same session, the other 4 answers")
    second = demo.process("process-2", answers[4:], "--session", session)
    heading("What is kept")
    show_session(store, session)
    show_files(paths(demo.profiles, session))
    heading("Checks")
    code = verdict(resumed(first, second), complete(demo, session, answers))
    heading("What next")
    say_what_next(demo, session)
    return code


def say_what_next(demo: Demo, session: str) -> None:
    """Commands to copy that look at the session and begin another one; no password is in them."""
    python, wren_sessions = command_names()
    url = [] if "@" in demo.url else ["--url", demo.url]
    say(f"Look at this session{'' if url else ', with the same --url'}:")
    for verb in ("show", "conversation"):
        print(" ", shlex.join([wren_sessions, verb, session, *url]))
    say()
    say("Give the answers yourself, stop with Ctrl-C, and go on later:")
    print(" ", shlex.join([python, os.path.relpath(HERE / "run.py"), *url]))
    say()
    say("Put sessions on Redis, and look at them there: docs/tutorials/interview.md")
    say("Keep the sessions of your own graph: README.md")


def show_session(store: SessionStore, session: str) -> None:
    """Where the session is, how big it is, how long it lives and what its header says."""
    info = store.info(session)
    if info is None:
        sys.exit(f"session {session} is not in {store.location}")
    ttl_ms = info.life.ttl_ms
    size = "unknown" if info.size_bytes is None else f"{info.size_bytes:,} bytes"
    row("session", session)
    row("address", store.keys.address(session))
    row("kept in", store.location)
    row("size", size)
    row("expires", "never" if ttl_ms is None else f"in {describe_ms(ttl_ms)}")
    row("header", json.dumps(json.loads(info.state)))


def show_files(files: Sequence[Path]) -> None:
    """The files of the finished interview."""
    for path in files:
        size = f"{path.stat().st_size:,} bytes" if path.exists() else "missing"
        row("file", f"{path.name}, {size}, in {path.parent}")


def resumed(first: str, second: str) -> bool:
    """Whether the second process went on with the question that the first one asked last."""
    stopped_at, went_on_at = questions(first)[-1], questions(second)[0]
    row("stopped at", stopped_at)
    row("resumed at", went_on_at)
    return stopped_at == went_on_at


def questions(output: str) -> list[str]:
    """The questions in what a process printed, with their numbers."""
    return [" ".join(found.split()) for found in _QUESTION.findall(output)]


def complete(demo: Demo, session: str, answers: Sequence[str]) -> bool:
    """Whether both files are there, and each answer is in the log once and in order."""
    conversation, profile = paths(demo.profiles, session)
    if not (conversation.exists() and profile.exists()):
        return False
    messages = json.loads(conversation.read_text(encoding="utf-8"))["messages"]
    kept = [message["content"] for message in messages if message["role"] == "user"]
    row("answers", f"{len(answers)} given, {len(kept)} kept")
    return kept == list(answers)


def verdict(*checks: bool) -> int:
    """Say whether all is well; the exit code."""
    row("result", "ok: nothing lost, nothing asked twice" if all(checks) else "FAILED")
    return 0 if all(checks) else 1


def heading(text: str) -> None:
    """A line that parts the output."""
    say()
    print(f"--- {text} ".ljust(WIDTH, "-"), flush=True)
    say()


def row(name: str, text: str) -> None:
    """A name and a text beside it."""
    say(text, f"{name:<11} ", " " * 12)


if __name__ == "__main__":
    sys.exit(main())
