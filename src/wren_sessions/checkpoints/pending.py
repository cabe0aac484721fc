"""Writing pending writes: the results of tasks before their step is done.

They belong to a checkpoint that may not have arrived yet: LangGraph sends both at once, and either
may come first. So that no checkpoint is ever stored without the writes that were accepted before:

- If it is known to which life of the session the checkpoint will belong, the writes are stored at
  once. The commit names that life: so a deleted session does not come back as a few writes without
  a checkpoint. They are also remembered here, in case the checkpoint begins another life.
- If that is not known (a session's first turn), or if they share bytes with other checkpoints,
  which a prune may free in the meantime, they need their checkpoint. If it is on its way, they wait
  until it is stored. If it has not come yet, they are remembered here, and are part of its commit.
- If its put has failed without a clear answer, or will never go on because its event loop was
  closed, they are stored if it is there, and refused if not.
- If it is put twice at once, the last of the two that is on its way counts.

Of a checkpoint that is not known here, the first write asks the store whether it is there: another
process may have written it.

`record_cache` explains what happens to them if the session went away.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, TypeAlias

from wren_sessions._blocking import signal_for, stops_a_loop
from wren_sessions.checkpoints.codec import CheckpointRecord, WriteBody, encode_write
from wren_sessions.checkpoints.outcomes import check, check_expired, expired
from wren_sessions.checkpoints.readable import SURE_BYTES, check_readable
from wren_sessions.checkpoints.record_cache import Cache, KnownForWrites
from wren_sessions.checkpoints.renaming import MIRRORS, check_names
from wren_sessions.checkpoints.turns import Rules, token_in, turns_on
from wren_sessions.delta.base import StoredValue
from wren_sessions.delta.encoder import INLINE_BYTES, DeltaEncoder, Serializer, dump
from wren_sessions.delta.protection import Protection
from wren_sessions.errors import StoreUnavailableError
from wren_sessions.keys import new_token, write_key
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Commit, Committed, Life, Name, Write, Writes
from wren_sessions.serializers._channels import channels_of
from wren_sessions.serializers.limits import limits_of

logger: Final = logging.getLogger("wren_sessions")

_LOOK_S: Final = 0.5  # a signal may be lost with the thread that should send it
_LOOKS: Final = 120
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
        incarnation: the life that has them already; None if they are not stored yet.
    """

    task_id: str
    path: str
    writes: Sequence[tuple[TaskWrite, tuple[str, bytes]]]
    incarnation: str | None = None

    @property
    def size_bytes(self) -> int:
        """How much the values take."""
        return sum(len(data) for _, (_, data) in self.writes)


class Pending:
    """Pending writes of the sessions of one store."""

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
            while (known := self._cache.for_writes(session, name)).life is None:
                if await self._before(session, name, batch, known):
                    return
                await self._until_stored(session, name)
            await self._write(session, name, batch, known.life, known.records)
        except BaseException:
            self._cache.forget(session)
            raise

    def commit_of(
        self,
        session: str,
        name: Name,
        remembered: Sequence[_Batch],
        life: Life | None,
        records: Records,
        *,
        again: bool = False,
    ) -> Commit | None:
        """What came before its checkpoint, as a commit that the checkpoint's is to contain.

        Args:
            session: the session.
            name: the checkpoint.
            remembered: the writes.
            life: the life of the checkpoint; what is stored in it already is left out.
            records: what the values may share bytes with.
            again: leave out nothing: the checkpoint's id is lower than its parent's (a slow clock),
                so a prune may have dropped what was stored.

        Returns:
            The commit; None if nothing is left.
        """
        incarnation = None if life is None else life.incarnation
        left = [
            batch
            for batch in remembered
            if again or batch.incarnation is None or batch.incarnation != incarnation
        ]
        return self._commit(session, name, left, life, records) if left else None

    async def _before(self, session: str, name: Name, batch: _Batch, known: KnownForWrites) -> bool:
        """Store or remember writes before their checkpoint; False if they have to wait for it."""
        life = known.expected
        if not (known.begun or known.unsure):
            life = self._cache.life_looked_at(session)
        early = (
            life and not known.waits and self._commit(session, name, (batch,), life, known.records)
        )
        # A prune keeps the bytes that checkpoints refer to, and these writes have none yet.
        shares = early and early.writes and early.writes.spans
        if life and early and not shares and await self._added(early):
            batch = batch._replace(incarnation=life.incarnation)
        elif known.begun:
            return False
        elif known.unsure or not known.waits:
            commit = self._commit(session, name, (*known.early, batch), own=name)
            if await self._added(commit, name):  # another process wrote it, or its answer was lost
                await self._store_rest(session, name, known.early)
                return True
            if known.unsure:
                raise StoreUnavailableError(
                    f"the checkpoint {name[1]!r} of session {session!r} could not be stored, or "
                    "its answer was lost; the pending writes of its tasks were not stored"
                )
        return self._cache.hold(session, name, batch, known)

    async def _until_stored(self, session: str, name: Name) -> None:
        """Wait until a checkpoint that is on its way is stored, or has failed.

        Raises:
            StoreUnavailableError: that took too long.
        """
        looks = 2 if stops_a_loop(self._store) else _LOOKS  # the put may be on that loop
        signal = signal_for(self._store)
        for _ in range(looks):
            if not self._cache.await_put(session, name, signal) or await signal.wait(_LOOK_S):
                return
        raise StoreUnavailableError(
            f"the pending writes of a task in session {session!r} waited {looks * _LOOK_S:.0f} s "
            f"for the checkpoint {name[1]!r} to be stored, and were not stored"
        )

    async def _added(self, commit: Commit, there: Name | None = None) -> bool:
        """Make a commit of writes, perhaps of a checkpoint that is there; whether it was done."""
        done = await self._store.commit(commit)
        if done.outcome == "held":
            self._held(commit.session, done)
        if done.outcome != "done" or done.life is None:
            return False
        self._cache.live(commit.session, done.life, there)
        return True

    async def _store_rest(self, session: str, name: Name, stored: Sequence[_Batch]) -> None:
        """Store what was remembered for a checkpoint that is there, but for what is stored."""
        ids = set(map(id, stored))
        early = self._cache.found(session, name)
        rest = [batch for batch in early if batch.incarnation is None and id(batch) not in ids]
        if rest:  # it came while the checkpoint was found
            await self._added(self._commit(session, name, rest, own=name), name)

    async def _write(
        self, session: str, name: Name, batch: _Batch, life: Life | None, records: Records
    ) -> None:
        done = await self._store.commit(self._commit(session, name, (batch,), life, records))
        if done.outcome == "stale":  # what it would have referred to was pruned
            self._cache.forget(session)
            done = await self._store.commit(self._commit(session, name, (batch,), life))
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
        batches: Sequence[_Batch],
        life: Life | None = None,
        records: Records = (),
        *,
        own: Name | None = None,
    ) -> Commit:
        encoder: DeltaEncoder | None = None
        entries: list[Write] = []
        values: list[StoredValue] = []
        for task_id, path, writes, _ in batches:
            for write, (kind, data) in writes:
                value = StoredValue(kind, [data])
                if len(data) >= INLINE_BYTES:
                    encoder = encoder or DeltaEncoder(
                        None, records, appends=False, protection=self._protection
                    )
                    value = encoder.packed(write.channel, kind, data)
                    values.append(value)
                index, channel = write.index, write.channel
                body = encode_write(WriteBody(task_id, index, path, channel, value), name)
                entries.append(Write(write_key(task_id, index), body, write.replace))
        there = () if own is None else (own,)
        return Commit(
            session=session,
            token=new_token(),
            incarnation=None if life is None else life.incarnation,
            turn=token_in(self._rules, session) if turns_on.get() else None,
            witnesses=encoder.witnesses(there) if encoder else there,
            writes=Writes(name, tuple(entries), encoder.spans(values) if encoder else ()),
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
