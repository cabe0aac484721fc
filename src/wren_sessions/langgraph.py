"""`SessionSaver`: a LangGraph checkpointer on any session store, for ``invoke`` and ``ainvoke``.

A session is LangGraph's ``thread_id``. This module translates LangGraph's types and nothing else;
what is stored, and how, is in `wren_sessions._checkpoints`.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT

from wren_sessions._cache import DEFAULT_BYTES
from wren_sessions._checkpoints import Checkpoints
from wren_sessions._langgraph_types import (
    config_for,
    history_of,
    named_by,
    names_of,
    put_of,
    session_of,
    several,
    thread_of,
    tuple_of,
    widened,
)
from wren_sessions._listing import Listing
from wren_sessions._pending import TaskWrite
from wren_sessions._protection import protection_of
from wren_sessions._pruning import Retention, choice_of, of_runs
from wren_sessions._runs import Runs
from wren_sessions._snapshots import Snapshot
from wren_sessions._steps import Steps, adrive, drive
from wren_sessions._versions import Counter, Kinds, next_version
from wren_sessions._writing import Put
from wren_sessions.errors import ConfigurationError, hides_arguments
from wren_sessions.protocols import SessionStore
from wren_sessions.serializers import default_serializer

if TYPE_CHECKING:
    import redis
    import redis.asyncio


class SessionSaver(BaseCheckpointSaver[Any]):
    """Checkpoints of LangGraph threads on a session store.

    One object serves blocking and asynchronous graphs, from any thread and any event loop. It can
    be used with and without ``with``; a store that was passed in is never closed here.

    Args:
        store: where the sessions are kept.
        serde: turns values into bytes; None for `SafeSerializer`, with its defaults.
        cache_bytes: how much to remember of what was written and read, so that a step is written
            without reading its parent; 0 for nothing. Default 64 MiB.
        header: channels whose strings may stand in a session's readable header, besides its
            numbers and booleans.
        retention: how many checkpoints to keep while writing; None (default) keeps all.

    Methods raise the errors of `wren_sessions.errors`; a thread or checkpoint that is not there,
    or has expired, is None.
    """

    def __init__(
        self,
        store: SessionStore,
        *,
        serde: SerializerProtocol | None = None,
        cache_bytes: int = DEFAULT_BYTES,
        header: Collection[str] = (),
        retention: Retention | None = None,
    ) -> None:
        super().__init__(serde=default_serializer() if serde is None else serde)
        self.store = store
        self._retention = retention
        self._checkpoints = Checkpoints(cache_bytes, header, protection_of(store))
        self._owns_store = False
        self._kinds = Kinds()
        self._runs = Runs()

    # --- making one ---

    @classmethod
    @hides_arguments
    def from_url(cls, url: str, **options: Any) -> Self:
        """A saver on the store at a URL, closed with it; see `wren_sessions.open_store`.

        Args:
            url: such as ``redis://localhost:6379/0``, ``file:sessions.db``, ``memory://``.
            options: ``serde``, ``cache_bytes``, ``header`` and ``retention`` go to the saver, all
                others to `open_store`.
        """
        return cls._opened(url, options)

    @classmethod
    @hides_arguments
    def from_conn_string(cls, url: str, **options: Any) -> Self:
        """The same as `from_url`: other LangGraph savers call it so, and use it in a ``with``."""
        return cls._opened(url, options)

    @classmethod
    @hides_arguments
    def from_env(cls, **options: Any) -> Self:
        """A saver on the store that the environment and ``.env`` name; options as in `from_url`."""
        return cls._opened(None, options)

    @classmethod
    def from_client(cls, client: redis.Redis | redis.asyncio.Redis, **options: Any) -> Self:
        """A saver on a Redis client of the application, which is never closed here.

        Args:
            client: a blocking client serves asynchronous graphs through threads; with an asyncio
                client, blocking calls are a `ConfigurationError`.
            options: ``ttl`` and ``prefix`` go to `RedisStore.from_client`, all others to the saver.
        """
        from wren_sessions.stores.redis import RedisStore

        for_store = {name: options.pop(name) for name in ("ttl", "prefix") if name in options}
        return cls(RedisStore.from_client(client, **for_store), **options)

    @classmethod
    def _opened(cls, url: str | None, options: dict[str, Any]) -> Self:
        from wren_sessions.config import open_store

        own = ("serde", "cache_bytes", "header", "retention")
        for_saver = {name: options.pop(name) for name in own if name in options}
        saver = cls(open_store(url, **options), **for_saver)
        saver._owns_store = True
        return saver

    def setup(self) -> None:
        """There is nothing to set up; LangGraph users expect the method."""

    async def asetup(self) -> None:
        """There is nothing to set up; LangGraph users expect the method."""

    def close(self) -> None:
        """Close the store, if this saver opened it."""
        if self._owns_store:
            self.store.close()

    async def aclose(self) -> None:
        """Close the store, if this saver opened it."""
        if self._owns_store:
            await self.store.aio.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # --- the contract ---

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that `config` names, or the latest of its thread and namespace."""
        return drive(self._get(config), self.store)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `get_tuple`."""
        return await adrive(self._get(config), self.store.aio)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 -- LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Checkpoints of a thread, namespace after namespace, each with the latest first.

        The first is the one that `get_tuple` gives. The others follow by descending id, as in
        LangGraph's other savers; but where a machine's clock was behind, what was written there is
        followed by what it continues.

        Args:
            config: the thread, and optionally its namespace and one checkpoint; None, or an empty
                one, lists all threads, page by page, which reads every session of the store.
            filter: metadata that a checkpoint must have.
            before: only checkpoints that come after this config's; where it names none that is
                there, only those with a lower id.
            limit: how many at the most.
        """
        listing = self._listing(config, filter, before, limit)
        while (page := drive(listing.more(), self.store)) is not None:
            for session, found in page:
                steps = self._checkpoints.reading.with_parent(session, found)
                whole = drive(steps, self.store)
                yield self._tuple(thread_of(config) if config else session, session, whole)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 -- LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """See `list`."""
        listing = self._listing(config, filter, before, limit)
        while (page := await adrive(listing.more(), self.store.aio)) is not None:
            for session, found in page:
                steps = self._checkpoints.reading.with_parent(session, found)
                whole = await adrive(steps, self.store.aio)
                yield self._tuple(thread_of(config) if config else session, session, whole)

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Write a checkpoint that continues the one `config` names."""
        put = put_of(config, checkpoint, metadata, new_versions)
        drive(self._write(put), self.store)
        return config_for(config, *put.name)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """See `put`."""
        put = put_of(config, checkpoint, metadata, new_versions)
        await adrive(self._write(put), self.store.aio)
        return config_for(config, *put.name)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Add a task's pending writes to the checkpoint that `config` names."""
        drive(self._put_writes(config, writes, task_id, task_path), self.store)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """See `put_writes`."""
        await adrive(self._put_writes(config, writes, task_id, task_path), self.store.aio)

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread, whole; one that is not there is no error."""
        drive(self._checkpoints.pruning.delete(session_of(thread_id)), self.store)

    async def adelete_thread(self, thread_id: str) -> None:
        """See `delete_thread`."""
        await adrive(self._checkpoints.pruning.delete(session_of(thread_id)), self.store.aio)

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs made.

        A run that this saver wrote is looked for where it wrote: that reads its sessions alone, and
        their copies that this saver made. If there is one among the runs that this saver did not
        write, or wrote to more than 64 sessions, or more than 10,000 runs ago, every session of the
        store is read.

        Raises:
            ConflictError: a session was written all the time; it kept its checkpoints.
            TypeError: the runs are one text instead of several.
        """
        drive(self._delete_for_runs(run_ids), self.store)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """See `delete_for_runs`."""
        await adrive(self._delete_for_runs(run_ids), self.store.aio)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread, whole, to one that is not there yet; one that is not there is no error.

        Raises:
            SessionExistsError: the target is there; nothing was written.
        """
        drive(self._copy_thread(source_thread_id, target_thread_id), self.store)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """See `copy_thread`."""
        await adrive(self._copy_thread(source_thread_id, target_thread_id), self.store.aio)

    def prune(
        self,
        thread_ids: Sequence[str],
        *,
        strategy: str = "keep_latest",
        keep_last: int | None = None,
    ) -> None:
        """Drop checkpoints of threads, and give back the room that only they took.

        What a pending interrupt, a fork's head and a channel that lives in its history need stays.

        Args:
            thread_ids: the threads; one that is not there is no error.
            strategy: ``"keep_latest"`` keeps the latest checkpoint of each namespace, ``"delete"``
                none, ``"keep_last"`` as many as `keep_last` says.
            keep_last: how many checkpoints of each namespace to keep, at least 1. The namespaces
                of single tasks go with the checkpoint that ran them.

        Raises:
            ConfigurationError: there is no such strategy, or `keep_last` does not go with it.
            ConflictError: a thread was written all the time; it kept its checkpoints.
            InvalidSessionIdError: a thread id is none; nothing was dropped.
            TypeError: the threads are one text instead of several.
        """
        drive(self._prune(thread_ids, strategy, keep_last), self.store)

    async def aprune(
        self,
        thread_ids: Sequence[str],
        *,
        strategy: str = "keep_latest",
        keep_last: int | None = None,
    ) -> None:
        """See `prune`."""
        await adrive(self._prune(thread_ids, strategy, keep_last), self.store.aio)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, Any]:
        """What each channel's ancestors contributed; by pages of ancestors, not one by one."""
        return drive(self._history(config, channels), self.store)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, Any]:
        """See `get_delta_channel_history`."""
        return await adrive(self._history(config, channels), self.store.aio)

    def get_next_version(self, current: Any, channel: None = None) -> Any:
        """The version after `current`, as LangGraph's own savers count: 32 digits, then chance.

        A thread that is counted in numbers goes on in numbers. A subclass may count in its own
        way: what it reads then has versions of the kind that it makes.

        Args:
            current: the version now, of this or any other saver; None for none.
            channel: not used; LangGraph passes it.

        Raises:
            ConfigurationError: `current` is text that does not begin with a number.
        """
        del channel
        return next_version(current)

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> Self:
        """A saver on the same store whose serializer allows further types; see LangGraph's docs.

        LangGraph calls it, with what a graph's schemas name, where its strict mode is on.
        """
        serde = widened(self.serde, extra_allowlist)
        if serde is not None:
            if serde is self.serde:
                return self
            clone = copy.copy(self)
            clone.serde = serde
            return clone
        widen = getattr(super(), "with_allowlist", None)
        if widen is not None:
            saver: Self = widen(extra_allowlist)
            return saver
        return copy.copy(self)  # langgraph-checkpoint 3 has no allowlist to widen

    def _tuple(self, thread_id: Any, session: str, found: Snapshot) -> CheckpointTuple:
        """A checkpoint as LangGraph wants it, with the kind of versions that are counted here."""
        if getattr(self.get_next_version, "__func__", None) is SessionSaver.get_next_version:
            counter = self._kinds.read((session, found.name[0]), found.versions)
        else:
            counter = Counter.of(self.get_next_version(None, None))
        return tuple_of(thread_id, found, counter)

    # --- steps ---

    def _get(self, config: RunnableConfig) -> Steps[CheckpointTuple | None]:
        session, namespace, checkpoint_id = names_of(config)
        found = yield from self._checkpoints.reading.get(
            session, namespace, checkpoint_id, self.serde
        )
        if found is None:
            return None
        found = yield from self._checkpoints.reading.with_parent(session, found)
        whole = self._tuple(thread_of(config), session, found)
        return whole if checkpoint_id is None else named_by(config, whole)

    def _put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str,
    ) -> Steps[None]:
        session, namespace, checkpoint_id = names_of(config)
        if checkpoint_id is None:
            raise ConfigurationError("put_writes needs a config with a 'checkpoint_id'")
        task_writes = [
            TaskWrite(
                channel=channel,
                index=WRITES_IDX_MAP.get(channel, index),
                value=value,
                replace=channel in WRITES_IDX_MAP,
                alone=channel in {ERROR, INTERRUPT},
            )
            for index, (channel, value) in enumerate(writes)
        ]
        return self._checkpoints.writing.pending.put_writes(
            session,
            (namespace, checkpoint_id),
            task_writes,
            task_id=task_id,
            task_path=task_path,
            serde=self.serde,
        )

    def _write(self, put: Put) -> Steps[None]:
        self._runs.wrote(put.metadata.get("run_id"), put.session)
        yield from self._checkpoints.writing.put(put, self.serde)
        self._kinds.wrote((put.session, put.name[0]), put.versions)
        if self._retention is not None:
            yield from self._checkpoints.pruning.retain(
                put.session, self._retention.keep_last, self.serde
            )

    def _delete_for_runs(self, run_ids: Sequence[str]) -> Steps[None]:
        runs, pruning = several(run_ids, "run ids"), self._checkpoints.pruning
        sessions = self._runs.sessions(runs)
        if sessions is None:
            yield from pruning.prune_all(of_runs(runs), self.serde)
            return
        for session in sorted(sessions):
            yield from pruning.prune(session, of_runs(runs), self.serde)

    def _copy_thread(self, source: str, target: str) -> Steps[None]:
        yield from self._checkpoints.pruning.copy(session_of(source), session_of(target))
        self._runs.copied(session_of(source), session_of(target))

    def _prune(
        self, thread_ids: Sequence[str], strategy: str, keep_last: int | None
    ) -> Steps[None]:
        choice = choice_of(strategy, keep_last)
        for session in [session_of(thread) for thread in several(thread_ids, "thread ids")]:
            if choice is None:
                yield from self._checkpoints.pruning.delete(session)
            else:
                yield from self._checkpoints.pruning.prune(session, choice, self.serde)

    def _history(self, config: RunnableConfig, channels: Sequence[str]) -> Steps[dict[str, Any]]:
        if not channels:
            return {}
        found = yield from self._checkpoints.histories.read(*names_of(config), channels, self.serde)
        return {channel: history_of(history) for channel, history in found.items()}

    def _listing(
        self,
        config: RunnableConfig | None,
        where: Mapping[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Listing:
        configurable = config["configurable"] if config else {}
        return Listing(
            self._checkpoints.reading,
            self.serde,
            session=session_of(thread_of(config)) if config else None,
            namespace=configurable.get("checkpoint_ns"),
            checkpoint_id=configurable.get("checkpoint_id") or None,
            before=before["configurable"].get("checkpoint_id") if before else None,
            where=where or {},
            limit=limit,
        )
