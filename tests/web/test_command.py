"""``wren-sessions web``: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from cli.running import COMMAND, in_process
from remedies.proposals import tries
from servers import free_port
from wren_sessions import ConfigurationError, Sessions, open_store
from wren_sessions.web import check_installed


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A file with one session."""
    found = f"file:{tmp_path}/sessions.db"
    with open_store(found, dotenv=False) as store:
        Sessions(store).save("s", {"messages": [{"role": "user", "content": "hello"}]})
    return found


@contextmanager
def serving(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process of its own, and the address that it printed."""
    process = subprocess.Popen(
        [*COMMAND, "web", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_the_printed_address_opens_the_sessions(url: str) -> None:
    """Only with its token; Ctrl-C ends the command as others, and writes no token down."""
    with serving("--url", url) as (process, address):
        base, token = address.split("?token=")
        assert len(token) >= 32
        assert base.startswith("http://127.0.0.1:")
        assert httpx2.get(base).status_code == 401
        with httpx2.Client() as client:
            client.get(address)
            assert "hello" in client.get(base).text
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode in {0, 130}
    assert token not in out + err
    assert "Traceback" not in err


def test_programs_get_json(url: str) -> None:
    """One object, with the address."""
    with serving("--url", url, "--json", "--write") as (_, line):
        found = json.loads(line)
        assert found["write"] is True
        assert httpx2.get(found["url"]).status_code == 200


@tries("choose another --port, or leave it out for any that is free")
def test_a_port_that_is_taken_is_told(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And another one works."""
    port = free_port()
    with serving("--url", url, "--port", str(port)) as (_, address):
        assert f":{port}/" in address
        result = in_process(capsys)("web", "--port", str(port), url=url)
        assert result.code == 2
        assert "choose another --port" in result.err


@tries("changes sessions: add --write to allow that")
def test_an_app_takes_write(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without it the app is not even imported; with it the server starts."""
    result = in_process(capsys)("web", "--app", "no_such_module:graph", url=url)
    assert result.code == 2
    assert "add --write" in result.err
    wrong = in_process(capsys)("web", "--write", "--app", "no_such_module:graph", url=url)
    assert "cannot be imported" in wrong.err
    with serving("--url", url, "--write", "--app", "graphs:asking") as (_, address):
        assert httpx2.get(address).status_code == 200


@pytest.mark.parametrize("options", [("--host", "0.0.0.0"), ("--token", "short")])  # noqa: S104 -- refused
def test_what_is_not_safe_is_refused(
    url: str, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    """Before anything listens."""
    assert in_process(capsys)("web", *options, url=url).code == 2


@tries("pip install 'wren-sessions[web]'")
def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    check_installed()
    monkeypatch.setattr("wren_sessions.web.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"need starlette and .*pip install 'wren-sess"):
        check_installed()


def test_other_commands_load_nothing_of_it() -> None:
    """`list` starts as quickly as before."""
    code = "import sys, wren_sessions.cli._app; print('starlette' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
