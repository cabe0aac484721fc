"""``ttl`` and ``touch``: how long sessions live."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from wren_sessions.cli._command import Run, command
from wren_sessions.cli._names import SessionName, SessionNames, address_of, duration_ms
from wren_sessions.cli._screen import Cell
from wren_sessions.errors import ConfigurationError, SessionExpiredError
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Life
from wren_sessions.viewing.times import expiry, iso, local

_NO_LIMIT: Final = "none"


@command(
    examples="""
    wren-sessions ttl cli_20251108_145739
    wren-sessions ttl cli_20251108_145739 --set 2h
    wren-sessions ttl cli_20251108_145739 --pin
    """
)
def ttl(
    run: Run,
    *,
    session: SessionName,
    idle: Annotated[
        str | None,
        typer.Option(
            "--set",
            metavar="TIME",
            help="Give it an idle timeout of its own, counted from now, such as 2h; none for no "
            "idle limit.",
        ),
    ] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Keep it for good.")] = False,
    unpin: Annotated[
        bool, typer.Option("--unpin", help="Let it expire again, counted from now.")
    ] = False,
) -> None:
    """Show how long a session has left to live, or change that.

    Without an option nothing is changed. The maximum age of the store's policy still bounds an
    idle timeout; a pinned session stays until it is unpinned or deleted.
    """
    if [idle is not None, pin, unpin].count(True) > 1:
        raise ConfigurationError("--set, --pin and --unpin do not go together: choose one")
    store, id_ = run.store, address_of(run.store, session).session
    if idle is not None:
        limited = idle.lower() != _NO_LIMIT
        life = store.set_ttl(id_, duration_ms("--set", idle) / 1_000 if limited else None)
    elif pin or unpin:
        life = _pinned(store, id_, pinned=pin)
    else:
        info = store.info(id_)
        life = info.life if info else None
    _print(run, id_, _there(id_, life))


def _pinned(store: SessionStore, session: str, *, pinned: bool) -> Life | None:
    life = store.pin(session, pinned=pinned)
    if life is None and not pinned and store.info(session) is not None:
        raise SessionExpiredError(
            f"session {session!r} is past the maximum age of this store ({store.ttl}) and would "
            "end at once without its pin: it was left pinned. Delete it, or raise the maximum age",
            session=session,
        )
    return life


@command(
    examples="""
    wren-sessions touch cli_20251108_145739
    wren-sessions touch cli_20251108_145739 cli_20251108_150001
    """
)
def touch(run: Run, sessions: SessionNames) -> None:
    """Use sessions without changing them: their idle time starts again."""
    for name in sessions:
        id_ = address_of(run.store, name).session
        _print(run, id_, _there(id_, run.store.touch(id_)))


def _there(session: str, life: Life | None) -> Life:
    from wren_sessions.sessions.operations import not_found

    return life if life is not None else not_found(session)


def _print(run: Run, session: str, life: Life) -> None:
    if run.as_json:
        run.screen.json(life_json(session, life))
        return
    ends = "" if life.deadline_ms is None else f" (at {local(life.deadline_ms)})"
    pairs: list[tuple[str, Cell]] = [
        ("session", session),
        ("expires in", f"{expiry(life)}{ends}"),
        ("policy", str(run.store.ttl)),
    ]
    run.screen.fields(pairs)


def life_json(session: str, life: Life) -> dict[str, Any]:
    """A life as plain data."""
    return {
        "id": session,
        "created": iso(life.created_ms),
        "updated": iso(life.updated_ms),
        "expires": iso(life.deadline_ms),
        "ttl_seconds": None if life.ttl_ms is None else life.ttl_ms / 1_000,
        "pinned": life.pinned,
        "revision": life.revision,
    }
