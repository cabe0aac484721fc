"""What a long chat costs: ``python benchmarks/chat.py [--url …] [--messages 1000] [--json FILE]``.

A chat of messages of about 600 bytes, its whole history kept, driven per turn as LangGraph drives
a checkpointer: get_tuple, put (the input), put_writes, put (the loop). Without a URL it starts a
redis-server of its own, with a replica, so that replicated bytes are counted too.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final, TypeVar

sys.path.append(str(Path(__file__).parent.parent))

from benchmarks import report
from benchmarks.meters import MeteredStore, Wire
from benchmarks.servers import has_replica, redis_with_replica, replicated_bytes
from benchmarks.threads import Speech, Thread
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from redis import Redis

from wren_sessions import SessionSaver, open_store
from wren_sessions.protocols import SessionStore
from wren_sessions.stores.redis import RedisStore

T = TypeVar("T")

SESSION: Final = "benchmark-chat"
EARLY: Final = 20  # the message at which the bytes of a put are compared with those at the end
LAST: Final = 50  # calls at the end of which the median time is told


@dataclass(frozen=True, kw_only=True)
class ChatCost:
    """What a chat cost.

    Attributes:
        messages: how many it had.
        final_bytes: its last list of messages as LangGraph's `JsonPlusSerializer` stores it.
        stored_bytes: what the session takes in the store.
        carried_bytes: what all commits carried: records, appended bytes, writes, headers.
        sent_early_bytes: sent by the put at message 20: on the connection to Redis, elsewhere what
            the commit carried.
        sent_late_bytes: the same at the end.
        replicated_bytes: what Redis sent to its replica; None where that is not known.
        total_s: how long the chat took.
        get_ms: median of the last 50 calls of get_tuple.
        put_ms: median of the last 50 calls of put.
    """

    messages: int
    final_bytes: int
    stored_bytes: int
    carried_bytes: int
    sent_early_bytes: int
    sent_late_bytes: int
    replicated_bytes: int | None
    total_s: float
    get_ms: float
    put_ms: float

    @property
    def stored_ratio(self) -> float:
        """Stored bytes over those of the final list."""
        return self.stored_bytes / self.final_bytes

    @property
    def sent_ratio(self) -> float:
        """Bytes of a put at the end over those at message 20."""
        return self.sent_late_bytes / self.sent_early_bytes

    @property
    def replicated_ratio(self) -> float | None:
        """Replicated bytes over those that the commits carried."""
        if self.replicated_bytes is None:
            return None
        return self.replicated_bytes / self.carried_bytes


class Chat:
    """The chat, turn by turn.

    Args:
        store: where it is kept.
        sent: how many bytes were sent so far; None counts what the commits carry.
        serde: the serializer; None for LangGraph's.
    """

    def __init__(
        self,
        store: SessionStore,
        sent: Callable[[], int] | None = None,
        serde: SerializerProtocol | None = None,
    ) -> None:
        self.metered = MeteredStore(store)
        self.thread = Thread(SessionSaver(self.metered.face, serde=serde), SESSION)
        self.messages: list[AnyMessage] = []
        self.put_bytes: list[int] = []
        self.get_ms: list[float] = []
        self.put_ms: list[float] = []
        self._sent = sent or (lambda: self.metered.carried_bytes)
        self._speech = Speech()
        self._turn = 0

    def hold(self, messages: int) -> None:
        """As many turns as it takes to come to so many messages."""
        while len(self.messages) < messages:
            self.turn()

    def turn(self) -> None:
        """One message of the person's, one answer."""
        self._get()
        self._say(HumanMessage(self._speech.text(), id=self._speech.task_id()))
        self._put({"turn_count": self._turn, "branch:to:chat": None}, "input")
        answer = AIMessage(self._speech.text(), id=self._speech.task_id())
        self._turn += 1
        writes = [("messages", [answer]), ("turn_count", self._turn)]
        self.thread.put_writes(writes, self._speech.task_id())
        self._say(answer)
        self._put({"turn_count": self._turn}, "loop")

    def _say(self, message: AnyMessage) -> None:
        self.messages = [*self.messages, message]

    def _get(self) -> None:
        self.get_ms.append(_timed_ms(self.thread.get))

    def _put(self, values: dict[str, object], source: str) -> None:
        before = self._sent()
        values = {"messages": self.messages, **values}
        self.put_ms.append(_timed_ms(lambda: self.thread.put(values, values.keys(), source)))
        self.put_bytes.append(self._sent() - before)


def _timed_ms(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1_000


def run(
    store: SessionStore,
    messages: int = 1_000,
    *,
    sent: Callable[[], int] | None = None,
    replicated: Callable[[], int] | None = None,
    serde: SerializerProtocol | None = None,
) -> ChatCost:
    """Hold a chat, and say what it cost. The session is deleted first, and left behind.

    Args:
        store: where to keep it.
        messages: how many messages, an even number from 20 on.
        sent: how many bytes were sent to the store so far; None counts what the commits carry.
        replicated: how many bytes the store replicated so far; None where that is not known.
        serde: the serializer; None for LangGraph's.
    """
    store.delete(SESSION)
    replicated_before = replicated() if replicated else 0
    chat = Chat(store, sent, serde)
    total_ms = _timed_ms(lambda: chat.hold(messages))
    info = store.info(SESSION)
    return ChatCost(
        messages=len(chat.messages),
        final_bytes=len(JsonPlusSerializer().dumps_typed(chat.messages)[1]),
        stored_bytes=(info.size_bytes or 0) if info else 0,
        carried_bytes=chat.metered.carried_bytes,
        sent_early_bytes=chat.put_bytes[EARLY - 1],
        sent_late_bytes=chat.put_bytes[-1],
        replicated_bytes=replicated() - replicated_before if replicated else None,
        total_s=total_ms / 1_000,
        get_ms=median(chat.get_ms[-LAST:]),
        put_ms=median(chat.put_ms[-LAST:]),
    )


def run_on_redis(
    url: str, messages: int = 1_000, serde: SerializerProtocol | None = None
) -> ChatCost:
    """`run` on a Redis server, with the bytes counted on the connection."""
    wire = Wire()
    with wire.client(url) as client, Redis.from_url(url) as other:
        counts = has_replica(other)
        return run(
            RedisStore.from_client(client),
            messages,
            sent=lambda: wire.sent_bytes,
            replicated=(lambda: replicated_bytes(other)) if counts else None,
            serde=serde,
        )


def rows(cost: ChatCost) -> list[report.Row]:
    """The figures for people."""
    replicated = cost.replicated_ratio
    return [
        ("messages", f"{cost.messages:,}", ""),
        ("final list, bytes", f"{cost.final_bytes:,}", ""),
        ("stored, bytes", f"{cost.stored_bytes:,}", f"{cost.stored_ratio:.2f} × final list"),
        ("carried by commits, bytes", f"{cost.carried_bytes:,}", ""),
        (f"put at message {EARLY}, bytes sent", f"{cost.sent_early_bytes:,}", ""),
        ("put at the end, bytes sent", f"{cost.sent_late_bytes:,}", f"{cost.sent_ratio:.2f} ×"),
        (
            "replicated, bytes",
            "not known" if replicated is None else f"{cost.replicated_bytes:,}",
            "" if replicated is None else f"{replicated:.2f} × carried",
        ),
        ("whole chat, s", f"{cost.total_s:.2f}", ""),
        ("get_tuple at the end, ms", f"{cost.get_ms:.2f}", "median"),
        ("put at the end, ms", f"{cost.put_ms:.2f}", "median"),
    ]


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description="Measure what a long chat costs.")
    parser.add_argument("--url", help="redis://…, file:…, memory://; default: a Redis of its own")
    parser.add_argument("--messages", type=int, default=1_000, help="default 1,000")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = options.url or stack.enter_context(redis_with_replica())
        if url.startswith(("redis:", "rediss:", "unix:")):
            cost = run_on_redis(url, options.messages)
        else:
            cost = run(stack.enter_context(open_store(url)), options.messages)
    report.show(rows(cost))
    report.save(options.json, cost)


if __name__ == "__main__":
    main()
