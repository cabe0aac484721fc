"""Values that are stored as the writes to them (LangGraph's `DeltaChannel`), without a graph.

Such a channel is stored at some checkpoints only. Elsewhere, its value is what the graph's reducer
makes of the writes since then. The reducer belongs to the application, and is not known here. So:

- To *show* a value, it is put together as LangGraph's own reducers do it: lists, sets and dicts are
  joined, messages replaced and removed by their ids. If this is not possible, that is an error.
- If an application *does not change* a value, it stays in its writes. Nothing is put together.
- If an application *changes* a value, the new value is stored. LangGraph continues from it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from wren_sessions.checkpoints import Checkpoints
from wren_sessions.checkpoints.codec import writes_of
from wren_sessions.checkpoints.delta_channels import History
from wren_sessions.checkpoints.get import Head
from wren_sessions.checkpoints.renaming import COUNTERS, writes_today
from wren_sessions.checkpoints.snapshots import read_value
from wren_sessions.delta.encoder import Serializer
from wren_sessions.errors import ConflictError, SerializationError
from wren_sessions.records import Name
from wren_sessions.serializers import KIND
from wren_sessions.serializers._channels import channels_of

_SNAPSHOT: Final = "_DeltaSnapshot"
_OVERWRITE: Final = "__overwrite__"
_REMOVE_ALL: Final = "__remove_all__"
_EXTENSIONS: Final = frozenset((*range(0xC7, 0xCA), *range(0xD4, 0xD9)))  # of msgpack
UNKNOWN: Final = object()
"""A value that only its graph can put together."""


@dataclass(frozen=True, slots=True)
class Delta:
    """The value of a DeltaChannel at a checkpoint.

    Attributes:
        value: the value, if it `is_known`.
        stored: whether it is stored at this checkpoint itself.
        removed: whether it was taken out of the state.
    """

    value: Any
    stored: bool = False
    removed: bool = False

    @property
    def is_known(self) -> bool:
        """Whether it could be put together."""
        return self.value is not UNKNOWN


def deltas_in(
    serde: Serializer, session: str, head: Head, metadata: Mapping[str, Any]
) -> dict[str, Delta]:
    """The values of DeltaChannels that a checkpoint stores itself, by channel."""
    counted = _counters(metadata)
    channels = channels_of(serde, "")
    found: dict[str, Delta] = {}
    for channel, typed in head.data.items():
        # Lists are long: one is not read where its first bytes say that it is a plain one.
        kind, data = typed
        wrapped = kind not in {KIND, "msgpack"} or not _EXTENSIONS.isdisjoint(data[:2])
        if channel in counted or wrapped:
            what = f"{channel!r} of session {session!r}"
            functions = channels.functions.get(channel) if channels else None
            value = read_value(head.body.values[channel], serde, typed, what, functions)
            if channel in counted or unwrapped(value) is not value:
                removed = value is None and counted[channel][0] == 0
                found[channel] = Delta(unwrapped(value), stored=True, removed=removed)
    return found


async def deltas_apart(
    checkpoints: Checkpoints,
    serde: Serializer,
    session: str,
    head: Head,
    metadata: Mapping[str, Any],
) -> dict[str, Delta]:
    """The values of DeltaChannels that a checkpoint does not store."""
    apart = channels_apart(metadata, head.body.versions, head.data)
    values = await values_apart(checkpoints, serde, session, head.stored.name, apart)
    return {channel: Delta(value) for channel, value in values.items()}


async def values_apart(
    checkpoints: Checkpoints, serde: Serializer, session: str, name: Name, channels: Sequence[str]
) -> dict[str, Any]:
    """The values of channels that a checkpoint does not store; `UNKNOWN` for some."""
    if not channels:
        return {}
    histories = await checkpoints.histories.read(session, *name, channels, serde)
    return {channel: _joined(*replayed(histories[channel])) for channel in channels}


def channels_apart(
    metadata: Mapping[str, Any], versions: Collection[str], values: Collection[str]
) -> list[str]:
    """The channels whose value is not stored at the checkpoint, but as the writes to them."""
    return [name for name in _counters(metadata) if name in versions and name not in values]


def counters_after(
    metadata: Mapping[str, Any],
    found: Mapping[str, Delta],
    *,
    changed: AbstractSet[str],
    removed: AbstractSet[str],
) -> dict[str, tuple[int, int]]:
    """LangGraph's counters since a value was stored: updates and steps.

    LangGraph sets both to zero if it has just stored the value. Here there is always one step, so
    that the channel is recognised as a DeltaChannel. If it was removed from the state, None is
    stored in its place, and there is no update.

    Args:
        metadata: of the checkpoint before.
        found: the values there.
        changed: the channels whose value is given now.
        removed: the channels that are taken out of the state now.
    """
    counted = dict.fromkeys(found, (0, 0)) | _counters(metadata)
    for channel, (updates, steps) in counted.items():
        apart = channel not in found or not found[channel].stored
        counted[channel] = (updates, steps + 1 if apart else max(steps, 1))
    given = changed & counted.keys()
    return counted | dict.fromkeys(removed, (0, 1)) | dict.fromkeys(given, (1, 1))


def _counters(metadata: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    found = metadata.get(COUNTERS)
    return {name: (updates, steps) for name, (updates, steps) in (found or {}).items()}


def check_settled(session: str, head: Head, channels: set[str], serde: Serializer) -> None:
    """Check that no unfinished step wrote to these channels.

    The next checkpoint would otherwise count these writes as its own.

    Raises:
        ConflictError: there is such a step.
    """
    writes = writes_of(session, head.stored)
    changes = channels_of(serde, "")
    if changes is not None:
        writes = writes_today(writes, changes)
    written = {write.channel for write in writes}
    for channel in sorted(channels & written):
        raise ConflictError(
            f"session {session!r} stopped during a step that wrote to {channel!r}, which is a "
            "DeltaChannel, so only its graph knows which writes count: let the graph go on, or "
            "change the state with graph.update_state",
            session=session,
        )


def unknown(session: str, channel: str) -> NoReturn:
    """Raise the error for a value that cannot be put together here."""
    raise SerializationError(
        f"{channel!r} of session {session!r} is a DeltaChannel: its graph's reducer computes its "
        "value from the writes to it, and this reducer is not known here: read it with "
        "graph.get_state"
    )


# --- putting together -----------------------------------------------------------------------------


def unwrapped(value: Any) -> Any:
    """The value of such a channel, without the wrapper that LangGraph stores."""
    if type(value).__name__ == _SNAPSHOT:
        return value.value
    if type(value).__name__ == "PlainObject" and value.type_name.endswith(_SNAPSHOT):
        fields = value.value  # in the order of a named tuple, or by name
        return fields[0] if isinstance(fields, list) else fields.get("value")
    return value


def replayed(history: History) -> tuple[Any, list[Any]]:
    """The stored value that a channel starts from (None for none), and the writes since."""
    base = unwrapped(history.seed[0]) if history.seed else None
    writes = [value for _, _, value in history.writes]
    for at, value in enumerate(writes):
        overwrites, instead = _overwrite(value)
        if overwrites:
            base, rest = instead, writes[at + 1 :]
            return replayed(History(writes=[("", "", each) for each in rest], seed=[base]))
    return base, writes


def _overwrite(value: Any) -> tuple[bool, Any]:
    """Whether a write replaces all before it, and by what: LangGraph's three ways to say so."""
    if type(value).__name__ == "PlainObject" and value.type_name.endswith("Overwrite"):
        value = value.value
    elif type(value).__name__ == "Overwrite" and hasattr(value, "value"):
        return True, value.value
    if isinstance(value, Mapping):
        if len(value) == 1 and _OVERWRITE in value:
            return True, value[_OVERWRITE]
        if value.get("type") == _OVERWRITE and "value" in value:
            return True, value["value"]
    return False, None


def _joined(base: Any, writes: Sequence[Any]) -> Any:
    """A value and what was written to it, put together."""
    if not writes:
        return [] if base is None else base
    parts = writes if base is None else [base, *writes]
    if all(isinstance(part, Mapping) and _message_id(part) is None for part in parts):
        return {key: value for part in parts for key, value in part.items()}
    if all(isinstance(part, set | frozenset) for part in parts):
        return set().union(*parts)
    messages = any(_message_id(part) is not None for part in parts)
    if messages or any(isinstance(part, list) for part in parts):
        return _list_of(parts)
    return UNKNOWN


def _list_of(parts: Sequence[Any]) -> list[Any]:
    """Lists and single elements as one list; a message takes the place of the one with its id."""
    found: dict[object, Any] = {}
    for part in parts:
        for item in part if isinstance(part, list) else [part]:
            kind, id_ = _message_id(item) or (None, None)
            if kind == "remove":
                found = {} if id_ == _REMOVE_ALL else found
                found.pop(id_, None)
            else:
                found[object() if id_ is None else id_] = item
    return list(found.values())


def _message_id(item: Any) -> tuple[str, str | None] | None:
    """Type and id of one of LangChain's messages; None for anything else."""
    if type(item).__name__ == "PlainObject" and "langchain_core.messages" in item.type_name:
        item = item.value
    if isinstance(item, Mapping) and "content" in item and ("type" in item or "role" in item):
        kind, id_ = item.get("type", item.get("role")), item.get("id")
    elif any(base.__name__ == "BaseMessage" for base in type(item).__mro__):
        kind, id_ = getattr(item, "type", None), getattr(item, "id", None)
    else:
        return None
    return str(kind), id_ if isinstance(id_, str) else None
