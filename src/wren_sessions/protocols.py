"""The store protocol: what a backend implements, and all that the package needs from it.

A store keeps sessions as `wren_sessions.records` describes them. Each method is one atomic
operation. Nobody ever sees half of it, and on a server it is one round trip. Work that needs
several operations is built on top of the store.

To add a backend, write the methods of `SessionStore`, run `wren_sessions.testing.StoreContract`
against it, and register its URL scheme (see ``docs/how-to/write-a-store.md``). The rules:

- **Sync and async.** A store's own methods block. ``store.aio`` has the same methods to await. If a
  driver only blocks, `wren_sessions.stores.threaded.ThreadedStore` adds the async API.
- **Atomic, at most once.** All conditions are checked before anything is written. If a commit with
  the same token was applied before, the commit returns the same answer and writes nothing.
- **Not found is None** (or False, or an empty page). An expired session is not found, even before
  it has been removed. A failure raises an error of `wren_sessions.errors`. An outage or damaged
  data never looks like "not found".
- **The store's clock** decides what has expired. Each store has one clock, not one per client.
- **The caller's bytes** are stored unchanged, and neither side can change the other's copy.
- **Constructors do no I/O.** `close` may be called twice. ``with`` and ``async with`` call it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from wren_sessions.errors import ConfigurationError
from wren_sessions.keys import KeySpace
from wren_sessions.records import (
    ArenaParts,
    Commit,
    Committed,
    Held,
    Life,
    Loaded,
    Name,
    Notes,
    Prune,
    Scanned,
    SessionInfo,
    SessionPage,
    Span,
    Start,
    TurnState,
    TurnStep,
)
from wren_sessions.ttl import Duration, TTLPolicy


class SessionStore(Protocol):
    """A store of sessions. All methods block."""

    @property
    def ttl(self) -> TTLPolicy:
        """How long its sessions live."""

    @property
    def keys(self) -> KeySpace:
        """How its sessions are named. No method sees or changes sessions with another prefix."""

    @property
    def location(self) -> str:
        """Where the sessions are, for people: a URL without a password and without options."""

    @property
    def persistent(self) -> bool:
        """Whether the sessions survive the end of this process."""

    @property
    def aio(self) -> AsyncSessionStore:
        """The same store, to await."""

    def commit(self, commit: Commit) -> Committed:
        """Write one checkpoint, pending writes and header, all or nothing.

        A commit counts as use of the session and restarts its deadline, unless the policy's
        `refresh` is ``"never"`` and the session existed.

        Args:
            commit: what to write, and under which conditions.

        Returns:
            What happened. If a condition fails, that is an outcome and not an error, and nothing
            was written.

        Raises:
            InvalidSessionIdError: an id is not valid.
            CorruptSessionError: something other than a session has the session's name.
            StoreUnavailableError: the store cannot be written; nothing was written.
            StoreTimeoutError: no answer came; the commit may have happened.
        """

    def prune(self, prune: Prune) -> Committed:
        """Delete records and what only they need, all or nothing. Does not count as use.

        Args:
            prune: what to delete, and the state that this was computed from.

        Returns:
            ``"done"``, ``"gone"`` or ``"conflict"``. With ``"done"`` comes the session's life, or
            None if it lost its last record and was deleted.
        """

    def load(
        self,
        session: str,
        namespace: str = "",
        checkpoint_id: str | None = None,
        held: Held | None = None,
    ) -> Loaded | None:
        """Read one checkpoint with its pending writes and the parts of the arena it refers to.

        Counts as use of the session if the policy's `refresh` is ``"read"`` and the checkpoint
        exists.

        Args:
            session: the session's id.
            namespace: a subgraph's path; empty for the root namespace.
            checkpoint_id: which checkpoint; None for the namespace's head.
            held: parts of the arena that the caller has. The answer may leave them out, if they are
                from the session's present incarnation. None for no parts.

        Returns:
            The checkpoint, or None if the session or the checkpoint does not exist.
        """

    def scan(self, session: str, starts: Sequence[Start], limit: int) -> Scanned:
        """Read records with their pending writes, by descending id. Does not read the arena.

        Args:
            session: the session's id.
            starts: the namespaces, in order. Each has the id below which to start. This id need not
                exist.
            limit: the maximum number of records, at least 1.

        Returns:
            The records, the place to continue, and the heads of the namespaces that were reached.
            No records if the session does not exist.

        Raises:
            ConfigurationError: the limit is below 1.
        """

    def read(self, session: str, spans: Sequence[Span]) -> ArenaParts | None:
        """Read parts of the arena.

        Args:
            session: the session's id.
            spans: which parts; they must not overlap.

        Returns:
            The bytes, or None if the session or one of the parts does not exist.
        """

    def heads(self, session: str) -> tuple[Name, ...]:
        """The latest checkpoint of each namespace, in the order of their first checkpoints.

        Returns:
            Their names; empty if the session does not exist or has no checkpoint.
        """

    def info(self, session: str) -> SessionInfo | None:
        """A session's life, header and size; None if it does not exist. Does not count as use."""

    def list_sessions(self, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """One page of all sessions, except those still being created (`keys.StagingId`).

        Args:
            cursor: None to begin, then `SessionPage.cursor` of the previous page.
            limit: about how many sessions to return, at least 1. A page may have fewer or more.

        Raises:
            ConfigurationError: the cursor is of another list, or the limit is not a whole number of
                at least 1.
        """

    def touch(self, session: str) -> Life | None:
        """Restart a session's idle timeout without changing it, whatever `refresh` says.

        Returns:
            The new life, or None if the session does not exist or is past the policy's maximum age.
        """

    def set_ttl(self, session: str, idle: Duration | None) -> Life | None:
        """Set an idle timeout for one session, counted from now; None for no idle timeout.

        The policy's maximum age still applies, and a pinned session stays pinned.

        Returns:
            The new life, or None if the session does not exist.
        """

    def pin(self, session: str, *, pinned: bool = True) -> Life | None:
        """Never let a session expire, or (``pinned=False``) let it expire again, from now.

        Returns:
            The new life. None if the session does not exist, or would end at once without its pin
            because its maximum age has passed. Then nothing was changed.
        """

    def delete(self, session: str) -> bool:
        """Delete a session. False if it did not exist."""

    def copy(
        self,
        source: str,
        target: str,
        *,
        replace: bool | Life = False,
        state: bytes | None = None,
        expect: Life | None = None,
    ) -> Life | None:
        """Copy a complete session: records, arena, pending writes, header, age, timeout and pin.

        The copy counts as used now. It has a new incarnation and the source's revision.

        Args:
            source: the session to copy.
            target: the copy's id, which must not be the source's.
            replace: whether to replace an existing session with that id. A life: replace only that
                session, and only if nobody has written it since; a `Seen`: nor pinned or annotated
                it, nor set its timeout.
            state: the copy's header; None for the source's.
            expect: a life of the source: copy it only if nobody has written it since.

        Returns:
            The copy's life, or None if the source does not exist.

        Raises:
            ConfigurationError: source and target are the same session.
            SessionExistsError: the target exists and `replace` is False; nothing was written.
            ConflictError: the source or the target has changed since `expect` or `replace`; nothing
                was written.
            SessionExpiredError: the source is past the maximum age of this store's policy.
        """

    def ping(self) -> None:
        """Check that the store answers.

        Raises:
            StoreUnavailableError: it does not. The message says what to check.
        """

    def close(self) -> None:
        """Close connections and files. Sessions stay."""

    def __enter__(self) -> Self:
        """The store itself."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Close it."""

    async def __aenter__(self) -> Self:
        """The store itself."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Close it."""


class TurnStore(Protocol):
    """An optional part of a store: only one writer at a time for a session.

    Such a store also enforces `Commit.turn`.
    """

    def turn(self, step: TurnStep) -> TurnState:
        """Take, keep or give back a session's turn.

        This does not wait: a caller that does not get the turn calls again. The first caller gets
        it first, as long as it calls again while its place is kept. Taking or keeping the turn
        counts as use of the session. If the session does not exist, an empty one is created. It
        ends with its turn if nothing is written.

        Args:
            step: what to do. Repeating a step returns the same answer.

        Raises:
            InvalidSessionIdError: an id cannot be a name.
        """


def taking_turns(store: object) -> TurnStore:
    """The store, if it has turns.

    Raises:
        ConfigurationError: it has none.
    """
    if hasattr(store, "turn"):
        found: TurnStore = store
        return found
    raise ConfigurationError(
        f"{type(store).__name__} has no turns, so it cannot keep other writers out of a session: "
        "use a store that has (memory, file, Redis), or give it the method `turn` of "
        "wren_sessions.protocols.TurnStore"
    )


class OwnerStore(Protocol):
    """An optional part of a store: owners of sessions, and lists by owner.

    If a session has no owner, a commit sets it to `Commit.owner`.
    """

    def annotate(self, session: str, notes: Notes, expect: Notes) -> Life | None:
        """Set the owner and notes of a session. Does not count as use, or as a new revision.

        Args:
            session: the session's id.
            notes: the new owner and notes, which replace the present ones.
            expect: the present owner and notes.

        Returns:
            The session's life, or None if it is not there.

        Raises:
            ConflictError: the present owner or notes are different; nothing was changed.
        """

    def list_owned(self, owner: str, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """One page of an owner's sessions, the last written first.

        The cost depends only on the page, not on the number of sessions. If a session is written
        meanwhile, it moves to the front. It is not listed twice.

        Args:
            owner: the owner.
            cursor: None to begin, then `SessionPage.cursor` of the previous page.
            limit: the maximum number of sessions, at least 1.

        Raises:
            ConfigurationError: the cursor is of another list, or the limit is not a whole number of
                at least 1.
        """

    def delete_owned(self, session: str, owner: str) -> bool:
        """Delete a session, if it is this owner's. False if it did not exist.

        Raises:
            ConflictError: it is not this owner's; nothing was deleted.
        """


def knowing_owners(store: object) -> OwnerStore:
    """The store, if it supports owners.

    Raises:
        ConfigurationError: it does not.
    """
    below = getattr(store, "unprotected", store)
    if hasattr(below, "annotate") and hasattr(below, "delete_owned"):
        found: OwnerStore = store  # type: ignore[assignment] # it has the methods
        return found
    raise ConfigurationError(
        f"{type(store).__name__} keeps neither owners nor notes of sessions: use a store that does "
        "(memory, file, Redis), or give it the methods of "
        "wren_sessions.protocols.OwnerStore"
    )


class AsyncOwnerStore(Protocol):
    """The methods of `OwnerStore`, to await."""

    async def annotate(self, session: str, notes: Notes, expect: Notes) -> Life | None:
        """See `OwnerStore.annotate`."""

    async def list_owned(
        self, owner: str, cursor: str | None = None, limit: int = 100
    ) -> SessionPage:
        """See `OwnerStore.list_owned`."""

    async def delete_owned(self, session: str, owner: str) -> bool:
        """See `OwnerStore.delete_owned`."""


class AsyncTurnStore(Protocol):
    """The method of `TurnStore`, to await."""

    async def turn(self, step: TurnStep) -> TurnState:
        """See `TurnStore.turn`."""


class AsyncSessionStore(Protocol):
    """The methods of `SessionStore`, to await. See there for what they do."""

    async def commit(self, commit: Commit) -> Committed:
        """See `SessionStore.commit`."""

    async def prune(self, prune: Prune) -> Committed:
        """See `SessionStore.prune`."""

    async def load(
        self,
        session: str,
        namespace: str = "",
        checkpoint_id: str | None = None,
        held: Held | None = None,
    ) -> Loaded | None:
        """See `SessionStore.load`."""

    async def scan(self, session: str, starts: Sequence[Start], limit: int) -> Scanned:
        """See `SessionStore.scan`."""

    async def read(self, session: str, spans: Sequence[Span]) -> ArenaParts | None:
        """See `SessionStore.read`."""

    async def heads(self, session: str) -> tuple[Name, ...]:
        """See `SessionStore.heads`."""

    async def info(self, session: str) -> SessionInfo | None:
        """See `SessionStore.info`."""

    async def list_sessions(self, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `SessionStore.list_sessions`."""

    async def touch(self, session: str) -> Life | None:
        """See `SessionStore.touch`."""

    async def set_ttl(self, session: str, idle: Duration | None) -> Life | None:
        """See `SessionStore.set_ttl`."""

    async def pin(self, session: str, *, pinned: bool = True) -> Life | None:
        """See `SessionStore.pin`."""

    async def delete(self, session: str) -> bool:
        """See `SessionStore.delete`."""

    async def copy(
        self,
        source: str,
        target: str,
        *,
        replace: bool | Life = False,
        state: bytes | None = None,
        expect: Life | None = None,
    ) -> Life | None:
        """See `SessionStore.copy`."""

    async def ping(self) -> None:
        """See `SessionStore.ping`."""

    async def close(self) -> None:
        """See `SessionStore.close`. Closes the sync and the async API."""
