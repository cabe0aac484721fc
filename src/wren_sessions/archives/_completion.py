"""Whether a session is complete.

Its state must say so, and its graph must have nothing left to do: no waiting question and no next
step. LangGraph marks the nodes of the next step in the checkpoint itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from wren_sessions.checkpoints import Checkpoints
from wren_sessions.checkpoints.channels import PREVIOUS, ROOT, SENT, is_internal, is_next
from wren_sessions.checkpoints.get import Head
from wren_sessions.checkpoints.snapshots import loads, reading
from wren_sessions.checkpoints.waiting import step_after
from wren_sessions.delta.encoder import Serializer
from wren_sessions.records import SessionInfo
from wren_sessions.sessions.operations import not_found
from wren_sessions.transcripts._values import by_name

Complete: TypeAlias = str | Callable[[Mapping[str, Any]], bool]
"""The name of a value of the state that is true when a session is over, or what decides that."""


class Completion:
    """Finds out which sessions are complete; `complete` decides, see `SessionArchiver`."""

    def __init__(self, checkpoints: Checkpoints, serde: Serializer, complete: Complete) -> None:
        self._checkpoints = checkpoints
        self._serde = serde
        self._complete = complete

    async def check(self, session: str) -> bool:
        """Whether a session is complete.

        Raises:
            SessionNotFoundError: there is no such session.
        """
        found = await self._checkpoints.reading.record(session, "", None, self._serde)
        if found is None:
            if await self._checkpoints.store.info(session) is None:
                not_found(session)
            return False
        with reading(session, found.stored, serde=self._serde):
            return self._is_over(session, found)

    def _is_over(self, session: str, found: Head) -> bool:
        data = found.data
        if any(is_next(name) for name in data):
            return False
        if any(name in data and self._value(session, name, data[name]) for name in SENT):
            return False
        if step_after(session, found.stored).begun:
            return False
        flag = self._complete
        asked = {flag, ROOT, PREVIOUS} if isinstance(flag, str) else data.keys()
        state = {
            name: self._value(session, name, typed)
            for name, typed in data.items()
            if name in asked and not is_internal(name)
        }
        return bool(by_name(state).get(flag) if isinstance(flag, str) else flag(state))

    def denied(self, info: SessionInfo) -> bool:
        """Whether the header says that the session is not complete; it may say nothing about it."""
        if not isinstance(self._complete, str):
            return False
        try:
            flags = json.loads(info.state)["checkpoint"]
            return flags.get(self._complete) is False
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return False

    def _value(self, session: str, name: str, typed: tuple[str, bytes]) -> Any:
        return loads(self._serde, typed, f"{name!r} of session {session!r}")
