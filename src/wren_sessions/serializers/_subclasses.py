"""Subclasses of str and dict that langchain returns (such as ``message.text``), and apps store."""

from __future__ import annotations

from typing import Any, Final

from wren_sessions.errors import SerializationError, UnsafeTypeError
from wren_sessions.serializers._resolve import find, name_of, official
from wren_sessions.serializers._standard import Write
from wren_sessions.serializers._wire import SUBCLASSES, marker
from wren_sessions.serializers.packing import Lower

_MARK: Final = marker(b"x")


def subclass_writer(kind: type, lower: Lower) -> Write | None:
    """What writes values of such a class; None for any other class."""
    name = name_of(kind)
    if name not in SUBCLASSES or find(name) is not kind:
        return None
    if SUBCLASSES[name] is dict:
        return lambda value: [_MARK, name, lower(dict(value))]
    return lambda value: [_MARK, name, str.__str__(value)]


def build_subclass(items: list[Any]) -> Any:
    """A value of an envelope's items."""
    _, name, content = items
    base = SUBCLASSES.get(name)
    if base is None or type(content) is not base:
        raise SerializationError("the stored value is damaged: a text or dict of an unknown class")
    kind = official(name)
    if kind is None or not issubclass(kind, base):
        raise UnsafeTypeError(
            f"the value holds a {name}, which the installed langchain-core does not have"
        )
    if base is str:
        return str.__new__(kind, content)
    found: Any = dict.__new__(kind)
    found.update(content)
    return found
