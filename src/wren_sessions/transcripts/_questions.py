"""What a graph asks at an interrupt, as text: pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from wren_sessions.transcripts._content import split
from wren_sessions.transcripts._values import compact, is_plain_object, jsonable

_QUESTIONS: Final = ("question", "prompt", "message", "text", "content", "query", "description")


class Interrupt(NamedTuple):
    """One interrupt of a graph.

    Attributes:
        value: what it asks, as the graph gave it.
        id: by which an answer names it; None if it has none.
    """

    value: Any
    id: Any


def interrupts_in(written: Any) -> list[Interrupt]:
    """The interrupts that a task wrote at once, from LangGraph's objects or their plain form."""
    return [
        _interrupt(raw) for raw in (written if isinstance(written, list | tuple) else [written])
    ]


def _interrupt(raw: Any) -> Interrupt:
    fields = raw.value if is_plain_object(raw) else raw
    if isinstance(fields, Mapping) and "value" in fields:
        return Interrupt(fields["value"], fields.get("id"))
    if fields is raw and hasattr(raw, "value"):
        return Interrupt(raw.value, getattr(raw, "id", None))
    return Interrupt(raw, None)


def question_text(value: Any) -> str:
    """The text of what an interrupt asks; what it has besides the question is below, as JSON."""
    if isinstance(value, str):
        return str(value)
    if is_plain_object(value):
        value = value.value
    if approvals := _approvals(value):
        return "\n".join(approvals)
    if isinstance(value, list | tuple) and value and all(isinstance(v, Mapping) for v in value):
        return split(value)[0] if "type" in value[0] else compact(jsonable(value))
    if not isinstance(value, Mapping):
        return compact(jsonable(value))
    key = next((key for key in _QUESTIONS if isinstance(value.get(key), str)), None)
    if key is None:
        return compact(jsonable(value))
    rest = {name: found for name, found in value.items() if name != key}
    return f"{value[key]}\n{compact(jsonable(rest))}" if rest else str(value[key])


# --- calls that a person is to approve ------------------------------------------------------------


def _approvals(value: Any) -> list[str]:
    """Each call that a person is to decide on, and how; none where it is another question.

    LangChain's middleware asks with ``action_requests`` and ``review_configs``, LangGraph's agent
    inbox with a list of ``action_request`` and ``config``.
    """
    if isinstance(value, Mapping) and isinstance(value.get("action_requests"), list | tuple):
        decisions = {
            each.get("action_name"): each.get("allowed_decisions")
            for each in _mappings(value.get("review_configs"))
        }
        return [
            _approval(call.get("name"), call.get("args"), decisions.get(call.get("name")))
            for call in _mappings(value["action_requests"])
        ]
    found = []
    for each in _mappings(value if isinstance(value, list | tuple) else [value]):
        call = each.get("action_request")
        if isinstance(call, Mapping):
            allowed = each.get("config")
            options = allowed if isinstance(allowed, Mapping) else {}
            words = [str(name).removeprefix("allow_") for name, yes in options.items() if yes]
            found.append(_approval(call.get("action"), call.get("args"), words))
    return found


def _mappings(values: Any) -> list[Mapping[Any, Any]]:
    """Those of several values that are mappings, as plain ones."""
    plain = [each.value if is_plain_object(each) else each for each in _several(values)]
    return [each for each in plain if isinstance(each, Mapping)]


def _several(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple) else []


def _approval(name: Any, args: Any, decisions: Any) -> str:
    """``wants to call send_mail(to="ann"): approve, edit, reject``."""
    if isinstance(args, Mapping):
        told = ", ".join(f"{key}={compact(jsonable(found))}" for key, found in args.items())
    else:
        told = "" if args is None else compact(jsonable(args))
    words = ", ".join(map(str, _several(decisions)))
    return f"wants to call {name}({told}){': ' * bool(words)}{words}"
