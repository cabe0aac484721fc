"""Steps: the checkpoints of a namespace, and what each of them changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from wren_sessions.checkpoints.snapshots import Snapshot
from wren_sessions.transcripts._values import jsonable
from wren_sessions.viewing.states import interrupts_of, next_of, state_of
from wren_sessions.viewing.values import glimpse, summary


class Entry(NamedTuple):
    """A checkpoint, and what it changed."""

    facts: dict[str, Any]
    changed: list[str]
    waits: list[str]
    next: list[str]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            **self.facts,
            "changed": self.changed,
            "waits_for": self.waits,
            "next": self.next,
        }


def checkpoint_json(snapshot: Snapshot) -> dict[str, Any]:
    """What a checkpoint is, as plain data."""
    namespace, id_ = snapshot.name
    return {
        "id": id_,
        "namespace": namespace,
        "parent_id": snapshot.parent_id,
        "time": jsonable(snapshot.rest.get("ts")),
        "step": jsonable(snapshot.metadata.get("step")),
        "source": jsonable(snapshot.metadata.get("source")),
    }


def entries(snapshots: Iterator[Snapshot], *, internal: bool) -> Iterator[Entry]:
    """Each checkpoint compared with the one that it continues."""
    waiting: list[Snapshot] = []
    for snapshot in snapshots:
        waiting.append(snapshot)
        while waiting and waiting[0].parent_id in {None, *(each.name[1] for each in waiting)}:
            yield _next_entry(waiting, internal=internal)
    while waiting:
        yield _next_entry(waiting, internal=internal)


def _next_entry(waiting: list[Snapshot], *, internal: bool) -> Entry:
    """Take the first; its parent is among the others unless it is not there."""
    snapshot = waiting.pop(0)
    parent = next((s for s in waiting if s.name[1] == snapshot.parent_id), None)
    return entry(snapshot, parent, internal=internal)


def entry(snapshot: Snapshot, parent: Snapshot | None, *, internal: bool) -> Entry:
    """What a checkpoint changed of the one that it continues; None where that is not there."""
    if snapshot.parent_id == snapshot.name[1]:
        changed = ["(it continues itself)"]
    elif parent is None and snapshot.parent_id is not None:
        changed = ["(the checkpoint before it is not there)"]
    else:
        changed = summary(
            state_of(parent, internal=internal), state_of(snapshot, internal=internal)
        )
    return Entry(
        facts=checkpoint_json(snapshot),
        changed=changed,
        waits=[glimpse(question) for question in interrupts_of(snapshot)],
        next=next_of(snapshot),
    )
