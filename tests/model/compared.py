"""A store next to the model: what the rules of the state machine have in common."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from hypothesis.stateful import RuleBasedStateMachine

from model.backends import Backend
from model.drawn import IDS, MINUTE, Conditions, Cut, Pick
from model.model import Model, Session
from wren_sessions.protocols import SessionStore
from wren_sessions.records import (
    ArenaParts,
    Commit,
    Life,
    Loaded,
    Name,
    Record,
    Scanned,
    SessionInfo,
    Span,
    Start,
    Stored,
    merge_spans,
)
from wren_sessions.ttl import TTLPolicy

MOST_PAGES: Final = 1_000


class Compared(RuleBasedStateMachine):
    """A store and the model, which get the same calls.

    Args:
        backend: where the store is.
    """

    store: SessionStore
    model: Model

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend = backend
        self.clock = backend.clock
        self.count = 0
        self.done: list[Commit] = []

    def open(self, ttl: TTLPolicy) -> None:
        """Open the store."""
        self.store = self.backend.open(ttl)
        self.model = Model(ttl)

    # --- time -------------------------------------------------------------------------------------

    def told(self, now_ms: int | None = None) -> None:
        """An answer came, with the store's clock or without: the model's clock shows the same."""
        if self.clock is not None:
            assert now_ms in {None, self.clock()}
            self.model.at(self.clock())
        elif now_ms is not None:
            assert now_ms >= self.model.now_ms
            self.model.at(now_ms)

    def told_life(self, life: Life | None) -> None:
        """An answer came that says of the time what a life says, if there is one."""
        self.told(None if life is None else life.now_ms)

    def created_ms(self, age_minutes: int | None) -> int | None:
        """The creation time of a session of that age."""
        now_ms = self.model.now_ms if self.clock is None else self.clock()
        return None if age_minutes is None else now_ms - age_minutes * MINUTE

    # --- what was drawn, as things stand ----------------------------------------------------------

    def session(self, name: str) -> Session | None:
        """What the model has under a name, as time stands now."""
        self.told()
        return self.model.sessions.get(name)

    def there(self, name: str) -> str:
        """A session that is there: this one, if it is."""
        self.told()
        return name if name in self.model.sessions else next(iter(self.model.sessions), name)

    def name(self, session: str, pick: Pick) -> Name:
        """The checkpoint that was drawn."""
        if isinstance(pick, tuple):
            return pick
        found = self.session(session)
        there = list(found.checkpoints) if found else []
        return there[pick % len(there)] if there else ("", IDS[pick % len(IDS)])

    def spans(self, name: str, cuts: list[Cut]) -> tuple[Span, ...]:
        """The drawn parts of a session's arena, those that it holds."""
        session = self.session(name)
        if session is None or not session.arena:
            return ()
        end = len(session.arena)
        found = [Span(cut.at % end, min(cut.length, end - cut.at % end)) for cut in cuts]
        return tuple(span for span in found if session.holds(span))

    def record(
        self, session: str, name: Name, parent: str | None, size: int, **more: Any
    ) -> Record:
        """A record with bytes of its own; the parent ``"head"`` is the head of its namespace."""
        found = self.session(session)
        head = found.heads.get(name[0]) if found else None
        append = random.Random(self.count).randbytes(size)
        parent_id = head if parent == "head" else parent
        return Record(name=name, parent_id=parent_id, append=append, **{"body": b"", **more})

    # --- commits ----------------------------------------------------------------------------------

    def commit(self, name: str, drawn: Conditions, **parts: Any) -> None:
        """Commit under drawn conditions, and compare."""
        session = self.session(name)
        incarnation = session.incarnation if session and drawn.incarnation == "right" else "wrong"
        revision = (session.revision if session else 1) - (drawn.revision == "wrong")
        self.count += 1
        self.apply(
            Commit(
                session=name,
                token=f"token{self.count}",
                incarnation=None if drawn.incarnation is None else incarnation,
                revision=None if drawn.revision is None else revision,
                witnesses=tuple(self.name(name, pick) for pick in drawn.witnesses),
                new=drawn.new,
                created_ms=self.created_ms(drawn.age_minutes),
                **parts,
            )
        )

    def apply(self, commit: Commit) -> None:
        """Commit, and compare."""
        answer = self.store.commit(commit)
        self.told(answer.now_ms)
        assert answer == self.model.commit(commit, answer.life.incarnation if answer.life else "")
        if answer.outcome == "done":
            self.done.append(commit)

    # --- reading ----------------------------------------------------------------------------------

    def load_one(self, name: str, namespace: str, id_: str | None) -> None:
        """Load a checkpoint, and compare."""
        answer = self.store.load(name, namespace, id_)
        self.told_life(None if answer is None else answer.life)
        found = self.model.find(name, namespace, id_)
        assert (answer is None) == (found is None)
        if answer is not None and found is not None:
            self.model.use_by_load(name)
            assert answer.life == self.model.life(name)
            self.check_stored(name, found, answer.stored)
            self.check_loaded(name, answer)

    def check_stored(self, name: str, found: Name, stored: Stored) -> None:
        """Compare a record and its writes."""
        session = self.model.sessions[name]
        wanted = session.checkpoints[found]
        assert (stored.name, stored.body, stored.base) == (found, wanted.body, wanted.base)
        pending = session.pending.get(found)
        writes = {key: body for key, (body, _) in pending.writes.items()} if pending else {}
        assert dict(stored.writes) == writes
        assert len(stored.writes) == len(writes)
        self.check_spans(session, found, stored.spans)

    def check_spans(self, session: Session, found: Name, spans: tuple[Span, ...]) -> None:
        """What a record refers to is named; of pending writes that do not count, it may be."""
        assert merge_spans(spans) == spans
        assert merge_spans((*spans, *session.needs(found))) == spans
        named = merge_spans(session.named(found))
        assert merge_spans((*named, *spans)) == named

    def check_loaded(self, name: str, loaded: Loaded) -> None:
        """What a record refers to came along, or can be read."""
        session = self.model.sessions[name]
        spans = loaded.stored.spans
        parts = self.store.read(name, spans) if loaded.arena is None else loaded.arena
        assert parts is not None
        for span in (*spans, *session.needs(loaded.stored.name)):
            if span.length and session.holds(span):
                assert parts.get(span) == session.bytes_of(span)

    def check_read(
        self, session: Session | None, spans: Sequence[Span], parts: ArenaParts | None
    ) -> None:
        """What is there is read, what never was is a miss, what may have been freed may be one."""
        if session is None or any(span.end > len(session.arena) for span in spans):
            assert parts is None
        elif parts is None:
            assert not all(session.holds(span) for span in spans)
        else:
            for span in spans:
                assert parts.get(span) == session.bytes_of(span)

    def scan_all(self, name: str, wanted: tuple[Start, ...], limit: int) -> list[Stored]:
        """All records of a scan, page by page, and compared."""
        found: list[Stored] = []
        rest = wanted
        for _ in range(MOST_PAGES):
            page = self.store.scan(name, rest, limit)
            self.check_page(name, page, limit)
            self.check_heads(name, rest, page)
            found += page.records
            rest = page.rest
            if not rest:
                break
        assert [stored.name for stored in found] == self.model.scan(name, wanted)
        for stored in found:
            self.check_stored(name, stored.name, stored)
        return found

    def check_page(self, name: str, page: Scanned, limit: int) -> None:
        """A page is no longer than asked for, has the session's life, and says if there is more.

        Where it goes on is the store's choice, but there must be a record.
        """
        self.told_life(page.life)
        assert page.life == self.model.life(name)
        assert len(page.records) <= limit
        assert not page.rest or self.model.scan(name, page.rest)

    def check_heads(self, name: str, starts: Sequence[Start], page: Scanned) -> None:
        """A page names the latest checkpoint of each namespace that it reached."""
        heads = dict(self.model.heads(name))
        reached = starts[: len(starts) - len(page.rest) + 1]
        assert page.heads == {ns: heads[ns] for ns, _ in reached if ns in heads}

    def check_info(self, name: str, info: SessionInfo) -> None:
        """Compare an entry of a listing."""
        self.told_life(info.life)
        wanted = self.model.life(name)
        assert wanted is not None
        deadline_ms = info.life.deadline_ms
        assert (deadline_ms is None) == (wanted.deadline_ms is None)
        assert abs((deadline_ms or 0) - (wanted.deadline_ms or 0)) <= self.backend.slack_ms
        assert replace(info.life, deadline_ms=wanted.deadline_ms) == wanted
        assert (info.session, info.state) == (name, self.model.sessions[name].state)
        assert info.size_bytes is None
