"""Stored values whose classes have changed since: read again, tolerantly.

The usual reading knows nothing of change: it puts fields back, and raises an error that is
`deferrable` where they do not fit. Then the value is taken apart into a tree (`_tree`), which is
put right before anything is built of it: fields that a class has no more are taken out, and kept
aside with the object (`_kept`).

What does not fit even so is an error. It stays true that nothing of the application runs, and that
only classes are built that may be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from wren_sessions.errors import SerializationError
from wren_sessions.serializers._allowed import Allowlist
from wren_sessions.serializers._kept import Kept, attach, joined, kept_of, split
from wren_sessions.serializers._profiles import Profile
from wren_sessions.serializers._standard import Write
from wren_sessions.serializers._tree import Raw, kind_of, objects_in, parsed
from wren_sessions.serializers._wire import Builder, Table, marker, read
from wren_sessions.serializers._writing import pack

_KEPT: Final = b"K"  # an object, and what is kept aside of it: stands in no stored value
_KEPT_MARK: Final = marker(_KEPT)


class Rereading:
    """Reads values whose classes may have changed.

    Args:
        allowed: the classes that may be built.
        table: builds what stands in values.
    """

    def __init__(self, allowed: Allowlist, table: Table) -> None:
        self._allowed = allowed
        self._table = table.with_builders({_KEPT: Builder(self._attached)})

    def read(self, stored: bytes) -> Any:
        """The value of bytes that were checked."""
        tree = [parsed(stored)]
        for node in objects_in(tree):
            self._prepare(node)
        try:
            data = pack(tree[0])
        except ValueError:
            raise SerializationError("the value is nested too deep for fields to be kept") from None
        del tree
        return read(data, self._table)

    def _prepare(self, node: list[Any]) -> None:
        """Take out of an object what its class has no place for."""
        ref = node[1]
        if self._allowed.lacks(ref):
            return
        profile = self._allowed.to_build(ref)
        if profile.tag == kind_of(node) and (found := split(profile, node)):
            node[:] = [_KEPT_MARK, found.items, ref, found.kept.packed()]

    def _attached(self, items: list[Any]) -> Any:
        _, value, ref, kept = items
        return attach(self._allowed.to_build(ref), value, Kept.unpacked(kept))


def writer(
    profile: Profile, write: Callable[[Any], list[Any]], lower: Callable[[Any], Any]
) -> Write:
    """What writes objects of a class together with what is kept aside of them."""

    def written(value: Any) -> list[Any]:
        items, kept = write(value), kept_of(profile, value)
        if kept is not None:
            items = joined(items, kept)
        return [lower(part) if type(part) is dict else part for part in items]

    return written


def raw_tree(raw: Raw) -> Any:
    """What is packed of a value that stays as it is."""
    return raw.tree()
