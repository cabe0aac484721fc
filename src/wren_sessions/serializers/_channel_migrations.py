"""What `Migrations` declares about the channels of a state: its half of the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeAlias, TypeVar

from wren_sessions.errors import ConfigurationError

MigrateValue: TypeAlias = Callable[[Any], Any]

_F = TypeVar("_F")
_LATEST: Final = 999_999_999


@dataclass(slots=True)
class ChannelChanges:
    """What has changed in the channels of one graph, or of all.

    Attributes:
        names: the new names of channels.
        removed: channels that are dropped.
        functions: of each channel, what brings its value to a version.
    """

    names: dict[str, str] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    functions: dict[str, dict[int, MigrateValue]] = field(default_factory=dict)


class ChannelMigrations:
    """The channels that have changed; see `Migrations`."""

    def __init__(self) -> None:
        self._channels: dict[str | None, ChannelChanges] = {}

    def channel_renamed(self, old: str, new: str, *, subgraph: str | None = None) -> Self:
        """A channel of the state has another name.

        Args:
            old: its name before.
            new: its name now.
            subgraph: of which graph; None for all.

        Raises:
            ConfigurationError: it was renamed already, is removed, or comes back to itself.
        """
        found = self._of_graph(subgraph, old, new)
        if found.names.get(old, new) != new or old in found.removed:
            now = found.names.get(old)
            raise ConfigurationError(
                f"channel {old!r} {f'was renamed to {now!r}' if now else 'is removed'}, and cannot "
                f"become {new!r}: say once what becomes of it"
            )
        at = new
        while at != old and at in found.names:
            at = found.names[at]
        if at == old:
            raise ConfigurationError(
                f"the renames of channel {old!r} go round in a circle: take one of them out"
            )
        found.names[old] = new
        return self

    def channel_removed(self, *names: str, subgraph: str | None = None) -> Self:
        """Channels of the state are gone for good: what was stored of them is dropped.

        Without this they stay stored, and code that still has them finds them.

        Args:
            names: the channels.
            subgraph: of which graph; None for all.

        Raises:
            ConfigurationError: one of them was renamed.
        """
        found = self._of_graph(subgraph, *names)
        renamed = sorted(found.names.keys() & set(names))
        if renamed:
            raise ConfigurationError(
                f"channel {renamed[0]!r} was renamed to {found.names[renamed[0]]!r}, and cannot be "
                "removed as well: say once what becomes of it"
            )
        found.removed |= set(names)
        return self

    def channel(
        self, name: str, *, since: int, subgraph: str | None = None
    ) -> Callable[[MigrateValue], MigrateValue]:
        """A decorator for a function that changes the value of a channel.

        It also gets what is written to the channel and pending. With a reducer, it must take both.

        Args:
            name: the channel, under today's name.
            since: the version that the function brings it to: 1 or more, higher for each change.
            subgraph: of which graph; None for all.

        Raises:
            ConfigurationError: `since` is not such a number, or has a function already.
        """
        functions = self._of_graph(subgraph, name).functions.setdefault(name, {})
        return registering(functions, since, f"channel {name!r}")

    def channels(self, subgraph: str) -> ChannelChanges:
        """What has changed in the channels of a graph: what is said of all, and of it alone.

        Args:
            subgraph: the names of its nodes; empty for the root graph.
        """
        found = ChannelChanges()
        for each in (None, subgraph):
            own = self._channels.get(each, ChannelChanges())
            found.names |= own.names
            found.removed |= own.removed
            for name, functions in own.functions.items():
                found.functions[name] = found.functions.get(name, {}) | functions
        return found

    @property
    def subgraphs(self) -> list[str | None]:
        """Of which graphs something is said; None stands for all."""
        return list(self._channels)

    def _of_graph(self, subgraph: str | None, *names: str) -> ChannelChanges:
        for name in names:
            if type(name) is not str or not name:
                raise ConfigurationError(
                    f"channels are named by the keys of the state, such as 'profile', not {name!r}"
                )
        return self._channels.setdefault(subgraph, ChannelChanges())


def registering(functions: dict[int, _F], since: int, what: str) -> Callable[[_F], _F]:
    """A decorator that registers a function for a version.

    Raises:
        ConfigurationError: `since` is not a version, or has a function already.
    """
    if type(since) is not int or not 0 < since <= _LATEST:
        raise ConfigurationError(
            f"since= must be a whole number from 1 to {_LATEST:,}, not {since!r}"
        )

    def register(function: _F) -> _F:
        if since in functions:
            raise ConfigurationError(
                f"{what} has a migration since={since} already: take the next number, and leave "
                "what was deployed as it is"
            )
        functions[since] = function
        return function

    return register
