"""`Migrations`: declares how the application's classes and channels have changed.

Stored data is not changed. It is read in the new form, and the next put writes it in the new form::

    migrations = (
        Migrations()
        .renamed("app.old:P", "app.new:Profile")
        .field_renamed("app.new:Profile", name="full_name")
        .member_renamed("app.new:Plan", FREE="BASIC")
    )

    @migrations.migration("app.new:Profile", since=3)
    def _(fields):
        fields["cents"] = fields.pop("dollars") * 100
        return fields

    SessionSaver(store, migrations=migrations)

Channels of a state, which are the keys of a state without LangGraph, change in the same way::

    migrations.channel_renamed("profile", "customer").channel_removed("scratch")

    @migrations.channel("total", since=1)
    def _(value):
        return value * 100

**Order.** Classes are renamed first, then fields and members. Functions come last, in the order of
their versions, and see the new names. Nested objects are migrated before the object that contains
them, and a channel's value comes last.

**Once.** After a name has been changed and written, it is no longer changed when it is read again.
For functions, stored data records the version of each class's fields and of each channel's value.
Both are written with the highest version. When they are read again, no function runs.

**Back.** A renamed field or channel is written under both names. So code from before the change
finds it and may change it, during a rolling deploy or after a rollback. Such code cannot read what
functions have changed. It gets an error when it uses the value.

A function gets the fields of one object, or the value of a channel, as plain data: builtin and
standard-library values, with a `StoredObject` in place of each object. It returns the new fields or
value. It must have no side effects. It may run many times, since a value that was read may never be
written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeAlias, TypeVar

from wren_sessions.errors import ConfigurationError
from wren_sessions.serializers._main_module import import_name
from wren_sessions.serializers._models import model_profile
from wren_sessions.serializers._profiles import profile_of
from wren_sessions.serializers._resolve import ref_of
from wren_sessions.serializers._wire import type_name

Migrate: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
MigrateValue: TypeAlias = Callable[[Any], Any]
_F = TypeVar("_F")
_LATEST: Final = 999_999_999


@dataclass(slots=True)
class ClassChanges:
    """What has changed in one class.

    Attributes:
        fields: the new names of fields.
        removed: fields that are dropped.
        members: the new names of an enum's members.
        functions: what brings the fields to a version.
    """

    fields: dict[str, str] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    members: dict[str, str] = field(default_factory=dict)
    functions: dict[int, Migrate] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """The highest version."""
        return max(self.functions, default=0)


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
        return _registering(functions, since, f"channel {name!r}")

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


class Migrations(ChannelMigrations):
    """A registry of changes. All methods except decorators return it, so calls can be chained.

    Pass classes as such, or as names ``"module:QualName"``, with their present or an earlier name.
    Methods about channels apply to a graph and all its subgraphs. With ``subgraph=`` they apply to
    one of them, named by its nodes, such as ``"orders"`` or ``"orders|billing"``, or only to the
    root graph (``""``). Register everything before you create the serializer or saver.
    """

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[str, str] = {}
        self._modules: dict[str, str] = {}
        self._classes: dict[str, ClassChanges] = {}

    # --- registering ---

    def renamed(self, old: str, new: type | str) -> Self:
        """A class, with its nested classes, has a new name or is in another module.

        Args:
            old: its old name, ``"module:QualName"``.
            new: the class, or its new name.

        Raises:
            ConfigurationError: a name is not valid, was renamed already, or leads back to itself.
        """
        return self._rename(self._names, _name(old), _name(new))

    def module_moved(self, old: str, new: str) -> Self:
        """A module has a new name. If it is a package, so do its modules.

        Args:
            old: its old name.
            new: its new name.

        Raises:
            ConfigurationError: as `renamed`.
        """
        for module in (old, new):
            if type(module) is not str or not module or ":" in module:
                raise ConfigurationError(
                    f"module_moved takes names of modules such as 'app.models', not {module!r}"
                )
        return self._rename(self._modules, old, new)

    def field_renamed(self, kind: type | str, /, **names: str) -> Self:
        """Fields of a class have new names.

        Args:
            kind: the class.
            names: each field's old name, and its new name.

        Raises:
            ConfigurationError: a field was renamed already, or the class still has the old one.
        """
        found = self._changes(kind)
        for old, new in names.items():
            known = {*found.fields.values()}
            if found.fields.get(old, new) != new or new in found.fields or old in known:
                raise ConfigurationError(
                    f"field {old!r} of {_name(kind)} is renamed to {new!r}, and one of both names "
                    "was renamed already: say once what each old name is called today"
                )
        _check_gone(kind, names, "renamed")
        found.fields |= names
        return self

    def field_removed(self, kind: type | str, /, *names: str) -> Self:
        """Fields of a class were removed. Their stored values are dropped.

        Without this call, they are kept aside and written back. Named tuples and classes with slots
        have no place for that, so they need this call.

        Args:
            kind: the class.
            names: the fields.

        Raises:
            ConfigurationError: the class still has one of them.
        """
        _check_gone(kind, dict.fromkeys(names, ""), "removed")
        self._changes(kind).removed |= set(names)
        return self

    def member_renamed(self, kind: type | str, /, **names: str) -> Self:
        """Members of an enum have new names, or are replaced by other members.

        Args:
            kind: the enum.
            names: each member's old name, and the name of the new member.

        Raises:
            ConfigurationError: a member was renamed already.
        """
        found = self._changes(kind)
        for old, new in names.items():
            known = {*found.members.values()}
            if found.members.get(old, new) != new or new in found.members or old in known:
                raise ConfigurationError(
                    f"member {old!r} of {_name(kind)} becomes {new!r}, and one of both was renamed "
                    "already: say once what each old name is called today"
                )
        found.members |= names
        return self

    def migration(self, kind: type | str, *, since: int) -> Callable[[Migrate], Migrate]:
        """A decorator for a function that changes the fields of a class's objects.

        Args:
            kind: the class.
            since: the version of the fields after this function: 1 or more, and higher for each
                change.

        Raises:
            ConfigurationError: `since` is not valid, or another function has it already.
        """
        return _registering(self._changes(kind).functions, since, _name(kind))

    # --- what was registered ---

    def today(self, name: str) -> str:
        """What a class of a name ``"module:QualName"`` is called today."""
        for _ in range(len(self._names) + len(self._modules) + 1):
            found = self._moved(self._of_class(name))
            if found == name:
                return name
            name = found
        raise ConfigurationError(
            f"the renames of {name} go round in a circle: take one of them out"
        )

    def _of_class(self, name: str) -> str:
        if name in self._names:
            return self._names[name]
        outer, dot, inner = name.rpartition(".")
        while dot and ":" in outer:
            if outer in self._names:
                return f"{self._names[outer]}.{name[len(outer) + 1 :]}"
            outer, dot, inner = outer.rpartition(".")
        del inner
        return name

    def _moved(self, name: str) -> str:
        module, _, path = name.partition(":")
        for old, new in self._modules.items():
            if module == old or module.startswith(f"{old}."):
                return f"{new}{module[len(old) :]}:{path}"
        return name

    def classes(self) -> dict[str, ClassChanges]:
        """What has changed in each class, by its name today."""
        found: dict[str, ClassChanges] = {}
        for name, changes in self._classes.items():
            if found.setdefault(self.today(name), changes) is not changes:
                raise ConfigurationError(
                    f"changes of {self.today(name)} are registered under two of its names: use one"
                )
        return found

    def texts(self) -> set[str]:
        """What stands in each stored value that any of this concerns."""
        moved = {f"{module}{sign}" for module in self._modules for sign in ":."}
        return {*self._names, *moved, *self.classes()}

    def _changes(self, kind: type | str) -> ClassChanges:
        return self._classes.setdefault(_name(kind), ClassChanges())

    def _rename(self, names: dict[str, str], old: str, new: str) -> Self:
        if names.get(old, new) != new:
            raise ConfigurationError(f"{old} was renamed to {names[old]}, and cannot become {new}")
        before = names.copy()
        names[old] = new
        try:
            self.today(old if ":" in old else f"{old}:x")
        except ConfigurationError:
            del names[old]
            names |= before
            raise
        return self


def _registering(functions: dict[int, _F], since: int, what: str) -> Callable[[_F], _F]:
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


def _name(kind: type | str) -> str:
    if isinstance(kind, type):
        kind = type_name(ref_of(kind)).partition("[")[0]
    if type(kind) is not str or kind.count(":") != 1 or not all(kind.split(":")):
        raise ConfigurationError(
            f"migrations take classes and names such as 'app.state:Answer', not {kind!r}"
        )
    module, _, path = kind.partition(":")
    return f"{import_name(module)}:{path}"


def _check_gone(kind: type | str, names: dict[str, str], what: str) -> None:
    if not isinstance(kind, type):
        return
    profile = model_profile(kind) or profile_of(kind)
    own = set() if profile is None else {*profile.defaults}
    still = sorted(own & names.keys())
    if still:
        raise ConfigurationError(
            f"{_name(kind)} still has the field {still[0]!r}, which cannot be {what}"
        )
    missing = sorted({new for new in names.values() if new} - own)
    if own and missing:
        raise ConfigurationError(f"{_name(kind)} has no field {missing[0]!r}")
