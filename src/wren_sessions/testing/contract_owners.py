"""The contract of owners and notes of sessions."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import pytest

from wren_sessions.errors import ConfigurationError, ConflictError, InvalidSessionIdError
from wren_sessions.protocols import AsyncOwnerStore, AsyncSessionStore
from wren_sessions.records import NOTHING_NOTED, Notes
from wren_sessions.testing.build import (
    SESSION,
    add,
    done,
    info,
    listed,
    loaded,
    prune,
    put,
    seen,
    write,
)
from wren_sessions.testing.contract_base import ContractBase, FaceOf, MakeStore, OpenFace, PassTime

NO_LIMITS: tuple[Any, ...] = (0, -1, True, "5", 1.5, None)
ANNS = Notes("ann", b'{"title":"one"}')
ODD = ("a:b", "ann smith", "a/b*", "latest", "\u00e4\u4e2d", "x" * 900)


class OwnerContract(ContractBase):
    """Owners: their listings, and what is noted, as long as the session is there."""

    @pytest.fixture
    def open_owners(self, face_of: FaceOf, make_store: MakeStore) -> OpenFace:
        """Makes stores that hold nothing; skips where they do not know owners."""
        lacking = "the store does not know owners (protocols.OwnerStore)"
        return self._opening(face_of, make_store, "annotate", lacking)

    @pytest.fixture
    def owned(self, open_owners: OpenFace) -> AsyncSessionStore:
        """One face of a store with its default lifetime."""
        return open_owners()

    async def note(
        self,
        face: AsyncSessionStore,
        notes: Notes,
        *,
        session: str = SESSION,
        expect: Notes = NOTHING_NOTED,
    ) -> bool:
        """Note something; whether the session is there."""
        return (await cast("AsyncOwnerStore", face).annotate(session, notes, expect)) is not None

    async def ids(self, face: AsyncSessionStore, owner: str, limit: int = 3) -> list[str]:
        """An owner's sessions, in order, page by page."""
        found: list[str] = []
        cursor = None
        while True:
            page = await cast("AsyncOwnerStore", face).list_owned(owner, cursor, limit)
            assert len(page.sessions) <= limit
            assert all(entry.owner == owner for entry in page.sessions)
            found += [entry.session for entry in page.sessions]
            cursor = page.cursor
            if cursor is None:
                return found

    async def test_what_is_noted_is_there(self, owned: AsyncSessionStore) -> None:
        """In listings and in `info`. It does not count as use."""
        await done(owned, put("1", state=b"{}"))
        assert (await info(owned)).notes == NOTHING_NOTED
        before = (await info(owned)).life
        assert await self.note(owned, ANNS)
        after = await info(owned)
        assert after.notes == ANNS
        assert (after.owner, after.title, after.tags, after.attributes) == ("ann", "one", (), {})
        assert after.life == before
        assert (await listed(owned))[SESSION].notes == ANNS
        await done(owned, put("2", parent="1"))
        assert (await info(owned)).notes == ANNS
        assert (await loaded(owned, "1")).stored.name == ("", "1")

    async def test_an_owners_listing_tells_an_idle_timeout(self, owned: AsyncSessionStore) -> None:
        """As `info` does."""
        await done(owned, put("1", owner="ann"))
        await owned.set_ttl(SESSION, "2h")
        page = await cast("AsyncOwnerStore", owned).list_owned("ann")
        assert [entry.idle for entry in page.sessions] == [(await info(owned)).idle]

    async def test_what_is_not_there_is_a_miss(self, owned: AsyncSessionStore) -> None:
        """Nothing is made."""
        assert not await self.note(owned, ANNS)
        assert await owned.info(SESSION) is None
        assert await self.ids(owned, "ann") == []

    async def test_notes_are_changed_as_they_were_seen(self, owned: AsyncSessionStore) -> None:
        """Where something else is noted, nothing is changed."""
        await done(owned, put("1"))
        await self.note(owned, ANNS)
        with pytest.raises(ConflictError):
            await self.note(owned, Notes("bob"))
        with pytest.raises(ConflictError):
            await self.note(owned, Notes("bob"), expect=Notes("ann"))
        assert (await info(owned)).notes == ANNS
        assert await self.note(owned, NOTHING_NOTED, expect=ANNS)
        assert (await info(owned)).notes == NOTHING_NOTED
        await done(owned, put("2", parent="1"))

    async def test_sessions_of_an_owner_are_listed(self, owned: AsyncSessionStore) -> None:
        """Theirs alone, whatever owners are called."""
        names = ("ann", "an", "annb", "-", *ODD)
        for at, owner in enumerate(names):
            await done(owned, put("1", session=f"s{at}"))
            await self.note(owned, Notes(owner), session=f"s{at}")
        for at, owner in enumerate(names):
            assert await self.ids(owned, owner) == [f"s{at}"]
        assert await self.ids(owned, "nobody") == []

    async def test_the_last_written_is_listed_first(
        self, owned: AsyncSessionStore, pass_time: PassTime
    ) -> None:
        """A commit moves its session to the front, whether it names the owner or not."""
        for at in range(7):
            await done(owned, put("1", session=f"s{at}", owner="ann"))
            pass_time(self.ticks(0.1))
        assert await self.ids(owned, "ann") == [f"s{at}" for at in reversed(range(7))]
        pass_time(self.ticks(6))  # in a cluster, a list may be a second late
        await done(owned, put("2", session="s3", parent="1", owner="ann"))
        pass_time(self.ticks(0.1))
        await done(owned, put("2", session="s5", parent="1"))
        assert await self.ids(owned, "ann") == ["s5", "s3", "s6", "s4", "s2", "s1", "s0"]

    async def test_written_at_once_they_are_listed_once(self, owned: AsyncSessionStore) -> None:
        """Also where the clock does not tell them apart."""
        names = [f"s{at}" for at in range(10)]
        await asyncio.gather(*(done(owned, put("1", session=name, owner="ann")) for name in names))
        found = await self.ids(owned, "ann")
        assert (len(found), set(found)) == (10, set(names))

    async def test_a_commit_gives_what_is_nobodys(self, owned: AsyncSessionStore) -> None:
        """A session has the owner of its first commit with one; notes stay."""
        await done(owned, put("1"))
        await self.note(owned, Notes(None, b'{"title":"mine"}'))
        await done(owned, put("2", parent="1", owner="ann"))
        await done(owned, put("3", parent="2", owner="bob"))
        assert (await info(owned)).notes == Notes("ann", b'{"title":"mine"}')
        assert await self.ids(owned, "ann") == [SESSION]
        assert await self.ids(owned, "bob") == []

    async def test_a_refused_commit_gives_nothing(self, owned: AsyncSessionStore) -> None:
        """Neither an owner nor a place in a listing."""
        await done(owned, put("1"))
        refused = await owned.commit(put("2", incarnation="other", owner="ann"))
        assert refused.outcome == "gone"
        assert (await info(owned)).owner is None
        assert await self.ids(owned, "ann") == []

    async def test_a_session_changes_hands(self, owned: AsyncSessionStore) -> None:
        """It leaves the one listing for the other."""
        await done(owned, put("1", owner="ann"))
        assert await self.note(owned, Notes("bob"), expect=Notes("ann"))
        assert (await self.ids(owned, "ann"), await self.ids(owned, "bob")) == ([], [SESSION])
        await done(owned, put("2", parent="1", owner="ann"))
        assert (await self.ids(owned, "ann"), await self.ids(owned, "bob")) == ([], [SESSION])
        assert await self.note(owned, NOTHING_NOTED, expect=Notes("bob"))
        assert await self.ids(owned, "bob") == []

    async def test_a_prune_can_renew_a_session(self, owned: AsyncSessionStore) -> None:
        """Who knew the session before writes it no more; everything in it stays."""
        await done(owned, put("1", body=b"one", append=b"long", owner="ann"))
        await self.note(owned, ANNS, expect=Notes("ann"))
        await done(owned, add("1", write("task", 0, b"pending")))
        before = (await info(owned)).life
        renewed = await owned.prune(prune(before, renew=True, state=b'{"renewed":1}'))
        there = await info(owned)
        assert renewed.life is not None
        assert (renewed.outcome, renewed.life.incarnation) == ("done", there.life.incarnation)
        assert there.life == replace(
            before,
            incarnation=there.life.incarnation,
            revision=before.revision + 1,
            updated_ms=there.life.updated_ms,
            now_ms=there.life.now_ms,
        )
        assert there.life.incarnation != before.incarnation
        assert (there.state, there.notes) == (b'{"renewed":1}', ANNS)
        late = put("2", parent="1", incarnation=before.incarnation)
        assert (await owned.commit(late)).outcome == "gone"
        assert (await owned.prune(prune(before, ("", "1")))).outcome == "gone"
        found = await loaded(owned)
        assert (found.stored.name, found.stored.body) == (("", "1"), b"one")
        assert [entry.body for entry in found.stored.writes] == [b"pending"]
        assert await self.ids(owned, "ann") == [SESSION]
        await done(owned, put("2", parent="1", incarnation=there.life.incarnation))
        assert (await loaded(owned)).stored.name == ("", "2")

    async def test_what_is_gone_is_not_listed(
        self, open_owners: OpenFace, pass_time: PassTime
    ) -> None:
        """Deleted, pruned away or expired; the others count as they are."""
        face = open_owners(self.idle(9))
        lives = [
            (await done(face, put("1", session=f"s{at}", owner="ann"))).life for at in range(4)
        ]
        await face.delete("s0")
        await face.prune(prune(lives[1], ("", "1"), session="s1"))
        pass_time(self.ticks(5))
        await done(face, put("2", session="s3", parent="1", owner="ann"))
        pass_time(self.ticks(5))
        assert await self.ids(face, "ann") == ["s3"]
        page = await cast("AsyncOwnerStore", face).list_owned("ann")
        assert page.total in {1, 2}  # one that has expired may still be counted
        await done(face, put("1", session="s0", owner="bob"))
        assert (await self.ids(face, "ann"), await self.ids(face, "bob")) == (["s3"], ["s0"])

    async def test_a_session_that_lives_on_is_listed(
        self, open_owners: OpenFace, pass_time: PassTime
    ) -> None:
        """One that is pinned, used, or has a timeout of its own, longer than others."""
        face = open_owners(self.idle(4))
        for name in ("pinned", "long", "used"):
            await done(face, put("1", session=name, owner=name))
        await face.pin("pinned")
        await face.set_ttl("long", self.ticks(40))
        pass_time(self.ticks(3))
        await face.touch("used")
        pass_time(self.ticks(3))
        for name in ("pinned", "long", "used"):
            assert await self.ids(face, name) == [name]
        await face.delete("pinned")
        assert await self.ids(face, "pinned") == []

    async def test_a_session_is_deleted_if_it_is_its_owners(self, owned: AsyncSessionStore) -> None:
        """Whatever else is noted; what is somebody else's, or nobody's, stays as it is."""
        face = cast("AsyncOwnerStore", owned)
        await done(owned, put("1", owner="ann"))
        assert await self.note(owned, ANNS, expect=Notes("ann"))
        for session, theirs in (("bobs", "bob"), ("nobodys", None)):
            await done(owned, put("1", session=session, owner=theirs))
            before = await info(owned, session)
            with pytest.raises(ConflictError, match="was not deleted"):
                await face.delete_owned(session, "ann")
            assert await info(owned, session) == before
        assert await face.delete_owned(SESSION, "ann") is True
        assert await owned.info(SESSION) is None
        assert await face.delete_owned(SESSION, "ann") is False
        assert (await self.ids(owned, "ann"), await self.ids(owned, "bob")) == ([], ["bobs"])

    @pytest.mark.parametrize("owner", ODD)
    async def test_any_owners_session_is_deleted(
        self, owned: AsyncSessionStore, owner: str
    ) -> None:
        """Also where it never expires; then the owner's list ends, too."""
        await done(owned, put("1", owner=owner))
        await owned.pin(SESSION)
        assert await cast("AsyncOwnerStore", owned).delete_owned(SESSION, owner)
        assert await self.ids(owned, owner) == []
        assert await owned.info(SESSION) is None

    async def test_a_copy_is_its_owners(self, owned: AsyncSessionStore) -> None:
        """With what is noted about it; the two are noted about apart from then on."""
        await done(owned, put("1"))
        await self.note(owned, ANNS)
        await owned.copy(SESSION, "copy")
        assert (await info(owned, "copy")).notes == ANNS
        assert set(await self.ids(owned, "ann")) == {SESSION, "copy"}
        await self.note(owned, Notes("bob"), session="copy", expect=ANNS)
        assert (await self.ids(owned, "ann"), await self.ids(owned, "bob")) == ([SESSION], ["copy"])

    async def test_a_copy_over_what_was_noted(self, owned: AsyncSessionStore) -> None:
        """A session that got other notes since it was seen is not replaced; one that did not is."""
        await done(owned, put("1"))
        await done(owned, put("2", session="there", owner="ann"))
        changes = (Notes("ann"), ANNS, Notes("bob", ANNS.about), NOTHING_NOTED)
        for before, after in pairwise(changes):
            as_it_was = await seen(owned, "there")
            await self.note(owned, after, session="there", expect=before)
            with pytest.raises(ConflictError):
                await owned.copy(SESSION, "there", replace=as_it_was)
            assert (await info(owned, "there")).notes == after
        assert await owned.copy(SESSION, "there", replace=await seen(owned, "there"))
        assert (await loaded(owned, session="there")).stored.name == ("", "1")

    async def test_a_page_goes_on_where_it_ended(
        self, owned: AsyncSessionStore, pass_time: PassTime
    ) -> None:
        """What is written or deleted between two pages moves nothing else."""
        for at in range(6):
            await done(owned, put("1", session=f"s{at}", owner="ann"))
            pass_time(self.ticks(0.1))
        face = cast("AsyncOwnerStore", owned)
        first = await face.list_owned("ann", limit=2)
        assert ([e.session for e in first.sessions], first.total) == (["s5", "s4"], 6)
        await done(owned, put("2", session="s4", parent="1", owner="ann"))
        await owned.delete("s3")
        second = await face.list_owned("ann", first.cursor, limit=2)
        third = await face.list_owned("ann", second.cursor, limit=9)
        rest = [entry.session for page in (second, third) for entry in page.sessions]
        assert rest == ["s2", "s1", "s0"]
        assert third.cursor is None

    async def test_what_moves_to_the_front_is_not_on_the_pages_behind(
        self, owned: AsyncSessionStore, pass_time: PassTime
    ) -> None:
        """What is written between two pages, or is new, stands where the next listing begins."""
        for at in range(5):
            await done(owned, put("1", session=f"s{at}", owner="ann"))
            pass_time(self.ticks(0.1))
        face = cast("AsyncOwnerStore", owned)
        first = await face.list_owned("ann", limit=2)
        pass_time(self.ticks(6))  # in a cluster, a list may be a second late
        await done(owned, put("2", session="s1", parent="1"))
        pass_time(self.ticks(0.1))
        await done(owned, put("1", session="new", owner="ann"))
        rest = await face.list_owned("ann", first.cursor, limit=9)
        assert [entry.session for entry in (*first.sessions, *rest.sessions)] == [
            *("s4", "s3", "s2", "s0")
        ]
        assert await self.ids(owned, "ann") == ["new", "s1", "s4", "s3", "s2", "s0"]

    async def test_a_cursor_is_of_one_owners_listing(self, owned: AsyncSessionStore) -> None:
        """Another owner's, or that of all sessions, is refused; it names no owner."""
        for at in range(4):
            await done(owned, put("1", session=f"s{at}", owner=("ann", "bob")[at % 2]))
        face = cast("AsyncOwnerStore", owned)
        anns = (await face.list_owned("ann", limit=1)).cursor
        assert anns is not None
        assert "ann" not in anns
        assert len((await face.list_owned("ann", anns)).sessions) == 1
        with pytest.raises(ConfigurationError, match="cursor"):
            await face.list_owned("bob", anns)
        with pytest.raises(ConfigurationError, match="cursor"):
            await owned.list_sessions(anns)
        all_of_them = (await owned.list_sessions(limit=1)).cursor
        if all_of_them is not None:
            with pytest.raises(ConfigurationError, match="cursor"):
                await face.list_owned("ann", all_of_them)
        with pytest.raises(ConfigurationError, match="cursor"):
            await face.list_owned("ann", anns[:-1] + ("0" if anns[-1] != "0" else "1"))

    async def test_nonsense_is_refused(self, owned: AsyncSessionStore) -> None:
        """A cursor or a limit that is none, an owner without a name."""
        face = cast("AsyncOwnerStore", owned)
        for cursor in ("nonsense", "", "after:s1", "after:-1:s1", "after:x:s", 5, b"after:1:s"):
            with pytest.raises(ConfigurationError, match="cursor"):
                await face.list_owned("ann", cursor)  # type: ignore[arg-type] # wrong on purpose
        for limit in NO_LIMITS:
            with pytest.raises(ConfigurationError, match="limit"):
                await face.list_owned("ann", limit=limit)
        await done(owned, put("1"))
        for owner in ("", "x" * 2_000, "\ud800", 5):
            with pytest.raises(InvalidSessionIdError, match="owner"):
                await face.list_owned(owner)  # type: ignore[arg-type] # wrong on purpose
            with pytest.raises(InvalidSessionIdError, match="owner"):
                await face.annotate(SESSION, Notes(owner), NOTHING_NOTED)  # type: ignore[arg-type]
            with pytest.raises(InvalidSessionIdError, match="owner"):
                await face.delete_owned(SESSION, owner)  # type: ignore[arg-type]
            with pytest.raises(InvalidSessionIdError, match="owner"):
                await owned.commit(put("2", owner=owner))
