"""Sessions to lines and back, by both faces of a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from typing import Final

from wren_sessions._arguments import check_store
from wren_sessions._blocking import Unsuspended, run
from wren_sessions._walks import aall_sessions, all_sessions
from wren_sessions.archives._exporting import Exporting
from wren_sessions.archives._importing import ImportPlan, landed
from wren_sessions.archives._parsing import Export, exports
from wren_sessions.archives._sealed import unsealed
from wren_sessions.delta.protection import protection_of
from wren_sessions.errors import CorruptSessionError, SessionNotFoundError
from wren_sessions.protocols import SessionStore
from wren_sessions.stores.protected.owner_keys import owner_keys_of
from wren_sessions.transfer._reports import OnProgress

SESSION_FILE: Final = "session.jsonl"


def export_session(
    store: SessionStore, session: str, *, on_progress: OnProgress | None = None
) -> Iterator[str]:
    """A session as lines of JSON; each ends with a newline, and is ASCII.

    All checkpoints of all namespaces go, with their pending writes, versions, metadata and values;
    the values as the serializer wrote them, neither encrypted nor compressed. What lists share is
    written once. The session is only read, and may be written meanwhile: the file has what was
    there at the beginning.

    Args:
        store: where the session is.
        session: its id.
        on_progress: called with a `Progress` after every checkpoint.

    Raises:
        SessionNotFoundError: there is no such session; raised with the first line.
        ConflictError: it was pruned or deleted meanwhile.
        CorruptSessionError: what is stored is damaged.
        DecryptionError: the store has not got the key.
    """
    check_store(store, "export_session")
    export = Exporting(Unsuspended(store), session, protection_of(store), on_progress=on_progress)
    while (lines := run(export.more())) is not None:
        yield from lines


async def aexport_session(
    store: SessionStore, session: str, *, on_progress: OnProgress | None = None
) -> AsyncIterator[str]:
    """The same by the store's awaitable face; see `export_session`."""
    check_store(store, "export_session")
    export = Exporting(store.aio, session, protection_of(store), on_progress=on_progress)
    while (lines := await export.more()) is not None:
        for line in lines:
            yield line


def export_sessions(store: SessionStore, sessions: Iterable[str] | None = None) -> Iterator[str]:
    """Several sessions, one after the other; see `export_session`.

    Args:
        store: where they are.
        sessions: which; None (default) for all. Of these, one that ends meanwhile is left out.
    """
    if sessions is not None:
        for session in sessions:
            yield from export_session(store, session)
        return
    for session in (info.session for info in all_sessions(store)):
        export = Exporting(Unsuspended(store), session, protection_of(store))
        with suppress(SessionNotFoundError):  # it ended since it was listed
            yield from run(export.more()) or ()
        while export.opening and (lines := run(export.more())) is not None:
            yield from lines


async def aexport_sessions(
    store: SessionStore, sessions: Iterable[str] | None = None
) -> AsyncIterator[str]:
    """The same by the store's awaitable face; see `export_sessions`."""
    if sessions is not None:
        for session in sessions:
            async for line in aexport_session(store, session):
                yield line
        return
    async for info in aall_sessions(store):
        export = Exporting(store.aio, info.session, protection_of(store))
        with suppress(SessionNotFoundError):  # it ended since it was listed
            for line in await export.more() or ():
                yield line
        while export.opening and (lines := await export.more()) is not None:
            for line in lines:
                yield line


def import_session(
    store: SessionStore,
    lines: Iterable[str | bytes],
    *,
    session: str | None = None,
    replace: bool = False,
    renew: bool = False,
    on_progress: OnProgress | None = None,
) -> str:
    """Bring an exported session into a store.

    The whole file is read and checked first; then the session appears at once, complete and
    verified, or not at all. It goes on as it was: with its history, its age, its own idle timeout,
    and pinned if it was. Its time to live is counted from now.

    Args:
        store: where it goes; any backend.
        lines: the lines of one export, such as an open file; also those of a sealed archive.
        session: the id it is to have; None (default) for its own.
        replace: whether to replace a session of that id.
        renew: whether it counts as made now, for the store's maximum age. By default it keeps its
            age.
        on_progress: called with a `Progress` after every checkpoint.

    Returns:
        The session's id.

    Raises:
        SessionExistsError: there is a session of that id, and `replace` is False.
        SessionExpiredError: it is older than the store's maximum age; see `renew`.
        CorruptSessionError: a line is damaged or missing; nothing was written.
        FormatVersionError: a newer version of this package wrote it.
        ConflictError: somebody else imports the same session.
    """
    check_store(store, "import_session")
    plan = ImportPlan(session=session, replace=replace, renew=renew, on_progress=on_progress)
    lines = run(unsealed(lines, owner_keys_of(store)))
    return bring_in(store, only_export(lines), plan)


async def aimport_session(
    store: SessionStore,
    lines: Iterable[str | bytes],
    *,
    session: str | None = None,
    replace: bool = False,
    renew: bool = False,
    on_progress: OnProgress | None = None,
) -> str:
    """The same by the store's awaitable face; see `import_session`."""
    check_store(store, "import_session")
    plan = ImportPlan(session=session, replace=replace, renew=renew, on_progress=on_progress)
    lines = await unsealed(lines, owner_keys_of(store.aio))
    return await abring_in(store, only_export(lines), plan)


def import_sessions(
    store: SessionStore,
    lines: Iterable[str | bytes],
    *,
    replace: bool = False,
    renew: bool = False,
    on_progress: OnProgress | None = None,
) -> Iterator[str]:
    """Bring several exported sessions in, each as `import_session` does.

    One session is in memory at a time. The ids come as the sessions are there; those that came
    before an error stay.
    """
    plan = ImportPlan(replace=replace, renew=renew, on_progress=on_progress)
    for export in exports(run(unsealed(lines, owner_keys_of(store)))):
        yield bring_in(store, export, plan)


async def aimport_sessions(
    store: SessionStore,
    lines: Iterable[str | bytes],
    *,
    replace: bool = False,
    renew: bool = False,
    on_progress: OnProgress | None = None,
) -> AsyncIterator[str]:
    """The same by the store's awaitable face; see `import_sessions`."""
    plan = ImportPlan(replace=replace, renew=renew, on_progress=on_progress)
    for export in exports(await unsealed(lines, owner_keys_of(store.aio))):
        yield await abring_in(store, export, plan)


def bring_in(store: SessionStore, export: Export, plan: ImportPlan) -> str:
    """Bring a session in; its id."""
    return run(landed(export, Unsuspended(store), plan, protection_of(store)))


async def abring_in(store: SessionStore, export: Export, plan: ImportPlan) -> str:
    """The same by the store's awaitable face."""
    return await landed(export, store.aio, plan, protection_of(store))


def only_export(lines: Iterable[str | bytes]) -> Export:
    """The one export in a file."""
    found = list(_at_most_two(lines))
    if len(found) == 1:
        return found[0]
    raise CorruptSessionError(
        "there is no session in this file: it is empty"
        if not found
        else "there are several sessions in this file: use import_sessions",
        session="",
    )


def _at_most_two(lines: Iterable[str | bytes]) -> Iterator[Export]:
    for count, export in enumerate(exports(lines)):
        yield export
        if count:
            return
