"""What an import takes: fresh processes, one after the other, over that of bare Python."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Final

from benchmarks.measuring import rotated, with_bytecode
from benchmarks.runs import Run

NAME: Final = "import"
BARE: Final = "bare Python"
PACKAGE: Final = "wren_sessions"
SAVER: Final = "SessionSaver"
LANGGRAPH: Final = "langgraph.checkpoint.base"
MEMORY: Final = "InMemorySaver"
STATEMENTS: Final = {
    BARE: "pass",
    PACKAGE: "import wren_sessions",
    SAVER: "from wren_sessions import SessionSaver",
    LANGGRAPH: "import langgraph.checkpoint.base",
    MEMORY: "from langgraph.checkpoint.memory import InMemorySaver",
}
BASES: Final = {SAVER: LANGGRAPH, MEMORY: LANGGRAPH}
"""What a saver cannot do without; all else is compared with bare Python, round by round."""


async def run(run: Run) -> None:
    """Import everything in turn, some times."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for number in range(run.sizes.imports + 1):
        for name in rotated(STATEMENTS, number):
            took_ms = _imported_ms(STATEMENTS[name])
            if number:  # the first one compiles
                times[name].append(took_ms)
    for name, samples in times.items():
        key, base = run.key(NAME, name), times[BASES.get(name, BARE)]
        over = [one - other for one, other in zip(samples, base, strict=True)]
        run.results.add(key, 0, process_ms=samples, over_base_ms=over)


def _imported_ms(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, env=with_bytecode())
    return (time.perf_counter() - start) * 1_000
