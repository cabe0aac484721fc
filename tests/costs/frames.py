"""Counts what one call runs of this package: modules, functions and calls. Exact, unlike times."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import wren_sessions

_ROOT = f"{Path(wren_sessions.__file__).parent}/"


@dataclass(frozen=True, slots=True)
class Frames:
    """What a call passed.

    Attributes:
        modules: the modules of this package, each once.
        functions: its functions, each once.
        calls: how often functions of it were entered; a comprehension counts as one,
            a generator or coroutine once.
    """

    modules: frozenset[str]
    functions: frozenset[CodeType]
    calls: int


def frames_of(call: Callable[[], Any]) -> Frames:
    """Count what a call runs of this package, in this thread."""
    codes: list[CodeType] = []
    entered: dict[int, FrameType] = {}  # kept, or another frame may get the id of one that ended

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_ROOT):
            suspended = frame.f_code.co_flags & 0x2A0  # generator, coroutine, async generator
            if not suspended or id(frame) not in entered:
                codes.append(frame.f_code)
            if suspended:
                entered[id(frame)] = frame

    before = sys.getprofile()
    with _collector_paused():
        sys.setprofile(profile)
        try:
            call()
        finally:
            sys.setprofile(before)
    return Frames(
        modules=frozenset(code.co_filename.removeprefix(_ROOT) for code in codes),
        functions=frozenset(codes),
        calls=len(codes),
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """What other tests left is collected before: its `__del__` would count as part of the call."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
