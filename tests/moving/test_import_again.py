"""An import that is run again: interrupted, after the source went on, or onto something else."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from moving.apps import THREAD, chat, grow_up, held, next_step, sqlite_saver, talk
from saver.backends import Backend
from wren_sessions import (
    ConflictError,
    CorruptSessionError,
    ImportReport,
    MemoryStore,
    Progress,
    SafeSerializer,
    SerializationError,
    SessionSaver,
    TTLPolicy,
    aimport_checkpoints,
    import_checkpoints,
)
from wren_sessions.testing import FakeClock
from wren_sessions.transfer import _sources
from wren_sessions.transfer._comparing import same
from wren_sessions.transfer._sources import parent_of


class StoppedError(Exception):
    """The import was interrupted."""


def stop_after(count: int) -> Callable[[Progress], None]:
    """Interrupt an import after some checkpoints."""

    def progress(progress: Progress) -> None:
        if progress.done == count:
            raise StoppedError

    return progress


async def again(
    face: str, saver: BaseCheckpointSaver[Any], target: BaseCheckpointSaver[Any], **options: Any
) -> ImportReport:
    """Import by the function of a face."""
    if face == "sync":
        return import_checkpoints(saver, target, **options)
    return await aimport_checkpoints(saver, target, **options)


async def test_an_interrupted_import_goes_on(backend: Backend, face: str) -> None:
    """What is there is not written again; in the end all is there, once more changes nothing."""
    source, store = InMemorySaver(), backend.store()
    grow_up(source)
    total = len(held(source))
    for stop in (5, 11):
        with pytest.raises(StoppedError):
            await again(face, source, SessionSaver(store), on_progress=stop_after(stop))
        assert len(held(SessionSaver(store))) == stop
    report = await again(face, source, SessionSaver(store))
    assert (report.written, report.skipped) == (total - 11, 11)
    assert held(SessionSaver(store)) == held(source)
    before = store.info("t")
    report = await again(face, source, SessionSaver(store))
    assert (report.written, report.skipped) == (0, total)
    after = store.info("t")
    assert before is not None
    assert after is not None
    assert after.life.revision == before.life.revision


async def test_what_came_since_is_brought(backend: Backend, face: str) -> None:
    """New checkpoints go, and so do new pending writes of those that are there."""
    source, target = InMemorySaver(), SessionSaver(backend.store())
    graph = chat(source)
    talk(source, 2)
    await again(face, source, target)
    asked = graph.get_state(THREAD).interrupts
    graph.invoke(Command(resume={asked[0].id: "half of it"}), THREAD)  # the other still waits
    report = await again(face, source, target)
    assert report.written == 0
    assert held(target) == held(source)
    next_step(source)
    await again(face, source, target)
    assert held(target) == held(source)


class Brittle(InMemorySaver):
    """A saver that loses the connection when pending writes are put."""

    broken = True

    def put_writes(self, *args: Any) -> None:
        """Fail while it is broken."""
        if self.broken:
            raise ConnectionError
        super().put_writes(*args)


def test_another_saver_between_a_checkpoint_and_its_writes() -> None:
    """Another saver may be left without the pending writes: they are added by the next import."""
    source, target = InMemorySaver(), Brittle()
    talk(source, 2)
    with pytest.raises(ConnectionError):
        import_checkpoints(source, target)
    target.broken = False
    import_checkpoints(source, target)
    assert held(target) == held(source)


def test_a_source_that_was_pruned(backend: Backend) -> None:
    """Parents that are not there stop nothing, and neither do old checkpoints of the target."""
    source = sqlite_saver()
    talk(source, 4)
    connection: Any = getattr(source, "conn")  # noqa: B009 -- the saver is optional
    oldest = sorted(id_ for _, id_ in held(source))[:6]
    whole = SessionSaver(backend.store())
    import_checkpoints(source, whole)
    connection.executemany("DELETE FROM checkpoints WHERE checkpoint_id = ?", zip(oldest))
    pruned = SessionSaver(MemoryStore())
    assert import_checkpoints(source, pruned).written == 10
    there = held(source)
    for name, found in there.items():  # a parent that is not there is none
        if (name[0], parent_of(found)) not in there:
            there[name] = found._replace(parent_config=None)
    assert held(pruned) == there
    chat(source).invoke({"notes": ["on"]}, THREAD)
    assert import_checkpoints(source, whole).skipped == 10
    assert held(whole).items() >= held(source).items()
    assert next_step(pruned)


# --- conflicts ------------------------------------------------------------------------------------


def test_a_thread_that_was_moved_and_is_in_use() -> None:
    """A target that has all of the source and went on is left alone."""
    source, target = InMemorySaver(), SessionSaver(MemoryStore())
    talk(source, 3)
    import_checkpoints(source, target)
    next_step(target)
    expected = held(target)
    assert import_checkpoints(source, target).written == 0
    assert held(target) == expected


def test_both_sides_went_on() -> None:
    """A thread that was continued on both sides is a conflict, and nothing is written."""
    source, target = InMemorySaver(), SessionSaver(MemoryStore())
    talk(source, 3)
    import_checkpoints(source, target)
    next_step(target)
    next_step(source)
    expected = held(target)
    with pytest.raises(
        ConflictError, match=r"'t' is in the target already.*which the source does not have"
    ):
        import_checkpoints(source, target)
    assert held(target) == expected


def test_the_target_answered() -> None:
    """Pending writes that only the target has are a conflict."""
    source, target = InMemorySaver(), SessionSaver(MemoryStore())
    talk(source, 2)
    import_checkpoints(source, target)
    graph = chat(target)
    asked = graph.get_state(THREAD).interrupts
    graph.invoke(Command(resume={asked[0].id: "half of it"}), THREAD)
    with pytest.raises(ConflictError, match="pending writes that the source does not have"):
        import_checkpoints(source, target)


def test_another_checkpoint_under_the_same_id() -> None:
    """A checkpoint that is there with other contents is a conflict."""
    source, target = InMemorySaver(), SessionSaver(MemoryStore())
    talk(source, 2)
    found = held(source)["", max(id_ for _, id_ in held(source))]
    changed = {**found.checkpoint, "channel_values": {"notes": ["other"]}}
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    target.put(config, changed, found.metadata, {})  # type: ignore[arg-type] # made from one
    with pytest.raises(ConflictError, match="its parent of checkpoint"):
        import_checkpoints(source, target)


def test_somebody_writes_meanwhile(backend: Backend) -> None:
    """A target that is written or deleted while a thread comes is a conflict."""
    for disturb in (
        lambda store: talk(SessionSaver(store), 1),
        lambda store: store.delete("t"),
    ):
        source, store = InMemorySaver(), backend.store()
        talk(source, 2)

        def progress(progress: Progress, disturb: Any = disturb, store: Any = store) -> None:
            if progress.done == 3:
                disturb(store)

        with pytest.raises(ConflictError, match="while it was being imported"):
            import_checkpoints(source, SessionSaver(store), on_progress=progress)
        store.delete("t")


def test_a_target_past_its_maximum_age() -> None:
    """A session that runs out in the target while it comes is an error."""
    clock = FakeClock()
    store = MemoryStore(ttl=TTLPolicy(max_age="1h"), clock=clock)
    source = InMemorySaver()
    talk(source, 1)
    with pytest.raises(ConflictError, match="or expired"):
        import_checkpoints(source, SessionSaver(store), on_progress=lambda _: clock.advance("40m"))


# --- verification ---------------------------------------------------------------------------------


class Forgetful(SessionSaver):
    """A saver that reads something else than was written."""

    forget: Callable[[CheckpointTuple], CheckpointTuple]

    def get_tuple(self, config: Any) -> CheckpointTuple | None:
        """What is there, changed."""
        found = super().get_tuple(config)
        return found and type(self).forget(found)


def without(field: str) -> Callable[[CheckpointTuple], CheckpointTuple]:
    """Read nothing in a field of a checkpoint."""

    def forget(found: CheckpointTuple) -> CheckpointTuple:
        checkpoint: Any = {**found.checkpoint, field: {}}
        return found._replace(checkpoint=checkpoint)

    return forget


DAMAGE: dict[str, Any] = {
    "versions of its channels": (CorruptSessionError, without("channel_versions")),
    "versions that its nodes have seen": (CorruptSessionError, without("versions_seen")),
    "which of its channels": (CorruptSessionError, without("channel_values")),
    "its parent": (CorruptSessionError, lambda found: found._replace(parent_config=None)),
    "its metadata": (SerializationError, lambda found: found._replace(metadata={})),
    "its pending writes": (SerializationError, lambda found: found._replace(pending_writes=[])),
    "its data other than channels": (
        SerializationError,
        lambda found: found._replace(checkpoint={**found.checkpoint, "ts": "never"}),
    ),
    "channel 'profile'": (
        SerializationError,
        lambda found: found._replace(
            checkpoint={
                **found.checkpoint,
                "channel_values": found.checkpoint["channel_values"]
                | {
                    name: {**value, "tags": ["a", "b"]}
                    for name, value in found.checkpoint["channel_values"].items()
                    if name == "profile"
                },
            }
        ),
    ),
    "everything": (CorruptSessionError, lambda _: None),
}


@pytest.mark.parametrize("what", sorted(DAMAGE))
def test_what_is_read_back_is_compared(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part of a checkpoint that comes back as another is an error that names it."""
    error, forget = DAMAGE[what]
    monkeypatch.setattr(Forgetful, "forget", forget, raising=False)
    source = InMemorySaver()
    talk(source, 2)
    with pytest.raises(error, match=f"thread 't'.*checkpoint '.*differs in .*{what}"):
        import_checkpoints(source, Forgetful(MemoryStore()))
    unverified = Forgetful(MemoryStore())
    assert import_checkpoints(source, unverified, verify=False).written == 8
    assert held(unverified) == held(source)


class Odd:
    """A value that cannot be compared."""

    def __eq__(self, other: object) -> bool:
        raise ValueError

    __hash__ = None  # type: ignore[assignment] # as values of arrays


def test_values_are_the_same() -> None:
    """Types count, and so does order where there is one."""
    serde = InMemorySaver().serde
    assert same({"a": {1, 2}, "b": [1]}, {"b": [1], "a": {2, 1}}, serde)
    assert same(float("nan"), float("nan"), serde)
    for a, b in ((1, True), (1, 1.0), ([1, 2], [2, 1]), ({1}, [1]), ([1], [1, 2]), ({1: 2}, {})):
        assert not same(a, b, serde)
    assert not same(Odd(), Odd(), serde)


def test_a_list_stands_for_a_tuple_where_there_are_none() -> None:
    """In a target whose serializer makes lists of tuples, and nowhere else."""
    assert same((1,), [1], InMemorySaver().serde)
    assert not same((1,), [1], SafeSerializer())


def test_a_latest_checkpoint_that_another_saver_would_not_take() -> None:
    """A head below others by its id (a slow clock) is lost in savers that take the highest."""
    source = SessionSaver(MemoryStore())
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    for id_ in ("1", "5", "3"):
        checkpoint: Any = {
            "v": 4,
            "id": id_,
            "ts": "",
            "channel_values": {"n": id_},
            "channel_versions": {"n": f"000000000{id_}.x"},
            "versions_seen": {},
        }
        config = source.put(config, checkpoint, {}, {})
    import_checkpoints(source, here := SessionSaver(MemoryStore()))
    head = here.get_tuple(THREAD)
    assert head is not None
    assert head.checkpoint["id"] == "3"
    with pytest.raises(CorruptSessionError, match=r"'3'.*which of its checkpoints is the latest"):
        import_checkpoints(source, InMemorySaver())


# --- reading the source ---------------------------------------------------------------------------


class Tracked(dict[str, Any]):
    """Values that tell whether somebody still has them."""

    __hash__ = object.__hash__  # type: ignore[assignment] # a set of references to them


class Watched(InMemorySaver):
    """A saver that counts the checkpoints which are in use."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: weakref.WeakSet[Tracked] = weakref.WeakSet()
        self.most = 0

    def get_tuple(self, config: Any) -> CheckpointTuple | None:
        """What is there, tracked."""
        found = super().get_tuple(config)
        if found is None:
            return None
        values = Tracked(found.checkpoint["channel_values"])
        self.alive.add(values)
        self.most = max(self.most, len(self.alive))
        return found._replace(
            checkpoint={**found.checkpoint, "channel_values": values}  # the same otherwise
        )


def test_one_checkpoint_at_a_time() -> None:
    """However long a thread is, few of its checkpoints are in memory."""
    source = Watched()
    talk(source, 30)
    source.most = 0
    import_checkpoints(source, SessionSaver(MemoryStore()))
    assert 1 <= source.most <= 2


class Vanishing(InMemorySaver):
    """A saver whose checkpoints expire one by one."""

    def get_tuple(self, config: Any) -> CheckpointTuple | None:
        """What is there, but for the first checkpoint."""
        found = super().get_tuple(config)
        return found if found is None or found.metadata.get("step") != -1 else None


def test_a_checkpoint_that_goes_away() -> None:
    """A checkpoint that is listed and not there any more is left out."""
    source, target = Vanishing(), SessionSaver(MemoryStore())
    talk(source, 1)
    assert import_checkpoints(source, target).written == 3


class Rows(InMemorySaver):
    """A saver that lists as PostgreSQL's does: by descending id, and all that it lists at once."""

    most = 0

    def list(self, config: Any, **options: Any) -> Any:
        """One page."""
        before, limit = options.get("before"), options.get("limit")
        below = before and before["configurable"]["checkpoint_id"]
        found = [
            item for item in super().list(config) if not below or item.checkpoint["id"] < below
        ]
        found.sort(key=lambda item: item.checkpoint["id"], reverse=True)
        type(self).most = max(self.most, len(found[:limit]))
        return iter(found[:limit])


def test_a_saver_that_holds_what_it_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for pages, and threads that have ids in common are found nevertheless."""
    monkeypatch.setattr(Rows, "__module__", "langgraph.checkpoint.postgres.rows")
    source = Rows()
    talk(source, 9)
    found = held(source)["", max(id_ for _, id_ in held(source))]
    monkeypatch.setattr(Rows, "most", 0)
    for number in range(30):
        copy: Any = {"configurable": {"thread_id": f"copy {number}", "checkpoint_ns": ""}}
        source.put(copy, found.checkpoint, found.metadata, found.checkpoint["channel_versions"])
    report = import_checkpoints(source, target := SessionSaver(MemoryStore()))
    assert len(report.threads) == 31
    assert report.written == 36 + 30
    assert Rows.most <= 4 * _sources.PAGE
    assert held(target) == held(source)


def test_a_listing_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing that may have been cut off is an error, not a part of the threads."""
    monkeypatch.setattr(_sources, "LISTED", 8)
    source = InMemorySaver()
    talk(source, 2)
    with pytest.raises(Exception, match="threads=") as caught:
        import_checkpoints(source, SessionSaver(MemoryStore()))
    assert type(caught.value).__name__ == "ConfigurationError"
