"""One session in memory: what a commit would change, and changing it. No lock, no clock.

A commit is planned first (`Session.plan` only looks) and applied last (`Session.apply` cannot
fail), so that a refusal never leaves half of it behind. Ids are compared as Python compares text,
by code point, which is the order of their UTF-8 bytes.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from wren_sessions.records import (
    ArenaParts,
    Commit,
    Life,
    Name,
    Outcome,
    Record,
    Scanned,
    SessionInfo,
    Span,
    Start,
    Stored,
    StoredWrite,
    Writes,
    merge_spans,
)
from wren_sessions.ttl import Override


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
    """What a commit would change, and by how many bytes the session would grow."""

    record: KeptRecord | None
    leads: bool
    writes: dict[str, KeptWrite]
    state: bytes
    grown_bytes: int


@dataclass(slots=True)
class Namespace:
    """The records of one namespace; `ids` is sorted, `head` is empty until there is a record."""

    records: dict[str, KeptRecord] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    head: str = ""

    def put(self, checkpoint_id: str, record: KeptRecord, *, leads: bool) -> None:
        """Keep a record, in the place of one that has its id."""
        if checkpoint_id not in self.records:
            insort(self.ids, checkpoint_id)
        self.records[checkpoint_id] = record
        if leads:
            self.head = checkpoint_id

    def below(self, before: str | None, limit: int) -> list[str]:
        """At most `limit` ids below `before`, the highest first."""
        end = len(self.ids) if before is None else bisect_left(self.ids, before)
        return self.ids[max(0, end - limit) : end][::-1]

    def copy(self) -> Namespace:
        """An independent copy."""
        return Namespace(self.records.copy(), self.ids.copy(), self.head)


_NOTHING: Final = Namespace()


@dataclass(slots=True, kw_only=True)
class Session:
    """One session and everything in it."""

    incarnation: str
    created_ms: int
    updated_ms: int
    deadline_ms: int | None = None
    override: Override = None
    pinned: bool = False
    revision: int = 0
    state: bytes = b""
    arena: bytearray = field(default_factory=bytearray)
    namespaces: dict[str, Namespace] = field(default_factory=dict)
    writes: dict[Name, dict[str, KeptWrite]] = field(default_factory=dict)
    size_bytes: int = 0

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
            incarnation=self.incarnation,
            created_ms=self.created_ms,
            updated_ms=self.updated_ms,
            now_ms=now_ms,
            deadline_ms=self.deadline_ms,
            pinned=self.pinned,
            revision=self.revision,
        )

    def info(self, name: str, now_ms: int, size_bytes: int | None = None) -> SessionInfo:
        """What is known of it without reading it, for the caller."""
        life = self.life(now_ms)
        return SessionInfo(session=name, life=life, state=self.state, size_bytes=size_bytes)

    def expired(self, now_ms: int) -> bool:
        """Whether its deadline has come."""
        return self.deadline_ms is not None and self.deadline_ms <= now_ms

    def record(self, name: Name) -> KeptRecord | None:
        """The record of that name, if it is there."""
        namespace = self.namespaces.get(name[0])
        return namespace.records.get(name[1]) if namespace else None

    def head(self, namespace: str) -> str | None:
        """The id of a namespace's head, if it has one."""
        found = self.namespaces.get(namespace)
        return found.head if found else None

    def applied(self, commit: Commit) -> int | None:
        """The base that a commit got when it was applied before; None if it was not."""
        there = self.record(commit.record.name) if commit.record else None
        if there and there.token == commit.token:
            return there.base
        if self.incarnation == commit.token:  # this commit made the session
            return there.base if there else 0
        return None

    def refusal(self, commit: Commit) -> Outcome | None:
        """The condition of a commit that does not hold, as its outcome."""
        if commit.new:
            return "exists"
        if commit.incarnation not in (None, self.incarnation):
            return "gone"
        if any(self.record(witness) is None for witness in commit.witnesses):
            return "stale"
        return None

    @staticmethod
    def refusal_without(commit: Commit) -> Outcome | None:
        """The same, where there is no session."""
        return "gone" if commit.incarnation is not None or commit.witnesses else None

    def plan(self, commit: Commit) -> Change:
        """What a commit would change. Changes nothing."""
        record, leads, grown_bytes = None, False, 0
        if commit.record:
            record = self._kept(commit.record, commit.token)
            leads = self._leads(commit.record)
            grown_bytes += self._record_growth(commit.record)
        writes = self._accepted(commit.writes) if commit.writes else {}
        if commit.writes:
            grown_bytes += self._writes_growth(commit.writes.name, writes)
        writes_state = commit.state is not None and (leads or not commit.record)
        state = commit.state if commit.state is not None and writes_state else self.state
        grown_bytes += len(state) - len(self.state)
        return Change(record, leads, writes, state, grown_bytes)

    def apply(self, commit: Commit, change: Change, now_ms: int) -> None:
        """Make the planned change."""
        if commit.record and change.record:
            namespace, checkpoint_id = commit.record.name
            self.arena += commit.record.append
            kept = self.namespaces.setdefault(namespace, Namespace())
            kept.put(checkpoint_id, change.record, leads=change.leads)
        if commit.writes and change.writes:
            self.writes.setdefault(commit.writes.name, {}).update(change.writes)
        self.state = change.state
        self.size_bytes += change.grown_bytes
        self.updated_ms = now_ms
        self.revision += 1

    def _kept(self, record: Record, token: str) -> KeptRecord:
        base = len(self.arena)
        own = Span(base, len(record.append))
        return KeptRecord(record.body, base, merge_spans((*record.spans, own)), token)

    def _leads(self, record: Record) -> bool:
        namespace, checkpoint_id = record.name
        head = self.head(namespace)
        return head is None or checkpoint_id >= head or record.parent_id == head

    def _record_growth(self, record: Record) -> int:
        there = self.record(record.name)
        before = len(there.body) if there else -_name_bytes(record.name)
        return len(record.append) + len(record.body) - before

    def _accepted(self, writes: Writes) -> dict[str, KeptWrite]:
        there = self.writes.get(writes.name, {})
        accepted: dict[str, KeptWrite] = {}
        for entry in writes.entries:
            if entry.replace or not (entry.key in there or entry.key in accepted):
                accepted[entry.key] = KeptWrite(entry.body, tuple(writes.spans))
        return accepted

    def _writes_growth(self, name: Name, accepted: dict[str, KeptWrite]) -> int:
        there = self.writes.get(name, {})
        grown_bytes = 0 if there or not accepted else _name_bytes(name)
        for key, write in accepted.items():
            before = len(there[key].body) if key in there else -len(key.encode())
            grown_bytes += len(write.body) - before
        return grown_bytes

    def stored(self, name: Name) -> Stored | None:
        """A record with its pending writes, for the caller."""
        record = self.record(name)
        if record is None:
            return None
        writes = self.writes.get(name, {})
        linked = (span for write in writes.values() for span in write.spans)
        return Stored(
            name=name,
            body=record.body,
            base=record.base,
            spans=merge_spans((*record.spans, *linked)),
            writes=tuple(StoredWrite(key, write.body) for key, write in writes.items()),
        )

    def find(self, namespace: str, checkpoint_id: str | None) -> Stored | None:
        """A record by its id, or the namespace's head (None), for the caller."""
        found = self.head(namespace) if checkpoint_id is None else checkpoint_id
        return None if found is None else self.stored((namespace, found))

    def scan(self, starts: Sequence[Start], limit: int) -> Scanned:
        """At most `limit` records, namespace after namespace, the highest ids first."""
        names: list[Name] = []
        for at, (namespace, before) in enumerate(starts):
            kept = self.namespaces.get(namespace, _NOTHING)
            ids = kept.below(before, limit - len(names) + 1)
            if len(names) + len(ids) > limit:
                ids.pop()
                names += ((namespace, found) for found in ids)
                rest = (Start(namespace, ids[-1] if ids else before), *starts[at + 1 :])
                return Scanned(records=self._all(names), rest=rest)
            names += ((namespace, found) for found in ids)
        return Scanned(records=self._all(names))

    def _all(self, names: list[Name]) -> tuple[Stored, ...]:
        return tuple(stored for stored in map(self.stored, names) if stored)

    def read(self, spans: Sequence[Span]) -> ArenaParts | None:
        """The bytes of spans, or None if the arena does not reach that far."""
        if any(span.offset < 0 or span.end > len(self.arena) for span in spans):
            return None
        with memoryview(self.arena) as arena:
            return ArenaParts((span.offset, bytes(arena[span.offset : span.end])) for span in spans)

    def copy(self, now_ms: int) -> Session:
        """An independent copy, written now, with an incarnation of its own."""
        return replace(
            self,
            incarnation=secrets.token_hex(8),
            updated_ms=now_ms,
            arena=self.arena.copy(),
            namespaces={name: kept.copy() for name, kept in self.namespaces.items()},
            writes={name: kept.copy() for name, kept in self.writes.items()},
        )


def _name_bytes(name: Name) -> int:
    return len(name[0].encode()) + len(name[1].encode())
