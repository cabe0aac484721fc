"""What takes more than one trip: a page of sessions, and in a cluster a copy to another node.

They are coroutines that send plans by a function, which blocking callers run over one that never
suspends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from redis.crc import key_slot

from wren_sessions.errors import StoreUnavailableError
from wren_sessions.records import Life, SessionPage
from wren_sessions.stores.redis.cluster_walk import Place, Walk
from wren_sessions.stores.redis.commands import Commands, Plan

Run: TypeAlias = Callable[[Plan[Any]], Awaitable[Any]]

_TRIES: Final = 5


class Sequences:
    """On one server.

    Args:
        commands: what is sent.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def list_sessions(self, run: Run, cursor: str | None, limit: int) -> SessionPage:
        """See `SessionStore.list_sessions`."""
        after, names = await run(self._commands.find_keys(cursor, limit))
        page: SessionPage = (await run(self._commands.list_sessions(names, after))).page
        return page

    async def copy(
        self,
        run: Run,
        source: str,
        target: str,
        *,
        replace: bool | Life,
        state: bytes | None,
        expect: Life | None,
    ) -> Life | None:
        """See `SessionStore.copy`."""
        plan = self._commands.copy(source, target, replace=replace, state=state, expect=expect)
        life: Life | None = await run(plan)
        return life


class ClusterSequences(Sequences):
    """In a cluster."""

    async def list_sessions(self, run: Run, cursor: str | None, limit: int) -> SessionPage:
        """See `SessionStore.list_sessions`; `Walk` says in which order, and what the cursor is."""
        walk = Walk.read(cursor)
        for number in range(_TRIES):
            plan = self._commands.find_keys_of_node(walk.scan, limit, walk.at)
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
        plan = self._commands.list_sessions(names, cursor)._replace(at=at, scattered=True)
        page, elsewhere = await run(plan)
        sessions, foreign = list(page.sessions), page.foreign
        for name in elsewhere:  # its slot is on its way, or came to another node just now
            one = self._commands.list_sessions([name], cursor)._replace(at=key_slot(name))
            more = (await run(one)).page
            sessions += more.sessions
            foreign += more.foreign
        return SessionPage(sessions=tuple(sessions), cursor=cursor, foreign=foreign)

    async def copy(
        self,
        run: Run,
        source: str,
        target: str,
        *,
        replace: bool | Life,
        state: bytes | None,
        expect: Life | None,
    ) -> Life | None:
        """See `SessionStore.copy`: another node gets the session whole, in one step."""
        both = [key_slot(self._commands.key(session)) for session in (source, target)]
        if both[0] == both[1]:
            return await super().copy(
                run, source, target, replace=replace, state=state, expect=expect
            )
        dumped = await run(self._commands.copy_out(source, target, expect))
        if dumped is None:
            return None
        plan = self._commands.copy_in(source, target, dumped, replace=replace, state=state)
        life: Life | None = await run(plan)
        return life
