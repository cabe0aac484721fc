"""`SessionSaver`: a LangGraph checkpointer on any session store, for ``invoke`` and ``ainvoke``.

A session is LangGraph's ``thread_id``. This module translates LangGraph's types and nothing else;
what is stored, and how, is in `wren_sessions.checkpoints`.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
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

from wren_sessions._arguments import (
    check_kind,
    check_names,
    check_serde,
    check_store,
    check_whole_number,
)
from wren_sessions._blocking import Unsuspended, run
from wren_sessions.checkpoints import Checkpoints
from wren_sessions.checkpoints.listing import Listing
from wren_sessions.checkpoints.pending import TaskWrite
from wren_sessions.checkpoints.prune import Retention, choice_of, of_runs
from wren_sessions.checkpoints.put import Put
from wren_sessions.checkpoints.record_cache import DEFAULT_BYTES, Cache
from wren_sessions.checkpoints.runs import Runs
from wren_sessions.checkpoints.snapshots import Snapshot
from wren_sessions.checkpoints.turns import Concurrency, Rules, turns_here, turns_on
from wren_sessions.checkpoints.versions import Counter, next_version
from wren_sessions.delta.protection import protection_of
from wren_sessions.errors import ConfigurationError, hides_arguments
from wren_sessions.langgraph.convert import (
    Kinds,
    config_for,
    history_of,
    named_by,
    names_of,
    owner_of,
    put_of,
    run_of,
    session_of,
    several,
    thread_of,
    tuple_of,
    widened,
)
from wren_sessions.langgraph.turns import RunTurns
from wren_sessions.protocols import SessionStore, knowing_owners
from wren_sessions.serializers import chosen_serializer

if TYPE_CHECKING:
    import redis
    import redis.asyncio

    from wren_sessions.serializers.migrations import Migrations


class SessionSaver(BaseCheckpointSaver[Any]):
    """A LangGraph checkpointer on a session store.

    One object works for blocking and async graphs, in any thread and any event loop. You can use it
    with or without ``with``. It never closes a store that was passed in.

    Args:
        store: where the sessions are kept.
        serde: turns values into bytes; None for a default `SafeSerializer`.
        cache_bytes: how many bytes to cache of what was written and read, so that a step can be
            written without reading its parent; 0 for no cache. Default: 64 MiB.
        header: channels whose strings may be in a session's readable header, in addition to its
            numbers and booleans.
        retention: how many checkpoints to keep while writing; None (default) keeps all.
        migrations: how the application's classes have changed since values were stored.
        concurrency: what happens if a run starts on a thread on which another run is active.
            ``"last"`` (default): both continue, as with LangGraph's own savers, and the last write
            is the latest state. ``"reject"``: the second run gets a `ConflictError` before any node
            runs. ``"wait"``: the second run waits for its turn. With these two, a write outside of
            a run and of `Sessions.turn` must continue the latest checkpoint.
        owner_key: the key in the config's ``configurable`` with the owner of a thread, such as
            ``"user_id"``. `Sessions.list` finds threads by owner. A thread that has an owner keeps
            it. None (default): threads get no owner.

    Raises:
        ConfigurationError: an argument has the wrong type.

    Methods raise the errors of `wren_sessions.errors`. For a thread or checkpoint that does not
    exist or has expired, they return None.
    """

    def __init__(
        self,
        store: SessionStore,
        *,
        serde: SerializerProtocol | None = None,
        cache_bytes: int = DEFAULT_BYTES,
        header: Collection[str] = (),
        retention: Retention | None = None,
        migrations: Migrations | None = None,
        concurrency: Concurrency = "last",
        owner_key: str | None = None,
    ) -> None:
        name = type(self).__name__
        check_store(store, name)
        check_serde(serde, name)
        check_whole_number(cache_bytes, "cache_bytes")
        check_names(header, "header")
        check_kind(retention, Retention, "retention", "retention=Retention(keep_last=20)")
        super().__init__(serde=chosen_serializer(serde, migrations, name))
        self.store = store
        self._retention = retention
        if concurrency not in ("last", "reject", "wait"):
            raise ConfigurationError(
                f"concurrency must be 'last', 'reject' or 'wait', not {concurrency!r}"
            )
        self._run_turns = None if concurrency == "last" else RunTurns(store, concurrency)
        if owner_key is not None:
            check_names([owner_key], "owner_key")
            knowing_owners(store)
        self._owner_key = owner_key
        self._rules = rules = Rules(store, concurrency)
        shared = (Cache(cache_bytes), header, protection_of(store), rules)
        self._blocking = Checkpoints(Unsuspended(store), *shared)
        self._awaited = Checkpoints(store.aio, *shared)
        self._owns_store = False
        self._kinds = Kinds()
        self._runs = Runs()

    # --- making one ---

    @classmethod
    @hides_arguments
    def from_url(cls, url: str, **options: Any) -> Self:
        """A saver on the store at a URL. Closing the saver closes the store.

        Args:
            url: such as ``redis://localhost:6379/0``, ``file:sessions.db``, ``memory://``.
            options: ``serde``, ``cache_bytes``, ``header``, ``retention``, ``migrations``,
                ``concurrency`` and ``owner_key`` are for the saver, all others for `open_store`.
        """
        return cls._opened(url, options)

    @classmethod
    @hides_arguments
    def from_conn_string(cls, url: str, **options: Any) -> Self:
        """The same as `from_url`, under the name that other LangGraph savers use."""
        return cls._opened(url, options)

    @classmethod
    @hides_arguments
    def from_env(cls, **options: Any) -> Self:
        """A saver on the store from the environment and ``.env``. Options as in `from_url`."""
        return cls._opened(None, options)

    @classmethod
    def from_client(cls, client: redis.Redis | redis.asyncio.Redis, **options: Any) -> Self:
        """A saver on the application's Redis client. It never closes the client.

        Args:
            client: with a blocking client, async graphs run in threads. With an asyncio client,
                blocking calls raise `ConfigurationError`.
            options: ``ttl`` and ``prefix`` are for `RedisStore.from_client`, all others for the
                saver.
        """
        from wren_sessions.stores.redis import RedisStore

        for_store = {name: options.pop(name) for name in ("ttl", "prefix") if name in options}
        return cls(RedisStore.from_client(client, **for_store), **options)

    @classmethod
    def _opened(cls, url: str | None, options: dict[str, Any]) -> Self:
        from wren_sessions.config import open_store

        own = (
            "serde",
            "cache_bytes",
            "header",
            "retention",
            "migrations",
            "concurrency",
            "owner_key",
        )
        for_saver = {name: options.pop(name) for name in own if name in options}
        saver = cls(open_store(url, **options), **for_saver)
        saver._owns_store = True
        return saver

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.store!r})"

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

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # --- the contract ---

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint in `config`, or the latest one of its thread and namespace."""
        if self._run_turns is not None:
            session, namespace, _ = names_of(config)
            if namespace == "":
                self._run_turns.begin(thread_of(config), session)
        if turns_on.get():
            self._rules.lend(names_of(config)[0], run_of(config))
        return run(self._get(self._blocking, config))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `get_tuple`."""
        if self._run_turns is not None:
            session, namespace, _ = names_of(config)
            if namespace == "":
                await self._run_turns.abegin(thread_of(config), session)
        return await self._get(self._awaited, config)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 -- LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """The checkpoints of a thread, one namespace after the other, the latest first.

        The first is the one that `get_tuple` returns. The others follow by descending id, as in
        LangGraph's other savers. But if a machine's clock was slow, a checkpoint that it wrote is
        followed by the one that it continues.

        Args:
            config: the thread, and optionally its namespace and one checkpoint. None or an empty
                config lists all threads, page by page, which reads every session in the store.
            filter: metadata that a checkpoint must have.
            before: only checkpoints that come after this config's checkpoint. If that does not
                exist, only those with a lower id.
            limit: the maximum number of checkpoints.
        """
        listing = self._listing(self._blocking, config, filter, before, limit)
        while (page := run(listing.more())) is not None:
            for session, found in page:
                whole = run(self._blocking.reading.with_parent(session, found))
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
        listing = self._listing(self._awaited, config, filter, before, limit)
        while (page := await listing.more()) is not None:
            for session, found in page:
                whole = await self._awaited.reading.with_parent(session, found)
                yield self._tuple(thread_of(config) if config else session, session, whole)

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Write a checkpoint that continues the one in `config`."""
        put = put_of(config, checkpoint, metadata, new_versions)
        if self._owner_key is not None:
            put.owner = owner_of(config, self._owner_key)
        run(self._write(self._blocking, put))
        return config_for(config["configurable"]["thread_id"], *put.name)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """See `put`."""
        put = put_of(config, checkpoint, metadata, new_versions)
        if self._owner_key is not None:
            put.owner = owner_of(config, self._owner_key)
        await self._write(self._awaited, put)
        return config_for(config["configurable"]["thread_id"], *put.name)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Add a task's pending writes to the checkpoint in `config`."""
        work = self._put_writes(self._blocking, config, writes, task_id, task_path)
        if turns_here and not turns_on.get():  # perhaps LangGraph left the run's context
            context = self._rules.lent(names_of(config)[0], run_of(config))
            if context is not None:
                return context.run(run, work)
        return run(work)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """See `put_writes`."""
        await self._put_writes(self._awaited, config, writes, task_id, task_path)

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread. It is no error if it does not exist."""
        run(self._blocking.pruning.delete(session_of(thread_id)))

    async def adelete_thread(self, thread_id: str) -> None:
        """See `delete_thread`."""
        await self._awaited.pruning.delete(session_of(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs created.

        For runs that this saver wrote, it reads only their sessions, and copies of these that this
        saver made. It reads every session in the store if this saver did not write one of the runs,
        if a run wrote to more than 64 sessions, or if it was more than 10,000 runs ago.

        Raises:
            ConflictError: others kept writing a session; it kept its checkpoints.
            TypeError: `run_ids` is a single text.
        """
        run(self._delete_for_runs(self._blocking, run_ids))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """See `delete_for_runs`."""
        await self._delete_for_runs(self._awaited, run_ids)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread to a new one. It is no error if the source does not exist.

        Raises:
            SessionExistsError: the target exists; nothing was written.
        """
        run(self._copy_thread(self._blocking, source_thread_id, target_thread_id))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """See `copy_thread`."""
        await self._copy_thread(self._awaited, source_thread_id, target_thread_id)

    def prune(
        self,
        thread_ids: Sequence[str],
        *,
        strategy: str = "keep_latest",
        keep_last: int | None = None,
    ) -> None:
        """Delete checkpoints of threads, and free the space that only they used.

        It keeps what a pending interrupt, the head of a fork, and a channel with a history need.

        Args:
            thread_ids: the threads; it is no error if one does not exist.
            strategy: ``"keep_latest"`` keeps the latest checkpoint of each namespace, ``"delete"``
                (or ``"delete_all"``) keeps none, and ``"keep_last"`` keeps `keep_last` of them.
            keep_last: how many checkpoints to keep in each namespace, at least 1. The namespace of
                a single task is deleted together with the checkpoint that ran it.

        Raises:
            ConfigurationError: there is no such strategy, or it does not take `keep_last`.
            ConflictError: others kept writing a thread; it kept its checkpoints.
            InvalidSessionIdError: a thread id is not valid; nothing was deleted.
            TypeError: `thread_ids` is a single text.
        """
        run(self._prune(self._blocking, thread_ids, strategy, keep_last))

    async def aprune(
        self,
        thread_ids: Sequence[str],
        *,
        strategy: str = "keep_latest",
        keep_last: int | None = None,
    ) -> None:
        """See `prune`."""
        await self._prune(self._awaited, thread_ids, strategy, keep_last)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, Any]:
        """What the ancestors contributed to each channel, read by pages and not one by one."""
        return run(self._history(self._blocking, config, channels))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, Any]:
        """See `get_delta_channel_history`."""
        return await self._history(self._awaited, config, channels)

    def get_next_version(self, current: Any, channel: None = None) -> Any:
        """The version after `current`, in the format of LangGraph's savers: 32 digits, then noise.

        If a thread has numbers as versions, it continues with numbers. A subclass may count in its
        own way. The checkpoints it reads then have versions of its kind.

        Args:
            current: the current version, from this or any other saver; None if there is none.
            channel: not used; LangGraph passes it.

        Raises:
            ConfigurationError: `current` is text that does not begin with a number.
        """
        del channel
        return next_version(current)

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> Self:
        """A saver on the same store whose serializer allows more types; see LangGraph's docs.

        In its strict mode, LangGraph calls it with the types that a graph's schemas name.
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

    # --- blocking and async ---

    async def _get(
        self, checkpoints: Checkpoints, config: RunnableConfig
    ) -> CheckpointTuple | None:
        session, namespace, checkpoint_id = names_of(config)
        found = await checkpoints.reading.get(session, namespace, checkpoint_id, self.serde)
        if found is None:
            return None
        if found.below != found.parent_id:
            found = await checkpoints.reading.with_parent(session, found)
        whole = self._tuple(config["configurable"]["thread_id"], session, found)
        return whole if checkpoint_id is None else named_by(config, whole)

    async def _put_writes(
        self,
        checkpoints: Checkpoints,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str,
    ) -> None:
        session, namespace, checkpoint_id = names_of(config)
        if checkpoint_id is None:
            raise ConfigurationError("put_writes needs a config with a 'checkpoint_id'")
        task_writes: list[TaskWrite] = []
        for at, (channel, value) in enumerate(writes):
            special = WRITES_IDX_MAP.get(channel)
            if special is None:
                task_writes.append(TaskWrite(channel, at, value))
            else:
                alone = channel in {ERROR, INTERRUPT}
                task_writes.append(TaskWrite(channel, special, value, replace=True, alone=alone))
        await checkpoints.writing.pending.put_writes(
            session,
            (namespace, checkpoint_id),
            task_writes,
            task_id=task_id,
            task_path=task_path,
            serde=self.serde,
        )

    async def _write(self, checkpoints: Checkpoints, put: Put) -> None:
        run_id = put.metadata.get("run_id")
        if run_id is not None:
            self._runs.wrote(run_id, put.session)
        await checkpoints.writing.put(put, self.serde)
        self._kinds.wrote((put.session, put.name[0]), put.versions)
        if self._retention is not None:
            await checkpoints.pruning.retain(put.session, self._retention.keep_last, self.serde)

    async def _delete_for_runs(self, checkpoints: Checkpoints, run_ids: Sequence[str]) -> None:
        runs, pruning = several(run_ids, "run ids"), checkpoints.pruning
        sessions = self._runs.sessions(runs)
        if sessions is None:
            await pruning.prune_all(of_runs(runs), self.serde)
            return
        for session in sorted(sessions):
            await pruning.prune(session, of_runs(runs), self.serde)

    async def _copy_thread(self, checkpoints: Checkpoints, source: str, target: str) -> None:
        await checkpoints.pruning.copy(session_of(source), session_of(target))
        self._runs.copied(session_of(source), session_of(target))

    async def _prune(
        self,
        checkpoints: Checkpoints,
        thread_ids: Sequence[str],
        strategy: str,
        keep_last: int | None,
    ) -> None:
        choice = choice_of(strategy, keep_last)
        for session in [session_of(thread) for thread in several(thread_ids, "thread ids")]:
            if choice is None:
                await checkpoints.pruning.delete(session)
            else:
                await checkpoints.pruning.prune(session, choice, self.serde)

    async def _history(
        self, checkpoints: Checkpoints, config: RunnableConfig, channels: Sequence[str]
    ) -> dict[str, Any]:
        if not channels:
            return {}
        found = await checkpoints.histories.read(*names_of(config), channels, self.serde)
        return {channel: history_of(history) for channel, history in found.items()}

    def _listing(
        self,
        checkpoints: Checkpoints,
        config: RunnableConfig | None,
        where: Mapping[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Listing:
        configurable = config["configurable"] if config else {}
        return Listing(
            checkpoints.reading,
            self.serde,
            session=session_of(thread_of(config)) if config else None,
            namespace=configurable.get("checkpoint_ns"),
            checkpoint_id=configurable.get("checkpoint_id") or None,
            before=before["configurable"].get("checkpoint_id") if before else None,
            where=where or {},
            limit=limit,
        )
