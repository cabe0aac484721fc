"""How long threads live in the Agent Server, and how long sessions live in the store."""

from __future__ import annotations

from pathlib import Path

from deploy.running import PATH, AgentServer, until
from wren_sessions import open_store


def with_lifetime(url: str, ttl: str, prefix: str) -> str:
    """A store's URL with a lifetime, apart from other tests."""
    return f"{url}?ttl={ttl}&prefix={prefix}"


def test_a_session_that_ends_leaves_the_thread_without_a_state(
    store_url: str, tmp_path: Path
) -> None:
    """The server still lists the thread; its state is empty, and a run begins anew."""
    url = with_lifetime(store_url, "2s", "short")
    config = {"checkpointer": {"path": PATH}, "env": {"WREN_SESSIONS_URL": url}}
    with AgentServer(tmp_path, config) as server:
        thread = server.thread()
        server.wait(thread, {"steps": ["1"]})
        until(lambda: not server.state(thread)["values"])
        assert server.get(f"/threads/{thread}")["values"]["steps"][0] == "1"  # its own copy
        assert server.history(thread) == []
        assert server.wait(thread, {"steps": ["2"]})["steps"][0] == "2"


def test_the_lifetime_of_the_server_is_not_ours(store_url: str, tmp_path: Path) -> None:
    """What stands in `langgraph.json` is of the server's threads; sessions live by the URL."""
    url = with_lifetime(store_url, "none", "long")
    ttl = {"strategy": "delete", "default_ttl": 0.001, "sweep_interval_minutes": 1}
    config = {
        "checkpointer": {"path": PATH, "ttl": ttl},
        "env": {"WREN_SESSIONS_URL": url},
    }
    with AgentServer(tmp_path, config) as server, open_store(url, dotenv=False) as store:
        thread = server.thread()
        server.wait(thread, {"steps": ["1"]})
        info = store.info(thread)
        assert info is not None
        assert info.life.deadline_ms is None
        assert server.state(thread)["values"]["steps"][0] == "1"
