"""A session of the OpenAI Agents SDK: extra ``openai-agents``.

::

    sessions = Sessions(open_store("redis://localhost:6379/0"))
    result = await Runner.run(agent, "Hello", session=AgentSession(sessions, "ann-1"))

Items are stored as the SDK passes them. `AgentSession` implements the SDK's protocol `Session`.
Pass it wherever the SDK takes a session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wren_sessions._arguments import check_kind
from wren_sessions.adapters._log import MessageLog, needing
from wren_sessions.sessions import Sessions

with needing("openai-agents", "openai-agents"):
    from agents.memory import SessionSettings

if TYPE_CHECKING:
    from agents import TResponseInputItem


class AgentSession:
    """The items of one session, as the OpenAI Agents SDK reads and writes them.

    Args:
        sessions: where the session is.
        session_id: its id; the session is created with the first item.
        messages: the key of the items in its state.
        session_settings: the SDK's settings of a session, such as how many of the latest items a
            run gets; None for no limit.

    Attributes:
        session_id, session_settings: as passed.

    Raises:
        ConfigurationError: an argument has the wrong type.
        InvalidSessionIdError: the session id is not valid.
    """

    session_settings: SessionSettings | None

    def __init__(
        self,
        sessions: Sessions,
        session_id: str,
        *,
        messages: str = "messages",
        session_settings: SessionSettings | None = None,
    ) -> None:
        example = "SessionSettings(limit=100)"
        check_kind(session_settings, SessionSettings, "session_settings", example)
        self.session_id = session_id
        self.session_settings = session_settings or SessionSettings()
        self._log = MessageLog[Any](sessions, session_id, messages, dict, "items of OpenAI Agents")

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """The items, oldest first.

        Args:
            limit: how many of the latest items; None for the limit of `session_settings`, a
                negative number for all.
        """
        if limit is None and self.session_settings is not None:
            limit = self.session_settings.limit
        items = await self._log.aload()
        if limit is None or limit < 0:
            return items
        return items[-limit:] if limit else []

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Add items, in one write. Items that other callers add at the same time are kept."""
        await self._log.aadd(items)

    async def pop_item(self) -> TResponseInputItem | None:
        """Remove and return the latest item, or None. No two callers get the same item."""
        return await self._log.apop()

    async def clear_session(self) -> None:
        """Remove all items. The session keeps its owner, its lifetime and the rest of its state.

        Its earlier checkpoints are deleted, because they contain the items.
        """
        await self._log.aclear()
