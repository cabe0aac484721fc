"""Run trials until there were so many faults: ``python -m faults.running --faults 2000``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from faults.trials import FACES, Report, trial
from servers import start_server


def main() -> int:
    """Run, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=2_000, help="how many, at least")
    parser.add_argument("--seed", type=int, default=0, help="of the first trial")
    options = parser.parse_args()
    report, seed, began = Report(), options.seed, time.monotonic()
    with start_server() as server:
        while report.faults.total() < options.faults:
            for face in FACES:
                asyncio.run(trial(seed, face, server.address, report))
            seed += 1
    print(f"{seed - options.seed} seeds, {report.calls} calls of graphs, ", end="")  # noqa: T201
    print(f"{report.faults.total()} faults in {time.monotonic() - began:.0f} s")  # noqa: T201
    for counts in (report.faults, report.errors):
        print(*(f"  {name}: {count}" for name, count in counts.most_common()), sep="\n")  # noqa: T201
    print(*(report.wrong or ["nothing wrong"]), sep="\n")  # noqa: T201
    return bool(report.wrong)


if __name__ == "__main__":
    sys.exit(main())
