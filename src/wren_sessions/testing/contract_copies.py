"""The contract of copies: whole, independent, with a life of their own."""

from __future__ import annotations

import pytest

from wren_sessions.errors import ConfigurationError, SessionExistsError
from wren_sessions.keys import StagingId
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Life, Span, Start
from wren_sessions.testing.build import (
    SESSION,
    add,
    appended,
    commit,
    done,
    head,
    info,
    listed,
    namespaces,
    pending,
    put,
    scan_ids,
    write,
)
from wren_sessions.testing.contract_base import ContractBase, OpenFace, PassTime
from wren_sessions.ttl import STAGING_MS, TTLPolicy, to_ms

TARGET = "the copy: 1"
STAGING = StagingId("what is being made")
LARGE = bytes(range(256)) * 8_000


async def fill(face: AsyncSessionStore) -> None:
    """A session with a little of everything; its head is not its highest id."""
    await done(face, put("1", append=LARGE, state=b"{}"))
    await done(face, put("5", ns="child", append=b"child"))
    await done(face, put("3", append=b"three"))
    await done(face, put("2", parent="3", state=b'{"at": 2}'))
    await done(face, add("2", write("task", 0, b"a"), write("task", -1, b"b", replaces=True)))
    await done(face, add("9", write("task", 0, b"early")))


class CopyContract(ContractBase):
    """Copies: everything comes along, nothing is shared."""

    async def test_a_copy_is_whole(self, face: AsyncSessionStore) -> None:
        """Records, heads, namespaces, arena, pending writes and header are copied."""
        await fill(face)
        assert await face.copy(SESSION, TARGET) is not None
        everything = [Start(""), Start("child")]
        copied = (await face.scan(TARGET, everything, 9)).records
        assert copied == (await face.scan(SESSION, everything, 9)).records
        assert await head(face, session=TARGET) == "2"
        assert await head(face, "child", TARGET) == "5"
        assert await namespaces(face, TARGET) == ("", "child")
        assert (await info(face, TARGET)).state == b'{"at": 2}'
        assert await pending(face, "2", session=TARGET) == {"task/0": b"a", "task/-1": b"b"}
        await done(face, put("9", session=TARGET))
        assert await pending(face, "9", session=TARGET) == {"task/0": b"early"}

    async def test_a_copy_has_the_same_arena(self, face: AsyncSessionStore) -> None:
        """The offsets that records hold are good in the copy too."""
        await fill(face)
        await face.copy(SESSION, TARGET)
        assert await appended(face, "1", len(LARGE), session=TARGET) == LARGE
        assert await appended(face, "3", 5, session=TARGET) == b"three"

    async def test_a_copy_is_independent(self, face: AsyncSessionStore) -> None:
        """What is written to one session is not seen in the other."""
        await fill(face)
        await face.copy(SESSION, TARGET)
        for session in (SESSION, TARGET):
            own = session.encode()
            await done(face, put("7", session=session, append=own, state=own))
            entry = write("task", -1, own, replaces=True)
            await done(face, add("2", entry, session=session))
        for session in (SESSION, TARGET):
            own = session.encode()
            assert await appended(face, "7", len(own), session=session) == own
            assert (await info(face, session)).state == own
            assert (await pending(face, "2", session=session))["task/-1"] == own
        assert await face.delete(SESSION)
        assert await appended(face, "1", len(LARGE), session=TARGET) == LARGE

    async def test_a_copy_has_an_incarnation_of_its_own(self, face: AsyncSessionStore) -> None:
        """A copy keeps the age, counts as written now, and is another session."""
        now_ms = (await done(face, put("1", session="other"))).now_ms
        await done(face, put("1", created_ms=now_ms - 5_000))
        life = await face.copy(SESSION, TARGET)
        assert life is not None
        assert life.created_ms == now_ms - 5_000
        assert life.updated_ms == life.now_ms >= now_ms
        assert life.incarnation != (await info(face)).life.incarnation
        assert life.incarnation == (await info(face, TARGET)).life.incarnation
        again = await face.copy(SESSION, "second copy")
        assert again is not None
        assert again.incarnation != life.incarnation

    async def test_a_copy_starts_its_idle_time(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """The deadline of a copy is counted from now, with the session's own idle time."""
        face = open_face(self.idle(4))
        await done(face, put("1"))
        pass_time(self.ticks(2))
        before = await info(face)
        life = await face.copy(SESSION, TARGET)
        assert life is not None
        assert life.ttl_ms == to_ms(self.ticks(4))
        assert await info(face) == before
        await face.set_ttl(SESSION, self.ticks(50))
        life = await face.copy(SESSION, TARGET, replace=True)
        assert life is not None
        assert life.ttl_ms == to_ms(self.ticks(50))
        written = (await done(face, put("2", session=TARGET))).life
        assert written is not None
        assert written.ttl_ms == to_ms(self.ticks(50))

    async def test_a_copy_does_not_outlive_the_maximum_age(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """Copying does not start the maximum age again."""
        face = open_face(TTLPolicy(idle=None, max_age=self.ticks(6)))
        await done(face, put("1"))
        pass_time(self.ticks(2))
        life = await face.copy(SESSION, TARGET)
        assert life is not None
        assert life.deadline_ms == life.created_ms + to_ms(self.ticks(6))
        pass_time(self.ticks(5))
        assert await face.info(TARGET) is None

    async def test_a_copy_of_a_pinned_session_is_pinned(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """The pin is copied too."""
        face = open_face(self.idle(4))
        await done(face, put("1"))
        await face.pin(SESSION)
        life = await face.copy(SESSION, TARGET)
        assert life is not None
        assert life.pinned
        await face.pin(SESSION, pinned=False)
        pass_time(self.ticks(5))
        assert await face.info(TARGET) is not None
        assert await face.info(SESSION) is None

    async def test_a_session_that_is_there_is_not_overwritten(
        self, face: AsyncSessionStore
    ) -> None:
        """Copying onto a session that is there is an error, and leaves it as it is."""
        await fill(face)
        await done(face, put("1", session=TARGET, body=b"target"))
        before = await info(face, TARGET)
        with pytest.raises(SessionExistsError) as caught:
            await face.copy(SESSION, TARGET)
        assert caught.value.session == TARGET
        assert await info(face, TARGET) == before

    async def test_a_session_may_be_replaced(self, face: AsyncSessionStore) -> None:
        """With `replace`, nothing of the session that was there is left."""
        await fill(face)
        await done(face, put("8", ns="old", session=TARGET, append=LARGE * 2))
        await done(face, add("3", write("old", 0, b"old"), session=TARGET))
        assert await face.copy(SESSION, TARGET, replace=True) is not None
        assert await namespaces(face, TARGET) == ("", "child")
        assert await pending(face, "3", session=TARGET) == {}
        assert await scan_ids(face, Start("old"), session=TARGET) == []
        assert await face.read(TARGET, [Span(0, len(LARGE) * 2)]) is None

    async def test_replacing_what_is_not_there_copies(self, face: AsyncSessionStore) -> None:
        """`replace` allows a target, and does not ask for one."""
        await done(face, put("1"))
        assert await face.copy(SESSION, TARGET, replace=True) is not None
        assert await scan_ids(face, session=TARGET) == ["1"]

    async def test_copying_what_is_not_there_is_a_miss(self, face: AsyncSessionStore) -> None:
        """A source that is not there copies nothing, and leaves the target as it is."""
        assert await face.copy(SESSION, TARGET) is None
        assert await listed(face) == {}
        await done(face, put("1", session=TARGET))
        assert await face.copy(SESSION, TARGET, replace=True) is None
        assert await scan_ids(face, session=TARGET) == ["1"]

    async def test_a_session_is_not_copied_onto_itself(self, face: AsyncSessionStore) -> None:
        """Source and target must be two sessions."""
        await done(face, put("1"))
        before = await info(face)
        for replace in (False, True):
            with pytest.raises(ConfigurationError):
                await face.copy(SESSION, SESSION, replace=replace)
        assert await info(face) == before

    async def test_an_expired_target_is_not_there(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """A session that has expired does not keep a copy from its id."""
        face = open_face(self.idle(4))
        await done(face, put("9", session=TARGET))
        pass_time(self.ticks(5))
        await done(face, put("1"))
        assert await face.copy(SESSION, TARGET) is not None
        assert await scan_ids(face, session=TARGET) == ["1"]

    async def test_a_copy_without_records(self, face: AsyncSessionStore) -> None:
        """A session that has a header only is copied as well."""
        await done(face, commit(state=b"{}"))
        assert await face.copy(SESSION, TARGET) is not None
        assert (await info(face, TARGET)).state == b"{}"

    async def test_what_is_being_made_is_not_listed(self, face: AsyncSessionStore) -> None:
        """A session under a staging id is as any other, and in no listing; ids are not mixed up."""
        await done(face, put("1", session=STAGING, append=b"made", state=b"{}"))
        await done(face, put("2", session=f"copying.{'0' * 32}"))
        assert await appended(face, "1", 4, session=STAGING) == b"made"
        assert await face.copy(STAGING, TARGET) is not None
        page = await face.list_sessions(None, 9)
        found = [entry.session for entry in page.sessions]
        while page.cursor is not None:
            page = await face.list_sessions(page.cursor, 9)
            found += [entry.session for entry in page.sessions]
        assert sorted(found) == [f"copying.{'0' * 32}", TARGET]
        assert await face.delete(STAGING)
        assert await head(face, session=TARGET) == "1"

    async def test_what_is_being_made_ends_by_itself(self, open_face: OpenFace) -> None:
        """It has a deadline whatever it is to have when it is complete; its copy has that."""
        face = open_face(TTLPolicy(idle=None, refresh="never"))
        made = await done(face, put("1", session=STAGING))
        lives = [
            made.life,
            await face.pin(STAGING),
            await face.set_ttl(STAGING, None),
            (await done(face, put("2", session=STAGING))).life,
            await face.touch(STAGING),
        ]
        assert all(life is not None and _ends_in(life) == STAGING_MS for life in lives)
        copy = await face.copy(STAGING, TARGET)
        assert copy is not None
        assert (copy.pinned, copy.deadline_ms) == (True, None)
        again = await face.copy(TARGET, STAGING, replace=True)
        assert again is not None
        assert (again.pinned, _ends_in(again)) == (True, STAGING_MS)


def _ends_in(life: Life) -> int | None:
    """How long a session has left, to the millisecond."""
    return None if life.deadline_ms is None else life.deadline_ms - life.now_ms
