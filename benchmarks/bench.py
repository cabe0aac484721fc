"""All of it, side by side: ``python benchmarks/bench.py [--quick] [--check] [--publish] …``.

Every saver that can run here takes part: LangGraph's own, those for SQLite, PostgreSQL, Valkey and
Redis, and ours on memory, file and Redis; on both faces, interleaved, each with its own server or
file. Servers are started for it, on free ports. ``--json`` keeps the figures; ``--publish`` makes
pictures and tables of them in ``docs/explanation``, and keeps them there too. Ratios hold within a
run, not between runs.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

sys.path.append(str(Path(__file__).parent.parent))

from benchmarks import checks, growth, machine, report
from benchmarks.measuring import run_now
from benchmarks.peers import PEERS
from benchmarks.results import Results
from benchmarks.runs import FULL, QUICK, TINY, Run, Sizes
from benchmarks.sites import Sites
from benchmarks.workloads import (
    chats,
    counting,
    fan_outs,
    graphs,
    importing,
    limits,
    serialising,
    serving,
    short,
)

WORKLOADS: Final[dict[str, Callable[[Run], Coroutine[Any, Any, None]]]] = {
    short.NAME: short.run,
    graphs.NAME: graphs.run,
    importing.NAME: importing.run,
    serialising.NAME: serialising.run,
    limits.NAME: limits.run,
    fan_outs.NAME: fan_outs.run,
    serving.NAME: serving.run,
    counting.NAME: counting.run,
    chats.NAME: chats.run,
}
SYNC_ONLY: Final = {importing.NAME, serialising.NAME}
FACES: Final = ("sync", "async")


def measure(
    sizes: Sizes,
    workloads: list[str],
    peers: list[str],
    faces: list[str],
    modules_url: str | None = None,
) -> Results:
    """Run workloads with some peers.

    Args:
        sizes: how much is done.
        workloads: names out of `WORKLOADS`.
        peers: names out of `PEERS`.
        faces: ``"sync"``, ``"async"`` or both.
        modules_url: a Redis server with the modules that RedisSaver needs.
    """
    results = Results()
    chosen = [peer for peer in PEERS if peer.name in peers]
    with Sites(modules_url) as sites:
        results.machine = machine.described(sites.redis_url, [peer.package for peer in PEERS])
        results.machine["sizes"] = sizes.name
        for name in workloads:
            for face in faces:
                if face == "async" and name in SYNC_ONLY:
                    continue
                start = time.monotonic()
                run = Run(sites=sites, sizes=sizes, results=results, face=face, peers=chosen)
                gc.collect()
                _run_on(face, WORKLOADS[name](run))
                _say(f"{name}, {face}: {time.monotonic() - start:.0f} s")
    growth.add_exponents(results)
    return results


def _run_on(face: str, work: Coroutine[Any, Any, None]) -> None:
    if face == "async":
        asyncio.run(work)
    else:
        run_now(work)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare savers of LangGraph, side by side.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="ten minutes instead of half an hour")
    size.add_argument("--tiny", action="store_true", help="seconds: only to see that it runs")
    parser.add_argument("--check", action="store_true", help="show what must hold, and what does")
    parser.add_argument("--publish", action="store_true", help="write pictures and page below docs")
    parser.add_argument("--pictures", type=Path, help="a folder for pictures as PNG, to look at")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--read", type=Path, help="measure nothing: read the figures of a run")
    parser.add_argument("--workload", action="append", choices=WORKLOADS, help="only this one")
    parser.add_argument("--peer", action="append", choices=[peer.name for peer in PEERS])
    parser.add_argument("--face", action="append", choices=FACES)
    parser.add_argument("--modules-url", help="redis://… of a server with modules, not our own")
    return parser.parse_args()


def _found(options: argparse.Namespace) -> Results:
    if options.read:
        results = Results.read(options.read)
        growth.add_exponents(results)
        return results
    results = measure(
        TINY if options.tiny else QUICK if options.quick else FULL,
        options.workload or list(WORKLOADS),
        options.peer or [peer.name for peer in PEERS],
        options.face or list(FACES),
        options.modules_url,
    )
    if options.json:
        results.save(options.json)
    return results


def main() -> None:
    """Run as a script."""
    options = _options()
    logging.disable()  # savers log what they raise: it is counted and told here
    results = _found(options)
    from benchmarks import page, pictures

    print(page.tables(results))
    if options.check:
        report.show(checks.rows(checks.checks_of(results)))
    if options.pictures:
        pictures.draw(results, options.pictures, "png")
    if options.publish:
        pictures.draw(results, page.PICTURES, "svg")
        page.publish(results)
        results.save(page.PICTURES / "figures.json")


if __name__ == "__main__":
    main()
