"""`check --session`, `--all`, `--repair`: what is whole, what is not, and going on from there."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis

from cli.running import Cli, Terminal, apart
from golden import content
from remedies.proposals import tries
from wren_sessions import Sessions, open_store

BROKEN = "broken"


@pytest.fixture
def broken(file_url: str) -> str:
    """The sample file with one more session, whose latest checkpoint is damaged."""
    with open_store(file_url, dotenv=False) as store:
        for number in range(3):
            Sessions(store).save(BROKEN, {"turn_count": number})
    with closing(
        sqlite3.connect(file_url.removeprefix("file:"), isolation_level=None)
    ) as connection:
        connection.execute(
            "UPDATE records SET body = x'0100' WHERE id = (SELECT head FROM heads WHERE sid = "
            "(SELECT sid FROM sessions WHERE name = ?))",
            [BROKEN],
        )
    return file_url


def test_sessions_that_are_whole(cli: Cli, url: str) -> None:
    """All of a store are verified one after the other, and the code says that all is well."""
    found = cli("check", "--all", url=url)
    assert found.code == 0
    assert len(found.lines) == 8
    assert all(line.startswith("ok ") for line in found.lines)
    assert {line["ok"] for line in cli("check", "--all", "--json", url=url).json} == {True}


def test_a_damaged_session_is_told_apart(cli: Cli, broken: str) -> None:
    """What of it is damaged, what can still be read, and an exit code for scripts."""
    found = cli("check", "--all", url=broken)
    assert found.code == 5
    assert len([line for line in found.lines if line.startswith("DAMAGED")]) == 1
    named = cli("check", "--session", BROKEN, "--json", url=broken)
    assert named.code == 5
    (facts,) = named.json
    assert (facts["id"], facts["ok"]) == (BROKEN, False)
    assert facts["latest"] == facts["whole"][-1]["id"]
    (part,) = facts["damaged"]
    assert "is damaged" in part["why"]


def test_a_repair_keeps_the_original_and_goes_on(cli: Cli, broken: str, tmp_path: Path) -> None:
    """The newest whole checkpoint is the latest; a dry run changes nothing."""
    options = ("check", "--session", BROKEN, "--repair", "--save", str(tmp_path / "kept"))
    assert cli(*options, "--dry-run", url=broken).code == 5
    assert not (tmp_path / "kept").exists()
    assert cli("show", BROKEN, url=broken).code == 5
    assert cli(*options, "--yes", url=broken).code == 0
    assert cli("check", "--all", url=broken).code == 0
    with open_store(broken, dotenv=False) as store:
        assert Sessions(store).load(BROKEN).state == {"turn_count": 1}
    (kept,) = (tmp_path / "kept").iterdir()
    assert cli("check", "--session", BROKEN, url=f"file:{kept}").code == 5
    if os.name == "posix":
        assert kept.stat().st_mode & 0o777 == 0o600


def test_a_repair_asks(broken: str) -> None:
    """Somebody is asked, and says no; where nobody is there, it is an error."""
    words = ("check", "--session", BROKEN, "--repair", "--url", broken)
    terminal = Terminal(*words, columns=120)
    terminal.until("[y/N]")
    terminal.type("n\n")
    assert terminal.end().code == 5
    assert "there is no terminal to ask on" in apart(*words).err
    assert apart("check", "--session", BROKEN, "--url", broken).code == 5


@tries("say what to repair: --session ID, or --all", "name sessions, or --all of them (not both)")
def test_what_goes_together(cli: Cli, file_url: str) -> None:
    """A repair needs sessions, and --all is not beside names."""
    assert cli("check", "--repair", url=file_url).code == 2
    assert cli("check", "--all", "--session", "a", url=file_url).code == 2
    assert cli("check", "--session", "no-such-session", url=file_url).code == 3
    assert cli("check", "--repair", "--all", url=file_url).code == 0


def test_one_session_that_cannot_be_looked_at_stops_no_other(cli: Cli, broken: str) -> None:
    """A record of a newer version is told, and the rest is verified."""
    with closing(sqlite3.connect(broken.removeprefix("file:"), isolation_level=None)) as connection:
        connection.execute("UPDATE records SET body = x'ff00000000000000' WHERE body = x'0100'")
    found = cli("check", "--all", url=broken)
    assert found.code == 5
    assert len([line for line in found.lines if line.startswith("FAILED")]) == 1
    assert len([line for line in found.lines if line.startswith("ok")]) == 7
    told = [line for line in cli("check", "--all", "--json", url=broken).json if not line["ok"]]
    assert [line["id"] for line in told] == [BROKEN]


def test_nothing_to_save_is_said(cli: Cli, broken: str) -> None:
    """A session of which nothing is whole stays as it is."""
    with closing(sqlite3.connect(broken.removeprefix("file:"), isolation_level=None)) as connection:
        connection.execute("UPDATE records SET body = x'0100'")
    found = cli("check", "--session", BROKEN, "--repair", "--yes", url=broken)
    assert found.code == 5
    assert "no part of its main namespace is intact" in found.out


def test_a_file_that_is_not_there_yet_is_fine(cli: Cli, tmp_path: Path) -> None:
    """A fresh setup: the app makes the file when it first writes, if it may."""
    found = cli("check", "--json", url=f"file:{tmp_path}/new.db")
    assert found.code == 0
    assert found.json[-1]["check"] == "file"
    assert "the app creates it" in found.json[-1]["finding"]
    assert not (tmp_path / "new.db").exists()


@tries("give this user write access to the folder, or choose another one")
def test_a_folder_that_cannot_be_written_is_told(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app could not make its file there."""
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    found = cli("check", url=f"file:{tmp_path}/new.db")
    assert found.code == 4
    assert "the folder is not writable" in found.out
    (tmp_path / "another").mkdir()
    assert cli("check", url=f"file:{tmp_path}/another/new.db").code == 0
    monkeypatch.undo()
    assert cli("check", url=f"file:{tmp_path}/new.db").code == 0


@pytest.mark.parametrize("change", ["SET body = x'0100aa'", "SET key = key || '0'"])
def test_a_damaged_pending_write_leaves_the_list_whole(
    cli: Cli, file_url: str, change: str
) -> None:
    """Its session is unreadable, in the list and in the figures; others are as they were."""
    before = {row["id"]: row["status"] for row in cli("list", "--json", url=file_url).json}
    with closing(sqlite3.connect(file_url.removeprefix("file:"), isolation_level=None)) as file:
        file.execute(f"UPDATE writes {change}")
    after = {row["id"]: row["status"] for row in cli("list", "--json", url=file_url).json}
    changed = {id_ for id_ in before if before[id_] != after[id_]}
    assert changed
    assert {after[id_] for id_ in changed} == {"unreadable"}
    (figures,) = cli("stats", "--json", url=file_url).json
    assert figures["by_status"]["unreadable"] == len(changed)


def test_a_session_of_an_early_version_is_unverified(cli: Cli, tmp_path: Path) -> None:
    """It is read and all right, as far as that can be told; said in words and with --json."""
    path = Path(shutil.copy(Path(content.__file__).parent / "v2.sqlite3", tmp_path / "early.db"))
    found = cli("check", "--all", url=f"file:{path}")
    assert found.code == 0
    assert "unverified" in found.out
    (facts,) = cli("check", "--all", "--json", url=f"file:{path}").json
    assert (facts["ok"], facts["unverified"]) == (True, True)


@pytest.fixture
def broken_below(redis_url: str) -> str:
    """A server with a session whose oldest checkpoint is damaged."""
    with open_store(redis_url, dotenv=False) as store:
        names = [Sessions(store).save(BROKEN, {"turn_count": n}).checkpoint_id for n in range(3)]
    with Redis.from_url(redis_url) as client:
        client.hset(f"langgraph:checkpoint:{BROKEN}:latest", names[0], b"garbage")
    return redis_url


@tries("add --repair to keep what is intact; the original is saved to a file first")
@pytest.mark.parametrize("place", ["broken", "broken_below"])
def test_no_error_about_a_damaged_part_proposes_to_delete_all(
    cli: Cli, place: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """It names the check, and that one the repair, which keeps what is intact."""
    url = request.getfixturevalue(place)
    shown = cli("show", BROKEN, url=url)
    assert shown.code == 5
    assert f"wren-sessions check --session {BROKEN} to see what is intact" in shown.err
    assert "delete" not in shown.err
    found = cli("check", "--session", BROKEN, url=url)
    assert "delete" not in found.out
    assert "restore" not in found.out
    assert "→ add --repair to keep what is intact" in " ".join(found.out.split())
    kept = ("--repair", "--yes", "--save", str(tmp_path / "kept"))
    assert cli("check", "--session", BROKEN, *kept, url=url).code == 0
    assert cli("show", BROKEN, url=url).code == 0


def test_a_session_of_which_nothing_is_intact(cli: Cli, file_url: str) -> None:
    """Only then it is proposed to delete it."""
    with closing(sqlite3.connect(file_url.removeprefix("file:"))) as connection, connection:
        connection.execute("UPDATE records SET body = x'0100'")
    found = cli("check", "--all", url=file_url)
    assert found.out.count("nothing can be kept: delete it, and restore it from a copy") == 7
