"""Commands that take all sessions of an owner, and what commands show of owner, title and tags."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from rich.cells import cell_len

from cli.running import Cli, terminal
from cli.sample_app import HOSTILE
from cli.test_cli_terminal import UNSAFE, plain
from remedies.proposals import tries
from wren_sessions import Encryption, FileStore, SessionArchiver, Sessions, open_store
from wren_sessions.testing import FakeClock

ANNS = ["of_ann_2", "of_ann_1"]  # the last written first
OTHERS = ["of_bob", "nobodys"]


@pytest.fixture(params=["file", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store with sessions of two owners, and one of nobody."""
    found = f"file:{tmp_path}/sessions.db"
    if request.param == "redis":
        found = request.getfixturevalue("redis_url")
    with open_store(found, dotenv=False) as store:
        sessions = Sessions(store)
        for name in ("of_ann_1", "of_ann_2", *OTHERS):
            for turn in range(3):
                sessions.save(name, {"n": turn}, replace=True)
            time.sleep(0.002)  # written later than the one before, also by a server's clock
        for name in ANNS:
            sessions.annotate(name, owner="ann")
        sessions.annotate("of_bob", owner="bob")
    return found


def test_an_owner_is_not_found_without_the_secret(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said; with the secret they are erased. check tells what is on."""
    url = f"file:{tmp_path}/sessions.db"
    monkeypatch.setenv("WREN_SESSIONS_ENCRYPTION_KEYS", Encryption.generate_key())
    monkeypatch.setenv("WREN_SESSIONS_OWNER_SECRET", "s" * 16)
    monkeypatch.setenv("WREN_SESSIONS_OWNER_KEYS", f"file:{tmp_path}/keys.db")
    with open_store(url, dotenv=False) as store:
        Sessions(store).save("s", {"n": 1})
        Sessions(store).annotate("s", owner="ann")
    checked = cli("check", url=url).out
    assert "hidden" in checked
    assert "each owner's sessions have a key of their own" in checked
    command = ("delete", "--owner", "ann", "--yes")
    monkeypatch.delenv("WREN_SESSIONS_OWNER_SECRET")
    assert "set WREN_SESSIONS_OWNER_SECRET" in cli(*command, url=url).err
    monkeypatch.setenv("WREN_SESSIONS_OWNER_SECRET", "s" * 16)
    monkeypatch.delenv("WREN_SESSIONS_OWNER_KEYS")
    refused = cli(*command, url=url)
    assert "The key would stay, and copies could still be read" in refused.err
    monkeypatch.setenv("WREN_SESSIONS_OWNER_KEYS", f"file:{tmp_path}/keys.db")
    assert "1 session and 1 key of 'ann' erased" in cli(*command, url=url).err


@tries(
    "Archives were not looked for: name their folder with --archives.",
    "check the name with wren-sessions list",
    "pass owner_keys=, or set WREN_SESSIONS_OWNER_KEYS",
)
def test_all_of_an_owner_is_erased(cli: Cli, url: str, tmp_path: Path) -> None:
    """Pinned sessions and archives too; the receipt is printed."""
    root = tmp_path / "profiles"
    with open_store(url, dotenv=False) as store:
        Sessions(store).pin("of_ann_1")
        SessionArchiver(store, root).archive("of_ann_1")
    command = ("delete", "--owner", "ann", "--yes")
    would = cli(*command, "--dry-run", url=url)
    assert "2 sessions of 'ann' would be erased\nArchives were not looked for" in would.err
    assert root.exists()
    (receipt,) = cli(*command, "--archives", str(root), "--json", url=url).json
    assert receipt["sessions"] == ANNS
    assert receipt["archives"] == [str(root / "of_ann_1")]
    assert list(root.iterdir()) == []
    assert set(named(cli("list", "--json", url=url))) == set(OTHERS)
    again = cli(*command, url=url)
    assert (again.code, again.out) == (3, "")
    assert "no session of owner 'ann' was found: check the name" in again.err
    wrong = cli("delete", "--owner", "ann", "--status", "done", "--archives", str(root), url=url)
    assert "--archives goes with --owner alone" in wrong.err


def named(result: object) -> list[str]:
    """The sessions a command speaks of."""
    return [row["id"] for row in result.json]  # type: ignore[attr-defined]


def test_a_copy_takes_the_sessions_of_an_owner(cli: Cli, url: str, tmp_path: Path) -> None:
    """Theirs alone, with their owner; done again, there is nothing left to copy."""
    target = f"file:{tmp_path}/target.db"
    rows = cli("copy", "--owner", "ann", "--to", target, "--json", url=url).json
    assert [(row["id"], row["result"]) for row in rows] == [(name, "copied") for name in ANNS]
    assert set(named(cli("list", "--json", url=target))) == set(ANNS)
    assert set(named(cli("list", "--owner", "ann", "--json", url=target))) == set(ANNS)
    again = cli("copy", "--owner", "ann", "--to", target, "--json", url=url).json
    assert [row["result"] for row in again] == ["skipped"] * 2


@pytest.mark.leaves_keys("the list of an owner who had a pinned session does not expire")
def test_lifetimes_are_set_by_owner(cli: Cli, url: str) -> None:
    """Shown, set, pinned and unpinned, for their sessions alone."""
    by_owner = ("ttl", "--owner", "ann", "--json")
    assert named(cli(*by_owner, url=url)) == ANNS
    assert [row["ttl_seconds"] for row in cli(*by_owner, "--set", "2h", url=url).json] == [
        pytest.approx(7_200, abs=60)
    ] * 2
    assert [row["pinned"] for row in cli(*by_owner, "--pin", url=url).json] == [True, True]
    found = cli("list", "--limit", "0", "--json", url=url).json
    assert {row["id"] for row in found if row["pinned"]} == set(ANNS)
    assert [row["pinned"] for row in cli(*by_owner, "--unpin", url=url).json] == [False, False]
    assert named(cli("touch", "--owner", "ann", "--json", url=url)) == ANNS
    assert cli("ttl", *ANNS, url=url).out.count("expires in") == len(ANNS)


def test_one_that_is_too_old_does_not_end_the_others(cli: Cli, tmp_path: Path) -> None:
    """It stays pinned and is reported; the exit code says so."""
    path, now_ms = tmp_path / "sessions.db", time.time_ns() // 1_000_000
    for name, then_ms in (("old", now_ms - 7_200_000), ("new", now_ms)):
        with FileStore(path, clock=FakeClock(then_ms)) as store:
            sessions = Sessions(store)
            sessions.save(name, {"n": 1})
            sessions.annotate(name, owner="ann")
            sessions.pin(name)
    found = cli("ttl", "--owner", "ann", "--unpin", "--json", url=f"file:{path}?max_age=1h")
    assert found.code == 3
    assert "past the maximum age" in found.err
    assert "old" in found.err
    there = cli("ttl", "--owner", "ann", "--json", url=f"file:{path}").json
    pinned = {row["id"]: row["pinned"] for row in there}
    assert pinned == {"old": True, "new": False}


def test_prune_and_export_take_an_owner(cli: Cli, url: str, tmp_path: Path) -> None:
    """Their sessions alone."""
    pruned = cli("prune", "--owner", "ann", "--keep-last", "1", "--json", url=url).json
    assert {row["id"]: row["dropped"] for row in pruned} == dict.fromkeys(ANNS, 2)
    assert len(cli("history", "of_bob", "--json", url=url).json) == 3
    folder = tmp_path / "ann"
    assert named(cli("export", "--owner", "ann", "-o", f"{folder}/", "--json", url=url)) == ANNS
    assert {path.stem for path in folder.iterdir()} == set(ANNS)


@pytest.mark.parametrize(
    "command",
    [
        ("copy", "--to", "file:t.db"),
        ("ttl",),
        ("touch",),
        ("export",),
        ("prune", "--keep-last", "1"),
    ],
    ids=lambda command: command[0],
)
def test_sessions_are_chosen_in_one_way(cli: Cli, url: str, command: tuple[str, ...]) -> None:
    """Ids and an owner together are refused; so is an owner without a name."""
    found = cli(*command, "of_bob", "--owner", "ann", url=url)
    assert (found.code, found.out) == (2, "")
    assert "say which sessions, in one of these ways: their ids, " in found.err
    assert "--owner NAME" in found.err
    assert "must not be empty" in cli(*command, "--owner", "", url=url).err


@pytest.mark.parametrize(
    "command",
    [
        ("copy", "--to", "file:t.db"),
        ("delete", "--yes"),
        ("delete", "--older-than", "1d"),
        ("ttl",),
        ("ttl", "--pin"),
        ("ttl", "--set", "7d"),
        ("touch",),
        ("export", "-o", "who/"),
        ("prune", "--keep-last", "1"),
    ],
    ids=" ".join,
)
def test_an_owner_without_sessions_is_an_error(
    cli: Cli, url: str, command: tuple[str, ...]
) -> None:
    """A name that is not quite right does not pass for work that was done."""
    found = cli(*command, "--owner", "an", url=url)
    assert (found.code, found.out) == (3, "")
    assert "no session of owner 'an' was found: check the name with wren-sessions list" in found.err


# --- what is shown --------------------------------------------------------------------------------


def annotated(url: str, text: str = "Holidays & <i>", **more: str) -> None:
    """Note something about the first of ann's sessions, and let people talk in it."""
    with open_store(url, dotenv=False) as store:
        sessions = Sessions(store)
        sessions.save("of_ann_1", {"messages": [{"role": "user", "content": "hi"}]}, replace=True)
        sessions.annotate("of_ann_1", title=text, tags=["a", more.get("tag", "b")])


def test_a_session_is_shown_with_what_is_noted(cli: Cli, url: str, tmp_path: Path) -> None:
    """By `show`, `conversation`, `export` as text and page, and the index of pages."""
    annotated(url)
    shown = cli("show", "of_ann_1", url=url).lines
    assert {"title\tHolidays & <i>", "owner\tann", "tags\ta, b"} <= {s.strip() for s in shown}
    (facts,) = cli("show", "of_ann_1", "--json", url=url).json
    assert (facts["owner"], facts["title"], facts["tags"]) == ("ann", "Holidays & <i>", ["a", "b"])
    first = cli("conversation", "of_ann_1", url=url).lines[0]
    assert first.startswith("of_ann_1  Holidays & <i>  owner ann, tags a, b, 1 message, started")
    markdown = cli("export", "of_ann_1", "--format", "markdown", url=url).lines
    assert markdown[0] == r"# Holidays & \<i\>"
    assert markdown[2].startswith(r"session of\_ann\_1, owner ann, tags a, b, 1 messages")
    (data,) = [cli("export", "of_ann_1", "--format", "json", url=url).out]
    assert '"title": "Holidays & <i>"' in data
    assert cli("export", "--all", "--format", "html", "-o", f"{tmp_path}/p/", url=url).code == 0
    for page in ("of_ann_1.html", "index.html"):
        text = (tmp_path / "p" / page).read_text()
        assert "Holidays &amp; &lt;i&gt;" in text
        assert (
            "<bdi>of_ann_1</bdi> · owner <bdi>ann</bdi> · tags <bdi>a</bdi>, <bdi>b</bdi>" in text
        )
    assert "owner" not in (tmp_path / "p" / "nobodys.html").read_text().partition("</style>")[2]
    assert not {"title", "owner", "tags"} & {
        line.split("\t")[0].strip() for line in cli("show", "nobodys", url=url).lines
    }


@pytest.mark.parametrize("columns", [50, 100, 160])
def test_a_terminal_shows_owners_where_there_is_room(url: str, columns: int) -> None:
    """As a column of the list, if any session has an owner."""
    annotated(url)
    shown = terminal("list", "--url", url, columns=columns, NO_COLOR="1").out.splitlines()
    (row,) = (line.split() for line in shown if line.startswith("of_bob"))
    assert ("OWNER" in shown[0].split()) == ("bob" in row) == (columns >= 100)
    assert ("Holidays & <i>" in "\n".join(shown)) == (columns == 160)
    assert max(map(len, shown[:5])) <= columns


@pytest.mark.parametrize("command", ["list", "show", "conversation", "export"])
def test_what_is_noted_plays_no_games_with_a_terminal(tmp_path: Path, command: str) -> None:
    """Neither in a column nor in a line."""
    url = f"file:{tmp_path}/s.db"
    with open_store(url, dotenv=False) as store:
        Sessions(store).save("s", {"messages": [{"role": "user", "content": "hi"}]})
        Sessions(store).annotate(
            "s", owner=HOSTILE[:300], title=HOSTILE[:300], tags=[HOSTILE[:300]]
        )
    more = {"list": [], "export": ["s", "--format", "markdown"]}.get(command, ["s"])
    text = plain(terminal(command, *more, "--url", url, columns=140))
    assert not UNSAFE.search(text), UNSAFE.search(text)
    if command != "export":
        assert max(map(cell_len, text.splitlines()[:3])) <= 140
