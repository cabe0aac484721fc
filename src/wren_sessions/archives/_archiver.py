"""`SessionArchiver`: files of a session, which stay when the session expires.

::

    user_profiles/<session>/logs/conversation.json     what was said
    user_profiles/<session>/profiles/profile.json      what was found out
    user_profiles/<session>/session.jsonl              the whole session, to restore it

All of them are made from one checkpoint (`Contents`).

Nothing watches a running graph: a checkpointer does not know which step is the last one, and
writing files would slow it down. An app calls ``archiver.archive_if_complete(id)`` after running
its graph. This costs one read if the session is not complete or the archive is up to date. If a
process dies before it archives its sessions, ``archive_completed()`` does it later.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeAlias, cast

from wren_sessions._blocking import Unsuspended, run
from wren_sessions._walks import aall_sessions
from wren_sessions.archives._completion import Complete, Completion
from wren_sessions.archives._exporting import Exporting
from wren_sessions.archives._files import refuse_links, write_files
from wren_sessions.archives._format import Opening
from wren_sessions.archives._paths import folder_name
from wren_sessions.archives._restoring import SESSION_FILE, opened
from wren_sessions.archives._sealed import About, about_of, is_current, sealed, unsealed
from wren_sessions.checkpoints import Checkpoints
from wren_sessions.checkpoints.record_cache import Cache
from wren_sessions.delta.encoder import Serializer
from wren_sessions.errors import (
    CorruptSessionError,
    FormatVersionError,
    SessionNotFoundError,
)
from wren_sessions.protocols import SessionStore
from wren_sessions.records import SessionInfo
from wren_sessions.sessions.operations import SessionOperations
from wren_sessions.stores.protected.owner_keys import owner_keys_of
from wren_sessions.transcripts import Profile, Transcript
from wren_sessions.transcripts._building import Transcribing, reader
from wren_sessions.transcripts._profiles import CHANNELS
from wren_sessions.transfer._api import StoreApi

CONVERSATION_FILE: Final = Path("logs/conversation.json")
PROFILE_FILE: Final = Path("profiles/profile.json")
ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The texts of an archive, and the first line of its session's file."""

    opening: Opening
    session: str
    transcript: Transcript
    profile: Profile


class Collecting:
    """Collects the contents of archives; see `SessionArchiver` for its channels."""

    def __init__(
        self,
        api: StoreApi,
        checkpoints: Checkpoints,
        serde: Serializer,
        messages: str,
        channels: Collection[str],
    ) -> None:
        self.api = api
        self._checkpoints = checkpoints
        self._transcribing = Transcribing(checkpoints, serde)
        self._sessions = SessionOperations(checkpoints, serde)
        self._messages = messages
        self._channels = channels

    async def collect(self, session: str) -> Contents:
        """Collect the contents for one session.

        Raises:
            SessionNotFoundError: there is no such session.
            ConflictError: it was pruned or deleted in the meantime.
        """
        for attempt in range(ATTEMPTS):
            export = Exporting(self._checkpoints.store, session, self._checkpoints.protection)
            lines: list[str] = []
            while (more := await export.more()) is not None:
                lines += more
            opening = export.begun
            try:
                return await self._rest(opening, "".join(lines))
            except SessionNotFoundError:  # its latest checkpoint was pruned, or it ended
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError  # the last attempt returns or raises

    async def _rest(self, opening: Opening, lines: str) -> Contents:
        session, head = opening.session, dict(opening.heads).get("")
        transcript = await self._transcribing.run(session, head, self._messages)
        found = await self._sessions.load(session, head)
        profile = Profile.of(
            session,
            found.state,
            channels=self._channels,
            checkpoint_id=head,
            updated=transcript.updated,
        )
        return Contents(opening=opening, session=lines, transcript=transcript, profile=profile)


class HasStore(Protocol):
    """The part of `Sessions` used here: this package must not import it."""

    @property
    def store(self) -> SessionStore:
        """The store of the sessions."""

    @property
    def serde(self) -> Serializer | None:
        """The serializer that they are written with."""


Source: TypeAlias = HasStore | SessionStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """The files of one session.

    Attributes:
        session: the session's id.
        folder: where its files are.
        incarnation: the archived session's incarnation; see `Life.incarnation`.
        revision: how many times the session had been written.
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
        root: the folder; it is created when it is needed.
        messages: the name of the list of messages in the state.
        channels: the channels of the state that go into `profile.json`, besides all numbers and
            booleans.
        complete: the name of a value of the state that is true when a session is complete, or a
            function of the state that returns whether it is.
        serde: the serializer that the sessions were written with; None for the one of `sessions`,
            or the default.
        seal: whether files of owners' sessions are encrypted with the owners' keys, if owners have
            keys (`open_store(…, owner_keys=…)`); `read` decrypts them. False writes all files as
            plain text.

    Attributes:
        root: the folder.
        aio: async versions of the methods.
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
        self._store = cast("SessionStore", getattr(sessions, "store", sessions))
        reads = reader(serde or getattr(sessions, "serde", None))

        def over(api: StoreApi) -> AsyncSessionArchiver:
            checkpoints = Checkpoints(api.store, Cache(0), (), api.protection)
            completion = Completion(checkpoints, reads, complete)
            collecting = Collecting(api, checkpoints, reads, messages, channels)
            return AsyncSessionArchiver(self, completion, collecting)

        name = type(self).__name__
        self._blocking = over(StoreApi.blocking(self._store, name))
        self.aio: AsyncSessionArchiver = over(StoreApi.awaitable(self._store, name))

    def folder(self, session: str) -> Path:
        """Where the files of a session are, or would be.

        Raises:
            InvalidSessionIdError: the session id is not valid.
        """
        return self.root / folder_name(session)

    def find(self, session: str) -> Archive | None:
        """The archive of a session; None if there is none.

        Raises:
            CorruptSessionError: it is damaged.
            FormatVersionError: a newer version of this package wrote it.
            StoreUnavailableError: it cannot be read, or its folder is a symbolic link.
        """
        about = self._about(session)
        if about is None:
            return None
        return self._archive(about.session, about.incarnation, about.revision)

    def _about(self, session: str) -> About | None:
        """What is known about the archive of a session; None if there is none."""
        folder = self.folder(session)
        refuse_links(self.root, folder)
        path = folder / SESSION_FILE
        try:
            with opened(path) as file:
                return about_of(file.readline(), str(path))
        except SessionNotFoundError:
            return None

    def _archive(self, session: str, incarnation: str, revision: int) -> Archive:
        return Archive(
            session=session,
            folder=self.folder(session),
            incarnation=incarnation,
            revision=revision,
        )

    def read(self, path: Path) -> str:
        """The text of a file of an archive; decrypted if it is encrypted with its owner's key.

        ``Transcript.from_json(archiver.read(archive.conversation))`` is the conversation.

        Args:
            path: the file: `Archive.conversation`, `Archive.profile` or `Archive.export`.

        Raises:
            SessionNotFoundError: there is no such file.
            DecryptionError: it is encrypted, and the owner's key is missing or was destroyed.
        """
        with opened(path) as file:
            lines = run(unsealed(file, owner_keys_of(self._store)))
            return "".join(
                line if isinstance(line, str) else line.decode("utf-8", "replace") for line in lines
            )

    def archive(self, session: str) -> Archive:
        """Write the files of a session as it is now.

        Each file is written atomically, and replaces the file of an earlier archive.

        Args:
            session: its id.

        Raises:
            SessionNotFoundError: there is no such session.
            StoreUnavailableError: a file cannot be written.
            ConflictError: the session was pruned or deleted in the meantime.
        """
        return run(self._blocking.archive(session))

    def archive_if_complete(self, session: str) -> Archive | None:
        """Archive a session if it is complete and has changed since it was last archived.

        Also if only its owner, notes, pin or idle timeout changed.

        Returns:
            Its archive; None if the session is not complete.

        Raises:
            SessionNotFoundError: there is no such session. Other errors are those of `archive`.
        """
        return run(self._blocking.archive_if_complete(session))

    def archive_completed(self) -> tuple[Archive, ...]:
        """Archive all complete sessions that have changed since they were last archived.

        Looks at every session of the store: at its header, and at its latest checkpoint unless the
        header says that the session is not complete.

        Returns:
            The new archives.
        """
        return run(self._blocking.archive_completed())

    def _archived(self, info: SessionInfo | None) -> Archive | None:
        """The archive of a session if it is up to date."""
        if info is None:
            return None
        with suppress(CorruptSessionError, FormatVersionError):  # then it is written again
            about, keys = self._about(info.session), owner_keys_of(self._store)
            if about is not None and run(is_current(about, info, keys)):
                return self._archive(info.session, about.incarnation, about.revision)
        return None

    def _write(self, contents: Contents) -> Archive:
        opening = contents.opening
        life = opening.life
        archive = self._archive(opening.session, life.incarnation, life.revision)
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
            store = Unsuspended(self._store)
            files = run(sealed(store, keys, owner, contents.opening, files))
        write_files(self.root, files)
        return archive

    def _newer(self, archive: Archive) -> Archive | None:
        """The existing archive, if it was made from a later state of the same session."""
        with suppress(CorruptSessionError, FormatVersionError):
            there = self.find(archive.session)
            if there and there.incarnation == archive.incarnation:
                return there if there.revision > archive.revision else None
        return None


class AsyncSessionArchiver:
    """The async methods of `SessionArchiver`. Files are written in another thread."""

    def __init__(
        self, archiver: SessionArchiver, completion: Completion, collecting: Collecting
    ) -> None:
        self._archiver = archiver
        self._api = collecting.api
        self._completion = completion
        self._collecting = collecting

    async def find(self, session: str) -> Archive | None:
        """See `SessionArchiver.find`."""
        found: Archive | None = await self._api.off(partial(self._archiver.find, session))
        return found

    async def read(self, path: Path) -> str:
        """See `SessionArchiver.read`."""
        return str(await self._api.off(partial(self._archiver.read, path)))

    async def archive(self, session: str) -> Archive:
        """See `SessionArchiver.archive`."""
        contents = await self._collecting.collect(session)
        write = partial(self._archiver._write, contents)  # noqa: SLF001
        archive: Archive = await self._api.off(write)
        return archive

    async def archive_if_complete(self, session: str) -> Archive | None:
        """See `SessionArchiver.archive_if_complete`."""
        if not await self._completion.check(session):
            return None
        info = await self._api.store.info(session)
        return await self._archived(info) or await self.archive(session)

    async def archive_completed(self) -> tuple[Archive, ...]:
        """See `SessionArchiver.archive_completed`."""
        found = []
        async for info in aall_sessions(self._api.store):
            if self._completion.denied(info) or await self._archived(info):
                continue
            with suppress(SessionNotFoundError):  # it ended since it was listed
                if await self._completion.check(info.session):
                    found.append(await self.archive(info.session))
        return tuple(found)

    async def _archived(self, info: SessionInfo | None) -> Archive | None:
        look = partial(self._archiver._archived, info)  # noqa: SLF001
        found: Archive | None = await self._api.off(look)
        return found
