"""Export and import of sessions as lines, with both APIs of a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from itertools import islice

from wren_sessions._blocking import run
from wren_sessions._walks import aall_sessions, all_sessions
from wren_sessions.archives._exporting import Exporting
from wren_sessions.archives._importing import ImportPlan, landed
from wren_sessions.archives._parsing import Export, exports
from wren_sessions.archives._sealed import unsealed
from wren_sessions.errors import CorruptSessionError, SessionNotFoundError
from wren_sessions.protocols import SessionStore
from wren_sessions.transfer._api import StoreApi
from wren_sessions.transfer._reports import OnProgress


def export_session(
    store: SessionStore, session: str, *, on_progress: OnProgress | None = None
) -> Iterator[str]:
    """A session as lines of JSON. Each line is ASCII and ends with a newline.

    The export contains all checkpoints of all namespaces, with their pending writes, versions,
    metadata and values. Values are as the serializer wrote them, neither encrypted nor compressed.
    What lists share is written once. The session is only read, and may be written in the meantime:
    the file has the state at the beginning.

    Args:
        store: where the session is.
        session: its id.
        on_progress: called with a `Progress` after every checkpoint.

    Raises:
        SessionNotFoundError: there is no such session; raised with the first line.
        ConflictError: it was pruned or deleted in the meantime.
        CorruptSessionError: the stored data is damaged.
        DecryptionError: the store does not have the key.
    """
    api = StoreApi.blocking(store, "export_session")
    export = Exporting(api.store, session, api.protection, on_progress=on_progress)
    while (lines := run(export.more())) is not None:
        yield from lines


async def aexport_session(
    store: SessionStore, session: str, *, on_progress: OnProgress | None = None
) -> AsyncIterator[str]:
    """The same with the store's async API; see `export_session`."""
    api = StoreApi.awaitable(store, "aexport_session")
    export = Exporting(api.store, session, api.protection, on_progress=on_progress)
    while (lines := await export.more()) is not None:
        for line in lines:
            yield line


def export_sessions(store: SessionStore, sessions: Iterable[str] | None = None) -> Iterator[str]:
    """Several sessions, one after the other; see `export_session`.

    Args:
        store: where they are.
        sessions: the ids; None (default) for all sessions. Then a session that expires or is
            deleted in the meantime is skipped.
    """
    if sessions is not None:
        for session in sessions:
            yield from export_session(store, session)
        return
    api = StoreApi.blocking(store, "export_sessions")
    for info in all_sessions(store):
        export = Exporting(api.store, info.session, api.protection)
        with suppress(SessionNotFoundError):  # it ended since it was listed
            yield from run(export.more()) or ()
        while export.opening and (lines := run(export.more())) is not None:
            yield from lines


async def aexport_sessions(
    store: SessionStore, sessions: Iterable[str] | None = None
) -> AsyncIterator[str]:
    """The same with the store's async API; see `export_sessions`."""
    if sessions is not None:
        for session in sessions:
            async for line in aexport_session(store, session):
                yield line
        return
    api = StoreApi.awaitable(store, "aexport_sessions")
    async for info in aall_sessions(api.store):
        export = Exporting(api.store, info.session, api.protection)
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
    """Import an exported session into a store.

    The whole file is read and checked first. Then the session appears all at once, complete and
    verified, or not at all. It keeps its history, its age, its own idle timeout, and its pin. Its
    time to live is counted from now.

    Args:
        store: the store to import it into; any backend.
        lines: the lines of one export, such as an open file, or of an encrypted archive.
        session: the new id; None (default) for the session's own id.
        replace: whether to replace an existing session with this id.
        renew: whether it counts as created now, for the store's maximum age. By default it keeps
            its age.
        on_progress: called with a `Progress` after every checkpoint.

    Returns:
        The session's id.

    Raises:
        SessionExistsError: there is a session with this id, and `replace` is False.
        SessionExpiredError: it is older than the store's maximum age; see `renew`.
        CorruptSessionError: a line is damaged or missing; nothing was written.
        FormatVersionError: a newer version of this package wrote it.
        ConflictError: another process is importing the same session.
    """
    plan = ImportPlan(session=session, replace=replace, renew=renew, on_progress=on_progress)
    return run(_imported(StoreApi.blocking(store, "import_session"), lines, plan))


async def aimport_session(
    store: SessionStore,
    lines: Iterable[str | bytes],
    *,
    session: str | None = None,
    replace: bool = False,
    renew: bool = False,
    on_progress: OnProgress | None = None,
) -> str:
    """The same with the store's async API; see `import_session`."""
    plan = ImportPlan(session=session, replace=replace, renew=renew, on_progress=on_progress)
    return await _imported(StoreApi.awaitable(store, "aimport_session"), lines, plan)


async def _imported(api: StoreApi, lines: Iterable[str | bytes], plan: ImportPlan) -> str:
    return await landed(only_export(await unsealed(lines, api.owner_keys)), api, plan)


def import_sessions(
    store: SessionStore,
    lines: Iterable[str | bytes],
    *,
    replace: bool = False,
    renew: bool = False,
    on_progress: OnProgress | None = None,
) -> Iterator[str]:
    """Import several exported sessions, each as `import_session` does.

    One session is in memory at a time. Each id is yielded once its session is imported. If there is
    an error, the sessions imported before it stay.
    """
    api = StoreApi.blocking(store, "import_sessions")
    plan = ImportPlan(replace=replace, renew=renew, on_progress=on_progress)
    for export in exports(run(unsealed(lines, api.owner_keys))):
        yield run(landed(export, api, plan))


async def aimport_sessions(
    store: SessionStore,
    lines: Iterable[str | bytes],
    *,
    replace: bool = False,
    renew: bool = False,
    on_progress: OnProgress | None = None,
) -> AsyncIterator[str]:
    """The same with the store's async API; see `import_sessions`."""
    api = StoreApi.awaitable(store, "aimport_sessions")
    plan = ImportPlan(replace=replace, renew=renew, on_progress=on_progress)
    for export in exports(await unsealed(lines, api.owner_keys)):
        yield await landed(export, api, plan)


def only_export(lines: Iterable[str | bytes]) -> Export:
    """The one export in a file."""
    found = list(islice(exports(lines), 2))
    if len(found) == 1:
        return found[0]
    raise CorruptSessionError(
        "there is no session in this file: it is empty"
        if not found
        else "there are several sessions in this file: use import_sessions",
        session="",
    )
