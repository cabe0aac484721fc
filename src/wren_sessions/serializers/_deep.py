"""Lowering without a call for each level: values as deep as `Limits` allows, from any stack.

The usual way, `lowering` in `packing`, calls itself for each level, which is fast. But the
interpreter allows only a thousand nested calls, and the caller uses some of them. Here each level
is lowered separately. Its parts are left as `Part`, and processed one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from wren_sessions.serializers.limits import DEEPEST


class Part:
    """A part of a value, to be lowered later."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Unsorted(list[Any]):
    """The envelope of a set, whose elements are sorted when they are lowered."""


def lowered_deep(value: Any, lower: Callable[[Any], Any], sort_key: Callable[[Any], bytes]) -> Any:
    """A value, lowered level by level.

    Args:
        value: the value.
        lower: lowers one level.
        sort_key: by what the elements of sets are sorted.

    Raises:
        RecursionError: it is nested deeper than any value may be, or refers to itself.
    """
    root: list[Any] = [Part(value)]
    # From the outermost level to the one that is worked at: the level, the places of its parts
    # that are left, and its own place in the level above.
    path: list[tuple[Any, Iterator[Any], Any]] = [(root, iter([0]), None)]
    while len(path) <= DEEPEST + 1:
        level, places, own_place = path[-1]
        for place in places:
            part = lower(level[place].value)
            level[place] = part
            inside = _places_in(part)
            if inside:
                path.append((part, iter(inside), place))
                break
        else:
            path.pop()
            if type(level) is Unsorted:
                path[-1][0][own_place] = [level[0], *sorted(level[1:], key=sort_key)]
            if not path:
                return root[0]
    raise RecursionError


def _places_in(level: Any) -> list[Any]:
    if type(level) is dict:
        return [key for key, item in level.items() if type(item) is Part]
    if type(level) in {list, Unsorted}:
        return [at for at, item in enumerate(level) if type(item) is Part]
    return []
