"""``stats``: how many sessions, how large, how old and how busy, as small plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from itertools import islice
from statistics import median
from typing import Annotated, Any, Final

import typer

from wren_sessions.cli._command import Run, command
from wren_sessions.cli._screen import Cell, Styled
from wren_sessions.ttl import utc_time
from wren_sessions.viewing.overview import Overview, detailed, headers
from wren_sessions.viewing.times import size

SAMPLE: Final = 500
_DAYS: Final = 14
_BAR: Final = 40
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_HOUR: Final = 3_600_000
_DAY: Final = 24 * _HOUR

_SIZES: Final = (
    ("up to 1 kB", 1 << 10),
    ("up to 10 kB", 10 << 10),
    ("up to 100 kB", 100 << 10),
    ("up to 1 MB", 1 << 20),
    ("more", None),
)
_AGES: Final = (
    ("under an hour", _HOUR),
    ("under a day", _DAY),
    ("under a week", 7 * _DAY),
    ("under 30 days", 30 * _DAY),
    ("older", None),
)
_LEFT: Final = (
    ("within an hour", _HOUR),
    ("within 6 hours", 6 * _HOUR),
    ("within a day", _DAY),
    ("within a week", 7 * _DAY),
    ("later", None),
)


@command(
    examples="""
    wren-sessions stats
    wren-sessions stats --sample 0 --json
    """
)
def stats(
    run: Run,
    *,
    sample: Annotated[
        int,
        typer.Option(
            "--sample",
            metavar="N",
            min=0,
            help="For how many sessions to read the size and status; 0 for all.",
        ),
    ] = SAMPLE,
) -> None:
    """Show how many sessions there are, how large and old they are, and when they were active.

    This reads every header. The size and status are read only for a sample, with one request per
    session.
    """
    rows, _ = headers(run.store)
    asked = detailed(run.store, list(islice(rows, sample or None)))
    report = _report(rows, asked)
    if run.as_json:
        run.screen.json(report)
        return
    _print(run, report)


def _report(rows: Sequence[Overview], asked: Sequence[Overview]) -> dict[str, Any]:
    sizes = [row.size_bytes for row in asked if row.size_bytes is not None]
    mean = sum(sizes) / len(sizes) if sizes else None
    ages = [row.life.now_ms - row.life.created_ms for row in rows]
    left = [row.life.ttl_ms for row in rows if row.life.ttl_ms is not None]
    return {
        "sessions": len(rows),
        "asked": len(asked),
        "pinned": sum(row.life.pinned for row in rows),
        "never_expire": len(rows) - len(left) - sum(row.life.pinned for row in rows),
        "messages": sum(row.messages or 0 for row in rows),
        "size_bytes": {
            "median": round(median(sizes)) if sizes else None,
            "largest": max(sizes, default=None),
            "estimated_total": None if mean is None else round(mean * len(rows)),
        },
        "by_status": dict(Counter(row.status for row in asked).most_common()),
        "by_size": _counted(sizes, _SIZES),
        "by_age": _counted(ages, _AGES),
        "by_time_left": _counted(left, _LEFT),
        "by_last_write": _by_day(rows),
    }


def _counted(values: Iterable[int], bounds: Sequence[tuple[str, int | None]]) -> dict[str, int]:
    found = dict.fromkeys((name for name, _ in bounds), 0)
    for value in values:
        name = next(name for name, most in bounds if most is None or value <= most)
        found[name] += 1
    return found


def _by_day(rows: Sequence[Overview]) -> dict[str, int]:
    """How many were last written on each of the last days, by the local calendar."""
    if not rows:
        return {}
    counts = Counter(_day(row.life.updated_ms) for row in rows)
    unknown = counts.pop(None, 0)
    found = {"unknown": unknown} if unknown else {}
    today = _day(max(row.life.now_ms for row in rows))
    if today is None:
        return found
    days = [today - timedelta(days=back) for back in reversed(range(_DAYS))]
    earlier = sum(count for day, count in counts.items() if day is not None and day < days[0])
    return {"earlier": earlier} | {f"{day:%Y-%m-%d}": counts[day] for day in days} | found


def _day(ms: int) -> date | None:
    time = utc_time(ms)
    return None if time is None else time.astimezone().date()


# --- showing --------------------------------------------------------------------------------------


def _print(run: Run, report: dict[str, Any]) -> None:
    sizes = report["size_bytes"]
    pairs: list[tuple[str, Cell]] = [
        ("sessions", f"{report['sessions']:,}"),
        ("messages", f"{report['messages']:,}"),
        ("pinned", f"{report['pinned']:,}"),
        ("size", f"about {size(sizes['estimated_total'])} in all"),
        ("one session", f"{size(sizes['median'])} (median), {size(sizes['largest'])} (largest)"),
    ]
    run.screen.fields(pairs)
    about = f" (of {report['asked']:,})" if report["asked"] < report["sessions"] else ""
    _plot(run, f"Status{about}", report["by_status"])
    _plot(run, f"Size{about}", report["by_size"])
    _plot(run, "Age", report["by_age"])
    _plot(run, "Expires", report["by_time_left"] | {"never": report["never_expire"]})
    _plot(run, "Last written", report["by_last_write"])


def _plot(run: Run, title: str, counts: dict[str, int]) -> None:
    counts = {name: count for name, count in counts.items() if count}
    if not counts:
        return
    if not run.screen.terminal:
        run.screen.fields((f"{title}: {name}", str(count)) for name, count in counts.items())
        return
    run.screen.line()
    run.screen.line(Styled(title, "strong"))
    widest, most = max(map(len, counts)), max(counts.values())
    digits = len(f"{most:,}")
    room = max(1, min(_BAR, run.screen.width - widest - digits - 6))
    for name, count in counts.items():
        eighths = max(1, round(count / most * room * 8))
        bar = ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()
        figures = f"{count:>{digits},}"
        run.screen.line(f"  {name:<{widest}}  ", figures, "  ", Styled(bar, "key"))
