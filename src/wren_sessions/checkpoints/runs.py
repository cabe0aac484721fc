"""Which sessions a run wrote to, as far as this process knows. Thread-safe, bounded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from wren_sessions._blocking import LRU, Lock

MAX_RUNS: Final = 10_000
MAX_SESSIONS: Final = 64  # of one run


class Runs:
    """The sessions of runs whose checkpoints this process wrote.

    A run writes to one session, as a rule. One that wrote to many is given up: its sessions are
    looked for in the store, and so are those of runs that are not known here.
    """

    def __init__(self) -> None:
        self._lock = Lock(self._forget_all)
        self._sessions: LRU[str, set[str] | None] = LRU(MAX_RUNS)

    def _forget_all(self) -> None:
        """What was interrupted may have left out a session; so all are looked for in the store."""
        self._sessions.clear()

    def wrote(self, run: object, session: str) -> None:
        """A run writes a checkpoint to a session."""
        if not isinstance(run, str):
            return
        with self._lock:
            known = self._sessions.get(run, set())
            if known is not None:
                known.add(session)
            self._sessions.keep(run, known if known and len(known) <= MAX_SESSIONS else None)

    def copied(self, source: str, target: str) -> None:
        """A session was copied, with the checkpoints of its runs."""
        with self._lock:
            runs = [run for run, known in self._sessions.items() if known and source in known]
        for run in runs:
            self.wrote(run, target)

    def sessions(self, runs: Iterable[str]) -> set[str] | None:
        """The sessions of all of these runs; None if they are not all known here."""
        found: set[str] = set()
        with self._lock:
            for run in runs:
                known = self._sessions.get(run)
                if known is None:
                    return None
                found |= known
        return found
