"""`Sessions`: the same sessions, for apps without LangGraph or in addition to a graph.

A session's state is a dict. Saving it writes a checkpoint. So a LangGraph app continues from what
was saved here, and this class loads what the app wrote::

    sessions = Sessions(open_store("redis://localhost:6379/0"))
    session = sessions.create(prefix="cli")
    sessions.save(session.id, {"turn_count": 1})
    with sessions.edit(session.id) as session:
        session.state["turn_count"] += 1

`Sessions` blocks. `Sessions(...).aio` has the same methods to await; see `async_facade`. Methods
raise the errors of `wren_sessions.errors`. If a session does not exist or has expired, `get`
returns None. `load`, and every method that changes a session, raise `SessionNotFoundError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
from wren_sessions._walks import all_sessions
from wren_sessions.checkpoints import Checkpoints
from wren_sessions.checkpoints.record_cache import DEFAULT_BYTES, Cache
from wren_sessions.checkpoints.turns import Rules, Turn
from wren_sessions.delta.encoder import Serializer
from wren_sessions.delta.protection import protection_of
from wren_sessions.protocols import SessionStore, knowing_owners
from wren_sessions.records import Life, SessionInfo, SessionPage
from wren_sessions.serializers import chosen_serializer
from wren_sessions.sessions.async_facade import AsyncSessions
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
    """The sessions of one store, by id.

    Args:
        store: where they are.
        serde: turns values into bytes; None for a default `SafeSerializer`.
        cache_bytes: how many bytes to cache of what was written and read; 0 for no cache.
        header: keys whose strings may be in a session's readable header, in addition to its numbers
            and booleans.
        now: returns the time for new checkpoints; None for the system's clock. Lifetimes depend on
            the store's clock.
        migrations: how the application's classes have changed since values were stored.

    Raises:
        ConfigurationError: an argument has the wrong type.
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
        self.aio: AsyncSessions = AsyncSessions(store, SessionOperations(awaited, serde), self._now)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.store!r})"

    def create(
        self,
        session_id: str | None = None,
        *,
        prefix: str = "session",
        state: Mapping[str, Any] | None = None,
        owner: str | None = None,
    ) -> Session:
        """Create a new session.

        Args:
            session_id: its id; only one of several callers at once gets it. None creates a random
                id that nobody can guess: ``<prefix>_`` and 20 hexadecimal digits.
            prefix: the beginning of a random id.
            state: its initial state; None for an empty session.
            owner: its owner, from the first write on; None for no owner.

        Raises:
            SessionExistsError: a session with this id exists already.
            ConfigurationError: the store does not support owners.
        """
        if owner is not None:
            knowing_owners(self.store)
        return run(self._operations.create(session_id, prefix, self._now(), state, owner))

    def save(
        self,
        session_id: str,
        state: Mapping[str, Any],
        *,
        expect: int | Session | None = None,
        replace: bool = False,
    ) -> Session:
        """Save `state` as the session's state. Creates the session if it does not exist.

        Args:
            session_id: the session.
            state: the complete state; keys that are missing here are removed from the session.
            expect: the `Session` that this state is based on, or its `Session.revision`; None
                always writes.
            replace: whether to write over an interrupt that waits for an answer.

        Returns:
            The session as it was saved.

        Raises:
            ConflictError: the session was written since `expect`, or it waits for an answer and
                `replace` is False.
            SessionNotFoundError: `expect` was passed, and the session does not exist.
            SerializationError: a value cannot be stored; nothing was written.
        """
        return run(
            self._operations.save(session_id, state, self._now(), expect=expect, replace=replace)
        )

    def get(self, session_id: str, *, at: str | None = None) -> Session | None:
        """A session, or None if it does not exist. `at` is the id of one of its checkpoints."""
        return run(self._operations.get(session_id, at))

    def load(self, session_id: str, *, at: str | None = None) -> Session:
        """The same as `get`, but raises `SessionNotFoundError` if the session does not exist."""
        return run(self._operations.load(session_id, at))

    @contextmanager
    def edit(self, session_id: str, *, replace: bool = False) -> Iterator[Session]:
        """Load a session, let the block change its state, and save it if nobody else has.

        If the block raises, nothing is saved. Raises the errors of `load` and `save`.
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
        """Change a session's state, even while others do. Creates it if it does not exist.

        If somebody else was faster, their state is loaded and changed instead. So nothing that was
        written is lost. After a few attempts it waits for the session's turn, if the store has
        turns. If nobody else writes, it takes one read and one write.

        Args:
            session_id: the session.
            change: gets the state, and changes it in place. It may be called several times. If it
                raises, nothing is saved.
            wait: how long to wait for the turn; None for as long as it takes.
            replace: whether to write over an interrupt that waits for an answer.

        Returns:
            What `change` returned for the state that was saved.

        Raises:
            ConflictError: others still have the session's turn after `wait`, or the session waits
                for an answer and `replace` is False.
            SerializationError: a value cannot be stored; nothing was written.
        """
        attempt = partial(self._operations.update, session_id, change, self._now(), replace=replace)
        if not hasattr(self.store, "turn"):
            return run(attempt(attempts=MAX_ATTEMPTS))
        turn = self.turn(session_id, wait=wait)
        with suppress(*OVERTAKEN):
            return run(attempt(attempts=QUICK_ATTEMPTS))
        with turn:
            return run(attempt(attempts=QUICK_ATTEMPTS))

    def turn(
        self,
        session_id: str,
        *,
        wait: Duration | None = None,
        ttl: Duration = "30s",
        holder: str | None = None,
    ) -> Turn:
        """The exclusive right to write a session, during a ``with`` or ``async with`` block.

        Everything that the block writes uses the turn, whether through `Sessions` or through graphs
        on a `SessionSaver` of the same store. If others write meanwhile, they get a
        `ConflictError`. The turn is renewed while the block runs. If the process dies, the session
        is free after `ttl`. If the process is paused for longer than `ttl`, it loses the turn, and
        its writes are refused.

        If the session does not exist, an empty one is created. It is removed again if nothing is
        written.

        Args:
            session_id: the session.
            wait: how long to wait while others have the turn. Waiters get it in the order in which
                they came. None (default) waits as long as it takes, 0 does not wait.
            ttl: how long the turn lasts if this process dies.
            holder: the name of the holder in the errors that others get; None for the machine and
                process id.

        Raises:
            ConflictError: others still have the turn after `wait`. The ``with`` statement raises
                it.
            ConfigurationError: the store has no turns.
        """
        return Turn(self.store, session_id, wait=wait, ttl=ttl, holder=holder)

    def exists(self, session_id: str) -> bool:
        """Whether the session exists."""
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
        """Set the owner, title, tags or attributes of a session. This does not count as use.

        Arguments that are None stay as they are. Empty values are removed.

        Args:
            session_id: the session.
            owner: the owner; ``list(owner=…)`` then finds the session. Empty for no owner.
            title: a title for people.
            tags: a list of tags.
            attributes: any other small JSON data. Title, tags and attributes can have 4,096 bytes
                together.

        Returns:
            What is known of the session now.

        Raises:
            SessionNotFoundError: there is no such session.
            ConfigurationError: a value cannot be stored, or the store does not support owners and
                notes.
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
        """One page of sessions, without their states. Its `cursor` continues the list.

        Args:
            cursor: None to begin, then `SessionPage.cursor` of the previous page of the same list.
            limit: about how many sessions to look at.
            owner: list only this owner's sessions, the last written first. The cost depends only on
                the page, not on the number of sessions.
            tag: leave out sessions without this tag, so the page has fewer.
            order: ``"updated"`` is the order of an owner's sessions in any case. All sessions
                (None) come in the store's own order.

        Raises:
            ConfigurationError: the cursor is of another list, `limit` is not a whole number of at
                least 1, `tag` or `order` is not valid, or the store does not support owners.
        """
        if owner is not None:
            knowing_owners(self.store)
        found = listing(Unsuspended(self.store), cursor, limit, owner=owner, tag=tag, order=order)
        return run(found)

    def owned(self, owner: str) -> Iterator[SessionInfo]:
        """All sessions of an owner, the last written first, page by page.

        For example, ``for info in sessions.owned("ann"): sessions.pin(info.session)`` pins each.
        """
        knowing_owners(self.store)
        return all_sessions(self.store, owner=owner)

    def touch(self, session_id: str) -> Life:
        """Restart the idle timeout of a session without changing it."""
        return self._operations.found(session_id, self.store.touch(session_id))

    def set_ttl(self, session_id: str, idle: Duration | None) -> Life:
        """Set an idle timeout for one session; None for no idle timeout."""
        return self._operations.found(session_id, self.store.set_ttl(session_id, idle))

    def pin(self, session_id: str, *, pinned: bool = True) -> Life:
        """Never let a session expire, or (``pinned=False``) let it expire again."""
        return self._operations.found(session_id, self.store.pin(session_id, pinned=pinned))

    def delete(self, session_id: str, *, owner: str | None = None) -> bool:
        """Delete a session.

        Args:
            session_id: the session.
            owner: whose session it has to be, so that a loop over `owned` deletes nothing that was
                handed over since it was listed. None (default) to delete it whoever owns it.

        Returns:
            False if it did not exist.

        Raises:
            ConflictError: it has another owner, or none; nothing was deleted.
            ConfigurationError: `owner` is given, and the store does not support owners.
        """
        if owner is not None:
            knowing_owners(self.store)
        return run(self._operations.delete(session_id, owner))

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
        """Copy a session to a new id, as it is now or at an earlier checkpoint.

        Args:
            session_id: the session to copy. It is not changed.
            new_id: the id of the copy, which must not exist yet.
            at: the last checkpoint of the copy; None copies all of them.

        Raises:
            SessionExistsError: `new_id` exists already; nothing was written.
            SessionNotFoundError: there is no such session, or no such checkpoint.
        """
        return run(self._operations.fork(session_id, new_id, at))

    def transcript(
        self, session_id: str, *, checkpoint_id: str | None = None, messages: str = "messages"
    ) -> Transcript:
        """A session's conversation, as people read it.

        It is read as plain data, which needs neither LangChain nor the application's classes. Each
        message has the checkpoint in which it first appeared, and the time of that checkpoint, as
        far as the history shows them. If a message may be new or a changed older one, it has
        neither. A question that waits for an answer comes last.

        This takes one read of the session, one more for each 100 checkpoints until all messages are
        found, and one for each change of the list that is not at its end. At most 64 MiB of earlier
        lists are read.

        Args:
            session_id: the session.
            checkpoint_id: the conversation at this checkpoint; None for the latest.
            messages: the name of the list of messages in the state. If there is no such list, the
                transcript has no messages.

        Raises:
            SessionNotFoundError: there is no such session, or no such checkpoint.
            SerializationError: the list of messages cannot be read.
        """
        from wren_sessions.transcripts._building import transcript_of  # when it is asked for

        return run(transcript_of(self._operations, session_id, checkpoint_id, messages))

    def restore(
        self, archive: str | Path | Archive, session_id: str | None = None, *, replace: bool = False
    ) -> Session:
        """Restore a session from its archive, with its history. A graph can continue from there.

        It keeps its age if the store's maximum age allows that. Otherwise it counts as created now.

        Args:
            archive: an `Archive` from `SessionArchiver`, its folder, or the ``session.jsonl`` in
                it, which has the format of `export_session`.
            session_id: the new id; None (default) for the session's own id.
            replace: whether to replace a session of that id.

        Returns:
            The restored session.

        Raises:
            SessionExistsError: a session with that id exists, and `replace` is False.
            SessionNotFoundError: the archive does not exist.
            CorruptSessionError: the archive is damaged; nothing was written.
            FormatVersionError: a newer version of this package wrote it.
        """
        from wren_sessions.archives._restoring import restored  # when it is asked for
        from wren_sessions.transfer._api import StoreApi

        api = StoreApi.blocking(self.store, "restore")
        id_ = run(restored(api, archive, session=session_id, replace=replace))
        return self.load(id_)

    @staticmethod
    def thread(session_id: str) -> RunnableConfig:
        """The LangGraph config for this session."""
        return {"configurable": {"thread_id": session_id}}


def _now() -> datetime:
    return datetime.now(UTC)
