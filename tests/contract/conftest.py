"""Repeats tests that wait for real time to pass, where the machine was too slow for them."""

from __future__ import annotations

import pytest
from _pytest.runner import runtestprotocol

from contract.real_time import TIMES, RealTime, was_too_slow


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test, and again with longer ticks if it failed and its calls took longer than one."""
    kind = getattr(item, "cls", None)
    if kind is None or not issubclass(kind, RealTime):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports: list[pytest.TestReport] = []
    for times in TIMES:
        RealTime.times, RealTime.waited_s = times, 0
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if not any(map(was_too_slow, reports)):
            break
    RealTime.times = TIMES[0]
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
