"""Calls that take more than one trip: a page of sessions, owners' lists, a copy to another node.

They are coroutines that send plans with a given function. Blocking callers pass one that never
suspends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

from redis.crc import key_slot

from wren_sessions.errors import StoreUnavailableError
from wren_sessions.keys import StagingId
from wren_sessions.records import Commit, Committed, Life, Notes, SessionInfo, SessionPage
from wren_sessions.stores._checks import check_limit, make_owned_cursor, parse_owned_cursor
from wren_sessions.stores._copies import Copy
from wren_sessions.stores.redis.cluster_walk import Place, Walk
from wren_sessions.stores.redis.commands import Commands, Owned, Plan
from wren_sessions.stores.redis.listing import ListingCommands
from wren_sessions.stores.redis.replies import OwnedLife

Run: TypeAlias = Callable[[Plan[Any]], Awaitable[Any]]

_TRIES: Final = 5
LATE_MS: Final = 1_000  # how late an owner's listing may be in a cluster


class Sequences:
    """On one server.

    Args:
        commands: what is sent.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._listing = ListingCommands(commands.keys)

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
            await run(self._commands.list_in(owner, [commit.session], life))
            owned = False
        if not owned:
            owners.keep(life.incarnation, Owned(owner, done.now_ms))

    async def listed(self, run: Run, session: str, found: OwnedLife | None) -> Life | None:
        """See to it that the owner's listing knows a session that was copied or lives longer."""
        if found is None:
            return None
        if found.owner is not None and type(session) is not StagingId:
            await run(self._commands.list_in(found.owner, [session], found.life))
        return found.life

    async def annotate(self, run: Run, session: str, notes: Notes, expect: Notes) -> Life | None:
        """See `OwnerStore.annotate`."""
        life: Life | None = await run(self._commands.annotate(session, notes, expect))
        if life is None:
            return None
        if expect.owner is not None and expect.owner != notes.owner:
            await run(self._commands.list_in(expect.owner, [session], None, life.updated_ms))
        self._commands.owners.pop(life.incarnation, None)
        return await self.listed(run, session, OwnedLife(life, notes.owner))

    async def list_owned(self, run: Run, owner: str, cursor: str | None, limit: int) -> SessionPage:
        """See `OwnerStore.list_owned`."""
        limit, place = check_limit(limit), f"redis {self._commands.keys.owner_key(owner)}"
        before = parse_owned_cursor(place, cursor)
        total, found = await run(self._commands.owned(owner, before, limit + 1))
        some = found[:limit]
        names = [self._commands.key(session) for session, _ in some]
        infos = {info.session: info for info in await self._infos(run, names)} if names else {}
        theirs = tuple(infos[id_] for id_, _ in some if id_ in infos and infos[id_].owner == owner)
        gone = [id_ for id_, _ in some if id_ not in infos or infos[id_].owner != owner]
        if gone:
            await run(self._commands.list_in(owner, gone, None, max(when for _, when in some)))
        last, when = some[-1] if some else ("", 0)
        more = make_owned_cursor(place, when, last) if len(found) > limit else None
        return SessionPage(sessions=theirs, cursor=more, total=total - len(gone))

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
