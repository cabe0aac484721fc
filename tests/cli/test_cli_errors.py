"""What goes wrong: exit codes, remedies, and nothing changed or left behind."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from redis import Redis

from cli.running import COMMAND, Cli, apart
from servers import free_port
from wren_sessions import Sessions, open_store
from wren_sessions.serializers.encryption import Encryption

INTERVIEW: Final = "cli_20251108_145739"
ALL: Final = 8
LOOKS: Final = (
    ["list"],
    ["show", INTERVIEW],
    ["history", INTERVIEW],
    ["diff", INTERVIEW, "latest"],
    ["conversation", INTERVIEW],
    ["stats"],
    ["ttl", INTERVIEW],
    ["touch", INTERVIEW],
    ["fork", INTERVIEW, "other"],
    ["prune", INTERVIEW, "--keep-last", "1"],
    ["delete", INTERVIEW, "--yes"],
    ["copy", "--to", "file:target.db"],
    ["export", INTERVIEW],
)
ONE: Final = [argv for argv in LOOKS if INTERVIEW in argv]


def named(argv: list[str], id_: str) -> list[str]:
    """The same command for another session."""
    return [id_ if part == INTERVIEW else part for part in argv]


@pytest.mark.parametrize("argv", LOOKS, ids=lambda argv: argv[0])
def test_without_a_store_a_command_says_how_to_name_one(cli: Cli, argv: list[str]) -> None:
    """Nothing configured, and the memory of a process, have no sessions to show."""
    found = cli(*argv)
    assert found.code == 2
    assert "WREN_SESSIONS_URL" in found.err
    memory = cli(*argv, url="memory://")
    assert memory.code == 2
    assert "memory" in memory.err


@pytest.mark.parametrize("argv", LOOKS, ids=lambda argv: argv[0])
def test_a_file_that_is_not_there_is_not_made(cli: Cli, tmp_path: Path, argv: list[str]) -> None:
    """A wrong path is an error, not an empty store."""
    path = tmp_path / "nowhere.db"
    found = cli(*argv, url=f"file:{path}")
    assert found.code == 4
    assert str(path) in found.err
    assert not path.exists()
    assert cli("check", url=f"file:{path}").code == 0  # the app will make it
    assert not path.exists()


@pytest.mark.parametrize("argv", LOOKS, ids=lambda argv: argv[0])
def test_a_server_that_is_not_there_is_an_error(cli: Cli, argv: list[str]) -> None:
    """Never an empty listing, nor a session that was not found."""
    found = cli(*argv, url=f"redis://127.0.0.1:{free_port()}/0")
    assert found.code == 4
    assert "check host and port" in found.err
    assert found.out == ""


@pytest.mark.parametrize("argv", ONE, ids=lambda argv: argv[0])
def test_a_wrong_id_suggests_near_ones(cli: Cli, url: str, argv: list[str]) -> None:
    """With the exit code of what is not found; in JSON too."""
    found = cli(*named(argv, "cli_20251108_14573"), url=url)
    assert found.code == 3
    assert f"Did you mean {INTERVIEW}" in found.err
    as_json = cli(*named(argv, "cli_20251108_14573"), "--json", url=url)
    error = json.loads(as_json.err)
    assert error["near"][0] == INTERVIEW
    assert (error["error"], error["exit_code"]) == ("SessionNotFoundError", 3)


def test_an_unknown_id_suggests_nothing_far_off(cli: Cli, url: str) -> None:
    """What is not alike is no help."""
    assert "Did you mean" not in cli("show", "qqqqqqqqqqqq", url=url).err


@pytest.mark.parametrize("argv", ONE, ids=lambda argv: argv[0])
def test_an_impossible_id_is_a_usage_error(cli: Cli, file_url: str, argv: list[str]) -> None:
    """It cannot be a name."""
    assert cli(*named(argv, "x" * 2_000), url=file_url).code == 2


def test_an_expired_session_is_not_found(cli: Cli, file_url: str) -> None:
    """Also before it has been swept."""
    assert cli("ttl", INTERVIEW, "--set", "1ms", url=file_url).code == 0
    found = cli("show", INTERVIEW, url=file_url)
    while found.code == 0:  # its millisecond is not over yet
        found = cli("show", INTERVIEW, url=file_url)
    assert found.code == 3
    assert "expired" in found.err


@pytest.mark.parametrize(
    "argv", [["show"], ["history"], ["conversation"], ["export"]], ids=lambda argv: argv[0]
)
def test_damage_is_named(cli: Cli, server_url: str, argv: list[str]) -> None:
    """With the session, what to do, and the exit code of what cannot be read."""
    key = f"langgraph:checkpoint:{INTERVIEW}:latest"
    with Redis.from_url(server_url) as client:
        fields: Any = client.hkeys(key)
        for field in fields:
            if not field.startswith((b":", b"state")):
                body: Any = client.hget(key, field)
                client.hset(key, field, body[:-3] + b"\0\0\0")
    found = cli(*argv, INTERVIEW, url=server_url)
    assert found.code == 5
    assert "damaged" in found.err
    assert INTERVIEW in found.err


def test_a_damaged_file_is_named(cli: Cli, file_url: str) -> None:
    """No traceback, whatever the bytes."""
    path = Path(file_url.removeprefix("file:"))
    with path.open("r+b") as file:
        file.seek(0)
        file.write(b"\xff" * 512)
    for argv in (["list"], ["show", INTERVIEW], ["check"]):
        found = cli(*argv, url=file_url)
        assert found.code in {2, 5}, found
        assert str(path) in found.err + found.out


def test_somebody_elses_database_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    """A SQLite file of another application is refused."""
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    before = path.read_bytes()
    assert cli("list", url=f"file:{path}").code == 2
    assert path.read_bytes() == before


def test_a_pickle_is_no_session(cli: Cli, redis_url: str) -> None:
    """It is named, never opened."""
    with Redis.from_url(redis_url) as client:
        client.set("langgraph:checkpoint:old:latest", b"cos\nsystem\n(S'false'\ntR.", ex=60)
    found = cli("show", "old", url=redis_url)
    assert found.code == 5
    assert "pickle" in found.err


def test_what_is_encrypted_needs_its_key(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the session can be listed, and not read; with it, it can."""
    key, url = Encryption.generate_key(), f"file:{tmp_path}/sealed.db"
    with open_store(url, encryption=Encryption([key])) as store:
        Sessions(store).save("sealed", {"secret": "content", "messages": ["hi"]})
    assert cli("list", "--json", url=url).json[0]["id"] == "sealed"
    for argv in (["show"], ["history"], ["conversation"], ["export"]):
        found = cli(*argv, "sealed", url=url)
        assert found.code == 5, found
        assert "content" not in found.err
    monkeypatch.setenv("WREN_SESSIONS_ENCRYPTION_KEYS", key)
    assert cli("show", "sealed", "--key", "secret", url=url).json == ["content"]
    assert cli("conversation", "sealed", "--json", url=url).json[0]["text"] == "hi"
    assert cli("check", url=url).code == 0


def test_encrypted_sessions_are_rewritten_under_a_new_key(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the old key is not needed any more; what is in use is left for the next time."""
    old, new = Encryption.generate_key("old"), Encryption.generate_key("new")
    url = f"file:{tmp_path}/sealed.db"
    with open_store(url, encryption=Encryption([old])) as store:
        Sessions(store).save("sealed", {"secret": "content"})
    assert cli("rekey", url=url).code == 2  # no keys
    monkeypatch.setenv("WREN_SESSIONS_ENCRYPTION_KEYS", f"{new},{old}")
    busy = cli("rekey", "--json", url=url)
    assert (busy.code, busy.json) == (6, [{"id": "sealed", "result": "busy"}])
    done = cli("rekey", "--unused-for", "0", "--json", url=url)
    assert (done.code, done.json) == (0, [{"id": "sealed", "result": "rewritten"}])
    monkeypatch.setenv("WREN_SESSIONS_ENCRYPTION_KEYS", new)
    assert cli("show", "sealed", "--key", "secret", url=url).json == ["content"]
    assert cli("rekey", "sealed", url=url).out.startswith("sealed: uses the newest key")
    other = Encryption.generate_key("other")
    with open_store(url, encryption=Encryption([other])) as store:
        Sessions(store).save("lost", {"secret": "content"})
    found = cli("rekey", "--unused-for", "0", "--json", url=url)
    assert (found.code, found.err) == (5, "")
    assert [(each["id"], each["result"]) for each in found.json] == [
        ("sealed", "current"),
        ("lost", "unreadable"),
    ]
    assert "add that key" in found.json[1]["why"]
    said = cli("rekey", "--unused-for", "0", url=url)
    assert (said.code, said.err) == (
        5,
        "0 rewritten, 1 with the newest key already, 0 in use, 1 cannot be read\n",
    )
    assert "\nlost: cannot be read, and stays as it is: the header" in said.out


def test_what_is_not_encrypted_can_be_migrated(
    cli: Cli, file_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once encryption is on plain sessions are refused, until they are rewritten."""
    monkeypatch.setenv("WREN_SESSIONS_ENCRYPTION_KEYS", Encryption.generate_key())
    assert cli("show", INTERVIEW, url=file_url).code == 5
    for argv in (("rekey",), ("rekey", "--json"), ("check", "--session", INTERVIEW)):
        said = " ".join(cli(*argv, url=file_url).out.split())
        assert "encrypt it with `wren-sessions rekey --migrate`" in said
        assert "Encryption(" not in said
    found = cli("rekey", INTERVIEW, "--migrate", "--unused-for", "0", url=file_url)
    assert (found.code, "rewritten" in found.out) == (0, True)
    assert cli("show", INTERVIEW, "--key", "turn_count", url=file_url).json == [3]


def test_a_password_is_never_printed(cli: Cli) -> None:
    """Neither in an error nor anywhere else."""
    url = f"redis://user:hunter2@127.0.0.1:{free_port()}/0"
    for argv in (["list"], ["check"], ["list", "--json"]):
        found = cli(*argv, url=url)
        assert found.code == 4
        assert "hunter2" not in found.out + found.err


@pytest.mark.parametrize("url", ["ftp://x", "redis://h:port/0", "file:", "nonsense", ""])
def test_an_impossible_url_is_a_usage_error(cli: Cli, url: str) -> None:
    """Before anything is tried."""
    assert cli("list", "--url", url).code == 2
    assert cli("check", "--url", url).code == 2


def test_the_environment_and_its_file_name_the_store(
    cli: Cli, file_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable, ``.env`` in this folder, or another file."""
    (tmp_path / ".env").write_text(f"WREN_SESSIONS_URL={file_url}\n")
    assert "8 sessions" in cli("list").err
    (tmp_path / "other.env").write_text("WREN_SESSIONS_URL=file:nowhere.db\n")
    assert cli("list", "--env-file", "other.env").code == 4
    monkeypatch.setenv("WREN_SESSIONS_URL", "file:elsewhere.db")
    assert "elsewhere.db" in cli("list").err
    assert cli("list", "--env-file", "missing.env").code == 2


def test_another_prefix_has_other_sessions(cli: Cli, url: str) -> None:
    """The option names it, or the URL."""
    assert cli("list", "--prefix", "other:app", "--json", url=url).out == ""
    assert cli("list", "--json", url=f"{url}?prefix=other:app").out == ""
    assert cli("show", INTERVIEW, "--prefix", "langgraph", url=url).code == 3
    assert cli("delete", INTERVIEW, "--yes", "--prefix", "other:app", url=url).code == 3
    assert len(cli("list", "--json", url=url).lines) == ALL
    assert cli("list", "--prefix", "no*glob", url=url).code == 2


@pytest.mark.parametrize("wrong", [["lits"], ["list", "--limt", "1"], ["list", "--limit", "x"], []])
def test_a_usage_error_is_told_apart(cli: Cli, wrong: list[str]) -> None:
    """By exit code 2, and with a hint."""
    found = cli(*wrong)
    assert found.code == 2 if wrong else found.code in {0, 2}
    assert "list" in found.err + found.out


def test_a_reader_that_has_seen_enough_is_no_error(file_url: str) -> None:
    """``list | head -1`` leaves no traceback."""
    run = subprocess.run(
        ["/bin/sh", "-c", '"$@" | head -1', "sh", *COMMAND, "export", "--all", "--url", file_url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0
    assert run.stderr == ""
    assert len(run.stdout.splitlines()) == 1


def test_an_interrupt_leaves_no_traceback(tmp_path: Path) -> None:
    """Ctrl-C while it waits for an answer that does not come."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        process = subprocess.Popen(
            [*COMMAND, "list", "--url", url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        connection, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        connection.close()
    assert process.returncode == 130
    assert b"Traceback" not in err


def test_without_the_extra_the_command_says_how_to_install_it() -> None:
    """In an environment that has neither typer nor rich."""
    code = (
        "import sys, importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n in {'typer', 'rich'} else find(n, *a)\n"
        "from wren_sessions.cli import main\n"
        "sys.exit(main(['list']))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ
    )
    assert run.returncode == 2
    assert "pip install 'wren-sessions[cli]'" in run.stderr
    assert "Traceback" not in run.stderr


def test_listing_loads_nothing_it_does_not_need(file_url: str, server_url: str) -> None:
    """Neither LangGraph, nor LangChain, nor pydantic, on any backend."""
    for url in (file_url, server_url):
        code = (
            "import sys; from wren_sessions.cli import main\n"
            f"assert main(['list', '--limit', '3', '--url', {url!r}]) == 0\n"
            "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
        )
        env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
        )
        loaded = set(run.stderr.split())
        assert not loaded & {"langgraph", "langchain_core", "pydantic"}
        assert ("redis" in loaded) == url.startswith("redis")
    assert apart("--version").code == 0


@pytest.mark.parametrize("form", ["apart", "joined"])
def test_the_store_may_be_named_before_the_command(cli: Cli, file_url: str, form: str) -> None:
    """As well as behind it; a command's own options stay where they are."""
    named = ["--url", file_url] if form == "apart" else [f"--url={file_url}"]
    behind = cli("list", "--limit", "2", "--json", *named)
    before = cli(*named, "list", "--limit", "2", "--json")
    assert [row["id"] for row in before.json] == [row["id"] for row in behind.json]
    assert cli(*named, "--help").code == 0
    assert cli(*named, "lst").code == cli("--url").code == 2


@pytest.mark.parametrize(
    "command",
    [
        ["ttl", "cli_20251108_145739", "--set", "5min"],
        ["list", "--older-than", "soon"],
        ["delete", "--older-than", "soon", "--yes"],
        ["rekey", "--unused-for", "soon"],
    ],
    ids=" ".join,
)
def test_a_duration_that_is_none_is_told_with_its_option(
    cli: Cli, file_url: str, command: list[str]
) -> None:
    """And nothing of Python."""
    found = cli(*command, url=file_url)
    assert found.code == 2
    assert f"{next(word for word in command if word.startswith('--'))}: " in found.err
    assert "timedelta" not in found.err


@pytest.mark.parametrize("content", ["{}", '{"messages": []}', "no JSON", "\x00"])
def test_a_file_that_is_no_export_is_named_once(
    cli: Cli, file_url: str, tmp_path: Path, content: str
) -> None:
    """With what import reads; nothing is imported."""
    path = tmp_path / "conversation.json"
    path.write_text(content)
    found = cli("import", str(path), url=file_url)
    assert found.code == 5
    assert found.err.count("conversation.json") == 1
    assert "wren-sessions export" in found.err
    assert cli("rekey", url=file_url).err.count("Encryption(") == 0
