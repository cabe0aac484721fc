"""The contract on a server whose clock cannot be set: its time passes, so the tests wait for it.

Between two waits, a test's calls may take a tick at most. On a busy machine they can take longer,
and then a failure says nothing about the store: `conftest.py` repeats the test, with longer ticks.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import ClassVar, Final

import pytest

from wren_sessions.testing import PassTime
from wren_sessions.testing.contract_base import ContractBase
from wren_sessions.ttl import Duration, to_ms

TIMES: Final = (1, 4, 16)


class RealTime(ContractBase):
    """Time passes on the server.

    Attributes:
        times: how much longer ticks are than usual.
        waited_s: for how long the test has waited for time to pass.
    """

    tick = "200ms"
    times: ClassVar[int] = TIMES[0]
    waited_s: ClassVar[float] = 0

    def ticks(self, count: float) -> timedelta:
        """A length of time, in ticks."""
        return super().ticks(count) * RealTime.times

    @pytest.fixture
    def pass_time(self) -> PassTime:
        """Wait."""

        def wait(duration: Duration) -> None:
            seconds = to_ms(duration) / 1_000
            RealTime.waited_s += seconds
            time.sleep(seconds)

        return wait


def was_too_slow(report: pytest.TestReport) -> bool:
    """Whether a test failed whose calls took longer than a tick."""
    calls_s = report.duration - RealTime.waited_s
    return report.failed and report.when == "call" and calls_s > RealTime().ticks(1).total_seconds()
