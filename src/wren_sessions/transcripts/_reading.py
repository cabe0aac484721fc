"""Which serializer a transcript is read with."""

from __future__ import annotations

from typing import Final

from wren_sessions.delta.encoder import Serializer

_OURS: Final = "wren_sessions.serializers"
_LANGGRAPHS: Final = "langgraph.checkpoint.serde.jsonplus"


def reader(given: Serializer | None) -> Serializer:
    """One that reads what `given` wrote.

    What the package's own serializers and LangGraph's default one write is read as plain data,
    which needs none of the application's classes. Any other serializer reads its own.
    """
    module = _OURS if given is None else type(given).__module__
    if given is None or module == _LANGGRAPHS or module.startswith(_OURS):
        from wren_sessions.serializers.plain import PlainSerializer

        return PlainSerializer()
    return given
