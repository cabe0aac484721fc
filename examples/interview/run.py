"""An interview about reading, kept in a session: stop it anywhere, go on later.

    python examples/interview/run.py                  a new interview
    python examples/interview/run.py --session ID     go on with one
    python examples/interview/run.py --answers FILE   answers from a file, one a line

Exit codes: 0 complete or stopped, 1 no such session, 2 an error, 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from io import TextIOWrapper
from itertools import chain, count
from pathlib import Path
from typing import Final

from conversation import Conversation, not_found
from files import paths, write_files
from graph import TURNS, build_graph
from terminal import Answers, answers_from, ask_person, say, show_analysis, show_question

from wren_sessions import (
    SessionExistsError,
    SessionNotFoundError,
    Sessions,
    SessionSaver,
    SessionStore,
    Settings,
    WrenSessionsError,
    open_store,
)
from wren_sessions.ttl import describe_ms

NOT_FOUND: Final = 1
FAILED: Final = 2
INTERRUPTED: Final = 130
DEFAULT_URL: Final = "file:interview.db"
PROFILES: Final = "user_profiles"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    options = parse(arguments)
    use_any_text()
    try:
        answers = answers_from(options.answers) if options.answers else ask_person
        with open_backend(options.url) as store:
            return interview(store, options, answers)
    except SessionNotFoundError as error:
        print(error, file=sys.stderr)
        return NOT_FOUND
    except (WrenSessionsError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="An interview that can be stopped and resumed.")
    parser.add_argument("--session", metavar="ID", help="go on with this session")
    parser.add_argument("--answers", metavar="FILE", type=Path, help="read answers, one a line")
    parser.add_argument("--url", help="where sessions are kept: file:…, redis://…, memory://")
    parser.add_argument(
        "--profiles", metavar="DIR", type=Path, default=Path(PROFILES),
        help="where the files of finished interviews go (default: %(default)s)",
    )  # fmt: skip
    return parser.parse_args(arguments)


def interview(store: SessionStore, options: argparse.Namespace, answers: Answers) -> int:
    """Take up a session, or begin one, and talk until it is complete or the answers end."""
    session = options.session
    if session is None:
        session = new_session(store)
    elif store.info(session) is None:
        raise not_found(session)
    talk = Conversation(build_graph(SessionSaver(store)), session)
    introduce(store, session)
    try:
        complete = converse(talk, answers, resumed=options.session is not None)
    except KeyboardInterrupt:
        say()
        say_how_to_resume(store, session, options)
        return INTERRUPTED
    if complete:
        finish(talk, options.profiles)
    else:
        say_how_to_resume(store, session, options)
    return 0


def open_backend(url: str | None) -> SessionStore:
    """The store of `url`, else of the environment, else a file in the working directory."""
    if url:
        return open_store(url)
    settings = Settings.from_env()
    if settings.source == "nothing":
        settings = replace(settings, url=DEFAULT_URL, source="the example's default")
    return settings.open()


def new_session(store: SessionStore, now: Callable[[], datetime] = datetime.now) -> str:
    """Take an id that nobody has: ``cli_YYYYMMDD_HHMMSS`` in local time, then with ``_2``, ``_3``.

    The store decides, in one atomic step, so two processes never get the same one. Where ids must
    not be guessed, leave them to `Sessions.create`.
    """
    sessions = Sessions(store)
    first = f"{now():cli_%Y%m%d_%H%M%S}"
    for id_ in chain([first], (f"{first}_{number}" for number in count(2))):
        with suppress(SessionExistsError):
            return sessions.create(id_).id
    raise AssertionError  # there is always a higher number


def converse(talk: Conversation, answers: Answers, *, resumed: bool) -> bool:
    """Ask and listen; True when the interview is complete, False when the answers end first."""
    waiting = talk.waiting()
    if resumed and waiting:
        say(f"Resumed: {waiting['number'] - 1} of {TURNS} questions are answered.")
    elif resumed:
        say("This interview is complete.")
    while waiting:
        show_question(waiting)
        answer = answers()
        if answer is None:
            return False
        waiting = talk.answer(answer)
    return True


def introduce(store: SessionStore, session: str) -> None:
    """Say which session this is, where it is kept and for how long."""
    info = store.info(session)
    ttl_ms = info.life.ttl_ms if info else None
    expiry = "it does not expire" if ttl_ms is None else f"it expires in {describe_ms(ttl_ms)}"
    say(f"Session {session}")
    say(f"Kept in {store.location}; {expiry}.")


def finish(talk: Conversation, profiles: Path) -> None:
    """Write the files, then say goodbye and show what was found out."""
    state = talk.state
    missing = [path for path in paths(profiles, talk.session) if not path.exists()]
    write_files(profiles, talk.session, state)
    say()
    say(str(state["messages"][-1].text))
    show_analysis(state["current_analysis"])
    say()
    for path in paths(profiles, talk.session):
        print("Wrote" if path in missing else "Found", path)


def say_how_to_resume(store: SessionStore, session: str, options: argparse.Namespace) -> None:
    """The command that goes on from here."""
    say()
    if not store.persistent:
        say(f"Stopped. Sessions in {store.location} end with this process; --url keeps them.")
        return
    secret = "@" in (options.url or "")
    say(f"Stopped; nothing is lost. To go on{', with the same --url' if secret else ''}:")
    print(resume_command(session, options))


def resume_command(session: str, options: argparse.Namespace) -> str:
    """A command for the shell, an option a line, without a URL that may hold a password."""
    python, _ = command_names()
    parts = [[python, os.path.relpath(__file__)], ["--session", session]]
    if options.url and "@" not in options.url:
        parts.append(["--url", options.url])
    if options.profiles != Path(PROFILES):
        parts.append(["--profiles", str(options.profiles)])
    lines = [shlex.join(part) for part in parts]
    return "  " + (" \\\n    " if len(lines) > 2 else " ").join(lines)


def command_names() -> tuple[str, str]:
    """What to type for this Python, and for the command ``wren-sessions`` beside it.

    Their paths, unless the shell finds them by name; nox changes what is found, for its own time.
    """
    python = Path(sys.executable)
    in_shell = "NOX_CURRENT_SESSION" not in os.environ
    if in_shell and shutil.which("python") == str(python):
        return "python", "wren-sessions"
    names = str(python), str(python.with_name("wren-sessions"))
    return names if in_shell else (os.path.relpath(names[0]), os.path.relpath(names[1]))


def use_any_text() -> None:
    """Let no character that a terminal or file cannot encode end the interview."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
