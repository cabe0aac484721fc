"""The store protocol: what a backend implements, and all that the rest of the package asks of it.

A store keeps sessions as `wren_sessions.records` describes them. Each method is one atomic
operation: nobody ever sees half of it, and on a server it is one round trip. What needs several
operations is built above the store, from these.

To add a backend, write the methods of `SessionStore`, run `wren_sessions.testing.StoreContract`
against it, and register its URL scheme (see ``docs/how-to/write-a-store.md``). The rules:

- **Both faces.** A store's own methods block; ``store.aio`` has the same names to await. A driver
  that only blocks gets its second face from `wren_sessions.stores.threaded.ThreadedStore`.
- **Atomic, at most once.** Conditions are checked before anything is written. A commit whose token
  was applied already answers as the first one did.
- **A miss is None** (or False, or an empty page). An expired session is a miss, also before it has
  been swept. A failure raises an error of `wren_sessions.errors`: an outage is never a miss, and
  neither is damaged data.
- **The store's clock** decides what is expired: one clock per store, not one per client.
- **The caller's bytes** are kept as they are, and neither side can change the other's.
- **Constructors do no I/O.** `close` may be called twice; ``with`` and ``async with`` call it.
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
    """A store of sessions; every method blocks."""

    @property
    def ttl(self) -> TTLPolicy:
        """How long its sessions live."""

    @property
    def keys(self) -> KeySpace:
        """How its sessions are named. No method sees or changes a session of another prefix."""

    @property
    def location(self) -> str:
        """Where the sessions are, for people: a URL without password and without options."""

    @property
    def persistent(self) -> bool:
        """Whether the sessions outlive this process."""

    @property
    def aio(self) -> AsyncSessionStore:
        """The same store, to await."""

    def commit(self, commit: Commit) -> Committed:
        """Write one checkpoint, pending writes and header, all or nothing.

        A commit that is done counts as use of the session: its deadline is set anew, unless the
        policy's `refresh` is ``"never"`` and the session was there.

        Args:
            commit: what to write, under which conditions.

        Returns:
            What happened. A failed condition is an outcome, not an error, and nothing was written.

        Raises:
            InvalidSessionIdError: an id cannot be a name.
            CorruptSessionError: what stands under the session's name is no session.
            StoreUnavailableError: the store cannot be written; nothing was.
            StoreTimeoutError: no answer came; the commit may have happened.
        """

    def prune(self, prune: Prune) -> Committed:
        """Drop records and what only they need, all or nothing. Does not count as use.

        Args:
            prune: what to drop, and what it was worked out from.

        Returns:
            ``"done"``, with the session's life, or None if it lost its last record and was
            deleted; ``"gone"``; or ``"conflict"``.
        """

    def load(
        self,
        session: str,
        namespace: str = "",
        checkpoint_id: str | None = None,
        held: Held | None = None,
    ) -> Loaded | None:
        """Read one checkpoint with its pending writes and the parts of the arena it refers to.

        Counts as use of the session if the policy's `refresh` is ``"read"`` and the checkpoint is
        there.

        Args:
            session: the session's id.
            namespace: a subgraph's path; the root namespace is empty.
            checkpoint_id: which checkpoint; None for the namespace's head.
            held: parts of the arena that may be left out of the answer, if the session is of the
                incarnation that they are from; None for none.

        Returns:
            The checkpoint, or None if the session or the checkpoint is not there.
        """

    def scan(self, session: str, starts: Sequence[Start], limit: int) -> Scanned:
        """Read records with their pending writes, by descending id; the arena is not read.

        Args:
            session: the session's id.
            starts: the namespaces, in order, each with the id below which to start (which need not
                exist).
            limit: how many records at the most, at least 1.

        Returns:
            The records, none if the session is not there, where to go on, and the heads of the
            namespaces that were reached.

        Raises:
            ConfigurationError: the limit is below 1.
        """

    def read(self, session: str, spans: Sequence[Span]) -> ArenaParts | None:
        """Read parts of the arena.

        Args:
            session: the session's id.
            spans: which parts; not overlapping.

        Returns:
            Their bytes, or None if the session, or any part of them, is not there.
        """

    def heads(self, session: str) -> tuple[Name, ...]:
        """The latest checkpoint of each namespace, in the order in which they got their first.

        Returns:
            Names; none if the session is not there, or has no checkpoint.
        """

    def info(self, session: str) -> SessionInfo | None:
        """A session's life, header and size; None if it is not there. Does not count as use."""

    def list_sessions(self, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """One page of all sessions, without those that are still being made (`keys.StagingId`).

        Args:
            cursor: None to begin, then `SessionPage.cursor` of the page before.
            limit: about how many sessions to return, at least 1; a page may hold fewer or more.

        Raises:
            ConfigurationError: the cursor is none of this store's, or the limit is below 1.
        """

    def touch(self, session: str) -> Life | None:
        """Use a session without changing it: its idle time starts again, whatever `refresh` says.

        Returns:
            Its life from now on, or None if it is not there, or is past the maximum age of this
            store's policy.
        """

    def set_ttl(self, session: str, idle: Duration | None) -> Life | None:
        """Give a session an idle timeout of its own, from now on; None for no idle limit.

        The policy's maximum age still bounds it, and a pinned session stays pinned.

        Returns:
            Its life from now on, or None if it is not there.
        """

    def pin(self, session: str, *, pinned: bool = True) -> Life | None:
        """Keep a session for good, or (``pinned=False``) let it expire again, counted from now.

        Returns:
            Its life from now on, or None if it is not there, or could not live on without its pin
            because its maximum age has passed; then nothing was changed.
        """

    def delete(self, session: str) -> bool:
        """Delete a session, whole. False if it was not there."""

    def copy(
        self,
        source: str,
        target: str,
        *,
        replace: bool | Life = False,
        state: bytes | None = None,
        expect: Life | None = None,
    ) -> Life | None:
        """Copy a session, whole: records, arena, pending writes, header, age, timeout and pin.

        The copy counts as used now and has an incarnation of its own; its revision is the source's.

        Args:
            source: the session to copy.
            target: the copy's id, not the source's.
            replace: whether to replace a session that has that id already; a life: only that one,
                if nobody has written it since.
            state: the copy's header; None for the source's.
            expect: a life of the source: to copy it only if nobody has written it since.

        Returns:
            The copy's life, or None if the source is not there.

        Raises:
            ConfigurationError: source and target are the same session.
            SessionExistsError: the target is there and `replace` is False; nothing was written.
            ConflictError: source or target are not as `expect` or `replace` say; nothing was
                written.
            SessionExpiredError: the source's age is past the maximum of this store's policy.
        """

    def ping(self) -> None:
        """Make sure that the store answers.

        Raises:
            StoreUnavailableError: it does not; the message says what to check.
        """

    def close(self) -> None:
        """Give back connections and files. Sessions stay."""

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
    """What a store can do besides: let one writer at a time write a session.

    Such a store holds a commit to `Commit.turn`, too.
    """

    def turn(self, step: TurnStep) -> TurnState:
        """Take, keep or leave a session's turn.

        Nobody waits in here: whoever does not get the turn asks again. Who has asked first, and
        asks again while their place is kept, gets it first. To take or keep it is use of the
        session. One that is not there is made, empty, and goes with its turn if nothing is written.

        Args:
            step: what to do. A step that is repeated answers as the first time.

        Raises:
            InvalidSessionIdError: an id cannot be a name.
        """


def taking_turns(store: object) -> TurnStore:
    """A store as one with turns.

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
    """What a store can do besides: know whose sessions are, and list those of one owner.

    A commit gives a session that is nobody's to `Commit.owner`.
    """

    def annotate(self, session: str, notes: Notes, expect: Notes) -> Life | None:
        """Say whose a session is, and note something about it. It is no use, and no new revision.

        Args:
            session: the session's id.
            notes: what to note, in the place of all that is.
            expect: what is noted now.

        Returns:
            The session's life, or None if it is not there.

        Raises:
            ConflictError: something else is noted; nothing was changed.
        """

    def list_owned(self, owner: str, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """One page of an owner's sessions, the last written first.

        Costs what is on the page, however many sessions there are. One that is written meanwhile
        counts where it stands then, and is not listed twice.

        Args:
            owner: the owner.
            cursor: None to begin, then `SessionPage.cursor` of the page before.
            limit: how many sessions at the most, at least 1.

        Raises:
            ConfigurationError: the cursor is none of this store's, or the limit is below 1.
        """


def knowing_owners(store: object) -> OwnerStore:
    """A store as one that knows owners.

    Raises:
        ConfigurationError: it does not.
    """
    if hasattr(getattr(store, "unprotected", store), "annotate"):
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
