"""Work that takes time, off the event loop: in threads of its own, over the store's async API.

Pages are made by the same blocking code as the command line's output. It runs in a few threads, and
its calls of the store are awaited in the event loop. So a store that only has an asyncio client
works as well, and decoding a long conversation delays no other request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from wren_sessions.protocols import AsyncSessionStore, SessionStore

T = TypeVar("T")

_THREADS: Final = 8  # pages that are made at once; the app's own work has other threads
_AWAITED: Final = {name for name in vars(AsyncSessionStore) if not name.startswith("_")} - {"close"}


class Awaited:
    """A store whose methods block a thread while they are awaited in the running event loop."""

    def __init__(self, store: SessionStore, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        if name not in _AWAITED:
            return getattr(self._store, name)
        method = getattr(self._store.aio, name)

        def blocking(*args: Any, **named: Any) -> Any:
            async def call() -> Any:
                return await method(*args, **named)

            return asyncio.run_coroutine_threadsafe(call(), self._loop).result()

        return blocking


class OffLoop:
    """Runs functions that work on a store."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(_THREADS, "wren-sessions-web")

    async def __call__(self, function: Callable[..., T], *args: Any) -> T:
        """What a function gives that takes a store first, and runs in a thread."""
        loop = asyncio.get_running_loop()
        store = Awaited(self._store, loop)
        return await loop.run_in_executor(self._threads, function, store, *args)
