"""The owners of a memory store's sessions: for each owner, the sessions by time of writing.

It takes no lock: the store does.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from wren_sessions.keys import StagingId
from wren_sessions.stores.memory.session import Session


class Owners:
    """The names of owned sessions, in order."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[str, int]] = {}
        self._owned: dict[str, list[tuple[int, str]]] = {}

    def note(self, name: str, session: Session) -> None:
        """Put a session where it belongs now."""
        owner = session.notes.owner
        if owner is None:
            self.drop(name)
        elif self._places.get(name) != (owner, session.updated_ms) and type(name) is not StagingId:
            self.drop(name)
            self._places[name] = owner, session.updated_ms
            insort(self._owned.setdefault(owner, []), (session.updated_ms, name))

    def drop(self, name: str) -> None:
        """Forget a session, if it is here."""
        place = self._places.pop(name, None)
        if place is None:
            return
        owner, updated_ms = place
        owned = self._owned[owner]
        del owned[bisect_left(owned, (updated_ms, name))]
        if not owned:
            del self._owned[owner]

    def rebuild(self, sessions: Iterable[tuple[str, Session]]) -> None:
        """Work out everything anew."""
        self._places, self._owned = {}, {}
        for name, session in sessions:
            self.note(name, session)

    def page(self, owner: str, before: tuple[int, str] | None, limit: int) -> list[tuple[int, str]]:
        """At most `limit` names with their times, the latest first, behind one of them."""
        owned = self._owned.get(owner, [])
        end = len(owned) if before is None else bisect_left(owned, before)
        return owned[max(0, end - limit) : end][::-1]

    def count(self, owner: str) -> int:
        """How many sessions an owner has."""
        return len(self._owned.get(owner, ()))
