"""Pending writes: their order, which one counts, and that none is lost."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.checkpoint import base
from langgraph.checkpoint.base import WRITES_IDX_MAP
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME, SCHEDULED

from saver.backends import Awaited, Backend, place
from saver.chains import THREAD, Chain, config, get, pending, revision
from wren_sessions import (
    ConfigurationError,
    MemoryStore,
    SessionSaver,
    StoreUnavailableError,
)
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Commit, Committed, Start

SORTED = hasattr(base, "writes_sort_key")  # LangGraph's own memory did not always sort them
LONG = [f"message {number} " * 20 for number in range(40)]


async def test_writes_are_in_langgraphs_order(saver: SessionSaver) -> None:
    """By the path of the task, then its id, then their place in it, however they came in."""
    at = await Chain(saver).put("c1")
    calls = [("~2", "b"), ("~10", "c"), ("", "z"), ("~2", "a"), ("~1", "d")]
    expected = []
    for path, task in calls:
        await saver.aput_writes(at, [("x", 0), (ERROR, "e"), ("y", 1)], task, path)
        expected += [((path, task, index), (task, channel)) for index, channel in _placed()]
    found = [(task, channel) for task, channel, _ in await pending(saver, at)]
    assert found == [named for _, named in sorted(expected)]
    listed = [item async for item in saver.alist(config())]
    assert listed[0].pending_writes == await pending(saver, at)


def _placed() -> list[tuple[int, str]]:
    return [(0, "x"), (WRITES_IDX_MAP[ERROR], ERROR), (2, "y")]


async def test_the_first_write_of_each_place_counts(saver: SessionSaver) -> None:
    """A task that is run again adds what it had not written, and changes nothing else."""
    at = await Chain(saver).put("c1")
    await saver.aput_writes(at, [("a", 1), ("b", 2)], "task")
    await saver.aput_writes(at, [("a", 8), ("b", 9), ("c", 3)], "task")
    assert await pending(saver, at) == [("task", "a", 1), ("task", "b", 2), ("task", "c", 3)]


@pytest.mark.parametrize("channel", [ERROR, SCHEDULED, INTERRUPT, RESUME])
async def test_a_special_write_replaces_the_one_before(saver: SessionSaver, channel: str) -> None:
    """The last error, schedule, interrupt and answer of a task count; its other writes stay."""
    at = await Chain(saver).put("c1")
    await saver.aput_writes(at, [("a", 1)], "task")
    await saver.aput_writes(at, [(channel, "first")], "other")
    for value in ("first", LONG, "last"):
        await saver.aput_writes(at, [(channel, value)], "task")
    assert sorted(await pending(saver, at)) == sorted(
        [("task", "a", 1), ("task", channel, "last"), ("other", channel, "first")]
    )


async def test_writes_may_come_before_their_checkpoint(saver: SessionSaver) -> None:
    """LangGraph sends both at once, and either may be first."""
    await saver.aput_writes(config(checkpoint_id="c1"), [("a", LONG)], "task", "~1")
    assert await saver.aget_tuple(config()) is None
    assert await revision(saver.store) is None  # writes alone are no session
    at = await Chain(saver).put("c1", {"x": 1})
    assert await pending(saver, at) == [("task", "a", LONG)]


async def test_writes_of_a_run_that_overtake_their_checkpoint_are_stored_at_once(
    saver: SessionSaver,
) -> None:
    """Another process that writes the checkpoint has them.

    They cost one commit, or none: those that share bytes with others go with their checkpoint.
    """
    at = await Chain(saver).put("c1", {"x": 1})
    begun = await get(saver, config())  # as LangGraph does before a run
    await saver.aput_writes(config(checkpoint_id="c2"), [("a", LONG)], "task", "~1")
    assert await revision(saver.store) == 2
    elsewhere = SessionSaver(saver.store)
    at = await Chain.continuing(elsewhere, begun).put("c2", {"x": 2})
    assert await pending(elsewhere, at) == [("task", "a", LONG)]
    await saver.aput_writes(config(checkpoint_id="c3"), [("a", LONG)], "task", "~1")
    at = await Chain.continuing(saver, await get(saver, at)).put("c3", {"x": 3})
    assert await pending(saver, at) == [("task", "a", LONG)]
    assert await revision(saver.store) == 4


class _SlowStore(Awaited):
    """A store that writes no further checkpoint before it is told to.

    Attributes:
        go_on: lets it write them.
    """

    def __init__(self, store: SessionStore) -> None:
        super().__init__(store)
        self.go_on = asyncio.Event()

    async def commit(self, commit: Commit) -> Committed:
        """Write pending writes at once, and checkpoints later."""
        if commit.record is not None:
            await self.go_on.wait()
        return await super().commit(commit)


@pytest.mark.parametrize("value", [1, LONG])
async def test_writes_are_stored_while_their_checkpoint_is_on_its_way(
    saver: SessionSaver, value: Any
) -> None:
    """What a node wrote is in the store when `aput_writes` returns; the put does not wait."""
    chain = Chain(saver)
    await chain.put("c1", {"x": 1})
    slow = _SlowStore(saver.store)
    other = SessionSaver(cast("SessionStore", slow))
    putting = asyncio.create_task(
        Chain.continuing(other, await get(other, config())).put("c2", {"x": 2})
    )
    await asyncio.sleep(0)
    await other.aput_writes(config(checkpoint_id="c2"), [("a", value)], "task", "~1")
    assert await revision(saver.store) == 2
    assert (await get(saver, config())).checkpoint["id"] == "c1"
    slow.go_on.set()
    at = await putting
    assert await revision(saver.store) == 3
    assert await pending(saver, at) == await pending(other, at) == [("task", "a", value)]


class _FailingStore(_SlowStore):
    """A store that loses its connection while it writes the next checkpoint, once.

    Args:
        store: the store.
        applied: whether the checkpoint is written, and only the answer is lost.
    """

    def __init__(self, store: SessionStore, *, applied: bool) -> None:
        super().__init__(store)
        self._applied = applied
        self._left = 1

    async def commit(self, commit: Commit) -> Committed:
        """Fail if it is a checkpoint."""
        if commit.record is None or not self._left:
            return await self.below.aio.commit(commit)
        self._left = 0
        await self.go_on.wait()
        if self._applied:
            await self.below.aio.commit(commit)
        raise StoreUnavailableError("the connection was lost")


class _FailingWrites(_SlowStore):
    """A store that loses its connection behind a checkpoint, while pending writes are written.

    Args:
        store: the store.
        at: which commit of pending writes fails.
    """

    def __init__(self, store: SessionStore, at: int) -> None:
        super().__init__(store)
        self._at = at

    async def commit(self, commit: Commit) -> Committed:
        """Fail if it is that one."""
        if commit.record is None:
            self._at -= 1
            if self._at == 0:
                raise StoreUnavailableError("the connection was lost")
        return await super().commit(commit)


async def test_what_put_writes_has_taken_is_in_the_store_in_a_first_turn_too(
    saver: SessionSaver,
) -> None:
    """Nobody knows the session's life before its first put: so `aput_writes` waits for that."""
    slow = SessionSaver(cast("SessionStore", _SlowStore(saver.store)))
    putting = asyncio.create_task(Chain(slow).put("c2", {"x": 2}))
    await asyncio.sleep(0)
    at = config(checkpoint_id="c2")
    writing = [asyncio.create_task(slow.aput_writes(at, [("a", LONG)], task)) for task in "abc"]
    done, _ = await asyncio.wait(writing, timeout=0.01)
    assert not done
    cast("_SlowStore", slow.store).go_on.set()
    for number, task in enumerate(writing, 1):
        await task
        assert len(await pending(saver, at)) >= number
    await putting
    assert await pending(saver, at) == [(task, "a", LONG) for task in "abc"]


async def test_writes_that_came_before_a_first_checkpoint_are_part_of_its_commit(
    saver: SessionSaver,
) -> None:
    """There is no moment in which the checkpoint is stored without them."""
    for task in "abc":
        await saver.aput_writes(config(checkpoint_id="c1"), [("a", LONG)], task, "~1")
    at = await Chain(saver).put("c1", {"x": 1})
    assert await revision(saver.store) == 1
    assert await pending(SessionSaver(saver.store), at) == [(task, "a", LONG) for task in "abc"]


@pytest.mark.parametrize("at", [1, 2, 3])
async def test_writes_that_cannot_be_stored_behind_their_checkpoint_are_not_taken(
    saver: SessionSaver, at: int
) -> None:
    """Of several that waited for a session's first put, one fails, and says so."""
    failing = SessionSaver(cast("SessionStore", _FailingWrites(saver.store, at)))
    putting = asyncio.create_task(Chain(failing).put("c2", {"x": 2}))
    await asyncio.sleep(0)
    there = config(checkpoint_id="c2")
    writing = [
        asyncio.create_task(failing.aput_writes(there, [("a", LONG)], task, "~1")) for task in "abc"
    ]
    await asyncio.sleep(0)
    cast("_FailingWrites", failing.store).go_on.set()
    await putting
    taken = await asyncio.gather(*writing, return_exceptions=True)
    failed = [task for task, error in zip("abc", taken, strict=True) if error]
    assert len(failed) == 1
    assert await pending(saver, there) == [(t, "a", LONG) for t in "abc" if t not in failed]
    await failing.aput_writes(there, [("a", LONG)], failed[0], "~1")
    assert await pending(saver, there) == [(task, "a", LONG) for task in "abc"]


@pytest.mark.parametrize("value", [1, LONG])
@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("first", [False, True])
async def test_writes_outlive_a_put_that_fails(
    saver: SessionSaver, value: Any, *, applied: bool, first: bool
) -> None:
    """The checkpoint is tried again, and has what `aput_writes` took in the meantime.

    What had to wait for it is not taken, unless it is there.
    """
    if not first:
        await Chain(saver).put("c1", {"x": LONG})
    failing = SessionSaver(cast("SessionStore", _FailingStore(saver.store, applied=applied)))

    async def put() -> Any:
        chain = Chain(failing)
        if not first:
            chain = Chain.continuing(failing, await get(failing, config(checkpoint_id="c1")))
        return await chain.put("c2", {"x": 2})

    putting = asyncio.create_task(put())
    await asyncio.sleep(0)
    there = config(checkpoint_id="c2")
    writing = asyncio.create_task(failing.aput_writes(there, [("a", value)], "task", "~1"))
    await asyncio.wait([writing], timeout=0.01)  # it may wait for the put
    cast("_FailingStore", failing.store).go_on.set()
    with pytest.raises(StoreUnavailableError):
        await putting
    (error,) = await asyncio.gather(writing, return_exceptions=True)
    if applied:  # only the answer was lost
        assert await pending(saver, there) == [("task", "a", value)]
    at = await put()
    if error:
        assert isinstance(error, StoreUnavailableError)
        assert not applied
        await failing.aput_writes(at, [("a", value)], "task", "~1")
    assert await pending(saver, at) == await pending(failing, at) == [("task", "a", value)]


@pytest.mark.parametrize("name", ["memory", "file"])
async def test_early_writes_follow_their_checkpoint_into_a_new_session(
    name: str, request: pytest.FixtureRequest
) -> None:
    """The session expires between them and their checkpoint, which is written whole."""
    backend = Backend(name, place(name, request))
    saver = SessionSaver(backend.store())
    await Chain(saver).put("c1", {"x": 1})
    begun = await get(saver, config())
    await saver.aput_writes(config(checkpoint_id="c2"), [(INTERRUPT, "really?")], "task")
    backend.clock.advance("25h")
    at = await Chain.continuing(saver, begun).put("c2", {"x": 2})
    assert await pending(saver, at) == [("task", INTERRUPT, "really?")]
    await backend.close()


async def test_a_prune_leaves_early_writes_what_they_share_with_earlier_checkpoints(
    saver: SessionSaver,
) -> None:
    """A prune knows the bytes that checkpoints refer to; these writes have no checkpoint yet."""
    at = await Chain(saver).put("c1", {"x": LONG})
    begun = await get(saver, at)
    await saver.aput_writes(config(checkpoint_id="c3"), [("x", LONG), ("y", [*LONG, 1])], "task")
    elsewhere = SessionSaver(saver.store)
    await Chain.continuing(elsewhere, begun).put("c2", {"x": 1})
    await elsewhere.aprune([THREAD])
    at = await Chain.continuing(saver, begun).put("c3", {"z": 1})
    assert await pending(saver, at) == [("task", "x", LONG), ("task", "y", [*LONG, 1])]
    assert await pending(elsewhere, at) == await pending(saver, at)


async def test_a_prune_leaves_early_writes_of_a_machine_whose_clock_is_slow(
    saver: SessionSaver,
) -> None:
    """Their checkpoint comes, though its id is lower than those of all that are there."""
    chain = Chain(saver)
    await chain.put("c4")
    await chain.put("c5")
    begun = await get(saver, config())
    await saver.aput_writes(config(checkpoint_id="c3"), [("x", 1), (INTERRUPT, "?")], "task")
    await SessionSaver(saver.store).aprune([THREAD])
    at = await Chain.continuing(saver, begun).put("c3", {"z": 1})
    assert sorted(await pending(saver, at)) == [("task", INTERRUPT, "?"), ("task", "x", 1)]


async def test_early_writes_of_a_run_do_not_go_to_the_next_session(saver: SessionSaver) -> None:
    """Somebody deletes the session while a run is on its way, and begins another one."""
    await Chain(saver).put("c1", {"x": 1})
    await get(saver, config())
    await saver.store.aio.delete(THREAD)
    await Chain(SessionSaver(saver.store)).put("c1", {"x": 1})
    await saver.aput_writes(config(checkpoint_id="c2"), [("a", 1)], "task")
    assert await revision(saver.store) == 1


async def test_tasks_and_checkpoints_keep_their_writes_apart(saver: SessionSaver) -> None:
    """The same place in another task, namespace, checkpoint or thread is another place."""
    places = [
        (config(), "c1", "t1"),
        (config(), "c1", "t2"),
        (config(), "c2", "t1"),
        (config(checkpoint_ns="sub"), "c1", "t1"),
        (config("other thread"), "c1", "t1"),
    ]
    for at in (config(), config(checkpoint_ns="sub"), config("other thread")):
        chain = Chain(saver, at["configurable"]["thread_id"], at["configurable"]["checkpoint_ns"])
        for checkpoint_id in ("c1", "c2"):
            await chain.put(checkpoint_id)
    for number, (at, checkpoint_id, task) in enumerate(places):
        await saver.aput_writes(_at(at, checkpoint_id), [("x", number)], task)
    for number, (at, checkpoint_id, task) in enumerate(places):
        assert (task, "x", number) in await pending(saver, _at(at, checkpoint_id))
    assert len(await pending(saver, config(checkpoint_id="c1"))) == 2


def _at(at: Any, checkpoint_id: str) -> Any:
    return {"configurable": {**at["configurable"], "checkpoint_id": checkpoint_id}}


async def test_a_deleted_thread_leaves_no_writes(saver: SessionSaver) -> None:
    """A thread begun again under the same ids finds nothing of the one before."""
    at = await Chain(saver).put("c1")
    await saver.aput_writes(at, [("a", 1), (INTERRUPT, "x")], "task")
    await saver.adelete_thread(at["configurable"]["thread_id"])
    assert await saver.aget_tuple(at) is None
    again = await Chain(saver).put("c1")
    assert await pending(saver, again) == []


async def test_no_writes_are_no_commit(saver: SessionSaver) -> None:
    """An empty list neither makes a session nor counts as a use of one."""
    await saver.aput_writes(config(checkpoint_id="c1"), [], "task")
    assert await revision(saver.store) is None
    at = await Chain(saver).put("c1")
    await saver.aput_writes(at, [], "task")
    assert await revision(saver.store) == 1


async def test_writes_need_a_checkpoint(saver: SessionSaver) -> None:
    """A config without a checkpoint id is a mistake of the caller."""
    with pytest.raises(ConfigurationError, match="checkpoint_id"):
        await saver.aput_writes(config(), [("a", 1)], "task")


async def test_a_write_of_what_is_there_already_costs_next_to_nothing(
    backend: Backend, face: str
) -> None:
    """A node that returns the whole list it was given does not store the list again."""
    saver = SessionSaver(backend.store())
    at = await Chain(saver).put("c1", {"messages": LONG})
    before = await backend.store().aio.info(at["configurable"]["thread_id"])
    await saver.aput_writes(at, [("messages", [*LONG, "one more"])], "task")
    after = await backend.store().aio.info(at["configurable"]["thread_id"])
    assert before
    assert after
    if before.size_bytes and after.size_bytes and backend.name == "memory":  # it counts exactly
        assert after.size_bytes - before.size_bytes < 500
    for reader in (saver, SessionSaver(backend.store())):
        assert await pending(reader, at) == [("task", "messages", [*LONG, "one more"])]
        listed = [item async for item in reader.alist(config())]
        assert listed[0].pending_writes == [("task", "messages", [*LONG, "one more"])]


async def test_many_writes_of_many_tasks_are_all_there(saver: SessionSaver) -> None:
    """Fifty tasks that write at once, some of it large, lose nothing."""
    at = await Chain(saver).put("c1", {"messages": LONG})
    await asyncio.gather(
        *(
            saver.aput_writes(at, [("x", number), ("messages", LONG[number:])], f"t{number:02}")
            for number in range(40)
        )
    )
    expected = [
        (f"t{number:02}", channel, value)
        for number in range(40)
        for channel, value in (("x", number), ("messages", LONG[number:]))
    ]
    assert await pending(saver, at) == expected


async def test_writes_of_a_page_of_checkpoints_come_with_it(saver: SessionSaver) -> None:
    """A listing brings each checkpoint's own writes, and the arena that they refer to."""
    chain = Chain(saver)
    for number in range(5):
        at = await chain.put(f"c{number}", {"messages": LONG[: 10 + number]})
        await saver.aput_writes(at, [("messages", LONG[number:])], "task")
    found = [item.pending_writes async for item in saver.alist(config())]
    assert found == [[("task", "messages", LONG[number:])] for number in (4, 3, 2, 1, 0)]
    page = await saver.store.aio.scan(str(config()["configurable"]["thread_id"]), [Start("")], 10)
    assert all(stored.writes for stored in page.records)


channels = st.sampled_from(["a", "b", ERROR, SCHEDULED, INTERRUPT, RESUME])
calls = st.lists(
    st.tuples(
        st.sampled_from(["c1", "c2", "not yet"]),
        st.lists(st.tuples(channels, st.integers(0, 99)), max_size=5),
        st.sampled_from(["t1", "t2", "t3"]),
        st.sampled_from(["", "~1", "~2"]),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(calls)
def test_any_writes_are_those_of_langgraphs_own_memory(given_calls: list[Any]) -> None:
    """Whatever tasks write, in whatever order, the same writes are pending."""

    async def run() -> None:
        savers: tuple[Any, ...] = (SessionSaver(MemoryStore()), InMemorySaver())
        found = []
        for saver in savers:
            chain = Chain(saver)
            await chain.put("c1")
            await chain.put("c2")
            for checkpoint_id, writes, task, path in given_calls:
                at = config(checkpoint_id=checkpoint_id)
                await saver.aput_writes(at, writes, task, path)
            await chain.put("not yet")
            found.append(
                [await get(saver, config(checkpoint_id=i)) for i in ("c1", "c2", "not yet")]
            )
        for ours, theirs in zip(*found, strict=True):
            if SORTED:
                assert ours.pending_writes == theirs.pending_writes
            else:
                assert sorted(ours.pending_writes) == sorted(theirs.pending_writes)

    asyncio.run(run())
