"""`wren_sessions.deploy.checkpointer`, entered as the Agent Server does, without the server."""

from __future__ import annotations

import asyncio
import importlib
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint

from remedies.proposals import tries
from wren_sessions import ConfigurationError, Sessions, StoreUnavailableError
from wren_sessions.deploy import ServerSaver, checkpointer

PATH = "wren_sessions.deploy.checkpointer"


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are kept in a file."""
    monkeypatch.chdir(tmp_path)
    for name in ("REDIS_URL", "REDIS_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WREN_SESSIONS_URL", "file:sessions.db")


def test_the_name_stands_in_the_module() -> None:
    """The server looks into the dictionary of the module, past any ``__getattr__``."""
    module, _, name = PATH.rpartition(".")
    assert importlib.import_module(module).__dict__[name] is checkpointer


async def test_a_process_has_one_saver() -> None:
    """Whoever enters first opens and closes it; the next to enter after that makes a new one."""
    async with checkpointer() as first:
        async with checkpointer() as second:
            assert second is first
        await first.store.aio.ping()
    async with checkpointer() as third:
        assert third is not first


async def test_a_thread_that_never_leaves_is_no_harm() -> None:
    """Another thread's loop may end without leaving; the saver works on, and is closed."""

    def work() -> None:
        asyncio.run(checkpointer().__aenter__())

    async with checkpointer() as saver:
        other = Thread(target=work)
        other.start()
        await asyncio.to_thread(other.join)
        await saver.store.aio.ping()


@tries("no store is configured: set {}, for example to file:sessions.db or redis://")
@pytest.mark.parametrize("place", ["environment", ".env"])
async def test_a_store_is_asked_for(
    place: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one there is an error that says what to set, and where: each of it helps."""
    for url in ("file:sessions.db", redis_url):
        monkeypatch.delenv("WREN_SESSIONS_URL", raising=False)
        (tmp_path / ".env").unlink(missing_ok=True)
        with pytest.raises(ConfigurationError, match="set WREN_SESSIONS_URL"):
            await checkpointer().__aenter__()
        if place == "environment":
            monkeypatch.setenv("WREN_SESSIONS_URL", url)
        else:
            (tmp_path / ".env").write_text(f"WREN_SESSIONS_URL={url}\n")
        async with checkpointer() as saver:
            await saver.aput(config("t"), empty_checkpoint(), {"step": 1}, {})
            assert await saver.aget_tuple(config("t"))


async def test_a_server_that_does_not_answer_ends_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The store is asked once, and closed where it does not answer."""
    monkeypatch.setenv("WREN_SESSIONS_URL", "redis://:secret@127.0.0.1:1/0?retries=0")
    with pytest.raises(StoreUnavailableError) as caught:
        await checkpointer().__aenter__()
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("WREN_SESSIONS_URL", "file:sessions.db")
    async with checkpointer():
        pass


def config(thread: str, **more: str) -> RunnableConfig:
    """The config of a thread, as the server makes it."""
    return {"configurable": {"thread_id": thread, "checkpoint_ns": "", **more}}


async def test_options_go_to_the_saver() -> None:
    """A module of the application's may give more than the environment says, such as owners."""
    sessions = partial(checkpointer, owner_key="langgraph_auth_user_id")
    async with sessions() as saver:
        await saver.aput(
            config("t", langgraph_auth_user_id="ann"), empty_checkpoint(), {"step": 1}, {}
        )
        found = await saver.aget_tuple(config("t"))
        assert found is not None
        assert found.metadata == {"step": 1}
        page = await Sessions(saver.store).aio.list(owner="ann")
        assert [info.session for info in page.sessions] == ["t"]


async def test_what_the_server_notes_is_kept_as_it_means_it() -> None:
    """Requests are not stored; a copy of a thread has its own id, and so has its listing."""
    async with checkpointer() as saver:
        assert isinstance(saver, ServerSaver)
        noted: Any = {"thread_id": "t", "graph_id": "g", "langgraph_request_id": "r", "step": 1}
        await saver.aput(config("t", langgraph_request_id="r"), empty_checkpoint(), noted, {})
        await saver.acopy_thread("t", "u")
        for thread in ("t", "u"):
            found = await saver.aget_tuple(config(thread))
            listed = [each async for each in saver.alist(config(thread))]
            for each in (found, *listed):
                assert each is not None
                assert each.metadata == {"thread_id": thread, "graph_id": "g", "step": 1}


async def test_a_history_is_asked_for_by_a_checkpoint() -> None:
    """The server passes what its API calls a checkpoint: no config, as LangGraph would."""
    async with checkpointer() as saver:
        names = [
            await saver.aput(config("t"), empty_checkpoint(), {"step": step}, {})
            for step in range(3)
        ]
        asked: list[Any] = [names[1], names[1]["configurable"]]
        for before in asked:
            found = [each.config async for each in saver.alist(config("t"), before=before)]
            assert found == [names[0]]


@pytest.mark.parametrize(("strategy", "left"), [("keep_latest", 1), ("delete_all", 0)])
async def test_the_server_prunes_in_its_own_words(strategy: str, left: int) -> None:
    """What sweeps old threads in a deployment asks for one of these."""
    async with checkpointer() as saver:
        for step in range(3):
            await saver.aput(config("t"), empty_checkpoint(), {"step": step}, {})
        await saver.aprune(["t"], strategy=strategy)
        assert len([each async for each in saver.alist(config("t"))]) == left
