"""``delete``: delete sessions by id, age, status or expiry, never by pattern. It asks first.

With an owner and nothing else, it erases everything of the owner and prints a receipt.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

import typer

from wren_sessions.cli._command import Run, command
from wren_sessions.cli._exits import FAILED
from wren_sessions.cli._names import (
    SomeSessionNames,
    address_of,
    duration_ms,
    nothing_owned,
    owned,
)
from wren_sessions.cli._progress import progress_bar
from wren_sessions.cli._where import diagnosis_of
from wren_sessions.errors import ConfigurationError, ConflictError
from wren_sessions.protocols import knowing_owners
from wren_sessions.records import Life
from wren_sessions.sessions.operations import not_found
from wren_sessions.transfer.erasing import ErasureReceipt, erase_owner
from wren_sessions.viewing.overview import STATUSES, Overview, overview, with_status
from wren_sessions.viewing.times import ago, size

_NAMED: Final = 20  # sessions that the question names
_HANDED_OVER: Final = "kept: it was given to somebody else meanwhile"


@command(
    examples="""
    wren-sessions delete cli_20251108_145739
    wren-sessions delete --older-than 7d --dry-run
    wren-sessions delete --status complete --older-than 24h --yes
    wren-sessions delete --owner ann --archives user_profiles --dry-run
    wren-sessions delete --expired
    """
)
def delete(
    run: Run,
    *,
    sessions: SomeSessionNames = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="TIME",
            help="Sessions not written for this long, such as 7d; copying and importing count as "
            "writing.",
        ),
    ] = None,
    status: Annotated[
        str | None,
        typer.Option(
            "--status", metavar="STATUS", help=f"Sessions that are {', '.join(STATUSES)}."
        ),
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option(
            "--owner",
            metavar="NAME",
            help="Erase everything of this owner, including pinned sessions and the owner's key, "
            "and print a receipt. With --older-than or --status: only these sessions of the owner.",
        ),
    ] = None,
    archives: Annotated[
        str | None,
        typer.Option(
            "--archives",
            metavar="FOLDER",
            help="With --owner: also remove the owner's archives from this folder.",
        ),
    ] = None,
    expired: Annotated[
        bool,
        typer.Option(
            "--expired",
            help="Free the space of expired sessions. They can't be read any more, but they stay "
            "in a file until its next write. Redis removes them by itself.",
        ),
    ] = False,
    pinned: Annotated[
        bool, typer.Option("--pinned", help="Also delete pinned sessions that are not named.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be deleted.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete sessions with their whole history. This cannot be undone.

    Name them, or choose them with --owner, --older-than and --status: sessions that match all of
    these are deleted. Pinned sessions stay, unless you name them or add --pinned. A chosen session
    that is written, pinned or given to somebody else in the meantime stays too. The command asks
    first. With --owner alone, it erases everything of the owner, including pinned sessions.
    """
    by_choice = {older_than, status, owner} != {None}
    if [bool(sessions), by_choice, expired].count(True) != 1:
        raise ConfigurationError(
            "say what to delete: ids, or --owner, --older-than and --status, or --expired"
        )
    if archives is not None and (owner, older_than, status) != (owner or "", None, None):
        raise ConfigurationError("--archives goes with --owner alone, which erases everything")
    if expired:
        _sweep(run, dry_run=dry_run)
        return
    if owner is not None and older_than is None and status is None:
        _erase(run, owner, archives, dry_run=dry_run, yes=yes)
        return
    rows = list(_named(run, sessions or []))
    if by_choice:
        rows = list(_chosen(run, older_than, status, owner, pinned=pinned))
    if dry_run or not rows:
        _list(run, rows)
    elif yes or _agreed(run, rows):
        for row in rows:
            _delete(run, row, chosen=by_choice)
    else:
        run.code = FAILED
        run.screen.note("Nothing was deleted.")


# --- choosing -------------------------------------------------------------------------------------


def _named(run: Run, names: list[str]) -> Iterator[Overview]:
    for name in dict.fromkeys(names):
        address = address_of(run.store, name)
        if address.checkpoint_id is not None:
            raise ConfigurationError(
                f"{name!r} is one checkpoint: a session is deleted whole (its address ends with "
                ":latest), and prune drops old checkpoints"
            )
        info = run.store.info(address.session)
        yield overview(run.store, info if info is not None else not_found(address.session))


def _chosen(
    run: Run, older_than: str | None, status: str | None, owner: str | None, *, pinned: bool
) -> Iterator[Overview]:
    if status is not None and status not in STATUSES:
        raise ConfigurationError(f"--status must be one of {', '.join(STATUSES)}, not {status!r}")
    older_ms = 0 if older_than is None else duration_ms("--older-than", older_than)
    for info in list(owned(run.store, owner)):
        row = overview(run.store, info)
        if row.life.now_ms - row.life.updated_ms < older_ms or (row.life.pinned and not pinned):
            continue
        if status is None or with_status(run.store, row).status == status:
            yield row


# --- erasing --------------------------------------------------------------------------------------


def _erase(run: Run, owner: str, archives: str | None, *, dry_run: bool, yes: bool) -> None:
    found = erase_owner(run.store, owner, archives=archives, dry_run=True)
    if not (found.sessions or found.archives or found.keys):
        raise nothing_owned(run.store, owner)
    if not dry_run and not yes and not _agreed_to_erase(run, found):
        run.code = FAILED
        run.screen.note("Nothing was erased.")
        return
    if not dry_run:
        with progress_bar(run) as on_progress:
            found = erase_owner(run.store, owner, archives=archives, on_progress=on_progress)
    if run.as_json:
        run.screen.raw(f"{found.to_json()}\n")
        return
    would = "would be " if dry_run else ""
    for what in (*found.sessions, *map(str, found.archives or ())):
        run.screen.line(f"{what}: {would}erased")
    for id_, why in found.unreadable.items():
        run.screen.line(f"{id_}: was {owner}'s before, and cannot be read: {why}")
    ended = f"{found.ended_at:%Y-%m-%d %H:%M:%S} UTC"
    run.screen.note(f"{_summed(found)} {would}erased{'' if dry_run else f', {ended}'}")
    if archives is None:
        run.screen.note("Archives were not looked for: name their folder with --archives.")


def _agreed_to_erase(run: Run, found: ErasureReceipt) -> bool:
    return run.agreed(
        f"Erase {_summed(found)} from {found.location}? There is no way back.",
        f"{_summed(found)} would be erased, and there is no terminal to ask on, or --json was "
        "given: add --yes, or look first with --dry-run",
    )


def _summed(found: ErasureReceipt) -> str:
    """The counts of a receipt, in words."""
    counts = [(len(found.sessions), "session")]
    if found.archives is not None:
        counts.append((len(found.archives), "archive"))
    counts += [(found.keys, "key")] if found.keys else []
    parts = [f"{count:,} {name}{'' if count == 1 else 's'}" for count, name in counts]
    return f"{' and '.join(parts)} of {found.owner!r}"


# --- deleting -------------------------------------------------------------------------------------


def _agreed(run: Run, rows: list[Overview]) -> bool:
    if run.can_ask():
        for row in rows[:_NAMED]:
            run.screen.line(f"  {row.session}  ({_about(row)})")
        if len(rows) > _NAMED:
            run.screen.line(f"  … and {len(rows) - _NAMED:,} more")
    what = "this session" if len(rows) == 1 else f"these {len(rows):,} sessions"
    return run.agreed(
        f"Delete {what} from {run.store.location}?",
        f"{len(rows)} session{'' if len(rows) == 1 else 's'} would be deleted, and there is no "
        "terminal to ask on: add --yes, or look first with --dry-run",
    )


def _about(row: Overview) -> str:
    parts = [f"last written {ago(row.life.updated_ms, row.life.now_ms)}"]
    parts += [size(row.size_bytes)] if row.size_bytes is not None else []
    return ", ".join([*parts, *(["pinned"] if row.life.pinned else [])])


def _delete(run: Run, row: Overview, *, chosen: bool) -> None:
    """Delete one session. If it was not named, only if it has not changed since it was chosen."""
    owner = row.owner if chosen else None
    if chosen:
        now = run.store.info(row.session)
        if now is None or _known(now.life) != _known(row.life):
            _tell(run, row, "kept: it was written, pinned or went away meanwhile", deleted=False)
            return
        if now.owner != owner:
            _tell(run, row, _HANDED_OVER, deleted=False)
            return
    try:
        if owner is None:
            done = run.store.delete(row.session)
        else:
            done = knowing_owners(run.store).delete_owned(row.session, owner)
    except ConflictError:
        _tell(run, row, _HANDED_OVER, deleted=False)
        return
    _tell(run, row, "deleted" if done else "had gone already", deleted=done)


def _known(life: Life) -> tuple[str, int, bool]:
    return life.incarnation, life.revision, life.pinned


def _tell(run: Run, row: Overview, what: str, *, deleted: bool) -> None:
    run.say({"id": row.session, "deleted": deleted}, f"{row.session}: {what}")


def _list(run: Run, rows: list[Overview]) -> None:
    for row in rows:
        facts = {"id": row.session, "deleted": False, "dry_run": True}
        run.say(facts, f"{row.session}: would be deleted ({_about(row)})")
    run.note(f"{len(rows):,} session{'' if len(rows) == 1 else 's'} would be deleted.")


def _sweep(run: Run, *, dry_run: bool) -> None:
    """Make the store remove expired sessions."""
    count = _expired(run)
    left = count
    while left and not dry_run:
        run.store.ping()  # a write of the file store sweeps; it changes nothing else
        before, left = left, _expired(run)
        if left >= before:
            break
    removed = 0 if dry_run else count - left
    if run.as_json:
        run.screen.json({"expired": count, "removed": removed, "dry_run": dry_run})
    elif not count:
        run.screen.note("Nothing has expired that still takes room.")
    else:
        run.screen.line(f"{count:,} expired, {removed:,} removed")


def _expired(run: Run) -> int:
    diagnosis = diagnosis_of(run.store)
    return 0 if diagnosis is None else int(diagnosis.facts.get("expired_sessions") or 0)
