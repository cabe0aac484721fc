"""The contract of conditions: a commit that is refused writes nothing at all."""

from __future__ import annotations

from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Commit
from wren_sessions.testing.build import (
    SESSION,
    add,
    done,
    info,
    listed,
    loaded,
    pending,
    put,
    scan_ids,
    write,
)
from wren_sessions.testing.contract_base import ContractBase, OpenFace
from wren_sessions.ttl import TTLPolicy

NOWHERE = ("", "nowhere")


class ConditionContract(ContractBase):
    """Conditions: what a commit builds on must be there, or nothing is written."""

    async def refused(
        self, face: AsyncSessionStore, what: Commit, outcome: str, session: str = SESSION
    ) -> None:
        """Commit what must be refused, and make sure that nothing was written."""
        before = await face.info(session) and await info(face, session)
        sessions = set(await listed(face))
        committed = await face.commit(what)
        assert committed.outcome == outcome
        assert (await face.info(session) and await info(face, session)) == before
        assert set(await listed(face)) == sessions
        assert (committed.life and committed.life.incarnation) == (
            before and before.life.incarnation
        )

    async def test_a_new_session_must_not_be_there(self, face: AsyncSessionStore) -> None:
        """A commit that wants a new session is refused where there is one."""
        await done(face, put("1", new=True))
        await self.refused(face, put("2", append=b"some", new=True, state=b"{}"), "exists")
        assert await scan_ids(face) == ["1"]

    async def test_another_incarnation_is_gone(self, face: AsyncSessionStore) -> None:
        """A commit is refused if it builds on a session that is another one by now."""
        committed = await done(face, put("1"))
        assert committed.life is not None
        await done(face, put("2", incarnation=committed.life.incarnation))
        await self.refused(face, put("3", append=b"some", incarnation="other", state=b"{}"), "gone")
        await self.refused(face, add("1", write("t", 0, b"v"), incarnation="other"), "gone")
        assert await scan_ids(face) == ["2", "1"]
        assert await pending(face, "1") == {}

    async def test_another_revision_is_a_conflict(self, face: AsyncSessionStore) -> None:
        """A commit is refused if somebody committed since the revision it builds on."""
        await done(face, put("1"))
        await done(face, put("2", revision=1))
        for revision in (0, 1, 3):
            what = put("3", append=b"some", revision=revision, state=b"{}")
            await self.refused(face, what, "conflict")
        again = put("3", revision=2)
        await done(face, again)
        await done(face, again)
        await self.refused(face, add("1", write("t", 0, b"v"), revision=2), "conflict")
        assert await scan_ids(face) == ["3", "2", "1"]

    async def test_a_missing_session_is_gone(self, face: AsyncSessionStore) -> None:
        """A commit that builds on a session does not make one."""
        await self.refused(face, put("2", incarnation="some", state=b"{}"), "gone")
        await self.refused(face, put("2", revision=0, state=b"{}"), "gone")
        await self.refused(face, put("2", witnesses=(("", "1"),)), "gone")
        await self.refused(face, add("1", write("t", 0, b"v"), witnesses=(("", "1"),)), "gone")
        assert await face.load(SESSION) is None

    async def test_a_missing_witness_is_stale(self, face: AsyncSessionStore) -> None:
        """A commit is refused if any of the records it builds on is not there."""
        await done(face, put("1"))
        await done(face, put("2", witnesses=(("", "1"),)))
        await done(face, put("3", witnesses=(("", "1"), ("", "2"))))
        for witnesses in (
            (NOWHERE,),
            (("child", "1"),),
            (("", "1"), NOWHERE),
            (NOWHERE, ("", "1")),
        ):
            await self.refused(
                face, put("4", append=b"x", witnesses=witnesses, state=b"{}"), "stale"
            )
            await self.refused(face, add("1", write("t", 0, b"v"), witnesses=witnesses), "stale")
        assert await scan_ids(face) == ["3", "2", "1"]
        assert await pending(face, "1") == {}

    async def test_pending_writes_are_no_witness(self, face: AsyncSessionStore) -> None:
        """A checkpoint of which only pending writes are there is not there."""
        await done(face, add("1", write("task", 0, b"value")))
        await self.refused(face, put("2", witnesses=(("", "1"),)), "stale")

    async def test_the_order_of_conditions(self, face: AsyncSessionStore) -> None:
        """Where several conditions fail: exists, gone, conflict, stale, in this order."""
        committed = await done(face, put("1"))
        assert committed.life is not None
        there = committed.life.incarnation
        await self.refused(
            face, put("2", new=True, incarnation="x", witnesses=(NOWHERE,)), "exists"
        )
        await self.refused(face, put("2", incarnation="x", witnesses=(NOWHERE,)), "gone")
        await self.refused(face, put("2", revision=9, witnesses=(NOWHERE,)), "conflict")
        await self.refused(face, put("2", incarnation=there, witnesses=(NOWHERE,)), "stale")

    async def test_a_refused_commit_can_be_made_right(self, face: AsyncSessionStore) -> None:
        """A token that was refused is not used up."""
        await self.refused(face, put("2", token="once", witnesses=(("", "1"),)), "gone")  # noqa: S106
        await done(face, put("2", token="once", append=b"some"))  # noqa: S106
        assert (await loaded(face)).stored.name == ("", "2")

    async def test_a_session_that_would_be_too_old_is_not_made(self, open_face: OpenFace) -> None:
        """A creation time further back than the maximum age is refused as expired."""
        face = open_face(TTLPolicy(idle=None, max_age=self.ticks(8)))
        now_ms = (await done(face, put("1", session="other"))).now_ms
        created_ms = now_ms - round(self.ticks(8).total_seconds() * 1_000)
        await self.refused(face, put("1", created_ms=created_ms, state=b"{}"), "expired")
        assert await face.load(SESSION) is None
