"""The session goes away between any two calls of a running graph: it goes on whole, or not at all."""

from __future__ import annotations

from typing import Any, Final

import pytest

from saver.apps import App
from saver.backends import Backend
from saver.meddling import CONFIG, THREAD, Fates, MeddledStore
from saver.observe import Observer
from saver.plans import PLANS, Plan
from wren_sessions import SessionExpiredError, SessionGoneError, SessionSaver
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Life

AWAY: Final = (SessionGoneError, SessionExpiredError)
FACES: Final = {"memory": "sync", "file": "sync", "redis": "async"}


class Run:
    """One run of a plan, to whose session something happens before one of the store's calls."""

    def __init__(self, backend: Backend, plan: Plan, durability: str, fate: str = "") -> None:
        self.plan = plan
        self.durability = durability
        self.store = backend.store()
        self.meddled = MeddledStore(self.store)
        self.face = FACES[backend.name]
        self.saver = SessionSaver(self.meddled)  # type: ignore[arg-type]
        self.app = App(self.saver, self.face)
        self.app.use(plan.graph(), **(plan.options or {}))
        self.before: Life | None = None
        self.after_fate: Life | None = None
        self.error: BaseException | None = None
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
        return Observer().see({"values": found.values, "next": found.next, "asks": found.interrupts})


async def whole(backend: Backend, plan: Plan, durability: str) -> tuple[list[Any], int]:
    """The states that an undisturbed run may end in, and how many calls it makes.

    One is that of the plan; the others are of plans that begin later, where a session that is
    gone before the graph has looked at it is begun anew.
    """
    states, calls = [], 0
    for start in range(len(plan.meanwhile) + 1):
        shorter = (
            plan
            if not start
            else Plan(plan.graph, [], plan.meanwhile[start - 1 :], plan.options)
        )
        run = Run(backend, shorter, durability)
        try:
            count = await run.go(0)
        except Exception:  # noqa: BLE001, S112 -- an answer to no question is no beginning
            continue
        finally:
            states.append(await run.state())
            run.store.delete(THREAD)
        calls = calls or count
    return states, calls


PLACES: Final = [
    (name, durability)
    for name in PLANS
    for durability in ("sync", "exit")
]


@pytest.mark.parametrize(("name", "durability"), PLACES)
@pytest.mark.parametrize("fate", ["deleted_here", "deleted_elsewhere", "looked_for"])
async def test_what_was_deleted_does_not_come_back(
    backend: Backend, name: str, durability: str, fate: str
) -> None:
    """Before any call: the graph begins anew, or it fails and there is nothing at all."""
    plan = PLANS[name]
    states, calls = await whole(backend, plan, durability)
    for at in range(1, calls + 1):
        run = Run(backend, plan, durability, fate)
        await run.go(at)
        life = run.life()
        if run.error is not None:
            assert isinstance(run.error, SessionGoneError), f"call {at}: {run.error}"
            assert life is None, f"call {at}: something came back"
        else:
            assert await run.state() in states, f"call {at}"
            assert life is None or run.before is None or life.incarnation != run.before.incarnation
        run.store.delete(THREAD)
