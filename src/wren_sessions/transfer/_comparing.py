"""Whether two savers hold the same checkpoint, and what it takes to make them. Pure.

**Versions** of channels differ in kind from saver to saver: text with counters of some width, or
numbers. A thread can only go on where all its versions are of the kind that the saver makes. So
what is moved is given that kind, in the same order (see `wren_sessions.checkpoints.versions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from wren_sessions.checkpoints.codec import metadata_of
from wren_sessions.checkpoints.versions import Counter
from wren_sessions.delta.encoder import Serializer
from wren_sessions.transfer._sources import parent_of

if TYPE_CHECKING:
    from langgraph.checkpoint.base import Checkpoint, CheckpointTuple

PendingWrite: TypeAlias = tuple[str, str, Any]
"""Task id, channel, value."""

SPECIAL: Final = {"__error__": -1, "__scheduled__": -2, "__interrupt__": -3, "__resume__": -4}
"""LangGraph's ``WRITES_IDX_MAP``: writes that are there once per task, and may be replaced."""

_OWN_FIELDS: Final = {"channel_values", "channel_versions", "versions_seen"}


# --- versions -------------------------------------------------------------------------------------


def counted(checkpoint: Checkpoint, counter: Counter) -> Checkpoint:
    """A checkpoint whose versions are converted to the kind that a saver makes."""
    seen = checkpoint["versions_seen"]
    changed = {
        **checkpoint,
        "channel_versions": counter.versions(checkpoint["channel_versions"]),
        "versions_seen": {node: counter.versions(versions) for node, versions in seen.items()},
    }
    return cast("Checkpoint", changed)


# --- comparing ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not the same.

    Attributes:
        what: for people.
        value: whether it is a value, which a serializer may have changed.
    """

    what: str
    value: bool


def difference(
    ours: CheckpointTuple, theirs: CheckpointTuple, serde: Serializer
) -> Difference | None:
    """What two checkpoints differ in, besides pending writes; None if they are the same."""
    a, b = ours.checkpoint, theirs.checkpoint
    if parent_of(ours) != parent_of(theirs):
        return Difference("its parent", value=False)
    if not same(a["channel_versions"], b["channel_versions"], serde):
        return Difference("the versions of its channels", value=False)
    if not same(a["versions_seen"], b["versions_seen"], serde):
        return Difference("the versions that its nodes have seen", value=False)
    if not same(metadata_of(ours.metadata), metadata_of(theirs.metadata), serde):
        return Difference("its metadata", value=True)
    if not same(_rest(a), _rest(b), serde):
        return Difference("its data other than channels", value=True)
    return _values(a["channel_values"], b["channel_values"], serde)


def _rest(checkpoint: Checkpoint) -> dict[str, Any]:
    return {key: value for key, value in checkpoint.items() if key not in _OWN_FIELDS}


def _values(a: Mapping[str, Any], b: Mapping[str, Any], serde: Serializer) -> Difference | None:
    if a.keys() != b.keys():
        return Difference("which of its channels have a value", value=False)
    for channel, value in a.items():
        if not same(value, b[channel], serde):
            return Difference(f"channel {channel!r}", value=True)
    return None


def same(a: Any, b: Any, serde: Serializer) -> bool:
    """Whether two values are the same, part by part: types count, the order of sets does not.

    A list equals a tuple if the target's serializer has no tuples. LangGraph's turns them into
    lists, such as ``("human", "Hello")``, and so do its savers.
    """
    if type(a) is not type(b) and (
        {type(a), type(b)} != {list, tuple}
        or type(serde.loads_typed(serde.dumps_typed((1,)))) is tuple  # it knows tuples
    ):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key], serde) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(*parts, serde) for parts in zip(a, b, strict=True))
    with suppress(Exception):  # values compare as they like: arrays as arrays, NaN as different
        if a == b:
            return True
    with suppress(Exception):
        return serde.dumps_typed(a) == serde.dumps_typed(b)
    return False


# --- pending writes -------------------------------------------------------------------------------


def writes_of(found: CheckpointTuple) -> list[PendingWrite]:
    """A checkpoint's pending writes."""
    return [(task, channel, value) for task, channel, value in found.pending_writes or ()]


def same_writes(a: Sequence[PendingWrite], b: Sequence[PendingWrite], serde: Serializer) -> bool:
    """Whether pending writes are the same, in the same order."""
    return len(a) == len(b) and all(
        ours[:2] == theirs[:2] and same(ours[2], theirs[2], serde)
        for ours, theirs in zip(a, b, strict=True)
    )


def by_task(writes: Sequence[PendingWrite]) -> list[PendingWrite]:
    """Pending writes in the order of a saver that does not know the order of their tasks."""
    return sorted(writes, key=lambda write: (write[0], SPECIAL.get(write[1], 0)))


def covered(
    ours: Sequence[PendingWrite], theirs: Sequence[PendingWrite], serde: Serializer
) -> bool:
    """Whether `theirs` has all of `ours`; special writes may have been replaced there."""
    rest = list(theirs)
    for write in ours:
        task, channel, value = write
        of_it = (at for at, other in enumerate(rest) if other[:2] == (task, channel))
        equal = (at for at in of_it if channel in SPECIAL or same(value, rest[at][2], serde))
        at = next(equal, None)
        if at is None:
            return False
        del rest[at]
    return True


def paths(writes: Sequence[PendingWrite]) -> list[str]:
    """Task paths with which LangGraph sorts these writes in the order they are in.

    Savers do not tell the paths. None are needed where the order is by task and index.
    """
    if [write[:2] for write in writes] == [write[:2] for write in by_task(writes)]:
        return [""] * len(writes)
    return [f"{number:06}" for number in range(len(writes))]
