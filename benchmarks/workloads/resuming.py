"""A fresh process reads the latest checkpoint of a chat that another process left.

Run as a script it is that process: ``resuming.py PEER FACE ADDRESS THREAD`` prints what opening
the saver and its first get_tuple took. Some savers connect when they are opened, and some with
their first call, so only both together can be compared. The imports are done before.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Final, TypeVar

sys.path.append(str(Path(__file__).parent.parent.parent))

from benchmarks.faces import Face, config_of
from benchmarks.measuring import run_now, with_bytecode
from benchmarks.peers import peer_named
from benchmarks.runs import Run, Stand
from benchmarks.workloads.conversations import Conversation

NAME: Final = "resume"
C = TypeVar("C", bound=Conversation)


async def run(run: Run, stands: list[Stand[C]]) -> None:
    """Resume each chat in some fresh processes."""
    for _ in range(run.sizes.resumes):
        await run.each(NAME, stands, lambda stand: _resume(run, stand))


async def _resume(run: Run, stand: Stand[C]) -> None:
    thread = str(stand.own.thread.latest["configurable"]["thread_id"])
    arguments = (stand.peer.name, run.face, stand.place.address, thread)
    command = [sys.executable, __file__, *arguments]
    env = with_bytecode()
    told = subprocess.run(command, check=True, capture_output=True, env=env)  # noqa: ASYNC221 -- nothing else is to run meanwhile
    found = json.loads(told.stdout)
    if found.pop("messages") != stand.own.messages:
        raise LookupError("the fresh process did not find all messages")
    run.results.add(run.key(NAME, stand.peer), stand.own.messages, **found)


async def _in_a_fresh_process(name: str, face: str, address: str, thread: str) -> dict[str, float]:
    peer = peer_named(name)
    for module in ("langgraph.graph", *peer.imports):  # as an app has done that is about to resume
        import_module(module)
    start = time.perf_counter()
    async with peer.open(address, face, False) as saver:
        opened = time.perf_counter()
        found = await Face(saver, face).get(config_of(thread))
        got = time.perf_counter()
        again = await Face(saver, face).get(config_of(thread))
        if found is None or again is None:
            raise LookupError("there is no checkpoint")
        return {
            "open_ms": (opened - start) * 1_000,
            "get_ms": (got - start) * 1_000,
            "again_ms": (time.perf_counter() - got) * 1_000,
            "messages": len(found.checkpoint["channel_values"]["messages"]),
        }


def main() -> None:
    """Run as a script."""
    work = _in_a_fresh_process(*sys.argv[1:])
    print(json.dumps(run_now(work) if sys.argv[2] == "sync" else asyncio.run(work)))


if __name__ == "__main__":
    main()
