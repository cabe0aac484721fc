"""The one table of errors from servers and the driver, and what they mean.

Calls raise our error instead of the driver's, with what to do next (`translate`). A diagnosis uses
the same table to find the cause of a problem. If the table does not tell, it looks for itself.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, NoReturn

from redis import exceptions as driver

from wren_sessions._damage import damage_error
from wren_sessions.errors import (
    CorruptSessionError,
    StoreTimeoutError,
    StoreUnavailableError,
    forget_frames,
)
from wren_sessions.stores._diagnosis import RIGHTS, Trouble

DRIVER_ERRORS: Final = (driver.RedisError, OSError)

NO_LANE: Final = "no connection was free in time"
"""What the driver would say of a call that waited too long for a connection."""

CONNECTING: Final = "connecting"
"""In what the driver says where it has not come to send anything."""

_READONLY: Final = "READONLY"
WRONG_TYPE: Final = "WRONGTYPE"
"""In what the server says of a key that holds another type of value."""


class Meaning(NamedTuple):
    """What an error of the driver means.

    Attributes:
        kind: its class.
        sign: what stands in its text.
        text: what it means, and what to do about it.
        trouble: which trouble that is, for a diagnosis; None where it has to look further.
    """

    kind: type[Exception]
    sign: str
    text: str
    trouble: Trouble | None = None


def text_of(error: Exception) -> str:
    """What the driver says, without the clients that it may show with all of their options."""
    return str(error).partition(" : <")[0]


def meaning_of(error: Exception) -> Meaning | None:
    """What an error of the driver means; None if that is not known."""
    text = text_of(error)
    fitting = (m for m in MEANINGS if isinstance(error, m.kind) and m.sign in text)
    return next(fitting, None)


def is_demotion(outcome: object) -> bool:
    """Whether a replica said it, which was a primary: a new connection finds the one there is."""
    return isinstance(outcome, driver.ResponseError) and _READONLY in str(outcome)


def no_listing(key: str, why: str, session: str = "") -> CorruptSessionError:
    """The error for an owner's listing that cannot be used."""
    return CorruptSessionError(
        f"the key {key!r} should hold the list of an owner's sessions, but {why}: delete that key, "
        "and touch or write the owner's sessions, which puts each of them into the list again",
        session=session,
    )


def translate(
    error: Exception, location: str, session: str, listing: str, largest_bytes: int
) -> NoReturn:
    """Raise our error for one of the driver's, chained, with what to do next.

    Args:
        error: one of `DRIVER_ERRORS`.
        location: where the server is, for the text.
        session: which session it is about, or empty.
        listing: the key of the owner's listing that it is about, or tells besides; or empty.
        largest_bytes: how much the largest part of what was sent takes.
    """
    forget_frames(error)  # the driver's hold the password while it logs in
    text = text_of(error)
    about = f" (session {session!r})" if session else f" (list {listing!r})" if listing else ""
    if listing and (not session or _OF_LISTING in text):
        if WRONG_TYPE in text:
            raise no_listing(listing, f"on {location} it holds something else", session) from error
        if meaning_of(error) is None and "user_script" in text:
            raise no_listing(listing, f"on {location} it is damaged ({text})", session) from error
    if WRONG_TYPE in text:
        raise CorruptSessionError(
            f"the key of session {session!r} on {location} is not a session but another type of "
            "value, such as a session that an app pickled before it used this package; it is never "
            "unpickled: let it expire, delete the key, or use another prefix",
            session=session,
        ) from error
    if damage := _DAMAGED.search(text):
        raise damage_error(
            session,
            f"session {session!r} on {location} cannot be read: its field {damage[1]!r} is damaged",
        ) from error
    meaning = meaning_of(error)
    hint = None if meaning is None else meaning.text
    cut = largest_bytes > MAX_BYTES and isinstance(error, _CUT)  # its answer may get lost
    if _BULK in text or (cut and hint is None):
        hint = _TOO_LARGE.format(largest_bytes)
    if hint is None and isinstance(error, driver.TimeoutError | TimeoutError):
        raise StoreTimeoutError(
            f"Redis at {location} did not answer in time{about}: the call may or may not have "
            "happened; check the server's load and the network, or raise socket_timeout"
        ) from error
    if hint is None and "user_script" in text:
        raise damage_error(
            session, f"session {session!r} on {location} is damaged ({text})"
        ) from error
    kind = StoreTimeoutError if isinstance(error, driver.TimeoutError) else StoreUnavailableError
    raise kind(f"Redis at {location}{about}: {hint or _NO_ANSWER} ({text})") from error


_CUT: Final = (driver.ConnectionError, ConnectionError)
_BULK: Final = "invalid bulk length"

MAX_BYTES: Final = 512 * 1_048_576
"""The largest part of a command that a server takes, unless it is configured otherwise."""

_OF_LISTING: Final = "LISTING "  # see _owners.lua
_DAMAGED: Final = re.compile(r"DAMAGED (\S+)")  # see _common.lua

_UNREACHED: Final = (
    "it could not be reached in time, and nothing was sent: check host, port and firewall, and "
    "that the port of a rediss:// URL speaks TLS"
)
_BUSY: Final = (
    "all connections to it were busy for as long as an answer may take, and nothing was sent: "
    "check the server's load and the network, or raise socket_timeout"
)
_TOO_LARGE: Final = (
    "it closed the connection on a value of {:,} bytes, and nothing was written: save less at "
    "once, or raise proto-max-bulk-len there"
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
_LOADING: Final = "it is still loading its data: try again soon"
_CLUSTER: Final = "it is part of a cluster: use redis+cluster:// instead of redis://"
_NO_CLUSTER: Final = "it is no cluster: use redis:// instead of redis+cluster://"
_TOO_OLD: Final = "it does not know a command that is needed: Redis 6.2 or newer is, or Valkey"

# The first that fits. The driver takes the code off an error that it has a class for, except where
# a script met it.
MEANINGS: Final[tuple[Meaning, ...]] = (
    Meaning(driver.TimeoutError, CONNECTING, _UNREACHED),
    Meaning(driver.TimeoutError, NO_LANE, _BUSY),
    Meaning(driver.InvalidResponse, "", _NO_REDIS),
    Meaning(driver.RedisError, "without any password configured", _HAS_NONE, "needless-password"),
    Meaning(driver.RedisError, "invalid username-password", _REFUSED, "password"),
    Meaning(driver.RedisError, "invalid password", _REFUSED, "password"),
    Meaning(driver.AuthenticationError, "", _WANTS_ONE, "no-password"),
    Meaning(driver.ResponseError, "NOAUTH", _WANTS_ONE, "no-password"),
    # What a long command meets first:
    Meaning(driver.RedisError, "unauthenticated", _WANTS_ONE, "no-password"),
    Meaning(driver.RedisError, "already authenticated", _WANTS_ONE, "no-password"),
    Meaning(driver.NoPermissionError, "", _RIGHTS, "rights"),
    Meaning(driver.ResponseError, "NOPERM", _RIGHTS, "rights"),
    Meaning(driver.ResponseError, "The user executing the script", _RIGHTS, "rights"),
    Meaning(driver.ResponseError, "DB index is out of range", _DATABASE, "database"),
    Meaning(driver.ResponseError, "SELECT is not allowed", _DATABASE, "database"),
    Meaning(driver.OutOfMemoryError, "", _MEMORY),
    Meaning(driver.ResponseError, "OOM", _MEMORY),
    Meaning(driver.ConnectionError, "No master found", _NO_PRIMARY),
    Meaning(driver.ReadOnlyError, "", _READ_ONLY),
    Meaning(driver.ResponseError, _READONLY, _READ_ONLY),
    Meaning(driver.ResponseError, "MISCONF", "it refuses writes because it cannot save to disk"),
    Meaning(driver.ResponseError, "NOREPLICAS", "it refuses writes for want of replicas"),
    Meaning(driver.BusyLoadingError, "", _LOADING, "loading"),
    Meaning(driver.ResponseError, "BUSY", "it is busy with a script: try again soon"),
    Meaning(driver.MasterDownError, "", "its primary is down, and it may not answer"),
    Meaning(driver.ClusterDownError, "", "its cluster is down"),
    Meaning(driver.AskError, "", _CLUSTER),
    Meaning(driver.ResponseError, "MOVED ", _CLUSTER),  # before redis-py 6
    Meaning(driver.ResponseError, "cluster support disabled", _NO_CLUSTER),
    Meaning(
        driver.ClusterCrossSlotError,
        "",
        "it is part of a cluster, and the sessions are apart in it",
    ),
    Meaning(driver.ConnectionError, "max number of clients", "it has too many clients: close some"),
    Meaning(Exception, "certificate verify failed", _TLS, "certificate"),
    Meaning(Exception, "SSL", _TLS),
    Meaning(driver.ResponseError, "nknown command", _TOO_OLD),
    Meaning(driver.ResponseError, "nknown Redis command", _TOO_OLD),
)
_NO_ANSWER: Final = (
    "it cannot be used; check host and port, that the server runs, and that no firewall is "
    "blocking the connection"
)
