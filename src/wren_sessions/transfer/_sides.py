"""Steps that work on several stores and savers at once.

A step names the side it is for, ``Call("source.scan", …)``, and `Sides` passes it on, so that the
drivers of `wren_sessions._steps` run it, blocking or awaiting. A name without a dot is for the
side called `STORE`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

from wren_sessions._steps import Steps, adrive, drive

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

T = TypeVar("T")

STORE: Final = "store"


class Sides:
    """Several objects as one; a call's name begins with the name of its side."""

    def __init__(self, sides: dict[str, Any]) -> None:
        self._sides = sides

    def __getattr__(self, name: str) -> Any:
        side, dot, method = name.rpartition(".")
        return getattr(self._sides[side if dot else STORE], method)


def drive_sides(steps: Steps[T], sides: dict[str, Any]) -> T:
    """Run steps on blocking sides."""
    return drive(steps, cast("Any", Sides(sides)))


async def adrive_sides(steps: Steps[T], sides: dict[str, Any]) -> T:
    """Run steps on awaitable sides."""
    return await adrive(steps, cast("Any", Sides(sides)))


@dataclass(slots=True)
class Listed:
    """What is kept of a listing.

    Attributes:
        kept: what is kept of each checkpoint, in the order listed, each value once.
        count: how many checkpoints were listed.
    """

    kept: dict[Any, None] = field(default_factory=dict)
    count: int = 0

    def add(self, value: Hashable) -> None:
        """Keep a value of one more checkpoint."""
        self.kept[value] = None
        self.count += 1


Keep: TypeAlias = "Callable[[CheckpointTuple], Hashable]"


class Blocking:
    """A saver's blocking methods; what `list` yields is reduced as it comes."""

    def __init__(self, saver: BaseCheckpointSaver[Any]) -> None:
        self._saver = saver

    def __getattr__(self, method: str) -> Any:
        return getattr(self._saver, method)

    def list(self, config: Any, keep: Keep, **options: Any) -> Listed:
        """What is kept of each checkpoint."""
        listed = Listed()
        for found in self._saver.list(config, **options):
            listed.add(keep(found))
        return listed


class Awaiting:
    """A saver's awaitable methods, under the names of the blocking ones."""

    def __init__(self, saver: BaseCheckpointSaver[Any]) -> None:
        self._saver = saver

    def __getattr__(self, method: str) -> Any:
        return getattr(self._saver, f"a{method}")

    async def list(self, config: Any, keep: Keep, **options: Any) -> Listed:
        """What is kept of each checkpoint."""
        listed = Listed()
        async for found in self._saver.alist(config, **options):
            listed.add(keep(found))
        return listed
