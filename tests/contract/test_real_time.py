"""A busy machine fails no test that waits for real time to pass."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from contract.real_time import RealTime, was_too_slow
from wren_sessions.testing import PassTime

SLOW_S = 0.25


class TestRealTime(RealTime):
    """The time that calls take, and the time that a test lets pass."""

    runs = 0

    async def test_what_was_too_slow_is_repeated_with_longer_ticks(self) -> None:
        """Calls that took longer than a tick are given four times as long."""
        TestRealTime.runs += 1
        await asyncio.sleep(SLOW_S)
        assert self.ticks(1) > timedelta(seconds=SLOW_S)
        assert TestRealTime.runs == 2

    async def test_the_next_test_has_short_ticks_again(self) -> None:
        """What was slow once is not slow for good."""
        assert self.ticks(1) == timedelta(milliseconds=200)

    async def test_what_was_waited_for_is_no_sign_of_a_slow_machine(
        self, pass_time: PassTime
    ) -> None:
        """A test that failed for another reason has failed, though time passed in it."""
        pass_time(self.ticks(2))
        report = pytest.TestReport("", ("", 0, ""), {}, "failed", None, "call", duration=0.5)
        assert not was_too_slow(report)
        report.duration = 0.7
        assert was_too_slow(report)
