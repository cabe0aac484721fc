"""A progress bar on the standard error, where somebody sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wren_sessions.cli._command import Run
from wren_sessions.cli._text import shown
from wren_sessions.transfer._reports import OnProgress, Progress


@contextmanager
def progress_bar(run: Run) -> Iterator[OnProgress | None]:
    """A progress bar, where somebody sees it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if run.as_json or not console.is_terminal:
        yield None
        return
    name = TextColumn("{task.description}", markup=False)
    with Bar(name, BarColumn(), MofNCompleteColumn(), console=console, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def advance(progress: Progress) -> None:
            if progress.session not in tasks:
                for done in tasks.values():
                    bar.remove_task(done)
                tasks.clear()
                tasks[progress.session] = bar.add_task(shown(progress.session, 40))
            bar.update(
                tasks[progress.session], completed=progress.done, total=max(1, progress.total)
            )

        yield advance
