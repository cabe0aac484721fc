"""What the person sees, at most 80 columns wide, and where the answers come from."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias, cast

from analysis import Analysis
from graph import TURNS, Waiting

WIDTH: Final = 78
PROMPT: Final = "   > "
BAR: Final = 30

Answers: TypeAlias = Callable[[], str | None]
"""Gives the next answer, or None when there are no more for now."""


def say(text: str = "", first: str = "", rest: str = "") -> None:
    """Print a paragraph at once, also into a pipe, with a lead for its first and other lines."""
    layout = textwrap.TextWrapper(
        WIDTH, first, rest, break_on_hyphens=False, break_long_words=False
    )
    print(layout.fill(text), flush=True)


def show_question(waiting: Waiting) -> None:
    """The question, with its number."""
    say()
    say(waiting["question"], f"{waiting['number']:>2}/{TURNS}  ", " " * 6)


def show_analysis(analysis: Analysis) -> None:
    """The three numbers as bars."""
    say()
    for name, value in cast("dict[str, float]", analysis).items():
        bar = "#" * round(value * BAR)
        say(f"{name.replace('_', ' '):<20} {value:.2f}  |{bar:.<{BAR}}|")


def answers_from(path: Path) -> Answers:
    """The answers in a file, one a line; empty lines do not count. They are printed as they go."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    lines = iter([line.strip() for line in text.splitlines() if line.strip()])
    return lambda: _echo(lines)


def _echo(lines: Iterator[str]) -> str | None:
    line = next(lines, None)
    if line is not None:
        say(line, PROMPT, "     ")
    return line


def ask_person() -> str | None:
    """What somebody types; None at the end of the input (Ctrl-D)."""
    while True:
        try:
            answer = input(PROMPT).strip()
        except EOFError:
            say()
            return None
        if answer:
            return answer
        say("(A word or two will do. Ctrl-C stops; you can go on later.)", "     ", "     ")
