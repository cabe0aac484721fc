"""Values to bytes and back. Large packages, above all LangGraph, are imported when they are needed.

Public is what the API reference shows; the rest may change in any version.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wren_sessions.errors import ConfigurationError
from wren_sessions.serializers._wire import KIND

if TYPE_CHECKING:
    from wren_sessions.serializers.safe import SafeSerializer

__all__ = ["KIND", "chosen_serializer", "default_serializer", "new_checkpoint_id", "reads_own"]


def default_serializer() -> SafeSerializer:
    """The serializer of everybody who names none: it allows the data types that are loaded."""
    from wren_sessions.serializers.safe import SafeSerializer

    return SafeSerializer()


def chosen_serializer(serde: Any, migrations: Any, taker: str) -> Any:
    """The serializer of somebody who names one, or migrations, or both, or neither.

    Args:
        serde: the serializer; None for the default one.
        migrations: how the application's classes have changed; None if they have not.
        taker: the class that takes both, for the error.

    Raises:
        ConfigurationError: the serializer takes no migrations.
    """
    if getattr(getattr(serde, "serde", None), "channels", None) is not None:
        raise ConfigurationError(
            f"{taker}: a {type(serde).__name__} hides channels from migrations: encrypt the store "
            "instead (encryption=), and pass serde=SafeSerializer(migrations=…)"
        )
    if migrations is None:
        return default_serializer() if serde is None else serde
    found = default_serializer() if serde is None else serde
    if not hasattr(found, "with_migrations"):
        raise ConfigurationError(
            f"{taker}: migrations are for SafeSerializer, and serde is a {type(found).__name__}: "
            "pass serde=SafeSerializer(…), or leave it out"
        )
    return found.with_migrations(migrations)


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
