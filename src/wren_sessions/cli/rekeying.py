"""``rekey``: rewrite encrypted sessions under the newest key."""

from __future__ import annotations

from typing import Annotated

import typer

from wren_sessions.cli._command import Run, command, in_options
from wren_sessions.cli._exits import CONFLICT, OK, UNREADABLE
from wren_sessions.cli._names import SomeSessionNames, UnusedFor, address_of, duration_ms
from wren_sessions.cli._progress import progress_bar
from wren_sessions.delta.protection import protection_of
from wren_sessions.transfer.rekey import RekeyReport
from wren_sessions.transfer.rekey import rekey as rekey_sessions


@command(
    examples="""
    wren-sessions rekey
    wren-sessions rekey cli_20251108_145739 --unused-for 10m
    wren-sessions rekey --migrate
    """
)
def rekey(
    run: Run,
    *,
    sessions: SomeSessionNames = None,
    unused_for: UnusedFor = "1m",
    migrate: Annotated[
        bool,
        typer.Option("--migrate", help="Also encrypt sessions that are not encrypted yet."),
    ] = False,
) -> None:
    """Encrypt sessions again with the newest key: the named ones, or all.

    WREN_SESSIONS_ENCRYPTION_KEYS has the keys, the newest first. Put a new key before the others in
    every app. Then run rekey until it leaves out nothing, and remove the old key. Age, lifetime,
    pin and history stay the same. The exit code is 6 as long as sessions in use are left out, and 5
    if sessions cannot be read, such as those of an owner whose key was destroyed. The others are
    rewritten all the same.
    """
    encryption = protection_of(run.store).encryption
    if encryption is not None and migrate:
        encryption.migrate = True
    ids = [address_of(run.store, name).session for name in sessions] if sessions else None
    unused = None if unused_for == "0" else duration_ms("--unused-for", unused_for) / 1_000
    with progress_bar(run) as on_progress:
        report = rekey_sessions(run.store, sessions=ids, unused_for=unused, on_progress=on_progress)
    _print(run, report)
    run.code = UNREADABLE if report.unreadable else CONFLICT if report.busy else OK


def _print(run: Run, report: RekeyReport) -> None:
    results = [(id_, "rewritten", "rewritten") for id_ in report.rewritten]
    results += [(id_, "current", "uses the newest key already") for id_ in report.current]
    results += [(id_, "busy", "in use: left for the next time") for id_ in report.busy]
    for id_, result, words in results:
        run.done(id_, result, words)
    for id_, told in report.unreadable.items():
        why = in_options(told)
        run.done(id_, "unreadable", f"cannot be read, and stays as it is: {why}", why=why)
    run.note(
        f"{len(report.rewritten)} rewritten, {len(report.current)} with the newest key already, "
        f"{len(report.busy)} in use"
        + (f", {len(report.unreadable)} cannot be read" if report.unreadable else "")
        + (f"; {report.owner_keys} keys of owners" if report.owner_keys else "")
    )
