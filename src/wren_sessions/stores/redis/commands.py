"""What is sent for a session as a whole, its life, notes, turn, copies and end; and the answers.

`Commands` has all plans for the sessions of a store: those of `commit` and `load`, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from secrets import token_hex
from typing import Any, Final, NamedTuple

from wren_sessions.keys import ABOUT, StagingId, check_owner, encode, parse_record_field
from wren_sessions.records import (
    NOTHING_NOTED,
    Committed,
    Life,
    Name,
    Notes,
    Prune,
    Seen,
    SessionInfo,
    TurnState,
    TurnStep,
)
from wren_sessions.stores._checks import check_notes, not_theirs, noted_meanwhile
from wren_sessions.stores._copies import Copy
from wren_sessions.stores.redis.commit import CommitPlans, read_committed
from wren_sessions.stores.redis.load import LoadPlans, segments_of
from wren_sessions.stores.redis.plans import Plan, holder_of, life_at, pairs_word, plain, read_life
from wren_sessions.ttl import Duration, Override, limit_ms

_NO_END: Final = -1  # what PTTL says of a key that stays


class OwnedLife(NamedTuple):
    """A life, and whose the session is.

    Attributes:
        life: the life.
        owner: whose the session is.
        former: whose the session was that had no end, and that was replaced by a copy.
    """

    life: Life
    owner: str | None
    former: str | None = None


class Untold(NamedTuple):
    """A copy that was not made yet, because its owner's listing is to be told first.

    Attributes:
        life: the life that it will have.
        owner: whose it will be; empty for nobody.
    """

    life: Life
    owner: str


class Gone(NamedTuple):
    """What was deleted.

    Attributes:
        there: whether anything was.
        now_ms: the server's clock.
        owner: whose the session was if it had no end, so that its owner's listing has none either.
    """

    there: bool
    now_ms: int
    owner: str | None


class Commands(CommitPlans, LoadPlans):
    """Plans for everything that a store does with a session."""

    def prune(self, prune: Prune) -> Plan[Committed]:
        """See `SessionStore.prune`."""
        segments = sorted({*segments_of(prune.free)} - {*segments_of(prune.keep)})
        args = (
            prune.incarnation.encode(),
            b"%d" % prune.revision,
            prune.state or b"",
            pairs_word(prune.drop),
            pairs_word(prune.heads),
            " ".join(map(str, segments)).encode(),
            token_hex(8).encode() if prune.renew else b"",
        )
        return self._scripted("prune", prune.session, args, read_committed)

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
        return self._scripted("lifetime", session, args, _read_owned_life)

    def _clocks(self, session: str) -> list[bytes]:
        return self._policies[type(session)].encode().split(b" ")[:2]

    def turn(self, step: TurnStep) -> Plan[tuple[TurnState, OwnedLife | None]]:
        """See `TurnStore.turn`."""
        words = f"{step.token} {step.ttl_ms} {step.patience_ms} {encode(step.holder)}"
        args = (self._policies[type(step.session)].encode(), step.what.encode(), words.encode())
        return self._scripted("turn", step.session, args, _read_turn)

    def delete(self, session: str) -> Plan[Gone]:
        """See `SessionStore.delete`. Whatever stands at the key goes."""
        key = self.key(session)
        look = (("HGET", key, ABOUT.encode()), ("PTTL", key), ("TIME",))
        return plain(session, _read_gone, *look, ("UNLINK", key), any_type=True)

    def delete_owned(self, session: str, owner: str) -> Plan[Gone]:
        """See `OwnerStore.delete_owned`."""

        def read(words: list[bytes], _: Any) -> Gone:
            if words[0] == b"conflict":
                raise not_theirs(session)
            if words[0] == b"miss":
                return Gone(there=False, now_ms=0, owner=None)
            return Gone(there=True, now_ms=int(words[1]), owner=holder_of(words[2]) or None)

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

    def copy(self, copy: Copy, told: str | None = None) -> Plan[OwnedLife | Untold | None]:
        """See `SessionStore.copy`.

        Args:
            copy: the copy.
            told: the owner whose listing was told of it; None for nobody.
        """
        staging = type(copy.target) is StagingId
        word = "" if staging else "-" if told is None else check_owner(told)
        args = (*self._copying(copy), word.encode())

        def read(words: list[bytes], _: Any) -> OwnedLife | Untold | None:
            if words[0] == b"owned":
                return Untold(life_at(words, 1), holder_of(words[8]))
            return self._read_copied(copy, words, None)

        return self._scripted("copy", copy.source, args, read, copy.target)

    def copy_out(self, copy: Copy) -> Plan[tuple[Untold, tuple[bytes, bytes]] | None]:
        """The first half of `copy` where another node has the target: life and fields."""

        def read(words: list[bytes], reply: Any) -> tuple[Untold, tuple[bytes, bytes]] | None:
            if words[0] == b"done":
                return Untold(life_at(words, 1), holder_of(words[8])), (reply[1], reply[2])
            self._read_copied(copy, words, None)
            return None

        args = (_expected(copy.expect), *self._clocks(copy.target))
        return self._scripted("copy_out", copy.source, args, read)

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
        return _read_owned_life(words, None)

    @staticmethod
    def slots() -> Plan[Any]:
        """Which node of a cluster has which slots."""
        return plain("", lambda replies: replies[0], ("CLUSTER", "SLOTS"))

    def ping(self) -> Plan[None]:
        """See `SessionStore.ping`."""
        return plain("", lambda _: None)


def _names(fields: Sequence[bytes]) -> tuple[Name, ...]:
    parsed = (parse_record_field(field.decode("utf-8", "replace")) for field in fields)
    return tuple(sorted(name for name in parsed if name is not None))


def _life(life: Life) -> bytes:
    return b"%b %d" % (life.incarnation.encode(), life.revision)


def _expected(life: Life | None) -> bytes:
    return b"" if life is None else _life(life)


def _noted(notes: Notes) -> bytes:
    if notes == NOTHING_NOTED:
        return b""
    return (b"-" if notes.owner is None else check_owner(notes.owner).encode()) + b" " + notes.about


def _read_owned_life(words: list[bytes], _: Any) -> OwnedLife | None:
    """The life behind the status word, and the owners behind it; None for a miss."""
    life = read_life(words)
    return None if life is None else OwnedLife(life, *(holder_of(w) or None for w in words[8:]))


def _read_gone(replies: list[Any]) -> Gone:
    """The answer to a deletion. A damaged name of an owner is nobody's: the session is gone."""
    about, left_ms, (seconds, micros), count = replies
    try:
        owner = read_notes(about).owner if left_ms == _NO_END else None
    except ValueError:
        owner = None
    return Gone(bool(count), int(seconds) * 1_000 + int(micros) // 1_000, owner)


def read_notes(about: bytes | None) -> Notes:
    """Whose a session is, and what is noted about it."""
    if not about:
        return NOTHING_NOTED
    owner, _, rest = about.partition(b" ")
    return Notes(holder_of(owner) or None, rest)


def read_override(word: bytes) -> Override:
    """A session's own idle timeout, as it is stored."""
    if word == b"-":
        return None
    return "none" if word == b"none" else int(word)


def _read_turn(words: list[bytes], _: Any) -> tuple[TurnState, OwnedLife | None]:
    """Who has a turn; and the life of an owner's session that lives longer by it."""
    mine, now, holder, since, ahead, *renewed = words
    state = TurnState(mine == b"mine", int(now), holder_of(holder), int(since), int(ahead))
    return state, OwnedLife(life_at(renewed, 0), holder_of(renewed[7])) if renewed else None
