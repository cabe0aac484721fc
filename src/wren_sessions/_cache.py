"""What a process remembers of the sessions it works on: never the truth, only a shortcut.

Two things are remembered, each bounded, the least recently used forgotten first:

- the *life* of a session: a commit names the incarnation it builds on, so that a session that went
  away is not brought back as a fragment, and the deadline tells an expired one from a deleted one;
- the *records* written or read last, with the bytes of their large values, so that the next step
  is written without reading its parent.

The store is asked every time. A forgotten record costs one more read, nothing else.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from wren_sessions._arena import Known
from wren_sessions._encoding import Body
from wren_sessions.records import Life, Name

MAX_LIVES: Final = 10_000
MAX_RECORDS: Final = 64  # in one session
DEFAULT_BYTES: Final = 64 * 1_048_576
_RECORD_BYTES: Final = 4_096  # what a record costs besides its large values, about


@dataclass(slots=True)
class _Session:
    records: OrderedDict[Name, Body] = field(default_factory=OrderedDict)
    size_bytes: int = 0


def _values(body: Body) -> Iterator[Known]:
    return (value.known for value in body.values.values() if value.known is not None)


class Cache:
    """Lives and records of sessions. Thread-safe.

    Args:
        max_bytes: how much the records may take in all; 0 remembers none.
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._lives: OrderedDict[str, Life] = OrderedDict()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._steps: OrderedDict[str, int] = OrderedDict()
        self._size_bytes = 0

    def life(self, session: str) -> Life | None:
        """The session's life as this process knows it; kept also when it is known to be over."""
        with self._lock:
            return self._lives.get(session)

    def live(self, session: str, life: Life) -> None:
        """Remember a life; records of another incarnation are forgotten."""
        with self._lock:
            before = self._lives.pop(session, None)
            if before is not None and before.incarnation != life.incarnation:
                self._drop(session)
            self._lives[session] = life
            if len(self._lives) > MAX_LIVES:
                self._drop(self._lives.popitem(last=False)[0])

    def absent(self, session: str) -> None:
        """The session is not there: what this process writes next is a new one."""
        with self._lock:
            self._lives.pop(session, None)
            self._drop(session)

    def forget(self, session: str) -> None:
        """Forget a session's records, but not its life."""
        with self._lock:
            self._drop(session)

    def count(self, session: str, *, begin: bool = False) -> int:
        """Count one more step of a session, or begin anew; how many there were since."""
        with self._lock:
            steps = 0 if begin else self._steps.pop(session, 0) + 1
            self._steps[session] = steps
            if len(self._steps) > MAX_LIVES:
                self._steps.popitem(last=False)
            return steps

    def record(self, session: str, name: Name) -> Body | None:
        """A record as it was written or read."""
        with self._lock:
            remembered = self._sessions.get(session)
            if remembered is None or name not in remembered.records:
                return None
            self._sessions.move_to_end(session)
            remembered.records.move_to_end(name)
            return remembered.records[name]

    def records(self, session: str) -> list[tuple[Name, Body]]:
        """All records remembered of a session, the last used first."""
        with self._lock:
            remembered = self._sessions.get(session)
            return list(reversed(remembered.records.items())) if remembered else []

    def remember(self, session: str, name: Name, body: Body, *, instead_of: Name | None) -> None:
        """Remember a record, and forget the one that it continues."""
        if not self._max_bytes:
            return
        with self._lock:
            remembered = self._sessions.setdefault(session, _Session())
            self._sessions.move_to_end(session)
            if instead_of is not None:
                remembered.records.pop(instead_of, None)
            remembered.records.pop(name, None)
            remembered.records[name] = body
            if len(remembered.records) > MAX_RECORDS:
                remembered.records.popitem(last=False)
            self._measure(remembered)
            while self._size_bytes > self._max_bytes and self._sessions:
                self._drop(next(iter(self._sessions)))

    def _measure(self, remembered: _Session) -> None:
        shared = {
            id(known): known for body in remembered.records.values() for known in _values(body)
        }
        size = sum(len(known.body) for known in shared.values())
        size += _RECORD_BYTES * len(remembered.records)
        self._size_bytes += size - remembered.size_bytes
        remembered.size_bytes = size

    def _drop(self, session: str) -> None:
        remembered = self._sessions.pop(session, None)
        if remembered is not None:
            self._size_bytes -= remembered.size_bytes
