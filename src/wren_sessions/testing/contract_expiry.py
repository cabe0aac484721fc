"""The contract of expiry: after its deadline, a session is not found, and stays so."""

from __future__ import annotations

import pytest

from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Life, Span, Start
from wren_sessions.testing.build import (
    SESSION,
    add,
    appended,
    commit,
    done,
    info,
    listed,
    namespaces,
    pending,
    put,
    scan_ids,
    write,
)
from wren_sessions.testing.contract_base import ContractBase, OpenFace, PassTime
from wren_sessions.ttl import to_ms


class ExpiryContract(ContractBase):
    """Expired is not there: for every call, at once."""

    async def test_an_expired_session_is_a_miss(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """No call finds anything of a session after its deadline."""
        face = open_face(self.idle(4))
        base = (await done(face, put("1", append=b"some", state=b"{}"))).base
        await done(face, add("1", write("task", 0, b"value")))
        pass_time(self.ticks(5))
        assert await face.load(SESSION) is None
        assert await face.load(SESSION, "", "1") is None
        assert (await face.scan(SESSION, [Start("")], 10)).records == ()
        assert await face.read(SESSION, [Span(base, 4)]) is None
        assert await face.read(SESSION, []) is None
        assert await namespaces(face, SESSION) == ()
        assert await face.info(SESSION) is None
        assert await listed(face) == {}

    @pytest.mark.parametrize("call", ["touch", "set_ttl", "pin", "unpin", "delete", "copy"])
    async def test_an_expired_session_cannot_be_kept(
        self, open_face: OpenFace, pass_time: PassTime, call: str
    ) -> None:
        """No call brings a session back after its deadline."""
        face = open_face(self.idle(4))
        await done(face, put("1"))
        pass_time(self.ticks(5))
        assert not await self.on_the_session(face, call)
        assert await face.info(SESSION) is None
        assert await face.info("target") is None

    @pytest.mark.parametrize("call", ["touch", "set_ttl", "pin", "unpin", "delete", "copy"])
    async def test_a_session_that_never_was_is_a_miss(
        self, face: AsyncSessionStore, call: str
    ) -> None:
        """Calls on a session that is not there answer a miss, and make none."""
        assert not await self.on_the_session(face, call)
        assert await listed(face) == {}

    async def on_the_session(self, face: AsyncSessionStore, call: str) -> Life | bool | None:
        """Call a method that changes the session's life."""
        if call == "delete":
            return await face.delete(SESSION)
        calls = {
            "touch": lambda: face.touch(SESSION),
            "set_ttl": lambda: face.set_ttl(SESSION, "24h"),
            "pin": lambda: face.pin(SESSION),
            "unpin": lambda: face.pin(SESSION, pinned=False),
            "copy": lambda: face.copy(SESSION, "target"),
        }
        life = await calls[call]()
        assert life is None
        return life

    async def test_a_session_written_after_its_deadline_is_a_new_one(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """Nothing of an expired session comes back: no record, write, byte, header or setting."""
        face = open_face(self.idle(4))
        old = (await done(face, put("1", ns="child", append=b"old", state=b"{}"))).life
        await done(face, put("1", append=b"old"))
        await done(face, add("2", write("task", 0, b"old"), write("a", -1, b"old", replaces=True)))
        await face.set_ttl(SESSION, self.ticks(5))
        pass_time(self.ticks(6))
        new = (await done(face, put("2", append=b"new"))).life
        assert old is not None
        assert new is not None
        assert new.incarnation != old.incarnation
        assert new.revision == 1
        assert new.created_ms > old.created_ms
        assert new.ttl_ms == to_ms(self.ticks(4))
        assert await scan_ids(face) == ["2"]
        assert await namespaces(face, SESSION) == ("",)
        assert await pending(face, "2") == {}
        assert await appended(face, "2", 3) == b"new"
        assert (await info(face)).state == b""

    async def test_an_expired_session_is_gone_for_who_builds_on_it(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """A commit with an incarnation or witness does not bring an expired session back."""
        face = open_face(self.idle(4))
        life = (await done(face, put("1"))).life
        assert life is not None
        pass_time(self.ticks(5))
        for what in (
            put("2", witnesses=(("", "1"),)),
            put("2", incarnation=life.incarnation),
            commit(state=b"{}", incarnation=life.incarnation),
        ):
            committed = await face.commit(what)
            assert (committed.outcome, committed.life) == ("gone", None)
        assert await face.info(SESSION) is None

    async def test_a_new_session_may_follow_an_expired_one(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """A session that has expired is not there, for a commit that wants a new one."""
        face = open_face(self.idle(4))
        again = put("1", new=True)
        await done(face, again)
        pass_time(self.ticks(5))
        await done(face, put("2", new=True))
        assert await scan_ids(face) == ["2"]
