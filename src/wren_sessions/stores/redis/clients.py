"""Clients of redis-py, made from URLs: of a server, a primary that Sentinels name, or a cluster.

A URL of one server is redis-py's. One with Sentinels names the service and the database behind
them: ``redis+sentinel://user:password@host:26379,host:26379/service/0``. User, password and TLS
(``rediss+sentinel``) are those of the servers; Sentinels get the same timeouts and TLS, and a login
of their own. A cluster's URL names some of its nodes: ``redis+cluster://host:6379,host:6379``.

Trips are sent by copies of a client, each with one connection (`over`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass
from importlib.util import find_spec
from inspect import getattr_static
from types import FunctionType
from typing import Any, Final, Generic, TypeAlias, TypeVar
from urllib.parse import unquote

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.connection
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.cluster
import redis.connection
import redis.sentinel
from redis import exceptions as driver
from redis.backoff import EqualJitterBackoff, NoBackoff
from redis.client import NEVER_DECODE
from redis.retry import Retry

from wren_sessions.errors import ConfigurationError
from wren_sessions.stores._redis_options import read_options
from wren_sessions.stores.redis.login import PROTOCOL, alog_in, log_in

Address: TypeAlias = tuple[str, int]

_DEFAULTS: Final = {"socket_timeout": 10.0, "socket_connect_timeout": 5.0, "max_connections": 50}
_REPEATS: Final = 3
_PORT: Final = 6_379
_SENTINEL_PORT: Final = 26_379
FAILOVER_S: Final = 20.0  # a cluster takes 15 s to miss a node, as it is delivered


def blocking_client(url: str, options: dict[str, Any]) -> redis.Redis | Fleet[redis.Redis]:
    """A client for a URL, or the clients of a cluster.

    Each trip has a connection made like the client's, see `over`.

    Raises:
        ConfigurationError: the URL or an option cannot be used.
    """
    made: redis.Redis | Fleet[redis.Redis] = _client(redis, url, options)
    return made


def asyncio_client(
    url: str, options: dict[str, Any]
) -> redis.asyncio.Redis | Fleet[redis.asyncio.Redis]:
    """An asyncio client for a URL, for one event loop; errors as `blocking_client`."""
    made: redis.asyncio.Redis | Fleet[redis.asyncio.Redis] = _client(redis.asyncio, url, options)
    return made


def _client(face: Any, url: str, options: dict[str, Any]) -> Any:
    """A client of `redis` or `redis.asyncio`, which have the same names for the same things."""
    said = read_options(url, options)
    try:
        several, given = _given(face.connection.parse_url, *said)
        completed = _completed(given, face)
        if several is None:
            client = face.Redis(connection_pool=face.ConnectionPool(**completed))
        elif several.service:
            client = _primary(face, several, completed)
        else:
            return _fleet(face, several, completed)
        _check(client.connection_pool)
        return client
    except _UNUSABLE:
        pass
    raise _refusal()


_UNUSABLE: Final = (ValueError, TypeError, AttributeError, driver.RedisError)


def _refusal() -> ConfigurationError:
    # Not chained, and not quoted: what the driver says can hold the password.
    return ConfigurationError(
        "the Redis URL or one of its options cannot be used; a URL looks like "
        "redis://user:password@host:6379/0, with characters such as / @ : % in user and password "
        "percent-encoded"
    )


def _check(pool: Any) -> None:
    """Make sure that its options make a connection, which connects when it is used."""
    pool.connection_class(**pool.connection_kwargs)


def _given(
    parse: Callable[[str], Any], url: str, in_url: dict[str, Any], options: dict[str, Any]
) -> tuple[_Several | None, dict[str, Any]]:
    """What the URL and the options say; of one server's URL, the URL counts, as in redis-py."""
    several = _several(url, parse)
    if several is not None:
        given = {**several.options, **in_url, **options}
    else:
        given = {**options, **parse(url), **in_url}
        if "connection_class" in options:
            given["connection_class"] = options["connection_class"]
    given.pop("timeout", None)  # how long to wait for a place in a pool: no call does
    return several, given


def _completed(options: dict[str, Any], face: Any) -> dict[str, Any]:
    """The options, with ours where nothing is said.

    A command whose connection was lost is repeated, which is safe: a commit is applied once however
    often it is sent. One that timed out is not: its caller has waited long enough.
    """
    lost = (driver.ConnectionError,)
    given = {**options}
    repeats = given.pop("retries", _REPEATS)
    retry: Any = given.get("retry") or Retry(EqualJitterBackoff(cap=0.5, base=0.02), repeats, lost)
    if not isinstance(retry, face.retry.Retry):  # a policy is the same, its two classes are not
        retry = face.retry.Retry(retry._backoff, retry._retries, retry._supported_errors)  # noqa: SLF001
    ours = {**_DEFAULTS, "retry_on_error": [*lost]}
    if face is redis or sys.version_info < (3, 14):
        login = log_in if face is redis else alog_in
        ours |= {**_unnamed(), "redis_connect_func": login}
    # Else redis-py asks whether the login is a coroutine with what Python 3.14 warns of.
    if "maint_notifications_config" not in given:  # which only the driver's default protocol has
        ours["protocol"] = PROTOCOL
    return {**ours, **given, "retry": retry}


def _unnamed() -> dict[str, Any]:
    """Keeps redis-py from looking up its version, which takes a millisecond: see `log_in`."""
    if find_spec("redis.driver_info"):
        return {"driver_info": None}
    return {"lib_name": None, "lib_version": None}  # an older one


# --- several hosts --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class _Several:
    """A URL with several hosts. It has no repr that shows passwords.

    Attributes:
        addresses: the hosts and ports.
        service: what the Sentinels call the primary and its replicas; empty for a cluster.
        options: what redis-py reads from user, password and query.
    """

    addresses: list[Address]
    service: str
    options: dict[str, Any]


_SEVERAL: Final = re.compile(
    r"(?P<scheme>rediss?)\+(?P<kind>sentinel|cluster)://(?P<login>[^/?#]*@)?(?P<hosts>[^@/?#]+)"
    r"(?:/(?P<service>[^/?#]*))?(?P<db>/[0-9]*)?(?P<query>\?.*)?"
)


def _several(url: str, parse: Any) -> _Several | None:
    found = _SEVERAL.fullmatch(url)
    if found is None:
        return None
    scheme, login, query = found["scheme"], found["login"] or "", found["query"] or ""
    each = [
        parse(f"{scheme}://{login}{host}{found['db'] or ''}{query}")
        for host in found["hosts"].split(",")
    ]
    watched = found["kind"] == "sentinel"
    if watched != bool(found["service"]):
        raise ValueError
    port = _SENTINEL_PORT if watched else _PORT
    addresses = [(one.pop("host"), one.pop("port", port)) for one in each]
    return _Several(addresses, unquote(found["service"] or ""), each[0])


def _primary(face: Any, several: _Several, completed: dict[str, Any]) -> Any:
    """A client of the primary that Sentinels name, whenever it connects.

    Nothing is repeated: where one Sentinel does not answer, the next one is asked.
    """
    options = {**completed}
    if options.pop("connection_class", None) is not None:
        options["ssl"] = True
    theirs = {
        name: value
        for name, value in options.items()
        if name == "ssl" or name.startswith(("socket_", "ssl_"))
    }
    for name in ("username", "password"):
        if (value := options.pop(f"sentinel_{name}", None)) is not None:
            theirs[name] = value
    theirs["retry"] = _never(face)
    sentinels = face.sentinel.Sentinel(several.addresses, sentinel_kwargs=theirs, **options)
    return sentinels.master_for(several.service)


def with_own_sentinels(client: redis.asyncio.Redis) -> redis.asyncio.Redis:
    """A client for the running event loop, like an application's, which may belong to another.

    Sentinels are asked over connections of their own, which belong to a loop, too.
    """
    pool: Any = client.connection_pool
    if not hasattr(pool, "sentinel_manager"):
        return client
    own = copy(pool.sentinel_manager)
    own.sentinels = [redis.asyncio.Redis(connection_pool=_alike(one)) for one in own.sentinels]
    kwargs = {**pool.connection_kwargs}
    del kwargs["connection_pool"]
    found = copy(client)
    found.connection_pool = type(pool)(
        pool.service_name,
        own,
        connection_class=pool.connection_class,
        is_master=pool.is_master,
        max_connections=pool.max_connections,
        **kwargs,
    )
    return found


def _alike(client: redis.asyncio.Redis) -> redis.asyncio.ConnectionPool:
    pool = client.connection_pool
    return redis.asyncio.ConnectionPool(pool.connection_class, None, **pool.connection_kwargs)


async def disconnect_sentinels(client: redis.asyncio.Redis) -> None:
    """Close the connections over which Sentinels were asked, if they are."""
    manager = getattr(client.connection_pool, "sentinel_manager", None)
    for sentinel in manager.sentinels if manager else ():
        await sentinel.connection_pool.disconnect()


# --- a cluster ------------------------------------------------------------------------------------


T = TypeVar("T")
C = TypeVar("C", redis.Redis, redis.asyncio.Redis)


@dataclass(frozen=True, slots=True, repr=False)
class Fleet(Generic[C]):
    """How to reach the nodes of a cluster. It has no repr that shows passwords.

    Attributes:
        seeds: some of its nodes.
        like: a pool of connections to one of them.
        remap: what makes of a node's own address the one to reach it at.
        patience_s: how long a call waits for a node that went away to be replaced.
    """

    seeds: tuple[Address, ...]
    like: Any
    remap: Callable[[Address], Address]
    patience_s: float

    def client(self, address: Address) -> C:
        """A client of one node. It repeats nothing: whoever has a session may be another node."""
        face: Any = redis
        if isinstance(self.like, redis.asyncio.ConnectionPool):
            face = redis.asyncio
        host, port = address
        kwargs = {
            **self.like.connection_kwargs,
            "host": host,
            "port": port,
            "retry": _never(face),
            "retry_on_error": [],
        }
        pool = face.ConnectionPool(self.like.connection_class, self.like.max_connections, **kwargs)
        client: C = face.Redis(connection_pool=pool)
        return client


def _never(face: Any) -> Any:
    """How often something is repeated: not at all."""
    return face.retry.Retry(NoBackoff(), 0)


def _fleet(face: Any, several: _Several, completed: dict[str, Any]) -> Fleet[Any]:
    options = {**completed, "retry": _never(face), "retry_on_error": []}
    if hasattr(face.cluster, "ClusterParser"):  # before redis-py 6, none other knows MOVED and ASK
        options.setdefault("parser_class", face.cluster.ClusterParser)
    patience_s = options.pop("failover_timeout", FAILOVER_S)
    host, port = several.addresses[0]
    like = face.ConnectionPool(**options, host=host, port=port)
    _check(like)
    return Fleet(tuple(several.addresses), like, _as_it_is, patience_s)


def fleet_of(client: Any) -> Fleet[Any]:
    """How an application's `RedisCluster`, blocking or of asyncio, reaches the nodes."""
    manager = client.nodes_manager
    seeds = sorted({(node.host, int(node.port)) for node in _nodes_of(manager)})
    node = _nodes_of(manager)[0]
    if isinstance(client, redis.asyncio.RedisCluster):
        kwargs = {**node.connection_kwargs}
        kwargs.pop("redis_connect_func", None)  # theirs: it allows reading from replicas
        like: Any = redis.asyncio.ConnectionPool(
            node.connection_class, node.max_connections, **kwargs
        )
    else:
        pool = next(one.redis_connection for one in _nodes_of(manager) if one.redis_connection)
        theirs = pool.connection_pool
        kwargs = {
            **theirs.connection_kwargs,
            "redis_connect_func": client.user_on_connect_func,
        }
        like = redis.ConnectionPool(theirs.connection_class, theirs.max_connections, **kwargs)
    remap = getattr(manager, "address_remap", None) or _as_it_is
    return Fleet(tuple(seeds), like, remap, FAILOVER_S)


def _nodes_of(manager: Any) -> list[Any]:
    return list({**manager.startup_nodes, **manager.nodes_cache}.values())


def _as_it_is(value: T, **_: Any) -> T:
    return value


# --- a client with one connection -----------------------------------------------------------------


RAW: Final = {NEVER_DECODE: True}
MOVES: Final = "should_reconnect"  # whether the server said that it goes away: redis-py 6.4 and on
LOST: Final = (driver.ConnectionError, driver.TimeoutError, OSError)


def is_plain(client: redis.Redis | redis.asyncio.Redis) -> bool:
    """Whether the driver's own functions send a client's commands, with nothing around them."""
    kind, kwargs = client.connection_pool.connection_class, client.connection_pool.connection_kwargs
    theirs = (*_found(client, "execute_command", "parse_response"), *_found(kind, *_OVER_IT))
    parts = [kwargs[name] for name in _IN_IT if kwargs.get(name) is not None]
    return all(part.__module__.startswith("redis.") for part in parts) and all(
        type(one) is FunctionType and one.__globals__["__name__"].startswith("redis.")
        for one in theirs
    )


_OVER_IT: Final = ("send_command", "pack_command", "send_packed_command", "read_response")
_IN_IT: Final = ("command_packer", "encoder_class", "parser_class")


def _found(there: object, *names: str) -> list[Any]:
    return [getattr_static(there, name) for name in names]


def over(connection: redis.ConnectionPool | redis.asyncio.ConnectionPool, client: C) -> C:
    """A copy of a client that sends over a connection."""
    found = copy(client)
    its = vars(found)
    its["connection_pool"] = connection
    its["connection"] = None  # one that the client keeps for itself
    for name in ("single_connection_client", "_single_connection_client"):
        if name in its:
            its[name] = False
    its["response_callbacks"] = {**client.response_callbacks, "PING": _as_it_is}
    return found


# --- names ----------------------------------------------------------------------------------------


def location_of(client: redis.Redis | redis.asyncio.Redis | Fleet[Any]) -> str:
    """Where a client connects, without user, password and options."""
    if isinstance(client, Fleet):
        return f"{_scheme(client.like)}+cluster://{_joined(client.seeds)}"
    pool: Any = client.connection_pool
    kwargs = pool.connection_kwargs
    db = kwargs.get("db") or 0
    if "path" in kwargs:
        return f"unix://{kwargs['path']}?db={db}"
    scheme = _scheme(pool)
    if (sentinels := getattr(pool, "sentinel_manager", None)) is not None:
        each = (sentinel.connection_pool.connection_kwargs for sentinel in sentinels.sentinels)
        hosts = _joined((one["host"], one["port"]) for one in each)
        return f"{scheme}+sentinel://{hosts}/{pool.service_name}/{db}"
    here = _joined([(kwargs.get("host") or "localhost", kwargs.get("port", 6379))])
    return f"{scheme}://{here}/{db}"


def _scheme(pool: Any) -> str:
    return "rediss" if "SSL" in pool.connection_class.__name__ else "redis"


def _joined(addresses: Iterable[Address]) -> str:
    return ",".join(f"{f'[{host}]' if ':' in host else host}:{port}" for host, port in addresses)
