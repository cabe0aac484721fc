"""Names: how sessions, checkpoints and their parts are called, everywhere.

The address of a thing is ``<prefix>:<session>:<latest | checkpoint id>``. The command line takes
it, and on Redis ``<prefix>:<session>:latest`` *is* the key: one hash holds the whole session, so
``KEYS <prefix>:*:latest`` shows each session once and ``TTL`` is the session's. The prefix is
``langgraph:checkpoint`` unless configured.

The schema of that hash, written down here and built nowhere else:

==============================  ===================================================================
field                           what
==============================  ===================================================================
``state``                       the header: JSON that a person can read
``<id>``, ``<ns>/<id>``         the record of a checkpoint, root and subgraph namespaces
``:meta``                       incarnation, created, updated, lifetime override, pin, sizes, how
                                many fields there are
``:head/<ns>``                  the namespace's latest checkpoint, its highest id, the namespace
                                made before it, what the log of the latest one holds at least
``:a<n>``                       segment *n* of the arena, 2,032 bytes each, the last one shorter
``:w/<ns>/<id>``                the log of pending writes of a checkpoint; of several commits, its
                                line alone, and besides:
``:w/<ns>/<id>/<n>``            part *n* of its bytes
``:w/<ns>/<id>/k<n>``           earlier keys of writes that are replaced
``:w/<ns>/<id>/s<n>``           earlier spans of the arena
``:s/<ns>/<id>/<task>/<index>`` a pending write that is replaced, not appended (an interrupt, …)
``:done``                       by what the latest commits are known again if they are repeated
``:turn``                       whose turn it is to write, until when, and who waits for it; only
                                while there is a turn
``:about``                      whose session it is (or -), a space, and what is noted about it;
                                only where somebody said so
==============================  ===================================================================

Besides, there is one sorted set per owner, ``<prefix>::owner:<owner>``: the names of the sessions
by when they were last written and, behind a colon and with a minus in front of the time, by when
they end. The set ends with the last of them. Only sessions with an owner are in one. It is an
index: it may hold the names of sessions that are no longer there, which go when a listing meets
them.

Ids are percent-encoded where they hold a separator, a glob or brace, a space or a control
character. Two different (prefix, session, namespace, checkpoint) never meet in one name, every
name is parsed back to what it was built from, and no id ever becomes a pattern. Namespaces stand in
full, however long: LangGraph's has a name and a UUID for every graph around a subgraph.

A commit has a name too, its token: text that no other commit has, in any process. It is no secret.
"""

from __future__ import annotations

import os
import re
from binascii import b2a_base64
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from time import time_ns
from typing import Final, Self
from urllib.parse import unquote

from wren_sessions.errors import ConfigurationError, InvalidSessionIdError

DEFAULT_PREFIX: Final = "langgraph:checkpoint"
"""The prefix of sessions, unless another one is configured."""

LATEST: Final = "latest"
STATE: Final = "state"
META: Final = ":meta"
ABOUT: Final = ":about"
MAX_ID_BYTES: Final = 1024
MAX_NAMESPACE_BYTES: Final = 1_048_576

_RESERVED = frozenset({LATEST, STATE})
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029:%{}/*?\[\]\\^,]")
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]{0,1024}").fullmatch  # what most ids are
_BAD_PREFIX = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029%{}*?\[\]\\^]")


class StagingId(str):
    """What a session is called while it is being made, until it is copied to where it belongs.

    It is longer than an id may be, so no session is in its way, and no text that a caller gives is
    taken for one. A store lists no such session, and gives it a deadline: `TTLPolicy.of`.

    Args:
        of: what tells it from others that are being made.
    """

    __slots__ = ()

    def __new__(cls, of: str) -> Self:
        """The same text gives the same id."""
        name = f"copying.{sha256(of.encode()).hexdigest()}"
        return super().__new__(cls, name.ljust(MAX_ID_BYTES + 1, "."))


class HiddenOwner(str):
    """An owner as an encrypted store keeps it, where the name itself is not known: a keyed hash.

    It is taken as it is, so that a copy keeps it; no text that a caller gives is taken for one.
    """

    __slots__ = ()


def encode(value: str) -> str:
    """Percent-encode an id, so that it can be one part of a name.

    Args:
        value: any text that is valid Unicode, at most 1,024 bytes of UTF-8.

    Returns:
        The same text with separators, globs, braces, spaces and control characters encoded, and
        the two reserved words told apart from ids that happen to be spelt like them.

    Raises:
        InvalidSessionIdError: it is no text, holds a lone surrogate, or is too long.
    """
    if type(value) is str and _PLAIN(value) and value not in _RESERVED:
        return value  # nearly all
    return _encode(value, MAX_ID_BYTES, "an id")


def encode_namespace(value: str) -> str:
    """The same for a namespace, which may be longer: 1 MiB of UTF-8."""
    return _encode(value, MAX_NAMESPACE_BYTES, "a namespace")


def _encode(value: str, max_bytes: int, what: str) -> str:
    if type(value) is StagingId:
        return value
    if not isinstance(value, str):
        raise InvalidSessionIdError(
            f"{what} must be a string, not {type(value).__name__}: {value!r}", value=value
        )
    try:
        size_bytes = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidSessionIdError(
            f"{what} must be valid Unicode: {value[:60]!r}", value=value
        ) from None
    if size_bytes > max_bytes:
        raise InvalidSessionIdError(
            f"{what} must be at most {max_bytes} bytes of UTF-8; this one has {size_bytes}: "
            f"{value[:60]!r}…",
            value=value,
        )
    if value in _RESERVED:
        return f"%{ord(value[0]):02X}{value[1:]}"
    return _UNSAFE.sub(_percent, value)


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match.group().encode())


def decode(name: str) -> str:
    """Turn what `encode` made back into the id."""
    return unquote(name, errors="strict") if "%" in name else name


@dataclass(frozen=True, slots=True)
class Address:
    """A session, or one checkpoint of it.

    Attributes:
        session: the session's id.
        checkpoint_id: the checkpoint in the root namespace; None means the latest one.
    """

    session: str
    checkpoint_id: str | None = None


@dataclass(frozen=True, slots=True)
class KeySpace:
    """All names under one prefix.

    Args:
        prefix: literal text before every session's name. No glob, brace, space or control
            character; not empty; no colon at either end.

    Raises:
        ConfigurationError: the prefix cannot be used.
    """

    prefix: str = DEFAULT_PREFIX

    def __post_init__(self) -> None:
        given: object = self.prefix
        wrong = not isinstance(given, str) or not given or given != given.strip(":")
        if wrong or _BAD_PREFIX.search(self.prefix) or "::" in self.prefix:
            raise ConfigurationError(
                f"the key prefix {self.prefix!r} cannot be used: it must be plain text such as "
                f"{DEFAULT_PREFIX!r}, without globs, braces, percent signs, spaces, control "
                "characters, empty parts, or a colon at either end"
            )

    def address(self, session: str, checkpoint_id: str | None = None) -> str:
        """The name of a session's latest state, or of one checkpoint.

        Raises:
            InvalidSessionIdError: an id cannot be a name; a session id is also never empty.
        """
        last = LATEST if checkpoint_id is None else encode(checkpoint_id)
        return f"{self.prefix}:{check_session(session)}:{last}"

    def session_key(self, session: str) -> str:
        """The one Redis key that holds a session."""
        return f"{self.prefix}:{check_session(session)}:{LATEST}"

    def owner_key(self, owner: str) -> str:
        """The Redis key that holds the names of an owner's sessions.

        Raises:
            InvalidSessionIdError: the owner is empty, or cannot be a name.
        """
        return f"{self.prefix}::owner:{check_owner(owner)}"

    def parse_address(self, name: str) -> Address | None:
        """What `address` was made from, or None if this is no address under this prefix."""
        head, _, last = name.rpartition(":")
        prefix, _, session = head.rpartition(":")
        if prefix != self.prefix or not session or not last:
            return None
        try:
            found = Address(decode(session), None if last == LATEST else decode(last))
            canonical = self.address(found.session, found.checkpoint_id)
        except (InvalidSessionIdError, UnicodeDecodeError):
            return None
        return found if canonical == name else None

    def parse_session_key(self, name: str) -> str | None:
        """The session that a Redis key holds, or None for any other key."""
        address = self.parse_address(name)
        return address.session if address and address.checkpoint_id is None else None

    @property
    def pattern(self) -> str:
        """The glob that every session's key matches; made from the checked prefix alone."""
        return f"{self.prefix}:*:{LATEST}"


def check_session(session: str) -> str:
    """The encoded form of a session id.

    Raises:
        InvalidSessionIdError: it is empty, no text, or too long.
    """
    if session == "":
        raise InvalidSessionIdError("a session id must not be empty", value=session)
    return encode(session)


def check_owner(owner: str) -> str:
    """The encoded form of an owner, never ``-``, which is nobody; errors as `check_session`."""
    if owner == "":
        raise InvalidSessionIdError("an owner must not be empty", value=owner)
    return "%2D" if owner == "-" else _encode(owner, MAX_ID_BYTES, "an owner")


def record_field(namespace: str, checkpoint_id: str) -> str:
    """The field of a checkpoint's record: ``<id>`` in the root namespace, else ``<ns>/<id>``.

    Raises:
        InvalidSessionIdError: the checkpoint id is empty, or an id cannot be a name.
    """
    if checkpoint_id == "":
        raise InvalidSessionIdError("a checkpoint id must not be empty", value=checkpoint_id)
    name = encode(checkpoint_id)
    return f"{encode_namespace(namespace)}/{name}" if namespace else name


def parse_record_field(field: str) -> tuple[str, str] | None:
    """The (namespace, checkpoint id) of a record's field, or None for any other field."""
    namespace, _, checkpoint_id = field.rpartition("/")
    if field == STATE or field.startswith(":") or not checkpoint_id:
        return None
    return decode(namespace), decode(checkpoint_id)


def head_field(namespace: str) -> str:
    """The field that holds a namespace's latest checkpoint."""
    return f":head/{encode_namespace(namespace)}"


def segment_field(number: int) -> str:
    """The field of one segment of the arena."""
    return f":a{number}"


def writes_field(namespace: str, checkpoint_id: str) -> str:
    """The field of a checkpoint's log of pending writes; part *n* of it is ``<field>/<n>``."""
    return f":w/{encode_namespace(namespace)}/{encode(checkpoint_id)}"


def special_prefix(namespace: str, checkpoint_id: str) -> str:
    """The beginning of the fields of a checkpoint's replaceable writes; a write key ends it."""
    return f":s/{encode_namespace(namespace)}/{encode(checkpoint_id)}/"


def write_key(task_id: str, index: int) -> str:
    """The name of a pending write within its checkpoint: ``<task>/<index>``."""
    return f"{encode(task_id)}/{index}"


# --- tokens of commits ----------------------------------------------------------------------------

# A commit needs one each time, and asking the system for random bytes is a call into the kernel,
# which takes 5 % of a put in memory. So they come from a generator that the system has seeded, anew
# in each forked child. The clock is mixed in: a process that was copied as a whole, such as a
# snapshot of a virtual machine, goes on with the same generator in each copy.

_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_random: Final = Random()  # noqa: S311 -- unique, not secret
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)


def new_token() -> str:
    """A new token: 11 characters, all of them letters, digits, ``-`` and ``_``."""
    bits = _random.getrandbits(64) ^ time_ns()
    return b2a_base64(bits.to_bytes(8, "big"))[:11].translate(_SAFE).decode()
