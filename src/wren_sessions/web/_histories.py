"""The time line of a session: its checkpoints as a tree, and two small plots of its life."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple
from uuid import UUID

from wren_sessions.checkpoints.codec import record_of
from wren_sessions.checkpoints.snapshots import Snapshot
from wren_sessions.errors import SessionNotFoundError
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Life, Stored
from wren_sessions.viewing.states import Reader, attempt
from wren_sessions.viewing.steps import Entry, draw, entry

STEPS: Final = 20  # on a page: states are whole conversations
PLOTTED: Final = 400  # checkpoints of a plot
WIDTH, HEIGHT = 240, 48
_UUID_EPOCH: Final = 0x01B21DD213814000  # 1970 in what ids count: 100 ns since 1582
_UNITS_PER_MS: Final = 10_000
_TIMED: Final = 6  # the version of UUIDs that are times


class Step(NamedTuple):
    """A checkpoint of a page.

    Attributes:
        entry: what it is, and what it changed.
        joins: the lines above it, each as signs of `draw`.
        lanes: the signs before it.
        fault: why it cannot be read.
    """

    entry: Entry
    joins: list[str]
    lanes: str
    fault: str


class Steps(NamedTuple):
    """A page of checkpoints, and the one to go on behind; None at the end."""

    steps: list[Step]
    following: str | None


def steps(
    store: SessionStore, session: str, namespace: str, before: str | None, *, internal: bool
) -> Steps:
    """Checkpoints of a namespace, the latest first, or those behind one of them."""
    reader = Reader(store)
    walk = reader.snapshots(session, namespace, before)
    snapshots, fault = attempt(lambda: list(islice(walk, STEPS + 1)))
    if snapshots is None:
        return _bare(reader, session, namespace, before, fault)
    shown = snapshots[:STEPS]
    found = list(_entries(reader, session, shown, snapshots, internal=internal))
    following = shown[-1].name[1] if len(snapshots) > STEPS else None
    return Steps(_drawn(found, [""] * len(found)), following)


def _entries(
    reader: Reader,
    session: str,
    shown: Sequence[Snapshot],
    known: Sequence[Snapshot],
    *,
    internal: bool,
) -> Iterator[Entry]:
    by_id: dict[str, Snapshot | None] = {each.name[1]: each for each in known}
    for snapshot in shown:
        parent = snapshot.parent_id
        if parent is not None and parent not in by_id:
            by_id[parent] = _parent(reader, session, snapshot.name[0], parent)
        yield entry(snapshot, by_id.get(parent or ""), internal=internal)


def _parent(reader: Reader, session: str, namespace: str, id_: str) -> Snapshot | None:
    try:
        found, _ = attempt(lambda: reader.snapshot(session, id_, namespace))
    except SessionNotFoundError:
        return None
    return found


def _bare(reader: Reader, session: str, namespace: str, before: str | None, fault: str) -> Steps:
    """Checkpoints of which one is damaged: what their records tell."""
    records = (each for each in reader.stored(session, namespace))
    if before is not None:
        records = (each for each in records if each.name[1] < before)
    found = list(islice(records, STEPS + 1))
    shown = [_record(session, stored) for stored in found[:STEPS]]
    following = found[STEPS - 1].name[1] if len(found) > STEPS else None
    faults = [own or fault for _, own in shown]
    return Steps(_drawn([each for each, _ in shown], faults), following)


def _record(session: str, stored: Stored) -> tuple[Entry, str]:
    namespace, id_ = stored.name
    body, fault = attempt(lambda: record_of(session, stored))
    facts = {"id": id_, "namespace": namespace, "time": None, "step": None, "source": None}
    facts["parent_id"] = None if body is None else body.parent_id
    return Entry(facts=facts, changed=[], waits=[], next=[]), fault


def _drawn(found: Sequence[Entry], faults: Sequence[str]) -> list[Step]:
    tree = draw((each.facts["id"], each.facts["parent_id"]) for each in found)
    return [
        Step(each, drawn.joins, drawn.mark, fault)
        for each, drawn, fault in zip(found, tree, faults, strict=True)
    ]


# --- plots ----------------------------------------------------------------------------------------


class Plot(NamedTuple):
    """A line to draw.

    Attributes:
        points: as SVG has them.
        least: the lowest value.
        most: the highest value.
        over: how many values it is of.
    """

    points: str
    least: float
    most: float
    over: int


class Plots(NamedTuple):
    """How large the state was, and how long the session had to live, over its checkpoints."""

    size: Plot | None
    ttl: Plot | None


def plots(store: SessionStore, session: str, namespace: str) -> Plots:
    """The plots of a session's latest checkpoints; a line takes two of them at least."""
    reader = Reader(store)
    records, _ = attempt(lambda: list(islice(reader.stored(session, namespace), PLOTTED)))
    info = reader.info(session)
    records = list(reversed(records or []))
    sizes = [
        (number, len(stored.body) + sum(span.length for span in stored.spans))
        for number, stored in enumerate(records)
    ]
    idle = info.idle if isinstance(info.idle, int) else store.ttl.idle_ms
    if info.idle == "none" or info.life.pinned:
        idle = None
    times = [time for stored in records if (time := time_of(stored.name[1])) is not None]
    left = list(time_left(times, idle, info.life)) if idle is not None else []
    return Plots(_plot(sizes), _plot(left))


def time_left(times: Sequence[int], idle: int, life: Life) -> Iterator[tuple[float, float]]:
    """The time left at and just before each checkpoint, and now, as the lifetime is now."""
    for at, time in enumerate(times):
        yield time, idle
        until = times[at + 1] if at + 1 < len(times) else max(time, life.now_ms)
        yield until, max(0, idle - (until - time))


def time_of(id_: str) -> int | None:
    """When a checkpoint was made, as its id tells: milliseconds since 1970; None if it does not."""
    try:
        found = UUID(id_)
    except ValueError:
        return None
    if found.version != _TIMED:
        return None
    count = found.int >> 80 << 12 | found.int >> 64 & 0xFFF
    return max(0, (count - _UUID_EPOCH) // _UNITS_PER_MS)


def _plot(values: Sequence[tuple[float, float]]) -> Plot | None:
    if len(values) <= 1:
        return None
    start, end = values[0][0], values[-1][0]
    most = max(value for _, value in values)
    points = (
        f"{(at - start) / ((end - start) or 1) * WIDTH:.1f},"
        f"{HEIGHT - value / (most or 1) * (HEIGHT - 4):.1f}"
        for at, value in values
    )
    return Plot(" ".join(points), min(value for _, value in values), most, len(values))
