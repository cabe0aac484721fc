"""What a turn of a chat sends and receives, counted by a proxy at some lengths of the chat.

A saver of its own, through the proxy, takes over for two turns. In the first it has seen nothing
of the session: its read is that of a fresh process. The second is a turn as every other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from benchmarks.faces import Face, config_of
from benchmarks.measuring import Watch
from benchmarks.proxy import CountingProxy, Traffic, proxy_to
from benchmarks.results import Key, Results
from benchmarks.runs import Stand
from benchmarks.workloads.conversations import Conversation

T = TypeVar("T")
C = TypeVar("C", bound=Conversation)


class _Count(Watch):
    """Counts the traffic of calls, where a `Watch` takes their time."""

    def __init__(self, proxy: CountingProxy) -> None:
        super().__init__()
        self.traffic: dict[str, list[Traffic]] = {}
        self._proxy = proxy

    async def time(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        before = self._proxy.traffic()
        result = await call()
        self.traffic.setdefault(name, []).append(self._proxy.traffic().since(before))
        return result


async def probe(results: Results, key: Key, size: int, stand: Stand[C]) -> None:
    """Hold two turns through the proxy, and note what went over the wire.

    Args:
        results: where the figures go.
        key: whose they are.
        size: how many messages the chat has now.
        stand: the peer; its chat is two turns longer afterwards.
    """
    chat, place, face = stand.own, stand.place, key.face
    if place.port is None:
        return
    with proxy_to(place.port) as proxy:
        async with stand.peer.open(place.through(proxy.port), face, False) as saver:
            other = chat.on(Face(saver, face))
            await other.face.get(config_of("nobody"))  # connects, and loads scripts
            cold, warm = _Count(proxy), _Count(proxy)
            await other.turn(cold)
            await other.turn(warm)
    results.add(key, size, **_figures("cold_get", cold.traffic["get"]))
    for name, traffic in warm.traffic.items():
        results.add(key, size, **_figures(name, traffic))
    turn = [one for traffic in warm.traffic.values() for one in traffic]
    results.add(
        key,
        size,
        turn_sent_bytes=sum(one.sent_bytes for one in turn),
        turn_received_bytes=sum(one.received_bytes for one in turn),
        turn_trips=sum(one.trips for one in turn),
    )
    chat.messages, chat.last = other.messages, other.last


def _figures(name: str, traffic: list[Traffic]) -> dict[str, list[int]]:
    return {
        f"{name}_sent_bytes": [one.sent_bytes for one in traffic],
        f"{name}_received_bytes": [one.received_bytes for one in traffic],
        f"{name}_trips": [one.trips for one in traffic],
    }
