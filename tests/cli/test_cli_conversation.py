"""`conversation` and `log`: what was said, as people read it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from cli.running import Cli, Terminal
from wren_sessions import Sessions, open_store

INTERVIEW: Final = "cli_20251108_145739"


def said(text: str, role: str = "user") -> dict[str, str]:
    """A message."""
    return {"role": role, "content": text}


def test_a_conversation_reads_from_top_to_bottom(cli: Cli, url: str) -> None:
    """Who says what, in order; what a tool answered stands in its call."""
    found = cli("conversation", INTERVIEW, url=url)
    assert found.code == 0
    lines = [line.strip() for line in found.lines]
    told = [lines.index(text) for text in ("Hello", "fine", "tired", "hungry")]
    assert told == sorted(told)
    assert '→ take_note(mood="fine") → noted fine' in lines
    assert not any(line.startswith("tool") for line in lines)


def test_tools_unfold(cli: Cli, url: str) -> None:
    """On request their arguments and answers are shown whole."""
    lines = [line.strip() for line in cli("conversation", INTERVIEW, "--tools", url=url).lines]
    assert "→ take_note" in lines
    assert '{"mood": "fine"}' in lines
    assert "noted fine" in lines


def test_a_conversation_is_json_line_by_line(cli: Cli, url: str) -> None:
    """One message per line, with its calls of tools and its checkpoint."""
    found = cli("conversation", INTERVIEW, "--json", url=url).json
    assert len(found) == 14
    assert found[3]["tool_calls"][0]["result"] == "noted fine"
    assert all(message["checkpoint_id"] for message in found)


def test_a_question_that_waits_comes_last(cli: Cli, url: str) -> None:
    """The interrupt of the graph is part of the conversation."""
    last = cli("conversation", "web_visitor", "--json", url=url).json[-1]
    assert last["pending"]
    assert "Question 1" in last["text"]
    assert "waits for an answer" in cli("conversation", "web_visitor", url=url).out


def test_a_conversation_at_an_old_checkpoint_is_shorter(cli: Cli, url: str) -> None:
    """It ends where the checkpoint does."""
    id_ = cli("history", INTERVIEW, "--json", url=url).json[2]["id"]
    assert len(cli("conversation", INTERVIEW, "--at", id_, "--json", url=url).json) == 6


def test_following_shows_what_is_said_until_the_session_is_complete(
    cli: Cli, file_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New messages once each; the end is the app's."""
    with open_store(file_url) as store:
        sessions = Sessions(store)
        sessions.save("live", {"messages": [said("one")]})
        script: list[Callable[[], Any]] = [
            lambda: sessions.save("live", {"messages": [said("one"), said("two", "ai")]}),
            lambda: None,
            lambda: sessions.save(
                "live",
                {"messages": [said("one"), said("two", "ai"), said("three")], "is_complete": True},
            ),
        ]
        monkeypatch.setattr("time.sleep", lambda _: script.pop(0)())
        found = cli("conversation", "live", "--follow", url=file_url)
    texts = [line.strip() for line in found.lines if line.startswith("  ")]
    assert texts == ["one", "two", "three"]
    assert found.code == 0
    assert "complete" in found.err
    assert not script


def test_following_ends_when_the_session_is_gone(
    cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted or expired, it has nothing more to say."""
    with open_store(url) as store:
        monkeypatch.setattr("time.sleep", lambda _: store.delete("web_visitor"))
        found = cli("conversation", "web_visitor", "-f", url=url)
    assert found.code == 0
    assert "gone" in found.err


def test_following_asks_a_question_once(
    cli: Cli, file_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the session is written while it waits."""
    with open_store(file_url) as store:
        left = iter(range(3))

        def next_write(_: float) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            store.pin("web_visitor")

        monkeypatch.setattr("time.sleep", next_write)
        found = cli("conversation", "web_visitor", "--follow", url=file_url)
    assert found.code == 130
    assert found.out.count("Question 1") == 1


def test_following_in_a_terminal_ends_cleanly(file_url: str) -> None:
    """Ctrl-C is no error and leaves no traceback."""
    follow = Terminal("conversation", "web_visitor", "-f", "--url", file_url, columns=80)
    follow.until("Question 1")
    follow.interrupt()
    ended = follow.end()
    assert ended.code == 130
    assert "Traceback" not in ended.out


def test_a_saved_conversation_reads_the_same(cli: Cli, url: str, tmp_path: Path) -> None:
    """`log` shows what `export` wrote as `conversation` shows the session."""
    path = tmp_path / "conversation.json"
    assert cli("export", INTERVIEW, "-o", str(path), url=url).code == 0
    assert cli("log", str(path)).out == cli("conversation", INTERVIEW, url=url).out
    live = cli("conversation", INTERVIEW, "--json", url=url).json
    assert cli("log", str(path), "--json").json == live


def test_a_log_of_another_program_reads(cli: Cli, tmp_path: Path) -> None:
    """A list of messages is enough."""
    path = tmp_path / "conversation.json"
    path.write_text('[{"role": "user", "content": "hi \\u001b[31m"}]')
    assert "  hi \\x1b[31m" in cli("log", str(path)).lines


def test_a_list_that_is_not_in_the_state_is_an_error(cli: Cli, tmp_path: Path) -> None:
    """Not a conversation without messages, unless the list is there and empty, or nothing is."""
    url = f"file:{tmp_path}/s.db"
    with open_store(url, dotenv=False) as store:
        Sessions(store).save("s", {"talk": [said("one")], "messages": [], "turn_count": 1})
        Sessions(store).create("new")
    wrong = cli("conversation", "s", "--messages", "msgs", url=url)
    assert (wrong.code, wrong.out) == (2, "")
    assert "the state has no 'msgs'; it has: talk, messages, turn_count" in wrong.err
    assert "one" in cli("conversation", "s", "--messages", "talk", url=url).out
    assert cli("conversation", "s", url=url).code == 0
    assert cli("conversation", "new", url=url).code == 0


@pytest.mark.parametrize("text", ["", "{", "null", "[" * 100_000, '{"messages": 3}'])
def test_a_file_that_is_no_conversation_is_refused(cli: Cli, tmp_path: Path, text: str) -> None:
    """With the exit code of what cannot be read, and no traceback."""
    path = tmp_path / "conversation.json"
    path.write_text(text)
    found = cli("log", str(path))
    assert found.code == 5
    assert str(path) in found.err


def test_a_file_that_is_not_there_is_a_usage_error(cli: Cli) -> None:
    """It is an argument that is wrong."""
    assert cli("log", "nowhere.json").code == 2


def test_a_very_long_message_is_cut_and_says_so(cli: Cli, url: str) -> None:
    """Unless it is asked for whole."""
    cut = cli("conversation", "hostile", url=url)
    assert "more characters; --full" in cut.out
    assert len(cut.out) < 20_000
    assert "x" * 100_000 in cli("conversation", "hostile", "--full", url=url).out
