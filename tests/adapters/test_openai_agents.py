"""A session of the OpenAI Agents SDK: the real `Runner` with a scripted model, on every backend."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from servers import in_ci

if not in_ci():  # it wants an older websockets than other packages may have brought
    pytest.importorskip("agents", reason="openai-agents is not installed")

from agents import (
    Agent,
    InputGuardrailTripwireTriggered,
    ModelSettings,
    RunConfig,
    Runner,
    RunState,
    SessionSettings,
    function_tool,
    input_guardrail,
    set_tracing_disabled,
)
from agents.guardrail import GuardrailFunctionOutput
from agents.memory import Session
from agents.testing import ScriptedModel, assistant_message, function_call

from adapters.second import in_another_process
from saver.backends import Backend
from wren_sessions import ConfigurationError, SerializationError, Sessions, open_store
from wren_sessions.adapters.openai_agents import AgentSession

ITEMS: list[Any] = [
    {"role": "user", "content": "Grüße 😀\u2028\x00"},
    {
        "role": "user",
        "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAEC"}],
    },
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "w", "arguments": '{"a": 1}'},
    {"type": "function_call_output", "call_id": "c1", "output": "12°"},
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "It is 12°.", "annotations": []}],
    },
]


@pytest.fixture(autouse=True)
def _no_traces() -> Iterator[None]:
    set_tracing_disabled(True)
    yield
    set_tracing_disabled(False)


@pytest.fixture
def session(sessions: Sessions) -> AgentSession:
    """A session that is not there yet."""
    return AgentSession(sessions, "ann")


@function_tool
def weather(city: str) -> str:
    """How warm it is."""
    return f"{city}: 12°"


def agent_of(*steps: Any, **options: Any) -> Agent[Any]:
    """An agent whose model gives these answers."""
    script = ScriptedModel(
        [
            [assistant_message(step, item_id="m")] if isinstance(step, str) else step
            for step in steps
        ]
    )
    return Agent(name="a", model=script, tools=[weather], **options)


def seen(agent: Agent[Any], call: int = -1) -> Any:
    """What a call of the model was given."""
    model = agent.model
    assert isinstance(model, ScriptedModel)
    return model.calls[call].input


def texts(items: list[Any]) -> list[str]:
    """Who said what, shortly."""
    found = []
    for item in items:
        content = item.get("content", item.get("type"))
        text = content if isinstance(content, str) else content[0]["text"]
        found.append(f"{item.get('role', 'tool')}: {text}")
    return found


async def test_items_come_back_as_they_were_added(session: AgentSession, backend: Backend) -> None:
    """In their order, with ids, calls of tools, pictures: also for another process."""
    protocol: Session = session
    assert isinstance(session, Session)
    assert protocol.session_id == "ann"
    assert await session.get_items() == []
    await session.add_items(ITEMS[:2])
    await session.add_items([])
    await session.add_items(ITEMS[2:])
    assert await session.get_items() == ITEMS
    assert await AgentSession(Sessions(backend.store()), "ann").get_items() == ITEMS


async def test_a_limit_gives_the_latest_items(sessions: Sessions, session: AgentSession) -> None:
    """As the SDK's own sessions: None is what the settings say, 0 is none, negative is all."""
    await session.add_items(ITEMS)
    limited = AgentSession(sessions, "ann", session_settings=SessionSettings(limit=2))
    for limit, found in ((1, ITEMS[-1:]), (3, ITEMS[-3:]), (99, ITEMS), (0, []), (-1, ITEMS)):
        assert await session.get_items(limit) == await limited.get_items(limit) == found
    assert await limited.get_items() == ITEMS[-2:]
    with pytest.raises(ConfigurationError, match=r"SessionSettings\(limit=100\)"):
        AgentSession(sessions, "ann", session_settings=2)  # type: ignore[arg-type] # tried here


async def test_the_latest_item_is_popped(session: AgentSession, sessions: Sessions) -> None:
    """One after the other, until there is none: that makes no session."""
    assert await session.pop_item() is None
    assert not sessions.exists("ann")
    await session.add_items(ITEMS)
    for item in reversed(ITEMS):
        assert await session.pop_item() == item
    assert await session.pop_item() is None
    await session.add_items(ITEMS[:1])
    assert await session.get_items() == ITEMS[:1]


async def test_no_two_pop_the_same_item(backend: Backend) -> None:
    """Callers at the same time get one item each, in other processes as well."""
    writers = [AgentSession(Sessions(backend.store()), "ann") for _ in range(4)]
    items: list[Any] = [{"role": "user", "content": str(number)} for number in range(12)]
    await writers[0].add_items(items)
    found: list[Any] = await asyncio.gather(*(writers[n % 4].pop_item() for n in range(14)))
    assert found.count(None) == 2
    assert sorted(int(each["content"]) for each in found if each) == list(range(12))


async def test_clear_leaves_nothing_of_the_items(session: AgentSession, sessions: Sessions) -> None:
    """They go from earlier checkpoints too; owner and the rest of the state stay."""
    await session.clear_session()
    assert not sessions.exists("ann")
    await session.add_items(ITEMS)
    sessions.annotate("ann", owner="Ann")
    first = sessions.load("ann").checkpoint_id
    await session.clear_session()
    assert await session.get_items() == []
    assert sessions.get("ann", at=first) is None
    assert [info.session for info in sessions.owned("Ann")] == ["ann"]


async def test_what_is_no_item_is_refused(session: AgentSession, sessions: Sessions) -> None:
    """Nothing is written; what another framework wrote is no item either."""
    for bad in (["text"], "text", {"role": "user"}):
        with pytest.raises(SerializationError, match=r"not one of|pass a list"):
            await session.add_items(bad)  # type: ignore[arg-type] # that is what is tried
    assert not sessions.exists("ann")
    sessions.save("ann", {"messages": ["hi"]})
    for call in (session.get_items, session.pop_item):
        with pytest.raises(SerializationError, match="holds a str"):
            await call()


# --- the Runner -----------------------------------------------------------------------------------


async def test_runs_go_on_from_each_other(session: AgentSession, sessions: Sessions) -> None:
    """Several turns with calls of tools: the model sees what was said, and people read it."""
    agent = agent_of(
        [function_call("weather", {"city": "Köln"}, call_id="c1")], "12 degrees.", "Thanks to you."
    )
    first = await Runner.run(agent, "How warm is it?", session=session)
    assert first.final_output == "12 degrees."
    await Runner.run(agent, "Thanks!", session=session)
    items = await session.get_items()
    assert [item.get("role") or item.get("type") for item in items] == [
        *("user", "function_call", "function_call_output", "assistant", "user", "assistant")
    ]
    assert len(seen(agent)) == 5
    said = sessions.transcript("ann").messages
    assert [(message.role, message.text) for message in said] == [
        ("human", "How warm is it?"),
        ("ai", ""),
        ("tool", "Köln: 12°"),
        ("ai", "12 degrees."),
        ("human", "Thanks!"),
        ("ai", "Thanks to you."),
    ]
    (call,) = said[1].tool_calls
    assert (call.name, call.args, call.result) == ("weather", {"city": "Köln"}, "Köln: 12°")


async def test_a_streamed_run_is_kept_too(session: AgentSession) -> None:
    """`Runner.run_streamed` writes the same items."""
    agent = agent_of("Hello to you.")
    result = Runner.run_streamed(agent, "Hello", session=session)
    async for _ in result.stream_events():
        pass
    assert texts(await session.get_items()) == ["user: Hello", "assistant: Hello to you."]


@pytest.mark.parametrize("backend", ["memory"], indirect=True)
def test_a_blocking_run_is_kept_too(sessions: Sessions) -> None:
    """`Runner.run_sync` uses the same session from turn to turn."""
    session, agent = AgentSession(sessions, "ann"), agent_of("one", "two")
    for text in ("first", "second"):
        Runner.run_sync(agent, text, session=session)
    assert texts(seen(agent)) == ["user: first", "assistant: one", "user: second"]


async def test_a_failed_turn_is_taken_back(session: AgentSession) -> None:
    """What a failed run left is popped, and the question is asked again, once in the history."""
    agent = agent_of("one", RuntimeError("the model is down"), "two")
    await Runner.run(agent, "first", session=session)
    before = await session.get_items()
    with pytest.raises(RuntimeError, match="the model is down"):
        await Runner.run(agent, "second", session=session)
    while len(await session.get_items()) > len(before):
        assert await session.pop_item() == {"role": "user", "content": "second"}
    assert await session.get_items() == before
    await Runner.run(agent, "second", session=session)
    assert texts(await session.get_items()) == [
        *("user: first", "assistant: one", "user: second", "assistant: two")
    ]


async def test_a_correction_replaces_the_last_question(session: AgentSession) -> None:
    """Answer and question are popped, as the SDK's guide shows it, and another one is asked."""
    agent = agent_of("four", "five")
    await Runner.run(agent, "2 + 2?", session=session)
    await session.pop_item()
    await session.pop_item()
    await Runner.run(agent, "2 + 3?", session=session)
    assert texts(seen(agent)) == ["user: 2 + 3?"]


async def test_a_callback_chooses_what_the_model_sees(session: AgentSession) -> None:
    """The history is handed to it, and what is stored is only what is new."""
    agent = agent_of("one", "two", "three")
    given: list[int] = []

    def last_two(history: list[Any], new: list[Any]) -> list[Any]:
        given.append(len(history))
        return history[-2:] + new

    config = RunConfig(session_input_callback=last_two)
    for text in ("first", "second", "third"):
        await Runner.run(agent, text, session=session, run_config=config)
    assert given == [0, 2, 4]
    assert texts(seen(agent)) == ["user: second", "assistant: two", "user: third"]
    assert len(await session.get_items()) == 6


async def test_settings_limit_what_a_run_is_given(sessions: Sessions) -> None:
    """Those of the session, and those of one run."""
    session = AgentSession(sessions, "ann", session_settings=SessionSettings(limit=2))
    agent = agent_of("one", "two", "three")
    await Runner.run(agent, "first", session=session)
    await Runner.run(agent, "second", session=session)
    assert len(seen(agent)) == 3
    config = RunConfig(session_settings=SessionSettings(limit=4))
    await Runner.run(agent, "third", session=session, run_config=config)
    assert len(seen(agent)) == 5
    assert len(await session.get_items(-1)) == 6


async def test_a_guardrail_that_trips_leaves_a_session_to_go_on_with(session: AgentSession) -> None:
    """The run is refused; the next one works, and the model's answer is not there twice."""

    @input_guardrail
    async def no_secrets(_: Any, __: Any, asked: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(
            output_info=None, tripwire_triggered="secret" in str(asked[-1])
        )

    agent = agent_of("never", "fine", input_guardrails=[no_secrets])
    with pytest.raises(InputGuardrailTripwireTriggered):
        await Runner.run(agent, "a secret", session=session)
    while await session.pop_item():
        pass
    result = await Runner.run(agent, "hello", session=session)
    assert texts(await session.get_items()) == ["user: hello", f"assistant: {result.final_output}"]


async def test_runs_at_the_same_time_lose_nothing(backend: Backend) -> None:
    """Each run's items are there, those of a tool's call behind it."""
    agents = [
        agent_of([function_call("weather", {"city": str(n)}, call_id=f"c{n}")], f"answer {n}")
        for n in range(6)
    ]
    await asyncio.gather(
        *(
            Runner.run(
                agent,
                f"question {n}",
                session=AgentSession(Sessions(backend.store()), "ann"),
                run_config=RunConfig(model_settings=ModelSettings(parallel_tool_calls=False)),
            )
            for n, agent in enumerate(agents)
        )
    )
    items: list[Any] = await AgentSession(Sessions(backend.store()), "ann").get_items()
    assert len(items) == 24
    for n in range(6):
        places = [
            items.index({"role": "user", "content": f"question {n}"}),
            *(at for at, item in enumerate(items) if item.get("call_id") == f"c{n}"),
            *(at for at, item in enumerate(items) if f"answer {n}" in str(item)),
        ]
        assert len(places) == 4
        assert places == sorted(places)


async def test_runs_in_turns_do_not_mix(backend: Backend) -> None:
    """In a turn of the session, a run sees all of the runs before it."""
    sessions = Sessions(backend.store())
    agent = agent_of("one", "two", "three")

    async def ask(text: str) -> None:
        async with sessions.aio.turn("ann"):
            await Runner.run(agent, text, session=AgentSession(sessions, "ann"))

    await asyncio.gather(ask("a"), ask("b"), ask("c"))
    roles = [item.get("role") for item in await AgentSession(sessions, "ann").get_items()]
    assert roles == ["user", "assistant"] * 3
    assert sorted(len(seen(agent, call)) for call in range(3)) == [1, 3, 5]


async def test_a_call_that_waits_for_approval_goes_on_later(backend: Backend) -> None:
    """The run's state is kept by the application; its items are in the session once, in order."""

    @function_tool(needs_approval=True)
    def send(text: str) -> str:
        """Send something."""
        return f"sent {text}"

    script = [
        [function_call("send", {"text": "hi"}, call_id="c1")],
        [assistant_message("Done.")],
    ]
    agent: Agent[Any] = Agent(name="a", model=ScriptedModel(script), tools=[send])
    waiting = await Runner.run(
        agent, "Send it", session=AgentSession(Sessions(backend.store()), "ann")
    )
    assert len(waiting.interruptions) == 1
    text = waiting.to_state().to_string()
    state = await RunState.from_string(agent, text)
    state.approve(state.get_interruptions()[0])
    session = AgentSession(Sessions(backend.store()), "ann")  # as another process has it
    result = await Runner.run(agent, state, session=session)
    assert result.final_output == "Done."
    kinds = [str(item.get("type") or item.get("role")) for item in await session.get_items()]
    assert kinds == ["user", "function_call", "function_call_output", "message"]


async def test_a_run_that_is_cancelled_leaves_whole_writes(session: AgentSession) -> None:
    """What was added before stays, the session can be used, and no item is there twice."""
    began = asyncio.Event()

    @function_tool
    async def slow() -> str:
        """Never end."""
        began.set()
        await asyncio.Event().wait()
        return ""

    script = [[function_call("slow", {}, call_id="c1")], [assistant_message("Fine.")]]
    agent: Agent[Any] = Agent(name="a", model=ScriptedModel(script), tools=[slow])
    task = asyncio.ensure_future(Runner.run(agent, "Try", session=session))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    items = await session.get_items()
    assert items.count({"role": "user", "content": "Try"}) == 1
    while await session.pop_item():
        pass
    await Runner.run(agent, "Again", session=session)
    assert texts(await session.get_items()) == ["user: Again", "assistant: Fine."]


RESUME = """
import asyncio, sys
from agents import Agent, Runner, set_tracing_disabled
from agents.testing import ScriptedModel, assistant_message
from wren_sessions import Sessions, open_store
from wren_sessions.adapters.openai_agents import AgentSession
set_tracing_disabled(True)
async def main(store):
    model = ScriptedModel([[assistant_message("there")]])
    session = AgentSession(Sessions(store), "ann")
    await Runner.run(Agent(name="a", model=model), "go on", session=session)
    print(len(model.calls[0].input))
    await store.aio.close()
with open_store(sys.argv[1]) as store:
    asyncio.run(main(store))
"""


@pytest.mark.parametrize("backend", ["file", "redis"], indirect=True)
async def test_another_process_goes_on(backend: Backend) -> None:
    """Its model sees what was said here, and what it said is read here."""
    with open_store(backend.url) as store:
        session = AgentSession(Sessions(store), "ann")
        await Runner.run(agent_of("here"), "begin", session=session)
        assert in_another_process(RESUME, backend.url) == "3"
        found = texts(await session.get_items())
        await store.aio.close()
    assert found == ["user: begin", "assistant: here", "user: go on", "assistant: there"]
