"""All sessions of a memory store: by id, last use, deadline and owner. No lock, no clock.

Three orders are kept, each as cheaply as possible: a dict in the order of last use (for eviction),
a sorted list of ids (for listings), and a heap of deadlines (for sweeping). The heap has at most
one valid entry per session. If a deadline moves later, its entry is not updated. It is put back
when it comes up too early. So renewing a session, which every write does, costs nothing. `Owners`
keeps those that have an owner in the order in which they were written.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from heapq import heapify, heappop, heappush

from wren_sessions.errors import StoreUnavailableError
from wren_sessions.keys import StagingId
from wren_sessions.stores.memory.session import Session

_SWEEP_AT_ONCE = 16
_STALE_ENTRIES = 64


class Owners:
    """The names of owned sessions: for each owner, in the order in which they were written."""

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


class SessionIndex:
    """The sessions, and the bounds on them; None is no bound."""

    def __init__(self, max_sessions: int | None, max_bytes: int | None) -> None:
        self._max_sessions = max_sessions
        self._max_bytes = max_bytes
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._ids: list[str] = []
        self._heap: list[tuple[int, str]] = []
        self._due_ms: dict[str, int] = {}
        self.owners: Owners = Owners()
        self.size_bytes: int = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, name: str, now_ms: int) -> Session | None:
        """A session, or None if it is not there or has expired."""
        session = self._sessions.get(name)
        if session is None or session.deadline_ms is None or session.deadline_ms > now_ms:
            return session
        self.drop(name)
        return None

    def used(self, name: str, now_ms: int) -> Session | None:
        """The same, and it is the most recently used one from now on."""
        session = self._sessions.get(name)
        if session is None or (session.deadline_ms is not None and session.deadline_ms <= now_ms):
            return self.find(name, now_ms)
        self._sessions.move_to_end(name)
        return session

    def keep(self, name: str, session: Session) -> None:
        """Put a session there, used now, in the place of one that has its id."""
        there = self._sessions.get(name)
        self._sessions[name] = session
        self._sessions.move_to_end(name)
        if there is None:
            insort(self._ids, name)
        self.size_bytes += session.size_bytes - (there.size_bytes if there else 0)
        if session.notes.owner is not None or there:
            self.owners.note(name, session)
        self.queue(name, session.deadline_ms)

    def rebuild(self, name: str | None = None, session: Session | None = None) -> None:
        """Work out everything from the sessions, with one more, after a change was interrupted."""
        if name is not None and session is not None:
            self._sessions[name] = session
        self._ids = sorted(self._sessions)
        self._due_ms = {
            name: session.deadline_ms
            for name, session in self._sessions.items()
            if session.deadline_ms is not None
        }
        self._heap = [(due_ms, name) for name, due_ms in self._due_ms.items()]
        heapify(self._heap)
        self.owners.rebuild(self._sessions.items())
        self.size_bytes = sum(session.size_bytes for session in self._sessions.values())

    def admit(self, name: str, session: Session, now_ms: int, *, spare: Collection[str]) -> None:
        """The same, after making room; see `make_room`."""
        there = self.find(name, now_ms)
        self.make_room(
            now_ms,
            grown_bytes=session.size_bytes - (there.size_bytes if there else 0),
            added=0 if there else 1,
            spare=spare,
        )
        self.keep(name, session)

    def grow(self, name: str, grown_bytes: int) -> None:
        """Count what was added to a session that is there."""
        self.size_bytes += grown_bytes
        self._sessions.move_to_end(name)
        session = self._sessions[name]
        if session.notes.owner is not None:
            self.owners.note(name, session)
        self.queue(name, session.deadline_ms)

    def drop(self, name: str) -> bool:
        """Forget a session; False if it was not there."""
        session = self._sessions.pop(name, None)
        if session is None:
            return False
        del self._ids[bisect_left(self._ids, name)]
        self._due_ms.pop(name, None)
        self.owners.drop(name)
        self.size_bytes -= session.size_bytes
        return True

    def after(self, name: str, now_ms: int) -> Iterator[tuple[str, Session]]:
        """The sessions behind an id, sorted by id, without those that are over or being made."""
        for at in range(bisect_right(self._ids, name), len(self._ids)):
            found = self._ids[at]
            session = self._sessions[found]
            if not session.expired(now_ms) and type(found) is not StagingId:
                yield found, session

    # --- sweeping ---------------------------------------------------------------------------------

    def queue(self, name: str, deadline_ms: int | None) -> None:
        """Look at a session again when its deadline has come."""
        due_ms = self._due_ms.get(name)
        if deadline_ms is None or (due_ms is not None and due_ms <= deadline_ms):
            return
        self._due_ms[name] = deadline_ms
        heappush(self._heap, (deadline_ms, name))
        if len(self._heap) > 2 * len(self._due_ms) + _STALE_ENTRIES:
            self._heap = [(due_ms, name) for name, due_ms in self._due_ms.items()]
            heapify(self._heap)

    def sweep(self, now_ms: int, at_most: int = _SWEEP_AT_ONCE) -> None:
        """Forget expired sessions; a few at once, so that no call pays for all of them."""
        while self._heap and self._heap[0][0] <= now_ms and at_most:
            at_most -= 1
            due_ms, name = heappop(self._heap)
            if self._due_ms.get(name) != due_ms:  # an entry that another one replaced
                continue
            del self._due_ms[name]
            if self.find(name, now_ms) is not None:
                self.queue(name, self._sessions[name].deadline_ms)

    # --- bounds -----------------------------------------------------------------------------------

    def make_room(
        self, now_ms: int, *, grown_bytes: int, added: int, spare: Collection[str]
    ) -> None:
        """Evict the least recently used sessions until what is to be written fits.

        Args:
            now_ms: the store's clock; expired sessions go first.
            grown_bytes: how many bytes are to be added.
            added: how many sessions are to be added, 0 or 1.
            spare: sessions not to evict, besides the pinned ones.

        Raises:
            StoreUnavailableError: it would not fit then either; nothing was evicted.
        """
        if self._fits(grown_bytes, added):
            return
        self.sweep(now_ms, at_most=len(self._heap))
        victims: list[str] = []
        for name, session in self._sessions.items():
            if self._fits(grown_bytes, added):
                break
            if not session.pinned and name not in spare:
                victims.append(name)
                grown_bytes -= session.size_bytes
                added -= 1
        if not self._fits(grown_bytes, added):
            raise StoreUnavailableError(self._full())
        for name in victims:
            self.drop(name)

    def _fits(self, grown_bytes: int, added: int) -> bool:
        if self._max_sessions is not None and len(self) + added > self._max_sessions:
            return False
        return self._max_bytes is None or self.size_bytes + grown_bytes <= self._max_bytes

    def _full(self) -> str:
        return (
            f"the memory store is full and nothing was written: it is bounded to max_sessions="
            f"{self._max_sessions}, max_bytes={self._max_bytes}, and what is written here and the "
            "pinned sessions cannot be evicted. Raise the bound, or unpin or delete sessions"
        )
