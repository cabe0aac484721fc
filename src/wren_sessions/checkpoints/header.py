"""The header of a session: JSON that a person can read in redis-cli or a dashboard.

It has the shape that the guide of WREN, an interview agent, shows. It holds no content: of the
state, top-level numbers and booleans, how many messages there are, and strings only of the channels
that the application names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

from wren_sessions.checkpoints.channels import is_internal
from wren_sessions.records import Name

orjson: Any
try:  # comes with langchain, but not on every platform
    import orjson
except ImportError:
    orjson = None

VERSION: Final = "1.0"
_SAME: Final = frozenset({int, bool, str})  # what orjson writes as json does, and much faster
_SHOWN: Final = (int, float, str)
_METADATA: Final = ("step", "source")
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)
_MAX_INT: Final = 2**63  # what other readers of JSON take without rounding or refusing it


class Latest(Protocol):
    """What a header tells of a checkpoint: a `Put`, a `Snapshot`, or an `Entry` of a prune."""

    @property
    def name(self) -> Name:
        """Namespace and checkpoint id."""

    @property
    def rest(self) -> Mapping[str, Any]:
        """What the checkpoint holds besides its channels, of which the timestamp is shown."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its metadata, of which step and source are shown."""


def header(
    latest: Latest, values: Mapping[str, Any], strings: Collection[str] = ()
) -> bytes | None:
    """The header of a session whose latest checkpoint this is; None if it is a subgraph's.

    Args:
        latest: the checkpoint.
        values: the channels.
        strings: the channels whose strings may be shown.
    """
    namespace, checkpoint_id = latest.name
    if namespace != "":
        return None
    shown: dict[str, object] = {}
    for channel, value in values.items():
        if isinstance(value, _SHOWN) and not is_internal(channel):
            is_fit = channel in strings if isinstance(value, str) else _is_number(value)
            if is_fit and type(channel) is str:  # version 0.1.0 saved other keys
                shown[channel] = value
    messages = values.get("messages")
    if isinstance(messages, list):
        shown["message_count"] = len(messages)
    about: dict[str, object] = {
        "timestamp": str(latest.rest.get("ts")),
        "version": VERSION,
        "checkpoint_id": checkpoint_id,
    }
    for field in _METADATA:
        found = latest.metadata.get(field)
        if isinstance(found, str) or _is_number(found):
            about[field] = found
    fields = {"checkpoint": shown, "metadata": about, "config": {}}
    if orjson is not None and _SAME.issuperset(map(type, (*shown.values(), *about.values()))):
        try:
            return bytes(orjson.dumps(fields))
        except TypeError:  # half a surrogate pair, or a key that is not quite text
            pass
    return dump(fields)


def empty_header(timestamp: str) -> bytes:
    """The header of a session that has no checkpoint yet."""
    return dump(
        {"checkpoint": {}, "metadata": {"timestamp": timestamp, "version": VERSION}, "config": {}}
    )


def dump(fields: Mapping[str, Any]) -> bytes:
    """A header's fields as JSON; what JSON has no form for is shown as text."""
    return _ENCODER.encode(fields).encode("utf-8", "replace")


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and -_MAX_INT <= value < _MAX_INT
