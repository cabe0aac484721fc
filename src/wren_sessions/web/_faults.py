"""Shows damaged data, or data sealed with another key, in the place where the value would be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from wren_sessions.viewing.states import FAULTS

T = TypeVar("T")


def attempt(look: Callable[[], T]) -> tuple[T | None, str]:
    """What a function gives, or why it cannot be read."""
    try:
        return look(), ""
    except FAULTS as error:
        return None, error.message
