"""redis-py: sending a plan, translating what goes wrong; `clients` makes the clients."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NoReturn, TypeAlias

from redis import exceptions as driver
from redis.client import NEVER_DECODE

from wren_sessions.errors import (
    CorruptSessionError,
    StoreTimeoutError,
    StoreUnavailableError,
    forget_frames,
)
from wren_sessions.stores._diagnosis import RIGHTS
from wren_sessions.stores.redis.commands import AnotherAnswerError, Plan
from wren_sessions.stores.redis.connection import AsyncLine, Line

RAW: Final = {NEVER_DECODE: True}


def send(line: Line, plan: Plan[Any]) -> Any:
    """Send a plan and return the reply of its script, or the replies of its commands."""
    if len(plan.commands) > 1 or plan.asking:
        return _answer(send_together(line, [plan])[0])
    line.connection.begin()
    try:
        try:
            reply = line.client.execute_command(*plan.commands[0], **RAW)
        except driver.NoScriptError:  # the server has not seen it yet, or forgot it
            reply = line.client.execute_command(*_in_full(plan).commands[0], **RAW)
        answer = plan.answered([reply])
    except driver.ResponseError as error:  # a whole reply
        line.connection.unfinished = _demoted(error)
        raise
    except NONSENSE as error:
        raise _nonsense(error) from error
    line.connection.unfinished = False
    return answer


def send_together(line: Line, plans: Sequence[Plan[Any]]) -> list[Any]:
    """Send plans in one trip, and return what `send` would have returned or raised for each."""
    line.connection.begin()
    try:
        with line.client.pipeline(transaction=False) as pipe:
            for command in _commands(plans):
                pipe.execute_command(*command, **RAW)
            outcomes = _outcomes(plans, pipe.execute(raise_on_error=False))
    except NONSENSE as error:
        raise _nonsense(error) from error
    line.connection.unfinished = any(map(_demoted, outcomes))
    unknown = _unknown(plans, outcomes)
    return _put_in(outcomes, send_together(line, unknown)) if unknown else outcomes


async def asend(line: AsyncLine, plan: Plan[Any]) -> Any:
    """See `send`."""
    task = asyncio.current_task()
    cancelled = task.cancelling() if task else 0
    replies = await _asend(line, plan)
    if task and task.cancelling() > cancelled:  # lost by `wait_for` of Python 3.11, in the driver
        raise asyncio.CancelledError
    return replies


async def _asend(line: AsyncLine, plan: Plan[Any]) -> Any:
    if len(plan.commands) > 1 or plan.asking:
        return _answer((await asend_together(line, [plan]))[0])
    await line.connection.begin()
    try:
        try:
            reply = await line.client.execute_command(*plan.commands[0], **RAW)
        except driver.NoScriptError:  # the server has not seen it yet, or forgot it
            reply = await line.client.execute_command(*_in_full(plan).commands[0], **RAW)
        answer = plan.answered([reply])
    except driver.ResponseError as error:  # a whole reply
        line.connection.unfinished = _demoted(error)
        raise
    except NONSENSE as error:
        raise _nonsense(error) from error
    line.connection.unfinished = False
    return answer


async def asend_together(line: AsyncLine, plans: Sequence[Plan[Any]]) -> list[Any]:
    """See `send_together`."""
    await line.connection.begin()
    try:
        async with line.client.pipeline(transaction=False) as pipe:
            for command in _commands(plans):
                pipe.execute_command(*command, **RAW)
            outcomes = _outcomes(plans, await pipe.execute(raise_on_error=False))
    except NONSENSE as error:
        raise _nonsense(error) from error
    line.connection.unfinished = any(map(_demoted, outcomes))
    unknown = _unknown(plans, outcomes)
    return _put_in(outcomes, await asend_together(line, unknown)) if unknown else outcomes


def _demoted(outcome: Any) -> bool:
    """Whether a replica said it, which was a primary: a new connection finds the one there is."""
    return isinstance(outcome, driver.ResponseError) and "READONLY" in str(outcome)


def _in_full(plan: Plan[Any]) -> Plan[Any]:
    """The same plan, which sends the text of its script, too."""
    assert plan.script is not None  # noqa: S101 -- for the type checker: who else has no script
    return plan._replace(commands=(("EVAL", plan.script.text, *plan.commands[0][2:]),))


def _commands(plans: Sequence[Plan[Any]]) -> Iterator[tuple[Any, ...]]:
    for plan in plans:
        for command in plan.commands:
            if plan.asking:
                yield ("ASKING",)
            yield command


def _outcomes(plans: Sequence[Plan[Any]], replies: Iterable[Any]) -> list[Any]:
    """The reply or replies of each plan, or the error that one of them is."""
    rest = iter(replies)
    return [_outcome(plan, _of_plan(plan, rest)) for plan in plans]


def _of_plan(plan: Plan[Any], rest: Iterator[Any]) -> list[Any]:
    """The replies to a plan's commands."""
    if plan.asking:
        return list(islice(rest, 2 * len(plan.commands)))[1::2]
    return list(islice(rest, len(plan.commands)))


def _outcome(plan: Plan[Any], replies: list[Any]) -> Any:
    failed = _failed(plan, replies)
    if failed is None:
        return plan.answered(replies)
    if plan.script is None and failed is not replies[-1]:
        plan.answered(replies)
    return failed


def _failed(plan: Plan[Any], replies: list[Any]) -> Exception | None:
    """The first of the replies that is an error."""
    for at, reply in enumerate(replies):
        if isinstance(reply, Exception):
            if plan.scattered and isinstance(reply, ELSEWHERE):
                continue
            if not plan.any_type or _WRONG_TYPE not in str(reply):
                return reply
            replies[at] = None  # a key of another type, which the plan takes
    return None


def _unknown(plans: Sequence[Plan[Any]], outcomes: Sequence[Any]) -> list[Plan[Any]]:
    """The plans whose scripts the server does not know, with their text."""
    pairs = zip(plans, outcomes, strict=True)
    return [_in_full(plan) for plan, found in pairs if isinstance(found, driver.NoScriptError)]


def _put_in(outcomes: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """The outcomes, with others where a script was not known."""
    rest = iter(others)
    return [next(rest) if isinstance(found, driver.NoScriptError) else found for found in outcomes]


def _answer(outcome: Any) -> Any:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


# --- errors ---------------------------------------------------------------------------------------


ELSEWHERE: Final = (driver.AskError, driver.TryAgainError)
"""What a node of a cluster says of a key that another one has; a `MovedError` is an `AskError`."""

NO_LANE: Final = "no connection was free in time"
"""What the driver would say of a call that waited too long for a connection."""

DRIVER_ERRORS: Final = (driver.RedisError, OSError)

NONSENSE: Final = (
    AnotherAnswerError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What comes up where what is read is not what Redis answers."""


def _nonsense(error: Exception) -> driver.InvalidResponse:
    return driver.InvalidResponse(type(error).__name__)


def translate(error: Exception, location: str, session: str) -> NoReturn:
    """Raise our error for one of the driver's, chained, with what to do next.

    Args:
        error: one of `DRIVER_ERRORS`.
        location: where the server is, for the text.
        session: which session it is about, or empty.
    """
    forget_frames(error)  # the driver's hold the password while it logs in
    text = str(error).partition(" : <")[0]  # behind it, clients with all of their options
    about = f" (session {session!r})" if session else ""
    if _WRONG_TYPE in text:
        raise CorruptSessionError(
            f"the key of session {session!r} on {location} is not a session but another type of "
            "value, such as a session that an app pickled before it used this package; it is never "
            "unpickled: let it expire, delete the key, or use another prefix",
            session=session,
        ) from error
    if damage := _DAMAGED.search(text):
        raise CorruptSessionError(
            f"session {session!r} on {location} cannot be read: its field {damage[1]!r} is "
            "damaged; delete it, and restore it from a copy if there is one",
            session=session,
        ) from error
    fitting = (hint for kinds, sign, hint in _HINTS if isinstance(error, kinds) and sign in text)
    hint = next(fitting, None)
    if hint is None and isinstance(error, driver.TimeoutError | TimeoutError):
        raise StoreTimeoutError(
            f"Redis at {location} did not answer in time{about}: the call may or may not have "
            "happened; check the server's load and the network, or raise socket_timeout"
        ) from error
    if hint is None and "user_script" in text:
        raise CorruptSessionError(
            f"session {session!r} on {location} is damaged ({text}); delete it, and restore it "
            "from a copy if there is one",
            session=session,
        ) from error
    kind = StoreTimeoutError if isinstance(error, driver.TimeoutError) else StoreUnavailableError
    raise kind(f"Redis at {location}{about}: {hint or _NO_ANSWER} ({text})") from error


_WRONG_TYPE: Final = "WRONGTYPE"
_DAMAGED: Final = re.compile(r"DAMAGED (\S+)")  # see _common.lua
_Kinds: TypeAlias = type[Exception] | tuple[type[Exception], ...]

_UNREACHED: Final = (
    "it could not be reached in time, and nothing was sent: check host, port and firewall, and "
    "that the port of a rediss:// URL speaks TLS"
)
_BUSY: Final = (
    "all connections to it were busy for as long as an answer may take, and nothing was sent: "
    "check the server's load and the network, or raise socket_timeout"
)
_REFUSED: Final = "it refused the user name or password: check them"
_HAS_NONE: Final = "it has no password, but one was given: leave it out, or set one there"
_WANTS_ONE: Final = "it requires a password, and none was given"
_RIGHTS: Final = (
    "its access rules do not allow this user what is needed, the keys under the prefix and the "
    f"commands of hashes, keys, expiry and scripts: give them with ACL SETUSER … {RIGHTS}"
)
_DATABASE: Final = "it has no database of that number: check the end of the URL"
_MEMORY: Final = (
    "it is out of memory and refused the write, so nothing was written: give it more memory or an "
    "eviction policy, or delete sessions"
)
_READ_ONLY: Final = "it is a read-only replica: connect to the primary"
_NO_PRIMARY: Final = (
    "its Sentinels know no primary of that name that is up: check the name of the service, and "
    "that the Sentinels and the primary run; after a failover they name another one"
)
_TLS: Final = "the TLS handshake failed: check rediss:// against redis://, and the certificate"
_NO_REDIS: Final = (
    "what it sent is no answer to what was asked, and the connection was dropped: check that host "
    "and port are those of a Redis server, and that nothing between mixes up answers"
)
_CLUSTER: Final = "it is part of a cluster: use redis+cluster:// instead of redis://"
_NO_CLUSTER: Final = "it is no cluster: use redis:// instead of redis+cluster://"
_TOO_OLD: Final = "it does not know a command that is needed: Redis 6.2 or newer is, or Valkey"

# The first that fits. The driver takes the code off an error that it has a class for, except where
# a script met it.
_HINTS: Final[tuple[tuple[_Kinds, str, str], ...]] = (
    (driver.TimeoutError, "connecting", _UNREACHED),
    (driver.TimeoutError, NO_LANE, _BUSY),
    (driver.InvalidResponse, "", _NO_REDIS),
    (driver.RedisError, "without any password configured", _HAS_NONE),
    (driver.RedisError, "invalid username-password", _REFUSED),
    (driver.RedisError, "invalid password", _REFUSED),
    (driver.AuthenticationError, "", _WANTS_ONE),
    (driver.ResponseError, "NOAUTH", _WANTS_ONE),
    (driver.RedisError, "unauthenticated", _WANTS_ONE),  # what a long command meets first
    (driver.NoPermissionError, "", _RIGHTS),
    (driver.ResponseError, "NOPERM", _RIGHTS),
    (driver.ResponseError, "The user executing the script", _RIGHTS),
    (driver.ResponseError, "DB index is out of range", _DATABASE),
    (driver.OutOfMemoryError, "", _MEMORY),
    (driver.ResponseError, "OOM", _MEMORY),
    (driver.ConnectionError, "No master found", _NO_PRIMARY),
    (driver.ReadOnlyError, "", _READ_ONLY),
    (driver.ResponseError, "READONLY", _READ_ONLY),
    (driver.ResponseError, "MISCONF", "it refuses writes because it cannot save to disk"),
    (driver.ResponseError, "NOREPLICAS", "it refuses writes for want of replicas"),
    (driver.BusyLoadingError, "", "it is still loading its data: try again soon"),
    (driver.ResponseError, "BUSY", "it is busy with a script: try again soon"),
    (driver.MasterDownError, "", "its primary is down, and it may not answer"),
    (driver.ClusterDownError, "", "its cluster is down"),
    (driver.AskError, "", _CLUSTER),
    (driver.ResponseError, "cluster support disabled", _NO_CLUSTER),
    (driver.ClusterCrossSlotError, "", "it is part of a cluster, and the sessions are apart in it"),
    (driver.ConnectionError, "max number of clients", "it has too many clients: close some"),
    (Exception, "SSL", _TLS),
    (driver.ResponseError, "nknown command", _TOO_OLD),
    (driver.ResponseError, "nknown Redis command", _TOO_OLD),
)
_NO_ANSWER: Final = (
    "it cannot be used; check host and port, that the server runs, and that no firewall is "
    "blocking the connection"
)
