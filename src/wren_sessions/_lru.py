"""A dict of bounded size that keeps the entries used last."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class LRU(OrderedDict[K, V]):
    """A dict of a bounded size: the entry used least recently goes first. For use under a lock.

    Args:
        most: how many entries it holds.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def used(self, key: K) -> V | None:
        """An entry, which is the one used last from now on; None if there is none."""
        found = self.get(key)
        if found is not None:
            self.move_to_end(key)
        return found

    def keep(self, key: K, value: V) -> tuple[K, V] | None:
        """Have an entry, used last; gives the one that had to go, if one had to."""
        self[key] = value
        self.move_to_end(key)
        return self.popitem(last=False) if len(self) > self._most else None
