"""What the command line proposes, done to the letter."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cli.running import Cli, in_process
from remedies.proposals import tries
from servers import free_port, start_server
from wren_sessions import FileStore, Sessions, TTLPolicy, open_store
from wren_sessions.cli import _findings
from wren_sessions.testing import FakeClock


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """The command, in this process, where nothing is configured."""
    for name in ("WREN_SESSIONS_URL", "REDIS_URL", "REDIS_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return in_process(capsys)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A file with two sessions of two checkpoints."""
    found = f"file:{tmp_path / 's.db'}"
    with open_store(found, dotenv=False) as store:
        sessions = Sessions(store)
        for name in ("s", "t"):
            for number in range(2):
                state = {"n": number, "messages": [{"role": "user", "content": "hello"}]}
                sessions.save(name, state)
        sessions.annotate("s", owner="ann")
    return found


# --- which store ----------------------------------------------------------------------------------


@tries(
    "pass --url, or set WREN_SESSIONS_URL, REDIS_URL or REDIS_HOST in the environment or in .env",
    "name the Redis server or the file that the app uses",
    "check the path (a relative one belongs to this folder), or run the app once",
    "set WREN_SESSIONS_URL, REDIS_URL or REDIS_HOST to keep them",
    "the app makes the file when it first writes, but no folder",
)
def test_which_store(cli: Cli, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the option, by a variable, by the file; the right path; a file that the app makes."""
    assert "pass --url, or set WREN_SESSIONS_URL, REDIS_URL or REDIS_HOST" in cli("list").err
    assert cli("list", url=url).code == 0
    with monkeypatch.context() as context:
        context.setenv("WREN_SESSIONS_URL", url)
        assert cli("list").code == 0
    (tmp_path / ".env").write_text(f"WREN_SESSIONS_URL={url}\n")
    assert cli("list").code == 0
    (tmp_path / ".env").unlink()
    assert "set WREN_SESSIONS_URL, REDIS_URL or REDIS_HOST to keep them" in cli("check").out
    assert "name the Redis server or the file" in cli("list", url="memory://").err
    monkeypatch.chdir("/")
    assert "a relative one belongs to this folder" in cli("list", url="file:s.db").err
    monkeypatch.chdir(tmp_path)
    assert cli("list", url="file:s.db").code == 0
    assert "run the app once, which makes it" in cli("list", url="file:new.db").err
    assert "but no folder" in cli("check", url="file:folder/new.db").out
    assert "the app creates it when it first writes" in cli("check", url="file:new.db").out
    with open_store("file:new.db", dotenv=False) as store:
        Sessions(store).save("s", {"n": 1})
    assert cli("list", url="file:new.db").code == 0
    assert cli("check", url="file:new.db").code == 0


# --- arguments ------------------------------------------------------------------------------------


@tries("and --at names {}: give one of them")
def test_checkpoints(cli: Cli, url: str) -> None:
    """One of the two names; and one that is in the list."""
    rows = cli("history", "s", "--json", url=url).json
    first, last = rows[-1]["id"], rows[0]["id"]
    address = f"langgraph:checkpoint:s:{first}"
    assert "give one of them" in cli("show", address, "--at", last, url=url).err
    assert cli("show", address, url=url).code == 0
    assert cli("show", "s", "--at", last, url=url).code == 0
    assert "`wren-sessions history` lists" in cli("show", "s", "--at", "nothing", url=url).err


@tries("leave out --cursor to begin, then use the one that the page before printed")
def test_a_cursor_that_is_none(cli: Cli, url: str) -> None:
    """Page by page, from the beginning."""
    page = ("list", "--sort", "none", "--limit", "1")
    wrong = cli(*page, "--cursor", "nonsense", url=url)
    assert (wrong.code, "leave out --cursor to begin" in wrong.err) == (2, True)
    with open_store(url, dotenv=False) as store:
        for name in ("s", "t"):
            Sessions(store).annotate(name, owner="ann")
    first = cli(*page, "--owner", "ann", "--json", url=url)
    assert len(first.json) == 1
    after = json.loads(first.err)["cursor"]
    assert cli(*page, "--owner", "ann", "--cursor", after, url=url).code == 0
    assert "is not a cursor" in cli(*page, "--owner", "bob", "--cursor", after, url=url).err


@tries(
    "say which sessions, in one of these ways: {}",
    "name a folder (-o folder/)",
    "is there already: choose another name, or --force",
    "there is no file {}: check its name",
)
def test_files(cli: Cli, url: str) -> None:
    """Each of the ways out."""
    ways = "say which sessions, in one of these ways: their ids, --owner NAME, or --all"
    assert ways in cli("export", url=url).err
    assert cli("export", "s", url=url).code == 0
    assert cli("export", "--all", url=url).code == 0
    assert cli("export", "--owner", "ann", url=url).code == 0
    several = ("export", "--all", "--format", "html", "-o")
    assert "name a folder (-o folder/)" in cli(*several, "page.html", url=url).err
    assert cli(*several, "folder/", url=url).code == 0
    assert cli("export", "s", "-o", "s.jsonl", url=url).code == 0
    assert "choose another name, or --force" in cli("export", "s", "-o", "s.jsonl", url=url).err
    assert cli("export", "s", "-o", "other.jsonl", url=url).code == 0
    assert cli("export", "s", "-o", "s.jsonl", "--force", url=url).code == 0
    assert "check its name" in cli("import", "no.jsonl", url=url).err
    assert cli("import", "s.jsonl", "--replace", url=url).code == 0
    assert ways in cli("prune", "--keep-last", "1", url=url).err
    assert cli("prune", "s", "--keep-last", "1", url=url).code == 0
    assert cli("prune", "--all", "--keep-last", "1", url=url).code == 0
    assert cli("prune", "--owner", "ann", "--keep-last", "1", url=url).code == 0
    assert "ways: their ids, or --owner NAME" in cli("touch", url=url).err
    assert (cli("touch", "s", url=url).code, cli("touch", "--owner", "ann", url=url).code) == (0, 0)


@tries(
    "say what to delete: ids, or --owner, --older-than and --status, or --expired",
    "add --yes, or look first with --dry-run",
)
def test_deleting(cli: Cli, url: str) -> None:
    """Each of the ways to say it; with and without looking first."""
    assert "say what to delete" in cli("delete", url=url).err
    assert "add --yes, or look first with --dry-run" in cli("delete", "s", url=url).err
    assert cli("delete", "s", "--dry-run", url=url).code == 0
    assert "s" in cli("list", url=url).out
    assert cli("delete", "s", "--yes", url=url).code == 0
    old = ("--older-than", "0s", "--status", "complete", "--yes")
    assert "0s" in cli("delete", *old, url=url).err
    assert cli("delete", "--owner", "ann", "--yes", url=url).code == 3  # has none
    assert cli("delete", "--older-than", "1ms", "--yes", url=url).code == 0
    assert cli("delete", "--expired", url=url).code == 0
    assert not cli("list", "--json", url=url).json


@tries(
    "There are more: add --cursor {}, or --limit 0 for all",
    "{} more: raise --limit, or --limit 0 for all",
    "There are earlier ones: raise --limit, or --limit 0 for all",
    "Sizes and status are not shown: add --details",
)
def test_listings(cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cursor that is named goes on; without a limit all is shown."""
    run = cli("list", "--sort", "none", "--limit", "1", url=url)
    said = run.out + run.err
    found = re.search(r"add --cursor (\S+), or --limit 0 for all", said)
    assert found, said
    rest = cli("list", "--limit", "1", "--cursor", found[1], "--json", url=url)
    assert [row["id"] for row in rest.json] == ["t"]
    assert len(cli("list", "--limit", "0", "--json", url=url).json) == 2
    run = cli("list", "--sort", "updated", "--limit", "1", url=url)
    assert "1 more: raise --limit, or --limit 0 for all" in run.out + run.err
    assert len(cli("list", "--sort", "updated", "--limit", "2", "--json", url=url).json) == 2
    run = cli("history", "s", "--limit", "1", url=url)
    assert "There are earlier ones: raise --limit, or --limit 0" in run.out + run.err
    assert len(cli("history", "s", "--limit", "0", "--json", url=url).json) == 2
    monkeypatch.setattr("wren_sessions.cli.listing.DETAILED", 0)
    run = cli("list", url=url)
    assert "Sizes and status are not shown: add --details" in run.out + run.err
    run = cli("list", "--details", url=url)
    assert "not asked for" not in run.out + run.err


@tries("--set, --pin and --unpin do not go together: choose one")
def test_one_change_at_a_time(cli: Cli, url: str) -> None:
    """Each of the three alone."""
    assert "choose one" in cli("ttl", "s", "--pin", "--set", "2h", url=url).err
    for one in (("--set", "2h"), ("--pin",), ("--unpin",)):
        assert cli("ttl", "s", *one, url=url).code == 0


@tries("it was left pinned. Delete it, or raise the maximum age")
@pytest.mark.parametrize("way", ["delete", "raise"])
def test_a_session_that_only_its_pin_keeps(cli: Cli, tmp_path: Path, way: str) -> None:
    """Either way, it is no longer pinned."""
    path = tmp_path / "old.db"
    clock = FakeClock()
    with FileStore(path, ttl=TTLPolicy(idle=None), clock=clock) as store:
        Sessions(store).save("s", {"n": 1})
        store.pin("s")
    url = f"file:{path}?max_age="  # the session is from 2023
    run = cli("ttl", "s", "--unpin", url=f"{url}1d")
    assert "it was left pinned. Delete it, or raise the maximum age" in run.err
    if way == "delete":
        assert cli("delete", "s", "--yes", url=f"{url}1d").code == 0
    else:
        assert cli("ttl", "s", "--unpin", url=f"{url}36000d").code == 0


# --- check ----------------------------------------------------------------------------------------


@tries("look for a process that keeps a transaction open")
def test_what_check_says_of_a_file(cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mode; and a log that cannot shrink while somebody reads."""
    path = Path(url.removeprefix("file:"))
    path.chmod(0o644)
    said = cli("check", url=url).out
    command = re.search(r"chmod 600 \S+", said)
    assert command, said
    subprocess.run(command[0].split(), check=True)
    assert "chmod" not in cli("check", url=url).out
    monkeypatch.setattr(_findings, "_LARGE_WAL", 1 << 20)
    with open_store(url, dotenv=False) as store, closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sessions").fetchone()
        sessions = Sessions(store)
        for number in range(600):
            sessions.save("s", {"n": number, "text": str(number) * 3_000})
        assert "look for a process that keeps a transaction open" in cli("check", url=url).out
        reader.rollback()
    assert "keeps a transaction open" not in cli("check", url=url).out


@tries(
    "write rediss:// instead of redis://, or set REDIS_SSL=1",
    "name the authority that signed it (?ssl_ca_certs=FILE), use the host name that is in it",
)
@pytest.mark.redis_server
def test_tls(cli: Cli, secured: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The other scheme, the variable, and the certificates that are asked for."""
    port, folder = secured
    at = f"127.0.0.1:{port}/0"
    assert "write rediss:// instead of redis://" in cli("check", url=f"redis://{at}").out
    said = cli("check", url=f"rediss://{at}").out
    assert "name the authority that signed it (?ssl_ca_certs=FILE)" in said
    trusted = f"rediss://{at}?ssl_ca_certs={folder / 'ca.pem'}"
    assert "?ssl_certfile=FILE&ssl_keyfile=FILE" in cli("check", url=trusted).out
    known = f"{trusted}&ssl_certfile={folder / 'ca.pem'}&ssl_keyfile={folder / 'key.pem'}"
    assert cli("list", url=known).code == 0
    monkeypatch.setenv("REDIS_HOST", "127.0.0.1")
    monkeypatch.setenv("REDIS_PORT", str(port))
    assert "or set REDIS_SSL=1" in cli("check").out
    monkeypatch.setenv("REDIS_SSL", "1")
    assert "or set REDIS_SSL=1" not in cli("check").out


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A server that speaks TLS alone, and wants a certificate of its clients."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "ca.pem")),
        ],
        check=True,
        capture_output=True,
    )
    port = free_port()
    files: list[Any] = [
        *("--tls-port", str(port), "--tls-cert-file", str(tmp_path / "ca.pem")),
        *("--tls-key-file", str(tmp_path / "key.pem")),
        *("--tls-ca-cert-file", str(tmp_path / "ca.pem")),
    ]
    with start_server(*files):
        yield port, tmp_path


@tries(
    "no format is called {}: end it in {}, or say --format",
    "choose another id, or delete it first",
    "there is no folder {}: make it, or check its name",
)
def test_names_that_cannot_be_used(cli: Cli, url: str, tmp_path: Path) -> None:
    """An ending that is no format writes nothing; an id that is taken stays as it is."""
    refused = cli("export", "s", "-o", "x.pdf", url=url)
    assert refused.code == 2
    assert "end it in .jsonl, .json, .md, .html, or say --format" in refused.err
    assert not (tmp_path / "x.pdf").exists()
    assert cli("export", "s", "-o", "x.html", url=url).code == 0
    assert cli("export", "s", "-o", "x.pdf", "--format", "html", url=url).code == 0
    assert (tmp_path / "x.pdf").read_bytes() == (tmp_path / "x.html").read_bytes()
    for name in ("s.html", "s.jsonl"):
        nowhere = cli("export", "s", "-o", f"nodir/{name}", url=url)
        assert (nowhere.code, "there is no folder nodir: make it" in nowhere.err) == (2, True)
    (tmp_path / "nodir").mkdir()
    assert cli("export", "s", "-o", "nodir/s.html", url=url).code == 0
    taken = cli("fork", "s", "t", url=url)
    assert taken.code == 6
    assert "replace=" not in taken.err
    assert cli("fork", "s", "u", url=url).code == 0
    assert cli("delete", "t", "--yes", url=url).code == 0
    assert cli("fork", "s", "t", url=url).code == 0
    cli("export", "s", "-o", "s.jsonl", url=url)
    assert "(--as ID), delete it, or add --replace" in cli("import", "s.jsonl", url=url).err
    assert cli("import", "s.jsonl", "--as", "v", url=url).code == 0
    assert cli("import", "s.jsonl", "--replace", url=url).code == 0
    cli("export", "s", "-o", "s.json", url=url)
    assert cli("import", "s.json", url=url).err.startswith("error: s.json, line 1: ")


@tries("has several lines of JSON. If `wren-sessions export` wrote it, import it")
def test_files_of_another_command(cli: Cli, url: str) -> None:
    """`import` says which of the exports it takes, and `log` names `import` for that one."""
    for name in ("e.jsonl", "e.json", "e.html", "e.md"):
        assert cli("export", "s", "-o", name, url=url).code == 0
    for name in ("e.json", "e.html", "e.md"):
        refused = cli("import", name, "--replace", url=url)
        assert refused.code == 5
        assert "its .json, .md and .html are conversations" in refused.err
    refused = cli("log", "e.jsonl")
    assert refused.code == 5
    assert "import it: wren-sessions import FILE" in refused.err
    assert "restore" not in refused.err
    assert cli("import", "e.jsonl", "--replace", url=url).code == 0
    assert cli("log", "e.json").code == 0
