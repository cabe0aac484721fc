"""Turns: one writer at a time.

Only the holder of a session's turn can write the session. The store keeps the turn inside the
session and checks it on each commit. So a process that has lost its turn cannot write, even if it
does not know. A turn lasts for a limited time, and is renewed in the background while its holder
lives. So a session is free again soon after its holder died. If a holder is paused for longer, its
writes are refused.

A turn belongs to a context (`contextvars`). Threads and tasks that LangGraph starts for a run are
in this context, and their writes carry the turn's token. Inside a turn, taking a turn of the same
session again gives the same turn. In a blocking run, LangGraph stores the writes of tasks that ran
side by side from threads without a context. For these, a turn remembers the contexts of its runs.

Waiters are in a queue that the store keeps. The first waiter asks more often than the others, and
gets the turn next. A place in the queue is kept for `PATIENCE_MS` after the waiter last asked.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Hashable, Mapping
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Final, Literal, Self, TypeAlias
from weakref import WeakValueDictionary

from wren_sessions._blocking import LRU, Lock
from wren_sessions.checkpoints.outcomes import busy
from wren_sessions.delta.protection import unprotected
from wren_sessions.errors import ConfigurationError, WrenSessionsError
from wren_sessions.keys import check_session, encode
from wren_sessions.protocols import AsyncTurnStore, SessionStore, TurnStore, taking_turns
from wren_sessions.records import TurnState, TurnStep
from wren_sessions.ttl import Duration, to_ms

logger: Final = logging.getLogger("wren_sessions")

Concurrency: TypeAlias = Literal["last", "reject", "wait"]

PATIENCE_MS: Final = 2_000
_FIRST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.1  # of the first in the queue; the others ask half as often
_LENT: Final = 256  # runs that a turn remembers: more than go on at the same time
_KEEPS: Final = 3  # how often a turn is renewed in the time that it lasts

Where: TypeAlias = Hashable

turns_on: ContextVar[Mapping[tuple[Where, str], Turn] | None] = ContextVar("turns", default=None)
"""The turns of this context, by store and session; some may be over. None for none."""

turns_here: Final[WeakValueDictionary[tuple[Where, str], Turn]] = WeakValueDictionary()
"""The turns of this process, by store and session."""


def where(store: SessionStore) -> Where:
    """What is equal for two stores that have the same sessions, as far as that is known."""
    if store.persistent:
        return store.location, store.keys.prefix
    return id(unprotected(store))


class Rules:
    """What holds for the writers of a store.

    Args:
        store: the store.
        concurrency: ``"last"`` to let everybody write who finds nobody's turn; otherwise what is
            written without a turn must continue the latest checkpoint.
    """

    __slots__ = ("_where", "latest")

    def __init__(self, store: SessionStore, concurrency: Concurrency = "last") -> None:
        self._where = where(store)
        self.latest: bool = concurrency != "last"

    def token(self, session: str) -> str | None:
        """The token of the turn that is on in this context; None for none."""
        turn = (turns_on.get() or {}).get((self._where, session))
        return turn.token if turn and not turn.over else None

    def lend(self, session: str, run: object) -> None:
        """Remember the context of a run that is in a turn.

        `run` is what all calls of the run have, and no other run has. If there is no such thing
        (None), nothing is remembered.
        """
        turn = (turns_on.get() or {}).get((self._where, session))
        if run is not None and turn is not None and not turn.over:
            with turn.lending:
                turn.lent.keep(id(run), (run, copy_context()))

    def lent(self, session: str, run: object) -> Context | None:
        """A copy of that context; None for a run that is in no turn."""
        turn = turns_here.get((self._where, session))
        if turn is None:
            return None
        with turn.lending:
            found = turn.lent.used(id(run))
        return found[1].copy() if found is not None and found[0] is run else None


def token_in(rules: Rules | None, session: str) -> str | None:
    """The token of the turn that is on in this context, where there may be no rules."""
    return rules.token(session) if rules else None


def _still_on() -> dict[tuple[Where, str], Turn]:
    """The turns that are on in this context."""
    return {key: turn for key, turn in (turns_on.get() or {}).items() if not turn.over}


class Turn:
    """The exclusive right to write a session, for one ``with`` or ``async with`` block.

    Args:
        store: the store.
        session: the session, which need not exist.
        wait: how long to wait for the turn; None for as long as it takes, 0 for no wait.
        ttl: how long it lasts if its process dies.
        holder: the name of the holder in the errors of others; None for the machine and process id.

    Attributes:
        session: the session.
        holder: who has it.
        token: random text that identifies it in the store.
        over: whether it has ended, or was never taken.
        lent: the contexts of the runs in it, the last ones; see `Rules.lend`.
        lending: the lock of `lent`.

    Raises:
        ConfigurationError: the store has no turns, or an argument has the wrong type.
        InvalidSessionIdError: the session's id is not valid.
    """

    def __init__(
        self,
        store: SessionStore,
        session: str,
        *,
        wait: Duration | None = None,
        ttl: Duration = "30s",
        holder: str | None = None,
    ) -> None:
        check_session(session)
        taking_turns(store)
        if holder is not None:
            encode(holder)
        if holder in {"", "-"}:
            raise ConfigurationError("holder must be a name, such as 'worker-1'")
        self.session = session
        self.holder: str = f"{socket.gethostname()}/{os.getpid()}" if holder is None else holder
        self.token: str = secrets.token_urlsafe(12)
        self.over: bool = True
        self.lent: LRU[int, tuple[object, Context]] = LRU(_LENT)
        self.lending: Lock = Lock()
        self._store = store
        self._key = (where(store), session)
        self._wait_s = None if wait is None else to_ms(wait, "wait", least_ms=0) / 1_000
        self._ttl_ms = to_ms(ttl, "ttl")
        self._pause_s = _FIRST_PAUSE_S
        self._ahead = 0
        self._since = 0.0
        self._left = threading.Event()
        self._entered = threading.Lock()
        self._keeping: asyncio.Task[None] | None = None

    def _step(self, what: Literal["take", "keep", "leave"]) -> TurnStep:
        return TurnStep(
            session=self.session,
            token=self.token,
            what=what,
            ttl_ms=self._ttl_ms,
            patience_ms=0 if self._wait_s == 0 else PATIENCE_MS,
            holder=self.holder,
        )

    def _inside(self) -> bool:
        """Whether this context has the session's turn already.

        Raises:
            ConfigurationError: it was entered before: its token would let two in at once.
        """
        if not self._entered.acquire(blocking=False):
            raise ConfigurationError(
                f"this turn of session {self.session!r} was taken before, and one is of one block: "
                "call sessions.turn(…) again for each"
            )
        turn = (turns_on.get() or {}).get(self._key)
        self._since = time.monotonic()
        return turn is not None and not turn.over

    def _began(self) -> None:
        self.over = False
        turns_here[self._key] = self
        turns_on.set({**_still_on(), self._key: self})

    def _ended(self) -> None:
        self.over = True
        with self.lending:
            self.lent.clear()
        if turns_here.get(self._key) is self:
            del turns_here[self._key]
        turns_on.set(_still_on() or None)

    def _pause(self, state: TurnState) -> float:
        """How long to wait before asking again.

        Raises:
            ConflictError: there is no time left.
        """
        left_s = 1.0
        if self._wait_s is not None:
            left_s = self._since + self._wait_s - time.monotonic()
            if left_s <= 0:
                busy(self.session, state)
        if state.ahead < self._ahead:  # the queue moves: it is soon one's turn
            self._pause_s = _FIRST_PAUSE_S * (state.ahead + 1)
        self._ahead = state.ahead
        pause_s, longest_s = self._pause_s, _LONGEST_PAUSE_S * min(state.ahead + 1, 2)
        self._pause_s = min(pause_s * 1.5, longest_s)
        return min(pause_s, left_s)

    def _unreachable(self, error: WrenSessionsError) -> None:
        logger.warning(
            "the turn of session %r could not be given back, and ends by itself within %d ms: %s",
            self.session,
            self._ttl_ms,
            error,
        )

    # --- blocking ---

    def __enter__(self) -> Self:
        if self._inside():
            return self
        store = taking_turns(self._store)
        try:
            while not (state := store.turn(self._step("take"))).mine:
                time.sleep(self._pause(state))
        except BaseException:
            with suppress(WrenSessionsError):
                store.turn(self._step("leave"))
            raise
        keep = partial(copy_context().run, self._keep, store)
        threading.Thread(target=keep, name="wren-turn", daemon=True).start()
        self._began()
        return self

    def _keep(self, store: TurnStore) -> None:
        """Keep the turn on, in a thread of its own, until it is left or was lost."""
        while not self._left.wait(self._ttl_ms / _KEEPS / 1_000):
            with suppress(WrenSessionsError):  # the next try may be in time
                if not store.turn(self._step("keep")).mine:
                    return

    def __exit__(self, *_: object) -> None:
        if self.over:
            return
        self._ended()
        self._left.set()
        try:
            taking_turns(self._store).turn(self._step("leave"))
        except WrenSessionsError as failed:
            self._unreachable(failed)

    # --- asynchronous ---

    async def __aenter__(self) -> Self:
        if self._inside():
            return self
        store: AsyncTurnStore = self._store.aio  # type: ignore[assignment] # as the blocking API
        try:
            while not (state := await store.turn(self._step("take"))).mine:  # noqa: ASYNC110 -- the store tells
                await asyncio.sleep(self._pause(state))
        except BaseException:
            with suppress(WrenSessionsError):
                await store.turn(self._step("leave"))
            raise
        self._keeping = asyncio.create_task(self._akeep(store))
        self._began()
        return self

    async def _akeep(self, store: AsyncTurnStore) -> None:
        """Keep the turn on, in a task of its own, until it is left or was lost."""
        while True:
            await asyncio.sleep(self._ttl_ms / _KEEPS / 1_000)
            with suppress(WrenSessionsError):
                if not (await store.turn(self._step("keep"))).mine:
                    return

    async def __aexit__(self, *_: object) -> None:
        if self.over:
            return
        self._ended()
        if self._keeping is not None:
            self._keeping.cancel()
        store: AsyncTurnStore = self._store.aio  # type: ignore[assignment] # as the blocking API
        try:
            await store.turn(self._step("leave"))
        except WrenSessionsError as failed:
            self._unreachable(failed)
