"""Where sessions are kept: from a URL, environment variables or ``.env``.

Most apps only need `open_store`. The first of these that is set decides: the URL that is passed;
``WREN_SESSIONS_URL``; ``REDIS_URL``; ``REDIS_HOST`` and the related variables. If none is set,
sessions are kept in memory, with a warning. Settings are read when a function here is called, never
at import. ``docs/reference/configuration.md`` lists URLs, options and variables.

Public is what the API reference shows; the rest may change in any version.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from wren_sessions._arguments import check_kind
from wren_sessions._options import FLAG, LIMIT, PREFIX
from wren_sessions.config.environment import (
    WREN_ENCRYPTION_KEYS,
    WREN_MAX_AGE,
    WREN_OWNER_KEYS,
    WREN_OWNER_SECRET,
    WREN_PREFIX,
    WREN_REQUIRE_PERSISTENT,
    WREN_TELEMETRY,
    WREN_TTL,
    WREN_URL,
    Variables,
    find_url,
    read_variables,
)
from wren_sessions.config.options import LIFETIME, check_policy, check_same, merge, policy_from
from wren_sessions.config.schemes import Target, is_redis, resolve
from wren_sessions.config.urls import redact
from wren_sessions.errors import ConfigurationError, hides_arguments
from wren_sessions.keys import DEFAULT_PREFIX
from wren_sessions.protocols import SessionStore
from wren_sessions.ttl import DAY, FOREVER, Lifetime, TTLPolicy, policy_of, to_ms

if TYPE_CHECKING:  # they take time to load, which most processes need not spend
    from wren_sessions.serializers.compression import Compression
    from wren_sessions.serializers.encryption import Encryption
    from wren_sessions.stores.traced import Telemetry

logger: Final = logging.getLogger("wren_sessions")

MEMORY: Final = "memory://"
ARGUMENT: Final = "argument"
USE_REDIS: Final = "use_redis=False"
NOTHING: Final = "nothing"
_KEYS_PREFIX: Final = "wren-sessions:owner-keys"


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """Where sessions are kept, and for how long. The repr shows no passwords and no keys.

    Args:
        url: the URL of the store.
        ttl: how long sessions live: a policy; or a duration, such as ``"1h"`` or seconds, which is
            the idle timeout, as in the URL. None for the URL's lifetime, or else the backend's
            default: 24 hours after the last write in memory and on Redis, until deleted in a file.
        prefix: what session names begin with; None for the URL's prefix, or else
            ``langgraph:checkpoint``.
        require_persistent: whether to refuse a store that ends with the process.
        source: what decided the URL: the name of a variable, ``"argument"``, ``"use_redis=False"``,
            or ``"nothing"`` if nothing was configured.
        encryption: the keys to encrypt with; None for no encryption.
        compression: how to compress; None for the URL's setting (``compression=zstd``), or else no
            compression.
        telemetry: whether OpenTelemetry is told of each call of the store, or what it is told.
        owner_keys: the URL of the store for the keys of owners; None where they have none.

    Raises:
        ConfigurationError: an argument has the wrong type.
    """

    url: str = MEMORY
    ttl: Lifetime | None = None
    prefix: str | None = None
    require_persistent: bool = False
    source: str = ARGUMENT
    encryption: Encryption | None = None
    compression: Compression | None = None
    telemetry: bool | Telemetry = False
    owner_keys: str | None = None

    def __post_init__(self) -> None:
        for name in ("encryption", "compression"):
            given, kind = getattr(self, name), name.capitalize()
            if given is not None and kind not in {base.__name__ for base in type(given).__mro__}:
                raise ConfigurationError(f"{name} must be {kind}(…) or None")
        check_kind(self.prefix, str, "prefix", f"{DEFAULT_PREFIX!r}, for example")
        if self.ttl is not None:
            policy_of(self.ttl)
        if type(self.telemetry).__name__ not in {"bool", "Telemetry"}:
            raise ConfigurationError("telemetry must be True, False or Telemetry(…)")

    def __repr__(self) -> str:
        return (
            f"Settings(url={redact(self.url)!r}, ttl={self.ttl!r}, prefix={self.prefix!r}, "
            f"require_persistent={self.require_persistent!r}, source={self.source!r}, "
            f"encryption={self.encryption!r}, compression={self.compression!r}, "
            f"telemetry={self.telemetry!r}, "
            f"owner_keys={self.owner_keys and redact(self.owner_keys)!r})"
        )

    @classmethod
    @hides_arguments
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        dotenv: bool | str | Path = True,
        use_redis: bool = True,
    ) -> Self:
        """Read the environment variables, and ``.env``.

        Args:
            environ: the variables; None for those of the process, which are not changed.
            dotenv: True for ``.env`` in the working directory, if it exists; False for no file; or
                the path of a file that must exist. The process's variables take precedence over it.
            use_redis: False to ignore every Redis server in the variables.

        Raises:
            ConfigurationError: variables contradict each other, are incomplete, or are not valid;
                or the file cannot be read.
        """
        variables = read_variables(environ, dotenv=dotenv)
        found = find_url(variables, use_redis=use_redis)
        url, source = found or (MEMORY, NOTHING if use_redis else USE_REDIS)
        prefix: Any = variables.read(WREN_PREFIX, PREFIX)
        ttl = _policy_of(variables, url, source)
        return cls(url=url, ttl=ttl, prefix=prefix, source=source, **_guards_of(variables))

    @hides_arguments
    def open(self, **options: Any) -> SessionStore:
        """Create the store. It does not connect before it is used.

        Args:
            options: the backend's own, as in the URL: text, or what the text stands for.

        Raises:
            ConfigurationError: the URL or an option is not valid, an option has one value in the
                URL and another elsewhere, or the store must survive the process and does not.
        """
        with _blamed_on(self.source):
            target = resolve(self.url)
            ttl = self._ttl_of(target)
            prefix = target.common.get("prefix", self.prefix)
            if self.prefix is not None:
                check_same("prefix", prefix, self.prefix, f"as an argument or in {WREN_PREFIX}")
            compression = self._compression_of(target)
        store = target.make(ttl, DEFAULT_PREFIX if prefix is None else str(prefix), options)
        if self.telemetry:
            from wren_sessions.stores.traced import Telemetry, TracedStore  # where it is asked for

            chosen = self.telemetry if isinstance(self.telemetry, Telemetry) else Telemetry()
            store = TracedStore(store, chosen)
        if (self.encryption, compression, self.owner_keys) != (None, None, None):
            from wren_sessions.stores.protected import ProtectedStore  # imports msgpack

            store = ProtectedStore(
                store,
                encryption=self.encryption,
                compression=compression,
                owner_keys=self._key_store(),
            )
        if self.require_persistent and not store.persistent:
            store.close()
            raise ConfigurationError(_not_persistent(self.source))
        self._log(store)
        return store

    def _key_store(self) -> SessionStore | None:
        """The store for the keys of owners."""
        if self.owner_keys is None:
            return None
        with _blamed_on(f"owner_keys or {WREN_OWNER_KEYS}"):
            target = resolve(self.owner_keys)
            if LIFETIME & target.common.keys():
                raise ConfigurationError("keys must not expire: leave ttl and max_age out")
            prefix = target.common.get("prefix", _KEYS_PREFIX)
            return target.make(FOREVER, str(prefix), {})

    def _ttl_of(self, target: Target) -> TTLPolicy | None:
        default = target.backend.ttl
        if isinstance(self.ttl, TTLPolicy):
            check_policy(target.common, self.ttl)
            return self.ttl
        given = {name: value for name, value in target.common.items() if name in LIFETIME}
        if self.ttl is not None:
            given = dict(merge(given, {"ttl": to_ms(self.ttl)}))
        return policy_from(given, default or DAY) if given else default

    def _compression_of(self, target: Target) -> Compression | None:
        in_url = target.common.get("compression")
        if self.compression is not None or in_url in {None, "none"}:
            return self.compression
        from wren_sessions.serializers.compression import Compression  # where it is asked for

        return Compression()

    def _log(self, store: SessionStore) -> None:
        if self.source == NOTHING:
            logger.warning(
                "no store is configured: sessions are kept in memory and end with this process; "
                "set %s, REDIS_URL or REDIS_HOST, or pass a URL",
                WREN_URL,
            )
        keys = "" if self.encryption is None else f", encrypted with {self.encryption.newest!r}"
        logger.info(
            "sessions are kept in %s (decided by: %s): %s%s",
            store.location,
            self.source,
            store.ttl,
            keys,
        )


@hides_arguments
def open_store(
    url: str | None = None,
    *,
    ttl: Lifetime | None = None,
    prefix: str | None = None,
    use_redis: bool = True,
    require_persistent: bool | None = None,
    encryption: Encryption | None = None,
    compression: Compression | None = None,
    telemetry: bool | Telemetry | None = None,
    owner_keys: str | None = None,
    dotenv: bool | str | Path = True,
    **options: Any,
) -> SessionStore:
    """Open the store from a URL, or from the environment variables or ``.env``.

    It does not connect before it is used. It works with ``with`` and ``async with``.

    Args:
        url: the URL of the store, such as ``redis://localhost:6379/0``, ``file:sessions.db`` or
            ``memory://``; None to read the variables.
        ttl: how long sessions live: a policy; or a duration, such as ``"1h"`` or seconds, which is
            the idle timeout. None for the lifetime from the URL or variables, or else the backend's
            default: 24 hours after the last write in memory and on Redis, until deleted in a file.
        prefix: what session names begin with; None for the prefix from the URL or variables, or
            else ``langgraph:checkpoint``.
        use_redis: False to keep sessions in memory, whatever Redis server the variables name. A
            ``WREN_SESSIONS_URL`` for another kind of store is still used.
        require_persistent: True to refuse a store that ends with the process; None for the value of
            ``WREN_SESSIONS_REQUIRE_PERSISTENT``, or else False.
        encryption: the keys to encrypt with; None for ``WREN_SESSIONS_ENCRYPTION_KEYS``. If that is
            not set, sessions are not encrypted.
        compression: how to compress; None for the URL's setting (``compression=zstd``), or else no
            compression.
        telemetry: True to tell OpenTelemetry of each call of the store, or `Telemetry` to say what
            and whom; None for what ``WREN_SESSIONS_TELEMETRY`` says, else False.
        owner_keys: the URL of a store for keys of owners, which must not be where the sessions are.
            Each owner's sessions are then encrypted with a key of their own, and `erase_owner`
            destroys it. None for ``WREN_SESSIONS_OWNER_KEYS``, without which owners have no keys.
        dotenv: True to read ``.env`` in the working directory, if there is one; False for no file;
            or the path of a file that must be there.
        options: the backend's own, as in its URL: text, or what the text stands for.

    Returns:
        The store. Its backend, without password, and its lifetime are logged at level INFO.

    Raises:
        ConfigurationError: the URL, a variable or an option is not valid. No message contains a
            password.
    """
    if url is None:
        settings = Settings.from_env(dotenv=dotenv, use_redis=use_redis)
    else:
        if not use_redis and is_redis(url):
            raise ConfigurationError("use_redis is False, but the URL names a Redis server")
        # Of the variables, only those that guard or watch hold for a URL that is given.
        settings = Settings(url=url, **_guards_of(read_variables(None, dotenv=dotenv)))
    given = {
        "ttl": ttl,
        "prefix": prefix,
        "require_persistent": require_persistent,
        "encryption": encryption,
        "compression": compression,
        "telemetry": telemetry,
        "owner_keys": owner_keys,
    }
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return replace(settings, **chosen).open(**options)


def _guards_of(variables: Variables) -> dict[str, Any]:
    return {
        "require_persistent": bool(variables.read(WREN_REQUIRE_PERSISTENT, FLAG)),
        "encryption": _encryption_of(variables),
        "telemetry": bool(variables.read(WREN_TELEMETRY, FLAG)),
        "owner_keys": variables.get(WREN_OWNER_KEYS),
    }


def _encryption_of(variables: Variables) -> Encryption | None:
    keys = variables.get(WREN_ENCRYPTION_KEYS)
    secret = variables.get(WREN_OWNER_SECRET)
    if keys is None:
        if secret is not None:
            raise ConfigurationError(
                f"{variables.label(WREN_OWNER_SECRET)} hides the owners of encrypted sessions: set "
                f"{WREN_ENCRYPTION_KEYS} too, or unset it"
            )
        return None
    from wren_sessions.serializers.encryption import Encryption  # where it is asked for

    with _blamed_on(WREN_ENCRYPTION_KEYS):
        Encryption.from_text(keys)
    with _blamed_on(WREN_OWNER_SECRET):
        return Encryption.from_text(keys, owner_secret=None if secret is None else secret.encode())


def _policy_of(variables: Variables, url: str, source: str) -> TTLPolicy | None:
    """The lifetime that the variables set, completed by the URL's and the backend's."""
    given = {
        option: variables.read(name, LIMIT)
        for option, name in (("ttl", WREN_TTL), ("max_age", WREN_MAX_AGE))
        if variables.get(name) is not None
    }
    if not given:
        return None
    with _blamed_on(source):
        target = resolve(url)
    return policy_from({**target.common, **given}, target.backend.ttl or DAY)


@contextmanager
def _blamed_on(source: str) -> Iterator[None]:
    """Say in an error which variable is at fault."""
    try:
        yield
    except ConfigurationError as error:
        if source == ARGUMENT:
            raise
        raise ConfigurationError(f"{source}: {error.message}") from None


def _not_persistent(source: str) -> str:
    why = "no store is configured, and the memory" if source == NOTHING else "the memory"
    return (
        f"{why} of a process does not outlive it, but a persistent store is required: set "
        f"{WREN_URL}, REDIS_URL or REDIS_HOST, or pass the URL of a file or a server (or allow it: "
        f"require_persistent=False, {WREN_REQUIRE_PERSISTENT}=0)"
    )
