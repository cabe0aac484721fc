"""A chat that grows to 20, 200 and 1,000 messages: each call, its history, and what is left.

At the end of each chat the last ten checkpoints are listed, at the end of the longest one all of
them, and then the thread is deleted. A fresh process resumes each of them before that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.faces import Face, config_of
from benchmarks.measuring import Watch, binned, growth_exponent, slope
from benchmarks.probes import probe
from benchmarks.results import Key
from benchmarks.runs import IN_A_ROW, Run, Stand
from benchmarks.workloads import resuming
from benchmarks.workloads.conversations import CALLS, Conversation
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

NAME: Final = "chat"
SESSION: Final = "benchmark-chat"
WINDOW: Final = 50
"""Turns at the end of a chat whose times count; a quarter of a chat that has less than 100."""


async def run(run: Run) -> None:
    """Hold all chats; short ones more often."""
    for size, repetitions in run.sizes.chats[run.face].items():
        for repetition in range(repetitions):
            await _chat(run, size, first=repetition == 0)


async def _chat(run: Run, size: int, *, first: bool) -> None:
    longest = size == run.sizes.lengths[-1]
    probes = [at for at in run.sizes.probes if at < size] if longest and first else []
    async with run.stands(NAME, lambda face, _: Probed(face, SESSION, probes)) as stands:
        for _ in range(0, size // 2, IN_A_ROW):
            await run.each(NAME, stands, lambda stand: _turn(run, stand, size), times=IN_A_ROW)
        await run.each(NAME, stands, lambda stand: _sum_up(run, stand, size, first=first))
        await _look_back(run, stands, size, everything=longest and first)
        if first:
            await resuming.run(run, [stand for stand in stands if stand.peer.backend != "memory"])
        if longest and first:
            await run.each(NAME, stands, lambda stand: _probe(run, stand, size))
        await run.each(NAME, stands, lambda stand: _delete(run, stand, size))


class Probed(Conversation):
    """A chat that is probed at some lengths.

    Attributes:
        probes: the lengths that are still to come.
    """

    def __init__(self, face: Face, thread_id: str, probes: Sequence[int]) -> None:
        super().__init__(face, thread_id)
        self.probes = list(probes)


async def _turn(run: Run, stand: Stand[Probed], size: int) -> None:
    if stand.own.probes and stand.own.messages >= stand.own.probes[0]:
        await _probe(run, stand, stand.own.probes.pop(0))
    if stand.own.messages < size:  # probes are turns as well
        await stand.own.turn()


async def _probe(run: Run, stand: Stand[Probed], size: int) -> None:
    """Count bytes on the wire, and what is stored."""
    key = run.key(NAME, stand.peer)
    if size < run.sizes.lengths[-1]:
        _stored(run, key, stand, size)
    await probe(run.results, key, size, stand)


def _stored(run: Run, key: Key, stand: Stand[Probed], size: int) -> None:
    stored_bytes = stand.place.stored_bytes(stand.face.saver)
    if stored_bytes:
        run.results.add(key, size, stored_bytes=stored_bytes)


async def _sum_up(run: Run, stand: Stand[Probed], size: int, *, first: bool) -> None:
    """What the calls at the end took, what all of them took, and what is stored."""
    key, watch, turns = run.key(NAME, stand.peer), stand.own.watch, size // 2
    window = WINDOW if turns >= 4 * WINDOW else max(3, turns // 4)
    run.results.add(key, size, whole_s=watch.total_s * turns / len(watch.wall_ms["get"]))
    for name, per_turn in CALLS.items():
        last = slice(-window * per_turn, None)
        run.results.add(key, size, **{f"{name}_ms": watch.wall_ms[name][last]})
        run.results.add(key, size, **{f"{name}_cpu_ms": watch.cpu_ms[name][last]})
    final = JsonPlusSerializer().dumps_typed(stand.own.last)[1]
    run.results.add(key, size, final_bytes=len(final))
    _stored(run, key, stand, size)
    if size == run.sizes.lengths[-1] and first:
        _growth(run, key, watch, size)


def _growth(run: Run, key: Key, watch: Watch, size: int) -> None:
    """How calls grow with the chat: points, milliseconds per message, and the exponent."""
    for name in ("get", "put", "put_writes"):
        times = watch.wall_ms[name]
        points = [(size * (at + 1) / len(times), ms) for at, ms in enumerate(times)]
        later = [point for point in points if point[0] >= min(20, size / 2)]
        run.results.grow(key, f"{name}_ms", binned(points))
        run.results.add(key, size, **{f"{name}_slope_us": slope(binned(later)) * 1_000})
        run.results.add(key, size, **{f"{name}_exponent": growth_exponent(binned(later))})


async def _look_back(run: Run, stands: list[Stand[Probed]], size: int, *, everything: bool) -> None:
    for _ in range(run.sizes.lists):
        await run.each(NAME, stands, lambda stand: _list(run, stand, size, 10))
    if everything:
        await run.each(NAME, stands, lambda stand: _list(run, stand, size, None))


async def _list(run: Run, stand: Stand[Probed], size: int, limit: int | None) -> None:
    """List checkpoints; there are two per turn, of which all lists take at most 1,000."""
    watch, name = Watch(), "list_10" if limit else "list_all"
    config = config_of(SESSION)
    found = await watch.time(name, lambda: stand.face.list(config, limit or 1_000))
    expected = min(limit or 1_000, size)
    if found != expected:
        raise LookupError(f"{found} checkpoints were listed, {expected} are there")
    run.results.add(run.key(NAME, stand.peer), size, **{f"{name}_ms": watch.wall_ms[name]})


async def _delete(run: Run, stand: Stand[Probed], size: int) -> None:
    watch = Watch()
    await watch.time("delete", lambda: stand.face.delete(SESSION))
    run.results.add(run.key(NAME, stand.peer), size, delete_ms=watch.wall_ms["delete"])
