"""A state machine that drives a store and the model with the same commands, and compares them.

Hypothesis draws the commands. Each rule makes one call (or a few that belong together) on the
store, makes the same on the model, and compares the answers. Incarnations are the store's; sizes
are not compared. Where the clock cannot be set, the model takes the time from the answers.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, multiple, precondition, rule

from model import drawn
from model.backends import Backend
from model.compared import MOST_PAGES, Compared
from model.drawn import NAMESPACES, SESSIONS, Conditions, Cut, Pick, Step
from wren_sessions.errors import ConfigurationError, SessionExistsError
from wren_sessions.records import (
    Life,
    Name,
    Prune,
    SessionInfo,
    Span,
    Start,
    Write,
    Writes,
    merge_spans,
)
from wren_sessions.ttl import TTLPolicy, to_ms

PAGE: Final = 3
EVERYTHING: Final = tuple(map(Start, NAMESPACES))


class StoreMachine(Compared):
    """The commands; see the module.

    Args:
        backend: where the store is.
    """

    surveys = Bundle("surveys")

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.cursor: str | None = None
        self.to_list: set[str] | None = None

    @initialize(ttl=drawn.policies, steps=drawn.steps)
    def begin(self, ttl: TTLPolicy, steps: list[Step]) -> None:
        """Open a store, and begin a session."""
        self.open(ttl)
        self.put_some(SESSIONS[0], steps)

    def teardown(self) -> None:
        """Compare everything that is there at the end, unless something else went wrong."""
        try:
            if sys.exc_info()[0] is not None:
                return
            for name in SESSIONS:
                self.put_what_waits(name)
                self.look_at_everything(name)
            self.list_all(limit=2)
        finally:
            self.backend.close()

    def put_what_waits(self, name: str) -> None:
        """Commit the checkpoints that only have pending writes, so that these can be seen."""
        session = self.session(name)
        for waiting in session.waiting() if session else []:
            self.commit(name, Conditions(), record=self.record(name, waiting, None, 0))

    def look_at_everything(self, name: str) -> None:
        """Compare all that there is of a session."""
        self.info(name)
        self.scan_all(name, EVERYTHING, 100)
        session = self.session(name)
        for namespace, id_ in list(session.checkpoints) if session else []:
            self.load_one(name, namespace, id_)

    # --- commits ----------------------------------------------------------------------------------

    @rule(
        name=drawn.sessions,
        pick=drawn.picks,
        parent=drawn.parents,
        body=drawn.bodies,
        size=drawn.sizes,
        linked=drawn.cuts,
        state=drawn.headers,
        conditions=drawn.conditions,
    )
    def put(
        self,
        *,
        name: str,
        pick: Pick,
        parent: str | None,
        body: bytes,
        size: int,
        linked: list[Cut],
        state: bytes | None,
        conditions: Conditions,
    ) -> None:
        """Commit a record, in the place of another one or not."""
        named, spans = self.name(name, pick), self.spans(name, linked)
        record = self.record(name, named, parent, size, body=body, spans=spans)
        self.commit(name, conditions, record=record, state=state)

    @rule(name=drawn.sessions, steps=drawn.steps)
    def put_some(self, name: str, steps: list[Step]) -> None:
        """Commit one record after the other, as a graph does."""
        for step in steps:
            parent = "head" if step.continues else None
            spans = self.spans(name, step.linked)
            record = self.record(name, step.name, parent, 300, spans=spans)
            self.commit(name, Conditions(), record=record, state=b"{}")

    @rule(
        name=drawn.sessions,
        pick=drawn.picks,
        entries=drawn.entries,
        linked=drawn.cuts,
        conditions=drawn.conditions,
    )
    def add(
        self,
        name: str,
        pick: Pick,
        entries: list[Write],
        linked: list[Cut],
        conditions: Conditions,
    ) -> None:
        """Commit pending writes, of a checkpoint that is there or not."""
        owner, spans = self.name(name, pick), self.spans(name, linked)
        writes = Writes(name=owner, entries=tuple(entries), spans=spans)
        self.commit(name, conditions, writes=writes)

    @rule(
        name=drawn.sessions,
        record=drawn.names,
        pick=drawn.picks,
        entries=drawn.entries,
        state=drawn.headers,
        conditions=drawn.conditions,
    )
    def put_and_add(
        self,
        *,
        name: str,
        record: Name,
        pick: Pick,
        entries: list[Write],
        state: bytes | None,
        conditions: Conditions,
    ) -> None:
        """Commit a record and pending writes of any checkpoint, at once."""
        writes = Writes(name=self.name(name, pick), entries=tuple(entries))
        what = self.record(name, record, "head", 50)
        self.commit(name, conditions, record=what, writes=writes, state=state)

    @rule(name=drawn.sessions, state=drawn.headers, conditions=drawn.conditions)
    def put_header(self, name: str, state: bytes | None, conditions: Conditions) -> None:
        """Commit a header alone, or nothing at all."""
        self.commit(name, conditions, state=state)

    @rule(back=st.integers(0, 20))
    def repeat(self, back: int) -> None:
        """Commit something again that was done, and that the store has to know."""
        self.told()
        known = [commit for commit in self.done if self.model.known(commit) is not None]
        if known:
            self.apply(known[-1 - back % len(known)])

    # --- reading ----------------------------------------------------------------------------------

    @rule(name=drawn.sessions, pick=drawn.picks, latest=st.booleans())
    def load(self, name: str, pick: Pick, *, latest: bool) -> None:
        """Load a checkpoint by its id, or the head of its namespace."""
        namespace, id_ = self.name(name, pick)
        self.load_one(name, namespace, None if latest else id_)

    @rule(name=drawn.sessions, wanted=drawn.starts, limit=st.integers(1, 5))
    def scan(self, name: str, wanted: tuple[Start, ...], limit: int) -> None:
        """Scan namespaces page by page."""
        self.scan_all(name, wanted, limit)

    @rule(name=drawn.sessions, wanted=drawn.cuts, behind=st.sampled_from([0, 0, 1, 5_000]))
    def read(self, name: str, wanted: list[Cut], behind: int) -> None:
        """Read parts of the arena; `behind` is how far the last one goes over its end."""
        session = self.session(name)
        end = len(session.arena) if session else 0
        cuts = [(cut.at % end, cut.length) for cut in wanted if end]
        spans = [*merge_spans(Span(at, 1 + length % (end - at)) for at, length in cuts)]
        if behind:
            spans.append(Span(end, behind))
        self.check_read(session, spans, self.store.read(name, spans))

    @rule(name=drawn.sessions)
    def info(self, name: str) -> None:
        """Ask what is known of a session, and for its heads."""
        answer = self.store.info(name)
        self.told_life(None if answer is None else answer.life)
        session = self.model.sessions.get(name)
        assert (answer is None) == (session is None)
        if answer is not None and session is not None:
            known = (answer.session, answer.life, answer.state)
            assert known == (name, self.model.life(name), session.state)
            assert answer.size_bytes is None or answer.size_bytes > 0
        assert self.store.heads(name) == self.model.heads(name)

    # --- listings ---------------------------------------------------------------------------------

    @rule(limit=st.integers(1, 4))
    def list_all(self, limit: int) -> None:
        """List all sessions, page by page."""
        found: dict[str, SessionInfo] = {}
        cursor = None
        for _ in range(MOST_PAGES):
            page = self.store.list_sessions(cursor, limit)
            assert page.foreign == 0
            found |= {info.session: info for info in page.sessions}
            cursor = page.cursor
            if cursor is None:
                break
        self.told()
        assert found.keys() == self.model.sessions.keys()
        for name, info in found.items():
            self.check_info(name, info)

    @rule(limit=st.integers(1, 2))
    def go_on_listing(self, limit: int) -> None:
        """Take a page of a listing that other commands come between."""
        self.told()
        if self.to_list is None:
            self.to_list = set(self.model.sessions)
        page = self.store.list_sessions(self.cursor, limit)
        found = {info.session for info in page.sessions}
        assert found <= self.model.sessions.keys()
        self.to_list -= found
        self.cursor = page.cursor
        if page.cursor is None:
            assert not self.to_list or not self.backend.steady  # these were there all the time
            self.to_list = None

    def leave(self) -> None:
        """Some session may have gone away: a listing need not name it, though it come again."""
        if self.to_list is not None:
            self.to_list &= self.model.sessions.keys()

    # --- lives ------------------------------------------------------------------------------------

    @rule(name=drawn.sessions, how=drawn.lives)
    def alter(self, name: str, how: str | None) -> None:
        """Touch a session, pin or unpin it, or give it an idle timeout of its own."""
        change: dict[str, Any] = {}
        answer: Life | None
        if how == "touch":
            answer = self.store.touch(name)
        elif how in {"pin", "unpin"}:
            change = {"pinned": how == "pin"}
            answer = self.store.pin(name, **change)
        else:
            change = {"override": "none" if how is None else to_ms(how)}
            answer = self.store.set_ttl(name, how)
        self.told_life(answer)
        assert answer == self.model.alter(name, **change)

    @rule(name=drawn.sessions)
    def delete(self, name: str) -> None:
        """Delete a session."""
        answer = self.store.delete(name)
        self.told()
        assert answer == self.model.delete(name)
        self.leave()

    @rule(
        source=drawn.sessions,
        onto=drawn.sessions,
        replacing=st.booleans(),
        pick=drawn.picks,
        entries=drawn.entries,
    )
    def copy(
        self, source: str, onto: str, pick: Pick, entries: list[Write], *, replacing: bool
    ) -> None:
        """Copy a session, and write to the one that was copied: the copy must not notice."""
        source = self.there(source) if replacing else source
        self.told()
        in_the_way = {source, onto} <= self.model.sessions.keys() and not replacing
        answer = self.try_to_copy(source, onto, replace=replacing)
        if source == onto:
            assert isinstance(answer, ConfigurationError)
        elif in_the_way:
            assert isinstance(answer, SessionExistsError)
        else:
            assert not isinstance(answer, Exception)
            self.told_life(answer)
            fresh = answer.incarnation if answer else ""
            assert answer == self.model.copy(source, onto, fresh, replace=replacing)
            self.add(source, pick, entries, [], Conditions())

    def try_to_copy(self, source: str, onto: str, *, replace: bool) -> Life | Exception | None:
        """What copying gives, or raises."""
        try:
            return self.store.copy(source, onto, replace=replace)
        except (ConfigurationError, SessionExistsError) as error:
            return error

    # --- pruning ----------------------------------------------------------------------------------

    @rule(
        target=surveys,
        name=drawn.sessions,
        chosen=drawn.choices,
        extra=drawn.picks,
        lead=drawn.leads,
    )
    def survey(self, name: str, chosen: list[bool], extra: Pick, lead: Pick | None) -> Any:
        """Look at all records of a session, as pruning does; choose some to drop, and a head."""
        name = self.there(name)
        records = self.scan_all(name, EVERYTHING, PAGE)
        session = self.session(name)
        if session is None:
            return multiple()
        flags = chosen + [False] * len(records)
        dropped = [stored for stored, flag in zip(records, flags, strict=False) if flag]
        names = {stored.name for stored in dropped} | self.absent(name, extra)
        kept = [span for stored in records if stored.name not in names for span in stored.spans]
        for waiting in set(session.waiting()) - names:
            kept += session.named(waiting)
        return Prune(
            session=name,
            incarnation=session.incarnation,
            revision=session.revision,
            drop=tuple(sorted(names)),
            keep=merge_spans(kept),
            free=merge_spans(span for stored in dropped for span in stored.spans),
            heads=() if lead is None else (self.name(name, lead),),
        )

    def absent(self, name: str, pick: Pick) -> set[Name]:
        """A checkpoint to drop that is not there; pending writes may wait for it."""
        session = self.session(name)
        waiting = session.waiting() if session else []
        if isinstance(pick, int):
            return {waiting[pick % len(waiting)]} if waiting else set()
        return set() if session and pick in session.checkpoints else {pick}

    @rule(prune=surveys)
    def prune(self, prune: Prune) -> None:
        """Prune as worked out before; perhaps something changed since."""
        answer = self.store.prune(prune)
        self.told(answer.now_ms)
        assert answer == self.model.prune(prune)
        self.leave()

    @rule(name=drawn.sessions, chosen=drawn.choices, extra=drawn.picks, lead=drawn.leads)
    def survey_and_prune(
        self, name: str, chosen: list[bool], extra: Pick, lead: Pick | None
    ) -> None:
        """Prune at once."""
        found = self.survey(name, chosen, extra, lead)
        if isinstance(found, Prune):
            self.prune(found)

    # --- time -------------------------------------------------------------------------------------

    @precondition(lambda self: self.clock is not None)
    @rule(name=drawn.sessions, step=drawn.waits)
    def wait(self, name: str, step: int | str) -> None:
        """Let time pass: by a duration, or until about a session's deadline."""
        assert self.clock is not None
        session = self.session(name)
        if isinstance(step, str):
            self.wait_until(self.clock() + to_ms(step))
        elif session and session.deadline_ms is not None:
            self.wait_until(session.deadline_ms + step)

    def wait_until(self, now_ms: int) -> None:
        """Set the clock, unless it shows more; not to a deadline whose moment is left open."""
        assert self.clock is not None
        ends = {session.deadline_ms for session in self.model.sessions.values()}
        while not self.backend.exact and now_ms in ends:
            now_ms += 1
        self.clock.now_ms = max(self.clock(), now_ms)
        self.told()
        self.leave()

    @precondition(lambda self: self.clock is None)
    @rule(name=drawn.sessions)
    def expire(self, name: str) -> None:
        """Let a session expire where the clock is the server's."""
        self.backend.expire(name)
        self.model.delete(name)
        self.leave()
