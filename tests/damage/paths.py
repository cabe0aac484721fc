"""Every way to read what is stored, and to go on from it.

A path takes a store, and gives what must be the same whether the store was damaged or not: values,
never times or sizes. What a path leaves out and says so, such as a listing that counts what is no
session, is `ToldError`.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, Final, TypeAlias
from unittest import mock

from damage.forms import EVER, GRAPH, KEY, OTHER, ExportForm, Form
from golden import content
from wren_sessions import (
    MemoryStore,
    SessionArchiver,
    Sessions,
    SessionSaver,
    Transcript,
    copy_sessions,
)
from wren_sessions.archives import export_session, import_session, import_sessions
from wren_sessions.cli import main
from wren_sessions.config.environment import WREN_ENCRYPTION_KEYS
from wren_sessions.errors import WrenSessionsError
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Span, Start
from wren_sessions.transcripts import Profile

Path_: TypeAlias = Callable[[SessionStore], Any]

NOT_FOUND: Final = 3
_TIMES: Final = frozenset(
    {
        *("created", "updated", "expires", "ttl_seconds", "size_bytes", "age", "idle", "deadline"),
        *("exported_at", "created_ms", "updated_ms", "deadline_ms", "pinned", "incarnation"),
        *(
            "created_at",
            "updated_at",
            "parts",
            "revision",
            "now",
            "asked",
            "by_age",
            "by_hour",
            "by_day",
            "by_size",
            "order",
        ),
    }
)
"""What is not compared: when, how old, how large."""


class ToldError(WrenSessionsError):
    """Something was left out, and it was said."""


class MissError(WrenSessionsError):
    """Nothing is there, where something was."""


def id_of(step: int) -> str:
    """A checkpoint's id."""
    return content.checkpoint(step, {})["id"]


def _latest(store: SessionStore, session: str = GRAPH) -> Any:
    config = content.config()
    config["configurable"]["thread_id"] = session
    found = SessionSaver(store).get_tuple(config)
    if found is None:
        raise MissError(f"no session {session!r}")
    return [found.checkpoint["channel_values"], found.metadata, found.pending_writes]


def _get(store: SessionStore, namespace: str = "", checkpoint_id: str | None = None) -> Any:
    found = SessionSaver(store).get_tuple(content.config(namespace, checkpoint_id))
    if found is None:
        raise MissError(f"no checkpoint {checkpoint_id!r} of {namespace!r}")
    return [found.checkpoint, found.metadata, found.pending_writes, found.parent_config]


def _list(store: SessionStore) -> Any:
    found = list(SessionSaver(store).list(content.config()))
    if not found:
        raise MissError("no checkpoints")
    return [[t.checkpoint, t.metadata, t.pending_writes, t.parent_config] for t in found]


def _list_all(store: SessionStore) -> Any:
    _sessions(store)
    found = [
        [t.config["configurable"], t.checkpoint["channel_values"], t.pending_writes]
        for t in SessionSaver(store).list(None)
    ]
    return sorted(found, key=repr)


def _sessions(store: SessionStore) -> Any:
    page = store.list_sessions(None, 100)
    if page.foreign:
        raise ToldError(f"{page.foreign} are no sessions")
    return sorted((info.session, info.state) for info in page.sessions)


def _export(store: SessionStore) -> Any:
    lines = [json.loads(line) for line in export_session(store, GRAPH)]
    return [_timeless(line) for line in lines[:-1]]


def _read(store: SessionStore, spans: Sequence[Span]) -> None:
    if spans and store.read(GRAPH, spans) is None:
        raise ToldError("a part of the arena is not there")


def _scan_and_read(store: SessionStore) -> Any:
    found = store.scan(GRAPH, [Start(""), Start(content.CHILD)], 100).records
    for stored in found:
        _read(store, stored.spans)
    return [stored.name for stored in found]


def _elsewhere(store: SessionStore) -> Any:
    _sessions(store)
    target = MemoryStore(ttl=EVER)
    copy_sessions(store, target)
    return [_latest(target), _list(target), Sessions(target).load(OTHER).state]


def _archived(store: SessionStore) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        archive = SessionArchiver(store, folder).archive(GRAPH)
        there = MemoryStore(ttl=EVER)
        Sessions(there).restore(archive)
        texts = [
            _timeless(json.loads(p.read_text())) for p in (archive.conversation, archive.profile)
        ]
    return [texts, _list(there)]


def _fork(store: SessionStore, at: str | None = None) -> Any:
    Sessions(store).fork(GRAPH, "fork", at=at)
    return _latest(store, "fork")


def _copy(store: SessionStore) -> Any:
    if store.copy(GRAPH, "copied", replace=True) is None:
        raise MissError("nothing to copy")
    return _latest(store, "copied")


def _touch(store: SessionStore) -> Any:
    if None in [store.touch(session) for session in (GRAPH, OTHER)]:
        raise MissError("nothing to touch")
    return [_latest(store), Sessions(store).load(OTHER).state]


def _put(store: SessionStore) -> Any:
    SessionSaver(store).put(
        content.config("", id_of(4)),
        content.checkpoint(9, {"messages": content.messages(7)}),
        {"source": "loop", "step": 9, "parents": {}},
        {"messages": f"{10:032}.golden00"},
    )
    return _latest(store)


def _put_warm(store: SessionStore) -> Any:
    """A put of a process that has read the session."""
    saver = SessionSaver(store)
    if saver.get_tuple(content.config()) is None:
        raise MissError("nothing to go on from")
    saver.put(
        content.config("", id_of(4)),
        content.checkpoint(9, {"messages": content.messages(9)}),
        {"source": "loop", "step": 9, "parents": {}},
        {"messages": f"{10:032}.golden00"},
    )
    return _latest(store)


def _put_writes(store: SessionStore) -> Any:
    config = content.config("", id_of(4))
    SessionSaver(store).put_writes(config, [("note", "a")], "task-z", "~z")
    return _latest(store)


def _save(store: SessionStore) -> Any:
    return Sessions(store).save(OTHER, {"a": 3, "more": ["y" * 2_000]}).state


def _prune(store: SessionStore) -> Any:
    SessionSaver(store).prune([GRAPH], strategy="keep_latest")
    return _latest(store)


def _transcript(store: SessionStore) -> Any:
    return _timeless(json.loads(Sessions(store).transcript(GRAPH).to_json()))


PATHS: Final[dict[str, Path_]] = {
    "get_tuple": _get,
    "get_tuple of an id": lambda store: _get(store, "", id_of(2)),
    "get_tuple of a subgraph": lambda store: _get(store, content.CHILD),
    "list": _list,
    "list of all": _list_all,
    "load": lambda store: Sessions(store).load(OTHER).state,
    "transcript": _transcript,
    "sessions": _sessions,
    "info": lambda store: [bool(store.info(session)) for session in (GRAPH, OTHER)],
    "heads": lambda store: sorted(store.heads(GRAPH)),
    "scan and read": _scan_and_read,
    "read": lambda store: _read(store, [Span(0, 300)]),
    "export": _export,
    "copy elsewhere": _elsewhere,
    "archive": _archived,
    "touch": _touch,
    "fork": _fork,
    "fork at": lambda store: _fork(store, id_of(2)),
    "copy": _copy,
    "put": _put,
    "put after a read": _put_warm,
    "put_writes": _put_writes,
    "save": _save,
    "prune": _prune,
    "delete": lambda store: [store.delete(session) for session in (GRAPH, OTHER)],
}

COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    " ".join(argv[:1] + argv[2:] if GRAPH in argv else argv): argv
    for argv in (
        ("list", "--details"),
        ("list", "--json"),
        ("show", GRAPH),
        ("show", GRAPH, "--json"),
        ("show", OTHER, "--json"),
        ("history", GRAPH),
        ("history", GRAPH, "--json"),
        ("diff", GRAPH, id_of(2), id_of(3)),
        ("conversation", GRAPH),
        ("conversation", GRAPH, "--json"),
        ("stats",),
        ("stats", "--json"),
        ("ttl", OTHER),
        ("ttl", OTHER, "--set", "2h"),
        ("touch", GRAPH),
        ("fork", GRAPH, "new"),
        ("prune", GRAPH, "--keep-last", "1"),
        ("delete", "--older-than", "1d", "--dry-run"),
        ("delete", GRAPH, "--yes"),
        ("export", GRAPH),
        ("export", GRAPH, "--format", "html"),
        ("copy", "--to", "file:{folder}/copied.db"),
        ("check",),
        ("check", "--all"),
        ("check", "--session", GRAPH),
        ("check", "--session", GRAPH, "--repair", "--yes", "--save", "{folder}"),
    )
}


def run_command(form: Form, argv: Iterable[str]) -> Any:
    """Run a command in this process; its values if it prints JSON, else how it ended."""
    with tempfile.TemporaryDirectory() as folder:
        words = [word.format(folder=folder) if "{folder}" in word else word for word in argv]
        out = io.StringIO()
        environ = {WREN_ENCRYPTION_KEYS: KEY} if form.sealed else {}
        with (
            redirect_stdout(out),
            redirect_stderr(io.StringIO()),
            mock.patch.dict(os.environ, environ),
        ):
            code = main([*words, "--url", form.url or ""])
    if code == NOT_FOUND and words[0] != "check":
        raise MissError(f"exit code {code}")
    if code != 0 and words[0] != "check":
        raise ToldError(f"exit code {code}")
    if "--json" not in words:
        return None
    found = [_timeless(json.loads(line)) for line in out.getvalue().splitlines()]
    _left_out(words[0], found, form)
    return sorted(found, key=repr) if words[0] == "list" else found


def _left_out(command: str, found: list[Any], form: Form) -> None:
    """What `list` and `stats` could not read, they say: in its row, in a count, or on stderr."""
    if command == "list" and any(row["status"] == "unreadable" for row in found):
        raise ToldError("a session is unreadable")
    if command == "stats" and any("unreadable" in row["by_status"] for row in found):
        raise ToldError("a session is unreadable")
    if command in {"list", "stats"}:
        with form.store() as store:
            _sessions(store)


def imports(form: ExportForm) -> dict[str, Path_]:
    """Every way to read an export or an archive."""
    export, conversation, profile = form.files

    def through(bring: Callable[[SessionStore], Any]) -> Path_:
        def path(store: SessionStore) -> Any:
            bring(store)
            return [_latest(store), _list(store)]

        return path

    def lines() -> Iterator[bytes]:
        return iter(export.read_bytes().splitlines(keepends=True))

    return {
        "import_session": through(lambda store: import_session(store, lines())),
        "import_session as": lambda store: _as(store, lines()),
        "import_sessions": through(lambda store: list(import_sessions(store, lines()))),
        "restore": through(lambda store: Sessions(store).restore(form.archive)),
        "find": lambda store: SessionArchiver(store, form.folder).find(GRAPH) is not None,
        "archive again": lambda store: SessionArchiver(store, form.folder).archive_completed(),
        "conversation.json": lambda _: _timeless(
            json.loads(Transcript.read(conversation).to_json())
        ),
        "conversation as text": lambda _: Transcript.read(conversation).to_markdown() and None,
        "conversation as a page": lambda _: Transcript.read(conversation).to_html() and None,
        "profile.json": lambda _: _timeless(json.loads(Profile.read(profile).to_json())),
        "command log": lambda _: _main("log", str(conversation)),
        "command log --json": lambda _: _main("log", str(conversation), "--json"),
        "command import": lambda _: _main("import", str(export), "--url", "file:{folder}/new.db"),
    }


def _as(store: SessionStore, lines: Iterator[bytes]) -> Any:
    import_session(store, lines, session="as")
    return _latest(store, "as")


def _main(*argv: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        words = [word.format(folder=folder) if "{folder}" in word else word for word in argv]
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            code = main(words)
    if code != 0:
        raise ToldError(f"exit code {code}")


def _timeless(found: Any) -> Any:
    """JSON without what is not compared."""
    if isinstance(found, dict):
        return {key: _timeless(value) for key, value in found.items() if key not in _TIMES}
    return [_timeless(value) for value in found] if isinstance(found, list) else found


def paths_of(form: Form) -> dict[str, Callable[[], Any]]:
    """Every path of a form, ready to be called on what it is now."""

    def on_store(path: Path_) -> Callable[[], Any]:
        def call() -> Any:
            with form.store() as store:
                return path(store)

        return call

    def command(argv: tuple[str, ...]) -> Callable[[], Any]:
        return lambda: run_command(form, argv)

    if isinstance(form, ExportForm):
        return {name: on_store(path) for name, path in imports(form).items()}
    found = {name: on_store(path) for name, path in PATHS.items()}
    if form.url is not None:
        found |= {f"command {name}": command(argv) for name, argv in COMMANDS.items()}
    return found
