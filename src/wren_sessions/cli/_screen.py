"""What is printed: lines, tables and fields for people, tab-separated text in a pipe, JSON lines.

On a terminal, a table is aligned and fits the width: the least important columns are left out, and
texts are cut, the widest first. What names a row is cut only where it takes most of the width. In a
pipe, nothing is cut or coloured. Colour never says anything that the words do not. Every text goes
through `_text` here, so commands can pass on what they read.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from wren_sessions.cli._text import json_line, shown, wrapped

Style: TypeAlias = Literal["", "strong", "dim", "good", "warn", "bad", "key"]

_SGR: Final[dict[str, str]] = {
    "strong": "1",
    "dim": "2",
    "good": "32",
    "warn": "33",
    "bad": "31;1",
    "key": "36",
}
_GAP: Final = 2
_NARROWEST: Final = 20


class Styled(NamedTuple):
    """A text and how it looks where there is colour."""

    text: str
    style: Style = ""


Cell: TypeAlias = str | Styled


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: its heading.
        right: whether it is aligned to the right.
        least: how many cells it keeps at least; None if it is never cut.
        drop: which columns are left out first where the terminal is narrow: those with the
            highest number; 0 for never. One that is never left out is cut only after all others.
    """

    title: str
    right: bool = False
    least: int | None = None
    drop: int = 0


class Screen:
    """Where a command prints.

    Args:
        color: whether to use colour; None for where it belongs: on a terminal, and not where
            ``NO_COLOR`` is set or ``TERM`` is ``dumb``.
    """

    def __init__(self, *, color: bool | None = None) -> None:
        self._out, self._err = sys.stdout, sys.stderr
        self.terminal: bool = self._out.isatty()
        self._color = _wants_color(self.terminal) if color is None else color
        self._color_err = _wants_color(self._err.isatty()) if color is None else color

    @property
    def width(self) -> int:
        """How many cells a line has; of a pipe, so many that nothing is cut."""
        if not self.terminal:
            return 1_000_000
        return max(_NARROWEST, shutil.get_terminal_size().columns)

    # --- printing ---

    def line(self, *cells: Cell, indent: int = 0) -> None:
        """One line, made of texts put behind each other; cut at the edge of a terminal."""
        room = self.width - indent
        parts = []
        for cell in cells:
            text, style = _split(cell)
            text = _cut(text, room)
            room -= _cells(text)
            parts.append(self._dress(text, style))
        self._write(" " * indent + "".join(parts))

    def paragraph(self, text: str, *, style: Style = "", first: str = "") -> None:
        """A line of text, wrapped at the edge of a terminal; `first` stands before it."""
        for number, line in enumerate(wrapped(shown(text, 4_000), self.width - _cells(first))):
            lead = first if number == 0 else " " * _cells(first)
            self._write(self._dress(lead + line, style))

    def block_line(self, line: str, *, width: int | None, indent: int) -> None:
        """A line of `_text.block`, wrapped at a width; it is harmless already."""
        for part in [line] if width is None else wrapped(line, width):
            self._write(" " * indent + part if part else "")

    def fields(self, pairs: Iterable[tuple[str, Cell]], *, indent: int = 0) -> None:
        """Names and values, one pair per line."""
        shown_pairs = [(name, cell) for name, cell in pairs if cell != ""]
        if not self.terminal:
            for name, cell in shown_pairs:
                self._write(f"{shown(name)}\t{_split(cell)[0]}")
            return
        width = max((_cells(name) for name, _ in shown_pairs), default=0)
        for name, cell in shown_pairs:
            label = name + " " * (width - _cells(name) + _GAP)
            value = _split(cell)
            room = max(_NARROWEST, self.width - indent - len(label))
            for line in wrapped(value.text, room):
                text = self._dress(label, "dim") + self._dress(line, value.style)
                self._write(" " * indent + text)
                label = " " * len(label)

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> None:
        """Rows below headings; on a terminal aligned, else tab-separated."""
        split_rows = [[_split(cell) for cell in row] for row in rows]
        if not self.terminal:
            self._write("\t".join(column.title for column in columns))
            for row in split_rows:
                self._write("\t".join(cell.text for cell in row))
            return
        self._aligned(columns, split_rows)

    def _aligned(self, columns: Sequence[Column], rows: list[list[Styled]]) -> None:
        natural = [
            max(_cells(text) for text in (column.title, *(row[at].text for row in rows)))
            for at, column in enumerate(columns)
        ]
        for at, column in enumerate(columns):
            if column.drop and not any(row[at].text for row in rows):
                natural[at] = 0
        widths = _fitted(columns, natural, self.width)
        headings = [Styled(column.title, "strong") for column in columns]
        for row in (headings, *rows):
            cells = [
                self._dress(blanks + text if column.right else text + blanks, cell.style)
                for cell, column, width in zip(row, columns, widths, strict=True)
                if width
                for text in [_cut(cell.text, width)]
                for blanks in [" " * (width - _cells(text))]
            ]
            self._write((" " * _GAP).join(cells).rstrip())

    def json(self, value: Any) -> None:
        """One line of JSON."""
        self._write(json_line(value))

    def note(self, text: str) -> None:
        """Something beside the result, for people."""
        self._warn(text, "dim")

    def error(self, text: str) -> None:
        """What went wrong."""
        self._warn(f"error: {text}", "bad")

    def error_json(self, value: Any) -> None:
        """What went wrong, as JSON."""
        print(json_line(value), file=self._err, flush=True)

    def raw(self, text: str) -> None:
        """A file's own text, as it is: for a pipe, or what is ASCII without controls."""
        self._out.write(text)

    def clear(self) -> None:
        """Begin again at the top of the terminal."""
        if self.terminal:
            self._out.write("\x1b[H\x1b[2J\x1b[3J")

    def flush(self) -> None:
        """Let what was printed be seen."""
        self._out.flush()

    # --- parts ---

    def _warn(self, text: str, style: Style) -> None:
        harmless = shown(text, 4_000)
        dressed = f"\x1b[{_SGR[style]}m{harmless}\x1b[0m" if self._color_err else harmless
        self._out.flush()
        print(dressed, file=self._err, flush=True)

    def _write(self, text: str) -> None:
        self._out.write(text + "\n")

    def _dress(self, text: str, style: Style) -> str:
        return f"\x1b[{_SGR[style]}m{text}\x1b[0m" if style and text and self._color else text


def _wants_color(terminal: bool) -> bool:  # noqa: FBT001 -- one argument
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    old_windows = os.name == "nt" and not os.environ.get("WT_SESSION")
    return terminal and os.environ.get("TERM") != "dumb" and not old_windows


def _split(cell: Cell) -> Styled:
    text, style = cell if isinstance(cell, Styled) else (cell, "")
    return Styled(shown(text), style)  # type: ignore[arg-type] # the literal ""


def _cells(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _cut(text: str, width: int) -> str:
    if _cells(text) <= width:
        return text
    from rich.cells import set_cell_size

    return set_cell_size(text, width - 1).rstrip() + "…" if width > 0 else ""


def _fitted(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    """The width of each column; 0 for one that is left out.

    Columns are left out before one that always stays is cut, unless it takes most of the width.
    """
    widths = list(natural)
    least = [
        each if column.least is None else min(column.least, each)
        for column, each in zip(columns, natural, strict=True)
    ]
    stay = [at for at, column in enumerate(columns) if not column.drop]
    go = sorted(set(range(len(columns))) - {*stay}, key=lambda at: columns[at].drop)
    whole = [natural[at] if 3 * natural[at] <= 2 * width else least[at] for at in stay]
    while go and _total(whole + [least[at] for at in go]) > width:
        widths[go.pop()] = 0
    for group in go, stay:
        while _total(widths) > width and (able := [at for at in group if widths[at] > least[at]]):
            widths[max(able, key=widths.__getitem__)] -= 1
    return widths


def _total(widths: Sequence[int]) -> int:
    there = [width for width in widths if width]
    return sum(there) + _GAP * (len(there) - 1)
