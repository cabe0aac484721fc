"""One round trip: what is sent, in bytes, and how its answer is known and read. Pure, no I/O.

A `Plan` is a script with its key and arguments, or a few plain commands, and the function that
turns the reply into the method's result. `plans` has what all of them share; `commit` and `load`
have what an agent sends in each step, `commands` the rest of the store, `listing` and `owned` its
lists. A plan, the store method and the ``lua/*.lua`` file of a script share one name; each file
opens with its KEYS, ARGV and reply, and ``_common.lua`` with the fields of a session. Arguments and
replies are few joined texts where they can be: the driver works on each of them by itself.

Every answer identifies itself: a plan has a nonce, which a script gives back as the first word of
its reply (see `scripts`), and which a PING behind plain commands gives back. Whatever is stored and
not as it was written is a `CorruptSessionError` that names the session, or the list.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import count
from secrets import randbits
from typing import Any, Final, Generic, NamedTuple, NoReturn, TypeVar

from wren_sessions._blocking import LRU
from wren_sessions._damage import damage_error
from wren_sessions.errors import CorruptSessionError, FormatVersionError, InvalidSessionIdError
from wren_sessions.keys import KeySpace, StagingId, decode, encode, encode_namespace, record_field
from wren_sessions.records import Life, Span
from wren_sessions.stores.redis.errors import no_listing
from wren_sessions.stores.redis.scripts import Script, script
from wren_sessions.ttl import STAGING_MS, TTLPolicy

T = TypeVar("T")

MAX_OWNED: Final = 10_000
FORMAT: Final = 2
NONE: Final = ":"  # in place of an id or a number: an encoded id holds no colon


class AnotherAnswerError(Exception):
    """What was read is no answer to what was asked."""


class Plan(NamedTuple, Generic[T]):
    """One round trip: a named tuple, which is quick to make, since each call makes one.

    Attributes:
        session: what it is about, for errors; empty where it is about no one session.
        read: turns the reply into the result: the words of its text and the reply (of a script), or
            the list of replies (of commands).
        commands: what to send; of a script, the one command that runs it.
        nonce: what the last reply, or the first word of a script's, has to be.
        script: the script to run, or None.
        any_type: whether a key of another type is no error, and None among the replies instead.
        scattered: whether it is no error that another node of a cluster has a key, and how a node
            says so is among the replies instead.
        at: in a cluster, a slot or an address, whose node it goes to instead of the key's.
        fresh: whether a cluster's nodes are asked first who has which slots.
        asking: whether the node of a cluster is told before each command that another one sent it.
        hurried: whether a cluster's node that went away is waited for a second only.
    """

    session: str
    read: Callable[..., T]
    commands: tuple[tuple[Any, ...], ...]
    nonce: bytes
    script: Script | None = None
    any_type: bool = False
    scattered: bool = False
    at: int | tuple[str, int] | None = None
    fresh: bool = False
    asking: bool = False
    hurried: bool = False

    @property
    def key(self) -> Any:
        """The session's key; None where it is about no one session."""
        if not self.session:
            return None
        return self.commands[0][1 if self.script is None else 3]

    @property
    def listing(self) -> str:
        """The key of the owner's listing that it is about, or tells besides; empty for none."""
        if self.script is None:
            return ""
        _, _, count, *keys = self.commands[0]
        if not self.session:
            return str(keys[0].decode())
        return keys[1].decode() if self.script.name == "commit" and count == b"2" else ""

    @property
    def largest_bytes(self) -> int:
        """How much the largest part of it takes that is sent."""
        return max(len(part) for command in self.commands for part in command)

    def answered(self, replies: list[Any]) -> Any:
        """The reply of the script or the replies of the commands, without the nonce.

        Raises:
            AnotherAnswerError: these are no answer to this plan.
        """
        if self.script is None:
            if replies[-1] != self.nonce:
                raise AnotherAnswerError
            return replies[:-1]
        (reply,) = replies
        text = reply[0] if isinstance(reply, list) and reply else reply
        if not isinstance(text, bytes) or not text.startswith(self.nonce + b" "):
            raise AnotherAnswerError
        said = text[len(self.nonce) + 1 :]
        if text is reply:
            return said
        reply[0] = said
        return reply

    def result(self, reply: Any) -> T:
        """What the method returns, from the reply of the script or the replies of the commands.

        Raises:
            CorruptSessionError: what stands at the key is no session of this package, or damaged.
            FormatVersionError: a newer version of this package wrote it.
        """
        if self.script is None:
            return self.read(reply)
        words = (reply if isinstance(reply, bytes) else reply[0]).split(b" ")
        if words[0] in _REFUSED:
            _refuse(self.session, words)
        try:
            return self.read(words, reply)
        except (ValueError, TypeError, LookupError, InvalidSessionIdError):
            if not self.session:
                raise no_listing(self.listing, "what it holds is damaged") from None
            corrupt(self.session, "what its key holds is damaged")


class Owned(NamedTuple):
    """Whose a session is, and what its owner's listing was told of it.

    Attributes:
        owner: whose it is.
        listed_ms: when the listing was last told that it was written.
        ends_ms: when it ends, as the listing was told; None for never, 0 if that is not known.
    """

    owner: str
    listed_ms: int
    ends_ms: int | None = 0


class Plans:
    """Makes plans for the sessions of one store.

    Args:
        keys: how its sessions are named.
        ttl: how long they live.
        one_place: whether all keys are in one place, so that a script may have several.

    Attributes:
        owners: what is known of owned sessions, by their incarnation.
        left_alone: owners whose listings could not be told, and until when they are left alone.
    """

    def __init__(self, keys: KeySpace, ttl: TTLPolicy, *, one_place: bool = True) -> None:
        self.keys = keys
        self.one_place = one_place
        self.owners: LRU[str, Owned] = LRU(MAX_OWNED)
        self.left_alone: dict[str, int] = {}
        self.ttl = ttl
        age = _word(ttl.max_age_ms)
        policy = f"{_word(ttl.idle_ms)} {age} {ttl.refresh}"
        # By the type of a session's id: see `TTLPolicy.of`.
        staging: dict[type[str], str] = {StagingId: f"!{STAGING_MS} {age} write"}
        self._policies = defaultdict(lambda: policy, staging)

    def key(self, session: str) -> bytes:
        """The session's key."""
        return self.keys.session_key(session).encode()

    def _scripted(
        self,
        name: str,
        session: str,
        args: Sequence[bytes],
        read: Callable[[list[bytes], Any], T],
        *others: str,
    ) -> Plan[T]:
        found, nonce = script(name), b"%x" % next(_nonces)
        key = self.keys.session_key(session).encode()
        if not others:
            return Plan(session, read, ((*found.with_key, key, *args, nonce),), nonce, found)
        keys = [key, *map(self.key, others)]
        command = ("EVALSHA", found.sha, b"%d" % len(keys), *keys, *args, nonce)
        return Plan(session, read, (command,), nonce, found)


_nonces: Final = count(randbits(40))


def _nonce() -> bytes:
    return b"%x" % next(_nonces)


def plain(
    session: str,
    read: Callable[[list[Any]], T],
    *commands: tuple[Any, ...],
    any_type: bool = False,
) -> Plan[T]:
    """A plan of plain commands, with a PING behind them that gives back the nonce."""
    nonce = _nonce()
    return Plan(session, read, (*commands, ("PING", nonce)), nonce, any_type=any_type)


def of_key(
    name: str,
    key: bytes,
    args: Sequence[bytes],
    read: Callable[[list[bytes], Any], T],
    at: int | None = None,
) -> Plan[T]:
    """A plan of a script with a key that is no session's."""
    nonce, found = _nonce(), script(name)
    return Plan("", read, ((*found.with_key, key, *args, nonce),), nonce, found, at=at)


# --- bytes ----------------------------------------------------------------------------------------


LIST: Final = re.compile(rb"\*(\d{1,6})\r\n")
TEXT: Final = re.compile(rb"\$(\d{1,9})\r\n")
_EOL: Final = b"\r\n"


def packed(command: Sequence[Any]) -> bytes:
    """A command as the server reads it: its words are bytes or texts."""
    parts = [b"*%d\r\n" % len(command)]
    for word in command:
        raw = word if type(word) is bytes else str(word).encode()
        parts += (b"$%d\r\n" % len(raw), raw, _EOL)
    return b"".join(parts)


def whole(came: bytes) -> bytes | list[bytes] | None:
    """The reply that bytes are, if it is one text or a list of texts; None if it is another."""
    texts: list[bytes] = []
    head = LIST.match(came)
    at, count = (head.end(), int(head[1])) if head else (0, 1)
    while len(texts) < count:
        if (length := TEXT.match(came, at)) is None:
            return None
        begin = length.end()
        end = begin + int(length[1])
        texts.append(came[begin:end])
        at = end + 2
    if at != len(came):
        return None
    return texts if head else texts[0]


# --- arguments ------------------------------------------------------------------------------------


def _word(number: int | None) -> str:
    return "-" if number is None else str(number)


@lru_cache(1_024)
def namespace_word(namespace: str) -> str:
    """A namespace, as scripts take it."""
    return "/" + encode_namespace(namespace) if namespace else "/"


def id_word(checkpoint_id: str) -> str:
    """A checkpoint's id."""
    return encode(checkpoint_id) if checkpoint_id else record_field("", checkpoint_id)


def pairs_word(names: Sequence[tuple[str, str | None]]) -> bytes:
    """Namespaces with an id each, or none."""
    return " ".join(
        [f"{namespace_word(ns)} {NONE if id_ is None else id_word(id_)}" for ns, id_ in names]
    ).encode()


def spans_word(spans: Sequence[Span]) -> str:
    """Parts of the arena: ``<offset>+<length>``, comma-separated."""
    return ",".join(map("%d+%d".__mod__, spans)) or "-"


# --- replies --------------------------------------------------------------------------------------


def life_at(words: list[bytes], at: int) -> Life:
    """A life, whose seven words start at `at`."""
    incarnation, created, updated, now, deadline, pinned, revision = words[at : at + 7]
    return Life(
        incarnation=incarnation.decode(),
        created_ms=int(created),
        updated_ms=int(updated),
        now_ms=int(now),
        deadline_ms=None if deadline == b"-" else int(deadline),
        pinned=pinned == b"1",
        revision=int(revision),
    )


def read_life(words: list[bytes]) -> Life | None:
    """The life behind the status word; None for a miss."""
    return None if words[0] == b"miss" else life_at(words, 1)


def holder_of(word: bytes) -> str:
    """An owner, or who has a turn; empty for nobody."""
    return "" if word == b"-" else decode(word.decode())


_REFUSED: Final = (b"foreign", b"version")
"""What a script says first where it does not know what stands at the key."""


def _refuse(session: str, words: list[bytes]) -> NoReturn:
    """Raise the error for one of these."""
    if words[0] == b"version":
        _newer(session, words[1])
    raise CorruptSessionError(
        f"what stands under the name of session {session!r} is no session of this package; rename "
        "or delete that key, or use another prefix",
        session=session,
    )


def _newer(session: str, version: bytes) -> NoReturn:
    if not version.isdigit():
        corrupt(session, "its field ':meta' is damaged")
    raise FormatVersionError(
        f"session {session!r} has format version {int(version)}, and this wren-sessions reads up "
        f"to {FORMAT}: upgrade it",
        session=session,
        found=int(version),
        supported=FORMAT,
    )


def corrupt(session: str, why: str) -> NoReturn:
    """Raise the error for stored data that is not as it was written."""
    raise damage_error(session, f"session {session!r} cannot be read: {why}")
