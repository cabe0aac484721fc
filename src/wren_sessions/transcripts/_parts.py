"""The messages in a request or a response of Pydantic AI: pure.

One of them has several parts, as the model is sent them at once: a system prompt, what the user
said, answers of tools; or the model's text and the tools that it calls. They are read from what
`ModelMessagesTypeAdapter` dumps. Instructions, which every request repeats, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from wren_sessions.transcripts._content import call_of, split, text_or_none
from wren_sessions.transcripts._data import Message

_SPOKEN: Final = {"system-prompt": "system", "user-prompt": "human"}
_CALLS: Final = frozenset({"tool-call", "builtin-tool-call", "native-tool-call"})
_RETURNS: Final = frozenset({"tool-return", "builtin-tool-return", "native-tool-return"})
_RETRIES: Final = frozenset({"retry-prompt", "retry-feedback"})
_DATA: Final = "data"


def said_in(raw: Any) -> tuple[Message, ...]:
    """The messages in a request or a response; none where this is something else."""
    if not isinstance(raw, Mapping) or raw.get("kind") not in {"request", "response"}:
        return ()
    parts = raw.get("parts")
    if not isinstance(parts, list):
        return ()
    if not all(isinstance(p, Mapping) and isinstance(p.get("part_kind"), str) for p in parts):
        return ()
    if raw["kind"] == "response":
        return _response(parts)
    return tuple(map(_said, parts)) or (Message(role="human", text=""),)


def _said(part: Mapping[str, Any]) -> Message:
    """A part of a request."""
    kind, content = part["part_kind"], part.get("content")
    text = _text(content)
    name, call = text_or_none(part.get("tool_name")), text_or_none(part.get("tool_call_id"))
    if kind in _RETURNS or (kind in _RETRIES and name):
        outcome = "retried" if kind in _RETRIES else text_or_none(part.get("outcome"))
        status = None if outcome == "success" else outcome
        return Message(role="tool", text=text, name=name, tool_call_id=call, status=status)
    return Message(role=_SPOKEN.get(kind, "system" if kind in _RETRIES else kind), text=text)


def _response(parts: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """A response is one message, but for answers of the provider's own tools."""
    calls = tuple(call_of(_call(part)) for part in parts if part["part_kind"] in _CALLS)
    returns = [part for part in parts if part["part_kind"] in _RETURNS]
    text = _text([part for part in parts if part["part_kind"] not in _CALLS | _RETURNS])
    return (Message(role="ai", text=text, tool_calls=calls), *map(_said, returns))


def _call(part: Mapping[str, Any]) -> dict[str, Any]:
    """A call under the names that calls have elsewhere."""
    return {"id": part.get("tool_call_id"), "name": part.get("tool_name"), "args": part.get("args")}


def _text(content: Any) -> str:
    """Content as text; what is no text is named by its kind, and its data left out."""
    blocks = content if isinstance(content, list) else [content]
    text, _ = split([_block(block) for block in blocks])
    return text


def _block(block: Any) -> Any:
    """A part of content, as a block that others have as well."""
    if not isinstance(block, Mapping):
        return block
    kind = block.get("part_kind") or block.get("kind")
    if not isinstance(kind, str):
        return block
    if kind in {"text", "text-content"}:
        return block.get("content")
    found = {key: value for key, value in block.items() if key != _DATA}
    if isinstance(block.get("content"), str):
        found["text"] = block["content"]
    media = block.get("media_type")
    if kind == "binary" and isinstance(media, str):
        kind = media.partition("/")[0]
    if kind == "file" and isinstance(block.get("content"), Mapping):
        return _block(block["content"])
    return {**found, "type": kind.removesuffix("-url")}
