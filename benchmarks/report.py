"""Figures as a small table, and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

Row: TypeAlias = tuple[str, ...]


def table(rows: Sequence[Row]) -> str:
    """Rows as text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def show(rows: Sequence[Row]) -> None:
    """Print a table."""
    print(table(rows))


def save(path: Path | None, figures: Any) -> None:
    """Write dataclasses to a JSON file, if there is a path; properties included."""
    if path is not None:
        path.write_text(json.dumps(_plain(figures), indent=2) + "\n", encoding="utf-8")


def _plain(figures: Any) -> Any:
    if isinstance(figures, Sequence):
        return [_plain(one) for one in figures]
    derived = {
        name: getattr(figures, name)
        for name, value in vars(type(figures)).items()
        if isinstance(value, property)
    }
    return dataclasses.asdict(figures) | derived
