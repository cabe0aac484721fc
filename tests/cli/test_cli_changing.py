"""`ttl`, `touch`, `fork`, `prune`, `delete`, `copy`, `export` and `import`."""

from __future__ import annotations

import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypedDict
from urllib.parse import unquote

import pytest
from langgraph.graph import START, StateGraph

from cli.running import Cli, Result, Terminal, apart
from wren_sessions import FileStore, Sessions, SessionSaver, open_store
from wren_sessions.protocols import SessionStore
from wren_sessions.testing import FakeClock
from wren_sessions.ttl import TTLPolicy

INTERVIEW: Final = "cli_20251108_145739"
ALL: Final = 8


class Titled(TypedDict):
    """A conversation with a title."""

    title: str


def ids(cli: Cli, url: str) -> set[str]:
    """All sessions."""
    return {row["id"] for row in cli("list", "--limit", "0", "--json", url=url).json}


def comparable(result: Result) -> Any:
    """What a session is, without what differs between stores."""
    (found,) = result.json
    kept = ("id", "status", "state", "types", "namespaces", "checkpoint", "interrupts", "next")
    return {name: found[name] for name in kept}


# --- lifetimes ------------------------------------------------------------------------------------


def test_a_lifetime_is_shown_set_and_ended(cli: Cli, url: str) -> None:
    """Without an option nothing changes; with one the deadline does."""
    before = cli("ttl", INTERVIEW, "--json", url=url).json[0]
    (set_,) = cli("ttl", INTERVIEW, "--set", "2h", "--json", url=url).json
    assert set_["ttl_seconds"] == pytest.approx(7_200, abs=60)
    assert before["expires"] != set_["expires"]
    assert cli("ttl", INTERVIEW, "--pin", "--json", url=url).json[0]["pinned"]
    assert "expires in\tpinned" in cli("ttl", INTERVIEW, url=url).out
    (unpinned,) = cli("ttl", INTERVIEW, "--unpin", "--json", url=url).json
    assert unpinned["ttl_seconds"] == pytest.approx(7_200, abs=60)


def test_no_idle_limit_can_be_set(cli: Cli, file_url: str) -> None:
    """``none`` is one."""
    assert cli("ttl", INTERVIEW, "--set", "1h", url=file_url).code == 0
    assert "own timeout\t1h" in cli("ttl", INTERVIEW, url=file_url).lines
    assert cli("ttl", INTERVIEW, "--set", "none", "--json", url=file_url).json[0]["expires"] is None
    shown = cli("ttl", INTERVIEW, url=f"{file_url}?ttl=1d").lines
    assert shown[-2:] == ["own timeout\tnone", "store's policy\tidle 1d, refreshed on write"]


def test_options_of_a_lifetime_exclude_each_other(cli: Cli, file_url: str) -> None:
    """And what is no time is refused."""
    assert cli("ttl", INTERVIEW, "--set", "1h", "--pin", url=file_url).code == 2
    wrong = cli("ttl", INTERVIEW, "--set", "soon", url=file_url)
    assert wrong.code == 2
    assert "24h" in wrong.err


def test_unpinning_what_would_end_at_once_is_refused(cli: Cli, tmp_path: Path) -> None:
    """A session past the maximum age stays pinned, and the error says what to do."""
    before = FakeClock(int(time.time() * 1_000) - 7_200_000)
    with FileStore(tmp_path / "a.db", clock=before) as store:
        Sessions(store).create("old")
        store.pin("old")
    url = f"file:{tmp_path}/a.db?max_age=1h"
    found = cli("ttl", "old", "--unpin", url=url)
    assert found.code == 3
    assert "maximum age" in found.err
    assert cli("ttl", "old", "--json", url=url).json[0]["pinned"]


def test_touching_starts_the_idle_time_again(cli: Cli, url: str) -> None:
    """For each session that is named."""
    cli("ttl", INTERVIEW, "--set", "1h", url=url)
    found = cli("touch", INTERVIEW, "empty", "--json", url=url).json
    assert [life["id"] for life in found] == [INTERVIEW, "empty"]
    assert cli("touch", "nobody", url=url).code == 3


# --- fork, prune ----------------------------------------------------------------------------------


def test_a_fork_is_a_session_of_its_own(cli: Cli, url: str) -> None:
    """All of it, or as it was at a checkpoint."""
    assert cli("fork", INTERVIEW, "copy", url=url).code == 0
    checkpoint = cli("history", INTERVIEW, "--json", url=url).json[2]["id"]
    (made,) = cli("fork", INTERVIEW, "early", "--at", checkpoint, "--json", url=url).json
    assert made == {"id": "early", "forked_from": INTERVIEW, "checkpoint_id": checkpoint}
    assert len(cli("history", "early", "--json", url=url).json) == 3
    assert len(cli("history", INTERVIEW, "--json", url=url).json) == 5
    taken = cli("fork", INTERVIEW, "early", url=url)
    assert "choose another id, or delete it first" in taken.err
    assert taken.code == 6


def test_pruning_drops_old_checkpoints_alone(cli: Cli, url: str) -> None:
    """The conversation stays; a dry run changes nothing."""
    before = cli("conversation", INTERVIEW, "--json", url=url).json
    (dry,) = cli("prune", INTERVIEW, "--keep-last", "2", "--dry-run", "--json", url=url).json
    assert (dry["dropped"], dry["dry_run"]) == (3, True)
    assert len(cli("history", INTERVIEW, "--json", url=url).json) == 5
    (pruned,) = cli("prune", INTERVIEW, "--keep-last", "2", "--json", url=url).json
    assert pruned["dropped"] == 3
    assert pruned["size_bytes"] < pruned["size_bytes_before"]
    after = cli("conversation", INTERVIEW, "--json", url=url).json
    assert [m["text"] for m in after] == [m["text"] for m in before]


def test_all_sessions_can_be_pruned(cli: Cli, file_url: str) -> None:
    """One that waits goes on waiting."""
    found = cli("prune", "--all", "--keep-last", "1", "--json", url=file_url).json
    assert len(found) == ALL
    assert cli("show", "web_visitor", "--json", url=file_url).json[0]["status"] == "waiting"
    assert cli("prune", "--keep-last", "1", url=file_url).code == 2
    assert cli("prune", "--all", "--keep-last", "0", url=file_url).code == 2


# --- delete ---------------------------------------------------------------------------------------


def test_nothing_is_deleted_without_a_word(cli: Cli, url: str) -> None:
    """Where nobody can be asked, ``--yes`` is needed; a dry run only tells."""
    assert apart("delete", "empty", "--url", url, text="y\n").code == 2
    dry = cli("delete", "empty", "--dry-run", "--json", url=url)
    assert dry.json == [{"id": "empty", "deleted": False, "dry_run": True}]
    assert len(ids(cli, url)) == ALL
    assert cli("delete", "empty", "--yes", "--json", url=url).json == [
        {"id": "empty", "deleted": True}
    ]
    assert "empty" not in ids(cli, url)


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, ALL), ("y", 0, ALL - 1)])
def test_somebody_at_a_terminal_is_asked(
    cli: Cli, file_url: str, answer: str, code: int, left: int
) -> None:
    """With the session's name before them; no is no."""
    question = Terminal("delete", "empty", "--url", file_url, columns=80)
    assert "empty" in question.until("[y/N]")
    question.type(f"{answer}\n")
    assert question.end().code == code
    assert len(ids(cli, file_url)) == left


def test_sessions_are_deleted_by_status_and_age(cli: Cli, url: str) -> None:
    """Pinned ones stay, unless they are meant too."""
    cli("ttl", "nested", "--pin", url=url)
    waiting = ("delete", "--status", "waiting", "--json")
    assert cli(*waiting, "--older-than", "1h", "--yes", url=url).out == ""
    assert [row["id"] for row in cli(*waiting, "--yes", url=url).json] == ["web_visitor"]
    assert [row["id"] for row in cli(*waiting, "--pinned", "--yes", url=url).json] == ["nested"]


def test_what_was_written_meanwhile_is_kept(
    cli: Cli, file_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A choice by age holds for the session as it was."""
    from wren_sessions.cli import deleting

    def agreed(run: Any, rows: list[Any]) -> bool:
        with open_store(file_url) as store:
            Sessions(store).save("hostile", {"n": 2})
        return True

    monkeypatch.setattr(deleting, "_agreed", agreed)
    found = cli("delete", "--status", "done", "--json", url=file_url).json
    kept = {row["id"] for row in found if not row["deleted"]}
    assert kept == {"hostile"}
    assert "hostile" in ids(cli, file_url)


CHANGES: Final[dict[str, Callable[[SessionStore], object]]] = {
    "owner": lambda store: Sessions(store).annotate("hostile", owner="bob"),
    "pin": lambda store: store.pin("hostile"),
}


@pytest.mark.parametrize(
    ("change", "when"), [("owner", "asked"), ("pin", "asked"), ("owner", "looked at")]
)
@pytest.mark.parametrize("choice", ["--owner ann --older-than 1ms", "--status done"])
def test_what_was_given_away_or_pinned_meanwhile_is_kept(
    cli: Cli, file_url: str, monkeypatch: pytest.MonkeyPatch, *, change: str, when: str, choice: str
) -> None:
    """A choice holds for the sessions of who owned them then, to the last moment."""
    from wren_sessions.cli import deleting

    with open_store(file_url) as store:
        for session in ("hostile", "empty"):
            Sessions(store).annotate(session, owner="ann")

    def agreed(run: Any, rows: list[Any]) -> bool:
        if when == "asked":
            with open_store(file_url) as store:
                CHANGES[change](store)
        return True

    delete = FileStore.delete_owned

    def handed_over(self: FileStore, session: str, owner: str) -> bool:
        if when == "looked at" and session == "hostile":
            CHANGES[change](self)
        return delete(self, session, owner)

    monkeypatch.setattr(deleting, "_agreed", agreed)
    monkeypatch.setattr(FileStore, "delete_owned", handed_over)
    answer = cli("delete", *choice.split(), "--json", url=file_url).json
    assert len(answer) > 1
    assert {row["id"] for row in answer if not row["deleted"]} == {"hostile"}


@pytest.mark.parametrize("before", [None, "ann"])
def test_what_is_chosen_by_status_is_kept_for_its_new_owner(
    cli: Cli, file_url: str, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    """Whether it was somebody's when it was chosen, or nobody's."""
    from wren_sessions.cli import deleting

    with open_store(file_url) as store:
        Sessions(store).annotate("hostile", owner=before)

    def agreed(run: Any, rows: list[Any]) -> bool:
        with open_store(file_url) as store:
            CHANGES["owner"](store)
        return True

    monkeypatch.setattr(deleting, "_agreed", agreed)
    found = cli("delete", "--status", "done", "--json", url=file_url).json
    assert {row["id"] for row in found if not row["deleted"]} == {"hostile"}


@pytest.mark.parametrize(
    "choice",
    [
        [],
        ["empty", "--older-than", "1h"],
        ["empty", "--expired"],
        ["--expired", "--status", "done"],
        ["--status", "no"],
        [f"langgraph:checkpoint:{INTERVIEW}:1f0"],
    ],
)
def test_an_unclear_choice_deletes_nothing(cli: Cli, file_url: str, choice: list[str]) -> None:
    """Exactly one way to choose; and a session is deleted whole."""
    assert cli("delete", *choice, "--yes", url=file_url).code == 2
    assert len(ids(cli, file_url)) == ALL


def test_a_pattern_is_an_id_like_any_other(cli: Cli, url: str) -> None:
    """No id ever becomes a pattern."""
    assert cli("delete", "*", "--yes", url=url).code == 3
    assert cli("delete", "cli_*", "--yes", url=url).code == 3
    assert len(ids(cli, url)) == ALL


def test_expired_sessions_give_their_room_back(cli: Cli, tmp_path: Path) -> None:
    """In a file they take room until it is next written; living ones stay."""
    clock = FakeClock(1_000_000)
    with FileStore(tmp_path / "a.db", ttl=TTLPolicy(idle="1h"), clock=clock) as store:
        for number in range(100):
            Sessions(store).create(f"s{number}")
        Sessions(store).create("lives")
        store.pin("lives")
    url = f"file:{tmp_path}/a.db"
    (dry,) = cli("delete", "--expired", "--dry-run", "--json", url=url).json
    assert (dry["expired"], dry["removed"]) == (100, 0)
    (swept,) = cli("delete", "--expired", "--json", url=url).json
    assert swept == {"expired": 100, "removed": 100, "dry_run": False}
    assert "Nothing has expired" in cli("delete", "--expired", url=url).err
    assert ids(cli, url) == {"lives"}


def test_a_server_removes_what_expired_by_itself(cli: Cli, server_url: str) -> None:
    """There is nothing to do, and living sessions stay."""
    assert cli("delete", "--expired", "--json", url=server_url).json[0]["expired"] == 0
    assert len(ids(cli, server_url)) == ALL


# --- copy, export, import -------------------------------------------------------------------------


def test_a_copy_in_another_backend_is_the_same(cli: Cli, url: str, tmp_path: Path) -> None:
    """From any backend into a new file; what was copied before is skipped."""
    target = f"file:{tmp_path}/target.db"
    first = cli("copy", "--to", target, "--json", url=url).json
    assert {row["result"] for row in first} == {"copied"}
    assert len(first) == ALL
    for id_ in (INTERVIEW, "nested", "hostile"):
        assert comparable(cli("show", id_, "--json", url=target)) == comparable(
            cli("show", id_, "--json", url=url)
        )
    again = cli("copy", INTERVIEW, "--to", target, "--json", url=url).json
    assert again == [{"id": INTERVIEW, "result": "skipped"}]


def test_a_file_goes_to_a_server(cli: Cli, file_url: str, redis_url: str) -> None:
    """One session, and only that; its time to live is the target's."""
    assert cli("copy", INTERVIEW, "--to", f"{redis_url}?ttl=1h", url=file_url).code == 0
    assert ids(cli, redis_url) == {INTERVIEW}
    (life,) = cli("ttl", INTERVIEW, "--json", url=redis_url).json
    assert life["ttl_seconds"] == pytest.approx(3_600, abs=60)


def test_a_copy_does_not_overwrite(cli: Cli, file_url: str, tmp_path: Path) -> None:
    """Another session of the same id is a conflict; and a store is not copied onto itself."""
    target = f"file:{tmp_path}/target.db"
    assert cli("copy", "--to", target, url=file_url).code == 0
    assert cli("prune", INTERVIEW, "--keep-last", "1", url=target).code == 0
    assert cli("copy", INTERVIEW, "--to", target, url=file_url).code == 6
    whole = cli("copy", "--to", target, url=file_url)
    assert whole.code == 6
    assert (
        f"{INTERVIEW}: not copied: the target has a different one; --replace replaces it"
        in whole.lines
    )
    assert "0 copied to" in whole.err
    assert "7 there already, 0 too old, 1 not copied" in whole.err
    results = [row["result"] for row in cli("copy", "--to", target, "--json", url=file_url).json]
    assert sorted(results) == ["exists", *["skipped"] * 7]
    assert cli("copy", INTERVIEW, "--to", target, "--replace", url=file_url).code == 0
    assert len(cli("history", INTERVIEW, "--json", url=target).json) == 5
    assert cli("copy", "--to", file_url, url=file_url).code == 2
    assert cli("copy", "nobody", "--to", target, url=file_url).code == 3


def test_a_copy_may_go_to_another_prefix(cli: Cli, url: str) -> None:
    """Of the same server or file; both sessions are there then, each by itself."""
    moved = ("--to", url, "--to-prefix", "other:app")
    assert cli("copy", INTERVIEW, *moved, "--json", url=url).json[0]["result"] == "copied"
    assert ids(cli, f"{url}?prefix=other:app") == {INTERVIEW}
    assert cli("delete", INTERVIEW, "--yes", url=url).code == 0
    assert INTERVIEW not in ids(cli, url)
    assert len(cli("history", INTERVIEW, "--json", url=f"{url}?prefix=other:app").json) == 5


def test_a_copy_shows_how_far_it_is(file_url: str, tmp_path: Path) -> None:
    """In a terminal there is a progress bar, and it is gone in the end."""
    shown = Terminal("copy", "--to", f"file:{tmp_path}/t.db", "--url", file_url, columns=100).end()
    assert shown.code == 0
    assert "8 copied to" in shown.out


def test_an_export_is_imported_again(cli: Cli, url: str, tmp_path: Path) -> None:
    """As it was, in another store or under another id; written by nobody else."""
    path = tmp_path / "session.jsonl"
    (told,) = cli("export", INTERVIEW, "-o", str(path), "--json", url=url).json
    assert told == {"id": INTERVIEW, "file": str(path), "format": "session"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    target = f"file:{tmp_path}/target.db"
    assert cli("import", str(path), "--json", url=target).json[0]["id"] == INTERVIEW
    assert comparable(cli("show", INTERVIEW, "--json", url=target)) == comparable(
        cli("show", INTERVIEW, "--json", url=url)
    )
    assert cli("import", str(path), url=target).code == 6
    assert cli("import", str(path), "--as", "again", url=target).code == 0
    assert ids(cli, target) == {INTERVIEW, "again"}


def test_all_sessions_go_through_a_pipe(cli: Cli, url: str, tmp_path: Path) -> None:
    """What export prints import reads, several sessions too."""
    printed = cli("export", "--all", url=url)
    assert printed.code == 0
    assert printed.out.isascii()
    target = f"file:{tmp_path}/target.db"
    assert apart("import", "-", "--url", target, text=printed.out).code == 0
    assert ids(cli, target) == ids(cli, url)


def test_a_folder_gets_a_file_per_session(cli: Cli, url: str, tmp_path: Path) -> None:
    """Under names that lead nowhere else, whatever the ids."""
    assert cli("export", "--all", "-o", f"{tmp_path}/pages/", "--format", "html", url=url).code == 0
    pages = list((tmp_path / "pages").iterdir())
    assert len(pages) == ALL + 1  # and an index
    assert all(page.suffix == ".html" for page in pages)
    assert "<script" not in (tmp_path / "pages" / f"{INTERVIEW}.html").read_text()


def test_an_index_leads_to_all_pages(cli: Cli, file_url: str, tmp_path: Path) -> None:
    """By title where there is one, the last written first; a session called index keeps its own."""
    with open_store(file_url, dotenv=False) as store:
        titled = SessionSaver(store, header=("title",))
        Sessions(store).save("index", {"messages": [("human", "<b>bold</b>")]})
        graph = StateGraph(Titled).add_node("n", lambda _: {"title": "Tea & <i>"})
        compiled = graph.add_edge(START, "n").compile(checkpointer=titled)
        compiled.invoke({"title": ""}, Sessions.thread("named"))
    folder = tmp_path / "pages"
    asked = ["export", "--all", "--format", "html", "-o", f"{folder}/"]
    found = cli(*asked, url=file_url)
    assert found.code == 0
    assert str(folder / "index.html") in found.lines[-1]
    page = (folder / "index.html").read_text()
    links = [unquote(link) for link in re.findall(r'href="([^"]*)"', page)]
    assert {*links} == {file.name for file in folder.iterdir()} - {"index.html"}
    assert links[:2] == ["named.html", "index~.html"]
    assert "Tea &amp; &lt;i&gt;" in page
    assert "&lt;b&gt;bold" in page
    assert '<h1 dir="auto">Tea &amp;' in (folder / "named.html").read_text()
    again = cli("export", "named", "--format", "html", "-o", f"{folder}/", url=file_url)
    assert (again.code, "index.html is there already" in again.err) == (2, True)
    assert cli(*asked, "--force", url=file_url).code == 0


@pytest.mark.parametrize("ending", [".md", ".html", ".json"])
def test_a_conversation_is_exported_by_the_files_ending(
    cli: Cli, file_url: str, tmp_path: Path, ending: str
) -> None:
    """Markdown, a page, or a conversation.json."""
    path = tmp_path / f"conversation{ending}"
    assert cli("export", INTERVIEW, "-o", str(path), url=file_url).code == 0
    assert "hungry" in path.read_text()
    assert cli("export", INTERVIEW, "-o", str(path), url=file_url).code == 2
    assert cli("export", INTERVIEW, "-o", str(path), "--force", url=file_url).code == 0
    assert list(tmp_path.glob(".*")) == []


def test_a_damaged_export_imports_nothing(cli: Cli, file_url: str, tmp_path: Path) -> None:
    """A line that is missing is noticed before anything is written."""
    path = tmp_path / "session.jsonl"
    lines = cli("export", INTERVIEW, url=file_url).out.splitlines(keepends=True)
    path.write_text("".join(lines[:2] + lines[3:]))
    target = f"file:{tmp_path}/target.db"
    assert cli("import", str(path), url=target).code == 5
    assert ids(cli, target) == set()


def test_an_export_needs_a_clear_choice(cli: Cli, file_url: str) -> None:
    """Ids or all; several conversations are several files; a known format."""
    for wrong in (
        [],
        [INTERVIEW, "--all"],
        ["--all", "--format", "html"],
        [INTERVIEW, "--format", "pdf"],
    ):
        assert cli("export", *wrong, url=file_url).code == 2
    assert cli("export", "nobody", url=file_url).code == 3
