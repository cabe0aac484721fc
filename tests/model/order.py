"""A saver next to a model of what is the latest: ids in any order, as clocks that differ give them.

The model keeps of a checkpoint what it continues, and works everything out anew each time it is
asked. Whatever is put and pruned, the saver lists first what it reads without an id, gives every
checkpoint once whatever the pages, and a conversation is that of the latest checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from langgraph.checkpoint.base import empty_checkpoint

from model.backends import Backend
from wren_sessions import Sessions, SessionSaver, TTLPolicy

IDS: Final = tuple(str(number) for number in range(10, 22))
NAMESPACES: Final = ("", "child")
THREAD: Final = "t"

namespaces = st.sampled_from([*NAMESPACES, ""])
places = st.integers(0, 30)


@dataclass
class Line:
    """The checkpoints of a namespace: what each continues, and whether ids are of no use for it."""

    head: str | None = None
    parents: dict[str, str | None] = field(default_factory=dict)
    skewed: dict[str, bool] = field(default_factory=dict)

    def put(self, id_: str, parent: str | None) -> None:
        """Put a checkpoint, in the place of one that has its id."""
        inherited = parent is not None and self.skewed.get(parent, False)
        self.skewed[id_] = parent is not None and (parent > id_ or inherited)
        self.parents[id_] = parent
        if self.head is None or id_ > self.head or parent == self.head:
            self.head = id_

    def order(self) -> list[str]:
        """All of them, the latest first."""
        if self.head is None:
            return []
        first = [self.head]
        while self.skewed[first[-1]]:
            parent = self.parents[first[-1]]
            if parent is None or parent in first or not self.skewed.get(parent, False):
                break
            first.append(parent)
        return first + sorted(self.parents.keys() - set(first), reverse=True)

    def keep(self, count: int) -> None:
        """Drop all but so many."""
        kept = self.order()[:count]
        self.parents = {id_: self.parents[id_] for id_ in kept}
        self.skewed = {id_: self.skewed[id_] for id_ in kept}


def at(namespace: str, id_: str | None = None) -> Any:
    """A config."""
    named = {"thread_id": THREAD, "checkpoint_ns": namespace}
    return {"configurable": named if id_ is None else {**named, "checkpoint_id": id_}}


class OrderMachine(RuleBasedStateMachine):
    """A saver and the model, which get the same calls.

    Args:
        backend: where the sessions are.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend = backend
        self.store = backend.open(TTLPolicy(idle=None))
        self.saver = SessionSaver(self.store)
        self.lines = {namespace: Line() for namespace in NAMESPACES}

    def teardown(self) -> None:
        """Close the place."""
        self.backend.close()

    # --- what is done -----------------------------------------------------------------------------

    @rule(namespace=namespaces, id_=st.sampled_from(IDS), parent=st.none() | places)
    def put(self, namespace: str, id_: str, parent: int | None) -> None:
        """Put a checkpoint on any other, or on itself."""
        there = list(self.lines[namespace].parents)
        before = there[parent % len(there)] if there and parent is not None else None
        self._put(namespace, id_, before)

    @rule(namespace=namespaces, ids=st.lists(st.sampled_from(IDS), min_size=2, max_size=4))
    def go_on(self, namespace: str, ids: list[str]) -> None:
        """Go on from the latest, as a graph does, on a machine whose clock shows anything."""
        for id_ in ids:
            self._put(namespace, id_, self.lines[namespace].head)

    def _put(self, namespace: str, id_: str, before: str | None) -> None:
        values = {"messages": [{"role": "user", "content": f"{id_} after {before}"}]}
        checkpoint: Any = {**empty_checkpoint(), "id": id_, "channel_values": values}
        self.saver.put(at(namespace, before), checkpoint, {"source": "loop", "step": 0}, {})
        self.lines[namespace].put(id_, before)

    @rule(count=st.integers(1, 4))
    def prune(self, count: int) -> None:
        """Keep the last ones of each namespace."""
        self.saver.prune([THREAD], strategy="keep_last", keep_last=count)
        for line in self.lines.values():
            line.keep(count)

    @rule()
    def start_anew(self) -> None:
        """A process that has seen nothing."""
        self.saver = SessionSaver(self.store)

    # --- what must hold ---------------------------------------------------------------------------

    @invariant()
    def the_latest_is_one_thing(self) -> None:
        """What is read without an id is the head, and is listed first."""
        for namespace, line in self.lines.items():
            found = self.saver.get_tuple(at(namespace))
            assert (None if found is None else found.checkpoint["id"]) == line.head
            assert list(self.saver.list(at(namespace), limit=1)) == ([found] if found else [])
        if self.lines[""].head is not None:
            self._check_conversation()

    def _check_conversation(self) -> None:
        line = self.lines[""]
        transcript = Sessions(self.store).transcript(THREAD)
        said = f"{line.head} after {line.parents[line.head or '']}"
        assert transcript.checkpoint_id == line.head
        assert [message.text for message in transcript.messages] == [said]

    @rule(namespace=namespaces, size=st.integers(1, 5))
    def list_by_pages(self, namespace: str, size: int) -> None:
        """Pages give all, each once, in the model's order."""
        found: list[str] = []
        before = None
        while page := self._ids(namespace, limit=size, before=before):
            found += page
            before = at(namespace, page[-1])
        assert found == self.lines[namespace].order()

    @rule(namespace=namespaces, id_=st.sampled_from([*IDS, "0", "155", "99"]))
    def list_from(self, namespace: str, id_: str) -> None:
        """From a checkpoint on, what comes after it; else what has a lower id."""
        whole = self.lines[namespace].order()
        wanted = whole[whole.index(id_) + 1 :] if id_ in whole else [i for i in whole if i < id_]
        assert self._ids(namespace, before=at(namespace, id_)) == wanted
        assert self._ids(namespace, before=at(namespace, id_), limit=2) == wanted[:2]

    def _ids(self, namespace: str, **how: Any) -> list[str]:
        return [found.checkpoint["id"] for found in self.saver.list(at(namespace), **how)]
