"""A state machine that drives a store and the model with the same commands, and compares them.

Hypothesis draws the commands. Each rule makes one call (or a few that belong together) on the
store, makes the same on the model, and compares the answers. Incarnations are the store's; sizes
are not compared. Where the clock cannot be set, the model takes the time from the answers.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeAlias

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    multiple,
    precondition,
    rule,
)

from model.backends import Backend
from model.model import Model, Session
from wren_sessions.errors import ConfigurationError, SessionExistsError
from wren_sessions.keys import write_key
from wren_sessions.records import (
    ArenaParts,
    Commit,
    Committed,
    Life,
    Loaded,
    Name,
    Prune,
    Record,
    Scanned,
    SessionInfo,
    Span,
    Start,
    Stored,
    Write,
    Writes,
    merge_spans,
)
from wren_sessions.ttl import TTLPolicy, to_ms

MINUTE: Final = 60_000
PAGE: Final = 3
MOST_PAGES: Final = 1_000

SESSIONS: Final = ("a", "b:*", "ü %")
NAMESPACES: Final = ("", "", "", "child", "s/x:1")
IDS: Final = ("0", "1", "10", "2", "3", "B", "a:", "é", "～", "𝄞")
KEYS: Final = tuple(write_key(task, at) for task in ("t", "u:1, /") for at in (0, 1, -1))
LIVES: Final = ("touch", "pin", "pin", "unpin", "unpin", None, "1m", "7m", "1h")
STEPS: Final = (-1, -1, 0, 1, "1ms", "1m", "1m", "1m", "4m", "9m", "25m")
SIZES: Final = (0, 1, 7, 200, 2_031, 2_032, 2_033, 4_064, 9_000, 66_000)


class Cut(NamedTuple):
    """A part of an arena, whatever it holds by then: `at` is taken modulo its length."""

    at: int
    length: int


Pick: TypeAlias = int | Name
"""A name, or the number of a checkpoint among those that are there."""


class Step(NamedTuple):
    """A record that a graph writes: whether it continues the head, and what it links."""

    name: Name
    continues: bool
    linked: list[Cut]


class Conditions(NamedTuple):
    """What a commit builds on: ``"right"`` and ``"wrong"`` are made good when it is made."""

    incarnation: str | None = None
    revision: str | None = None
    witnesses: tuple[Pick, ...] = ()
    new: bool = False
    age_minutes: int | None = None


# --- what is drawn --------------------------------------------------------------------------------

sessions = st.sampled_from([*SESSIONS, SESSIONS[0], SESSIONS[0]])
namespaces = st.sampled_from(NAMESPACES)
ids = st.sampled_from(IDS)
names: st.SearchStrategy[Name] = st.tuples(namespaces, ids)
picks: st.SearchStrategy[Pick] = st.integers(0, 1) | st.integers(0, 30) | names
parents = st.sampled_from(["head", "head", None, *IDS])
cuts = st.lists(st.builds(Cut, st.integers(0, 20_000), st.integers(0, 5_000)), max_size=3)
records = st.lists(st.builds(Step, names, st.booleans(), cuts), min_size=2, max_size=5)
headers = st.none() | st.sampled_from([b"{}", b'{"turn_count": 8}', '{"é": "\\n"}'.encode()])
bodies = st.sampled_from([b"", b"\n", b"1 2 3\n", b"body", bytes(range(256)), b"x" * 3_000])
entries = st.lists(
    st.builds(Write, key=st.sampled_from(KEYS), body=bodies, replace=st.booleans()),
    min_size=1,
    max_size=4,
)
unconditional = st.just(Conditions())
builds_on = st.builds(
    Conditions,
    incarnation=st.sampled_from([None, "right", "right", "wrong"]),
    revision=st.sampled_from([None, "right", "right", "right", "wrong"]),
    witnesses=st.lists(picks, max_size=2).map(tuple),
    new=st.just(False),
    age_minutes=st.sampled_from([None, 6, 40]),
)
begins = st.builds(
    Conditions,
    incarnation=st.none(),
    revision=st.none(),
    witnesses=st.just(()),
    new=st.booleans(),
    age_minutes=st.sampled_from([None, 0, 6, 24, 25, 40]),
)
conditions = unconditional | unconditional | builds_on | begins
starts = st.lists(st.builds(Start, namespaces, st.none() | ids), max_size=4).map(tuple)
policies = st.builds(
    TTLPolicy,
    idle=st.sampled_from([None, "10m", "1h"]),
    max_age=st.sampled_from([None, "25m"]),
    refresh=st.sampled_from(["write", "read", "never"]),
)


class StoreMachine(RuleBasedStateMachine):
    """The commands; see the module.

    Args:
        backend: where the store is.
    """

    surveys = Bundle("surveys")

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend = backend
        self.clock = backend.clock
        self.count = 0
        self.done: list[Commit] = []
        self.cursor: str | None = None
        self.to_list: set[str] | None = None

    @initialize(ttl=policies, steps=records)
    def begin(self, ttl: TTLPolicy, steps: list[Step]) -> None:
        """Open a store, and begin a session."""
        self.model = Model(ttl)
        self.store = self.backend.open(ttl)
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

    # --- helpers ----------------------------------------------------------------------------------

    def told(self, now_ms: int | None) -> None:
        """An answer came, with the store's clock."""
        if self.clock is not None:
            assert now_ms in {None, self.clock()}
            self.model.at(self.clock())
        elif now_ms is not None:
            assert now_ms >= self.model.now_ms
            self.model.at(now_ms)

    def told_life(self, life: Life | None) -> None:
        """An answer came, with a life or without."""
        self.told(life and life.now_ms)

    def session(self, name: str) -> Session | None:
        """What the model has under a name, as time stands now."""
        self.told(None)
        return self.model.sessions.get(name)

    def spans(self, name: str, drawn: list[Cut]) -> tuple[Span, ...]:
        """Drawn parts of a session's arena that it holds."""
        session = self.session(name)
        if session is None or not session.arena:
            return ()
        found = []
        for cut in drawn:
            offset = cut.at % len(session.arena)
            found.append(Span(offset, min(cut.length, len(session.arena) - offset)))
        return tuple(span for span in found if session.holds(span))

    def there(self, name: str) -> str:
        """A session that is there: this one, if it is."""
        self.told(None)
        return name if name in self.model.sessions else next(iter(self.model.sessions), name)

    def name(self, name: str, pick: Pick) -> Name:
        """The name that was drawn."""
        session = self.session(name)
        there = list(session.checkpoints) if session else []
        if isinstance(pick, tuple):
            return pick
        return there[pick % len(there)] if there else ("", IDS[pick % len(IDS)])

    def noise(self, size: int) -> bytes:
        """Bytes that are the same in each run, and others each time."""
        return random.Random(self.count).randbytes(size)

    # --- commits ----------------------------------------------------------------------------------

    def commit(self, name: str, drawn: Conditions, **parts: Any) -> None:
        """Commit under drawn conditions."""
        session = self.session(name)
        incarnation = session.incarnation if session and drawn.incarnation == "right" else "wrong"
        revision = session.revision if session else 1
        self.count += 1
        self.apply(
            Commit(
                session=name,
                token=f"token{self.count}",
                incarnation=drawn.incarnation and incarnation,
                revision=drawn.revision and revision - (drawn.revision == "wrong"),
                witnesses=tuple(self.name(name, pick) for pick in drawn.witnesses),
                new=drawn.new,
                created_ms=self.created_ms(drawn.age_minutes),
                **parts,
            )
        )

    def created_ms(self, age_minutes: int | None) -> int | None:
        """The creation time of a session of that age."""
        now_ms = self.clock() if self.clock is not None else self.model.now_ms
        return None if age_minutes is None else now_ms - age_minutes * MINUTE

    def apply(self, commit: Commit) -> None:
        """Commit, and compare."""
        answer = self.store.commit(commit)
        self.told(answer.now_ms)
        assert answer == self.model.commit(commit, answer.life.incarnation if answer.life else "")
        if answer.outcome == "done":
            self.done.append(commit)

    @rule(
        name=sessions,
        pick=picks,
        parent=parents,
        body=bodies,
        size=st.sampled_from(SIZES),
        linked=cuts,
        state=headers,
        drawn=conditions,
    )
    def put(
        self,
        name: str,
        pick: Pick,
        parent: str | None,
        body: bytes,
        size: int,
        linked: list[Cut],
        state: bytes | None,
        drawn: Conditions,
    ) -> None:
        """Commit a record, in the place of another one or not."""
        what = self.record(name, self.name(name, pick), parent, body, size, linked)
        self.commit(name, drawn, record=what, state=state)

    def record(
        self, name: str, record: Name, parent: str | None, body: bytes, size: int, linked: list[Cut]
    ) -> Record:
        """A record as drawn; the parent ``"head"`` is the head of its namespace."""
        session = self.session(name)
        head = session.heads.get(record[0]) if session else None
        return Record(
            name=record,
            parent_id=head if parent == "head" else parent,
            body=body,
            append=self.noise(size),
            spans=self.spans(name, linked),
        )

    @rule(name=sessions, steps=records)
    def put_some(self, name: str, steps: list[Step]) -> None:
        """Commit one record after the other, as a graph does."""
        for record, continues, linked in steps:
            parent = "head" if continues else None
            what = self.record(name, record, parent, b"step", 300, linked)
            self.commit(name, Conditions(), record=what, state=b"{}")

    @rule(name=sessions, pick=picks, written=entries, linked=cuts, drawn=conditions)
    def add(
        self, name: str, pick: Pick, written: list[Write], linked: list[Cut], drawn: Conditions
    ) -> None:
        """Commit pending writes, of a checkpoint that is there or not."""
        owner = self.name(name, pick)
        writes = Writes(name=owner, entries=tuple(written), spans=self.spans(name, linked))
        self.commit(name, drawn, writes=writes)

    @rule(
        name=sessions, record=names, pick=picks, written=entries, state=headers, drawn=conditions
    )
    def put_and_add(
        self,
        name: str,
        record: Name,
        pick: Pick,
        written: list[Write],
        state: bytes | None,
        drawn: Conditions,
    ) -> None:
        """Commit a record and pending writes of any checkpoint, at once."""
        what = self.record(name, record, "head", b"both", 50, [])
        writes = Writes(name=self.name(name, pick), entries=tuple(written))
        self.commit(name, drawn, record=what, writes=writes, state=state)

    @rule(name=sessions, state=headers, drawn=conditions)
    def put_header(self, name: str, state: bytes | None, drawn: Conditions) -> None:
        """Commit a header alone, or nothing at all."""
        self.commit(name, drawn, state=state)

    @rule(back=st.integers(0, 20))
    def repeat(self, back: int) -> None:
        """Commit something again that was done, and that the store has to know."""
        self.told(None)
        known = [commit for commit in self.done if self.model.known(commit) is not None]
        if known:
            self.apply(known[-1 - back % len(known)])

    # --- reading ----------------------------------------------------------------------------------

    @rule(name=sessions, pick=picks, latest=st.booleans())
    def load(self, name: str, pick: Pick, *, latest: bool) -> None:
        """Load a checkpoint by its id, or the head of its namespace."""
        namespace, id_ = self.name(name, pick)
        self.load_one(name, namespace, None if latest else id_)

    def load_one(self, name: str, namespace: str, id_: str | None) -> None:
        """Load a checkpoint, and compare."""
        answer = self.store.load(name, namespace, id_)
        self.told_life(answer and answer.life)
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
            if session.holds(span) and span.length:
                assert parts.get(span) == session.bytes_of(span)

    @rule(name=sessions, wanted=starts, limit=st.integers(1, 5))
    def scan(self, name: str, wanted: tuple[Start, ...], limit: int) -> None:
        """Scan namespaces page by page."""
        self.scan_all(name, wanted, limit)

    def scan_all(self, name: str, wanted: tuple[Start, ...], limit: int) -> list[Stored]:
        """All records of a scan, compared."""
        found: list[Stored] = []
        rest = wanted
        for _ in range(MOST_PAGES):
            page = self.store.scan(name, rest, limit)
            self.check_page(name, page, limit)
            found += page.records
            rest = page.rest
            if not rest:
                break
        names = self.model.scan(name, wanted)
        assert [stored.name for stored in found] == names
        for stored in found:
            self.check_stored(name, stored.name, stored)
        return found

    def check_page(self, name: str, page: Scanned, limit: int) -> None:
        """A page is no longer than asked for, has the session's life, and goes on if there is more.

        Where it goes on is the store's choice, but there must be a record.
        """
        self.told_life(page.life)
        assert page.life == self.model.life(name)
        assert len(page.records) <= limit
        assert not page.rest or self.model.scan(name, page.rest)

    @rule(name=sessions, wanted=cuts, behind=st.sampled_from([0, 0, 1, 5_000]))
    def read(self, name: str, wanted: list[Cut], behind: int) -> None:
        """Read parts of the arena; `behind` is how far the last one goes over its end."""
        session = self.session(name)
        end = len(session.arena) if session else 0
        spans = [Span(cut.at % end, cut.length % (end - cut.at % end) + 1) for cut in wanted if end]
        spans = list(merge_spans(spans))
        if behind:
            spans.append(Span(end, behind))
        self.check_read(session, spans, self.store.read(name, spans))

    def check_read(
        self, session: Session | None, spans: list[Span], parts: ArenaParts | None
    ) -> None:
        """What is there is read, what never was is a miss, what may have been freed may be one."""
        if session is None or any(span.end > len(session.arena) for span in spans):
            assert parts is None
        elif parts is None:
            assert not all(session.holds(span) for span in spans)
        else:
            for span in spans:
                assert parts.get(span) == session.bytes_of(span)

    @rule(name=sessions)
    def info(self, name: str) -> None:
        """Ask what is known of a session, and for its heads."""
        assert self.store.heads(name) == self.model.heads(name)
        answer = self.store.info(name)
        self.told_life(answer and answer.life)
        session = self.model.sessions.get(name)
        assert (answer is None) == (session is None)
        if answer is not None and session is not None:
            known = (answer.session, answer.life, answer.state)
            assert known == (name, self.model.life(name), session.state)
            assert answer.size_bytes is None or answer.size_bytes > 0

    def put_what_waits(self, name: str) -> None:
        """Commit the checkpoints that only have pending writes, so that these can be seen."""
        session = self.session(name)
        for waiting in session.waiting() if session else []:
            self.commit(name, Conditions(), record=self.record(name, waiting, None, b"", 0, []))

    def look_at_everything(self, name: str) -> None:
        """Compare all that there is of a session."""
        self.info(name)
        self.scan_all(name, tuple(map(Start, dict.fromkeys(NAMESPACES))), 100)
        session = self.session(name)
        for namespace, id_ in list(session.checkpoints) if session else []:
            self.load_one(name, namespace, id_)

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
        self.told(None)
        assert found.keys() == self.model.sessions.keys()
        for name, info in found.items():
            self.check_info(name, info)

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

    @rule(limit=st.integers(1, 2))
    def go_on_listing(self, limit: int) -> None:
        """Take a page of a listing that other commands come between."""
        if self.to_list is None:
            self.told(None)
            self.to_list = set(self.model.sessions)
        page = self.store.list_sessions(self.cursor, limit)
        self.told(None)
        found = {info.session for info in page.sessions}
        assert found <= self.model.sessions.keys()
        self.to_list = (self.to_list & self.model.sessions.keys()) - found
        self.cursor = page.cursor
        if page.cursor is None:
            assert not self.to_list or not self.backend.steady  # these were there all the time
            self.to_list = None

    def leave(self) -> None:
        """Some session may have gone away: a listing need not name it, though it come again."""
        if self.to_list is not None:
            self.to_list &= self.model.sessions.keys()

    # --- lifetimes --------------------------------------------------------------------------------

    @rule(name=sessions, how=st.sampled_from(LIVES))
    def alter(self, name: str, how: str | None) -> None:
        """Touch a session, pin or unpin it, or give it an idle timeout of its own."""
        change: dict[str, Any] = {}
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

    @rule(name=sessions)
    def delete(self, name: str) -> None:
        """Delete a session."""
        answer = self.store.delete(name)
        self.told(None)
        assert answer == self.model.delete(name)
        self.leave()

    @rule(source=sessions, onto=sessions, replacing=st.booleans(), pick=picks, written=entries)
    def copy(
        self, source: str, onto: str, pick: Pick, written: list[Write], *, replacing: bool
    ) -> None:
        """Copy a session, and write to the one that was copied: the copy must not notice."""
        source = self.there(source) if replacing else source
        try:
            answer = self.store.copy(source, onto, replace=replacing)
        except ConfigurationError:
            assert source == onto
        except SessionExistsError as error:
            self.told(None)
            assert error.session == onto
            assert not replacing
            assert {source, onto} <= self.model.sessions.keys()
        else:
            self.told_life(answer)
            assert source != onto
            fresh = answer.incarnation if answer else ""
            assert answer == self.model.copy(source, onto, fresh, replace=replacing)
            self.add(source, pick, written, [], Conditions())

    # --- pruning ----------------------------------------------------------------------------------

    @rule(target=surveys, name=sessions, chosen=st.lists(st.booleans(), max_size=12), extra=picks)
    def survey(self, name: str, chosen: list[bool], extra: Pick) -> Any:
        """Look at all records of a session, as pruning does, and choose some to drop."""
        everything = tuple(map(Start, dict.fromkeys(NAMESPACES)))
        name = self.there(name)
        records = self.scan_all(name, everything, PAGE)
        session = self.session(name)
        if session is None:
            return multiple()
        flags = chosen + [False] * len(records)
        dropped = [stored for stored, flag in zip(records, flags, strict=False) if flag]
        names = {stored.name for stored in dropped}
        kept = [span for stored in records if stored.name not in names for span in stored.spans]
        waiting = session.waiting()
        if isinstance(extra, int) and waiting:
            names.add(waiting[extra % len(waiting)])
        if isinstance(extra, tuple) and extra not in session.checkpoints:
            names.add(extra)
        for name_ in set(waiting) - names:
            kept += session.named(name_)
        return Prune(
            session=name,
            incarnation=session.incarnation,
            revision=session.revision,
            drop=tuple(sorted(names)),
            keep=merge_spans(kept),
            free=merge_spans(span for stored in dropped for span in stored.spans),
        )

    @rule(prune=surveys)
    def prune(self, prune: Prune) -> None:
        """Prune as worked out before; perhaps something changed since."""
        answer = self.store.prune(prune)
        self.told(answer.now_ms)
        assert answer == self.model.prune(prune)
        self.leave()

    @rule(name=sessions, chosen=st.lists(st.booleans(), min_size=1, max_size=12), extra=picks)
    def survey_and_prune(self, name: str, chosen: list[bool], extra: Pick) -> None:
        """Prune at once."""
        found = self.survey(name, chosen, extra)
        if isinstance(found, Prune):
            self.prune(found)

    # --- time -------------------------------------------------------------------------------------

    @precondition(lambda self: self.clock is not None)
    @rule(name=sessions, step=st.sampled_from(STEPS))
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
        self.told(None)
        self.leave()

    @precondition(lambda self: self.clock is None)
    @rule(name=sessions)
    def expire(self, name: str) -> None:
        """Let a session expire where the clock is the server's."""
        self.backend.expire(name)
        self.model.delete(name)
        self.leave()
