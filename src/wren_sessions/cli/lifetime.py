"""``ttl`` and ``touch``: how long sessions live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import typer

from wren_sessions.cli._command import Run, command, told
from wren_sessions.cli._names import OwnersSessions, SomeSessionNames, chosen, duration_ms
from wren_sessions.cli._screen import Cell
from wren_sessions.errors import ConfigurationError, SessionExpiredError
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Life
from wren_sessions.ttl import describe_ms
from wren_sessions.viewing.times import expiry, iso, local

_NO_LIMIT: Final = "none"


@command(
    examples="""
    wren-sessions ttl cli_20251108_145739
    wren-sessions ttl cli_20251108_145739 --set 2h
    wren-sessions ttl cli_20251108_145739 --pin
    wren-sessions ttl --owner ann --set 30d
    """
)
def ttl(
    run: Run,
    *,
    sessions: SomeSessionNames = None,
    owner: OwnersSessions = None,
    idle: Annotated[
        str | None,
        typer.Option(
            "--set",
            metavar="TIME",
            help="Set an idle timeout for these sessions, counted from now, such as 2h; none for "
            "no idle timeout.",
        ),
    ] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Never let it expire.")] = False,
    unpin: Annotated[
        bool, typer.Option("--unpin", help="Let it expire again, counted from now.")
    ] = False,
) -> None:
    """Show or change how long sessions will live.

    Without an option, nothing is changed. The maximum age of the store's policy still applies to a
    session with its own idle timeout. A pinned session stays until it is unpinned or deleted.
    """
    if [idle is not None, pin, unpin].count(True) > 1:
        raise ConfigurationError("--set, --pin and --unpin do not go together: choose one")
    store = run.store
    limited = idle is not None and idle.lower() != _NO_LIMIT
    seconds = duration_ms("--set", idle) / 1_000 if idle is not None and limited else None

    def change(id_: str) -> Life | None:
        if idle is not None:
            return store.set_ttl(id_, seconds)
        if pin or unpin:
            return _pinned(store, id_, pinned=pin)
        info = store.info(id_)
        return info.life if info else None

    _each(run, sessions, owner, change)


def _each(
    run: Run, names: Sequence[str] | None, owner: str | None, change: Callable[[str], Life | None]
) -> None:
    """Change sessions one by one, and print their lives.

    A session that is past its maximum age is reported, and the rest are changed. One of an owner's
    sessions that has ended in the meantime is left out.
    """
    from wren_sessions.sessions.operations import not_found

    for id_ in list(chosen(run.store, names, owner)):
        try:
            life = change(id_)
        except SessionExpiredError as error:
            run.code = told(run, error)
            continue
        if life is not None:
            _print(run, id_, life)
        elif names:
            not_found(id_)


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
    wren-sessions touch --owner ann
    """
)
def touch(run: Run, sessions: SomeSessionNames = None, owner: OwnersSessions = None) -> None:
    """Restart the idle timeout of sessions without changing them."""
    _each(run, sessions, owner, run.store.touch)


def _print(run: Run, session: str, life: Life) -> None:
    if run.as_json:
        run.screen.json(life_json(session, life))
        return
    ends = "" if life.deadline_ms is None else f" (at {local(life.deadline_ms)})"
    info = run.store.info(session)
    own = None if info is None else info.idle
    pairs: list[tuple[str, Cell]] = [
        ("session", session),
        ("expires in", f"{expiry(life)}{ends}"),
        ("own timeout", describe_ms(own) if isinstance(own, int) else own or ""),
        ("store's policy", str(run.store.ttl)),
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
