"""``copy``: sessions from one store to another, whatever the two are."""

from __future__ import annotations

from typing import Annotated

import typer

from wren_sessions.cli._command import Run, command
from wren_sessions.cli._names import SomeSessionNames, address_of
from wren_sessions.cli._progress import progress_bar
from wren_sessions.cli._times import size
from wren_sessions.cli._where import Where, open_there
from wren_sessions.errors import ConfigurationError
from wren_sessions.transfer import copy_sessions
from wren_sessions.transfer._reports import CopyReport


@command(
    examples="""
    wren-sessions copy --to file:backup.db
    wren-sessions copy cli_20251108_145739 --url file:backup.db --to redis://localhost:6379/0
    """
)
def copy(
    run: Run,
    *,
    target_url: Annotated[
        str, typer.Option("--to", metavar="URL", help="The store to copy to; a file may be new.")
    ],
    sessions: SomeSessionNames = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Replace sessions of the target that are not the same."),
    ] = False,
    to_prefix: Annotated[
        str | None,
        typer.Option("--to-prefix", metavar="TEXT", help="What names in the target begin with."),
    ] = None,
) -> None:
    """Copy sessions to another store: those that are named, or all.

    Checkpoints, pending writes, age and pin go with them; the time that is left is counted anew by
    the target's lifetime (say it in its URL: ?ttl=24h). What was copied before is skipped, so an
    interrupted copy is simply run again. The source is only read.
    """
    where = Where(target_url, to_prefix, run.where.env_file)
    source, target = run.store, run.opened(open_there(where, may_make=True))
    if (source.location, source.keys) == (target.location, target.keys):
        raise ConfigurationError("source and target are the same store; fork copies one session")
    ids = [address_of(source, name).session for name in sessions] if sessions else None
    with progress_bar(run) as on_progress:
        report = copy_sessions(
            source, target, sessions=ids, replace=replace, on_progress=on_progress
        )
    _print(run, report, target.location)


def _print(run: Run, report: CopyReport, location: str) -> None:
    for one in report.copied:
        facts = {"checkpoints": one.checkpoints, "size_bytes": one.size_bytes}
        count = f"{one.checkpoints} checkpoint{'' if one.checkpoints == 1 else 's'}"
        run.done(one.session, "copied", f"copied, {count}, {size(one.size_bytes)}", **facts)
    others = [(id_, "skipped", "was there already, the same") for id_ in report.skipped]
    others += [(id_, "expired", "too old for the target: left out") for id_ in report.expired]
    for id_, result, words in others:
        run.done(id_, result, words)
    if not run.as_json:
        run.screen.note(
            f"{len(report.copied)} copied to {location}, {len(report.skipped)} there already, "
            f"{len(report.expired)} too old"
        )
