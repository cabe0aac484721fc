"""The content of a message as text: pure.

Content is text, or a list of blocks as the providers have them. Text is unchanged. A block of
another kind becomes a short label, ``[image: image/png]``, so that nothing disappears silently.
Tool calls are taken out, because a message lists them separately.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from wren_sessions.transcripts._data import ToolCall
from wren_sessions.transcripts._values import compact, is_plain_object, jsonable

MAX_LABEL: Final = 200
TEXTS: Final = frozenset({"text", "input_text", "output_text", "text-plain"})
CALLS: Final = frozenset(
    {"tool_use", "tool_call", "server_tool_use", "server_tool_call", "function_call"}
)
RESULTS: Final = frozenset({"tool_result", "server_tool_result", "function_call_output"})
_KINDS: Final = {
    "image_url": "image",
    "input_image": "image",
    "input_audio": "audio",
    "input_file": "file",
    "document": "file",
    "thinking": "reasoning",
    "redacted_thinking": "reasoning",
}


def split(content: Any) -> tuple[str, list[ToolCall]]:
    """The text of a message's content, and the calls of tools that stand in it."""
    calls: list[ToolCall] = []
    parts: list[tuple[bool, str]] = []
    blocks = content if isinstance(content, list | tuple) else [content]
    for block in blocks:
        found = _block(block, calls)
        if found is not None and found[1]:
            parts.append(found)
    return _joined(parts), calls


def _joined(parts: Iterable[tuple[bool, str]]) -> str:
    """Texts follow each other as they are, a label stands on a line of its own."""
    text = ""
    labelled = False
    for label, part in parts:
        if text and (label or labelled) and not text.endswith("\n"):
            text += "\n"
        text += part
        labelled = label
    return text


def _block(block: Any, calls: list[ToolCall]) -> tuple[bool, str] | None:
    """Whether a block is shown by a label, and its text; None where there is nothing to show."""
    if block is None:
        return None
    if isinstance(block, str):
        return False, str(block)
    if is_plain_object(block):
        block = block.value
    if not isinstance(block, Mapping):
        return False, compact(jsonable(block))
    kind = block.get("type")
    if kind in CALLS:
        calls.append(call_of(block))
        return None
    text = block.get("text")
    if isinstance(text, str) and (kind is None or kind in TEXTS):
        return False, text
    return True, _labelled(block, kind if isinstance(kind, str) else None)


def _labelled(block: Mapping[str, Any], kind: str | None) -> str:
    if kind is None:
        return compact(jsonable(block))
    if kind in RESULTS:
        text, _ = split(block.get("content", block.get("output")))
        return f"[tool result] {text}".rstrip()
    text = next((t for t in (block.get("refusal"), block.get("text")) if isinstance(t, str)), "")
    label = f"[{': '.join([_KINDS.get(kind, kind), *_details(block, kind)])}]"
    return f"{label} {text}".rstrip()


def _details(block: Mapping[str, Any], kind: str) -> list[str]:
    """What is worth saying of a block: its name, its kind or its address; never its data."""
    nested = (block.get(key) for key in (kind, "source", "file"))
    inner: Mapping[str, Any] = next((n for n in nested if isinstance(n, Mapping)), {})
    for key in ("name", "filename", "title", "mime_type", "media_type", "url", "file_id"):
        for place in (block, inner):
            found = place.get(key)
            if isinstance(found, str) and found and not found.startswith("data:"):
                return [found if len(found) <= MAX_LABEL else f"{found[:MAX_LABEL]}…"]
    return []


# --- calls of tools -------------------------------------------------------------------------------


def call_of(raw: Any) -> ToolCall:
    """A call of a tool, from any shape that providers give it."""
    fields = raw if isinstance(raw, Mapping) else getattr(raw, "value", None)
    if not isinstance(fields, Mapping):
        return ToolCall(id=None, name="", args=jsonable(raw))
    function = fields.get("function")
    inner: Mapping[str, Any] = function if isinstance(function, Mapping) else fields
    args = next((inner[k] for k in ("args", "arguments", "input") if k in inner), None)
    return ToolCall(
        id=text_or_none(fields.get("call_id") or fields.get("id")),
        name=text_or_none(inner.get("name")) or "",
        args=_args(args),
        error=text_or_none(fields.get("error")),
    )


def calls_of(raw: Any) -> list[ToolCall]:
    """Calls of tools, from a list of them."""
    return [call_of(call) for call in raw] if isinstance(raw, list | tuple) else []


def _args(raw: Any) -> Any:
    if isinstance(raw, str):
        try:
            return json.loads(raw, parse_constant=str)
        except (ValueError, RecursionError):
            return raw
    return jsonable(raw)


def text_or_none(value: Any) -> str | None:
    """A value that names something, as text; None where there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return str(value)
    plain = jsonable(value)
    return plain if isinstance(plain, str) else compact(plain)
