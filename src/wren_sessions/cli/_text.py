r"""Text from a store, made harmless: the one place that decides what may reach a terminal.

What is stored is input from outside. It may hold escape sequences that recolour, retitle or answer
for the terminal, C1 controls that do the same in one byte, direction marks that show a text in
another order than it is in, and characters that nobody sees. All of them are shown as the escape
that a Python string would have, such as ``\x1b`` or ``\u202e``. Emoji sequences and the scripts
that are written from right to left stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from wren_sessions._invisible import INVISIBLE

CELL: Final = 400  # characters of a text that is shown in one line
BLOCK: Final = 8_000  # … and of one that is shown in several

_C0: Final = "\x00-\x1f"
_C0_BUT_NEWLINE: Final = "\x00-\x09\x0b-\x1f"


@cache
def _unsafe(controls: str) -> re.Pattern[str]:
    """What is not to be shown as it is; compiled when it is needed, as that takes a millisecond."""
    return re.compile(f"[{controls}\x7f-\x9f{INVISIBLE}]")


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")


def _escape_json(match: re.Match[str]) -> str:
    return json.dumps(match.group())[1:-1]


def shown(text: str, most: int = CELL) -> str:
    """A text in one line, without anything that a terminal obeys; what is cut off is counted."""
    if text.isascii() and text.isprintable() and len(text) <= most:
        return text
    if len(text) <= most:
        return _unsafe(_C0).sub(_escape, text)
    return f"{_unsafe(_C0).sub(_escape, text[:most])}… ({len(text) - most:,} more characters)"


def block(text: str, most: int = BLOCK) -> list[str]:
    """A text in its own lines, without anything that a terminal obeys; the same holds."""
    kept = text[:most].replace("\r\n", "\n").replace("\t", "    ")
    lines = _unsafe(_C0_BUT_NEWLINE).sub(_escape, kept).split("\n")
    if len(text) > most:
        lines.append(f"… ({len(text) - most:,} more characters; --full shows them)")
    return lines


def json_line(value: Any) -> str:
    """A value as one line of JSON, which is harmless in a terminal too."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _unsafe("").sub(_escape_json, text)


def wrapped(line: str, width: int) -> Iterator[str]:
    """A line in lines of at most so many cells, broken at blanks where there are any."""
    from rich.cells import cell_len, chop_cells

    if cell_len(line) <= width:
        yield line
        return
    current = ""
    for word in re.findall(r"\S+\s*|\s+", line):
        if cell_len(current + word.rstrip()) <= width:
            current += word
            continue
        if current.strip():
            yield current.rstrip()
        *full, current = chop_cells(word, width) if cell_len(word) > width else [word]
        yield from full
    if current:
        yield current.rstrip()
