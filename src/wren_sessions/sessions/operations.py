"""What `Sessions` does: states are checkpoints of the root namespace."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final, NoReturn

from wren_sessions.checkpoints import Checkpoints
from wren_sessions.checkpoints.codec import decode_write
from wren_sessions.checkpoints.get import Head
from wren_sessions.checkpoints.header import empty_header
from wren_sessions.checkpoints.prune import Survey
from wren_sessions.checkpoints.put import Put
from wren_sessions.checkpoints.snapshots import read_value
from wren_sessions.checkpoints.versions import next_version
from wren_sessions.delta.encoder import Serializer, dump, loads
from wren_sessions.errors import ConflictError, SessionExistsError, SessionNotFoundError
from wren_sessions.records import (
    Commit,
    Life,
    Name,
    SessionInfo,
    Stored,
)
from wren_sessions.serializers import default_serializer, new_checkpoint_id

CHECKPOINT_VERSION: Final = 4  # of LangGraph's checkpoints
MAX_TAKEN: Final = 10_000
_INTERRUPT: Final = "__interrupt__"


@dataclass(slots=True, kw_only=True)
class Session:
    """A session as it was loaded.

    Attributes:
        id: its id.
        state: its state; a copy that is the caller's to change.
        checkpoint_id: the checkpoint it was loaded from; None for a session without a state.
        revision: how many times it had been written; pass it as ``expect`` to `Sessions.save`.
        life: when it was made, written, and ends.
        metadata: of the checkpoint.
        waiting: whether it waits for an answer to an interrupt.
    """

    id: str
    state: dict[str, Any]
    checkpoint_id: str | None
    revision: int
    life: Life
    metadata: dict[str, Any]
    waiting: bool


class SessionOperations:
    """The work behind both faces of `Sessions`.

    Args:
        checkpoints: of the store.
        serde: the serializer; None for the default one.
    """

    def __init__(self, checkpoints: Checkpoints, serde: Serializer | None) -> None:
        self._checkpoints = checkpoints
        self._store = checkpoints.store
        self._given = serde

    @cached_property
    def _serde(self) -> Serializer:
        found: Serializer = self._given or default_serializer()
        return found

    @property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints it works on."""
        return self._checkpoints

    @property
    def serde(self) -> Serializer | None:
        """The serializer that was given."""
        return self._given

    # --- reading ---

    async def get(self, session_id: str, at: str | None) -> Session | None:
        """A session, or None."""
        head = await self._checkpoints.reading.record(session_id, "", at)
        if head is not None:
            life = self._checkpoints.life(session_id)
            return None if life is None else self._session(session_id, head, life)
        if at is not None:
            return None
        info = await self._store.info(session_id)
        return None if info is None else _empty(info)

    async def load(self, session_id: str, at: str | None) -> Session:
        """A session, or an error."""
        found = await self.get(session_id, at)
        if found is None:
            not_found(session_id, at)
        return found

    def found(self, session_id: str, life: Life | None) -> Life:
        """A life, or an error."""
        if life is None:
            not_found(session_id)
        return life

    def _session(self, session_id: str, head: Head, life: Life) -> Session:
        about = f"of session {session_id!r}"
        _, metadata = loads(self._serde, head.body.meta, f"the metadata {about}")
        return Session(
            id=session_id,
            state={
                key: read_value(head.body.values[key], self._serde, typed, f"{key!r} {about}")
                for key, typed in head.data.items()
                if not _internal(key)
            },
            checkpoint_id=head.stored.name[1],
            revision=life.revision,
            life=life,
            metadata=metadata,
            waiting=_waits(session_id, head.stored),
        )

    # --- writing ---

    async def create(
        self, session_id: str | None, prefix: str, now: datetime, state: Mapping[str, Any] | None
    ) -> Session:
        """Make a session that was not there."""
        for candidate in _candidates(session_id, prefix, now):
            made = await self._create(candidate, now, state)
            if made is not None:
                return made
        taken = session_id or f"{prefix}_…"
        raise SessionExistsError(
            f"session {taken!r} is there already; choose another id, or load it", session=taken
        )

    async def _create(
        self, session_id: str, now: datetime, state: Mapping[str, Any] | None
    ) -> Session | None:
        if state is not None:
            try:
                await self._put(self._first(session_id, state, now, new=True))
            except SessionExistsError:
                return None
            return await self.load(session_id, None)
        commit = Commit(
            session=session_id,
            token=secrets.token_urlsafe(8),
            new=True,
            state=empty_header(now.isoformat()),
        )
        done = await self._store.commit(commit)
        if done.outcome == "exists" or done.life is None:
            return None
        return await self.load(session_id, None)

    async def save(
        self,
        session_id: str,
        state: Mapping[str, Any],
        now: datetime,
        *,
        expect: int | None,
        replace: bool,
    ) -> Session:
        """Make `state` the session's state."""
        head = await self._checkpoints.reading.record(session_id, "", None)
        if head is None:
            put = await self._first_of(session_id, state, now, expect)
        else:
            if not replace and _waits(session_id, head.stored):
                raise ConflictError(
                    f"session {session_id!r} waits for an answer to an interrupt: resume it, or "
                    "pass replace=True to write over it",
                    session=session_id,
                )
            put = self._next(session_id, head, state, now, expect)
        await self._put(put)
        return await self.load(session_id, None)

    async def _first_of(
        self, session_id: str, state: Mapping[str, Any], now: datetime, expect: int | None
    ) -> Put:
        """The first checkpoint of a session that is empty, or not there and nobody expects."""
        if expect is not None:
            info = await self._store.info(session_id)
            if info is None:
                not_found(session_id)
        return self._first(session_id, state, now, revision=expect)

    async def _put(self, put: Put) -> None:
        await self._checkpoints.writing.put(put, self._serde)

    def _first(
        self,
        session_id: str,
        state: Mapping[str, Any],
        now: datetime,
        *,
        new: bool = False,
        revision: int | None = None,
    ) -> Put:
        return Put(
            session=session_id,
            name=("", new_checkpoint_id()),
            parent_id=None,
            values=dict(state),
            versions={key: next_version(None) for key in state},
            seen={},
            rest=_rest(now, sorted(state)),
            metadata={"source": "update", "step": 0, "parents": {}},
            changed=state.keys(),
            new=new,
            revision=revision,
        )

    def _next(
        self,
        session_id: str,
        head: Head,
        state: Mapping[str, Any],
        now: datetime,
        expect: int | None,
    ) -> Put:
        changed = {key for key in state if self._differs(session_id, key, state[key], head)}
        kept = {key: version for key, version in head.body.versions.items() if _internal(key)}
        versions = {key: head.body.versions.get(key) for key in state}
        following = next_version(max(head.body.versions.values(), default=None))
        _, metadata = loads(self._serde, head.body.meta, f"the metadata of session {session_id!r}")
        return Put(
            session=session_id,
            name=("", new_checkpoint_id()),
            parent_id=head.stored.name[1],
            values=dict(state),
            versions=kept
            | {
                key: following if key in changed or version is None else version
                for key, version in versions.items()
            },
            seen=head.body.seen,
            rest=_rest(now, sorted(changed)),
            metadata={
                "source": "update",
                "step": metadata.get("step", -1) + 1,
                "parents": metadata.get("parents", {}),
            },
            changed=changed,
            revision=expect,
        )

    def _differs(self, session_id: str, key: str, value: Any, head: Head) -> bool:
        typed = dump(self._serde, value, f"{key!r} of session {session_id!r}")
        return head.data.get(key) != typed

    async def delete(self, session_id: str) -> bool:
        """Delete a session."""
        return await self._checkpoints.pruning.delete(session_id)

    async def fork(self, session_id: str, new_id: str, at: str | None) -> Session:
        """Copy a session to a new id, as it was at one of its checkpoints."""
        if at is not None:
            await self.load(session_id, at)
        if await self._checkpoints.pruning.copy(session_id, new_id) is None:
            not_found(session_id)
        if at is not None:
            await self._checkpoints.pruning.prune(
                new_id, lambda survey: _not_before(survey, at), self._serde
            )
        return await self.load(new_id, None)


def not_found(session_id: str, at: str | None = None) -> NoReturn:
    """Raise the error for a session, or a checkpoint of it, that is not there."""
    what = f"session {session_id!r}" if at is None else f"checkpoint {at!r} of {session_id!r}"
    raise SessionNotFoundError(
        f"{what} was not found or has expired: check its id and the store's URL, prefix and "
        "lifetime",
        session=session_id,
    )


def _candidates(session_id: str | None, prefix: str, now: datetime) -> Iterator[str]:
    if session_id is not None:
        yield session_id
        return
    stem = f"{prefix}_{now.astimezone():%Y%m%d_%H%M%S}"
    yield stem
    yield from (f"{stem}_{number}" for number in range(2, MAX_TAKEN))


def _empty(info: SessionInfo) -> Session:
    return Session(
        id=info.session,
        state={},
        checkpoint_id=None,
        revision=info.life.revision,
        life=info.life,
        metadata={},
        waiting=False,
    )


def _rest(now: datetime, updated: list[str]) -> dict[str, Any]:
    return {"v": CHECKPOINT_VERSION, "ts": now.isoformat(), "updated_channels": updated}


def _internal(channel: str) -> bool:
    """Whether a channel is LangGraph's own: its input, its triggers, its tasks."""
    return channel.startswith("__") or ":" in channel


def _waits(session_id: str, stored: Stored) -> bool:
    what = f"a pending write of checkpoint {stored.name[1]!r}"
    writes = [decode_write(write.body, session_id, what) for write in stored.writes]
    # An answer alone does not end it: a node may ask again. Results have indexes of their own.
    finished = {write.task_id for write in writes if write.index >= 0}
    return any(w.channel == _INTERRUPT and w.task_id not in finished for w in writes)


def _not_before(survey: Survey, at: str) -> set[Name]:
    """The records of the root namespace that are neither a checkpoint nor before it."""
    chain: set[Name] = set()
    name: Name | None = ("", at)
    while name is not None and name in survey.entries and name not in chain:
        chain.add(name)
        name = survey.entries[name].parent
    return {name for name in survey.entries if name[0] == "" and name not in chain}
