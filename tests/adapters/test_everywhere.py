"""What holds for all adapters: their costs, and that what works on sessions works on them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from pydantic_ai.messages import ModelMessagesTypeAdapter, ModelResponse, TextPart
from redis import Redis

from cost_drivers import meters
from remedies.proposals import tries
from saver.backends import Backend
from wren_sessions import (
    ConfigurationError,
    Encryption,
    InvalidSessionIdError,
    ProtectedStore,
    Sessions,
    TTLPolicy,
    export_session,
    import_session,
)
from wren_sessions.adapters._log import MessageLog
from wren_sessions.adapters.langchain import SessionChatMessageHistory
from wren_sessions.adapters.pydantic_ai import MessageHistory
from wren_sessions.stores.file import FileStore
from wren_sessions.stores.memory import MemoryStore
from wren_sessions.stores.redis import RedisStore


def text_of(number: int) -> str:
    """What is said as the nth: always as long."""
    return f"message {number:06} " * 20


def item(number: int) -> dict[str, Any]:
    """An item of OpenAI Agents."""
    content = [{"type": "output_text", "text": text_of(number), "annotations": []}]
    return {"type": "message", "id": f"m{number:06}", "role": "assistant", "content": content}


def dumped(number: int) -> Any:
    """A message of Pydantic AI as it is stored."""
    response = ModelResponse(parts=[TextPart(text_of(number))])
    return ModelMessagesTypeAdapter.dump_python([response], mode="json")[0]


KINDS: Final[dict[str, tuple[Any, Callable[[int], Any]]]] = {
    "langchain": (BaseMessage, lambda number: AIMessage(text_of(number), id=f"m{number:06}")),
    "openai-agents": (dict, item),
    "pydantic-ai": (dict, dumped),
}


def log_of(sessions: Sessions, kind: Any) -> MessageLog[Any]:
    """What adapters are made of."""
    return MessageLog(sessions, "ann", "messages", kind, "messages")


@pytest.mark.parametrize("name", KINDS)
def test_a_message_costs_the_same_at_the_end_of_a_conversation(name: str, redis_url: str) -> None:
    """Sent, received and kept: the 600th message takes at most 1.4 times what the 60th took."""
    kind, message = KINDS[name]
    wire = meters.Wire()
    with wire.client(redis_url) as client, Redis.from_url(redis_url) as other:
        log = log_of(Sessions(RedisStore.from_client(client)), kind)
        key = "langgraph:checkpoint:ann:latest"
        sent, received, kept = [], [], []
        log.add([message(number) for number in range(50)])
        for first in (50, 590):
            log.add([message(number) for number in range(len(log.load()), first)])
            before = (
                other.info("stats")["total_net_output_bytes"],
                other.memory_usage(key, samples=0),
            )
            wire.reset()
            for number in range(first, first + 10):
                log.add([message(number)])
            assert wire.sends == 20  # one read and one write for each
            sent.append(wire.sent_bytes)
            after = (
                other.info("stats")["total_net_output_bytes"],
                other.memory_usage(key, samples=0),
            )
            received.append(after[0] - before[0])
            kept.append(after[1] - before[1])
        assert len(log.load()) == 600
    size = len(text_of(0))
    for figures in (sent, kept):
        assert figures[0] > 10 * size
        assert figures[1] <= 1.4 * figures[0], figures
    assert received[1] <= 1.4 * received[0] + 4_096, received


@pytest.mark.parametrize("name", KINDS)
def test_a_popped_message_costs_no_new_copy_of_the_others(name: str) -> None:
    """A commit that takes out the last of 500 carries less than two of them."""
    kind, message = KINDS[name]
    store = meters.MeteredStore(MemoryStore())
    log = log_of(Sessions(store.face), kind)
    log.add([message(number) for number in range(500)])
    store.carried.clear()
    assert log.pop() == message(499) or name == "pydantic-ai"
    log.add([message(500)])
    assert max(store.carried) < 4 * len(text_of(0)) + 2_048


def test_sessions_of_adapters_are_sessions(backend: Backend) -> None:
    """They are listed by owner, titled, exported and imported, forked, used and deleted."""
    sessions = Sessions(backend.store())
    histories: dict[str, Any] = {
        "langchain": SessionChatMessageHistory(sessions, "langchain"),
        "pydantic": MessageHistory(sessions, "pydantic"),
    }
    histories["langchain"].add_user_message("hello")
    histories["pydantic"].add([ModelResponse(parts=[TextPart("hello")])])
    for name in histories:
        sessions.annotate(name, owner="Ann", title="A talk")
    assert {info.session for info in sessions.list(owner="Ann").sessions} == set(histories)
    for name in histories:
        lines = list(export_session(sessions.store, name))
        (said,) = sessions.transcript(name).messages
        assert said.text == "hello"
        sessions.fork(name, f"{name}-2")
        sessions.delete(name)
        assert sessions.get(name) is None
        import_session(sessions.store, lines)
        assert sessions.load(name).state == sessions.load(f"{name}-2").state
        sessions.touch(name)


@pytest.mark.parametrize("backend", ["memory", "file", "sealed"], indirect=True)
def test_a_conversation_expires_as_a_session_does(backend: Backend) -> None:
    """It is empty after its idle time, and the next message begins a new one."""
    sessions = Sessions(backend.store(ttl=TTLPolicy(idle="1h")))
    history = SessionChatMessageHistory(sessions, "ann")
    history.add_user_message("hello")
    backend.clock.advance(3_601)
    assert history.messages == []
    history.add_user_message("hello again")
    assert [message.content for message in history.messages] == ["hello again"]


def test_nothing_readable_is_in_an_encrypted_store(tmp_path: Path) -> None:
    """Encryption of the store holds for what adapters write."""
    path = tmp_path / "sessions.db"
    keys = Encryption([Encryption.generate_key()])
    with ProtectedStore(FileStore(path), encryption=keys) as store:
        history = SessionChatMessageHistory(Sessions(store), "ann")
        history.add_user_message("nobody reads this")
        assert history.messages[0].content == "nobody reads this"
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"nobody reads" not in stored
    assert b"HumanMessage" not in stored


@tries("pass Sessions(open_store(url))", "another name: messages='items'")
def test_arguments_of_the_wrong_type_are_refused_at_once() -> None:
    """A store or a URL in place of sessions, an id that cannot be one, no name of a key."""
    store = MemoryStore()
    wrongs: list[Any] = [store, "memory://", Sessions(store).aio]
    for wrong in wrongs:
        for adapter in (SessionChatMessageHistory, MessageHistory):
            with pytest.raises(ConfigurationError, match=r"pass Sessions\(open_store\(url\)\)"):
                adapter(wrong, "ann")
    with pytest.raises(InvalidSessionIdError):
        MessageHistory(Sessions(store), "")
    with pytest.raises(ConfigurationError, match="messages must be the name of a key"):
        MessageHistory(Sessions(store), "ann", messages="")
    sessions = Sessions(store)
    SessionChatMessageHistory(sessions, "ann").add_user_message("hi")
    items = MessageHistory(sessions, "ann", messages="items")
    items.add([ModelResponse(parts=[TextPart("hello")])])
    assert len(items.load()) == len(SessionChatMessageHistory(sessions, "ann").messages) == 1


@tries("this adapter needs {}: pip install 'wren-sessions[{}]'")
@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("langchain", "langchain_core", "langchain"),
        ("openai_agents", "agents", "openai-agents"),
        ("pydantic_ai", "pydantic_ai", "pydantic-ai"),
    ],
)
def test_a_missing_package_is_named(module: str, package: str, extra: str) -> None:
    """The error is an ImportError, and says which extra to install; importing ours needs none."""
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "import wren_sessions.adapters\n"
        f"try: import wren_sessions.adapters.{module}\n"
        "except ImportError as error: print(error)"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert f"pip install 'wren-sessions[{extra}]'" in said
