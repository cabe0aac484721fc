"""``check --session`` and ``check --all``: verify sessions, and repair damaged ones."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from wren_sessions._blocking import Unsuspended
from wren_sessions._blocking import run as run_engine
from wren_sessions._walks import SessionWalk
from wren_sessions.archives._files import write_files
from wren_sessions.archives._paths import folder_name
from wren_sessions.cli import _exits
from wren_sessions.cli._command import Run, in_options
from wren_sessions.cli._exits import code_of
from wren_sessions.cli._names import PAGE, address_of
from wren_sessions.cli._progress import progress_bar
from wren_sessions.delta.protection import unprotected
from wren_sessions.errors import (
    ConfigurationError,
    SessionError,
    SessionNotFoundError,
    WrenSessionsError,
)
from wren_sessions.transfer._reports import Progress
from wren_sessions.transfer.checking import Damaged, SessionCheck, check_session
from wren_sessions.transfer.repairing import repair_session

_UNVERIFIED: Final = (
    "it was written by an early version, which did not count its parts: a lost checkpoint or "
    "pending write would not be noticed"
)
_ADVICE: Final = "add --repair to keep what is intact; the original is saved to a file first"
_LOST: Final = "nothing can be kept: delete it, and restore it from a copy if there is one"
_SHOWN: Final = 20  # damaged parts that are named


def check_sessions(
    run: Run, names: list[str], *, repairs: bool, dry_run: bool, yes: bool, save: Path
) -> None:
    """Verify sessions, those that are named or all, and repair them if that is asked for."""
    for check in _checks(run, names):
        _tell(run, check)
        if not (repairs or check.ok or run.as_json):
            run.screen.paragraph(_ADVICE if check.latest else _LOST, first="         → ")
        code = _exits.OK if check.ok else _exits.UNREADABLE
        if repairs and not check.ok:
            code = _repaired(run, check, dry_run=dry_run, yes=yes, save=save)
        run.code = run.code or code


def _checks(run: Run, names: list[str]) -> Iterator[SessionCheck]:
    if names:
        for name in names:
            yield check_session(run.store, address_of(run.store, name).session)
        return
    walk = SessionWalk(Unsuspended(run.store), PAGE)
    ids: list[str] = []
    while (page := run_engine(walk.next_page())) is not None:
        ids += [info.session for info in page]
    with progress_bar(run) as on_progress:
        for done, id_ in enumerate(ids, 1):
            try:
                yield check_session(run.store, id_)
            except SessionNotFoundError:
                continue  # it ended since it was listed
            except SessionError as error:  # the others are looked at all the same
                _tell_error(run, error)
            finally:
                if on_progress is not None:
                    on_progress(Progress("sessions", done, len(ids)))
    if walk.foreign:
        run.code = run.code or _exits.UNREADABLE
        _note_foreign(run, walk.foreign)


def _note_foreign(run: Run, count: int) -> None:
    if run.as_json:
        run.screen.json({"foreign": count})
    else:
        run.screen.paragraph(
            f"{count:,} of what is there was left out: no session, or its own line is damaged",
            first="WARNING  ",
            style="warn",
        )


def _tell_error(run: Run, error: SessionError) -> None:
    """A session that could not be looked at: written all the time, or by a newer version."""
    run.code = run.code or code_of(error)
    if run.as_json:
        run.screen.json({"id": error.session, "ok": False, "error": error.message})
    else:
        run.screen.paragraph(f"{error.session}: {error.message}", first="FAILED   ", style="bad")


def _tell(run: Run, check: SessionCheck) -> None:
    if run.as_json:
        run.screen.json(_facts(check))
        return
    count = len(check.whole)
    if check.ok:
        many = "checkpoint" if count == 1 else "checkpoints"
        text = f"{check.session}: {count:,} {many}, all intact"
        run.screen.paragraph(text, first="ok       ", style="good")
        if not check.counted:
            run.screen.paragraph(_UNVERIFIED, first="         - unverified: ")
        return
    latest = f"the newest is {check.latest}" if check.latest else "none of its main namespace"
    text = f"{check.session}: {count:,} intact checkpoints can be read ({latest})"
    run.screen.paragraph(text, first="DAMAGED  ", style="bad")
    for part in check.damaged[:_SHOWN]:
        run.screen.paragraph(f"{_place(part)}: {in_options(part.why)}", first="         - ")
    if len(check.damaged) > _SHOWN:
        run.screen.paragraph(f"and {len(check.damaged) - _SHOWN:,} more", first="         - ")


def _place(part: Damaged) -> str:
    if part.namespace is None:
        return "the session"
    where = f" of namespace {part.namespace}" if part.namespace else ""
    whose = f"checkpoint {part.checkpoint_id}" if part.checkpoint_id else "checkpoints"
    return f"{f'pending write {part.write} of ' if part.write else ''}{whose}{where}"


def _facts(check: SessionCheck) -> dict[str, Any]:
    return {
        "id": check.session,
        "ok": check.ok,
        "whole": [{"namespace": name[0], "id": name[1]} for name in check.whole],
        "latest": check.latest,
        "damaged": [asdict(part) for part in check.damaged],
        "unverified": not check.counted,
    }


# --- repairing ------------------------------------------------------------------------------------


def _repaired(run: Run, check: SessionCheck, *, dry_run: bool, yes: bool, save: Path) -> int:
    """Repair a session, and say what was done; the exit code."""
    id_ = check.session
    if check.info is None or check.latest is None:
        run.done(id_, "lost", "cannot be repaired: no part of its main namespace is intact")
        return _exits.UNREADABLE
    if check.too_large:
        words = "is not repaired: a part of it is too large to be verified, and may be intact"
        run.done(id_, "too large", words)
        return _exits.UNREADABLE
    left_out = [_place(part) for part in check.damaged if part.namespace is not None]
    if dry_run:
        words = f"would continue from {check.latest}, without: {', '.join(left_out) or 'nothing'}"
        run.done(id_, "would be repaired", words, latest=check.latest, lost=left_out)
        return _exits.UNREADABLE
    if not yes and not _agreed(run, id_):
        run.screen.note(f"{id_} was left as it is.")
        return _exits.UNREADABLE
    try:
        path = _saved(run, id_, save)
        count = repair_session(run.store, check)
    except WrenSessionsError as error:
        run.screen.error(error.message)
        return code_of(error)
    words = f"repaired: {count:,} checkpoints, the latest is {check.latest}; original in {path}"
    run.done(id_, "repaired", words, latest=check.latest, lost=left_out, original=str(path))
    return _exits.OK


def _agreed(run: Run, session: str) -> bool:
    return run.agreed(
        f"Repair {session}? Damaged parts are left out. The original is saved to a file.",
        f"session {session!r} would be repaired, and there is no terminal to ask on: add --yes, or "
        "look first with --dry-run",
    )


def _saved(run: Run, session: str, folder: Path) -> Path:
    """Keep a session as it is, damaged, in a file."""
    dump = getattr(unprotected(run.store), "dump", None)
    data = None if dump is None else dump(session)
    if data is None:
        raise ConfigurationError(
            f"session {session!r} was not repaired: this store cannot save the original, and "
            "without it there would be no way back"
        )
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    path = folder / f"{folder_name(session)}.damaged-{stamp}"
    write_files(folder, {path: data})
    return path
