"""`list` and `stats`: what there is, without reading states."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from redis import Redis

from cli.running import Cli, Terminal
from wren_sessions import FileStore, RedisStore, Sessions, TTLPolicy, open_store
from wren_sessions.checkpoints.put import as_header
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Commit, Record
from wren_sessions.stores.file import connections as _sqlite_pool
from wren_sessions.testing import FakeClock

INTERVIEW: Final = "cli_20251108_145739"
MANY: Final = 10_000
STATUSES: Final = {
    INTERVIEW: "complete",
    "cli_20251108_150001": "running",
    "web_visitor": "waiting",
    "nested": "waiting",
    "broken": "failed",
    "empty": "empty",
}


def fill(store: SessionStore, count: int) -> None:
    """Sessions with a header and a record, as a saver leaves them."""
    for number in range(count):
        state = {"checkpoint": {"turn_count": number % 7}, "metadata": {"checkpoint_id": "1"}}
        record = Record(name=("", "1"), parent_id=None, body=b"x" * 100)
        store.commit(
            Commit(session=f"s{number}", token=str(number), record=record, state=as_header(state))
        )


def test_a_session_is_listed_with_what_its_header_tells(cli: Cli, url: str) -> None:
    """Id, turns, messages, size, times and status of what a LangGraph app wrote."""
    rows = {row["id"]: row for row in cli("list", "--json", url=url).json}
    assert {id_: rows[id_]["status"] for id_ in STATUSES} == STATUSES
    interview = rows[INTERVIEW]
    assert (interview["turns"], interview["messages"], interview["step"]) == (3, 14, 3)
    assert interview["size_bytes"] > 1_000
    assert interview["address"] == f"langgraph:checkpoint:{INTERVIEW}:latest"
    assert interview["pinned"] is False
    assert (interview["expires"] is None) == url.startswith("file:")


def test_turns_are_counted_where_the_header_tells_none(cli: Cli, file_url: str) -> None:
    """Of any graph with messages: how often a person spoke; nothing without messages."""
    said = [("human", "Hi"), ("ai", "Hello"), {"role": "user", "content": "Bye"}]
    with open_store(file_url, dotenv=False) as store:
        Sessions(store).save("plain", {"messages": said})
        Sessions(store).save("silent", {"n": 1})
        Sessions(store).save("known", {"messages": said, "turn_count": 7})
    rows = {row["id"]: row["turns"] for row in cli("list", "--json", url=file_url).json}
    assert (rows["plain"], rows["silent"], rows["known"]) == (2, None, 7)
    unasked = cli("list", "--no-details", "--json", url=file_url).json
    assert {row["id"]: row["turns"] for row in unasked}["plain"] is None


def test_a_pipe_gets_whole_ids_between_tabs(cli: Cli, url: str) -> None:
    """``list | cut -f 1`` is the list of ids."""
    found = cli("list", url=url)
    heading, *rows = (line.split("\t") for line in found.lines)
    assert heading == ["ID", "TURNS", "MSGS", "SIZE", "UPDATED", "EXPIRES IN", "STATUS"]
    assert {row[0] for row in rows} >= STATUSES.keys()
    assert all(len(row) == len(heading) for row in rows)
    assert "8 sessions shown" in found.err


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--status", "waiting"], {"web_visitor", "nested"}),
        (["--status", "complete"], {INTERVIEW}),
        (["--match", "cli_"], {INTERVIEW, "cli_20251108_150001"}),
        (["--match", "cli_", "--sort", "id", "--status", "running"], {"cli_20251108_150001"}),
        (["--older-than", "1d"], set()),
    ],
)
def test_a_listing_can_be_narrowed(cli: Cli, url: str, options: list[str], ids: set[str]) -> None:
    """By status, by a part of the id, by age; with and without sorting."""
    assert {row["id"] for row in cli("list", "--json", *options, url=url).json} == ids


def test_sorting_puts_the_largest_first(cli: Cli, url: str) -> None:
    """Of all sessions, also where only some are shown."""
    found = cli("list", "--sort", "messages", "--limit", "2", "--json", url=url)
    assert [row["id"] for row in found.json] == [INTERVIEW, "hostile"]
    sizes = [row["size_bytes"] for row in cli("list", "--sort", "size", "--json", url=url).json]
    assert sizes == sorted(sizes, reverse=True)
    assert "6 more" in cli("list", "--sort", "id", "--limit", "2", url=url).err


def test_a_cursor_goes_on_where_a_listing_ended(cli: Cli, file_url: str) -> None:
    """Page after page gives every session once."""
    found: list[str] = []
    options: list[str] = []
    while True:
        page = cli("list", "--sort", "none", "--limit", "3", *options, "--json", url=file_url)
        found += [row["id"] for row in page.json]
        if not page.err:
            break
        options = ["--cursor", page.err.split('"')[3]]
    assert len(found) == len(set(found)) == 8


def test_the_newest_come_first(
    cli: Cli, file_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Redis too, whose own order is none; of a store that is too large, it says so."""
    for url in (redis_url, file_url):
        with open_store(url, dotenv=False) as store:
            for number in (3, 1, 2):
                Sessions(store).save(f"new{number}", {"n": number})
                time.sleep(0.002)  # the server's clock counts milliseconds
        found = cli("list", "--limit", "2", "--json", url=url)
        assert [row["id"] for row in found.json] == ["new2", "new1"]
    monkeypatch.setattr("wren_sessions.cli.listing.LOOKED_AT", 4)
    monkeypatch.setattr("wren_sessions.viewing.overview.PAGE", 4)
    assert "--sort updated looks at all" in cli("list", url=file_url).err
    whole = cli("list", "--sort", "updated", "--limit", "1", url=file_url)
    assert "looks at all" not in whole.err
    assert whole.lines[1].startswith("new2\t")


@pytest.mark.parametrize("options", [["--limit", "0"], ["--sort", "updated", "--limit", "20"]])
def test_ten_thousand_sessions_in_a_file_are_listed_by_their_headers(
    cli: Cli, tmp_path: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No state is loaded, and there are no more reads than pages and rows shown."""
    path = tmp_path / "many.db"
    with FileStore(path, synchronous="off") as store:
        fill(store, MANY)
    reads = count_calls(monkeypatch, _sqlite_pool.Database, "read")
    for name in ("load", "read"):
        monkeypatch.setattr(FileStore, name, forbidden)
    found = cli("list", *options, "--json", url=f"file:{path}")
    assert found.code == 0
    assert len(found.lines) == (MANY if options[1] == "0" else 20)
    assert len(reads) <= MANY / 500 + 1 + 2 * 20


def test_ten_thousand_sessions_on_a_server_are_listed_by_their_headers(
    cli: Cli, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trips per page of 500, whatever the sessions hold."""
    with RedisStore.from_url(redis_url) as store:
        fill(store, MANY)
    sent = count_calls(monkeypatch, Redis, "pipeline")
    monkeypatch.setattr(RedisStore, "load", forbidden)
    found = cli("list", "--sort", "id", "--limit", "5", "--no-details", "--json", url=redis_url)
    assert [row["id"] for row in found.json] == ["s0", "s1", "s10", "s100", "s1000"]
    assert len(sent) <= 2 * MANY / 500


def count_calls(monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> list[None]:
    """A list that grows by one with each call of a method."""
    calls: list[None] = []
    before: Callable[..., Any] = getattr(kind, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        return before(*args, **kwargs)

    monkeypatch.setattr(kind, name, counted)
    return calls


def forbidden(*args: object) -> None:
    """What a listing must not do."""
    raise AssertionError(args)


def test_watching_goes_on_until_it_is_interrupted(file_url: str) -> None:
    """What is written meanwhile appears; Ctrl-C ends it with its own exit code."""
    watch = Terminal("list", "--watch", "--interval", "0.1", "--url", file_url, columns=100)
    watch.until("web_visitor")
    with FileStore(file_url.removeprefix("file:")) as store:
        fill(store, 1)
    assert "s0 " in watch.until("s0 ")
    watch.interrupt()
    assert watch.end().code == 130


def test_old_pickles_are_counted_and_left_out(cli: Cli, redis_url: str) -> None:
    """A string under the prefix is no session, and is not touched."""
    with Redis.from_url(redis_url) as client:
        client.set("langgraph:checkpoint:old:latest", b"\x80\x04N.", ex=60)
        found = cli("list", url=redis_url)
        assert client.get("langgraph:checkpoint:old:latest") == b"\x80\x04N."
    assert (found.code, found.out) == (0, "")
    assert "1 other entry under this prefix is no session of this package" in found.err


def test_a_list_names_a_prefix_of_its_own(cli: Cli, file_url: str) -> None:
    """An empty list may be due to it; the usual prefix is not named."""
    found = cli("list", "--prefix", "x", url=file_url).err.rstrip()
    assert found.startswith("0 sessions shown, in file:")
    assert found.endswith(", under prefix 'x'")
    assert "under prefix" not in cli("list", url=file_url).err


def test_notes_are_whole_while_watching(file_url: str) -> None:
    """They are wrapped where a row would be cut."""
    watch = Terminal("list", "--watch", "--prefix", "xyz", "--url", file_url, columns=40)
    assert "'xyz'" in watch.until("'xyz'")
    watch.interrupt()
    assert watch.end().code == 130


def test_times_that_are_left_are_shown(cli: Cli, tmp_path: Path) -> None:
    """Time to live, pinned, and never."""
    with FileStore(tmp_path / "a.db", ttl=TTLPolicy(idle="2h")) as store:
        fill(store, 2)
        store.pin("s1")
    with FileStore(tmp_path / "a.db") as store:
        store.commit(Commit(session="keeps", token="x", state=b"{}"))
    rows = [line.split("\t") for line in cli("list", url=f"file:{tmp_path}/a.db").lines[1:]]
    left = {row[0]: row[5] for row in rows}
    assert left["s0"].startswith(("1h 59m", "2h"))
    assert (left["s1"], left["keeps"]) == ("pinned", "never")


def test_statistics_count_and_measure(cli: Cli, url: str) -> None:
    """Numbers, sizes and status, as JSON; and as text for people."""
    (found,) = cli("stats", "--json", url=url).json
    assert found["sessions"] == 8
    assert found["by_status"]["waiting"] == 2
    assert sum(found["by_size"].values()) == sum(found["by_age"].values()) == 8
    assert found["size_bytes"]["largest"] > 90_000
    assert sum(found["by_last_write"].values()) == 8
    assert "Status: waiting\t2" in cli("stats", url=url).lines


def test_a_sample_is_enough_for_sizes(cli: Cli, file_url: str) -> None:
    """Only so many sessions are asked; the others are counted."""
    (found,) = cli("stats", "--sample", "2", "--json", url=file_url).json
    assert (found["sessions"], found["asked"], sum(found["by_size"].values())) == (8, 2, 2)


def test_an_empty_store_has_nothing_to_list(cli: Cli, tmp_path: Path) -> None:
    """No rows is no error."""
    FileStore(tmp_path / "a.db", clock=FakeClock()).ping()
    found = cli("list", url=f"file:{tmp_path}/a.db")
    assert (found.code, found.out) == (0, "")
    assert cli("list", "--json", url=f"file:{tmp_path}/a.db").out == ""
    assert cli("stats", "--json", url=f"file:{tmp_path}/a.db").json[0]["sessions"] == 0


def test_owners_and_titles_are_listed(cli: Cli, file_url: str) -> None:
    """An owner's sessions alone, the last written first, with what is noted about them."""
    with open_store(file_url, dotenv=False) as store:
        sessions = Sessions(store)
        for name in ("one", "two", "three"):
            sessions.save(name, {"n": 1})
            sessions.annotate(name, owner="bob" if name == "two" else "ann", title=f"of {name}")
        sessions.annotate("one", tags=["x"])
        sessions.save("one", {"n": 2})
    rows = cli("list", "--owner", "ann", "--json", url=file_url).json
    assert [(row["id"], row["owner"], row["title"], row["tags"]) for row in rows] == [
        ("one", "ann", "of one", ["x"]),
        ("three", "ann", "of three", []),
    ]
    page = cli("list", "--owner", "ann", "--sort", "none", "--limit", "1", "--json", url=file_url)
    assert [row["id"] for row in page.json] == ["one"]
    assert cli("list", "--owner", "nobody", "--json", url=file_url).json == []
    (would,) = cli("delete", "--owner", "ann", "--dry-run", "--json", url=file_url).json
    assert (would["sessions"], would["dry_run"]) == (["one", "three"], True)
    older = cli("delete", "--owner", "ann", "--older-than", "1h", "--yes", "--json", url=file_url)
    assert older.json == []
    refused = cli("delete", "--owner", "ann", url=file_url)
    assert (
        "2 sessions of 'ann' would be erased, and there is no terminal to ask on, or --json"
        in refused.err
    )
    done = cli("delete", "--owner", "ann", "--yes", url=file_url)
    assert (done.code, done.out) == (0, "one: erased\nthree: erased\n")
    with open_store(file_url, dotenv=False) as store:
        assert [info.session for info in Sessions(store).owned("ann")] == []
        assert [info.session for info in Sessions(store).owned("bob")] == ["two"]
