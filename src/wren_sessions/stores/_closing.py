"""``with`` and ``async with`` on a store, which close it."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self


class _AsyncFace(Protocol):
    async def close(self) -> None: ...


class _Store(Protocol):
    @property
    def aio(self) -> _AsyncFace: ...

    def close(self) -> None: ...


class Closing:
    """What every store does as a context manager: blocking, and awaited by its other face."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self: _Store,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self: _Store,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        await self.aio.close()
