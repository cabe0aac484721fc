"""Pydantic AI's message history on sessions: extra ``pydantic-ai``.

::

    history = MessageHistory(Sessions(open_store("redis://localhost:6379/0")), "ann-1")
    result = agent.run_sync("Hello", message_history=history.load())
    history.add(result.new_messages())

Messages are stored as JSON, as `ModelMessagesTypeAdapter` of Pydantic AI dumps them. Its later
versions can read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wren_sessions.adapters._log import ELSEWHERE, MessageLog, needing
from wren_sessions.errors import SerializationError
from wren_sessions.sessions import Sessions

with needing("pydantic-ai-slim", "pydantic-ai"):
    from pydantic import ValidationError
    from pydantic_ai.messages import ModelMessagesTypeAdapter, ModelRequest, ModelResponse

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage


class MessageHistory:
    """The messages of one session, as Pydantic AI takes and returns them.

    Args:
        sessions: where the session is.
        session_id: its id; the session is created with the first message.
        messages: the key of the messages in its state.

    Attributes:
        session_id: as passed.

    Raises:
        ConfigurationError: an argument has the wrong type.
        InvalidSessionIdError: the session id is not valid.
    """

    def __init__(self, sessions: Sessions, session_id: str, *, messages: str = "messages") -> None:
        self.session_id = session_id
        self._log = MessageLog[Any](sessions, session_id, messages, dict, "messages of Pydantic AI")

    def load(self) -> list[ModelMessage]:
        """All messages, for ``message_history=``; empty if the session does not exist.

        Raises:
            SerializationError: the stored data is something else.
        """
        return self._validated(self._log.load())

    async def aload(self) -> list[ModelMessage]:
        """All messages; see `load`."""
        return self._validated(await self._log.aload())

    def add(self, messages: Sequence[ModelMessage]) -> None:
        """Add the messages of a run, ``result.new_messages()``, in one write.

        Messages that other callers add at the same time are kept.

        Raises:
            SerializationError: the argument is something else; nothing was written.
        """
        self._log.add(_dumped(messages))

    async def aadd(self, messages: Sequence[ModelMessage]) -> None:
        """Add the messages of a run; see `add`."""
        await self._log.aadd(_dumped(messages))

    def clear(self) -> None:
        """Remove all messages. The session keeps its owner, its lifetime and the rest of its state.

        Its earlier checkpoints are deleted, because they contain the messages.
        """
        self._log.clear()

    async def aclear(self) -> None:
        """Remove all messages; see `clear`."""
        await self._log.aclear()

    def _validated(self, found: list[Any]) -> list[ModelMessage]:
        try:
            return ModelMessagesTypeAdapter.validate_python(found)
        except ValidationError as error:
            raise SerializationError(
                f"session {self.session_id!r} holds no messages of Pydantic AI, or those of a "
                f"newer version ({error.error_count()} fields do not fit). {ELSEWHERE}"
            ) from None


def _dumped(messages: Sequence[ModelMessage]) -> list[Any]:
    """Messages as they are stored. Other values are refused: they would be dumped too."""
    for each in messages:
        if not isinstance(each, ModelRequest | ModelResponse):
            raise SerializationError(
                f"a {type(each).__name__} is not one of the messages of Pydantic AI; nothing was "
                "written: pass result.new_messages()"
            )
    dumped: list[Any] = ModelMessagesTypeAdapter.dump_python(list(messages), mode="json")
    return dumped
