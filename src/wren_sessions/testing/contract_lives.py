"""The contract of lifetimes: idle time, maximum age, and what counts as use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Life, Span, Start
from wren_sessions.testing.build import SESSION, done, namespaces, put, scan_ids
from wren_sessions.testing.contract_base import ContractBase, OpenFace, PassTime
from wren_sessions.ttl import Duration, Refresh, TTLPolicy, to_ms


class LifeContract(ContractBase):
    """Lifetimes: by the store's clock, whole sessions, to the millisecond."""

    async def life(self, face: AsyncSessionStore) -> Life:
        """The life of the session, as the store knows it now."""
        found = await face.info(SESSION)
        assert found is not None
        return found.life

    async def renews(
        self, face: AsyncSessionStore, use: Callable[[], Awaitable[object]], pass_time: PassTime
    ) -> bool:
        """Whether awaiting `use()`, a tick later, moves the deadline."""
        before = (await self.life(face)).deadline_ms
        pass_time(self.ticks(1))
        await use()
        return (await self.life(face)).deadline_ms != before

    # --- deadlines --------------------------------------------------------------------------------

    @pytest.mark.parametrize("idle", [90, "24h", "90061001ms", 1_234.567])
    async def test_a_deadline_is_exact(self, open_face: OpenFace, idle: Duration) -> None:
        """The deadline is the last use plus the idle time, to the millisecond."""
        face = open_face(TTLPolicy(idle=idle))
        committed = await done(face, put("1"))
        assert committed.life is not None
        assert committed.life.deadline_ms == committed.now_ms + to_ms(idle)
        assert committed.life.ttl_ms == to_ms(idle)
        assert not committed.life.pinned
        assert (await self.life(face)).deadline_ms == committed.life.deadline_ms

    async def test_without_limits_there_is_no_deadline(self, open_face: OpenFace) -> None:
        """A store without idle timeout and maximum age keeps its sessions."""
        face = open_face(TTLPolicy(idle=None))
        life = (await done(face, put("1"))).life
        assert life is not None
        assert (life.deadline_ms, life.ttl_ms, life.pinned) == (None, None, False)

    async def test_the_maximum_age_bounds_the_deadline(self, open_face: OpenFace) -> None:
        """The deadline is never later than the creation plus the maximum age."""
        face = open_face(TTLPolicy(idle="24h", max_age="30h"))
        now_ms = (await done(face, put("1", session="other"))).now_ms
        created_ms = now_ms - to_ms("20h")
        life = (await done(face, put("1", created_ms=created_ms))).life
        assert life is not None
        assert life.deadline_ms == created_ms + to_ms("30h")

    async def test_an_unused_session_expires(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """A session is there until its idle time is over, and then it is not."""
        face = open_face(self.idle(4))
        await done(face, put("1"))
        pass_time(self.ticks(2))
        assert await face.load(SESSION) is not None
        pass_time(self.ticks(3))
        assert await face.load(SESSION) is None

    async def test_a_used_session_lives(self, open_face: OpenFace, pass_time: PassTime) -> None:
        """Every commit starts the idle time again."""
        face = open_face(self.idle(4))
        for number in range(4):
            await done(face, put(str(number)))
            pass_time(self.ticks(2.5))
        assert await scan_ids(face) == ["3", "2", "1", "0"]

    async def test_a_used_session_ends_at_its_maximum_age(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """Use does not carry a session past its maximum age; then another one begins."""
        face = open_face(TTLPolicy(idle=self.ticks(4), max_age=self.ticks(7)))
        first = (await done(face, put("1"))).life
        for number in (2, 3):
            pass_time(self.ticks(2.5))
            await done(face, put(str(number)))
        pass_time(self.ticks(3))
        assert await face.load(SESSION) is None
        second = (await done(face, put("4"))).life
        assert first is not None
        assert second is not None
        assert second.incarnation != first.incarnation
        assert second.created_ms > first.created_ms
        assert await scan_ids(face) == ["4"]

    # --- what counts as use -----------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("refresh", "by_commit", "by_load"),
        [("write", True, False), ("read", True, True), ("never", False, False)],
    )
    async def test_what_counts_as_use(
        self,
        open_face: OpenFace,
        pass_time: PassTime,
        refresh: Refresh,
        *,
        by_commit: bool,
        by_load: bool,
    ) -> None:
        """The policy says whether commits and loads move the deadline; touching always does."""
        face = open_face(TTLPolicy(idle=self.ticks(9), refresh=refresh))
        await done(face, put("1"))
        assert await self.renews(face, lambda: done(face, put("2")), pass_time) is by_commit
        assert await self.renews(face, lambda: face.load(SESSION), pass_time) is by_load
        assert await self.renews(face, lambda: face.touch(SESSION), pass_time)

    async def test_looking_is_no_use(self, open_face: OpenFace, pass_time: PassTime) -> None:
        """No other call moves the deadline, not even where reading counts as use."""
        face = open_face(TTLPolicy(idle=self.ticks(9), refresh="read"))
        base = (await done(face, put("1", append=b"some"))).base
        before = (await self.life(face)).deadline_ms
        pass_time(self.ticks(1))
        await face.scan(SESSION, [Start("")], 10)
        await face.read(SESSION, [Span(base, 4)])
        await namespaces(face, SESSION)
        await face.info(SESSION)
        await face.list_sessions()
        assert (await self.life(face)).deadline_ms == before

    async def test_a_load_that_renews_tells_the_new_deadline(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """What `load` answers is the life after the load."""
        face = open_face(TTLPolicy(idle=self.ticks(4), refresh="read"))
        await done(face, put("1"))
        pass_time(self.ticks(2))
        found = await face.load(SESSION)
        assert found is not None
        assert found.life.ttl_ms == to_ms(self.ticks(4))

    async def test_a_repeated_commit_is_no_use(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """A commit that was applied already leaves the deadline as it is."""
        face = open_face(self.idle(4))
        again = put("1")
        first = (await done(face, again)).life
        pass_time(self.ticks(1))
        second = (await done(face, again)).life
        assert first is not None
        assert second is not None
        assert second.deadline_ms == first.deadline_ms

    async def test_a_refused_commit_is_no_use(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """A commit that was refused leaves the deadline as it is."""
        face = open_face(self.idle(4))
        await done(face, put("1"))
        assert not await self.renews(face, lambda: face.commit(put("2", new=True)), pass_time)
