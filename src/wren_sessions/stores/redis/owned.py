"""What to send to Redis for the listings of owners, and how to read the answer: pure, no I/O.

A listing is a sorted set, which has for each session when it was written and when it ends; see
``lua/_owners.lua``. It ends with the session that ends last. A commit on a single server tells it
in the same step. What cannot tells it afterwards, and perhaps late: a commit in a cluster, a turn
that is kept, and reading where that renews a session. So it is told an end that is as much later.

In a cluster, a listing may be on a node that is down while its sessions are not. So it is told of a
session before the session becomes its owner's, and an end that is later by the longest time that a
node may be down (`OUTAGE_MS`). Until then it needs to be told nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from redis.crc import key_slot

from wren_sessions.keys import check_session, decode, encode
from wren_sessions.records import Life
from wren_sessions.stores.redis.plans import Plan, Plans, of_key

LATE_MS: Final = 1_000  # how late a listing may be told of a write in a cluster
OUTAGE_MS: Final = 3_600_000  # and where it cannot be told; at most an idle timeout
AGAIN_MS: Final = 60_000  # for how long a listing that could not be told is left alone
USED_LATE_MS: Final = 60_000  # and of a session that is used; at most a tenth of what it lives


class Entry(NamedTuple):
    """A session in its owner's listing.

    Attributes:
        session: its id.
        written_ms: when it was written.
        ends_ms: when it ends, as the listing was told; None for never, 0 if it was not.
    """

    session: str
    written_ms: int
    ends_ms: int | None


class OwnedCommands:
    """Commands for the listings of owners.

    Args:
        plans: those of the sessions of the store.
    """

    def __init__(self, plans: Plans) -> None:
        self._keys = plans.keys
        self._one_place = plans.one_place
        self._by_reading = plans.ttl.refresh == "read"
        limits = (plans.ttl.idle_ms, plans.ttl.max_age_ms)
        self._lives_ms = min((ms for ms in limits if ms is not None), default=None)
        self._late_ms = 0
        if not plans.one_place:
            self._late_ms = max(LATE_MS, min(OUTAGE_MS, self._lives_ms or OUTAGE_MS))

    def owned(
        self, owner: str, before: tuple[int, str] | None, limit: int
    ) -> Plan[tuple[int, list[Entry]]]:
        """The first half of `OwnerStore.list_owned`: how many there are, and some of them."""

        def read(words: list[bytes], reply: Any) -> tuple[int, list[Entry]]:
            names = [decode(name.decode()) for name in reply[1::3]]
            for name in names:
                check_session(name)
            ends = [None if word == b"-" else int(word or 0) for word in reply[3::3]]
            return int(words[1]), list(map(Entry, names, map(int, reply[2::3]), ends))

        at = ("", "") if before is None else (str(before[0]), encode(before[1]))
        args = (b"%d" % limit, *(part.encode() for part in at))
        key = self._keys.owner_key(owner).encode()
        return of_key("owned", key, args, read, self._at(key))

    def list_in(
        self,
        owner: str,
        lives: Mapping[str, Life] | None = None,
        *,
        used: bool = False,
        out: Sequence[str] = (),
        out_ms: int = 0,
    ) -> Plan[None]:
        """Tell a listing when sessions were written and when they end, or that they are gone.

        Args:
            owner: the owner.
            lives: the lives of sessions that are the owner's.
            used: whether they are used, and probably again before the listing is told.
            out: sessions that are not, or not any more.
            out_ms: of these, those that were written later stay.
        """
        words = [f"{encode(session)} {out_ms} out" for session in out]
        for session, life in (lives or {}).items():
            ends_ms = self.end_of(life, used=used)
            words.append(
                f"{encode(session)} {life.updated_ms} {'-' if ends_ms is None else ends_ms}"
            )
        key = self._keys.owner_key(owner).encode()
        args = (" ".join(words).encode(),)
        return of_key("list_in", key, args, lambda *_: None, self._at(key))

    def announce(self, owner: str, session: str, life: Life | None = None) -> Plan[int | None]:
        """Tell a listing that a session is about to be written; when that ends, None for never.

        Args:
            owner: whose it will be.
            session: its id.
            life: the life that it will have; None for a new one.
        """
        lives_ms = self._lives_ms
        if life is not None:
            lives_ms = None if life.deadline_ms is None else life.deadline_ms - life.now_ms
        lives_ms = lives_ms and lives_ms + self._late_ms

        def read(words: list[bytes], _: Any) -> int | None:
            return lives_ms and int(words[1]) + lives_ms

        key = self._keys.owner_key(owner).encode()
        args = (f"{encode(session)} {lives_ms or '-'} soon".encode(),)
        return of_key("list_in", key, args, read, self._at(key))

    def _at(self, key: bytes) -> int | None:
        return None if self._one_place else key_slot(key)

    def end_of(self, life: Life, *, used: bool = False) -> int | None:
        """When a session ends, as its owner's listing is told; None for never."""
        if life.deadline_ms is None:
            return None
        late_ms = self._late_ms
        if used or self._by_reading:
            late_ms = max(late_ms, min(USED_LATE_MS, (life.deadline_ms - life.now_ms) // 10))
        return life.deadline_ms + late_ms

    def is_wrong(self, ends_ms: int | None, life: Life) -> bool:
        """Whether a listing was told an end of a session that is too early, or much too late."""
        last_ms = self.end_of(life, used=True)
        if ends_ms is None or last_ms is None:
            return ends_ms is not last_ms
        return not covers(ends_ms, life) or ends_ms > last_ms + LATE_MS


def covers(ends_ms: int | None, life: Life) -> bool:
    """Whether a listing that was told this end stays for as long as the session."""
    return ends_ms is None or (life.deadline_ms is not None and life.deadline_ms <= ends_ms)
