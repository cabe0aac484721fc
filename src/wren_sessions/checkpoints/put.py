"""Writing checkpoints: what a put makes, and what it commits.

A put makes a record and a header.

- The *draft* is the record. It reuses every channel of the parent's record whose version has not
  changed. It keeps small values inline, and covers large ones with bytes that are already in the
  arena (see `delta`). An import commits drafts too, to the revision that it found.
- The *header* is JSON that a person can read in redis-cli or a dashboard. It has the shape that the
  guide of WREN, an interview agent, shows. It holds no content: of the state, top-level numbers
  and booleans, how many messages there are, and strings only of the channels that the application
  names.

Both are one commit, whose witnesses are the records that it builds on. If this process does not
know the parent, it loads it first.

`record_cache` explains what happens if the session went away between two calls, and where a put
belongs that continues nothing, or continues a checkpoint that was never stored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from wren_sessions._blocking import Unsuspended, running_loop
from wren_sessions.checkpoints.arriving import Putting
from wren_sessions.checkpoints.channels import is_internal
from wren_sessions.checkpoints.codec import CheckpointRecord, encode_record
from wren_sessions.checkpoints.get import Reading
from wren_sessions.checkpoints.outcomes import check, check_expired, expired, gone
from wren_sessions.checkpoints.pending import Pending
from wren_sessions.checkpoints.readable import SURE_BYTES, check_readable
from wren_sessions.checkpoints.record_cache import Cache, Known
from wren_sessions.checkpoints.renaming import about_both, check_names, to_both, values_to_write
from wren_sessions.checkpoints.turns import Rules, token_in, turns_on
from wren_sessions.checkpoints.versions import Version, as_text
from wren_sessions.delta.base import StoredValue
from wren_sessions.delta.encoder import DeltaEncoder, Grown, Large, Serializer, dump
from wren_sessions.delta.protection import Protection
from wren_sessions.errors import StoreUnavailableError, WrenSessionsError
from wren_sessions.keys import new_token
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Commit, Committed, Life, Name, Record
from wren_sessions.serializers._channels import channels_of
from wren_sessions.serializers.limits import limits_of

orjson: Any
try:  # comes with langchain, but not on every platform
    import orjson
except ImportError:
    orjson = None

_VERSION: Final = "1.0"  # of headers
_SAME: Final = frozenset({int, bool, str})  # what orjson writes as json does, and much faster
_SHOWN: Final = (int, float, str)
_METADATA: Final = ("step", "source")
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)
_MAX_INT: Final = 2**63  # what other readers of JSON take without rounding or refusing it


# --- the record -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Put:
    """A checkpoint to write.

    Attributes:
        session: the session's id.
        name: namespace and checkpoint id.
        parent: the name of the checkpoint that it continues.
        values: the value of each channel that has one.
        versions: the version of each channel.
        seen: for each node, the version of each channel that it has seen.
        rest: everything else that the checkpoint holds.
        metadata: its metadata.
        changed: the channels whose value is to be taken from `values`, whatever the parent has.
        within: the checkpoints of the graphs that this one's graph runs in.
        new: the session must not be there.
        revision: the session's revision that this builds on; None for no condition.
        owner: whose the session is, if it is nobody's yet.
        life: the life of the session that this belongs to; None for that of the checkpoint it
            continues.
    """

    session: str
    name: Name
    parent: Name | None
    values: Mapping[str, Any]
    versions: Mapping[str, Version]
    seen: Mapping[str, Mapping[str, Version]]
    rest: Mapping[str, Any]
    metadata: Mapping[str, Any]
    changed: Collection[str]
    within: Sequence[Name] = ()
    new: bool = False
    revision: int | None = None
    owner: str | None = None
    life: Life | None = None

    @property
    def has_history(self) -> bool:
        """Whether a channel's value lives in the writes of ancestors (`DeltaChannel`)."""
        return bool(self.metadata.get("counters_since_delta_snapshot"))


@dataclass(slots=True)
class Draft:
    """A record on its way: what to commit, and what to remember once it is.

    Attributes:
        record: what to commit.
        body: what it says; `resolve` says where its values are.
        witnesses: the records that it builds on.
    """

    record: Record
    body: CheckpointRecord
    witnesses: tuple[Name, ...]
    _large: list[Large | Grown]

    def resolve(self, base: int) -> None:
        """Note where the record's own bytes are, now that the store has said so."""
        for large in self._large:
            large.resolve(base)
        self.body.base = base


def draft(put: Put, serde: Serializer, known: Known, protection: Protection) -> Draft:
    """The record that a checkpoint becomes, built on what is known.

    Raises:
        SerializationError: a value cannot be stored, or all of them not be read again.
    """
    session, (namespace, id_), parent = put.session, put.name, known.parent
    parent_id, given = put.parent[1] if put.parent else None, put.values
    channels = channels_of(serde, namespace) if getattr(serde, "channels", None) else None
    about = [{**put.rest}, {**put.metadata}]
    if channels is not None:
        check_names(session, {*put.changed, *given}, channels)
        given = values_to_write(given, channels)
        about = about_both(put.rest, put.metadata, channels)
    encoder = DeltaEncoder(parent, known.records, protection)
    values: dict[str, StoredValue] = {}
    versions, changed = put.versions, put.changed
    before: Mapping[str, Version] = {} if parent is None else parent.versions
    for channel in {**versions, **given}:
        stored = None
        if channel in before and channel not in changed:
            now, then = versions.get(channel), before[channel]
            if type(now) is type(then) and (now == then or as_text(now) == as_text(then)):
                stored = encoder.inherited(channel)
            if stored is not None and stored.migrated and channel in put.values:
                stored = None  # it was read in another form, and is written in that form
        if stored is None and channel in given:
            stored = encoder.value(channel, given[channel], serde, session)
        if stored is not None:
            values[channel] = stored
    seen: dict[str, dict[str, Version]] = {}
    for node, own in put.seen.items():
        seen[node] = {**own}
    body = CheckpointRecord(
        parent_id,
        dump(serde, about, "the metadata of checkpoint %r of session %r", id_, session),
        {**versions},
        seen,
        values,
        known.persistent_subgraphs,
        # Ids do not tell the order from here on: see `wren_sessions.checkpoints.order`.
        parent_id is not None and (parent_id > id_ or (parent is not None and parent.skewed)),
    )
    whole = body if channels is None else to_both(body, channels)
    if encoder.clear_bytes + len(body.meta[1]) > SURE_BYTES or whole is not body:
        every = [*whole.values.items(), ("its metadata", StoredValue(body.meta[0], [body.meta[1]]))]
        check_readable(session, every, limits_of(serde).max_memory_bytes, encoder)
    record = Record(
        put.name,
        parent_id,
        encode_record(whole, put.name),
        bytes(encoder.appended),
        encoder.spans(values.values()),
    )
    parents = [put.parent] if parent is not None and put.parent else []
    return Draft(record, body, encoder.witnesses(parents), encoder.large)


# --- the header -----------------------------------------------------------------------------------


class Latest(Protocol):
    """What a header tells of a checkpoint: a `Put`, a `Snapshot`, or an `Entry` of a prune."""

    @property
    def name(self) -> Name:
        """Namespace and checkpoint id."""

    @property
    def rest(self) -> Mapping[str, Any]:
        """What the checkpoint holds besides its channels, of which the timestamp is shown."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its metadata, of which step and source are shown."""


def header(
    latest: Latest, values: Mapping[str, Any], strings: Collection[str] = ()
) -> bytes | None:
    """The header of a session whose latest checkpoint this is; None if it is a subgraph's.

    `strings` are the channels whose strings may be shown.
    """
    namespace, checkpoint_id = latest.name
    if namespace != "":
        return None
    shown: dict[str, object] = {}
    for channel, value in values.items():
        if isinstance(value, _SHOWN) and not is_internal(channel):
            is_fit = channel in strings if isinstance(value, str) else _is_number(value)
            if is_fit and type(channel) is str:  # version 0.1.0 saved other keys
                shown[channel] = value
    messages = values.get("messages")
    if isinstance(messages, list):
        shown["message_count"] = len(messages)
    about: dict[str, object] = {
        "timestamp": str(latest.rest.get("ts")),
        "version": _VERSION,
        "checkpoint_id": checkpoint_id,
    }
    for field in _METADATA:
        found = latest.metadata.get(field)
        if isinstance(found, str) or _is_number(found):
            about[field] = found
    fields = {"checkpoint": shown, "metadata": about, "config": {}}
    if orjson is not None and _SAME.issuperset(map(type, (*shown.values(), *about.values()))):
        try:
            return bytes(orjson.dumps(fields))
        except TypeError:  # half a surrogate pair, or a key that is not quite text
            pass
    return as_header(fields)


def empty_header(timestamp: str) -> bytes:
    """The header of a session that has no checkpoint yet."""
    return as_header(
        {
            "checkpoint": {},
            "metadata": {"timestamp": timestamp, "version": _VERSION},
            "config": {},
        }
    )


def as_header(fields: Mapping[str, Any]) -> bytes:
    """A header's fields as JSON; what JSON has no form for is shown as text."""
    return _ENCODER.encode(fields).encode("utf-8", "replace")


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and -_MAX_INT <= value < _MAX_INT


# --- the commit -----------------------------------------------------------------------------------


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
        self._awaited = not isinstance(store, Unsuspended)
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
        session, name, parent, putting = put.session, put.name, put.parent, Putting()
        if self._awaited:
            putting.loop = running_loop()
        try:
            known, begins = self._cache.known(session, name, parent, put.within, putting), False
            if known.life is None or known.parent is None or put.life is not None:
                known, begins = await self._whose(put, serde, known, putting)
            ours = draft(put, serde, known, self._protection)
            if ours.body.skewed:  # what is stored before it may be pruned: see `Pending.commit_of`
                known = known._replace(early=self._cache.begin(session, name, None, putting))
            done = await self._store.commit(self._commit(put, ours, known, begins=begins))
            if done.outcome != "done":
                ours, done = await self._otherwise(
                    put, serde, known, ours, done, putting=putting, begins=begins
                )
            assert done.life is not None  # noqa: S101 -- a commit that is done has one
            ours.resolve(done.base)
            self._cache.written(session, done.life, name, ours.body, parent, putting=putting)
        except BaseException as error:
            refused = isinstance(error, WrenSessionsError)
            unsure = not refused or isinstance(error, StoreUnavailableError)
            self._cache.end(session, name, putting, unsure=unsure)
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

    async def _whose(
        self, put: Put, serde: Serializer, known: Known, putting: Putting
    ) -> tuple[Known, bool]:
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
        early = self._cache.begin(session, put.name, life, putting)
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
        putting: Putting,
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
            early = self._cache.begin(session, put.name, None, putting)
            nothing = nothing._replace(life=None, early=early)
            ours = draft(put, serde, nothing, self._protection)
            again = replace(self._commit(put, ours, nothing, begins=True), revision=None)
            done = await self._store.commit(replace(again, created_ms=life.created_ms))
            if done.outcome == "exists":  # the id has been taken since: that is somebody else's
                gone(session)
        check(session, done, token_in(self._rules, session))
        return ours, done
