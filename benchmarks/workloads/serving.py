"""Many sessions served by many clients at once: each takes the next session, and holds a turn."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from benchmarks.measuring import percentile, run_now
from benchmarks.runs import Run, Stand
from benchmarks.workloads.conversations import Conversation

NAME: Final = "serving"
TURNS: Final = 2


class _Service:
    """The sessions, in the order in which they want to be served, and how long each turn took."""

    def __init__(self, stand: Stand[None], sessions: int) -> None:
        chats = [Conversation(stand.face, f"benchmark-{at}") for at in range(sessions)]
        self.waiting = deque(chats)
        self.turn_ms: list[float] = []
        self.errors: list[Exception] = []

    async def serve(self) -> None:
        """One client: turn after turn, until nobody waits."""
        while True:
            try:
                chat = self.waiting.popleft()
            except IndexError:
                return
            start = time.perf_counter()
            try:
                await chat.turn()
                self.turn_ms.append((time.perf_counter() - start) * 1_000)
                if chat.messages < 2 * TURNS:  # not before this turn is over
                    self.waiting.append(chat)
            except Exception as error:  # noqa: BLE001 -- whatever fails is counted
                self.errors.append(error)


async def run(run: Run) -> None:
    """Serve all sessions, peer after peer: what they do at once cannot be interleaved."""
    async with run.stands(NAME, lambda _, __: None, many=True) as stands:
        for stand in stands:
            await _serve(run, stand)


async def _serve(run: Run, stand: Stand[None]) -> None:
    service, key = _Service(stand, run.sizes.sessions), run.key(NAME, stand.peer)
    start, cpu = time.perf_counter(), time.process_time()
    if stand.face.awaits:
        await asyncio.gather(*(service.serve() for _ in range(run.sizes.clients)))
    else:
        with ThreadPoolExecutor(run.sizes.clients) as clients:
            for _ in range(run.sizes.clients):
                clients.submit(lambda: run_now(service.serve()))
    elapsed_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    for error in service.errors[:1]:
        run.results.fail(key, error)
    run.results.add(key, run.sizes.sessions, failures=len(service.errors))
    if service.turn_ms:
        run.results.add(
            key,
            run.sizes.sessions,
            turns_per_s=len(service.turn_ms) / elapsed_s,
            turn_cpu_ms=cpu_s * 1_000 / len(service.turn_ms),
            p50_ms=percentile(service.turn_ms, 50),
            p99_ms=percentile(service.turn_ms, 99),
        )
