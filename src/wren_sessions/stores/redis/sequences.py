"""All calls of a store, as coroutines: most are one trip, and some are several in a row.

Several take a page of sessions, an owner's list, and a copy to another node. The coroutines wait
for nothing but trips. So the async API is one of them, and blocking callers run the same ones over
trips that never suspend.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

from redis.crc import key_slot

from wren_sessions.errors import CorruptSessionError, StoreUnavailableError
from wren_sessions.keys import StagingId
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
from wren_sessions.stores._checks import check_limit, make_owned_cursor, parse_owned_cursor
from wren_sessions.stores._copies import Copy
from wren_sessions.stores.redis.cluster_walk import Place, Walk
from wren_sessions.stores.redis.commands import Commands, Gone, OwnedLife, Untold
from wren_sessions.stores.redis.listing import ListingCommands
from wren_sessions.stores.redis.load import and_owner
from wren_sessions.stores.redis.owned import AGAIN_MS, LATE_MS, OwnedCommands, covers
from wren_sessions.stores.redis.plans import MAX_OWNED, Owned, Plan
from wren_sessions.ttl import Duration

T = TypeVar("T")

logger: Final = logging.getLogger("wren_sessions")

_TRIES: Final = 5


class Run(Protocol):
    """A function that sends a plan."""

    async def __call__(self, plan: Plan[T], /) -> T:
        """What the method returns that the plan is of."""


class Sequences:
    """Calls to one server.

    Args:
        commands: what is sent.
        run: sends it.
        close: closes the connections; later calls open them again.
    """

    def __init__(self, commands: Commands, run: Run, close: Callable[[], Awaitable[None]]) -> None:
        self._commands = commands
        self._run = run
        self._close = close
        self._listing = ListingCommands(commands.keys)
        self._owned = OwnedCommands(commands)

    async def close(self) -> None:
        """Close this event loop's connections and the blocking ones."""
        await self._close()

    # --- one trip ---

    async def scan(self, session: str, starts: Sequence[Start], limit: int) -> Scanned:
        """See `SessionStore.scan`."""
        return await self._run(self._commands.scan(session, starts, limit))

    async def read(self, session: str, spans: Sequence[Span]) -> ArenaParts | None:
        """See `SessionStore.read`."""
        return await self._run(self._commands.read(session, spans))

    async def heads(self, session: str) -> tuple[Name, ...]:
        """See `SessionStore.heads`."""
        return await self._run(self._commands.heads(session))

    async def info(self, session: str) -> SessionInfo | None:
        """See `SessionStore.info`."""
        return await self._run(self._commands.info(session))

    async def ping(self) -> None:
        """See `SessionStore.ping`."""
        await self._run(self._commands.ping())

    # --- lists and copies ---

    async def list_sessions(self, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `SessionStore.list_sessions`."""
        limit = check_limit(limit)
        after, names = await self._run(self._listing.find_keys(cursor, limit))
        return (await self._run(self._listing.list_sessions(names, after))).page

    async def copy(
        self,
        source: str,
        target: str,
        *,
        replace: bool | Life = False,
        state: bytes | None = None,
        expect: Life | None = None,
    ) -> Life | None:
        """See `SessionStore.copy`. Nothing is copied if its owner's listing cannot be told."""
        return await self._copy(Copy(source, target, replace=replace, state=state, expect=expect))

    async def _copy(self, copy: Copy) -> Life | None:
        told: str | None = None
        for _ in range(_TRIES):
            made = await self._run(self._commands.copy(copy, told))
            if not isinstance(made, Untold):
                return await self.listed(copy.target, made)
            told = await self._announce(copy, made)
        raise copy.conflict()

    async def _announce(self, copy: Copy, untold: Untold) -> str | None:
        """Tell the listing of its owner of a copy that is about to be made; who that is."""
        owner = untold.owner or None
        if owner is not None and type(copy.target) is not StagingId:
            await self._run(self._owned.announce(owner, copy.target, untold.life))
            self._commands.left_alone.pop(owner, None)
        return owner

    # --- owners ---

    async def commit(self, commit: Commit) -> Committed:
        """See `SessionStore.commit`."""
        plan = self._commands.commit(commit)
        if commit.owner is not None and not self._commands.one_place:
            return await self._commit_announced(commit, plan, commit.owner)
        done = await self._run(plan)
        if done.owner is not None:
            await self.committed(commit, done)
        return done

    async def _commit_announced(
        self, commit: Commit, plan: Plan[Committed], owner: str
    ) -> Committed:
        """A commit with an owner to a cluster.

        The owner's listing is told first, unless the session is known to be somebody's. So if it
        cannot be told, nothing is written.
        """
        owners, announced = self._commands.owners, None
        known = commit.incarnation and owners.get(commit.incarnation)
        if not known and type(commit.session) is not StagingId:
            ends_ms = await self._run(self._owned.announce(owner, commit.session))
            self._commands.left_alone.pop(owner, None)
            announced = Owned(owner, 0, ends_ms)
        done = await self._run(plan)
        if done.life is not None and done.owner is not None:
            if announced is not None and done.owner == owner:
                owners.keep(done.life.incarnation, announced)
            await self.committed(commit, done)
        return done

    async def committed(self, commit: Commit, done: Committed) -> None:
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
            await self._list_in(owner, commit.session, life)
        elif not owned:
            owners.keep(life.incarnation, Owned(owner, done.now_ms))

    async def _list_in(self, owner: str, session: str, life: Life, *, used: bool = False) -> None:
        """Tell a listing of a session. That may fail if it stays for as long as the session."""
        owners = self._commands.owners
        known = owners.get(life.incarnation)
        sure = known is not None and known.owner == owner and covers(known.ends_ms, life)
        plan = self._owned.list_in(owner, {session: life}, used=used)
        if await self._tell(plan, owner, session, life.now_ms, sure=used or sure):
            ends_ms = self._owned.end_of(life, used=used)
            owners.keep(life.incarnation, Owned(owner, life.now_ms, ends_ms))

    async def _list_out(self, owner: str, session: str, now_ms: int) -> None:
        """Tell a listing that a session is not in it. If it cannot be told, a page finds out."""
        plan = self._owned.list_in(owner, out=[session], out_ms=now_ms)
        await self._tell(plan, owner, session, now_ms, sure=True)

    async def _tell(
        self, plan: Plan[None], owner: str, session: str, now_ms: int, *, sure: bool
    ) -> bool:
        """Tell a listing something after the call itself is done; whether it was told.

        Args:
            plan: what it is told.
            owner: whose listing it is.
            session: what it is about.
            now_ms: the server's clock.
            sure: whether the listing is right, or corrected when it is read, if it is not told.
                Then that is no error, and the listing is left alone for some time.
        """
        if sure and now_ms < self._commands.left_alone.get(owner, 0):
            return False
        try:
            await self._run(plan._replace(hurried=sure))
        except (StoreUnavailableError, CorruptSessionError) as error:
            log = logger.debug if owner in self._commands.left_alone else logger.warning
            log(
                "the list %s could not be updated for session %r; reading the list, or writing the "
                "session again, will update it: %s",
                *(self._commands.keys.owner_key(owner), session, error),
            )
            if len(self._commands.left_alone) >= MAX_OWNED:
                self._commands.left_alone.clear()
            self._commands.left_alone[owner] = now_ms + AGAIN_MS
            if not sure:
                raise
            return False
        self._commands.left_alone.pop(owner, None)
        return True

    async def touch(self, session: str) -> Life | None:
        """See `SessionStore.touch`."""
        return await self.listed(session, await self._run(self._commands.touch(session)))

    async def set_ttl(self, session: str, idle: Duration | None) -> Life | None:
        """See `SessionStore.set_ttl`."""
        return await self.listed(session, await self._run(self._commands.set_ttl(session, idle)))

    async def pin(self, session: str, *, pinned: bool = True) -> Life | None:
        """See `SessionStore.pin`."""
        found = await self._run(self._commands.pin(session, pinned=pinned))
        return await self.listed(session, found)

    async def listed(self, session: str, found: OwnedLife | None) -> Life | None:
        """See to it that the owner's listing knows a session that was copied or lives longer."""
        if found is None:
            return None
        life, owner, former = found
        if type(session) is StagingId:
            return life
        if owner is not None:
            await self._list_in(owner, session, life)
        if former is not None and former != owner:
            await self._list_out(former, session, life.updated_ms)
        return life

    async def load(
        self,
        session: str,
        namespace: str = "",
        checkpoint_id: str | None = None,
        held: Held | None = None,
    ) -> Loaded | None:
        """See `SessionStore.load`. If reading renews the session, its owner's listing is told."""
        load = self._commands.load(session, namespace, checkpoint_id, held)
        if self._commands.ttl.refresh != "read" or type(session) is StagingId:
            return await self._run(load)
        loaded, owner = await self._run(and_owner(load))
        if loaded is not None and owner is not None:
            await self._used(owner, session, loaded.life)
        return loaded

    async def turn(self, step: TurnStep) -> TurnState:
        """See `TurnStore.turn`: taking and keeping a turn renews the session, too."""
        state, renewed = await self._run(self._commands.turn(step))
        if renewed is not None and renewed.owner is not None:
            await self._used(renewed.owner, step.session, renewed.life)
        return state

    async def _used(self, owner: str, session: str, life: Life) -> None:
        """Tell the owner's listing if it would end too early.

        The call does not fail if it cannot be told: the next use tells it.
        """
        known = self._commands.owners.get(life.incarnation)
        ends_ms = known.ends_ms if known is not None and known.owner == owner else 0
        if self._owned.is_wrong(ends_ms, life):
            await self._list_in(owner, session, life, used=True)

    async def prune(self, prune: Prune) -> Committed:
        """See `SessionStore.prune`."""
        done = await self._run(self._commands.prune(prune))
        if done.owner is not None:
            await self._list_out(done.owner, prune.session, done.now_ms)
        return done

    async def delete(self, session: str) -> bool:
        """See `SessionStore.delete`."""
        return await self._delete(session, self._commands.delete(session))

    async def delete_owned(self, session: str, owner: str) -> bool:
        """See `OwnerStore.delete_owned`."""
        return await self._delete(session, self._commands.delete_owned(session, owner))

    async def _delete(self, session: str, plan: Plan[Gone]) -> bool:
        gone = await self._run(plan)
        if gone.owner is not None:
            await self._list_out(gone.owner, session, gone.now_ms)
        return gone.there

    async def annotate(self, session: str, notes: Notes, expect: Notes) -> Life | None:
        """See `OwnerStore.annotate`. Nothing is noted if a new owner's listing cannot be told."""
        plan = self._commands.annotate(session, notes, expect)
        owner, told = notes.owner, None
        if owner == expect.owner or type(session) is StagingId:
            return await self._run(plan)
        if owner is not None:
            seen = await self._run(self._commands.info(session))
            if seen is not None and seen.notes in {expect, notes}:
                await self._run(self._owned.list_in(owner, {session: seen.life}))
                told = Owned(owner, 0, self._owned.end_of(seen.life))
        life = await self._run(plan)
        if life is None:
            return None
        if expect.owner is not None:
            await self._list_out(expect.owner, session, life.updated_ms)
        self._commands.owners.pop(life.incarnation, None)
        if told is not None:
            self._commands.owners.keep(life.incarnation, told)
        if owner is not None:
            await self._list_in(owner, session, life)
        return life

    async def list_owned(
        self, owner: str, cursor: str | None = None, limit: int = 100
    ) -> SessionPage:
        """See `OwnerStore.list_owned`."""
        limit, place = check_limit(limit), f"redis {self._commands.keys.owner_key(owner)}"
        before = parse_owned_cursor(place, cursor)
        total, found = await self._run(self._owned.owned(owner, before, limit + 1))
        self._commands.left_alone.pop(owner, None)
        some = found[:limit]
        names = [self._commands.key(entry.session) for entry in some]
        infos = await self._infos(names) if names else ()
        theirs = {info.session: info for info in infos if info.owner == owner}
        gone = [entry.session for entry in some if entry.session not in theirs]
        late = {
            info.session: info.life
            for session, _, ends_ms in some
            if (info := theirs.get(session)) and self._owned.is_wrong(ends_ms, info.life)
        }
        if gone or late:
            last_ms = max(entry.written_ms for entry in some)
            await self._run(self._owned.list_in(owner, late, out=gone, out_ms=last_ms))
        sessions = tuple(theirs[entry.session] for entry in some if entry.session in theirs)
        more = None
        if len(found) > limit:
            more = make_owned_cursor(place, some[-1].written_ms, some[-1].session)
        return SessionPage(sessions=sessions, cursor=more, total=total - len(gone))

    async def _infos(self, names: list[bytes]) -> Sequence[SessionInfo]:
        return (await self._run(self._listing.list_sessions(names, None))).page.sessions


class ClusterSequences(Sequences):
    """Calls to a cluster."""

    async def list_sessions(self, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `SessionStore.list_sessions`; `Walk` says in which order, and what the cursor is."""
        limit, walk = check_limit(limit), Walk.read(cursor)
        for number in range(_TRIES):
            plan = self._listing.find_keys_of_node(walk.scan, limit, walk.at)
            after, found, nodes = await self._run(plan._replace(fresh=number > 0))
            step = walk.step(after, nodes.decode())
            if step is not None:
                names = [name for name in found if not walk.was_at(key_slot(name))]
                return await self._described(walk.at, names, step.cursor)
            walk = walk.again()
        raise StoreUnavailableError(f"the cluster's nodes do not agree on who has slot {walk.at}")

    async def _described(self, at: Place, names: list[bytes], cursor: str | None) -> SessionPage:
        plan = self._listing.list_sessions(names, cursor)._replace(at=at, scattered=True)
        found = await self._run(plan)
        sessions, foreign = list(found.page.sessions), found.page.foreign
        for name in found.elsewhere:  # its slot is on its way, or came to another node just now
            one = self._listing.list_sessions([name], cursor)._replace(at=key_slot(name))
            more = (await self._run(one)).page
            sessions += more.sessions
            foreign += more.foreign
        return SessionPage(sessions=tuple(sessions), cursor=cursor, foreign=foreign)

    async def _copy(self, copy: Copy) -> Life | None:
        """Another node gets the session whole, in one step."""
        commands = self._commands
        if key_slot(commands.key(copy.source)) == key_slot(commands.key(copy.target)):
            return await super()._copy(copy)
        found = await self._run(commands.copy_out(copy))
        if found is None:
            return None
        untold, dumped = found
        await self._announce(copy, untold)
        made = await self._run(commands.copy_in(copy, dumped))
        return await self.listed(copy.target, made)

    async def _infos(self, names: list[bytes]) -> Sequence[SessionInfo]:
        infos: list[SessionInfo] = []
        while names:  # one trip to each node
            first, at = names[0], key_slot(names[0])
            plan = self._listing.list_sessions(names, None)
            found = await self._run(plan._replace(at=at, scattered=True))
            infos += found.page.sessions
            names = [name for name in names if name in found.elsewhere]
            if first in names:  # its slot is on its way
                plan = self._listing.list_sessions([first], None)
                infos += (await self._run(plan._replace(at=at))).page.sessions
                names.remove(first)
        return infos
