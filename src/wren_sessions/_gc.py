"""Building many objects at once without the garbage collector looking at them again and again."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

_LARGE_BYTES: Final = 65_536


def unhurried(size_bytes: int, build: Callable[[], T]) -> T:
    """What `build` gives, without garbage collection if it is from so many bytes.

    To build thousands of objects sets it off again and again, and each time it finds nothing: what
    is being built is in use. So it waits for some milliseconds.
    """
    pause = size_bytes > _LARGE_BYTES and gc.isenabled()
    try:
        if pause:
            gc.disable()
        return build()
    finally:
        if pause:
            gc.enable()
