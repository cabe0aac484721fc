"""A list of messages that is stored as the writes to it (LangGraph's `DeltaChannel`), put together.

Its value is stored at some checkpoints only. Elsewhere, the application's reducer makes it. Here it
is made as for LangGraph's messages: a written message is appended, replaces the one with its id, or
removes one. The messages of such a list have neither checkpoint nor time.
"""

from __future__ import annotations

from typing import Any, Final

from wren_sessions.checkpoints import Checkpoints
from wren_sessions.delta.encoder import Serializer
from wren_sessions.sessions.delta_channels import replayed
from wren_sessions.transcripts._messages import message_of

_REMOVE: Final = "remove"
_REMOVE_ALL: Final = "__remove_all__"


async def rebuilt(
    checkpoints: Checkpoints, serde: Serializer, session: str, checkpoint_id: str, channel: str
) -> list[Any]:
    """The messages of a channel at a checkpoint that does not store them."""
    histories = await checkpoints.histories.read(session, "", checkpoint_id, [channel], serde)
    base, writes = replayed(histories[channel])
    found: dict[object, Any] = {}
    for value in writes if base is None else [base, *writes]:
        for raw in value if isinstance(value, list) else [value]:
            _add(found, raw)
    return list(found.values())


def _add(found: dict[object, Any], raw: Any) -> None:
    """Add to messages by id; one without an id has a key of its own."""
    message = message_of(raw)
    if message.role == _REMOVE:
        if message.id == _REMOVE_ALL:
            found.clear()
        found.pop(message.id, None)
    else:
        found[object() if message.id is None else message.id] = raw
