"""One message from whatever applications keep: pure.

Understood are LangChain's messages (the objects; what `PlainSerializer` gives for them; their three
forms as dicts), messages as providers have them (``{"role": …, "content": …}``), the items of
OpenAI's responses, Pydantic AI's requests and responses, pairs of role and text, plain text, and an
application's own objects that have a role and a text by any of the names below.

A request or a response of Pydantic AI has several parts, as the model is sent them at once: a
system prompt, what the user said, answers of tools; or the model's text and the tools that it
calls. They are read from what `ModelMessagesTypeAdapter` dumps. Instructions, which every request
repeats, are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from wren_sessions.transcripts._content import (
    CALLS,
    RESULTS,
    call_of,
    calls_of,
    split,
    text_or_none,
)
from wren_sessions.transcripts._data import Message, ToolCall
from wren_sessions.transcripts._values import compact, fields_of, is_plain_object, jsonable

UNKNOWN: Final = "unknown"
_ROLES: Final = {
    "user": "human",
    "assistant": "ai",
    "model": "ai",
    "bot": "ai",
    "agent": "ai",
    "function": "tool",
}
_KNOWN: Final = frozenset({"human", "ai", "system", "tool", "developer", *_ROLES})
_WELL: Final = frozenset({"success", "completed"})  # not worth a word
_SPEAKERS: Final = ("role", "type", "speaker", "author", "sender", "from")
_TEXTS: Final = ("content", "text", "message", "output")
_ATTRIBUTES: Final = (
    *("role", "type", "speaker", "author", "sender", "content", "text", "message"),
    *("tool_calls", "invalid_tool_calls", "additional_kwargs", "tool_call_id", "name", "id"),
    "status",
)


def messages_of(value: Any) -> tuple[Message, ...]:
    """The messages in a value: in each element of a list, or in the value itself."""
    return answered(message for group in groups_of(value) for message in group)


def groups_of(value: Any) -> tuple[tuple[Message, ...], ...]:
    """The same, element by element: most are one message, those of Pydantic AI may be several."""
    if value is None:
        return ()
    many = isinstance(value, list) or (isinstance(value, tuple) and not _is_pair(value))
    return tuple(said_in(raw) or (message_of(raw),) for raw in (value if many else [value]))


def answered(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Messages whose tool calls have their results."""
    found = tuple(messages)
    results: dict[str, str] = {}
    for message in found:
        if message.tool_call_id is not None:
            results.setdefault(message.tool_call_id, message.text)
    return tuple(_with_results(message, results) for message in found)


def _with_results(message: Message, results: Mapping[str, str]) -> Message:
    if not message.tool_calls or not results:
        return message
    found = (
        (call, None if call.id is None else results.get(call.id)) for call in message.tool_calls
    )
    calls = (call if result is None else replace(call, result=result) for call, result in found)
    return replace(message, tool_calls=tuple(calls))


def message_of(raw: Any) -> Message:
    """One message, without time and checkpoint; what is not understood is shown as JSON.

    If there are several in one, it is the first that is not an instruction.
    """
    if isinstance(raw, str):
        return Message(role="human", text=str(raw))  # as LangChain takes it
    if _is_pair(raw):
        text, calls = split(raw[1])
        return Message(role=_role({"role": raw[0]}, ""), text=text, tool_calls=tuple(calls))
    several = said_in(raw)
    if several:
        return next((each for each in several if each.role != "system"), several[0])
    fields, kind = _fields(raw)
    if fields is None:
        return Message(role=UNKNOWN, text=compact(jsonable(raw)))
    return _item(fields) or _message(fields, kind, raw)


def _is_pair(raw: Any) -> bool:
    """Whether this is a role and a text: any tuple of both, or a list that begins with a role."""
    pair = isinstance(raw, list | tuple) and len(raw) == 2 and isinstance(raw[0], str)  # noqa: PLR2004 -- a pair
    return pair and (isinstance(raw, tuple) or raw[0].lower() in _KNOWN)


# --- the fields of a message ----------------------------------------------------------------------


def _fields(raw: Any) -> tuple[Mapping[str, Any] | None, str]:
    """A message's fields by name, and the name of its class where that is known."""
    if isinstance(raw, Mapping):
        return _unwrapped(raw)
    if is_plain_object(raw):
        kind = str(raw.type_name).rpartition(":")[2].rpartition(".")[2]
        return (raw.value, kind) if isinstance(raw.value, Mapping) else (None, kind)
    fields = fields_of(raw)
    if fields is None:
        found = ((name, getattr(raw, name, None)) for name in _ATTRIBUTES)
        fields = {name: value for name, value in found if value is not None}
    return (fields if any(name in fields for name in _TEXTS) else None), type(raw).__name__


def _unwrapped(raw: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The fields of a dict, also where LangChain puts them one level down."""
    name, inner = raw.get("id"), raw.get("kwargs")
    if raw.get("lc") == 1 and isinstance(name, list) and name and isinstance(inner, Mapping):
        return inner, str(name[-1])
    inner, kind = raw.get("data"), raw.get("type")
    if isinstance(inner, Mapping) and isinstance(kind, str) and not _text_of(raw):
        return {**inner, "type": kind}, ""
    return raw, ""


def _text_of(fields: Mapping[str, Any]) -> str | None:
    """The name of the field that holds the text."""
    kinds = (str, list, tuple, Mapping)
    return next((name for name in _TEXTS if isinstance(fields.get(name), kinds)), None)


def _role(fields: Mapping[str, Any], kind: str) -> str:
    said = (jsonable(fields.get(name)) for name in _SPEAKERS)
    named = [role for role in said if isinstance(role, str) and role]
    if named and named[0].lower() == "chat":  # LangChain's message for any role
        named = named[1:] or ["chat"]
    if not named:
        named = [kind] if kind.endswith(("Message", "MessageChunk")) else [UNKNOWN]
    role = named[0].removesuffix("Chunk").removesuffix("Message")
    return _ROLES.get(role.lower(), role.lower() if role.lower() in _KNOWN else role)


def _item(fields: Mapping[str, Any]) -> Message | None:
    """An item of OpenAI's responses that is no message: a call of a tool, its answer, reasoning."""
    kind = fields.get("type")
    if "role" in fields or not isinstance(kind, str):
        return None
    if kind in CALLS:
        return Message(role="ai", text="", tool_calls=(call_of(fields),))
    if kind.endswith("_call"):  # of a tool that the provider has
        named = {"name": kind.removesuffix("_call"), **fields}
        if "action" in fields:
            named["args"] = fields["action"]
        return Message(role="ai", text="", tool_calls=(call_of(named),))
    if kind in RESULTS or kind.endswith("_call_output"):
        text, _ = split(fields.get("output", fields.get("content")))
        call = fields.get("call_id") or fields.get("tool_use_id") or fields.get("tool_call_id")
        return Message(role="tool", text=text, tool_call_id=text_or_none(call))
    if kind == "reasoning":
        thought, _ = split([*_blocks(fields.get("summary")), *_blocks(fields.get("content"))])
        return Message(role="ai", text=f"[reasoning] {thought}".rstrip())
    return None


def _blocks(raw: Any) -> list[Any]:
    """The texts of what was thought, each as a block."""
    blocks = raw if isinstance(raw, list) else []
    return [block.get("text") for block in blocks if isinstance(block, Mapping)]


def _message(fields: Mapping[str, Any], kind: str, raw: Any) -> Message:
    place = _text_of(fields)
    text, calls = split(fields[place]) if place else ("", [])
    own = _tool_calls(fields)
    known = {call.id for call in own}
    own += [call for call in calls if call.id is None or call.id not in known]
    if place is None and not own and fields.get("content", raw) is not None:
        return Message(role=_role(fields, kind), text=compact(jsonable(raw)))
    status = text_or_none(fields.get("status"))
    return Message(
        role=_role(fields, kind),
        text=text,
        tool_calls=tuple(own),
        tool_call_id=text_or_none(fields.get("tool_call_id")),
        name=text_or_none(fields.get("name")),
        id=text_or_none(fields.get("id")),
        status=None if status in _WELL else status,
    )


def _tool_calls(fields: Mapping[str, Any]) -> list[ToolCall]:
    more = fields.get("additional_kwargs")
    extra: Mapping[str, Any] = more if isinstance(more, Mapping) else {}
    found = calls_of(fields.get("tool_calls"))
    found += calls_of(fields.get("invalid_tool_calls"))
    if not found:
        found = calls_of(extra.get("tool_calls"))
    single = fields.get("function_call") or extra.get("function_call")
    if not found and isinstance(single, Mapping):
        found = [call_of(single)]
    return found


# --- Pydantic AI ----------------------------------------------------------------------------------

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
