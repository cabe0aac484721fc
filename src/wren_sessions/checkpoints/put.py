"""Writing checkpoints.

A put takes over from the parent's record every channel whose version did not change, writes small
values inline and covers large ones with what the arena holds already. It is one commit, whose
witnesses are the records that it builds on; if this process does not know the parent, one load
comes before.

**When the session went away** between two calls, the commit writes nothing and says so. If its
known deadline has passed it expired: a put in the root namespace, which holds all values, writes
the whole checkpoint as a new session of the same age. It is a `SessionExpiredError` where that
would bring back a fragment: past the maximum age, from a subgraph, where a subgraph has a memory
of its own, or a channel lives in its history. Before the deadline somebody deleted or evicted it,
and nothing brings it back: `SessionGoneError`.

Which life of a session a checkpoint belongs to is known from the checkpoint it continues. So a run
whose session was deleted does not go on in the one that was begun since under the same id.

**A parent that nobody stored**, where there is no session, is taken as any other checkpointer takes
it: what continues it begins one. But not where this process has seen the session, or deleted it,
for the parent went with it; nor where a channel lives in its history.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wren_sessions.checkpoints.codec import CheckpointRecord, StoredValue, encode_record
from wren_sessions.checkpoints.get import Reading
from wren_sessions.checkpoints.header import header
from wren_sessions.checkpoints.outcomes import check, expired, gone
from wren_sessions.checkpoints.pending import Pending
from wren_sessions.checkpoints.record_cache import Cache
from wren_sessions.checkpoints.snapshots import read_record
from wren_sessions.checkpoints.versions import Version, as_text
from wren_sessions.delta.encoder import DeltaEncoder, Grown, Large, Serializer, dump
from wren_sessions.delta.protection import Protection
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Commit, Committed, Life, Name, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A checkpoint to write.

    Attributes:
        session: the session's id.
        name: namespace and checkpoint id.
        parent_id: the checkpoint that it continues.
        values: the value of each channel that has one.
        versions: the version of each channel.
        seen: for each node, the version of each channel that it has seen.
        rest: everything else that the checkpoint holds.
        metadata: its metadata.
        changed: the channels whose value is to be taken from `values`, whatever the parent has.
        within: the checkpoints of the graphs that this one's graph runs in.
        new: the session must not be there.
        revision: the session's revision that this builds on; None for no condition.
        life: the life of the session that this belongs to; None for that of the checkpoint it
            continues.
    """

    session: str
    name: Name
    parent_id: str | None
    values: Mapping[str, Any]
    versions: Mapping[str, Version]
    seen: Mapping[str, Mapping[str, Version]]
    rest: Mapping[str, Any]
    metadata: Mapping[str, Any]
    changed: Collection[str]
    within: Sequence[Name] = ()
    new: bool = False
    revision: int | None = None
    life: Life | None = None


@dataclass(slots=True)
class _Draft:
    """A record on its way: what to commit, and what to remember once it is."""

    record: Record
    body: CheckpointRecord
    witnesses: tuple[Name, ...]
    large: list[Large | Grown]


class Writing:
    """Writing to the sessions of one store.

    Args:
        store: where they are.
        cache: what this process remembers of them.
        reading: reads what it has forgotten.
        header_strings: channels whose strings may stand in a session's readable header.
        protection: what happens to values before they are stored.

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
    ) -> None:
        self._store = store
        self._cache = cache
        self._reading = reading
        self._header_strings = frozenset(header_strings)
        self._protection = protection
        self.pending = Pending(store, cache, protection)

    # --- put ---

    async def put(self, put: Put, serde: Serializer) -> None:
        """Write a checkpoint.

        Raises:
            SerializationError: a value cannot be stored; nothing was written.
            SessionExpiredError: the session expired, and cannot be written whole: it is past its
                maximum age, this is a subgraph's checkpoint, or a part of it lived elsewhere.
            SessionGoneError: the session was deleted or evicted before its deadline.
        """
        try:
            await self._put(put, serde)
        except BaseException:
            self._cache.end(put.session, put.name)
            self._cache.forget(put.session)
            raise

    async def _put(self, put: Put, serde: Serializer) -> None:
        parent = await self._parent(put)
        life = self._life(put)
        orphan = put.parent_id is not None and parent is None
        begins = orphan and life is None
        if (begins and self._cache.knows(put.session)) or (orphan and _has_history(put)):
            gone(put.session)
        self._cache.begin(put.session, put.name, life)
        expected = None if life is None else life.incarnation
        conditions = {"incarnation": expected, "new": put.new or begins, "revision": put.revision}
        known = [] if life is None else self._cache.records(put.session)
        persistent_subgraphs = self._cache.has_persistent_subgraphs(put.session, life)
        draft = self._draft(put, serde, parent, known, persistent_subgraphs=persistent_subgraphs)
        done = await self._store.commit(self._commit(put, draft, **conditions))
        if done.outcome == "stale":  # the parent was pruned, the session lives
            self._cache.forget(put.session)
            if _has_history(put):
                gone(put.session)
            draft = self._draft(put, serde, persistent_subgraphs=persistent_subgraphs)
            done = await self._store.commit(self._commit(put, draft, **conditions))
        if begins and done.outcome == "exists":
            gone(put.session)
        if done.outcome == "gone":
            self._cache.forget(put.session)
            draft = self._draft(put, serde)
            done = await self._revive(put, draft, life, done.now_ms)
        check(put.session, done)
        self._resolve(put, draft, done)
        await self.pending.flush(put.session, put.name)

    def _life(self, put: Put) -> Life | None:
        """The life that a checkpoint belongs to; None where it may begin a session."""
        if put.life is not None:
            return put.life
        own = [] if put.parent_id is None else [(put.name[0], put.parent_id)]
        life = self._cache.life_of(put.session, [*own, *put.within])
        if life is not None or put.parent_id is not None or put.new:
            return life
        if put.name[0] != "":
            life = self._cache.life_looked_at(put.session)
            if life is None and self._cache.is_deleted(put.session):
                gone(put.session)  # a graph that begins a session looks for it first
        return life or self._cache.life(put.session)

    async def _parent(self, put: Put) -> CheckpointRecord | None:
        if put.parent_id is None:
            return None
        name = (put.name[0], put.parent_id)
        body = self._cache.record(put.session, name)
        if body is None:
            loaded = await self._reading.load(put.session, *name)
            if loaded is not None:
                body, _ = read_record(put.session, *loaded, self._protection)
                self._cache.remember(put.session, name, body, instead_of=None)
        return body

    def _commit(self, put: Put, draft: _Draft, **conditions: Any) -> Commit:
        return Commit(
            session=put.session,
            token=secrets.token_urlsafe(8),
            witnesses=draft.witnesses,
            record=draft.record,
            state=self._state(put),
            **conditions,
        )

    def _state(self, put: Put) -> bytes | None:
        if put.name[0] != "":
            return None
        return header(
            put.values,
            checkpoint_id=put.name[1],
            timestamp=put.rest.get("ts"),
            metadata=put.metadata,
            strings=self._header_strings,
        )

    async def _revive(self, put: Put, draft: _Draft, life: Life | None, now_ms: int) -> Committed:
        """Write a checkpoint whose session expired as a new session of the same age."""
        if life is None or life.deadline_ms is None or now_ms < life.deadline_ms:
            gone(put.session)
        if (
            put.name[0] != ""
            or _has_history(put)
            or self._cache.has_persistent_subgraphs(put.session, life)
        ):
            expired(put.session)
        # If the id has been taken since, that session is somebody else's.
        done = await self._store.commit(
            self._commit(put, draft, new=True, created_ms=life.created_ms)
        )
        if done.outcome == "exists":
            gone(put.session)
        return done

    def _resolve(self, put: Put, draft: _Draft, done: Committed) -> None:
        assert done.life is not None  # noqa: S101 -- a commit that is done has one
        for large in draft.large:
            large.resolve(done.base)
        self._cache.live(put.session, done.life, put.name)
        before = None if put.parent_id is None else (put.name[0], put.parent_id)
        self._cache.remember(put.session, put.name, draft.body, instead_of=before)

    def _draft(
        self,
        put: Put,
        serde: Serializer,
        parent: CheckpointRecord | None = None,
        known: Sequence[tuple[Name, CheckpointRecord]] = (),
        *,
        persistent_subgraphs: bool = False,
    ) -> _Draft:
        packer = DeltaEncoder(parent, known, protection=self._protection)
        values: dict[str, StoredValue] = {}
        for channel in {**put.versions, **put.values}:
            unchanged = _is_unchanged(channel, put, parent)
            inherited = packer.inherited(channel) if unchanged else None
            if inherited and not (inherited.migrated and channel in put.values):
                values[channel] = inherited
            elif channel in put.values:
                what = f"channel {channel!r} of session {put.session!r}"
                values[channel] = packer.value(channel, put.values[channel], serde, what)
        about = f"the metadata of checkpoint {put.name[1]!r} of session {put.session!r}"
        body = CheckpointRecord(
            parent_id=put.parent_id,
            meta=dump(serde, [dict(put.rest), dict(put.metadata)], about),
            versions=dict(put.versions),
            seen={node: dict(seen) for node, seen in put.seen.items()},
            values=values,
            persistent_subgraphs=persistent_subgraphs,
            skewed=_is_skewed(put, parent),
        )
        record = Record(
            name=put.name,
            parent_id=put.parent_id,
            body=encode_record(body),
            append=bytes(packer.appended),
            spans=packer.spans(values.values()),
        )
        own = [(put.name[0], put.parent_id)] if parent is not None and put.parent_id else []
        return _Draft(record, body, packer.witnesses(own), packer.large)


# --- small parts ----------------------------------------------------------------------------------


def _has_history(put: Put) -> bool:
    """Whether a channel's value lives in the writes of ancestors (LangGraph's `DeltaChannel`)."""
    return bool(put.metadata.get("counters_since_delta_snapshot"))


def _is_skewed(put: Put, parent: CheckpointRecord | None) -> bool:
    """Whether ids do not tell the order from here on; see `wren_sessions.checkpoints.order`."""
    if put.parent_id is None:
        return False
    return put.parent_id > put.name[1] or (parent is not None and parent.skewed)


def _is_unchanged(channel: str, put: Put, parent: CheckpointRecord | None) -> bool:
    """Whether the parent's value of a channel is still the value."""
    if parent is None or channel in put.changed or channel not in put.versions:
        return False
    theirs, ours = parent.versions.get(channel), put.versions[channel]
    if type(theirs) is not type(ours):
        return False
    same: bool = theirs == ours or as_text(theirs) == as_text(ours)
    return same
