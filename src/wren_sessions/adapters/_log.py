"""A framework's messages as a list in a session's state.

Adding a message takes one read and one write. The number of bytes does not depend on how many
messages there are: the store keeps a list in extents, and a process remembers those that it has
read. Changes go through `Sessions.update`, so a message that another caller adds at the same time
is not lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, Generic, TypeVar

from wren_sessions.errors import ConfigurationError, SerializationError
from wren_sessions.keys import check_session
from wren_sessions.sessions import Sessions

M = TypeVar("M")
ELSEWHERE: Final = "Use another session, or keep messages under another name: messages='items'"


@contextmanager
def needing(package: str, extra: str) -> Iterator[None]:
    """Say what to install if the framework cannot be imported in this block."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"this adapter needs {package}: pip install 'wren-sessions[{extra}]' ({error})",
            name=error.name,
        ) from error


class _NothingThere(Exception):  # noqa: N818 -- stops an update that would change nothing
    """There are no messages."""


class MessageLog(Generic[M]):
    """The messages of one session.

    Args:
        sessions: where the session is.
        session_id: its id; the session is created with the first message.
        name: the key of the messages in its state.
        kind: the class of messages.
        called: what the framework calls them, for errors.

    Raises:
        ConfigurationError: an argument has the wrong type.
        InvalidSessionIdError: the session id is not valid.
    """

    def __init__(
        self, sessions: Sessions, session_id: str, name: str, kind: type[M] | Any, called: str
    ) -> None:
        if not isinstance(sessions, Sessions):
            raise ConfigurationError(
                f"sessions must be Sessions, not a {type(sessions).__name__}: pass "
                "Sessions(open_store(url))"
            )
        if not name:
            raise ConfigurationError("messages must be the name of a key of the state: 'messages'")
        check_session(session_id)
        self.sessions: Final = sessions
        self.session_id: Final = session_id
        self._name = name
        self._kind = kind
        self._called = called

    # --- changes of a state ---

    def _read(self, state: Mapping[str, Any]) -> list[M]:
        found = state.get(self._name, [])
        if not isinstance(found, list):
            found = [found]
        for each in found:
            if not isinstance(each, self._kind):
                raise SerializationError(
                    f"{self._name!r} of session {self.session_id!r} holds a {type(each).__name__}, "
                    f"and not only {self._called}: something else wrote it. {ELSEWHERE}"
                )
        return found

    def _added(self, messages: Sequence[M]) -> Callable[[dict[str, Any]], None] | None:
        """The change that adds messages; None if there are none to add."""
        if isinstance(messages, str | bytes | Mapping):
            raise SerializationError(f"pass a list of {self._called}, not a single value")
        new = list(messages)
        for each in new:
            if not isinstance(each, self._kind):
                raise SerializationError(
                    f"a {type(each).__name__} is not one of {self._called}; nothing was written"
                )

        def add(state: dict[str, Any]) -> None:
            state[self._name] = [*self._read(state), *new]

        return add if new else None

    def _popped(self, state: dict[str, Any]) -> M:
        found = self._read(state)
        if not found:
            raise _NothingThere
        state[self._name] = found[:-1]
        return found[-1]

    def _cleared(self, state: dict[str, Any]) -> None:
        if not self._read(state):
            raise _NothingThere
        state[self._name] = []

    # --- blocking ---

    def load(self) -> list[M]:
        """All messages."""
        found = self.sessions.get(self.session_id)
        return [] if found is None else self._read(found.state)

    def add(self, messages: Sequence[M]) -> None:
        """Add messages, all or none."""
        change = self._added(messages)
        if change is not None:
            self.sessions.update(self.session_id, change)

    def pop(self) -> M | None:
        """Remove and return the last message; None if there is none."""
        with suppress(_NothingThere):
            return self.sessions.update(self.session_id, self._popped)
        return None

    def clear(self) -> None:
        """Remove all messages, and the earlier checkpoints, which contain them."""
        with suppress(_NothingThere):
            self.sessions.update(self.session_id, self._cleared)
        self.sessions.prune(self.session_id)

    # --- asynchronous ---

    async def aload(self) -> list[M]:
        """See `load`."""
        found = await self.sessions.aio.get(self.session_id)
        return [] if found is None else self._read(found.state)

    async def aadd(self, messages: Sequence[M]) -> None:
        """See `add`."""
        change = self._added(messages)
        if change is not None:
            await self.sessions.aio.update(self.session_id, change)

    async def apop(self) -> M | None:
        """See `pop`."""
        with suppress(_NothingThere):
            return await self.sessions.aio.update(self.session_id, self._popped)
        return None

    async def aclear(self) -> None:
        """See `clear`."""
        with suppress(_NothingThere):
            await self.sessions.aio.update(self.session_id, self._cleared)
        await self.sessions.aio.prune(self.session_id)
