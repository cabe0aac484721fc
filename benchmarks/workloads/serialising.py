"""Serialisation alone: a list of messages to bytes and back, without any store."""

from __future__ import annotations

from typing import Final

from benchmarks.measuring import Watch
from benchmarks.runs import Run
from benchmarks.threads import Speech
from benchmarks.workloads.conversations import MESSAGE_BYTES
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from wren_sessions import MemoryStore, SessionSaver

NAME: Final = "serialisation"
REPETITIONS: Final = 15


def our_serde() -> SerializerProtocol:
    """What a `SessionSaver` uses when it is not told otherwise."""
    return SessionSaver(MemoryStore()).serde


def messages(count: int) -> list[AnyMessage]:
    """A conversation."""
    speech, kinds = Speech(), (HumanMessage, AIMessage)
    return [kinds[at % 2](speech.text(MESSAGE_BYTES), id=speech.task_id()) for at in range(count)]


async def run(run: Run) -> None:
    """Serialise lists of all lengths, one serializer after the other, again and again."""
    serdes = {"JsonPlusSerializer": JsonPlusSerializer(), "wren serializer": our_serde()}
    for size in run.sizes.lengths:
        content = messages(size)
        watches = {name: Watch() for name in serdes}
        for _ in range(REPETITIONS):
            for name, serde in serdes.items():
                await _there_and_back(serde, watches[name], content)
        for name, watch in watches.items():
            times = {f"{what}_ms": samples for what, samples in watch.wall_ms.items()}
            size_bytes = len(serdes[name].dumps_typed(content)[1])
            run.results.add(run.key(NAME, name), size, **times, size_bytes=size_bytes)


async def _there_and_back(
    serde: SerializerProtocol, watch: Watch, content: list[AnyMessage]
) -> None:
    async def dumps() -> tuple[str, bytes]:
        return serde.dumps_typed(content)

    async def loads() -> object:
        return serde.loads_typed(typed)

    typed = await watch.time("dumps", dumps)
    if await watch.time("loads", loads) != content:
        raise LookupError("what was loaded is not what was dumped")
