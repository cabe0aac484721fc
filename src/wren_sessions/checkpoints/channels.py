"""The channels of a checkpoint: which belong to LangGraph, and which are the state. Pure.

Sessions, headers, archives, transcripts and the command line show only the state. A state that is
not a dict is one channel, and so is the value that an entrypoint keeps. They are shown under the
names that LangGraph gives them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from wren_sessions.errors import SerializationError

ROOT: Final = "__root__"
"""A state that is no dict."""
PREVIOUS: Final = "__previous__"
"""What an entrypoint is given as ``previous`` the next time."""
INPUT: Final = "__start__"
BRANCH: Final = "branch:to:"
SENT: Final = ("__pregel_tasks", "__tasks__")
KEYS: Final = "__keys__"
"""Ours: the members of enums that are keys of a state, by their text."""

_OWN: Final = frozenset(
    {INPUT, KEYS, *SENT}
    | {f"__{name}__" for name in ("input", "interrupt", "resume", "error", "error_source_node")}
    | {f"__{name}__" for name in ("no_writes", "scheduled", "return", "snapshot_bumps")}
)
_WIRING: Final = re.compile(
    f"{BRANCH}[^:|]+"  # a node that comes next
    "|join:[^:|]+:[^:|]+"  # a node that waits for several others
    "|branch:[^:|]+:[^:|]+:[^:|]+"  # the same as the first, until LangGraph 0.3
)


@lru_cache(4_096)  # each put asks of each channel with a number
def is_internal(channel: object) -> bool:
    """Whether a channel is LangGraph's own: its input, its triggers, its tasks."""
    if not isinstance(channel, str):  # version 0.1.0 saved such keys
        return False
    if channel.startswith("__"):
        return channel in _OWN or channel.startswith("__pregel_")
    return ":" in channel and _WIRING.fullmatch(channel) is not None


def is_next(channel: object) -> bool:
    """Whether a value of a channel says that something comes next: a node, or an input."""
    return isinstance(channel, str) and (channel == INPUT or channel.startswith(BRANCH))


def check_state(session: str, state: object) -> None:
    """Make sure that a state can be kept as it is.

    Raises:
        SerializationError: it is no dict, or has a key that would not come back.
    """
    if not isinstance(state, Mapping):
        raise SerializationError(
            f"the state of session {session!r} must be a dict, not {type(state).__name__}; nothing "
            "was written: save it under a key"
        )
    for key in state:
        fault = _fault(key)
        if fault is not None:
            raise SerializationError(
                f"key {key!r} of the state of session {session!r} {fault}; nothing was written"
            )


def _fault(key: object) -> str | None:
    """Why a key cannot be kept, and what to do."""
    if not isinstance(key, str):
        return f"is of type {type(key).__name__}, and keys are text: use str(key)"
    if type(key) is not str and not isinstance(key, Enum):
        return f"is of type {type(key).__name__}, and would come back as str: use str(key)"
    try:
        key.encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which cannot be stored: use another key"
    return (
        "is a name that LangGraph keeps for itself: use another key" if is_internal(key) else None
    )


def named(state: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[str, Enum]]:
    """A state under plain text, and the members of enums that were keys of it."""
    members = {str.__str__(key): key for key in state if isinstance(key, Enum)}
    return {str.__str__(key): value for key, value in state.items()}, members


def messages_channel(values: Mapping[str, Any], name: str) -> str:
    """The channel that holds the messages called `name`: also where the state is no dict."""
    if name in values:
        return name
    return next((channel for channel in (ROOT, PREVIOUS) if channel in values), name)
