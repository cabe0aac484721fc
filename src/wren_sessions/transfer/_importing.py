"""Copies threads from one saver to another.

For each thread, the names of its checkpoints are listed on both sides. Then the checkpoints are
read one by one, the oldest first, and written if they are missing. Existing ones are compared, and
get the pending writes that were added since.

**What may exist in the target.** An earlier import may have copied the first part of the thread,
and the source may have dropped old checkpoints since. If the target has all of a thread, and more,
the thread was moved there and is in use, so it is not changed. If both sides have checkpoints that
the other does not have, or different checkpoints with the same id, it is a different thread, and
that is a `ConflictError`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from wren_sessions.checkpoints.versions import Counter
from wren_sessions.delta.encoder import Serializer
from wren_sessions.errors import ConflictError, CorruptSessionError, SerializationError
from wren_sessions.records import Name
from wren_sessions.transfer._comparing import (
    Difference,
    counted,
    covered,
    difference,
    same_writes,
    writes_of,
)
from wren_sessions.transfer._reports import (
    Entry,
    ImportedThread,
    ImportReport,
    OnProgress,
    Progress,
)
from wren_sessions.transfer._savers import Saver
from wren_sessions.transfer._sources import Source, config_of, source_of
from wren_sessions.transfer._targets import Target, target_of

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import CheckpointTuple

logger = logging.getLogger("wren_sessions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Importing:
    """What to import, and how.

    Attributes:
        saver: where the threads are.
        target: where they go.
        verify: whether to read back what is written.
        on_progress: called after every checkpoint.
    """

    saver: Saver
    target: Saver
    verify: bool
    on_progress: OnProgress | None

    async def run(self, threads: Iterable[Any] | None) -> ImportReport:
        """Import threads, all of them if None."""
        source = source_of(self.saver)
        found: dict[Any, list[Entry] | None] = (
            dict.fromkeys(threads) if threads is not None else (await source.threads())
        )
        done = []
        for thread, known in found.items():
            entries = (await source.entries(thread)) if known is None else known
            one = _Thread(self, thread, source, target_of(self.target, thread))
            done.append(await one.move(source.ordered(entries)))
        return ImportReport(tuple(done))


class _Thread:
    """The import of one thread."""

    def __init__(self, job: Importing, thread: Any, source: Source, target: Target) -> None:
        self._job = job
        self._thread = thread
        self._source = source
        self._target = target
        self._serde: Serializer = job.target.saver.serde
        self._counter = Counter.of(job.target.saver.get_next_version(None, None))
        self._there: set[Name] = set()  # what the target has by now
        self._written = self._skipped = 0

    async def move(self, entries: Sequence[Entry]) -> ImportedThread:
        """Import these checkpoints, in this order."""
        there = {entry.name for entry in (await self._target.begin())}
        self._there = set(there)
        ahead = self._compared(entries, there)
        for number, entry in enumerate(entries, 1):
            await self._one(entry, there=entry.name in there, ahead=ahead)
            if self._job.on_progress is not None:
                self._job.on_progress(Progress(str(self._thread), number, len(entries)))
        if self._job.verify and not ahead:
            await self._check_heads(entries)
        size_bytes = await self._target.size_bytes()
        return ImportedThread(
            thread=str(self._thread),
            written=self._written,
            skipped=self._skipped,
            size_bytes=size_bytes,
        )

    def _compared(self, entries: Collection[Entry], there: Collection[Name]) -> bool:
        """Whether the target has all of the source, and has continued from there."""
        names = {entry.name for entry in entries}
        oldest = min((entry.id for entry in entries), default="")
        foreign = sorted(name for name in there if name not in names and name[1] >= oldest)
        missing = [entry for entry in entries if entry.name not in there]
        if foreign and missing:
            self._conflict(
                f"it has checkpoint {foreign[0][1]!r}, which the source does not have, and lacks "
                f"{missing[0].id!r}"
            )
        return bool(foreign)

    async def _one(self, entry: Entry, *, there: bool, ahead: bool) -> None:
        found = await self._source.read(self._thread, entry.name)
        if found is None:
            logger.warning(
                "checkpoint %r of thread %r went away while it was being imported",
                entry.id,
                self._thread,
            )
            return
        found = found._replace(
            checkpoint=counted(found.checkpoint, self._counter),
            parent_config=self._config_of(entry.parent),  # also where the parent was dropped since
        )
        if there:
            await self._keep(entry, found, ahead=ahead)
            self._skipped += 1
            return
        await self._target.write(entry, found)
        self._written += 1
        self._there.add(entry.name)
        if self._job.verify:
            await self._read_back(entry, found)

    # --- what is there ---

    async def _keep(self, entry: Entry, found: CheckpointTuple, *, ahead: bool) -> None:
        """Compare a checkpoint that is there, and add the pending writes that have come since."""
        ours = await self._ours(entry)
        unlike = difference(found, ours, self._serde)
        if unlike is not None:
            self._conflict(f"{unlike.what} of checkpoint {entry.id!r} is another")
        if ahead or self._same_writes(found, ours):
            return
        if not covered(writes_of(ours), writes_of(found), self._serde):
            self._conflict(
                f"checkpoint {entry.id!r} has pending writes that the source does not have"
            )
        await self._target.add_writes(entry, found)
        if self._job.verify:
            await self._read_back(entry, found)

    async def _ours(self, entry: Entry) -> CheckpointTuple:
        ours = await self._target.source.read(self._thread, entry.name)
        if ours is None:
            self._differs(entry, Difference("everything: it no longer exists", value=False))
        if ours.parent_config is None and entry.parent not in self._there:
            return ours._replace(parent_config=self._config_of(entry.parent))
        return ours

    def _config_of(self, name: Name | None) -> RunnableConfig | None:
        return None if name is None else config_of(self._thread, *name)

    def _same_writes(self, found: CheckpointTuple, ours: CheckpointTuple) -> bool:
        order = self._target.order
        return same_writes(order(writes_of(found)), order(writes_of(ours)), self._serde)

    def _conflict(self, why: str) -> NoReturn:
        raise ConflictError(
            f"thread {self._thread!r} is in the target already, and is not what an earlier import "
            f"wrote: {why}. Leave the thread out (threads=[…]), or delete it from the target first",
            session=str(self._thread),
        )

    # --- verification ---

    async def _read_back(self, entry: Entry, found: CheckpointTuple) -> None:
        """Make sure that a checkpoint reads as it was written."""
        ours = await self._ours(entry)
        unlike = difference(found, ours, self._serde)
        if unlike is None and not self._same_writes(found, ours):
            unlike = Difference("its pending writes", value=True)
        if unlike is not None:
            self._differs(entry, unlike)

    async def _check_heads(self, entries: Collection[Entry]) -> None:
        """Make sure that both sides continue from the same checkpoints."""
        theirs = await self._source.heads(self._thread, entries)
        ours = await self._target.source.heads(self._thread, entries)
        for namespace, head in theirs.items():
            if ours.get(namespace) != head:
                unlike = Difference("which of its checkpoints is the latest", value=False)
                self._differs(Entry(namespace, head, None), unlike)

    def _differs(self, entry: Entry, unlike: Difference) -> NoReturn:
        message = (
            f"thread {self._thread!r} was not moved as it is: checkpoint {entry.id!r} (namespace "
            f"{entry.namespace!r}) differs in {unlike.what} when it is read back from the target"
        )
        if unlike.value:
            raise SerializationError(f"{message}; give the target a serializer that keeps it")
        raise CorruptSessionError(f"{message}; delete the thread there", session=str(self._thread))
