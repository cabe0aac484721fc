"""``history`` and ``diff``: the checkpoints of a session as a tree, and what they changed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

import typer

from wren_sessions.checkpoints.snapshots import Snapshot
from wren_sessions.cli._command import Run, command
from wren_sessions.cli._names import SessionName, checkpoint_of, place_of
from wren_sessions.cli._screen import Styled
from wren_sessions.keys import Address
from wren_sessions.viewing.states import Reader, state_of
from wren_sessions.viewing.steps import Entry, draw, entries
from wren_sessions.viewing.times import local_text
from wren_sessions.viewing.values import Change, changes, glimpse

_MOST: int = 12  # changed keys that a line names


@command(
    examples="""
    wren-sessions history cli_20251108_145739
    wren-sessions history cli_20251108_145739 --limit 0 --json
    wren-sessions history cli_20251108_145739 --namespace analyst
    """
)
def history(
    run: Run,
    *,
    session: SessionName,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", metavar="N", min=0, help="How many checkpoints to show; 0 for all."
        ),
    ] = 20,
    namespace: Annotated[
        str,
        typer.Option("--namespace", metavar="NAME", help="Show the checkpoints of this subgraph."),
    ] = "",
    internal: Annotated[
        bool, typer.Option("--internal", help="Also name LangGraph's own channels.")
    ] = False,
) -> None:
    """Show the checkpoints of a session, newest first, as a tree with its forks.

    Each checkpoint has the step that created it, what it changed in the state, and what it waits
    for. If you pass the address of an earlier checkpoint, the history starts there.
    """
    place = place_of(run.store, session, None)
    reader = Reader(run.store)
    snapshots = _snapshots(reader, place, namespace)
    wanted = limit + 1 if limit else None  # one more tells whether there are more
    found = list(islice(entries(snapshots, internal=internal), wanted))
    more = bool(limit) and len(found) > limit
    found = found[:limit] if more else found
    if not found:
        reader.info(place.session)
    if run.as_json:
        for entry in found:
            run.screen.json(entry.to_json())
        return
    _draw(run, found)
    _end(run, place.session, namespace, more=more)


def _snapshots(reader: Reader, place: Address, namespace: str) -> Iterator[Snapshot]:
    """The checkpoints of a session, the latest first, from the one that its address names."""
    at = place.checkpoint_id
    if at is not None:
        first = reader.snapshot(place.session, at, namespace)
        if first is None:
            return
        at = first.name[1]
        yield first
    yield from reader.snapshots(place.session, namespace, at)


def _draw(run: Run, found: list[Entry]) -> None:
    tree = draw((entry.facts["id"], entry.facts["parent_id"]) for entry in found)
    for entry, drawn in zip(found, tree, strict=True):
        facts = entry.facts
        for line in drawn.joins:
            run.screen.line(Styled(line, "dim"))
        about = f"  step {facts['step']}  {facts['source']}  {local_text(facts['time'])}"
        run.screen.line(f"{drawn.mark} ", Styled(facts["id"], "key"), Styled(about, "dim"))
        more = len(entry.changed) - _MOST
        text = ", ".join([*entry.changed[:_MOST], *([f"{more} more"] if more > 0 else [])])
        for words in _lines(entry, text):
            run.screen.line(f"{drawn.beside or ' '} ", "  ", words)


def _lines(entry: Entry, changed: str) -> Iterator[Styled]:
    yield Styled(changed or "nothing changed", "" if changed else "dim")
    for question in entry.waits:
        yield Styled(f"waits for {question}", "warn")
    if entry.next and not entry.waits:
        yield Styled(f"next: {', '.join(entry.next)}", "dim")


def _end(run: Run, session: str, namespace: str, *, more: bool) -> None:
    if more:
        run.screen.note("There are earlier ones: raise --limit, or --limit 0 for all")
    others = [name for name, _ in run.store.heads(session) if name != namespace]
    if others:
        named = ", ".join(name or "(root)" for name in others)
        run.screen.note(f"Other namespaces: {named}; show one with --namespace")


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
