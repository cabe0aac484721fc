"""Pauses the garbage collector while many objects are built at once."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_LARGE_BYTES: Final = 65_536


def unhurried(size_bytes: int, build: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `build` gives for these arguments; without garbage collection if it is a lot of bytes.

    To build thousands of objects sets it off again and again, and each time it finds nothing: what
    is being built is in use. So it waits for some milliseconds.
    """
    if size_bytes <= _LARGE_BYTES or not gc.isenabled():
        return build(*args, **kwargs)
    try:
        gc.disable()
        return build(*args, **kwargs)
    finally:
        gc.enable()
