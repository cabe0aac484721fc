"""Writing pending writes: the results of tasks before their step is done.

They belong to a checkpoint that may not have arrived yet: LangGraph sends both at once, and either
may come first. If the checkpoint is not there yet, or still on its way, the writes are stored at
once when it is known to which life of the session it will belong: the commit says so, and a deleted
session does not come back as a few writes without a checkpoint. So neither waits for the other.

They also wait in this process until their checkpoint is stored. They are written then if it was not
known to which life they belong, if the checkpoint has begun another one, or if they refer to bytes
of other checkpoints: a prune may free those in the meantime.

`lineage` explains what happens to them if the session went away.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, TypeAlias

from wren_sessions._tokens import new_token
from wren_sessions.checkpoints.codec import CheckpointRecord, StoredValue, WriteBody, encode_write
from wren_sessions.checkpoints.lineage import check_expired
from wren_sessions.checkpoints.outcomes import check, expired
from wren_sessions.checkpoints.readable import SURE_BYTES, check_readable
from wren_sessions.checkpoints.record_cache import Cache, KnownForWrites
from wren_sessions.checkpoints.renaming import MIRRORS, check_names
from wren_sessions.checkpoints.turns import Rules, token_in, turns_on
from wren_sessions.delta.encoder import INLINE_BYTES, DeltaEncoder, Serializer, dump
from wren_sessions.delta.protection import Protection
from wren_sessions.keys import write_key
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Commit, Committed, Life, Name, Write, Writes
from wren_sessions.serializers._channels import channels_of
from wren_sessions.serializers.limits import limits_of

logger: Final = logging.getLogger("wren_sessions")

_WHAT: Final = "the write to channel %r of session %r"

Records: TypeAlias = Sequence[tuple[Name, CheckpointRecord]]


@dataclass(slots=True)
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
    replace: bool = False
    alone: bool = False


class _Batch(NamedTuple):
    """What one task wrote at once.

    Attributes:
        task_id: the task.
        path: its path.
        writes: what it wrote; the values are type tags and bytes.
        incarnation: the life that has them already; None if they are only here.
    """

    task_id: str
    path: str
    writes: Sequence[tuple[TaskWrite, tuple[str, bytes]]]
    incarnation: str | None = None


class Pending:
    """Pending writes of the sessions of one store.

    Args:
        store: where they are.
        cache: what this process remembers of them.
        protection: what happens to values before they are stored.
        rules: what holds for those who write; None for nothing.
    """

    def __init__(
        self,
        store: AsyncSessionStore,
        cache: Cache,
        protection: Protection,
        rules: Rules | None = None,
    ) -> None:
        self._store = store
        self._rules = rules
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
            ConflictError: the session is somebody else's to write now, or the turn was lost.
        """
        if not writes:
            return
        typed = _dumped(session, name, writes, serde)
        batch = _Batch(task_id, task_path, typed)
        try:
            known = self._cache.for_writes(session, name)
            life, records = known.life, known.records
            if life is None:
                life = await self._hold(session, name, batch, known)
                records = self._cache.records(session)
            if life is not None:
                await self._write(session, name, batch, life, records)
        except BaseException:
            self._cache.forget(session)
            raise

    async def flush(
        self,
        session: str,
        name: Name,
        waiting: Sequence[_Batch],
        life: Life | None,
        *,
        again: bool = False,
    ) -> None:
        """Write what waited for a checkpoint that is there now; errors as `put_writes`.

        What is stored already is there, unless the checkpoint has begun another life. If one cannot
        be written, it and those behind it wait for the checkpoint to be tried again.

        Args:
            session: the session.
            name: the checkpoint.
            waiting: the writes.
            life: the life of the checkpoint.
            again: write them all once more: the checkpoint's id is lower than its parent's (a slow
                clock), so a prune may have dropped them.
        """
        done = 0
        try:
            for batch in waiting:
                if again or life is None or batch.incarnation != life.incarnation:
                    await self._write(session, name, batch, life, self._cache.records(session))
                done += 1
        except BaseException:
            self._cache.hold_again(session, name, waiting[done:])
            raise

    async def _hold(
        self, session: str, name: Name, batch: _Batch, known: KnownForWrites
    ) -> Life | None:
        """Store writes before their checkpoint if possible, and let them wait for it.

        Returns:
            The life of the checkpoint, if it is there by now, and the writes are not.
        """
        life = known.expected if known.begun else self._cache.life_looked_at(session)
        early = life and self._commit(session, name, batch, life, known.records)
        # A prune keeps the bytes that checkpoints refer to, and these writes have none yet.
        shares = early and early.writes and early.writes.spans
        if life and early and not shares and await self._added(early):
            batch = batch._replace(incarnation=life.incarnation)
        elif not known.begun and await self._added(
            self._commit(session, name, batch, own=name), name
        ):
            return None  # another process has written the checkpoint
        there = self._cache.hold(session, name, batch)
        return None if there and there.incarnation == batch.incarnation else there

    async def _added(self, commit: Commit, there: Name | None = None) -> bool:
        """Make a commit of writes, perhaps of a checkpoint that is there; whether it was done."""
        done = await self._store.commit(commit)
        if done.outcome == "held":
            self._held(commit.session, done)
        if done.outcome != "done" or done.life is None:
            return False
        self._cache.live(commit.session, done.life, there)
        return True

    async def _write(
        self, session: str, name: Name, batch: _Batch, life: Life | None, records: Records
    ) -> None:
        done = await self._store.commit(self._commit(session, name, batch, life, records))
        if done.outcome == "stale":  # what it would have referred to was pruned
            self._cache.forget(session)
            done = await self._store.commit(self._commit(session, name, batch, life))
        if done.outcome == "held":
            self._held(session, done)
        if done.outcome == "expired":
            expired(session)
        if done.outcome == "gone":
            check_expired(session, life, done.now_ms)
            if any(write.alone for write, _ in batch.writes):
                expired(session)
            logger.warning(
                "session %r expired while its graph was running; its next checkpoint will be "
                "written whole",
                session,
            )
        elif done.life is not None:
            self._cache.live(session, done.life, name)

    def _held(self, session: str, done: Committed) -> None:
        check(session, done, token_in(self._rules, session))

    def _commit(
        self,
        session: str,
        name: Name,
        batch: _Batch,
        life: Life | None = None,
        records: Records = (),
        *,
        own: Name | None = None,
    ) -> Commit:
        encoder: DeltaEncoder | None = None
        task_id, path, writes, _ = batch
        entries: list[Write] = []
        values: list[StoredValue] = []
        for write, (kind, data) in writes:
            value = StoredValue(kind, [data])
            if len(data) >= INLINE_BYTES:
                encoder = encoder or DeltaEncoder(
                    None, records, appends=False, protection=self._protection
                )
                value = encoder.packed(write.channel, kind, data)
                values.append(value)
            body = encode_write(WriteBody(task_id, write.index, path, write.channel, value), name)
            key = write_key(task_id, write.index)
            entries.append(Write(key=key, body=body, replace=write.replace))
        there = () if own is None else (own,)
        return Commit(
            session=session,
            token=new_token(),
            incarnation=None if life is None else life.incarnation,
            turn=token_in(self._rules, session) if turns_on.get() else None,
            witnesses=encoder.witnesses(there) if encoder else there,
            writes=Writes(
                name=name,
                entries=tuple(entries),
                spans=encoder.spans(values) if encoder else (),
            ),
        )


def _dumped(
    session: str, name: Name, writes: Sequence[TaskWrite], serde: Serializer
) -> list[tuple[TaskWrite, tuple[str, bytes]]]:
    """The writes that count, each with its type tag and bytes, also under earlier names.

    Of those that replace, the last counts: a node that asked a hundred times writes the first
    answer, the first two, … and all of them.
    """
    channels = channels_of(serde, name[0]) if getattr(serde, "channels", None) else None
    if channels is not None:
        check_names(session, [write.channel for write in writes], channels)
    last: dict[int, TaskWrite] = {}
    for write in writes:
        if write.replace:
            last[write.index] = write
    typed: list[tuple[TaskWrite, tuple[str, bytes]]] = []
    size_bytes = 0
    for write in writes:
        channel, value = write.channel, write.value
        if last and last.get(write.index, write) is not write:
            continue
        if channels is not None:
            value = channels.versioned(channel, value)
        stored = dump(serde, value, _WHAT, channel, session)
        typed.append((write, stored))
        size_bytes += len(stored[1])
        earlier = () if channels is None else channels.earlier.get(channel, ())
        for nth, old in enumerate(earlier, 1):
            index = write.index + nth * MIRRORS
            typed.append((replace(write, channel=old, index=index), stored))
            size_bytes += len(stored[1])
    if size_bytes > SURE_BYTES:
        values = [(write.channel, StoredValue(kind, [data])) for write, (kind, data) in typed]
        check_readable(session, values, limits_of(serde).max_memory_bytes)
    return typed
