"""Values to bytes and back. What is large, LangGraph above all, is imported when it is needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wren_sessions.serializers._wire import KIND

if TYPE_CHECKING:
    from wren_sessions.serializers.safe import SafeSerializer

__all__ = ["KIND", "default_serializer", "new_checkpoint_id", "reads_own"]


def default_serializer() -> SafeSerializer:
    """The serializer of everybody who names none: it allows the data types that are loaded."""
    from wren_sessions.serializers.safe import SafeSerializer

    return SafeSerializer()


def reads_own(serde: Any) -> SafeSerializer:
    """What reads values of the default serializer for somebody who uses another one now.

    Args:
        serde: the other one. If it is LangGraph's, with or without encryption, and has a list of
            what may be built, that list holds here as well.
    """
    from wren_sessions.serializers.safe import SafeSerializer

    allowed = getattr(getattr(serde, "serde", serde), "_allowed_msgpack_modules", True)
    return SafeSerializer(allow=None if allowed is True else allowed or ())


def new_checkpoint_id() -> str:
    """An id that is above all that were made before it, as LangGraph makes them."""
    return str(import_module("langgraph.checkpoint.base.id").uuid6())
