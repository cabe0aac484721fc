"""Calls that take more than one trip: a page of sessions, owners' lists, a copy to another node.

They are coroutines that send plans with a given function. Blocking callers pass one that never
suspends.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from redis.crc import key_slot

from wren_sessions.errors import CorruptSessionError, StoreUnavailableError
from wren_sessions.keys import StagingId
from wren_sessions.records import (
    Commit,
    Committed,
    Life,
    Loaded,
    Notes,
    Prune,
    SessionInfo,
    SessionPage,
    TurnState,
    TurnStep,
)
from wren_sessions.stores._checks import check_limit, make_owned_cursor, parse_owned_cursor
from wren_sessions.stores._copies import Copy
from wren_sessions.stores.redis.cluster_walk import Place, Walk
from wren_sessions.stores.redis.commands import Commands, Gone, OwnedLife, Untold
from wren_sessions.stores.redis.listing import ListingCommands
from wren_sessions.stores.redis.load import read_owned_load
from wren_sessions.stores.redis.owned import AGAIN_MS, LATE_MS, Entry, OwnedCommands, covers
from wren_sessions.stores.redis.plans import MAX_OWNED, Owned, Plan

Run: TypeAlias = Callable[[Plan[Any]], Awaitable[Any]]

logger: Final = logging.getLogger("wren_sessions")

_TRIES: Final = 5


class Sequences:
    """On one server.

    Args:
        commands: what is sent.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._listing = ListingCommands(commands.keys)
        self._owned = OwnedCommands(commands)
        self._untold: dict[str, int] = {}  # owners whose listings could not be told: until when

    async def list_sessions(self, run: Run, cursor: str | None, limit: int) -> SessionPage:
        """See `SessionStore.list_sessions`."""
        limit = check_limit(limit)
        after, names = await run(self._listing.find_keys(cursor, limit))
        page: SessionPage = (await run(self._listing.list_sessions(names, after))).page
        return page

    async def copy(self, run: Run, copy: Copy) -> Life | None:
        """See `SessionStore.copy`. Nothing is copied if its owner's listing cannot be told."""
        told: str | None = None
        for _ in range(_TRIES):
            made: OwnedLife | Untold | None = await run(self._commands.copy(copy, told))
            if not isinstance(made, Untold):
                return await self.listed(run, copy.target, made)
            told = await self._announce(run, copy, made)
        raise copy.conflict()

    async def _announce(self, run: Run, copy: Copy, untold: Untold) -> str | None:
        """Tell the listing of its owner of a copy that is about to be made; who that is."""
        owner = untold.owner or None
        if owner is not None and type(copy.target) is not StagingId:
            await run(self._owned.announce(owner, copy.target, untold.life))
            self._untold.pop(owner, None)
        return owner

    # --- owners ---

    async def commit(self, run: Run, commit: Commit, plan: Plan[Committed]) -> Committed:
        """See `SessionStore.commit`, of a commit with an owner to a cluster.

        The owner's listing is told first, unless the session is known to be somebody's. So if it
        cannot be told, nothing is written.
        """
        owners, owner, announced = self._commands.owners, commit.owner, None
        known = commit.incarnation and owners.get(commit.incarnation)
        if owner is not None and not known and type(commit.session) is not StagingId:
            ends_ms = await run(self._owned.announce(owner, commit.session))
            self._untold.pop(owner, None)
            announced = Owned(owner, 0, ends_ms)
        done: Committed = await run(plan)
        if done.life is not None and done.owner is not None:
            if announced is not None and done.owner == owner:
                owners.keep(done.life.incarnation, announced)
            await self.committed(run, commit, done)
        return done

    async def committed(self, run: Run, commit: Commit, done: Committed) -> None:
        """See to it that the owner's listing knows of a commit that is done."""
        life, owner = done.life, done.owner
        if life is None or owner is None or type(commit.session) is StagingId:
            return
        owners = self._commands.owners
        known = owners.get(life.incarnation)
        owned = known is not None and known.owner == owner
        if self._commands.one_place:
            listed = owner == commit.owner or (owned and commit.incarnation == life.incarnation)
        else:
            late_ms = done.now_ms - (known.listed_ms if known else 0)
            listed = owned and late_ms < LATE_MS
        if not listed:
            await self._list_in(run, owner, commit.session, life)
        elif not owned:
            owners.keep(life.incarnation, Owned(owner, done.now_ms))

    async def _list_in(
        self, run: Run, owner: str, session: str, life: Life, *, used: bool = False
    ) -> None:
        """Tell a listing of a session. That may fail if it stays for as long as the session."""
        owners = self._commands.owners
        known = owners.get(life.incarnation)
        sure = known is not None and known.owner == owner and covers(known.ends_ms, life)
        plan = self._owned.list_in(owner, {session: life}, used=used)
        if await self._tell(run, plan, owner, session, life.now_ms, sure=used or sure):
            ends_ms = self._owned.end_of(life, used=used)
            owners.keep(life.incarnation, Owned(owner, life.now_ms, ends_ms))

    async def _list_out(self, run: Run, owner: str, session: str, now_ms: int) -> None:
        """Tell a listing that a session is not in it. If it cannot be told, a page finds out."""
        plan = self._owned.list_in(owner, out=[session], out_ms=now_ms)
        await self._tell(run, plan, owner, session, now_ms, sure=True)

    async def _tell(
        self, run: Run, plan: Plan[None], owner: str, session: str, now_ms: int, *, sure: bool
    ) -> bool:
        """Tell a listing something after the call itself is done; whether it was told.

        Args:
            run: sends plans.
            plan: what it is told.
            owner: whose listing it is.
            session: what it is about.
            now_ms: the server's clock.
            sure: whether the listing is right, or corrected when it is read, if it is not told.
                Then that is no error, and the listing is left alone for some time.
        """
        if sure and now_ms < self._untold.get(owner, 0):
            return False
        try:
            await run(plan._replace(hurried=sure))
        except (StoreUnavailableError, CorruptSessionError) as error:
            log = logger.debug if owner in self._untold else logger.warning
            log(
                "the list %s could not be updated for session %r; reading the list, or writing the "
                "session again, will update it: %s",
                *(self._commands.keys.owner_key(owner), session, error),
            )
            if len(self._untold) >= MAX_OWNED:
                self._untold.clear()
            self._untold[owner] = now_ms + AGAIN_MS
            if not sure:
                raise
            return False
        self._untold.pop(owner, None)
        return True

    async def listed(self, run: Run, session: str, found: OwnedLife | None) -> Life | None:
        """See to it that the owner's listing knows a session that was copied or lives longer."""
        if found is None:
            return None
        life, owner, former = found
        if type(session) is StagingId:
            return life
        if owner is not None:
            await self._list_in(run, owner, session, life)
        if former is not None and former != owner:
            await self._list_out(run, former, session, life.updated_ms)
        return life

    async def load(self, run: Run, load: Plan[Any]) -> Loaded | None:
        """See `SessionStore.load`: reading renews the session, and its owner's listing is told."""
        if type(load.session) is StagingId:
            return await run(load)  # type: ignore[no-any-return] # what the plan reads
        found: tuple[Loaded | None, str | None]
        found = await run(load._replace(read=partial(read_owned_load, load.read)))
        loaded, owner = found
        if loaded is not None and owner is not None:
            await self._used(run, owner, load.session, loaded.life)
        return loaded

    async def turn(self, run: Run, step: TurnStep) -> TurnState:
        """See `TurnStore.turn`: taking and keeping a turn renews the session, too."""
        found: tuple[TurnState, OwnedLife | None] = await run(self._commands.turn(step))
        state, renewed = found
        if renewed is not None and renewed.owner is not None:
            await self._used(run, renewed.owner, step.session, renewed.life)
        return state

    async def _used(self, run: Run, owner: str, session: str, life: Life) -> None:
        """Tell the owner's listing if it would end too early.

        The call does not fail if it cannot be told: the next use tells it.
        """
        known = self._commands.owners.get(life.incarnation)
        ends_ms = known.ends_ms if known is not None and known.owner == owner else 0
        if self._owned.is_wrong(ends_ms, life):
            await self._list_in(run, owner, session, life, used=True)

    async def prune(self, run: Run, prune: Prune) -> Committed:
        """See `SessionStore.prune`."""
        done: Committed = await run(self._commands.prune(prune))
        if done.owner is not None:
            await self._list_out(run, done.owner, prune.session, done.now_ms)
        return done

    async def delete(self, run: Run, session: str, owner: str | None = None) -> bool:
        """See `SessionStore.delete`, and with an owner `OwnerStore.delete_owned`."""
        commands = self._commands
        plan = commands.delete(session) if owner is None else commands.delete_owned(session, owner)
        gone: Gone = await run(plan)
        if gone.owner is not None:
            await self._list_out(run, gone.owner, session, gone.now_ms)
        return gone.there

    async def annotate(self, run: Run, session: str, notes: Notes, expect: Notes) -> Life | None:
        """See `OwnerStore.annotate`. Nothing is noted if a new owner's listing cannot be told."""
        plan: Plan[Life | None] = self._commands.annotate(session, notes, expect)
        owner, told = notes.owner, None
        if owner == expect.owner or type(session) is StagingId:
            return await run(plan)  # type: ignore[no-any-return] # what the plan reads
        if owner is not None:
            seen: SessionInfo | None = await run(self._commands.info(session))
            if seen is not None and seen.notes in {expect, notes}:
                await run(self._owned.list_in(owner, {session: seen.life}))
                told = Owned(owner, 0, self._owned.end_of(seen.life))
        life: Life | None = await run(plan)
        if life is None:
            return None
        if expect.owner is not None:
            await self._list_out(run, expect.owner, session, life.updated_ms)
        self._commands.owners.pop(life.incarnation, None)
        if told is not None:
            self._commands.owners.keep(life.incarnation, told)
        if owner is not None:
            await self._list_in(run, owner, session, life)
        return life

    async def list_owned(self, run: Run, owner: str, cursor: str | None, limit: int) -> SessionPage:
        """See `OwnerStore.list_owned`."""
        limit, place = check_limit(limit), f"redis {self._commands.keys.owner_key(owner)}"
        before = parse_owned_cursor(place, cursor)
        total, found = await run(self._owned.owned(owner, before, limit + 1))
        self._untold.pop(owner, None)
        some: list[Entry] = found[:limit]
        names = [self._commands.key(entry.session) for entry in some]
        infos = await self._infos(run, names) if names else ()
        theirs = {info.session: info for info in infos if info.owner == owner}
        gone = [entry.session for entry in some if entry.session not in theirs]
        late = {
            info.session: info.life
            for session, _, ends_ms in some
            if (info := theirs.get(session)) and self._owned.is_wrong(ends_ms, info.life)
        }
        if gone or late:
            last_ms = max(entry.written_ms for entry in some)
            await run(self._owned.list_in(owner, late, out=gone, out_ms=last_ms))
        sessions = tuple(theirs[entry.session] for entry in some if entry.session in theirs)
        more = None
        if len(found) > limit:
            more = make_owned_cursor(place, some[-1].written_ms, some[-1].session)
        return SessionPage(sessions=sessions, cursor=more, total=total - len(gone))

    async def _infos(self, run: Run, names: list[bytes]) -> Sequence[SessionInfo]:
        page: SessionPage = (await run(self._listing.list_sessions(names, None))).page
        return page.sessions


class ClusterSequences(Sequences):
    """In a cluster."""

    async def list_sessions(self, run: Run, cursor: str | None, limit: int) -> SessionPage:
        """See `SessionStore.list_sessions`; `Walk` says in which order, and what the cursor is."""
        limit, walk = check_limit(limit), Walk.read(cursor)
        for number in range(_TRIES):
            plan = self._listing.find_keys_of_node(walk.scan, limit, walk.at)
            after, found, nodes = await run(plan._replace(fresh=number > 0))
            step = walk.step(after, nodes.decode())
            if step is not None:
                names = [name for name in found if not walk.was_at(key_slot(name))]
                return await self._described(run, walk.at, names, step.cursor)
            walk = walk.again()
        raise StoreUnavailableError(f"the cluster's nodes do not agree on who has slot {walk.at}")

    async def _described(
        self, run: Run, at: Place, names: list[bytes], cursor: str | None
    ) -> SessionPage:
        plan = self._listing.list_sessions(names, cursor)._replace(at=at, scattered=True)
        page, elsewhere = await run(plan)
        sessions, foreign = list(page.sessions), page.foreign
        for name in elsewhere:  # its slot is on its way, or came to another node just now
            one = self._listing.list_sessions([name], cursor)._replace(at=key_slot(name))
            more = (await run(one)).page
            sessions += more.sessions
            foreign += more.foreign
        return SessionPage(sessions=tuple(sessions), cursor=cursor, foreign=foreign)

    async def copy(self, run: Run, copy: Copy) -> Life | None:
        """See `SessionStore.copy`: another node gets the session whole, in one step."""
        commands = self._commands
        if key_slot(commands.key(copy.source)) == key_slot(commands.key(copy.target)):
            return await super().copy(run, copy)
        found: tuple[Untold, tuple[bytes, bytes]] | None = await run(commands.copy_out(copy))
        if found is None:
            return None
        untold, dumped = found
        await self._announce(run, copy, untold)
        made = await run(commands.copy_in(copy, dumped))
        return await self.listed(run, copy.target, made)

    async def _infos(self, run: Run, names: list[bytes]) -> Sequence[SessionInfo]:
        found: list[SessionInfo] = []
        while names:  # one trip to each node
            first, at = names[0], key_slot(names[0])
            plan = self._listing.list_sessions(names, None)
            page, elsewhere = await run(plan._replace(at=at, scattered=True))
            found += page.sessions
            names = [name for name in names if name in elsewhere]
            if first in names:  # its slot is on its way
                plan = self._listing.list_sessions([first], None)
                found += (await run(plan._replace(at=at))).page.sessions
                names.remove(first)
        return found
