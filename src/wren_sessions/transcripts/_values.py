"""Any value as JSON has it, for files that people and other programs read.

JSON has fewer types than Python. What it lacks becomes the nearest thing a reader expects, and is
not turned back: exact values are in the session, and in its archive. The table stands in
``docs/reference/files.md``. Nothing is imported, and no method of the application's classes runs.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from enum import Enum
from operator import eq
from typing import Any, Final

from wren_sessions.checkpoints.channels import PREVIOUS, ROOT

MAX_DEPTH: Final = 64
_OPAQUE: Final = "…"


def jsonable(value: Any, depth: int = 0) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Enum):
        return jsonable(value.value, depth)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    return _standard(value) if depth >= MAX_DEPTH else _nested(value, depth + 1)


def _nested(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return _mapping(value, depth)
    if isinstance(value, list | tuple | deque):
        return [jsonable(item, depth) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((jsonable(item, depth) for item in value), key=json.dumps)
    if is_plain_object(value):
        return jsonable(value.value, depth)
    fields = fields_of(value)
    return _standard(value) if fields is None else _mapping(fields, depth)


def _mapping(value: Mapping[Any, Any], depth: int) -> Any:
    """An object; a list of pairs where two keys would be the same text."""
    pairs = [(key_text(key, depth), jsonable(item, depth)) for key, item in value.items()]
    found = dict(pairs)
    return found if len(found) == len(pairs) else [list(pair) for pair in pairs]


def key_text(key: Any, depth: int = 0) -> str:
    """A key as JSON has it: text."""
    plain = jsonable(key, depth)
    return plain if isinstance(plain, str) else compact(plain)


def _standard(value: Any) -> Any:
    """A value of the standard library, as text or number; any other as the name of its type."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, complex | range) or type(value).__module__ in _AS_TEXT:
        return str(value)
    nested = isinstance(value, Collection) or is_plain_object(value)
    return _OPAQUE if nested else f"<{type(value).__name__}>"


_AS_TEXT: Final = frozenset(
    {"decimal", "uuid", "pathlib", "pathlib._local", "ipaddress", "fractions"} | {"zoneinfo", "re"}
)


def is_plain_object(value: Any) -> bool:
    """Whether this is what `PlainSerializer` gives for a type that it does not build."""
    return type(value).__name__ == "PlainObject" and hasattr(value, "type_name")


def by_name(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state by name: where all of it is one value, the fields of that too."""
    found: dict[str, Any] = {}
    for channel in (PREVIOUS, ROOT):
        whole: Any = state.get(channel)
        if is_plain_object(whole):
            whole = whole.value
        found |= (whole if isinstance(whole, Mapping) else fields_of(whole)) or {}
    return found | dict(state)


def fields_of(value: Any) -> dict[str, Any] | None:
    """The fields of a dataclass or of a model, as they are; None for anything else."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    if hasattr(type(value), "model_fields") or hasattr(type(value), "__fields__"):
        return dict(vars(value))
    return None


def compact(value: Any) -> str:
    """A value of JSON as one line of text."""
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


def json_text(fields: Any) -> str:
    """The text of a JSON file: indented, in UTF-8 wherever that can be."""
    text = json.dumps(fields, ensure_ascii=False, indent=2)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only escapes can write down
        text = json.dumps(fields, indent=2)
    return f"{text}\n"


def shared_start(
    before: Sequence[Any], after: Sequence[Any], same: Callable[[Any, Any], bool] = eq
) -> int:
    """How many elements two lists begin with that are the same."""
    pairs = enumerate(zip(before, after, strict=False))
    return next((at for at, pair in pairs if not same(*pair)), min(len(before), len(after)))
