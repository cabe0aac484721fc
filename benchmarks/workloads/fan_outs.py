"""Fan-out: 200 tasks of one checkpoint write what they gave, all at the same time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from benchmarks.measuring import run_now
from benchmarks.runs import Run, Stand
from benchmarks.threads import Speech, Thread
from benchmarks.workloads.conversations import MESSAGE_BYTES, Conversation
from langchain_core.messages import AIMessage

NAME: Final = "fan-out"


async def run(run: Run) -> None:
    """Fan out some times, each time from another thread's checkpoint."""
    async with run.stands(NAME, lambda _, __: None, many=True) as stands:
        for number in range(run.sizes.fan_outs):
            await run.each(NAME, stands, lambda stand, at=number: _fan_out(run, stand, at))  # type: ignore[misc]


async def _fan_out(run: Run, stand: Stand[None], number: int) -> None:
    chat = Conversation(stand.face, f"benchmark-fan-out-{number}")
    await chat.turn()
    tasks = _tasks(run.sizes.tasks)
    together = _in_tasks if stand.face.awaits else _in_threads
    errors, elapsed_s = await together(stand, chat.thread, tasks)
    for error in errors[:1]:
        run.results.fail(run.key(NAME, stand.peer), error)
    run.results.add(
        run.key(NAME, stand.peer),
        run.sizes.tasks,
        writes_per_s=(run.sizes.tasks - len(errors)) / elapsed_s,
        failures=len(errors) + await _lost(stand, chat, run.sizes.tasks - len(errors)),
    )


def _tasks(count: int) -> list[tuple[str, AIMessage]]:
    speech = Speech()
    return [(speech.task_id(), AIMessage(speech.text(MESSAGE_BYTES))) for _ in range(count)]


async def _lost(stand: Stand[None], chat: Conversation, expected: int) -> int:
    """How many writes were acknowledged and are not there."""
    found = await stand.face.get(chat.thread.latest)
    return max(0, expected - len((found.pending_writes if found else None) or ()))


async def _in_tasks(
    stand: Stand[None], thread: Thread, tasks: Sequence[tuple[str, AIMessage]]
) -> tuple[list[BaseException], float]:
    start = time.perf_counter()
    calls: list[Awaitable[None]] = [
        stand.face.put_writes(thread.config, [("messages", [message])], task_id)
        for task_id, message in tasks
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    elapsed_s = time.perf_counter() - start
    return [answer for answer in answers if isinstance(answer, BaseException)], elapsed_s


async def _in_threads(
    stand: Stand[None], thread: Thread, tasks: Sequence[tuple[str, AIMessage]]
) -> tuple[list[BaseException], float]:
    """Write in a thread each. What it takes to start them is no saver's time."""
    started: list[float] = []
    together = threading.Barrier(len(tasks), lambda: started.append(time.perf_counter()))

    def write(task: tuple[str, AIMessage]) -> None:
        together.wait()
        run_now(stand.face.put_writes(thread.config, [("messages", [task[1]])], task[0]))

    with ThreadPoolExecutor(len(tasks)) as threads:
        answers = [future.exception() for future in [threads.submit(write, one) for one in tasks]]
        elapsed_s = time.perf_counter() - started[0]
    return [answer for answer in answers if answer is not None], elapsed_s
