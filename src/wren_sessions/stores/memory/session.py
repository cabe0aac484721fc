"""One session in memory: planning a commit, and applying it. No lock, no clock.

A commit is planned first (`Session.plan` only looks) and applied last (`Session.apply` cannot
fail). So a refused commit leaves nothing behind. If applying is interrupted, it is repeated
(`Session.apply_again`): what it writes does not depend on how far it had come. Ids are compared as
Python compares text, by code point, which is the order of their UTF-8 bytes.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from wren_sessions.records import (
    NOTHING_NOTED,
    ArenaParts,
    Commit,
    Life,
    Name,
    Notes,
    Outcome,
    Prune,
    Scanned,
    SessionInfo,
    Span,
    Start,
    Stored,
    StoredWrite,
    merge_spans,
)
from wren_sessions.stores.memory.arena import Arena
from wren_sessions.ttl import Override, TTLPolicy, past


class KeptRecord(NamedTuple):
    """A record as it is kept; its own bytes are among the spans."""

    body: bytes
    base: int
    spans: tuple[Span, ...]
    token: str


class KeptWrite(NamedTuple):
    """A pending write as it is kept, with the spans of the commit that brought it."""

    body: bytes
    spans: tuple[Span, ...]


class Change(NamedTuple):
    """What a commit changes: how the session is afterwards, and by how many bytes it grows."""

    commit: Commit
    record: KeptRecord | None
    leads: bool
    writes: dict[str, KeptWrite]
    state: bytes
    grown_bytes: int
    size_bytes: int
    revision: int
    updated_ms: int
    deadline_ms: int | None


@dataclass(slots=True)
class Namespace:
    """The records of one namespace; `ids` is sorted, `head` is empty until there is a record."""

    records: dict[str, KeptRecord] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    head: str = ""

    def put(self, checkpoint_id: str, record: KeptRecord, *, leads: bool) -> None:
        """Keep a record, in the place of one that has its id."""
        at = bisect_left(self.ids, checkpoint_id)
        if at == len(self.ids) or self.ids[at] != checkpoint_id:
            self.ids.insert(at, checkpoint_id)
        self.records[checkpoint_id] = record
        if leads:
            self.head = checkpoint_id

    def drop(self, checkpoint_id: str) -> KeptRecord | None:
        """Drop a record; `lead` sees to the head afterwards."""
        record = self.records.pop(checkpoint_id, None)
        if record is not None:
            del self.ids[bisect_left(self.ids, checkpoint_id)]
        return record

    def lead(self, checkpoint_id: str | None) -> None:
        """Make this the head if it is there, else the highest id if the head is not there."""
        if checkpoint_id in self.records:
            self.head = checkpoint_id
        elif self.head not in self.records:
            self.head = self.ids[-1]

    def below(self, before: str | None, limit: int) -> list[str]:
        """At most `limit` ids below `before`, the highest first."""
        end = len(self.ids) if before is None else bisect_left(self.ids, before)
        return self.ids[max(0, end - limit) : end][::-1]

    def copy(self) -> Namespace:
        """An independent copy."""
        return Namespace(self.records.copy(), self.ids.copy(), self.head)


_NOTHING: Final = Namespace()
_RECENT: Final = 16  # more than are on their way at once, for one session


@dataclass(slots=True, kw_only=True)
class Session:
    """One session and everything in it.

    `recent` are tokens of commits that wrote no record; `turn` is a line of `stores._turns`.
    """

    incarnation: str
    created_ms: int
    updated_ms: int
    deadline_ms: int | None = None
    override: Override = None
    pinned: bool = False
    revision: int = 0
    state: bytes = b""
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=_RECENT))
    arena: Arena = field(default_factory=Arena)
    namespaces: dict[str, Namespace] = field(default_factory=dict)
    writes: dict[Name, dict[str, KeptWrite]] = field(default_factory=dict)
    size_bytes: int = 0
    turn: str = ""
    notes: Notes = NOTHING_NOTED

    @classmethod
    def begin(cls, commit: Commit, now_ms: int) -> Session:
        """The session that a commit makes, still empty. Its incarnation is the commit's token."""
        return cls(
            incarnation=commit.token,
            created_ms=now_ms if commit.created_ms is None else commit.created_ms,
            updated_ms=now_ms,
            size_bytes=len(commit.session.encode()),
        )

    def life(self, now_ms: int) -> Life:
        """Its life, for the caller."""
        return Life(
            self.incarnation,
            self.created_ms,
            self.updated_ms,
            now_ms,
            self.deadline_ms,
            self.pinned,
            self.revision,
        )

    def info(self, name: str, now_ms: int, size_bytes: int | None = None) -> SessionInfo:
        """What is known of it without reading it, for the caller."""
        life = self.life(now_ms)
        return SessionInfo(
            session=name,
            life=life,
            state=self.state,
            size_bytes=size_bytes,
            idle=self.override,
            notes=self.notes,
        )

    def expired(self, now_ms: int) -> bool:
        """Whether its deadline has come."""
        return past(self.deadline_ms, now_ms)

    def renew(
        self,
        ttl: TTLPolicy,
        now_ms: int,
        *,
        override: Override = None,
        pinned: bool | None = None,
    ) -> bool:
        """Use it now, and change its settings; False, and nothing changed, if it is too old."""
        override = self.override if override is None else override
        pinned = self.pinned if pinned is None else pinned
        deadline_ms = ttl.deadline_ms(
            used_ms=now_ms, created_ms=self.created_ms, override=override, pinned=pinned
        )
        if past(deadline_ms, now_ms):
            return False
        self.override, self.pinned, self.deadline_ms = override, pinned, deadline_ms
        return True

    def record(self, name: Name) -> KeptRecord | None:
        """The record of that name, if it is there."""
        namespace = self.namespaces.get(name[0])
        return namespace.records.get(name[1]) if namespace else None

    def head(self, namespace: str) -> str | None:
        """The id of a namespace's head, if it has one."""
        found = self.namespaces.get(namespace)
        return found.head if found else None

    def heads(self) -> tuple[Name, ...]:
        """The head of each namespace, the oldest namespace first."""
        return tuple((name, kept.head) for name, kept in self.namespaces.items())

    def applied(self, commit: Commit) -> int | None:
        """The base that a commit got when it was applied before; None if it was not."""
        there = self.record(commit.record.name) if commit.record else None
        if there and there.token == commit.token:
            return there.base
        made_it = self.incarnation == commit.token
        return 0 if made_it or commit.token in self.recent else None

    def refusal(self, commit: Commit) -> Outcome | None:
        """The condition of a commit that does not hold, as its outcome."""
        if commit.new and self.revision:
            return "exists"
        if commit.incarnation not in (None, self.incarnation):
            return "gone"
        if commit.revision not in (None, self.revision):
            return "conflict"
        for witness in commit.witnesses:
            if self.record(witness) is None:
                return "stale"
        record = commit.record
        if commit.latest and record and self.head(record.name[0]) != record.parent_id:
            return "conflict"
        return None

    @staticmethod
    def refusal_without(commit: Commit) -> Outcome | None:
        """The same, where there is no session."""
        builds_on = (commit.incarnation, commit.revision, commit.turn) != (None, None, None)
        return "gone" if builds_on or commit.witnesses else None

    def plan(self, commit: Commit, now_ms: int, deadline_ms: int | None) -> Change:
        """What a commit would change. Changes nothing."""
        kept, leads, grown_bytes = None, False, 0
        accepted: dict[str, KeptWrite] = {}
        record, writes, state = commit.record, commit.writes, commit.state
        if record:
            namespace, checkpoint_id = record.name
            there = self.namespaces.get(namespace, _NOTHING)
            base, size = self.arena.end, len(record.append)
            spans = record.spans
            if size or len(spans) > 1:
                spans = merge_spans((*spans, (base, size)))
            kept = KeptRecord(record.body, base, spans, commit.token)
            head = there.head
            leads = checkpoint_id >= head or record.parent_id == head or there is _NOTHING
            before = there.records.get(checkpoint_id)
            grown_bytes = size + len(record.body)
            grown_bytes -= len(before.body) if before else -_name_bytes(record.name)
        if writes:
            old = self.writes.get(writes.name, {})
            for entry in writes.entries:
                key, body = entry.key, entry.body
                first = key not in old and key not in accepted
                if first or entry.replace:
                    before_it = accepted.get(key) or old.get(key)
                    grown_bytes += len(body)
                    grown_bytes -= len(before_it.body) if before_it else -len(key.encode())
                    accepted[key] = KeptWrite(body, writes.spans)
            grown_bytes += 0 if old or not accepted else _name_bytes(writes.name)
        if state is None or (record and not leads):
            state = self.state
        grown_bytes += len(state) - len(self.state)
        return Change(
            commit,
            kept,
            leads,
            accepted,
            state,
            grown_bytes,
            self.size_bytes + grown_bytes,
            self.revision + 1,
            now_ms,
            deadline_ms,
        )

    def apply(self, change: Change) -> None:
        """Make the planned change."""
        commit = change.commit
        if commit.record and change.record:
            namespace, checkpoint_id = commit.record.name
            self.arena.append(commit.record.append)
            kept = self.namespaces.get(namespace)
            if kept is None:
                kept = self.namespaces[namespace] = Namespace()
            kept.put(checkpoint_id, change.record, leads=change.leads)
        elif commit.token not in self.recent:
            self.recent.append(commit.token)
        if commit.writes and change.writes:
            self.writes.setdefault(commit.writes.name, {}).update(change.writes)
        self.state = change.state
        self.size_bytes = change.size_bytes
        self.updated_ms = change.updated_ms
        self.revision = change.revision
        self.deadline_ms = change.deadline_ms

    def apply_again(self, change: Change) -> None:
        """Make a planned change that was interrupted."""
        if change.record:
            self.arena.cut(change.record.base)
        self.apply(change)

    def stored(self, name: Name) -> Stored | None:
        """A record with its pending writes, for the caller."""
        namespace = self.namespaces.get(name[0])
        record = namespace.records.get(name[1]) if namespace else None
        if namespace is None or record is None:
            return None
        linked: list[Span] = []
        writes: list[StoredWrite] = []
        for key, write in self.writes.get(name, {}).items():
            linked += write.spans
            writes.append(StoredWrite(key, write.body))
        at = bisect_left(namespace.ids, name[1])
        return Stored(
            name=name,
            body=record.body,
            base=record.base,
            spans=merge_spans((*record.spans, *linked)) if linked else record.spans,
            writes=tuple(writes),
            below=namespace.ids[at - 1] if at else None,
        )

    def find(self, namespace: str, checkpoint_id: str | None) -> Stored | None:
        """A record by its id, or the namespace's head (None), for the caller."""
        kept = self.namespaces.get(namespace)
        if kept is None:
            return None
        return self.stored((namespace, kept.head if checkpoint_id is None else checkpoint_id))

    def scan(self, starts: Sequence[Start], limit: int, now_ms: int) -> Scanned:
        """At most `limit` records, namespace after namespace, the highest ids first."""
        names: list[Name] = []
        heads: dict[str, str] = {}
        rest: tuple[Start, ...] = ()
        for at, (namespace, before) in enumerate(starts):
            kept = self.namespaces.get(namespace, _NOTHING)
            if kept.head:
                heads[namespace] = kept.head
            ids = kept.below(before, limit - len(names) + 1)
            more = len(names) + len(ids) > limit
            if more:
                ids.pop()
                rest = (Start(namespace, ids[-1] if ids else before), *starts[at + 1 :])
            names += ((namespace, found) for found in ids)
            if more:
                break
        life = self.life(now_ms)
        records = tuple(stored for stored in map(self.stored, names) if stored)
        return Scanned(records=records, rest=rest, life=life, heads=heads)

    def read(self, spans: Sequence[Span]) -> ArenaParts | None:
        """The bytes of spans, or None if any of them are not there."""
        parts: list[tuple[int, bytes]] = []
        for span in spans:
            data = self.arena.read(span)
            if data is None:
                return None
            parts.append((span.offset, data))
        return ArenaParts(parts)

    def prune(self, prune: Prune, now_ms: int) -> int:
        """Drop records with their writes, and free their room; how many bytes that were."""
        before = self.size_bytes
        lowest = {ns: kept.ids[-1] for ns, _ in prune.drop if (kept := self.namespaces.get(ns))}
        for namespace, checkpoint_id in prune.drop:
            kept = self.namespaces.get(namespace)
            record = kept.drop(checkpoint_id) if kept else None
            if record:
                self.size_bytes -= len(record.body) + _name_bytes((namespace, checkpoint_id))
            self._drop_writes((namespace, checkpoint_id))
            if kept and not kept.ids:
                del self.namespaces[namespace]
        lowest |= {ns: kept.ids[0] for ns in lowest if (kept := self.namespaces.get(ns))}
        never_came = [name for name in self.writes if name[1] < lowest.get(name[0], "")]
        for name in never_came:  # and would lie below all that are left
            self._drop_writes(name)
        named = dict(prune.heads)
        for namespace, kept in self.namespaces.items():
            kept.lead(named.get(namespace))
        self.size_bytes -= self.arena.free(prune.free, prune.keep)
        if prune.state is not None:
            self.size_bytes += len(prune.state) - len(self.state)
            self.state = prune.state
        if prune.renew:
            self.incarnation = secrets.token_hex(8)
        self.updated_ms = now_ms
        self.revision += 1
        return before - self.size_bytes

    def _drop_writes(self, name: Name) -> None:
        writes = self.writes.pop(name, None)
        if writes:
            self.size_bytes -= _name_bytes(name)
            self.size_bytes -= sum(len(k.encode()) + len(w.body) for k, w in writes.items())

    def copy(self, now_ms: int, state: bytes | None) -> Session:
        """An independent copy, written now, with an incarnation, perhaps a header of its own."""
        state = self.state if state is None else state
        found = self.twin()
        found.incarnation = secrets.token_hex(8)
        found.updated_ms = now_ms
        found.size_bytes += len(state) - len(self.state)
        found.state = state
        found.turn = ""
        return found

    def twin(self) -> Session:
        """The same session, to be changed while this one stays as it is."""
        return replace(
            self,
            recent=self.recent.copy(),
            arena=self.arena.copy(),
            namespaces={name: kept.copy() for name, kept in self.namespaces.items()},
            writes={name: kept.copy() for name, kept in self.writes.items()},
        )


def _name_bytes(name: Name) -> int:
    return len(name[0].encode()) + len(name[1].encode())
