"""redis-py: sending a plan, translating what goes wrong, saying where a client connects.

Only this module and `wren_sessions.stores.redis` know the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn, TypeVar

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
from wren_sessions.stores._redis_plans import Plan

C = TypeVar("C")

_RAW: Final = {NEVER_DECODE: True}


def _evalsha(plan: Plan[Any]) -> tuple[Any, ...]:
    assert plan.script is not None  # noqa: S101 -- for the type checker; the callers looked
    return ("EVALSHA", plan.script.sha, len(plan.keys), *plan.keys, *plan.args)


def _eval(plan: Plan[Any]) -> tuple[Any, ...]:
    assert plan.script is not None  # noqa: S101 -- for the type checker; the callers looked
    return ("EVAL", plan.script.text, len(plan.keys), *plan.keys, *plan.args)


def send(client: redis.Redis, plan: Plan[Any]) -> Any:
    """Send a plan and return the reply of its script, or the replies of its commands."""
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


async def asend(client: redis.asyncio.Redis, plan: Plan[Any]) -> Any:
    """See `send`."""
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


def made(make: Callable[..., C], url: str, options: dict[str, Any]) -> C:
    """A client for a URL; an error that says what is wrong and holds no password."""
    try:
        return make(url, **options)
    except (ValueError, TypeError, driver.RedisError):
        problem = "the Redis URL or one of its options cannot be used"
    # Not chained, and not quoted: what the driver says can hold the password.
    raise ConfigurationError(
        f"{problem}; a URL looks like redis://user:password@host:6379/0, with characters such as "
        "/ @ : % in user and password percent-encoded"
    )


def location_of(client: redis.Redis | redis.asyncio.Redis) -> str:
    """Where a client connects, without user, password and options."""
    pool = client.connection_pool
    kwargs = pool.connection_kwargs
    db = kwargs.get("db") or 0
    if "path" in kwargs:
        return f"unix://{kwargs['path']}?db={db}"
    scheme = "rediss" if "SSL" in pool.connection_class.__name__ else "redis"
    host = kwargs.get("host", "localhost")
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{kwargs.get('port', 6379)}/{db}"
