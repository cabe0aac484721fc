"""Both faces of a Redis store, told apart by name only, and savers on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from saver.backends import SAVERS
from wren_sessions import SessionSaver
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.stores.redis import RedisStore

FACES: Final = ("sync", "async")


class InPlace:
    """The blocking methods of a store, to await: called at once, in this thread."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return call


def face_of(store: RedisStore, face: str) -> AsyncSessionStore:
    """One face of a store."""
    if face == "async":
        return store.aio
    blocking: Any = InPlace(store)
    there: AsyncSessionStore = blocking
    return there


def saver_on(store: RedisStore, face: str, **options: Any) -> SessionSaver:
    """A saver that calls one face of a store."""
    return SAVERS[face](store, **options)


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[RedisStore]:
    """A store, closed in the end for both faces."""
    async with RedisStore.from_url(url, **options) as store:
        yield store
