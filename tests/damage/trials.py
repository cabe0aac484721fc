"""One trial: damage by a seed, then every path; and what came of each.

=========  =========================================================================================
right      the value that was there, or what was damaged is not needed for it
told       an error of ours
forged     another value, where a checksum was made anew: without a key nobody can tell
named      another value that the documentation says cannot be noticed (`NAMED`)
OTHER      another value, unseen
FOREIGN    an exception of somebody else's
HANG       it took longer than it may
BLOCKED    meanwhile the server did not answer somebody else's PING
MEMORY     it took more memory than it may
=========  =========================================================================================
"""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from types import FrameType
from typing import Any, Final, NamedTuple

from damage.forms import Damage, Form
from damage.paths import MissError, paths_of
from wren_sessions.errors import SessionGoneError, SessionNotFoundError, WrenSessionsError

BAD: Final = ("OTHER", "FOREIGN", "HANG", "BLOCKED", "MEMORY")
KINDS: Final = ("right", "told", "forged", "named", *BAD)


class Excuse(NamedTuple):
    """Other values that are not counted as unseen.

    Attributes:
        form: which forms, a regular expression.
        where: which damage.
        path: which paths.
        why: the reason.
    """

    form: str
    where: str
    path: str
    why: str


NAMED: Final[tuple[Excuse, ...]] = (
    Excuse(
        "file",
        r"sessions\.(name|prefix|sid|deadline_ms|own_idle)|prefixes|sessions row",
        "",
        "a session renamed, moved to another prefix, expired or deleted is not there: the store is "
        "the only one that knows which sessions there are",
    ),
    Excuse("", r"^(sessions\.(state|row)|state) ", "", "the header is JSON for people"),
    Excuse(
        "file",
        r"^file bytes",
        "",
        "any bytes of the file are also those of a session's own row, or of what it is found by",
    ),
    Excuse(
        "dump, encrypted",
        r"forged",
        "",
        "nothing that is bound by a key counts the checkpoints of the history, the namespaces of "
        "subgraphs and the pending writes: they can be taken away",
    ),
    Excuse(
        "redis",
        r"^record swapped",
        "^scan and read$|^command show --json$",
        "records that were exchanged lead past others: how many there are is counted wrong, and "
        "whatever reads one of the two tells",
    ),
)


class Outcome(NamedTuple):
    """What came of one path."""

    path: str
    kind: str
    detail: str = ""


class HangError(BaseException):
    """A path takes too long; nothing that it calls handles this."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer. Only in the main thread, and where there are such signals."""

    def ring(_: int, __: FrameType | None) -> None:
        raise HangError

    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


class Trials:
    """Trials of one form.

    Args:
        form: what is damaged.
        limit_s: how long a path may take.
    """

    def __init__(self, form: Form, limit_s: float) -> None:
        self.form = form
        self.limit_s = limit_s
        self.paths = paths_of(form)
        self._right: dict[str, Any] = {}

    def run(self, seed: int, chosen: int | None = None) -> tuple[Damage | None, list[Outcome]]:
        """Damage, and try paths: so many that are drawn, or all (None)."""
        draw = Random(f"{self.form.name} {seed}")
        self.form.mend()
        done = self.form.damage(draw)
        if done is None:
            return None, []
        names = list(self.paths)
        if chosen is not None:
            names = draw.sample(names, min(chosen, len(names)))
        outcomes = [self._outcome(name) for name in names]
        for name in names:
            self._learn(name)
        return done, [self._judged(outcome, done) for outcome in outcomes]

    def _outcome(self, name: str) -> tuple[str, Any]:
        self.form.again()
        return name, self._call(name)

    def _learn(self, name: str) -> None:
        """What a path gives where nothing is damaged."""
        if name not in self._right:
            self.form.mend()
            found = self._right[name] = self._call(name)
            if isinstance(found, Outcome):
                raise RuntimeError(f"{self.form.name}: {found} on what is whole")

    def _judged(self, outcome: tuple[str, Any], done: Damage) -> Outcome:
        name, found = outcome
        if not isinstance(found, Outcome):
            if found == self._right[name]:
                return Outcome(name, "right")
            found = Outcome(name, "OTHER", "another value")
        if found.kind != "OTHER":
            return found
        if any(_excused(excuse, self.form.name, done, name) for excuse in NAMED):
            return found._replace(kind="named")
        forged = done.forged and not self.form.sealed
        return found._replace(kind="forged") if forged else found

    def _call(self, name: str) -> Any:
        """What a path gives; an outcome where that is no value."""
        started = time.monotonic()
        try:
            with within(self.limit_s):
                return self.paths[name]()
        except (MissError, SessionNotFoundError, SessionGoneError) as error:
            return Outcome(name, "OTHER", f"a miss: {error}")
        except WrenSessionsError as error:
            return Outcome(name, "told", f"{type(error).__name__}: {error}")
        except HangError:
            return Outcome(name, "HANG", f"{time.monotonic() - started:.1f} s")
        except MemoryError:
            return Outcome(name, "MEMORY")
        except Exception as error:  # noqa: BLE001 -- it must not happen, and is told
            return Outcome(name, "FOREIGN", _told(error))


def _excused(excuse: Excuse, form: str, done: Damage, path: str) -> bool:
    found = ((excuse.form, form), (excuse.where, f"{done} "), (excuse.path, path))
    return all(re.search(pattern, text) for pattern, text in found)


def _told(error: BaseException) -> str:
    """An exception, and the last places of this package that it came through."""
    places, trace = [], error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "wren_sessions" in file:
            places.append(f"{file.rpartition('wren_sessions/')[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__}: {str(error)[:120]} at {' < '.join(places[:-4:-1])}"


def table(counts: dict[str, Counter[str]]) -> str:
    """Figures by form."""
    lines = ["| | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
    for form, found in counts.items():
        lines.append(f"| {form} | " + " | ".join(f"{found[kind]:,}" for kind in KINDS) + " |")
    return "\n".join(lines)
