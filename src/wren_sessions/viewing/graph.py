"""Checkpoints as a tree in text, newest first, as ``git log --graph`` draws commits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

DOT, BAR = "●", "│"


class Drawn(NamedTuple):
    """A checkpoint in the drawing.

    Attributes:
        joins: lines above it, where lines of forks come together.
        mark: what stands before its first line.
        beside: what stands before further lines of its text.
    """

    joins: list[str]
    mark: str
    beside: str


def draw(items: Iterable[tuple[str, str | None]]) -> Iterator[Drawn]:
    """Draw checkpoints.

    Args:
        items: id and parent's id of each, newest first.

    Yields:
        The drawing of each, in the same order.
    """
    lanes: list[str | None] = []  # the id that each line leads down to
    for id_, parent in items:
        mine = [at for at, wanted in enumerate(lanes) if wanted == id_]
        if not mine:
            if None not in lanes:
                lanes.append(None)
            mine = [lanes.index(None)]
            lanes[mine[0]] = id_
        joins = [_joined(lanes, mine)] if len(mine) > 1 else []
        for at in mine[1:]:
            lanes[at] = None
        at = mine[0]
        _shorten(lanes)
        mark = _row(lanes, at)
        lanes[at] = parent
        _shorten(lanes)
        yield Drawn(joins, mark, _row(lanes, None))


def _shorten(lanes: list[str | None]) -> None:
    while lanes and lanes[-1] is None:
        lanes.pop()


def _row(lanes: list[str | None], own: int | None) -> str:
    signs = [
        DOT if at == own else BAR if wanted is not None else " " for at, wanted in enumerate(lanes)
    ]
    return " ".join(signs)


def _joined(lanes: list[str | None], mine: list[int]) -> str:
    """The line on which several lines become one."""
    first, last = mine[0], mine[-1]
    signs = []
    for at, wanted in enumerate(lanes):
        if at == first:
            sign = "├"
        elif at in mine:
            sign = "╯" if at == last else "┴"
        elif first < at < last:
            sign = "┼" if wanted is not None else "─"
        else:
            sign = BAR if wanted is not None else " "
        signs.append(sign + ("─" if first <= at < last else " "))
    return "".join(signs).rstrip()
