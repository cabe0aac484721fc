"""Writes a checkpoint, with its pending writes, into a saver.

A `SessionSaver` gets it in one commit, on the condition that nobody else writes the session
meanwhile. So a checkpoint is never there in part. Its parent need not exist. Any other saver gets
it through its own methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from wren_sessions.checkpoints.codec import WriteBody, encode_write
from wren_sessions.checkpoints.get import Reading
from wren_sessions.checkpoints.put import draft, header
from wren_sessions.checkpoints.readable import check_readable
from wren_sessions.checkpoints.record_cache import DEFAULT_BYTES, Cache, Known
from wren_sessions.checkpoints.versions import Version
from wren_sessions.delta.encoder import DeltaEncoder
from wren_sessions.errors import ConflictError
from wren_sessions.keys import new_token, write_key
from wren_sessions.langgraph.convert import put_of, session_of
from wren_sessions.records import Commit, Life, Name, Write, Writes
from wren_sessions.serializers.limits import limits_of
from wren_sessions.transfer._comparing import SPECIAL, PendingWrite, by_task, paths, writes_of
from wren_sessions.transfer._reports import Entry
from wren_sessions.transfer._savers import Saver
from wren_sessions.transfer._sources import (
    SessionSource,
    Source,
    config_of,
    parent_of,
    source_of,
    store_of,
)

if TYPE_CHECKING:
    from langgraph.checkpoint.base import CheckpointTuple

    from wren_sessions.langgraph import SessionSaver


class Target(Protocol):
    """Where a thread goes. One object per thread."""

    source: Source

    async def begin(self) -> list[Entry]:
        """The checkpoints that are there."""

    async def write(self, entry: Entry, found: CheckpointTuple) -> None:
        """Write a checkpoint with its pending writes."""

    async def add_writes(self, entry: Entry, found: CheckpointTuple) -> None:
        """Write the pending writes of a checkpoint that is there."""

    def order(self, writes: list[PendingWrite]) -> list[PendingWrite]:
        """Pending writes, as far as their order can be kept."""

    async def size_bytes(self) -> int | None:
        """What the thread takes; None if that is not known."""


def target_of(saver: Saver, thread: Any) -> Target:
    """How to write a thread into a saver."""
    from wren_sessions.langgraph import SessionSaver  # loads langgraph

    if isinstance(saver.saver, SessionSaver):
        return SessionTarget(saver, saver.saver, session_of(thread))
    return SaverTarget(saver, thread)


class SaverTarget:
    """A thread in any saver.

    Args:
        saver: the saver.
        thread: the thread.
    """

    def __init__(self, saver: Saver, thread: Any) -> None:
        self.source = source_of(saver)
        self._saver = saver
        self._thread = thread
        self._last: dict[str, tuple[str, dict[str, Version]]] = {}

    async def begin(self) -> list[Entry]:
        """See `Target`."""
        return await self.source.entries(self._thread)

    async def write(self, entry: Entry, found: CheckpointTuple) -> None:
        """See `Target`."""
        await self._saver.put(
            config_of(self._thread, entry.namespace, parent_of(found)),
            found.checkpoint.copy(),
            dict(found.metadata),
            self._changed(entry, found),
        )
        await self.add_writes(entry, found)

    def _changed(self, entry: Entry, found: CheckpointTuple) -> dict[str, Version]:
        """The versions that the checkpoint does not have in common with the one it continues."""
        versions = found.checkpoint["channel_versions"]
        last, known = self._last.get(entry.namespace, ("", {}))
        self._last[entry.namespace] = entry.id, versions
        if last != parent_of(found):
            return versions
        return {name: version for name, version in versions.items() if known.get(name) != version}

    async def add_writes(self, entry: Entry, found: CheckpointTuple) -> None:
        """See `Target`.

        Those of a task that are special go by themselves: savers replace them only then.
        """
        writes = writes_of(found)
        ordered = not any(paths(writes))
        for number, task in enumerate(dict.fromkeys(task for task, _, _ in writes)):
            own = [(channel, value) for id_, channel, value in writes if id_ == task]
            for special in (True, False):
                part = [write for write in own if (write[0] in SPECIAL) is special]
                if part:
                    path = "" if ordered else f"{number:06}"
                    config = config_of(self._thread, *entry.name)
                    await self._saver.put_writes(config, part, task, path)

    def order(self, writes: list[PendingWrite]) -> list[PendingWrite]:
        """See `Target`."""
        return by_task(writes)

    async def size_bytes(self) -> int | None:
        """See `Target`."""
        return None


class SessionTarget:
    """A thread in a `SessionSaver`.

    Args:
        saver: how the saver is called.
        own: the saver.
        session: the session.
    """

    def __init__(self, saver: Saver, own: SessionSaver, session: str) -> None:
        checkpoints = own._blocking  # noqa: SLF001 -- of this package
        self._header_strings = checkpoints.header_strings
        self._protection = checkpoints.protection
        self._store = store_of(saver, own.store)
        self._cache = Cache(DEFAULT_BYTES)
        self._reading = Reading(self._store, self._cache, self._protection)
        self.source: Source = SessionSource(saver, self._store)
        self._serde = own.serde
        self._session = session
        self._now: Life | None = None

    async def begin(self) -> list[Entry]:
        """See `Target`."""
        info = await self._store.info(self._session)
        self._now = None if info is None else info.life
        return [] if info is None else (await self.source.entries(self._session))

    async def write(self, entry: Entry, found: CheckpointTuple) -> None:
        """See `Target`."""
        life, session, checkpoint = self._now, self._session, found.checkpoint
        config = config_of(session, entry.namespace, parent_of(found))
        put = put_of(config, checkpoint, found.metadata, checkpoint["channel_versions"])
        put.metadata = dict(found.metadata)  # as it is
        parent = None
        if put.parent is not None:
            parent = await self._reading.body(session, put.parent, self._serde)
        persistent_subgraphs = self._cache.has_persistent_subgraphs(session, life)
        known = Known(parent, life, self._cache.records(session), persistent_subgraphs)
        ours = draft(put, self._serde, known, self._protection)
        writes, witnesses = self._writes(entry.name, writes_of(found))
        commit = Commit(
            session=session,
            token=new_token(),
            new=life is None,
            incarnation=None if life is None else life.incarnation,
            revision=None if life is None else life.revision,
            witnesses=tuple(dict.fromkeys((*ours.witnesses, *witnesses))),
            record=ours.record,
            writes=writes,
            state=header(put, put.values, self._header_strings),
        )
        self._now, base = await self._done(commit)
        ours.resolve(base)
        self._cache.written(session, self._now, put.name, ours.body, put.parent)

    async def add_writes(self, entry: Entry, found: CheckpointTuple) -> None:
        """See `Target`."""
        writes, witnesses = self._writes(entry.name, writes_of(found))
        commit = Commit(
            session=self._session,
            token=new_token(),
            incarnation=None if self._now is None else self._now.incarnation,
            witnesses=witnesses,
            writes=writes,
        )
        self._now, _ = await self._done(commit)

    def order(self, writes: list[PendingWrite]) -> list[PendingWrite]:
        """See `Target`."""
        return writes

    async def size_bytes(self) -> int | None:
        """See `Target`."""
        info = await self._store.info(self._session)
        return None if info is None else info.size_bytes

    def _writes(
        self, name: Name, writes: Sequence[PendingWrite]
    ) -> tuple[Writes | None, tuple[Name, ...]]:
        """Pending writes to store, and the records that they refer into."""
        if not writes:
            return None, ()
        packer = DeltaEncoder(
            None,
            self._cache.records(self._session),
            appends=False,
            protection=self._protection,
        )
        bodies = [self._body(packer, *each) for each in zip(_numbered(writes), writes, strict=True)]
        values = [(body.channel, body.value) for body in bodies]
        check_readable(self._session, values, limits_of(self._serde).max_memory_bytes, packer)
        stored = Writes(
            name=name,
            entries=tuple(
                Write(
                    key=write_key(body.task_id, body.index),
                    body=encode_write(body, name),
                    replace=True,
                )
                for body in bodies
            ),
            spans=packer.spans(body.value for body in bodies),
        )
        return stored, packer.witnesses([])

    def _body(self, packer: DeltaEncoder, place: tuple[str, int], write: PendingWrite) -> WriteBody:
        task, channel, value = write
        what = f"a pending write to channel {channel!r} of session {self._session!r}"
        return WriteBody(
            task_id=task,
            index=place[1],
            path=place[0],
            channel=channel,
            value=packer.value(channel, value, self._serde, what),
        )

    async def _done(self, commit: Commit) -> tuple[Life, int]:
        """Commit; gives the session's life since then, and where the record's own bytes are."""
        done = await self._store.commit(commit)
        if done.outcome != "done" or done.life is None:
            raise ConflictError(
                f"session {self._session!r} was written or deleted by somebody else, or expired, "
                "while it was being imported: keep applications away from it, and import it again",
                session=self._session,
            )
        return done.life, done.base


def _numbered(writes: Sequence[PendingWrite]) -> Iterable[tuple[str, int]]:
    """The path of each write, and its index within its task."""
    count: dict[str, int] = {}
    for path, (task, channel, _) in zip(paths(writes), writes, strict=True):
        if channel in SPECIAL:
            yield path, SPECIAL[channel]
        else:
            count[task] = count.get(task, -1) + 1
            yield path, count[task]
