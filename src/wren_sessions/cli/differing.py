"""``diff``: what is different between two checkpoints of a session."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wren_sessions.cli._command import Run, command
from wren_sessions.cli._names import SessionName, checkpoint_of, place_of
from wren_sessions.cli._screen import Styled
from wren_sessions.viewing.states import Reader, state_of
from wren_sessions.viewing.values import Change, changes, glimpse

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}
_STYLES: dict[str, Any] = {"added": "good", "removed": "bad", "changed": "warn"}


@command(
    examples="""
    wren-sessions diff cli_20251108_145739 1f0bcb8e-5d2a-6c3e-8001-5b1d0f3f3a10 latest
    wren-sessions diff cli_20251108_145739 1f0bcb8e-5d2a 1f0bcb8f-0a11 --json
    """
)
def diff(
    run: Run,
    *,
    session: SessionName,
    before: Annotated[
        str,
        typer.Argument(
            metavar="A", help="A checkpoint: its id or the beginning of it, its address, or latest."
        ),
    ],
    after: Annotated[str, typer.Argument(metavar="B", help="The other checkpoint.")] = "latest",
    namespace: Annotated[
        str,
        typer.Option("--namespace", metavar="NAME", help="Compare checkpoints of this subgraph."),
    ] = "",
    internal: Annotated[
        bool, typer.Option("--internal", help="Also compare LangGraph's own channels.")
    ] = False,
) -> None:
    """Show the differences between two checkpoints of a session, value by value.

    A plus (+) marks values that only B has, a minus (-) values that only A has, and a tilde (~)
    values that changed.
    """
    store, session_id = run.store, place_of(run.store, session, None).session
    reader = Reader(store)

    def state(name: str) -> dict[str, Any]:
        at = checkpoint_of(store, session_id, name)
        return state_of(reader.snapshot(session_id, at, namespace), internal=internal)

    found = list(changes(state(before), state(after)))
    for change in found:
        if run.as_json:
            run.screen.json(change.to_json())
        else:
            _print(run, change)
    if not found:
        run.note("There is no difference.")


def _print(run: Run, change: Change) -> None:
    sign = Styled(f"{_SIGNS[change.kind]} {change.path}", _STYLES[change.kind])
    if change.kind == "changed":
        run.screen.line(sign, f": {glimpse(change.before)} → {glimpse(change.after)}")
    else:
        value = change.before if change.kind == "removed" else change.after
        run.screen.line(sign, f": {glimpse(value)}")
