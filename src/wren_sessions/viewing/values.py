"""Values of a state for people: what type they are, a glimpse of them, what changed between two.

Values come from `PlainSerializer`: builtins, types of the standard library, and `PlainObject` for
everything else. Nothing here runs code that the data names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from wren_sessions.transcripts import message_of
from wren_sessions.transcripts._values import compact, is_plain_object, jsonable, shared_start

GLIMPSE: Final = 160  # characters of a value
_ITEMS: Final = 8
_KINDS: Final = 3
_MESSAGES: Final = ("Message", "MessageChunk")
_SPEAKERS: Final = ("human", "ai", "system", "tool")
_GONE: Final = object()


def type_of(value: Any) -> str:
    """The type of a value, and of what is in it: ``"list of 7 (HumanMessage, AIMessage)"``."""
    name = _name_of(value)
    if is_plain_object(value):
        return name
    if isinstance(value, Mapping):
        return f"{name} of {len(value)}"
    if not isinstance(value, list | tuple | set | frozenset):
        return f"{name} of {len(value):,} bytes" if isinstance(value, bytes) else name
    kinds = list(dict.fromkeys(_name_of(item).rpartition(".")[2] for item in value))
    more = ", …" if len(kinds) > _KINDS else ""
    inside = f" ({', '.join(kinds[:_KINDS])}{more})" if kinds else ""
    return f"{name} of {len(value)}{inside}"


def _name_of(value: Any) -> str:
    """A type's name, with the classes around it where the value knows them."""
    if is_plain_object(value):
        return str(value.type_name).rpartition(":")[2]
    return type(value).__name__


def glimpse(value: Any, most: int = GLIMPSE) -> str:
    """A value in a few words, on one line."""
    text = _said(value) if is_message(value) else _told(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def is_message(value: Any) -> bool:
    """Whether a value is one of LangChain's messages, or a dict of a role and what was said."""
    if isinstance(value, Mapping):
        speaks = isinstance(value.get("role"), str) or value.get("type") in _SPEAKERS
        return speaks and "content" in value
    return is_plain_object(value) and str(value.type_name).endswith(_MESSAGES)


def _said(value: Any) -> str:
    message = message_of(value)
    calls = "".join(f" [calls {call.name}]" for call in message.tool_calls)
    return f"{message.role}: {message.text[:GLIMPSE]}{calls}"


def _told(value: Any) -> str:
    if isinstance(value, list | tuple) and value and is_message(value[-1]):
        return f"{'… ' if len(value) > 1 else ''}{_said(value[-1])}"
    if isinstance(value, str):
        return json.dumps(value[: 2 * GLIMPSE], ensure_ascii=False)
    if isinstance(value, list | tuple):
        value = [jsonable(item) for item in value[:_ITEMS]] + ["…"] * (len(value) > _ITEMS)
    return compact(jsonable(value))


# --- what changed ---------------------------------------------------------------------------------


class Change(NamedTuple):
    """A difference between two states.

    Attributes:
        path: where, as in ``profile.mood`` or ``messages[3].content``.
        kind: ``added``, ``removed`` or ``changed``.
        before: the value; None where it was added.
        after: the value; None where it was removed.
    """

    path: str
    kind: str
    before: Any
    after: Any

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        fields: dict[str, Any] = {"path": self.path, "change": self.kind}
        if self.kind != "added":
            fields["before"] = jsonable(self.before)
        if self.kind != "removed":
            fields["after"] = jsonable(self.after)
        return fields


def changes(before: Any, after: Any, path: str = "") -> Iterator[Change]:
    """What is different, down to the single values."""
    if is_plain_object(before) and is_plain_object(after) and before.type_name == after.type_name:
        before, after = before.value, after.value
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            inner = f"{path}.{key}" if path else str(key)
            yield from changes(before.get(key, _GONE), after.get(key, _GONE), inner)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _in_lists(before, after, path)
    elif before is _GONE:
        yield Change(path, "added", None, after)
    elif after is _GONE:
        yield Change(path, "removed", before, None)
    elif not same(before, after):
        yield Change(path, "changed", before, after)


def same(before: Any, after: Any) -> bool:
    """Whether two values are equal, in type too."""
    return type(before) is type(after) and repr(before) == repr(after)


def _in_lists(before: Sequence[Any], after: Sequence[Any], path: str) -> Iterator[Change]:
    """Elements compared by their place, after what both begin and end with."""
    head = shared_start(before, after, same)
    rest = min(len(before), len(after)) - head
    tail = min(rest, shared_start(before[::-1], after[::-1], same))
    old = list(enumerate(before))[head : len(before) - tail]
    new = list(enumerate(after))[head : len(after) - tail]
    both = min(len(old), len(new))
    for (_, one), (at, other) in zip(old, new, strict=False):
        yield from changes(one, other, f"{path}[{at}]")
    for at, value in old[both:]:
        yield Change(f"{path}[{at}]", "removed", value, None)
    for at, value in new[both:]:
        yield Change(f"{path}[{at}]", "added", None, value)


def summary(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What changed between two states, a few words for each key: ``messages +2``."""
    found = []
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key, _GONE), after.get(key, _GONE)
        if old is _GONE:
            amount = f" = {compact(new)}" if isinstance(new, bool | int | float) else ""
            found.append(f"+{key} ({len(new)})" if isinstance(new, list) else f"+{key}{amount}")
        elif new is _GONE:
            found.append(f"-{key}")
        elif not same(old, new):
            found.append(f"{key} {_difference(old, new)}")
    return found


def _difference(old: Any, new: Any) -> str:
    if isinstance(old, list) and isinstance(new, list):
        added = len(new) - len(old)
        if added > 0 and shared_start(old, new, same) == len(old):
            return f"+{added}"
        return f"{len(old)} → {len(new)} items" if added else "changed"
    if isinstance(old, bool | int | float) and isinstance(new, bool | int | float):
        return f"{compact(old)} → {compact(new)}"
    return "changed"
