"""Values to bytes and back. LangGraph's serializers are imported when one is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def default_serializer() -> Any:
    """LangGraph's own serializer, with its pickle fallback off."""
    return import_module("langgraph.checkpoint.serde.jsonplus").JsonPlusSerializer()


def new_checkpoint_id() -> str:
    """An id that is above all that were made before it, as LangGraph makes them."""
    return str(import_module("langgraph.checkpoint.base.id").uuid6())
