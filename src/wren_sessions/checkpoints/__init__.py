"""Checkpoints on a session store, as steps: what a checkpointer does, without LangGraph's types.

Four parts share what this process remembers (`record_cache`): reading, writing, pruning, and the
histories of channels that live in their writes.
"""

from __future__ import annotations

from collections.abc import Collection

from wren_sessions.checkpoints.delta_channels import Histories
from wren_sessions.checkpoints.get import Reading
from wren_sessions.checkpoints.prune import Pruning
from wren_sessions.checkpoints.put import Writing
from wren_sessions.checkpoints.record_cache import Cache
from wren_sessions.delta.protection import PLAIN, Protection
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
