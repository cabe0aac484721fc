"""`AsyncSessions`: the methods of `Sessions`, to await. `Sessions` says what they do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wren_sessions._walks import aall_sessions
from wren_sessions.checkpoints.turns import Turn
from wren_sessions.protocols import SessionStore, knowing_owners
from wren_sessions.records import Life, SessionInfo, SessionPage
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
    from wren_sessions.transcripts import Transcript


class AsyncSessions:
    """The same methods as `Sessions`, to await.

    Args:
        store: where the sessions are.
        operations: the work, on the store's async API.
        now: gives the time.
    """

    def __init__(
        self, store: SessionStore, operations: SessionOperations, now: Callable[[], datetime]
    ) -> None:
        self.store = store
        self._operations = operations
        self._now = now

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.store!r})"

    async def create(
        self,
        session_id: str | None = None,
        *,
        prefix: str = "session",
        state: Mapping[str, Any] | None = None,
        owner: str | None = None,
    ) -> Session:
        """See `Sessions.create`."""
        if owner is not None:
            knowing_owners(self.store)
        return await self._operations.create(session_id, prefix, self._now(), state, owner)

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
        turn = self.turn(session_id, wait=wait)
        with suppress(*OVERTAKEN):
            return await attempt(attempts=QUICK_ATTEMPTS)
        async with turn:
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
        return aall_sessions(self.store.aio, owner=owner)

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

    async def delete(self, session_id: str, *, owner: str | None = None) -> bool:
        """See `Sessions.delete`."""
        if owner is not None:
            knowing_owners(self.store)
        return await self._operations.delete(session_id, owner)

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
        from wren_sessions.transcripts._building import transcript_of  # when it is asked for

        return await transcript_of(self._operations, session_id, checkpoint_id, messages)

    async def restore(
        self, archive: str | Path | Archive, session_id: str | None = None, *, replace: bool = False
    ) -> Session:
        """See `Sessions.restore`. The file is read in another thread."""
        from wren_sessions.archives._restoring import restored  # when it is asked for
        from wren_sessions.transfer._api import StoreApi

        api = StoreApi.awaitable(self.store, "restore")
        id_ = await restored(api, archive, session=session_id, replace=replace)
        return await self.load(id_)

    @staticmethod
    def thread(session_id: str) -> RunnableConfig:
        """See `Sessions.thread`."""
        return {"configurable": {"thread_id": session_id}}
