"""Errors for commits that the store refused."""

from __future__ import annotations

from typing import NoReturn

from wren_sessions.errors import (
    ConflictError,
    SessionExistsError,
    SessionExpiredError,
    SessionGoneError,
)
from wren_sessions.records import Committed, Life, TurnState


def gone(session: str) -> NoReturn:
    """Raise the error for a session that went away before its deadline."""
    raise SessionGoneError(
        f"session {session!r} went away while it was in use: it was deleted, evicted, lost "
        "or replaced before its deadline, or given to another owner; nothing was written. If it is "
        "still there, run it again; else start it again, or restore it from a copy",
        session=session,
    )


def expired(session: str) -> NoReturn:
    """Raise the error for a session that expired and cannot be written whole."""
    raise SessionExpiredError(
        f"session {session!r} expired while it was in use, and cannot continue: nothing was "
        "written. "
        "Start a new one, or give sessions a longer idle timeout or maximum age",
        session=session,
    )


def check_expired(session: str, life: Life | None, now_ms: int) -> Life:
    """Make sure that a life which is over ended at its deadline; gives it.

    Raises:
        SessionGoneError: it ended before.
    """
    if life is None or life.deadline_ms is None or now_ms < life.deadline_ms:
        gone(session)
    return life


def conflict(session: str) -> NoReturn:
    """Raise the error for a session that is not as it was loaded."""
    raise ConflictError(
        f"somebody else wrote session {session!r} since it was loaded; nothing was written: load "
        "it again, and change the new state",
        session=session,
    )


def busy(session: str, turn: TurnState) -> NoReturn:
    """Raise the error for a session that is somebody else's to write now."""
    if not turn.holder:
        waiting = "1 other waits" if turn.ahead == 1 else f"{turn.ahead} others wait"
        raise ConflictError(
            f"{waiting} for session {session!r}, and nothing was written: wait for "
            "longer (wait=…), or try again later",
            session=session,
            holder=None,
        )
    held_s = (turn.now_ms - turn.since_ms) / 1_000
    raise ConflictError(
        f"{turn.holder} has been writing session {session!r} for {held_s:.1f} s, and nothing was "
        "written here: wait for it (Sessions.turn, or concurrency='wait'), or try again later",
        session=session,
        holder=turn.holder,
        held_s=held_s,
    )


def lost(session: str, turn: TurnState) -> NoReturn:
    """Raise the error for a turn that was on when its writer began, and is over."""
    held_s = (turn.now_ms - turn.since_ms) / 1_000 if turn.holder else 0.0
    now = f"{turn.holder} has had it for {held_s:.1f} s" if turn.holder else "nobody has it now"
    raise ConflictError(
        f"the turn of session {session!r} was lost, because this process did not renew it in time "
        f"(was it paused, or cut off from the store?); {now}. Nothing was written: run it again, "
        "in a new turn",
        session=session,
        holder=turn.holder or None,
        held_s=held_s,
    )


def check(session: str, done: Committed, turn: str | None = None) -> None:
    """Raise what a commit says that it could not do; `turn` is the token that it was made with."""
    match done.outcome:
        case "held":
            state = done.turn or TurnState(mine=False, now_ms=done.now_ms)
            (busy if turn is None else lost)(session, state)
        case "gone" | "stale":
            gone(session)
        case "expired":
            expired(session)
        case "exists":
            raise SessionExistsError(f"session {session!r} is there already", session=session)
        case "conflict":
            conflict(session)
