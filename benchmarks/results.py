"""What a run found: flat figures, series over a thread's length, and what could not be measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number.

    Attributes:
        workload: such as ``"chat"``.
        peer: whose number it is.
        face: ``"sync"`` or ``"async"``.
        size: messages, tasks or sessions; what the workload counts.
        name: what was measured, with its unit at the end: ``"put_ms"``, ``"stored_bytes"``.
        value: the number.
        samples: how many samples it is the median of.
    """

    workload: str
    peer: str
    face: str
    size: int
    name: str
    value: float
    samples: int = 1


@dataclass(frozen=True, kw_only=True)
class Series:
    """How a number grows: points of (size, value)."""

    workload: str
    peer: str
    face: str
    name: str
    points: list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A peer that could not do something, and why."""

    workload: str
    peer: str
    face: str
    reason: str


@dataclass
class Results:
    """All that a run found.

    Attributes:
        machine: what it ran on, see `benchmarks.machine`.
        figures: the numbers.
        series: the numbers over size.
        failures: what peers could not do.
    """

    machine: dict[str, Any] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def add(self, key: Key, size: int, **values: float | Iterable[float]) -> None:
        """Add numbers of one peer; of samples, the median is kept. No samples: no number."""
        for name, value in values.items():
            samples = [value] if isinstance(value, int | float) else list(value)
            if samples:
                self.figures.append(
                    Figure(
                        **asdict(key),
                        size=size,
                        name=name,
                        value=median(samples),
                        samples=len(samples),
                    )
                )

    def grow(self, key: Key, name: str, points: Iterable[tuple[float, float]]) -> None:
        """Add a series of one peer."""
        self.series.append(Series(**asdict(key), name=name, points=list(points)))

    def fail(self, key: Key, error: BaseException | str) -> None:
        """Note that a peer could not do something; once per reason."""
        reason = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        failure = Failure(**asdict(key), reason=" ".join(reason.split())[:200])
        if failure not in self.failures:
            self.failures.append(failure)

    def value(self, workload: str, peer: str, face: str, size: int, name: str) -> float | None:
        """One number; None if it was not measured."""
        found = [
            figure.value
            for figure in self.figures
            if (figure.workload, figure.peer, figure.face, figure.size, figure.name)
            == (workload, peer, face, size, name)
        ]
        return median(found) if found else None

    def best(
        self,
        of: Callable[[list[float]], float],
        peers: Iterable[str],
        where: tuple[str, str, int, str],
    ) -> float | None:
        """The best of some peers.

        Args:
            of: `min` for times and bytes, `max` for throughput.
            peers: whose numbers.
            where: workload, face, size and name of the number.
        """
        workload, face, size, name = where
        found = [self.value(workload, peer, face, size, name) for peer in peers]
        measured = [value for value in found if value is not None]
        return of(measured) if measured else None

    def merge(self) -> None:
        """Make one figure of those that repetitions gave: the median of their medians."""
        groups: dict[tuple[str, str, str, int, str], list[Figure]] = {}
        for one in self.figures:
            key = (one.workload, one.peer, one.face, one.size, one.name)
            groups.setdefault(key, []).append(one)
        self.figures = [
            replace(
                group[0],
                value=float(f"{median(one.value for one in group):.6g}"),
                samples=sum(one.samples for one in group),
            )
            for group in groups.values()
        ]

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.merge()
        found = asdict(self)
        found["series"] = [
            one | {"points": [[round(x, 1), round(y, 5)] for x, y in one["points"]]}
            for one in found["series"]
        ]
        path.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what `save` wrote."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            machine=found["machine"],
            figures=[Figure(**one) for one in found["figures"]],
            series=[Series(**one) for one in found["series"]],
            failures=[Failure(**one) for one in found["failures"]],
        )


@dataclass(frozen=True)
class Key:
    """Whose number it is: workload, peer and face."""

    workload: str
    peer: str
    face: str
