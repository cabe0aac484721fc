"""``verify`` and ``migrate``: can new code read the stored sessions, and rewriting them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from wren_sessions.cli import _exits
from wren_sessions.cli._command import Run, command
from wren_sessions.cli._names import SomeSessionNames, UnusedFor, address_of, duration_ms
from wren_sessions.cli._progress import progress_bar
from wren_sessions.cli._screen import Style
from wren_sessions.protocols import SessionStore
from wren_sessions.transfer._reports import OnProgress, Progress
from wren_sessions.upgrading import Cause, MigrateReport, Report, application
from wren_sessions.upgrading import migrate as migrate_sessions
from wren_sessions.upgrading import verify as verify_sessions
from wren_sessions.upgrading._report import Found, Outcome

_SIGNS: Final[dict[Outcome, tuple[str, Style]]] = {
    "fails": ("FAILS   ", "bad"),
    "warning": ("WARNING ", "warn"),
    "migrated": ("migrated", "good"),
}
_App = Annotated[
    str,
    typer.Option(
        "--app",
        metavar="MODULE:NAME",
        help="The new code: a graph, SessionSaver, Sessions, serializer, Migrations, or a "
        "function that returns one. It is imported.",
    ),
]
_Migrations = Annotated[
    str | None,
    typer.Option(
        "--migrations",
        metavar="MODULE:NAME",
        help="Migrations to try, instead of the app's own.",
    ),
]


@command(
    examples="""
    wren-sessions verify --app app:graph
    wren-sessions verify --app app:graph --url redis://HOST:6379/0 --sample 500
    wren-sessions verify --app app:graph --archive sessions.jsonl --json
    """
)
def verify(
    run: Run,
    *,
    app: _App,
    migrations: _Migrations = None,
    sample: Annotated[
        int | None,
        typer.Option("--sample", metavar="N", min=1, help="Read N sessions, chosen at random."),
    ] = None,
    history: Annotated[
        bool,
        typer.Option("--history", help="Read all checkpoints, not only the latest ones."),
    ] = False,
    cursor: Annotated[
        str | None,
        typer.Option(
            "--cursor",
            metavar="TEXT",
            help="Continue at the cursor that an interrupted run printed.",
        ),
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option("--archive", metavar="FILE", help="Read the sessions in a file from export."),
    ] = None,
) -> None:
    """Check whether new code can read the stored sessions, before you deploy it.

    It reads each session in the same way as the app. It groups the problems by cause, with the line
    of Migrations that would solve them: values that cannot be read, fields that are kept aside,
    values that are migrated, removed nodes in which sessions wait, and channels that the state no
    longer has.

    Nothing is written. The exit code is 5 if anything fails, 7 if there are only warnings, and 0
    otherwise.
    """
    target = application(app, migrations)
    with _store(run, archive) as store, progress_bar(run) as on_progress:
        told: list[str | None] = [cursor]

        def on_page(report: Report) -> None:
            told[0] = report.cursor
            _advance(on_progress, report.sessions)

        try:
            report = verify_sessions(
                store, target, sample=sample, history=history, cursor=cursor, on_page=on_page
            )
        except KeyboardInterrupt:
            if told[0] is not None:
                run.screen.note(f"Go on with --cursor {told[0]}")
            raise
    for cause, found in report.ordered():
        _print(run, cause, found)
    _summed(run, report)
    failed, warned = report.outcomes["fails"], report.outcomes["warning"]
    run.code = _exits.UNREADABLE if failed else _exits.WARNED if warned else _exits.OK


@contextmanager
def _store(run: Run, archive: Path | None) -> Iterator[SessionStore]:
    """The store that is meant, or one in memory with what is in a file."""
    if archive is None:
        yield run.store
        return
    from wren_sessions.archives import import_sessions
    from wren_sessions.stores.memory import MemoryStore

    store = MemoryStore()
    opening = gzip.open if archive.suffix == ".gz" else open
    with opening(archive, "rb") as lines:
        for _ in import_sessions(store, lines, renew=True):
            pass
    yield store


def _advance(on_progress: OnProgress | None, done: int) -> None:
    if on_progress is not None:
        on_progress(Progress("sessions", done, done))


def _print(run: Run, cause: Cause, found: Found) -> None:
    if run.as_json:
        run.screen.json(
            {
                "outcome": cause.outcome,
                "where": cause.where,
                "cause": cause.text,
                "line": cause.line or None,
                "sessions": found.sessions,
                "examples": found.examples,
            }
        )
        return
    sign, style = _SIGNS[cause.outcome]
    text = f"{found.sessions:,} × {cause.where}: {cause.text}"
    run.screen.paragraph(text, first=f"{sign}  ", style=style)
    if cause.line:
        run.screen.paragraph(cause.line, first="          → ")
    if cause.outcome != "migrated":
        run.screen.paragraph(f"such as {', '.join(found.examples)}", first="            ")


def _summed(run: Run, report: Report) -> None:
    if run.as_json:
        run.screen.json(report.to_json())
        return
    counts = report.outcomes
    run.screen.note(
        f"{report.sessions:,} sessions: {report.fine:,} would be read as they are, "
        f"{counts['migrated']:,} migrated, {counts['warning']:,} with warnings, "
        f"{counts['fails']:,} with something that fails"
    )


@command(
    examples="""
    wren-sessions migrate --app app:graph
    wren-sessions migrate --app app:graph --write
    """
)
def migrate(
    run: Run,
    *,
    app: _App,
    migrations: _Migrations = None,
    sessions: SomeSessionNames = None,
    write: Annotated[
        bool,
        typer.Option(
            "--write", help="Rewrite the sessions. Without this, it only prints which ones."
        ),
    ] = False,
    unused_for: UnusedFor = "1m",
) -> None:
    """Rewrite sessions with the app's Migrations applied: the named ones, or all.

    A deploy does not need this, because values are migrated when they are read. But afterwards no
    old forms are left, and you can remove most lines of Migrations. The whole history is rewritten.
    Age, lifetime and pin stay the same. Each session is replaced in one step, and only if nobody
    has written it meanwhile. So apps can keep running, and you can run an interrupted migration
    again. The exit code is 6 as long as sessions in use are left out.
    """
    target = application(app, migrations)
    ids = [address_of(run.store, name).session for name in sessions] if sessions else None
    with progress_bar(run) as on_progress:
        report = migrate_sessions(
            run.store,
            target,
            write=write,
            sessions=ids,
            unused_ms=0 if unused_for == "0" else duration_ms("--unused-for", unused_for),
            on_session=lambda report: _advance(
                on_progress, report.current + len(report.migrated) + len(report.busy)
            ),
        )
    _told(run, report, write=write)
    run.code = _exits.CONFLICT if report.busy else run.code


def _told(run: Run, report: MigrateReport, *, write: bool) -> None:
    result, words = ("migrated", "migrated") if write else ("would migrate", "would be migrated")
    for id_ in report.migrated:
        run.done(id_, result, words)
    for id_ in report.busy:
        run.done(id_, "busy", "in use: left for the next time")
    run.note(
        f"{len(report.migrated):,} {words}, {report.current:,} need nothing, "
        f"{len(report.busy):,} in use{'' if write else '; --write does it'}"
    )
