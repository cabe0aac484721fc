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

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wren_sessions._arguments import (
    check_callable,
    check_names,
    check_serde,
    check_store,
    check_whole_number,
)
from wren_sessions._blocking import Unsuspended, run
from wren_sessions._walks import aall_sessions, all_sessions
from wren_sessions.checkpoints import Checkpoints
from wren_sessions.checkpoints.record_cache import DEFAULT_BYTES, Cache
from wren_sessions.checkpoints.turns import Rules, Turn
from wren_sessions.delta.encoder import Serializer
from wren_sessions.delta.protection import protection_of
from wren_sessions.protocols import SessionStore, knowing_owners
from wren_sessions.records import Life, SessionInfo, SessionPage
from wren_sessions.serializers import chosen_serializer
from wren_sessions.sessions.noting import annotate, changes_of, listing
from wren_sessions.sessions.operations import (
    MAX_ATTEMPTS,
    OVERTAKEN,
    QUICK_ATTEMPTS,
    Session,
    SessionOperations,
    T,
)
from wren_sessions.ttl import Duration

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

    from wren_sessions.archives import Archive
    from wren_sessions.serializers.migrations import Migrations
    from wren_sessions.transcripts import Transcript


class Sessions:
    """Sessions of one store, by id.

    Args:
        store: where they are.
        serde: turns values into bytes; None for `SafeSerializer`, with its defaults.
        cache_bytes: how much to remember of what was written and read; 0 for nothing.
        header: keys whose strings may stand in a session's readable header, besides its numbers
            and booleans.
        now: gives the time that checkpoints are stamped with; None for the system's clock.
            Lifetimes are decided by the store's clock.
        migrations: how the application's classes have changed since values were stored.

    Raises:
        ConfigurationError: an argument is not of its type.
    """

    def __init__(
        self,
        store: SessionStore,
        *,
        serde: Serializer | None = None,
        cache_bytes: int = DEFAULT_BYTES,
        header: Collection[str] = (),
        now: Callable[[], datetime] | None = None,
        migrations: Migrations | None = None,
    ) -> None:
        check_store(store, type(self).__name__)
        check_serde(serde, type(self).__name__)
        check_whole_number(cache_bytes, "cache_bytes")
        check_names(header, "header")
        check_callable(now, "now", "the time")
        if migrations is not None:
            serde = chosen_serializer(serde, migrations, type(self).__name__)
        self.store = store
        self.serde = serde
        self._now = now or _now
        shared = (Cache(cache_bytes), header, protection_of(store), Rules(store))
        blocking = Checkpoints(Unsuspended(store), *shared)
        awaited = Checkpoints(store.aio, *shared)
        self._operations = SessionOperations(blocking, serde)
        self.aio = AsyncSessions(store, SessionOperations(awaited, serde), self._now)

    def create(
        self,
        session_id: str | None = None,
        *,
        prefix: str = "session",
        state: Mapping[str, Any] | None = None,
    ) -> Session:
        """Make a session that was not there.

        Args:
            session_id: its id, which is taken atomically; None makes a random one that nobody can
                guess: ``<prefix>_`` and 20 hexadecimal digits.
            prefix: what an id made here begins with.
            state: its first state; None for an empty session.

        Raises:
            SessionExistsError: there is a session with the id that was given.
        """
        return run(self._operations.create(session_id, prefix, self._now(), state))

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
        return run(
            self._operations.save(session_id, state, self._now(), expect=expect, replace=replace)
        )

    def get(self, session_id: str, *, at: str | None = None) -> Session | None:
        """A session, or None if it is not there; `at` names one of its checkpoints."""
        return run(self._operations.get(session_id, at))

    def load(self, session_id: str, *, at: str | None = None) -> Session:
        """The same as `get`, but a session that is not there is a `SessionNotFoundError`."""
        return run(self._operations.load(session_id, at))

    @contextmanager
    def edit(self, session_id: str, *, replace: bool = False) -> Iterator[Session]:
        """Load a session, let the block change its state, and save it if nobody else did.

        Nothing is saved if the block raises. Errors as `load` and `save`.
        """
        session = self.load(session_id)
        yield session
        self.save(session_id, session.state, expect=session, replace=replace)

    def update(
        self,
        session_id: str,
        change: Callable[[dict[str, Any]], T],
        *,
        wait: Duration | None = "30s",
        replace: bool = False,
    ) -> T:
        """Change a session's state, whoever else does; the session is made if it is not there.

        Where somebody else was quicker, their state is loaded and changed instead, so nothing that
        was written is lost. After a few tries it waits for the session's turn, if the store has
        turns. It is one read and one write where nobody else writes.

        Args:
            session_id: the session.
            change: is given the state, and changes it in place; it may be called several times.
                Nothing is saved if it raises.
            wait: how long to wait for the turn; None for as long as it takes.
            replace: whether to write over an interrupt that waits for an answer.

        Returns:
            What `change` returned for the state that was saved.

        Raises:
            ConflictError: others have the session's turn when the time to wait is over, or the
                session waits for an answer and `replace` is False.
            SerializationError: a value cannot be stored; nothing was written.
        """
        attempt = partial(self._operations.update, session_id, change, self._now(), replace=replace)
        if not hasattr(self.store, "turn"):
            return run(attempt(attempts=MAX_ATTEMPTS))
        with suppress(*OVERTAKEN):
            return run(attempt(attempts=QUICK_ATTEMPTS))
        with self.turn(session_id, wait=wait):
            return run(attempt(attempts=QUICK_ATTEMPTS))

    def turn(
        self,
        session_id: str,
        *,
        wait: Duration | None = None,
        ttl: Duration = "30s",
        holder: str | None = None,
    ) -> Turn:
        """The right to be the only one who writes a session, for a block: ``with``, ``async with``.

        What is written in the block carries the turn: by these sessions, and by graphs on a
        `SessionSaver` of the same store. What others write meanwhile is a `ConflictError` there.
        It is renewed while the block runs. If the process dies, the session is free after `ttl`;
        if it is paused for longer than that, the turn is lost, and its writes are refused.

        A session that is not there is made, empty, and goes again if nothing is written.

        Args:
            session_id: the session.
            wait: how long to wait while others have it, in the order in which they came; None
                (default) for as long as it takes, 0 for not at all.
            ttl: how long the turn outlives this process.
            holder: who has it, as the errors of others say; None for the machine and the process.

        Raises:
            ConflictError: others still have the turn when the time to wait is over; raised by
                ``with``.
            ConfigurationError: the store has no turns.
        """
        return Turn(self.store, session_id, wait=wait, ttl=ttl, holder=holder)

    def exists(self, session_id: str) -> bool:
        """Whether the session is there."""
        return self.store.info(session_id) is not None

    def annotate(
        self,
        session_id: str,
        *,
        owner: str | None = None,
        title: str | None = None,
        tags: Sequence[str] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> SessionInfo:
        """Say whose a session is, and note something about it. This does not count as use.

        What is not given, or None, stays as it is; what is empty is removed.

        Args:
            session_id: the session.
            owner: whose it is; ``list(owner=…)`` finds it then. Empty for nobody's.
            title: its title, for people.
            tags: its tags.
            attributes: anything else that is small and JSON; title, tags and attributes have 4,096
                bytes together.

        Returns:
            What is known of the session now.

        Raises:
            SessionNotFoundError: there is no such session.
            ConfigurationError: something cannot be noted, or the store keeps no notes.
        """
        knowing_owners(self.store)
        changes = changes_of(title, tags, attributes)
        return run(annotate(Unsuspended(self.store), session_id, owner, changes))

    def list(
        self,
        cursor: str | None = None,
        limit: int = 100,
        *,
        owner: str | None = None,
        tag: str | None = None,
        order: Literal["updated"] | None = None,
    ) -> SessionPage:
        """One page of sessions, without their states; its `cursor` is what to go on with.

        Args:
            cursor: None to begin, then `SessionPage.cursor` of the page before, of the same owner.
            limit: how many sessions to look at, about.
            owner: list only this owner's, the last written first. It costs what is on the page,
                however many sessions there are.
            tag: leave out those that do not have this tag: the page holds fewer then.
            order: ``"updated"`` is the order that an owner's sessions have anyway; all sessions
                (None) come in the store's own order.

        Raises:
            ConfigurationError: the cursor is not from this listing, the limit is not a whole number
                of at least 1, `tag` or `order` is something else, or the store does not know
                owners.
        """
        if owner is not None:
            knowing_owners(self.store)
        found = listing(Unsuspended(self.store), cursor, limit, owner=owner, tag=tag, order=order)
        return run(found)

    def owned(self, owner: str) -> Iterator[SessionInfo]:
        """All sessions of an owner, the last written first, page by page.

        ``for info in sessions.owned("ann"): sessions.pin(info.session)`` does something with each.
        """
        knowing_owners(self.store)
        return all_sessions(self.store, owner=owner)

    def touch(self, session_id: str) -> Life:
        """Use a session without changing it: its idle time starts again."""
        return self._operations.found(session_id, self.store.touch(session_id))

    def set_ttl(self, session_id: str, idle: Duration | None) -> Life:
        """Give a session an idle timeout of its own; None for no idle limit."""
        return self._operations.found(session_id, self.store.set_ttl(session_id, idle))

    def pin(self, session_id: str, *, pinned: bool = True) -> Life:
        """Keep a session for good, or (``pinned=False``) let it expire again."""
        return self._operations.found(session_id, self.store.pin(session_id, pinned=pinned))

    def delete(self, session_id: str) -> bool:
        """Delete a session, whole; False if it was not there."""
        return run(self._operations.delete(session_id))

    def prune(self, session_id: str, *, keep_last: int = 1) -> int:
        """Drop a session's earlier checkpoints, and what only they hold; its state stays.

        What a graph needs is kept besides: pending writes of the latest checkpoint, and the history
        of a channel that lives in it.

        Args:
            session_id: the session; one that is not there has nothing to drop.
            keep_last: how many checkpoints to keep, of the session and of each subgraph.

        Returns:
            How many were dropped.

        Raises:
            ConflictError: the session was written each time while it was being pruned.
        """
        return run(self._operations.prune(session_id, keep_last))

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
        return run(self._operations.fork(session_id, new_id, at))

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
        return run(_transcript(self._operations, session_id, checkpoint_id, messages))

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
    def thread(session_id: str) -> RunnableConfig:
        """The config by which LangGraph uses the session."""
        return {"configurable": {"thread_id": session_id}}


class AsyncSessions:
    """The same methods, to await. See `Sessions` for what they do.

    Args:
        store: where the sessions are.
        operations: the work, on the store's awaitable face.
        now: gives the time.
    """

    def __init__(
        self, store: SessionStore, operations: SessionOperations, now: Callable[[], datetime]
    ) -> None:
        self.store = store
        self._operations = operations
        self._now = now

    async def create(
        self,
        session_id: str | None = None,
        *,
        prefix: str = "session",
        state: Mapping[str, Any] | None = None,
    ) -> Session:
        """See `Sessions.create`."""
        return await self._operations.create(session_id, prefix, self._now(), state)

    async def save(
        self,
        session_id: str,
        state: Mapping[str, Any],
        *,
        expect: int | Session | None = None,
        replace: bool = False,
    ) -> Session:
        """See `Sessions.save`."""
        return await self._operations.save(
            session_id, state, self._now(), expect=expect, replace=replace
        )

    async def get(self, session_id: str, *, at: str | None = None) -> Session | None:
        """See `Sessions.get`."""
        return await self._operations.get(session_id, at)

    async def load(self, session_id: str, *, at: str | None = None) -> Session:
        """See `Sessions.load`."""
        return await self._operations.load(session_id, at)

    @asynccontextmanager
    async def edit(self, session_id: str, *, replace: bool = False) -> AsyncIterator[Session]:
        """See `Sessions.edit`."""
        session = await self.load(session_id)
        yield session
        await self.save(session_id, session.state, expect=session, replace=replace)

    async def update(
        self,
        session_id: str,
        change: Callable[[dict[str, Any]], T],
        *,
        wait: Duration | None = "30s",
        replace: bool = False,
    ) -> T:
        """See `Sessions.update`. `change` is an ordinary function."""
        attempt = partial(self._operations.update, session_id, change, self._now(), replace=replace)
        if not hasattr(self.store, "turn"):
            return await attempt(attempts=MAX_ATTEMPTS)
        with suppress(*OVERTAKEN):
            return await attempt(attempts=QUICK_ATTEMPTS)
        async with self.turn(session_id, wait=wait):
            return await attempt(attempts=QUICK_ATTEMPTS)

    def turn(
        self,
        session_id: str,
        *,
        wait: Duration | None = None,
        ttl: Duration = "30s",
        holder: str | None = None,
    ) -> Turn:
        """See `Sessions.turn`."""
        return Turn(self.store, session_id, wait=wait, ttl=ttl, holder=holder)

    async def exists(self, session_id: str) -> bool:
        """See `Sessions.exists`."""
        return await self.store.aio.info(session_id) is not None

    async def annotate(
        self,
        session_id: str,
        *,
        owner: str | None = None,
        title: str | None = None,
        tags: Sequence[str] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> SessionInfo:
        """See `Sessions.annotate`."""
        knowing_owners(self.store)
        changes = changes_of(title, tags, attributes)
        return await annotate(self.store.aio, session_id, owner, changes)

    async def list(
        self,
        cursor: str | None = None,
        limit: int = 100,
        *,
        owner: str | None = None,
        tag: str | None = None,
        order: Literal["updated"] | None = None,
    ) -> SessionPage:
        """See `Sessions.list`."""
        if owner is not None:
            knowing_owners(self.store)
        return await listing(self.store.aio, cursor, limit, owner=owner, tag=tag, order=order)

    def owned(self, owner: str) -> AsyncIterator[SessionInfo]:
        """See `Sessions.owned`."""
        knowing_owners(self.store)
        return aall_sessions(self.store, owner=owner)

    async def touch(self, session_id: str) -> Life:
        """See `Sessions.touch`."""
        return self._operations.found(session_id, await self.store.aio.touch(session_id))

    async def set_ttl(self, session_id: str, idle: Duration | None) -> Life:
        """See `Sessions.set_ttl`."""
        return self._operations.found(session_id, await self.store.aio.set_ttl(session_id, idle))

    async def pin(self, session_id: str, *, pinned: bool = True) -> Life:
        """See `Sessions.pin`."""
        return self._operations.found(
            session_id, await self.store.aio.pin(session_id, pinned=pinned)
        )

    async def delete(self, session_id: str) -> bool:
        """See `Sessions.delete`."""
        return await self._operations.delete(session_id)

    async def prune(self, session_id: str, *, keep_last: int = 1) -> int:
        """See `Sessions.prune`."""
        return await self._operations.prune(session_id, keep_last)

    async def fork(self, session_id: str, new_id: str, *, at: str | None = None) -> Session:
        """See `Sessions.fork`."""
        return await self._operations.fork(session_id, new_id, at)

    async def transcript(
        self, session_id: str, *, checkpoint_id: str | None = None, messages: str = "messages"
    ) -> Transcript:
        """See `Sessions.transcript`."""
        return await _transcript(self._operations, session_id, checkpoint_id, messages)

    async def restore(
        self, archive: str | Path | Archive, session_id: str | None = None, *, replace: bool = False
    ) -> Session:
        """See `Sessions.restore`. The file is read in another thread."""
        from wren_sessions.archives._restoring import arestore_session

        id_ = await arestore_session(self.store, archive, session=session_id, replace=replace)
        return await self.load(id_)

    @staticmethod
    def thread(session_id: str) -> RunnableConfig:
        """See `Sessions.thread`."""
        return Sessions.thread(session_id)


async def _transcript(
    operations: SessionOperations, session_id: str, checkpoint_id: str | None, messages: str
) -> Transcript:
    """The work of `transcript`, whose modules are loaded when it is first asked for."""
    from wren_sessions.transcripts._building import Transcribing
    from wren_sessions.transcripts._reading import reader

    job = Transcribing(operations.checkpoints, reader(operations.serde))
    return await job.run(session_id, checkpoint_id, messages)


def _now() -> datetime:
    return datetime.now(UTC)
