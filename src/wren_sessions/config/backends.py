"""Backends: which class keeps sessions for which URL scheme, and what its URLs may say.

A class is named as ``"module:Class"`` and imported when its first store is made, so that an app on
SQLite never loads a Redis driver. The tables of options are all there is: to add an option, add a
line. `docs/reference/configuration.md` lists them for people.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from wren_sessions._options import (
    SIZE,
    SPAN,
    Kind,
    one_of,
    whole_number,
)
from wren_sessions.config.redis_urls import canonical_redis_url, redis_connection
from wren_sessions.config.urls import StoreURL
from wren_sessions.errors import ConfigurationError
from wren_sessions.protocols import SessionStore
from wren_sessions.stores._redis_options import NODE, SOCKET, TCP, TLS
from wren_sessions.ttl import DAY, FOREVER, TTLPolicy


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """What to make a store from. It has no repr that shows passwords.

    Attributes:
        parts: the URL as `Backend.check` left it.
        ttl: how long sessions live; None leaves it to a third-party store.
        prefix: what names of sessions begin with.
        options: the backend's own, converted.
    """

    parts: StoreURL
    ttl: TTLPolicy | None
    prefix: str
    options: dict[str, Any]

    def call(self, make: Callable[..., Any], *args: object, **options: Any) -> SessionStore:
        """Make the store."""
        store: SessionStore = make(*args, ttl=self.ttl, prefix=self.prefix, **options)
        return store


@dataclass(frozen=True, slots=True)
class Backend:
    """How stores of one URL scheme are made.

    Attributes:
        load: imports the class.
        make: makes the store, from the class and a request.
        check: makes sure that the URL makes sense, and gives it in the form that `make` reads.
        ttl: how long sessions live if nothing else is said; None leaves it to the store.
        options: what may be said in the URL or as an argument.
        arguments: what may be said as an argument only; it is passed on as it is.
        hints: what to say of an option that does not belong here, by its name.
        open_ended: whether the store looks after options that are not listed here.
    """

    load: Callable[[], Any]
    make: Callable[[Any, Request], SessionStore]
    check: Callable[[StoreURL], StoreURL]
    ttl: TTLPolicy | None = None
    options: Mapping[str, Kind] = field(default_factory=dict)
    arguments: Collection[str] = frozenset()
    hints: Mapping[str, str] = field(default_factory=dict)
    open_ended: bool = False


def _named(target: str) -> Callable[[], Any]:
    """The loader of ``"module:Class"``."""
    module, _, name = target.partition(":")
    return lambda: getattr(import_module(module), name)


def _check_memory(parts: StoreURL) -> StoreURL:
    if parts.authority or parts.path:
        raise ConfigurationError("a memory URL has nothing but options behind it: memory://")
    return parts


def _make_memory(kind: Any, request: Request) -> SessionStore:
    return request.call(kind, **request.options)


def _check_file(parts: StoreURL) -> StoreURL:
    if parts.authority:
        raise ConfigurationError(
            "a file URL has no host: write file:relative.db, or file:///absolute.db with three "
            "slashes"
        )
    _file_path(parts)
    return parts


def _file_path(parts: StoreURL) -> Path:
    try:
        path = unquote(parts.path, errors="strict")
    except UnicodeDecodeError:
        path = ""
    if ":memory:" in path:
        raise ConfigurationError(
            "a file cannot be called :memory:, and sessions in memory are at memory://"
        )
    if path.endswith("/") or not path or "\0" in path:
        raise ConfigurationError(
            "a file URL must name a file: file:relative.db, or file:///absolute.db"
        )
    if path.startswith("~/"):
        return Path(path).expanduser()
    return Path("/" + path.lstrip("/") if path.startswith("/") else path)


def _make_file(kind: Any, request: Request) -> SessionStore:
    return request.call(kind, _file_path(request.parts), **request.options)


def _make_redis(kind: Any, request: Request) -> SessionStore:
    url, options = redis_connection(request.parts, request.options)
    return request.call(kind.from_url, url, **options)


_MEMORY_OPTIONS: Final[Mapping[str, Kind]] = {
    "max_sessions": whole_number(1),
    "max_bytes": SIZE,
}
_FILE_OPTIONS: Final[Mapping[str, Kind]] = {
    "synchronous": one_of("full", "normal", "off"),
    "busy_timeout": SPAN,
    "threads": whole_number(1),
}
_LOGIN: Final = frozenset({"username", "password", "credential_provider"})
_IN_THE_URL: Final = "it is part of the URL, as in redis://user:password@host:6379"
_OWN_CLIENT: Final = "for this make the client yourself and use RedisStore.from_client(client)"
_RETRIES: Final = f"retries=3 says how often a lost connection is tried again; {_OWN_CLIENT}"
_REDIS_HINTS: Final = {
    **dict.fromkeys(("host", "port", "username", "password"), _IN_THE_URL),
    **dict.fromkeys(("connection_pool", "connection_class", "decode_responses"), _OWN_CLIENT),
    **dict.fromkeys(("retry", "retry_on_error", "retry_on_timeout"), _RETRIES),
    **dict.fromkeys(("ssl", *TLS, "ssl_password"), "TLS takes a URL with rediss://"),
}


def _redis(options: Mapping[str, Kind], arguments: Collection[str] = _LOGIN) -> Backend:
    return Backend(
        load=_named("wren_sessions.stores.redis:RedisStore"),
        make=_make_redis,
        check=canonical_redis_url,
        ttl=DAY,
        options=options,
        arguments=arguments,
        hints=_REDIS_HINTS,
    )


_TLS_LOGIN: Final = _LOGIN | {"ssl_password"}
_SENTINEL_LOGIN: Final = frozenset({"sentinel_username", "sentinel_password"})
_TCP: Final = _redis(TCP)
_TLS: Final = _redis({**TCP, **TLS}, _TLS_LOGIN)
_SENTINEL: Final = _redis(TCP, _LOGIN | _SENTINEL_LOGIN)
_SENTINEL_TLS: Final = _redis({**TCP, **TLS}, _TLS_LOGIN | _SENTINEL_LOGIN)
_CLUSTER: Final = _redis(NODE)
_CLUSTER_TLS: Final = _redis({**NODE, **TLS}, _TLS_LOGIN)
REDIS: Final[Mapping[str, Backend]] = {
    "redis": _TCP,
    "rediss": _TLS,
    "valkey": _TCP,
    "valkeys": _TLS,
    "unix": _redis(SOCKET),
    "redis+cluster": _CLUSTER,
    "rediss+cluster": _CLUSTER_TLS,
    "valkey+cluster": _CLUSTER,
    "valkeys+cluster": _CLUSTER_TLS,
    "redis+sentinel": _SENTINEL,
    "rediss+sentinel": _SENTINEL_TLS,
    "valkey+sentinel": _SENTINEL,
    "valkeys+sentinel": _SENTINEL_TLS,
}
"""Every scheme that means Redis or Valkey."""

BACKENDS: Final[Mapping[str, Backend]] = {
    "memory": Backend(
        load=_named("wren_sessions.stores.memory:MemoryStore"),
        make=_make_memory,
        check=_check_memory,
        ttl=DAY,
        options=_MEMORY_OPTIONS,
        arguments=frozenset({"clock"}),
    ),
    "file": Backend(
        load=_named("wren_sessions.stores.file:FileStore"),
        make=_make_file,
        check=_check_file,
        ttl=FOREVER,
        options=_FILE_OPTIONS,
        arguments=frozenset({"clock"}),
    ),
    **REDIS,
}
