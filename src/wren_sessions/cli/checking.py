"""``check``: can the store be used, and is it set up as sessions need it?"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from wren_sessions._blocking import Unsuspended
from wren_sessions._blocking import run as run_now
from wren_sessions._walks import SessionWalk
from wren_sessions.cli import _exits
from wren_sessions.cli._command import Run, command
from wren_sessions.cli._exits import code_of
from wren_sessions.cli._findings import (
    Finding,
    Level,
    failed,
    of_file,
    of_latency,
    of_server,
    of_trouble,
    ok,
    warning,
)
from wren_sessions.cli._names import PAGE, complete
from wren_sessions.cli._screen import Style
from wren_sessions.cli._where import diagnosis_of, path_of
from wren_sessions.config import NOTHING, Settings, open_store
from wren_sessions.delta.protection import protection_of
from wren_sessions.errors import ConfigurationError, CorruptSessionError, WrenSessionsError
from wren_sessions.protocols import SessionStore
from wren_sessions.stores.protected.owner_keys import owner_keys_of
from wren_sessions.viewing.overview import header_of, missing_key, missing_keys

_SIGNS: Final[dict[Level, tuple[str, Style]]] = {
    "ok": ("ok     ", "good"),
    "warning": ("WARNING", "warn"),
    "failed": ("FAILED ", "bad"),
}
_NOBODY: Final = "wren-sessions-check-nobody"


@command(
    examples="""
    wren-sessions check
    wren-sessions check --url rediss://default:PASSWORD@HOST:PORT
    wren-sessions check --json
    wren-sessions check --all
    wren-sessions check --session cli_20251108_145739 --repair
    """
)
def check(
    run: Run,
    *,
    pings: Annotated[
        int,
        typer.Option(
            "--pings", metavar="N", min=1, help="How many round trips to measure the latency."
        ),
    ] = 10,
    sessions: Annotated[
        list[str] | None,
        typer.Option(
            "--session",
            metavar="ID",
            help="Verify this session instead: every record, range, pending write and header.",
            autocompletion=complete,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Verify every session.")] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Repair damaged sessions: the newest intact checkpoint becomes the latest. The "
            "original is saved to a file first.",
        ),
    ] = False,
    save: Annotated[
        Path,
        typer.Option("--save", metavar="FOLDER", help="The folder for the damaged originals."),
    ] = Path(),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what a repair would do.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Check whether the store works, and what to do if it does not; or verify sessions.

    It recognises a wrong host, a closed port, a firewall, a wrong password, missing permissions,
    TLS on one side only, a wrong database number, and a port where something else listens. For a
    server that answers, it shows the kind and version, latency, denied or missing commands,
    replicas and cluster nodes, eviction, memory, persistence and the clock. For a file, it shows
    permissions, size and free space. Then it shows how many sessions there are, and how long they
    live.

    Nothing is written. The exit code is that of the worst finding: 0 everything works, 7 there are
    warnings, 4 the store cannot be used, 5 it cannot be read, 2 the configuration is wrong.

    With --session or --all, it verifies sessions instead, and reports which checkpoints are intact
    and what is damaged. The exit code is 5 if anything is damaged. Only --repair writes, and it
    asks first.
    """
    if repair and not (sessions or every):
        raise ConfigurationError("say what to repair: --session ID, or --all")
    if sessions and every:
        raise ConfigurationError("name sessions, or --all of them (not both)")
    if sessions or every:
        from wren_sessions.cli.repairing import check_sessions

        names = sessions or []
        check_sessions(run, names, repairs=repair, dry_run=dry_run, yes=yes, save=save)
        return
    worst = _exits.OK
    for finding in _findings(run, pings):
        _print(run, finding)
        if finding.level == "failed" or worst == _exits.OK:
            worst = finding.code
    run.code = worst


def _print(run: Run, finding: Finding) -> None:
    if run.as_json:
        run.screen.json(finding.to_json())
        return
    sign, style = _SIGNS[finding.level]
    run.screen.paragraph(f"{finding.name}: {finding.text}", first=f"{sign}  ", style=style)
    if finding.advice:
        run.screen.paragraph(finding.advice, first="         → ")


def _findings(run: Run, pings: int) -> Iterator[Finding]:
    """What there is to say, up to the first thing that does not work."""
    try:
        store, source = _opened(run)
    except WrenSessionsError as error:
        yield failed("configuration", error.message, "", code_of(error))
        return
    yield ok("store", f"{store.location} (decided by: {source})")
    if not store.persistent:
        yield warning(
            "memory",
            "sessions are kept in the memory of each process, and are lost when it ends",
            "set WREN_SESSIONS_URL, REDIS_URL or REDIS_HOST to keep them",
        )
        return
    path = path_of(store)
    if path is not None and not path.exists():
        yield _of_new_file(path)
        return
    try:
        for finding in chain(_of_store(store, pings), _of_sessions(store)):
            yield finding
            if finding.level == "failed":
                return
    except WrenSessionsError as error:
        name = "data" if isinstance(error, CorruptSessionError) else "sessions"
        text = error.message.replace(f" (session {_NOBODY!r})", "")
        yield failed(name, text, "", code_of(error))


def _opened(run: Run) -> tuple[SessionStore, str]:
    """The store, and what decided on it; here nothing configured is no error."""
    url, prefix, env_file = run.where
    source = "--url"
    if url is None:
        source = Settings.from_env(dotenv=env_file or True).source
        if source == NOTHING:
            url, source = "memory://", "nothing is configured"
    store = open_store(url, prefix=prefix, dotenv=env_file or True)
    return run.opened(store), source


def _of_store(store: SessionStore, pings: int) -> Iterator[Finding]:
    diagnosis = diagnosis_of(store)
    if diagnosis is not None and diagnosis.trouble is not None:
        yield of_trouble(diagnosis.trouble, diagnosis.detail)
        return
    if diagnosis is None or diagnosis.kind != "file":
        times_ms = []
        for _ in range(pings):
            start = time.perf_counter()
            store.ping()
            times_ms.append((time.perf_counter() - start) * 1_000)
        yield of_latency(times_ms)
    if diagnosis is not None:
        yield from (of_file if diagnosis.kind == "file" else of_server)(diagnosis.facts)
        yield from _elsewhere(store, diagnosis.facts)


def _of_new_file(path: Path) -> Finding:
    """Whether the app can make a file that is not there."""
    if not path.parent.is_dir():
        return failed(
            "file",
            f"{path}: its folder is not there",
            "check the path (a relative one belongs to this folder): the app makes the file when "
            "it first writes, but no folder",
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return failed(
            "file",
            f"{path} does not exist, and this user cannot create it: the folder is not writable",
            "give this user write access to the folder, or choose another one",
        )
    return ok("file", f"{path} does not exist yet; the app creates it when it first writes")


def _elsewhere(store: SessionStore, facts: Any) -> Iterator[Finding]:
    """Whether the sessions are perhaps in another database of the server."""
    if not facts.get("elsewhere") or facts.get("keys"):
        return
    if not store.list_sessions(None, PAGE).sessions:
        yield warning(
            "database",
            f"database {facts['database']} is empty; others have keys: {facts['elsewhere']}",
            "if sessions are missing, check the number at the end of the URL, or REDIS_DB",
        )


def _of_sessions(store: SessionStore) -> Iterator[Finding]:
    """How many there are; asking also shows whether this user may do what reading takes."""
    store.info(_NOBODY)
    walk, count = SessionWalk(Unsuspended(store), PAGE), 0
    missing: list[str] = []
    while (page := run_now(walk.next_page())) is not None:
        count += len(page)
        missing += filter(None, (missing_key(store, header_of(info)) for info in page))
    yield ok("sessions", f"{count:,} under the prefix {store.keys.prefix}")
    if walk.foreign:
        yield warning(
            "foreign keys",
            f"under the prefix are also {walk.foreign:,} that are not sessions of this package",
            "wait until they expire, if they have a TTL, or use another prefix",
        )
    yield ok("lifetime", str(store.ttl))
    encryption = protection_of(store).encryption
    if encryption is not None:
        yield ok("encryption", f"on, new data with the key {encryption.newest!r}")
        yield ok("owners", "hidden" if encryption.hides_owners else "shown")
    if missing:
        yield warning("encryption", *missing_keys(missing))
    keys = owner_keys_of(store)
    if keys is not None:
        run_now(keys.store.ping())
        yield ok("owner keys", "on: each owner's sessions have a key of their own")
