"""Either face of `Sessions`, to await in a test."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from wren_sessions import Sessions


class Calls:
    """Awaits the methods of either face."""

    def __init__(self, sessions: Sessions, face: str) -> None:
        self.sessions = sessions
        self.face = face
        self._face: Any = sessions if face == "sync" else sessions.aio

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            answer = getattr(self._face, name)(*args, **kwargs)
            return await answer if inspect.isawaitable(answer) else answer

        return call

    async def edit(
        self, session_id: str, change: Callable[[dict[str, Any]], object], **how: Any
    ) -> None:
        """Change a state in an ``edit`` block."""
        if self._face is self.sessions:
            with self.sessions.edit(session_id, **how) as session:
                change(session.state)
        else:
            async with self.sessions.aio.edit(session_id, **how) as session:
                change(session.state)
