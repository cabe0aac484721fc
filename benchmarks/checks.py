"""What must hold, as ratios within one run: target, what was measured, and whether it is met."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

from benchmarks.peers import PEERS
from benchmarks.results import Results
from benchmarks.workloads import graphs, importing, resuming, short

CHAT: Final = "chat"
OURS: Final = {"memory": "wren memory", "file": "wren file", "redis": "wren redis"}
SERVED: Final = [peer.name for peer in PEERS if peer.served and not peer.ours]
OTHERS: Final = [peer.name for peer in PEERS if not peer.ours]
_IN_MEMORY: Final = (OURS["memory"], "InMemorySaver")
OPERATIONS: Final = ("get_ms", "put_ms", "put_writes_ms", "list_10_ms", "delete_ms")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that must hold.

    Attributes:
        what: for people.
        face: ``"sync"`` or ``"async"``.
        target: a ratio, or milliseconds.
        measured: the same; None if it was not measured.
        at_least: whether more is better.
    """

    what: str
    face: str
    target: float
    measured: float | None
    at_least: bool = True

    @property
    def verdict(self) -> str:
        """``ok``, ``short`` or ``not measured``."""
        if self.measured is None:
            return "not measured"
        met = self.measured >= self.target if self.at_least else self.measured <= self.target
        return "ok" if met else "short"


class _Judge:
    """Ratios between peers of one run, on one face."""

    def __init__(self, results: Results, face: str) -> None:
        self.results = results
        self.face = face

    def value(self, peer: str, size: int, name: str, workload: str = CHAT) -> float | None:
        return self.results.value(workload, peer, self.face, size, name)

    def faster(
        self, backend: str, rivals: Iterable[str], size: int, name: str, workload: str = CHAT
    ) -> float | None:
        """How many times as fast ours is as the best of the rivals; for times and for bytes."""
        best = self.results.best(min, rivals, (workload, self.face, size, name))
        return _ratio(best, self.value(OURS[backend], size, name, workload))

    def check(
        self, what: str, target: float, measured: float | None, *, at_least: bool = True
    ) -> Check:
        return Check(what=what, face=self.face, target=target, measured=measured, at_least=at_least)


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below


CALLS: Final = {
    "get_ms": "get",
    "put_input_ms": "put (input)",
    "put_writes_ms": "put_writes",
    "put_loop_ms": "put (loop)",
}
RIVALS: Final = {
    "redis": (("ValkeySaver", 1.2), ("PostgresSaver", 1.2), ("RedisSaver", 3.0)),
    "file": (("SqliteSaver", 1.0),),
}


def _short(judge: _Judge) -> Iterator[Check]:
    """Short conversations: calls at 20 messages, many pending writes, and a fresh process."""
    for backend, rivals in RIVALS.items():
        for (rival, target), (name, what) in product(rivals, CALLS.items()):
            ratio = judge.faster(backend, [rival], short.MESSAGES, name, short.NAME)
            yield judge.check(f"{backend}: {what} at 20, × {rival}", target, ratio)
    for name, most in (("get_ms", 1.0), ("put_loop_ms", 1.5)):
        ours, theirs = (judge.value(peer, 20, name, short.NAME) for peer in _IN_MEMORY)
        what = f"memory: {CALLS[name]} at 20, × InMemorySaver's time"
        yield judge.check(what, most, _ratio(ours, theirs), at_least=False)
    for name in ("put_input_ms", "put_writes_ms"):
        ours, theirs = (judge.value(peer, 20, name, short.NAME) for peer in _IN_MEMORY)
        over = None if ours is None or theirs is None else (ours - theirs) * 1_000
        what = f"memory: {CALLS[name]} at 20, µs more than InMemorySaver"
        yield judge.check(what, 30, over, at_least=False)
    for backend in OURS:
        where = (short.WRITES, "pending_get_ms", short.NAME)
        ratio = judge.faster(backend, ["InMemorySaver"], *where)
        yield judge.check(f"{backend}: read of 200 pending writes, × InMemorySaver", 1, ratio)
    ours, theirs = (
        judge.value(peer, short.MESSAGES, "get_ms", resuming.NAME)
        for peer in (OURS["redis"], "ValkeySaver")
    )
    what = "redis: first read of a fresh process, × ValkeySaver's time"
    yield judge.check(what, 1.5, _ratio(ours, theirs), at_least=False)
    script_us = judge.value(OURS["redis"], short.MESSAGES, "script_us", short.NAME)
    yield judge.check("redis: server time of a commit at 20, µs", 25, script_us, at_least=False)


def _short_graph(judge: _Judge) -> Iterator[Check]:
    """What a graph's turn takes above the saver that only keeps references."""
    rivals = {"redis": (SERVED, 0.6), "file": (["SqliteSaver"], 0.8)}
    rivals["memory"] = (["InMemorySaver"], 1.2)
    for backend, (others, most) in rivals.items():
        for name, when, target in (
            ("first_added_ms", "turns 1–10", most),
            ("last_added_ms", "turns 91–100", 0.4),
        ):
            best = judge.results.best(min, others, (graphs.NAME, judge.face, 100, name))
            ours = judge.value(OURS[backend], 100, name, graphs.NAME)
            what = f"{backend}: added to a graph's turn, {when}, × best peer's"
            yield judge.check(what, target, _ratio(ours, best), at_least=False)


def _history(judge: _Judge) -> Iterator[Check]:
    for backend in OURS:
        for name, what in (("list_10_ms", "list(limit=10)"), ("list_all_ms", "list of all")):
            ratio = judge.faster(backend, OTHERS, 1_000, name)
            yield judge.check(f"{backend}: {what} at 1,000, × best peer", 5, ratio)


def _redis(judge: _Judge) -> Iterator[Check]:
    targets = ((200, "put_ms", 4), (200, "get_ms", 3), (1_000, "put_ms", 10), (1_000, "get_ms", 5))
    for size, name, target in (*targets, (1_000, "whole_s", 8)):
        what = {"put_ms": "put", "get_ms": "get_tuple", "whole_s": "whole thread"}[name]
        ratio = judge.faster("redis", SERVED, size, name)
        yield judge.check(f"redis: {what} at {size:,}, × best server-backed", target, ratio)
    final = judge.value(OURS["redis"], 1_000, "final_bytes")
    stored = _ratio(judge.value(OURS["redis"], 1_000, "stored_bytes"), final)
    yield judge.check("redis: stored, × final list", 4, stored, at_least=False)


def _file(judge: _Judge) -> Iterator[Check]:
    for size in (20, 200, 1_000):
        for name in OPERATIONS:
            target = {(1_000, "put_ms"): 8.0, (1_000, "get_ms"): 5.0}.get((size, name), 1.0)
            ratio = judge.faster("file", ["SqliteSaver"], size, name)
            what = name.removesuffix("_ms")
            yield judge.check(f"file: {what} at {size:,}, × SqliteSaver", target, ratio)


def _memory(judge: _Judge) -> Iterator[Check]:
    for size, target in ((20, 1 / 1.2), (200, 3.0), (1_000, 3.0)):
        for name in ("put_ms", "get_ms"):
            ratio = judge.faster("memory", ["InMemorySaver"], size, name)
            what = name.removesuffix("_ms")
            yield judge.check(f"memory: {what} at {size:,}, × InMemorySaver", target, ratio)


def _limits(judge: _Judge) -> Iterator[Check]:
    plain = "EVALSHA of the same bytes"
    cases = [(20, "put", plain), *((size, "put_writes", plain) for size in (20, 200, 1_000))]
    cases += [(size, "get", "GET of the same bytes and decoding") for size in (20, 200, 1_000)]
    for size, name, what in cases:
        ours = judge.value(OURS["redis"], size, f"{name}_ms", "limits")
        limit = judge.value(OURS["redis"], size, f"{name}_plain_ms", "limits")
        measured = _ratio(ours, limit)
        yield judge.check(f"redis: {name} at {size:,}, × {what}", 2, measured, at_least=False)


def _growth(judge: _Judge) -> Iterator[Check]:
    for backend, peer in OURS.items():
        early, late = judge.value(peer, 20, "put_ms"), judge.value(peer, 1_000, "put_ms")
        what = f"{backend}: put at 1,000, × put at 20"
        yield judge.check(what, 3, _ratio(late, early), at_least=False)
    for name in ("put", "put_writes"):
        early, late = (
            judge.value(OURS["redis"], size, f"{name}_sent_bytes") for size in (20, 1_000)
        )
        what = f"redis: bytes sent by {name} at 1,000, × at 20"
        yield judge.check(what, 1.5, _ratio(late, early), at_least=False)


def _fan_out(judge: _Judge) -> Iterator[Check]:
    for backend, peer in OURS.items():
        failures = judge.value(peer, 200, "failures", "fan-out")
        yield judge.check(f"{backend}: failures of 200 tasks", 0, failures, at_least=False)
    best = judge.results.best(max, SERVED, ("fan-out", judge.face, 200, "writes_per_s"))
    ours = judge.value(OURS["redis"], 200, "writes_per_s", "fan-out")
    yield judge.check("redis: fan-out throughput, × best server-backed", 3, _ratio(ours, best))


def _imports(judge: _Judge) -> Iterator[Check]:
    for name, base in ((importing.PACKAGE, importing.BARE), (importing.SAVER, importing.LANGGRAPH)):
        over = judge.value(name, 0, "over_base_ms", importing.NAME)
        yield judge.check(f"import {name}, ms over {base}", 30, over, at_least=False)


GROUPS: Final[tuple[Callable[[_Judge], Iterator[Check]], ...]] = (
    _short,
    _short_graph,
    _history,
    _redis,
    _file,
    _memory,
    _limits,
    _growth,
    _fan_out,
)


def checks_of(results: Results) -> list[Check]:
    """All that must hold, group by group, on both faces."""
    judges = [_Judge(results, face) for face in ("sync", "async")]
    found = [check for group in GROUPS for judge in judges for check in group(judge)]
    return [*found, *_imports(judges[0])]


def rows(checks: Iterable[Check]) -> list[tuple[str, ...]]:
    """The checks as a table."""
    lines: list[tuple[str, ...]] = [("must hold", "face", "target", "measured", "")]
    for check in checks:
        bound = "≥" if check.at_least else "≤"
        measured = "–" if check.measured is None else f"{check.measured:.2f}"
        lines.append(
            (check.what, check.face, f"{bound} {check.target:.3g}", measured, check.verdict)
        )
    return lines
