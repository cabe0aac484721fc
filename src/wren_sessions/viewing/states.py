"""Reads checkpoints for viewers: imports nothing, and does not count as use of the session.

It reads with `SessionStore.scan` and `read`, which do not change the deadline, even if the policy
counts reading as use. Values are plain data. A value that cannot be shown is `Unreadable`, so that
the rest of its checkpoint can be shown. Damaged data is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from wren_sessions._blocking import Unsuspended, run
from wren_sessions._walks import RecordWalk
from wren_sessions.checkpoints import Checkpoints
from wren_sessions.checkpoints.channels import BRANCH, SENT, is_internal, is_next
from wren_sessions.checkpoints.codec import CheckpointRecord, record_of, writes_of
from wren_sessions.checkpoints.order import Place, just, one
from wren_sessions.checkpoints.record_cache import Cache
from wren_sessions.checkpoints.snapshots import Snapshot, in_order, opened, reading, value_of
from wren_sessions.checkpoints.waiting import next_step, step_after
from wren_sessions.delta.extents import Extent
from wren_sessions.delta.protection import protection_of
from wren_sessions.errors import (
    CorruptSessionError,
    DecryptionError,
    FormatVersionError,
    SerializationError,
    SessionNotFoundError,
)
from wren_sessions.protocols import SessionStore
from wren_sessions.records import (
    ArenaParts,
    Held,
    Loaded,
    SessionInfo,
    Span,
    Start,
    Stored,
    merge_spans,
)
from wren_sessions.serializers.plain import PlainObject, PlainSerializer
from wren_sessions.sessions.delta_channels import UNKNOWN, channels_apart, unwrapped, values_apart
from wren_sessions.sessions.operations import not_found
from wren_sessions.transcripts._building import Transcribing
from wren_sessions.transcripts._origins import ALL, Dated
from wren_sessions.transcripts._questions import interrupts_in

FAULTS: Final = (CorruptSessionError, DecryptionError, FormatVersionError, SerializationError)
"""Why a session cannot be read: it is damaged, sealed with another key, or of another version."""
T = TypeVar("T")

DONE: Final = "done"
JOIN: Final = "join:"  # a channel that starts a node once all that it waits for have run
PAGE: Final = 20  # states are whole conversations
_NAMES: Final = 200


def attempt(look: Callable[[], T]) -> tuple[T | None, str]:
    """What a function gives, or why it cannot be read."""
    try:
        return look(), ""
    except FAULTS as error:
        return None, error.message


class Viewer(PlainSerializer):
    """`PlainSerializer` for viewers: a value that it refuses becomes an object that says why."""

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value, or a `PlainObject` of type ``unreadable``."""
        try:
            return super().loads_typed(data)
        except SerializationError as error:
            return PlainObject("unreadable", f"{len(data[1]):,} bytes: {error.message}")


def checkpoints_of(store: SessionStore) -> Checkpoints:
    """The checkpoints of a store, without a cache."""
    return Checkpoints(Unsuspended(store), Cache(0), (), protection_of(store))


class Looking:
    """A store where loading a checkpoint does not count as use of its session."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def load(
        self,
        session: str,
        namespace: str = "",
        checkpoint_id: str | None = None,
        held: Held | None = None,
    ) -> Loaded | None:
        """See `SessionStore.load`. The arena is not brought along."""
        del held
        found = run(one(Unsuspended(self._store), session, namespace, checkpoint_id))
        if not found.records or found.life is None:
            return None
        return Loaded(life=found.life, stored=found.records[0], arena=None)


def transcribing(store: SessionStore, dated: Dated = ALL) -> Transcribing:
    """Makes transcripts of the sessions of a store, for looking at them: over `Unsuspended`."""
    target: Any = Looking(store)
    return Transcribing(checkpoints_of(target), Viewer(), dated)


class Reader:
    """Reads the sessions of one store."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._checkpoints = checkpoints_of(store)
        self._reading = self._checkpoints.reading
        self._serde = Viewer()

    def info(self, session: str) -> SessionInfo:
        """What is known of a session without reading it.

        Raises:
            SessionNotFoundError: it is not there.
        """
        found = self._store.info(session)
        return found if found is not None else not_found(session)

    def snapshots(
        self, session: str, namespace: str = "", before: str | None = None
    ) -> Iterator[Snapshot]:
        """Checkpoints of a namespace, the latest first, or those that come after one of them."""
        places: tuple[Place, ...] = (Place(namespace=namespace, before=before),)
        while places:
            found, places = run(self._reading.page(session, places, PAGE, self._serde))
            yield from found

    def snapshot(self, session: str, at: str | None, namespace: str = "") -> Snapshot | None:
        """One checkpoint, the latest if none is named; None for a session without any.

        It is named by its id, or by a part of it that no other one begins or ends with.

        Raises:
            SessionNotFoundError: there is no such session, or no such checkpoint.
        """
        exact = None if at is None else self.named(session, at, namespace)
        place = Place(namespace=namespace) if exact is None else just(namespace, exact)
        found, _ = run(self._reading.page(session, (place,), 1, self._serde))
        snapshot = next(found, None)
        if snapshot is None and exact is None:
            self.info(session)
        if snapshot is not None:
            snapshot.values.update(self._apart(session, snapshot))
        return snapshot

    def _apart(self, session: str, snapshot: Snapshot) -> dict[str, Any]:
        """The values that live in what was written to them; see `delta_channels`."""
        names = channels_apart(snapshot.metadata, snapshot.versions, snapshot.values)
        hidden = PlainObject("unreadable", "only its graph can put it together (a DeltaChannel)")
        apart = values_apart(self._checkpoints, self._serde, session, snapshot.name, names)
        found = run(apart).items()
        return {name: hidden if value is UNKNOWN else value for name, value in found}

    def named(self, session: str, at: str, namespace: str = "") -> str:
        """The id of the one checkpoint that `at` names or abbreviates; errors as `snapshot`."""
        if run(one(Unsuspended(self._store), session, namespace, at)).records:
            return at
        ids = [stored.name[1] for stored in self.stored(session, namespace)]
        if not ids:
            self.info(session)
        fitting = [id_ for id_ in ids if id_.startswith(at) or id_.endswith(at)]
        if len(fitting) == 1:
            return fitting[0]
        fault = f"{len(fitting)} checkpoints begin or end with" if fitting else "no checkpoint is"
        raise SessionNotFoundError(
            f"session {session!r}: {fault} {at!r}; `wren-sessions history` lists those there are",
            session=session,
        )

    def latest(self, session: str) -> Stored | None:
        """The latest record of a session, without its values; None if it has none."""
        return next(iter(run(one(Unsuspended(self._store), session, "", None)).records), None)

    def writes(
        self, session: str, at: str | None = None, namespace: str = ""
    ) -> list[tuple[str, str, Any]]:
        """The pending writes of a checkpoint, the latest if none is named, as in `Snapshot`.

        Nothing else of the checkpoint is read.
        """
        found = run(one(Unsuspended(self._store), session, namespace, at)).records
        if not found or not found[0].writes:
            return []
        what = f"a pending write of checkpoint {found[0].name[1]!r}"
        bodies = in_order(writes_of(session, found[0]))
        spans = merge_spans(
            Span(piece.offset, piece.length)
            for write in bodies
            for piece in write.value.pieces
            if isinstance(piece, Extent)
        )
        arena = (self._store.read(session, spans) if spans else None) or ArenaParts(())
        with reading(session, found[0], serde=self._serde):
            written = []
            for write in bodies:
                typed, *_ = opened(session, write.value, arena, self._checkpoints.protection, what)
                value = value_of(self._serde, typed, f"{what} of session {session!r}")
                written.append((write.task_id, write.channel, value))
        return written

    def stored(self, session: str, namespace: str) -> Iterator[Stored]:
        """The records of a namespace, by descending id, without their values."""
        scan = partial(Unsuspended(self._store).scan, session)
        walk = RecordWalk(scan, [Start(namespace)], _NAMES)
        while (page := run(walk.next_page())) is not None:
            yield from page.records


@dataclass(slots=True)
class Parts:
    """What a session is made of.

    Attributes:
        namespaces: how many checkpoints each namespace has.
        header_bytes: of the readable header.
        checkpoints_bytes: of the checkpoints' records, small values included.
        writes_bytes: of pending writes.
        arena_bytes: of lists and large values, which checkpoints share.
        other_bytes: of the rest, such as names and indexes; 0 if the store does not tell its size.
    """

    namespaces: dict[str, int]
    header_bytes: int
    checkpoints_bytes: int = 0
    writes_bytes: int = 0
    arena_bytes: int = 0
    other_bytes: int = 0

    def to_json(self) -> dict[str, int]:
        """The sizes as plain data."""
        return {
            "header_bytes": self.header_bytes,
            "checkpoints_bytes": self.checkpoints_bytes,
            "pending_writes_bytes": self.writes_bytes,
            "lists_and_large_values_bytes": self.arena_bytes,
            "other_bytes": self.other_bytes,
        }


def parts_of(store: SessionStore, info: SessionInfo) -> Parts:
    """The parts of a session, counted from its records; no value is read."""
    parts = Parts(namespaces={}, header_bytes=len(info.state))
    spans: list[Span] = []
    reader = Reader(store)
    for namespace, _ in store.heads(info.session):
        parts.namespaces[namespace] = 0
        for stored in reader.stored(info.session, namespace):
            parts.namespaces[namespace] += 1
            parts.checkpoints_bytes += len(stored.body)
            parts.writes_bytes += sum(len(write.body) for write in stored.writes)
            spans += stored.spans
    parts.arena_bytes = sum(span.length for span in merge_spans(spans))
    parts.other_bytes = max(0, (info.size_bytes or 0) - sum(parts.to_json().values()))
    return parts


# --- what a checkpoint says -----------------------------------------------------------------------


def state_of(snapshot: Snapshot | None, *, internal: bool = False) -> dict[str, Any]:
    """The values of a checkpoint; LangGraph's own only where they are asked for."""
    if snapshot is None:
        return {}
    return {
        str(key): unwrapped(value)
        for key, value in snapshot.values.items()
        if internal or not is_internal(key)
    }


def status_of(session: str, stored: Stored) -> str:
    """What a session's latest checkpoint tells of it, whatever its graph is.

    Returns:
        ``"waiting"`` for an answer; ``"failed"``; ``"running"`` where nodes are to run next, also
        if the process that ran them is gone; ``"unreadable"`` where the checkpoint or a pending
        write of it is damaged, or sealed with a key that is not given; else ``"done"``.
    """
    try:
        status = step_after(session, stored).status
        if status != "open":
            return status
        body = record_of(session, stored)
    except FAULTS:
        return "unreadable"
    # Tasks that are too large to be kept in the record are there all the same.
    values: dict[str, Any] = {channel: [None] for channel in body.values}
    for channel, value in body.values.items():
        inline = [piece for piece in value.pieces if isinstance(piece, bytes)]
        if (channel in SENT or channel.startswith(JOIN)) and len(inline) == len(value.pieces):
            values[channel] = Viewer().loads_typed((value.kind, b"".join(inline)))
    return "running" if _due(values, body) or _sent(values) else DONE


def next_of(snapshot: Snapshot | None) -> list[str]:
    """The nodes that run next, as far as the checkpoint tells without its graph."""
    if snapshot is None:
        return []
    nodes = _due(snapshot.values, snapshot)
    for task in _sent(snapshot.values):
        fields = getattr(task, "value", None)
        if isinstance(fields, list | tuple) and fields:
            fields = {"node": fields[0]}
        if isinstance(fields, dict) and fields.get("node"):
            nodes.append(fields["node"])
    return nodes


def _due(values: Mapping[str, Any], step: Snapshot | CheckpointRecord) -> list[str]:
    """The nodes whose channels they have not seen yet."""
    found = []
    for channel in values:
        node = _node_after(channel, values[channel])
        if node and step.versions.get(channel) != step.seen.get(node, {}).get(channel):
            found.append(node)
    return found


def _node_after(channel: str, value: Any) -> str | None:
    """The node that a channel starts, if it does."""
    if is_next(channel):
        return channel.removeprefix(BRANCH)
    if not channel.startswith(JOIN):
        return None
    awaited, _, node = channel.removeprefix(JOIN).rpartition(":")
    there = value if isinstance(value, set | frozenset | list | tuple) else ()
    return node if {*awaited.split("+")} == {*map(str, there)} else None


def _sent(values: Mapping[str, Any]) -> list[Any]:
    found = [values.get(name) for name in SENT]
    return [task for tasks in found if isinstance(tasks, list) for task in tasks]


def interrupts_of(snapshot: Snapshot | None) -> list[Any]:
    """What waits for an answer."""
    if snapshot is None:
        return []
    questions = next_step(snapshot.writes).questions
    return [asked.value for written in questions for asked in interrupts_in(written)]


def errors_of(snapshot: Snapshot | None) -> list[Any]:
    """What tasks raised in the step after this checkpoint."""
    if snapshot is None:
        return []
    return list(next_step(snapshot.writes).errors)
