"""How far calls on Redis are from what one plain command with the same bytes takes.

A put or put_writes is compared with one EVALSHA that is sent as many bytes and gives them back; a
get_tuple with a GET that receives as many, and decoding the messages. Both by redis-py, taking
turns. Besides: PING, SET, GET and EVALSHA of 1 KB, 100 KB and 1 MB.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, TypeVar

import redis
import redis.asyncio
from benchmarks.measuring import Watch
from benchmarks.peers import peer_named
from benchmarks.probes import probe
from benchmarks.runs import Run, Stand
from benchmarks.workloads.conversations import Conversation
from benchmarks.workloads.serialising import messages, our_serde

NAME: Final = "limits"
ALONE: Final = "redis alone"
PEER: Final = "wren redis"
RAW: Final = "redis-py"
ECHO: Final = "return #ARGV[1]"
RAW_BYTES: Final = (1_000, 100_000, 1_000_000)
SHORT: Final = 50
T = TypeVar("T")
Client: TypeAlias = redis.Redis | redis.asyncio.Redis


class _Plain:
    """Plain commands, on either face."""

    def __init__(self, client: Client, script: Any) -> None:
        self._client: Any = client
        self._script = script
        self._awaits = isinstance(client, redis.asyncio.Redis)

    async def call(self, name: str, *arguments: object) -> Any:
        answer = getattr(self._client, name)(*arguments)
        return await answer if self._awaits else answer

    async def echo(self, payload: bytes) -> None:
        await self.call("evalsha", self._script, 0, payload)


async def run(run: Run) -> None:
    """Compare at all lengths, then measure plain commands alone."""
    with redis.Redis.from_url(run.sites.redis_url) as setup:
        script = setup.script_load(ECHO)
    factory = redis.asyncio.Redis if run.face == "async" else redis.Redis
    client: Client = factory.from_url(run.sites.redis_url)
    plain = _Plain(client, script)
    try:
        for size in run.sizes.lengths:
            async with run.stands(
                NAME, lambda face, _: Conversation(face, "limits"), peers=[peer_named(PEER)]
            ) as stands:
                await run.each(NAME, stands, lambda stand, at=size: _compare(run, plain, stand, at))  # type: ignore[misc]
        await _raw(run, plain)
    finally:
        await plain.call("flushdb")
        await plain.call("aclose" if run.face == "async" else "close")


class _Pairs(Watch):
    """Times calls, and a plain command after each of them.

    Args:
        plain: the command for each name.
    """

    def __init__(self, plain: dict[str, Callable[[], Awaitable[object]]]) -> None:
        super().__init__()
        self._plain = plain

    async def time(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        result = await super().time(name, call)
        await super().time(f"{name}_plain", self._plain[name])
        return result


async def _compare(run: Run, plain: _Plain, stand: Stand[Conversation], size: int) -> None:
    """Take turns: a call of ours, the plain command with the same bytes."""
    key, samples, short = run.key(NAME, stand.peer), run.sizes.limits, size <= SHORT
    await stand.own.hold(size if short else max(2, size - samples))
    await probe(run.results, key, size, stand)
    pairs = _Pairs(await _plain_calls(run, plain, size))
    for at in range(samples):
        if short:  # a new one for each sample, so that all have the same length
            stand.own = Conversation(stand.face, f"limits-{at}")
            await stand.own.hold(size - 2)
        await stand.own.turn(pairs)
    for name, wall_ms in pairs.wall_ms.items():
        run.results.add(key, size, **{f"{name}_ms": wall_ms})


async def _plain_calls(
    run: Run, plain: _Plain, size: int
) -> dict[str, Callable[[], Awaitable[object]]]:
    """For each call, the plain command with as many bytes as the probe has counted."""

    def counted(name: str) -> bytes:
        return bytes(round(run.results.value(NAME, PEER, run.face, size, name) or 0))

    serde, put, writes = our_serde(), counted("put_sent_bytes"), counted("put_writes_sent_bytes")
    typed = serde.dumps_typed(messages(size))
    await plain.call("set", "same", counted("get_received_bytes"))

    async def read() -> object:
        return await plain.call("get", "same"), serde.loads_typed(typed)

    return {"put": lambda: plain.echo(put), "put_writes": lambda: plain.echo(writes), "get": read}


async def _raw(run: Run, plain: _Plain) -> None:
    watch = Watch()
    for _ in range(run.sizes.limits * 4):
        await watch.time("ping", lambda: plain.call("ping"))
    run.results.add(run.key(ALONE, RAW), 0, ping_ms=watch.wall_ms["ping"])
    for size in RAW_BYTES:
        watch, payload = Watch(), bytes(size)
        for _ in range(run.sizes.limits):
            await watch.time("set", lambda: plain.call("set", "key", payload))  # noqa: B023
            await watch.time("get", lambda: plain.call("get", "key"))
            await watch.time("evalsha", lambda: plain.echo(payload))  # noqa: B023
        times = {f"{name}_ms": samples for name, samples in watch.wall_ms.items()}
        run.results.add(run.key(ALONE, RAW), size, **times)
