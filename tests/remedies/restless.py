"""A store on which somebody else is always at work, until they rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from wren_sessions.protocols import SessionStore

CALLS: Final = frozenset(
    {"commit", "copy", "heads", "info", "load", "namespaces", "prune", "read", "scan"}
)


class Restless:
    """A store whose calls are each preceded by something that somebody else does.

    Args:
        store: the store.
        happen: what they do.
        before: before which calls.

    Attributes:
        rests: whether they have stopped.
    """

    def __init__(
        self,
        store: SessionStore,
        happen: Callable[[], object],
        before: frozenset[str] = CALLS,
    ) -> None:
        self._store = store
        self._happen = happen
        self._before = before
        self.rests = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in self._before:
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            if not self.rests:
                self._happen()
            return found(*arguments, **options)

        return call
