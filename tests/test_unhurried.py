"""The garbage collector waits while much is built, and for nothing else."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
from langchain_core.messages import HumanMessage

from backends.chats import Chat
from wren_sessions import SessionSaver
from wren_sessions.serializers.limits import unhurried
from wren_sessions.stores.memory import MemoryStore

LARGE = 1_000_000


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    """Whatever a test does, the collector is on afterwards."""
    gc.enable()
    yield
    gc.enable()


def test_it_waits_where_there_is_much() -> None:
    """Little is built before it would come."""
    assert unhurried(LARGE, gc.isenabled) is False
    assert unhurried(1_000, gc.isenabled) is True
    assert gc.isenabled()


def test_it_goes_on_after_an_error() -> None:
    """Whatever building raises."""
    fail: Callable[[], object] = [].pop
    with pytest.raises(IndexError):
        unhurried(LARGE, fail)
    assert gc.isenabled()


def test_who_turned_it_off_finds_it_off() -> None:
    """An application that does without it keeps it so; so does what is built inside."""
    gc.disable()
    assert unhurried(LARGE, gc.isenabled) is False
    assert not gc.isenabled()
    gc.enable()
    assert unhurried(LARGE, lambda: unhurried(LARGE, int)) == 0
    assert gc.isenabled()


async def test_it_is_on_while_a_listing_is_looked_at() -> None:
    """It waits while a few checkpoints are read, not while somebody looks at them."""
    saver = SessionSaver(MemoryStore())
    chat = Chat(saver)
    chat.messages = [HumanMessage("a text " * 100) for _ in range(200)]
    for _ in range(20):
        await chat.put()
    assert [gc.isenabled() for _ in saver.list(chat.thread)] == [True] * 20
