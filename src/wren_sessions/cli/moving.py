"""``copy``: sessions from one store to another, whatever the two are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from wren_sessions.cli import _exits
from wren_sessions.cli._command import Run, command
from wren_sessions.cli._names import OwnersSessions, SomeSessionNames, chosen
from wren_sessions.cli._progress import progress_bar
from wren_sessions.cli._where import Where, open_there
from wren_sessions.errors import (
    ConfigurationError,
    ConflictError,
    SessionError,
    SessionExistsError,
    SessionNotFoundError,
)
from wren_sessions.transfer import copy_sessions
from wren_sessions.transfer._reports import CopyReport
from wren_sessions.viewing.times import size


@command(
    examples="""
    wren-sessions copy --to file:backup.db
    wren-sessions copy cli_20251108_145739 --url file:backup.db --to redis://localhost:6379/0
    wren-sessions copy --owner ann --to file:ann.db
    """
)
def copy(
    run: Run,
    *,
    target_url: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="URL",
            help="The store to copy to. A file is created if it does not exist.",
        ),
    ],
    sessions: SomeSessionNames = None,
    owner: OwnersSessions = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Replace different sessions in the target."),
    ] = False,
    to_prefix: Annotated[
        str | None,
        typer.Option(
            "--to-prefix", metavar="TEXT", help="What session names in the target begin with."
        ),
    ] = None,
) -> None:
    """Copy sessions to another store: the named ones, those of an owner, or all.

    Checkpoints, pending writes, age, pin, idle timeout, owner, title and tags are copied. The
    remaining time starts again, by the target's lifetime (set it in its URL: ?ttl=24h). The
    time of the copy counts as the last write, in list and for --older-than. Sessions that are the
    same in the target already are skipped, so you can run an interrupted copy again.
    If the target has a different session with the same id, that session is not replaced, unless you
    pass --replace. The others are copied, and the exit code is 6. The source is only read.
    """
    where = Where(target_url, to_prefix, run.where.env_file)
    source, target = run.store, run.opened(open_there(where, may_make=True))
    if (source.location, source.keys) == (target.location, target.keys):
        raise ConfigurationError("source and target are the same store; fork copies one session")
    ids = chosen(source, sessions, owner, every=not sessions and owner is None)
    conflicts: list[SessionError] = []
    report = CopyReport(copied=())
    with progress_bar(run) as on_progress:
        for id_ in ids:
            try:
                one = copy_sessions(
                    source, target, sessions=[id_], replace=replace, on_progress=on_progress
                )
            except (SessionExistsError, ConflictError) as error:
                conflicts.append(error)
            except SessionNotFoundError:
                if sessions:
                    raise
            else:
                report = CopyReport(
                    copied=report.copied + one.copied,
                    skipped=report.skipped + one.skipped,
                    expired=report.expired + one.expired,
                )
    _print(run, report, conflicts, target.location)


def _print(run: Run, report: CopyReport, conflicts: Sequence[SessionError], location: str) -> None:
    for one in report.copied:
        facts = {"checkpoints": one.checkpoints, "size_bytes": one.size_bytes}
        count = f"{one.checkpoints} checkpoint{'' if one.checkpoints == 1 else 's'}"
        run.done(one.session, "copied", f"copied, {count}, {size(one.size_bytes)}", **facts)
    others = [(id_, "skipped", "exists already, unchanged") for id_ in report.skipped]
    others += [(id_, "expired", "too old for the target: left out") for id_ in report.expired]
    for error in conflicts:
        why = ("busy", "not copied: others kept writing it")
        if isinstance(error, SessionExistsError):
            why = ("exists", "not copied: the target has a different one; --replace replaces it")
        others.append((error.session, *why))
        run.code = _exits.CONFLICT
    for id_, result, words in others:
        run.done(id_, result, words)
    run.note(
        f"{len(report.copied)} copied to {location}, {len(report.skipped)} there already, "
        f"{len(report.expired)} too old, {len(conflicts)} not copied"
    )
