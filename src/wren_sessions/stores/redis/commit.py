"""A commit: what a checkpoint or its pending writes send, and what the server says of them.

See ``lua/commit.lua``. A commit is one line of words, then what is stored as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from zlib import crc32

import msgpack

from wren_sessions.keys import StagingId, check_owner, record_field
from wren_sessions.records import Commit, Committed, Outcome, TurnState, Write
from wren_sessions.stores.redis.plans import (
    NONE,
    Plan,
    Plans,
    holder_of,
    id_word,
    life_at,
    namespace_word,
    spans_word,
)

_PARENT: Final = "^"
_NO_RECORD: Final = "- - - -"
_NO_WRITES: Final = "- - -"
_OUTCOMES: Final[dict[bytes, Outcome]] = {
    b"gone": "gone",
    b"conflict": "conflict",
    b"stale": "stale",
    b"exists": "exists",
    b"expired": "expired",
    b"held": "held",
}


class CommitPlans(Plans):
    """Plans of commits."""

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
            parent = NONE if record.parent_id is None else id_word(record.parent_id)
            spans = spans_word(record.spans)
            record_words = f"{namespace_word(namespace)} {id_word(checkpoint_id)} {parent} {spans}"
        if writes is not None:
            namespace, checkpoint_id = writes.name
            writes_words = (
                f"{namespace_word(namespace)} {id_word(checkpoint_id)} {spans_word(writes.spans)}"
            )
        owner, listing = NONE, None
        if commit.owner is not None:
            owner, listing = check_owner(commit.owner), commit.owner
        elif self.owners and commit.incarnation is not None:
            known = self.owners.get(commit.incarnation)
            listing = known and known.owner
        words = (
            f"{commit.token} {owner} {commit.turn or NONE} {self._policies[type(commit.session)]} "
            f"{'1' if commit.new else '2' if commit.latest else '0'} "
            f"{commit.incarnation or NONE} {NONE if revision is None else revision} "
            f"{NONE if created is None else created} "
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


def crc_of(keys: Sequence[str]) -> int:
    """What shows that the keys of pending writes are as they were; bodies have their own."""
    return crc32("\n".join(keys).encode())


def read_committed(words: list[bytes], _: Any) -> Committed:
    """The answer to a commit or a prune."""
    if words[0] == b"done":
        life = life_at(words, 1)
        if len(words) == 9:  # noqa: PLR2004 -- nobody's
            return Committed(outcome="done", now_ms=life.now_ms, life=life, base=int(words[8]))
        base, owner = int(words[8]), holder_of(words[9]) or None
        return Committed(outcome="done", now_ms=life.now_ms, life=life, base=base, owner=owner)
    now_ms, life_now = int(words[1]), None
    if words[0] == b"deleted":
        return Committed(outcome="done", now_ms=now_ms, owner=holder_of(words[2]) or None)
    if len(words) > 2:  # noqa: PLR2004 -- status and time
        life_now = life_at(words, 2)
    turn = None
    if words[0] == b"held":
        turn = TurnState(
            mine=False, now_ms=now_ms, holder=holder_of(words[9]), since_ms=int(words[10])
        )
    return Committed(outcome=_OUTCOMES[words[0]], now_ms=now_ms, life=life_now, turn=turn)
