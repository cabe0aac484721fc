"""Sessions in the memory of this process: for tests, notebooks and simple apps.

Everything happens under one lock, and nothing waits, so the async API calls the store directly. The
sessions end with the process. Lifetimes work as in the other stores. If the store has a limit, it
evicts whole sessions, the least recently used first. Pinned ones stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace as changed
from itertools import islice

from wren_sessions._arguments import check_callable, check_whole_number
from wren_sessions._blocking import Lock
from wren_sessions.errors import CorruptSessionError
from wren_sessions.keys import DEFAULT_PREFIX, KeySpace, check_session
from wren_sessions.records import (
    ArenaParts,
    Commit,
    Committed,
    Held,
    Life,
    Loaded,
    Name,
    Notes,
    Outcome,
    Prune,
    Scanned,
    Seen,
    SessionInfo,
    SessionPage,
    Span,
    Start,
    TurnState,
    TurnStep,
    missing,
)
from wren_sessions.stores._checks import (
    check_commit,
    check_limit,
    check_names,
    check_notes,
    check_prune,
    check_scan,
    make_cursor,
    make_owned_cursor,
    not_theirs,
    noted_meanwhile,
    parse_cursor,
    parse_owned_cursor,
)
from wren_sessions.stores._closing import Closing
from wren_sessions.stores._copies import Copy
from wren_sessions.stores._turns import held, stepped
from wren_sessions.stores.memory.dump import pack, unpack
from wren_sessions.stores.memory.session import Change, Session
from wren_sessions.stores.memory.session_index import SessionIndex
from wren_sessions.stores.threaded import ThreadedStore
from wren_sessions.ttl import (
    DAY,
    Duration,
    Lifetime,
    Override,
    TTLPolicy,
    limit_ms,
    past,
    policy_of,
    system_ms,
)


class MemoryStore(Closing):
    """A `SessionStore` in this process's memory. It is thread-safe.

    Args:
        ttl: how long sessions live: a policy, or the idle timeout (``"1h"``); None for `ttl.DAY`,
            24 hours after the last write.
        prefix: what session addresses begin with. No two stores share sessions, whatever their
            prefix.
        max_sessions: the maximum number of sessions; None (default) for no limit.
        max_bytes: the maximum bytes of content; None (default) for no limit. Ids, records, arenas,
            pending writes and headers count; Python's own overhead does not.
        clock: returns milliseconds since 1970; None for the system's clock. See
            `wren_sessions.testing.FakeClock`.

    Raises:
        ConfigurationError: the prefix is not valid, or a limit is not a whole number of at least 1.
    """

    def __init__(
        self,
        *,
        ttl: Lifetime | None = None,
        prefix: str = DEFAULT_PREFIX,
        max_sessions: int | None = None,
        max_bytes: int | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        check_callable(clock, "clock", "milliseconds since 1970")
        for option, most in (("max_sessions", max_sessions), ("max_bytes", max_bytes)):
            if most is not None:
                check_whole_number(most, option, 1)
        self._ttl = DAY if ttl is None else policy_of(ttl)
        self._keys = KeySpace(prefix)
        self._clock = clock or system_ms
        self._lock = Lock(self._mend)
        self._begun: tuple[str, Session, Change] | None = None  # what is being applied
        self._index = SessionIndex(max_sessions, max_bytes)
        self._aio = ThreadedStore(self, threads=0)

    def __repr__(self) -> str:
        return f"MemoryStore({self.location!r}, {self._ttl})"

    @property
    def ttl(self) -> TTLPolicy:
        """How long its sessions live."""
        return self._ttl

    @property
    def keys(self) -> KeySpace:
        """How its sessions are named."""
        return self._keys

    @property
    def location(self) -> str:
        """Always ``memory://``."""
        return "memory://"

    @property
    def persistent(self) -> bool:
        """Always False: the sessions end with this process."""
        return False

    @property
    def aio(self) -> ThreadedStore:
        """The same store, to await."""
        return self._aio

    # --- writing ----------------------------------------------------------------------------------

    def commit(self, commit: Commit) -> Committed:
        """See `SessionStore.commit`.

        Raises:
            StoreUnavailableError: the store is bounded, and full; nothing was written or evicted.
        """
        check_commit(commit)
        with self._lock:
            now_ms = self._now_ms()
            session = self._index.find(commit.session, now_ms)
            base = session.applied(commit) if session else None
            if base is not None:
                return _committed("done", session, now_ms, base)
            outcome = session.refusal(commit) if session else Session.refusal_without(commit)
            if outcome:
                return _committed(outcome, session, now_ms)
            if session and (session.turn or commit.turn):
                turn = held(session.turn, commit, now_ms)
                if turn:
                    return changed(_committed("held", session, now_ms), turn=turn)
            return self._write(commit, session, now_ms)

    def _write(self, commit: Commit, there: Session | None, now_ms: int) -> Committed:
        session = there or Session.begin(commit, now_ms)
        ttl = self._ttl.of(commit.session)
        renews = there is None or not there.revision or ttl.refresh != "never"
        deadline_ms = session.deadline_ms
        if renews:
            deadline_ms = ttl.deadline_ms(
                used_ms=now_ms,
                created_ms=session.created_ms,
                override=session.override,
                pinned=session.pinned,
            )
        if past(deadline_ms, now_ms):
            return _committed("expired", there, now_ms)
        change = session.plan(commit, now_ms, deadline_ms)
        self._index.make_room(
            now_ms,
            grown_bytes=change.grown_bytes + (0 if there else session.size_bytes),
            added=0 if there else 1,
            spare=(commit.session,),
        )
        if commit.owner is not None and session.notes.owner is None:
            session.notes = session.notes._replace(owner=commit.owner)
        self._begun = commit.session, session, change
        session.apply(change)
        if there:
            self._index.grow(commit.session, change.grown_bytes)
        else:
            self._index.keep(commit.session, session)
        self._begun = None
        return _committed("done", session, now_ms, change.record.base if change.record else 0)

    def _mend(self) -> None:
        """Finish what was interrupted."""
        if self._begun is None:
            self._index.rebuild()
            return
        name, session, change = self._begun
        session.apply_again(change)
        self._index.rebuild(name, session)
        self._begun = None

    def prune(self, prune: Prune) -> Committed:
        """See `SessionStore.prune`."""
        check_prune(prune)
        with self._lock:
            now_ms = self._now_ms()
            there = self._index.find(prune.session, now_ms)
            if there is None or there.incarnation != prune.incarnation:
                return _committed("gone", there, now_ms)
            if there.revision != prune.revision:
                return _committed("conflict", there, now_ms)
            pruned = there.twin()
            pruned.prune(prune, now_ms)
            if there.namespaces and not pruned.namespaces:
                self._index.drop(prune.session)
                return _committed("done", None, now_ms)
            self._index.keep(prune.session, pruned)
            return _committed("done", pruned, now_ms)

    def delete(self, session: str) -> bool:
        """See `SessionStore.delete`."""
        check_session(session)
        with self._lock:
            there = self._index.find(session, self._now_ms())
            return there is not None and self._index.drop(session)

    def copy(
        self,
        source: str,
        target: str,
        *,
        replace: bool | Life = False,
        state: bytes | None = None,
        expect: Life | None = None,
    ) -> Life | None:
        """See `SessionStore.copy`.

        Raises:
            StoreUnavailableError: the store is bounded, and full; nothing was written or evicted.
        """
        copy = Copy(source, target, replace=replace, state=state, expect=expect)
        with self._lock:
            now_ms = self._now_ms()
            original = self._index.find(source, now_ms)
            if original is None:
                return None
            there = self._index.find(target, now_ms)
            seen = Seen.of(there.life(now_ms), there.override, there.notes) if there else None
            copy.check(original.life(now_ms), seen)
            made = original.copy(now_ms, state)
            if not made.renew(self._ttl.of(target), now_ms):
                raise copy.too_old(self._ttl)
            made.size_bytes += len(target.encode()) - len(source.encode())
            self._index.used(source, now_ms)
            self._index.admit(target, made, now_ms, spare=(source, target))
            return made.life(now_ms)

    # --- reading ----------------------------------------------------------------------------------

    def load(
        self,
        session: str,
        namespace: str = "",
        checkpoint_id: str | None = None,
        held: Held | None = None,
    ) -> Loaded | None:
        """See `SessionStore.load`. The arena is always brought along."""
        check_names(session, namespace, checkpoint_id)
        with self._lock:
            now_ms = self._now_ms()
            there = self._index.used(session, now_ms)
            found = there.find(namespace, checkpoint_id) if there else None
            if there is None or found is None:
                return None
            arena = there.read(missing(found.spans, held, there.incarnation))
            if arena is None:
                raise CorruptSessionError(
                    f"checkpoint {found.name!r} of session {session!r} refers to bytes that were "
                    "never stored; the program that wrote it has a bug",
                    session=session,
                )
            ttl = self._ttl.of(session)
            if ttl.refresh == "read":
                if not there.renew(ttl, now_ms):
                    return None
                self._index.queue(session, there.deadline_ms)
            return Loaded(life=there.life(now_ms), stored=found, arena=arena, state=there.state)

    def scan(self, session: str, starts: Sequence[Start], limit: int) -> Scanned:
        """See `SessionStore.scan`."""
        check_scan(session, starts, limit)
        with self._lock:
            now_ms = self._now_ms()
            there = self._index.used(session, now_ms)
            return there.scan(starts, limit, now_ms) if there else Scanned(records=())

    def read(self, session: str, spans: Sequence[Span]) -> ArenaParts | None:
        """See `SessionStore.read`."""
        check_session(session)
        with self._lock:
            there = self._index.used(session, self._now_ms())
            return there.read(spans) if there else None

    def heads(self, session: str) -> tuple[Name, ...]:
        """See `SessionStore.heads`."""
        check_session(session)
        with self._lock:
            there = self._index.find(session, self._now_ms())
            return there.heads() if there else ()

    def info(self, session: str) -> SessionInfo | None:
        """See `SessionStore.info`. The size counts what `max_bytes` counts."""
        check_session(session)
        with self._lock:
            now_ms = self._now_ms()
            there = self._index.find(session, now_ms)
            return there.info(session, now_ms, there.size_bytes) if there else None

    def list_sessions(self, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `SessionStore.list_sessions`. Sorted by id."""
        limit = check_limit(limit)
        last = parse_cursor(cursor)
        with self._lock:
            now_ms = self._now_ms()
            found = islice(self._index.after(last, now_ms), limit + 1)
            infos = tuple(session.info(name, now_ms) for name, session in found)
        page = infos[:limit]
        more = len(infos) > limit
        return SessionPage(sessions=page, cursor=make_cursor(page[-1].session) if more else None)

    # --- owners -----------------------------------------------------------------------------------

    def annotate(self, session: str, notes: Notes, expect: Notes) -> Life | None:
        """See `OwnerStore.annotate`."""
        check_notes(session, notes)
        with self._lock:
            now_ms = self._now_ms()
            there = self._index.find(session, now_ms)
            if there is None:
                return None
            if there.notes != expect:
                raise noted_meanwhile(session)
            there.notes = notes
            self._index.owners.note(session, there)
            return there.life(now_ms)

    def list_owned(self, owner: str, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `OwnerStore.list_owned`."""
        limit = check_limit(limit)
        place = f"memory {self._keys.owner_key(owner)}"
        before = parse_owned_cursor(place, cursor)
        with self._lock:
            now_ms = self._now_ms()
            found = self._index.owners.page(owner, before, limit + 1)
            there = [(name, self._index.find(name, now_ms)) for _, name in found[:limit]]
            infos = tuple(session.info(name, now_ms) for name, session in there if session)
            total = self._index.owners.count(owner)
        more = make_owned_cursor(place, *found[limit - 1]) if len(found) > limit else None
        return SessionPage(sessions=infos, cursor=more, total=total)

    def delete_owned(self, session: str, owner: str) -> bool:
        """See `OwnerStore.delete_owned`."""
        check_notes(session, Notes(owner))
        with self._lock:
            there = self._index.find(session, self._now_ms())
            if there is None:
                return False
            if there.notes.owner != owner:
                raise not_theirs(session)
            return self._index.drop(session)

    # --- dumps ------------------------------------------------------------------------------------

    def dump(self, session: str) -> bytes | None:
        """A complete session as bytes, for `restore`; None if it does not exist. Not a use of it.

        The same session gives the same bytes. So comparing them shows whether it has changed.
        """
        check_session(session)
        with self._lock:
            there = self._index.find(session, self._now_ms())
            return pack(there) if there else None

    def restore(self, session: str, data: bytes) -> None:
        """Restore a dumped session, with its deadline. Replaces a session with this id.

        Raises:
            CorruptSessionError: the bytes are not a dump of a session, or are damaged.
            FormatVersionError: a newer version of this package dumped it.
            StoreUnavailableError: the store has a limit and is full; nothing was changed.
        """
        check_session(session)
        restored = unpack(session, data)
        with self._lock:
            self._index.admit(session, restored, self._now_ms(), spare=(session,))

    # --- lifetimes --------------------------------------------------------------------------------

    def touch(self, session: str) -> Life | None:
        """See `SessionStore.touch`."""
        return self._alter(session)

    def set_ttl(self, session: str, idle: Duration | None) -> Life | None:
        """See `SessionStore.set_ttl`."""
        return self._alter(session, override=limit_ms(idle, "idle") or "none")

    def pin(self, session: str, *, pinned: bool = True) -> Life | None:
        """See `SessionStore.pin`."""
        return self._alter(session, pinned=pinned)

    def _alter(
        self, name: str, *, override: Override = None, pinned: bool | None = None
    ) -> Life | None:
        check_session(name)
        with self._lock:
            now_ms = self._now_ms()
            there = self._index.used(name, now_ms)
            ttl = self._ttl.of(name)
            if not (there and there.renew(ttl, now_ms, override=override, pinned=pinned)):
                return None
            self._index.queue(name, there.deadline_ms)
            return there.life(now_ms)

    def _now_ms(self) -> int:
        now_ms = self._clock()
        self._index.sweep(now_ms)
        return now_ms

    # --- turns ------------------------------------------------------------------------------------

    def turn(self, step: TurnStep) -> TurnState:
        """See `TurnStore.turn`."""
        name = step.session
        check_session(name)
        with self._lock:
            now_ms = self._now_ms()
            there = self._index.find(name, now_ms)
            text, state = stepped(there.turn if there else "", step, now_ms)
            if there is None:
                if step.what != "take":
                    return state
                there = Session.begin(Commit(session=name, token=step.token), now_ms)
                self._index.admit(name, there, now_ms, spare=(name,))
            there.turn = text
            if not there.revision and not text:
                self._index.drop(name)
            elif state.mine and step.what != "leave":
                self._use_in_turn(there, step, now_ms)
                self._index.queue(name, there.deadline_ms)
            return state

    def _use_in_turn(self, there: Session, step: TurnStep, now_ms: int) -> None:
        """What a turn made ends with it, unless something is written."""
        ttl = self._ttl.of(step.session)
        if not there.revision:
            there.deadline_ms = now_ms + step.ttl_ms
        elif ttl.refresh != "never":
            there.renew(ttl, now_ms)

    # --- the rest ---------------------------------------------------------------------------------

    def ping(self) -> None:
        """See `SessionStore.ping`. Always answers."""

    def close(self) -> None:
        """See `SessionStore.close`. There is nothing to give back; the sessions stay."""


def _committed(outcome: Outcome, session: Session | None, now_ms: int, base: int = 0) -> Committed:
    life = session.life(now_ms) if session else None
    owner = session.notes.owner if session else None
    return Committed(outcome, now_ms, life, base, None, owner)
