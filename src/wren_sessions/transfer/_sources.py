"""What a saver contains: its threads, the checkpoints of each, and one checkpoint.

LangGraph's savers list checkpoints with all their values. Only the names are kept, and each
checkpoint is read by name afterwards, so that only one is in memory at a time. A listing costs as
much as reading everything, so there is one for all threads. Known behaviour beyond the contract:

- A `SessionSaver` is listed from its records, which have the names without any value.
- PostgreSQL's saver fetches all rows of a listing with one query. It is asked for pages.
- The official Redis saver lists 10,000 checkpoints by default. All savers are asked for `LISTED`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from wren_sessions._blocking import Unsuspended
from wren_sessions._walks import RecordWalk, aall_sessions
from wren_sessions.checkpoints.codec import record_of
from wren_sessions.errors import ConfigurationError
from wren_sessions.langgraph.convert import session_of
from wren_sessions.protocols import AsyncSessionStore, SessionStore
from wren_sessions.records import Name, Start
from wren_sessions.transfer._reports import Entry, parents_first
from wren_sessions.transfer._savers import BlockingSaver, Listed, Saver

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import CheckpointTuple

LISTED: Final = 1_000_000  # the most that RediSearch answers
PAGE: Final = 20
RECORDS: Final = 100
_POSTGRES: Final = "langgraph.checkpoint.postgres"


def config_of(
    thread: Any, namespace: str | None = None, checkpoint_id: str | None = None
) -> RunnableConfig:
    """The config of a thread, of one of its namespaces, or of a checkpoint."""
    named = {"checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}
    given = {key: value for key, value in named.items() if value is not None}
    return {"configurable": {"thread_id": thread, **given}}


def parent_of(found: CheckpointTuple) -> str | None:
    """The id of the checkpoint that one continues."""
    if found.parent_config is None:
        return None
    return found.parent_config["configurable"].get("checkpoint_id") or None


def _listed(found: CheckpointTuple) -> tuple[Any, Entry]:
    """A checkpoint's thread and name."""
    configurable = found.config["configurable"]
    namespace = configurable.get("checkpoint_ns") or ""
    return configurable["thread_id"], Entry(namespace, found.checkpoint["id"], parent_of(found))


class Source:
    """Any saver.

    Args:
        saver: the saver.
    """

    def __init__(self, saver: Saver) -> None:
        self._saver = saver

    async def threads(self) -> dict[Any, list[Entry] | None]:
        """All threads, as the application named them, each with its checkpoints if known."""
        found: dict[Any, list[Entry] | None] = {}
        for thread, entry in await self._list(None):
            entries = found.setdefault(thread, [])
            if entries is not None:
                entries.append(entry)
        return found

    async def entries(self, thread: Any) -> list[Entry]:
        """The checkpoints of a thread, in any order."""
        found = await self._list(config_of(thread))
        return [entry for _, entry in found]

    def ordered(self, entries: Iterable[Entry]) -> list[Entry]:
        """Checkpoints in the order in which to move them: the oldest first."""
        return sorted(entries, key=_age)

    async def heads(self, thread: Any, entries: Iterable[Entry]) -> dict[str, str]:
        """The latest checkpoint of each namespace: the one with the highest id."""
        del thread
        return {entry.namespace: entry.id for entry in sorted(entries, key=_age)}

    async def read(self, thread: Any, name: Name) -> CheckpointTuple | None:
        """One checkpoint, or None if it is not there."""
        return await self._saver.get_tuple(config_of(thread, *name))

    async def _list(self, config: RunnableConfig | None) -> Iterable[tuple[Any, Entry]]:
        listed = await self._ask(config, limit=LISTED)
        if listed.count >= LISTED:
            raise ConfigurationError(
                f"the saver lists {LISTED:,} checkpoints or more: move its threads one by one "
                "(threads=[…])"
            )
        return listed.kept

    async def _ask(self, config: RunnableConfig | None, **options: Any) -> Listed:
        return await self._saver.list(config, keep=_listed, **options)


class PagedSource(Source):
    """A saver that lists by descending id, and holds a whole listing in memory."""

    async def _list(self, config: RunnableConfig | None) -> Iterable[tuple[Any, Entry]]:
        found: dict[tuple[Any, Entry], None] = {}
        size, before = PAGE, None
        while True:
            page = await self._ask(config, before=before, limit=size)
            if page.count < size:
                return found | page.kept
            if page.kept.keys() <= found.keys():
                size *= 2  # so many checkpoints of one id, in as many threads
            found |= page.kept
            _, last = next(reversed(page.kept))
            # The last id once more: threads that were copied share ids.
            before = {"configurable": {"checkpoint_id": f"{last.id}0"}}


class SessionSource(Source):
    """A `SessionSaver`.

    Args:
        saver: the saver.
        store: its store.
    """

    def __init__(self, saver: Saver, store: AsyncSessionStore) -> None:
        super().__init__(saver)
        self._store = store

    async def threads(self) -> dict[Any, list[Entry] | None]:
        """All sessions; their checkpoints are listed one session at a time."""
        return {info.session: None async for info in aall_sessions(self._store)}

    async def entries(self, thread: Any) -> list[Entry]:
        """The checkpoints of a thread, in any order."""
        session = session_of(thread)
        heads = await self._store.heads(session)
        starts = [Start(namespace) for namespace, _ in heads]
        walk = RecordWalk(partial(self._store.scan, session), starts, RECORDS)
        found: list[Entry] = []
        while (page := await walk.next_page()) is not None:
            found += [
                Entry(*stored.name, record_of(session, stored).parent_id) for stored in page.records
            ]
        return found

    def ordered(self, entries: Iterable[Entry]) -> list[Entry]:
        """The oldest first, but none before its parent.

        The latest may have a lower id than others, if the clock of a machine was slow.
        """
        return parents_first(super().ordered(entries))

    async def heads(self, thread: Any, entries: Iterable[Entry]) -> dict[str, str]:
        """The latest checkpoint of each namespace."""
        del entries
        heads = await self._store.heads(session_of(thread))
        return dict(heads)


def _age(entry: Entry) -> tuple[str, str]:
    return entry.id, entry.namespace


def source_of(saver: Saver) -> Source:
    """How to read a saver."""
    from wren_sessions.langgraph import SessionSaver  # loads langgraph

    if isinstance(saver.saver, SessionSaver):
        return SessionSource(saver, store_of(saver, saver.saver.store))
    if any(base.__module__.startswith(_POSTGRES) for base in type(saver.saver).__mro__):
        return PagedSource(saver)
    return Source(saver)


def store_of(saver: Saver, store: SessionStore) -> AsyncSessionStore:
    """The API of a `SessionSaver`'s store that fits how the saver is called."""
    return Unsuspended(store) if isinstance(saver, BlockingSaver) else store.aio
