"""The page about the Agent Server, done as it is printed."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from deploy.running import PATIENCE_S, AgentServer, need_server
from servers import start_server

PAGE = (Path(__file__).parents[2] / "docs/how-to/agent-server.md").read_text("utf-8")
BLOCKS = [
    (kind, text)
    for kind, text in re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
]
PRINTED_PORT = "2024"


def blocks(kind: str) -> list[str]:
    """The texts of the blocks of a kind, as they stand on the page."""
    return [text for each, text in BLOCKS if each == kind]


def commands() -> list[tuple[str, list[str]]]:
    """The commands of the page, each with the lines that it prints."""
    found: list[tuple[str, list[str]]] = []
    for line in "".join(blocks("console")).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def check_printed(command: str, shown: list[str], output: str) -> None:
    """Each line that the page shows is printed, in this order; ``…`` stands for anything."""
    lines = iter([" ".join(line.split()) for line in output.splitlines()])
    for line in shown:
        pattern = " ".join(line.split()).replace("[", "[[]").replace("…", "*")
        assert any(fnmatch.fnmatchcase(each, pattern) for each in lines), (
            f"{command} did not print {line!r}, but:\n{output}"
        )


def run(command: str, folder: Path) -> str:
    """What a command prints, in a shell, in a folder."""
    scripts = Path(sys.executable).parent
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("WREN_")},
            "LANGGRAPH_CLI_NO_ANALYTICS": "1",
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def written(folder: Path, environment: str, config: str) -> AgentServer:
    """The files of the page in a folder, and a server that has not been started."""
    agent, checkpointer = blocks("python")
    (folder / "agent.py").write_text(agent)
    (folder / "checkpointer.py").write_text(checkpointer)
    (folder / ".env").write_text(environment)
    (folder / "langgraph.json").write_text(config)
    return AgentServer(folder)


@pytest.mark.parametrize("backend", ["file", "redis"])
def test_the_page_is_done_as_printed(backend: str, tmp_path: Path) -> None:
    """Each command does what the page shows, from the first to the last."""
    need_server()
    in_file, on_redis = blocks("ini")
    with start_server() as redis, ExitStack() as ended:
        environment = {
            "file": in_file,
            "redis": on_redis.replace("redis://localhost:6379/0", redis.url),
        }
        server = written(tmp_path, environment[backend], blocks("json")[0])
        ended.callback(server.stop)
        named = ""
        for command, shown in commands():
            if re.match("[A-Z]+=", command):
                named += f"{command.replace(PRINTED_PORT, str(server.port))}; "
            elif command.startswith("langgraph dev"):
                server.stop()
                server.start()
            elif "pip install" in command:
                run(f"{command} --dry-run --no-index", tmp_path)  # all of it is there
            else:
                check_printed(command, shown, run(named + command, tmp_path))
        server.stop()
        for line in blocks("text")[0].splitlines():
            assert fnmatch.fnmatchcase(server.log, f"*{line.replace('…', '*')}*"), line


@pytest.mark.parametrize("number", [1, 2])
def test_the_other_configurations_of_the_page_start(number: int, tmp_path: Path) -> None:
    """With a lifetime, and with a module of one's own, the server runs the graph."""
    need_server()
    config = blocks("json")[number]
    assert json.loads(config)["checkpointer"]["path"]
    with written(tmp_path, blocks("ini")[0], config) as server:
        said = {"messages": [{"role": "user", "content": "Hello."}]}
        values = server.wait(server.thread(), said, graph="agent")
        assert values["messages"][-1]["content"] == "That was message 1."
    assert "Using custom checkpointer: ServerSaver" in server.log


AUTH = """
from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate
async def who(authorization: str | None) -> str:
    return authorization or "nobody"
"""


def test_a_user_of_the_server_owns_threads(tmp_path: Path) -> None:
    """With the page's ``owner_key`` the command line finds what a user has, and no one else's."""
    need_server()
    config = {**json.loads(blocks("json")[2]), "auth": {"path": "./auth.py:auth"}}
    (tmp_path / "auth.py").write_text(AUTH)
    with written(tmp_path, blocks("ini")[0], json.dumps(config)) as server:
        for user in ("ann", "bob"):
            said = {"messages": [{"role": "user", "content": f"I am {user}."}]}
            with httpx.Client(
                base_url=server.url, headers={"Authorization": user}, timeout=PATIENCE_S
            ) as client:
                thread = client.post("/threads", json={}).json()["thread_id"]
                body = {"assistant_id": "agent", "input": said}
                assert client.post(f"/threads/{thread}/runs/wait", json=body).is_success
            (found,) = run(f"wren-sessions list --owner {user} --json", tmp_path).splitlines()
            assert json.loads(found)["id"] == thread
