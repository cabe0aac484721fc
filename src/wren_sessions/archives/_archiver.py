"""`SessionArchiver`: the files of a session, which stay when it expires.

::

    user_profiles/<session>/logs/conversation.json     what was said
    user_profiles/<session>/profiles/profile.json      what was found out
    user_profiles/<session>/session.jsonl              all of it, to be restored

Nothing watches a running graph: a checkpointer does not know that a step was the last one, and work
on files would hold it up. An app archives a session when it has run its graph,
``archiver.archive_if_complete(id)``, which costs one read where the session is not over, or what
was archived is as new. What a process that died has missed, ``archive_completed()`` makes up for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeAlias, cast

from wren_sessions._arguments import check_store
from wren_sessions._blocking import Unsuspended, run
from wren_sessions._walks import aall_sessions, all_sessions
from wren_sessions.archives._completion import Complete, Completion
from wren_sessions.archives._contents import Collecting, Contents
from wren_sessions.archives._files import refuse_links, write_files
from wren_sessions.archives._paths import folder_name
from wren_sessions.archives._restoring import SESSION_FILE, opened
from wren_sessions.archives._sealed import about_of, sealed, unsealed
from wren_sessions.checkpoints import Checkpoints
from wren_sessions.checkpoints.record_cache import Cache
from wren_sessions.delta.encoder import Serializer
from wren_sessions.delta.protection import protection_of
from wren_sessions.errors import (
    CorruptSessionError,
    FormatVersionError,
    SessionNotFoundError,
)
from wren_sessions.protocols import AsyncSessionStore, SessionStore
from wren_sessions.records import SessionInfo
from wren_sessions.stores.protected.owner_keys import owner_keys_of
from wren_sessions.transcripts._profiles import CHANNELS
from wren_sessions.transcripts._reading import reader

CONVERSATION_FILE: Final = Path("logs/conversation.json")
PROFILE_FILE: Final = Path("profiles/profile.json")


class HasStore(Protocol):
    """What is needed of a `Sessions`, which stands above this package."""

    @property
    def store(self) -> SessionStore:
        """Where the sessions are."""

    @property
    def serde(self) -> Serializer | None:
        """What they are written with."""


Source: TypeAlias = HasStore | SessionStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """The files of one session.

    Attributes:
        session: the session's id.
        folder: where its files are.
        incarnation: of the session that was archived; see `Life.incarnation`.
        revision: how many times that had been written.
    """

    session: str
    folder: Path
    incarnation: str
    revision: int

    @property
    def conversation(self) -> Path:
        """The ``conversation.json``; `Transcript.read` reads it."""
        return self.folder / CONVERSATION_FILE

    @property
    def profile(self) -> Path:
        """The ``profile.json``; `Profile.read` reads it."""
        return self.folder / PROFILE_FILE

    @property
    def export(self) -> Path:
        """The whole session; `Sessions.restore` and `import_session` read it."""
        return self.folder / SESSION_FILE


class SessionArchiver:
    """Archives sessions of one store below a folder.

    Args:
        sessions: a `Sessions`, or a store.
        root: the folder, made when it is needed.
        messages: the name of the list of messages in the state.
        channels: what `profile.json` has of the state, besides all numbers and booleans.
        complete: the name of a value of the state that is true when a session is over, or a
            function of the state that tells.
        serde: the serializer that the sessions were written with; None for the one of `sessions`,
            or the default.
        seal: whether files of owners' sessions are sealed with the owners' keys, where owners have
            keys (`open_store(…, owner_keys=…)`); `read` opens them. False writes all files as text.

    Attributes:
        root: the folder.
        aio: the same methods, to await.
    """

    def __init__(
        self,
        sessions: Source,
        root: str | Path = "user_profiles",
        *,
        messages: str = "messages",
        channels: Collection[str] = CHANNELS,
        complete: Complete = "is_complete",
        serde: Serializer | None = None,
        seal: bool = True,
    ) -> None:
        self.root: Path = Path(root)
        self._seal = seal
        store = getattr(sessions, "store", sessions)
        check_store(store, type(self).__name__)
        self._store = cast("SessionStore", store)
        reads = reader(serde or getattr(sessions, "serde", None))

        def work(face: AsyncSessionStore) -> tuple[Completion, Collecting]:
            checkpoints = Checkpoints(face, Cache(0), (), protection_of(self._store))
            completion = Completion(checkpoints, reads, complete)
            return completion, Collecting(checkpoints, reads, messages, channels)

        self._completion, self._collecting = work(Unsuspended(self._store))
        self.aio: AsyncSessionArchiver = AsyncSessionArchiver(self, *work(self._store.aio))

    def folder(self, session: str) -> Path:
        """Where the files of a session are, or would be.

        Raises:
            InvalidSessionIdError: that is no session id.
        """
        return self.root / folder_name(session)

    def find(self, session: str) -> Archive | None:
        """The archive of a session; None if there is none.

        Raises:
            CorruptSessionError: it is damaged.
            FormatVersionError: a newer version of this package wrote it.
            StoreUnavailableError: it cannot be read, or its folder is a symbolic link.
        """
        folder = self.folder(session)
        refuse_links(self.root, folder)
        path = folder / SESSION_FILE
        try:
            with opened(path) as file:
                about = about_of(file.readline(), str(path))
        except SessionNotFoundError:
            return None
        return Archive(
            session=about.session,
            folder=folder,
            incarnation=about.incarnation,
            revision=about.revision,
        )

    def read(self, path: Path) -> str:
        """The text of a file of an archive; opened, if it is sealed with its owner's key.

        ``Transcript.from_json(archiver.read(archive.conversation))`` is the conversation.

        Args:
            path: the file: `Archive.conversation`, `Archive.profile` or `Archive.export`.

        Raises:
            SessionNotFoundError: it is not there.
            DecryptionError: it is sealed, and the owner's key is not here, or not any more.
        """
        with opened(path) as file:
            lines = run(unsealed(file, owner_keys_of(self._store)))
            return "".join(
                line if isinstance(line, str) else line.decode("utf-8", "replace") for line in lines
            )

    def archive(self, session: str) -> Archive:
        """Write the files of a session as it is now.

        Each file is written atomically, and replaces the one of an earlier archive.

        Args:
            session: its id.

        Raises:
            SessionNotFoundError: there is no such session.
            StoreUnavailableError: a file cannot be written.
            ConflictError: the session was pruned or deleted meanwhile.
        """
        return self._write(run(self._collecting.collect(session)))

    def archive_if_complete(self, session: str) -> Archive | None:
        """Archive a session if it is over, unless that was done since it was last written.

        Returns:
            Its archive; None if it is not over.

        Raises:
            SessionNotFoundError: there is no such session; besides what `archive` raises.
        """
        if not run(self._completion.check(session)):
            return None
        return self._archived(self._store.info(session)) or self.archive(session)

    def archive_completed(self) -> tuple[Archive, ...]:
        """Archive all sessions that are over and were not archived since they were last written.

        Looks at every session of the store: at its header, and where that does not say that it is
        not over, at its latest checkpoint.

        Returns:
            What was archived now.
        """
        found = []
        for info in all_sessions(self._store):
            if self._completion.denied(info) or self._archived(info):
                continue
            with suppress(SessionNotFoundError):  # it ended since it was listed
                if run(self._completion.check(info.session)):
                    found.append(self.archive(info.session))
        return tuple(found)

    def _archived(self, info: SessionInfo | None) -> Archive | None:
        """The archive of a session if it is as new as the session is."""
        if info is None:
            return None
        with suppress(CorruptSessionError, FormatVersionError):  # then it is written again
            found = self.find(info.session)
            life = info.life
            if found and (found.incarnation, found.revision) == (life.incarnation, life.revision):
                return found
        return None

    def _write(self, contents: Contents) -> Archive:
        opening = contents.opening
        archive = Archive(
            session=opening.session,
            folder=self.folder(opening.session),
            incarnation=opening.life.incarnation,
            revision=opening.life.revision,
        )
        newer = self._newer(archive)
        if newer is not None:
            return newer
        files = {
            archive.export: contents.session,
            archive.conversation: contents.transcript.to_json(),
            archive.profile: contents.profile.to_json(),
        }
        keys, owner = owner_keys_of(self._store), contents.opening.notes.owner
        if keys is not None and owner is not None and self._seal:
            files = run(sealed(keys, owner, contents.opening, files))
        write_files(self.root, files)
        return archive

    def _newer(self, archive: Archive) -> Archive | None:
        """The archive that is there, if it was made from the same session later on."""
        with suppress(CorruptSessionError, FormatVersionError):
            there = self.find(archive.session)
            if there and there.incarnation == archive.incarnation:
                return there if there.revision > archive.revision else None
        return None


class AsyncSessionArchiver:
    """The same methods, to await. Files are written in another thread.

    Args:
        archiver: whose methods these are.
        completion: which sessions are over, on the store's awaitable face.
        collecting: what archives hold, on that face.
    """

    def __init__(
        self, archiver: SessionArchiver, completion: Completion, collecting: Collecting
    ) -> None:
        self._archiver = archiver
        self._completion = completion
        self._collecting = collecting

    async def find(self, session: str) -> Archive | None:
        """See `SessionArchiver.find`."""
        return await asyncio.to_thread(self._archiver.find, session)

    async def read(self, path: Path) -> str:
        """See `SessionArchiver.read`."""
        return await asyncio.to_thread(self._archiver.read, path)

    async def archive(self, session: str) -> Archive:
        """See `SessionArchiver.archive`."""
        contents = await self._collecting.collect(session)
        return await asyncio.to_thread(self._archiver._write, contents)  # noqa: SLF001

    async def archive_if_complete(self, session: str) -> Archive | None:
        """See `SessionArchiver.archive_if_complete`."""
        if not await self._completion.check(session):
            return None
        info = await self._archiver._store.aio.info(session)  # noqa: SLF001
        return await self._archived(info) or await self.archive(session)

    async def archive_completed(self) -> tuple[Archive, ...]:
        """See `SessionArchiver.archive_completed`."""
        found = []
        async for info in aall_sessions(self._archiver._store):  # noqa: SLF001
            if self._completion.denied(info) or await self._archived(info):
                continue
            with suppress(SessionNotFoundError):  # it ended since it was listed
                if await self._completion.check(info.session):
                    found.append(await self.archive(info.session))
        return tuple(found)

    async def _archived(self, info: SessionInfo | None) -> Archive | None:
        return await asyncio.to_thread(self._archiver._archived, info)  # noqa: SLF001
