"""What to send to Redis to list all sessions, and how to read the answer: pure, no I/O.

A page takes two trips: SCAN finds keys, then the header and life of each are read. In a cluster,
each node has a SCAN of its own; see `cluster_walk`. `sequences` puts the trips together.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from wren_sessions.keys import ABOUT, META, STATE, KeySpace
from wren_sessions.records import Life, SessionInfo, SessionPage
from wren_sessions.stores._checks import wrong_cursor
from wren_sessions.stores.redis.commands import read_notes, read_override
from wren_sessions.stores.redis.plans import Plan, plain

_NO_KEY: Final = -2  # what PTTL says of a key that is not there
META_WORDS: Final = {b"1": 9, b"2": 10}  # by format version
MAX_DIGITS: Final = 15  # of any number, as in _common.lua
_LISTED: Final = (STATE.encode(), META.encode(), ABOUT.encode())


class Listed(NamedTuple):
    """A page of a listing.

    Attributes:
        page: the sessions.
        elsewhere: keys that another node of a cluster has, and how this one said so.
    """

    page: SessionPage
    elsewhere: dict[bytes, Exception]


class ListingCommands:
    """Commands that list the sessions of one store.

    Args:
        keys: how they are named.
    """

    def __init__(self, keys: KeySpace) -> None:
        self._keys = keys

    def find_keys(self, cursor: str | None, limit: int) -> Plan[tuple[str | None, list[bytes]]]:
        """The first half of `SessionStore.list_sessions`: one SCAN."""
        if cursor is not None and not re.fullmatch(r"'\d{1,20}'", repr(cursor)):
            raise wrong_cursor(cursor, "all sessions on this server")
        return plain(
            "", lambda replies: self._found(replies[0]), self._scan_keys(cursor or "0", limit)
        )

    def find_keys_of_node(
        self, cursor: str, limit: int, at: int | tuple[str, int]
    ) -> Plan[tuple[str | None, list[bytes], bytes]]:
        """The same on one node of a cluster, which then says what slots it has: CLUSTER NODES."""

        def read(replies: list[Any]) -> tuple[str | None, list[bytes], bytes]:
            return *self._found(replies[0]), replies[1]

        commands = (self._scan_keys(cursor, limit), ("CLUSTER", "NODES"))
        return plain("", read, *commands)._replace(at=at)

    def _scan_keys(self, cursor: str, limit: int) -> tuple[Any, ...]:
        return ("SCAN", cursor, "MATCH", self._keys.pattern.encode(), "COUNT", str(limit))

    def _found(self, reply: Any) -> tuple[str | None, list[bytes]]:
        at, names = reply
        ours = [name for name in names if _session_of(self._keys, name) is not None]
        return (str(int(at)) if int(at) else None), ours

    def list_sessions(self, names: list[bytes], cursor: str | None) -> Plan[Listed]:
        """The second half: the header and life of each key found."""
        commands: list[tuple[Any, ...]] = [("TIME",)]
        for name in names:
            commands += [("HMGET", name, *_LISTED), ("PTTL", name)]

        def read(replies: list[Any]) -> Listed:
            (seconds, micros), *rest = replies
            now_ms = int(seconds) * 1000 + int(micros) // 1000
            each = list(zip(names, rest[::2], rest[1::2], strict=True))
            found = [
                _read_listed(self._keys, name, fields, left_ms, now_ms)
                for name, fields, left_ms in each
                if left_ms != _NO_KEY  # it went away between the two trips
                and not isinstance(left_ms, Exception)
                and not isinstance(fields, Exception)
            ]
            sessions = tuple(info for info in found if info)
            foreign = len(found) - len(sessions)
            page = SessionPage(sessions=sessions, cursor=cursor, foreign=foreign)
            errors = ((name, e) for name, *pair in each for e in pair if isinstance(e, Exception))
            return Listed(page, dict(errors))

        return plain("", read, *commands, any_type=True)


def _session_of(keys: KeySpace, name: bytes) -> str | None:
    """The session that a key is named after, or None if no session of this store could be."""
    try:
        return keys.parse_session_key(name.decode())
    except UnicodeDecodeError:
        return None


def _read_listed(
    keys: KeySpace, name: bytes, fields: Any, left_ms: int, now_ms: int
) -> SessionInfo | None:
    """One entry of a listing; None if it is no session that this version reads."""
    state, meta, about = fields or (None, None, None)
    session = _session_of(keys, name)
    words = [] if meta is None else meta.split()
    if session is None or not words or len(words) != META_WORDS.get(words[0]):
        return None
    if max(len(words[at]) for at in (2, 3, 4, 5)) > MAX_DIGITS:
        return None
    try:
        idle = read_override(words[4])
        life = Life(
            incarnation=words[1].decode(),
            created_ms=int(words[2]),
            updated_ms=int(words[3]),
            now_ms=now_ms,
            deadline_ms=None if left_ms < 0 else now_ms + left_ms,
            pinned=words[7] == b"1",
            revision=int(words[5]),
        )
    except ValueError:
        return None
    return SessionInfo(
        session=session, life=life, state=state or b"", idle=idle, notes=read_notes(about)
    )
