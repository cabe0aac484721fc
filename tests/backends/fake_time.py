"""A clock for fakeredis: its servers show the time of a `FakeClock`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

from wren_sessions.testing import FakeClock


class _Time(ModuleType):
    """The module `time`, as fakeredis sees it."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__("time")
        self._clock = clock

    def time(self) -> float:
        """Seconds since 1970, by the clock."""
        return self._clock.now_ms / 1_000

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)


@contextmanager
def fake_time() -> Iterator[FakeClock]:
    """Let every fake server show the time of one clock."""
    clock = FakeClock()
    stand_in = _Time(clock)
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("fakeredis") and getattr(module, "time", None) is time:
                patch.setattr(module, "time", stand_in)
        yield clock
