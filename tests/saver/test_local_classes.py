"""Graphs whose values are of classes that no name leads to, as response formats often are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, interrupt
from pydantic import BaseModel, create_model
from typing_extensions import TypedDict

from saver.backends import Backend
from saver.graphs import HAS_DELTA
from wren_sessions import PlainObject, SafeSerializer, SessionSaver
from wren_sessions.errors import SerializationError
from wren_sessions.serializers import _local_classes


def appended(state: list[Any], writes: Sequence[list[Any]]) -> list[Any]:
    """What a `DeltaChannel` makes of its writes."""
    return [*state, *(item for write in writes for item in write)]


def state_schema() -> Any:
    """The state of the graph, with a list that lives in its history where LangGraph has that."""
    fields: Any = {"answer": Any, "reply": Any, "messages": Annotated[list[Any], add_messages]}
    if HAS_DELTA:
        from langgraph.channels.delta import DeltaChannel

        fields["log"] = Annotated[list[Any], DeltaChannel(appended, list, snapshot_frequency=3)]
    else:
        fields["log"] = Annotated[list[Any], lambda old, new: [*(old or []), *new]]
    make: Any = TypedDict
    return make("State", fields)


def asking(answer: type[Any], question: type[Any]) -> StateGraph[Any, Any, Any, Any]:
    """A graph that asks a question in the middle."""

    def first(state: Any) -> Any:
        del state
        return {"answer": answer(text="first"), "log": [answer(text=str(n)) for n in range(30)]}

    def ask(state: Any) -> Any:
        reply = interrupt(question(text=state["answer"].text))
        return {"reply": reply, "log": [reply]}

    def last(state: Any) -> Any:
        return {"answer": answer(text=f"last {len(state['log'])}"), "log": [state["answer"]]}

    builder = StateGraph(state_schema())
    builder.add_node("first", first)
    builder.add_node("ask", ask)
    builder.add_node("last", last)
    builder.add_edge(START, "first")
    builder.add_edge("first", "ask")
    builder.add_edge("ask", "last")
    return builder


def local_classes() -> tuple[type[Any], type[Any]]:
    """A model and a dataclass."""

    @dataclass
    class Question:
        text: str

    answer: Any = create_model("Answer", text=(str, ...))
    return answer, Question


async def test_a_graph_runs_and_is_taken_up_again(backend: Backend) -> None:
    """Through interrupts, pending writes, DeltaChannels and lists, each time by a new saver."""
    answer, question = local_classes()
    config: Any = {"configurable": {"thread_id": "s"}}
    graph = asking(answer, question).compile(checkpointer=SessionSaver(backend.store()))
    asked = await graph.ainvoke({"messages": [("user", "hi")]}, config)
    assert asked["__interrupt__"][0].value == question(text="first")
    graph = asking(answer, question).compile(checkpointer=SessionSaver(backend.store()))
    waiting = await graph.aget_state(config)
    assert type(waiting.tasks[0].interrupts[0].value) is question
    done = await graph.ainvoke(Command(resume=answer(text="yes")), config)
    assert done["answer"] == answer(text="last 31")
    assert done["reply"] == answer(text="yes")
    graph = asking(answer, question).compile(checkpointer=SessionSaver(backend.store()))
    states = [state async for state in graph.aget_state_history(config)]
    assert len(states[0].values["log"]) == 32
    assert {type(item) for item in states[0].values["log"]} == {answer}
    await graph.aupdate_state(config, {"answer": answer(text="changed")})
    assert (await graph.aget_state(config)).values["answer"] == answer(text="changed")


async def test_elsewhere_the_thread_can_be_looked_at(backend: Backend) -> None:
    """Once the classes are gone, it is an error that says how; and plain data so."""
    answer, question = local_classes()
    saver = SessionSaver(backend.store())
    config: Any = {"configurable": {"thread_id": "s"}}
    graph = asking(answer, question).compile(checkpointer=saver)
    await graph.ainvoke({"messages": [("user", "hi")]}, config)
    _local_classes._classes.clear()  # as in another process
    with pytest.raises(SerializationError, match=r":(Answer|local_classes).*missing='plain'"):
        await SessionSaver(backend.store()).aget_tuple(config)
    plain = SessionSaver(backend.store(), serde=SafeSerializer(missing="plain"))
    found = await plain.aget_tuple(config)
    assert found is not None
    (name, shown) = found.checkpoint["channel_values"]["answer"].type_name, found.checkpoint
    assert name.endswith(":Answer")
    assert shown["channel_values"]["answer"] == PlainObject(name, {"text": "first"})


async def test_a_strict_serializer_refuses_them(backend: Backend) -> None:
    """As before a run is stored: the error names the channel."""
    saver = SessionSaver(backend.store(), serde=SafeSerializer(strict=True))

    class Local(BaseModel):
        a: int = 1

    config: Any = {"configurable": {"thread_id": "s", "checkpoint_ns": "", "checkpoint_id": "c1"}}
    with pytest.raises(SerializationError, match=r"'it'.*Local.*top level"):
        await saver.aput_writes(config, [("it", Local())], "task")
