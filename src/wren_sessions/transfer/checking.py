"""Verifying sessions: what is intact and what is damaged. Nothing is written.

Every record of every namespace is read with its pending writes and its parts of the arena, and
compared with its checksums. Encrypted data is decrypted. Values are not decoded, so the
application's classes are not needed. Only one page of records is in memory at a time.

A store refuses to read data that it does not understand. If this is one record of a namespace, it
is skipped: the next higher record names it (`Stored.below`), and the search for older ones
continues below it. On Redis, where records are a chain, the store does not get past it. There the
others are read by name: the parents that intact records name, and all records if the store can list
them (``names``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from wren_sessions._blocking import run
from wren_sessions._damage import advice
from wren_sessions._walks import RecordWalk
from wren_sessions.checkpoints.codec import writes_of
from wren_sessions.checkpoints.snapshots import opened, read_record, reading
from wren_sessions.delta.base import ArenaView
from wren_sessions.delta.protection import Protection, unprotected
from wren_sessions.errors import (
    ConflictError,
    CorruptSessionError,
    DecryptionError,
    SerializationError,
    SessionNotFoundError,
    WrenSessionsError,
)
from wren_sessions.protocols import AsyncSessionStore, SessionStore
from wren_sessions.records import ArenaParts, Name, SessionInfo, Start, Stored, merge_spans
from wren_sessions.serializers.limits import OverBudgetError
from wren_sessions.transfer._api import StoreApi

PAGE: Final = 16
ATTEMPTS: Final = 5
DAMAGE: Final = (CorruptSessionError, DecryptionError, SerializationError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """A damaged part of a session.

    Attributes:
        namespace: its namespace; None if it belongs to the whole session.
        checkpoint_id: its checkpoint, if known.
        write: the key, if it is a pending write.
        why: what is wrong with it.
        too_large: whether it was not checked because that would take too much memory. It may be
            intact, so a repair does not leave it out.
    """

    namespace: str | None
    checkpoint_id: str | None = None
    write: str | None = None
    why: str
    too_large: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCheck:
    """The result of verifying a session.

    Attributes:
        session: its id.
        info: what is known of the session; None if it cannot be read.
        whole: the intact checkpoints, with their intact pending writes.
        latest: the newest intact checkpoint of the root namespace; None if there is none.
        damaged: the damaged parts; empty if there are none.
        counted: whether the session records how many parts it has. If not, as for sessions from
            version 0.1.0, missing parts may go unnoticed.
    """

    session: str
    info: SessionInfo | None
    whole: tuple[Name, ...] = ()
    latest: str | None = None
    damaged: tuple[Damaged, ...] = ()
    counted: bool = True

    @property
    def ok(self) -> bool:
        """Whether all of it is intact."""
        return not self.damaged

    @property
    def too_large(self) -> bool:
        """Whether a part was too large to check. It may be intact, so nothing is repaired."""
        return any(part.too_large for part in self.damaged)


def check_session(store: SessionStore, session: str) -> SessionCheck:
    """Verify one session.

    Args:
        store: where it is; only read.
        session: its id.

    Raises:
        SessionNotFoundError: there is no such session.
        ConflictError: others kept writing it during the check.
    """
    return run(_check(StoreApi.blocking(store, "check_session"), session))


async def acheck_session(store: SessionStore, session: str) -> SessionCheck:
    """See `check_session`; uses the store's async API."""
    return await _check(StoreApi.awaitable(store, "acheck_session"), session)


async def _check(api: StoreApi, session: str) -> SessionCheck:
    names, counted = await api.off(partial(_known, api.place, session))
    checking = Checking(api.store, session, api.protection, names)
    return replace(await checking.run(), counted=counted)


def _known(store: SessionStore, session: str) -> tuple[frozenset[Name], bool]:
    """The names of a session's records, none where the store cannot tell; and if it is counted."""
    below = unprotected(store)
    names, counted = getattr(below, "names", None), getattr(below, "counted", None)
    try:
        found = frozenset() if names is None else frozenset(names(session))
        return found, True if counted is None else counted(session)
    except DAMAGE:  # whoever asks for its line will be told
        return frozenset(), True


@dataclass(slots=True)
class Checking:
    """Verifies one session.

    Args:
        store: where it is.
        session: its id.
        protection: what happened to values before they were stored.
        known: the names of its records, also of those that no listing leads to; none where the
            store cannot tell.
    """

    store: AsyncSessionStore
    session: str
    protection: Protection
    known: frozenset[Name] = frozenset()
    _whole: list[Name] = field(default_factory=list)
    _damaged: list[Damaged] = field(default_factory=list)
    _met: set[Name] = field(default_factory=set)
    _parents: set[Name] = field(default_factory=set)
    _next: dict[Name, str | None] = field(default_factory=dict)

    async def run(self) -> SessionCheck:
        """Look at all of it; again, where it is written meanwhile."""
        for _ in range(ATTEMPTS):
            self._whole, self._damaged = [], []
            self._met, self._parents, self._next = set(), set(), {}
            info = await self._info()
            heads = await self._heads()
            for namespace, head in heads.items():
                await self._namespace(namespace, head)
            for namespace in {namespace for namespace, _ in self.known} - heads.keys():
                self._found(namespace, None, "its latest checkpoint is not named")
                await self._by_names(namespace, None)
            if await self._same(info):
                return self._result(info, heads)
        raise ConflictError(
            f"session {self.session!r} was not verified, because others kept writing it: try "
            "again when it is less busy",
            session=self.session,
        )

    def _result(self, info: SessionInfo | None, heads: dict[str, str | None]) -> SessionCheck:
        whole = set(self._whole)
        for namespace, head in heads.items():
            if head is not None and (namespace, head) not in self._met:
                self._found(namespace, head, "the latest checkpoint is not there")
        ids = sorted(id_ for namespace, id_ in whole if namespace == "")
        latest = heads.get("")
        if latest is None or ("", latest) not in whole:
            latest = ids[-1] if ids else None
        return SessionCheck(
            session=self.session,
            info=info,
            whole=tuple(sorted(whole)),
            latest=latest,
            damaged=tuple(self._damaged),
        )

    async def _info(self) -> SessionInfo | None:
        try:
            info = await self.store.info(self.session)
        except DAMAGE as error:
            self._found(None, None, error.message)
            return None
        if info is None:
            raise SessionNotFoundError(
                f"session {self.session!r} was not found, or has expired", session=self.session
            )
        if info.state and not _is_object(info.state):
            self._found(None, None, "its header is not JSON")
        return info

    async def _same(self, before: SessionInfo | None) -> bool:
        """Whether nobody has written it since."""
        if before is None:
            return True
        after = await self.store.info(self.session)
        if after is None:
            return False
        lives = (before.life, after.life)
        return len({(life.incarnation, life.revision) for life in lives}) == 1

    async def _heads(self) -> dict[str, str | None]:
        """The latest checkpoint of each namespace, None where that is not known."""
        try:
            return dict(await self.store.heads(self.session))
        except DAMAGE as error:
            self._found(None, None, error.message)
            return {"": None, **dict.fromkeys(namespace for namespace, _ in self.known)}

    # --- records ---

    async def _namespace(self, namespace: str, head: str | None) -> None:
        walk = RecordWalk(partial(self.store.scan, self.session), [Start(namespace)], PAGE)
        try:
            while (page := await walk.next_page()) is not None:
                await self._records(page.records)
        except DAMAGE:
            await self._one_by_one(namespace, head)
        else:
            for id_ in self._unread(namespace, None):
                self._found(namespace, id_, "it exists, but no listing leads to it")
            await self._by_names(namespace, None)

    async def _one_by_one(self, namespace: str, wanted: str | None) -> None:
        """Go through a namespace of which some record cannot be read.

        Args:
            namespace: the namespace.
            wanted: the record that is expected next; None where that is not known.
        """
        before: str | None = None
        while True:
            try:
                page = await self.store.scan(self.session, [Start(namespace, before)], 1)
            except DAMAGE as error:
                if wanted is None:
                    if not self.known:
                        why = f"older checkpoints cannot be reached: {error.message}"
                        self._found(namespace, None, why)
                    await self._by_names(namespace, before)
                    return
                await self._by_name(namespace, wanted, error.message)
                before = wanted
            else:
                await self._records(page.records)
                if not page.rest:
                    return
                before = page.rest[0].before
            wanted = self._next.get((namespace, before or ""))

    async def _by_name(self, namespace: str, wanted: str, why: str) -> None:
        """Read a record by its name that a listing does not get to: what is lost lies above it."""
        try:
            found = await self.store.load(self.session, namespace, wanted)
        except DAMAGE:
            found = None
        if found is None:
            self._met.add((namespace, wanted))
            self._found(namespace, wanted, why)
        else:
            self._found(namespace, None, why)
            await self._records([found.stored])

    async def _by_names(self, namespace: str, before: str | None) -> None:
        """Read the records that are known by their names, the newest first."""
        while ids := self._unread(namespace, before):
            before = max(ids)
            try:
                found = await self.store.load(self.session, namespace, before)
            except DAMAGE as error:
                self._met.add((namespace, before))
                self._found(namespace, before, error.message)
            else:
                await self._records([] if found is None else [found.stored])

    def _unread(self, namespace: str, before: str | None) -> list[str]:
        """The ids below one that are known, and were not read."""
        names = (self.known or self._parents) - self._met
        return [id_ for ns, id_ in names if ns == namespace and (before is None or id_ < before)]

    async def _records(self, records: Iterable[Stored]) -> None:
        fresh = [stored for stored in records if stored.name not in self._met]
        spans = merge_spans(span for stored in fresh for span in stored.spans)
        try:
            arena = await self.store.read(self.session, spans) if spans else ArenaParts(())
        except DAMAGE:
            arena = None
        for stored in fresh:
            self._met.add(stored.name)
            self._next[stored.name] = stored.below or None
            part = arena
            if part is None:  # of one record alone it may be readable
                with suppress(*DAMAGE):
                    part = await self.store.read(self.session, stored.spans)
            self._record(stored, part)

    def _record(self, stored: Stored, arena: ArenaParts | None) -> None:
        if arena is None:
            self._found(*stored.name, "a part of its arena is not there")
            return
        with reading(self.session, stored):  # one budget for it and its pending writes
            try:
                _, body = read_record(self.session, stored, ArenaView(arena), self.protection)
            except DAMAGE as error:
                self._unreadable(stored.name, error)
                return
            self._whole.append(stored.name)
            if body.parent_id is not None:
                self._parents.add((stored.name[0], body.parent_id))
            for key, fault in lost_writes(self.session, stored, arena, self.protection):
                self._unreadable(stored.name, fault, write=key)

    def _unreadable(self, name: Name, error: WrenSessionsError, write: str | None = None) -> None:
        if isinstance(error, OverBudgetError):
            why = f"too large to be verified: {error.why}"
            self._found(*name, why, write=write, too_large=True)
        else:
            self._found(*name, error.message, write=write)

    def _found(
        self, namespace: str | None, checkpoint_id: str | None, why: str, **more: Any
    ) -> None:
        why = why.removesuffix(advice(self.session))
        self._damaged.append(
            Damaged(namespace=namespace, checkpoint_id=checkpoint_id, why=why, **more)
        )


def lost_writes(
    session: str, stored: Stored, arena: ArenaParts, protection: Protection
) -> Iterator[tuple[str, WrenSessionsError]]:
    """The pending writes of a checkpoint that cannot be read: their keys, and why not."""
    what = f"a pending write of checkpoint {stored.name[1]!r}"
    for write in stored.writes:
        try:
            (body,) = writes_of(session, stored, writes=[write])
            opened(session, body.value, arena, protection, what)
        except DAMAGE as error:
            yield write.key, error


def _is_object(state: bytes) -> bool:
    try:
        return isinstance(json.loads(state), dict)
    except ValueError:
        return False
