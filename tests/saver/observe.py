"""What a graph did, as plain values that two savers must agree on: without ids, versions, times."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from langchain_core.messages import BaseMessage
from langgraph.checkpoint.base import CheckpointTuple, PendingWrite
from langgraph.types import Interrupt, StateSnapshot

_ID: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}"
)
_VERSION: Final = re.compile(r"(\d{10,32})\.[\w.+-]+")


class Observer:
    """Turns what a graph returned into plain values; equal ids get equal numbers."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}

    def see(self, value: Any) -> Any:
        """A value without what differs from run to run."""
        match value:
            case str():
                seen: Any = self._text(value)
            case StateSnapshot():
                seen = self._fields(value._asdict(), "created_at")
            case CheckpointTuple():
                seen = self._tuple(value)
            case BaseMessage():
                seen = self.see({"class": type(value).__name__, **value.model_dump()})
            case BaseException():
                seen = f"{type(value).__name__}: {self._text(str(value))}"
            case Mapping():
                seen = self._fields(value)
            case set() | frozenset():
                seen = [self.see(item) for item in sorted(value, key=masked)]
            case tuple() if hasattr(value, "_asdict"):
                seen = self._fields(value._asdict())
            case list() | tuple():
                # Tasks that run side by side interrupt in any order.
                asked = all(isinstance(item, Interrupt) for item in value)
                seen = [self.see(item) for item in (sorted(value, key=masked) if asked else value)]
            case _:
                seen = self._other(value)
        return seen

    def _other(self, value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            return self._fields({f.name: getattr(value, f.name, None) for f in fields(value)})
        if value is None or isinstance(value, int | float | bytes):
            return value
        if hasattr(value, "__slots__"):
            named = {name: getattr(value, name, None) for name in value.__slots__}
            return self._fields({"class": type(value).__name__, **named})
        return self._text(repr(value))

    def _tuple(self, value: CheckpointTuple) -> Any:
        checkpoint = {name: found for name, found in value.checkpoint.items() if name != "ts"}
        return {
            "config": self.see(value.config),
            "checkpoint": self.see(checkpoint),
            "metadata": self.see(value.metadata),
            "parent": self.see(value.parent_config),
            "writes": self._writes(value.pending_writes or []),
        }

    def _writes(self, writes: list[PendingWrite]) -> Any:
        """Each task's writes; in what order the tasks are listed is LangGraph's own affair."""
        tasks: dict[str, list[Any]] = {}
        for task, channel, value in writes:
            tasks.setdefault(task, []).append((channel, value))
        in_order = [sorted(found, key=masked) for found in tasks.values()]
        return [self.see(found) for found in sorted(in_order, key=masked)]

    def _fields(self, value: Mapping[Any, Any], *without: str) -> dict[Any, Any]:
        keys = sorted((key for key in value if key not in without), key=masked)
        return {self.see(key): self.see(value[key]) for key in keys}

    def _text(self, text: str) -> str:
        if version := _VERSION.fullmatch(text):
            return f"version {int(version[1])}"
        return _ID.sub(self._number, text)

    def _number(self, found: re.Match[str]) -> str:
        return self._numbers.setdefault(found[0], f"<{len(self._numbers)}>")


def masked(value: Any) -> str:
    """A value's text without ids and versions."""
    return _ID.sub("<id>", _VERSION.sub("<version>", repr(value)))
