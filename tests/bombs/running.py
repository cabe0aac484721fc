"""Sets bombs off in a process of their own, and tells what each took: see test_bombs.py."""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bombs.making import GROUPS
from wren_sessions.errors import WrenSessionsError

_MOST_BYTES = 4_000_000_000  # of address space: what goes off is an error, not a machine that swaps


def _status(name: str) -> int:
    found = [line for line in Path("/proc/self/status").read_text().splitlines() if name in line]
    return int(found[0].split()[1]) * 1_024


def _took(act: Callable[[], Any]) -> tuple[str, int, float]:
    """How it ended, how many bytes it took at its peak, and how many seconds."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, started = _status("VmRSS"), time.process_time()
    try:
        value = act()
    except WrenSessionsError as error:
        outcome = f"{type(error).__name__}: {str(error)[:300]}"
    except BaseException as error:  # noqa: BLE001 -- it must not happen, and is told
        outcome = f"went off: {type(error).__name__} {str(error)[:100]}"
    else:
        outcome = "read"
        del value
    return outcome, _status("VmHWM") - before, time.process_time() - started


def main(group: str) -> None:
    """Set all of a group off; a line for each."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    for name, act in GROUPS[group]():
        outcome, grown, seconds = _took(act)
        told = json.dumps([f"{group}: {name}", outcome, grown, round(seconds, 2)])
        sys.stdout.write(f"{told}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
