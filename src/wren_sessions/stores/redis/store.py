"""Sessions on Redis or Valkey: one hash per session, core commands and Lua only.

It works with any Redis from 6.2 on, without modules, and with Valkey. Every method is one round
trip (`list_sessions` takes two). Methods that are called at the same time share round trips
(`threads`, `tasks`). Lifetimes use the server's clock. The two classes here send the plans of
`commands`, blocking and with asyncio.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Self, TypeVar

import redis
import redis.asyncio

from wren_sessions._blocking import Lock, run
from wren_sessions.errors import ConfigurationError, hides_arguments
from wren_sessions.keys import DEFAULT_PREFIX, KeySpace
from wren_sessions.protocols import AsyncSessionStore
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
from wren_sessions.stores._closing import Closing
from wren_sessions.stores._diagnosis import Diagnosis
from wren_sessions.stores.redis.clients import (
    Fleet,
    asyncio_client,
    blocking_client,
    fleet_of,
    location_of,
    with_own_sentinels,
)
from wren_sessions.stores.redis.cluster import ClusterTasks, ClusterThreads
from wren_sessions.stores.redis.commands import Commands
from wren_sessions.stores.redis.errors import DRIVER_ERRORS, translate
from wren_sessions.stores.redis.plans import Plan
from wren_sessions.stores.redis.sequences import ClusterSequences, Sequences
from wren_sessions.stores.redis.tasks import LoopTrips, TaskPipelines
from wren_sessions.stores.redis.threads import ThreadPipelines
from wren_sessions.stores.threaded import ThreadedStore
from wren_sessions.ttl import DAY, Duration, Lifetime, TTLPolicy, policy_of

T = TypeVar("T")

_NOBODY: Final = "wren-sessions-check-nobody"
_THREADS: Final = 16  # asynchronous calls at once, where the application gave a blocking client


class RedisStore(Closing):
    """A store on a Redis or Valkey server, on a service that Sentinels watch, or on a cluster.

    Use `from_url`, or `from_client` with your own client.

    Args:
        client: a blocking client, or None if there is only an asynchronous one.
        async_client: an asyncio client, which belongs to one event loop, or None.
        url: where to connect, for the store's own clients.
        options: other options of redis-py, for the store's own clients.
        ttl: how long sessions live: a policy, or the idle timeout (``"1h"``); default 24 hours
            after the last write.
        prefix: what every key starts with.
    """

    persistent = True

    @hides_arguments
    def __init__(
        self,
        *,
        client: redis.Redis | redis.RedisCluster | None = None,
        async_client: redis.asyncio.Redis | redis.asyncio.RedisCluster | None = None,
        url: str | None = None,
        options: dict[str, Any] | None = None,
        ttl: Lifetime | None = None,
        prefix: str = DEFAULT_PREFIX,
    ) -> None:
        if client is None and async_client is None and url is None:
            raise ConfigurationError(
                "RedisStore needs a server: make it with RedisStore.from_url(url) or "
                "RedisStore.from_client(client)"
            )
        self.ttl: TTLPolicy = DAY if ttl is None else policy_of(ttl)
        self.keys: KeySpace = KeySpace(prefix)
        self._url = url
        self._options = options or {}
        self._lock = Lock()
        self._pipelines = None if client is None else _threads(_place_of(client))
        self._async_client = None if async_client is None else _place_of(async_client)
        self._loops = LoopTrips(self.make_tasks)
        place = self._async_client or self._blocking_client()
        of_cluster = isinstance(place, Fleet)
        self._commands = Commands(self.keys, self.ttl, one_place=not of_cluster)
        kind = ClusterSequences if of_cluster else Sequences
        self.sequences: ClusterSequences | Sequences = kind(
            self._commands, self._run_in_thread, self._close_all
        )
        self._aio: AsyncSessionStore = (
            ThreadedStore(self, _THREADS)
            if client is not None and url is None
            else kind(self._commands, self._run_in_loop, self._close_all)
        )
        self.location: str = location_of(place)

    @classmethod
    @hides_arguments
    def from_url(
        cls,
        url: str,
        *,
        ttl: Lifetime | None = None,
        prefix: str = DEFAULT_PREFIX,
        **options: Any,
    ) -> Self:
        """A store with its own connections, which it opens when first used.

        Args:
            url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, as for redis-py; or
                ``redis+sentinel://host:26379,host:26379/service/0`` or
                ``redis+cluster://host:6379,host:6379`` (with TLS ``rediss+…``).
            ttl: how long sessions live; default 24 hours after the last write.
            prefix: what every key starts with.
            options: those of a URL of `open_store`, in the same form (a duration is ``"5s"``, 5 or
                a `timedelta`), and any other that redis-py takes, as it takes it. Defaults, unless
                set here or in the URL: 5 s to connect, 10 s for an answer, at most 50 connections
                (four are used for the process's threads and four for each event loop), and three
                repeats of a command whose connection was lost. In a cluster, these are connections
                to each node, and ``failover_timeout`` is how long a call waits while slots move or
                a node is replaced (20 s).

        Raises:
            ConfigurationError: the URL or an option is not valid.
        """
        return cls(url=url, options=options, ttl=ttl, prefix=prefix)

    @classmethod
    def from_client(
        cls,
        client: redis.Redis | redis.RedisCluster | redis.asyncio.Redis | redis.asyncio.RedisCluster,
        *,
        ttl: Lifetime | None = None,
        prefix: str = DEFAULT_PREFIX,
    ) -> Self:
        """A store that connects in the same way as the application's client.

        It opens up to four connections of its own, for a process or an event loop, with the
        client's settings. It never shares a connection with the application, because that could mix
        up answers. They do not count against the client's `max_connections` if that is more than
        three. The store never closes the client.

        Args:
            client: a blocking client, for which async calls run in threads; or an asyncio client,
                for which blocking calls raise `ConfigurationError`. An asyncio client may be used
                in any event loop. A client from a ``Sentinel`` finds the present primary.
            ttl: how long sessions live; default 24 hours after the last write.
            prefix: what every key starts with.

        Raises:
            ConfigurationError: it is not such a client.
        """
        if isinstance(client, redis.asyncio.Redis | redis.asyncio.RedisCluster):
            return cls(async_client=client, ttl=ttl, prefix=prefix)
        if isinstance(client, redis.Redis | redis.RedisCluster):
            return cls(client=client, ttl=ttl, prefix=prefix)
        raise ConfigurationError(
            "from_client takes a Redis or RedisCluster of redis or redis.asyncio, "
            f"not {type(client).__name__}"
        )

    @property
    def aio(self) -> AsyncSessionStore:
        """The same store, to await."""
        return self._aio

    def __repr__(self) -> str:
        return f"<RedisStore at {getattr(self, 'location', 'no server yet')}, {self.ttl}>"

    # --- clients ---

    def _blocking_client(self) -> redis.Redis | Fleet[redis.Redis]:
        return self._thread_pipelines().client

    def _thread_pipelines(self) -> ThreadPipelines | ClusterThreads:
        with self._lock:
            if self._pipelines is None:
                if self._url is None:
                    raise ConfigurationError(
                        "this store was made from an asyncio client, and cannot make blocking "
                        "calls: await the asynchronous ones (ainvoke, store.aio), or make it from "
                        "a URL or a redis.Redis"
                    )
                self._pipelines = _threads(blocking_client(self._url, self._options))
            return self._pipelines

    def make_tasks(self) -> TaskPipelines | ClusterTasks:
        """New trips of an event loop."""
        place = self._async_client
        if place is None:
            if self._url is None:
                raise ConfigurationError("this store has no URL to make an asyncio client from")
            place = asyncio_client(self._url, self._options)
        elif not isinstance(place, Fleet):
            place = with_own_sentinels(place)
        return ClusterTasks(place) if isinstance(place, Fleet) else TaskPipelines(place)

    @property
    def has_blocking_face(self) -> bool:
        """Whether there are blocking connections to close."""
        return self._async_client is None

    def _run(self, plan: Plan[T]) -> T:
        trips = self._pipelines or self._thread_pipelines()
        try:
            return plan.result(trips.send(plan))
        except DRIVER_ERRORS as error:
            translate(error, self.location, plan.session, plan.listing, plan.largest_bytes)

    async def _run_in_thread(self, plan: Plan[T]) -> T:
        return self._run(plan)

    async def _run_in_loop(self, plan: Plan[T]) -> T:
        trips = await self._loops.current()
        try:
            return plan.result(await trips.send(plan))
        except DRIVER_ERRORS as error:
            translate(error, self.location, plan.session, plan.listing, plan.largest_bytes)

    async def _close_all(self) -> None:
        await self._loops.close()
        if self.has_blocking_face:
            self.close()

    # --- the protocol ---

    def commit(self, commit: Commit) -> Committed:
        """See `SessionStore.commit`."""
        if commit.owner is not None and not self._commands.one_place:
            return run(self.sequences.commit(commit))
        done = self._run(self._commands.commit(commit))
        if done.owner is not None:
            run(self.sequences.committed(commit, done))
        return done

    def prune(self, prune: Prune) -> Committed:
        """See `SessionStore.prune`."""
        return run(self.sequences.prune(prune))

    def load(
        self,
        session: str,
        namespace: str = "",
        checkpoint_id: str | None = None,
        held: Held | None = None,
    ) -> Loaded | None:
        """See `SessionStore.load`."""
        if self.ttl.refresh == "read":
            return run(self.sequences.load(session, namespace, checkpoint_id, held))
        return self._run(self._commands.load(session, namespace, checkpoint_id, held))

    def scan(self, session: str, starts: Sequence[Start], limit: int) -> Scanned:
        """See `SessionStore.scan`."""
        return self._run(self._commands.scan(session, starts, limit))

    def read(self, session: str, spans: Sequence[Span]) -> ArenaParts | None:
        """See `SessionStore.read`."""
        return self._run(self._commands.read(session, spans))

    def heads(self, session: str) -> tuple[Name, ...]:
        """See `SessionStore.heads`."""
        return self._run(self._commands.heads(session))

    def info(self, session: str) -> SessionInfo | None:
        """See `SessionStore.info`."""
        return self._run(self._commands.info(session))

    def list_sessions(self, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `SessionStore.list_sessions`."""
        return run(self.sequences.list_sessions(cursor, limit))

    def touch(self, session: str) -> Life | None:
        """See `SessionStore.touch`."""
        return run(self.sequences.touch(session))

    def set_ttl(self, session: str, idle: Duration | None) -> Life | None:
        """See `SessionStore.set_ttl`."""
        return run(self.sequences.set_ttl(session, idle))

    def pin(self, session: str, *, pinned: bool = True) -> Life | None:
        """See `SessionStore.pin`."""
        return run(self.sequences.pin(session, pinned=pinned))

    def annotate(self, session: str, notes: Notes, expect: Notes) -> Life | None:
        """See `OwnerStore.annotate`."""
        return run(self.sequences.annotate(session, notes, expect))

    def list_owned(self, owner: str, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `OwnerStore.list_owned`."""
        return run(self.sequences.list_owned(owner, cursor, limit))

    def turn(self, step: TurnStep) -> TurnState:
        """See `TurnStore.turn`."""
        return run(self.sequences.turn(step))

    def delete(self, session: str) -> bool:
        """See `SessionStore.delete`."""
        return run(self.sequences.delete(session))

    def delete_owned(self, session: str, owner: str) -> bool:
        """See `OwnerStore.delete_owned`."""
        return run(self.sequences.delete_owned(session, owner))

    def copy(
        self,
        source: str,
        target: str,
        *,
        replace: bool | Life = False,
        state: bytes | None = None,
        expect: Life | None = None,
    ) -> Life | None:
        """See `SessionStore.copy`."""
        return run(self.sequences.copy(source, target, replace=replace, state=state, expect=expect))

    def ping(self) -> None:
        """See `SessionStore.ping`."""
        self._run(self._commands.ping())

    def dump(self, session: str) -> bytes | None:
        """A session's key from Redis's DUMP, for RESTORE; None if it does not exist.

        It is copied as it is, even if it is damaged.
        """
        return self._run(self._commands.dump(session))

    def names(self, session: str) -> tuple[Name, ...]:
        """The names of all records, even of those that no chain leads to."""
        return self._run(self._commands.names(session))

    def counted(self, session: str) -> bool:
        """Whether the session records how many parts it has; not if version 0.1.0 wrote it."""
        return self._run(self._commands.counted(session))

    def diagnose(self) -> Diagnosis:
        """The server's kind and settings, or why it cannot be reached."""
        from wren_sessions.stores.redis.diagnosis import diagnose, diagnose_cluster

        place, key = self._blocking_client(), self.keys.session_key(_NOBODY)
        return diagnose_cluster(place, key) if isinstance(place, Fleet) else diagnose(place, key)

    def close(self) -> None:
        """Close the blocking connections. Later calls open them again.

        Asynchronous ones belong to their event loop: ``await store.aio.close()`` closes them.
        """
        if isinstance(self._aio, ThreadedStore):
            self._aio.shutdown()
        if self._pipelines is not None:
            self._pipelines.close()
            if self._url is not None and not isinstance(self._pipelines.client, Fleet):
                self._pipelines.client.connection_pool.disconnect()


def _place_of(client: Any) -> Any:
    """A client, or how it reaches the nodes of a cluster."""
    of_cluster = isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster)
    return fleet_of(client) if of_cluster else client


def _threads(place: redis.Redis | Fleet[redis.Redis]) -> ThreadPipelines | ClusterThreads:
    return ClusterThreads(place) if isinstance(place, Fleet) else ThreadPipelines(place)
