"""The position of a listing of a cluster's sessions: pure, and kept in the listing's cursor.

SCAN on a node lists all its keys, whatever their slots. During a listing, slots may move from a
node that was not listed yet to one that was. So the walk counts slots, not nodes. It continues
until each slot is *done*. A slot is done in one of two ways:

- A node was listed completely that had the slot all the time, and was not giving it away.
- A node was listed completely that had or was getting the slot all the time, *after* the node that
  gives it away was listed completely. A key that had not left the first node is found there, and
  one that left it later is found at the second. In between, the slot is *leaving*.

Each step knows which slots the node has, gives away and gets, from CLUSTER NODES after the SCAN.
Keys of slots that are done are left out. So a session is listed twice only if its slot moved.
"""

from __future__ import annotations

import re
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Self, TypeAlias

from wren_sessions.stores._checks import wrong_cursor

Place: TypeAlias = int | tuple[str, int]

SLOTS: Final = 16_384
_ALL: Final = (1 << SLOTS) - 1
_BYTES: Final = SLOTS // 8
_CURSOR: Final = re.compile(r"([0-9a-f]*)\.(\d{1,20})\.([A-Za-z0-9_=-]*)\.([A-Za-z0-9_=-]+)")


class _View(NamedTuple):
    """What a node says of itself. Sets of slots are numbers with a bit for each.

    Attributes:
        node: its id.
        owned: the slots that it has.
        giving: those of them that it gives away, and the address of the node that gets each.
        getting: those that it gets.
    """

    node: str
    owned: int
    giving: dict[int, Place]
    getting: int

    @property
    def kept(self) -> int:
        """The slots that it has and gives away nothing of."""
        return self.owned & ~_set_of(self.giving)


@dataclass(frozen=True, slots=True)
class Walk:
    """A listing that goes on. Sets of slots are numbers with a bit for each.

    Attributes:
        done: the slots that are done.
        leaving: those whose former node was listed while it gave them away.
        node: the id of the node that is being listed; empty before its first step.
        scan: that node's cursor.
        at: the place whose node is listed next: a slot, or an address.
        kept: what that node has had all the time without giving any of it away.
        here: what it has had or was getting all the time.
        over: whether there is nothing left.
    """

    done: int = 0
    leaving: int = 0
    node: str = ""
    scan: str = "0"
    at: Place = 0
    kept: int = _ALL
    here: int = _ALL
    over: bool = False

    def was_at(self, slot: int) -> bool:
        """Whether a slot is done."""
        return bool(self.done >> slot & 1)

    def step(self, after: str | None, nodes: str) -> Walk | None:
        """How it goes on.

        Args:
            after: the node's cursor; None if it was listed to the end.
            nodes: what CLUSTER NODES said there.

        Returns:
            None if another node answered than the one that was meant, or than the last time: its
            answer counts for nothing.
        """
        view = _view(nodes)
        meant = not isinstance(self.at, int) or view.owned >> self.at & 1 or self.node
        if not meant or self.node not in {"", view.node}:
            return None
        kept, here = self.kept & view.kept, self.here & (view.kept | view.getting)
        if after is not None:
            return replace(self, node=view.node, scan=after, kept=kept, here=here)
        done = self.done | kept | self.leaving & here
        leaving = (self.leaving | _set_of(view.giving)) & ~done
        if not (left := _ALL & ~done):
            return replace(self, done=done, over=True)
        going = [to for slot, to in view.giving.items() if left >> slot & 1]
        at = going[0] if going else (left & -left).bit_length() - 1
        return Walk(done=done, leaving=leaving, at=at)

    def again(self) -> Walk:
        """The same node, or whoever has its slot now, from the beginning."""
        left = _ALL & ~self.done
        return Walk(self.done, self.leaving, at=(left & -left).bit_length() - 1)

    # --- the cursor ---

    @property
    def cursor(self) -> str | None:
        """Where it is, as text; None where there is nothing left."""
        if self.over:
            return None
        sets = (self.done, self.leaving, self.kept, self.here)
        packed = zlib.compress(b"".join(one.to_bytes(_BYTES) for one in sets))
        place = str(self.at) if isinstance(self.at, int) else f"{self.at[0]}:{self.at[1]}"
        where = urlsafe_b64encode(place.encode()).decode()
        return f"{self.node}.{self.scan}.{where}.{urlsafe_b64encode(packed).decode()}"

    @classmethod
    def read(cls, cursor: str | None) -> Self:
        """Where a cursor says it is; the beginning for None.

        Raises:
            ConfigurationError: it is no cursor.
        """
        if cursor is None:
            return cls()
        try:
            found = _CURSOR.fullmatch(str(cursor))
            packed = found[4] if found else ""
            unpacked = zlib.decompressobj().decompress(urlsafe_b64decode(packed), 4 * _BYTES)
            if found is None or len(unpacked) != 4 * _BYTES:
                raise ValueError  # noqa: TRY301 -- as the rest of it
            parts = [unpacked[at : at + _BYTES] for at in range(0, 4 * _BYTES, _BYTES)]
            done, leaving, kept, here = (int.from_bytes(part) for part in parts)
            host, colon, number = urlsafe_b64decode(found[3]).decode().rpartition(":")
            at: Place = (host, int(number)) if colon else int(number) % SLOTS
        except (ValueError, zlib.error):
            raise wrong_cursor(cursor, "all sessions on this cluster") from None
        return cls(done, leaving, found[1], found[2], at, kept, here)


def _set_of(slots: dict[int, Place]) -> int:
    return sum(1 << slot for slot in slots)


def _view(nodes: str) -> _View:
    """What the node says of itself in CLUSTER NODES."""
    lines = [line.split(" ") for line in nodes.splitlines() if line]
    parted = {words[0]: words[1].partition("@")[0].rpartition(":") for words in lines}
    addresses: dict[str, Place] = {
        node: (host, int(port)) for node, (host, _, port) in parted.items()
    }
    me = next(words for words in lines if "myself" in words[2].split(","))
    owned, getting, giving = 0, 0, {}
    for word in me[8:]:
        if "->-" in word:
            slot, node = word.strip("[]").split("->-")
            if node in addresses:
                giving[int(slot)] = addresses[node]
        elif "-<-" in word:
            getting |= 1 << int(word.strip("[]").split("-<-")[0])
        else:
            low, _, high = word.partition("-")
            owned |= (1 << int(high or low) + 1) - (1 << int(low))
    return _View(me[0], owned, giving, getting)
