"""``verify`` and ``migrate``: what new code makes of the sessions that there are."""

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
        help="The new code: a graph, SessionSaver, Sessions, serializer, Migrations, or a function "
        "that makes one. It is imported.",
    ),
]
_Migrations = Annotated[
    str | None,
    typer.Option(
        "--migrations",
        metavar="MODULE:NAME",
        help="Migrations to try, instead of those that the app has.",
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
        typer.Option("--history", help="Read all checkpoints, instead of the latest ones."),
    ] = False,
    cursor: Annotated[
        str | None,
        typer.Option(
            "--cursor", metavar="TEXT", help="Go on where an interrupted run said that it was."
        ),
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option("--archive", metavar="FILE", help="Read the sessions in a file of `export`."),
    ] = None,
) -> None:
    """Find out whether new code would read the sessions that there are, before it is deployed.

    Each session is read as the app would read it, and what does not fit is grouped by its cause,
    with the line of Migrations that could be added: values that fail, fields that are kept aside,
    values that are migrated, nodes that are gone although sessions wait in them, and channels that
    the state does not have any more.

    Nothing is written. The exit code is 5 if something fails, 7 for warnings alone, else 0.
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
        bool, typer.Option("--write", help="Rewrite them; without it, it is only said which.")
    ] = False,
    unused_for: UnusedFor = "1m",
) -> None:
    """Rewrite sessions in the form that the app's Migrations give them: those named, or all.

    Not needed for a deploy, since values are migrated when they are read. It makes an end of old
    forms: afterwards most lines of Migrations can be taken out. The whole history is rewritten;
    age, lifetime and pin stay. Each session is replaced in one step, if nobody has written it
    meanwhile, so apps go on working, and an interrupted run is simply run again. The exit code is 6
    while sessions that are in use are left.
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
    if not run.as_json:
        run.screen.note(
            f"{len(report.migrated):,} {words}, {report.current:,} need nothing, "
            f"{len(report.busy):,} in use{'' if write else '; --write does it'}"
        )
