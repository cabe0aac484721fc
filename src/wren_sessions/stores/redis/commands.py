"""What to send to Redis for each store method, and how to read the answer: pure, no I/O.

A `Plan` is one round trip: a script with its key and arguments, or a few plain commands, and the
function that turns the reply into the method's result. `wren_sessions.stores.redis` has two shells,
blocking and asyncio, that send plans. A plan, the store method and the ``lua/*.lua`` file of a
script share one name; each file opens with its KEYS, ARGV and reply. Arguments and replies are few
joined texts where they can be: the driver works on each of them by itself.

Every answer identifies itself: a plan has a nonce, which a script gives back as the first word of
its reply (see `scripts`), and which a PING behind plain commands gives back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import count
from secrets import randbits, token_hex
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgpack

from wren_sessions._blocking import LRU
from wren_sessions.keys import (
    ABOUT,
    META,
    KeySpace,
    StagingId,
    check_owner,
    encode,
    encode_namespace,
    parse_record_field,
    record_field,
    segment_field,
)
from wren_sessions.records import (
    INLINE_BYTES,
    NOTHING_NOTED,
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
    Seen,
    SessionInfo,
    Span,
    Start,
    TurnState,
    TurnStep,
    Write,
)
from wren_sessions.stores._checks import check_notes, not_theirs, noted_meanwhile
from wren_sessions.stores._copies import Copy
from wren_sessions.stores.redis.replies import (
    REFUSED,
    Gone,
    OwnedLife,
    corrupt,
    crc_of,
    read_arena,
    read_committed,
    read_deleted,
    read_gone,
    read_heads,
    read_life,
    read_loaded,
    read_notes,
    read_override,
    read_owned_life,
    read_scanned,
    read_turn,
    refuse,
    segments_of,
)
from wren_sessions.stores.redis.scripts import Script, script
from wren_sessions.ttl import STAGING_MS, Duration, TTLPolicy, limit_ms

T = TypeVar("T")

MAX_OWNED: Final = 10_000
MAX_NAMES: Final = 3_800  # fields in one HMGET: some servers take at most 3,900 arguments
_NONE: Final = ":"  # in place of an id or a number: an encoded id holds no colon


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
        if words[0] in REFUSED:
            refuse(self.session, words)
        try:
            return self.read(words, reply)
        except (ValueError, TypeError, LookupError):
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


class Commands:
    """Commands for the sessions of one store.

    Args:
        keys: how its sessions are named.
        ttl: how long they live.
        one_place: whether all keys are in one place, so that a script may have several.

    Attributes:
        owners: what is known of owned sessions, by their incarnation.
    """

    def __init__(self, keys: KeySpace, ttl: TTLPolicy, *, one_place: bool = True) -> None:
        self.keys = keys
        self.one_place = one_place
        self.owners: LRU[str, Owned] = LRU(MAX_OWNED)
        self.ttl = ttl
        age = _word(ttl.max_age_ms)
        policy = f"{_word(ttl.idle_ms)} {age} {ttl.refresh}"
        # By the type of a session's id: see `TTLPolicy.of`.
        staging: dict[type[str], str] = {StagingId: f"!{STAGING_MS} {age} write"}
        self._policies = defaultdict(lambda: policy, staging)
        self._max_bytes = b"%d" % INLINE_BYTES

    def key(self, session: str) -> bytes:
        """The session's key."""
        return self.keys.session_key(session).encode()

    def _clocks(self, session: str) -> list[bytes]:
        return self._policies[type(session)].encode().split(b" ")[:2]

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
        command = ("EVALSHA", found.sha, len(keys), *keys, *args, nonce)
        return Plan(session, read, (command,), nonce, found)

    def commit(self, commit: Commit) -> Plan[Committed]:
        """See `SessionStore.commit`."""
        record, writes = commit.record, commit.writes
        revision, created = commit.revision, commit.created_ms
        record_words, writes_words = _NO_RECORD, _NO_WRITES
        if record is not None and commit.witnesses == ((record.name[0], record.parent_id),):
            witnesses = _PARENT  # the usual case, in short
        else:
            witnesses = " ".join([record_field(*name) for name in commit.witnesses])
        if record is not None:
            namespace, checkpoint_id = record.name
            parent = _NONE if record.parent_id is None else _id(record.parent_id)
            spans = _spans(record.spans)
            record_words = f"{_ns(namespace)} {_id(checkpoint_id)} {parent} {spans}"
        if writes is not None:
            namespace, checkpoint_id = writes.name
            writes_words = f"{_ns(namespace)} {_id(checkpoint_id)} {_spans(writes.spans)}"
        owner, listing = _NONE, None
        if commit.owner is not None:
            owner, listing = check_owner(commit.owner), commit.owner
        elif self.owners and commit.incarnation is not None:
            known = self.owners.get(commit.incarnation)
            listing = known and known.owner
        words = (
            f"{commit.token} {owner} {commit.turn or _NONE} {self._policies[type(commit.session)]} "
            f"{'1' if commit.new else '2' if commit.latest else '0'} "
            f"{commit.incarnation or _NONE} {_NONE if revision is None else revision} "
            f"{_NONE if created is None else created} "
            f"{record_words} {writes_words} {witnesses}"
        )
        args = [words.encode(), commit.state or b""]
        if record is not None:
            args += (record.body, record.append)
        if writes is not None:
            args += _bodies(writes.entries)
        plan = self._scripted("commit", commit.session, args, read_committed)
        if listing is None or not self.one_place or type(commit.session) is StagingId:
            return plan
        _, sha, _, key, *rest = plan.commands[0]
        command = ("EVALSHA", sha, b"2", key, self.keys.owner_key(listing).encode(), *rest)
        return plan._replace(commands=(command,))

    def prune(self, prune: Prune) -> Plan[Committed]:
        """See `SessionStore.prune`."""
        segments = sorted({*segments_of(prune.free)} - {*segments_of(prune.keep)})
        args = (
            prune.incarnation.encode(),
            b"%d" % prune.revision,
            prune.state or b"",
            _pairs(prune.drop),
            _pairs(prune.heads),
            " ".join(map(str, segments)).encode(),
            token_hex(8).encode() if prune.renew else b"",
        )
        return self._scripted("prune", prune.session, args, read_committed)

    def load(
        self,
        session: str,
        namespace: str = "",
        checkpoint_id: str | None = None,
        held: Held | None = None,
    ) -> Plan[Loaded | None]:
        """See `SessionStore.load`."""
        wanted = _NONE if checkpoint_id is None else _id(checkpoint_id)
        words = f"{self._policies[type(session)]} {_ns(namespace)} {wanted}".encode()
        there = "" if held is None else f"{held.incarnation} {_spans(held.spans)}"
        read = partial(read_loaded, session, namespace, held)
        return self._scripted("load", session, (words, self._max_bytes, there.encode()), read)

    def scan(self, session: str, starts: Sequence[Start], limit: int) -> Plan[Scanned]:
        """See `SessionStore.scan`."""
        args = (b"%d" % limit, _pairs(starts))
        return self._scripted("scan", session, args, partial(read_scanned, session, starts))

    def read(self, session: str, spans: Sequence[Span]) -> Plan[ArenaParts | None]:
        """See `SessionStore.read`."""
        numbers = segments_of(spans)
        names = [segment_field(n).encode() for n in numbers]
        key = self.key(session)
        starts = range(0, len(names), MAX_NAMES) or (0,)
        commands = tuple(
            ("HMGET", key, META.encode(), *names[at : at + MAX_NAMES]) for at in starts
        )
        return plain(
            session, lambda replies: read_arena(session, spans, numbers, replies), *commands
        )

    def heads(self, session: str) -> Plan[tuple[Name, ...]]:
        """See `SessionStore.heads`."""
        return self._scripted("heads", session, (), read_heads)

    def info(self, session: str) -> Plan[SessionInfo | None]:
        """See `SessionStore.info`."""

        def read(words: list[bytes], reply: Any) -> SessionInfo | None:
            life = read_life(words)
            if life is None:
                return None
            _, state, size, about = reply
            return SessionInfo(
                session=session,
                life=life,
                state=state,
                size_bytes=None if size == b"" else int(size),
                idle=read_override(words[8]),
                notes=read_notes(about),
            )

        return self._scripted("info", session, (), read)

    def annotate(self, session: str, notes: Notes, expect: Notes) -> Plan[Life | None]:
        """See `OwnerStore.annotate`."""

        def read(words: list[bytes], _: Any) -> Life | None:
            if words[0] == b"conflict":
                raise noted_meanwhile(session)
            return read_life(words)

        check_notes(session, notes)
        return self._scripted("annotate", session, (_noted(expect), _noted(notes)), read)

    def touch(self, session: str) -> Plan[OwnedLife | None]:
        """See `SessionStore.touch`."""
        return self._lifetime(session, b"touch")

    def set_ttl(self, session: str, idle: Duration | None) -> Plan[OwnedLife | None]:
        """See `SessionStore.set_ttl`."""
        own = str(limit_ms(idle, "idle") or "none").encode()
        return self._lifetime(session, b"ttl", own)

    def pin(self, session: str, *, pinned: bool = True) -> Plan[OwnedLife | None]:
        """See `SessionStore.pin`."""
        return self._lifetime(session, b"pin" if pinned else b"unpin")

    def _lifetime(self, session: str, what: bytes, own: bytes = b"") -> Plan[OwnedLife | None]:
        args = (*self._clocks(session), what, own)
        return self._scripted("lifetime", session, args, read_owned_life)

    def turn(self, step: TurnStep) -> Plan[tuple[TurnState, OwnedLife | None]]:
        """See `TurnStore.turn`."""
        words = f"{step.token} {step.ttl_ms} {step.patience_ms} {encode(step.holder)}"
        args = (self._policies[type(step.session)].encode(), step.what.encode(), words.encode())
        return self._scripted("turn", step.session, args, read_turn)

    def delete(self, session: str) -> Plan[Gone]:
        """See `SessionStore.delete`. Whatever stands at the key goes."""
        key = self.key(session)
        look = (("HGET", key, ABOUT.encode()), ("PTTL", key), ("TIME",))
        return plain(session, read_gone, *look, ("UNLINK", key), any_type=True)

    def delete_owned(self, session: str, owner: str) -> Plan[Gone]:
        """See `OwnerStore.delete_owned`."""

        def read(words: list[bytes], _: Any) -> Gone:
            if words[0] == b"conflict":
                raise not_theirs(session)
            return read_deleted(words)

        return self._scripted("delete_owned", session, (check_owner(owner).encode(),), read)

    def dump(self, session: str) -> Plan[bytes | None]:
        """A session's key, as Redis's RESTORE takes it."""
        return plain(session, lambda replies: replies[0], ("DUMP", self.key(session)))

    def names(self, session: str) -> Plan[tuple[Name, ...]]:
        """The names of all records that have a field."""
        return plain(session, lambda replies: _names(replies[0]), ("HKEYS", self.key(session)))

    def counted(self, session: str) -> Plan[bool]:
        """Whether the session counts its fields."""
        command = ("HGET", self.key(session), ":meta")
        return plain(session, lambda replies: (replies[0] or b"").startswith(b"2 "), command)

    def copy(self, copy: Copy) -> Plan[OwnedLife | None]:
        """See `SessionStore.copy`."""
        read = partial(self._read_copied, copy)
        return self._scripted("copy", copy.source, self._copying(copy), read, copy.target)

    def copy_out(self, copy: Copy) -> Plan[tuple[bytes, bytes] | None]:
        """The first half of `copy` where another node has the target: life and fields."""

        def read(words: list[bytes], reply: Any) -> tuple[bytes, bytes] | None:
            if words[0] == b"done":
                return reply[1], reply[2]
            self._read_copied(copy, words, None)
            return None

        return self._scripted("copy_out", copy.source, (_expected(copy.expect),), read)

    def copy_in(self, copy: Copy, dumped: tuple[bytes, bytes]) -> Plan[OwnedLife | None]:
        """The second half. The first one has checked what is expected of the source."""
        args = (*self._copying(replace(copy, expect=None)), *dumped)
        return self._scripted("copy_in", copy.target, args, partial(self._read_copied, copy))

    def _copying(self, copy: Copy) -> tuple[bytes, ...]:
        there = _life(copy.replace) if isinstance(copy.replace, Life) else b""
        if isinstance(copy.replace, Seen):
            pinned, own = copy.replace.pinned, str(copy.replace.idle or "-").encode()
            there += b" %d %b %b" % (pinned, own, _noted(copy.replace.notes))
        how = (token_hex(8).encode(), b"1" if copy.replace else b"", copy.state or b"")
        return (*self._clocks(copy.target), *how, _expected(copy.expect), there)

    def _read_copied(self, copy: Copy, words: list[bytes], _: Any) -> OwnedLife | None:
        if words[0] == b"exists":
            raise copy.exists()
        if words[0] == b"conflict":
            raise copy.conflict()
        if words[0] == b"expired":
            raise copy.too_old(self.ttl)
        return read_owned_life(words, None)

    @staticmethod
    def slots() -> Plan[Any]:
        """Which node of a cluster has which slots."""
        return plain("", lambda replies: replies[0], ("CLUSTER", "SLOTS"))

    def ping(self) -> Plan[None]:
        """See `SessionStore.ping`."""
        return plain("", lambda _: None)


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


def _names(fields: Sequence[bytes]) -> tuple[Name, ...]:
    parsed = (parse_record_field(field.decode("utf-8", "replace")) for field in fields)
    return tuple(sorted(name for name in parsed if name is not None))


# --- arguments ------------------------------------------------------------------------------------


def _life(life: Life) -> bytes:
    return b"%b %d" % (life.incarnation.encode(), life.revision)


def _expected(life: Life | None) -> bytes:
    return b"" if life is None else _life(life)


def _noted(notes: Notes) -> bytes:
    if notes == NOTHING_NOTED:
        return b""
    return (b"-" if notes.owner is None else check_owner(notes.owner).encode()) + b" " + notes.about


def _word(number: int | None, none: str = "-") -> str:
    return none if number is None else str(number)


@lru_cache(1_024)
def _ns(namespace: str) -> str:
    return "/" + encode_namespace(namespace) if namespace else "/"


def _id(checkpoint_id: str) -> str:
    return encode(checkpoint_id) if checkpoint_id else record_field("", checkpoint_id)


def _pairs(names: Sequence[tuple[str, str | None]]) -> bytes:
    """Namespaces with an id each, or none."""
    return " ".join(
        [f"{_ns(ns)} {_NONE if id_ is None else _id(id_)}" for ns, id_ in names]
    ).encode()


def _spans(spans: Sequence[Span]) -> str:
    return ",".join(map("%d+%d".__mod__, spans)) or "-"


_PARENT: Final = "^"
_NO_RECORD: Final = "- - - -"
_NO_WRITES: Final = "- - -"


def _bodies(writes: Sequence[Write]) -> list[bytes]:
    """What one commit adds to a log, then keys and bodies of the writes that are replaced.

    It adds the CRC-32 of its keys, then each key with its body.
    """
    keys: list[str] = []
    flat: list[str | bytes] = []
    last: dict[str, bytes] = {}
    for write in writes:
        if write.replace:
            last[write.key] = write.body
        else:
            keys.append(write.key)
            flat += (write.key, write.body)
    args: list[bytes] = [msgpack.packb([crc_of(keys), *flat]) if keys else b""]
    if last:
        words = " ".join([f"{key} {len(body)}" for key, body in last.items()])
        args += [words.encode(), b"".join(last.values())]
    return args
