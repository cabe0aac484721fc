"""Writing a checkpoint, with its pending writes, into a saver. Steps.

A `SessionSaver` gets it in one commit, whose conditions say that nobody else writes the session
meanwhile: what is there of a checkpoint is all of it. Its parent need not be there. Any other saver
gets it by its own methods.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from wren_sessions._cache import DEFAULT_BYTES, Cache
from wren_sessions._encoding import WriteBody, encode_write
from wren_sessions._langgraph_types import put_of, session_of
from wren_sessions._reading import Reading
from wren_sessions._steps import Call, Steps
from wren_sessions._values import Packer
from wren_sessions._versions import Version
from wren_sessions._writing import Put, Writing
from wren_sessions.errors import ConflictError
from wren_sessions.keys import write_key
from wren_sessions.moving._comparing import SPECIAL, PendingWrite, by_task, paths, writes_of
from wren_sessions.moving._reports import Entry
from wren_sessions.moving._sides import STORE
from wren_sessions.moving._sources import SessionSource, Source, config_of, parent_of, source_of
from wren_sessions.records import Commit, Committed, Life, Name, SessionInfo, Write, Writes

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

    from wren_sessions.langgraph import SessionSaver

SIDE: Final = "target"


class Target(Protocol):
    """Where a thread goes. One object per thread."""

    source: Source

    def begin(self) -> Steps[list[Entry]]:
        """The checkpoints that are there."""

    def write(self, entry: Entry, found: CheckpointTuple) -> Steps[None]:
        """Write a checkpoint with its pending writes."""

    def add_writes(self, entry: Entry, found: CheckpointTuple) -> Steps[None]:
        """Write the pending writes of a checkpoint that is there."""

    def order(self, writes: list[PendingWrite]) -> list[PendingWrite]:
        """Pending writes, as far as their order can be kept."""

    def size_bytes(self) -> Steps[int | None]:
        """What the thread takes; None if that is not known."""


def target_of(saver: BaseCheckpointSaver[Any], thread: Any) -> Target:
    """How to write a thread into a saver."""
    from wren_sessions.langgraph import SessionSaver  # loads langgraph

    if isinstance(saver, SessionSaver):
        return SessionTarget(saver, session_of(thread))
    return SaverTarget(saver, thread)


class SaverTarget:
    """A thread in any saver.

    Args:
        saver: the saver.
        thread: the thread.
    """

    def __init__(self, saver: BaseCheckpointSaver[Any], thread: Any) -> None:
        self.source = source_of(saver, SIDE, STORE)
        self._thread = thread
        self._last: dict[str, tuple[str, dict[str, Version]]] = {}

    def begin(self) -> Steps[list[Entry]]:
        """See `Target`."""
        return (yield from self.source.entries(self._thread))

    def write(self, entry: Entry, found: CheckpointTuple) -> Steps[None]:
        """See `Target`."""
        yield Call(
            f"{SIDE}.put",
            config_of(self._thread, entry.namespace, parent_of(found)),
            found.checkpoint.copy(),
            dict(found.metadata),
            self._changed(entry, found),
        )
        yield from self.add_writes(entry, found)

    def _changed(self, entry: Entry, found: CheckpointTuple) -> dict[str, Version]:
        """The versions that the checkpoint does not have in common with the one it continues."""
        versions = found.checkpoint["channel_versions"]
        last, known = self._last.get(entry.namespace, ("", {}))
        self._last[entry.namespace] = entry.id, versions
        if last != parent_of(found):
            return versions
        return {name: version for name, version in versions.items() if known.get(name) != version}

    def add_writes(self, entry: Entry, found: CheckpointTuple) -> Steps[None]:
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
                    yield Call(f"{SIDE}.put_writes", config, part, task, path)

    def order(self, writes: list[PendingWrite]) -> list[PendingWrite]:
        """See `Target`."""
        return by_task(writes)

    def size_bytes(self) -> Steps[int | None]:
        """See `Target`."""
        yield from ()
        return None


class SessionTarget(Writing):
    """A thread in a `SessionSaver`.

    Args:
        saver: the saver.
        session: the session.
    """

    def __init__(self, saver: SessionSaver, session: str) -> None:
        cache = Cache(DEFAULT_BYTES)
        checkpoints = saver._checkpoints  # noqa: SLF001 -- of this package
        protection = checkpoints.protection
        super().__init__(cache, Reading(cache, protection), checkpoints.header_strings, protection)
        self.source: Source = SessionSource(SIDE, STORE)
        self._serde = saver.serde
        self._session = session
        self._now: Life | None = None

    def begin(self) -> Steps[list[Entry]]:
        """See `Target`."""
        info: SessionInfo | None = yield Call("info", self._session)
        self._now = None if info is None else info.life
        return [] if info is None else (yield from self.source.entries(self._session))

    def write(self, entry: Entry, found: CheckpointTuple) -> Steps[None]:
        """See `Target`."""
        put = self._put_of(entry, found)
        parent = yield from self._parent(put)
        life = self._now
        draft = self._draft(
            put,
            self._serde,
            parent,
            self._cache.records(self._session),
            memories=self._cache.has_memories(self._session, life),
        )
        writes, witnesses = self._writes(entry.name, writes_of(found))
        commit = Commit(
            session=self._session,
            token=secrets.token_urlsafe(8),
            new=life is None,
            incarnation=None if life is None else life.incarnation,
            revision=None if life is None else life.revision,
            witnesses=tuple(dict.fromkeys((*draft.witnesses, *witnesses))),
            record=draft.record,
            writes=writes,
            state=self._state(put),
        )
        done = yield from self._done(commit)
        self._settle(put, draft, done)

    def add_writes(self, entry: Entry, found: CheckpointTuple) -> Steps[None]:
        """See `Target`."""
        writes, witnesses = self._writes(entry.name, writes_of(found))
        commit = Commit(
            session=self._session,
            token=secrets.token_urlsafe(8),
            incarnation=None if self._now is None else self._now.incarnation,
            witnesses=witnesses,
            writes=writes,
        )
        yield from self._done(commit)

    def order(self, writes: list[PendingWrite]) -> list[PendingWrite]:
        """See `Target`."""
        return writes

    def size_bytes(self) -> Steps[int | None]:
        """See `Target`."""
        info: SessionInfo | None = yield Call("info", self._session)
        return None if info is None else info.size_bytes

    def _put_of(self, entry: Entry, found: CheckpointTuple) -> Put:
        """What to write: every value is taken as it is, whatever the parent has."""
        checkpoint = found.checkpoint
        config = config_of(self._session, entry.namespace, parent_of(found))
        put = put_of(config, checkpoint, found.metadata, checkpoint["channel_versions"])
        return replace(put, metadata=dict(found.metadata))

    def _writes(
        self, name: Name, writes: Sequence[PendingWrite]
    ) -> tuple[Writes | None, tuple[Name, ...]]:
        """Pending writes to store, and the records that they refer into."""
        if not writes:
            return None, ()
        packer = Packer(
            None,
            self._cache.records(self._session),
            appends=False,
            protection=self._protection,
        )
        bodies = [self._body(packer, *each) for each in zip(_numbered(writes), writes, strict=True)]
        stored = Writes(
            name=name,
            entries=tuple(
                Write(
                    key=write_key(body.task_id, body.index), body=encode_write(body), replace=True
                )
                for body in bodies
            ),
            spans=packer.spans(body.value for body in bodies),
        )
        return stored, packer.witnesses([])

    def _body(self, packer: Packer, place: tuple[str, int], write: PendingWrite) -> WriteBody:
        task, channel, value = write
        what = f"a pending write to channel {channel!r} of session {self._session!r}"
        return WriteBody(
            task_id=task,
            index=place[1],
            path=place[0],
            channel=channel,
            value=packer.value(channel, value, self._serde, what),
        )

    def _done(self, commit: Commit) -> Steps[Committed]:
        done: Committed = yield Call("commit", commit)
        if done.outcome != "done":
            raise ConflictError(
                f"session {self._session!r} was written or deleted by somebody else, or ran out, "
                "while it was being imported: keep applications away from it, and import it again",
                session=self._session,
            )
        self._now = done.life
        return done


def _numbered(writes: Sequence[PendingWrite]) -> Iterable[tuple[str, int]]:
    """The path of each write, and its index within its task."""
    count: dict[str, int] = {}
    for path, (task, channel, _) in zip(paths(writes), writes, strict=True):
        if channel in SPECIAL:
            yield path, SPECIAL[channel]
        else:
            count[task] = count.get(task, -1) + 1
            yield path, count[task]
