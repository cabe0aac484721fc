"""Steps: the checkpoints of a namespace, what each changed, and all of them as a tree in text.

The tree is drawn newest first, as ``git log --graph`` draws commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


# --- the tree -------------------------------------------------------------------------------------

DOT, BAR = "●", "│"


class Drawn(NamedTuple):
    """A checkpoint in the drawing.

    Attributes:
        joins: lines above it, where lines of forks come together.
        mark: what stands before its first line.
        beside: what stands before further lines of its text.
    """

    joins: list[str]
    mark: str
    beside: str


def draw(items: Iterable[tuple[str, str | None]]) -> Iterator[Drawn]:
    """Draw checkpoints.

    Args:
        items: id and parent's id of each, newest first.

    Yields:
        The drawing of each, in the same order.
    """
    lanes: list[str | None] = []  # the id that each line leads down to
    for id_, parent in items:
        mine = [at for at, wanted in enumerate(lanes) if wanted == id_]
        if not mine:
            if None not in lanes:
                lanes.append(None)
            mine = [lanes.index(None)]
            lanes[mine[0]] = id_
        joins = [_joined(lanes, mine)] if len(mine) > 1 else []
        for at in mine[1:]:
            lanes[at] = None
        at = mine[0]
        _shorten(lanes)
        mark = _row(lanes, at)
        lanes[at] = parent
        _shorten(lanes)
        yield Drawn(joins, mark, _row(lanes, None))


def _shorten(lanes: list[str | None]) -> None:
    while lanes and lanes[-1] is None:
        lanes.pop()


def _row(lanes: list[str | None], own: int | None) -> str:
    signs = [
        DOT if at == own else BAR if wanted is not None else " " for at, wanted in enumerate(lanes)
    ]
    return " ".join(signs)


def _joined(lanes: list[str | None], mine: list[int]) -> str:
    """The line on which several lines become one."""
    first, last = mine[0], mine[-1]
    signs = []
    for at, wanted in enumerate(lanes):
        if at == first:
            sign = "├"
        elif at in mine:
            sign = "╯" if at == last else "┴"
        elif first < at < last:
            sign = "┼" if wanted is not None else "─"
        else:
            sign = BAR if wanted is not None else " "
        signs.append(sign + ("─" if first <= at < last else " "))
    return "".join(signs).rstrip()
