"""Sessions on Redis or Valkey: one hash per session, core commands and Lua only.

Any Redis from 6.2 on will do, without modules; so will Valkey. Every method is one round trip
(`list_sessions` makes two). The server's clock decides about lifetimes. This module is the only one
that knows redis-py: it sends the plans of `_redis_plans`, blocking or with asyncio, and translates
the driver's errors.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeVar
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from redis import exceptions as driver
from redis.client import NEVER_DECODE

from wren_sessions.errors import (
    ConfigurationError,
    CorruptSessionError,
    StoreTimeoutError,
    StoreUnavailableError,
    WrenSessionsError,
)
from wren_sessions.keys import DEFAULT_PREFIX, KeySpace
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import (
    ArenaParts,
    Commit,
    Committed,
    Life,
    Loaded,
    Scanned,
    SessionInfo,
    SessionPage,
    Span,
    Start,
)
from wren_sessions.stores._redis_plans import Plan, Plans
from wren_sessions.stores.threaded import ThreadedStore
from wren_sessions.ttl import DAY, Duration, TTLPolicy

T = TypeVar("T")

_DEFAULTS: Final = {"socket_timeout": 10.0, "socket_connect_timeout": 5.0}
_THREADS: Final = 16  # asynchronous calls at once, where the application gave a blocking client
_RAW: Final = {NEVER_DECODE: True}


class RedisStore:
    """A store on one Redis or Valkey server.

    Use `from_url`, or `from_client` with a client of your own.

    Args:
        client: a blocking client, or None if there is only an asynchronous one.
        async_client: an asyncio client, which belongs to one event loop, or None.
        url: where to connect, for clients of the store's own.
        options: what redis-py takes besides, for clients of the store's own.
        ttl: how long sessions live; default 24 hours after the last write.
        prefix: what every key starts with.
    """

    persistent = True

    def __init__(
        self,
        *,
        client: redis.Redis | None = None,
        async_client: redis.asyncio.Redis | None = None,
        url: str | None = None,
        options: dict[str, Any] | None = None,
        ttl: TTLPolicy | None = None,
        prefix: str = DEFAULT_PREFIX,
    ) -> None:
        self.ttl = ttl or DAY
        self.keys = KeySpace(prefix)
        self._plans = Plans(self.keys, self.ttl)
        self._url = url
        self._options = options or {}
        self._lock = threading.Lock()
        self._client = client
        self._async_client = async_client
        self._aio: AsyncSessionStore
        if client is not None and url is None:
            self._aio = ThreadedStore(self, _THREADS)
        else:
            self._aio = AsyncRedisStore(self)
        self.location = _location(self._known_client())

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        ttl: TTLPolicy | None = None,
        prefix: str = DEFAULT_PREFIX,
        **options: Any,
    ) -> Self:
        """A store with connections of its own, made when first used.

        Args:
            url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, as redis-py takes it.
            ttl: how long sessions live; default 24 hours after the last write.
            prefix: what every key starts with.
            options: passed to redis-py. Timeouts are 5 s to connect and 10 s to answer unless
                given here or in the URL.

        Raises:
            ConfigurationError: the URL or an option cannot be used.
        """
        return cls(url=url, options={**_DEFAULTS, **options}, ttl=ttl, prefix=prefix)

    @classmethod
    def from_client(
        cls,
        client: redis.Redis | redis.asyncio.Redis,
        *,
        ttl: TTLPolicy | None = None,
        prefix: str = DEFAULT_PREFIX,
    ) -> Self:
        """A store on a client of the application, which is never closed here.

        Args:
            client: a blocking client, which serves asynchronous calls through threads, or an
                asyncio client, with which blocking calls are a `ConfigurationError`.
            ttl: how long sessions live; default 24 hours after the last write.
            prefix: what every key starts with.

        Raises:
            ConfigurationError: it is no such client.
        """
        if isinstance(client, redis.asyncio.Redis):
            return cls(async_client=client, ttl=ttl, prefix=prefix)
        if isinstance(client, redis.Redis):
            return cls(client=client, ttl=ttl, prefix=prefix)
        raise ConfigurationError(
            f"from_client takes a redis.Redis or redis.asyncio.Redis, not {type(client).__name__}"
        )

    @property
    def aio(self) -> AsyncSessionStore:
        """The same store, to await."""
        return self._aio

    def __repr__(self) -> str:
        return f"<RedisStore at {self.location}, {self.ttl}>"

    # --- clients ---

    def _known_client(self) -> redis.Redis | redis.asyncio.Redis:
        return self._async_client or self._blocking_client()

    def _blocking_client(self) -> redis.Redis:
        with self._lock:
            if self._client is None:
                if self._url is None:
                    raise ConfigurationError(
                        "this store was made from an asyncio client, and cannot make blocking "
                        "calls: await the asynchronous ones (ainvoke, store.aio), or make it from "
                        "a URL or a redis.Redis"
                    )
                self._client = _checked(redis.Redis.from_url, self._url, self._options)
            return self._client

    def make_async_client(self) -> redis.asyncio.Redis:
        """A new asyncio client of the store's own."""
        if self._url is None:
            raise ConfigurationError("this store has no URL to make an asyncio client from")
        made: redis.asyncio.Redis = _checked(redis.asyncio.Redis.from_url, self._url, self._options)
        return made

    @property
    def application_async_client(self) -> redis.asyncio.Redis | None:
        """The asyncio client that the application gave, if it gave one."""
        return self._async_client

    @property
    def plans(self) -> Plans:
        """What this store sends."""
        return self._plans

    def _run(self, plan: Plan[T]) -> T:
        client = self._blocking_client()
        with translated(self.location, plan.session):
            return plan.read(_send(client, plan))

    # --- the protocol ---

    def commit(self, commit: Commit) -> Committed:
        """See `SessionStore.commit`."""
        return self._run(self._plans.commit(commit))

    def load(
        self, session: str, namespace: str = "", checkpoint_id: str | None = None
    ) -> Loaded | None:
        """See `SessionStore.load`."""
        return self._run(self._plans.load(session, namespace, checkpoint_id))

    def scan(self, session: str, starts: Sequence[Start], limit: int) -> Scanned:
        """See `SessionStore.scan`."""
        return self._run(self._plans.scan(session, starts, limit))

    def read(self, session: str, spans: Sequence[Span]) -> ArenaParts | None:
        """See `SessionStore.read`."""
        return self._run(self._plans.read(session, spans))

    def namespaces(self, session: str) -> tuple[str, ...]:
        """See `SessionStore.namespaces`."""
        return self._run(self._plans.namespaces(session))

    def info(self, session: str) -> SessionInfo | None:
        """See `SessionStore.info`."""
        return self._run(self._plans.info(session))

    def list_sessions(self, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `SessionStore.list_sessions`."""
        after, names = self._run(self._plans.find_keys(cursor, limit))
        return self._run(self._plans.list_sessions(names, after))

    def touch(self, session: str) -> Life | None:
        """See `SessionStore.touch`."""
        return self._run(self._plans.touch(session))

    def set_ttl(self, session: str, idle: Duration | None) -> Life | None:
        """See `SessionStore.set_ttl`."""
        return self._run(self._plans.set_ttl(session, idle))

    def pin(self, session: str, *, pinned: bool = True) -> Life | None:
        """See `SessionStore.pin`."""
        return self._run(self._plans.pin(session, pinned=pinned))

    def delete(self, session: str) -> bool:
        """See `SessionStore.delete`."""
        return self._run(self._plans.delete(session))

    def copy(self, source: str, target: str, *, replace: bool = False) -> Life | None:
        """See `SessionStore.copy`."""
        return self._run(self._plans.copy(source, target, replace=replace))

    def ping(self) -> None:
        """See `SessionStore.ping`."""
        self._run(self._plans.ping())

    def close(self) -> None:
        """Close the blocking connections that are the store's own; later calls open new ones.

        Asynchronous ones belong to their event loop: ``await store.aio.close()`` closes them.
        """
        if isinstance(self._aio, ThreadedStore):
            self._aio.shutdown()
        if self._url is not None and self._client is not None:
            self._client.close()

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
        await self._aio.close()


class AsyncRedisStore:
    """The awaitable face of a `RedisStore`: the same plans over asyncio clients.

    An asyncio connection belongs to the event loop it was made on, so there is one client per
    running loop, made when it is first used.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = (
            WeakKeyDictionary()
        )

    def _client(self) -> redis.asyncio.Redis:
        if (given := self._store.application_async_client) is not None:
            return given
        loop = asyncio.get_running_loop()
        if (client := self._clients.get(loop)) is None:
            client = self._clients[loop] = self._store.make_async_client()
        return client

    async def _run(self, plan: Plan[T]) -> T:
        with translated(self._store.location, plan.session):
            return plan.read(await _asend(self._client(), plan))

    async def commit(self, commit: Commit) -> Committed:
        """See `SessionStore.commit`."""
        return await self._run(self._store.plans.commit(commit))

    async def load(
        self, session: str, namespace: str = "", checkpoint_id: str | None = None
    ) -> Loaded | None:
        """See `SessionStore.load`."""
        return await self._run(self._store.plans.load(session, namespace, checkpoint_id))

    async def scan(self, session: str, starts: Sequence[Start], limit: int) -> Scanned:
        """See `SessionStore.scan`."""
        return await self._run(self._store.plans.scan(session, starts, limit))

    async def read(self, session: str, spans: Sequence[Span]) -> ArenaParts | None:
        """See `SessionStore.read`."""
        return await self._run(self._store.plans.read(session, spans))

    async def namespaces(self, session: str) -> tuple[str, ...]:
        """See `SessionStore.namespaces`."""
        return await self._run(self._store.plans.namespaces(session))

    async def info(self, session: str) -> SessionInfo | None:
        """See `SessionStore.info`."""
        return await self._run(self._store.plans.info(session))

    async def list_sessions(self, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `SessionStore.list_sessions`."""
        after, names = await self._run(self._store.plans.find_keys(cursor, limit))
        return await self._run(self._store.plans.list_sessions(names, after))

    async def touch(self, session: str) -> Life | None:
        """See `SessionStore.touch`."""
        return await self._run(self._store.plans.touch(session))

    async def set_ttl(self, session: str, idle: Duration | None) -> Life | None:
        """See `SessionStore.set_ttl`."""
        return await self._run(self._store.plans.set_ttl(session, idle))

    async def pin(self, session: str, *, pinned: bool = True) -> Life | None:
        """See `SessionStore.pin`."""
        return await self._run(self._store.plans.pin(session, pinned=pinned))

    async def delete(self, session: str) -> bool:
        """See `SessionStore.delete`."""
        return await self._run(self._store.plans.delete(session))

    async def copy(self, source: str, target: str, *, replace: bool = False) -> Life | None:
        """See `SessionStore.copy`."""
        return await self._run(self._store.plans.copy(source, target, replace=replace))

    async def ping(self) -> None:
        """See `SessionStore.ping`."""
        await self._run(self._store.plans.ping())

    async def close(self) -> None:
        """Close this event loop's connections and the blocking ones, where they are our own."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()
        if self._store.application_async_client is None:
            self._store.close()


# --- sending --------------------------------------------------------------------------------------


def _evalsha(plan: Plan[Any]) -> tuple[Any, ...]:
    assert plan.script is not None  # noqa: S101 -- for the type checker; the callers looked
    return ("EVALSHA", plan.script.sha, len(plan.keys), *plan.keys, *plan.args)


def _eval(plan: Plan[Any]) -> tuple[Any, ...]:
    assert plan.script is not None  # noqa: S101 -- for the type checker; the callers looked
    return ("EVAL", plan.script.text, len(plan.keys), *plan.keys, *plan.args)


def _send(client: redis.Redis, plan: Plan[Any]) -> Any:
    if plan.script is not None:
        try:
            return client.execute_command(*_evalsha(plan), **_RAW)
        except driver.NoScriptError:  # the server has not seen it yet, or forgot it
            return client.execute_command(*_eval(plan), **_RAW)
    if len(plan.commands) == 1:
        return [client.execute_command(*plan.commands[0], **_RAW)]
    with client.pipeline(transaction=False) as pipe:
        for command in plan.commands:
            pipe.execute_command(*command, **_RAW)
        return pipe.execute(raise_on_error=False)


async def _asend(client: redis.asyncio.Redis, plan: Plan[Any]) -> Any:
    if plan.script is not None:
        try:
            return await client.execute_command(*_evalsha(plan), **_RAW)
        except driver.NoScriptError:  # the server has not seen it yet, or forgot it
            return await client.execute_command(*_eval(plan), **_RAW)
    if len(plan.commands) == 1:
        return [await client.execute_command(*plan.commands[0], **_RAW)]
    async with client.pipeline(transaction=False) as pipe:
        for command in plan.commands:
            pipe.execute_command(*command, **_RAW)
        return await pipe.execute(raise_on_error=False)


# --- errors ---------------------------------------------------------------------------------------


@contextmanager
def translated(location: str, session: str) -> Iterator[None]:
    """Turn the driver's errors into ours, chained, with what to do next."""
    try:
        yield
    except WrenSessionsError:
        raise
    except (driver.RedisError, OSError) as error:
        _raise(error, location, session)


def _raise(error: Exception, location: str, session: str) -> NoReturn:
    text = str(error)
    about = f" (session {session!r})" if session else ""
    if isinstance(error, driver.TimeoutError | TimeoutError):
        raise StoreTimeoutError(
            f"Redis at {location} did not answer in time{about}: the call may or may not have "
            "happened; check the server's load and the network, or raise socket_timeout"
        ) from error
    if "WRONGTYPE" in text:
        raise CorruptSessionError(
            f"the key of session {session!r} on {location} holds no session but another type of "
            "value, such as the pickle that old WREN versions kept there; it is never unpickled: "
            "let it expire, delete it, or use another prefix",
            session=session,
        ) from error
    if "user_script" in text and "NOPERM" not in text and "OOM" not in text:
        raise CorruptSessionError(
            f"session {session!r} on {location} is damaged: {text}", session=session
        ) from error
    hint = next((hint for sign, hint in _HINTS if sign in text), _NO_ANSWER)
    raise StoreUnavailableError(f"Redis at {location}{about}: {hint} ({text})") from error


_HINTS: Final = (
    ("WRONGPASS", "it refused the user name or password: check them"),
    ("NOAUTH", "it wants a password, and none was given"),
    ("invalid password", "it refused the password: check it"),
    ("invalid username-password", "it refused the user name or password: check them"),
    ("without any password configured", "it has no password, but one was given"),
    ("NOPERM", "its access rules do not allow this user the keys or commands needed"),
    ("DB index is out of range", "it has no database of that number"),
    ("OOM", "it is out of memory and refused the write; nothing was written"),
    ("MISCONF", "it refuses writes because it cannot save to disk"),
    ("READONLY", "it is a read-only replica: connect to the primary"),
    ("LOADING", "it is still loading its data: try again soon"),
    ("MASTERDOWN", "its primary is down, and it may not answer"),
    ("CLUSTERDOWN", "its cluster is down"),
    ("MOVED", "it is part of a cluster, which redis:// cannot reach"),
    ("CROSSSLOT", "it is part of a cluster, and the two sessions are on different nodes"),
    ("max number of clients", "it has too many clients"),
    ("SSL", "the TLS handshake failed: check rediss:// against redis://, and the certificate"),
    ("unknown command", "it does not know a command that is needed: Redis 6.2 or newer is"),
)
_NO_ANSWER: Final = (
    "it cannot be used; check host and port, that the server runs, and that no firewall is between"
)


def _checked(make: Any, url: str, options: dict[str, Any]) -> Any:
    try:
        return make(url, **options)
    except (ValueError, TypeError, driver.RedisError):
        problem = "the Redis URL or one of its options cannot be used"
    # Not chained, and not quoted: what the driver says can hold the password.
    raise ConfigurationError(
        f"{problem}; a URL looks like redis://user:password@host:6379/0, with characters such as "
        "/ @ : % in user and password percent-encoded"
    )


def _location(client: redis.Redis | redis.asyncio.Redis) -> str:
    """Where a client connects, without user, password and options."""
    pool = client.connection_pool
    kwargs = pool.connection_kwargs
    db = kwargs.get("db") or 0
    if "path" in kwargs:
        return f"unix://{kwargs['path']}?db={db}"
    scheme = "rediss" if "SSL" in pool.connection_class.__name__ else "redis"
    host = kwargs.get("host", "localhost")
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{kwargs.get('port', 6379)}/{db}"
