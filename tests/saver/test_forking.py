"""A fork at an earlier checkpoint appears whole, as it was there, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, Final

import pytest

from saver.backends import Backend
from wren_sessions import (
    Encryption,
    SessionExistsError,
    SessionNotFoundError,
    Sessions,
    StoreUnavailableError,
)
from wren_sessions.protocols import SessionStore
from wren_sessions.stores.protected import ProtectedStore

METHODS: Final = ("info", "load", "scan", "heads", "read", "commit", "prune", "copy", "delete")


class Broken:
    """Lets the store fail at one of its calls, and at all after it until it is mended.

    Args:
        store: its methods are replaced.
        at: the number of the call, from 0.
        after: whether the call is made and only its answer is lost.
    """

    def __init__(self, store: SessionStore, at: int, *, after: bool) -> None:
        self.failed = False
        self._numbers = count()
        self._at, self._after = at, after
        self._store: Any = store
        self._kept = {name: getattr(store, name) for name in METHODS}
        for name, method in self._kept.items():
            setattr(store, name, self._breaking(method))

    def _breaking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            number = next(self._numbers)
            if number == self._at and self._after:
                method(*args, **kwargs)
            if number >= self._at:
                self.failed = True
                raise StoreUnavailableError("down")
            return method(*args, **kwargs)

        return call

    def mend(self) -> None:
        """Put the methods back."""
        for name, method in self._kept.items():
            setattr(self._store, name, method)


def written(sessions: Sessions) -> str:
    """A session of three states; the id of the first one's checkpoint."""
    first = sessions.save("s", {"n": 1}).checkpoint_id
    for number in (2, 3):
        sessions.save("s", {"n": number})
    assert first is not None
    return first


def names(store: SessionStore) -> set[str]:
    """The ids of all sessions."""
    return {info.session for info in store.list_sessions(limit=1_000).sessions}


def plain(store: SessionStore) -> SessionStore:
    """The store as it is."""
    return store


def encrypted(store: SessionStore) -> SessionStore:
    """The store, sealed."""
    return ProtectedStore(store, encryption=Encryption([("key", bytes(32))]))


@pytest.mark.parametrize("protect", [plain, encrypted])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_fork_that_fails_anywhere(
    backend: Backend, protect: Callable[[SessionStore], SessionStore], *, after: bool
) -> None:
    """Whichever call fails: the fork is there as it was asked for, or is not and can be made."""
    below = backend.store()
    sessions = Sessions(protect(below))
    first = written(sessions)
    for at in count():
        broken = Broken(below, at, after=after)
        try:
            sessions.fork("s", "fork", at=first)
        except StoreUnavailableError:
            pass
        finally:
            broken.mend()
        there = sessions.get("fork")
        assert names(below) == {"s"} | ({"fork"} if there else set())
        if there is None:
            there = sessions.fork("s", "fork", at=first)
        assert there.state == {"n": 1}
        assert sessions.load("s").state == {"n": 3}
        sessions.delete("fork")
        if not broken.failed:
            assert at > 5
            return


def test_a_fork_is_refused_before_anything_is_copied(backend: Backend) -> None:
    """An id that is taken, and a checkpoint that is not there, leave all as it was."""
    store = backend.store()
    sessions = Sessions(store)
    first = written(sessions)
    sessions.save("taken", {"theirs": True})
    with pytest.raises(SessionExistsError, match="'taken' is there already"):
        sessions.fork("s", "taken", at=first)
    with pytest.raises(SessionNotFoundError, match="checkpoint 'never' of 's'"):
        sessions.fork("s", "new", at="never")
    assert names(store) == {"s", "taken"}
    assert sessions.load("taken").state == {"theirs": True}


def test_a_fork_of_a_session_that_goes_on(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others do meanwhile: the id is taken, or the checkpoint is dropped. Both are errors."""
    store = backend.store()
    sessions, others = Sessions(store), Sessions(store)
    first = written(sessions)
    copy: Any = store.copy
    meanwhile: Any = None

    def copying(source: str, target: str, **how: Any) -> Any:
        meanwhile(source)
        return copy(source, target, **how)

    def taken(source: str) -> None:
        if source != "s":
            others.save("fork", {"theirs": True})

    def replaced(source: str) -> None:
        if source == "s":
            others.delete("s")
            others.save("s", {"n": 9})

    monkeypatch.setattr(store, "copy", copying)
    meanwhile = taken
    with pytest.raises(SessionExistsError, match="'fork' is there already"):
        sessions.fork("s", "fork", at=first)
    assert sessions.load("fork").state == {"theirs": True}
    meanwhile = replaced
    with pytest.raises(SessionNotFoundError, match="of 's'"):
        sessions.fork("s", "new", at=first)
    assert names(store) == {"s", "fork"}
