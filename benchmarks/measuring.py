"""Measuring calls: wall time and CPU of this process, medians, percentiles, and how costs grow."""

from __future__ import annotations

import math
import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from statistics import linear_regression, median
from typing import Any, TypeVar

T = TypeVar("T")


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits: a workload on the blocking face, without an event loop.

    Raises:
        RuntimeError: it waited.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("a workload on the blocking face awaited something")


class Watch:
    """Times of calls, by name.

    Attributes:
        wall_ms: samples of elapsed time.
        cpu_ms: samples of the CPU time of this process, all its threads.
    """

    def __init__(self) -> None:
        self.wall_ms: defaultdict[str, list[float]] = defaultdict(list)
        self.cpu_ms: defaultdict[str, list[float]] = defaultdict(list)

    async def time(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """Await a call, and note how long it took."""
        cpu = time.process_time_ns()
        start = time.perf_counter_ns()
        result = await call()
        self.wall_ms[name].append((time.perf_counter_ns() - start) / 1e6)
        self.cpu_ms[name].append((time.process_time_ns() - cpu) / 1e6)
        return result

    @property
    def total_s(self) -> float:
        """Elapsed time of all calls."""
        return sum(map(sum, self.wall_ms.values())) / 1_000


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that so many per cent do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def growth_exponent(points: Sequence[tuple[float, float]]) -> float:
    """How something grows: 0 flat, 1 linear, 2 quadratic; the slope of a log-log fit."""
    sizes, values = zip(*points, strict=True)
    return linear_regression(list(map(math.log, sizes)), list(map(math.log, values))).slope


def slope(points: Sequence[tuple[float, float]]) -> float:
    """How much something grows per unit of size: the slope of a straight line."""
    sizes, values = zip(*points, strict=True)
    return linear_regression(sizes, values).slope


def binned(points: Sequence[tuple[float, float]], bins: int = 25) -> list[tuple[float, float]]:
    """Fewer points: medians of neighbours, in order."""
    per_bin = max(1, math.ceil(len(points) / bins))
    groups = [points[at : at + per_bin] for at in range(0, len(points), per_bin)]
    return [(median(x for x, _ in group), median(y for _, y in group)) for group in groups]


def rotated(items: Iterable[T], by: int) -> list[T]:
    """The items, beginning with another one each time: nobody is always the first."""
    found = list(items)
    at = by % len(found) if found else 0
    return found[at:] + found[:at]


def with_bytecode() -> dict[str, str]:
    """The environment for processes whose imports are measured.

    Without bytecode a checkout is compiled by each import, and what pip has installed by none.
    """
    return {name: item for name, item in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
