"""LangChain's chat message history on sessions: extra ``langchain``.

::

    sessions = Sessions(open_store("redis://localhost:6379/0"))
    history = SessionChatMessageHistory(sessions, "ann-1")
    history.add_user_message("Hello")

For `RunnableWithMessageHistory`, pass ``lambda id: SessionChatMessageHistory(sessions, id)``. A
LangGraph graph with a channel ``messages`` goes on from the same session.
"""

from __future__ import annotations

from collections.abc import Sequence

from wren_sessions.adapters._log import MessageLog, needing
from wren_sessions.sessions import Sessions

with needing("langchain-core", "langchain"):
    from langchain_core.chat_history import BaseChatMessageHistory
    from langchain_core.messages import BaseMessage


class SessionChatMessageHistory(BaseChatMessageHistory):
    """The messages of one session, as a chat message history.

    Methods that add messages write all of them, or none. Messages that other callers add at the
    same time are kept.

    Args:
        sessions: where the session is.
        session_id: its id; the session is created with the first message.
        messages: the key of the messages in its state.

    Raises:
        ConfigurationError: an argument has the wrong type.
        InvalidSessionIdError: the session id is not valid.
    """

    def __init__(self, sessions: Sessions, session_id: str, *, messages: str = "messages") -> None:
        super().__init__()
        self.session_id = session_id
        self._log = MessageLog[BaseMessage](
            sessions, session_id, messages, BaseMessage, "LangChain's messages"
        )

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override] # read from the store
        """All messages; empty if the session does not exist or has expired."""
        return self._log.load()

    async def aget_messages(self) -> list[BaseMessage]:
        """All messages; see `messages`."""
        return await self._log.aload()

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Add messages, in one write."""
        self._log.add(messages)

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Add messages, in one write."""
        await self._log.aadd(messages)

    def clear(self) -> None:
        """Remove all messages. The session keeps its owner, its lifetime and the rest of its state.

        Its earlier checkpoints are deleted, because they contain the messages.
        """
        self._log.clear()

    async def aclear(self) -> None:
        """Remove all messages; see `clear`."""
        await self._log.aclear()
