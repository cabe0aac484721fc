"""Runs of a graph that were started by answers: at most one per session, in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from wren_sessions._blocking import LRU
from wren_sessions.errors import ConflictError

logger = logging.getLogger("wren_sessions")

_REMEMBERED: Final = 1_000  # failures
RUNNING: Final = "running"


class Runs:
    """The runs of one process."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failed: LRU[str, str] = LRU(_REMEMBERED)

    def state(self, session: str) -> str:
        """``"running"``, or how the last run failed; empty for neither."""
        return RUNNING if session in self._tasks else self._failed.get(session, "")

    def start(self, session: str, work: Callable[[], Awaitable[object]]) -> None:
        """Run something for a session.

        Raises:
            ConflictError: something runs for it already.
        """
        if session in self._tasks:
            raise ConflictError(
                f"session {session!r} runs already: wait until it has gone on", session=session
            )
        self._failed.pop(session, None)
        self._tasks[session] = asyncio.create_task(self._watched(session, work))

    async def _watched(self, session: str, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except Exception as error:  # the graph is the application's: anything may come of it
            logger.exception("the run of session %r failed", session)
            self._failed.keep(session, f"{type(error).__name__}: {error}")
        finally:
            del self._tasks[session]
