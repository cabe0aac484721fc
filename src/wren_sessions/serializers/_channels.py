"""Migrations of channels, ready to be applied: see `migrations`.

Renaming is for the code that reads and writes records; see `wren_sessions.checkpoints.renaming`. A
value that functions have changed is stored in a separate envelope, with the channel's name and the
version. So no function sees it twice, and code without the functions does not mistake it for the
old form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wren_sessions._blocking import LRU
from wren_sessions.errors import SerializationError
from wren_sessions.serializers._stored_objects import called
from wren_sessions.serializers._told import TOLD
from wren_sessions.serializers._tree import kind_of
from wren_sessions.serializers._wire import CHANNEL, KIND, marker
from wren_sessions.serializers.migrations import ChannelChanges, MigrateValue, Migrations
from wren_sessions.serializers.packing import Lower, pack
from wren_sessions.serializers.unreadable import UnreadableValue

_MARK: Final = marker(CHANNEL)
_ITEMS: Final = 4
_MOST_GRAPHS: Final = 1_000  # stored data may name any subgraph
_HOLDERS: Final = {  # what LangGraph puts around the value of a channel, and in which field it is
    "langgraph.checkpoint.serde.types:_DeltaSnapshot": "value",
    "langgraph.types:Overwrite": "value",
}


class Versioned:
    """A channel's value, to be written with the version up to which functions have brought it."""

    __slots__ = ("channel", "value", "version")

    def __init__(self, channel: str, version: int, value: Any) -> None:
        self.channel = channel
        self.version = version
        self.value = value

    def lowered(self, lower: Lower) -> list[Any]:
        """The items of its envelope."""
        return [_MARK, self.channel, self.version, lower(self.value)]


class ChannelFunctions:
    """What brings the values of one channel to its highest version: functions, by version."""

    def __init__(self, channel: str, functions: Mapping[int, MigrateValue]) -> None:
        self._channel = channel
        self._functions = sorted(functions.items())
        self._latest = self._functions[-1][0]
        # How an envelope of this version begins: an array of four elements.
        self._head = b"\x94" + b"".join(map(pack, (_MARK, channel, self._latest)))

    def versioned(self, value: Any) -> Any:
        """A value as it is to be written."""
        if type(value) is UnreadableValue:
            return value
        return Versioned(self._channel, self._latest, value)

    def have_run(self, typed: tuple[str, bytes]) -> bool:
        """Whether a stored value is of the highest version."""
        return typed[0] == KIND and typed[1].startswith(self._head)

    def applied(self, tree: Any, lower: Lower) -> Any:
        """A value's tree, brought to the highest version.

        Raises:
            SerializationError: a function failed.
        """
        version, value = split_channel(tree)
        found = [value]  # where the value stands: here, or in a field of what LangGraph puts around
        at: Any = 0
        field = _HOLDERS.get(value[1]) if kind_of(value) in {b"n", b"o"} else None
        if field is not None and field in value[2]:
            found, at = value[2], field
        for since, function in self._functions:
            if since > version:
                name = f"the migration since={since} of channel {self._channel!r}"
                found[at] = called(function, name, found[at], lower)
        TOLD.migrates(f"value of channel {self._channel!r}")
        return value if field is not None else found[0]


def split_channel(tree: Any) -> tuple[int, Any]:
    """The version of a channel's value, and the value."""
    if kind_of(tree) != CHANNEL:
        return 0, tree
    if len(tree) != _ITEMS or type(tree[2]) is not int:
        raise SerializationError("the stored value is damaged: a channel has no version")
    return tree[2], tree[3]


class GraphChannels:
    """The channels of one graph, and what has changed in them.

    Attributes:
        names: what each renamed channel is called today.
        earlier: what each of these was called before.
        removed: channels that are dropped.
        functions: of the channels whose values are changed.
    """

    def __init__(self, changes: ChannelChanges) -> None:
        self.names: dict[str, str] = {
            old: _last(new, changes.names) for old, new in changes.names.items()
        }
        self.earlier: dict[str, list[str]] = {}
        for old, new in self.names.items():
            self.earlier.setdefault(new, []).append(old)
        self.removed: frozenset[str] = frozenset(changes.removed)
        self.functions: dict[str, ChannelFunctions] = {
            name: ChannelFunctions(name, functions)
            for name, functions in changes.functions.items()
            if functions
        }

    def versioned(self, channel: str, value: Any) -> Any:
        """A value of a channel as it is to be written."""
        functions = self.functions.get(channel)
        return value if functions is None else functions.versioned(value)


def _last(name: str, names: Mapping[str, str]) -> str:
    for _ in names:
        name = names.get(name, name)
    return name


class ChannelPlan:
    """The channels of all graphs."""

    def __init__(self, migrations: Migrations) -> None:
        self._migrations = migrations
        self._graphs: LRU[str, GraphChannels] = LRU(_MOST_GRAPHS)
        self._versions: dict[str, int] = {}
        for subgraph in migrations.subgraphs:
            changes = migrations.channels(subgraph or "")
            for name, functions in changes.functions.items():
                latest = max(functions, default=0)
                for each in (name, *(old for old in changes.names if old != name)):
                    if _last(each, changes.names) == name:
                        self._versions[each] = max(latest, self._versions.get(each, 0))

    def of(self, namespace: str) -> GraphChannels:
        """The channels of the graph that writes to a namespace."""
        path = graph_path(namespace)
        found = self._graphs.get(path)
        if found is None:
            found = GraphChannels(self._migrations.channels(path))
            self._graphs.keep(path, found)
        return found

    def build(self, items: list[Any]) -> Any:
        """The value of an envelope with a version.

        Raises:
            SerializationError: code that this process does not have has changed it.
        """
        _, channel, version, value = items
        if version > self._versions.get(channel, 0):
            raise SerializationError(
                f"channel {channel!r} was migrated to version {version} by newer code, which this "
                "process does not have: deploy that code here, or register its migrations",
                deferrable=True,
            )
        return value


def graph_path(namespace: str) -> str:
    """The names of the nodes that lead to the graph of a namespace."""
    return "|".join(part.partition(":")[0] for part in namespace.split("|"))


def channels_of(serde: object, namespace: str) -> GraphChannels | None:
    """What a serializer knows of changes in the channels of a graph; None without any."""
    plan = getattr(serde, "channels", None)
    return plan.of(namespace) if isinstance(plan, ChannelPlan) else None
