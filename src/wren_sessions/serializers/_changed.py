"""Stored values whose classes have changed since: read again, tolerantly.

The usual reading knows nothing of change: it puts fields back, and raises an error that is
`deferrable` where they do not fit. Then the value is taken apart into a tree (`_tree`), which is
put right before anything is built of it:

1. What the application has declared is applied (`_plan`). Values that it concerns are read in this
   way at once.
2. Fields that a class has no more are taken out, and kept aside with the object (`_kept`).

What does not fit even so is an error. It stays true that nothing of the application runs but the
functions that it registered, and that only classes are built that may be.
"""

from __future__ import annotations

from typing import Any, Final

from wren_sessions.errors import WrenSessionsError
from wren_sessions.serializers._allowed import Allowlist
from wren_sessions.serializers._kept import Kept, attach, joined, kept_of, split
from wren_sessions.serializers._plan import Plan
from wren_sessions.serializers._profiles import Profile
from wren_sessions.serializers._standard import Write
from wren_sessions.serializers._tree import Raw, kind_of, objects_in, parsed
from wren_sessions.serializers._wire import Builder, Table, damaged, marker, read
from wren_sessions.serializers._writing import Lower, pack

_KEPT: Final = b"K"  # an object, and what is kept aside of it: stands in no stored value
_KEPT_MARK: Final = marker(_KEPT)


class Rereading:
    """Reads values whose classes may have changed.

    Args:
        allowed: the classes that may be built.
        table: builds what stands in values.
        plan: what the application has declared.
        strict: whether nothing is kept aside.
    """

    def __init__(self, allowed: Allowlist, table: Table, plan: Plan, *, strict: bool) -> None:
        self._strict = strict
        self._allowed = allowed
        self._plan = plan
        self._table = table.with_builders({_KEPT: Builder(self._attached)})

    def read(self, stored: bytes) -> Any:
        """The value of bytes that were checked."""
        try:
            data = self._put_right(stored)
        except WrenSessionsError:
            raise
        except Exception as error:  # noqa: BLE001 -- damaged data is of any form
            raise damaged(error) from None
        return read(data, self._table)

    def _put_right(self, stored: bytes) -> bytes:
        tree = [parsed(stored)]
        self._plan.apply(tree)
        for node in () if self._strict else objects_in(tree):
            self._prepare(node)
        return pack(tree[0])

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


def writer(profile: Profile, lower: Lower, plan: Plan) -> Write:
    """What writes objects together with what is kept aside of them, and as the plan wants it."""
    changes = plan.changes_of(profile.ref)

    def written(value: Any) -> list[Any]:
        items, kept = profile.write(value), kept_of(profile, value)
        if kept is not None:
            items = joined(items, kept)
        if changes is not None:
            items = plan.written(items, changes)
        return [lower(part) if type(part) is dict else part for part in items]

    return written


def raw_tree(raw: Raw) -> Any:
    """What is packed of a value that stays as it is."""
    return raw.tree()
