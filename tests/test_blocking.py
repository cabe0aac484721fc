"""One engine for both faces: a coroutine run over a blocking store, and awaited, alike."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any, NoReturn, TypeVar, cast

import pytest

from wren_sessions._blocking import Signal, Unsuspended, run, signal_for
from wren_sessions.errors import StoreUnavailableError, WrenSessionsError
from wren_sessions.protocols import AsyncSessionStore, SessionStore
from wren_sessions.stores.memory import MemoryStore
from wren_sessions.testing.build import SESSION, put

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]]

METHODS = [name for name in vars(AsyncSessionStore) if not name.startswith("_")]
looked: ContextVar[str] = ContextVar("looked", default="")


async def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run without an event loop having a part in it."""
    return run(coroutine)


async def run_awaited(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await in this task."""
    return await coroutine


@pytest.fixture(params=["blocking", "awaited"])
def face(request: pytest.FixtureRequest) -> tuple[Run, AsyncSessionStore]:
    """How to run an engine, and the face of a store that it works on."""
    store = MemoryStore()
    if request.param == "blocking":
        return run_blocking, Unsuspended(store)
    return run_awaited, store.aio


class Recorder:
    """A blocking store that answers each call with what it was called with, or fails."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Callable[..., str]:
        def call(*args: Any, **kwargs: Any) -> str:
            self.calls.append((name, args, kwargs))
            if self.error is not None:
                raise self.error
            return f"answer of {name}"

        return call


def recorder(error: BaseException | None = None) -> tuple[Recorder, Unsuspended]:
    """A store that records, and the face that an engine works on."""
    found = Recorder(error)
    return found, Unsuspended(cast("SessionStore", found))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_reaches_the_store_with_its_arguments(method: str) -> None:
    """Each argument arrives under its own name, and the answer comes back."""
    signature = inspect.signature(getattr(AsyncSessionStore, method))
    assert inspect.signature(getattr(Unsuspended, method)) == signature
    store, face = recorder()
    named = {name: object() for name in list(signature.parameters)[1:]}
    answer = run(getattr(face, method)(**named))
    [(called, args, kwargs)] = store.calls
    assert called == method
    bound = inspect.signature(getattr(SessionStore, method)).bind(store, *args, **kwargs)
    assert {**bound.arguments, "self": None} == {**named, "self": None}
    if signature.return_annotation != "None":
        assert answer == f"answer of {method}"


async def test_an_engine_is_written_once(face: tuple[Run, AsyncSessionStore]) -> None:
    """A sequence of calls gives the same on either face."""
    runs, store = face

    async def rename(old: str, new: str) -> bool:
        if await store.copy(old, new) is None:
            return False
        return await store.delete(old)

    await runs(store.commit(put("1")))
    assert await runs(rename(SESSION, "new")) is True
    assert await runs(store.info(SESSION)) is None
    assert await runs(store.info("new")) is not None
    assert await runs(rename("missing", "newer")) is False


async def test_what_an_engine_sets_in_the_context_stays(
    face: tuple[Run, AsyncSessionStore],
) -> None:
    """A context variable set while an engine runs is set for who called it."""
    runs, store = face

    async def look() -> None:
        await store.info(SESSION)
        looked.set("here")

    looked.set("")
    await runs(look())
    assert looked.get() == "here"


def test_an_error_of_a_call_can_be_handled() -> None:
    """An error of the store is raised where it was called, and the coroutine may go on."""
    store, face = recorder(error := StoreUnavailableError("down"))

    async def engine() -> BaseException:
        try:
            await face.ping()
        except StoreUnavailableError as caught:
            return caught
        raise AssertionError

    assert run(engine()) is error
    assert len(store.calls) == 1


@pytest.mark.parametrize(
    "error", [StoreUnavailableError("down"), KeyboardInterrupt(), asyncio.CancelledError()]
)
def test_an_error_that_is_not_handled_comes_out(error: BaseException) -> None:
    """It comes out as it is, after the finally clauses, which may make calls of their own."""
    store, face = recorder(error)
    ended: list[object] = []

    async def engine() -> None:
        try:
            await face.ping()
        finally:
            store.error = None
            ended.append(await face.delete(SESSION))

    with pytest.raises(type(error)) as caught:
        run(engine())
    assert caught.value is error
    assert ended == ["answer of delete"]


def test_a_traceback_names_the_engine() -> None:
    """An error from inside a store shows the engine's function that called it."""
    _, face = recorder(StoreUnavailableError("down"))

    async def the_engines_function() -> None:
        await face.ping()

    with pytest.raises(StoreUnavailableError) as caught:
        run(the_engines_function())
    assert "the_engines_function" in [frame.name for frame in caught.traceback]


def test_another_error_may_take_its_place() -> None:
    """An engine may raise an error of its own, chained to the one of the call."""
    _, face = recorder(ValueError("inner"))

    async def engine() -> NoReturn:
        try:
            await face.ping()
        except ValueError as error:
            raise WrenSessionsError("outer") from error
        raise AssertionError

    with pytest.raises(WrenSessionsError, match="outer") as caught:
        run(engine())
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_coroutine_that_suspends_is_refused() -> None:
    """What waits for an event loop is a mistake, said at once, and its finally clauses run."""
    ended = []

    async def engine() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            ended.append(True)

    with pytest.raises(RuntimeError, match="suspended"):
        run(engine())
    assert ended == [True]


def test_a_blocking_engine_runs_inside_an_event_loop() -> None:
    """A blocking call in a coroutine of the application does not disturb its event loop."""
    store = MemoryStore()
    engine_store = Unsuspended(store)

    async def application() -> object:
        await asyncio.sleep(0)
        return run(engine_store.commit(put("1"))).outcome

    assert asyncio.run(application()) == "done"


def test_a_thread_waits_for_a_signal_of_another() -> None:
    """A blocking caller stops its thread, and its coroutine does not suspend."""
    signal = signal_for(Unsuspended(MemoryStore()))
    assert run(signal.wait(0.0)) is False
    sender = threading.Timer(0.01, signal.send)
    sender.start()
    assert run(signal.wait(30)) is True
    sender.join()
    for _ in range(2):  # more than one put may end
        signal.send()
    assert run(signal.wait(30)) is True


async def test_a_loop_goes_on_while_a_call_waits_for_a_signal() -> None:
    """It is sent by a thread, and waiting ends in time if it is not sent."""
    signal = signal_for(MemoryStore().aio)
    assert await signal.wait(0.0) is False
    sender = threading.Timer(0.01, signal.send)
    sender.start()
    went_on = asyncio.create_task(asyncio.sleep(0))
    assert await signal.wait(30) is True
    assert went_on.done()
    assert await signal.wait(30) is True
    sender.join()


def test_a_signal_to_a_loop_that_has_ended_is_no_error() -> None:
    """The call that waited was cancelled with its loop, and the put that sends it goes on."""

    async def made() -> Signal:
        return signal_for(MemoryStore().aio)

    asyncio.run(made()).send()


@pytest.mark.parametrize("turns", range(5))
async def test_a_cancel_that_comes_with_a_signal_is_not_lost(turns: int) -> None:
    """The task that waits ends, however close behind the signal it is cancelled."""
    signal = signal_for(MemoryStore().aio)

    async def work() -> None:
        await signal.wait(30)
        await asyncio.sleep(30)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    signal.send()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=30)
    assert task.cancelled()
