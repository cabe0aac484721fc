"""Checkpoints on a session store, as steps: what a checkpointer does, without LangGraph's types.

Four parts share what this process remembers (`_cache`): reading, writing, pruning, and the
histories of channels that live in their writes.
"""

from __future__ import annotations

from collections.abc import Collection

from wren_sessions._cache import Cache
from wren_sessions._history import Histories
from wren_sessions._protection import PLAIN, Protection
from wren_sessions._pruning import Pruning
from wren_sessions._reading import Reading
from wren_sessions._writing import Writing
from wren_sessions.records import Life


class Checkpoints:
    """Checkpoints of the sessions of one store.

    Args:
        cache_bytes: how much to remember of what was written and read; 0 for nothing.
        header_strings: channels whose strings may stand in a session's readable header.
        protection: what happens to values before they are stored.

    Attributes:
        header_strings, protection: as they were given.
    """

    def __init__(
        self,
        cache_bytes: int,
        header_strings: Collection[str],
        protection: Protection = PLAIN,
    ) -> None:
        self._cache = cache = Cache(cache_bytes)
        self.header_strings = header_strings
        self.protection = protection
        self.reading = Reading(cache, protection)
        self.writing = Writing(cache, self.reading, header_strings, protection)
        self.pruning = Pruning(cache)
        self.histories = Histories(cache, protection)

    def life(self, session: str) -> Life | None:
        """A session's life as the store last told it to this process."""
        return self._cache.life(session)
