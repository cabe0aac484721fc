"""What to send to Redis for each store method, and how to read the answer: pure, no I/O.

A `Plan` is one round trip: a script with its key and arguments, or a few plain commands, and the
function that turns the reply into the method's result. `wren_sessions.stores.redis` has two shells,
blocking and asyncio, that send plans. A plan, the store method and the ``lua/*.lua`` file of a
script share one name; each file opens with its KEYS, ARGV and reply.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha1
from importlib.resources import files
from secrets import token_hex
from typing import Any, Final, Generic, TypeVar

import msgpack

from wren_sessions.errors import (
    ConfigurationError,
    ConflictError,
    SessionExistsError,
    SessionExpiredError,
)
from wren_sessions.keys import (
    META,
    STATE,
    KeySpace,
    encode,
    record_field,
    segment_field,
)
from wren_sessions.records import (
    INLINE_BYTES,
    ArenaParts,
    Commit,
    Committed,
    Life,
    Loaded,
    Name,
    Prune,
    Scanned,
    SessionInfo,
    SessionPage,
    Span,
    Start,
    Write,
)
from wren_sessions.stores._redis_replies import (
    NO_KEY,
    crc_of,
    read_arena,
    read_checked,
    read_committed,
    read_heads,
    read_life,
    read_life_text,
    read_listed,
    read_loaded,
    read_override,
    read_scanned,
    segments_of,
    session_of,
)
from wren_sessions.ttl import Duration, TTLPolicy, to_ms

T = TypeVar("T")

MAX_NAMES: Final = 4_000  # fields in one HMGET


class Script:
    """A Lua file together with what all of them share.

    Args:
        name: of the file, without its ending.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = _lua("_common") + _lua(name)
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def _lua(name: str) -> str:
    return files(__package__).joinpath("lua", f"{name}.lua").read_text("utf-8")


@cache
def script(name: str) -> Script:
    """The script of that name, read once."""
    return Script(name)


@dataclass(frozen=True, slots=True)
class Plan(Generic[T]):
    """One round trip.

    Attributes:
        session: what it is about, for errors; empty where it is about no one session.
        read: turns the reply (of a script), or the list of replies (of commands), into the result.
        script: the script to run, or None.
        keys: the script's keys.
        args: the script's arguments.
        commands: the plain commands to send, where there is no script.
        any_type: whether a key of another type is no error, and None among the replies instead.
    """

    session: str
    read: Callable[[Any], T]
    script: Script | None = None
    keys: tuple[bytes, ...] = ()
    args: tuple[bytes, ...] = ()
    commands: tuple[tuple[Any, ...], ...] = ()
    any_type: bool = False


class Plans:
    """Plans for the sessions of one store.

    Args:
        keys: how its sessions are named.
        ttl: how long they live.
    """

    def __init__(self, keys: KeySpace, ttl: TTLPolicy) -> None:
        self.keys = keys
        self.ttl = ttl
        self._clocks = (_number(ttl.idle_ms), _number(ttl.max_age_ms))
        self._policy = (*self._clocks, ttl.refresh.encode())

    def key(self, session: str) -> bytes:
        """The session's key."""
        return self.keys.session_key(session).encode()

    def _scripted(
        self,
        name: str,
        session: str,
        args: Sequence[bytes],
        read: Callable[[Any], T],
        *others: str,
    ) -> Plan[T]:
        keys = tuple(self.key(known) for known in (session, *others))
        checked = partial(read_checked, session, read)
        return Plan(session, checked, script(name), keys, tuple(args))

    def commit(self, commit: Commit) -> Plan[Committed]:
        """See `SessionStore.commit`."""
        head = (
            commit.token.encode(),
            *self._policy,
            b"1" if commit.new else b"",
            (commit.incarnation or "").encode(),
            b"" if commit.revision is None else b"%d" % commit.revision,
            " ".join(record_field(*name) for name in commit.witnesses).encode(),
            b"" if commit.created_ms is None else b"%d" % commit.created_ms,
            commit.state or b"",
        )
        args = (*head, *_record_args(commit), *_writes_args(commit))
        return self._scripted("commit", commit.session, args, read_committed)

    def prune(self, prune: Prune) -> Plan[Committed]:
        """See `SessionStore.prune`."""
        segments = sorted({*segments_of(prune.free)} - {*segments_of(prune.keep)})
        head = (
            prune.incarnation.encode(),
            b"%d" % prune.revision,
            prune.state or b"",
            b"%d" % len(prune.drop),
        )
        names = [part for namespace, id_ in prune.drop for part in (_ns(namespace), _id(id_))]
        args = (*head, *names, *(b"%d" % number for number in segments))
        return self._scripted("prune", prune.session, args, read_committed)

    def load(
        self, session: str, namespace: str = "", checkpoint_id: str | None = None
    ) -> Plan[Loaded | None]:
        """See `SessionStore.load`."""
        wanted = b"" if checkpoint_id is None else _id(checkpoint_id)
        args = (*self._policy, _ns(namespace), wanted, b"%d" % INLINE_BYTES)
        return self._scripted(
            "load", session, args, lambda reply: read_loaded(session, namespace, reply)
        )

    def scan(self, session: str, starts: Sequence[Start], limit: int) -> Plan[Scanned]:
        """See `SessionStore.scan`."""
        args = [b"%d" % limit]
        for start in starts:
            args += [_ns(start.namespace), b"" if start.before is None else _id(start.before)]
        return self._scripted(
            "scan", session, args, lambda reply: read_scanned(session, starts, reply)
        )

    def read(self, session: str, spans: Sequence[Span]) -> Plan[ArenaParts | None]:
        """See `SessionStore.read`."""
        numbers = segments_of(spans)
        names = [segment_field(n).encode() for n in numbers]
        key = self.key(session)
        starts = range(0, len(names), MAX_NAMES) or (0,)
        commands = tuple(
            ("HMGET", key, META.encode(), *names[at : at + MAX_NAMES]) for at in starts
        )
        return Plan(
            session, lambda replies: read_arena(session, spans, numbers, replies), commands=commands
        )

    def heads(self, session: str) -> Plan[tuple[Name, ...]]:
        """See `SessionStore.heads`."""
        return self._scripted("heads", session, (), read_heads)

    def info(self, session: str) -> Plan[SessionInfo | None]:
        """See `SessionStore.info`."""

        def read(reply: Any) -> SessionInfo | None:
            if reply[0] == b"miss":
                return None
            _, life, state, size, idle = reply
            return SessionInfo(
                session=session,
                life=read_life_text(life),
                state=state,
                size_bytes=None if size == b"" else int(size),
                idle=read_override(idle),
            )

        return self._scripted("info", session, (), read)

    def touch(self, session: str) -> Plan[Life | None]:
        """See `SessionStore.touch`."""
        return self._lifetime(session, b"touch")

    def set_ttl(self, session: str, idle: Duration | None) -> Plan[Life | None]:
        """See `SessionStore.set_ttl`."""
        own = b"none" if idle is None else b"%d" % to_ms(idle)
        return self._lifetime(session, b"ttl", own)

    def pin(self, session: str, *, pinned: bool = True) -> Plan[Life | None]:
        """See `SessionStore.pin`."""
        return self._lifetime(session, b"pin" if pinned else b"unpin")

    def _lifetime(self, session: str, what: bytes, own: bytes = b"") -> Plan[Life | None]:
        args = (*self._clocks, what, own)
        return self._scripted("lifetime", session, args, read_life)

    def delete(self, session: str) -> Plan[bool]:
        """See `SessionStore.delete`."""
        return Plan(
            session, lambda replies: bool(replies[0]), commands=(("UNLINK", self.key(session)),)
        )

    def copy(
        self,
        source: str,
        target: str,
        *,
        replace: bool | Life = False,
        state: bytes | None = None,
        expect: Life | None = None,
    ) -> Plan[Life | None]:
        """See `SessionStore.copy`."""
        if source == target:
            raise ConfigurationError(f"session {source!r} cannot be copied onto itself")

        def read(reply: Any) -> Life | None:
            if reply[0] == b"exists":
                raise SessionExistsError(
                    f"session {target!r} is there already; pass replace=True to replace it",
                    session=target,
                )
            if reply[0] == b"conflict":
                raise ConflictError(
                    f"session {source!r} was not copied to {target!r}: one of them was written "
                    "meanwhile; try again",
                    session=source,
                )
            if reply[0] == b"expired":
                raise SessionExpiredError(
                    f"session {source!r} is past its maximum age and cannot be copied",
                    session=source,
                )
            return read_life(reply)

        there = _life(replace) if isinstance(replace, Life) else b""
        how = (token_hex(8).encode(), b"1" if replace else b"", state or b"")
        args = (*self._clocks, *how, b"" if expect is None else _life(expect), there)
        return self._scripted("copy", source, args, read, target)

    def find_keys(self, cursor: str | None, limit: int) -> Plan[tuple[str | None, list[bytes]]]:
        """The first half of `SessionStore.list_sessions`: one SCAN."""
        if cursor is not None and not re.fullmatch(r"\d{1,20}", cursor):
            raise ConfigurationError(f"{cursor!r} is no cursor of a listing on Redis")

        def read(replies: list[Any]) -> tuple[str | None, list[bytes]]:
            at, names = replies[0]
            ours = [name for name in names if session_of(self.keys, name) is not None]
            return (str(int(at)) if int(at) else None), ours

        scan = ("SCAN", cursor or "0", "MATCH", self.keys.pattern.encode(), "COUNT", str(limit))
        return Plan("", read, commands=(scan,))

    def list_sessions(self, names: list[bytes], cursor: str | None) -> Plan[SessionPage]:
        """The second half: the header and life of each key found."""
        commands: list[tuple[Any, ...]] = [("TIME",)]
        for name in names:
            commands += [("HMGET", name, STATE.encode(), META.encode()), ("PTTL", name)]

        def read(replies: list[Any]) -> SessionPage:
            (seconds, micros), *rest = replies
            now_ms = int(seconds) * 1000 + int(micros) // 1000
            found = [
                read_listed(self.keys, name, fields, left_ms, now_ms)
                for name, fields, left_ms in zip(names, rest[::2], rest[1::2], strict=True)
                if left_ms != NO_KEY  # it went away between the two trips
            ]
            sessions = tuple(info for info in found if info)
            foreign = len(found) - len(sessions)
            return SessionPage(sessions=sessions, cursor=cursor, foreign=foreign)

        return Plan("", read, commands=tuple(commands), any_type=True)

    def ping(self) -> Plan[None]:
        """See `SessionStore.ping`."""
        return Plan("", lambda _: None, commands=(("PING",),))


# --- arguments ------------------------------------------------------------------------------------


def _number(ms: int | None) -> bytes:
    return b"-" if ms is None else b"%d" % ms


def _life(life: Life) -> bytes:
    return b"%b %d" % (life.incarnation.encode(), life.revision)


def _ns(namespace: str) -> bytes:
    return b"/" + encode(namespace).encode()


def _id(checkpoint_id: str) -> bytes:
    return record_field("", checkpoint_id).encode()


def _spans(spans: Sequence[Span]) -> bytes:
    return b",".join(b"%d+%d" % span for span in spans) or b"-"


def _record_args(commit: Commit) -> tuple[bytes, ...]:
    record = commit.record
    if record is None:
        return (b"",) * 7
    namespace, checkpoint_id = record.name
    parent = b"" if record.parent_id is None else _id(record.parent_id)
    spans = _spans(record.spans)
    return (b"1", _ns(namespace), _id(checkpoint_id), parent, spans, record.body, record.append)


def _writes_args(commit: Commit) -> tuple[bytes, ...]:
    writes = commit.writes
    if writes is None:
        return (b"",)
    namespace, checkpoint_id = writes.name
    kept = [write for write in writes.entries if not write.replace]
    last = {write.key: write.body for write in writes.entries if write.replace}
    chunk = _chunk(kept) if kept else b""
    pairs = [part for key, body in last.items() for part in (key.encode(), body)]
    return (b"1", _ns(namespace), _id(checkpoint_id), _spans(writes.spans), chunk, *pairs)


def _chunk(writes: Sequence[Write]) -> bytes:
    """What one commit adds to a log: the CRC-32 of its keys, then each key with its body."""
    keys = [write.key for write in writes]
    flat = [part for write in writes for part in (write.key, write.body)]
    packed: bytes = msgpack.packb([crc_of(keys), *flat])
    return packed
