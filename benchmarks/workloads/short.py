"""Short conversations: each call at 20 messages, and the read of a step with 200 pending writes.

Most conversations are short. Each chat is a thread of its own, held to its end by one saver after
the other; the times of its last turns count. Then fresh processes read one of them. On our Redis
the server says what a commit takes of its time: the slow log notes every call, in microseconds.
"""

from __future__ import annotations

from typing import Any, Final

from benchmarks.measuring import Watch
from benchmarks.peers import REFERENCE, peer_named
from benchmarks.runs import Run, Stand
from benchmarks.threads import Speech
from benchmarks.workloads import resuming
from benchmarks.workloads.conversations import CALLS, MESSAGE_BYTES, Conversation
from langchain_core.messages import AIMessage
from redis import Redis

NAME: Final = "short"
MESSAGES: Final = 20
WRITES: Final = 200
LAST: Final = 3
"""Turns at the end of a chat whose times count."""


async def run(run: Run) -> None:
    """Hold the chats, read pending writes, resume, and ask the server."""
    peers = [REFERENCE, *run.peers]
    first = Conversation
    async with run.stands(NAME, lambda face, _: first(face, "short"), peers=peers) as stands:
        await run.each(NAME, stands, _warm)
        for number in range(run.sizes.short):
            await run.each(NAME, stands, lambda stand, at=number: _chat(run, stand, f"short-{at}"))  # type: ignore[misc]
        kept = [stand for stand in stands if stand.peer.backend != "memory"]
        await resuming.run(run, kept)
        await run.each(NAME, stands, _many_writes)
        for _ in range(run.sizes.short):
            await run.each(NAME, stands, lambda stand: _read(run, stand))
    await _server_time(run)


async def _warm(stand: Stand[Conversation]) -> None:
    """Whatever is imported, connected or loaded by a first chat is no short one's time."""
    await stand.own.hold(MESSAGES)


async def _chat(run: Run, stand: Stand[Conversation], thread: str) -> None:
    stand.own = Conversation(stand.face, thread)
    await stand.own.hold(MESSAGES)
    times = stand.own.watch.wall_ms
    run.results.add(
        run.key(NAME, stand.peer),
        MESSAGES,
        get_ms=times["get"][-LAST:],
        put_input_ms=times["put"][0 :: CALLS["put"]][-LAST:],
        put_writes_ms=times["put_writes"][-LAST * CALLS["put_writes"] :],
        put_loop_ms=[ms for at, ms in enumerate(times["put"]) if at % CALLS["put"]][-2 * LAST :],
    )


async def _many_writes(stand: Stand[Conversation]) -> None:
    """Many tasks of the last checkpoint have written."""
    chat, speech = stand.own, Speech()
    for _ in range(WRITES):
        writes = [("messages", [AIMessage(speech.text(MESSAGE_BYTES), id=speech.task_id())])]
        await chat.face.put_writes(chat.thread.config, writes, speech.task_id())


async def _read(run: Run, stand: Stand[Conversation]) -> None:
    watch, chat = Watch(), stand.own
    found = await watch.time("get", lambda: chat.face.get(chat.thread.latest))
    if found is None or len(found.pending_writes or ()) != WRITES:
        raise LookupError("pending writes were lost")
    run.results.add(run.key(NAME, stand.peer), WRITES, pending_get_ms=watch.wall_ms["get"])


async def _server_time(run: Run) -> None:
    """What the server says that the scripts of our commits take, at the end of each chat."""
    peers = [one for one in run.peers if one == peer_named("wren redis")]
    async with run.stands(NAME, lambda face, _: Conversation(face, "timed"), peers=peers) as stands:
        await run.each(NAME, stands, _warm)
        for number in range(run.sizes.short):
            await run.each(NAME, stands, lambda stand, at=number: _timed(run, stand, f"timed-{at}"))  # type: ignore[misc]


async def _timed(run: Run, stand: Stand[Conversation], thread: str) -> None:
    chat = Conversation(stand.face, thread)
    await chat.hold(MESSAGES - 2 * LAST)
    with Redis.from_url(run.sites.redis_url) as client:
        client.config_set("slowlog-log-slower-than", 0)
        client.config_set("slowlog-max-len", 1_000)
        client.slowlog_reset()
        try:
            await chat.hold(MESSAGES)
            found: list[dict[str, Any]] = client.slowlog_get(1_000)
        finally:
            client.config_set("slowlog-log-slower-than", -1)
    calls = [one for one in reversed(found) if one["command"].startswith(b"EVALSHA")]
    commits = [
        int(one["duration"]) for at, one in enumerate(calls) if at % sum(CALLS.values())
    ]  # a turn reads first
    run.results.add(run.key(NAME, stand.peer), MESSAGES, script_us=commits)
