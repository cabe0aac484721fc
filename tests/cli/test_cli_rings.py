"""Checkpoints that continue each other: every walk ends, and what can be shown is."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver

from cli.running import Cli
from wren_sessions import (
    CorruptSessionError,
    MemoryStore,
    SessionArchiver,
    Sessions,
    SessionSaver,
    copy_sessions,
    export_session,
    import_checkpoints,
    import_session,
    open_store,
)
from wren_sessions.protocols import SessionStore

THREAD: Final[Any] = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
IDS: Final = ("11", "22", "33", "44", "55")
LENGTHS: Final = (1, 2, 5)
ENDS_S: Final = 20


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    """A walk that does not end fails its test."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(ENDS_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=["memory", "file", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    """An empty store."""
    url = f"file:{tmp_path}/sessions.db" if request.param == "file" else "memory://"
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
    with open_store(url, dotenv=False) as opened:
        yield opened


def at(id_: str | None) -> Any:
    """A config."""
    named = {"thread_id": "t", "checkpoint_ns": ""}
    return {"configurable": named if id_ is None else {**named, "checkpoint_id": id_}}


def write_ring(saver: Any, length: int, *, delta: bool = False) -> None:
    """Checkpoints of which each continues the one before it, and the first one the last."""
    metadata: Any = {"source": "loop", "step": 0}
    if delta:
        metadata["counters_since_delta_snapshot"] = {"items": [1, 1]}
    for number in (*range(length), 0):
        before = None if number == 0 else IDS[number - 1]
        if saver.get_tuple(at(IDS[number])) is not None:
            before = IDS[length - 1]
        values = {"messages": [("human", f"hello {number}"), ("ai", "hi")]}
        checkpoint: Any = {**empty_checkpoint(), "id": IDS[number], "channel_values": values}
        saver.put(at(before), checkpoint, metadata, {})


@pytest.mark.parametrize("length", LENGTHS)
def test_what_does_not_need_the_ring_works(
    store: SessionStore, length: int, tmp_path: Path
) -> None:
    """Reading, listing, transcript, archive, restore, export, import, fork, copy."""
    saver = SessionSaver(store)
    write_ring(saver, length)
    sessions = Sessions(store)
    found = saver.get_tuple(THREAD)
    assert found is not None
    assert found.checkpoint["channel_values"]["messages"][1] == ("ai", "hi")
    listed = [item.checkpoint["id"] for item in saver.list(THREAD)]
    assert sorted(listed) == sorted(IDS[:length])
    assert listed[0] == found.checkpoint["id"]
    transcript = sessions.transcript("t")
    assert [message.text for message in transcript.messages][1:] == ["hi"]
    archived = SessionArchiver(sessions, root=tmp_path / "archive").archive("t")
    assert sessions.restore(archived, "restored").checkpoint_id == found.checkpoint["id"]
    import_session(store, export_session(store, "t"), session="imported")
    assert sessions.load("imported").checkpoint_id == found.checkpoint["id"]
    for id_ in IDS[:length]:
        assert sessions.fork("t", f"fork{id_}", at=id_).checkpoint_id == id_
    with MemoryStore() as target:
        copy_sessions(store, target, sessions=["t"])
        assert Sessions(target).load("t").checkpoint_id == found.checkpoint["id"]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("delta", [False, True], ids=["values", "delta"])
def test_a_ring_is_pruned(store: SessionStore, length: int, *, delta: bool) -> None:
    """The latest stays, also where it looks for a value that none of them has."""
    saver = SessionSaver(store)
    write_ring(saver, length, delta=delta)
    latest = saver.get_tuple(THREAD)
    saver.prune(["t"])
    assert saver.get_tuple(THREAD) is not None
    assert latest is not None
    assert saver.get_tuple(THREAD).checkpoint["id"] == latest.checkpoint["id"]  # type: ignore[union-attr]
    saver.delete_for_runs(["none"])


@pytest.mark.parametrize("length", LENGTHS)
async def test_a_history_without_a_beginning_is_told(store: SessionStore, length: int) -> None:
    """The error names session, namespace and checkpoints; a value on the way is found."""
    saver = SessionSaver(store)
    write_ring(saver, length)
    latest = saver.get_tuple(THREAD)
    assert latest is not None
    how: Any = {"config": latest.config, "channels": ["items"]}
    with pytest.raises(CorruptSessionError) as blocking:
        saver.get_delta_channel_history(**how)
    with pytest.raises(CorruptSessionError) as awaited:
        await saver.aget_delta_channel_history(**how)
    for told in (blocking, awaited):
        assert told.value.session == "t"
        for name in ("'t'", "namespace ''", *map(repr, IDS[:length])):
            assert name in told.value.message
    if length > 1:
        found = saver.get_delta_channel_history(config=latest.config, channels=["messages"])
        assert found["messages"]["seed"]


@pytest.mark.parametrize("length", LENGTHS)
def test_threads_with_a_ring_are_imported(length: int) -> None:
    """From LangGraph's own saver, which never looks at the ring."""
    source = InMemorySaver()
    write_ring(source, length)
    target = SessionSaver(MemoryStore())
    report = import_checkpoints(source, target)
    assert report.written == length
    found = {item.checkpoint["id"] for item in target.list(THREAD)}
    assert found == set(IDS[:length])


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("place", ["file", "redis"])
def test_the_command_shows_a_ring(
    request: pytest.FixtureRequest, cli: Cli, tmp_path: Path, length: int, place: str
) -> None:
    """History as far as it goes, the conversation, and pages for a browser."""
    url = f"file:{tmp_path}/sessions.db"
    if place == "redis":
        url = request.getfixturevalue("redis_url")
    with open_store(url, dotenv=False) as store:
        write_ring(SessionSaver(store), length)
    found = cli("history", "t", "--json", url=url)
    assert sorted(entry["id"] for entry in found.json) == sorted(IDS[:length])
    text = cli("history", "t", url=url).out
    assert all(id_ in text for id_ in IDS[:length])
    assert ("continues itself" in text) == (length == 1)
    assert "hi" in cli("conversation", "t", url=url).out
    assert cli("show", "t", "--json", url=url).json[0]["checkpoint"]["id"] in IDS
    assert "hi" in cli("export", "t", "--format", "html", url=url).out
    messages = json.loads(cli("export", "t", "--format", "json", url=url).out)["messages"]
    assert messages[1]["content"] == "hi" or messages[1].get("text") == "hi"
