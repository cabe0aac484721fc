"""A list of messages that lives in its writes (LangGraph's `DeltaChannel`), put together.

Its value is stored at some checkpoints only, and made by the application's reducer elsewhere. Here
it is made as LangGraph's messages are: what is written is appended, replaces the message of its id,
or removes one. Messages put together like this have neither checkpoint nor time.
"""

from __future__ import annotations

from typing import Any, Final

from wren_sessions.checkpoints import Checkpoints
from wren_sessions.delta.encoder import Serializer
from wren_sessions.transcripts._messages import message_of
from wren_sessions.transcripts._values import is_plain_object

_REMOVE: Final = "remove"
_REMOVE_ALL: Final = "__remove_all__"
_SNAPSHOT: Final = "_DeltaSnapshot"


async def rebuilt(
    checkpoints: Checkpoints, serde: Serializer, session: str, checkpoint_id: str, channel: str
) -> list[Any]:
    """The messages of a channel at a checkpoint that does not store them."""
    histories = await checkpoints.histories.read(session, "", checkpoint_id, [channel], serde)
    history = histories[channel]
    found: dict[object, Any] = {}
    for value in [*history.seed, *(value for _, _, value in history.writes)]:
        for raw in _listed(value):
            _add(found, raw)
    return list(found.values())


def stored_list(value: Any) -> Any:
    """What LangGraph keeps of such a channel at some checkpoints, without what is around it."""
    if is_plain_object(value) and value.type_name.endswith(_SNAPSHOT):
        fields = value.value  # in the order of a named tuple, or by name
        return fields[0] if isinstance(fields, list) else fields.get("value")
    return value.value if type(value).__name__ == _SNAPSHOT else value


def _listed(value: Any) -> list[Any]:
    """The messages in one write, or in a value that was stored."""
    inner = stored_list(value)
    return inner if isinstance(inner, list) else [inner]


def _add(found: dict[object, Any], raw: Any) -> None:
    """Add to messages by id; one without an id has a key of its own."""
    message = message_of(raw)
    if message.role == _REMOVE:
        if message.id == _REMOVE_ALL:
            found.clear()
        found.pop(message.id, None)
    else:
        found[object() if message.id is None else message.id] = raw
