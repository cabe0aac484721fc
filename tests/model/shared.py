"""A state machine of one `Sessions` that many use: what one loads, another has changed since.

Hypothesis draws the commands, and what others do on the same object while an answer of the store is
on its way. The model keeps the states of every session, one for each revision. So it knows which
state a loaded session must have, and which save comes too late.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, TypeAlias, cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule

from model.backends import Backend
from wren_sessions import (
    ConflictError,
    Session,
    SessionExistsError,
    SessionGoneError,
    SessionNotFoundError,
    Sessions,
    TTLPolicy,
)
from wren_sessions.protocols import SessionStore

NAMES: Final = ("a", "b")
DELAYED: Final = ("load", "info", "commit")
REFUSED: Final = (ConflictError, SessionGoneError, SessionNotFoundError)

State: TypeAlias = dict[str, Any]
Face: TypeAlias = AbstractContextManager[asyncio.Runner | None]


class Late:
    """A store whose answers arrive late: something happens once after one was given.

    Args:
        store: the store, or its awaitable face.
        waiting: by method, what happens while its next answer is on its way.
    """

    def __init__(self, store: Any, waiting: dict[str, Callable[[], None]]) -> None:
        self._store = store
        self._waiting = waiting

    @property
    def aio(self) -> Late:
        """The other face, as late."""
        return Late(self._store.aio, self._waiting)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in DELAYED:
            return method

        async def awaited(answer: Any) -> Any:
            found = await answer
            self._waiting.pop(name, int)()
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = method(*args, **kwargs)
            if asyncio.iscoroutine(answer):
                return awaited(answer)
            self._waiting.pop(name, int)()
            return answer

        return call


@dataclass(frozen=True, eq=False)
class DeltaBase:
    """A session at one of its revisions, as the model has it.

    Attributes:
        states: the state of each revision so far; None for a session that was made empty.
    """

    states: tuple[State | None, ...]

    def is_like(self, session: Session) -> bool:
        """Whether a session was loaded when it was like this."""
        return (session.state, session.revision) == (self.states[-1] or {}, len(self.states))


class Loaded(NamedTuple):
    """What was loaded, and what the model had then."""

    session: Session
    known: DeltaBase


class Change(NamedTuple):
    """What somebody else does: saves a state in any case, or (None) deletes the session."""

    name: str
    state: State | None


class Meanwhile(NamedTuple):
    """What others do while the first answer of a method is on its way."""

    method: str
    changes: list[Change]

    def touches(self, name: str) -> bool:
        """Whether one of them is made to a session."""
        return any(change.name == name for change in self.changes)

    def deletes(self, name: str) -> bool:
        """Whether one of them deletes a session."""
        return Change(name, None) in self.changes


names = st.sampled_from([*NAMES, NAMES[0]])
states: st.SearchStrategy[State] = st.dictionaries(
    st.sampled_from(["n", "a:b", "__log"]),
    st.integers(0, 3) | st.just("x" * 3_000) | st.lists(st.integers(0, 2), max_size=2),
    max_size=3,
)
changes = st.lists(st.builds(Change, names, states | states | st.none()), max_size=2)
meanwhiles = st.builds(Meanwhile, st.sampled_from(DELAYED), changes)


class SharedMachine(RuleBasedStateMachine):
    """The commands; see the module.

    Args:
        backend: where the store is.
        runner: runs the asynchronous face of `Sessions`; with None the blocking one is used.
        wrap: makes of a store the one to use, such as one that encrypts.
    """

    loaded = Bundle("loaded")

    def __init__(
        self,
        backend: Backend,
        runner: Face | None = None,
        wrap: Callable[[SessionStore], SessionStore] = lambda store: store,
    ) -> None:
        super().__init__()
        self.backend = backend
        self.known: dict[str, DeltaBase] = {}
        self.overwritten: DeltaBase | None = None
        self.waiting: dict[str, Callable[[], None]] = {}
        self.store = cast("SessionStore", Late(wrap(backend.open(TTLPolicy())), self.waiting))
        self.face = runner or nullcontext()
        self.runner = self.face.__enter__()

    @initialize(state=states, cache_bytes=st.sampled_from([0, 1_000_000]))
    def begin(self, state: State, cache_bytes: int) -> None:
        """There is a session."""
        self.sessions = Sessions(self.store, cache_bytes=cache_bytes)
        self.change([Change(NAMES[0], state)])

    def teardown(self) -> None:
        """All sessions are as the model has them, unless something else went wrong."""
        try:
            if sys.exc_info()[0] is None:
                for name in NAMES:
                    self.load(name, Meanwhile("load", []))
        finally:
            self.face.__exit__(None, None, None)
            self.backend.close()

    # --- calling ----------------------------------------------------------------------------------

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of one face."""
        if self.runner is None:
            return getattr(self.sessions, method)(*args, **kwargs)
        return self.runner.run(getattr(self.sessions.aio, method)(*args, **kwargs))

    def edit(self, name: str, state: State, seen: list[Session]) -> None:
        """Make a state of a session in an ``edit`` block, and say what was seen in it."""

        def change(session: Session) -> None:
            seen.append(replace(session))
            session.state = state

        async def edit() -> None:
            async with self.sessions.aio.edit(name) as session:
                change(session)

        if self.runner is not None:
            self.runner.run(edit())
            return
        with self.sessions.edit(name) as session:
            change(session)

    @contextmanager
    def during(self, meanwhile: Meanwhile, committed: Callable[[], object] = int) -> Iterator[None]:
        """Others change sessions during a call; where it has committed, that comes first."""

        def happen() -> None:
            if meanwhile.method == "commit":
                committed()
            self.change(meanwhile.changes)

        self.waiting[meanwhile.method] = happen
        try:
            yield
        finally:
            self.waiting.clear()

    def change(self, made: Sequence[Change]) -> None:
        """Others change sessions, on the same object; that takes time."""
        for name, state in made:
            if self.backend.clock is not None:
                self.backend.clock.advance("1ms")
            if state is None:
                assert self.sessions.delete(name) == (self.known.pop(name, None) is not None)
            else:
                session = self.sessions.save(name, state)
                assert self.write(name, state).is_like(session)

    def write(self, name: str, state: State | None) -> DeltaBase:
        """Let the model have a state on top of what there is."""
        before = self.known[name].states if name in self.known else ()
        self.known[name] = DeltaBase((*before, state))
        return self.known[name]

    # --- commands ---------------------------------------------------------------------------------

    @rule(target=loaded, name=names, meanwhile=meanwhiles)
    def load(self, name: str, meanwhile: Meanwhile) -> Any:
        """Load a session: all of it is as it was before the changes, or all as it is after them."""
        before = self.known.get(name)
        with self.during(meanwhile):
            found = self.call("get", name)
        possible = {before, self.known.get(name)}
        if found is None:
            assert None in possible
            return multiple()
        fitting = [known for known in possible if known and known.is_like(found)]
        assert fitting, f"revision {found.revision} never had the state {found.state}"
        return Loaded(found, fitting[0]) if len(fitting) == 1 else multiple()

    @rule(target=loaded, name=names, state=st.none() | states, others=changes)
    def create(self, name: str, state: State | None, others: list[Change]) -> Any:
        """Create a session, unless it is there."""
        if name in self.known:
            with pytest.raises(SessionExistsError):
                self.call("create", name, state=state)
            return multiple()
        meanwhile = Meanwhile("commit", others)
        return self.attempt(lambda: self.call("create", name, state=state), name, state, meanwhile)

    @rule(target=loaded, name=names, state=states, meanwhile=meanwhiles)
    def save(self, name: str, state: State, meanwhile: Meanwhile) -> Any:
        """Save a state in any case; only a session that went away meanwhile is left alone."""
        before = self.known.get(name)
        found = self.attempt(lambda: self.call("save", name, state), name, state, meanwhile)
        if isinstance(found, Exception):
            assert isinstance(found, SessionGoneError)
            assert before
            assert meanwhile.deletes(name)
            return multiple()
        return found

    @rule(target=loaded, held=loaded, state=states, meanwhile=meanwhiles)
    def save_if_as_loaded(self, held: Loaded, state: State, meanwhile: Meanwhile) -> Any:
        """Save a state that builds on what was loaded some time ago, unless that has changed."""
        name, expect = held.session.id, held.session
        found = self.attempt(
            lambda: self.call("save", name, state, expect=expect), name, state, meanwhile
        )
        if isinstance(found, Exception):
            assert self.known.get(name) is not held.known
            return multiple()
        assert self.overwritten is held.known
        return found

    @rule(held=loaded, state=states, meanwhile=meanwhiles)
    def save_if_of_that_revision(self, held: Loaded, state: State, meanwhile: Meanwhile) -> None:
        """Save a state under the condition of a revision, which is all that is compared."""
        name, expect = held.session.id, held.session.revision
        found = self.attempt(
            lambda: self.call("save", name, state, expect=expect), name, state, meanwhile
        )
        if isinstance(found, Exception):
            there = self.known.get(name)
            assert there is None or len(there.states) != expect or meanwhile.touches(name)
        else:
            assert self.overwritten
            assert len(self.overwritten.states) == expect

    @rule(name=names, state=states, meanwhile=meanwhiles)
    def edit_one(self, name: str, state: State, meanwhile: Meanwhile) -> None:
        """Edit a session: what is saved takes the place of what was seen, and of nothing else."""
        there = name in self.known
        seen: list[Session] = []
        found = self.attempt(lambda: self.edit(name, state, seen), name, state, meanwhile)
        if isinstance(found, Exception):
            assert not there or meanwhile.touches(name)
        else:
            assert self.overwritten
            assert self.overwritten.is_like(seen[0])

    @rule(name=names)
    def delete(self, name: str) -> None:
        """Delete a session."""
        self.change([Change(name, None)])

    def attempt(
        self, call: Callable[[], Any], name: str, state: State | None, meanwhile: Meanwhile
    ) -> Any:
        """Make a call that is to save a state; give what was saved, or why nothing was."""
        mine: list[DeltaBase] = []

        def committed() -> None:
            self.overwritten = self.known.get(name)
            mine.append(self.write(name, state))

        with self.during(meanwhile, committed):
            try:
                session = call()
            except REFUSED as error:
                if not mine:
                    return error
                # It was saved, and deleted before it was read back.
                assert meanwhile.deletes(name)
                return multiple()
        if not mine:
            committed()
        if session is None:  # an edit gives nothing back
            return multiple()
        assert mine[0].is_like(session), (session, mine)
        return Loaded(session, mine[0])
