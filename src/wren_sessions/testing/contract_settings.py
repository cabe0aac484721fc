"""The contract of a session's own lifetime: touch, set_ttl and pin."""

from __future__ import annotations

import pytest

from wren_sessions.errors import ConfigurationError
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Life
from wren_sessions.testing.build import SESSION, done, info, put
from wren_sessions.testing.contract_base import ContractBase, OpenFace, PassTime
from wren_sessions.ttl import TTLPolicy, to_ms


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
