"""A store in the plainest Python: what the protocol says, with no thought of speed.

The state machine compares stores with it. It shares nothing with a store but the values of
`records` and the arithmetic of `ttl`. Its clock is set by `Model.at`; what has expired by then is
forgotten at once. It does not invent incarnations: whoever compares says which one the store gave.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

from wren_sessions.errors import SessionExistsError
from wren_sessions.records import (
    Commit,
    Committed,
    Life,
    Name,
    Outcome,
    Prune,
    Record,
    Span,
    Start,
    Writes,
)
from wren_sessions.ttl import Override, TTLPolicy

TOKENS_KEPT = 16  # of commits without a record; a store has to know at least the last ones


@dataclass
class Checkpoint:
    """A record; `spans` are those it was given, and its own bytes."""

    token: str
    body: bytes
    base: int
    spans: list[Span]


@dataclass
class Pending:
    """The pending writes of a checkpoint.

    Attributes:
        writes: body and spans by key.
        named: the spans of all that were ever added, also of those that did not count.
    """

    writes: dict[str, tuple[bytes, tuple[Span, ...]]] = field(default_factory=dict)
    named: list[Span] = field(default_factory=list)


@dataclass
class Session:
    """One session.

    Attributes:
        maker: the token of the commit that made it; empty for a copy.
        tokens: of the commits without record, the last one last.
        heads: each namespace's, the oldest namespace first.
        lost: for each byte of the arena whether a prune may have freed it.
    """

    incarnation: str
    maker: str
    created_ms: int
    updated_ms: int
    deadline_ms: int | None = None
    override: Override = None
    pinned: bool = False
    revision: int = 0
    state: bytes = b""
    tokens: list[str] = field(default_factory=list)
    checkpoints: dict[Name, Checkpoint] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    pending: dict[Name, Pending] = field(default_factory=dict)
    arena: bytes = b""
    lost: bytes = b""

    def ids(self, namespace: str) -> list[str]:
        """The checkpoints of a namespace, the highest first, as bytes of UTF-8."""
        found = [id_ for space, id_ in self.checkpoints if space == namespace]
        return sorted(found, key=str.encode, reverse=True)

    def holds(self, span: Span) -> bool:
        """Whether the bytes of a span were appended, and no prune may have freed them."""
        return span.end <= len(self.arena) and not any(self.lost[span.offset : span.end])

    def bytes_of(self, span: Span) -> bytes:
        """The bytes of a span."""
        return self.arena[span.offset : span.end]

    def needs(self, name: Name) -> list[Span]:
        """The spans that a checkpoint and its pending writes refer to."""
        found = list(self.checkpoints[name].spans) if name in self.checkpoints else []
        for _, spans in self.pending.get(name, Pending()).writes.values():
            found += spans
        return found

    def named(self, name: Name) -> list[Span]:
        """The spans that a store may say they refer to: also of writes that did not count."""
        return self.needs(name) + self.pending.get(name, Pending()).named

    def waiting(self) -> list[Name]:
        """The checkpoints that only have pending writes yet."""
        return [name for name in self.pending if name not in self.checkpoints]


class Model:
    """All sessions of a store.

    Args:
        ttl: how long they live.
    """

    def __init__(self, ttl: TTLPolicy) -> None:
        self.ttl = ttl
        self.now_ms = 0
        self.sessions: dict[str, Session] = {}
        self._incarnations: set[str] = set()

    def at(self, now_ms: int) -> None:
        """Set the clock, and forget what has expired."""
        self.now_ms = now_ms
        for name, session in list(self.sessions.items()):
            if session.deadline_ms is not None and session.deadline_ms <= now_ms:
                del self.sessions[name]

    def life(self, name: str) -> Life | None:
        """The life of a session that is there."""
        session = self.sessions.get(name)
        if session is None:
            return None
        return Life(
            incarnation=session.incarnation,
            created_ms=session.created_ms,
            updated_ms=session.updated_ms,
            now_ms=self.now_ms,
            deadline_ms=session.deadline_ms,
            pinned=session.pinned,
            revision=session.revision,
        )

    def _deadline(self, session: Session) -> int | None:
        if session.pinned:
            return None
        return self.ttl.deadline_ms(
            used_ms=self.now_ms, created_ms=session.created_ms, override=session.override
        )

    def _past(self, deadline_ms: int | None) -> bool:
        return deadline_ms is not None and deadline_ms <= self.now_ms

    def _new(self, incarnation: str) -> str:
        """Make sure that no session had this incarnation before."""
        assert incarnation
        assert incarnation not in self._incarnations
        self._incarnations.add(incarnation)
        return incarnation

    # --- writing ----------------------------------------------------------------------------------

    def commit(self, commit: Commit, incarnation: str) -> Committed:
        """See `SessionStore.commit`.

        Args:
            commit: what to commit.
            incarnation: what the store says, for a session that is made.
        """
        known = self.known(commit)
        if known is not None:
            return self._committed("done", commit.session, known)
        session = self.sessions.get(commit.session)
        refusal = _refusal(commit, session)
        if refusal:
            return self._committed(refusal, commit.session)
        if session is None:
            session = self._begin(commit)
            if self._past(session.deadline_ms):
                return self._committed("expired", commit.session)
            session.incarnation = self._new(incarnation)
            self.sessions[commit.session] = session
        elif self.ttl.refresh != "never":
            session.deadline_ms = self._deadline(session)
        base = self._write(session, commit)
        return self._committed("done", commit.session, base)

    def _begin(self, commit: Commit) -> Session:
        created_ms = self.now_ms if commit.created_ms is None else commit.created_ms
        session = Session("", commit.token, created_ms, self.now_ms)
        session.deadline_ms = self._deadline(session)
        return session

    def known(self, commit: Commit) -> int | None:
        """The base that a commit was answered; None if a store need not know it any more."""
        session = self.sessions.get(commit.session)
        if session is None:
            return None
        if commit.record:
            there = session.checkpoints.get(commit.record.name)
            if there and there.token == commit.token:
                return there.base
        return 0 if commit.token in {session.maker, *session.tokens} else None

    def _committed(self, outcome: Outcome, name: str, base: int = 0) -> Committed:
        life = self.life(name)
        return Committed(outcome=outcome, now_ms=self.now_ms, life=life, base=base)

    def _write(self, session: Session, commit: Commit) -> int:
        base = len(session.arena) if commit.record else 0
        leads = True
        if commit.record:
            leads = _put(session, commit.record, commit.token)
        else:
            session.tokens = [*session.tokens, commit.token][-TOKENS_KEPT:]
        if commit.writes:
            _add(session, commit.writes)
        if leads and commit.state is not None:
            session.state = commit.state
        session.updated_ms = self.now_ms
        session.revision += 1
        return base

    def prune(self, prune: Prune) -> Committed:
        """See `SessionStore.prune`."""
        session = self.sessions.get(prune.session)
        if session is None or session.incarnation != prune.incarnation:
            return self._committed("gone", prune.session)
        if session.revision != prune.revision:
            return self._committed("conflict", prune.session)
        had_any = bool(session.checkpoints)
        before = {ns: ids[0] for ns, _ in prune.drop if (ids := session.ids(ns))}
        for name in prune.drop:
            session.checkpoints.pop(name, None)
            session.pending.pop(name, None)
        for namespace, top in before.items():
            _drop_waiting(session, namespace, [*session.ids(namespace), top])
        if had_any and not session.checkpoints:
            del self.sessions[prune.session]
            return self._committed("done", prune.session)
        _mend_heads(session, dict(prune.heads))
        _lose(session, prune)
        session.updated_ms = self.now_ms
        session.revision += 1
        return self._committed("done", prune.session)

    def delete(self, name: str) -> bool:
        """See `SessionStore.delete`."""
        return self.sessions.pop(name, None) is not None

    def copy(self, source: str, target: str, incarnation: str, *, replace: bool) -> Life | None:
        """See `SessionStore.copy`; `incarnation` is what the store says of the copy."""
        if source not in self.sessions:
            return None
        if target in self.sessions and not replace:
            raise SessionExistsError("there", session=target)
        session = deepcopy(self.sessions[source])
        session.incarnation = self._new(incarnation)
        session.maker = ""
        session.updated_ms = self.now_ms
        session.deadline_ms = self._deadline(session)
        self.sessions[target] = session
        return self.life(target)

    # --- reading ----------------------------------------------------------------------------------

    def find(self, name: str, namespace: str, checkpoint_id: str | None) -> Name | None:
        """The checkpoint that `SessionStore.load` is to bring."""
        session = self.sessions.get(name)
        if session is None:
            return None
        wanted = session.heads.get(namespace) if checkpoint_id is None else checkpoint_id
        found = None if wanted is None else (namespace, wanted)
        return found if found in session.checkpoints else None

    def use_by_load(self, name: str) -> None:
        """A checkpoint of a session was loaded."""
        if self.ttl.refresh == "read":
            self.alter(name)

    def scan(self, name: str, starts: tuple[Start, ...]) -> list[Name]:
        """The names of all records that pages of `SessionStore.scan` are to bring."""
        session = self.sessions.get(name)
        if session is None:
            return []
        return [
            (start.namespace, id_)
            for start in starts
            for id_ in session.ids(start.namespace)
            if start.before is None or id_.encode() < start.before.encode()
        ]

    def heads(self, name: str) -> tuple[Name, ...]:
        """See `SessionStore.heads`."""
        session = self.sessions.get(name)
        return tuple(session.heads.items()) if session else ()

    # --- lifetimes --------------------------------------------------------------------------------

    def alter(
        self, name: str, *, override: Override = None, pinned: bool | None = None
    ) -> Life | None:
        """Touch a session, give it an idle timeout of its own, pin or unpin it."""
        session = self.sessions.get(name)
        if session is None:
            return None
        before = session.override, session.pinned
        session.override = session.override if override is None else override
        session.pinned = session.pinned if pinned is None else pinned
        if self._past(self._deadline(session)):
            session.override, session.pinned = before
            return None
        session.deadline_ms = self._deadline(session)
        return self.life(name)


def _refusal(commit: Commit, session: Session | None) -> Outcome | None:
    if session is None:
        conditions = commit.incarnation is not None or commit.revision is not None
        return "gone" if conditions or commit.witnesses else None
    if commit.new:
        return "exists"
    if commit.incarnation not in (None, session.incarnation):
        return "gone"
    if commit.revision not in (None, session.revision):
        return "conflict"
    return None if all(name in session.checkpoints for name in commit.witnesses) else "stale"


def _put(session: Session, record: Record, token: str) -> bool:
    """Put a record; whether it is its namespace's head afterwards."""
    namespace, id_ = record.name
    base = len(session.arena)
    spans = [*record.spans, Span(base, len(record.append))]
    session.checkpoints[record.name] = Checkpoint(token, record.body, base, spans)
    session.arena += record.append
    session.lost += bytes(len(record.append))
    head = session.heads.get(namespace)
    if head is None or id_.encode() > head.encode() or record.parent_id == head:
        session.heads[namespace] = id_
    return session.heads[namespace] == id_


def _add(session: Session, writes: Writes) -> None:
    pending = session.pending.setdefault(writes.name, Pending())
    pending.named += writes.spans
    for entry in writes.entries:
        if entry.replace or entry.key not in pending.writes:
            pending.writes[entry.key] = entry.body, writes.spans


def _drop_waiting(session: Session, namespace: str, ids: list[str]) -> None:
    """Drop pending writes of checkpoints that are not there, and would be below all of these."""
    lowest = min(id_.encode() for id_ in ids)
    for name in session.waiting():
        if name[0] == namespace and name[1].encode() < lowest:
            del session.pending[name]


def _mend_heads(session: Session, named: dict[str, str]) -> None:
    for namespace, head in list(session.heads.items()):
        ids = session.ids(namespace)
        if not ids:
            del session.heads[namespace]
        elif named.get(namespace) in ids:
            session.heads[namespace] = named[namespace]
        elif head not in ids:
            session.heads[namespace] = ids[0]


def _lose(session: Session, prune: Prune) -> None:
    """What is not to be kept may be freed, with what lies next to it in the store."""
    if not prune.free:
        return
    lost = bytearray(b"\1" * len(session.arena))
    for span in prune.keep:
        lost[span.offset : span.end] = session.lost[span.offset : span.end]
    session.lost = bytes(lost)
