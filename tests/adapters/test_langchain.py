"""LangChain's chat message history: the real classes, on every backend, both faces."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables.history import RunnableWithMessageHistory
from langgraph.graph import START, MessagesState, StateGraph

from adapters.faces import Face
from adapters.second import in_another_process
from remedies.proposals import tries
from saver.backends import Backend
from wren_sessions import SerializationError, Sessions, SessionSaver, open_store
from wren_sessions.adapters.langchain import SessionChatMessageHistory

SAID: list[BaseMessage] = [
    SystemMessage("be kind", id="s1"),
    HumanMessage(
        [
            {"type": "text", "text": "Grüße 😀\u2028\x00"},
            {"type": "image", "base64": "AAEC", "mime_type": "image/png"},
        ],
        id="h1",
        additional_kwargs={"raw": b"\x00\xff", "nested": {"a": [1, 2.5, None]}},
    ),
    AIMessage(
        "",
        id="a1",
        tool_calls=[{"id": "c1", "name": "weather", "args": {"city": "Köln"}}],
        usage_metadata={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
        response_metadata={"model": "m"},
    ),
    ToolMessage("12°", tool_call_id="c1", name="weather", artifact={"t": 12.5}, id="t1"),
    AIMessage("It is 12°.", id="a2"),
]


class History(Face):
    """One face of a history."""

    def __init__(self, sessions: Sessions, face: str) -> None:
        super().__init__(SessionChatMessageHistory(sessions, "ann"), face, "add_messages")

    async def messages(self) -> list[BaseMessage]:
        """All messages."""
        found: list[BaseMessage] = (
            self.history.messages if self.blocking else await self.history.aget_messages()
        )
        return found


@pytest.fixture
def history(sessions: Sessions, face: str) -> History:
    """The history of a session that is not there yet."""
    return History(sessions, face)


async def test_messages_come_back_as_they_were_added(history: History, backend: Backend) -> None:
    """Types, ids, order, text, calls of tools, pictures and bytes: also for another process."""
    assert isinstance(history.history, BaseChatMessageHistory)
    assert await history.messages() == []
    await history.add(SAID[:2])
    await history.add([])
    await history.add(SAID[2:])
    other = History(Sessions(backend.store()), "sync")
    for found in (await history.messages(), await other.messages()):
        assert found == SAID
        assert list(map(type, found)) == list(map(type, SAID))
        assert [each.model_dump() for each in found] == [each.model_dump() for each in SAID]


async def test_what_is_read_is_a_copy(history: History) -> None:
    """To change a message, or the list, does not change what is stored."""
    await history.add([HumanMessage("hi")])
    found = await history.messages()
    found[0].content = "changed"
    found.append(AIMessage("more"))
    assert [each.content for each in await history.messages()] == ["hi"]


async def test_the_older_methods_work_too(sessions: Sessions) -> None:
    """A user's and a model's message as text, one message, and all of them as a text."""
    history = SessionChatMessageHistory(sessions, "ann")
    history.add_user_message("hello")
    history.add_ai_message(AIMessage("hi"))
    history.add_message(HumanMessage("how are you?"))
    assert str(history) == "Human: hello\nAI: hi\nHuman: how are you?"


@tries("pass a list of {}, not a single value")
async def test_what_is_no_message_is_refused(history: History) -> None:
    """Nothing is written, not even the messages before it; the error names its type."""
    for bad in ([HumanMessage("a"), "b"], "text", [("human", "hi")], [{"role": "user"}]):
        with pytest.raises(SerializationError, match=r"not one of|pass a list"):
            await history.add(bad)
    assert await history.messages() == []
    await history.add([HumanMessage("a")])
    history.history._log.sessions.save("ann", {"messages": [{"role": "user", "content": "hi"}]})
    for call in (history.messages, history.clear, lambda: history.add([HumanMessage("a")])):
        with pytest.raises(SerializationError, match="Use another session, or keep messages under"):
            await call()
    assert history.history._log.sessions.load("ann").state["messages"][0]["content"] == "hi"


async def test_clear_leaves_nothing_of_the_messages(history: History, sessions: Sessions) -> None:
    """They go from earlier checkpoints too; owner, lifetime and the rest of the state stay."""
    await history.clear()
    assert not sessions.exists("ann")
    await history.add(SAID)
    sessions.annotate("ann", owner="Ann")
    sessions.update("ann", lambda state: state.update(profile={"mood": "good"}))
    before = sessions.set_ttl("ann", "2h")
    first = sessions.load("ann").checkpoint_id
    await history.clear()
    assert await history.messages() == []
    assert sessions.load("ann").state == {"messages": [], "profile": {"mood": "good"}}
    assert sessions.get("ann", at=first) is None
    (info,) = sessions.list(owner="Ann").sessions
    assert info.life.incarnation == before.incarnation
    assert info.life.ttl_ms is not None
    assert info.life.ttl_ms <= 7_200_000
    await history.add(SAID[:1])
    assert await history.messages() == SAID[:1]


async def test_no_message_of_many_writers_is_lost(backend: Backend, face: str) -> None:
    """Each write is whole, and each writer's messages stay in their order."""
    writers = [History(Sessions(backend.store()), face) for _ in range(4)]

    async def write(number: int) -> None:
        for count in range(4):
            pair = [HumanMessage(f"{number}/{count}"), AIMessage(f"{number}/{count}")]
            await writers[number].add(pair)

    await asyncio.gather(*(write(number) for number in range(4)))
    found = [str(each.content) for each in await writers[0].messages()]
    assert found[::2] == found[1::2]
    for number in range(4):
        own = [each for each in found[::2] if each.startswith(f"{number}/")]
        assert own == [f"{number}/{count}" for count in range(4)]


@pytest.mark.filterwarnings("ignore:.*RunnableWithMessageHistory:DeprecationWarning")
@pytest.mark.parametrize("keyed", [True, False], ids=["dict", "messages"])
async def test_a_runnable_keeps_its_history(sessions: Sessions, face: str, keyed: bool) -> None:  # noqa: FBT001 -- pytest passes it
    """`RunnableWithMessageHistory` reads the history before each call, and adds to it after."""
    model = GenericFakeChatModel(messages=iter(AIMessage(f"answer {n}") for n in range(9)))
    prompt = ChatPromptTemplate.from_messages(
        [("system", "be brief"), MessagesPlaceholder("history"), ("human", "{question}")]
    )

    def history_of(session_id: str) -> SessionChatMessageHistory:
        return SessionChatMessageHistory(sessions, session_id)

    chain: Any = (
        RunnableWithMessageHistory(
            prompt | model,
            history_of,
            input_messages_key="question",
            history_messages_key="history",
        )
        if keyed
        else RunnableWithMessageHistory(model, history_of)
    )
    for number in range(3):
        config: Any = {"configurable": {"session_id": "ann"}}
        text = f"question {number}"
        asked: Any = {"question": text} if keyed else [HumanMessage(text)]
        answer = (
            await asyncio.to_thread(chain.invoke, asked, config)
            if face == "sync"
            else await chain.ainvoke(asked, config)
        )
        assert answer.content == f"answer {number}"
    said = [f"{what} {number}" for number in range(3) for what in ("question", "answer")]
    assert [each.content for each in history_of("ann").messages] == said
    assert [message.role for message in sessions.transcript("ann").messages] == ["human", "ai"] * 3


async def test_a_graph_goes_on_from_the_same_session(sessions: Sessions, backend: Backend) -> None:
    """What the history has is what the graph's nodes see, and the other way round."""
    history = SessionChatMessageHistory(sessions, "ann")
    history.add_messages(SAID)
    builder: Any = StateGraph(MessagesState)
    builder.add_node("talk", lambda state: {"messages": AIMessage(str(len(state["messages"])))})
    graph = builder.add_edge(START, "talk").compile(checkpointer=SessionSaver(backend.store()))
    await graph.ainvoke({"messages": "and now?"}, Sessions.thread("ann"))
    assert [each.content for each in history.messages[-2:]] == ["and now?", "6"]
    history.add_user_message("one more")
    assert len((await graph.aget_state(Sessions.thread("ann"))).values["messages"]) == 8


RESUME = """
import sys
from wren_sessions import Sessions, open_store
from wren_sessions.adapters.langchain import SessionChatMessageHistory
with open_store(sys.argv[1]) as store:
    history = SessionChatMessageHistory(Sessions(store), "ann")
    history.add_ai_message(str(len(history.messages)))
"""


@pytest.mark.parametrize("backend", ["file", "redis"], indirect=True)
async def test_another_process_goes_on(backend: Backend) -> None:
    """It reads what was added here, and what it adds is read here."""
    with open_store(backend.url) as store:
        history = SessionChatMessageHistory(Sessions(store), "ann")
        history.add_messages(SAID)
        in_another_process(RESUME, backend.url)
        assert history.messages[:-1] == SAID
        assert history.messages[-1].content == "5"
