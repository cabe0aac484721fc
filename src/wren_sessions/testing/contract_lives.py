"""The contract of lifetimes: idle time, maximum age, what counts as use; touch, set_ttl and pin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from wren_sessions.errors import ConfigurationError
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Life, Span, Start
from wren_sessions.testing.build import SESSION, done, info, namespaces, put, scan_ids
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


def left_ms(life: Life | None) -> int | None:
    """How long a life that is there has left."""
    assert life is not None
    return life.ttl_ms


class SettingContract(ContractBase):
    """A session may live longer or shorter than the policy says, or for good."""

    async def test_touching_starts_the_idle_time_again(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """A touched session has its whole idle time before it, and is not written."""
        face = open_face(self.idle(4))
        committed = await done(face, put("1"))
        pass_time(self.ticks(2))
        life = await face.touch(SESSION)
        assert left_ms(life) == to_ms(self.ticks(4))
        assert life is not None
        assert committed.life is not None
        assert life.updated_ms == committed.life.updated_ms
        assert life.revision == committed.life.revision

    async def test_a_session_has_an_idle_time_of_its_own(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """`set_ttl` counts from now, for this session, and lasts through later commits."""
        face = open_face(self.idle(4))
        await done(face, put("1"))
        await done(face, put("1", session="other"))
        pass_time(self.ticks(1))
        assert left_ms(await face.set_ttl(SESSION, self.ticks(50))) == to_ms(self.ticks(50))
        assert left_ms((await done(face, put("2"))).life) == to_ms(self.ticks(50))
        assert left_ms(await face.touch(SESSION)) == to_ms(self.ticks(50))
        assert left_ms((await done(face, put("2", session="other"))).life) == to_ms(self.ticks(4))
        assert left_ms(await face.set_ttl(SESSION, "90061001ms")) == to_ms("90061001ms")
        assert (await info(face)).life.deadline_ms is not None

    async def test_a_session_may_get_a_shorter_time(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """A shorter idle time ends the session sooner."""
        face = open_face(self.idle(50))
        await done(face, put("1"))
        await face.set_ttl(SESSION, self.ticks(4))
        pass_time(self.ticks(5))
        assert await face.info(SESSION) is None

    async def test_a_session_may_have_no_idle_limit(self, open_face: OpenFace) -> None:
        """`set_ttl` with None takes the idle limit away, but not the maximum age."""
        face = open_face(self.idle(4))
        await done(face, put("1"))
        life = await face.set_ttl(SESSION, None)
        assert life is not None
        assert (life.deadline_ms, life.pinned) == (None, False)
        assert (await done(face, put("2"))).life is not None
        assert (await info(face)).life.deadline_ms is None
        aging = open_face(TTLPolicy(idle=self.ticks(4), max_age=self.ticks(50)))
        await done(aging, put("1", session="aging"))
        for idle in (None, self.ticks(900)):
            life = await aging.set_ttl("aging", idle)
            assert life is not None
            assert life.deadline_ms == life.created_ms + to_ms(self.ticks(50))

    async def test_no_duration_is_refused(self, face: AsyncSessionStore) -> None:
        """What is no duration is an error, and the session stays as it is."""
        await done(face, put("1"))
        before = await info(face)
        for idle in ("soon", 0, -1, "0s"):
            with pytest.raises(ConfigurationError):
                await face.set_ttl(SESSION, idle)
        assert await info(face) == before

    async def test_a_pinned_session_stays(self, open_face: OpenFace, pass_time: PassTime) -> None:
        """A pinned session has no deadline, whatever is done with it, until it is unpinned."""
        face = open_face(TTLPolicy(idle=self.ticks(4), max_age=self.ticks(50), refresh="read"))
        await done(face, put("1"))
        lives = [
            await face.pin(SESSION),
            await face.pin(SESSION),
            (await done(face, put("2"))).life,
            await face.touch(SESSION),
            await face.set_ttl(SESSION, self.ticks(6)),
        ]
        assert all(life and life.pinned and life.deadline_ms is None for life in lives)
        pass_time(self.ticks(8))
        assert await face.load(SESSION) is not None
        life = (await info(face)).life
        assert life.pinned
        assert life.ttl_ms is None
        unpinned = await face.pin(SESSION, pinned=False)
        assert left_ms(unpinned) == to_ms(self.ticks(6))
        assert unpinned is not None
        assert not unpinned.pinned

    async def test_an_unpinned_session_expires(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """The idle time of an unpinned session runs from there."""
        face = open_face(self.idle(4))
        await done(face, put("1"))
        await face.pin(SESSION)
        pass_time(self.ticks(5))
        await face.pin(SESSION, pinned=False)
        pass_time(self.ticks(2))
        assert await face.info(SESSION) is not None
        pass_time(self.ticks(3))
        assert await face.info(SESSION) is None

    async def test_a_pinned_session_may_be_older_than_the_maximum_age(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """Past the maximum age, a pinned session can be written, but not unpinned."""
        face = open_face(TTLPolicy(idle=None, max_age=self.ticks(4)))
        await done(face, put("1"))
        await face.pin(SESSION)
        pass_time(self.ticks(5))
        await done(face, put("2"))
        assert await face.pin(SESSION, pinned=False) is None
