"""``fork`` and ``prune``: copy a session under another id, and drop old checkpoints."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wren_sessions._blocking import run as run_now
from wren_sessions.checkpoints.prune import choice_of
from wren_sessions.cli._command import Run, command
from wren_sessions.cli._names import (
    WAYS,
    AtCheckpoint,
    OwnersSessions,
    SessionName,
    SomeSessionNames,
    address_of,
    chosen,
    place_of,
)
from wren_sessions.errors import SessionExistsError
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Committed, Prune
from wren_sessions.viewing.states import Reader, Viewer, checkpoints_of
from wren_sessions.viewing.times import size


@command(
    examples="""
    wren-sessions fork cli_20251108_145739 what_if
    wren-sessions fork cli_20251108_145739 what_if --at 1f0bcb8e-5d2a-6c3e-8001-5b1d0f3f3a10
    """
)
def fork(
    run: Run,
    *,
    session: SessionName,
    new_id: Annotated[str, typer.Argument(metavar="NEW", help="The id of the copy.")],
    at: AtCheckpoint = None,
) -> None:
    """Copy a session to a new id, as it is now or at an earlier checkpoint.

    The session is not changed. A session with the new id must not exist yet.
    """
    from wren_sessions.sessions import Sessions

    place = place_of(run.store, session, at)
    target = address_of(run.store, new_id).session
    sessions = Sessions(run.store, serde=Viewer())
    exact = place.checkpoint_id and Reader(run.store).named(place.session, place.checkpoint_id)
    try:
        made = sessions.fork(place.session, target, at=exact)
    except SessionExistsError:
        raise SessionExistsError(
            f"session {target!r} is there already: choose another id, or delete it first",
            session=target,
        ) from None
    facts = {"id": made.id, "forked_from": place.session, "checkpoint_id": made.checkpoint_id}
    where = f" at checkpoint {made.checkpoint_id}" if exact else ""
    run.say(facts, f"{made.id} is a copy of {place.session}{where}")


@command(
    examples="""
    wren-sessions prune cli_20251108_145739 --keep-last 10
    wren-sessions prune --all --keep-last 1 --dry-run
    """
)
def prune(
    run: Run,
    *,
    keep_last: Annotated[
        int,
        typer.Option(
            "--keep-last",
            metavar="N",
            min=1,
            help="How many checkpoints to keep in each namespace.",
        ),
    ],
    sessions: SomeSessionNames = None,
    every: Annotated[bool, typer.Option("--all", help="Prune every session.")] = False,
    owner: OwnersSessions = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print how many checkpoints would be deleted.")
    ] = False,
) -> None:
    """Delete old checkpoints of sessions, and free the space that only they used.

    The latest checkpoint always stays, including an interrupt that waits for an answer. Checkpoints
    that others depend on stay as well. Conversations remain complete, but you cannot go back to the
    deleted checkpoints.
    """
    for id_ in list(chosen(run.store, sessions, owner, every=every, ways=WAYS)):
        before = Reader(run.store).info(id_).size_bytes
        dropped = _prune(run.store, id_, keep_last, dry_run=dry_run)
        there = run.store.info(id_)
        after = before if dry_run or there is None else there.size_bytes
        _print(run, id_, dropped, (before, after), dry_run=dry_run)


def _prune(store: SessionStore, session: str, keep_last: int, *, dry_run: bool) -> int:
    choice = choice_of("keep_last", keep_last)
    if choice is None:
        raise AssertionError  # only the strategy "delete" has none
    target: Any = _Untouched(store) if dry_run else store
    return run_now(checkpoints_of(target).pruning.prune(session, choice, Viewer()))


class _Untouched:
    """A store whose prunes do nothing."""

    def __init__(self, store: SessionStore) -> None:
        self.scan = store.scan
        self.heads = store.heads

    def prune(self, prune: Prune) -> Committed:  # noqa: ARG002 -- nothing is done with it
        """Nothing."""
        return Committed(outcome="done", now_ms=0)


def _print(
    run: Run, session: str, dropped: int, sizes: tuple[int | None, int | None], *, dry_run: bool
) -> None:
    before, after = sizes
    facts = {
        "id": session,
        "dropped": dropped,
        "dry_run": dry_run,
        "size_bytes_before": before,
        "size_bytes": after,
    }
    would = "would be dropped" if dry_run else "dropped"
    room = "" if dry_run else f", {size(before)} → {size(after)}"
    what = f"{dropped} checkpoint{'' if dropped == 1 else 's'}"
    run.say(facts, f"{session}: {what} {would}{room}")
