"""One face of a message history, to await."""

from __future__ import annotations

import asyncio
from typing import Any


class Face:
    """The blocking methods of a history, in a thread, or the awaitable ones, with an ``a`` before.

    Args:
        history: the history.
        face: ``"sync"`` or ``"async"``.
        add: the name of the method that adds messages.
    """

    def __init__(self, history: Any, face: str, add: str) -> None:
        self.history = history
        self.blocking = face == "sync"
        self._add = add

    async def call(self, method: str, *args: Any) -> Any:
        """Call a method, or its awaitable twin."""
        if self.blocking:
            return await asyncio.to_thread(getattr(self.history, method), *args)
        return await getattr(self.history, f"a{method}")(*args)

    async def add(self, messages: Any) -> None:
        """Add some messages."""
        await self.call(self._add, messages)

    async def clear(self) -> None:
        """Remove all messages."""
        await self.call("clear")
