"""Writing checkpoints.

A put reuses every channel of the parent's record whose version has not changed. It writes small
values inline, and covers large ones with bytes that are already in the arena (see `draft`). It is
one commit, whose witnesses are the records that it builds on. If this process does not know the
parent, it loads it first.

`record_cache` explains what happens if the session went away between two calls, and where a put
belongs that continues nothing, or continues a checkpoint that was never stored.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from wren_sessions.checkpoints.draft import Draft, Put, draft
from wren_sessions.checkpoints.get import Reading
from wren_sessions.checkpoints.header import header
from wren_sessions.checkpoints.outcomes import check, check_expired, expired, gone
from wren_sessions.checkpoints.pending import Pending
from wren_sessions.checkpoints.record_cache import Cache, Known
from wren_sessions.checkpoints.turns import Rules, token_in, turns_on
from wren_sessions.delta.encoder import Serializer
from wren_sessions.delta.protection import Protection
from wren_sessions.errors import StoreUnavailableError, WrenSessionsError
from wren_sessions.keys import new_token
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Commit, Committed, Life


class Writing:
    """Writing to the sessions of one store.

    Args:
        store: where they are.
        cache: what this process remembers of them.
        reading: reads what it has forgotten.
        header_strings: channels whose strings may stand in a session's readable header.
        protection: what happens to values before they are stored.
        rules: what holds for those who write; None for nothing.

    Attributes:
        pending: writes what belongs to checkpoints besides.
    """

    def __init__(
        self,
        store: AsyncSessionStore,
        cache: Cache,
        reading: Reading,
        header_strings: Collection[str],
        protection: Protection,
        *,
        rules: Rules | None = None,
    ) -> None:
        self._store = store
        self._cache = cache
        self._reading = reading
        self._header_strings = frozenset(header_strings)
        self._protection = protection
        self._rules = rules
        self.pending: Pending = Pending(store, cache, protection, rules)

    async def put(self, put: Put, serde: Serializer) -> None:
        """Write a checkpoint.

        Raises:
            SerializationError: a value cannot be stored; nothing was written.
            SessionExpiredError: the session expired, and cannot be written whole: it is past its
                maximum age, this is a subgraph's checkpoint, or a part of it lived elsewhere.
            SessionGoneError: the session was deleted or evicted before its deadline.
            ConflictError: it is somebody else's to write now, or the turn that this is in was
                lost; where the rules want that, also: it does not continue the latest checkpoint.
        """
        session, name, parent = put.session, put.name, put.parent
        try:
            known, begins = self._cache.known(session, name, parent, put.within), False
            if known.life is None or known.parent is None or put.life is not None:
                known, begins = await self._whose(put, serde, known)
            ours = draft(put, serde, known, self._protection)
            if ours.body.skewed:  # what is stored before it may be pruned: see `Pending.commit_of`
                known = known._replace(early=self._cache.begin(session, name, None))
            done = await self._store.commit(self._commit(put, ours, known, begins=begins))
            if done.outcome != "done":
                ours, done = await self._otherwise(put, serde, known, ours, done, begins=begins)
            assert done.life is not None  # noqa: S101 -- a commit that is done has one
            ours.resolve(done.base)
            self._cache.written(session, done.life, name, ours.body, parent)
        except BaseException as error:
            refused = isinstance(error, WrenSessionsError)
            unsure = not refused or isinstance(error, StoreUnavailableError)
            self._cache.end(session, name, unsure=unsure)
            self._cache.forget(session)
            raise

    def _commit(self, put: Put, ours: Draft, known: Known, *, begins: bool) -> Commit:
        rules, life = self._rules, known.life
        turn = token_in(rules, put.session) if turns_on.get() else None
        witnesses, writes = ours.witnesses, None
        early = known.early and self.pending.commit_of(
            put.session, put.name, known.early, life, known.records, again=ours.body.skewed
        )
        if early:
            writes = early.writes
            witnesses = tuple(dict.fromkeys((*witnesses, *early.witnesses)))
        latest = rules is not None and rules.latest and turn is None and put.name[0] == ""
        return Commit(
            put.session,
            new_token(),
            None if life is None else life.incarnation,
            put.revision,
            witnesses,
            put.new or begins,
            latest,
            turn,
            put.owner,
            None,  # created now
            ours.record,
            writes,
            header(put, put.values, self._header_strings),
        )

    # --- the less usual ---------------------------------------------------------------------------

    async def _whose(self, put: Put, serde: Serializer, known: Known) -> tuple[Known, bool]:
        """What a put belongs to that continues nothing, or what is not known here.

        Returns:
            What is known, and whether it must begin a session.
        """
        session, parent = put.session, known.parent
        if parent is None and put.parent is not None:
            parent = await self._reading.body(session, put.parent, serde)
        life = put.life or self._life(put)
        orphan = put.parent is not None and parent is None
        begins = orphan and life is None
        if (begins and self._cache.knows(session)) or (orphan and put.has_history):
            gone(session)
        early = self._cache.begin(session, put.name, life)
        records = [] if life is None else self._cache.records(session)
        persistent_subgraphs = self._cache.has_persistent_subgraphs(session, life)
        return Known(parent, life, records, persistent_subgraphs, early), begins

    def _life(self, put: Put) -> Life | None:
        """The life that a checkpoint belongs to; None where it may begin a session."""
        own = [] if put.parent is None else [put.parent]
        life = self._cache.life_of(put.session, [*own, *put.within])
        if life is not None or put.parent is not None or put.new:
            return life
        if put.name[0] != "":
            life = self._cache.life_looked_at(put.session)
            if life is None and self._cache.is_deleted(put.session):
                gone(put.session)  # a graph that begins a session looks for it first
        return life or self._cache.life(put.session)

    async def _otherwise(
        self,
        put: Put,
        serde: Serializer,
        known: Known,
        ours: Draft,
        done: Committed,
        *,
        begins: bool,
    ) -> tuple[Draft, Committed]:
        """Write a checkpoint whole, where what it builds on has gone, and may have."""
        session, life = put.session, known.life
        nothing = known._replace(parent=None, records=())
        if done.outcome == "stale":  # the parent was pruned, the session lives
            self._cache.forget(session)
            if put.has_history:
                gone(session)
            ours = draft(put, serde, nothing, self._protection)
            done = await self._store.commit(self._commit(put, ours, nothing, begins=begins))
        if begins and done.outcome == "exists":
            gone(session)
        if done.outcome == "gone":
            self._cache.forget(session)
            life = check_expired(session, life, done.now_ms)
            persistent_subgraphs = self._cache.has_persistent_subgraphs(session, life)
            in_turn = token_in(self._rules, session) is not None
            if put.name[0] != "" or put.has_history or persistent_subgraphs or in_turn:
                expired(session)  # a turn ends with its session
            early = self._cache.begin(session, put.name, None)
            nothing = nothing._replace(life=None, early=early)
            ours = draft(put, serde, nothing, self._protection)
            again = replace(self._commit(put, ours, nothing, begins=True), revision=None)
            done = await self._store.commit(replace(again, created_ms=life.created_ms))
            if done.outcome == "exists":  # the id has been taken since: that is somebody else's
                gone(session)
        check(session, done, token_in(self._rules, session))
        return ours, done
