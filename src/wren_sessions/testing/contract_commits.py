"""The contract of commits: each is applied once, or refused; what it stores, and the header."""

from __future__ import annotations

import pytest

from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Commit
from wren_sessions.testing.build import (
    SESSION,
    add,
    commit,
    done,
    info,
    listed,
    loaded,
    pending,
    put,
    scan_ids,
    write,
)
from wren_sessions.testing.contract_base import ContractBase, OpenFace, PassTime
from wren_sessions.ttl import TTLPolicy

NOWHERE = ("", "nowhere")


class CommitContract(ContractBase):
    """Commits: done once, also where they are repeated."""

    # --- at most once -----------------------------------------------------------------------------

    async def test_a_repeated_record_is_written_once(self, face: AsyncSessionStore) -> None:
        """A commit whose reply was lost answers the same again, and changes nothing."""
        await done(face, put("1", append=b"some"))
        again = put("2", append=b"more", state=b'{"a": 1}')
        first = await done(face, again)
        before = await info(face)
        second = await done(face, again)
        assert second.base == first.base
        assert await info(face) == before
        assert await scan_ids(face) == ["2", "1"]

    async def test_a_repeated_record_is_known_after_others(self, face: AsyncSessionStore) -> None:
        """A repeat is recognised although others wrote in between; conditions do not matter."""
        life = (await done(face, put("1", append=b"one"))).life
        assert life is not None
        again = put("2", append=b"two", witnesses=(("", "1"),), incarnation=life.incarnation)
        first = await done(face, again)
        await done(face, put("3", append=b"three", state=b"{}"))
        before = await info(face)
        assert (await done(face, again)).base == first.base
        assert await info(face) == before

    @pytest.mark.parametrize("record", [True, False])
    async def test_a_repeated_new_session_is_made_once(
        self, face: AsyncSessionStore, *, record: bool
    ) -> None:
        """A repeated commit of a new session is done, not refused because the session is there."""
        what = put if record else lambda _, **parts: commit(**parts)
        again = what("1", new=True, state=b"{}")
        first = await done(face, again)
        before = await info(face)
        second = await done(face, again)
        assert second.base == first.base
        assert await info(face) == before

    async def test_a_repeat_does_not_answer_for_another(self, face: AsyncSessionStore) -> None:
        """The commit that made a session is answered as then, though its record was replaced."""
        again = put("1", append=b"some")
        first = await done(face, again)
        await done(face, put("1", append=b"more"))
        before = await info(face)
        assert (await done(face, again)).base == first.base
        assert await info(face) == before

    async def test_repeated_writes_are_there_once(self, face: AsyncSessionStore) -> None:
        """A repeated commit of pending writes doubles none of them."""
        await done(face, put("1"))
        again = add("1", write("task", 0, b"a"), write("task", -1, b"b", replaces=True))
        await done(face, again)
        await done(face, again)
        assert await pending(face, "1") == {"task/0": b"a", "task/-1": b"b"}

    async def test_a_repeat_without_record_counts_once(self, face: AsyncSessionStore) -> None:
        """Of a repeated commit of writes or of a header, the session counts one, for a while."""
        await done(face, put("1"))
        both = add("1", write("task", 0, b"a")), commit(state=b"{}", revision=2)
        for again in both:
            await done(face, again)
        before = await info(face)
        for again in both:
            assert (await done(face, again)).base == 0
        assert await info(face) == before

    async def test_another_token_is_another_commit(self, face: AsyncSessionStore) -> None:
        """The same content with a new token is written again."""
        first = await done(face, put("1", append=b"some"))
        second = await done(face, put("1", append=b"some"))
        assert second.base == first.base + len(b"some")

    # --- what a commit leaves ---------------------------------------------------------------------

    async def test_a_creation_time_is_kept(self, face: AsyncSessionStore) -> None:
        """A session that was away keeps its age; one that is there keeps it anyway."""
        now_ms = (await done(face, put("1", session="other"))).now_ms
        life = (await done(face, put("1", created_ms=now_ms - 5_000))).life
        assert life is not None
        assert life.created_ms == now_ms - 5_000
        await done(face, put("2", created_ms=now_ms - 9_000))
        found = (await info(face)).life
        assert found.created_ms == now_ms - 5_000
        assert found.updated_ms >= now_ms

    async def test_a_session_is_created_now(self, face: AsyncSessionStore) -> None:
        """Without a creation time, it is the store's clock."""
        committed = await done(face, put("1"))
        assert committed.life is not None
        life = committed.life
        assert life.created_ms == life.updated_ms == life.now_ms == committed.now_ms
        assert life.incarnation

    async def test_commits_are_counted(self, face: AsyncSessionStore, pass_time: PassTime) -> None:
        """The revision counts commits that were done, and the last of them dates the session."""
        first = (await done(face, put("1"))).life
        pass_time(self.ticks(1))
        await done(face, add("1", write("task", 0, b"value")))
        last = (await done(face, commit(state=b"{}"))).life
        assert first is not None
        assert last is not None
        assert (first.revision, last.revision) == (1, 3)
        assert last.created_ms == first.created_ms < last.updated_ms
        assert (await info(face)).life.revision == last.revision

    # --- the header -------------------------------------------------------------------------------

    async def header(self, face: AsyncSessionStore) -> bytes:
        """The session's header."""
        return (await info(face)).state

    async def test_a_header_comes_with_the_head(self, face: AsyncSessionStore) -> None:
        """The header is that of the record that became the head last."""
        await done(face, put("1"))
        assert await self.header(face) == b""
        await done(face, put("5", state=b'{"at": 5}'))
        await done(face, put("3", state=b'{"at": 3}'))
        assert await self.header(face) == b'{"at": 5}'
        await done(face, put("4", parent="5", state='{"at": "4 – é"}'.encode()))
        assert await self.header(face) == '{"at": "4 – é"}'.encode()

    async def test_a_header_is_left_alone(self, face: AsyncSessionStore) -> None:
        """A commit without a header leaves the one that is there."""
        await done(face, put("1", state=b"{}"))
        await done(face, put("2"))
        await done(face, add("2", write("task", 0, b"value")))
        assert await self.header(face) == b"{}"

    async def test_a_header_may_come_alone(self, face: AsyncSessionStore) -> None:
        """A commit without record writes its header, in a session that is there or new."""
        await done(face, commit(state=b'{"n": 0}'))
        assert await self.header(face) == b'{"n": 0}'
        await done(face, put("1"))
        await done(face, commit(state=b'{"n": 1}'))
        assert await self.header(face) == b'{"n": 1}'
        await done(face, add("1", write("task", 0, b"value"), state=b'{"n": 2}'))
        assert await self.header(face) == b'{"n": 2}'

    async def test_the_head_written_again_brings_its_header(self, face: AsyncSessionStore) -> None:
        """Replacing the head replaces the header; replacing another record does not."""
        await done(face, put("1", state=b'{"n": 1}'))
        await done(face, put("2", parent="1", state=b'{"n": 2}'))
        await done(face, put("2", parent="1", state=b'{"n": 3}'))
        assert await self.header(face) == b'{"n": 3}'
        await done(face, put("1", state=b'{"n": 4}'))
        assert await self.header(face) == b'{"n": 3}'


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
