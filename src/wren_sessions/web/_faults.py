"""What is damaged, or sealed with another key: shown as such, where it would stand."""

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
