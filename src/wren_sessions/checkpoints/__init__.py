"""Checkpoints on a session store: what a checkpointer does, without LangGraph's types.

Four parts share what this process remembers (`record_cache`): reading, writing, pruning, and the
histories of channels that live in their writes.

Not public: it may change in any version.
"""

from __future__ import annotations

from collections.abc import Collection

from wren_sessions.checkpoints.delta_channels import Histories
from wren_sessions.checkpoints.get import Reading
from wren_sessions.checkpoints.prune import Pruning
from wren_sessions.checkpoints.put import Writing
from wren_sessions.checkpoints.record_cache import Cache
from wren_sessions.checkpoints.turns import Rules, token_in
from wren_sessions.delta.protection import PLAIN, Protection
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Life


class Checkpoints:
    """Checkpoints of the sessions of one store.

    Args:
        store: where they are.
        cache: what this process remembers of them.
        header_strings: channels whose strings may stand in a session's readable header.
        protection: what happens to values before they are stored.
        rules: what holds for those who write; None where nothing is written.

    Attributes:
        store, header_strings, protection: as they were given.
    """

    def __init__(
        self,
        store: AsyncSessionStore,
        cache: Cache,
        header_strings: Collection[str],
        protection: Protection = PLAIN,
        rules: Rules | None = None,
    ) -> None:
        self.store = store
        self._cache = cache
        self._rules = rules
        self.header_strings = header_strings
        self.protection = protection
        self.reading: Reading = Reading(store, cache, protection)
        self.writing: Writing = Writing(
            store, cache, self.reading, header_strings, protection, rules=rules
        )
        self.pruning: Pruning = Pruning(store, cache)
        self.histories: Histories = Histories(store, cache, protection)

    def turn(self, session: str) -> str | None:
        """The token of the session's turn that is on in this context; None for none."""
        return token_in(self._rules, session)

    def life(self, session: str) -> Life | None:
        """A session's life as the store last told it to this process."""
        return self._cache.life(session)
