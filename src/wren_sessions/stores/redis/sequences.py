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

from wren_sessions.errors import StoreUnavailableError
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
from wren_sessions.stores.redis.commands import Commands, Owned, Plan
from wren_sessions.stores.redis.listing import ListingCommands
from wren_sessions.stores.redis.owned import LATE_MS, Entry, OwnedCommands
from wren_sessions.stores.redis.replies import Gone, OwnedLife, read_owned_load

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

    async def list_sessions(self, run: Run, cursor: str | None, limit: int) -> SessionPage:
        """See `SessionStore.list_sessions`."""
        limit = check_limit(limit)
        after, names = await run(self._listing.find_keys(cursor, limit))
        page: SessionPage = (await run(self._listing.list_sessions(names, after))).page
        return page

    async def copy(self, run: Run, copy: Copy) -> Life | None:
        """See `SessionStore.copy`."""
        return await self.listed(run, copy.target, await run(self._commands.copy(copy)))

    # --- owners ---

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
        await run(self._owned.list_in(owner, {session: life}, used=used))
        known = Owned(owner, life.now_ms, self._owned.end_of(life, used=used))
        self._commands.owners.keep(life.incarnation, known)

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
            await run(self._owned.list_in(former, out=[session], out_ms=life.updated_ms))
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

        The call has its answer already, so it does not fail if the listing cannot be told, such as
        on another node. The next use tells it, and a page that is read corrects it.
        """
        known = self._commands.owners.get(life.incarnation)
        ends_ms = known.ends_ms if known is not None and known.owner == owner else 0
        if not self._owned.is_wrong(ends_ms, life):
            return
        try:
            await self._list_in(run, owner, session, life, used=True)
        except StoreUnavailableError as error:
            logger.debug("the owner's listing was not told of session %r: %s", session, error)

    async def prune(self, run: Run, prune: Prune) -> Committed:
        """See `SessionStore.prune`."""
        done: Committed = await run(self._commands.prune(prune))
        if done.owner is not None:
            out = self._owned.list_in(done.owner, out=[prune.session], out_ms=done.now_ms)
            await run(out)
        return done

    async def delete(self, run: Run, session: str) -> bool:
        """See `SessionStore.delete`."""
        gone: Gone = await run(self._commands.delete(session))
        if gone.owner is not None:
            await run(self._owned.list_in(gone.owner, out=[session], out_ms=gone.now_ms))
        return gone.there

    async def annotate(self, run: Run, session: str, notes: Notes, expect: Notes) -> Life | None:
        """See `OwnerStore.annotate`."""
        life: Life | None = await run(self._commands.annotate(session, notes, expect))
        if life is None:
            return None
        if expect.owner is not None and expect.owner != notes.owner:
            await run(self._owned.list_in(expect.owner, out=[session], out_ms=life.updated_ms))
        self._commands.owners.pop(life.incarnation, None)
        return await self.listed(run, session, OwnedLife(life, notes.owner))

    async def list_owned(self, run: Run, owner: str, cursor: str | None, limit: int) -> SessionPage:
        """See `OwnerStore.list_owned`."""
        limit, place = check_limit(limit), f"redis {self._commands.keys.owner_key(owner)}"
        before = parse_owned_cursor(place, cursor)
        total, found = await run(self._owned.owned(owner, before, limit + 1))
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
        dumped = await run(commands.copy_out(copy))
        if dumped is None:
            return None
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
