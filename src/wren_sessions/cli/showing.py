"""``show``: one session, whole: its life, its size by part, what it waits for, and its state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from wren_sessions.checkpoints.snapshots import Snapshot
from wren_sessions.cli._command import Run, command
from wren_sessions.cli._names import AtCheckpoint, SessionName, place_of, value_of
from wren_sessions.cli._screen import Cell, Column, Styled
from wren_sessions.cli.listing import STYLES
from wren_sessions.transcripts._questions import question_text
from wren_sessions.transcripts._values import jsonable
from wren_sessions.viewing.overview import Overview, overview, with_status
from wren_sessions.viewing.states import (
    Parts,
    Reader,
    errors_of,
    interrupts_of,
    next_of,
    parts_of,
    state_of,
)
from wren_sessions.viewing.steps import checkpoint_json
from wren_sessions.viewing.times import UNKNOWN, ago, expiry, local, local_text, size
from wren_sessions.viewing.values import glimpse, type_of

_VALUES = (
    Column("NAME", least=12),
    Column("TYPE", least=12, drop=2),
    Column("VALUE", least=10, drop=1),
)


@command(
    examples="""
    wren-sessions show cli_20251108_145739
    wren-sessions show langgraph:checkpoint:cli_20251108_145739:latest --json
    wren-sessions show cli_20251108_145739 --at 1f0bcb8e-5d2a-6c3e-8001-5b1d0f3f3a10
    wren-sessions show cli_20251108_145739 --key profile_data
    """
)
def show(
    run: Run,
    *,
    session: SessionName,
    at: AtCheckpoint = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="NAME", help="Print only this value of the state, complete, as JSON."
        ),
    ] = None,
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace", metavar="NAME", help="Show the state of this subgraph instead."
        ),
    ] = "",
    internal: Annotated[
        bool, typer.Option("--internal", help="Also show LangGraph's own channels.")
    ] = False,
) -> None:
    """Show one session: lifetime, size by part, what it waits for, and its state with types.

    This imports nothing that the data names, and does not count as use of the session.
    """
    place = place_of(run.store, session, at)
    reader = Reader(run.store)
    snapshot = reader.snapshot(place.session, place.checkpoint_id, namespace)
    state = state_of(snapshot, internal=internal)
    if key is not None:
        run.screen.json(jsonable(value_of(state, key)))
        return
    info = reader.info(place.session)
    row = with_status(run.store, overview(run.store, info))
    parts = parts_of(run.store, info)
    if run.as_json:
        run.screen.json(_as_json(row, parts, snapshot, state))
        return
    _head(run, row, parts)
    _checkpoint(run, snapshot)
    _state(run, state)


def _as_json(
    row: Overview, parts: Parts, snapshot: Snapshot | None, state: dict[str, Any]
) -> dict[str, Any]:
    return row.to_json() | {
        "revision": row.life.revision,
        "parts": parts.to_json(),
        "namespaces": parts.namespaces,
        "checkpoint": None if snapshot is None else checkpoint_json(snapshot),
        "interrupts": [jsonable(value) for value in interrupts_of(snapshot)],
        "errors": [jsonable(value) for value in errors_of(snapshot)],
        "next": next_of(snapshot),
        "state": {key: jsonable(value) for key, value in state.items()},
        "types": {key: type_of(value) for key, value in state.items()},
    }


def _when(ms: int, now_ms: int) -> str:
    at = local(ms)
    return at if at == UNKNOWN else f"{at} ({ago(ms, now_ms)})"


def _head(run: Run, row: Overview, parts: Parts) -> None:
    life, style = row.life, STYLES.get(row.status or "", "")
    run.screen.line(Styled(row.session, "strong"), "  ", Styled(row.status or "", style))
    ends = "" if life.deadline_ms is None else f" (at {local(life.deadline_ms)})"
    counts = parts.namespaces.items()
    namespaces = [f"{n or 'root'} ({c} checkpoint{'' if c == 1 else 's'})" for n, c in counts]
    pairs: list[tuple[str, Cell]] = [
        ("title", row.title),
        ("owner", row.owner or ""),
        ("tags", ", ".join(row.tags)),
        ("address", row.address),
        ("created", _when(life.created_ms, life.now_ms)),
        ("updated", _when(life.updated_ms, life.now_ms)),
        ("expires in", f"{expiry(life)}{ends}"),
        ("size", "; ".join(_sizes(row, parts))),
        ("namespaces", ", ".join(namespaces)),
        ("revision", str(life.revision)),
    ]
    run.screen.fields(pairs, indent=2)


def _sizes(row: Overview, parts: Parts) -> Iterator[str]:
    yield size(row.size_bytes)
    yield f"header {size(parts.header_bytes)}"
    yield f"checkpoints {size(parts.checkpoints_bytes)}"
    yield f"lists and large values {size(parts.arena_bytes)}"
    yield f"pending writes {size(parts.writes_bytes)}"
    yield f"other {size(parts.other_bytes)}"


def _checkpoint(run: Run, snapshot: Snapshot | None) -> None:
    if snapshot is None:
        return
    facts = checkpoint_json(snapshot)
    about = f"step {facts['step']}, {facts['source']}, {local_text(facts['time'])}"
    pairs: list[tuple[str, Cell]] = [("checkpoint", f"{facts['id']} ({about})")]
    asked = [line for q in interrupts_of(snapshot) for line in question_text(q).splitlines()]
    pairs += [("waits for", Styled(line, "warn")) for line in asked]
    pairs += [("failed with", Styled(glimpse(e), "bad")) for e in errors_of(snapshot)]
    pairs += [("next", ", ".join(next_of(snapshot)) or "nothing")]
    run.screen.fields(pairs, indent=2)


def _state(run: Run, state: dict[str, Any]) -> None:
    if not state:
        run.screen.note("The state is empty.")
        return
    if run.screen.terminal:
        run.screen.line()
    rows = [[key, type_of(value), glimpse(value)] for key, value in state.items()]
    run.screen.table(_VALUES, rows)
