"""Writing what tasks wrote before their step is done: pending writes.

They belong to a checkpoint, which may be on its way still: LangGraph sends both at once, and either
may come first. Writes that are first wait in this process until their checkpoint is there, and are
written after it; then it is known which life of the session they belong to, and a session that was
deleted does not come back as a few writes without a checkpoint.

When the session went away: if its known deadline has passed, writes are left out with a warning,
for their checkpoint is gone and the next one, which is written whole, holds their effect. Only an
interrupt or an error is nowhere else: `SessionExpiredError`. Before the deadline:
`SessionGoneError`.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wren_sessions.checkpoints.codec import CheckpointRecord, WriteBody, encode_write
from wren_sessions.checkpoints.outcomes import expired, gone
from wren_sessions.checkpoints.record_cache import Cache
from wren_sessions.delta.encoder import DeltaEncoder, Serializer, dump
from wren_sessions.delta.protection import Protection
from wren_sessions.keys import write_key
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Commit, Life, Name, Write, Writes

logger = logging.getLogger("wren_sessions")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskWrite:
    """A pending write.

    Attributes:
        channel: what it is written to.
        index: its place among the writes of its task.
        value: what is written.
        replace: whether a second one with this index counts instead of the first.
        alone: whether it is all that there is of something: the next checkpoint does not hold it.
    """

    channel: str
    index: int
    value: Any
    replace: bool
    alone: bool


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one task wrote at once; the values are type tags and bytes."""

    task_id: str
    path: str
    writes: tuple[tuple[TaskWrite, tuple[str, bytes]], ...]

    def pack(self, packer: DeltaEncoder) -> list[tuple[WriteBody, Write]]:
        """The writes as they are stored."""
        bodies = [
            WriteBody(
                task_id=self.task_id,
                index=write.index,
                path=self.path,
                channel=write.channel,
                value=packer.packed(write.channel, *typed),
            )
            for write, typed in self.writes
        ]
        return [
            (
                body,
                Write(
                    key=write_key(body.task_id, body.index),
                    body=encode_write(body),
                    replace=write.replace,
                ),
            )
            for body, (write, _) in zip(bodies, self.writes, strict=True)
        ]


class Pending:
    """Pending writes of the sessions of one store.

    Args:
        store: where they are.
        cache: what this process remembers of them.
        protection: what happens to values before they are stored.
    """

    def __init__(self, store: AsyncSessionStore, cache: Cache, protection: Protection) -> None:
        self._store = store
        self._cache = cache
        self._protection = protection

    async def put_writes(
        self,
        session: str,
        name: Name,
        writes: Sequence[TaskWrite],
        *,
        task_id: str,
        task_path: str,
        serde: Serializer,
    ) -> None:
        """Add a task's pending writes to a checkpoint, which need not be there yet.

        Raises:
            SerializationError: a value cannot be stored; nothing was written.
            SessionExpiredError: the session expired, and the writes (an interrupt, say) are all
                that there is of something.
            SessionGoneError: the session was deleted or evicted before its deadline.
        """
        if not writes:
            return
        writes = _latest(writes)
        what = "the write to channel {!r} of session {!r}"
        typed = [dump(serde, w.value, what.format(w.channel, session)) for w in writes]
        batch = _Batch(task_id, task_path, tuple(zip(writes, typed, strict=True)))
        try:
            await self._put_writes(session, name, batch)
        except BaseException:
            self._cache.forget(session)
            raise

    async def flush(self, session: str, name: Name) -> None:
        """Write what waited for a checkpoint that is there now; errors as `put_writes`."""
        life, _ = self._cache.whereabouts(session, name)
        for batch in self._cache.end(session, name):
            await self._write(session, name, batch, life)

    async def _put_writes(self, session: str, name: Name, batch: _Batch) -> None:
        life, begun = self._cache.whereabouts(session, name)
        if life is None and not begun:
            # Nothing is known of the checkpoint here; another process may have written it.
            done = await self._store.commit(_commit(session, name, batch, self._packer(), name))
            if done.outcome == "done" and done.life is not None:
                self._cache.live(session, done.life, name)
                return
        life = life or self._cache.hold(session, name, batch)
        if life is not None:
            await self._write(session, name, batch, life)

    async def _write(self, session: str, name: Name, batch: _Batch, life: Life | None) -> None:
        packer = self._packer(self._cache.records(session))
        done = await self._store.commit(_commit(session, name, batch, packer, life=life))
        if done.outcome == "stale":  # what it would have referred to was pruned
            self._cache.forget(session)
            done = await self._store.commit(
                _commit(session, name, batch, self._packer(), life=life)
            )
        if done.outcome == "expired":
            expired(session)
        if done.outcome == "gone":
            self._left_out(session, batch, life, done.now_ms)
        elif done.life is not None:
            self._cache.live(session, done.life, name)

    def _packer(self, known: Sequence[tuple[Name, CheckpointRecord]] = ()) -> DeltaEncoder:
        return DeltaEncoder(None, known, appends=False, protection=self._protection)

    def _left_out(self, session: str, batch: _Batch, life: Life | None, now_ms: int) -> None:
        """The session is not there: say so, unless the next checkpoint repairs it."""
        if life is None or life.deadline_ms is None or now_ms < life.deadline_ms:
            gone(session)
        if any(write.alone for write, _ in batch.writes):
            expired(session)
        logger.warning(
            "session %r expired while its graph was running; its next checkpoint will be written "
            "whole",
            session,
        )


def _latest(writes: Sequence[TaskWrite]) -> list[TaskWrite]:
    """The writes without those that a later one of them replaces.

    A node that asked a hundred times writes the first answer, the first two, … and all of them.
    """
    last = {write.index: write for write in writes if write.replace}
    return [write for write in writes if last.get(write.index, write) is write]


def _commit(
    session: str,
    name: Name,
    batch: _Batch,
    packer: DeltaEncoder,
    *own: Name,
    life: Life | None = None,
) -> Commit:
    packed = batch.pack(packer)
    return Commit(
        session=session,
        token=secrets.token_urlsafe(8),
        incarnation=None if life is None else life.incarnation,
        witnesses=packer.witnesses(own),
        writes=Writes(
            name=name,
            entries=tuple(write for _, write in packed),
            spans=packer.spans(body.value for body, _ in packed),
        ),
    )
