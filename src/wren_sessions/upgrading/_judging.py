"""What reading a value or a checkpoint would result in. Pure: nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from wren_sessions.checkpoints.channels import BRANCH, is_internal
from wren_sessions.checkpoints.codec import CheckpointRecord, WriteBody, record_of, writes_of
from wren_sessions.checkpoints.renaming import MIRRORS, renamed_in, writes_today
from wren_sessions.checkpoints.snapshots import loads, opened, read_record, reading
from wren_sessions.checkpoints.waiting import INTERRUPT
from wren_sessions.delta.base import ArenaView
from wren_sessions.delta.encoder import Serializer
from wren_sessions.delta.protection import Protection
from wren_sessions.errors import SerializationError
from wren_sessions.records import ArenaParts, Stored
from wren_sessions.serializers._channels import ChannelFunctions, GraphChannels, channels_of
from wren_sessions.serializers._told import TOLD
from wren_sessions.serializers.limits import OverBudgetError
from wren_sessions.serializers.migrations import ChannelChanges
from wren_sessions.upgrading._application import Application, Shape
from wren_sessions.upgrading._report import Cause

_PULL: Final = "~__pregel_pull, "  # what the path of a node's task begins with
_ENDS: Final = frozenset({"__start__", "__end__"})


def judged(
    serde: Serializer,
    typed: tuple[str, bytes],
    where: str,
    functions: ChannelFunctions | None = None,
) -> Iterator[Cause]:
    """What reading a value tells: nothing if it is read as it is."""
    TOLD.notes, TOLD.migrated = {}, False
    try:
        loads(serde, typed, where, functions)
    except OverBudgetError:
        raise  # all that is read together is too much
    except SerializationError as error:
        yield Cause("fails", where, error.message, error.line)
    finally:
        notes, TOLD.notes = TOLD.notes, None
    for text, line in (notes or {}).items():
        yield Cause("warning" if line else "migrated", where, text, line)


def judged_checkpoint(
    session: str, stored: Stored, arena: ArenaParts, app: Application, protection: Protection
) -> list[Cause]:
    """What reading a checkpoint with its pending writes tells."""
    with reading(session, stored, serde=app.serde):
        return list(_judged(session, stored, arena, app, protection))


def _judged(
    session: str, stored: Stored, arena: ArenaParts, app: Application, protection: Protection
) -> Iterator[Cause]:
    what = "a pending write"
    writes = writes_of(session, stored)
    channels = channels_of(app.serde, stored.name[0]) or GraphChannels(ChannelChanges())
    yield from _renames(session, stored, channels, writes)
    data, body = read_record(session, stored, ArenaView(arena), protection, app.serde)
    shape = app.shape(stored.name[0])
    yield from judged(app.serde, body.meta, "the metadata")
    for channel, typed in data.items():
        functions = channels.functions.get(channel)
        yield from judged(app.serde, typed, f"channel {channel!r}", functions)
    writes = writes_today(writes, channels)
    for write in writes:
        typed, *_ = opened(session, write.value, arena, protection, what)
        where = "an interrupt" if write.channel == INTERRUPT else f"a write to {write.channel!r}"
        yield from judged(app.serde, typed, where, channels.functions.get(write.channel))
    if shape is not None:
        yield from _misfits(shape, body, writes)


def _renames(
    session: str, stored: Stored, channels: GraphChannels, writes: list[WriteBody]
) -> Iterator[Cause]:
    """Channels that are read under another name than they are stored under."""
    if channels.names or channels.removed:
        body = record_of(session, stored)
        for old, new in sorted(renamed_in(body, channels).items()):
            text = f"it is called {new!r} now" if new else "it is dropped"
            yield Cause("migrated", f"channel {old!r}", text)
    for write in writes:
        if write.channel in channels.names and write.index < MIRRORS:
            text = f"the channel is called {channels.names[write.channel]!r} now"
            yield Cause("migrated", f"a write to {write.channel!r}", text)


def _misfits(shape: Shape, body: CheckpointRecord, writes: list[WriteBody]) -> Iterator[Cause]:
    """What a graph has no place for: pending nodes and channels that are gone."""
    for channel in body.values:
        if is_internal(channel):
            yield from _next_node(shape, channel)
        elif channel not in shape.channels:
            yield Cause(
                "warning",
                f"channel {channel!r}",
                "the graph's state no longer has it: it stays stored, and the graph does not see "
                "it",
                f'.channel_renamed("{channel}", "…"), or .channel_removed("{channel}")',
            )
    for node in {_node(write.path) for write in writes} - shape.nodes - {None}:
        asks = any(_node(write.path) == node and write.channel == INTERRUPT for write in writes)
        what = "waits for an answer" if asks else "has begun"
        yield Cause(
            "fails",
            f"node {node!r}",
            f"it {what}, and the graph no longer has this node",
            "keep the node until no session waits in it",
        )


def _next_node(shape: Shape, channel: Any) -> Iterator[Cause]:
    node = channel.removeprefix(BRANCH)
    if node != channel and node not in shape.nodes and node not in _ENDS:
        yield Cause(
            "fails",
            f"node {node!r}",
            "it comes next, and the graph no longer has this node",
            "keep the node until no session waits in it",
        )


def _node(path: str) -> str | None:
    return path.removeprefix(_PULL).split(",")[0] if path.startswith(_PULL) else None
