"""The reports of copies and imports, and what is known of a checkpoint before it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from wren_sessions.records import Name


class Entry(NamedTuple):
    """A checkpoint as a listing names it."""

    namespace: str
    id: str
    parent_id: str | None

    @property
    def name(self) -> Name:
        """Its namespace and id."""
        return self.namespace, self.id

    @property
    def parent(self) -> Name | None:
        """The checkpoint that it continues."""
        return None if self.parent_id is None else (self.namespace, self.parent_id)


def parents_first(entries: Iterable[Entry]) -> list[Entry]:
    """The same order, but no checkpoint before the one that it continues."""
    waiting = {entry.name: entry for entry in entries}
    placed: list[Entry] = []
    for entry in list(waiting.values()):
        line: list[Entry] = []
        at: Entry | None = waiting.pop(entry.name, None)
        while at is not None:
            line.append(at)
            at = None if at.parent is None else waiting.pop(at.parent, None)
        placed += reversed(line)
    return placed


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a move is.

    Attributes:
        session: the session or thread that is being moved.
        done: how many of its checkpoints are done: written, or found in the target.
        total: how many checkpoints it has.
    """

    session: str
    done: int
    total: int


OnProgress: TypeAlias = Callable[[Progress], object]
"""Called after every checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedThread:
    """What an import did with one thread.

    Attributes:
        thread: its id.
        written: how many checkpoints were written.
        skipped: how many were in the target already, from an earlier import.
        size_bytes: the session's size in the target's store now; None if the server does not report
            it, the target is not a `SessionSaver`, or the thread has no checkpoint.
    """

    thread: str
    written: int
    skipped: int
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        threads: each thread, in the order of the import.
    """

    threads: tuple[ImportedThread, ...]

    @property
    def written(self) -> int:
        """The total number of checkpoints that were written."""
        return sum(thread.written for thread in self.threads)

    @property
    def skipped(self) -> int:
        """How many checkpoints were in the target already."""
        return sum(thread.skipped for thread in self.threads)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedSession:
    """A session that was copied.

    Attributes:
        session: its id.
        checkpoints: how many it has.
        size_bytes: its size in the target; None if the server does not report it.
    """

    session: str
    checkpoints: int
    size_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyReport:
    """What `copy_sessions` did.

    Attributes:
        copied: the sessions that were copied.
        skipped: the sessions that the target had already, unchanged.
        expired: the sessions that were left out because they are older than the target's maximum
            age.
    """

    copied: tuple[CopiedSession, ...]
    skipped: tuple[str, ...] = ()
    expired: tuple[str, ...] = ()
