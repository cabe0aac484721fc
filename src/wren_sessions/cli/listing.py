"""``list``: the sessions of a store, one per line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, NamedTuple

import typer

from wren_sessions._blocking import Unsuspended
from wren_sessions._blocking import run as run_now
from wren_sessions._walks import SessionWalk
from wren_sessions.cli._command import Run, command
from wren_sessions.cli._names import OwnerOption, duration_ms
from wren_sessions.cli._screen import Cell, Column, Style, Styled
from wren_sessions.errors import ConfigurationError
from wren_sessions.keys import DEFAULT_PREFIX
from wren_sessions.viewing.overview import (
    STATUSES,
    Overview,
    detailed,
    headers,
    missing_keys,
    overview,
    with_last_messages,
)
from wren_sessions.viewing.times import ago, expiry, size

DETAILED: Final = 500  # rows up to which sizes and status are asked for
LOOKED_AT: Final = 10_000  # sessions among which the newest are found, unless --sort asks for all
STORED: Final = "none"
_NEVER: Final = 2**63

COLUMNS: Final = (
    Column("ID", least=28),
    Column("TURNS", right=True, drop=2),
    Column("MSGS", right=True, drop=3),
    Column("SIZE", right=True, drop=5),
    Column("UPDATED", right=True, drop=1),
    Column("EXPIRES IN", right=True, drop=4),
    Column("STATUS"),
)
WIDE: Final = 110  # cells of a terminal that has room for more
OWNER: Final = Column("OWNER", least=6, drop=8)
MORE: Final = (
    Column("TITLE", least=12, drop=6),
    Column("LAST MESSAGE", least=12, drop=7),
)
STYLES: Final[dict[str, Style]] = {
    "running": "key",
    "complete": "good",
    "waiting": "warn",
    "failed": "bad",
    "unreadable": "bad",
    "empty": "dim",
}
ORDERS: Final[dict[str, Callable[[Overview], Any]]] = {
    "id": lambda row: row.session,
    "updated": lambda row: -row.life.updated_ms,
    "created": lambda row: -row.life.created_ms,
    "expires": lambda row: row.life.deadline_ms or _NEVER,
    "turns": lambda row: -(row.turns or 0),
    "messages": lambda row: -(row.messages or 0),
    "size": lambda row: -(row.size_bytes or 0),
}


class Query(NamedTuple):
    """Which sessions to list.

    Attributes:
        sort: one of `ORDERS`; `STORED` for the store's own order, page by page; None for the newest
            among the first `LOOKED_AT`.
        older_ms: how long ago it must have been written at least.
        limit: how many to show; 0 for all.
        details: whether to ask for sizes and status; None for up to `DETAILED` sessions.
    """

    sort: str | None
    match: str | None
    status: str | None
    older_ms: int
    limit: int
    cursor: str | None
    details: bool | None
    owner: str | None

    def wants_details(self, count: int) -> bool:
        """Whether to ask for the details of so many sessions."""
        return count <= DETAILED if self.details is None else self.details


@command(
    examples="""
    wren-sessions list
    wren-sessions list --sort updated --limit 10
    wren-sessions list --status waiting --match cli_2025
    wren-sessions list --owner ann
    wren-sessions list --limit 0 --json
    wren-sessions list --watch
    """
)
def list_sessions(
    run: Run,
    *,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="BY",
            help=f"Sort by {', '.join(ORDERS)}, the newest or largest first. This reads every "
            f"header. {STORED}: the store's own order, page by page. Default: the last updated "
            f"first, among the first {LOOKED_AT:,} sessions that the store returns.",
        ),
    ] = None,
    owner: OwnerOption = None,
    match: Annotated[
        str | None,
        typer.Option("--match", metavar="TEXT", help="Only sessions with this text in their id."),
    ] = None,
    status: Annotated[
        str | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            help=f"Only sessions that are {', '.join(STATUSES)}.",
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="TIME",
            help="Only sessions that were last written this long ago, such as 7d; copying and "
            "importing count as writing.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=0, help="How many to show; 0 for all.")
    ] = 50,
    cursor: Annotated[
        str | None,
        typer.Option(
            "--cursor",
            metavar="TEXT",
            help=f"Continue where a list with --sort {STORED} ended. That list prints the cursor.",
        ),
    ] = None,
    details: Annotated[
        bool | None,
        typer.Option(
            "--details/--no-details",
            help="Read the size and status of each session shown, or not. Default: for up to "
            f"{DETAILED} sessions.",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Update the list until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", min=0.1, help="How often to update.")
    ] = 2.0,
) -> None:
    """List sessions: id, turns, messages, size, last write, time left, and status.

    A session is waiting if an interrupt waits for an answer, and failed if its last step raised an
    error. It is running if nodes of its graph are next, even if the process that ran them has died.
    It is complete if its app says so (is_complete), and done if its last run has ended. It is empty
    if it has no checkpoint, and unreadable if it is damaged or its encryption key is missing.
    Without details, the status may be empty.

    The header has the number of turns and messages. If it has no number of turns, the messages of
    people are counted instead, in sessions of up to 256 kB, and up to 8 MB in total.
    """
    query = Query(
        sort=_known("--sort", sort, (*ORDERS, STORED)) or (None if cursor is None else STORED),
        match=match,
        status=_known("--status", status, STATUSES),
        older_ms=0 if older_than is None else duration_ms("--older-than", older_than),
        limit=limit,
        cursor=cursor,
        details=details,
        owner=owner,
    )
    if cursor is not None and query.sort != STORED:
        raise ConfigurationError(
            f"--cursor goes with --sort {STORED} only: the other orders need all sessions"
        )
    while True:
        found, rest = find(run, query)
        if watch and not run.as_json:
            run.screen.clear()
        _print(run, query, found, rest, watch=watch)
        if not watch:
            return
        run.screen.flush()
        time.sleep(interval)


def _known(option: str, value: str | None, known: tuple[str, ...]) -> str | None:
    if value is not None and value not in known:
        raise ConfigurationError(f"{option} must be one of {', '.join(known)}, not {value!r}")
    return value


# --- finding --------------------------------------------------------------------------------------


class Rest(NamedTuple):
    """What a listing did not show.

    Attributes:
        foreign: how many entries under the prefix were no sessions.
        cursor: where it goes on.
        more: how many more there are, where that is known.
        unseen: whether there are sessions that were not looked at.
    """

    foreign: int
    cursor: str | None = None
    more: int = 0
    unseen: bool = False


def find(run: Run, query: Query) -> tuple[list[Overview], Rest]:
    """The sessions that a query asks for."""
    if query.sort == STORED:
        return _paged(run, query)
    most = LOOKED_AT if query.sort is None and query.limit else None
    if query.owner is not None and not (
        query.sort or query.status or query.match or query.older_ms
    ):
        most = query.limit + 1 if query.limit else None  # they come in this order
    rows, walk = headers(run.store, most, query.owner)
    rows = [row for row in rows if _fits(row, query)]
    asked = query.sort == "size" or query.status is not None
    if asked:
        rows = [row for row in detailed(run.store, rows) if _has_status(row, query)]
    rows.sort(key=lambda row: (ORDERS[query.sort or "updated"](row), row.session))
    kept = rows[: query.limit] if query.limit else rows
    shown = _looked_at(run, kept, asked=asked) if query.wants_details(len(kept)) else kept
    return shown, Rest(walk.foreign, more=len(rows) - len(kept), unseen=not walk.ended)


def _looked_at(run: Run, rows: list[Overview], *, asked: bool) -> list[Overview]:
    """Sessions with their details, unless these were asked for, and with what was said in them."""
    rows = rows if asked else detailed(run.store, rows)
    return with_last_messages(run.store, rows, only_turns=not _is_wide(run))


def _paged(run: Run, query: Query) -> tuple[list[Overview], Rest]:
    """Pages until there are enough rows; a page is never shown in part, or its rest were lost."""
    rows: dict[str, Overview] = {}
    asked = query.status is not None
    walk = SessionWalk(Unsuspended(run.store), DETAILED, cursor=query.cursor, owner=query.owner)
    while not walk.ended and (not query.limit or len(rows) < query.limit):
        missing = query.limit - len(rows) if query.limit else None
        found = [overview(run.store, info) for info in run_now(walk.next_page(missing)) or ()]
        fitting = [row for row in found if row.session not in rows and _fits(row, query)]
        if asked:
            fitting = [row for row in detailed(run.store, fitting) if _has_status(row, query)]
        rows |= {row.session: row for row in fitting}
    shown = list(rows.values())
    if query.wants_details(len(shown)):
        shown = _looked_at(run, shown, asked=asked)
    return shown, Rest(walk.foreign, walk.cursor)


def _fits(row: Overview, query: Query) -> bool:
    if query.match is not None and query.match not in row.session:
        return False
    if query.older_ms and row.life.now_ms - row.life.updated_ms < query.older_ms:
        return False
    if query.status == "complete" and not row.complete:
        return False
    return query.status is None or row.status in {None, query.status}


def _has_status(row: Overview, query: Query) -> bool:
    return query.status is None or row.status == query.status


# --- showing --------------------------------------------------------------------------------------


def _print(run: Run, query: Query, rows: list[Overview], rest: Rest, *, watch: bool) -> None:
    if run.as_json:
        for row in rows:
            run.screen.json(row.to_json())
        if rest.cursor is not None:
            run.screen.error_json({"cursor": rest.cursor})
        return
    if rows:
        owned = run.screen.terminal and query.owner is None and any(row.owner for row in rows)
        wide = _is_wide(run)
        columns = (*COLUMNS, *([OWNER] if owned else ()), *(MORE if wide else ()))
        run.screen.table(columns, (_cells(row, owned=owned, wide=wide) for row in rows))
    for note in _notes(run, rows, rest):
        if watch:
            run.screen.paragraph(note, style="dim")
        else:
            run.screen.note(note)


def _is_wide(run: Run) -> bool:
    return run.screen.terminal and run.screen.width >= WIDE and not run.as_json


def _cells(row: Overview, *, owned: bool, wide: bool) -> list[Cell]:
    return [
        row.session,
        "" if row.turns is None else str(row.turns),
        "" if row.messages is None else str(row.messages),
        "" if row.size_bytes is None else size(row.size_bytes),
        ago(row.life.updated_ms, row.life.now_ms),
        expiry(row.life),
        Styled(row.status or "", STYLES.get(row.status or "", "")),
        *([row.owner or ""] if owned else []),
        *([row.title, row.last] if wide else []),
    ]


def _notes(run: Run, rows: list[Overview], rest: Rest) -> Iterator[str]:
    prefix = run.store.keys.prefix
    where = run.store.location + ("" if prefix == DEFAULT_PREFIX else f", under prefix {prefix!r}")
    yield f"{len(rows)} session{'' if len(rows) == 1 else 's'} shown, in {where}"
    if keys := [row.missing_key for row in rows if row.missing_key is not None]:
        yield ": ".join(missing_keys(keys))
    if any(row.status is None for row in rows):
        yield "Sizes and status are not shown: add --details"
    if rest.cursor is not None:
        yield f"There are more: add --cursor {rest.cursor}, or --limit 0 for all"
    if rest.unseen:
        yield (
            f"These are the newest of the first {LOOKED_AT:,}, and there are more: "
            "--sort updated looks at all"
        )
    if rest.more:
        yield f"{rest.more:,} more: raise --limit, or --limit 0 for all"
    if rest.foreign:
        one = rest.foreign == 1
        yield (
            f"{rest.foreign:,} other {'entry' if one else 'entries'} under this prefix "
            f"{'is no session' if one else 'are no sessions'} of this package, "
            "such as old pickled sessions: left out"
        )
