"""One API of a store, blocking or async, and what belongs to it. The work is written once for both.

A function and its awaitable twin differ in the API that they take, and in nothing else::

    run(work(StoreApi.blocking(store, "rekey")))
    await work(StoreApi.awaitable(store, "arekey"))
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

from wren_sessions._arguments import check_store
from wren_sessions._blocking import Unsuspended, at_once
from wren_sessions.delta.protection import Protection, protection_of, unprotected
from wren_sessions.protocols import AsyncSessionStore, SessionStore
from wren_sessions.stores.protected.owner_keys import OwnerKeys, owner_keys_of


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreApi:
    """One API of a store.

    Attributes:
        place: the store itself, to call.
        store: the methods of this API, to await.
        below: those of the store that encrypts nothing; the same if none is below.
        owner_keys: the keys of owners; None if they have none.
        protection: what the store wants done with values.
        off: runs a function that blocks.
    """

    place: SessionStore
    store: AsyncSessionStore
    below: AsyncSessionStore
    owner_keys: OwnerKeys | None
    protection: Protection
    off: Callable[[Callable[[], Any]], Awaitable[Any]]

    @classmethod
    def blocking(cls, store: SessionStore, user: str) -> Self:
        """The blocking API, which never suspends.

        Args:
            store: the store.
            user: the function that was given it, for errors.
        """
        check_store(store, user)
        return cls(
            place=store,
            store=Unsuspended(store),
            below=Unsuspended(unprotected(store)),
            owner_keys=owner_keys_of(store),
            protection=protection_of(store),
            off=at_once,
        )

    @classmethod
    def awaitable(cls, store: SessionStore, user: str) -> Self:
        """The async API; the same arguments."""
        check_store(store, user)
        return cls(
            place=store,
            store=store.aio,
            below=unprotected(store).aio,
            owner_keys=owner_keys_of(store.aio),
            protection=protection_of(store),
            off=asyncio.to_thread,
        )
