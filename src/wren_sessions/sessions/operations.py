"""What `Sessions` does: states are checkpoints of the root namespace."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

from wren_sessions.checkpoints import Checkpoints
from wren_sessions.checkpoints.channels import check_state
from wren_sessions.checkpoints.get import Head
from wren_sessions.checkpoints.outcomes import check, conflict
from wren_sessions.checkpoints.prune import Survey, choice_of
from wren_sessions.checkpoints.put import Put, empty_header
from wren_sessions.checkpoints.waiting import step_after
from wren_sessions.delta.encoder import Serializer
from wren_sessions.errors import (
    ConfigurationError,
    ConflictError,
    SessionExistsError,
    SessionExpiredError,
    SessionGoneError,
    SessionNotFoundError,
    WrenSessionsError,
)
from wren_sessions.keys import StagingId, check_session, new_token
from wren_sessions.records import (
    Commit,
    Life,
    Name,
)
from wren_sessions.serializers import default_serializer
from wren_sessions.sessions.states import States

_ID_BYTES: Final = 10  # of chance: nobody guesses an id, and no two are the same
MAX_ATTEMPTS: Final = 100  # to save a session that others write
QUICK_ATTEMPTS: Final = 3  # before a change waits for its turn
OVERTAKEN: Final = (ConflictError, SessionExistsError, SessionExpiredError, SessionGoneError)
"""What a write ends in, where others were quicker to write, make or delete the session."""

T = TypeVar("T")
Change: TypeAlias = Callable[[dict[str, Any]], T]
"""Changes a state in place. It may be called several times, with newer states."""


@dataclass(slots=True, kw_only=True)
class Session:
    """A loaded session.

    Attributes:
        id: its id.
        state: its state. This is a copy that the caller may change.
        checkpoint_id: the checkpoint it was loaded from; None for a session without a state.
        revision: how many times it had been written when it had this state. Pass it, or the session
            itself, as ``expect`` to `Sessions.save`.
        life: when it was created and written, and when it ends.
        metadata: the checkpoint's metadata.
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
    """The work behind `Sessions` and `AsyncSessions`.

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

    @cached_property
    def _states(self) -> States:
        return States(self._checkpoints, self._serde)

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
        """A session; None if it is not there."""
        if at is None:
            head, life = await self._look(session_id)
        else:
            head = await self._checkpoints.reading.record(session_id, "", at, self._serde)
            life = None if head is None else head.life
        if life is None:
            return None
        if head is None:
            return _empty(session_id, life)
        return await self._session(session_id, head)

    async def _look(self, session_id: str) -> tuple[Head | None, Life | None]:
        """A session's latest checkpoint, and its life at that moment; None where there is none.

        A session without checkpoints is looked at twice: it was empty at the moment of its life
        only if it is so afterwards.
        """
        life: Life | None = None
        while True:
            head = await self._checkpoints.reading.record(session_id, "", None, self._serde)
            if head is not None:
                return head, head.life
            if life is not None:
                return None, life
            info = await self._store.info(session_id)
            if info is None:
                return None, None
            life = info.life

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

    async def _session(self, session_id: str, head: Head) -> Session:
        state, metadata = await self._states.read(session_id, head)
        return Session(
            id=session_id,
            state=state,
            checkpoint_id=head.stored.name[1],
            revision=head.life.revision,
            life=head.life,
            metadata=metadata,
            waiting=bool(step_after(session_id, head.stored).questions),
        )

    # --- writing ---

    async def create(
        self,
        session_id: str | None,
        prefix: str,
        now: datetime,
        state: Mapping[str, Any] | None,
        owner: str | None,
    ) -> Session:
        """Create a new session."""
        if session_id is not None:
            check_session(session_id)
        if state is not None:
            check_state(session_id or prefix, state)
        id_ = session_id if session_id is not None else f"{prefix}_{secrets.token_hex(_ID_BYTES)}"
        made = await self._create(id_, now, state, owner)
        if made is not None:
            return made
        raise SessionExistsError(
            f"session {id_!r} is there already; choose another id, or load it", session=id_
        )

    async def _create(
        self, session_id: str, now: datetime, state: Mapping[str, Any] | None, owner: str | None
    ) -> Session | None:
        if state is not None:
            first = self._states.first(session_id, state, now, None)
            try:
                return await self._put(replace(first, owner=owner))
            except SessionExistsError:
                return None
        commit = Commit(
            session=session_id,
            token=new_token(),
            new=True,
            turn=self._checkpoints.turn(session_id),
            state=empty_header(now.isoformat()),
            owner=owner,
        )
        done = await self._store.commit(commit)
        if done.outcome == "held":
            check(session_id, done, commit.turn)
        if done.outcome == "exists" or done.life is None:
            return None
        return _empty(session_id, replace(done.life, revision=1))

    async def save(
        self,
        session_id: str,
        state: Mapping[str, Any],
        now: datetime,
        *,
        expect: int | Session | None,
        replace: bool,
    ) -> Session:
        """Make `state` the session's state.

        What is written builds on what was looked at just before, and on nothing else. Where nobody
        expects anything, and somebody else was quicker, it looks again.
        """
        check_state(session_id, state)
        for _ in range(MAX_ATTEMPTS):
            head, life = await self._look(session_id)
            _check_expected(session_id, life, expect)
            put = await self._following(session_id, head, life, state, now, replace=replace)
            try:
                return await self._put(put)
            except (ConflictError, SessionExistsError) as error:
                if expect is not None or getattr(error, "holder", "") != "":
                    raise
        raise ConflictError(
            f"others wrote session {session_id!r} all the time; nothing was written: try again",
            session=session_id,
        )

    async def update(
        self, session_id: str, change: Change[T], now: datetime, *, replace: bool, attempts: int
    ) -> T:
        """Change a session's state; where others were quicker, change what they wrote.

        Raises:
            one of OVERTAKEN: others were quicker each time; nothing was written.
        """
        for left in reversed(range(attempts)):
            head, life = await self._look(session_id)
            state = {} if head is None else (await self._states.read(session_id, head))[0]
            result = change(state)
            check_state(session_id, state)
            put = await self._following(session_id, head, life, state, now, replace=replace)
            try:
                await self._checkpoints.writing.put(put, self._serde)
                return result
            except OVERTAKEN:
                if not left:
                    raise
        raise AssertionError  # there is at least one attempt

    async def _following(
        self,
        session_id: str,
        head: Head | None,
        life: Life | None,
        state: Mapping[str, Any],
        now: datetime,
        *,
        replace: bool,
    ) -> Put:
        """The checkpoint with a new state, after what was looked at."""
        if head is None:
            return self._states.first(session_id, state, now, life)
        if not replace and step_after(session_id, head.stored).questions:
            raise ConflictError(
                f"session {session_id!r} waits for an answer to an interrupt: resume it, or pass "
                "replace=True to write over it",
                session=session_id,
            )
        return await self._states.following(session_id, head, state, now)

    async def prune(self, session_id: str, keep_last: int) -> int:
        """Drop a session's earlier checkpoints; see `Sessions.prune`."""
        choice = choice_of("keep_last", keep_last)
        assert choice is not None  # noqa: S101 -- only "delete" chooses nothing
        return await self._checkpoints.pruning.prune(session_id, choice, self._serde)

    async def _put(self, put: Put) -> Session:
        """Write a state, and read it back: as it was written, whatever others wrote since."""
        await self._checkpoints.writing.put(put, self._serde)
        written = await self.load(put.session, put.name[1])
        written.revision = 1 if put.revision is None else put.revision + 1
        written.life = replace(written.life, revision=written.revision)
        return written

    async def delete(self, session_id: str, owner: str | None) -> bool:
        """Delete a session."""
        return await self._checkpoints.pruning.delete(session_id, owner)

    async def fork(self, session_id: str, new_id: str, at: str | None) -> Session:
        """Copy a session to a new id, as it was at one of its checkpoints."""
        await self.load(session_id, at)  # what cannot be read is not copied
        if at is None:
            if await self._checkpoints.pruning.copy(session_id, new_id) is None:
                not_found(session_id)
            return await self.load(new_id, None)
        if await self._store.info(new_id) is not None:
            _taken(session_id, new_id)
        staging = StagingId(secrets.token_hex(16))
        try:
            await self._fork_at(session_id, staging, new_id, at)
        except Exception:
            await self._drop(staging)
            raise
        await self._drop(staging)
        return await self.load(new_id, None)

    async def _drop(self, staging: str) -> None:
        """Delete what a fork was made from; if it cannot be, it goes at its deadline."""
        with suppress(WrenSessionsError):
            await self._checkpoints.pruning.delete(staging)

    async def _fork_at(self, session_id: str, staging: str, new_id: str, at: str) -> None:
        """Copy a session, cut the copy down to what it was at `at`, and put it in its place."""
        pruning = self._checkpoints.pruning
        if await pruning.copy(session_id, staging) is None:
            not_found(session_id)
        await pruning.prune(
            staging, lambda survey: _not_before(survey, session_id, at), self._serde, latest=at
        )
        try:
            made = await pruning.copy(staging, new_id)
        except SessionExistsError:
            _taken(session_id, new_id)
        if made is None:
            raise ConflictError(
                f"the fork of session {session_id!r} was evicted before it was complete, and "
                "nothing of it is left: try again, or give the store more room",
                session=session_id,
            )


def not_found(session_id: str, at: str | None = None) -> NoReturn:
    """Raise the error for a session or checkpoint that does not exist."""
    what = f"session {session_id!r}" if at is None else f"checkpoint {at!r} of {session_id!r}"
    raise SessionNotFoundError(
        f"{what} was not found or has expired: check its id and the store's URL, prefix and "
        "lifetime",
        session=session_id,
    )


def _taken(session_id: str, new_id: str) -> NoReturn:
    raise SessionExistsError(
        f"cannot fork session {session_id!r}: {new_id!r} is there already; choose another id, or "
        "delete it first",
        session=new_id,
    ) from None


def _empty(session_id: str, life: Life) -> Session:
    return Session(
        id=session_id,
        state={},
        checkpoint_id=None,
        revision=life.revision,
        life=life,
        metadata={},
        waiting=False,
    )


def _check_expected(session_id: str, life: Life | None, expect: object) -> None:
    """Check that a session has not changed since the caller loaded it."""
    if expect is None:
        return
    if not isinstance(expect, Session) and type(expect) is not int:
        raise ConfigurationError(
            "expect must be the Session that was loaded, or its revision, not a "
            f"{type(expect).__name__}"
        )
    if life is None:
        not_found(session_id)
    if isinstance(expect, Session):
        same = (life.incarnation, life.revision) == (expect.life.incarnation, expect.revision)
    else:
        same = life.revision == expect
    if not same:
        conflict(session_id)


def _not_before(survey: Survey, session_id: str, at: str) -> set[Name]:
    """The records of the root namespace that are neither a checkpoint nor before it."""
    if ("", at) not in survey.entries:  # dropped since it was looked for
        not_found(session_id, at)
    chain: set[Name] = set()
    name: Name | None = ("", at)
    while name is not None and name in survey.entries and name not in chain:
        chain.add(name)
        name = survey.entries[name].parent
    return {name for name in survey.entries if name[0] == "" and name not in chain}
