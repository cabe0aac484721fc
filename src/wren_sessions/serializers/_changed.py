"""Reading stored values whose classes have changed since.

The usual reading does not handle changes. It restores fields, and raises a `deferrable` error if
they do not fit. Then the value is parsed into a tree (`_tree`), which is adapted before anything is
built from it:

1. The application's migrations are applied: first to objects (`_plan`), then to the channel's value
   (`_channels`). Values with migrations are always read in this way.
2. Fields that a class no longer has are removed and kept aside with the object (`_kept`).

If a value still does not fit, that is an error. Here, too, no code of the application runs except
the functions that it registered, and only allowed classes are built.
"""

from __future__ import annotations

import enum
from typing import Any, Final

from wren_sessions.errors import SerializationError, WrenSessionsError
from wren_sessions.serializers._allowed import Allowlist
from wren_sessions.serializers._channels import ChannelFunctions
from wren_sessions.serializers._classes import listed
from wren_sessions.serializers._kept import Kept, Split, attach, joined, kept_of, split
from wren_sessions.serializers._plan import Plan
from wren_sessions.serializers._profiles import Profile
from wren_sessions.serializers._shapes import named, shaped
from wren_sessions.serializers._standard import Write
from wren_sessions.serializers._told import TOLD
from wren_sessions.serializers._tree import kind_of, objects_in, parsed
from wren_sessions.serializers._wire import CHANNEL, SHAPED, Build, marker, split_version
from wren_sessions.serializers.packing import Lower, pack
from wren_sessions.serializers.unpacking import Builder, Table, damaged, read

_KEPT: Final = b"K"  # an object, and what is kept aside of it: stands in no stored value
_KEPT_MARK: Final = marker(_KEPT)


class Rereading:
    """Reads values whose classes may have changed; a strict one keeps nothing aside."""

    def __init__(self, allowed: Allowlist, table: Table, plan: Plan, *, strict: bool) -> None:
        self._strict = strict
        self._allowed = allowed
        self._plan = plan
        steps = {b"s": 1, b"f": 1, b"k": 2}
        builders = {kind: Builder(_all_of(table[kind], step)) for kind, step in steps.items()}
        self._table = table.with_builders({**builders, _KEPT: Builder(self._attached)})

    def read(self, stored: bytes, functions: ChannelFunctions | None = None) -> Any:
        """The value of bytes that were checked, with the functions of its channel."""
        try:
            data = self._put_right(stored, functions)
        except WrenSessionsError:
            raise
        except Exception as error:  # noqa: BLE001 -- damaged data is of any form
            raise damaged(error) from None
        return read(data, self._table)

    def _put_right(self, stored: bytes, functions: ChannelFunctions | None) -> bytes:
        tree = [parsed(stored)]
        self._plan.apply(tree)
        if functions is not None:
            tree[0] = functions.applied(tree[0], self._plan.lower)
        for node in () if self._strict else objects_in(tree):
            self._prepare(node)
        return pack(tree[0])

    def carried(self, before: bytes, after: bytes) -> bytes:
        """A channel's new value, with what was kept aside of the value before.

        A new object, from a constructor or ``dataclasses.replace``, replaces the object at the same
        place and gets its kept fields, unless it has its own. A place is the value itself, a field
        of such an object, or a key of a dict. Elements of lists and sets may have moved, so they
        get nothing.

        Args:
            before: what is stored of the value before.
            after: the new one, as it is to be stored.
        """
        old, new = [parsed(before)], [parsed(after)]
        self._plan.apply(old)
        for node in objects_in(old):
            self._prepare(node)
        pairs, carries = [(old[0], new[0])], False
        while pairs:
            was, now = pairs.pop()
            kept = Kept.unpacked(was[3]) if kind_of(was) == _KEPT else None
            was = was[1] if kept else was
            kind = kind_of(now)
            if kind is not None and kind == kind_of(was):
                if kind == CHANNEL:
                    pairs.append((was[3], now[3]))
                elif kind in SHAPED and split_version(was[1])[0] == split_version(now[1])[0]:
                    pairs += [
                        (was[2][name], now[2][name]) for name in was[2].keys() & now[2].keys()
                    ]
                    if kept:
                        now[:], carries = joined(now, kept.trees()), True
            elif type(was) is dict and type(now) is dict:
                pairs += [(was[key], now[key]) for key in was.keys() & now.keys()]
        return pack(new[0]) if carries else after

    def _prepare(self, node: list[Any]) -> None:
        """Take out of an object what its class has no place for."""
        ref = node[1]
        if self._allowed.lacks(ref):
            return
        profile = self._allowed.to_build(ref)
        if profile.tag == kind_of(node) and (found := split(profile, node)):
            self._check_renamed(profile, found)
            data = node[0].data
            found.items[0] = shaped(data, named(data, node[2]), found.items[2])
            node[:] = [_KEPT_MARK, found.items, ref, found.kept.packed()]

    def _check_renamed(self, profile: Profile, found: Split) -> None:
        """Say what would mend it where a field is gone and one without a default is there."""
        needed = [name for name, default in profile.defaults.items() if default is None]
        lacking = [name for name in needed if name not in found.items[2]]
        if lacking and found.kept.fields:
            gone = sorted(found.kept.fields)
            profile.changed(
                f"was stored without {lacking[0]!r}, which has no plain default, and with "
                f"{listed(gone)}, which the class does not have: say what was renamed, or give "
                f"{lacking[0]!r} a default",
                f'field_renamed {gone[0] if len(gone) == 1 else "…"}="{lacking[0]}"), '
                f'or .migration("{profile.name}", since=…',
            )

    def _attached(self, items: list[Any]) -> Any:
        _, value, ref, kept = items
        return attach(self._allowed.to_build(ref), value, Kept.unpacked(kept))


def _all_of(builder: Builder, step: int) -> Build:
    """Builds a set, or a dict, and makes sure that no two of its keys have become the same.

    Members of enums may, in a set: that is what was declared then.

    Args:
        builder: builds it.
        step: how far keys stand from each other.
    """

    def build(items: list[Any]) -> Any:
        keys = items[1::step]
        found = builder.build(items)
        alike = {key for key in keys if step == 1 and issubclass(type(key), enum.Enum)}
        others = [key for key in keys if step > 1 or not issubclass(type(key), enum.Enum)]
        if len(found) < len(alike) + len(others):
            raise SerializationError(
                "two elements of a set, or keys of a dict, that were different are the same "
                "without the fields that their class has no more",
                deferrable=True,
            )
        return found

    return build


def writer(profile: Profile, lower: Lower, plan: Plan) -> Write:
    """What writes objects together with what is kept aside of them, and as the plan wants it."""
    changes = plan.changes_of(profile.ref)

    def written(value: Any) -> list[Any]:
        items, kept = profile.write(value), kept_of(profile, value)
        TOLD.anew = TOLD.anew or (kept is None and profile.keeps)
        if kept is not None:
            items = joined(items, kept)
        if changes is not None:
            items = plan.written(items, changes)
        return [lower(part) if type(part) is dict else part for part in items]

    return written
