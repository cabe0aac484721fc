"""What appears in a terminal: it fits, it is harmless, and it looks the same without colour."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from cli.running import Cli, Result, apart, terminal
from wren_sessions import Sessions, open_store
from wren_sessions.cli._text import block, json_line, shown, wrapped
from wren_sessions.viewing.steps import draw

INTERVIEW: Final = "cli_20251108_145739"
OURS: Final = re.compile(r"\x1b\[[0-9;]*m")
UNSAFE: Final = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
COMMANDS: Final = (
    ["list"],
    ["list", "--sort", "size"],
    ["show", "hostile"],
    ["show", INTERVIEW],
    ["history", "hostile"],
    ["history", "cli_20251108_150001"],
    ["conversation", "hostile"],
    ["conversation", INTERVIEW],
    ["conversation", "hostile", "--tools"],
    ["export", "hostile", "--format", "markdown"],
    ["export", "hostile", "--format", "html"],
    ["stats"],
    ["check"],
    ["ttl", INTERVIEW],
    ["show", "nobod\x1b[31my"],
    ["delete", "--status", "open", "--dry-run"],
)
TEXTS = st.text(st.characters(codec=None), max_size=60)


def plain(result: Result) -> str:
    """What appears, without our colours."""
    return OURS.sub("", result.out)


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_what_is_stored_plays_no_games_with_a_terminal(
    file_url: str, argv: list[str], columns: int
) -> None:
    """No escape but our colours, no control, no direction mark; and nothing is too wide."""
    found = terminal(*argv, "--url", file_url, columns=columns)
    text = plain(found)
    assert not UNSAFE.search(text), UNSAFE.search(text)
    if argv[0] != "export":  # a file's own text is not wrapped
        tables = [line for line in text.splitlines() if not line.startswith(("error:", "8 sess"))]
        assert max(map(cell_len, tables), default=0) <= columns


@pytest.mark.parametrize("columns", [40, 60, 80, 160])
def test_a_narrow_terminal_keeps_what_matters(file_url: str, columns: int) -> None:
    """Id and status of each session; other columns go first."""
    text = plain(terminal("list", "--url", file_url, columns=columns))
    rows = [line for line in text.splitlines() if line.startswith("cli_2025")]
    assert len(rows) == 2
    assert all({"complete", "running"} & {*row.split()} for row in rows)
    assert ("EXPIRES IN" in text) == (columns >= 80)
    if columns >= 60:
        assert INTERVIEW in text


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_what_names_a_row_is_cut_last(tmp_path: Path, columns: int) -> None:
    """Owners, types and texts give way to an id and to the name of a value."""
    url, name = f"file:{tmp_path}/s.db", "current_analysis_of_everything"
    with open_store(url, dotenv=False) as store:
        made = Sessions(store).create(owner="ann", state={name: {"a": 1}, "long": "x" * 300})
        Sessions(store).annotate(made.id, title="A long title " * 9)
    shown_all = plain(terminal("list", "--url", url, columns=columns)).splitlines()
    assert shown_all[1].split()[0] == made.id
    assert ("OWNER" in shown_all[0]) == (columns > 60)
    owned = plain(terminal("list", "--owner", "ann", "--url", url, columns=columns))
    assert made.id in owned
    assert "OWNER" not in owned
    rows = plain(terminal("show", made.id, "--url", url, columns=columns)).splitlines()
    (row,) = (line for line in rows if line.startswith("curr"))
    assert row.split("  ") == [name, "dict of 1", '{"a": 1}']


def test_colour_says_nothing_that_words_do_not(file_url: str) -> None:
    """With and without it the text is the same."""
    coloured = terminal("list", "--url", file_url, columns=100)
    assert "\x1b[" in coloured.out
    for variables, options in (
        ({"NO_COLOR": "1"}, []),
        ({}, ["--no-color"]),
        ({"TERM": "dumb"}, []),
    ):
        bare = terminal("list", *options, "--url", file_url, columns=100, **variables)
        assert "\x1b" not in bare.out
        ids = [line.split()[0] for line in plain(coloured).splitlines()]
        assert [line.split()[0] for line in bare.out.splitlines()] == ids


def test_a_pipe_has_no_colour_unless_it_is_wanted(cli: Cli, file_url: str) -> None:
    """Neither in results nor in errors."""
    assert "\x1b" not in cli("list", url=file_url).out
    assert "\x1b" not in cli("show", "nobody", url=file_url).err
    assert "\x1b[" in cli("show", "nobody", "--color", url=file_url).err


def test_a_stream_that_cannot_show_everything_still_works(file_url: str) -> None:
    """Emoji and CJK in a terminal of another time are escapes."""
    found = apart("conversation", "hostile", "--url", file_url, PYTHONIOENCODING="ascii")
    assert found.code == 0
    assert "\\u65e5" in found.out


@given(TEXTS)
@settings(max_examples=300)
def test_shown_text_is_harmless(text: str) -> None:
    """Whatever it is; and what is printable stays as it is."""
    found = shown(text)
    assert not UNSAFE.search(found)
    assert "\n" not in found
    found.encode("utf-8", "strict")
    if text.isprintable() and text.isascii():
        assert found == text


@given(TEXTS)
@settings(max_examples=300)
def test_a_block_keeps_its_lines(text: str) -> None:
    """Lines are lines, and each is harmless."""
    lines = block(text)
    assert not any(UNSAFE.search(line) for line in lines)
    assert len(lines) == text.replace("\r\n", "\n").count("\n") + 1


@given(st.dictionaries(TEXTS, TEXTS | st.integers() | st.lists(TEXTS, max_size=3), max_size=4))
@settings(max_examples=100)
def test_json_is_exact_and_harmless(value: object) -> None:
    """It is read back as it was, and prints no control character."""
    line = json_line(value)
    assert not UNSAFE.search(line)
    assert json.loads(line) == json.loads(json.dumps(value))


@given(st.text("ab 日本👩é\u0301", max_size=80), st.integers(2, 20))
@settings(max_examples=300)
def test_wrapped_lines_fit_and_lose_nothing(text: str, width: int) -> None:
    """But for blanks, where a line ends."""
    lines = list(wrapped(text, width))
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(st.lists(st.integers(0, 6), max_size=12))
@settings(max_examples=200)
def test_a_tree_draws_each_checkpoint_once(back: list[int]) -> None:
    """Whatever continues what: one dot per checkpoint, in a line that leads to its parent."""
    items: list[tuple[str, str | None]] = [("0", None)]
    for number, steps in enumerate(back, start=1):
        items.append((str(number), None if steps > number else str(max(0, number - steps))))
    items = [(id_, parent if parent != id_ else None) for id_, parent in reversed(items)]
    drawn = list(draw(items))
    assert len(drawn) == len(items)
    assert all(each.mark.count("●") == 1 for each in drawn)
    assert drawn[-1].beside == ""


def test_a_fork_is_drawn_as_one() -> None:
    """Two lines above a checkpoint that both continue come together at it."""
    items = [("d", "b"), ("c", "b"), ("b", "a"), ("a", None)]
    drawn = list(draw(items))
    assert [each.mark for each in drawn] == ["●", "│ ●", "●", "●"]
    assert [each.joins for each in drawn] == [[], [], ["├─╯"], []]


def test_a_wide_terminal_shows_titles_and_what_was_said_last(tmp_path: Path) -> None:
    """Beside whole ids; a narrow one, or a pipe, has no room for them, and large sessions wait."""
    url = f"file:{tmp_path}/s.db"
    with open_store(url, dotenv=False) as store:
        sessions = Sessions(store, header=("title",))
        said = [{"role": "user", "content": "word " * 100}]
        talk = sessions.create(state={"title": "About lighthouses", "messages": said}).id
        sessions.save("long", {"messages": [{"role": "user", "content": "x" * 300_000}]})
        Sessions(store).save("other", {"n": 1})
    wide = terminal("list", "--url", url, columns=160, NO_COLOR="1").out.splitlines()
    row = next(line for line in wide if line.startswith(talk))
    assert wide[0].endswith("LAST MESSAGE")
    assert "About lighthouses" in row
    assert "word word" in row
    assert max(map(len, wide)) <= 160
    assert "xxx" not in "".join(wide)
    narrow = terminal("list", "--url", url, columns=80, NO_COLOR="1").out
    assert "LAST" not in narrow
    assert talk in narrow
