"""A checkpoint's metadata: JSON data, as with every other checkpointer. Pure, no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})


def as_json(value: Any) -> Any:
    """A value with the containers, texts and numbers that JSON would give back.

    Tuples become lists, keys become text, and subclasses of text and numbers become plain ones.
    What JSON has no form for (a date, say) stays as it is: it is stored as its type.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, dict):
        found: dict[Any, Any] = {}
        for key, inner in value.items():
            plain_key = key if type(key) is str else _key(key)
            found[plain_key] = inner if type(inner) in _PLAIN else as_json(inner)
        return found
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value) if isinstance(value, int) else float(value)
    return value


def _key(key: Any) -> Any:
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, int | float):
        return json.dumps(key)
    return key


def metadata_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as it is stored, given back and compared."""
    try:
        found: dict[str, Any] = as_json(metadata if type(metadata) is dict else dict(metadata))
    except RecursionError:  # the serializer says what is wrong with it
        return dict(metadata)
    return found


def matches(metadata: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether metadata has all the values asked for; `where` is as `metadata_of` gives it."""
    return all(as_json(metadata.get(key)) == value for key, value in where.items())
