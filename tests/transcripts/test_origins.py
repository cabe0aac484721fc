"""When each message first appeared: compared with what truly happened, for any history."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wren_sessions import MemoryStore, Sessions, Transcript
from wren_sessions.records import Scanned
from wren_sessions.transcripts import _origins

LONG = "lorem ipsum dolor sit amet " * 20


class History:
    """A list of messages that is changed and saved, and where each one truly came from."""

    def __init__(self, *, ids: bool, long: bool) -> None:
        self.sessions = Sessions(MemoryStore())
        self.messages: list[dict[str, Any]] = []
        self.born: list[int] = []
        self.edited: list[bool] = []
        self.checkpoints: list[str] = []
        self._ids, self._text = ids, LONG if long else "short"
        self._numbers = itertools.count()

    def message(self) -> dict[str, Any]:
        """A new message, unlike all others."""
        number = next(self._numbers)
        fields = {"role": "user", "content": f"{self._text} {number}"}
        return fields | ({"id": f"m{number}"} if self._ids else {})

    def add(self, count: int) -> None:
        """Append new messages."""
        self.messages += [self.message() for _ in range(count)]
        self.born += [len(self.checkpoints)] * count
        self.edited += [False] * count

    def cut(self, start: int, end: int) -> None:
        """Take messages out."""
        del self.messages[start:end], self.born[start:end], self.edited[start:end]

    def edit(self, at: int) -> None:
        """Change the text of a message."""
        if at < len(self.messages):
            changed = self.messages[at]["content"] + f" edited {next(self._numbers)}"
            self.messages[at] = self.messages[at] | {"content": changed}
            self.edited[at] = True

    def insert(self, at: int) -> None:
        """Put a new message before others."""
        at = min(at, len(self.messages))
        self.messages.insert(at, self.message())
        self.born.insert(at, len(self.checkpoints))
        self.edited.insert(at, False)

    def save(self) -> None:
        """Make a checkpoint."""
        saved = self.sessions.save("s", {"messages": self.messages, "n": len(self.checkpoints)})
        assert saved.checkpoint_id is not None
        self.checkpoints.append(saved.checkpoint_id)

    def truth(self) -> list[str]:
        """The checkpoint that each message came with."""
        return [self.checkpoints[born] for born in self.born]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3)),
        st.tuples(st.just("edit"), st.integers(0, 8)),
        st.tuples(st.just("insert"), st.integers(0, 4)),
        st.tuples(st.just("cut"), st.integers(0, 4), st.integers(0, 8)),
        st.tuples(st.just("save")),
    ),
    max_size=20,
)


def lived(steps: Any, *, ids: bool, long: bool) -> History:
    """A history of some steps."""
    history = History(ids=ids, long=long)
    for name, *args in [*steps, ("save",)]:
        getattr(history, name)(*args)
    return history


@settings(max_examples=150, deadline=None)
@given(STEPS, st.booleans())
def test_with_ids_every_origin_is_found(steps: Any, long: bool) -> None:  # noqa: FBT001
    """A message with an id has the checkpoint it came with, whatever was done to the list."""
    history = lived(steps, ids=True, long=long)
    found = [m.checkpoint_id for m in history.sessions.transcript("s").messages]
    assert found == history.truth()


@settings(max_examples=150, deadline=None)
@given(STEPS, st.booleans())
def test_without_ids_no_origin_is_wrong(steps: Any, long: bool) -> None:  # noqa: FBT001
    """A message without an id has the checkpoint it came with, or none."""
    history = lived(steps, ids=False, long=long)
    found = [m.checkpoint_id for m in history.sessions.transcript("s").messages]
    assert all(a is None or a == b for a, b in zip(found, history.truth(), strict=True))


@pytest.mark.parametrize("long", [True, False])
@pytest.mark.parametrize("keep", [None, 6])
def test_without_ids_a_list_that_grows_or_is_trimmed_is_found(
    keep: int | None,
    long: bool,  # noqa: FBT001
) -> None:
    """Appending, and trimming at the front, leave every origin known."""
    history = History(ids=False, long=long)
    for _ in range(30):
        history.add(2)
        if keep is not None:
            history.cut(0, max(0, len(history.messages) - keep))
        history.save()
        history.save()  # a step that leaves the list as it is
    found = history.sessions.transcript("s").messages
    assert [m.checkpoint_id for m in found] == history.truth()
    assert all(message.time for message in found)


def test_repeated_text_in_a_trimmed_list_has_no_origin() -> None:
    """Of two messages that are the same, nobody can say which one was trimmed."""
    sessions = Sessions(MemoryStore())
    for messages in (["yes", "a", "yes"], ["a", "yes", "yes"]):
        sessions.save("s", {"messages": messages})
    found = [m.checkpoint_id for m in sessions.transcript("s").messages]
    assert found[0] is not None
    assert found[1:] == [None, None]


def test_an_earlier_checkpoint_has_its_own_transcript() -> None:
    """A transcript at a checkpoint has the messages of then."""
    history = History(ids=True, long=True)
    for _ in range(5):
        history.add(1)
        history.save()
    then = history.sessions.transcript("s", checkpoint_id=history.checkpoints[2])
    assert [m.checkpoint_id for m in then.messages] == history.checkpoints[:3]
    assert then.checkpoint_id == history.checkpoints[2]


class Counting(MemoryStore):
    """A store that counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def load(self, *args: Any, **options: Any) -> Any:
        """Count it."""
        self.calls.append("load")
        return super().load(*args, **options)

    def scan(self, session: str, starts: Any, limit: int) -> Scanned:
        """Count it."""
        self.calls.append("scan")
        return super().scan(session, starts, limit)


def test_a_list_that_grew_is_not_read_again() -> None:
    """300 checkpoints of a growing list cost one read and one scan per 100 records."""
    store = Counting()
    sessions = Sessions(store)
    messages: list[Any] = []
    for number in range(300):
        messages.append({"role": "user", "content": f"{LONG} {number}"})
        sessions.save("s", {"messages": messages})
    store.calls.clear()
    found: Transcript = sessions.transcript("s")
    assert all(m.checkpoint_id for m in found.messages)
    # The first lists are below 1 KiB and stand in their records; one list is where they meet.
    assert store.calls.count("scan") == 3
    assert store.calls.count("load") <= 2


def test_the_walk_ends_where_all_is_known() -> None:
    """A list that is trimmed to its last 10 messages needs the last checkpoints alone."""
    store = Counting()
    sessions = Sessions(store)
    messages: list[Any] = []
    for number in range(250):
        messages = [*messages, {"role": "user", "content": f"{LONG} {number}"}][-10:]
        sessions.save("s", {"messages": messages})
    store.calls.clear()
    assert all(m.checkpoint_id for m in sessions.transcript("s").messages)
    assert store.calls.count("scan") == 1
    assert store.calls.count("load") <= 12


def test_reading_earlier_lists_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound, a message has no origin, and never a wrong one."""
    monkeypatch.setattr(_origins, "MAX_READ_BYTES", 20_000)
    history = History(ids=True, long=True)
    history.add(10)
    history.save()
    for _ in range(20):
        history.edit(9)
        history.save()
    found = [m.checkpoint_id for m in history.sessions.transcript("s").messages]
    assert found == [None] * 10


def test_what_was_there_before_the_oldest_checkpoint_left_has_no_origin() -> None:
    """After pruning, messages of checkpoints that are gone have no time; later ones have."""
    from wren_sessions import SessionSaver

    history = History(ids=True, long=True)
    for _ in range(6):
        history.add(1)
        history.save()
    SessionSaver(history.sessions.store).prune(["s"], strategy="keep_latest")
    history.add(1)
    history.save()
    found = [m.checkpoint_id for m in history.sessions.transcript("s").messages]
    assert found == [None] * 6 + [history.checkpoints[-1]]


def test_a_list_that_was_of_another_type_before_is_understood() -> None:
    """A tuple, a text or nothing at all where the list is now: what was in it is not new."""
    first = {"role": "user", "content": LONG, "id": "1"}
    sessions = Sessions(MemoryStore())
    ids = [
        sessions.save("s", {"messages": value}).checkpoint_id
        for value in (None, (first,), [first], [first, {"role": "ai", "content": LONG, "id": "2"}])
    ]
    found = [m.checkpoint_id for m in sessions.transcript("s").messages]
    assert found == [ids[1], ids[3]]
