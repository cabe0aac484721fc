"""Steps: one generator, run blocking and awaited, alike."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import pytest

from wren_sessions._steps import Call, Steps, adrive, drive
from wren_sessions.errors import StoreUnavailableError, WrenSessionsError
from wren_sessions.protocols import AsyncSessionStore, SessionStore
from wren_sessions.stores.memory import MemoryStore
from wren_sessions.testing.build import SESSION, put

T = TypeVar("T")
Run = Callable[[Steps[Any], object], Awaitable[Any]]


class Recorder:
    """A store of any methods, which answers with what it was called with, or fails."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def add(self, *numbers: int, start: int = 0) -> int:
        """The sum."""
        self.calls.append((*numbers, start))
        return sum(numbers, start)

    def fail(self, error: BaseException) -> None:
        """Raise the error."""
        self.calls.append(("fail",))
        raise error


class AsyncRecorder(Recorder):
    """The same, to await."""

    async def add(self, *numbers: int, start: int = 0) -> int:  # type: ignore[override]
        """The sum."""
        await asyncio.sleep(0)
        return super().add(*numbers, start=start)

    async def fail(self, error: BaseException) -> None:  # type: ignore[override]
        """Raise the error."""
        await asyncio.sleep(0)
        super().fail(error)


class Blocking:
    """Runs steps on blocking methods."""

    store: type[Recorder] = Recorder

    async def run(self, steps: Steps[T], store: object) -> T:
        """What the steps return."""
        return drive(steps, cast("SessionStore", store))


class Awaiting(Blocking):
    """Runs steps on awaitable methods."""

    store = AsyncRecorder

    async def run(self, steps: Steps[T], store: object) -> T:
        """What the steps return."""
        return await adrive(steps, cast("AsyncSessionStore", store))


@pytest.fixture(params=[Blocking, Awaiting])
def driver(request: pytest.FixtureRequest) -> Blocking:
    """Both drivers."""
    return cast("Blocking", request.param())


async def test_answers_are_sent_to_the_steps(driver: Blocking) -> None:
    """Each call is made with its arguments, in order, and its answer goes on from the yield."""

    def steps() -> Steps[list[int]]:
        first = yield Call("add", 1, 2)
        second = yield Call("add", first, start=10)
        return [first, second]

    store = driver.store()
    assert await driver.run(steps(), store) == [3, 13]
    assert store.calls == [(1, 2, 0), (3, 10)]


async def test_steps_may_use_steps(driver: Blocking) -> None:
    """Steps are composed with ``yield from``, and give each other values."""

    def double(number: int) -> Steps[int]:
        return cast("int", (yield Call("add", number, number)))

    def steps() -> Steps[int]:
        first = yield from double(1)
        return (yield from double(first))

    assert await driver.run(steps(), driver.store()) == 4


async def test_steps_without_calls(driver: Blocking) -> None:
    """Steps that call nothing just return."""

    def steps() -> Steps[str]:
        yield from ()
        return "done"

    store = driver.store()
    assert await driver.run(steps(), store) == "done"
    assert store.calls == []


async def test_an_error_of_a_call_can_be_handled(driver: Blocking) -> None:
    """An error is raised at the yield, where ``try`` sees it, and the steps go on."""
    error = StoreUnavailableError("down")

    def steps() -> Steps[tuple[BaseException, int]]:
        try:
            yield Call("fail", error)
        except StoreUnavailableError as caught:
            return caught, (yield Call("add", 5))
        raise AssertionError

    assert await driver.run(steps(), driver.store()) == (error, 5)


async def test_an_error_may_end_the_steps(driver: Blocking) -> None:
    """Steps may return from an except clause."""

    def steps() -> Steps[str]:
        try:
            yield Call("fail", StoreUnavailableError("down"))
        except StoreUnavailableError:
            return "handled"
        return "not reached"

    assert await driver.run(steps(), driver.store()) == "handled"


@pytest.mark.parametrize(
    "error", [StoreUnavailableError("down"), KeyboardInterrupt(), asyncio.CancelledError()]
)
async def test_an_error_that_is_not_handled_comes_out(
    driver: Blocking, error: BaseException
) -> None:
    """An error of a call comes out as it is, after the finally clauses."""
    ended = []

    def steps() -> Steps[None]:
        try:
            yield Call("fail", error)
        finally:
            ended.append(True)

    with pytest.raises(type(error)) as caught:
        await driver.run(steps(), driver.store())
    assert caught.value is error
    assert ended == [True]


async def test_another_error_may_take_its_place(driver: Blocking) -> None:
    """Steps may raise an error of their own, chained to the one of the call."""

    def steps() -> Steps[None]:
        try:
            yield Call("fail", ValueError("inner"))
        except ValueError as error:
            raise WrenSessionsError("outer") from error

    with pytest.raises(WrenSessionsError, match="outer") as caught:
        await driver.run(steps(), driver.store())
    assert isinstance(caught.value.__cause__, ValueError)


async def test_an_error_of_the_steps_comes_out(driver: Blocking) -> None:
    """An error between two calls ends the steps; the second call is not made."""

    def steps() -> Steps[None]:
        yield Call("add", 1)
        raise LookupError("mine")

    store = driver.store()
    with pytest.raises(LookupError, match="mine"):
        await driver.run(steps(), store)
    assert store.calls == [(1, 0)]


async def test_finally_clauses_may_call(driver: Blocking) -> None:
    """A finally clause may make calls of its own while an error passes."""

    def steps() -> Steps[None]:
        try:
            yield Call("fail", ValueError("passing"))
        finally:
            yield Call("add", 7)

    store = driver.store()
    with pytest.raises(ValueError, match="passing"):
        await driver.run(steps(), store)
    assert store.calls == [("fail",), (7, 0)]


async def test_a_method_that_is_not_there(driver: Blocking) -> None:
    """A call of a method that no store has is an AttributeError at the yield."""

    def steps() -> Steps[str]:
        try:
            yield Call("no_such_method")
        except AttributeError as error:
            return str(error)
        return "not reached"

    assert "no_such_method" in await driver.run(steps(), driver.store())


async def test_a_cancelled_task_runs_the_finally_clauses() -> None:
    """Cancelling whoever awaits the steps ends them properly."""
    ended = []
    started = asyncio.Event()

    class Hanging:
        async def hang(self) -> None:
            started.set()
            await asyncio.Event().wait()

    def steps() -> Steps[None]:
        try:
            yield Call("hang")
        finally:
            ended.append(True)

    task = asyncio.create_task(adrive(steps(), cast("AsyncSessionStore", Hanging())))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_the_steps_of_the_docstring() -> None:
    """The example in the module works on a store, on either face."""

    def rename(old: str, new: str) -> Steps[bool]:
        if (yield Call("copy", old, new)) is None:
            return False
        return cast("bool", (yield Call("delete", old)))

    store = MemoryStore()
    store.commit(put("1"))
    assert drive(rename(SESSION, "new"), store)
    assert await adrive(rename("new", "newer"), store.aio)
    assert not drive(rename("new", "newest"), store)
    assert store.load("newer") is not None
