"""What a graph asks when it waits at an interrupt, as text: pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wren_sessions.transcripts._content import split
from wren_sessions.transcripts._values import compact, is_plain_object, jsonable

_QUESTIONS: Final = ("question", "prompt", "message", "text", "content", "query", "description")


def question_of(raw: Any) -> tuple[str, Any]:
    """The text of an interrupt and its id, from LangGraph's object or the plain form of it."""
    value, id_ = raw, None
    if is_plain_object(raw) and isinstance(raw.value, Mapping):
        value, id_ = raw.value.get("value"), raw.value.get("id")
    elif isinstance(raw, Mapping) and "value" in raw:
        value, id_ = raw["value"], raw.get("id")
    elif hasattr(raw, "value"):
        value, id_ = raw.value, getattr(raw, "id", None)
    return _asked(value), id_


def _asked(value: Any) -> str:
    """The question; what else there is of it stands below, as JSON."""
    if isinstance(value, str):
        return str(value)
    if is_plain_object(value):
        value = value.value
    if isinstance(value, list | tuple) and value and all(isinstance(v, Mapping) for v in value):
        return split(value)[0] if "type" in value[0] else compact(jsonable(value))
    if not isinstance(value, Mapping):
        return compact(jsonable(value))
    key = next((key for key in _QUESTIONS if isinstance(value.get(key), str)), None)
    if key is None:
        return compact(jsonable(value))
    rest = {name: found for name, found in value.items() if name != key}
    return f"{value[key]}\n{compact(jsonable(rest))}" if rest else str(value[key])
