"""Sessions as people name them: by id or by address, sometimes not quite right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Annotated, Any, Final

import typer

from wren_sessions._walks import all_sessions
from wren_sessions.delta.protection import protection_of
from wren_sessions.errors import ConfigurationError, SessionNotFoundError, WrenSessionsError
from wren_sessions.keys import Address, check_session
from wren_sessions.protocols import SessionStore
from wren_sessions.records import SessionInfo
from wren_sessions.ttl import to_ms

LOOKED_AT: Final = 2_000  # sessions, for near ids
PAGE: Final = 500
_COMPLETED: Final = 200
WAYS: Final = "their ids, --owner NAME, or --all"


def address_of(store: SessionStore, name: str) -> Address:
    """The session, and perhaps the checkpoint, that an id or an address names.

    Raises:
        InvalidSessionIdError: it can be neither.
    """
    found = store.keys.parse_address(name)
    if found is not None:
        return found
    check_session(name)
    return Address(name)


def duration_ms(option: str, text: str) -> int:
    """How long an option says, in milliseconds.

    Raises:
        ConfigurationError: it is no duration; the option is named.
    """
    try:
        return to_ms(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{option}: {error.message}") from None


def place_of(store: SessionStore, name: str, at: str | None) -> Address:
    """The same, with a checkpoint that was given beside it.

    Raises:
        ConfigurationError: both name a checkpoint, and not the same one.
    """
    found = address_of(store, name)
    wanted = None if at is None else checkpoint_of(store, found.session, at)
    if wanted is None or found.checkpoint_id in {None, wanted}:
        return Address(found.session, found.checkpoint_id or wanted)
    raise ConfigurationError(
        f"the address names checkpoint {found.checkpoint_id!r}, and --at names {wanted!r}: "
        "give one of them"
    )


def checkpoint_of(store: SessionStore, session: str, name: str) -> str | None:
    """The checkpoint that an id, an address of this session or ``latest`` names.

    Returns:
        Its id, or None for the latest one.

    Raises:
        ConfigurationError: it is the address of another session.
    """
    found = store.keys.parse_address(name)
    if found is None:
        return None if name == "latest" else name
    if found.session != session:
        raise ConfigurationError(
            f"{name!r} is a checkpoint of session {found.session!r}, not of {session!r}"
        )
    return found.checkpoint_id


def chosen(
    store: SessionStore,
    names: Sequence[str] | None,
    owner: str | None,
    *,
    every: bool = False,
    ways: str = "their ids, or --owner NAME",
) -> Iterator[str]:
    """The ids of the sessions a command is for: those named, those of an owner, or all.

    Raises:
        ConfigurationError: none of the ways was used, or more than one.
        SessionNotFoundError: the owner has none.
    """
    if [bool(names), owner is not None, every].count(True) != 1:
        raise ConfigurationError(f"say which sessions, in one of these ways: {ways}")
    if names:
        return iter([address_of(store, name).session for name in names])
    return (info.session for info in owned(store, owner))


def owned(store: SessionStore, owner: str | None) -> Iterator[SessionInfo]:
    """The sessions of an owner, or of all where none is named.

    Raises:
        SessionNotFoundError: the owner has none.
    """
    found = all_sessions(store, PAGE, owner)
    for first in found:
        return chain([first], found)
    if owner is not None:
        raise nothing_owned(store, owner)
    return iter(())


def nothing_owned(store: SessionStore, owner: str) -> SessionNotFoundError:
    """What to raise where an owner has no sessions."""
    page = store.list_sessions(None, PAGE)
    why = "check the name with wren-sessions list"
    if any((info.owner or "").startswith("hmac-") for info in page.sessions) and not getattr(
        protection_of(store).encryption, "hides_owners", False
    ):
        why = "owners are hidden in this store, so set WREN_SESSIONS_OWNER_SECRET"
    return SessionNotFoundError(f"no session of owner {owner!r} was found: {why}", session="")


def value_of(state: Mapping[str, Any], name: str) -> Any:
    """A value of a state.

    Raises:
        ConfigurationError: the state has none of this name; those it has are named.
    """
    if name in state:
        return state[name]
    raise ConfigurationError(f"the state has no {name!r}; it has: {', '.join(state) or 'nothing'}")


def near_ids(store: SessionStore, wrong: str) -> list[str]:
    """At most three ids like one that is not there, the nearest first; among the first 2,000."""
    from difflib import get_close_matches
    from itertools import islice

    ids = [info.session for info in islice(all_sessions(store, PAGE), LOOKED_AT)]
    if wrong in ids:  # a checkpoint of it was not found
        return []
    begins = sorted(id_ for id_ in ids if id_.startswith(wrong))[:3]
    close = get_close_matches(wrong, [id_ for id_ in ids if id_ not in begins])
    return [*begins, *close][:3]


def complete(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids for a shell's completion; none where the store cannot be asked."""
    from wren_sessions.cli._where import Where, open_there

    given = ctx.params
    try:
        where = Where(given.get("url"), given.get("prefix"), given.get("env_file"))
        with open_there(where) as store:
            page = store.list_sessions(None, _COMPLETED)
    except WrenSessionsError:
        return []
    ids = sorted(info.session for info in page.sessions)
    return [id_ for id_ in ids if id_.startswith(incomplete) and id_.isprintable()]


SessionName = Annotated[
    str,
    typer.Argument(metavar="ID", help="The session's id or address.", autocompletion=complete),
]
UnusedFor = Annotated[
    str,
    typer.Option(
        "--unused-for",
        metavar="TIME",
        help="Leave out sessions that were written this recently, because a running graph would "
        "be interrupted. 0 leaves out none.",
    ),
]
SomeSessionNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Ids or addresses of sessions.", autocompletion=complete),
]
OwnerOption = Annotated[
    str | None,
    typer.Option(
        "--owner", metavar="NAME", help="Only this owner's sessions, the last written first."
    ),
]
OwnersSessions = Annotated[
    str | None,
    typer.Option("--owner", metavar="NAME", help="All sessions of this owner, instead of ids."),
]
MessagesKey = Annotated[
    str,
    typer.Option(
        "--messages", metavar="NAME", help="The name of the list of messages in the state."
    ),
]
AtCheckpoint = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="CHECKPOINT",
        help="Use the session as it was at this checkpoint (id or address). The command history "
        "lists them.",
    ),
]
