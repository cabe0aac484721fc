"""A checkpoint to write, and the record that it becomes. Pure, no I/O.

Others write the draft: `put` commits it to the life that it belongs to, and an import commits it to
the revision that it found.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wren_sessions.checkpoints.codec import CheckpointRecord, StoredValue, encode_record
from wren_sessions.checkpoints.readable import SURE_BYTES, check_readable
from wren_sessions.checkpoints.record_cache import Known
from wren_sessions.checkpoints.renaming import about_both, check_names, to_both, values_to_write
from wren_sessions.checkpoints.versions import Version, as_text
from wren_sessions.delta.encoder import DeltaEncoder, Grown, Large, Serializer, dump
from wren_sessions.delta.protection import Protection
from wren_sessions.records import Life, Name, Record
from wren_sessions.serializers._channels import channels_of
from wren_sessions.serializers.limits import limits_of


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
    """The record that a checkpoint becomes.

    Args:
        put: the checkpoint.
        serde: the serializer.
        known: what it may build on.
        protection: what happens to values before they are stored.

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
