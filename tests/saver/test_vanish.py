"""The session goes away between any two calls of a running graph: it stays whole, or is no more."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final

import pytest
from langgraph.checkpoint.serde.types import INTERRUPT
from langgraph.errors import EmptyInputError

from saver.apps import App
from saver.backends import Backend
from saver.chains import Chain, values
from saver.meddling import CONFIG, THREAD, Fates, MeddledStore
from saver.observe import Observer
from saver.plans import PLANS, Plan
from wren_sessions import (
    RedisStore,
    SessionExpiredError,
    SessionGoneError,
    SessionSaver,
    TTLPolicy,
)
from wren_sessions.records import Life
from wren_sessions.ttl import DAY

AWAY: Final = (
    SessionGoneError,
    SessionExpiredError,
    EmptyInputError,
)  # the last: nothing to resume
ALWAYS_WHOLE: Final = {"chat", "first turn"}  # nothing of them is anywhere but in the root
FACES: Final = {"memory": "sync", "file": "sync", "redis": "async", "sealed": "sync"}


class Run:
    """One run of a plan, to whose session something happens before one of the store's calls."""

    def __init__(
        self,
        backend: Backend,
        plan: Plan,
        durability: str,
        fate: str = "",
        ttl: TTLPolicy = DAY,
        **options: Any,
    ) -> None:
        self.plan = plan
        self.durability = durability
        self.store = backend.store(ttl)
        self.meddled = MeddledStore(self.store)
        self.face = FACES[backend.name]
        self.saver = SessionSaver(self.meddled, **options)
        self.app = App(self.saver, self.face)
        self.app.use(plan.graph(), **(plan.options or {}))
        self.before: Life | None = None
        self.after_fate: Life | None = None
        self.error: BaseException | None = None
        self.states: list[Any] = []
        self._happen = getattr(Fates(backend, self.meddled, self.saver), fate) if fate else None

    async def go(self, at: int) -> int:
        """Run it with something happening before that call; how many calls there were."""
        for given in self.plan.before:
            await self._turn(given)
        self.before = self.life()
        self.meddled.calls, self.meddled.at, self.meddled.happen = 0, at, self._meddle
        for given in self.plan.meanwhile:
            try:
                await self._turn(given)
                self.states.append(await self.state())
            except AWAY as error:
                self.error = error
                break
        self.meddled.at = 0
        return self.meddled.calls

    async def _turn(self, given: Any) -> None:
        graph, options = self.app.graph, {"durability": self.durability}
        if self.app.blocking:
            graph.invoke(given, CONFIG, **options)
        else:
            await graph.ainvoke(given, CONFIG, **options)

    def _meddle(self) -> None:
        assert self._happen
        self._happen()
        self.after_fate = self.life()

    def life(self) -> Life | None:
        """The session's life as it stands in the store."""
        info = self.store.info(THREAD)
        return info.life if info else None

    async def state(self) -> Any:
        """What a process that has never seen the session finds: values, what is next, questions."""
        fresh = App(SessionSaver(self.store), self.face)
        fresh.use(self.plan.graph(), **(self.plan.options or {}))
        found = await fresh.peek(CONFIG)
        return Observer().see(
            {"values": found.values, "next": found.next, "asks": found.interrupts}
        )


_WHOLE: dict[tuple[str, str, str], tuple[list[Any], int]] = {}


async def whole(backend: Backend, name: str, durability: str) -> tuple[list[Any], int]:
    """The states that an undisturbed run goes through, and how many calls it makes.

    Also of plans that begin later: where a session is gone before the graph has looked for it, it
    is begun anew.
    """
    place = backend.name, name, durability
    if place not in _WHOLE:
        plan = PLANS[name]
        run = Run(backend, plan, durability)
        calls = await run.go(0)
        states = run.states
        run.store.delete(THREAD)
        for start in range(len(plan.meanwhile)):
            run = Run(
                backend, replace(plan, before=[], meanwhile=plan.meanwhile[start:]), durability
            )
            await run.go(0)
            states += run.states
            run.store.delete(THREAD)
        _WHOLE[place] = states, calls
    return _WHOLE[place]


def unchanged(now: Life | None, before: Life | None) -> bool:
    """Whether a session was not written in between."""
    if now is None or before is None:
        return now is before
    return (now.incarnation, now.revision) == (before.incarnation, before.revision)


PLACES: Final = [(name, durability) for name in PLANS for durability in ("sync", "exit")]
EXISTING: Final = [(name, durability) for name, durability in PLACES if PLANS[name].before]


@pytest.mark.parametrize(("name", "durability"), PLACES)
@pytest.mark.parametrize("fate", ["deleted_here", "deleted_elsewhere", "looked_for"])
async def test_what_was_deleted_does_not_come_back(
    backend: Backend, name: str, durability: str, fate: str
) -> None:
    """Before any call: the graph begins anew, or it fails and there is nothing at all."""
    plan = PLANS[name]
    states, calls = await whole(backend, name, durability)
    for at in range(1, calls + 1):
        run = Run(backend, plan, durability, fate)
        await run.go(at)
        life = run.life()
        if run.error is not None:
            assert isinstance(run.error, SessionGoneError | EmptyInputError), f"call {at}"
            assert life is None, f"call {at}: something came back"
        else:
            assert run.meddled.anew or not plan.before, f"call {at}: nobody was told"
            assert await run.state() in states, f"call {at}"
            assert life != run.before
        run.store.delete(THREAD)


@pytest.mark.parametrize(("name", "durability"), EXISTING)
@pytest.mark.parametrize("fate", ["replaced_here", "replaced_elsewhere"])
async def test_a_run_does_not_go_on_in_the_session_that_took_its_id(
    backend: Backend, name: str, durability: str, fate: str
) -> None:
    """Before any call of a run that has begun: it fails, and the new session is untouched."""
    plan = PLANS[name]
    _, calls = await whole(backend, name, durability)
    for at in range(1, calls + 1):
        run = Run(backend, plan, durability, fate)
        await run.go(at)
        if not run.meddled.anew:
            assert isinstance(run.error, SessionGoneError), f"call {at}"
            assert unchanged(run.life(), run.after_fate), f"call {at}: the new session was written"
        run.store.delete(THREAD)


@pytest.mark.parametrize(("name", "durability"), PLACES)
async def test_what_expired_is_written_whole_or_not_at_all(
    backend: Backend, name: str, durability: str
) -> None:
    """Before any call: the session is whole and as old as it was, or it is gone and said to be."""
    plan = PLANS[name]
    states, calls = await whole(backend, name, durability)
    for at in range(1, calls + 1):
        run = Run(backend, plan, durability, "expired")
        await run.go(at)
        life = run.life()
        if run.error is not None:
            assert name not in ALWAYS_WHOLE, f"call {at}: {run.error}"
            assert isinstance(run.error, AWAY), f"call {at}"
            assert life is None or await run.state() in states, f"call {at}: a fragment"
        elif run.meddled.puts_since:
            assert await run.state() in states, f"call {at}"
            assert life
            if run.before and not run.meddled.anew:
                assert life.created_ms == run.before.created_ms, f"call {at}: it got younger"
        else:  # it expired after all was written
            assert life is None, f"call {at}: writes without a checkpoint"
        run.store.delete(THREAD)


@pytest.mark.parametrize("backend", ["memory", "file"], indirect=True)
@pytest.mark.parametrize(("name", "durability"), EXISTING)
async def test_what_is_too_old_is_not_written_at_all(
    backend: Backend, name: str, durability: str
) -> None:
    """A maximum age is a maximum: a run that is caught by it ends."""
    ttl, plan = TTLPolicy("24h", max_age="36h"), PLANS[name]
    backend.store(ttl)  # in memory, the first store is all there is
    _, calls = await whole(backend, name, durability)
    for at in range(1, calls + 1):
        run = Run(backend, plan, durability, "outlived", ttl)
        await run.go(at)
        if not run.meddled.anew:
            ended = isinstance(run.error, SessionExpiredError | SessionGoneError)
            assert ended or not run.meddled.puts_since, f"call {at}"
            assert run.life() is None, f"call {at}"
        run.store.delete(THREAD)


@pytest.mark.parametrize("fate", ["deleted_elsewhere", "replaced_elsewhere", "expired"])
async def test_a_saver_that_remembers_no_records_is_as_careful(backend: Backend, fate: str) -> None:
    """Without a cache the parent is read, and what is found then is not taken for the same life."""
    plan = PLANS["chat"]
    states, calls = await whole(backend, "chat", "sync")
    for at in range(2, calls + 1):
        run = Run(backend, plan, "sync", fate, cache_bytes=0)
        await run.go(at)
        if fate == "expired":
            assert run.error is None or run.life() is None
            assert run.error is not None or await run.state() in states
        else:
            assert isinstance(run.error, SessionGoneError), f"call {at}"
            assert unchanged(run.life(), run.after_fate), f"call {at}"
        run.store.delete(THREAD)


async def test_a_session_that_redis_expires_is_written_whole(redis_url: str) -> None:
    """The same by the server's own clock: no simulation knows it better."""
    store = RedisStore.from_url(redis_url, ttl=TTLPolicy("200ms"))
    saver = SessionSaver(store)
    chain = Chain(saver)
    await chain.put("c1", {"messages": ["long " * 500]})
    born = store.info(THREAD)
    await chain.put("c2", {"count": 1})
    while store.info(THREAD) is not None:  # noqa: ASYNC110 -- the server has no event for it
        await asyncio.sleep(0.01)
    await saver.aput_writes(chain.at, [("regular", 1)], "task")
    with pytest.raises(SessionExpiredError):
        await saver.aput_writes(chain.at, [(INTERRUPT, "all there is")], "task")
    assert store.info(THREAD) is None
    await chain.put("c3", {"count": 2})
    found, life = await values(SessionSaver(store)), store.info(THREAD)
    assert found == {"messages": ["long " * 500], "count": 2}
    assert born
    assert life
    assert life.life.created_ms == born.life.created_ms
    assert life.life.incarnation != born.life.incarnation
    await store.aio.close()
    store.close()
