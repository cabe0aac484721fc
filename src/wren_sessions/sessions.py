"""`Sessions`: the same sessions for apps that do not use LangGraph, and for those beside one.

A session's state is a dict. Saving it writes a checkpoint, so a LangGraph app goes on from what was
saved here, and what the app wrote can be loaded here::

    sessions = Sessions(open_store("redis://localhost:6379/0"))
    session = sessions.create(prefix="cli")
    sessions.save(session.id, {"turn_count": 1})
    with sessions.edit(session.id) as session:
        session.state["turn_count"] += 1

`Sessions` blocks; `Sessions(...).aio` has the same methods to await. Errors are those of
`wren_sessions.errors`; `get` gives None for a session that is not there or has expired, `load` and
all that changes one raise `SessionNotFoundError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wren_sessions._cache import DEFAULT_BYTES
from wren_sessions._checkpoints import Checkpoints
from wren_sessions._protection import protection_of
from wren_sessions._session_steps import Session, SessionSteps
from wren_sessions._steps import Steps, adrive, drive
from wren_sessions._values import Serializer
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Life, SessionPage
from wren_sessions.ttl import Duration

if TYPE_CHECKING:
    from wren_sessions.archives import Archive
    from wren_sessions.transcripts import Transcript


class Sessions:
    """Sessions of one store, by id.

    Args:
        store: where they are.
        serde: turns values into bytes; None for `SafeSerializer`, with its defaults.
        cache_bytes: how much to remember of what was written and read; 0 for nothing.
        header: keys whose strings may stand in a session's readable header, besides its numbers
            and booleans.
        now: gives the time that ids and checkpoints are stamped with; None for the system's clock.
            Lifetimes are decided by the store's clock.
    """

    def __init__(
        self,
        store: SessionStore,
        *,
        serde: Serializer | None = None,
        cache_bytes: int = DEFAULT_BYTES,
        header: Collection[str] = (),
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self.store = store
        self.serde = serde
        self._steps = SessionSteps(Checkpoints(cache_bytes, header, protection_of(store)), serde)
        self._now = now or _now
        self.aio = AsyncSessions(store, self._steps, self._now)

    def create(
        self,
        session_id: str | None = None,
        *,
        prefix: str = "session",
        state: Mapping[str, Any] | None = None,
    ) -> Session:
        """Make a session that was not there.

        Args:
            session_id: its id; None makes one, ``<prefix>_YYYYMMDD_HHMMSS`` in local time, with
                ``_2``, ``_3`` … behind it where that is taken. It is taken atomically.
            prefix: what an id made here begins with.
            state: its first state; None for an empty session.

        Raises:
            SessionExistsError: there is a session with the id that was given.
        """
        return drive(self._steps.create(session_id, prefix, self._now(), state), self.store)

    def save(
        self,
        session_id: str,
        state: Mapping[str, Any],
        *,
        expect: int | Session | None = None,
        replace: bool = False,
    ) -> Session:
        """Make `state` the session's state; the session is made if it is not there.

        Args:
            session_id: the session.
            state: all of it: a key that is not in it is no longer part of the state.
            expect: the `Session` that this is based on, or its `Session.revision`; None writes in
                any case.
            replace: whether to write over an interrupt that waits for an answer.

        Returns:
            The session as it was written.

        Raises:
            ConflictError: the session was written since `expect`, or waits for an answer and
                `replace` is False.
            SessionNotFoundError: `expect` was given and there is no such session.
            SerializationError: a value cannot be stored; nothing was written.
        """
        steps = self._steps.save(session_id, state, self._now(), expect=expect, replace=replace)
        return drive(steps, self.store)

    def get(self, session_id: str, *, at: str | None = None) -> Session | None:
        """A session, or None if it is not there; `at` names one of its checkpoints."""
        return drive(self._steps.get(session_id, at), self.store)

    def load(self, session_id: str, *, at: str | None = None) -> Session:
        """The same as `get`, but a session that is not there is a `SessionNotFoundError`."""
        return drive(self._steps.load(session_id, at), self.store)

    @contextmanager
    def edit(self, session_id: str, *, replace: bool = False) -> Iterator[Session]:
        """Load a session, let the block change its state, and save it if nobody else did.

        Nothing is saved if the block raises. Errors as `load` and `save`.
        """
        session = self.load(session_id)
        yield session
        self.save(session_id, session.state, expect=session, replace=replace)

    def exists(self, session_id: str) -> bool:
        """Whether the session is there."""
        return self.store.info(session_id) is not None

    def list(self, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """One page of all sessions, without their states; see `SessionStore.list_sessions`."""
        return self.store.list_sessions(cursor, limit)

    def touch(self, session_id: str) -> Life:
        """Use a session without changing it: its idle time starts again."""
        return self._steps.found(session_id, self.store.touch(session_id))

    def set_ttl(self, session_id: str, idle: Duration | None) -> Life:
        """Give a session an idle timeout of its own; None for no idle limit."""
        return self._steps.found(session_id, self.store.set_ttl(session_id, idle))

    def pin(self, session_id: str, *, pinned: bool = True) -> Life:
        """Keep a session for good, or (``pinned=False``) let it expire again."""
        return self._steps.found(session_id, self.store.pin(session_id, pinned=pinned))

    def delete(self, session_id: str) -> bool:
        """Delete a session, whole; False if it was not there."""
        return drive(self._steps.delete(session_id), self.store)

    def fork(self, session_id: str, new_id: str, *, at: str | None = None) -> Session:
        """Copy a session to a new id, optionally as it was at one of its checkpoints.

        Args:
            session_id: the session to copy, which stays as it is.
            new_id: the id of the copy, which must not be there.
            at: the checkpoint that the copy ends with; None for all of it.

        Raises:
            SessionExistsError: `new_id` is there; nothing was written.
            SessionNotFoundError: there is no such session, or no such checkpoint.
        """
        return drive(self._steps.fork(session_id, new_id, at), self.store)

    def transcript(
        self, session_id: str, *, checkpoint_id: str | None = None, messages: str = "messages"
    ) -> Transcript:
        """A session's conversation, as people read it.

        It is read as plain data: that takes neither LangChain nor the application's classes. Each
        message has the checkpoint, and its time, in which it first appeared, as far as the history
        tells; a message that could be new, or an older one that was changed, has none. A question
        that waits for its answer comes last.

        That costs one read of the session, one more per 100 checkpoints until all messages are
        found, and one per change of the list other than at its end; at most 64 MiB are read of
        earlier lists.

        Args:
            session_id: the session.
            checkpoint_id: as it was at this checkpoint; None for the latest one.
            messages: the name of the list of messages in the state; without one, there are none.

        Raises:
            SessionNotFoundError: there is no such session, or no such checkpoint.
            SerializationError: the list of messages cannot be read.
        """
        steps = _transcript(self._steps, session_id, checkpoint_id, messages)
        return drive(steps, self.store)

    def restore(
        self, archive: str | Path | Archive, session_id: str | None = None, *, replace: bool = False
    ) -> Session:
        """Bring a session back from its archive, with its history: a graph goes on from there.

        It keeps its age if the store's maximum age allows for that, and else counts as made now.

        Args:
            archive: what `SessionArchiver` gave, its folder, or the ``session.jsonl`` in it, which
                is what `export_session` writes.
            session_id: the id it is to have; None (default) for its own.
            replace: whether to replace a session of that id.

        Returns:
            The session as it is now.

        Raises:
            SessionExistsError: there is a session of that id, and `replace` is False.
            SessionNotFoundError: there is no archive.
            CorruptSessionError: the archive is damaged; nothing was written.
            FormatVersionError: a newer version of this package wrote it.
        """
        from wren_sessions.archives._restoring import restore_session

        id_ = restore_session(self.store, archive, session=session_id, replace=replace)
        return self.load(id_)

    @staticmethod
    def thread(session_id: str) -> dict[str, Any]:
        """The config by which LangGraph uses the session."""
        return {"configurable": {"thread_id": session_id}}


class AsyncSessions:
    """The same methods, to await. See `Sessions` for what they do.

    Args:
        store: where the sessions are.
        steps: the work, shared with the blocking face.
        now: gives the time.
    """

    def __init__(
        self, store: SessionStore, steps: SessionSteps, now: Callable[[], datetime]
    ) -> None:
        self.store = store
        self._steps = steps
        self._now = now

    async def create(
        self,
        session_id: str | None = None,
        *,
        prefix: str = "session",
        state: Mapping[str, Any] | None = None,
    ) -> Session:
        """See `Sessions.create`."""
        return await adrive(
            self._steps.create(session_id, prefix, self._now(), state), self.store.aio
        )

    async def save(
        self,
        session_id: str,
        state: Mapping[str, Any],
        *,
        expect: int | Session | None = None,
        replace: bool = False,
    ) -> Session:
        """See `Sessions.save`."""
        steps = self._steps.save(session_id, state, self._now(), expect=expect, replace=replace)
        return await adrive(steps, self.store.aio)

    async def get(self, session_id: str, *, at: str | None = None) -> Session | None:
        """See `Sessions.get`."""
        return await adrive(self._steps.get(session_id, at), self.store.aio)

    async def load(self, session_id: str, *, at: str | None = None) -> Session:
        """See `Sessions.load`."""
        return await adrive(self._steps.load(session_id, at), self.store.aio)

    @asynccontextmanager
    async def edit(self, session_id: str, *, replace: bool = False) -> AsyncIterator[Session]:
        """See `Sessions.edit`."""
        session = await self.load(session_id)
        yield session
        await self.save(session_id, session.state, expect=session, replace=replace)

    async def exists(self, session_id: str) -> bool:
        """See `Sessions.exists`."""
        return await self.store.aio.info(session_id) is not None

    async def list(self, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `Sessions.list`."""
        return await self.store.aio.list_sessions(cursor, limit)

    async def touch(self, session_id: str) -> Life:
        """See `Sessions.touch`."""
        return self._steps.found(session_id, await self.store.aio.touch(session_id))

    async def set_ttl(self, session_id: str, idle: Duration | None) -> Life:
        """See `Sessions.set_ttl`."""
        return self._steps.found(session_id, await self.store.aio.set_ttl(session_id, idle))

    async def pin(self, session_id: str, *, pinned: bool = True) -> Life:
        """See `Sessions.pin`."""
        return self._steps.found(session_id, await self.store.aio.pin(session_id, pinned=pinned))

    async def delete(self, session_id: str) -> bool:
        """See `Sessions.delete`."""
        return await adrive(self._steps.delete(session_id), self.store.aio)

    async def fork(self, session_id: str, new_id: str, *, at: str | None = None) -> Session:
        """See `Sessions.fork`."""
        return await adrive(self._steps.fork(session_id, new_id, at), self.store.aio)

    async def transcript(
        self, session_id: str, *, checkpoint_id: str | None = None, messages: str = "messages"
    ) -> Transcript:
        """See `Sessions.transcript`."""
        steps = _transcript(self._steps, session_id, checkpoint_id, messages)
        return await adrive(steps, self.store.aio)

    async def restore(
        self, archive: str | Path | Archive, session_id: str | None = None, *, replace: bool = False
    ) -> Session:
        """See `Sessions.restore`. The file is read in another thread."""
        from wren_sessions.archives._restoring import arestore_session

        id_ = await arestore_session(self.store, archive, session=session_id, replace=replace)
        return await self.load(id_)

    @staticmethod
    def thread(session_id: str) -> dict[str, Any]:
        """See `Sessions.thread`."""
        return Sessions.thread(session_id)


def _transcript(
    steps: SessionSteps, session_id: str, checkpoint_id: str | None, messages: str
) -> Steps[Transcript]:
    """The work of `transcript`, whose modules are loaded when it is first asked for."""
    from wren_sessions.transcripts._building import Transcribing
    from wren_sessions.transcripts._reading import reader

    job = Transcribing(steps.checkpoints, reader(steps.serde))
    return job.run(session_id, checkpoint_id, messages)


def _now() -> datetime:
    return datetime.now(UTC)
