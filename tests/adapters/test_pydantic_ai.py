"""Pydantic AI's message history: real agents with test models, on every backend, both faces."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic_ai import Agent, BinaryContent, ImageUrl, ModelRetry, RunContext
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel

from adapters.faces import Face
from adapters.second import in_another_process
from remedies.proposals import tries
from saver.backends import Backend
from wren_sessions import SerializationError, Sessions, open_store
from wren_sessions.adapters.pydantic_ai import MessageHistory

SAID: list[ModelMessage] = [
    ModelRequest(
        parts=[
            SystemPromptPart("be kind"),
            UserPromptPart(
                [
                    "Grüße 😀\u2028\x00",
                    BinaryContent(data=b"\x00\xff\x10", media_type="audio/wav"),
                    ImageUrl(url="https://example.com/a.png"),
                ]
            ),
        ]
    ),
    ModelResponse(
        parts=[
            ThinkingPart("Hm.", signature="s"),
            TextPart("Let me see."),
            ToolCallPart("weather", {"city": "Köln"}, tool_call_id="c1"),
            ToolCallPart("weather", '{"city": "Bonn"}', tool_call_id="c2"),
        ],
        model_name="m",
    ),
    ModelRequest(
        parts=[
            ToolReturnPart("weather", {"t": 12.5}, tool_call_id="c1", metadata={"from": "sky"}),
            ToolReturnPart("weather", "unknown", tool_call_id="c2"),
        ]
    ),
    ModelResponse(parts=[TextPart("12.5°")]),
]


class History(Face):
    """One face of a history."""

    def __init__(self, sessions: Sessions, face: str) -> None:
        super().__init__(MessageHistory(sessions, "ann"), face, "add")

    async def load(self) -> list[ModelMessage]:
        """All messages."""
        found: list[ModelMessage] = await self.call("load")
        return found


@pytest.fixture
def history(sessions: Sessions, face: str) -> History:
    """The history of a session that is not there yet."""
    return History(sessions, face)


def agent_of(model: Any) -> Agent[None, str]:
    """An agent with a tool that is tried again once."""
    agent = Agent(model, system_prompt="be kind", instructions="be brief")

    @agent.tool
    def weather(context: RunContext, city: str) -> dict[str, float]:
        """How warm it is."""
        if city == "a" and context.retry == 0:
            raise ModelRetry("which city?")
        return {"degrees": 12.5}

    return agent


async def test_messages_come_back_as_pydantic_ai_dumps_them(
    history: History, backend: Backend
) -> None:
    """Parts, order, ids, times, text, calls of tools, pictures and bytes: for others as well."""
    assert await history.load() == []
    await history.add(SAID[:1])
    await history.add([])
    await history.add(SAID[1:])
    own = ModelMessagesTypeAdapter.validate_json(ModelMessagesTypeAdapter.dump_json(SAID))
    assert [type(part) for message in own for part in message.parts] == [
        type(part) for message in SAID for part in message.parts
    ]
    assert await history.load() == own
    assert MessageHistory(Sessions(backend.store()), "ann").load() == own


async def test_runs_go_on_from_each_other(history: History, sessions: Sessions) -> None:
    """Several turns with tools and a retry: the model is given what was said."""
    agent = agent_of(TestModel())
    for number in range(3):
        result = await agent.run(f"question {number}", message_history=await history.load())
        await history.add(result.new_messages())
        assert await history.load() == result.all_messages()
    said = sessions.transcript("ann").messages
    assert [message.role for message in said] == [
        *("system", "human", "ai", "tool", "ai", "tool", "ai"),
        *(("human", "ai") * 2),
    ]
    assert [message.text for message in said if message.role == "human"] == [
        "question 0",
        "question 1",
        "question 2",
    ]
    calls = [message for message in said if message.tool_calls]
    assert [call.name for message in calls for call in message.tool_calls] == ["weather"] * 2
    assert all(message.time is not None for message in said)


async def test_a_model_sees_what_was_said(history: History) -> None:
    """What a function in a model's place is given are the messages of all runs before."""
    given: list[int] = []

    def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        given.append(len(messages))
        return ModelResponse(parts=[TextPart(f"answer {len(given)}")])

    agent = Agent(FunctionModel(answer))
    for _ in range(3):
        result = await agent.run("and?", message_history=await history.load())
        await history.add(result.new_messages())
    assert given == [1, 3, 5]


async def test_a_blocking_run_goes_on_too(sessions: Sessions) -> None:
    """`Agent.run_sync`, in a thread without a loop."""
    history = MessageHistory(sessions, "ann")
    agent = agent_of(TestModel(call_tools=[], custom_output_text="hi"))

    def talk() -> None:
        with asyncio.Runner() as runner:  # closes the loop that `run_sync` works on
            asyncio.set_event_loop(runner.get_loop())
            for _ in range(2):
                result = agent.run_sync("hello", message_history=history.load())
                history.add(result.new_messages())

    await asyncio.to_thread(talk)
    assert [type(message) for message in history.load()] == [ModelRequest, ModelResponse] * 2


async def test_what_was_said_is_read_by_people(sessions: Sessions) -> None:
    """Each part is a message, or belongs to one; data is named, never shown."""
    MessageHistory(sessions, "ann").add(SAID)
    said = sessions.transcript("ann").messages
    assert [(message.role, message.text) for message in said] == [
        ("system", "be kind"),
        ("human", "Grüße 😀\u2028\x00\n[audio: audio/wav]\n[image: image/png]"),
        ("ai", "[reasoning] Hm.\nLet me see."),
        ("tool", '{"t": 12.5}'),
        ("tool", "unknown"),
        ("ai", "12.5°"),
    ]
    assert [(call.args, call.result) for call in said[2].tool_calls] == [
        ({"city": "Köln"}, '{"t": 12.5}'),
        ({"city": "Bonn"}, "unknown"),
    ]


@tries("pass result.new_messages()")
async def test_what_is_no_message_is_refused(history: History, sessions: Sessions) -> None:
    """Nothing is written, and what something else wrote is not taken for messages."""
    for bad in (["text"], [{"kind": "request"}], "text", SAID[0].parts):
        with pytest.raises(SerializationError, match=r"pass result.new_messages\(\)"):
            await history.add(bad)
    assert not sessions.exists("ann")
    for foreign, told in (([{"role": "user", "content": "hi"}], "do not fit"), (["hi"], "a str")):
        sessions.save("ann", {"messages": foreign})
        with pytest.raises(SerializationError, match=told) as caught:
            await history.load()
        assert "Use another session, or keep messages under another name" in str(caught.value)
        assert "'hi'" not in str(caught.value)
    other = MessageHistory(sessions, "ann", messages="items")
    other.add(SAID[-1:])
    assert len(other.load()) == 1


async def test_clear_leaves_nothing_of_the_messages(history: History, sessions: Sessions) -> None:
    """They go from earlier checkpoints too; the session stays."""
    await history.clear()
    assert not sessions.exists("ann")
    await history.add(SAID)
    first = sessions.load("ann").checkpoint_id
    await history.clear()
    assert await history.load() == []
    assert sessions.get("ann", at=first) is None
    await history.add(SAID[-1:])
    assert len(await history.load()) == 1


async def test_runs_at_the_same_time_lose_nothing(backend: Backend, face: str) -> None:
    """The messages of a run stay together."""
    agent = agent_of(TestModel(call_tools=[]))

    async def run(number: int) -> None:
        history = History(Sessions(backend.store()), face)
        result = await agent.run(f"question {number}", message_history=await history.load())
        await history.add(result.new_messages())

    await asyncio.gather(*map(run, range(6)))
    found = MessageHistory(Sessions(backend.store()), "ann").load()
    assert [type(message) for message in found] == [ModelRequest, ModelResponse] * 6
    asked = {str(getattr(part, "content", "")) for message in found[::2] for part in message.parts}
    assert asked >= {f"question {number}" for number in range(6)}


RESUME = """
import sys
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel
from wren_sessions import Sessions, open_store
from wren_sessions.adapters.pydantic_ai import MessageHistory
with open_store(sys.argv[1]) as store:
    history = MessageHistory(Sessions(store), "ann")
    result = Agent(TestModel(custom_output_text="there")).run_sync(
        "go on", message_history=history.load())
    history.add(result.new_messages())
    print(len(result.all_messages()))
"""


@pytest.mark.parametrize("backend", ["file", "redis"], indirect=True)
def test_another_process_goes_on(backend: Backend) -> None:
    """It reads what was added here, and what it adds is read here."""
    with open_store(backend.url) as store:
        history = MessageHistory(Sessions(store), "ann")
        history.add(SAID)
        assert in_another_process(RESUME, backend.url) == "6"
        assert [part for part in history.load()[-1].parts if isinstance(part, TextPart)] == [
            TextPart("there")
        ]
