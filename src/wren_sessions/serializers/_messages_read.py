"""Builds messages one by one from stored data, by setting the state of their classes.

Lists of usual messages are built as a whole, by `lists`. This module knows the classes and fields.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

from wren_sessions.errors import UnsafeTypeError
from wren_sessions.serializers._models import ModelProfile, mask_to_names, model_profile
from wren_sessions.serializers._resolve import official
from wren_sessions.serializers._wire import FIELDS, MESSAGES, Build, Builder
from wren_sessions.serializers.lists import Shape

FieldsOf = Callable[[list[Any]], dict[str, Any]]  # from an envelope's items


class _MessageBuilder(Builder):
    """Builds messages of a class, which is loaded with the first that is read.

    Args:
        kind: of the envelope, with a small letter.
        make: makes what builds them, and their shape if they have one.
    """

    def __init__(
        self, kind: bytes, make: Callable[[ModelProfile], tuple[Build, Shape | None]]
    ) -> None:
        super().__init__(self._first)
        self._kind = kind
        self._make = make

    def _first(self, items: list[Any]) -> Any:
        self.build, _ = self._made()
        return self.build(items)

    @cached_property
    def shape(self) -> Shape | None:
        """How lists are built; None if this builds messages of any form."""
        return self._made()[1]

    def _made(self) -> tuple[Build, Shape | None]:
        name = MESSAGES[self._kind]
        cls = official(name)
        profile = None if cls is None else model_profile(cls)
        if not isinstance(profile, ModelProfile):
            raise UnsafeTypeError(
                f"the value holds a {name}, which the installed langchain-core does not have: "
                "install langchain-core, or a newer one"
            )
        return self._make(profile)


def message_builders() -> dict[bytes, Builder]:
    """What builds messages of any form."""
    return {kind: _MessageBuilder(kind, _general) for kind in MESSAGES}


def usual_builder(kind: bytes, mask: int) -> Builder:
    """What builds usual messages with some fields set."""
    return _MessageBuilder(b"m" + kind[1:], lambda profile: _usual(profile, kind, mask))


def _general(profile: ModelProfile) -> tuple[Build, None]:
    def build(items: list[Any]) -> Any:
        _, fields, mask, *rest = items
        return profile.made(fields, mask, *(rest or [{} if profile.open else None]))

    return build, None


def _usual(profile: ModelProfile, kind: bytes, mask: int) -> tuple[Build, Shape | None]:
    order = FIELDS[kind]
    fields_of, names = _FIELDS_OF[order], mask_to_names(mask, order)

    def changed(items: list[Any]) -> Any:
        return profile.put(fields_of(items), names.copy(), {} if profile.open else None, None, {})

    if tuple(profile.defaults) != order or not profile.open:
        return changed, None  # another release of langchain-core has other fields
    setters = [slot.__set__ for slot in profile.slots]
    shape = Shape(profile.kind, names, fields_of, "tool_calls" in order, setters)

    cls, new = profile.kind, object.__new__
    set_fields, set_names, set_extra, set_private = setters

    def build(items: list[Any]) -> Any:
        message: Any = new(cls)
        set_fields(message, fields_of(items))
        set_names(message, names.copy())
        set_extra(message, {})
        set_private(message, None)
        return message

    return build, shape


# Written out, since a dict display is several times faster than zip.


def _fields_of_common(items: list[Any]) -> dict[str, Any]:
    _, content, kwargs, metadata, kind, name, own_id = items
    return {
        "content": content,
        "additional_kwargs": kwargs,
        "response_metadata": metadata,
        "type": kind,
        "name": name,
        "id": own_id,
    }


def _fields_of_ai(items: list[Any]) -> dict[str, Any]:
    _, content, kwargs, metadata, kind, name, own_id, calls, invalid, usage = items
    return {
        "content": content,
        "additional_kwargs": kwargs,
        "response_metadata": metadata,
        "type": kind,
        "name": name,
        "id": own_id,
        "tool_calls": calls,
        "invalid_tool_calls": invalid,
        "usage_metadata": usage,
    }


def _fields_of_tool(items: list[Any]) -> dict[str, Any]:
    _, content, kwargs, metadata, kind, name, own_id, call_id, artifact, status = items
    return {
        "content": content,
        "additional_kwargs": kwargs,
        "response_metadata": metadata,
        "type": kind,
        "name": name,
        "id": own_id,
        "tool_call_id": call_id,
        "artifact": artifact,
        "status": status,
    }


def _fields_of_chunk(items: list[Any]) -> dict[str, Any]:
    *most, chunks, position = items
    return _fields_of_ai(most) | {"tool_call_chunks": chunks, "chunk_position": position}


_FIELDS_OF: Final[dict[tuple[str, ...], FieldsOf]] = {
    tuple(fields_of([None] * (length + 1))): fields_of
    for fields_of, length in (
        (_fields_of_common, 6),
        (_fields_of_ai, 9),
        (_fields_of_tool, 9),
        (_fields_of_chunk, 11),
    )
}
