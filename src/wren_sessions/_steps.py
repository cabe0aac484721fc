"""Sync and async, written once. The only module that knows one from the other.

What takes several store calls is a generator that yields `Call`s and is sent their answers::

    def rename(old: str, new: str) -> Steps[bool]:
        if (yield Call("copy", old, new)) is None:
            return False
        return (yield Call("delete", old))

`drive` runs it on a store's blocking methods, `adrive` on its awaitable ones. An error of a call is
thrown into the generator at its ``yield``, so ``try`` works there as anywhere. Steps read no clock,
start no thread and touch no driver.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeAlias, TypeVar

from wren_sessions.protocols import AsyncSessionStore, SessionStore

T = TypeVar("T")


class Call:
    """One call of a store's method.

    Args:
        method: the method's name in `SessionStore`.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """

    __slots__ = ("args", "kwargs", "method")

    def __init__(self, method: str, *args: Any, **kwargs: Any) -> None:
        self.method = method
        self.args = args
        self.kwargs = kwargs


Steps: TypeAlias = Generator[Call, Any, T]
"""A sequence of store calls that ends in a `T`."""


def drive(steps: Steps[T], store: SessionStore) -> T:
    """Run steps on a store, blocking."""
    try:
        call = next(steps)
        while True:
            try:
                answer = getattr(store, call.method)(*call.args, **call.kwargs)
            except BaseException as error:  # noqa: BLE001 -- the steps decide what to do with it
                call = steps.throw(error)
            else:
                call = steps.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        steps.close()


async def adrive(steps: Steps[T], store: AsyncSessionStore) -> T:
    """Run steps on a store's awaitable face."""
    try:
        call = next(steps)
        while True:
            try:
                answer = await getattr(store, call.method)(*call.args, **call.kwargs)
            except BaseException as error:  # noqa: BLE001 -- the steps decide what to do with it
                call = steps.throw(error)
            else:
                call = steps.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        steps.close()
