"""How declared changes are applied to stored values: to their trees, before anything is built.

`migrations` describes what can be declared, and the order in which it is applied. A value in which
no declared name occurs is skipped.
"""

from __future__ import annotations

from typing import Any, Final

from wren_sessions.errors import SerializationError
from wren_sessions.serializers._models import mask_to_names, names_to_mask
from wren_sessions.serializers._shapes import ALWAYS, named, shaped
from wren_sessions.serializers._stored_objects import called
from wren_sessions.serializers._told import TOLD
from wren_sessions.serializers._tree import kind_of, objects_in
from wren_sessions.serializers._wire import split_mark, split_version, type_name, with_version
from wren_sessions.serializers.migrations import ClassChanges, Migrations
from wren_sessions.serializers.packing import Lower, pack

_MASKED: Final = frozenset({b"p", b"v"})
_PLACE: Final = 3  # of what says which fields were set


class Plan:
    """What is declared, ready to be applied. What functions return is lowered to trees.

    Attributes:
        declares: whether anything is declared.
        lower: as it was given.
    """

    def __init__(self, migrations: Migrations, lower: Lower) -> None:
        self._migrations = migrations
        self.lower = lower
        self._classes = migrations.classes()
        self._texts = tuple(sorted(text.encode() for text in migrations.texts()))
        self.declares = bool(self._texts)

    def concerns(self, stored: bytes) -> bool:
        """Whether a stored value may hold something that has changed."""
        return any(text in stored for text in self._texts)

    def apply(self, tree: Any) -> None:
        """Bring what is in a tree to today's form.

        Raises:
            SerializationError: a function failed, or newer code wrote it.
        """
        nodes = list(objects_in(tree))
        for node in reversed(nodes):  # what is nested comes before what it is nested in
            self._object(node)

    def changes_of(self, ref: Any) -> ClassChanges | None:
        """What has changed in the class of a stored name of today."""
        return self._classes.get(type_name(ref).partition("[")[0])

    def written(self, items: list[Any], changes: ClassChanges) -> list[Any]:
        """The items of an object's envelope as they are to be stored."""
        kind = kind_of(items)
        if kind == b"e":
            return items
        ref, fields, *rest = items[1:]
        both = {} if kind == b"n" else _old_names(fields, changes.fields)
        if both and kind in _MASKED:
            names = mask_to_names(rest[0], fields)
            names |= {old for old in both if changes.fields[old] in names}
            rest[0] = names_to_mask(names, {**fields, **both})
        if changes.version:
            ref = with_version(ref, changes.version)
        return [items[0], ref, {**fields, **both}, *rest]

    # --- applying ---

    def _object(self, node: list[Any]) -> None:
        ref, version = split_version(node[1])
        today = self._today(ref)
        if today != ref:
            TOLD.migrates(type_name(today))
        node[1] = today
        changes = self.changes_of(today)
        if version > (0 if changes is None else changes.version):
            raise SerializationError(
                f"a {type_name(today)} was migrated to version {version} by newer code, which this "
                "process does not have: deploy that code here, or register its migrations",
                deferrable=True,
            )
        if changes is None:
            return
        if kind_of(node) == b"e":
            self._member(node, changes)
        else:
            self._fields(node, changes, version)

    def _today(self, ref: Any) -> Any:
        if type(ref) is list:
            return [self._today(part) for part in ref]
        if type(ref) is not str or ":" not in ref or ref[0] in "'\"":
            return ref
        name, mark = split_mark(ref)
        return self._migrations.today(name) + mark

    def _member(self, node: list[Any], changes: ClassChanges) -> None:
        new = changes.members.get(node[2]) if type(node[2]) is str else None
        if new is not None:
            TOLD.migrates(type_name(node[1]))
            node[2:] = [new, new]

    def _fields(self, node: list[Any], changes: ClassChanges, version: int) -> None:
        if type(node[2]) is not dict:
            raise SerializationError("the stored value is damaged: an object has no fields")
        shapes = named(node[0].data, node[2])
        names = mask_to_names(node[_PLACE], node[2]) if kind_of(node) in _MASKED else set()
        fields = {key: item for key, item in node[2].items() if key not in changes.removed}
        fields, names = _renamed(fields, names, changes.fields)
        shapes |= {new: shapes[old] for old, new in changes.fields.items() if old in shapes}
        for since in sorted(changes.functions):
            if since > version:
                before = fields
                fields = self._called(node[1], fields, changes, since)
                names |= fields.keys() - before.keys()
                fresh = [name for name in fields if before.get(name, shapes) != fields[name]]
                shapes |= dict.fromkeys(fresh, ALWAYS)
        as_written = {**fields, **_old_names(fields, changes.fields)}
        if changes.version > version or as_written != node[2]:
            TOLD.migrates(type_name(node[1]))
        node[0] = shaped(node[0].data, shapes, fields)
        node[2] = fields
        if kind_of(node) in _MASKED:
            node[_PLACE] = names_to_mask(names & fields.keys(), fields)

    def _called(
        self, ref: Any, fields: dict[str, Any], changes: ClassChanges, since: int
    ) -> dict[str, Any]:
        name = f"the migration since={since} of {type_name(ref)}"
        found = called(changes.functions[since], name, fields, self.lower)
        if type(found) is not dict or not all(type(key) is str for key in found):
            raise SerializationError(
                f"{name} returned {type(found).__name__}, and must return a dict of fields",
                deferrable=True,
            )
        return found


def _old_names(fields: dict[str, Any], renamed: dict[str, str]) -> dict[str, Any]:
    """Renamed fields under the names that they had."""
    return {old: fields[new] for old, new in renamed.items() if new in fields and old not in fields}


def _renamed(
    fields: dict[str, Any], names: set[str], renamed: dict[str, str]
) -> tuple[dict[str, Any], set[str]]:
    """Fields under their names of today.

    Where both names stand there, this package has written them alike: if they differ, code before
    the change has changed the one that it knows.
    """
    found = {key: item for key, item in fields.items() if key not in renamed}
    for old, new in renamed.items():
        if old in fields and (new not in found or pack(found[new]) != pack(fields[old])):
            found[new] = fields[old]
    return found, {renamed.get(name, name) for name in names}
