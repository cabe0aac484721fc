"""LangGraph's Agent Server, as a process of its own: started, asked over HTTP, stopped.

It comes with ``langgraph-cli[inmem]``, whose licence is not free: `nox -s agent_server` installs it
into an environment of its own. Where it is missing the tests are skipped; with
``WREN_TEST_AGENT_SERVER`` set they fail.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self

import httpx
import pytest

from servers import free_port

APP: Final = Path(__file__).parent / "app"
GRAPHS: Final = {
    "steps": f"{APP / 'agent.py'}:steps",
    "nested": f"{APP / 'agent.py'}:nested",
    "chat": f"{APP / 'agent.py'}:chat",
    "notes": "notes:graph",
}
PATH: Final = "wren_sessions.deploy.checkpointer"
REQUIRED: Final = "WREN_TEST_AGENT_SERVER"
PATIENCE_S: Final = 120.0
POLL_S: Final = 0.05
_QUIET: Final = {
    "LANGGRAPH_CLI_NO_ANALYTICS": "1",  # nothing here leaves the machine
    "LANGGRAPH_NO_VERSION_CHECK": "1",
    "LANGSMITH_TRACING": "false",
    "LOG_COLOR": "false",
}


def need_server() -> None:
    """End the test where the server is not installed."""
    if find_spec("langgraph_api") is None or find_spec("langgraph_cli") is None:
        reason = "LangGraph's Agent Server is not installed: nox -s agent_server"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{reason} ({REQUIRED} is set)", pytrace=False)
        pytest.skip(reason)


def until(is_so: Callable[[], Any]) -> Any:
    """Ask until the answer is true, and give it back."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := is_so()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(POLL_S)
    return found


class AgentServer:
    """``langgraph dev`` in a folder.

    Args:
        folder: where it runs, and where ``langgraph.json`` is.
        config: what stands there besides the graphs, which are those of the tests if it names none.
        environment: more variables.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, Any] | None = None, **environment: str
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        if config is not None:
            whole = {"dependencies": [str(APP)], "graphs": GRAPHS, **config}
            (folder / "langgraph.json").write_text(json.dumps(whole))

    @property
    def log(self) -> str:
        """What the server has said since its first start."""
        return (self.folder / "server.log").read_text(errors="replace")

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("WREN_", "REDIS_", "COV"))
        }
        options = ("--no-browser", "--no-reload", "--port", str(self.port))
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "langgraph_cli", "dev", *options],
                cwd=self.folder,
                env={**inherited, **_QUIET, **self._environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self._process

    def start(self) -> Self:
        """Start the process, and wait until it answers."""
        process = self.launch()

        def answers() -> bool:
            assert process.poll() is None, self.log[-4000:]
            try:
                return httpx.get(f"{self.url}/ok").is_success
            except httpx.TransportError:
                return False

        try:
            until(answers)
        except BaseException:
            self.kill()
            raise
        return self

    def ended(self) -> int:
        """Start the process, which is to end by itself, and give back its exit code."""
        try:
            return self.launch().wait(PATIENCE_S)
        finally:
            self.kill()

    def stop(self) -> None:
        """Have the process end in its own time, or at once if it takes too long."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    # --- asking it ---

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """What it answers, good or bad."""
        return httpx.request(method, f"{self.url}{path}", json=body, timeout=PATIENCE_S)

    def post(self, path: str, body: Any = None) -> Any:
        """What it answers to what it accepts."""
        response = self.ask("POST", path, {} if body is None else body)
        assert response.is_success, response.text
        return response.json()

    def get(self, path: str) -> Any:
        """What it answers to what it finds."""
        response = self.ask("GET", path)
        assert response.is_success, response.text
        return response.json()

    def thread(self) -> str:
        """Make a thread."""
        return str(self.post("/threads")["thread_id"])

    def wait(self, thread: str, values: Any = None, graph: str = "steps", **more: Any) -> Any:
        """Run a graph to its end, or its next question, and give back the values."""
        return self.post(
            f"/threads/{thread}/runs/wait", {"assistant_id": graph, "input": values, **more}
        )

    def launch_run(self, thread: str, values: Any, graph: str = "steps", **more: Any) -> str:
        """Start a run in the background."""
        body = {"assistant_id": graph, "input": values, **more}
        return str(self.post(f"/threads/{thread}/runs", body)["run_id"])

    def state(self, thread: str) -> Any:
        """The state of a thread."""
        return self.get(f"/threads/{thread}/state")

    def history(self, thread: str) -> list[Any]:
        """All states of a thread, the latest first."""
        found: list[Any] = self.post(f"/threads/{thread}/history", {"limit": 1000})
        return found
