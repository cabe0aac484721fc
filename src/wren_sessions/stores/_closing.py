"""``with`` and ``async with`` on a store, which close it."""

from __future__ import annotations

from typing import Self

from wren_sessions.protocols import SessionStore


class Closing:
    """What every store does as a context manager: blocking, and awaited by its other face."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self: SessionStore, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self: SessionStore, *_: object) -> None:
        await self.aio.close()
