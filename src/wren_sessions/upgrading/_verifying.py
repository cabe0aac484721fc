"""`verify`: checks many sessions, page by page, several at once. Nothing is written.

It reads the latest checkpoint of each namespace, from which the application would continue, or all
checkpoints. It uses `scan` and `read`, which do not count as use of a session. So no lifetime
changes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from wren_sessions._blocking import Unsuspended, run
from wren_sessions._walks import RecordWalk, SessionWalk, all_sessions
from wren_sessions.checkpoints.order import from_id
from wren_sessions.delta.protection import Protection, protection_of
from wren_sessions.errors import CorruptSessionError, WrenSessionsError
from wren_sessions.protocols import AsyncSessionStore, SessionStore
from wren_sessions.records import ArenaParts, Start, Stored
from wren_sessions.serializers.limits import OverBudgetError
from wren_sessions.upgrading._application import Application
from wren_sessions.upgrading._judging import judged_checkpoint
from wren_sessions.upgrading._report import Cause, Report

_PAGE: Final = 100
_RECORDS: Final = 20
AT_ONCE: Final = 4  # sessions that are read at the same time

OnPage = Callable[[Report], object]


def verify(
    store: SessionStore,
    app: Application,
    *,
    sample: int | None = None,
    history: bool = False,
    cursor: str | None = None,
    on_page: OnPage | None = None,
) -> Report:
    """Read sessions as an application would, and say what it would find.

    Args:
        store: where they are.
        app: the application.
        sample: how many sessions, chosen at random; None for all.
        history: whether to read all checkpoints, instead of the latest ones.
        cursor: where to go on, as an earlier report says; None for the beginning.
        on_page: called after every page, with what was found so far.
    """
    report = Report()
    check = partial(session_causes, store, app, history=history)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for sessions, rest in _pages(store, sample, cursor):
            for session, causes in zip(sessions, pool.map(check, sessions), strict=True):
                if causes is not None:
                    report.add(session, causes)
            report.cursor = rest
            if on_page is not None:
                on_page(report)
    return report


def _pages(
    store: SessionStore, sample: int | None, cursor: str | None
) -> Iterator[tuple[Sequence[str], str | None]]:
    """The sessions to read, and where the list goes on behind them."""
    if sample is not None:
        yield _sampled((info.session for info in all_sessions(store, _PAGE)), sample), None
        return
    walk = SessionWalk(Unsuspended(store), _PAGE, cursor=cursor)
    while (page := run(walk.next_page())) is not None:
        yield [info.session for info in page], walk.cursor


def _sampled(sessions: Iterable[str], count: int) -> list[str]:
    """So many of them, each as likely as any other."""
    chosen: list[str] = []
    chance = random.Random()  # noqa: S311 -- no secret
    for at, session in enumerate(sessions):
        if at < count:
            chosen.append(session)
        elif (place := chance.randint(0, at)) < count:
            chosen[place] = session
    return chosen


def session_causes(
    store: SessionStore, app: Application, session: str, *, history: bool
) -> list[Cause] | None:
    """What is found in a session; None if it is not there any more."""
    protection = protection_of(store)
    try:
        return run(_Session(Unsuspended(store), session, app, protection).causes(history=history))
    except CorruptSessionError as error:
        return [Cause("fails", "what is stored", "it is damaged", _without(error, session))]
    except WrenSessionsError as error:
        return [Cause("fails", "what is stored", _without(error, session))]


def _without(error: WrenSessionsError, session: str) -> str:
    """What an error says, in words that are the same for each session."""
    return error.message.replace(repr(session), "…")


class _Session:
    """One session, read as an application would."""

    def __init__(
        self, store: AsyncSessionStore, session: str, app: Application, protection: Protection
    ) -> None:
        self._store = store
        self._session = session
        self._app = app
        self._protection = protection

    async def causes(self, *, history: bool) -> list[Cause] | None:
        """What is found in it; None if it is not there any more."""
        heads = await self._store.heads(self._session)
        if not heads:
            return [] if await self._store.info(self._session) else None
        found: list[Cause] = []
        for name in heads:
            if history:
                found += await self._all(name[0])
            else:
                page = await self._store.scan(self._session, [from_id(*name)], 1)
                found += await self._judged(page.records)
        return found

    async def _all(self, namespace: str) -> list[Cause]:
        scan = partial(self._store.scan, self._session)
        walk = RecordWalk(scan, [Start(namespace)], _RECORDS)
        found: list[Cause] = []
        while (page := await walk.next_page()) is not None:
            found += await self._judged(page.records)
        return found

    async def _judged(self, records: Sequence[Stored]) -> list[Cause]:
        found: list[Cause] = []
        for stored in records:
            arena: ArenaParts | None = ArenaParts(())
            if stored.spans:
                arena = await self._store.read(self._session, stored.spans)
            if arena is None:
                continue  # it was written meanwhile, by the code that runs now
            try:
                found += judged_checkpoint(
                    self._session, stored, arena, self._app, self._protection
                )
            except OverBudgetError as error:  # whoever reads it gets nothing of it
                found.append(Cause("fails", "what is stored", _without(error, self._session)))
        return found
