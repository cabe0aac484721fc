"""The Agent Server stops, crashes and loses its own data in the middle of threads."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.running import PATH, AgentServer, until


@pytest.fixture
def own_server(store_url: str, tmp_path: Path) -> Iterator[AgentServer]:
    """A server that has not been started; it is stopped after the test."""
    config = {"checkpointer": {"path": PATH}, "env": {"WREN_SESSIONS_URL": store_url}}
    server = AgentServer(tmp_path, config)
    yield server
    server.stop()


@pytest.mark.parametrize("graph", ["steps", "nested", "notes"])
def test_a_question_is_answered_after_a_restart(own_server: AgentServer, graph: str) -> None:
    """The thread still waits and goes on; a value of the app's own class is what it was."""
    with own_server as server:
        thread = server.thread()
        server.wait(thread, {"question": "on?"}, graph=graph)
    with own_server as server:
        assert server.get(f"/threads/{thread}")["status"] == "interrupted"
        steps = server.wait(thread, graph=graph, command={"resume": "yes"})["steps"]
        assert steps[-1] == ("Note on? yes" if graph == "notes" else "on? yes")


def test_a_conversation_goes_on_after_a_crash(own_server: AgentServer, tmp_path: Path) -> None:
    """A run that a crash cut off is where its last step was, and a new run goes on from there.

    The server itself writes its list of threads every ten seconds at most: one that it has
    forgotten is made again, under the same id.
    """
    own_server.start()
    thread = own_server.thread()
    run = {"steps": ["1"], "gate": str(tmp_path / "gate")}
    own_server.launch_run(thread, run)
    until(lambda: own_server.state(thread)["next"] == ["wait"])
    own_server.kill()
    shutil.rmtree(tmp_path / ".langgraph_api", ignore_errors=True)
    (tmp_path / "gate").touch()
    with own_server as server:
        assert server.ask("GET", f"/threads/{thread}").status_code == 404
        again = {"thread_id": thread, "metadata": {"graph_id": "steps"}}
        server.post("/threads", again)
        assert server.state(thread)["next"] == ["wait"]
        assert server.wait(thread)["steps"] == ["1", "begin", "waited", "end"]


def test_each_worker_thread_of_the_server_shares_the_saver(store_url: str, tmp_path: Path) -> None:
    """With a loop for each worker, runs in all of them go on from each other."""
    config = {
        "checkpointer": {"path": PATH},
        "env": {"WREN_SESSIONS_URL": store_url, "BG_JOB_ISOLATED_LOOPS": "true"},
    }
    with AgentServer(tmp_path, config, N_JOBS_PER_WORKER="4") as server:
        threads = [server.thread() for _ in range(4)]
        for count in range(1, 4):
            runs = [server.launch_run(each, {"steps": [str(count)]}) for each in threads]
            for thread, run in zip(threads, runs, strict=True):
                joined = server.get(f"/threads/{thread}/runs/{run}/join")
                assert len(joined["steps"]) == 4 * count
        assert "Starting queue with isolated loops" in server.log
        assert server.log.count("sessions are kept in") == 1
    assert "Traceback" not in server.log
