"""One writer at a time: turns around runs, taken by the saver or by the application."""

from __future__ import annotations

import asyncio
import operator
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from saver.backends import Backend
from wren_sessions import MemoryStore, Sessions, SessionSaver
from wren_sessions.errors import (
    ConfigurationError,
    ConflictError,
    SessionExistsError,
    SessionExpiredError,
)
from wren_sessions.langgraph import turns
from wren_sessions.records import TurnState, TurnStep
from wren_sessions.testing import FakeClock
from wren_sessions.ttl import TTLPolicy

THREAD: Any = {"configurable": {"thread_id": "t"}}
Mode = Literal["reject", "wait"]


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    assert not turns._blocking
    assert not turns._awaited


class Talk(TypedDict, total=False):
    """A conversation."""

    said: Annotated[list[str], operator.add]


def talking(saver: SessionSaver, answer: Callable[[Any], Any]) -> Any:
    """A graph of one node."""
    builder: Any = StateGraph(Talk)
    builder.add_node("answer", answer)
    return builder.add_edge(START, "answer").compile(checkpointer=saver)


class Alone:
    """A node that notes how many are in it at once."""

    def __init__(self) -> None:
        self.inside = self.most = 0

    async def awaited(self, _: Any) -> Any:
        """The node, in a loop."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.02)
        self.inside -= 1
        return {"said": ["answer"]}

    def blocking(self, _: Any) -> Any:
        """The node, in threads."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        threading.Event().wait(0.02)
        self.inside -= 1
        return {"said": ["answer"]}


def spoken(values: Any, count: int) -> bool:
    """Whether a conversation holds every message with its answer behind it."""
    said = values["said"]
    return said[1::2] == ["answer"] * count and sorted(said[::2]) == [str(n) for n in range(count)]


# --- the saver takes them -------------------------------------------------------------------------


async def test_runs_wait_for_their_turn(backend: Backend) -> None:
    """Awaited runs on one thread happen one after the other, and none is lost."""
    saver, alone = SessionSaver(backend.store(), concurrency="wait"), Alone()
    graph = talking(saver, alone.awaited)
    await asyncio.gather(*(graph.ainvoke({"said": [str(n)]}, THREAD) for n in range(5)))
    assert spoken((await graph.aget_state(THREAD)).values, 5)
    assert alone.most == 1


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_blocking_runs_wait_for_their_turn(backend: Backend, durability: str) -> None:
    """Runs in threads as well, whenever LangGraph saves."""
    saver, alone = SessionSaver(backend.store(), concurrency="wait"), Alone()
    graph = talking(saver, alone.blocking)
    with ThreadPoolExecutor(4) as pool:
        runs = [
            pool.submit(graph.invoke, {"said": [str(n)]}, THREAD, durability=durability)
            for n in range(4)
        ]
    for run in runs:
        run.result()
    assert spoken(graph.get_state(THREAD).values, 4)
    assert alone.most == 1


async def test_a_later_run_is_rejected(backend: Backend) -> None:
    """Before any of its nodes run, with who is on the thread; the first one goes on."""
    began, go_on, ran = asyncio.Event(), asyncio.Event(), []

    async def answer(state: Talk) -> Any:
        ran.append(state["said"][-1])
        began.set()
        await go_on.wait()
        return {"said": ["answer"]}

    graph = talking(SessionSaver(backend.store(), concurrency="reject"), answer)
    first = asyncio.create_task(graph.ainvoke({"said": ["one"]}, THREAD))
    await began.wait()
    with pytest.raises(ConflictError, match="has been writing session 't' for") as refused:
        await graph.ainvoke({"said": ["two"]}, THREAD)
    assert refused.value.holder
    assert refused.value.held_s >= 0
    other: Any = {"configurable": {"thread_id": "another"}}
    go_on.set()
    await graph.ainvoke({"said": ["three"]}, other)
    assert (await first)["said"] == ["one", "answer"]
    assert ran == ["one", "three"]
    assert (await graph.ainvoke({"said": ["two"]}, THREAD))["said"][2:] == ["two", "answer"]


@pytest.mark.parametrize("mode", ["reject", "wait"])
def test_an_interrupt_holds_no_turn(backend: Backend, mode: Mode) -> None:
    """A graph that waits for an answer keeps nobody out, for however long."""
    graph = talking(
        SessionSaver(backend.store(), concurrency=mode),
        lambda _: {"said": [interrupt("what?")]},
    )
    graph.invoke({"said": ["one"]}, THREAD)
    with Sessions(backend.store()).turn("t", wait=0):
        pass
    assert graph.invoke(Command(resume="so"), THREAD)["said"] == ["one", "so"]


def test_a_run_that_fails_gives_its_turn_back(backend: Backend) -> None:
    """So does a stream that is closed before its end."""
    answers: list[Any] = [ZeroDivisionError(), "one", "two"]

    def answer(_: Any) -> Any:
        if isinstance(answers[0], Exception):
            raise answers.pop(0)
        return {"said": [answers.pop(0)]}

    graph = talking(SessionSaver(backend.store(), concurrency="reject"), answer)
    with pytest.raises(ZeroDivisionError):
        graph.invoke({"said": ["0"]}, THREAD)
    stream = graph.stream({"said": ["1"]}, THREAD)
    next(stream)
    stream.close()
    assert graph.invoke({"said": ["2"]}, THREAD)["said"][-1] == "two"


async def test_a_run_that_is_cancelled_gives_its_turn_back(backend: Backend) -> None:
    """While it has the turn, and while it waits for it."""
    began = asyncio.Event()

    async def answer(_: Any) -> Any:
        began.set()
        await asyncio.Event().wait()

    graph = talking(SessionSaver(backend.store(), concurrency="wait"), answer)
    first = asyncio.create_task(graph.ainvoke({"said": ["1"]}, THREAD))
    await began.wait()
    second = asyncio.create_task(graph.ainvoke({"said": ["2"]}, THREAD))
    await asyncio.sleep(0.05)
    for task in (second, first):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with Sessions(backend.store()).turn("t", wait=0):
        pass


def test_a_subgraph_is_in_the_turn_of_its_graph(backend: Backend) -> None:
    """And a node that looks at other threads, or runs graphs on them, takes no turn for long."""
    saver = SessionSaver(backend.store(), concurrency="reject")
    inner = StateGraph(Talk).add_node("say", lambda _: {"said": ["inner"]}).add_edge(START, "say")
    elsewhere: Any = {"configurable": {"thread_id": "elsewhere", "checkpoint_ns": ""}}
    other = talking(saver, lambda _: {"said": ["other"]})
    other.invoke({"said": ["0"]}, elsewhere)

    def look(_: Any) -> Any:
        with Sessions(backend.store()).turn("elsewhere", wait=0):
            other.get_state(elsewhere)
        other.get_state(elsewhere)
        with ThreadPoolExecutor(1) as pool:  # of nobody's context
            pool.submit(other.invoke, {"said": ["1"]}, elsewhere).result()
        return {"said": ["looked"]}

    builder: Any = StateGraph(Talk)
    builder.add_node("sub", inner.compile(checkpointer=True))
    builder.add_node("look", look)
    builder.add_edge(START, "sub").add_edge("sub", "look")
    graph = builder.compile(checkpointer=saver)
    assert graph.invoke({"said": ["1"]}, THREAD)["said"][-2:] == ["inner", "looked"]
    assert graph.invoke({"said": ["2"]}, THREAD)["said"][-1] == "looked"


@pytest.mark.parametrize("mode", ["reject", "wait"])
def test_without_a_run_the_latest_must_be_continued(backend: Backend, mode: Mode) -> None:
    """Of two that write on top of the same checkpoint by hand, one is refused."""
    saver = SessionSaver(backend.store(), concurrency=mode)
    first = saver.put({"configurable": {"thread_id": "t", "checkpoint_ns": ""}}, *named("1"))
    second = saver.put(first, *named("2"))
    with pytest.raises(ConflictError, match="since it was loaded"):
        saver.put(first, *named("3"))
    with pytest.raises(ConflictError):
        saver.put({"configurable": {"thread_id": "t", "checkpoint_ns": ""}}, *named("4"))
    saver.put(second, *named("5"))
    with Sessions(backend.store()).turn("t"):
        saver.put(first, *named("6"))  # in a turn, a fork is meant


def named(checkpoint_id: str) -> Any:
    """A checkpoint of that id, as it is put."""
    return {**empty_checkpoint(), "id": checkpoint_id}, {}, {}


def test_states_can_be_updated(backend: Backend) -> None:
    """`update_state` writes what it read; a fork by hand takes a turn."""
    graph = talking(
        SessionSaver(backend.store(), concurrency="reject"), lambda _: {"said": ["answer"]}
    )
    graph.invoke({"said": ["1"]}, THREAD)
    before = graph.get_state(THREAD).config
    graph.update_state(THREAD, {"said": ["more"]})
    with pytest.raises(ConflictError):
        graph.update_state(before, {"said": ["fork"]})
    with Sessions(backend.store()).turn("t"):
        graph.update_state(before, {"said": ["fork"]})
    assert graph.invoke(None, before, durability="sync")["said"] == ["1", "answer"]


def side_by_side(saver: SessionSaver) -> Any:
    """A graph of two nodes that run at the same time, and then ask at the same time."""
    both = threading.Barrier(2)

    def say(text: str) -> Callable[[Any], Any]:
        def node(_: Any) -> Any:
            both.wait(60)  # neither is done before LangGraph waits for both
            return {"said": [text]}

        return node

    builder: Any = StateGraph(Talk)
    for name in ("left", "right"):
        builder.add_node(name, say(name)).add_edge(START, name)
        builder.add_node(f"ask {name}", lambda _: {"said": [interrupt("?")]})
        builder.add_edge(name, f"ask {name}")
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("mode", ["reject", "wait", "last"])
async def test_nodes_that_run_side_by_side_are_in_the_turn(
    backend: Backend, mode: Literal["reject", "wait", "last"]
) -> None:
    """Also where a blocking LangGraph stores their writes in a thread without a context."""
    store = backend.store()
    graph = side_by_side(SessionSaver(store, concurrency=mode))
    expected = ["hi", "left", "right"]
    for ask in (graph.invoke, lambda *a: asyncio.run(graph.ainvoke(*a))):
        for text in ({"said": ["hi"]}, {"said": ["hi"]}):
            if mode == "last":
                with Sessions(store).turn("t"):
                    found = await asyncio.to_thread(ask, text, THREAD)
            else:
                found = await asyncio.to_thread(ask, text, THREAD)
            assert found["said"][-3:] == expected
            waiting = graph.get_state(THREAD).interrupts
            answers: Any = Command(resume={each.id: each.id for each in waiting})
            found = await asyncio.to_thread(ask, answers, THREAD)
            assert set(found["said"][-2:]) == {each.id for each in waiting}


def test_a_run_in_no_turn_gets_none(backend: Backend) -> None:
    """A thread without a context carries a turn only for a run in it, and only while it is on."""
    store = backend.store()
    saver, sessions = SessionSaver(store), Sessions(store)
    within: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}, "metadata": {"a": 1}}
    outside = {**within, "metadata": {"a": 1}}
    first = saver.put(within, *named("1"))["configurable"]

    def write(config: Any, at: dict[str, Any] = first) -> None:
        config = {**config, "configurable": at}
        saver.put_writes(config, [("said", "x")], "task")

    with ThreadPoolExecutor(1) as pool:
        with sessions.turn("t"):
            saver.get_tuple(within)
            with pytest.raises(ConflictError):
                pool.submit(write, outside).result()
            pool.submit(write, within).result()
        with (
            sessions.turn("t", holder="another"),
            pytest.raises(ConflictError, match="another has been writing"),
        ):
            pool.submit(write, within).result()


def test_a_run_with_the_same_config_gets_no_turn() -> None:
    """A run outside of the turn is told from those in it, also where both have one metadata."""
    saver, metadata = SessionSaver(store := MemoryStore()), {"app": "chat"}

    def of(runtime: object) -> Any:
        return {
            "configurable": {"thread_id": "t", "checkpoint_ns": "", "__pregel_runtime": runtime},
            "metadata": metadata,
        }

    within, outside = of(object()), of(object())
    first = saver.put(within, *named("1"))["configurable"]["checkpoint_id"]

    def write(config: Any) -> None:
        at: Any = {**config, "configurable": {**config["configurable"], "checkpoint_id": first}}
        saver.put_writes(at, [("said", "x")], "task")

    with ThreadPoolExecutor(1) as pool, Sessions(store).turn("t"):
        saver.get_tuple(within)
        with pytest.raises(ConflictError):
            pool.submit(write, outside).result()
        pool.submit(write, within).result()


def test_what_is_no_run_lends_no_turn(backend: Backend) -> None:
    """A call without metadata, inside a turn, lets no other call without metadata in."""
    store = backend.store()
    saver = SessionSaver(store)
    bare: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    first = saver.put(bare, *named("1"))
    with ThreadPoolExecutor(1) as pool, Sessions(store).turn("t"):
        saver.get_tuple(bare)
        with pytest.raises(ConflictError):
            pool.submit(saver.put_writes, first, [("said", "x")], "task").result()


def test_a_long_turn_remembers_its_last_runs() -> None:
    """A turn in which thousands of runs take place does not keep what each of them had."""
    store = MemoryStore()
    saver, runs = SessionSaver(store), 1_000
    with Sessions(store).turn("t") as turn:
        for number in range(runs):
            within: Any = {"configurable": {"thread_id": "t"}, "metadata": {"n": number}}
            saver.get_tuple(within)
        assert 0 < len(turn.lent) < runs


# --- the application takes them -------------------------------------------------------------------


async def test_what_is_written_in_a_turn_carries_it(backend: Backend) -> None:
    """A graph's writes do, from whatever task or thread; those of others are refused."""
    store = backend.store()
    sessions, graph = Sessions(store), talking(SessionSaver(store), lambda _: {"said": ["a"]})
    async with sessions.turn("t", holder="worker 1") as turn:
        assert (await graph.ainvoke({"said": ["1"]}, THREAD))["said"] == ["1", "a"]
        assert graph.invoke({"said": ["2"]}, THREAD)["said"][2:] == ["2", "a"]
        await asyncio.to_thread(graph.invoke, {"said": ["3"]}, THREAD)
        with ThreadPoolExecutor(1) as pool:  # not in this context
            for call in (
                lambda: graph.invoke({"said": ["x"]}, THREAD),
                lambda: sessions.save("t", {"said": ["x"]}),
                lambda: sessions.turn("t", wait=0).__enter__(),
            ):
                with pytest.raises(ConflictError, match="worker 1 has been writing") as refused:
                    pool.submit(call).result()
                assert refused.value.holder == "worker 1"
    assert turn.over
    assert sessions.load("t").state["said"] == ["1", "a", "2", "a", "3", "a"]
    sessions.save("t", {"said": []})


def test_a_turn_within_a_turn_is_the_same_one(backend: Backend) -> None:
    """The inner block ends nothing."""
    sessions = Sessions(backend.store())
    with sessions.turn("t"):
        with sessions.turn("t", wait=0):
            sessions.save("t", {"n": 1})
        sessions.save("t", {"n": 2})
        with sessions.turn("u", wait=0):
            sessions.save("u", {"n": 1})
        sessions.save("t", {"n": 3})
    assert sessions.load("t").state == {"n": 3}


async def test_one_turn_lets_one_in(backend: Backend) -> None:
    """Who shares a turn as if it was a lock is told, instead of being let in beside another."""
    turn = Sessions(backend.store()).turn("t")
    inside: list[int] = []

    async def enter() -> None:
        async with turn:
            inside.append(1)
            await asyncio.sleep(0)

    found = await asyncio.gather(enter(), enter(), return_exceptions=True)
    assert [type(each) for each in found] == [type(None), ConfigurationError]
    assert inside == [1]


def test_a_session_begins_in_its_turn(backend: Backend) -> None:
    """The first message of a thread is one at a time, too; what is not written leaves nothing."""
    sessions = Sessions(backend.store())
    with sessions.turn("t"):
        assert sessions.load("t").state == {}
    assert not sessions.exists("t")
    with sessions.turn("t"):
        sessions.create("t", state={"n": 1})
        with pytest.raises(SessionExistsError):
            sessions.create("t")
    with sessions.turn("u"):
        sessions.create("u")
        sessions.save("u", {"n": 2})
    assert [sessions.load(id_).state["n"] for id_ in "tu"] == [1, 2]


def test_a_session_that_another_turn_made_cannot_be_created(backend: Backend) -> None:
    """The error says whose turn it is."""
    sessions = Sessions(backend.store())
    with sessions.turn("t", holder="me"), ThreadPoolExecutor(1) as pool:
        with pytest.raises(ConflictError, match="me has been writing"):
            pool.submit(sessions.create, "t").result()
        with pytest.raises(ConflictError, match="me has been writing"):
            pool.submit(sessions.save, "t", {"n": 1}).result()


def test_who_waits_gives_up_in_time(backend: Backend) -> None:
    """After the time to wait, with an error; the place in the queue is given back."""
    sessions = Sessions(backend.store())
    with ThreadPoolExecutor(1) as pool:
        with sessions.turn("t"):
            late = pool.submit(sessions.turn("t", wait="50ms").__enter__)
            with pytest.raises(ConflictError, match="has been writing"):
                late.result()
        with sessions.turn("t", wait=0):
            pass


# --- turns that are lost --------------------------------------------------------------------------


class Watched(MemoryStore):
    """A store that lets a test wait for what turns do."""

    def __init__(self, clock: FakeClock, ttl: TTLPolicy | None = None) -> None:
        super().__init__(clock=clock, ttl=ttl)
        self.kept = threading.Semaphore(0)
        self.cut_off = False

    def turn(self, step: TurnStep) -> TurnState:
        """The step, unless the store cannot be reached."""
        if step.what == "keep":
            self.kept.release()
            if self.cut_off:
                return TurnState(mine=True, now_ms=0)
        return super().turn(step)


@pytest.mark.parametrize("face", ["sync", "async"])
async def test_a_turn_is_kept_while_its_block_runs(face: str) -> None:
    """However long that is, compared to what it would last by itself."""
    clock = FakeClock()
    store = Watched(clock)
    sessions = Sessions(store)
    if face == "sync":
        with sessions.turn("t", ttl="30ms"):
            for _ in range(5):
                clock.advance("20ms")
                assert store.kept.acquire(timeout=60)
                assert store.kept.acquire(timeout=60)  # the second one began after the advance
            sessions.save("t", {"n": 1})
    else:
        async with sessions.turn("t", ttl="30ms"):
            for _ in range(5):
                clock.advance("20ms")
                await asyncio.to_thread(store.kept.acquire, timeout=60)
                await asyncio.to_thread(store.kept.acquire, timeout=60)
            await sessions.aio.save("t", {"n": 1})
    assert sessions.load("t").state == {"n": 1}


def test_what_is_written_in_a_lost_turn_is_refused() -> None:
    """Checkpoints and pending writes, with who has the turn now, and since when."""
    clock = FakeClock()
    store = Watched(clock)
    store.cut_off = True
    sessions, saver = Sessions(store), SessionSaver(store)
    config = saver.put({"configurable": {"thread_id": "t", "checkpoint_ns": ""}}, *named("1"))
    with sessions.turn("t", ttl="10s"):
        saver.put(config, *named("2"))
        clock.advance("11s")
        with pytest.raises(ConflictError, match="nobody has it now") as refused:
            saver.put(config, *named("3"))
        assert refused.value.holder is None
        with ThreadPoolExecutor(1) as pool:
            other = sessions.turn("t", holder="another")
            pool.submit(other.__enter__).result()
            clock.advance("2s")
            with pytest.raises(ConflictError, match=r"another has had it for 2\.0 s") as refused:
                saver.put_writes(config, [("said", "x")], "task")
            assert (refused.value.holder, refused.value.held_s) == ("another", 2.0)
            with pytest.raises(ConflictError, match="another has had it"):
                sessions.save("t", {"n": 1})
            pool.submit(other.__exit__, None, None, None).result()
    assert [found.config["configurable"]["checkpoint_id"] for found in saver.list(THREAD)] == [
        "2",
        "1",
    ]


def test_a_session_that_ran_out_is_not_brought_back_in_its_turn() -> None:
    """The turn went with the session, which is past its maximum age."""
    clock = FakeClock()
    store = Watched(clock, TTLPolicy(idle=None, max_age="1h"))
    store.cut_off = True
    saver = SessionSaver(store)
    config = saver.put({"configurable": {"thread_id": "t", "checkpoint_ns": ""}}, *named("1"))
    with Sessions(store).turn("t"):
        clock.advance("2h")
        with pytest.raises(SessionExpiredError):
            saver.put(config, *named("2"))


# --- what cannot be -------------------------------------------------------------------------------


def test_arguments_are_checked() -> None:
    """A mode, a time or a name that is none is refused at once."""
    store = MemoryStore()
    with pytest.raises(ConfigurationError, match="'last', 'reject' or 'wait', not 'queue'"):
        SessionSaver(store, concurrency="queue")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="not a duration"):
        Sessions(store).turn("t", wait="soon")
    with pytest.raises(ConfigurationError, match="holder must be a name"):
        Sessions(store).turn("t", holder="")


def test_a_saver_from_a_url_takes_the_mode() -> None:
    """And its copies with other allowlists share it."""
    with SessionSaver.from_url("memory://", concurrency="reject") as saver:
        began, go_on = threading.Event(), threading.Event()

        def answer(_: Any) -> Any:
            began.set()
            go_on.wait(60)
            return {"said": ["answer"]}

        graph = talking(saver.with_allowlist([]), answer)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(graph.invoke, {"said": ["1"]}, THREAD)
            began.wait(60)
            with pytest.raises(ConflictError):
                graph.invoke({"said": ["2"]}, THREAD)
            go_on.set()
            first.result()
